// SPDX-License-Identifier: MIT OR Apache-2.0
//! Arrays and pools that a whole disk belongs to.
//!
//! Firmware RAID ("fake RAID") leaves the partition table of the array on the
//! first disk and its own metadata at the end. With striping, what lies where
//! in the partitions is the array's matter, so such a disk is stored whole.
//! The same holds for Windows' dynamic disks, whose volumes may be anywhere.
//!
//! Sources: the manual pages of `mdadm` and `dmraid`, the DDF specification of
//! SNIA, and the structures as libblkid and FreeBSD's `graid` describe them.

use super::signature::Volume;
use super::{Identity, foreign, member};
use crate::io::ReadAt;
use crate::ondisk::{Fields, FormatError};

/// Metadata that is a comparison: sectors of 512 bytes from the end, the offset
/// in there, and the bytes.
const AT_END: [(u64, u64, &[u8], &str); 10] = [
    (1, 0, b"\xde\x11\xde\x11", "DDF"),
    (1, 0, b"\x11\xde\x11\xde", "DDF"),
    (257, 0, b"\xde\x11\xde\x11", "DDF"),
    (257, 0, b"\x11\xde\x11\xde", "DDF"),
    (2, 0, b"Intel Raid ISM Cfg Sig. ", "Intel Rapid Storage"),
    (2, 0, b"NVIDIA  ", "NVIDIA"),
    (1, 0, b"$XIDE$", "LSI MegaRAID"),
    (1, 0, b"\x37\xfc\x4d\x1e", "Adaptec"),
    (11, 0, b"\xf3\x16\x78\x5a", "HighPoint 45x"),
    (11, 0, b"\xfd\x16\x78\x5a", "HighPoint 45x"),
];

/// HighPoint's other format is in the tenth sector, of disks that boot.
const HIGHPOINT_37X: (u64, [&[u8]; 2]) = (9 * 512 + 32, [b"\xf0\x16\x78\x5a", b"\xfd\x16\x78\x5a"]);

/// Where the models of Promise FastTrak put their signature, in sectors from
/// the end.
const PROMISE_SECTORS: [u64; 13] = [63, 255, 256, 16, 399, 591, 675, 735, 911, 974, 991, 951, 3087];

/// The GPT types of the metadata and the data partition of a dynamic disk:
/// 5808C8AA-7E8F-42E0-85D2-E1E90434CFB3, AF9B60A0-1431-4F62-BC68-3311714A69AD.
const LDM_TYPES: [[u8; 16]; 2] = [
    *b"\xaa\xc8\x08\x58\x8f\x7e\xe0\x42\x85\xd2\xe1\xe9\x04\x34\xcf\xb3",
    *b"\xa0\x60\x9b\xaf\x31\x14\x62\x4f\xbc\x68\x33\x11\x71\x4a\x69\xad",
];

/// What a disk is a member of, if its partitions cannot be read by themselves.
///
/// Metadata that cannot be read may be there: then the answer is that, too.
#[must_use]
pub fn whole_disk_member(disk: &dyn ReadAt) -> Option<String> {
    array_of(disk).unwrap_or_else(|error| Some(format!("which cannot be ruled out: {error}")))
}

/// Who a disk is that is a member of an array as a whole, for people; `None` if
/// its array has no identity that is known.
#[must_use]
pub fn whole_disk_identity(disk: &dyn ReadAt) -> Option<Identity> {
    let volume = Volume::open(disk).ok()?;
    ARRAYS.iter().chain(&POOLS).find_map(|array| array(&volume).ok().flatten())
}

/// How arrays are recognised that have an identity.
type Recognise = fn(&Volume) -> Result<Option<Identity>, FormatError>;
/// Those at the end of a disk.
const ARRAYS: [Recognise; 3] = [member::md_at_end, member::geom, member::apple_raid];
/// Those that are at its start, too.
const POOLS: [Recognise; 1] = [foreign::zfs];

/// As [`whole_disk_member`], told apart from what cannot be read.
///
/// # Errors
/// If a place where an array may have its metadata cannot be read.
pub fn array_of(disk: &dyn ReadAt) -> Result<Option<String>, FormatError> {
    let volume = Volume::open(disk)?;
    if let Some(vendor) = firmware(&volume, disk.sector_size().bytes())? {
        return Ok(Some(format!("{vendor} firmware RAID member")));
    }
    if is_dynamic(&volume, disk.sector_size().bytes())? {
        return Ok(Some("Windows dynamic disk".to_owned()));
    }
    for array in ARRAYS.iter().chain(&POOLS) {
        if let Some(identity) = array(&volume)? {
            return Ok(Some(identity.name));
        }
    }
    Ok(None)
}

/// True if a disk has the metadata of an array at its end. Then the end is there, and
/// a partition table or filesystem that goes on behind it is that of the array, of
/// which this is the first disk.
///
/// # Errors
/// As [`array_of`].
pub fn ends_as_member(disk: &dyn ReadAt) -> Result<bool, FormatError> {
    let volume = Volume::open(disk)?;
    if firmware_at_end(&volume, disk.sector_size().bytes())?.is_some() {
        return Ok(true);
    }
    for array in ARRAYS {
        if array(&volume)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// True if Windows' Logical Disk Manager divides this disk: its head is in the
/// seventh sector and the last one of an MBR disk, and a GPT disk has its two
/// types of partitions.
fn is_dynamic(volume: &Volume, sector: u64) -> Result<bool, FormatError> {
    const HEAD: &[u8] = b"PRIVHEAD";
    const ENTRIES: u64 = 16 << 10;
    let last = member::last_sectors(volume, 512, 1).unwrap_or(0);
    if volume.has(0xc00, HEAD)? || volume.has(last, HEAD)? {
        return Ok(true);
    }
    // Windows makes 128 entries of 128 bytes, at both ends of the disk. They
    // count here even where their header is damaged.
    for sector in [512, sector] {
        let behind_header = sector.checked_mul(2);
        let before_header =
            member::last_sectors(volume, sector, 1).and_then(|header| header.checked_sub(ENTRIES));
        for start in [behind_header, before_header].into_iter().flatten() {
            let len = usize::try_from(ENTRIES).unwrap_or(0);
            let Some(entries) = volume.bytes(start, len)? else { continue };
            if entries.chunks_exact(128).any(|entry| LDM_TYPES.iter().any(|t| entry.starts_with(t)))
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn firmware(volume: &Volume, sector: u64) -> Result<Option<&'static str>, FormatError> {
    if let Some(vendor) = firmware_at_end(volume, sector)? {
        return Ok(Some(vendor));
    }
    for magic in HIGHPOINT_37X.1 {
        if volume.has(HIGHPOINT_37X.0, magic)? {
            return Ok(Some("HighPoint 37x"));
        }
    }
    Ok(None)
}

fn firmware_at_end(volume: &Volume, sector: u64) -> Result<Option<&'static str>, FormatError> {
    // A controller counts in its own sectors, which are 512 bytes nearly always.
    for sector in [512, sector] {
        for (from_end, offset, magic, vendor) in AT_END {
            if let Some(start) = member::last_sectors(volume, sector, from_end)
                && volume.has(start.saturating_add(offset), magic)?
            {
                return Ok(Some(vendor));
            }
        }
    }
    for from_end in PROMISE_SECTORS {
        if let Some(start) = member::last_sectors(volume, 512, from_end)
            && volume.has(start, b"Promise Technology, Inc.")?
        {
            return Ok(Some("Promise FastTrak"));
        }
    }
    let Some(start) = member::last_sectors(volume, 512, 1) else { return Ok(None) };
    let Some(last) = volume.bytes(start, 512)? else { return Ok(None) };
    Ok(weak(&last))
}

/// Metadata in the last sector whose signature is too short to stand alone.
fn weak(last: &[u8]) -> Option<&'static str> {
    let sum16 = |len: usize| {
        let words = last.get(..len)?.chunks_exact(2);
        Some(words.fold(0_u16, |sum, word| sum.wrapping_add(word.u16_le(0).unwrap_or(0))))
    };
    // VIA: AA55, a version, and a checksum over the 50 bytes before it.
    if last.u16_le(0) == Some(0xaa55)
        && last.u8_at(2).is_some_and(|version| version <= 2)
        && last.get(..50).map(|bytes| bytes.iter().fold(0_u8, |sum, b| sum.wrapping_add(*b)))
            == last.u8_at(50)
    {
        return Some("VIA");
    }
    // Silicon Image: a number, and a checksum that makes the words before it 0.
    if last.u32_le(0x60) == Some(0x2f00_0000)
        && last.u16_le(0x13e).and_then(|check| Some(sum16(0x13e)?.wrapping_add(check))) == Some(0)
    {
        return Some("Silicon Image");
    }
    // JMicron: two letters, a mode, and 128 bytes whose words add up to 0 or 1.
    if last.bytes_at(0, 2) == Some(b"JM")
        && last.u8_at(0x30).is_some_and(|mode| mode <= 5)
        && sum16(128).is_some_and(|sum| sum <= 1)
    {
        return Some("JMicron");
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "test numbers")]

    use super::*;
    use crate::extent::Extent;
    use crate::io::{Memory, WriteAt};
    use crate::units::SectorSize;

    const LEN: u64 = 4 << 20;

    fn with(fields: &[(u64, &[u8])]) -> Memory {
        let disk = Memory::new(vec![0; 4 << 20]);
        for (offset, field) in fields {
            disk.write_at(*offset, field).unwrap();
        }
        disk
    }

    fn found(fields: &[(u64, &[u8])]) -> Option<String> {
        whole_disk_member(&with(fields))
    }

    #[test]
    fn firmware_metadata_is_found_at_its_distance_from_the_end() {
        for (from_end, offset, magic, vendor) in AT_END {
            let name = format!("{vendor} firmware RAID member");
            let start = LEN - from_end * 512 + offset;
            assert_eq!(found(&[(start, magic)]), Some(name.clone()));
            assert_eq!(found(&[(start - 512 * 5, magic)]), None);
            let start = LEN - from_end * 4096 + offset;
            let disk = with(&[(start, magic)]).with_sector_size(SectorSize::B4096);
            assert_eq!(whole_disk_member(&disk), Some(name));
        }
        for from_end in PROMISE_SECTORS {
            let name = found(&[(LEN - from_end * 512, b"Promise Technology, Inc.")]);
            assert_eq!(name.as_deref(), Some("Promise FastTrak firmware RAID member"));
        }
        for magic in HIGHPOINT_37X.1 {
            let name = found(&[(HIGHPOINT_37X.0, magic)]);
            assert_eq!(name.as_deref(), Some("HighPoint 37x firmware RAID member"));
        }
    }

    #[test]
    fn weak_signatures_need_their_checksum() {
        let last = LEN - 512;
        let mut via = [0_u8; 51];
        via[..3].copy_from_slice(&[0x55, 0xaa, 1]);
        via[50] = 0;
        assert_eq!(found(&[(last, &via)]).as_deref(), Some("VIA firmware RAID member"));
        via[50] = 1;
        assert_eq!(found(&[(last, &via)]), None);

        let mut silicon = [0_u8; 512];
        silicon[0x60..0x64].copy_from_slice(&0x2f00_0000_u32.to_le_bytes());
        assert_eq!(found(&[(last, &silicon)]), None);
        silicon[0x13e..0x140].copy_from_slice(&0x2f00_u16.wrapping_neg().to_le_bytes());
        let name = found(&[(last, &silicon)]);
        assert_eq!(name.as_deref(), Some("Silicon Image firmware RAID member"));

        let mut jmicron = [0_u8; 128];
        jmicron[..2].copy_from_slice(b"JM");
        assert_eq!(found(&[(last, &jmicron)]), None);
        let sum = u16::from_le_bytes(*b"JM").wrapping_neg();
        jmicron[4..6].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(found(&[(last, &jmicron)]).as_deref(), Some("JMicron firmware RAID member"));
        jmicron[0x30] = 6;
        let sum = sum.wrapping_sub(6);
        jmicron[4..6].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(found(&[(last, &jmicron)]), None);
    }

    #[test]
    fn software_arrays_are_found() {
        let md: &[u8] = b"\xfc\x4e\x2b\xa9\x01\0\0\0";
        let name = found(&[(LEN - 0x2000, md)]);
        assert_eq!(name.as_deref(), Some("Linux RAID member 1.0"));
        let identity = whole_disk_identity(&with(&[(LEN - 0x2000, md)])).unwrap();
        assert_eq!(identity.name, "Linux RAID member 1.0");
        assert_eq!(whole_disk_identity(&with(&[])), None);
        assert_eq!(found(&[(LEN - 512, b"GEOM::RAID3")]).as_deref(), Some("GEOM member"));
        // What a partition in its place would be does not count for the disk.
        assert_eq!(found(&[(0x1000, md)]), None);
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn an_end_that_cannot_be_read_may_be_a_members() {
        let disk = with(&[]).unreadable(Extent::at(LEN - 512, 512));
        assert!(whole_disk_member(&disk).unwrap().starts_with("which cannot be ruled out: "));
    }

    #[test]
    fn disks_too_small_for_any_metadata_are_members_of_nothing() {
        for len in (0..20_000).step_by(211) {
            let disk = Memory::new(vec![0xff; len]);
            assert_eq!(whole_disk_member(&disk), None);
        }
    }

    #[test]
    fn dynamic_disks_are_found_by_either_copy() {
        for start in [0xc00, LEN - 512] {
            let name = found(&[(start, b"PRIVHEAD")]);
            assert_eq!(name.as_deref(), Some("Windows dynamic disk"));
        }
        for kind in &LDM_TYPES {
            for start in [1024, 1024 + 127 * 128, LEN - 512 - 128 * 128, LEN - 512 - 128] {
                let name = found(&[(start, kind)]);
                assert_eq!(name.as_deref(), Some("Windows dynamic disk"));
                assert_eq!(found(&[(start + 16, kind)]), None);
            }
            let disk = with(&[(8192, kind)]).with_sector_size(SectorSize::B4096);
            assert!(whole_disk_member(&disk).is_some());
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filesystems that are known by name only, and stored whole.
//!
//! Recognition serves two ends: a plan that names what it stores, and doubt.
//! If a volume has the signature of one of these, a map that another driver
//! read from what may be leftovers of an older filesystem is not trusted
//! ([`super::rival`]).

use super::signature::{Label, Signature, Uuid, Volume};
use super::{Filesystem, Identity, Readers, Support, Used, member};
use crate::ondisk::{Fields, FormatError};

/// The driver of filesystems that are known by name only.
#[derive(Debug)]
pub struct Foreign;

/// Signatures that decide by themselves. One of two bytes is not among them.
const SIGNATURES: [Signature; 36] = [
    Signature::new(3, b"ReFS\0\0\0\0", "ReFS").uuid(Uuid::Serial64(0x38)),
    Signature::new(0x8000, b"JFS1", "JFS")
        .label(Label::Utf8(0x8098, 16))
        .uuid(Uuid::Binary(0x8088)),
    Signature::new(0x1_0034, b"ReIsEr2Fs", "ReiserFS")
        .label(Label::Utf8(0x1_0064, 16))
        .uuid(Uuid::Binary(0x1_0054)),
    Signature::new(0x1_0034, b"ReIsEr3Fs", "ReiserFS")
        .label(Label::Utf8(0x1_0064, 16))
        .uuid(Uuid::Binary(0x1_0054)),
    Signature::new(0x1_0034, b"ReIsErFs", "ReiserFS"),
    Signature::new(0x2034, b"ReIsErFs", "ReiserFS"),
    Signature::new(0x2014, b"ReIsErFs", "ReiserFS"),
    Signature::new(0x1_0000, b"ReIsEr4", "Reiser4")
        .label(Label::Utf8(0x1_0024, 16))
        .uuid(Uuid::Binary(0x1_0014)),
    Signature::new(0, b"hsqs", "SquashFS"),
    Signature::new(0, b"sqsh", "SquashFS"),
    Signature::new(0, b"shsq", "SquashFS"),
    Signature::new(0, b"qshs", "SquashFS"),
    Signature::new(0x400, b"\xe2\xe1\xf5\xe0", "EROFS")
        .label(Label::Utf8(0x440, 16))
        .uuid(Uuid::Binary(0x430)),
    Signature::new(0, b"\x45\x3d\xcd\x28", "cramfs"),
    Signature::new(0, b"\x28\xcd\x3d\x45", "cramfs"),
    Signature::new(0x200, b"\x45\x3d\xcd\x28", "cramfs"),
    Signature::new(0, b"-rom1fs-", "romfs").label(Label::Utf8(0x10, 16)),
    Signature::new(0x20, b"1SFB", "BeFS").label(Label::Utf8(0, 32)),
    Signature::new(0x20, b"BFS1", "BeFS").label(Label::Utf8(0, 32)),
    Signature::new(0x220, b"1SFB", "BeFS").label(Label::Utf8(0x200, 32)),
    Signature::new(0x220, b"BFS1", "BeFS").label(Label::Utf8(0x200, 32)),
    Signature::new(0x2000, b"\x49\xe8\x95\xf9", "HPFS"),
    Signature::new(0x400, b"OCFSV2", "OCFS2"),
    Signature::new(0x800, b"OCFSV2", "OCFS2"),
    Signature::new(0x1000, b"OCFSV2", "OCFS2"),
    Signature::new(0x2000, b"OCFSV2", "OCFS2"),
    Signature::new(0x2000, b"OracleCFS", "OCFS"),
    Signature::new(0x1_0000, b"\x01\x16\x19\x70", "GFS2"),
    Signature::new(0x20_0000, b"\x5e\xf1\xab\x2f", "VMFS"),
    Signature::new(0x400, b"\xf5\xfc\x01\xa5", "VxFS"),
    Signature::new(0x2000, b"\xa5\x01\xfc\xf5", "VxFS"),
    Signature::new(0, b"EXFS", "EXFS"),
    Signature::new(0, b"UBI#", "UBI"),
    Signature::new(0, b"\x31\x18\x10\x06", "UBIFS"),
    Signature::new(0x1_0004, b"\x8b\x42\x3c\x10", "ScoutFS"),
    // High Sierra, the forerunner of ISO 9660.
    Signature::new(0x8009, b"CDROM", "High Sierra"),
];

impl Filesystem for Foreign {
    fn name(&self) -> &'static str {
        "other filesystems"
    }

    fn support(&self) -> &'static [Support] {
        const { &[Support::whole("other filesystems", "known by name only")] }
    }

    fn probe(&self, readers: Readers) -> Result<Option<Identity>, FormatError> {
        let Some(reader) = readers.first() else { return Ok(None) };
        recognise(&Volume::open(*reader)?)
    }

    fn used(&self, readers: Readers) -> Result<Used, FormatError> {
        let none = || FormatError::unsupported("not a filesystem with a known signature");
        let reader = readers.first().ok_or_else(none)?;
        let identity = recognise(&Volume::open(*reader)?)?.ok_or_else(none)?;
        let why = format!("the used map of {} is not supported yet", identity.name);
        Ok(Used::whole(reader.len(), why))
    }
}

fn recognise(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    if let Some(identity) = volume.find(&SIGNATURES)? {
        return Ok(Some(identity));
    }
    for computed in [bcachefs, hfs, nilfs2, udf, iso9660, ufs, zfs] {
        if let Some(identity) = computed(volume)? {
            return Ok(Some(identity));
        }
    }
    Ok(None)
}

/// bcachefs has its superblock at 4 KiB, and copies of it at 2 MiB and at 1 MiB
/// before the end.
fn bcachefs(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    if member::bcache(volume)?.is_some() {
        return Ok(None);
    }
    const MAGIC: [u8; 16] = *b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef";
    let at_end = volume.len().checked_sub(1 << 20);
    for copy in [Some(0x1000), Some(2 << 20), at_end].into_iter().flatten() {
        let magic = volume.bytes(copy.saturating_add(0x18), 16)?;
        if magic.is_some_and(|magic| magic == MAGIC || magic == member::BCACHE_MAGIC) {
            let label = Label::Utf8(copy.saturating_add(0x48), 32);
            let uuid = Uuid::Binary(copy.saturating_add(0x38));
            return volume.identity("bcachefs", Some(label), Some(uuid)).map(Some);
        }
    }
    Ok(None)
}

/// HFS has two letters and an allocation block size, which is a multiple of 512
/// and the 20th field. Around HFS+ it is that driver's.
fn hfs(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    let Some(header) = volume.bytes(0x400, 0x90)? else { return Ok(None) };
    let is_hfs = header.bytes_at(0, 2) == Some(b"BD")
        && header.bytes_at(0x7c, 2) != Some(b"H+")
        && header.u32_be(0x14).is_some_and(|size| size != 0 && size.is_multiple_of(512));
    is_hfs.then(|| volume.identity("HFS", None, None)).transpose()
}

/// NILFS2 has a magic of two bytes, but the length of its superblock follows.
fn nilfs2(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    let backup = member::last_sectors(volume, 512, 8);
    for start in [Some(0x400), backup].into_iter().flatten() {
        let Some(header) = volume.bytes(start, 16)? else { continue };
        if header.u32_le(0) == Some(2)
            && header.u16_le(6) == Some(0x3434)
            && header.u16_le(8).is_some_and(|len| (64..=1024).contains(&len))
        {
            let label = Label::Utf8(start.saturating_add(168), 80);
            let uuid = Uuid::Binary(start.saturating_add(152));
            return volume.identity("NILFS2", Some(label), Some(uuid)).map(Some);
        }
    }
    Ok(None)
}

/// UDF has an NSR descriptor among the volume structure descriptors, which
/// are 2 KiB apart, or a sector if that is larger.
fn udf(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    for step in [2048_u64, 4096] {
        for number in 0..16_u64 {
            let offset = number.saturating_mul(step).saturating_add(0x8001);
            let Some(name) = volume.bytes(offset, 5)? else { break };
            match name.as_slice() {
                b"NSR02" | b"NSR03" => return volume.identity("UDF", None, None).map(Some),
                b"BEA01" | b"BOOT2" | b"CD001" | b"CDW02" | b"TEA01" => {}
                _ => break,
            }
        }
    }
    Ok(None)
}

fn iso9660(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    if !volume.has(0x8001, b"CD001")? {
        return Ok(None);
    }
    volume.identity("ISO 9660", Some(Label::Utf8(0x8028, 32)), None).map(Some)
}

/// UFS has its superblock at one of four places, in either byte order.
fn ufs(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    const MAGICS: [u32; 6] =
        [0x0001_1954, 0x1954_0119, 0x0019_5612, 0x0009_5014, 0x0061_2195, 0x0523_1994];
    for start in [0_u64, 0x2000, 0x1_0000, 0x4_0000] {
        let Some(superblock) = volume.bytes(start, 0x560)? else { continue };
        let fields = [
            (superblock.u32_le(0x55c), superblock.u32_le(0x30)),
            (superblock.u32_be(0x55c), superblock.u32_be(0x30)),
        ];
        for (magic, block_size) in fields {
            if magic.is_some_and(|magic| MAGICS.contains(&magic))
                && block_size.is_some_and(|size| size.is_power_of_two() && size >= 512)
            {
                return volume.identity("UFS", None, None).map(Some);
            }
        }
    }
    Ok(None)
}

/// ZFS has four labels, two at each end, each with a packed list of names.
pub(super) fn zfs(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    const LABEL: u64 = 256 << 10;
    const LIST: u64 = 16 << 10;
    let ends = [
        Some(0),
        Some(LABEL),
        member::last_sectors(volume, LABEL, 2),
        member::last_sectors(volume, LABEL, 1),
    ];
    for label in ends.into_iter().flatten() {
        let Some(list) = volume.bytes(label.saturating_add(LIST), 16)? else { continue };
        // XDR encoding in either byte order, list version 0, unique names, and
        // a first pair of a sensible length.
        if list.u8_at(0) == Some(1)
            && list.u8_at(1).is_some_and(|order| order <= 1)
            && list.bytes_at(2, 10) == Some(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
            && list.u32_be(12).is_some_and(|len| (16..0x1_0000).contains(&len))
        {
            return volume.identity("ZFS", None, None).map(Some);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "test numbers")]

    use super::*;
    use crate::extent::{Extent, ExtentSet};
    use crate::io::{Memory, WriteAt};

    const LEN: u64 = 4 << 20;

    fn disk() -> Memory {
        Memory::new(vec![0; 4 << 20])
    }

    fn with(fields: &[(u64, &[u8])]) -> Memory {
        let disk = disk();
        for (offset, field) in fields {
            disk.write_at(*offset, field).unwrap();
        }
        disk
    }

    fn name(disk: &Memory) -> Option<String> {
        Foreign.probe(&[disk]).unwrap().map(|identity| identity.name)
    }

    #[test]
    fn every_signature_is_found_and_stored_whole() {
        for signature in &SIGNATURES {
            let disk = with(&[(signature.offset, signature.magic)]);
            let identity = Foreign.probe(&[&disk]).unwrap().unwrap();
            assert_eq!(identity.name, signature.name);
            assert_eq!(identity.size, LEN);
            let used = Foreign.used(&[&disk]).unwrap();
            assert_eq!(used.extents, ExtentSet::all(LEN));
            let why = format!("the used map of {} is not supported yet", signature.name);
            assert_eq!(used.whole, Some(why));
            // Without its last byte it is nothing, unless it was zero.
            let last = signature.magic.len() - 1;
            if signature.magic[last] != 0 {
                let cut = with(&[(signature.offset, &signature.magic[..last])]);
                assert_eq!(name(&cut), None, "{}", signature.name);
            }
        }
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(name(&disk()), None);
        assert_eq!(name(&Memory::new(Vec::new())), None);
        assert!(Foreign.used(&[&disk()]).is_err());
    }

    #[test]
    fn labels_and_identifiers_are_where_they_belong() {
        let identity = |fields: &[(u64, &[u8])]| Foreign.probe(&[&with(fields)]).unwrap().unwrap();
        let jfs = identity(&[(0x8000, b"JFS1"), (0x8098, b"ab"), (0x8088, &[0x22; 16])]);
        assert_eq!(jfs.label.as_deref(), Some("ab"));
        assert_eq!(jfs.uuid.as_deref(), Some("22222222-2222-2222-2222-222222222222"));
    }

    #[test]
    fn short_signatures_need_more_than_themselves() {
        let found = |fields: &[(u64, &[u8])]| name(&with(fields));
        assert_eq!(found(&[(0x400, b"BD")]), None);
        assert_eq!(found(&[(0x400, b"BD"), (0x414, &[0, 0, 2, 1])]), None);
        let hfs: [(u64, &[u8]); 2] = [(0x400, b"BD"), (0x414, &[0, 0, 2, 0])];
        assert_eq!(found(&hfs).as_deref(), Some("HFS"));
        assert_eq!(found(&[hfs[0], hfs[1], (0x47c, b"H+")]), None);
        let nilfs2: [(u64, &[u8]); 2] = [(0x400, &[2]), (0x406, b"\x34\x34\0\x01")];
        assert_eq!(found(&nilfs2).as_deref(), Some("NILFS2"));
        assert_eq!(found(&nilfs2[1..]), None);
        let ufs: [(u64, &[u8]); 2] =
            [(0x2000 + 0x55c, &[0x54, 0x19, 1, 0]), (0x2030, &[0, 0x20, 0, 0])];
        assert_eq!(found(&ufs).as_deref(), Some("UFS"));
        assert_eq!(found(&ufs[..1]), None);
        let big_endian: [(u64, &[u8]); 2] =
            [(0x1_055c, &[0x19, 0x54, 1, 0x19]), (0x1_0030, &[0, 0, 0x20, 0])];
        assert_eq!(found(&big_endian).as_deref(), Some("UFS"));
    }

    #[test]
    fn discs_are_told_apart() {
        let iso: (u64, &[u8]) = (0x8001, b"CD001");
        let label: (u64, &[u8]) = (0x8028, b"A DISC   ");
        let found = Foreign.probe(&[&with(&[iso, label])]).unwrap().unwrap();
        assert_eq!((found.name.as_str(), found.label.as_deref()), ("ISO 9660", Some("A DISC")));
        let bridge = with(&[iso, (0x8801, b"BEA01"), (0x9001, b"NSR02")]);
        assert_eq!(name(&bridge).as_deref(), Some("UDF"));
        let large_sectors = with(&[(0x8001, b"BEA01"), (0x9001, b"NSR03")]);
        assert_eq!(name(&large_sectors).as_deref(), Some("UDF"));
        assert_eq!(name(&with(&[(0x9001, b"NSR02")])), None);
    }

    #[test]
    fn zfs_and_bcachefs_are_found_by_their_copies() {
        let list: &[u8] = &[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x24];
        for label in [0, 256 << 10, LEN - (512 << 10), LEN - (256 << 10)] {
            let disk = with(&[(label + (16 << 10), list)]);
            assert_eq!(name(&disk).as_deref(), Some("ZFS"));
        }
        let magic: &[u8] = b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef";
        for copy in [0x1000, 2 << 20, LEN - (1 << 20)] {
            assert_eq!(name(&with(&[(copy + 0x18, magic)])).as_deref(), Some("bcachefs"));
        }
        let old = with(&[(0x1018, &member::BCACHE_MAGIC)]);
        assert_eq!(name(&old).as_deref(), Some("bcachefs"));
        old.write_at(0x1008, &[8]).unwrap();
        assert_eq!(name(&old), None);
    }

    #[test]
    fn a_place_that_cannot_be_read_is_an_error() {
        let disk = disk().unreadable(Extent::at(2 << 20, 512));
        assert!(matches!(Foreign.probe(&[&disk]), Err(FormatError::Io(_))));
    }

    #[test]
    fn no_length_makes_recognition_panic() {
        let bytes = vec![0xff; 300 << 10];
        for len in (0..bytes.len()).step_by(997) {
            let disk = Memory::new(bytes[..len].to_vec());
            assert_eq!(name(&disk), None);
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filesystems that are known by name only, and stored whole.
//!
//! Recognition serves two ends: a plan that names what it stores, and doubt.
//! If a volume has the signature of one of these, a map that another driver
//! read from what may be leftovers of an older filesystem is not trusted
//! ([`rival`]).

use super::signature::{Label, Signature, Uuid, Volume};
use super::{Filesystem, Identity, Readers, Used, member};
use crate::io::ReadAt;
use crate::ondisk::{Fields, FormatError};

/// The driver of filesystems that are known by name only.
#[derive(Debug)]
pub struct Foreign;

/// Signatures that decide by themselves. One of two bytes is not among them.
const SIGNATURES: [Signature; 43] = [
    Signature::new(3, b"NTFS    ", "NTFS").uuid(Uuid::Serial64(0x48)),
    Signature::new(3, b"EXFAT   ", "exFAT").uuid(Uuid::Serial32(0x64)),
    Signature::new(3, b"ReFS\0\0\0\0", "ReFS").uuid(Uuid::Serial64(0x38)),
    Signature::new(0, b"XFSB", "XFS").label(Label::Utf8(0x6c, 12)).uuid(Uuid::Binary(0x20)),
    Signature::new(0x1_0040, b"_BHRfS_M", "btrfs")
        .label(Label::Utf8(0x1_012b, 256))
        .uuid(Uuid::Binary(0x1_0020)),
    Signature::new(0x20, b"NXSB", "APFS").uuid(Uuid::Binary(0x48)),
    Signature::new(0x400, b"\x10\x20\xf5\xf2", "F2FS")
        .label(Label::Utf16(0x47c, 1024))
        .uuid(Uuid::Binary(0x46c)),
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
    Signature::new(
        0x1018,
        b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef",
        "bcachefs",
    )
    .label(Label::Utf8(0x1048, 32))
    .uuid(Uuid::Binary(0x1038)),
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
        "NTFS, XFS, btrfs and other filesystems"
    }

    fn has_used_map(&self) -> bool {
        false
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

/// What else than the filesystem that a driver found may fill this volume.
///
/// # Errors
/// If a place where a signature may be cannot be read.
pub fn rival(volume: &dyn ReadAt) -> Result<Option<String>, FormatError> {
    let volume = Volume::open(volume)?;
    if let Some(name) = member::name(&volume)? {
        return Ok(Some(name));
    }
    Ok(recognise(&volume)?.map(|identity| identity.name))
}

fn recognise(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    if let Some(identity) = volume.find(&SIGNATURES)? {
        return Ok(Some(identity));
    }
    for computed in [bcachefs_backup, hfs, nilfs2, udf, iso9660, ufs, zfs] {
        if let Some(identity) = computed(volume)? {
            return Ok(Some(identity));
        }
    }
    Ok(None)
}

/// bcachefs keeps copies of its superblock at 2 MiB and at 1 MiB before the end.
fn bcachefs_backup(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    const MAGIC: [u8; 16] = *b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef";
    let at_end = volume.len().checked_sub(1 << 20);
    for copy in [Some(2 << 20), at_end].into_iter().flatten() {
        if volume.has(copy.saturating_add(0x18), &MAGIC)? {
            let uuid = Uuid::Binary(copy.saturating_add(0x38));
            return volume.identity("bcachefs", None, Some(uuid)).map(Some);
        }
    }
    Ok(None)
}

/// HFS and HFS+ have two letters and a version, or an allocation block size.
fn hfs(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    let Some(header) = volume.bytes(0x400, 0x90)? else { return Ok(None) };
    let name =
        match (header.bytes_at(0, 4), header.bytes_at(0x7c, 2)) {
            (Some([b'H', b'+', 0, 4]), _) => "HFS+",
            (Some([b'H', b'X', 0, 5]), _) => "HFSX",
            // The block size of HFS is a multiple of 512, its position the 20th.
            (Some([b'B', b'D', ..]), embedded)
                if header
                    .u32_be(0x14)
                    .is_some_and(|size| size != 0 && size.is_multiple_of(512)) =>
            {
                if embedded == Some(b"H+") { "HFS+ in HFS" } else { "HFS" }
            }
            _ => return Ok(None),
        };
    volume.identity(name, None, None).map(Some)
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

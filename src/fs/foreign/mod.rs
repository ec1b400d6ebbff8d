// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filesystems that are known by name only, and stored whole.
//!
//! Recognition serves two ends: a plan that names what it stores, and doubt.
//! If a volume has the signature of one of these, a map that another driver
//! read from what may be leftovers of an older filesystem is not trusted
//! ([`super::rival`]).
//!
//! Labels and identifiers are written as `blkid` writes them. What a comparison
//! of bytes tells is a line in the table here; the rest is a function in
//! `superblocks` or `zfs`.

mod superblocks;
mod zfs;

pub(super) use zfs::zfs;

use super::signature::{Label, Signature, Uuid, Volume};
use super::{Filesystem, Identity, Readers, Support, Used};
use crate::ondisk::FormatError;

/// The driver of filesystems that are known by name only.
#[derive(Debug)]
pub struct Foreign;

/// Signatures that decide by themselves. One of two bytes is not among them.
const SIGNATURES: [Signature; 32] = [
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
    Signature::new(0, b"\x45\x3d\xcd\x28", "cramfs").label(Label::Utf8(0x30, 16)),
    Signature::new(0, b"\x28\xcd\x3d\x45", "cramfs").label(Label::Utf8(0x30, 16)),
    Signature::new(0x200, b"\x45\x3d\xcd\x28", "cramfs").label(Label::Utf8(0x230, 16)),
    Signature::new(0, b"-rom1fs-", "romfs").label(Label::Utf8(0x10, 16)),
    ocfs2(0x400),
    ocfs2(0x800),
    ocfs2(0x1000),
    ocfs2(0x2000),
    Signature::new(0x2000, b"OracleCFS", "OCFS"),
    Signature::new(0x1_0000, b"\x01\x16\x19\x70", "GFS2")
        .label(Label::Utf8(0x1_00a0, 64))
        .uuid(Uuid::Binary(0x1_0100)),
    Signature::new(0x20_0000, b"\x5e\xf1\xab\x2f", "VMFS")
        .label(Label::Utf8(0x20_001d, 128))
        .uuid(Uuid::Vmfs(0x20_0009)),
    Signature::new(0x400, b"\xf5\xfc\x01\xa5", "VxFS"),
    Signature::new(0x2000, b"\xa5\x01\xfc\xf5", "VxFS"),
    Signature::new(0, b"EXFS", "EXFS"),
    Signature::new(0, b"UBI#", "UBI"),
    Signature::new(0, b"\x31\x18\x10\x06", "UBIFS"),
    Signature::new(0x1_0004, b"\x8b\x42\x3c\x10", "ScoutFS"),
    // High Sierra, the forerunner of ISO 9660.
    Signature::new(0x8009, b"CDROM", "High Sierra").label(Label::Utf8(0x8030, 32)),
    Signature::new(0x1000, b"SPB5", "Novell NSS"),
];

const fn ocfs2(block: u64) -> Signature {
    Signature::new(block, b"OCFSV2", "OCFS2")
        .label(Label::Utf8(block.saturating_add(0x110), 64))
        .uuid(Uuid::Binary(block.saturating_add(0x150)))
}

/// What is written once, and has no free space to leave out.
const FULL: [&str; 5] = ["High Sierra", "SquashFS", "EROFS", "cramfs", "romfs"];
/// What may be spread over several disks.
const SPREAD: [&str; 2] = ["ZFS", "bcachefs"];
/// What can be filled with a file of zeros, which takes no room in an image.
const FILLABLE: [&str; 6] = ["JFS", "ReiserFS", "Reiser4", "UFS", "Minix", "HPFS"];
/// What the user can do about those.
pub(super) const FILL: &str = "to make the image smaller, fill the free space with a file of zeros \
                               before, and delete it: zeros take no room in an image";

/// Why a filesystem is stored whole.
fn why(name: &str) -> String {
    match name {
        _ if FULL.contains(&name) => {
            format!("a {name} filesystem is written once and full: the image is exact and complete")
        }
        _ => format!("the used map of {name} is not supported: the image is exact and complete"),
    }
}

/// What the user can do about it.
fn advice(name: &str) -> Option<&'static str> {
    if SPREAD.contains(&name) {
        Some("if it is spread over several disks, save all of them and keep their images together")
    } else if FILLABLE.contains(&name) {
        Some(FILL)
    } else if name == "ReFS" {
        Some("the image takes little room where the free space was never written to")
    } else {
        None
    }
}

impl Filesystem for Foreign {
    fn name(&self) -> &'static str {
        "other filesystems"
    }

    fn support(&self) -> &'static [Support] {
        const {
            const NAME: &str = "name, label and UUID are known";
            const LABEL: &str = "name and label are known";
            &[
                Support::whole("ZFS", "the name of the pool is the label"),
                Support::whole("ReFS", "name and serial number are known"),
                Support::whole("bcachefs", NAME),
                Support::whole("NILFS2", NAME),
                Support::whole("JFS", NAME),
                Support::whole("ReiserFS, Reiser4", NAME),
                Support::whole("UFS", NAME),
                Support::whole("SquashFS, EROFS, cramfs, romfs", "written once, and full"),
                Support::whole("VMFS, OCFS2, GFS2", NAME),
                Support::whole("BeFS, HPFS", LABEL),
                Support::whole("Minix and others that blkid knows", "the name is known"),
            ]
        }
    }

    fn probe(&self, readers: Readers) -> Result<Option<Identity>, FormatError> {
        let Some(reader) = readers.first() else { return Ok(None) };
        recognise(&Volume::open(*reader)?)
    }

    fn used(&self, readers: Readers) -> Result<Used, FormatError> {
        let none = || FormatError::unsupported("not a filesystem with a known signature");
        let reader = readers.first().ok_or_else(none)?;
        let identity = recognise(&Volume::open(*reader)?)?.ok_or_else(none)?;
        let used = Used::whole(reader.len(), why(&identity.name));
        Ok(match advice(&identity.name) {
            Some(advice) => used.advise(advice),
            None => used,
        })
    }
}

fn recognise(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    if let Some(identity) = volume.find(&SIGNATURES)? {
        return Ok(Some(identity));
    }
    use superblocks::{bcachefs, befs, hpfs, minix, nilfs2, ufs};
    for computed in [bcachefs, befs, nilfs2, ufs, hpfs, zfs, minix] {
        if let Some(identity) = computed(volume)? {
            return Ok(Some(identity));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "test numbers")]

    use super::*;
    use crate::extent::{Extent, ExtentSet};
    use crate::fs::member;
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
            assert!(used.whole.unwrap().ends_with(": the image is exact and complete"));
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
    fn labels_that_a_function_finds_are_shown() {
        let identity = |fields: &[(u64, &[u8])]| Foreign.probe(&[&with(fields)]).unwrap().unwrap();
        let ufs = identity(&[
            (0x1_055c, &0x1954_0119_u32.to_le_bytes()),
            (0x1_0030, &[0, 0x40, 0, 0]),
            (0x1_0090, &[1, 0, 0, 0, 0xab, 0, 0, 0]),
            (0x1_02a8, b"tapes"),
        ]);
        assert_eq!(ufs.label.as_deref(), Some("tapes"));
        assert_eq!(ufs.uuid.as_deref(), Some("00000001000000ab"));
        let boot: [(u64, &[u8]); 4] = [
            (0x26, &[0x28, 0x78, 0x56, 0x34, 0x12]),
            (0x2b, b"OS2  "),
            (0x36, b"HPFS"),
            (510, b"\x55\xaa"),
        ];
        let hpfs: (u64, &[u8]) = (0x2000, b"\x49\xe8\x95\xf9");
        let found = identity(&[&boot[..], &[hpfs]].concat());
        assert_eq!(
            (found.label.as_deref(), found.uuid.as_deref()),
            (Some("OS2"), Some("1234-5678"))
        );
        assert_eq!(identity(&[&boot[1..], &[hpfs]].concat()).label, None);
        let vmfs = identity(&[
            (0x20_0000, b"\x5e\xf1\xab\x2f"),
            (0x20_0009, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
            (0x20_001d, b"store"),
        ]);
        assert_eq!(vmfs.label.as_deref(), Some("store"));
        assert_eq!(vmfs.uuid.as_deref(), Some("04030201-08070605-0a09-0b0c0d0e0f10"));
    }

    #[test]
    fn minix_needs_counts_that_make_sense() {
        // Version 1, one block of each map, 10 of 100 zones before the data.
        let version_1: [(u64, &[u8]); 3] =
            [(0x400, &[32, 0, 100, 0, 1, 0, 1, 0, 10, 0]), (0x410, &[0x7f, 0x13]), (0x600, &[0])];
        assert_eq!(name(&with(&version_1)).as_deref(), Some("Minix"));
        for (at, bytes) in [
            (0x400_u64, &[0, 0][..]),
            (0x404, &[0, 0]),
            (0x406, &[0, 0]),
            (0x408, &[101, 0]),
            (0x40a, &[1, 0]),
            (0x410, &[0x7e, 0x13]),
            (0x438, b"\x53\xef"),
            (0x400, b"\xe2\xe1\xf5\xe0"),
        ] {
            let disk = with(&version_1);
            disk.write_at(at, bytes).unwrap();
            assert_ne!(name(&disk).as_deref(), Some("Minix"), "{at:#x}");
        }
        // Version 3, big-endian.
        let version_3: [(u64, &[u8]); 2] = [
            (0x400, &[0, 0, 0, 32, 0, 0, 0, 1, 0, 1, 0, 10]),
            (0x414, &[0, 0, 0, 100, 0x4d, 0x5a]),
        ];
        assert_eq!(name(&with(&version_3)).as_deref(), Some("Minix"));
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

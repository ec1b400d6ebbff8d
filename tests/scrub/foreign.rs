// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disks of `scripts/make-images/foreign`, and others that are known by
//! name only: their name, label and UUID are those that blkid prints.

use std::collections::BTreeMap;
use std::path::Path;

use dacapo::device::Source;
use dacapo::fs::{FILESYSTEMS, Identity};

use super::{Kind, assert_same_answer};
use crate::support::try_run;
use crate::variants::{Scrubbed, Variant};

pub(crate) static KIND: Kind = Kind {
    maker: "foreign",
    needs: &[
        "blkid",
        "cryptsetup",
        "mdadm",
        "mkfs.nilfs2",
        "mkfs.jfs",
        "mkreiserfs",
        "mkudffs",
        "xorriso",
        "genisoimage",
        "mksquashfs",
        "mkfs.erofs",
        "mkfs.cramfs",
        "mkfs.minix",
        "mkfs.fat",
        "openssl",
        "python3",
    ],
    disks: &[NAMES],
    judge,
};

scrub_tests!(
    bcachefs bitlocker bitlocker_to_go bitlocker_vista cramfs erofs foreign_tiny_bitlocker
    foreign_tiny_disc foreign_tiny_iso9660 foreign_tiny_md foreign_tiny_md_0_90 foreign_tiny_udf
    foreign_tiny_udf_metadata foreign_tiny_udf_sparable foreign_tiny_udf_virtual gfs2 hpfs
    iso9660 iso9660_joliet jfs luks1 luks2 luks2_second_header md_0_90 md_1_0 md_1_0_with_fat
    md_1_1 md_1_2 minix minix_2 minix_3 nilfs2 nilfs2_second_superblock ocfs2 refs reiserfs romfs
    squashfs udf udf_2k_unicode udf_4k ufs1 ufs2 ufs2_big_endian vmfs zfs
);

#[track_caller]
fn judge(disk: &Variant, scrubbed: &Scrubbed) {
    let blkid = &disk.facts.more["blkid"];
    let blkid = blkid.as_object().expect("what blkid prints is a list of names");
    let blkid: BTreeMap<String, String> = blkid
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().expect("a text").to_owned()))
        .collect();
    let identity = identity(&disk.image).unwrap_or_else(|| panic!("{} has no name", disk.name));
    assert_identity(&disk.name, &identity, &blkid);
    assert_same_answer(disk, scrubbed, "blkid", &["-p"]);
}

/// What blkid prints of a file; nothing if it knows nothing.
pub(crate) fn by_blkid(path: &Path) -> BTreeMap<String, String> {
    let path = path.to_str().expect("a plain name");
    let mut found = BTreeMap::new();
    for name in ["TYPE", "VERSION", "LABEL", "UUID"] {
        // As values: in lists, blkid replaces what is not ASCII.
        let printed = try_run("blkid", &["-p", "-o", "value", "-s", name, path]);
        let value = printed.out().trim().to_owned();
        if !value.is_empty() {
            found.insert(name.to_owned(), value);
        }
    }
    found
}

/// What fills a file, if it were a partition.
pub(crate) fn identity(path: &Path) -> Option<Identity> {
    let source = Source::open(path).expect("opening a disk");
    FILESYSTEMS.iter().find_map(|driver| driver.probe(&[&source]).ok().flatten())
}

/// Our name for what blkid calls TYPE; None for what has a driver of its own.
pub(crate) fn name(blkid: &BTreeMap<String, String>) -> Option<String> {
    let version = blkid.get("VERSION").map_or("", String::as_str);
    let name = match blkid.get("TYPE")?.as_str() {
        "crypto_LUKS" => return Some(format!("LUKS{version}")),
        "linux_raid_member" => {
            let version = if version.starts_with("0.90") { "0.90" } else { version };
            return Some(format!("Linux RAID member {version}"));
        }
        "BitLocker" => "BitLocker",
        "zfs_member" => "ZFS",
        "ReFS" => "ReFS",
        "bcachefs" => "bcachefs",
        "nilfs2" => "NILFS2",
        "jfs" => "JFS",
        "reiserfs" => "ReiserFS",
        "reiser4" => "Reiser4",
        "ufs" => "UFS",
        "udf" => "UDF",
        "iso9660" => "ISO 9660",
        "squashfs" | "squashfs3" => "SquashFS",
        "erofs" => "EROFS",
        "cramfs" => "cramfs",
        "romfs" => "romfs",
        "minix" => "Minix",
        "hfs" => "HFS",
        "hpfs" => "HPFS",
        "befs" => "BeFS",
        "VMFS" => "VMFS",
        "ocfs2" => "OCFS2",
        "gfs2" => "GFS2",
        _ => return None,
    };
    Some(name.to_owned())
}

/// Name, label and UUID are those of blkid. Where it prints none we may know
/// more: it reads no metadata of BitLocker, and no serial number of ReFS.
#[track_caller]
pub(crate) fn assert_identity(disk: &str, identity: &Identity, blkid: &BTreeMap<String, String>) {
    let name = name(blkid).unwrap_or_else(|| panic!("{disk}: an unexpected type: {blkid:?}"));
    let found = identity.name.strip_suffix(" To Go").unwrap_or(&identity.name);
    assert_eq!(found, name, "{disk}");
    for (tag, found) in [("LABEL", &identity.label), ("UUID", &identity.uuid)] {
        let knows_more = matches!(name.as_str(), "BitLocker" | "ReFS" | "High Sierra");
        if let Some(wanted) = blkid.get(tag) {
            assert_eq!(found.as_ref(), Some(wanted), "{disk}: {tag}");
        } else if !knows_more {
            assert_eq!(*found, None, "{disk}: {tag}");
        }
    }
}

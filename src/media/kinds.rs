// SPDX-License-Identifier: MIT OR Apache-2.0
//! The filesystems on which images may be, and how each is mounted so that
//! not a byte of it changes.

use crate::units::GIB;

/// A filesystem that the kernel can mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    /// Our names of it.
    names: &'static [&'static str],
    /// The kernel's name.
    pub(super) fstype: &'static str,
    /// Options to read it and leave it as it is, its journal included.
    pub(super) untouched: &'static str,
    /// Options to write to it; none if it cannot be written.
    pub(super) written: Option<&'static str>,
    /// A program that mounts it where the kernel has no driver.
    pub(super) program: Option<&'static str>,
    /// The largest file it takes.
    pub(super) largest_file: Option<u64>,
}

/// All of them.
const KINDS: [Kind; 8] = [
    // The journal is not replayed: what only it knows of is not seen.
    Kind {
        names: &["ext2", "ext3", "ext4"],
        fstype: "ext4",
        untouched: "noload",
        written: Some(""),
        program: None,
        largest_file: None,
    },
    // Two disks with one filesystem are common: the original and its copy.
    Kind {
        names: &["XFS"],
        fstype: "xfs",
        untouched: "norecovery,nouuid",
        written: Some("nouuid"),
        program: None,
        largest_file: None,
    },
    Kind {
        names: &["btrfs"],
        fstype: "btrfs",
        untouched: "rescue=nologreplay",
        written: Some(""),
        program: None,
        largest_file: None,
    },
    Kind {
        names: &["FAT12", "FAT16", "FAT32"],
        fstype: "vfat",
        untouched: "utf8",
        written: Some("utf8"),
        program: None,
        largest_file: Some(4 * GIB - 1),
    },
    Kind {
        names: &["exFAT"],
        fstype: "exfat",
        untouched: "iocharset=utf8",
        written: Some("iocharset=utf8"),
        program: None,
        largest_file: None,
    },
    Kind {
        names: &["NTFS"],
        fstype: "ntfs3",
        untouched: "iocharset=utf8",
        written: Some("iocharset=utf8"),
        // Debian's kernel has no driver that could write to it, or none.
        program: Some("ntfs-3g"),
        largest_file: None,
    },
    Kind {
        names: &["ISO 9660"],
        fstype: "iso9660",
        untouched: "utf8",
        written: None,
        program: None,
        largest_file: None,
    },
    Kind {
        names: &["UDF"],
        fstype: "udf",
        untouched: "utf8",
        written: None,
        program: None,
        largest_file: None,
    },
];

/// The kind of a filesystem, if the kernel can mount it.
pub(super) fn of(name: &str) -> Option<Kind> {
    KINDS.into_iter().find(|kind| kind.names.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::FILESYSTEMS;

    #[test]
    fn every_name_is_one_that_a_driver_gives() {
        let known: Vec<&str> =
            FILESYSTEMS.iter().flat_map(|it| it.support()).map(|row| row.what).collect();
        for name in KINDS.iter().flat_map(|kind| kind.names) {
            assert!(known.iter().any(|what| what.contains(name)), "{name} is not in {known:?}");
            assert!(of(name).is_some());
        }
        assert_eq!(of("swap"), None);
    }
}

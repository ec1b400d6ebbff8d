// SPDX-License-Identifier: MIT OR Apache-2.0
//! The exact list of features with which the used map is proven.
//!
//! A bit is on the list if the allocation of blocks was checked to be
//! understood with it. Anything else, healthy or not, means that the
//! filesystem is stored whole. The names are those that `dumpe2fs` prints.

use crate::ondisk::FormatError;

/// The three feature words of a superblock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Features {
    /// `s_feature_compat`: harmless to whoever does not know them.
    pub(super) compat: u32,
    /// `s_feature_incompat`: not to be mounted by whoever does not know them.
    pub(super) incompat: u32,
    /// `s_feature_ro_compat`: not to be written by whoever does not know them.
    pub(super) ro_compat: u32,
}

pub(super) const COMPAT_HAS_JOURNAL: u32 = 0x4;
pub(super) const COMPAT_RESIZE_INODE: u32 = 0x10;
pub(super) const COMPAT_SPARSE_SUPER2: u32 = 0x200;

pub(super) const INCOMPAT_RECOVER: u32 = 0x4;
pub(super) const INCOMPAT_JOURNAL_DEV: u32 = 0x8;
pub(super) const INCOMPAT_META_BG: u32 = 0x10;
pub(super) const INCOMPAT_64BIT: u32 = 0x80;
pub(super) const INCOMPAT_MMP: u32 = 0x100;
pub(super) const INCOMPAT_FLEX_BG: u32 = 0x200;
pub(super) const INCOMPAT_CSUM_SEED: u32 = 0x2000;

pub(super) const RO_COMPAT_SPARSE_SUPER: u32 = 0x1;
pub(super) const RO_COMPAT_GDT_CSUM: u32 = 0x10;
pub(super) const RO_COMPAT_BIGALLOC: u32 = 0x200;
pub(super) const RO_COMPAT_METADATA_CSUM: u32 = 0x400;

/// Bit, name, and whether the used map is proven with it.
type Entry = (u32, &'static str, bool);

const COMPAT: &[Entry] = &[
    (0x1, "dir_prealloc", true),
    (0x2, "imagic_inodes", true),
    (COMPAT_HAS_JOURNAL, "has_journal", true),
    (0x8, "ext_attr", true),
    (COMPAT_RESIZE_INODE, "resize_inode", true),
    (0x20, "dir_index", true),
    // Uninitialised groups without a checksum that proves them.
    (0x40, "lazy_bg", false),
    // Snapshots of next3: blocks with a second bitmap.
    (0x80, "snapshot_inode", false),
    (0x100, "snapshot_bitmap", false),
    (COMPAT_SPARSE_SUPER2, "sparse_super2", true),
    // Only with a clean journal, or if no fast commit waits: see journal.rs.
    (0x400, "fast_commit", true),
    (0x800, "stable_inodes", true),
    // Orphans are only freed or truncated when they are processed.
    (0x1000, "orphan_file", true),
];

const INCOMPAT: &[Entry] = &[
    (0x1, "compression", false),
    (0x2, "filetype", true),
    (INCOMPAT_RECOVER, "needs_recovery", true),
    // Stored whole before features are looked at.
    (INCOMPAT_JOURNAL_DEV, "journal_dev", false),
    (INCOMPAT_META_BG, "meta_bg", true),
    (0x40, "extent", true),
    (INCOMPAT_64BIT, "64bit", true),
    (INCOMPAT_MMP, "mmp", true),
    (INCOMPAT_FLEX_BG, "flex_bg", true),
    (0x400, "ea_inode", true),
    // Lustre only; neither the kernel nor e2fsprogs can judge such a volume.
    (0x1000, "dirdata", false),
    (INCOMPAT_CSUM_SEED, "metadata_csum_seed", true),
    (0x4000, "large_dir", true),
    (0x8000, "inline_data", true),
    (0x10000, "encrypt", true),
    (0x20000, "casefold", true),
];

const RO_COMPAT: &[Entry] = &[
    (RO_COMPAT_SPARSE_SUPER, "sparse_super", true),
    (0x2, "large_file", true),
    (0x4, "btree_dir", true),
    (0x8, "huge_file", true),
    (RO_COMPAT_GDT_CSUM, "uninit_bg", true),
    (0x20, "dir_nlink", true),
    (0x40, "extra_isize", true),
    (0x80, "snapshot", false),
    (0x100, "quota", true),
    (RO_COMPAT_BIGALLOC, "bigalloc", true),
    (RO_COMPAT_METADATA_CSUM, "metadata_csum", true),
    (0x800, "replica", false),
    (0x1000, "read-only", true),
    (0x2000, "project", true),
    // Several files share a block, but a block is still in use or free.
    (0x4000, "shared_blocks", true),
    (0x8000, "verity", true),
    (0x10000, "orphan_present", true),
];

/// What ext2 and ext3 know; one more bit makes a filesystem an ext4 (the rule
/// of libblkid).
const EXT2_INCOMPAT: u32 = 0x2 | INCOMPAT_META_BG;
const EXT3_INCOMPAT: u32 = EXT2_INCOMPAT | INCOMPAT_RECOVER;
const EXT3_RO_COMPAT: u32 = RO_COMPAT_SPARSE_SUPER | 0x2 | 0x4;

impl Features {
    pub(super) const fn has_compat(self, bit: u32) -> bool {
        self.compat & bit != 0
    }

    pub(super) const fn has_incompat(self, bit: u32) -> bool {
        self.incompat & bit != 0
    }

    pub(super) const fn has_ro_compat(self, bit: u32) -> bool {
        self.ro_compat & bit != 0
    }

    /// True if group descriptors carry a checksum, without which their flags
    /// prove nothing.
    pub(super) const fn has_group_checksums(self) -> bool {
        self.has_ro_compat(RO_COMPAT_GDT_CSUM) || self.has_ro_compat(RO_COMPAT_METADATA_CSUM)
    }

    /// An error that names a feature without which files cannot be read. What
    /// is unknown in the other two words concerns only who writes.
    pub(super) fn check_for_reading(self) -> Result<(), FormatError> {
        Self { incompat: self.incompat, ..Self::default() }.check()
    }

    /// An error that names the first feature with which the map is unproven.
    pub(super) fn check(self) -> Result<(), FormatError> {
        for (word, found, known) in [
            ("compat", self.compat, COMPAT),
            ("incompat", self.incompat, INCOMPAT),
            ("ro_compat", self.ro_compat, RO_COMPAT),
        ] {
            for shift in 0..u32::BITS {
                let bit = found & (1 << shift);
                if bit == 0 {
                    continue;
                }
                match known.iter().find(|(known, ..)| *known == bit) {
                    Some((_, _, true)) => {}
                    Some((_, name, false)) => {
                        return Err(FormatError::unsupported(format!(
                            "the filesystem has the feature {name}, whose use of blocks is not \
                             understood"
                        )));
                    }
                    None => {
                        return Err(FormatError::unsupported(format!(
                            "the filesystem has an unknown feature ({word} bit {bit:#x})"
                        )));
                    }
                }
            }
        }
        Ok(())
    }

    /// The name by which people know a filesystem with these features.
    pub(super) const fn family(self, test_filesystem: bool) -> &'static str {
        if self.has_incompat(INCOMPAT_JOURNAL_DEV) {
            return "jbd";
        }
        if self.ro_compat & !EXT3_RO_COMPAT != 0 || self.incompat & !EXT3_INCOMPAT != 0 {
            return if test_filesystem { "ext4dev" } else { "ext4" };
        }
        if self.has_compat(COMPAT_HAS_JOURNAL) {
            return "ext3";
        }
        if self.incompat & !EXT2_INCOMPAT != 0 { "ext4" } else { "ext2" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(features: Features) -> String {
        features.check().unwrap_err().to_string()
    }

    #[test]
    fn a_bit_that_is_not_on_the_list_is_refused_by_name_or_number() {
        let none = Features::default();
        assert!(none.check().is_ok());
        assert!(refusal(Features { incompat: 0x1, ..none }).contains("feature compression"));
        assert!(refusal(Features { compat: 0x40, ..none }).contains("feature lazy_bg"));
        assert!(refusal(Features { compat: 0x2000, ..none }).contains("(compat bit 0x2000)"));
        assert!(
            refusal(Features { incompat: 1 << 31, ..none }).contains("(incompat bit 0x80000000)")
        );
        assert!(refusal(Features { ro_compat: 0x20000, ..none }).contains("(ro_compat bit"));
    }

    #[test]
    fn every_bit_is_either_listed_or_refused() {
        let mut allowed = [0; 3];
        for shift in 0..32 {
            let bit = 1_u32 << shift;
            for (word, sum) in allowed.iter_mut().enumerate() {
                let mut features = Features::default();
                *[&mut features.compat, &mut features.incompat, &mut features.ro_compat][word] =
                    bit;
                if features.check().is_ok() {
                    *sum |= bit;
                }
            }
        }
        // Written out once more: a slip in the tables above is a lost backup.
        assert_eq!(allowed, [0x1E3F, 0x3_E7D6, 0x1_F77F]);
    }

    #[test]
    fn the_family_is_what_blkid_says() {
        let of =
            |compat, incompat, ro_compat| Features { compat, incompat, ro_compat }.family(false);
        assert_eq!(of(0, 0x2, 0x3), "ext2");
        assert_eq!(of(0x4, 0x2, 0x3), "ext3");
        assert_eq!(of(0x4, 0x6, 0x3), "ext3");
        assert_eq!(of(0x4, 0x42, 0x3), "ext4");
        assert_eq!(of(0, 0x42, 0x3), "ext4");
        assert_eq!(of(0x4, 0x2, 0x8), "ext4");
        assert_eq!(of(0, 0x8, 0), "jbd");
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disks of `scripts/make-images/fat`.

use super::{Kind, assert_partclone_agrees, assert_same_answer};
use crate::support::run;
use crate::variants::{Reader, Scrubbed, Variant, assert_files};

pub(crate) static KIND: Kind = Kind {
    maker: "fat",
    needs: &["mkfs.fat", "fsck.fat", "mcopy", "openssl", "python3"],
    disks: &[NAMES],
    judge,
};

scrub_tests!(
    fat12 fat12_copies_differ fat12_floppy fat12_tiny fat16 fat16_bad_clusters
    fat16_copies_differ fat16_cut_short fat16_dirty fat16_full fat16_tiny fat32 fat32_4k_sectors
    fat32_bad_clusters fat32_copies_differ fat32_dirty fat32_reserved_bits fat32_second_active
    fat32_tiny
    ;
    fat12_4k_sectors fat16_large_clusters fat16_one_copy fat16_tail fat32_1g fat32_empty
    fat32_one_copy fat32_small fat32_wrong_hints
);

#[track_caller]
fn judge(disk: &Variant, scrubbed: &Scrubbed) {
    let facts = &disk.facts;
    // Wrong with FAT12 and 4096-byte sectors; refuses a dirty bit.
    let wrong = facts.state == "dirty"
        || facts.understood != Some(true)
        || disk.name.starts_with("fat12")
        || disk.name == "fat32-4k-sectors";
    if !wrong {
        assert_partclone_agrees(disk, &scrubbed.used, "partclone.fat");
    }
    if disk.facts.fsck == "clean" {
        run("fsck.fat", &["-n", scrubbed.target()]);
    }
    // A fault that was there has to be there again, and no other.
    assert_same_answer(disk, scrubbed, "fsck.fat", &["-n", "-v"]);
    if disk.facts.read_files && !disk.facts.files.is_empty() && disk.name != "fat16-cut-short" {
        assert_files(scrubbed.target(), Reader::Mtools, &disk.facts.files);
    }
}

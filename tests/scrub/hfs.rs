// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disks of `scripts/make-images/hfs`.

use super::foreign::{assert_identity, by_blkid, identity};
use super::{Kind, assert_same_answer};
use crate::support::{requires, run};
use crate::variants::{Scrubbed, Variant};

pub(crate) static KIND: Kind = Kind {
    maker: "hfs",
    needs: &[
        "hformat", "hmount", "humount", "hmkdir", "hcopy", "hdel", "hattrib", "hls", "blkid",
        "openssl", "python3",
    ],
    disks: &[NAMES],
    judge,
};

scrub_tests!(
    hfs_copy_lost hfs_dirty hfs_floppy hfs_fragmented hfs_inconsistent hfs_miscounted hfs_tail
    hfs_tiny hfs_unmarked
    ;
    hfs_1k
);

/// hfsutils read the same names, flags, dates and forks, by their hashes.
#[track_caller]
fn judge(disk: &Variant, scrubbed: &Scrubbed) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/make-images/hfs_judge.py");
    // They read no block that the bitmap calls free.
    if disk.name != "hfs-unmarked" && requires(&["python3"]) {
        let answer = |volume: &str| run("python3", &[script, volume]).out().to_owned();
        let (wanted, found) = (answer(disk.path()), answer(scrubbed.target()));
        assert!(wanted.lines().count() > 100 && wanted == found, "{}: {found}", disk.name);
    }
    assert_same_answer(disk, scrubbed, "blkid", &["-p"]);
    let identity = identity(&disk.image).unwrap_or_else(|| panic!("{} has no name", disk.name));
    assert_identity(&disk.name, &identity, &by_blkid(&disk.image));
    let is_unclean = ["dirty", "inconsistent"].iter().any(|part| disk.name.contains(part));
    assert_eq!(!identity.clean, is_unclean, "{}", disk.name);
}

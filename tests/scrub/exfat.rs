// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disks of `scripts/make-images/exfat`.

use super::{Kind, assert_partclone_agrees, assert_same_answer};
use crate::support::{requires, run, temp_dir};
use crate::variants::{Scrubbed, Variant, assert_hashes};

pub(crate) static KIND: Kind = Kind {
    maker: "exfat",
    needs: &[
        "root",
        "loop",
        "mkfs.exfat",
        "fsck.exfat",
        "dump.exfat",
        "tune.exfat",
        "mount.exfat-fuse",
        "partclone.exfat",
        "openssl",
        "python3",
    ],
    disks: &[NAMES],
    judge,
};

scrub_tests!(
    exfat exfat_4k_sectors exfat_backup_damaged exfat_bad_clusters exfat_clean_behind
    exfat_cut_short exfat_dirty exfat_dirty_behind exfat_empty exfat_full exfat_main_damaged
    exfat_tail exfat_texfat exfat_tiny exfat_tiny_dirty exfat_tiny_texfat exfat_unknown_flags
    ;
    exfat_128k exfat_1g exfat_32m exfat_512 exfat_aligned exfat_bad_clusters_unmarked
    exfat_clear_to_zero exfat_dirty_chains exfat_media_failure exfat_packed_bitmap
    exfat_stale_chains
);

#[track_caller]
fn judge(disk: &Variant, scrubbed: &Scrubbed) {
    let facts = &disk.facts;
    // partclone knows of one FAT only.
    if facts.understood != Some(false) && facts.read_files {
        assert_partclone_agrees(disk, &scrubbed.used, "partclone.exfat");
    }
    if facts.fsck == "clean" && requires(&["fsck.exfat"]) {
        run("fsck.exfat", &["-n", scrubbed.target()]);
    }
    // A fault that was there has to be there again, and no other.
    assert_same_answer(disk, scrubbed, "fsck.exfat", &["-n"]);
    // exfat-fuse does not mount what is longer than its device or has two FATs.
    let reads = facts.read_files && facts.understood != Some(false);
    if reads && !facts.files.is_empty() && requires(&["root", "loop", "mount.exfat-fuse"]) {
        assert_files_by_fuse(disk, scrubbed.target());
    }
}

/// Copies everything out of the volume through exfat-fuse, in a mount namespace
/// of its own, and checks the hashes.
#[track_caller]
fn assert_files_by_fuse(disk: &Variant, image: &str) {
    const SCRIPT: &str = "loop=$(losetup --find --show --read-only \"$1\")
        trap 'umount \"$2\" 2>/dev/null || true; sleep 0.2; losetup -d \"$loop\"' EXIT
        mount.exfat-fuse -o ro \"$loop\" \"$2\"
        cp -r \"$2/.\" \"$3\"";
    let (folder, copy) = (temp_dir(), temp_dir());
    let shell = ["--mount", "--propagation", "private", "bash", "-euc", SCRIPT, "bash"];
    let paths = [image, &folder.join(""), &copy.join("")];
    run("unshare", &[&shell[..], &paths].concat());
    assert_hashes(copy.path(), &disk.facts.files);
}

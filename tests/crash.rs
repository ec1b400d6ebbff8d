// SPDX-License-Identifier: MIT OR Apache-2.0
//! The crash test: an ext3 or ext4 copied while it was mounted, right after
//! fsync, is saved and restored over junk. The kernel replays its journal, and
//! every file whose fsync had returned is intact.
//!
//! Imagers that trust the bitmaps on such a disk lose those files.

use std::fs;

use crate::scrub::judge;
use crate::support::{requires, run, try_run};
use crate::variants::{
    Reader, Scrubbed, Variant, assert_files, assert_mounted_files, committed, scrub, variant,
};

macro_rules! crash_tests {
    ($($name:ident)*) => {
        mod ext {
            $(#[test]
            fn $name() {
                super::crash_test(stringify!($name));
            })*
        }
        /// The disks of `scripts/make-images/ext-crash.sh`.
        pub(crate) const DIRTY: &[&str] = &[$(stringify!($name)),*];
    };
}

crash_tests!(
    ext3_dirty ext4_dirty_1k ext4_dirty_64k ext4_dirty_async_commit ext4_dirty_bigalloc
    ext4_dirty_bigalloc_busy ext4_dirty_busy ext4_dirty_busy_1k ext4_dirty_csum_v1
    ext4_dirty_csum_v2 ext4_dirty_csum_v2_32bit ext4_dirty_csum_v3_32bit ext4_dirty_data_journal
    ext4_dirty_data_journal_1k ext4_dirty_empty_log ext4_dirty_error_flag ext4_dirty_fast_commit
    ext4_dirty_fragmented ext4_dirty_fresh ext4_dirty_inline ext4_dirty_meta_bg ext4_dirty_mmp
    ext4_dirty_no_csum ext4_dirty_no_csum_32bit ext4_dirty_orphan ext4_dirty_orphan_file
    ext4_dirty_uninit ext4_dirty_unlink ext4_dirty_unlink_1k ext4_dirty_wrapped ext4_tiny_dirty
    ext4_tiny_dirty_fast_commit ext4_tiny_dirty_revoke
);

/// The dirty disks of images/, replayed by e2fsck, which needs no root.
#[test]
fn committed_dirty_disks_replay() {
    if !requires(&["e2fsck", "debugfs"]) {
        return;
    }
    let folder = crate::support::temp_dir();
    let mut replayed = 0;
    for disk in committed(folder.path()) {
        if disk.facts.kind == "ext" && disk.facts.state == "dirty" {
            replay_with_e2fsck(&disk, &scrub(&disk));
            replayed += 1;
        }
    }
    assert!(replayed >= 3, "only {replayed} dirty disks in images/");
}

#[track_caller]
fn crash_test(name: &str) {
    let Some(disk) = variant("ext", &name.replace('_', "-")) else { return };
    assert_eq!(disk.facts.state, "dirty");
    let fewest = match name {
        "ext4_dirty_empty_log" => 0,
        "ext4_dirty_orphan" | "ext4_dirty_orphan_file" => 1,
        _ => 4,
    };
    assert!(disk.facts.fsynced.len() >= fewest, "{name}: hardly any fsynced files");
    let scrubbed = scrub(&disk);
    judge(&disk, &scrubbed);
    // Two judges, each with a journal of its own: the kernel and e2fsck.
    let second = scrubbed.folder.join("second.raw");
    fs::copy(scrubbed.target(), &second).expect("copying the restored disk");
    if disk.facts.kernel_mounts {
        replay_with_kernel(&disk, &scrubbed);
    }
    replay_with_e2fsck(&disk, &Scrubbed { targets: vec![second], ..scrubbed });
}

#[track_caller]
fn replay_with_kernel(disk: &Variant, scrubbed: &Scrubbed) {
    if !requires(&["root", "loop", "kernel:ext4"]) {
        return;
    }
    if disk.facts.features.iter().any(|feature| feature == "mmp") {
        // A mount would wait for the other machine that is not there.
        run("tune2fs", &["-f", "-E", "clear_mmp", scrubbed.target()]);
    }
    let options = if disk.name == "ext4-dirty-async-commit" {
        "loop,journal_async_commit,data=writeback"
    } else {
        "loop"
    };
    assert_mounted_files(scrubbed.target(), options, &disk.facts.files);
    run("e2fsck", &["-fn", scrubbed.target()]);
}

#[track_caller]
fn replay_with_e2fsck(disk: &Variant, scrubbed: &Scrubbed) {
    if disk.facts.features.iter().any(|feature| feature == "mmp") {
        run("tune2fs", &["-f", "-E", "clear_mmp", scrubbed.target()]);
    }
    // 1: errors were corrected, which is how it calls the free counts that are
    // not kept up to date on the disk.
    let ran = try_run("e2fsck", &["-fp", scrubbed.target()]);
    assert!(ran.code <= 1, "{}: the replay of the restored disk\n{ran}", disk.name);
    run("e2fsck", &["-fn", scrubbed.target()]);
    if !disk.facts.features.iter().any(|feature| feature == "inline_data") {
        assert_files(scrubbed.target(), Reader::Debugfs, &disk.facts.files);
    }
}

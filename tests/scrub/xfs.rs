// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disks of `scripts/make-images/xfs`.
//!
//! Crash copies are judged by the kernel, which replays the log of the restored
//! disk: every file whose fsync had returned is there, and xfs_repair is content
//! afterwards.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use super::{Kind, assert_partclone_agrees};
use crate::support::{requires, run, temp_dir, try_run};
use crate::variants::{Scrubbed, Variant};

pub(crate) static KIND: Kind = Kind {
    maker: "xfs",
    needs: &[
        "root",
        "loop",
        "kernel:xfs",
        "mkfs.xfs",
        "xfs_db",
        "xfs_repair",
        "xfs_logprint",
        "xfs_growfs",
        "xfs_admin",
        "openssl",
        "python3",
    ],
    disks: &[NAMES],
    judge,
};

scrub_tests!(
    xfs_1k xfs_4k_sectors xfs_64k xfs_cut_short xfs_damaged_count xfs_dirty_busy
    xfs_dirty_fragmented xfs_dirty_torn xfs_empty xfs_external_log xfs_fragmented xfs_full
    xfs_needs_repair xfs_nrext64 xfs_realtime xfs_reflink xfs_rmapbt xfs_tail xfs_tiny
    xfs_tiny_dirty xfs_tiny_dirty_rmapbt xfs_tiny_rmapbt xfs_tiny_v4 xfs_unknown_incompat xfs_v4
    xfs_v5
    ;
    xfs_1g xfs_dirty_4k_sectors xfs_dirty_64k xfs_dirty_first_mount xfs_dirty_fresh
    xfs_dirty_log_stripe xfs_dirty_orphan xfs_dirty_reflink xfs_dirty_rmapbt xfs_dirty_unlink
    xfs_dirty_uuid xfs_dirty_v4 xfs_dirty_wrapped xfs_grown xfs_label xfs_plain xfs_quota
    xfs_short_group xfs_stripe xfs_uuid xfs_v4_512 xfs_v4_old
);

#[track_caller]
fn judge(disk: &Variant, scrubbed: &Scrubbed) {
    let facts = &disk.facts;
    let is_clean = facts.state == "clean" && facts.understood == Some(true);
    // It refuses a realtime section.
    if is_clean && disk.name != "xfs-realtime" {
        assert_partclone_agrees(disk, &scrubbed.used, "partclone.xfs");
    }
    if facts.state != "dirty" && requires(&["xfs_repair"]) {
        // Its threads print in any order.
        let answer = |path: &str| try_run("xfs_repair", &["-n", path]).code;
        assert_eq!(answer(disk.path()), answer(scrubbed.target()), "{}: xfs_repair", disk.name);
    }
    if facts.fsck == "clean" && requires(&["xfs_repair"]) {
        run("xfs_repair", &["-n", scrubbed.target()]);
    }
    if facts.kernel_mounts && !facts.files.is_empty() {
        if !requires(&["root", "loop", "kernel:xfs", "xfs_repair"]) {
            return;
        }
        if facts.state == "dirty" {
            assert!(!facts.fsynced.is_empty(), "{}: no fsynced files", disk.name);
            assert_mounted(scrubbed.target(), "loop,nouuid", &facts.files);
            run("xfs_repair", &["-n", scrubbed.target()]);
        } else {
            assert_mounted(scrubbed.target(), "loop,nouuid,ro", &facts.files);
        }
    }
}

/// Mounts the disk in a mount namespace of its own, and checks the hashes of
/// all `files`.
#[track_caller]
fn assert_mounted(image: &str, options: &str, files: &BTreeMap<String, String>) {
    const SCRIPT: &str = "mount -t xfs -o \"$1\" \"$2\" \"$3\"
        sha256sum --check --quiet --strict \"$4\"
        umount \"$3\"";
    let (folder, lists) = (temp_dir(), temp_dir());
    let list = lists.join("SHA256SUMS");
    let mut text = String::new();
    for (name, digest) in files {
        writeln!(text, "{digest}  {}", folder.join(name)).expect("writing to a string");
    }
    fs::write(&list, text).expect("writing the list of hashes");
    let mount = ["--mount", "--propagation", "private", "sh", "-euc", SCRIPT, "sh"];
    run("unshare", &[&mount[..], &[options, image, &folder.join(""), &list]].concat());
}

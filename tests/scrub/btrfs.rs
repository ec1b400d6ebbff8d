// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disks of `scripts/make-images/btrfs`: saved and restored over junk,
//! several devices together where there are several. `btrfs check` reads all
//! metadata and the checksums of all data, and the kernel mounts them.
//!
//! partclone is no judge here: it takes a second copy of DUP metadata for free,
//! and all of the system chunks and of each block of node size for used.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::{Kind, assert_same_answer};
use crate::support::{requires, run, temp_dir};
use crate::variants::{Scrubbed, Variant};

pub(crate) static KIND: Kind = Kind {
    maker: "btrfs",
    needs: &[
        "root",
        "loop",
        "kernel:btrfs",
        "mkfs.btrfs",
        "btrfs",
        "mke2fs",
        "fsfreeze",
        "openssl",
        "python3",
    ],
    disks: &[NAMES],
    judge,
};

scrub_tests!(
    btrfs_64k_nodes btrfs_alone btrfs_compress_zstd btrfs_converted btrfs_cut_short
    btrfs_damaged_copy btrfs_damaged_mirror btrfs_data_dup btrfs_default btrfs_dirty_busy
    btrfs_dirty_fragmented btrfs_dirty_raid0 btrfs_empty btrfs_error_flag btrfs_extent_tree_v2
    btrfs_full btrfs_metadata_uuid btrfs_mixed btrfs_mixture btrfs_newer_mirror
    btrfs_old_features btrfs_older_mirror btrfs_quota btrfs_raid0 btrfs_raid10 btrfs_raid5
    btrfs_seed btrfs_snapshots btrfs_spanned btrfs_sprouted btrfs_stale_free_space_tree
    btrfs_tail btrfs_tiny btrfs_tiny_dirty btrfs_tiny_dup btrfs_tiny_set btrfs_xxhash
    btrfs_zoned
    ;
    btrfs_1g btrfs_4k_nodes btrfs_balanced btrfs_bitmaps btrfs_blake2 btrfs_compress_lzo
    btrfs_dirty_commits btrfs_dirty_compressed btrfs_dirty_fresh btrfs_dirty_mixed
    btrfs_dirty_orphan btrfs_dirty_quota btrfs_dirty_raid1_one_behind btrfs_dirty_unlink
    btrfs_dirty_wrapped btrfs_grown btrfs_mixed_dup btrfs_nodatacow btrfs_odd_length btrfs_raid1
    btrfs_raid1c34 btrfs_raid6 btrfs_removed btrfs_sha256 btrfs_shrunk btrfs_single
);

#[track_caller]
fn judge(disk: &Variant, scrubbed: &Scrubbed) {
    let facts = &disk.facts;
    assert_same_answer(disk, scrubbed, "blkid", &["-p"]);
    // Of a disk in images/ another test may have mounted a copy, made anew: the
    // kernel would take the two for one filesystem.
    let is_made = disk.image.starts_with(Path::new(env!("CARGO_TARGET_TMPDIR")).join("images"));
    if is_made && requires(&["root", "loop", "kernel:btrfs", "btrfs"]) {
        judge_mounted(disk, scrubbed);
    } else if requires(&["btrfs"]) && facts.fsck == "clean" && disk.companions.is_empty() {
        run("btrfs", &["check", "--readonly", "--check-data-csum", scrubbed.target()]);
    }
}

/// `btrfs check`, then a mount with a replay of the log, in which all files
/// have their hashes, then `btrfs check` again.
///
/// Through loop devices, and in a mount namespace of its own. The kernel
/// remembers devices by UUID, so it has to forget these before the disk they
/// are a copy of may be seen.
#[track_caller]
fn judge_mounted(disk: &Variant, scrubbed: &Scrubbed) {
    const SCRIPT: &str = r#"
        folder=$1 list=$2 before=$3 after=$4
        shift 4
        loops= options=nodiscard
        finish() {
            umount "$folder" 2>/dev/null || true
            for loop in $loops; do
                btrfs device scan --forget "$loop" 2>/dev/null || true
                losetup -d "$loop"
            done
        }
        trap finish EXIT
        for file; do
            loop=$(losetup --find --show "$file")
            options=$options,device=$loop loops="$loops $loop"
        done
        first=${loops# }
        first=${first%% *}
        check() {
            btrfs check --readonly --check-data-csum "$first" >&2
        }
        [ "$before" != clean ] || check
        [ -s "$list" ] || exit 0
        # Of several devices the kernel may miss one, see scripts/make-images/btrfs.
        mount -t btrfs -o "$options" "$first" "$folder" ||
            { sleep 1; mount -t btrfs -o "$options" "$first" "$folder"; }
        sha256sum --check --quiet --strict "$list"
        umount "$folder"
        [ "$after" != clean ] || check
    "#;
    let (folder, lists) = (temp_dir(), temp_dir());
    let list = lists.join("SHA256SUMS");
    let no_files = BTreeMap::new();
    let files = if disk.facts.kernel_mounts { &disk.facts.files } else { &no_files };
    let mut lines = String::new();
    for (name, digest) in files {
        writeln!(lines, "{digest}  {}", folder.join(name)).expect("writing to a string");
    }
    fs::write(&list, lines).expect("writing the list of hashes");
    let before = &disk.facts.fsck;
    // A copy of a block that was damaged stays so until it is written.
    let after = if before == "damaged" { "damaged" } else { "clean" };
    let mut args = vec!["--mount", "--propagation", "private", "bash", "-euc", SCRIPT, "bash"];
    let folder = folder.join("");
    args.extend([folder.as_str(), list.as_str(), before.as_str(), after]);
    args.extend(scrubbed.targets.iter().map(String::as_str));
    run("unshare", &args);
    if disk.facts.state == "dirty" {
        let fewest = match disk.name.as_str() {
            // Its power was cut after everything was on the disks, but for a superblock.
            "btrfs-dirty-raid1-one-behind" => 0,
            "btrfs-dirty-orphan" => 1,
            _ => 4,
        };
        assert!(disk.facts.fsynced.len() >= fewest, "{}: hardly any fsynced files", disk.name);
    }
}

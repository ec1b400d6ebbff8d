// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disks of `scripts/make-images/ext`, apart from those of `crash.rs`.

use super::{Kind, assert_partclone_agrees};
use crate::crash;
use crate::support::run;
use crate::variants::{Scrubbed, Variant, assert_files, ext_reader};

pub(crate) static KIND: Kind = Kind {
    maker: "ext",
    needs: &[
        "root",
        "loop",
        "kernel:ext4",
        "mke2fs",
        "e2fsck",
        "debugfs",
        "dumpe2fs",
        "fsfreeze",
        "openssl",
        "python3",
    ],
    disks: &[NAMES, crash::DIRTY],
    judge,
};

scrub_tests!(
    ext2_revision_0 ext2_tiny ext3_4k ext3_tiny ext4_16k ext4_1k ext4_4k ext4_64k ext4_bigalloc
    ext4_bigalloc_tail ext4_converted ext4_cut_short ext4_dirty_damaged_log
    ext4_dirty_external_journal ext4_empty ext4_error_flag ext4_external_journal
    ext4_external_journal_device ext4_fast_commit ext4_full ext4_grown ext4_inline_data
    ext4_large_dir ext4_meta_bg ext4_mmp ext4_no_csum ext4_no_journal ext4_orphan_file
    ext4_packed_meta ext4_sparse_super2 ext4_tail ext4_tiny ext4_tiny_bigalloc ext4_tiny_groups
    ext4_uninit_bg ext4_unknown_incompat ext4_unknown_ro_compat
    ;
    ext2_1k ext2_4k ext3_1k ext4_1g ext4_2k ext4_32bit ext4_4k_groups ext4_64k_groups
    ext4_bigalloc_1k ext4_casefold ext4_csum_seed ext4_ea_inode ext4_encrypt ext4_every_backup
    ext4_lazy_tables ext4_meta_bg_partly ext4_mount_count ext4_no_flex_bg ext4_no_resize_inode
    ext4_odd_length ext4_quota ext4_shrunk ext4_sparse_super2_one ext4_stable_inodes ext4_stride
    ext4_uninit_csum ext4_unknown_compat ext4_verity ext4_zeroed_tables
);

#[track_caller]
fn judge(disk: &Variant, scrubbed: &Scrubbed) {
    let facts = &disk.facts;
    // Wrong with bigalloc (it takes clusters for blocks) and with a journal to
    // replay; refuses mount counts, errors and 64 KiB blocks.
    let wrong = facts.state == "dirty"
        || facts.understood != Some(true)
        || facts.features.iter().any(|name| name == "bigalloc")
        || ["mount-count", "64k", "16k"].iter().any(|part| disk.name.contains(part));
    if !wrong {
        assert_partclone_agrees(disk, &scrubbed.used, "partclone.extfs");
    }
    if disk.facts.fsck == "clean" {
        run("e2fsck", &["-fn", scrubbed.target()]);
    }
    if !disk.facts.files.is_empty() && disk.facts.state == "clean" && disk.name != "ext4-cut-short"
    {
        let reader = ext_reader(disk.facts.kernel_mounts && disk.name != "ext4-external-journal");
        assert_files(scrubbed.target(), reader, &disk.facts.files);
    }
}

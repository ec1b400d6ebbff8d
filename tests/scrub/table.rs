// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disks of `scripts/make-images/table`: partition tables, hostile ones
//! among them.

use std::path::Path;

use super::{Kind, assert_same_answer};
use crate::support::{run, try_run};
use crate::variants::{Reader, Scrubbed, Variant, assert_files, cut_out};

const MIB: u64 = 1 << 20;

pub(crate) static KIND: Kind = Kind {
    maker: "table",
    needs: &[
        "sgdisk", "sfdisk", "mke2fs", "e2fsck", "debugfs", "dumpe2fs", "mkfs.fat", "fsck.fat",
        "mcopy", "mkswap", "openssl", "python3",
    ],
    disks: &[NAMES],
    judge,
};

scrub_tests!(
    gpt_256_entries gpt_4k_sectors gpt_absurd_count gpt_copies_differ gpt_cut_short
    gpt_damaged_array gpt_damaged_backup gpt_damaged_backup_array gpt_damaged_both
    gpt_damaged_header gpt_gaps gpt_grown gpt_hybrid gpt_no_protective gpt_odd_protective
    gpt_overlap gpt_past_end gpt_plain gpt_reversed gpt_tiny gpt_wide_entries gpt_wiped_header
    mbr_all_used mbr_logical mbr_logical_out_of_order mbr_loop mbr_overlap mbr_past_end
    mbr_plain mbr_tiny none_empty none_ext4 none_ext4_over_gpt none_fat none_fat_over_mbr
    none_junk none_two_claims
);

#[track_caller]
fn judge(disk: &Variant, scrubbed: &Scrubbed) {
    if disk.facts.table == "gpt" || disk.facts.table == "dos" {
        assert_same_answer(disk, scrubbed, "sgdisk", &["--verify"]);
        assert_same_answer(disk, scrubbed, "sfdisk", &["--dump"]);
    }
    for (number, files) in &disk.facts.partition_files {
        let part = scrubbed.folder.join("partition.raw");
        let place = disk.facts.partitions.iter().find(|part| part.number.to_string() == *number);
        let (first_byte, length) = match place {
            Some(place) => (place.first_byte, place.length),
            None if number == "0" => (0, disk.facts.length),
            // A hostile table's partitions are judged by their bytes alone.
            None => continue,
        };
        cut_out(Path::new(scrubbed.target()), first_byte, length, &part);
        if is_fat(&part) {
            run("fsck.fat", &["-n", &part]);
            assert_files(&part, Reader::Mtools, files);
        } else {
            run("e2fsck", &["-fn", &part]);
            assert_files(&part, Reader::Debugfs, files);
        }
    }
    assert!(
        scrubbed.used.bytes() > disk.facts.length / 100 || disk.facts.length < MIB,
        "{}: hardly anything was stored",
        disk.name
    );
}

fn is_fat(part: &str) -> bool {
    try_run("blkid", &["-p", "-o", "value", "-s", "TYPE", part]).out().trim() == "vfat"
}

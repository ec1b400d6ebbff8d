// SPDX-License-Identifier: MIT OR Apache-2.0
//! The scrub test: a disk is saved and restored over junk, so that everything
//! called free is junk afterwards. Then fsck finds nothing, and every file has
//! its hash. The used map holds all that an oracle calls used.

use std::fs;
use std::path::Path;

use crate::crash;
use crate::support::{requires, run, temp_dir, try_run};
use crate::variants::{
    Ranges, Reader, Scrubbed, Variant, assert_files, committed, cut_out, ext_reader, names_of,
    read_mapfile, scrub, variant,
};

const MIB: u64 = 1 << 20;

/// One test for each disk that a maker makes; the name of the test is that of
/// the disk with underscores.
macro_rules! scrub_tests {
    ($maker:ident, $list:ident: $($name:ident)*) => {
        mod $maker {
            $(#[test]
            fn $name() {
                super::scrub_test(stringify!($maker), stringify!($name));
            })*
        }
        const $list: &[&str] = &[$(stringify!($name)),*];
    };
}

scrub_tests!(ext, EXT:
    ext2_1k ext2_4k ext2_revision_0 ext2_tiny ext3_1k ext3_4k ext3_tiny ext4_16k ext4_1g ext4_1k
    ext4_2k ext4_32bit ext4_4k ext4_4k_groups ext4_64k ext4_64k_groups ext4_bigalloc
    ext4_bigalloc_1k ext4_bigalloc_tail ext4_casefold ext4_converted ext4_csum_seed
    ext4_cut_short ext4_dirty_damaged_log ext4_dirty_external_journal ext4_ea_inode ext4_empty
    ext4_encrypt ext4_error_flag ext4_every_backup ext4_external_journal
    ext4_external_journal_device ext4_fast_commit ext4_full ext4_grown ext4_inline_data
    ext4_large_dir ext4_lazy_tables ext4_meta_bg ext4_meta_bg_partly ext4_mmp ext4_mount_count
    ext4_no_csum ext4_no_flex_bg ext4_no_journal ext4_no_resize_inode ext4_odd_length
    ext4_orphan_file ext4_packed_meta ext4_quota ext4_shrunk ext4_sparse_super2
    ext4_sparse_super2_one ext4_stable_inodes ext4_stride ext4_tail ext4_tiny ext4_tiny_bigalloc
    ext4_tiny_groups ext4_uninit_bg ext4_uninit_csum ext4_unknown_compat ext4_unknown_incompat
    ext4_unknown_ro_compat ext4_verity ext4_zeroed_tables
);

scrub_tests!(fat, FAT:
    fat12 fat12_4k_sectors fat12_copies_differ fat12_floppy fat12_tiny fat16 fat16_bad_clusters
    fat16_copies_differ fat16_cut_short fat16_dirty fat16_full fat16_large_clusters
    fat16_one_copy fat16_tail fat16_tiny fat32 fat32_1g fat32_4k_sectors fat32_bad_clusters
    fat32_copies_differ fat32_dirty fat32_empty fat32_one_copy fat32_reserved_bits
    fat32_second_active fat32_small fat32_tiny fat32_wrong_hints
);

scrub_tests!(swap, SWAP:
    swap_16k swap_4k swap_64k swap_8k swap_cut_short swap_odd_length swap_suspended
    swap_suspended_64k swap_suspended_linhib swap_suspended_s2 swap_suspended_ul swap_tail
    swap_tiny swap_tiny_suspended swap_version_0
);

scrub_tests!(table, TABLE:
    gpt_256_entries gpt_4k_sectors gpt_absurd_count gpt_copies_differ gpt_cut_short
    gpt_damaged_array gpt_damaged_backup gpt_damaged_backup_array gpt_damaged_both
    gpt_damaged_header gpt_gaps gpt_grown gpt_hybrid gpt_no_protective gpt_odd_protective
    gpt_overlap gpt_past_end gpt_plain gpt_reversed gpt_tiny gpt_wide_entries gpt_wiped_header
    mbr_all_used mbr_logical mbr_logical_out_of_order mbr_loop mbr_overlap mbr_past_end
    mbr_plain mbr_tiny none_empty none_ext4 none_ext4_over_gpt none_fat none_fat_over_mbr
    none_junk none_two_claims
);

#[test]
fn every_disk_of_every_maker_has_a_test() {
    for (maker, lists) in [
        ("ext", vec![EXT, crash::DIRTY]),
        ("fat", vec![FAT]),
        ("swap", vec![SWAP]),
        ("table", vec![TABLE]),
    ] {
        // Its list needs what the maker needs.
        if variant(maker, &lists[0][0].replace('_', "-")).is_none() {
            continue;
        }
        let mut tested: Vec<String> =
            lists.concat().iter().map(|name| name.replace('_', "-")).collect();
        let mut made = names_of(maker);
        tested.sort();
        made.sort();
        assert_eq!(tested, made, "disks of scripts/make-images/{maker}");
    }
}

/// The disks of images/, which need neither root nor loop devices.
#[test]
fn committed_disks() {
    if !requires(&["e2fsck", "debugfs", "fsck.fat", "mcopy"]) {
        return;
    }
    let folder = temp_dir();
    for disk in committed(folder.path()) {
        eprintln!("{}", disk.name);
        judge(&disk, &scrub(&disk));
    }
}

#[track_caller]
fn scrub_test(maker: &str, name: &str) {
    let name = name.replace('_', "-");
    let Some(disk) = variant(maker, &name) else { return };
    judge(&disk, &scrub(&disk));
}

/// Everything that has to hold of a restored disk beyond its bytes.
#[track_caller]
pub(crate) fn judge(disk: &Variant, scrubbed: &Scrubbed) {
    assert_map(disk, &scrubbed.used);
    assert_partclone_agrees(disk, &scrubbed.used);
    if !disk.facts.table.is_empty() {
        judge_table(disk, scrubbed);
    } else if disk.is_ext() {
        judge_ext(disk, scrubbed);
    } else if disk.is_fat() {
        judge_fat(disk, scrubbed);
    } else {
        assert_same_answer(disk, scrubbed, "blkid", &["-p"]);
    }
}

/// The map holds what the oracle calls used, and what lies behind the
/// filesystem, and (where that was to be understood) not much more.
#[track_caller]
fn assert_map(disk: &Variant, used: &Ranges) {
    let facts = &disk.facts;
    for (oracle, whose) in [
        (&facts.used, "the oracle calls used"),
        (&facts.used_after_replay, "is used after the replay"),
    ] {
        let inside = Ranges::new(oracle.clone());
        let inside = inside.without(&Ranges::new(vec![(facts.length, u64::MAX / 2)]));
        let missing = inside.without(used);
        assert!(
            missing.0.is_empty(),
            "{}: not stored, but {whose}: {}",
            disk.name,
            missing.sample()
        );
    }
    if let Some(end) = facts.filesystem_length.filter(|&end| end < facts.length) {
        let missing = Ranges::new(vec![(end, facts.length - end)]).without(used);
        assert!(missing.0.is_empty(), "{}: tail not stored: {}", disk.name, missing.sample());
    }
    match facts.understood {
        Some(false) => assert_eq!(
            used.bytes(),
            facts.length,
            "{}: something was called free, although {}",
            disk.name,
            facts.because
        ),
        Some(true) => assert_not_much_more(disk, used),
        None => {}
    }
}

/// At most one per cent above the oracle. Small disks may have 64 KiB more,
/// and a dirty one all that the journal has copies of.
#[track_caller]
fn assert_not_much_more(disk: &Variant, used: &Ranges) {
    let facts = &disk.facts;
    let mut oracle = facts.used.clone();
    oracle.extend(&facts.used_after_replay);
    if let Some(end) = facts.filesystem_length.filter(|&end| end < facts.length) {
        oracle.push((end, facts.length - end));
    }
    let oracle = Ranges::new(oracle).bytes().min(facts.length);
    let free = facts.length - oracle;
    let slack = if !facts.used_after_replay.is_empty() {
        free / 2
    } else if facts.length >= 1 << 30 {
        oracle / 100
    } else {
        oracle / 100 + 65536
    };
    assert!(
        used.bytes() <= oracle + slack,
        "{}: {} bytes are stored, the oracle calls only {oracle} used",
        disk.name,
        used.bytes()
    );
}

/// partclone's domain map is inside ours, where partclone is right at all.
#[track_caller]
fn assert_partclone_agrees(disk: &Variant, used: &Ranges) {
    let facts = &disk.facts;
    let has = |feature: &str| facts.features.iter().any(|name| name == feature);
    let program = if disk.is_ext() {
        // Wrong with bigalloc (it takes clusters for blocks) and with a
        // journal to replay; refuses mount counts, errors and 64 KiB blocks.
        let wrong = facts.state == "dirty"
            || facts.understood != Some(true)
            || has("bigalloc")
            || ["mount-count", "64k", "16k"].iter().any(|part| disk.name.contains(part));
        (!wrong).then_some("partclone.extfs")
    } else if disk.is_fat() {
        // Wrong with FAT12 and 4096-byte sectors; refuses a dirty bit.
        let wrong = facts.state == "dirty"
            || facts.understood != Some(true)
            || disk.name.starts_with("fat12")
            || disk.name == "fat32-4k-sectors";
        (!wrong).then_some("partclone.fat")
    } else {
        None
    };
    let Some(program) = program.filter(|program| requires(&[program])) else { return };
    let folder = temp_dir();
    let (map, log) = (folder.join("domain.map"), folder.join("log"));
    run(program, &["-D", "-q", "-s", disk.path(), "-o", &map, "-L", &log]);
    let text = fs::read_to_string(&map).expect("reading partclone's map");
    let (oracle, _) = read_mapfile(&text);
    let oracle = oracle.without(&Ranges::new(vec![(facts.length, u64::MAX / 2)]));
    assert!(oracle.bytes() > 0, "{}: partclone's map is empty", disk.name);
    let missing = oracle.without(used);
    assert!(missing.0.is_empty(), "{}: partclone stores more: {}", disk.name, missing.sample());
}

#[track_caller]
fn judge_ext(disk: &Variant, scrubbed: &Scrubbed) {
    if disk.facts.fsck == "clean" {
        run("e2fsck", &["-fn", &scrubbed.target]);
    }
    if !disk.facts.files.is_empty() && disk.facts.state == "clean" && disk.name != "ext4-cut-short"
    {
        let reader = ext_reader(disk.facts.kernel_mounts && disk.name != "ext4-external-journal");
        assert_files(&scrubbed.target, reader, &disk.facts.files);
    }
}

#[track_caller]
fn judge_fat(disk: &Variant, scrubbed: &Scrubbed) {
    if disk.facts.fsck == "clean" {
        run("fsck.fat", &["-n", &scrubbed.target]);
    }
    // A fault that was there has to be there again, and no other.
    assert_same_answer(disk, scrubbed, "fsck.fat", &["-n", "-v"]);
    if disk.facts.read_files && !disk.facts.files.is_empty() && disk.name != "fat16-cut-short" {
        assert_files(&scrubbed.target, Reader::Mtools, &disk.facts.files);
    }
}

/// A program says the same of the restored disk as of the source.
#[track_caller]
fn assert_same_answer(disk: &Variant, scrubbed: &Scrubbed, program: &str, options: &[&str]) {
    if !requires(&[program]) {
        return;
    }
    let answer = |path: &str| {
        let ran = try_run(program, &[options, &[path]].concat());
        let text = format!("{}\n{}\n{}", ran.code, ran.out(), ran.err());
        text.replace(path, "DISK")
    };
    assert_eq!(answer(disk.path()), answer(&scrubbed.target), "{}: {program}", disk.name);
}

#[track_caller]
fn judge_table(disk: &Variant, scrubbed: &Scrubbed) {
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
        cut_out(Path::new(&scrubbed.target), first_byte, length, &part);
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

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disks of `scripts/make-images/hfsplus`.

use super::{Kind, assert_partclone_agrees, assert_same_answer};
use crate::support::{dacapo, requires, temp_dir, try_run};
use crate::variants::{Scrubbed, Variant, assert_hashes};

pub(crate) static KIND: Kind = Kind {
    maker: "hfsplus",
    needs: &["fsstat", "blkls", "tsk_recover", "fshfsinfo", "blkid", "openssl", "python3"],
    disks: &[NAMES],
    judge,
};

scrub_tests!(
    hfsplus_512 hfsplus_bad_blocks hfsplus_copy_other hfsplus_cut_short hfsplus_dirty
    hfsplus_empty hfsplus_fragmented hfsplus_full hfsplus_journal hfsplus_journal_dirty
    hfsplus_journal_elsewhere hfsplus_journal_init hfsplus_long_bitmap hfsplus_map_nodes
    hfsplus_replay_failed hfsplus_tail hfsplus_tiny hfsplus_tiny_attributes hfsplus_tiny_dirty
    hfsplus_tiny_fragmented hfsplus_tiny_wrapped hfsplus_unknown_flag hfsplus_wrapped hfsx
    hfsx_binary
    ;
    hfsplus_16k hfsplus_1g hfsplus_1k hfsplus_4k hfsplus_64k hfsplus_attribute_forks
    hfsplus_copy_lost hfsplus_copy_old hfsplus_inconsistent hfsplus_journal_little
    hfsplus_journal_wrapped hfsplus_no_attributes hfsplus_part_block hfsplus_startup
    hfsplus_unmarked
);

#[track_caller]
fn judge(disk: &Variant, scrubbed: &Scrubbed) {
    let facts = &disk.facts;
    // Follows no more than eight extents of the allocation file.
    if facts.understood == Some(true) && !disk.name.contains("fragmented") {
        assert_partclone_agrees(disk, &scrubbed.used, "partclone.hfsplus");
    }
    assert_same_answer(disk, scrubbed, "fsstat", &["-f", "hfs"]);
    assert_same_answer(disk, scrubbed, "fls", &["-r", "-p", "-f", "hfs"]);
    assert_same_answer(disk, scrubbed, "fshfsinfo", &[]);
    assert_same_answer(disk, scrubbed, "blkid", &["-p"]);
    if !facts.files.is_empty() && requires(&["tsk_recover"]) {
        let folder = temp_dir();
        // It ends with an error at attributes with forks, and goes on before.
        let _ = try_run("tsk_recover", &["-a", "-f", "hfs", scrubbed.target(), &folder.join("")]);
        assert_hashes(folder.path(), &facts.files);
    }
    assert_identity(disk);
}

/// Label and UUID are those that blkid tells, and a disk that is not clean is
/// called so.
#[track_caller]
fn assert_identity(disk: &Variant) {
    let more = |name: &str| disk.facts.more.get(name)?.as_str().filter(|text| !text.is_empty());
    let said = dacapo(&["save", "--dry-run", "--json", disk.path(), "/nonexistent/image"]);
    for name in ["blkid_uuid", "blkid_label"] {
        if let Some(text) = more(name) {
            assert!(said.out().contains(&format!("\"{text}\"")), "{}: {name}\n{said}", disk.name);
        }
    }
    let parts = ["-dirty", "inconsistent", "replay-failed", "cut-short"];
    let is_unclean = parts.iter().any(|part| disk.name.contains(part));
    assert_eq!(said.out().contains("\"clean\":false"), is_unclean, "{}\n{said}", disk.name);
}

/// 2 TiB with a bitmap of 64 MiB and nothing else to read.
#[test]
fn a_volume_of_2_tib_is_read_in_two_seconds_and_100_mb() {
    if !requires(&["python3", "time"]) {
        return;
    }
    let folder = temp_dir();
    let image = folder.join("disk.raw");
    let file = std::fs::File::create(&image).expect("creating the disk");
    file.set_len(2 << 40).expect("sizing the disk");
    let builder = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/make-images/hfsplus_build.py");
    let made = try_run("python3", &[builder, &image, "", "journal=little"]);
    assert!(made.code == 0, "{made}");
    let program = env!("CARGO_BIN_EXE_dacapo");
    // A machine that is busy with other tests is slow: the time of the processor
    // counts.
    let ran = try_run("time", &["-f", "%U %S %M", program, "map", &image]);
    assert!(ran.code == 0, "{ran}");
    let figures = ran.err().lines().last().unwrap_or_default().to_owned();
    let numbers: Vec<f64> = figures.split(' ').map(|text| text.parse().expect("numbers")).collect();
    let [user, system, kilobytes] = numbers[..] else { panic!("{figures}") };
    let used = ran.out().lines().filter(|line| line.ends_with('+')).count();
    assert!((2..10).contains(&used), "{ran}");
    assert!(kilobytes < 100_000.0, "{figures}");
    assert!(user + system < 4.0, "{figures}");
}

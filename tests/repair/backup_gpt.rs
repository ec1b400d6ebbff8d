// SPDX-License-Identifier: MIT OR Apache-2.0
//! The backup of the partition table on a disk that has become larger.

use std::fs::{self, File};

use super::{MIB, differences, listed, repair};
use crate::support::{Loop, TempDir, dacapo, junk_file, requires, run, temp_dir, try_run};

/// A disk of 16 MiB full of junk, with two partitions.
fn disk(folder: &TempDir) -> String {
    let disk = folder.join("disk.raw");
    junk_file(&disk, 16 * MIB);
    run("sgdisk", &["--zap-all", &disk]);
    run("sgdisk", &["-n1:2048:+2M", "-t1:ef00", "-n2:0:+8M", "-c2:system", "-u2:R", &disk]);
    disk
}

fn lengthen(path: &str, len: u64) {
    File::options().write(true).open(path).unwrap().set_len(len).unwrap();
}

/// What sgdisk finds wrong.
fn problems(disk: &str) -> String {
    try_run("sgdisk", &["-v", disk]).out().to_owned()
}

#[track_caller]
fn assert_good(disk: &str) {
    let found = problems(disk);
    assert!(found.contains("No problems found"), "{found}");
}

#[test]
fn the_backup_moves_to_the_end_of_a_larger_disk_and_nothing_else_changes() {
    if !requires(&["sgdisk"]) {
        return;
    }
    let folder = temp_dir();
    let disk = disk(&folder);
    assert_good(&disk);
    let before = listed(&disk, "backup-gpt", &[]);
    assert_eq!(before["state"], "not-needed", "{before}");

    lengthen(&disk, 24 * MIB);
    assert!(!problems(&disk).contains("No problems found"));
    let copy = folder.join("before.raw");
    fs::copy(&disk, &copy).unwrap();
    let step = listed(&disk, "backup-gpt", &[]);
    assert_eq!(step["state"], "possible", "{step}");
    let will = step["will"].to_string();
    assert!(will.contains("the backup GPT moves to sector 49151"), "{will}");
    assert!(will.contains("the sectors 32735 to 32767"), "{will}");
    // Neither the list nor a dry run writes.
    repair(&disk, &["backup-gpt"], &["--dry-run"]).success();
    assert!(differences(&disk, &copy).is_empty());

    let ran = repair(&disk, &["backup-gpt"], &[]).success();
    assert!(ran.out().contains("both copies of the partition table are good"), "{ran}");
    assert_good(&disk);
    let changed = differences(&disk, &copy);
    // Protective MBR and header, the old backup, the new one.
    assert_eq!(changed.first(), Some(&(0, 2)), "{changed:?}");
    for (start, end) in &changed[1..] {
        let old = (32735..=32768).contains(start) && *end <= 32768;
        let new = *start >= 49119;
        assert!(old || new, "{changed:?}");
    }
    let guid = |path: &str| run("sgdisk", &["-p", path]).out().to_owned();
    let (old, new) = (guid(&copy), guid(&disk));
    for part in ["Disk identifier", "system", "EF00"] {
        let line = |text: &str| text.lines().find(|line| line.contains(part)).unwrap().to_owned();
        assert_eq!(line(&old), line(&new));
    }
    // Once more there is nothing to do, which is no failure.
    fs::copy(&disk, &copy).unwrap();
    let ran = repair(&disk, &["backup-gpt"], &[]).success();
    assert!(ran.out().contains("nothing to do"), "{ran}");
    assert!(differences(&disk, &copy).is_empty());
}

#[test]
fn a_backup_that_is_missing_is_made_from_the_primary() {
    if !requires(&["sgdisk"]) {
        return;
    }
    let folder = temp_dir();
    let disk = disk(&folder);
    // Only the start was copied: the old end is not on the disk.
    for len in [12 * MIB, 40 * MIB] {
        lengthen(&disk, 12 * MIB);
        lengthen(&disk, len);
        assert!(!problems(&disk).contains("No problems found"));
        repair(&disk, &["backup-gpt"], &[]).success();
        assert_good(&disk);
    }
}

#[test]
fn a_partition_in_the_way_is_not_written_over() {
    if !requires(&["sgdisk"]) {
        return;
    }
    let folder = temp_dir();
    let disk = disk(&folder);
    lengthen(&disk, 11 * MIB);
    let copy = folder.join("before.raw");
    fs::copy(&disk, &copy).unwrap();
    let step = listed(&disk, "backup-gpt", &[]);
    assert_eq!(step["state"], "not-possible", "{step}");
    assert!(step["reason"].as_str().unwrap().contains("partition 2 ends at"), "{step}");
    let ran = repair(&disk, &["backup-gpt"], &[]);
    assert_eq!(ran.code, 5, "{ran}");
    assert!(differences(&disk, &copy).is_empty());
}

#[test]
fn a_loop_device_is_confirmed_by_its_size_and_refused_while_in_use() {
    if !requires(&["root", "loop", "sgdisk", "mkfs.ext4", "kernel:ext4"]) {
        return;
    }
    let folder = temp_dir();
    let file = disk(&folder);
    lengthen(&file, 24 * MIB);
    let device = Loop::new(&file, &[]);
    let args = ["repair", device.device(), "--step", "backup-gpt", "--yes"];
    let ran = dacapo(&args);
    assert_eq!(ran.code, 5, "{ran}");
    assert!(ran.err().contains("--yes is not enough"), "{ran}");
    // Somebody has it open for himself.
    let size = (24 * MIB).to_string();
    let confirmed = [&args[..], &["--confirm", &size]].concat();
    {
        use std::os::unix::fs::OpenOptionsExt;
        let _claim = File::options().read(true).custom_flags(0o200).open(device.device()).unwrap();
        let ran = dacapo(&confirmed);
        assert_eq!(ran.code, 5, "{ran}");
    }
    dacapo(&confirmed).success();
    assert_good(device.device());
}

#[test]
fn without_a_gpt_there_is_nothing_to_move() {
    if !requires(&["sfdisk"]) {
        return;
    }
    let folder = temp_dir();
    let disk = folder.join("disk.raw");
    File::create(&disk).unwrap().set_len(8 * MIB).unwrap();
    let step = listed(&disk, "backup-gpt", &[]);
    assert_eq!(step["state"], "not-possible", "{step}");
    assert!(step["reason"].as_str().unwrap().contains("no partition table"), "{step}");
    let script = folder.join("table");
    fs::write(&script, "label: dos\nstart=2048, size=4096, type=83\n").unwrap();
    let mut command = std::process::Command::new("/usr/sbin/sfdisk");
    command.args(["--quiet", &disk]);
    crate::support::finish(command, &fs::read(&script).unwrap()).success();
    let step = listed(&disk, "backup-gpt", &[]);
    assert_eq!(step["state"], "not-needed", "{step}");
    assert!(step["reason"].as_str().unwrap().contains("MBR"), "{step}");
}

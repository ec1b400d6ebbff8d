// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo demo`, judged by other programs: what it claims of its restored
//! disk is what fsck and unsquashfs find on it.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use crate::support::{
    Ran, TempDir, assert_same, dacapo_command, finish, requires, run, temp_dir, try_run,
};

/// The demo with its temporary folder inside `folder`.
fn demo(folder: &TempDir, args: &[&str]) -> Ran {
    let mut command = dacapo_command(&[&["demo"], args].concat());
    command.env("TMPDIR", folder.path());
    finish(command, &[])
}

fn is_empty(folder: &TempDir) -> bool {
    fs::read_dir(folder.path()).unwrap().next().is_none()
}

#[test]
fn every_step_is_told_and_nothing_is_left() {
    let folder = temp_dir();
    let ran = demo(&folder, &[]).success();
    for title in ["1. A disk", "2. Save", "3. Verify", "4. Restore", "5. Compare"] {
        assert!(ran.out().contains(title), "{title}\n{ran}");
    }
    for part in ["GPT", "FAT16", "ext4", "swap", "stored whole: ", "are still junk"] {
        assert!(ran.out().contains(part), "{part}\n{ran}");
    }
    assert!(ran.out().lines().all(|line| line.is_ascii() && line.len() <= 80), "{ran}");
    assert!(ran.out().trim_end().lines().last().unwrap().starts_with("every byte in use"), "{ran}");
    assert!(ran.stderr.is_empty(), "{ran}");
    assert!(is_empty(&folder));
}

#[test]
fn quiet_says_the_result_and_json_says_all() {
    let folder = temp_dir();
    let ran = demo(&folder, &["--quiet"]).success();
    assert_eq!(ran.out().trim().lines().count(), 1, "{ran}");
    let ran = demo(&folder, &["--json"]).success();
    let summary = &ran.messages("summary")[0];
    assert_eq!(ran.json_lines().len(), 1, "{ran}");
    assert_eq!(summary["disk_size"], 64 << 20);
    let used = summary["used"].as_u64().unwrap();
    assert!((4 << 20..20 << 20).contains(&used), "{used}");
    assert_eq!(summary["bytes_compared"].as_u64(), Some(used));
    assert!(summary["junk_left_alone"].as_u64().unwrap() > 40 << 20);
    assert!(is_empty(&folder));
}

#[test]
fn without_zstd_the_last_step_is_skipped() {
    let folder = temp_dir();
    let mut command = dacapo_command(&["demo"]);
    command.env("TMPDIR", folder.path()).env("PATH", folder.path());
    finish(command, &[]).success().says("skipped");
    assert!(is_empty(&folder));
}

#[test]
fn a_disk_that_differs_ends_with_4_and_leaves_nothing() {
    // A zstd that finds no fault, but gives another disk, a shorter one, or a
    // longer one.
    for script in ["head -c 67108864 /dev/zero", "head -c 5 \"$2\"", "false"] {
        let (folder, programs) = (temp_dir(), temp_dir());
        let zstd = programs.join("zstd");
        fs::write(&zstd, format!("#!/bin/sh\n[ \"$1\" = -t ] || {script}\n")).unwrap();
        fs::set_permissions(&zstd, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = dacapo_command(&["demo"]);
        let path = format!("{}:/usr/bin:/bin", programs.path().display());
        command.env("TMPDIR", folder.path()).env("PATH", path);
        finish(command, &[]).exits(4).says("error: what 'zstd -dc' gives differs at 0x0-");
        assert!(is_empty(&folder));
    }
}

#[test]
fn files_of_an_earlier_demo_are_not_overwritten() {
    let folder = temp_dir();
    let kept = folder.join("kept");
    demo(&folder, &["--keep", &kept]).success().says("the files are kept in");
    let before = fs::metadata(format!("{kept}/disk.img.zst")).unwrap().modified().unwrap();
    demo(&folder, &["--keep", &kept]).exits(5).says("exists already");
    let after = fs::metadata(format!("{kept}/disk.img.zst")).unwrap().modified().unwrap();
    assert_eq!(before, after);
}

/// One partition of a disk in a file of its own.
fn cut_out(disk: &Path, from: &Path, number: u64, folder: &TempDir) -> String {
    let info = run("sgdisk", &["-i", &number.to_string(), from.to_str().unwrap()]);
    let sector = |name: &str| -> u64 {
        let line = info.out().lines().find(|line| line.starts_with(name)).unwrap();
        line.split([':', ' ']).find_map(|word| word.parse().ok()).unwrap()
    };
    let (first, last) = (sector("First sector"), sector("Last sector"));
    let mut bytes = vec![0; ((last - first + 1) * 512) as usize];
    File::open(disk).unwrap().read_exact_at(&mut bytes, first * 512).unwrap();
    let path = folder.join(&format!("partition-{number}"));
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn the_restored_disk_is_sound_to_other_programs() {
    if !requires(&["sgdisk", "fsck.fat", "e2fsck", "debugfs", "unsquashfs", "zstd", "swaplabel"]) {
        return;
    }
    let folder = temp_dir();
    let kept = folder.join("kept");
    demo(&folder, &["--keep", &kept]).success();
    let disk = Path::new(&kept).join("restored.raw");
    run("sgdisk", &["-v", disk.to_str().unwrap()]).says("No problems found");
    let part = |number| cut_out(&disk, &disk, number, &folder);
    run("fsck.fat", &["-n", &part(1)]);
    run("e2fsck", &["-fn", &part(2)]);
    run("swaplabel", &[&part(3)]).says("LABEL: swap");

    // The sounds on the ext4 and those in the SquashFS were written as the same files.
    let listed = run("unsquashfs", &["-d", &folder.join("sounds"), &part(4)]);
    assert!(listed.out().contains("created 6 files"), "{listed}");
    let system = folder.join("partition-2");
    for name in ["drums/kick.wav", "strings/a5.wav"] {
        let copy = folder.join("copy.wav");
        let ask = format!("dump /home/studio/songs/{name} {copy}");
        try_run("debugfs", &["-R", &ask, &system]).success();
        assert!(fs::metadata(&copy).unwrap().len() > 1000);
        assert_same(&copy, folder.join(&format!("sounds/{name}")));
    }
    // The free space is the target's junk, not the first disk's.
    let first = fs::read(Path::new(&kept).join("disk.raw")).unwrap();
    let text = b"an old mix that was deleted";
    let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(holds(&first));
    assert!(!holds(&fs::read(&disk).unwrap()));
}

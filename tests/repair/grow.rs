// SPDX-License-Identifier: MIT OR Apache-2.0
//! The last partition of a larger disk, judged by the checkers of each
//! filesystem and by the files in it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::{MIB, listed, repair};
use crate::support::{
    Loop, Mount, TempDir, dacapo, dacapo_command, finish, hash_of, junk, junk_file, requires, run,
    sparse_file, temp_dir, tree_of, try_run,
};

/// Where the last partition starts.
const START: u64 = 18 * MIB;

/// A filesystem in a file, with some files in it, and their hashes.
fn filesystem(folder: &TempDir, kind: &str, len: u64) -> (String, BTreeMap<String, String>) {
    let path = folder.join(&format!("{kind}.raw"));
    sparse_file(&path, len);
    match kind {
        "ntfs" => run("mkntfs", &["-F", "-Q", "-L", "STUDIO", "-p", "36864", &path]),
        "btrfs" => run("mkfs.btrfs", &["-q", "-L", "STUDIO", &path]),
        "xfs" => run("mkfs.xfs", &["-q", "-L", "STUDIO", &path]),
        _ => run(&format!("mkfs.{kind}"), &["-q", "-L", "STUDIO", &path]),
    };
    let tree = {
        let mount = mount(&path, kind, "rw");
        for n in 0..20_u64 {
            let at = mount.path().join(format!("folder {}", n % 3));
            fs::create_dir_all(&at).unwrap();
            fs::write(at.join(format!("take {n}.wav")), junk(100_000 * n as usize, n)).unwrap();
        }
        tree_of(mount.path())
    };
    (path, tree)
}

fn mount(path: &str, kind: &str, options: &str) -> Mount {
    let driver = if kind == "ntfs" { "ntfs-3g" } else { kind };
    Mount::new(path, driver, &format!("{options},loop"))
}

/// A disk with a first partition full of junk and this filesystem in the last
/// one.
fn disk(folder: &TempDir, table: &str, filesystem: &str, type_id: &str) -> String {
    let path = folder.join("disk.raw");
    let len = fs::metadata(filesystem).unwrap().len();
    junk_file(&path, START);
    File::options().write(true).open(&path).unwrap().set_len(START + len + MIB).unwrap();
    let sectors = len / 512;
    if table == "gpt" {
        run("sgdisk", &["--zap-all", &path]);
        let last = format!("-n2:{}:+{}", START / 512, sectors);
        let last = last.replace(&format!("+{sectors}"), &(START / 512 + sectors - 1).to_string());
        let kind = format!("-t2:{type_id}");
        run("sgdisk", &["-n1:2048:+16M", &last, &kind, "-c2:studio", &path]);
    } else {
        let script = format!(
            "label: dos\nstart=2048, size=32768, type=83\nstart={}, size={sectors}, type={type_id}\n",
            START / 512
        );
        let mut command = std::process::Command::new("/usr/sbin/sfdisk");
        command.args(["--quiet", &path]);
        finish(command, script.as_bytes()).success();
    }
    put(&path, START, filesystem);
    path
}

fn put(disk: &str, at: u64, content: &str) {
    let mut disk = File::options().write(true).open(disk).unwrap();
    disk.seek(SeekFrom::Start(at)).unwrap();
    std::io::copy(&mut File::open(content).unwrap(), &mut disk).unwrap();
}

/// The larger disk: the same bytes, and junk behind them.
fn lengthen(path: &str, by: u64) {
    let mut file = File::options().append(true).open(path).unwrap();
    file.write_all(&junk(by as usize, 99)).unwrap();
}

/// A partition in a file of its own.
fn part(folder: &TempDir, disk: &str, start: u64, len: u64) -> String {
    let path = folder.join("part.raw");
    let mut disk = File::open(disk).unwrap();
    disk.seek(SeekFrom::Start(start)).unwrap();
    std::io::copy(&mut disk.take(len), &mut File::create(&path).unwrap()).unwrap();
    path
}

/// Start and length of the last partition, as sfdisk reads it.
fn last_partition(disk: &str) -> (u64, u64) {
    let ran = run("sfdisk", &["--json", disk]);
    let value: serde_json::Value = serde_json::from_str(ran.out()).unwrap();
    let last = value["partitiontable"]["partitions"].as_array().unwrap().last().unwrap().clone();
    (last["start"].as_u64().unwrap() * 512, last["size"].as_u64().unwrap() * 512)
}

#[track_caller]
fn assert_checked(kind: &str, path: &str) {
    match kind {
        "xfs" => drop(run("xfs_repair", &["-n", path])),
        "btrfs" => drop(run("btrfs", &["check", "--check-data-csum", path])),
        "ntfs" => {
            let ran = run("ntfsresize", &["--info", "--force", path]);
            assert!(ran.out().contains("Collecting resizing constraints"), "{ran}");
        }
        _ => drop(run("e2fsck", &["-f", "-n", path])),
    }
}

/// The size that the filesystem itself says it has.
fn size_of(kind: &str, path: &str) -> u64 {
    let number = |text: &str| -> u64 {
        text.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
    };
    match kind {
        "xfs" => {
            let ran = run("xfs_db", &["-r", "-c", "sb 0", "-c", "p dblocks blocksize", path]);
            ran.out().lines().map(|line| number(line.rsplit(' ').next().unwrap())).product()
        }
        "btrfs" => {
            let ran = run("btrfs", &["inspect-internal", "dump-super", path]);
            let line = ran.out().lines().find(|line| line.starts_with("total_bytes")).unwrap();
            number(line)
        }
        "ntfs" => {
            let ran = run("ntfsresize", &["--info", "--force", path]);
            let line =
                ran.out().lines().find(|line| line.starts_with("Current volume size")).unwrap();
            number(line.split(':').nth(1).unwrap().split('b').next().unwrap())
        }
        _ => {
            let ran = run("dumpe2fs", &["-h", path]);
            let value =
                |name: &str| number(ran.out().lines().find(|line| line.starts_with(name)).unwrap());
            value("Block count") * value("Block size")
        }
    }
}

/// A disk that was restored to a larger one: a filesystem in its last
/// partition, and unused space behind it.
pub(crate) struct Larger {
    pub(crate) folder: TempDir,
    pub(crate) disk: String,
    table: &'static str,
    kind: &'static str,
    len: u64,
    tree: BTreeMap<String, String>,
    head: String,
}

impl Larger {
    pub(crate) fn new(table: &'static str, kind: &'static str, type_id: &str, len: u64) -> Self {
        let folder = temp_dir();
        let (raw, tree) = filesystem(&folder, kind, len);
        let disk = disk(&folder, table, &raw, type_id);
        fs::remove_file(&raw).unwrap();
        lengthen(&disk, 70 * MIB + 12_800);
        let head = hash_of(part(&folder, &disk, 34 * 512, START - 34 * 512));
        Self { folder, disk, table, kind, len, tree, head }
    }

    /// The filesystem fills the disk, is whole, and has the files of before;
    /// and all in front of it is as it was, but for the table.
    #[track_caller]
    pub(crate) fn assert_grown(&self) {
        let Self { folder, disk, table, kind, len, tree, head } = self;
        if *table == "gpt" {
            let found = run("sgdisk", &["-v", disk]);
            assert!(found.out().contains("No problems found"), "{found}");
            let found = run("sgdisk", &["-i2", disk]);
            assert!(found.out().contains("'studio'"), "{found}");
        }
        let total = fs::metadata(disk).unwrap().len();
        let (start, new_len) = last_partition(disk);
        assert_eq!(start, START);
        assert!(new_len > len + 69 * MIB && start + new_len <= total, "{new_len}");
        assert_eq!(hash_of(part(folder, disk, 34 * 512, START - 34 * 512)), *head);
        let path = part(folder, disk, start, new_len);
        let size = size_of(kind, &path);
        assert!(size > new_len - MIB && size <= new_len, "{size} of {new_len}");
        assert_checked(kind, &path);
        assert_eq!(tree_of(mount(&path, kind, "ro").path()), *tree);
    }
}

/// The whole of it, for one filesystem in one table; returns what was said.
fn grows(table: &'static str, kind: &'static str, type_id: &str, len: u64) -> String {
    let larger = Larger::new(table, kind, type_id, len);
    let step = listed(&larger.disk, "grow", &[]);
    assert_eq!(step["state"], "possible", "{step}");
    let ran = repair(&larger.disk, &["grow"], &[]).success();
    assert!(ran.out().contains("read back: partition 2 has"), "{ran}");
    larger.assert_grown();
    // Once more there is nothing to do.
    let step = listed(&larger.disk, "grow", &[]);
    assert_eq!(step["state"], "not-needed", "{step}");
    ran.out().to_owned()
}

const NEEDS: &[&str] = &["root", "loop", "sgdisk", "sfdisk"];

#[test]
fn ext4_grows() {
    if !requires(NEEDS) || !requires(&["mkfs.ext4", "kernel:ext4", "e2fsck", "resize2fs"]) {
        return;
    }
    let said = grows("gpt", "ext4", "8300", 64 * MIB);
    assert!(said.contains("e2fsck found it good"), "{said}");
    grows("mbr", "ext4", "83", 64 * MIB);
}

#[test]
fn xfs_grows() {
    if !requires(NEEDS) || !requires(&["mkfs.xfs", "kernel:xfs", "xfs_growfs", "xfs_repair"]) {
        return;
    }
    grows("gpt", "xfs", "8300", 320 * MIB);
}

#[test]
fn btrfs_grows() {
    if !requires(NEEDS) || !requires(&["mkfs.btrfs", "kernel:btrfs", "btrfs"]) {
        return;
    }
    grows("gpt", "btrfs", "8300", 240 * MIB);
}

#[test]
fn ntfs_grows_and_windows_is_announced_to_check_it() {
    if !requires(NEEDS) || !requires(&["mkntfs", "ntfs-3g", "ntfsresize"]) {
        return;
    }
    let said = grows("gpt", "ntfs", "0700", 64 * MIB);
    assert!(said.contains("Windows will check the disk"), "{said}");
    grows("mbr", "ntfs", "7", 64 * MIB);
}

#[test]
fn a_device_grows_with_the_backup_moved_first() {
    if !requires(NEEDS) || !requires(&["mkfs.ext4", "kernel:ext4", "resize2fs"]) {
        return;
    }
    let folder = temp_dir();
    let (raw, tree) = filesystem(&folder, "ext4", 64 * MIB);
    let disk = disk(&folder, "gpt", &raw, "8300");
    lengthen(&disk, 32 * MIB);
    let size = fs::metadata(&disk).unwrap().len().to_string();
    let device = Loop::new(&disk, &[]);
    let ran = dacapo(&[
        "repair",
        device.device(),
        "--yes",
        "--confirm",
        &size,
        "--step",
        "backup-gpt",
        "grow",
        "--json",
    ])
    .success();
    let summary = &ran.messages("summary")[0];
    assert_eq!(summary["steps"][0]["name"], "backup-gpt");
    assert!(summary["steps"][1]["done"].to_string().contains("read back"), "{summary}");
    let (start, len) = last_partition(device.device());
    drop(device);
    let path = part(&folder, &disk, start, len);
    assert_checked("ext4", &path);
    assert_eq!(tree_of(mount(&path, "ext4", "ro").path()), tree);
}

#[test]
fn a_step_that_was_torn_goes_on() {
    if !requires(NEEDS) || !requires(&["mkfs.ext4", "kernel:ext4", "resize2fs"]) {
        return;
    }
    let folder = temp_dir();
    let (raw, tree) = filesystem(&folder, "ext4", 64 * MIB);
    let disk = disk(&folder, "gpt", &raw, "8300");
    lengthen(&disk, 32 * MIB);
    // The program of the filesystem fails after the table was written.
    let tools = folder.join("tools");
    fs::create_dir(&tools).unwrap();
    fs::write(format!("{tools}/resize2fs"), "#!/bin/sh\necho out of luck >&2\nexit 7\n").unwrap();
    run("chmod", &["+x", &format!("{tools}/resize2fs")]);
    let mut command = dacapo_command(&["repair", &disk, "--yes", "--step", "grow", "--json"]);
    command.env("PATH", format!("{tools}:/usr/sbin:/usr/bin:/sbin:/bin"));
    let ran = finish(command, &[]);
    assert_eq!(ran.code, 1, "{ran}");
    let error = ran.messages("exit_error")[0]["message"].as_str().unwrap().to_owned();
    assert!(error.contains("partition 2 is larger now, but growing"), "{error}");
    assert!(error.contains("resize2fs ended with exit code 7: out of luck"), "{error}");
    let (start, len) = last_partition(&disk);
    let path = part(&folder, &disk, start, len);
    assert_eq!(size_of("ext4", &path), 64 * MIB);
    assert_checked("ext4", &path);
    // Another time it works, and only the filesystem is left to grow.
    let step = listed(&disk, "grow", &[]);
    assert_eq!(step["state"], "possible", "{step}");
    assert!(!step["will"].to_string().contains("partition 2 becomes larger"), "{step}");
    repair(&disk, &["grow"], &[]).success();
    let path = part(&folder, &disk, start, len);
    assert!(size_of("ext4", &path) > 95 * MIB);
    assert_checked("ext4", &path);
    assert_eq!(tree_of(mount(&path, "ext4", "ro").path()), tree);
}

#[test]
fn a_filesystem_that_fails_its_check_is_left_alone() {
    if !requires(NEEDS) || !requires(&["mkfs.ext4", "kernel:ext4", "e2fsck"]) {
        return;
    }
    let folder = temp_dir();
    let (raw, _) = filesystem(&folder, "ext4", 64 * MIB);
    // The root folder is gone: nothing that is corrected without a question.
    run("debugfs", &["-w", "-R", "clri <2>", &raw]);
    let disk = disk(&folder, "gpt", &raw, "8300");
    lengthen(&disk, 32 * MIB);
    let table = |disk: &str| run("sfdisk", &["--dump", disk]).out().to_owned();
    let before = table(&disk);
    let ran = repair(&disk, &["grow"], &[]);
    assert_eq!(ran.code, 1, "{ran}");
    assert!(ran.err().contains("partition 2 is not made larger"), "{ran}");
    assert_eq!(table(&disk), before);
}

#[test]
fn small_errors_are_corrected_and_that_is_said() {
    if !requires(NEEDS) || !requires(&["mkfs.ext4", "kernel:ext4", "e2fsck", "debugfs"]) {
        return;
    }
    let folder = temp_dir();
    let (raw, tree) = filesystem(&folder, "ext4", 64 * MIB);
    run("debugfs", &["-w", "-R", "set_super_value free_inodes_count 5", &raw]);
    let disk = disk(&folder, "gpt", &raw, "8300");
    lengthen(&disk, 32 * MIB);
    let step = listed(&disk, "grow", &[]);
    assert!(step["will"].to_string().contains("corrects small errors"), "{step}");
    let ran = repair(&disk, &["grow"], &[]).success();
    assert!(ran.out().contains("e2fsck corrected small errors"), "{ran}");
    let (start, len) = last_partition(&disk);
    let path = part(&folder, &disk, start, len);
    assert_checked("ext4", &path);
    assert_eq!(tree_of(mount(&path, "ext4", "ro").path()), tree);
}

#[test]
fn what_the_table_does_not_allow_is_not_offered() {
    if !requires(NEEDS) || !requires(&["mkfs.ext4", "kernel:ext4"]) {
        return;
    }
    let not_possible = |why: &str, table: &str, change: &dyn Fn(&str)| {
        let folder = temp_dir();
        let (raw, _) = filesystem(&folder, "ext4", 32 * MIB);
        let disk = disk(&folder, table, &raw, if table == "gpt" { "8300" } else { "83" });
        change(&disk);
        let before = hash_of(&disk);
        let step = listed(&disk, "grow", &[]);
        assert_eq!(step["state"], "not-possible", "{step}");
        assert!(step["reason"].as_str().unwrap().contains(why), "{step}");
        assert_eq!(repair(&disk, &["grow"], &[]).code, 5);
        assert_eq!(hash_of(&disk), before);
    };
    // The partition is in a second table, that of an MBR.
    not_possible("two partition tables", "gpt", &|disk| {
        run("sgdisk", &["--hybrid=2", disk]);
        lengthen(disk, 32 * MIB);
    });
    // The target was smaller than the disk.
    not_possible("behind the end of the disk", "mbr", &|disk| {
        File::options().write(true).open(disk).unwrap().set_len(START + 16 * MIB).unwrap();
    });
}

#[test]
fn what_cannot_grow_is_said_in_words() {
    if !requires(NEEDS) || !requires(&["mkswap", "mkfs.vfat", "mkntfs"]) {
        return;
    }
    let reason = |table: &str, make: &dyn Fn(&str), type_id: &str| {
        let folder = temp_dir();
        let raw = folder.join("volume.raw");
        sparse_file(&raw, 40 * MIB);
        make(&raw);
        let disk = disk(&folder, table, &raw, type_id);
        lengthen(&disk, 32 * MIB);
        let before = hash_of(&disk);
        let step = listed(&disk, "grow", &[]);
        assert_eq!(step["state"], "not-possible", "{step}");
        assert_eq!(repair(&disk, &["grow"], &[]).code, 5);
        assert_eq!(hash_of(&disk), before);
        step["reason"].as_str().unwrap().to_owned()
    };
    let swap = |raw: &str| drop(run("mkswap", &[raw]));
    assert!(reason("gpt", &swap, "8200").contains("is swap space"));
    let fat = |raw: &str| drop(run("mkfs.vfat", &["-F32", raw]));
    assert!(reason("mbr", &fat, "c").contains("holds FAT32, which is not grown"));
    let ntfs = |raw: &str| drop(run("mkntfs", &["-F", "-Q", raw]));
    assert!(reason("gpt", &ntfs, "2700").contains("Windows' own recovery"));
    let nothing = |_: &str| {};
    assert!(reason("gpt", &nothing, "8300").contains("is not known"));
}

#[test]
fn a_logical_partition_is_not_grown() {
    if !requires(NEEDS) || !requires(&["mkfs.ext4"]) {
        return;
    }
    let folder = temp_dir();
    let disk = folder.join("disk.raw");
    sparse_file(&disk, 32 * MIB);
    let script = "label: dos\nstart=2048, size=8192, type=83\nstart=10240, size=40960, type=5\n\
                  start=12288, size=38912, type=83\n";
    let mut command = std::process::Command::new("/usr/sbin/sfdisk");
    command.args(["--quiet", &disk]);
    finish(command, script.as_bytes()).success();
    let step = listed(&disk, "grow", &[]);
    assert_eq!(step["state"], "not-possible", "{step}");
    assert!(step["reason"].as_str().unwrap().contains("extended partition"), "{step}");
}

#[test]
fn nothing_is_left_attached_or_mounted() {
    if !requires(NEEDS) || !requires(&["mkfs.btrfs", "kernel:btrfs", "btrfs"]) {
        return;
    }
    let folder = temp_dir();
    let (raw, _) = filesystem(&folder, "btrfs", 240 * MIB);
    let disk = disk(&folder, "gpt", &raw, "8300");
    lengthen(&disk, 32 * MIB);
    repair(&disk, &["grow"], &[]).success();
    let attached = try_run("losetup", &["--associated", &disk]);
    assert_eq!(attached.out().trim(), "", "{attached}");
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains("dacapo-grow"), "{mounts}");
    assert!(Path::new(&disk).exists());
}

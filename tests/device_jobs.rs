// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands on block devices: loop devices stand in for disks, and for
//! disks that fail.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dacapo::device::{KernelPartition, Target};
use dacapo::extent::Extent;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{
    Loop, Mount, assert_same, dacapo, dacapo_command, hash_of, junk, junk_file, requires, run,
    sparse_file, temp_dir, try_run,
};

const MIB: u64 = 1 << 20;
const NEEDS: &[&str] = &["root", "loop", "kernel:ext4", "mkfs.ext4", "sgdisk"];

/// A loop device is confirmed by its size: it has no serial number.
fn restore(image: &str, device: &str, len: u64, more: &[&str]) -> crate::support::Ran {
    let size = len.to_string();
    let mut args = vec!["restore", image, device, "--yes", "--confirm", &size];
    args.extend(more);
    dacapo(&args)
}

#[test]
fn a_disk_is_saved_and_restored_with_both_sector_sizes() {
    if !requires(NEEDS) {
        return;
    }
    for sector in ["512", "4096"] {
        let folder = temp_dir();
        let (source, target) = (folder.join("source.raw"), folder.join("target.raw"));
        sparse_file(&source, 192 * MIB);
        junk_file(&target, 192 * MIB);
        {
            let disk = Loop::new(&source, &["--sector-size", sector]);
            let _ = run("sgdisk", &["-n1:0:+8M", "-t1:ef00", "-n2:0:0", disk.device()]);
        }
        {
            let offset = (16 * MIB).to_string();
            let part = Loop::new(&source, &["--offset", &offset, "--sector-size", sector]);
            let _ = run("mkfs.ext4", &["-q", "-F", part.device(), "150M"]);
            let mount = Mount::new(part.device(), "ext4", "rw");
            fs::write(mount.path().join("data"), junk(10 << 20, 5)).unwrap();
        }
        let image = folder.join("a.img.zst");
        let before = hash_of(&source);
        let disk = Loop::new(&source, &["--sector-size", sector, "--direct-io=on"]);
        let _ = dacapo(&["save", disk.device(), &image]).success();
        assert_eq!(hash_of(&source), before);
        let to = Loop::new(&target, &["--sector-size", sector]);
        let _ = restore(&image, to.device(), 192 * MIB, &[]).success();
        let _ = dacapo(&["compare", &image, to.device()]).success();
        let _ = run("sgdisk", &["--verify", to.device()]).says("No problems found");
        // Other sectors mean other positions: refused, and nothing written.
        let other = folder.join("other.raw");
        junk_file(&other, 192 * MIB);
        let untouched = hash_of(&other);
        let wrong = if sector == "512" { "4096" } else { "512" };
        let other_disk = Loop::new(&other, &["--sector-size", wrong]);
        let _ = restore(&image, other_disk.device(), 192 * MIB, &[]).exits(5).says("sectors");
        drop(other_disk);
        assert_eq!(hash_of(&other), untouched);
    }
}

#[test]
fn what_is_in_use_is_neither_saved_nor_overwritten() {
    if !requires(NEEDS) {
        return;
    }
    let folder = temp_dir();
    let file = folder.join("disk.raw");
    sparse_file(&file, 64 * MIB);
    let disk = Loop::new(&file, &[]);
    let _ = run("mkfs.ext4", &["-q", disk.device()]);
    let image = folder.join("a.img.zst");
    {
        let mount = Mount::new(disk.device(), "ext4", "rw");
        let _ = dacapo(&["save", disk.device(), &image]).exits(5).says("mounted");
        drop(mount);
        let _mount = Mount::new(disk.device(), "ext4", "ro");
        let _ = dacapo(&["save", disk.device(), &image]).success();
        let ran = restore(&image, disk.device(), 64 * MIB, &[]).exits(5);
        assert!(ran.err().contains("mounted"), "{ran}");
    }
    // Without the right confirmation nothing happens either.
    let before = hash_of(&file);
    let device = disk.device();
    let _ = dacapo(&["restore", &image, device]).exits(5);
    let _ = dacapo(&["restore", &image, device, "--yes"]).exits(5);
    let _ = dacapo(&["restore", &image, device, "--yes", "--confirm", "WD-123"]).exits(5);
    let _ = dacapo(&["restore", &image, device, "--dry-run"]).success();
    assert_eq!(hash_of(&file), before);
    let _ = restore(&image, device, 64 * MIB, &[]).success();
}

#[test]
fn the_disk_that_holds_the_image_is_refused() {
    if !requires(NEEDS) {
        return;
    }
    let folder = temp_dir();
    let file = folder.join("holder.raw");
    sparse_file(&file, 128 * MIB);
    let disk = Loop::new(&file, &[]);
    let _ = run("mkfs.ext4", &["-q", disk.device()]);
    let small = folder.join("small.raw");
    junk_file(&small, 4 * MIB);
    let mount = Mount::new(disk.device(), "ext4", "rw");
    let image = mount.path().join("a.img.zst").display().to_string();
    let _ = dacapo(&["save", &small, &image]).success();
    let _ = restore(&image, disk.device(), 128 * MIB, &[]).exits(5);
    let inner = mount.path().join("a.img.zst").display().to_string();
    let _ = dacapo(&["restore", &image, &inner, "--yes"]).exits(5);
}

#[test]
fn an_unreadable_range_costs_only_itself() {
    if !requires(&["root", "loop", "zstd"]) {
        return;
    }
    let folder = temp_dir();
    let file = folder.join("disk.raw");
    fs::write(&file, junk(32 << 20, 9)).unwrap();
    let disk = Loop::new(&file, &[]);
    // Behind the end of its file a loop device answers with EIO.
    let kept = 20 * MIB + 4096;
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(kept).unwrap();
    let image = folder.join("a.img.zst");
    let ran = dacapo(&["save", disk.device(), &image]).exits(3);
    assert!(ran.err().contains("could not be read"), "{ran}");
    let _ = run("zstd", &["-tq", &image]);
    let _ = dacapo(&["info", &image]).says("could not be read");
    let _ = dacapo(&["verify", &image]).exits(3);
    let target = folder.join("target.raw");
    let _ = dacapo(&["restore", &image, &target]).exits(3).says("could not be read");
    let (got, wanted) = (fs::read(&target).unwrap(), junk(32 << 20, 9));
    let kept = usize::try_from(kept).unwrap();
    assert!(got[..kept] == wanted[..kept], "what was readable is different");
    assert!(got[kept..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_target_that_fails_in_the_middle_is_left_blank() {
    if !requires(&["root", "loop", "kernel:tmpfs"]) {
        return;
    }
    let folder = temp_dir();
    let source = folder.join("disk.raw");
    fs::write(&source, junk(32 << 20, 4)).unwrap();
    let image = folder.join("a.img.zst");
    let _ = dacapo(&["save", &source, &image]).success();
    // A disk whose medium ends early: the filesystem below it is full.
    let small = Mount::new("none", "tmpfs", "size=16m");
    let file = small.path().join("target.raw");
    sparse_file(&file, 32 * MIB);
    let disk = Loop::new(&file, &[]);
    let ran = restore(&image, disk.device(), 32 * MIB, &[]);
    assert_ne!(ran.code, 0, "{ran}");
    assert!(ran.err().contains("blank"), "{ran}");
    let mut first = vec![1; MIB as usize];
    std::io::Read::read_exact(&mut fs::File::open(&file).unwrap(), &mut first).unwrap();
    assert!(first.iter().all(|byte| *byte == 0), "half a disk has a beginning");
}

#[test]
fn one_partition_goes_where_it_is_sent() {
    if !requires(NEEDS) {
        return;
    }
    let folder = temp_dir();
    let source = folder.join("disk.raw");
    sparse_file(&source, 128 * MIB);
    let _ = run("sgdisk", &["-n1:2048:+20M", "-n2:0:+64M", &source]);
    let file = folder.join("part.raw");
    sparse_file(&file, 64 * MIB);
    let _ = run("mkfs.ext4", &["-q", "-F", "-L", "songs", &file]);
    let part = fs::read(&file).unwrap();
    let mut disk = fs::read(&source).unwrap();
    let start = 21 << 20;
    disk[start..start + part.len()].copy_from_slice(&part);
    fs::write(&source, &disk).unwrap();
    let image = folder.join("a.img.zst");
    let _ = dacapo(&["save", &source, &image]).success();
    let alone = folder.join("alone.raw");
    let _ = dacapo(&["restore", &image, &alone, "--partition", "2"]).success();
    let _ = run("e2fsck", &["-fn", &alone]);
    assert_eq!(fs::metadata(&alone).unwrap().len(), 64 * MIB);
    let _ = dacapo(&["compare", &image, &alone, "--partition", "2"]).success();
    let _ = dacapo(&["restore", &image, &alone, "--partition", "7", "--yes"]).exits(2);
    let small = folder.join("small.raw");
    junk_file(&small, 63 * MIB);
    let _ = dacapo(&["restore", &image, &small, "--partition", "2", "--yes"]).exits(5);
}

#[test]
fn a_clone_is_the_same_disk() {
    if !requires(NEEDS) {
        return;
    }
    let folder = temp_dir();
    let (source, target) = (folder.join("source.raw"), folder.join("target.raw"));
    sparse_file(&source, 96 * MIB);
    let _ = run("sgdisk", &["-n1:0:0", &source]);
    let before = hash_of(&source);
    let _ = dacapo(&["clone", &source, &target]).success();
    assert_same(&source, &target);
    assert_eq!(hash_of(&source), before);
    let larger = folder.join("larger.raw");
    junk_file(&larger, 128 * MIB);
    let _ = dacapo(&["clone", &source, &larger, "--yes"]).success();
    let _ = run("sgdisk", &["--verify", &larger]).says("No problems found");
    let _ = dacapo(&["clone", &source, &source, "--yes"]).exits(5);
}

/// Makes the kernel see partitions of MiB 1 to 16, 16 to 31 and so on.
fn partition(device: &str, count: u32) {
    let partitions: Vec<KernelPartition> = (1..=count)
        .map(|number| KernelPartition {
            number,
            extent: Extent::at(MIB + u64::from(number - 1) * 15 * MIB, 15 * MIB),
        })
        .collect();
    Target::open(device, None).unwrap().reread_partition_table(&partitions).unwrap();
}

#[test]
fn a_clone_never_writes_to_its_own_source() {
    if !requires(&["root", "loop"]) {
        return;
    }
    let folder = temp_dir();
    let file = folder.join("disk.raw");
    junk_file(&file, 32 * MIB);
    let before = hash_of(&file);
    let disk = Loop::new(&file, &["--partscan"]);
    let refused = |source: &str, target: &str, len: u64| {
        let size = (len * MIB).to_string();
        let ran = dacapo(&["clone", source, target, "--yes", "--confirm", &size]);
        assert_eq!(hash_of(&file), before, "written to: {ran}");
        let _ = ran.exits(5);
    };
    let device = disk.device();
    refused(device, device, 32);
    let link = folder.join("link");
    std::os::unix::fs::symlink(device, &link).unwrap();
    refused(&link, device, 32);
    refused(device, &link, 32);
    // A loop device is its file.
    refused(&file, device, 32);
    let same = folder.join("same.raw");
    fs::hard_link(&file, &same).unwrap();
    refused(&same, device, 32);
    let size = file.clone();
    let file_target = dacapo(&["clone", device, &size, "--yes"]);
    assert_eq!(hash_of(&file), before, "written to: {file_target}");
    let _ = file_target.exits(5);
    // A second loop device over the first is the first.
    {
        let upper = Loop::new(device, &[]);
        refused(device, upper.device(), 32);
        refused(upper.device(), device, 32);
        refused(&file, upper.device(), 32);
    }
    partition(device, 2);
    let (first, second) = (format!("{device}p1"), format!("{device}p2"));
    refused(&first, device, 32);
    refused(device, &first, 15);
    refused(&first, &first, 15);
    refused(&file, &first, 15);
    // From one partition to its neighbour is fine.
    let ran = dacapo(&["clone", &first, &second, "--dry-run"]).success();
    assert_eq!(hash_of(&file), before, "{ran}");
    partition(device, 0);
}

#[test]
fn an_image_is_not_overwritten_by_itself() {
    if !requires(&["root", "loop"]) {
        return;
    }
    let folder = temp_dir();
    let (source, image) = (folder.join("disk.raw"), folder.join("a.img.zst"));
    junk_file(&source, 4 * MIB);
    let _ = dacapo(&["save", &source, &image]).success();
    let before = hash_of(&image);
    let piped = |target: &str| {
        let status = dacapo_command(&["restore", "-", target, "--yes"])
            .stdin(fs::File::open(&image).unwrap())
            .output()
            .unwrap();
        assert_eq!(hash_of(&image), before, "written to");
        assert_eq!(status.status.code(), Some(5), "{}", String::from_utf8_lossy(&status.stderr));
    };
    piped(&image);
    let same = folder.join("same.zst");
    fs::hard_link(&image, &same).unwrap();
    piped(&same);
    // Room enough for the restore to begin.
    let bytes = fs::read(&image).unwrap();
    let long = [bytes, vec![0; 4 << 20]].concat();
    fs::write(&same, long).unwrap();
    let before = hash_of(&same);
    let disk = Loop::new(&same, &[]);
    let len = fs::metadata(&same).unwrap().len();
    let len = len - len % 512;
    let _ = restore(&image, disk.device(), len, &[]).exits(5).says("would overwrite");
    assert_eq!(hash_of(&same), before);
}

#[test]
fn a_smaller_disk_takes_what_fits_and_refuses_the_rest() {
    if !requires(NEEDS) {
        return;
    }
    let folder = temp_dir();
    let source = folder.join("source.raw");
    sparse_file(&source, 128 * MIB);
    let _ = run("sgdisk", &["-n1:2048:+40M", &source]);
    let image = folder.join("a.img.zst");
    let _ = dacapo(&["save", &source, &image]).success();
    let smaller = folder.join("smaller.raw");
    junk_file(&smaller, 64 * MIB);
    let before = hash_of(&smaller);
    let _ = dacapo(&["restore", &image, &smaller, "--yes"]).exits(5).says("--fit");
    assert_eq!(hash_of(&smaller), before, "written to before it was refused");
    let _ = dacapo(&["restore", &image, &smaller, "--yes", "--fit"]).success();
    let _ = run("sgdisk", &["--verify", &smaller]).says("No problems found");
    let tiny = folder.join("tiny.raw");
    junk_file(&tiny, 32 * MIB);
    let _ = dacapo(&["restore", &image, &tiny, "--yes", "--fit"]).exits(5);
}

#[test]
fn free_space_is_left_zeroed_or_discarded_as_asked() {
    if !requires(NEEDS) {
        return;
    }
    let folder = temp_dir();
    let source = folder.join("source.raw");
    sparse_file(&source, 64 * MIB);
    let _ = run("mkfs.ext4", &["-q", "-F", &source]);
    let image = folder.join("a.img.zst");
    let _ = dacapo(&["save", &source, &image]).success();
    let map = dacapo(&["map", &image]).success();
    let free = map
        .out()
        .lines()
        .filter(|line| line.ends_with('?') && line.starts_with("0x"))
        .filter_map(|line| {
            let mut words = line.split_whitespace().map(|word| word.trim_start_matches("0x"));
            let start = usize::from_str_radix(words.next()?, 16).ok()?;
            let len = usize::from_str_radix(words.next()?, 16).ok()?;
            Some(start..start + len)
        })
        .find(|range| range.len() > 4 << 20 && range.start > 2 << 20)
        .unwrap();
    let middle = free.start + (1 << 20)..free.start + (2 << 20);
    let target = folder.join("target.raw");
    for (mode, zero) in [("leave", false), ("zero", true), ("discard", true), ("auto", true)] {
        junk_file(&target, 64 * MIB);
        let junk = fs::read(&target).unwrap();
        let _ = dacapo(&["restore", &image, &target, "--yes", "--free", mode]).success();
        let bytes = fs::read(&target).unwrap();
        let now = &bytes[middle.clone()];
        if zero {
            assert!(now.iter().all(|byte| *byte == 0), "--free {mode}");
        } else {
            assert!(now == &junk[middle.clone()], "--free {mode}");
        }
        let _ = run("e2fsck", &["-fn", &target]);
    }
}

/// The partitions of a disk that the kernel knows.
fn known_partitions(device: &str) -> Vec<String> {
    let name = device.trim_start_matches("/dev/");
    let names = fs::read_dir(Path::new("/sys/block").join(name)).unwrap();
    let mut names: Vec<String> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|entry| entry.starts_with(name));
    names.sort();
    names
}

#[test]
fn a_failed_restore_leaves_no_old_partition() {
    if !requires(&["root", "loop", "kernel:tmpfs"]) {
        return;
    }
    let folder = temp_dir();
    let source = folder.join("disk.raw");
    fs::write(&source, junk(32 << 20, 4)).unwrap();
    let image = folder.join("a.img.zst");
    let _ = dacapo(&["save", &source, &image]).success();
    let small = Mount::new("none", "tmpfs", "size=16m");
    let file = small.path().join("target.raw");
    sparse_file(&file, 32 * MIB);
    let disk = Loop::new(&file, &["--partscan"]);
    partition(disk.device(), 2);
    assert_eq!(known_partitions(disk.device()).len(), 2);
    // What is only looked at stays.
    let _ = restore(&image, disk.device(), 32 * MIB, &["--dry-run"]).success();
    assert_eq!(known_partitions(disk.device()).len(), 2);
    let ran = restore(&image, disk.device(), 32 * MIB, &[]);
    assert_ne!(ran.code, 0, "{ran}");
    assert!(ran.err().contains("blank"), "{ran}");
    assert_eq!(known_partitions(disk.device()), [""; 0], "{ran}");
    // One that is held open can only be told.
    partition(disk.device(), 2);
    let held = fs::File::open(format!("{}p1", disk.device())).unwrap();
    let ran = restore(&image, disk.device(), 32 * MIB, &[]).says("still shows old partitions");
    assert_ne!(ran.code, 0, "{ran}");
    drop(held);
    partition(disk.device(), 0);
}

/// Starts dacapo and stops it, for a while, as soon as `sign` exists.
fn stopped_when(args: &[&str], sign: &Path) -> Child {
    let mut child = dacapo_command(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while !sign.exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "{} never came", sign.display());
        assert!(child.try_wait().unwrap().is_none(), "ended too early");
        std::thread::sleep(Duration::from_millis(1));
    }
    signal(&child, Signal::SIGSTOP);
    child
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

/// Lets a stopped dacapo go on; its exit code and what it said.
fn go_on(mut child: Child) -> (i32, String) {
    signal(&child, Signal::SIGCONT);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code().unwrap(), said)
}

/// An ext4 on a loop device, with enough on it that reading takes a while.
fn filled_disk(file: &str) -> Loop {
    sparse_file(file, 192 * MIB);
    let disk = Loop::new(file, &[]);
    let _ = run("mkfs.ext4", &["-q", disk.device()]);
    let mount = Mount::new(disk.device(), "ext4", "rw");
    fs::write(mount.path().join("data"), junk(100 << 20, 5)).unwrap();
    drop(mount);
    disk
}

#[test]
fn a_source_cannot_be_mounted_while_it_is_read() {
    if !requires(NEEDS) {
        return;
    }
    let folder = temp_dir();
    let disk = filled_disk(&folder.join("disk.raw"));
    let (image, copy) = (folder.join("a.img.zst"), folder.join("copy.raw"));
    let point = folder.join("point");
    fs::create_dir(&point).unwrap();
    let jobs = [
        (["save", disk.device(), &image], format!("{image}.partial")),
        (["clone", disk.device(), &copy], copy.clone()),
    ];
    for (args, sign) in jobs {
        let child = stopped_when(&args, Path::new(&sign));
        let mounted = try_run("mount", &[disk.device(), &point]);
        if mounted.code == 0 {
            let _ = run("umount", &[&point]);
        }
        let (code, said) = go_on(child);
        assert_ne!(mounted.code, 0, "mounted while it was read");
        assert_eq!(code, 0, "{said}");
    }
    let _ = dacapo(&["compare", &image, disk.device()]).success();
}

#[test]
fn a_source_that_was_used_meanwhile_is_no_success() {
    if !requires(NEEDS) {
        return;
    }
    let folder = temp_dir();
    let disk = filled_disk(&folder.join("disk.raw"));
    let mount = Mount::new(disk.device(), "ext4", "ro");
    let point = mount.path().to_str().unwrap();
    let (image, copy) = (folder.join("a.img.zst"), folder.join("copy.raw"));
    let partial = format!("{image}.partial");
    let jobs =
        [(["save", disk.device(), &image], &partial), (["clone", disk.device(), &copy], &copy)];
    for (args, sign) in jobs {
        let child = stopped_when(&args, Path::new(sign));
        let _ = run("mount", &["-o", "remount,rw", point]);
        let (code, said) = go_on(child);
        let _ = run("mount", &["-o", "remount,ro", point]);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("was used while it was read") && said.contains(point), "{said}");
    }
    assert!(Path::new(&partial).exists() && !Path::new(&image).exists());
    // Only mounted read-only, it is as good as any.
    let _ = dacapo(&["save", disk.device(), &image]).success();
    let _ = dacapo(&["compare", &image, disk.device()]).success();
}

#[test]
fn the_disk_that_is_written_is_the_one_that_was_shown() {
    if !requires(&["root", "loop", "losetup", "script"]) {
        return;
    }
    let folder = temp_dir();
    let (source, image) = (folder.join("disk.raw"), folder.join("a.img.zst"));
    junk_file(&source, 4 * MIB);
    let _ = dacapo(&["save", &source, &image]).success();
    let (shown, other) = (folder.join("shown.raw"), folder.join("other.raw"));
    sparse_file(&shown, 4 * MIB);
    fs::write(&other, junk(4 << 20, 8)).unwrap();
    let before = hash_of(&other);
    let disk = Loop::named("/dev/loop97", &shown);
    // While the question is on the screen, another disk takes the name.
    let swap_disks = || {
        let _ = run("losetup", &["--detach", disk.device()]);
        let _ = run("losetup", &[disk.device(), &other]);
    };
    let (code, said) = answered(&["restore", &image, disk.device()], "4194304\n", swap_disks);
    assert_eq!(hash_of(&other), before, "the wrong disk was written: {said}");
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("has become another one"), "{said}");
    // The same with a file.
    let file = folder.join("file.raw");
    fs::write(&file, junk(4 << 20, 9)).unwrap();
    let swap_files = || fs::rename(&other, &file).unwrap();
    let (code, said) = answered(&["restore", &image, &file], "y\n", swap_files);
    assert_eq!(code, 5, "{said}");
    assert_eq!(hash_of(&file), before, "the wrong file was written: {said}");
}

/// Runs dacapo on a terminal; does something once it asks, and answers then.
fn answered(args: &[&str], answer: &str, meanwhile: impl FnOnce()) -> (i32, String) {
    let line = format!("'{}' '{}'", env!("CARGO_BIN_EXE_dacapo"), args.join("' '"));
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut said = Vec::new();
    let asks = |said: &[u8]| {
        let text = String::from_utf8_lossy(said);
        text.contains("to go on: ") || text.contains("[y/N] ")
    };
    while !asks(&said) {
        let mut buffer = [0; 1024];
        let len = output.read(&mut buffer).unwrap();
        assert_ne!(len, 0, "never asked: {}", String::from_utf8_lossy(&said));
        said.extend(&buffer[..len]);
    }
    meanwhile();
    let mut input = child.stdin.take().unwrap();
    input.write_all(answer.as_bytes()).unwrap();
    output.read_to_end(&mut said).unwrap();
    drop(input);
    let code = child.wait().unwrap().code().unwrap();
    (code, String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn an_image_is_not_written_to_a_device_nor_a_disk_to_a_pipe() {
    if !requires(&["root", "loop"]) {
        return;
    }
    let folder = temp_dir();
    let (source, file) = (folder.join("disk.raw"), folder.join("other.raw"));
    junk_file(&source, 4 * MIB);
    junk_file(&file, 4 * MIB);
    let disk = Loop::new(&file, &[]);
    let ran = dacapo(&["save", &source, disk.device()]).exits(5).says("is a device");
    assert!(!ran.err().contains("delete"), "{ran}");
    let missing = "/dev/dacapo-no-such-disk";
    let _ = dacapo(&["save", &source, missing]).exits(5).says("does not exist");
    assert!(!Path::new(missing).exists());
    let _ = dacapo(&["save", &source, "/dev/null"]).exits(5).says("standard output");
    let image = folder.join("a.img.zst");
    let _ = dacapo(&["save", &source, &image]).success();
    for args in [["restore", &image, "-"], ["clone", &source, "-"]] {
        let output = dacapo_command(&args).current_dir(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(!folder.path().join("-").exists());
    }
}

#[test]
fn a_clone_to_a_smaller_disk_loses_nothing_behind_its_end() {
    if !requires(NEEDS) {
        return;
    }
    let folder = temp_dir();
    let source = folder.join("source.raw");
    // One filesystem on the whole disk, with nothing in its second half.
    sparse_file(&source, 64 * MIB);
    let _ = run("mkfs.ext4", &["-q", "-F", &source]);
    let target = folder.join("target.raw");
    junk_file(&target, 32 * MIB);
    let before = hash_of(&target);
    let _ = dacapo(&["clone", &source, &target, "--yes", "--fit"]).exits(5);
    // Data of no partition behind the end.
    sparse_file(&source, 64 * MIB);
    let _ = run("sgdisk", &["-o", "-n1:2048:+8M", &source]);
    let file = fs::OpenOptions::new().write(true).open(&source).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"precious", 50 * MIB).unwrap();
    let _ = dacapo(&["clone", &source, &target, "--yes", "--fit"]).exits(5);
    assert_eq!(hash_of(&target), before, "written to before it was refused");
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 8], 50 * MIB).unwrap();
    let _ = dacapo(&["clone", &source, &target, "--yes", "--fit"]).success();
    let _ = run("sgdisk", &["--verify", &target]).says("No problems found");
}

#[test]
fn partitions_that_overlap_are_restored_as_their_table_says() {
    let folder = temp_dir();
    let source = folder.join("source.raw");
    let mut bytes = junk(16 << 20, 8);
    // No program makes such a table, so it is made by hand.
    bytes[..512].fill(0);
    for (slot, start, len) in [(0, 2048_u32, 8192_u32), (1, 6144, 12288)] {
        let entry = &mut bytes[446 + slot * 16..][..16];
        entry[4] = 0x83;
        entry[8..12].copy_from_slice(&start.to_le_bytes());
        entry[12..16].copy_from_slice(&len.to_le_bytes());
    }
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(&source, bytes).unwrap();
    let image = folder.join("a.img.zst");
    let _ = dacapo(&["save", &source, &image]).success();
    let disk = fs::read(&source).unwrap();
    for (number, start, len) in [("1", 2048, 8192), ("2", 6144, 12288)] {
        let target = folder.join(&format!("p{number}.raw"));
        let _ = dacapo(&["restore", &image, &target, "--partition", number]).success();
        let wanted = &disk[start * 512..(start + len) * 512];
        assert!(fs::read(&target).unwrap() == wanted, "partition {number}");
        let _ = dacapo(&["compare", &image, &target, "--partition", number]).success();
    }
}

#[test]
fn the_rest_of_a_larger_target_is_zeroed_if_asked() {
    let folder = temp_dir();
    let source = folder.join("source.raw");
    junk_file(&source, 16 * MIB);
    let image = folder.join("a.img.zst");
    let _ = dacapo(&["save", &source, &image]).success();
    for mode in ["zero", "discard"] {
        let target = folder.join(mode);
        junk_file(&target, 40 * MIB);
        let _ = dacapo(&["restore", &image, &target, "--yes", "--free", mode]).success();
        let bytes = fs::read(&target).unwrap();
        assert!(bytes[16 << 20..].iter().all(|byte| *byte == 0), "--free {mode}");
        assert!(bytes[..16 << 20] == fs::read(&source).unwrap());
    }
}

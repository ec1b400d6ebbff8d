// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sources and targets on loop devices. Needs root.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use dacapo::device::{
    AlignedBuffer, KernelPartition, Reread, Source, Target, Use, booted_disks, check_source,
    check_target, disks, disks_holding, find_by_path, users,
};
use dacapo::error::{ErrorKind, Result};
use dacapo::extent::Extent;
use dacapo::io::conformance::{check_reader, check_writer, pattern};
use dacapo::io::{ReadAt, WriteAt};

use super::support::{
    DamagedFile, Loop, Mount, TempDir, requires, run, sparse_file, temp_dir, try_run,
};

const MIB: u64 = 1 << 20;

/// A loop device over a file of its own. Fields are dropped in this order.
struct LoopDisk {
    device: Loop,
    folder: TempDir,
}

impl LoopDisk {
    fn new(len: u64, options: &[&str]) -> Self {
        let folder = temp_dir();
        sparse_file(folder.path().join("backing.raw"), len);
        Self { device: Loop::new(folder.path().join("backing.raw"), options), folder }
    }

    fn device(&self) -> &str {
        self.device.device()
    }

    fn partition(&self, number: u32) -> String {
        format!("{}p{number}", self.device())
    }

    fn name(&self) -> &str {
        self.device.device().trim_start_matches("/dev/")
    }

    fn backing(&self) -> PathBuf {
        self.folder.path().join("backing.raw")
    }
}

/// Gives a claimed device back. A program that another test starts at this moment
/// has a copy of the claim until it runs.
fn release(target: Target, device: &str) {
    drop(target);
    for _ in 0..500 {
        match File::options().read(true).custom_flags(libc::O_EXCL).open(device) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                thread::sleep(Duration::from_millis(20));
            }
            tried => {
                tried.unwrap();
                return;
            }
        }
    }
    panic!("{device} is still claimed");
}

#[test]
fn loop_devices_conform() {
    if !requires(&["root", "loop"]) {
        return;
    }
    for sector in ["512", "4096"] {
        // Not a multiple of a page: the last sectors are fewer than eight.
        let len = 4 * MIB + if sector == "512" { 512 * 3 } else { 4096 };
        let disk = LoopDisk::new(len, &["--sector-size", sector]);
        let target = Target::open(disk.device(), None).unwrap();
        assert!(target.is_direct() && target.is_device());
        assert_eq!(target.sector_size().to_string(), sector);
        check_writer(&target);
        release(target, disk.device());
        let source = Source::open(disk.device()).unwrap();
        assert!(source.is_direct());
        run("sync", &[disk.backing()]);
        check_reader(&source, &fs::read(disk.backing()).unwrap());
        assert_eq!(source.identity().size, len);
        assert_eq!(source.identity().logical_sector.to_string(), sector);
    }
}

#[test]
fn a_device_is_read_past_the_page_cache() {
    if !requires(&["root", "loop"]) {
        return;
    }
    let disk = LoopDisk::new(MIB, &[]);
    // Fill the device's page cache, then change what is behind it.
    let held_open = File::open(disk.device()).unwrap();
    assert!(fs::read(disk.device()).unwrap().iter().all(|byte| *byte == 0));
    let backing = File::options().write(true).open(disk.backing()).unwrap();
    backing.write_all_at(&pattern(MIB as usize, 7), 0).unwrap();
    let mut cached = vec![0; 4096];
    held_open.read_exact_at(&mut cached, 8192).unwrap();
    assert!(cached.iter().all(|byte| *byte == 0), "the cache was not filled");
    let source = Source::open(disk.device()).unwrap();
    check_reader(&source, &pattern(MIB as usize, 7));
}

#[test]
fn aligned_buffers_are_read_into_directly() {
    if !requires(&["root", "loop"]) {
        return;
    }
    let disk = LoopDisk::new(4 * MIB, &["--sector-size", "4096"]);
    fs::write(disk.backing(), pattern(4 * MIB as usize, 3)).unwrap();
    let source = Source::open(disk.device()).unwrap();
    let mut buffer = AlignedBuffer::new(MIB as usize);
    source.read_at(2 * MIB, &mut buffer).unwrap();
    assert_eq!(buffer.as_slice(), &pattern(4 * MIB as usize, 3)[2 << 20..3 << 20]);
}

#[test]
fn the_cache_of_a_partition_is_not_written_over_a_restored_disk() {
    if !requires(&["root", "loop"]) {
        return;
    }
    let disk = LoopDisk::new(8 * MIB, &["--partscan"]);
    let target = Target::open(disk.device(), None).unwrap();
    let partition = KernelPartition { number: 1, extent: Extent::new(MIB, 4 * MIB) };
    target.reread_partition_table(&[partition]).unwrap();
    release(target, disk.device());
    let node = disk.partition(1);
    let held_open = File::options().read(true).write(true).open(&node).unwrap();
    // Dirty before the target is opened.
    held_open.write_all_at(&[1; 4096], 0).unwrap();
    let target = Target::open(disk.device(), None).unwrap();
    target.write_at(MIB, &[2; 4096]).unwrap();
    held_open.sync_all().unwrap();
    let mut buf = [0; 4096];
    target.read_at(MIB, &mut buf).unwrap();
    assert!(buf == [2; 4096], "an old page was written back");
    // Read into the cache before the restore, and asked for after it.
    held_open.read_exact_at(&mut buf, 8192).unwrap();
    target.write_at(MIB + 8192, &[3; 4096]).unwrap();
    target.drop_cache().unwrap();
    held_open.read_exact_at(&mut buf, 8192).unwrap();
    assert!(buf == [3; 4096], "an old page is still shown");
    drop(held_open);
    target.reread_partition_table(&[]).unwrap();
}

#[test]
fn an_unreadable_page_is_named_and_does_not_hide_its_neighbours() {
    if !requires(&["root", "loop", "kernel:btrfs", "mkfs.btrfs"]) {
        return;
    }
    let content = pattern(4 * MIB as usize, 11);
    let damaged = DamagedFile::new(&content, 300);
    let disk = Loop::new(damaged.path(), &[]);
    let source = Source::open(disk.device()).unwrap();
    let bad = 300 * 4096;
    let readable = |offset: usize, len: usize| {
        let mut buf = vec![0; len];
        source.read_at(offset as u64, &mut buf).unwrap();
        assert!(buf == content[offset..offset + len], "{offset:#x}");
    };
    // All within what is read at once around a small read.
    readable(bad - 512, 512);
    readable(bad - 4096 - 7, 4096);
    readable(bad + 4096, 100);
    readable(0, 4096);
    for (offset, len) in [(bad, 4096), (bad + 100, 1), (bad - 1, 2), (bad - 8192, 65536)] {
        let error = source.read_at(offset as u64, &mut vec![0; len]).unwrap_err();
        assert!(error.is_media_error(), "{error}");
        let position = format!("at {bad:#x} of {}", disk.device());
        let sector = offset - offset % 512;
        let asked = format!("at {sector:#x} of {}", disk.device());
        let said = error.to_string();
        assert!(said.contains(&position) || said.contains(&asked), "{said}");
    }
}

#[test]
fn an_unreachable_end_of_a_sector_is_left_out() {
    if !requires(&["root", "loop"]) {
        return;
    }
    let disk = LoopDisk::new(MIB + 512, &["--sector-size", "4096"]);
    let source = Source::open(disk.device()).unwrap();
    assert_eq!(source.len(), MIB);
    check_reader(&source, &vec![0; MIB as usize]);
}

#[test]
fn a_source_that_shrinks_is_named_with_the_place() {
    let folder = temp_dir();
    let path = folder.path().join("disk.raw");
    fs::write(&path, vec![1; 8192]).unwrap();
    let source = Source::open(&path).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(5000).unwrap();
    source.read_at(0, &mut [0; 5000]).unwrap();
    let error = source.read_at(4096, &mut [0; 4096]).unwrap_err().to_string();
    assert!(error.contains("disk.raw") && error.contains("ends at 0x1388"), "{error}");
}

#[test]
fn what_is_no_disk_is_not_opened() {
    let folder = temp_dir();
    assert_eq!(Source::open(folder.path()).unwrap_err().kind(), ErrorKind::Usage);
    assert_eq!(Source::open("/dev/null").unwrap_err().kind(), ErrorKind::Usage);
    assert_eq!(Target::open("/dev/null", Some(MIB)).unwrap_err().kind(), ErrorKind::Usage);
    let error = Source::open(folder.path().join("missing")).unwrap_err().to_string();
    assert!(error.contains("missing"), "{error}");
    if requires(&["mkfifo"]) {
        let pipe = folder.path().join("pipe");
        run("mkfifo", &[pipe.to_str().unwrap()]);
        assert_eq!(Source::open(&pipe).unwrap_err().kind(), ErrorKind::Usage);
    }
}

#[test]
fn a_target_is_claimed_for_one() {
    if !requires(&["root", "loop", "kernel:ext4", "mkfs.ext4"]) {
        return;
    }
    let disk = LoopDisk::new(8 * MIB, &[]);
    run("mkfs.ext4", &["-q", disk.device()]);
    let target = Target::open(disk.device(), None).unwrap();
    let error = Target::open(disk.device(), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    let folder = temp_dir();
    let mounted = try_run("mount", &[disk.device(), folder.path().to_str().unwrap()]);
    assert!(mounted.code != 0, "mounted while it was a target");
    release(target, disk.device());
    Target::open(disk.device(), None).unwrap();
}

#[test]
fn a_read_only_device_is_refused_as_target() {
    if !requires(&["root", "loop"]) {
        return;
    }
    let disk = LoopDisk::new(MIB, &["--read-only"]);
    Source::open(disk.device()).unwrap();
    let error = Target::open(disk.device(), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert!(error.to_string().contains("read-only"), "{error}");
}

#[test]
fn zeroing_and_discarding_give_the_space_back() {
    if !requires(&["root", "loop"]) {
        return;
    }
    use std::os::unix::fs::MetadataExt;
    for sector in ["512", "4096"] {
        let disk = LoopDisk::new(4 * MIB, &["--sector-size", sector]);
        let target = Target::open(disk.device(), None).unwrap();
        target.write_at(0, &pattern(4 * MIB as usize, 9)).unwrap();
        target.flush().unwrap();
        let blocks = || fs::metadata(disk.backing()).unwrap().blocks();
        assert!(blocks() >= 4 * MIB / 512, "{}", blocks());
        assert!(target.discard(Extent::new(MIB, 4 * MIB)).unwrap());
        target.flush().unwrap();
        assert!(blocks() <= MIB / 512 + 64, "{}", blocks());
        target.zero(Extent::new(7, MIB - 7)).unwrap();
        let mut buf = vec![1; MIB as usize];
        target.drop_cache().unwrap();
        target.read_at(0, &mut buf).unwrap();
        let mut wanted = vec![0; MIB as usize];
        wanted[..7].copy_from_slice(&pattern(7, 9));
        let end = MIB as usize - 7;
        wanted[end..].copy_from_slice(&pattern(MIB as usize, 9)[end..]);
        assert!(buf == wanted);
    }
}

#[test]
fn the_kernel_learns_the_partitions() {
    if !requires(&["root", "loop"]) {
        return;
    }
    let disk = LoopDisk::new(64 * MIB, &["--partscan"]);
    let partition = |number, start: u64, end: u64| KernelPartition {
        number,
        extent: Extent::new(start * MIB, end * MIB),
    };
    let shown = || -> Vec<KernelPartition> {
        let folder = PathBuf::from("/sys/block").join(disk.name());
        let mut found = Vec::new();
        for number in 1..9 {
            let part = folder.join(format!("{}p{number}", disk.name()));
            let value = |name: &str| -> Option<u64> {
                fs::read_to_string(part.join(name)).ok()?.trim().parse().ok()
            };
            if let (Some(start), Some(size)) = (value("start"), value("size")) {
                let extent = Extent::at(start * 512, size * 512);
                found.push(KernelPartition { number, extent });
            }
        }
        found
    };
    let target = Target::open(disk.device(), None).unwrap();
    let first = [partition(1, 1, 10), partition(3, 10, 20)];
    assert_eq!(target.reread_partition_table(&first).unwrap(), Reread::ByHand);
    assert_eq!(shown(), first);
    target.write_at(12 * MIB, &pattern(4096, 3)).unwrap();
    let third = Source::open(disk.partition(3)).unwrap();
    let mut buf = [0; 4096];
    third.read_at(2 * MIB, &mut buf).unwrap();
    assert_eq!(buf, pattern(4096, 3)[..]);

    // One that is open and stays as it is does not stand in the way.
    let second = [partition(2, 30, 40), partition(3, 10, 20)];
    assert_eq!(target.reread_partition_table(&second).unwrap(), Reread::ByHand);
    assert_eq!(shown(), second);
    let error = target.reread_partition_table(&first[..1]).unwrap_err();
    assert!(error.hint_text().is_some_and(|hint| hint.contains("uses it")), "{error}");
    drop(third);

    let logical = [partition(1, 1, 2), partition(2, 10, 60), partition(5, 20, 30)];
    assert_eq!(target.reread_partition_table(&logical).unwrap(), Reread::ByHand);
    assert_eq!(shown()[2], logical[2]);
    assert_eq!(shown()[1].extent, Extent::at(10 * MIB, 1024));

    target.reread_partition_table(&[]).unwrap();
    assert!(shown().is_empty());
}

#[test]
fn a_disk_without_partitions_is_told_none() {
    if !requires(&["root", "loop"]) {
        return;
    }
    let disk = LoopDisk::new(8 * MIB, &[]);
    let target = Target::open(disk.device(), None).unwrap();
    let partition = KernelPartition { number: 1, extent: Extent::new(MIB, 2 * MIB) };
    assert_eq!(target.reread_partition_table(&[partition]).unwrap(), Reread::NotApplicable);
}

/// Space that is swapped to, given back at the end.
struct Swapped<'a>(&'a str);

impl<'a> Swapped<'a> {
    fn new(device: &'a str) -> Self {
        run("swapon", &[device]);
        Self(device)
    }
}

impl Drop for Swapped<'_> {
    fn drop(&mut self) {
        let _ = try_run("swapoff", &[self.0]);
    }
}

fn refused(result: Result<()>, why: &str) {
    let error = result.expect_err("must be refused");
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert!(error.to_string().contains(why), "{error}");
    assert!(error.hint_text().is_some(), "{error} has no hint");
}

#[test]
fn mounted_read_write_is_refused_and_read_only_is_a_source() {
    if !requires(&["root", "loop", "kernel:ext4", "mkfs.ext4"]) {
        return;
    }
    let disk = LoopDisk::new(8 * MIB, &[]);
    let (device, backing) = (Path::new(disk.device()), disk.backing());
    run("mkfs.ext4", &["-q", disk.device()]);
    check_source(device).unwrap();
    check_target(device, None).unwrap();
    check_source(&backing).unwrap();
    // The loop device itself keeps the file from being overwritten.
    refused(check_target(&backing, None), "is attached to /dev/loop");

    let mounted = Mount::new(disk.device(), "ext4", "rw");
    let point = mounted.path().to_str().unwrap();
    refused(check_source(device), point);
    refused(check_source(&backing), point);
    refused(check_target(device, None), point);
    refused(Target::open(device, None).map(drop), point);
    let image = mounted.path().join("a.img.zst");
    refused(check_target(device, Some(&image)), "holds the image");
    let found = users(device).unwrap();
    assert_eq!(found.len(), 1);
    assert!(found[0].kind == Use::Mount && found[0].writes);
    drop(mounted);

    let mounted = Mount::new(disk.device(), "ext4", "ro");
    check_source(device).unwrap();
    check_source(&backing).unwrap();
    refused(check_target(device, None), "mounted read-only");
    drop(mounted);
    check_target(device, None).unwrap();
}

#[test]
fn a_bind_mount_that_is_read_only_does_not_make_a_source() {
    if !requires(&["root", "loop", "kernel:ext4", "mkfs.ext4"]) {
        return;
    }
    let disk = LoopDisk::new(8 * MIB, &[]);
    run("mkfs.ext4", &["-q", disk.device()]);
    let mounted = Mount::new(disk.device(), "ext4", "rw");
    let bound = Mount::new(mounted.path().to_str().unwrap(), "none", "bind,ro");
    // Only the read-only view is left; the filesystem is still written to.
    run("umount", &[mounted.path().to_str().unwrap()]);
    refused(check_source(Path::new(disk.device())), bound.path().to_str().unwrap());
    run("mount", &["--bind", bound.path().to_str().unwrap(), mounted.path().to_str().unwrap()]);
}

#[test]
fn a_partition_in_use_makes_its_disk_in_use() {
    if !requires(&["root", "loop", "kernel:ext4", "mkfs.ext4"]) {
        return;
    }
    let disk = LoopDisk::new(32 * MIB, &["--partscan"]);
    let target = Target::open(disk.device(), None).unwrap();
    let partitions = [1, 2].map(|number| KernelPartition {
        number,
        extent: Extent::at(u64::from(number) * 10 * MIB, 8 * MIB),
    });
    target.reread_partition_table(&partitions).unwrap();
    release(target, disk.device());
    let (first, second) = (disk.partition(1), disk.partition(2));
    run("mkfs.ext4", &["-q", &first]);
    let mounted = Mount::new(&first, "ext4", "rw");
    let point = mounted.path().to_str().unwrap();
    refused(check_source(Path::new(disk.device())), point);
    refused(check_source(Path::new(&first)), point);
    refused(check_target(Path::new(disk.device()), None), point);
    refused(Target::open(disk.device(), None).map(drop), point);
    check_source(Path::new(&second)).unwrap();
    check_target(Path::new(&second), None).unwrap();
    let image = mounted.path().join("new/a.img.zst");
    assert_eq!(
        disks_holding(&image).unwrap(),
        disks_holding(mounted.path()).unwrap(),
        "a file that is not made yet"
    );
    let found = disks().unwrap().into_iter().find(|found| found.name == disk.name()).unwrap();
    assert_eq!(found.partitions.len(), 2);
    assert!(found.is_in_use() && found.users.is_empty());
    assert_eq!(found.partitions[1].extent, partitions[1].extent);
    assert!(disks_holding(&image).unwrap().contains(&found.number));
    let identity = find_by_path(Path::new(&second)).unwrap();
    assert_eq!((identity.size, identity.bus.as_deref()), (8 * MIB, Some("loop")));
    drop(mounted);
    Target::open(disk.device(), None).unwrap().reread_partition_table(&[]).unwrap();
}

#[test]
fn swap_is_refused() {
    if !requires(&["root", "loop", "mkswap", "swapon", "swapoff"]) {
        return;
    }
    let disk = LoopDisk::new(8 * MIB, &[]);
    run("mkswap", &[disk.device()]);
    check_source(Path::new(disk.device())).unwrap();
    let swapped = Swapped::new(disk.device());
    refused(check_source(Path::new(disk.device())), "used as swap");
    refused(check_target(Path::new(disk.device()), None), "used as swap");
    drop(swapped);
    check_target(Path::new(disk.device()), None).unwrap();
}

#[test]
fn a_claim_by_a_program_that_is_not_seen_is_found() {
    if !requires(&["root", "loop"]) {
        return;
    }
    let disk = LoopDisk::new(MIB, &[]);
    let target = Target::open(disk.device(), None).unwrap();
    refused(check_source(Path::new(disk.device())), "claimed by a program");
    refused(check_target(Path::new(disk.device()), None), "claimed by a program");
    release(target, disk.device());
    check_source(Path::new(disk.device())).unwrap();
}

#[test]
fn the_disk_this_machine_runs_from_is_refused() {
    let booted = booted_disks().unwrap();
    let all = disks().unwrap();
    let on_disk = all.iter().find(|disk| booted.contains(&disk.number));
    let Some(disk) = on_disk else {
        eprintln!("skipped: the root filesystem of this machine is on no disk");
        return;
    };
    assert!(disk.is_in_use());
    refused(check_target(Path::new(&disk.identity.path), None), "this system runs from");
    let held = disks_holding(Path::new("/")).unwrap();
    assert!(held.is_subset(&booted), "{held:?} {booted:?}");
}

#[test]
fn the_disks_of_this_machine_are_those_lsblk_shows() {
    if !requires(&["lsblk"]) {
        return;
    }
    // Loop devices come and go while other tests run.
    let listed = |device: &str| -> Option<String> {
        let columns = "NAME,SIZE,LOG-SEC,PHY-SEC,RO,RM";
        let all = run("lsblk", &["--nodeps", "--bytes", "--pairs", "--output", columns]);
        all.out()
            .lines()
            .find(|line| line.contains(&format!("NAME=\"{device}\"")))
            .map(str::to_owned)
    };
    for disk in disks().unwrap().iter().filter(|disk| !disk.name.starts_with("loop")) {
        let line = listed(&disk.name).unwrap_or_else(|| panic!("{} is not shown", disk.name));
        for (column, value) in [
            ("SIZE", disk.identity.size.to_string()),
            ("LOG-SEC", disk.identity.logical_sector.to_string()),
            ("PHY-SEC", disk.identity.physical_sector.to_string()),
            ("RO", u8::from(disk.read_only).to_string()),
            ("RM", u8::from(disk.removable).to_string()),
        ] {
            assert!(line.contains(&format!("{column}=\"{value}\"")), "{column} {value}: {line}");
        }
    }
}

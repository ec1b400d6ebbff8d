// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sources and targets on loop devices. Needs root.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use dacapo::device::{AlignedBuffer, KernelPartition, Reread, Source, Target};
use dacapo::error::ErrorKind;
use dacapo::extent::Extent;
use dacapo::io::conformance::{check_reader, check_writer, pattern};
use dacapo::io::{ReadAt, WriteAt};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// True if all is there; else says what is missing and that the test is
/// skipped.
fn requires(programs: &[&str]) -> bool {
    let root = fs::metadata("/proc/self").is_ok_and(|m| {
        use std::os::unix::fs::MetadataExt;
        m.uid() == 0
    });
    let missing: Vec<&str> = programs
        .iter()
        .filter(|program| {
            !["/sbin", "/usr/sbin", "/bin", "/usr/bin"]
                .iter()
                .any(|folder| Path::new(folder).join(program).exists())
        })
        .copied()
        .chain((!root).then_some("root"))
        .chain((!Path::new("/dev/loop-control").exists()).then_some("/dev/loop-control"))
        .collect();
    if !missing.is_empty() {
        eprintln!("skipped: needs {}", missing.join(", "));
    }
    missing.is_empty()
}

/// Runs a program, which must succeed, and returns what it printed.
fn run(program: &str, arguments: &[&str]) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A loop device over a file of its own, both gone at the end.
struct Loop {
    device: String,
    folder: TempDir,
}

impl Loop {
    fn new(len: u64, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("backing.raw");
        File::create(&file).unwrap().set_len(len).unwrap();
        let mut arguments = vec!["--find", "--show"];
        arguments.extend(options);
        arguments.push(file.to_str().unwrap());
        let device = run("losetup", &arguments);
        Self { device, folder }
    }

    fn backing(&self) -> PathBuf {
        self.folder.path().join("backing.raw")
    }

    fn name(&self) -> &str {
        self.device.rsplit('/').next().unwrap()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        run("losetup", &["--detach", &self.device]);
    }
}

#[test]
fn loop_devices_conform() {
    if !requires(&["losetup"]) {
        return;
    }
    for sector in ["512", "4096"] {
        // Not a multiple of a page: the last sectors are fewer than eight.
        let len = 4 * MIB + if sector == "512" { 512 * 3 } else { 4096 };
        let disk = Loop::new(len, &["--sector-size", sector]);
        let target = Target::open(&disk.device, None).unwrap();
        assert!(target.is_direct() && target.is_device());
        assert_eq!(target.sector_size().to_string(), sector);
        check_writer(&target);
        drop(target);
        let source = Source::open(&disk.device).unwrap();
        assert!(source.is_direct());
        run("sync", &[]);
        check_reader(&source, &fs::read(disk.backing()).unwrap());
        assert_eq!(source.identity().size, len);
        assert_eq!(source.identity().logical_sector.to_string(), sector);
    }
}

#[test]
fn a_device_is_read_past_the_page_cache() {
    if !requires(&["losetup"]) {
        return;
    }
    let disk = Loop::new(MIB, &[]);
    // Fill the device's page cache, then change what is behind it.
    let held_open = File::open(&disk.device).unwrap();
    assert!(fs::read(&disk.device).unwrap().iter().all(|byte| *byte == 0));
    let backing = File::options().write(true).open(disk.backing()).unwrap();
    backing.write_all_at(&pattern(MIB as usize, 7), 0).unwrap();
    let mut cached = vec![0; 4096];
    held_open.read_exact_at(&mut cached, 8192).unwrap();
    assert!(cached.iter().all(|byte| *byte == 0), "the cache was not filled");
    let source = Source::open(&disk.device).unwrap();
    check_reader(&source, &pattern(MIB as usize, 7));
}

#[test]
fn aligned_buffers_are_read_into_directly() {
    if !requires(&["losetup"]) {
        return;
    }
    let disk = Loop::new(4 * MIB, &["--sector-size", "4096"]);
    fs::write(disk.backing(), pattern(4 * MIB as usize, 3)).unwrap();
    let source = Source::open(&disk.device).unwrap();
    let mut buffer = AlignedBuffer::new(MIB as usize);
    source.read_at(2 * MIB, &mut buffer).unwrap();
    assert_eq!(buffer.as_slice(), &pattern(4 * MIB as usize, 3)[2 << 20..3 << 20]);
}

#[test]
fn an_unreachable_end_of_a_sector_is_left_out() {
    if !requires(&["losetup"]) {
        return;
    }
    let disk = Loop::new(MIB + 512, &["--sector-size", "4096"]);
    let source = Source::open(&disk.device).unwrap();
    assert_eq!(source.len(), MIB);
    check_reader(&source, &vec![0; MIB as usize]);
}

#[test]
fn a_source_that_shrinks_is_named_with_the_place() {
    let folder = tempfile::tempdir().unwrap();
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
    let folder = tempfile::tempdir().unwrap();
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
    if !requires(&["losetup", "mkfs.ext4", "mount"]) {
        return;
    }
    let disk = Loop::new(8 * MIB, &[]);
    run("mkfs.ext4", &["-q", &disk.device]);
    let target = Target::open(&disk.device, None).unwrap();
    let error = Target::open(&disk.device, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    let folder = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount").arg(&disk.device).arg(folder.path()).output().unwrap();
    assert!(!mounted.status.success(), "mounted while it was a target");
    drop(target);
    Target::open(&disk.device, None).unwrap();
}

#[test]
fn a_read_only_device_is_refused_as_target() {
    if !requires(&["losetup"]) {
        return;
    }
    let disk = Loop::new(MIB, &["--read-only"]);
    Source::open(&disk.device).unwrap();
    let error = Target::open(&disk.device, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert!(error.to_string().contains("read-only"), "{error}");
}

#[test]
fn zeroing_and_discarding_give_the_space_back() {
    if !requires(&["losetup"]) {
        return;
    }
    use std::os::unix::fs::MetadataExt;
    for sector in ["512", "4096"] {
        let disk = Loop::new(4 * MIB, &["--sector-size", sector]);
        let target = Target::open(&disk.device, None).unwrap();
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
    if !requires(&["losetup"]) {
        return;
    }
    let disk = Loop::new(64 * MIB, &["--partscan"]);
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
    let target = Target::open(&disk.device, None).unwrap();
    let first = [partition(1, 1, 10), partition(3, 10, 20)];
    assert_eq!(target.reread_partition_table(&first).unwrap(), Reread::ByHand);
    assert_eq!(shown(), first);
    target.write_at(12 * MIB, &pattern(4096, 3)).unwrap();
    let third = Source::open(format!("{}p3", disk.device)).unwrap();
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
    if !requires(&["losetup"]) {
        return;
    }
    let disk = Loop::new(8 * MIB, &[]);
    let target = Target::open(&disk.device, None).unwrap();
    let partition = KernelPartition { number: 1, extent: Extent::new(MIB, 2 * MIB) };
    assert_eq!(target.reread_partition_table(&[partition]).unwrap(), Reread::NotApplicable);
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is read from a mounted folder.

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::thread;

use dacapo::device::AlignedBuffer;
use dacapo::extent::Extent;

use super::{MIB, Mounted, disk, save, unpacked_hash};
use crate::support::{
    Loop, Mount, assert_same, hash_of, json_lines, lossy, requires, run, temp_dir, tree_of, try_run,
};

const NEEDS: &[&str] = &[
    "root",
    "loop",
    "kernel:ext4",
    "kernel:xfs",
    "kernel:btrfs",
    "mkfs.ext4",
    "mkfs.xfs",
    "mkfs.btrfs",
    "sgdisk",
    "zstd",
    "qemu-img",
    "e2fsck",
    "kernel:fuse",
];

#[test]
fn a_mounted_image_is_the_disk_and_its_partitions() {
    if !requires(NEEDS) {
        return;
    }
    let folder = temp_dir();
    let (raw, image) = (folder.join("disk.raw"), folder.join("disk.img.zst"));
    disk(&raw);
    save(&raw, &image);
    let unpacked = folder.join("unpacked");
    let (image_hash, disk_hash) = (hash_of(&image), unpacked_hash(&image, &unpacked));
    let mounted = Mounted::new(&image, &[]);
    assert_eq!(mounted.ready["bytes"], 560 * MIB);
    assert_eq!(mounted.ready["volumes"][1]["image"], "2-part2.img");
    let names = ["1-part1.img", "2-part2.img", "3-part3.img", "disk.img", "files"];
    let mut listed: Vec<String> = fs::read_dir(mounted.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    listed.sort();
    assert_eq!(listed, names);

    // All of the disk, by several readers at a time and by other programs.
    let whole = mounted.join("disk.img");
    let known = fs::metadata(&whole).unwrap();
    assert_eq!((known.len(), known.mode() & 0o777), (560 * MIB, 0o444));
    assert!(known.blocks() * 512 < 300 * MIB, "{} blocks", known.blocks());
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert_eq!(hash_of(&whole), disk_hash));
        }
    });
    let _ = run("qemu-img", &["compare", "-f", "raw", "-F", "raw", &whole, &unpacked]);
    // Past the page cache, and with a device on top that does so.
    let direct = folder.join("direct");
    let (from, to) = (format!("if={whole}"), format!("of={direct}"));
    let _ = run("dd", &[&from, &to, "bs=1M", "skip=64", "count=40", "iflag=direct"]);
    let part = fs::File::open(&raw).unwrap();
    let mut wanted = vec![0; 40 << 20];
    part.read_exact_at(&mut wanted, 64 * MIB).unwrap();
    assert!(fs::read(&direct).unwrap() == wanted, "read past the page cache");
    let _ = run("cp", &["--sparse=always", &mounted.join("2-part2.img"), &direct]);
    assert_same(&direct, mounted.join("2-part2.img"));

    // The kernel mounts the partitions, here and there.
    let _ = run("e2fsck", &["-f", "-n", &mounted.join("1-part1.img")]);
    for (name, offset, size, kind, options) in [
        ("1-part1.img", 1, 64, "ext4", "ro"),
        ("2-part2.img", 65, 310, "xfs", "ro,norecovery"),
        ("3-part3.img", 375, 184, "btrfs", "ro"),
    ] {
        let (offset, size) = ((offset * MIB).to_string(), (size * MIB).to_string());
        let source = Loop::new(&raw, &["--read-only", "--offset", &offset, "--sizelimit", &size]);
        let wanted = tree_of(Mount::new(source.device(), kind, options).path());
        assert!(wanted.len() > 100);
        for direct in ["--direct-io=off", "--direct-io=on"] {
            let device = Loop::new(mounted.join(name), &["--read-only", direct]);
            let found = tree_of(Mount::new(device.device(), kind, options).path());
            assert!(found == wanted, "{name} {direct}");
        }
    }
    let ended = mounted.unmount();
    assert_eq!(ended.code, 0, "{}", ended.output);
    assert_eq!(hash_of(&image), image_hash);

    // A disk that is not in an image.
    let device = Loop::new(&raw, &["--read-only"]);
    for source in [&raw, device.device()] {
        let mounted = Mounted::new(source, &[]);
        assert_same(mounted.join("disk.img"), &raw);
        assert_eq!(mounted.unmount().code, 0);
    }
}

#[test]
fn of_a_damaged_image_all_else_is_read() {
    if !requires(&["root", "zstd", "kernel:fuse"]) {
        return;
    }
    let folder = temp_dir();
    let (raw, image) = (folder.join("disk.raw"), folder.join("disk.img.zst"));
    crate::support::junk_file(&raw, 24 * MIB);
    save(&raw, &image);
    let middle = fs::metadata(&image).unwrap().len() / 2;
    let file = fs::File::options().write(true).open(&image).unwrap();
    file.write_all_at(&[0x55; 8], middle).unwrap();
    drop(file);

    let mounted = Mounted::new(&image, &[]);
    let shown = fs::File::open(mounted.join("disk.img")).unwrap();
    let source = fs::File::open(&raw).unwrap();
    let (mut wanted, mut found) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut lost = 0;
    for offset in (0..24 * MIB).step_by(64 << 10) {
        source.read_exact_at(&mut wanted, offset).unwrap();
        match shown.read_exact_at(&mut found, offset) {
            Ok(()) => assert!(found == wanted, "wrong bytes at {offset:#x}"),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(nix::libc::EIO));
                lost += 64 << 10;
            }
        }
    }
    assert_eq!(lost, 256 << 10, "one chunk");
    let read = try_run("cat", &[mounted.join("disk.img")]);
    assert_ne!(read.code, 0);
    drop(shown);
    let ended = mounted.unmount();
    assert_eq!(ended.code, 3, "{}", ended.output);
    let named: Vec<_> = json_lines(&ended.output)
        .into_iter()
        .filter(|line| line["message_type"] == "error")
        .map(|line| line["message"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(named.len(), 1, "each once: {named:?}");
    assert!(named[0].starts_with("disk.img cannot be read"), "{named:?}");
}

/// No way leads around it: neither the file of the disk nor that of a partition,
/// of which the kernel is given decoded chunks without a copy.
#[test]
fn what_was_lost_at_the_save_is_never_read_as_zeros() {
    if !requires(&["root", "kernel:fuse"]) {
        return;
    }
    let folder = temp_dir();
    let image = folder.join("disk.img.zst");
    let lost = Extent::new(MIB + 64 * 1024, MIB + 72 * 1024);
    let wanted = lossy(&image, lost);
    let mounted = Mounted::new(&image, &[]);
    for (name, start) in [("disk.img", 0), ("1.img", MIB)] {
        let shown = fs::File::open(mounted.join(name)).unwrap();
        // Past what the kernel keeps and reads ahead.
        for (step, direct) in [(4096, true), (64 << 10, false)] {
            let flags = if direct { nix::libc::O_DIRECT } else { 0 };
            let mut options = fs::File::options();
            let shown = options.read(true).custom_flags(flags).open(mounted.join(name)).unwrap();
            let len = shown.metadata().unwrap().len();
            let mut buffer = AlignedBuffer::new(step);
            for offset in (0..len).step_by(step) {
                let on_disk = Extent::at(start + offset, step as u64);
                let read = shown.read_exact_at(&mut buffer, offset);
                if on_disk.overlaps(&lost) {
                    assert_eq!(read.unwrap_err().raw_os_error(), Some(nix::libc::EIO), "{on_disk}");
                } else {
                    read.unwrap();
                    let wanted = &wanted[on_disk.start() as usize..on_disk.end() as usize];
                    assert!(buffer[..] == *wanted, "{name} {on_disk}");
                }
            }
        }
        let hole = nix::unistd::lseek(&shown, 0, nix::unistd::Whence::SeekHole).unwrap();
        assert_eq!(hole as u64, wanted.len() as u64 - start, "it is called a hole");
    }
    let ended = mounted.unmount();
    assert_eq!(ended.code, 3, "{}", ended.output);
}

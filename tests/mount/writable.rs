// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo mount --writable`: what is written is there until the end, and never
//! in the image.

use std::fs;

use super::{Mounted, disk, save};
use crate::support::{Loop, Mount, hash_of, junk, requires, run, temp_dir, tree_of, try_run};

#[test]
fn changes_are_seen_and_then_thrown_away() {
    let needs = ["root", "loop", "kernel:ext4", "kernel:xfs", "kernel:btrfs", "mkfs.ext4"];
    let more = ["mkfs.xfs", "mkfs.btrfs", "sgdisk", "e2fsck", "xfs_repair", "kernel:fuse"];
    if !requires(&[&needs[..], &more[..]].concat()) {
        return;
    }
    let folder = temp_dir();
    let (raw, image) = (folder.join("disk.raw"), folder.join("disk.img.zst"));
    disk(&raw);
    save(&raw, &image);
    let before = hash_of(&image);
    let scratch = temp_dir();
    let mounted =
        Mounted::new(&image, &["--writable", "--scratch", scratch.path().to_str().unwrap()]);
    let disk_hash = hash_of(mounted.join("disk.img"));
    for (name, kind, options) in [
        ("1-part1.img", "ext4", "rw,discard"),
        ("2-part2.img", "xfs", "rw"),
        ("3-part3.img", "btrfs", "rw"),
    ] {
        let device = Loop::new(mounted.join(name), &[]);
        let wanted = {
            let mount = Mount::new(device.device(), kind, options);
            fs::write(mount.path().join("new"), junk(5 << 20, 9)).unwrap();
            fs::remove_file(mount.path().join("projects/song.wav")).unwrap();
            fs::File::open(mount.path().join("new")).unwrap().sync_all().unwrap();
            let _ = try_run("fstrim", &[mount.path()]);
            tree_of(mount.path())
        };
        drop(device);
        assert!(wanted.contains_key("new") && !wanted.contains_key("projects/song.wav"));
        // Anew, past everything that was kept in memory.
        fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
        let device = Loop::new(mounted.join(name), &["--read-only"]);
        assert!(tree_of(Mount::new(device.device(), kind, "ro").path()) == wanted, "{name}");
    }
    let _ = run("e2fsck", &["-f", "-n", &mounted.join("1-part1.img")]);
    let _ = run("xfs_repair", &["-n", &mounted.join("2-part2.img")]);
    let _ = run("btrfs", &["check", &mounted.join("3-part3.img")]);
    assert_eq!(hash_of(mounted.join("disk.img")), disk_hash, "each has its own changes");
    let cut = fs::File::options().write(true).open(mounted.join("disk.img")).unwrap();
    assert_eq!(cut.set_len(5).unwrap_err().raw_os_error(), Some(nix::libc::EPERM));
    drop(cut);
    let new = fs::write(mounted.join("new"), "x").unwrap_err();
    assert_eq!(new.raw_os_error(), Some(nix::libc::EROFS));
    let ended = mounted.unmount();
    assert_eq!(ended.code, 0, "{}", ended.output);
    assert_eq!(hash_of(&image), before, "the image was changed");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "something was left");
}

#[test]
fn a_full_scratch_folder_is_an_error_of_the_write_and_of_nothing_else() {
    if !requires(&["root", "kernel:fuse"]) {
        return;
    }
    let folder = temp_dir();
    let (raw, image) = (folder.join("disk.raw"), folder.join("disk.img.zst"));
    crate::support::junk_file(&raw, 8 << 20);
    save(&raw, &image);
    let small = Mount::new("none", "tmpfs", "size=1M");
    let mounted =
        Mounted::new(&image, &["--writable", "--scratch", small.path().to_str().unwrap()]);
    let disk = mounted.join("disk.img");
    let written = try_run(
        "dd",
        &["if=/dev/zero", &format!("of={disk}"), "bs=64K", "count=64", "conv=notrunc,fsync"],
    );
    assert!(written.code != 0 && written.err().contains("No space left"), "{written}");
    let tail = 4 << 20;
    let (found, wanted) = (fs::read(&disk).unwrap(), fs::read(&raw).unwrap());
    assert!(found[tail..] == wanted[tail..]);
    let ended = mounted.unmount();
    assert_eq!(ended.code, 8, "{}", ended.output);
    assert_eq!(ended.output.matches("disk.img cannot be kept").count(), 1, "{}", ended.output);
}

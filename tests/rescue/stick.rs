// SPDX-License-Identifier: MIT OR Apache-2.0
//! A stick with the rescue system, as sfdisk, fsck.exfat and exfat-fuse see it.

use std::fs;
use std::os::unix::fs::FileExt as _;

use super::build::partitions;
use super::{NEEDS, iso};
use crate::support::{
    Loop, Mount, dacapo, hash_of, junk_file, requires, run, sparse_file, temp_dir,
};

const TOOLS: [&str; 5] = ["loop", "sfdisk", "fsck.exfat", "dump.exfat", "mount.exfat-fuse"];

/// The bytes of an entry in the MBR, which is all that differs on a stick.
const ENTRY: std::ops::Range<usize> = 478..494;

/// A loop device over a part of a file.
fn part(file: &str, start: u64, len: u64) -> Loop {
    let (offset, limit) = (format!("--offset={start}"), format!("--sizelimit={len}"));
    Loop::new(file, &[&offset, &limit])
}

#[test]
fn a_stick_holds_the_medium_and_an_exfat_for_images() {
    if !requires(&NEEDS) || !requires(&TOOLS) {
        return;
    }
    let medium = iso().to_str().unwrap();
    let folder = temp_dir();
    let stick = folder.join("stick.raw");
    // Of each cluster size, and one that ends in the middle of a MiB.
    for (number, len) in [200 << 20, 8 << 30, 40 << 30, (1 << 30) + 512].into_iter().enumerate() {
        // It was used before, at its end as well.
        junk_file(&stick, 100 << 20);
        let file = fs::File::options().write(true).open(&stick).unwrap();
        file.set_len(len).unwrap();
        file.write_all_at(&[0xa5; 65536], len - 65536).unwrap();
        dacapo(&["rescue", "write", medium, &stick, "--yes"]).success().says("DACAPO");

        let bytes = fs::read(medium).unwrap();
        let mut found = vec![0; bytes.len()];
        file.sync_all().unwrap();
        let file = fs::File::open(&stick).unwrap();
        file.read_exact_at(&mut found, 0).unwrap();
        found[ENTRY].copy_from_slice(&bytes[ENTRY]);
        assert!(found == bytes, "the medium is not what was written");
        let mut end = vec![1; 65536];
        file.read_exact_at(&mut end, len - 65536).unwrap();
        assert!(end.iter().all(|byte| *byte == 0), "the end of the old disk is still there");

        let table = partitions(&stick);
        assert_eq!(table.len(), 3);
        let (kind, start, size) = table[2].clone();
        assert_eq!((kind.as_str(), start % (4 << 20)), ("7", 0));
        assert!(
            start >= bytes.len() as u64 && start + size <= len && size + start + (1 << 20) > len
        );
        let volume = part(&stick, start, size);
        run("fsck.exfat", &["-n", volume.device()]).says("clean");
        let dump = run("dump.exfat", &[volume.device()]);
        assert!(dump.out().contains("DACAPO"), "{dump}");

        // Another program writes to it, names of any case are the same, and
        // what it leaves is clean.
        let mounted = Mount::new(volume.device(), "exfat-fuse", "rw");
        let name = mounted.path().join("\u{c4}rger.img.zst");
        junk_file(&name, 5 << 20);
        let other = mounted.path().join("\u{e4}RGER.IMG.ZST");
        assert_eq!(hash_of(&name), hash_of(&other));
        drop(mounted);
        run("fsck.exfat", &["-n", volume.device()]).says("files 1");
        drop(volume);
        if number == 0 {
            // The same command over it starts over.
            dacapo(&["rescue", "write", medium, &stick, "--yes"]).success();
            let volume = part(&stick, start, size);
            run("fsck.exfat", &["-n", volume.device()]).says("files 0");
        }
    }
}

#[test]
fn a_disk_is_asked_for_like_any_other_target() {
    if !requires(&NEEDS) || !requires(&["loop"]) {
        return;
    }
    let medium = iso().to_str().unwrap();
    let folder = temp_dir();
    let file = folder.join("stick.raw");
    sparse_file(&file, 256 << 20);
    let stick = Loop::new(&file, &[]);
    let before = hash_of(&file);
    let write = |more: &[&str]| {
        let args = [&["rescue", "write", medium, stick.device()], more].concat();
        dacapo(&args)
    };
    write(&[]).exits(5).says("not confirmed");
    write(&["--yes"]).exits(5).says("--confirm");
    write(&["--yes", "--confirm", "S4EVNX0"]).exits(5);
    write(&["--dry-run"]).success();
    assert_eq!(hash_of(&file), before);
    write(&["--yes", "--confirm", &(256 << 20).to_string()]).success().says("read back");
    assert_eq!(partitions(stick.device()).len(), 3);
}

#[test]
fn what_is_no_stick_is_refused_and_left_alone() {
    if !requires(&NEEDS) || !requires(&["loop", "sfdisk"]) {
        return;
    }
    let medium = iso().to_str().unwrap();
    let folder = temp_dir();
    let write = |medium: &str, target: &str| {
        dacapo(&["rescue", "write", medium, target, "--yes", "--confirm", "x"])
    };
    let missing = folder.join("missing");
    write(medium, &missing).exits(1).says("does not exist");
    write(medium, "/dev/sdx9").exits(1).says("dacapo disks");
    let small = folder.join("small");
    sparse_file(&small, 32 << 20);
    write(medium, &small).exits(5).says("larger stick");

    let large = folder.join("large");
    sparse_file(&large, 256 << 20);
    // Sectors of 4096 bytes, from which no BIOS starts.
    let native = Loop::new(&large, &["--sector-size=4096"]);
    write(medium, native.device()).exits(5).says("4096");
    drop(native);
    // Another medium, a damaged one, and none.
    let other = folder.join("other.iso");
    let mut bytes = fs::read(medium).unwrap();
    bytes[32808] = b'X';
    fs::write(&other, &bytes).unwrap();
    for wrong in [other.as_str(), &large] {
        write(wrong, &large).exits(5).says("no rescue medium");
    }
    write("/dev/null", &large).exits(2);
    assert_eq!(fs::metadata(&large).unwrap().len(), 256 << 20);
    assert_eq!(std::os::unix::fs::MetadataExt::blocks(&fs::metadata(&large).unwrap()), 0);
    // The medium itself is no target of its own.
    let copy = folder.join("copy.iso");
    let mut bytes = fs::read(medium).unwrap();
    bytes.resize(128 << 20, 0);
    fs::write(&copy, &bytes).unwrap();
    let before = hash_of(&copy);
    dacapo(&["rescue", "write", &copy, &copy, "--yes"]).exits(5);
    assert_eq!(hash_of(&copy), before);
}

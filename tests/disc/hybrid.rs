// SPDX-License-Identifier: MIT OR Apache-2.0
//! Installer discs that are disks as well: what a partition in one calls free
//! is a part of a file of the disc.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::scene::Scene;
use crate::support::{dacapo, junk, requires, run};

const FAT: usize = 4 << 20;

/// A disc with a FAT in a file, whose free clusters are not empty, on a disk of
/// this size with a partition for it, and one behind the disc if asked for.
fn hybrid(scene: &Scene, len: u64, is_grown: bool) -> (String, usize) {
    let fat = scene.at("tree/efi.img");
    fs::write(&fat, junk(FAT, 5)).unwrap();
    let _ = run("mkfs.fat", &[&fat]);
    let disk = scene.at(if is_grown { "grown.raw" } else { "stick.raw" });
    fs::copy(scene.xorriso("hybrid.iso", &[]), &disk).unwrap();
    let disc_len = fs::metadata(&disk).unwrap().len();
    OpenOptions::new().write(true).open(&disk).unwrap().set_len(len).unwrap();
    // The file is told apart by its junk.
    let wanted = fs::read(&fat).unwrap();
    let bytes = fs::read(&disk).unwrap();
    let start = (0..bytes.len() - FAT).step_by(2048).find(|at| bytes[*at..*at + FAT] == wanted);
    let start = start.unwrap();
    let mut args = vec!["-a".into(), "1".into()];
    args.push("-n".into());
    args.push(format!("1:{}:{}", start / 512, (start + FAT) / 512 - 1));
    if is_grown {
        args.push("-n".into());
        args.push(format!("2:{}:+4M", disc_len.next_multiple_of(1 << 20) / 512));
    }
    args.push(disk.clone());
    let _ = run("sgdisk", &args);
    (disk, start)
}

/// What stock zstd makes of the image of a disk.
fn saved(scene: &Scene, disk: &str) -> Vec<u8> {
    let (image, out) = (format!("{disk}.img.zst"), scene.at("out.raw"));
    let ran = dacapo(&["save", "--quiet", disk, &image]);
    assert_eq!(ran.code, 0, "{ran}");
    let _ = run("zstd", &["-dqf", &image, "-o", &out]);
    fs::read(out).unwrap()
}

#[test]
fn what_a_partition_in_a_disc_calls_free_is_kept() {
    if !requires(&["xorriso", "mkfs.fat", "sgdisk", "zstd"]) {
        return;
    }
    let scene = Scene::new();
    for is_grown in [false, true] {
        let (disk, start) = hybrid(&scene, 32 << 20, is_grown);
        let all = start..start + FAT;
        let before = fs::read(&disk).unwrap();
        assert!(saved(&scene, &disk)[all.clone()] == before[all.clone()], "{is_grown}");
        // Without the disc around it the same partition is a FAT like any other.
        let file = OpenOptions::new().write(true).open(Path::new(&disk)).unwrap();
        file.write_all_at(&[0; 8 * 2048], 16 * 2048).unwrap();
        fs::remove_file(format!("{disk}.img.zst")).unwrap();
        assert!(saved(&scene, &disk)[all.clone()] != before[all], "{is_grown}");
    }
}

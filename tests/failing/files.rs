// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files in what could not be read are named, by the image and before a
//! restore; what was lost can be filled; rescues of GNU ddrescue are imported.

use std::fs;

use dacapo::extent::{Extent, ExtentSet};
use dacapo::image::Reader;
use dacapo::io::Memory;

use crate::support::{TempDir, dacapo, junk, requires, run, temp_dir};

const MIB: u64 = 1 << 20;
const LEN: u64 = 48 * MIB;
const NEEDS: &[&str] = &["mkfs.ext4", "debugfs", "ddrescue", "sgdisk"];

/// An ext4 with some files in a partition, and a rescue of it in which blocks of
/// two of them are missing.
struct Scene {
    folder: TempDir,
    disk: String,
    raw: String,
    map: String,
    bad: ExtentSet,
}

fn scene() -> Scene {
    let folder = temp_dir();
    let disk = folder.join("disk.raw");
    fs::write(&disk, vec![0; LEN as usize]).unwrap();
    let tree = folder.path().join("tree/songs");
    fs::create_dir_all(&tree).unwrap();
    for (n, name) in ["kept.wav", "first.wav", "second.wav"].iter().enumerate() {
        fs::write(tree.join(name), junk(300_000, n as u64)).unwrap();
    }
    let part = folder.join("part.raw");
    fs::write(&part, vec![0; 40 << 20]).unwrap();
    let tree = folder.join("tree");
    let _ = run("mkfs.ext4", &["-q", "-F", "-d", &tree, &part]);
    let block = |name: &str| -> u64 {
        let path = format!("bmap /songs/{name} 7");
        run("debugfs", &["-R", &path, &part]).out().trim().parse().unwrap()
    };
    // mkfs has chosen 1 KiB for a filesystem of this size.
    let blocks = [block("first.wav"), block("second.wav")];
    let free: u64 = {
        let ran = run("debugfs", &["-R", "ffb 1 30000", &part]);
        ran.out().split_whitespace().find_map(|word| word.parse().ok()).unwrap()
    };
    let mut bytes = fs::read(&disk).unwrap();
    bytes[MIB as usize..(41 << 20)].copy_from_slice(&fs::read(&part).unwrap());
    fs::write(&disk, bytes).unwrap();
    let _ = run("sgdisk", &["-o", "-n1:2048:+40M", &disk]);
    let place = |block: u64| Extent::at(MIB + block * 1024, 1024);
    // And one in free space, which nobody misses.
    let bad: ExtentSet = blocks.iter().map(|it| place(*it)).collect();
    let all = bad.union(&place(free).into());
    let faults = folder.join("faults");
    let mut text = "0x0 + 1\n".to_owned();
    let mut lines: Vec<(Extent, char)> = all.iter().map(|it| (it, '-')).collect();
    lines.extend(all.complement(LEN).iter().map(|it| (it, '+')));
    lines.sort_unstable();
    for (extent, status) in lines {
        text += &format!("{} {} {status}\n", extent.start(), extent.len());
    }
    fs::write(&faults, text).unwrap();
    let (raw, map) = (folder.join("rescued.raw"), folder.join("rescued.map"));
    let _ = run("ddrescue", &["-q", "-H", &faults, &disk, &raw, &map]);
    Scene { folder, disk, raw, map, bad }
}

#[test]
fn the_files_that_are_lost_are_named_everywhere() {
    if !requires(NEEDS) {
        return;
    }
    let scene = scene();
    let image = scene.folder.join("a.img.zst");
    let args = ["import", &scene.raw, &image, "--mapfile", &scene.map];
    let ran = dacapo(&args).exits(3);
    let named = |text: &str| {
        assert!(text.contains("/songs/first.wav"), "{text}");
        assert!(text.contains("/songs/second.wav"), "{text}");
        assert!(!text.contains("kept.wav"), "{text}");
    };
    named(ran.out());
    let reader = Reader::open(Memory::new(fs::read(&image).unwrap())).unwrap();
    let losses: ExtentSet = reader.report().losses.iter().copied().collect();
    assert_eq!(losses, scene.bad);
    named(dacapo(&["info", &image]).success().out());
    let summary = dacapo(&["info", &image, "--json"]).success().messages("summary")[0].clone();
    let lost = &summary["lost_files"][0];
    assert_eq!(lost["files"], serde_json::json!(["1:/songs/first.wav", "1:/songs/second.wav"]));
    assert_eq!(lost["bytes"], 2048);
    let target = scene.folder.join("target.raw");
    let ran = dacapo(&["restore", &image, &target, "--dry-run"]).success();
    named(ran.out());
    assert!(ran.err().contains("will be missing"), "{ran}");
    // What is missing is zero, or says so, and all else is as it was.
    let original = fs::read(&scene.disk).unwrap();
    for (fill, what) in [("zeros", "zero on the target"), ("pattern", "text that says so")] {
        let _ = fs::remove_file(&target);
        let args = ["restore", &image, &target, "--fill", fill];
        let ran = dacapo(&args).exits(3).says(what);
        named(ran.out());
        let mut wanted = original.clone();
        for bad in scene.bad.iter() {
            let range = bad.start() as usize..bad.end() as usize;
            let text = b"DACAPO: THIS COULD NOT BE READ. ".iter().cycle();
            for (byte, letter) in wanted[range].iter_mut().zip(text) {
                *byte = if fill == "zeros" { 0 } else { *letter };
            }
        }
        let free = reader.head().used.complement(LEN);
        let mut found = fs::read(&target).unwrap();
        for free in free.iter() {
            let range = free.start() as usize..free.end() as usize;
            found[range.clone()].fill(0);
            wanted[range].fill(0);
        }
        assert!(found == wanted, "--fill {fill}");
    }
    // From a pipe as well, where what is missing is only known at the end.
    let _ = fs::remove_file(&target);
    let bytes = fs::read(&image).unwrap();
    let command = crate::support::dacapo_command(&["restore", "-", &target, "--fill", "pattern"]);
    let _ = crate::support::finish(command, &bytes).exits(3);
    let found = fs::read(&target).unwrap();
    for bad in scene.bad.iter() {
        assert!(found[bad.start() as usize..].starts_with(b"DACAPO: THIS COULD NOT"));
    }
}

#[test]
fn a_mapfile_that_does_not_fit_is_refused() {
    if !requires(&["ddrescue"]) {
        return;
    }
    let folder = temp_dir();
    let raw = folder.join("raw");
    fs::write(&raw, junk(8 << 20, 1)).unwrap();
    let image = folder.join("a.img.zst");
    let import = |map: &str| {
        let path = folder.join("map");
        fs::write(&path, map).unwrap();
        dacapo(&["import", &raw, &image, "--mapfile", &path])
    };
    let _ = import("0 ? 1\n0 0x1000000 +\n").exits(4).says("cut off");
    let _ = import("0 ? 1\n0 0x800000 ?\n").exits(4).says("nothing was read");
    let _ = import("not a map\n").exits(4).says("line 1");
    let _ = dacapo(&["import", &raw, &image, "--mapfile", "/nowhere"]).exits(1);
    // The drive was longer than what could be read of it.
    let _ = import("0 ? 1\n0 0x800000 +\n0x800000 0x100000 -\n").exits(3);
    let reader = Reader::open(Memory::new(fs::read(&image).unwrap())).unwrap();
    assert_eq!(reader.head().disk_len, 9 << 20);
    assert_eq!(reader.report().losses, [Extent::new(8 << 20, 9 << 20)]);
}

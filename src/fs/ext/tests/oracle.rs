// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver against other programs: the facts beside the committed disks,
//! which `dumpe2fs` and the kernel were asked for, and filesystems that
//! `mke2fs` makes here.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::image::used;
use crate::extent::{Extent, ExtentSet};
use crate::io::Memory;

fn ranges(value: &Value) -> ExtentSet {
    let number = |value: &Value| value.as_u64().unwrap();
    let pairs = value.as_array().map(Vec::as_slice).unwrap_or_default();
    pairs.iter().map(|pair| Extent::at(number(&pair[0]), number(&pair[1]))).collect()
}

#[test]
fn the_committed_disks_are_read_as_their_makers_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("images");
    let mut seen = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(name) = name.strip_suffix(".img.zst").filter(|name| name.starts_with("ext"))
        else {
            continue;
        };
        let facts = fs::read(folder.join(format!("{name}.facts.json"))).unwrap();
        let facts: Value = serde_json::from_slice(&facts).unwrap();
        let bytes = zstd::decode_all(fs::File::open(&path).unwrap()).unwrap();
        let result = used(&Memory::new(bytes));
        seen += 1;
        if facts["understood"] == Value::Bool(false) {
            assert!(result.map_or(true, |used| used.whole.is_some()), "{name}");
            continue;
        }
        let map = result.unwrap();
        assert_eq!(map.whole, None, "{name}");
        let (before, after) = (ranges(&facts["used"]), ranges(&facts["used_after_replay"]));
        assert!(!before.is_empty());
        if after.is_empty() {
            assert_eq!(map.extents, before, "{name}");
        } else {
            assert_ne!(before.union(&after), before, "{name} has nothing to replay");
            // Other copies in the journal may add to the union.
            let missing = before.union(&after).subtract(&map.extents);
            assert_eq!(missing, ExtentSet::new(), "{name}");
        }
    }
    assert!(seen >= 8, "{seen} disks");
}

/// The used bytes of an image of `len` bytes by `dumpe2fs`.
fn dumped(image: &Path, len: u64) -> ExtentSet {
    let output = Command::new("dumpe2fs").env("LC_ALL", "C").arg(image).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let field = |name: &str| -> Option<u64> {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
    };
    let block = field("Block size").unwrap();
    let end = field("Block count").unwrap() * block;
    // Of a cluster, only the first block is printed.
    let cluster = field("Cluster size").unwrap_or(block);
    let mut free = ExtentSet::new();
    for range in text.lines().filter_map(|line| line.strip_prefix("  Free blocks: ")) {
        for range in range.split(", ").filter(|range| !range.is_empty()) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let byte = |text: &str| text.trim().parse::<u64>().unwrap() * block;
            free.insert(Extent::new(byte(first), (byte(last) + cluster).min(end)));
        }
    }
    free.complement(len)
}

#[test]
fn filesystems_that_mke2fs_makes_are_read_as_dumpe2fs_reads_them() {
    if Command::new("mke2fs").arg("-V").output().is_err() {
        println!("skipped: mke2fs is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("files");
    fs::create_dir(&files).unwrap();
    for number in 0..40_usize {
        fs::write(files.join(format!("file-{number}")), vec![7; number * 1500]).unwrap();
    }
    for (size, arguments) in [
        ("9M", "-t ext2 -b 1024"),
        ("9M", "-t ext2 -r 0 -b 1024"),
        ("40M", "-t ext3 -b 1024 -g 1024"),
        ("40M", "-t ext4 -b 1024"),
        ("40M", "-t ext4 -b 2048"),
        ("40M", "-t ext4 -b 4096 -g 512 -G 4"),
        ("40M", "-t ext4 -b 1024 -O ^64bit"),
        ("40M", "-t ext4 -b 1024 -O ^flex_bg"),
        ("40M", "-t ext4 -b 1024 -O ^flex_bg,^metadata_csum,uninit_bg"),
        ("40M", "-t ext4 -b 1024 -O ^metadata_csum,^uninit_bg"),
        ("40M", "-t ext4 -b 1024 -O ^sparse_super,^resize_inode,^flex_bg"),
        ("40M", "-t ext4 -b 1024 -O sparse_super2,^sparse_super,^resize_inode"),
        ("40M", "-t ext4 -b 1024 -g 256 -O meta_bg,^resize_inode"),
        ("40M", "-t ext4 -b 1024 -O metadata_csum_seed,orphan_file,fast_commit,mmp,quota,project"),
        ("40M", "-t ext4 -b 1024 -O ^has_journal,inline_data,ea_inode,large_dir,stable_inodes"),
        ("64M", "-t ext4 -b 1024 -O bigalloc -C 8192 -g 1024"),
        ("64M", "-t ext4 -b 4096 -O bigalloc -C 65536 -g 512"),
        ("80M", "-t ext4 -b 16384"),
        ("90M", "-t ext4 -b 65536 -g 512"),
        ("40M", "-t ext4 -b 4096 -O verity,casefold,encrypt -E encoding=utf8"),
    ] {
        let image = folder.path().join("image");
        let made = Command::new("mke2fs")
            .args(["-q", "-F"])
            .args(arguments.split(' '))
            .args(["-d".as_ref(), files.as_os_str(), image.as_os_str(), size.as_ref()])
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(made.status.success(), "mke2fs {arguments}: {words}");
        let bytes = fs::read(&image).unwrap();
        let expected = dumped(&image, bytes.len() as u64);
        let map = used(&Memory::new(bytes)).unwrap();
        assert_eq!(map.whole, None, "mke2fs {arguments}");
        assert_eq!(map.extents, expected, "mke2fs {arguments}");
        fs::remove_file(&image).unwrap();
    }
}

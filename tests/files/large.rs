// SPDX-License-Identifier: MIT OR Apache-2.0
//! Many files: the tree of a real system, and folders of very many names.

use std::path::Path;
use std::time::{Duration, Instant};

use dacapo::fs::Files;
use dacapo::fs::files::{Node, NodeKind};

use super::{compare_with_mount, files_of, list_all};
use crate::support::{Mount, all, requires, run, sparse_file, temp_dir};

/// A filesystem of this size with what the script puts there.
#[track_caller]
fn filled(image: &str, filesystem: &str, mkfs: &[&str], gibibytes: u64, script: &str) {
    sparse_file(image, gibibytes << 30);
    let (program, options) = mkfs.split_first().expect("a program");
    run(program, &[options, &[image]].concat());
    let mount = Mount::new(image, filesystem, "loop");
    run("sh", &["-euc", script, "sh", mount.path().to_str().expect("a plain name")]);
}

/// The files of this very machine, as far as every system has them.
#[track_caller]
fn judge_system(filesystem: &str, mkfs: &[&str]) {
    if !all() || !requires(&["root", "loop", &format!("kernel:{filesystem}"), mkfs[0], "python3"]) {
        return;
    }
    let folder = temp_dir();
    let image = folder.join("disk.img");
    filled(&image, filesystem, mkfs, 8, "cp -a /etc /usr/bin /usr/share /var/lib/dpkg \"$1\"");
    let mount = Mount::new(&image, filesystem, "loop,ro");
    let nodes = compare_with_mount(Path::new(&image), mount.path());
    assert!(nodes > 5000, "{filesystem}: {nodes} nodes");
}

#[test]
fn a_system_in_ext4_reads_as_mounted() {
    judge_system("ext4", &["mke2fs", "-q", "-t", "ext4"]);
}

#[test]
fn a_system_in_xfs_reads_as_mounted() {
    judge_system("xfs", &["mkfs.xfs", "-q"]);
}

#[test]
fn a_system_in_btrfs_reads_as_mounted() {
    judge_system("btrfs", &["mkfs.btrfs", "-q"]);
}

/// Names and attributes of everything below a folder, as `ls -lR` wants them.
fn walk(files: &dyn Files, folder: Node) -> usize {
    let mut count = 0;
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in list_all(files, folder) {
            count += 1;
            let attributes = files.attributes(entry.node).expect("asking for attributes");
            if attributes.kind == NodeKind::Folder {
                folders.push(entry.node);
            }
        }
    }
    count
}

/// `count` files in folders of 10,000 and one of all that is left.
const MANY: &str = "cd \"$1\"; exec python3 -c '
import os
for folder in range(20):
    os.mkdir(str(folder))
    for n in range(10000):
        os.close(os.open(f\"{folder}/a name of a file {n}\", os.O_CREAT | os.O_WRONLY))
os.mkdir(\"large\")
for n in range(100000):
    os.close(os.open(f\"large/a name of a file {n}\", os.O_CREAT | os.O_WRONLY))
'";

#[track_caller]
fn judge_many(filesystem: &str, mkfs: &[&str]) {
    if !all() || !requires(&["root", "loop", &format!("kernel:{filesystem}"), mkfs[0], "python3"]) {
        return;
    }
    let folder = temp_dir();
    let image = folder.join("disk.img");
    filled(&image, filesystem, mkfs, 4, MANY);
    let started = Instant::now();
    let files = files_of(Path::new(&image));
    let count = walk(files.as_ref(), files.root());
    let walked = started.elapsed();
    assert!((300_000..300_100).contains(&count), "{count} nodes");
    // One by one, as a file manager asks over a mount.
    let started = Instant::now();
    let large =
        files.lookup(files.root(), b"large").expect("looking up").expect("it is there").node;
    for number in (0..100_000).step_by(7) {
        let name = format!("a name of a file {number}");
        let found = files.lookup(large, name.as_bytes()).expect("looking up");
        assert!(found.is_some(), "{name}");
    }
    let looked_up = started.elapsed();
    println!("{filesystem}: walk of {count} nodes {walked:?}, 14,286 names {looked_up:?}");
    // Of a program that is not optimized, on a machine that is busy.
    assert!(walked < Duration::from_secs(60), "{walked:?}");
    assert!(looked_up < Duration::from_secs(60), "{looked_up:?}");
}

#[test]
fn very_many_names_of_ext4_are_read_in_seconds() {
    judge_many("ext4", &["mke2fs", "-q", "-t", "ext4", "-N", "400000"]);
}

#[test]
fn very_many_names_of_xfs_are_read_in_seconds() {
    judge_many("xfs", &["mkfs.xfs", "-q"]);
}

#[test]
fn very_many_names_of_btrfs_are_read_in_seconds() {
    judge_many("btrfs", &["mkfs.btrfs", "-q"]);
}

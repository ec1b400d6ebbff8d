// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files on a disk, read by the kernel, debugfs or mtools and hashed by
//! sha256sum: nothing of this is the program's own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::support::{requires, run, temp_dir, try_run};

/// How the files of a filesystem are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// Mounted read-only without a replay. Needs root.
    Kernel,
    /// debugfs, which needs nothing.
    Debugfs,
    /// mtools.
    Mtools,
}

/// The test fails unless the image holds all `files` with their hashes.
#[track_caller]
pub fn assert_files(image: &str, reader: Reader, files: &BTreeMap<String, String>) {
    assert!(!files.is_empty(), "{image}: no files to look for");
    match reader {
        Reader::Kernel => assert_mounted_files(image, "loop,ro,noload", files),
        Reader::Debugfs => {
            let folder = temp_dir();
            // It complains of owners and times when it is not root.
            let _ = try_run("debugfs", &["-R", &format!("rdump / {}", folder.join("")), image]);
            assert_hashes(folder.path(), files);
        }
        Reader::Mtools => {
            let folder = temp_dir();
            let mut command = std::process::Command::new("mcopy");
            command.args(["-s", "-n", "-Q", "-i", image, "::/*", &folder.join("")]);
            command.env("MTOOLS_SKIP_CHECK", "1");
            crate::support::finish(command, &[]).success();
            assert_hashes(folder.path(), files);
        }
    }
}

/// Mounts an ext filesystem with the kernel, which replays its journal if the
/// options allow it, and checks the hashes of all `files`.
///
/// All in a mount namespace of its own: a program that copies all mounts into
/// a sandbox meanwhile, as mmdebstrap does, would keep the filesystem mounted
/// after umount, and fsck would find it half written.
#[track_caller]
pub fn assert_mounted_files(image: &str, options: &str, files: &BTreeMap<String, String>) {
    const SCRIPT: &str = "mount -t ext4 -o \"$1\" \"$2\" \"$3\"
        sha256sum --check --quiet --strict \"$4\"
        umount \"$3\"";
    let (folder, lists) = (temp_dir(), temp_dir());
    let list = lists.join("SHA256SUMS");
    fs::write(&list, hash_list(folder.path(), files)).expect("writing the list of hashes");
    let mount = ["--mount", "--propagation", "private", "sh", "-euc", SCRIPT, "sh"];
    run("unshare", &[&mount[..], &[options, image, &folder.join(""), &list]].concat());
}

/// How to read an ext filesystem on this machine. debugfs misreads short
/// inline files, so those need the kernel.
pub fn ext_reader(kernel_mounts: bool) -> Reader {
    if kernel_mounts && requires(&["root", "loop", "kernel:ext4"]) {
        Reader::Kernel
    } else {
        Reader::Debugfs
    }
}

/// The test fails unless all `files` below `folder` have their hashes.
#[track_caller]
pub fn assert_hashes(folder: &Path, files: &BTreeMap<String, String>) {
    let lists = temp_dir();
    let path = lists.join("SHA256SUMS");
    fs::write(&path, hash_list(folder, files)).expect("writing the list of hashes");
    run("sha256sum", &["--check", "--quiet", "--strict", &path]);
}

/// What sha256sum checks.
fn hash_list(folder: &Path, files: &BTreeMap<String, String>) -> String {
    let mut list = String::new();
    for (name, digest) in files {
        writeln!(list, "{digest}  {}", folder.join(name).display()).expect("writing to a string");
    }
    list
}

/// Copies `length` bytes from `first_byte` of a disk to a file of their own.
pub fn cut_out(disk: &Path, first_byte: u64, length: u64, target: &str) {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut from = fs::File::open(disk).expect("opening the disk");
    from.seek(SeekFrom::Start(first_byte)).expect("seeking in the disk");
    let mut to = fs::File::create(target).expect("creating the partition's file");
    let copied = std::io::copy(&mut from.take(length), &mut to).expect("copying the partition");
    assert_eq!(copied, length, "the disk ends inside the partition");
}

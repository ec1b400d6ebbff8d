// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo import`, judged by the tools whose images it takes: what they
//! restore is what it has to give.

mod clonezilla;
mod compressed;
mod ending;
mod lvm;
mod ntfsclone;
mod ocs_sr;
mod partclone;
mod partimage;
mod virtual_disk;

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::support::{Ran, TempDir, dacapo, run, sparse_file, try_run};

/// What `zstd -dc` makes of an image.
#[track_caller]
fn unpack(image: &str, to: &str) {
    run("zstd", &["-dcq", "--sparse", "-f", image, "-o", to]);
}

/// Imports, which must end with `code`, and unpacks by zstd what came out; its
/// content is good by this program, too.
#[track_caller]
fn import(folder: &TempDir, from: &str, code: i32) -> (String, Ran) {
    let (image, raw) = (folder.join("out.img.zst"), folder.join("out.raw"));
    let _ = fs::remove_file(&image);
    let _ = fs::remove_file(&raw);
    let ran = dacapo(&["import", "--json", from, &image]).exits(code);
    unpack(&image, &raw);
    // What is missing is a loss of the image, too; marks of another tool are not.
    let verified = dacapo(&["verify", &image]);
    assert!(verified.code == 0 || verified.code == code, "{verified}");
    (raw, ran)
}

/// An import that must be refused with `code`: nothing may be left of it.
#[track_caller]
fn refused(folder: &TempDir, from: &str, code: i32) -> Ran {
    let out = folder.join("refused");
    let _ = fs::remove_dir_all(&out);
    fs::create_dir(&out).unwrap();
    let ran = dacapo(&["import", from, &format!("{out}/image.img.zst")]).exits(code);
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0, "something was left\n{ran}");
    ran
}

/// A file with one byte changed at `position`.
fn with_damage(path: &str, position: u64, to: &str) {
    fs::copy(path, to).unwrap();
    let file = File::options().read(true).write(true).open(to).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], position).unwrap();
}

/// The first `len` bytes of a file.
fn cut(path: &str, len: u64, to: &str) {
    let mut from = File::open(path).unwrap().take(len);
    std::io::copy(&mut from, &mut File::create(to).unwrap()).unwrap();
}

fn len_of(path: &str) -> u64 {
    fs::metadata(path).unwrap().len()
}

/// The test fails unless the first bytes of `longer` are all of `file`, and
/// only zeros follow: a tool that restores to a file does not always make it
/// as long as the partition was.
#[track_caller]
fn assert_same_content(a: &str, b: &str) {
    let (mut a, mut b) = (File::open(a).unwrap(), File::open(b).unwrap());
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let mut position = 0;
    loop {
        for (file, piece) in [(&mut a, &mut left), (&mut b, &mut right)] {
            piece.clear();
            file.take(1 << 20).read_to_end(piece).unwrap();
            piece.resize(1 << 20, 0);
        }
        assert!(left == right, "they differ in the MiB at {position:#x}");
        position += 1 << 20;
        let ended = |file: &mut File| {
            file.stream_position().unwrap() >= file.seek(SeekFrom::End(0)).unwrap()
        };
        let at = a.stream_position().unwrap();
        let ends = [ended(&mut a), ended(&mut b)];
        if ends == [true, true] {
            return;
        }
        a.seek(SeekFrom::Start(position)).unwrap();
        b.seek(SeekFrom::Start(position)).unwrap();
        assert!(at <= position);
    }
}

/// A filesystem of `mib` MiB with files, made without root and mount; what is
/// free is zero.
fn ext4(folder: &TempDir, mib: u64) -> String {
    let (path, files) = (folder.join("ext4.raw"), folder.join("files"));
    sparse_file(&path, mib << 20);
    some_files(Path::new(&files));
    run("mkfs.ext4", &["-q", "-F", "-d", &files, &path]);
    path
}

/// The same, with something in what is free.
fn ext4_with_traces(folder: &TempDir, mib: u64) -> String {
    let path = ext4(folder, mib);
    run("debugfs", &["-w", "-R", "rm /gone", &path]);
    path
}

/// An NTFS of `mib` MiB with files.
fn ntfs(folder: &TempDir, mib: u64) -> String {
    let path = folder.join("ntfs.raw");
    sparse_file(&path, mib << 20);
    run("mkntfs", &["-q", "-F", "-f", "-L", "Windows", &path]);
    let file = folder.join("file");
    fs::write(&file, crate::support::junk(300_000, 5)).unwrap();
    try_run("ntfscp", &["-f", &path, &file, "/file"]).success();
    path
}

fn some_files(folder: &Path) {
    fs::create_dir_all(folder.join("sub")).unwrap();
    for (name, len) in [("gone", 400_000), ("one", 100), ("sub/two", 200_000), ("three", 5000)] {
        let mut file = File::create(folder.join(name)).unwrap();
        file.write_all(&crate::support::junk(len, len as u64)).unwrap();
    }
}

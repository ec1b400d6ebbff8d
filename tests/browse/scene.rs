// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk with filesystems whose files have all that files can have.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use crate::support::{Loop, Mount, TempDir, dacapo, finish, junk, run, sparse_file, temp_dir};

/// What the tests need to make the disk.
pub(super) const NEEDS: &[&str] =
    &["root", "loop", "sfdisk", "mkfs.ext4", "mkfs.vfat", "mcopy", "setfattr", "getfattr"];

const MIB: u64 = 1 << 20;

/// Where the partitions of the disk are: an ESP, a root and a data partition.
pub(super) const PARTITIONS: [(u64, u64); 3] =
    [(MIB, 34 * MIB), (35 * MIB, 64 * MIB), (99 * MIB, 28 * MIB)];

/// A disk of 128 MiB: FAT32 "ESP", ext4 "ROOT" and swap.
pub(super) struct Scene {
    pub(super) folder: TempDir,
    pub(super) disk: String,
}

impl Scene {
    /// Makes the disk; `fill` puts files into the root.
    pub(super) fn new(fill: impl FnOnce(&Path)) -> Self {
        let folder = temp_dir();
        let disk = folder.join("disk.raw");
        sparse_file(&disk, 128 * MIB);
        let mut table = String::from("label: gpt\n");
        for ((start, len), name) in PARTITIONS.iter().zip(["EFI system", "Linux root", "swap"]) {
            table.push_str(&format!(
                "start={}, size={}, name=\"{name}\"\n",
                start / 512,
                len / 512
            ));
        }
        let mut command = Command::new("/usr/sbin/sfdisk");
        command.args(["--quiet", &disk]);
        finish(command, table.as_bytes()).success();
        let part = |number: usize| folder.join(&format!("part{number}"));
        for (number, (_, len)) in PARTITIONS.iter().enumerate() {
            sparse_file(part(number), *len);
        }
        run("mkfs.vfat", &["-F", "32", "-n", "ESP", &part(0)]);
        let file = folder.join("boot.txt");
        fs::write(&file, "boots").unwrap();
        run("mmd", &["-i", &part(0), "::EFI"]);
        run("mcopy", &["-i", &part(0), &file, "::EFI/Boot Me.txt"]);
        run("mkfs.ext4", &["-q", "-L", "ROOT", "-O", "^has_journal", &part(1)]);
        fill(Mount::new(&part(1), "ext4", "loop").path());
        run("mkswap", &[&part(2)]);
        for (number, (start, _)) in PARTITIONS.iter().enumerate() {
            copy_into(&part(number), &disk, *start);
        }
        Self { folder, disk }
    }

    /// The image of the disk.
    pub(super) fn image(&self, name: &str) -> String {
        let image = self.folder.join(name);
        dacapo(&["save", &self.disk, &image]).success();
        image
    }

    /// The root of the disk, mounted.
    pub(super) fn root(&self, options: &str) -> (Loop, Mount) {
        let (start, len) = PARTITIONS[1];
        let window = [format!("--offset={start}"), format!("--sizelimit={len}")];
        let device = Loop::new(&self.disk, &[&window[0], &window[1]]);
        let mount = Mount::new(device.device(), "ext4", options);
        // The device goes last.
        (device, mount)
    }
}

fn copy_into(from: &str, disk: &str, start: u64) {
    let mut bytes = Vec::new();
    File::open(from).unwrap().read_to_end(&mut bytes).unwrap();
    let mut disk = File::options().write(true).open(disk).unwrap();
    disk.seek(SeekFrom::Start(start)).unwrap();
    disk.write_all(&bytes).unwrap();
}

/// A tree with everything.
pub(super) fn everything(root: &Path) {
    let at = |name: &str| root.join(name);
    let sh = |script: &str| run("sh", &["-c", &format!("cd '{}' && {script}", root.display())]);
    fs::create_dir_all(at("home/me/deep/er")).unwrap();
    fs::write(at("home/me/song.wav"), junk(3 << 20, 1)).unwrap();
    fs::write(at("home/me/note.txt"), "hello\n").unwrap();
    fs::write(at("home/me/empty"), "").unwrap();
    fs::write(at("home/me/deep/er/a:b"), "colon").unwrap();
    let sparse = File::create(at("home/sparse")).unwrap();
    sparse.set_len(20 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, &junk(70_000, 2), 9 << 20).unwrap();
    for name in [&b"new\nline"[..], b"esc\x1b[2J", b"not\xfftext", &[b'x'; 255]] {
        fs::write(at("home").join(OsStr::from_bytes(name)), name).unwrap();
    }
    let many = at("many");
    fs::create_dir(&many).unwrap();
    for n in 0..500 {
        fs::write(many.join(format!("file {n}")), junk(n * 7, n as u64)).unwrap();
    }
    sh("ln home/me/song.wav home/hard; ln home/hard many/again");
    sh("ln -s /etc/passwd absolute; ln -s home/me relative; ln -s ../../nowhere home/dangling");
    sh("mkfifo pipe; mknod null c 1 3; mknod disk b 8 0");
    sh("setfattr -n user.colour -v blue home/me/note.txt; setfattr -n trusted.t -v 1 home/me");
    sh("cp home/me/note.txt setuid; chmod 4755 setuid; chmod 1777 home; chmod 0 home/me/empty");
    sh("chown -R 1000:100 home/me; chown -h 7:8 relative");
    sh("touch -h -d '2001-02-03 04:05:06.123456789' relative home/me/song.wav many");
    sh("touch -d '1965-01-01 00:00:01.5' home/me/note.txt");
}

/// All that find and getfattr say of a tree, and the hashes of its files.
pub(super) fn facts(folder: &Path) -> Vec<String> {
    let listed = |script: &str| {
        let script = format!("cd '{}' && {script}", folder.display());
        let ran = run("sh", &["-c", &script]);
        let text = String::from_utf8_lossy(&ran.stdout).into_owned();
        let mut lines: Vec<String> = text.split('\0').map(str::to_owned).collect();
        lines.sort();
        lines
    };
    // The size of a folder is its filesystem's own matter.
    let mut all = listed(
        "find . -mindepth 1 -name lost+found -prune -o \
         \\( -type d -printf '%P %y %m %U %G %n %T@\\0' -o \
         -printf '%P %y %m %U %G %T@ %s %n %l\\0' \\)",
    );
    all.extend(listed("find . -type f -print0 | xargs -0 sha256sum -z"));
    all.extend(listed("getfattr -R -h -d -m - . 2>/dev/null"));
    all
}

/// The test fails unless the trees are the same; says where they differ.
#[track_caller]
pub(super) fn assert_same_facts(wanted: &[String], found: &[String]) {
    let missing: Vec<_> = wanted.iter().filter(|line| !found.contains(line)).take(10).collect();
    let more: Vec<_> = found.iter().filter(|line| !wanted.contains(line)).take(10).collect();
    assert!(missing.is_empty() && more.is_empty(), "missing: {missing:#?}\nmore: {more:#?}");
    assert_eq!(wanted.len(), found.len());
}

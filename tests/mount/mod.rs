// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo mount`: what the kernel and other programs read from the folder is
//! what they read from the disk itself.

mod fake;
mod files;
mod life;
mod reading;
mod sources;
mod writable;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{
    Loop, Mount, TempDir, dacapo, dacapo_command, hash_of, junk, run, sparse_file, temp_dir,
    try_run, wait,
};

const MIB: u64 = 1 << 20;

/// dacapo with a folder that it has mounted.
pub(super) struct Mounted {
    child: Child,
    folder: Option<TempDir>,
    errors: Option<JoinHandle<String>>,
    output: Option<JoinHandle<String>>,
    /// The JSON line that says that it is ready.
    pub(super) ready: serde_json::Value,
}

/// How it ended.
pub(super) struct Ended {
    pub(super) code: i32,
    /// All that was printed since it was ready.
    pub(super) output: String,
}

impl Mounted {
    /// Mounts an image, and waits until that is done.
    #[track_caller]
    pub(super) fn new(image: &str, options: &[&str]) -> Self {
        let folder = temp_dir();
        let point = folder.path().to_str().unwrap().to_owned();
        let args: Vec<&str> =
            ["mount", image, &point, "--json"].into_iter().chain(options.iter().copied()).collect();
        let mut command = dacapo_command(&args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut ready = serde_json::Value::Null;
        let mut line = String::new();
        while stdout.read_line(&mut line).unwrap() > 0 {
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_ne!(value["message_type"], "exit_error", "{line}");
            if value["message_type"] == "ready" {
                ready = value;
                break;
            }
            line.clear();
        }
        assert!(ready.is_object(), "it never was ready: {}", errors.join().unwrap());
        let output = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stdout.read_to_string(&mut text);
            text
        });
        Self { child, folder: Some(folder), errors: Some(errors), output: Some(output), ready }
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.as_ref().unwrap().path()
    }

    pub(super) fn join(&self, name: &str) -> String {
        self.path().join(name).to_str().unwrap().to_owned()
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Unmounts the folder, and waits for the end.
    #[track_caller]
    pub(super) fn unmount(self) -> Ended {
        let start = Instant::now();
        // A program that another test is about to start has all files of this
        // one open for a moment.
        while let ran = try_run("umount", &[self.path()])
            && ran.code != 0
        {
            let is_busy = ran.err().contains("busy") && start.elapsed() < Duration::from_secs(10);
            assert!(is_busy, "{ran}");
            std::thread::sleep(Duration::from_millis(50));
        }
        self.end()
    }

    /// Waits for the end.
    #[track_caller]
    pub(super) fn end(mut self) -> Ended {
        let code = wait(&mut self.child, Duration::from_secs(20)).expect("it does not end");
        let mut output = self.output.take().unwrap().join().unwrap();
        output.push_str(&self.errors.take().unwrap().join().unwrap());
        let left = fs::read_dir(self.path()).unwrap().count();
        assert_eq!(left, 0, "still mounted");
        Ended { code, output }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let Some(folder) = self.folder.take() else { return };
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let point = folder.path().to_str().unwrap();
        if mounts.split_whitespace().any(|word| word == point) {
            let _ = try_run("umount", &["--lazy", point]);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A disk with an ext4, an XFS and a btrfs partition, each with some files.
pub(super) fn disk(path: &str) {
    sparse_file(path, 560 * MIB);
    run(
        "sgdisk",
        &["-n1:1M:+64M", "-c1:boot", "-n2:0:+310M", "-c2:Music", "-n3:0:0", "-t3:8300", path],
    );
    for (number, start, len, program, kind) in [
        (1, 1, 64, "mkfs.ext4", "ext4"),
        (2, 65, 310, "mkfs.xfs", "xfs"),
        (3, 375, 184, "mkfs.btrfs", "btrfs"),
    ] {
        let (offset, size) = ((start * MIB).to_string(), (len * MIB).to_string());
        let part = Loop::new(path, &["--offset", &offset, "--sizelimit", &size]);
        let label = format!("part{number}");
        run(program, &["-q", "-L", &label, part.device()]);
        let mount = Mount::new(part.device(), kind, "rw");
        fill(mount.path(), number);
    }
}

fn fill(folder: &Path, seed: u64) {
    fs::create_dir_all(folder.join("projects/deep")).unwrap();
    fs::write(folder.join("projects/song.wav"), junk(3 << 20, seed)).unwrap();
    fs::write(folder.join("projects/deep/notes \u{e4}.txt"), "a note\n").unwrap();
    fs::write(folder.join("empty"), "").unwrap();
    std::os::unix::fs::symlink("../nowhere", folder.join("link")).unwrap();
    fs::hard_link(folder.join("projects/song.wav"), folder.join("twice")).unwrap();
    for number in 0..100 {
        let bytes = junk(number * 97, seed * 1000 + number as u64);
        fs::write(folder.join(format!("projects/{number}.bin")), bytes).unwrap();
    }
}

/// Saves a disk.
#[track_caller]
pub(super) fn save(disk: &str, image: &str) {
    let _ = dacapo(&["save", disk, image, "--chunk-size", "256K"]).success();
}

/// The hash of the disk in an image, by stock zstd.
pub(super) fn unpacked_hash(image: &str, to: &str) -> String {
    run("zstd", &["-q", "-f", "-d", image, "-o", to]);
    hash_of(to)
}

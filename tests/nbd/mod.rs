// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images as network block devices: judged by libnbd's tools, QEMU's, and by
//! clients of our own with bad manners.

mod clients;
mod export;
mod garbage;
mod kernel;
mod overlay;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::support::{
    Ran, TempDir, dacapo, dacapo_command, junk, run, sparse_file, temp_dir, wait,
};

const MIB: u64 = 1 << 20;

/// Of the disk: an ESP with nothing in it, and an ext4 with files.
pub(crate) const LEN: u64 = 48 * MIB;
pub(crate) const EXT4: (u64, u64) = (16 * MIB, 31 * MIB);

/// What the disk and its image are made with.
pub(crate) const MAKERS: [&str; 4] = ["sgdisk", "mke2fs", "mkfs.vfat", "zstd"];

/// A disk, its image, and the disk as it is in the image.
pub(crate) struct Saved {
    folder: TempDir,
}

impl Saved {
    pub(crate) fn image(&self) -> String {
        self.folder.join("disk.img.zst")
    }

    /// A file that is on the disk, by its name there.
    pub(crate) fn file(&self, name: &str) -> String {
        self.folder.join(&format!("files/{name}"))
    }

    /// What zstd makes of the image: unused bytes are zero.
    pub(crate) fn content(&self) -> String {
        self.folder.join("content.raw")
    }
}

/// Made once for all tests, none of which may change it.
pub(crate) fn saved() -> &'static Saved {
    static SAVED: OnceLock<Saved> = OnceLock::new();
    SAVED.get_or_init(|| {
        let folder = temp_dir();
        let (disk, files) = (folder.join("disk.raw"), folder.join("files"));
        fs::create_dir(&files).unwrap();
        fs::write(folder.join("files/random"), junk(5 << 20, 1)).unwrap();
        fs::write(folder.join("files/text"), "dacapo ".repeat(1 << 20)).unwrap();
        sparse_file(&disk, LEN);
        let parts = ["-n1:2048:+12M", "-t1:ef00", "-c1:ESP", "-n2:32768:+31M", "-c2:root"];
        run("sgdisk", &[&parts[..], &[&disk]].concat());
        run("mkfs.vfat", &["--offset", "2048", &disk, "12288"]);
        let offset = format!("offset={}", EXT4.0);
        run("mke2fs", &["-q", "-t", "ext4", "-E", &offset, "-d", &files, &disk, "31M"]);
        let image = folder.join("disk.img.zst");
        dacapo(&["save", &disk, &image, "--quiet", "--label", "studio"]).success();
        let content = folder.join("content.raw");
        run("zstd", &["-dq", "--sparse", "-o", &content, &image]);
        Saved { folder }
    })
}

/// A server, ended when it is dropped.
pub(crate) struct Serving {
    child: Child,
    output: BufReader<ChildStdout>,
    folder: TempDir,
    pub(crate) ready: serde_json::Value,
}

impl Serving {
    /// Serves at a socket.
    #[track_caller]
    pub(crate) fn start(image: &str, options: &[&str]) -> Self {
        let folder = temp_dir();
        let socket = folder.join("socket");
        Self::start_in(folder, image, &[&["--socket", &socket], options].concat())
    }

    /// Serves at a port that nobody uses.
    #[track_caller]
    pub(crate) fn start_at_port(image: &str, options: &[&str]) -> Self {
        Self::start_in(temp_dir(), image, &[&["--port", "0"], options].concat())
    }

    #[track_caller]
    fn start_in(folder: TempDir, image: &str, options: &[&str]) -> Self {
        let args = [&["serve", image, "--json"], options].concat();
        let mut command = dacapo_command(&args);
        command.env("TMPDIR", folder.path()).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut ready = serde_json::Value::Null;
        while ready["message_type"] != "ready" {
            let mut line = String::new();
            assert!(output.read_line(&mut line).unwrap() > 0, "the server ended");
            ready = serde_json::from_str(&line).unwrap();
        }
        Self { child, output, folder, ready }
    }

    pub(crate) fn socket(&self) -> String {
        self.folder.join("socket")
    }

    /// How clients are told of an export.
    pub(crate) fn uri(&self, export: &str) -> String {
        format!("nbd+unix:///{export}?socket={}", self.socket())
    }

    /// Ends it as an init system does; gives the exit code and what it said.
    #[track_caller]
    pub(crate) fn end(mut self) -> (i32, Vec<serde_json::Value>) {
        use nix::sys::signal::{Signal, kill};
        use nix::unistd::Pid;
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        let code = wait(&mut self.child, Duration::from_secs(10)).expect("it does not end");
        let lines = std::io::BufRead::lines(&mut self.output);
        let said = lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
        assert!(!Path::new(&self.socket()).exists(), "the socket is left");
        (code, said)
    }

    /// The most memory that it has taken.
    pub(crate) fn most_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// QEMU's program that reads and writes as a disk's user does; one command an
/// argument.
#[track_caller]
pub(crate) fn qemu_io(uri: &str, options: &[&str], commands: &[&str]) -> Ran {
    let commands = commands.iter().flat_map(|command| ["-c", command]);
    let args: Vec<&str> = ["-f", "raw"].iter().chain(options).copied().chain(commands).collect();
    crate::support::try_run("qemu-io", &[&args[..], &[uri]].concat())
}

/// A copy of an image in which one data chunk is bad; with the bytes of the
/// disk that were in it.
pub(crate) fn damaged(image: &str, copy: &str) -> (u64, u64) {
    use dacapo::image::{Kind, Reader};
    use dacapo::io::Memory;
    let bytes = fs::read(image).unwrap();
    let reader = Reader::open(Memory::new(bytes.clone())).unwrap();
    let data = reader.entries().iter().filter(|entry| entry.kind == Kind::Data);
    let entry = data.max_by_key(|entry| entry.stored_len).unwrap();
    let extent = entry.extent(reader.head());
    File::create(copy).unwrap().write_all(&bytes).unwrap();
    let at = entry.end() - 1000;
    let file = File::options().write(true).open(copy).unwrap();
    file.write_all_at(&[bytes[at as usize] ^ 1], at).unwrap();
    (extent.start(), extent.end())
}

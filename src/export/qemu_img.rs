// SPDX-License-Identifier: MIT OR Apache-2.0
//! The formats of virtual machines, by qemu-img: it reads the image as a
//! network block device, at a socket that nobody else can reach.

use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::Format;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::nbd::{Address, Events, Exports, Server};
use crate::pipeline::Cancel;
use crate::progress::Progress;

const NAME: &str = "qemu-img";

/// How soon it is noticed that the job is to end.
const LOOK: Duration = Duration::from_millis(50);

/// As much of what qemu-img says is kept for messages.
const MOST_SAID: usize = 16 << 10;

/// The program.
///
/// # Errors
/// Unsupported if it is not installed, with what to install.
pub fn find() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|folder| folder.join(NAME)).find(|it| it.is_file());
    found.ok_or_else(|| {
        Error::unsupported(format!("{NAME} is not installed, which writes all formats but raw"))
            .hint(
                "it is in the package qemu-utils (Debian, Ubuntu), qemu-img (Fedora, SUSE, Arch); \
                 raw needs no other program",
            )
    })
}

/// Writes an export to a file that is there and empty.
///
/// # Errors
/// Damaged if the image is; what qemu-img says, if it fails.
pub fn run(
    program: &Path,
    exports: &Exports,
    export: &str,
    (format, file): (Format, &Path),
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<()> {
    let len = exports.find(export)?.extent.len();
    let folder = Folder::new()?;
    let address = Address::Socket(folder.0.join("nbd"));
    let server = Server::bind(&address)?;
    progress.stage("exporting", len);
    let mut command = Command::new(program);
    command
        .args(["convert", "-p", "-f", "raw", "-O", format.name()])
        .arg(address.uri(export))
        // A name must not be taken for an option, or for a protocol.
        .arg(std::path::absolute(file).context(|| "finding the current folder".into())?)
        .env("LC_ALL", "C")
        // Ctrl-C at the terminal is for this program, which ends it then.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let failures = Failures::default();
    let served = Cancel::default();
    let converted = thread::scope(|scope| {
        let serving = scope.spawn(|| server.run(exports, &served, &failures));
        let converted = convert(&mut command, len, cancel, progress);
        served.cancel();
        // It has no failures of its own that qemu-img would not have seen.
        let _ = serving.join();
        converted
    });
    let first = failures.0.into_inner().unwrap_or_else(PoisonError::into_inner);
    match (converted, first) {
        (Err(error), Some(cause)) if error.kind() != ErrorKind::Interrupted => Err(cause),
        (converted, _) => converted,
    }
}

fn convert(
    command: &mut Command,
    len: u64,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<()> {
    let child = command.spawn().context(|| format!("starting {NAME}"))?;
    let mut child = Running(child);
    let (stdout, stderr) = (child.0.stdout.take(), child.0.stderr.take());
    thread::scope(|scope| {
        scope.spawn(move || watch(stdout, len, progress));
        let said = scope.spawn(move || said(stderr));
        let status = loop {
            let ended = child.0.try_wait().context(|| format!("waiting for {NAME}"))?;
            if let Some(status) = ended {
                break status;
            }
            if cancel.is_cancelled() {
                drop(child);
                return Err(Error::interrupted());
            }
            thread::sleep(LOOK);
        };
        if status.success() {
            return Ok(());
        }
        let said = said.join().unwrap_or_default();
        let lines: Vec<&str> = said.lines().map(str::trim).filter(|it| !it.is_empty()).collect();
        let what = format!("{NAME}: {}", lines.join("; "));
        // It has no other way to say so.
        let is_full = said.contains("No space left on device") || said.contains("File too large");
        Err(Error::new(if is_full { ErrorKind::NoSpace } else { ErrorKind::Failed }, what))
    })
}

/// A program that is killed with whoever waits for it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Tells how far it is: it prints `(12.34/100%)` again and again.
fn watch(stream: Option<impl Read>, len: u64, progress: &dyn Progress) {
    let mut told = 0;
    let mut text = String::new();
    read_all(stream, |bytes| {
        text.push_str(&String::from_utf8_lossy(bytes));
        if let Some(part) = percent(&text) {
            // OK because it is not negative, and not more than a disk has.
            let done = (len as f64 * (part / 100.0).clamp(0.0, 1.0)) as u64;
            progress.advance(done.saturating_sub(told));
            told = told.max(done);
        }
        let from = text.len().saturating_sub(64);
        text.drain(..text.ceil_char_boundary(from));
    });
}

/// The last whole percentage.
fn percent(text: &str) -> Option<f64> {
    let (before, _) = text.rsplit_once("/100%)")?;
    let (_, number) = before.rsplit_once('(')?;
    number.trim().parse().ok()
}

/// What it says, as far as that is kept.
fn said(stream: Option<impl Read>) -> String {
    let mut kept = Vec::new();
    read_all(stream, |bytes| {
        let room = MOST_SAID.saturating_sub(kept.len());
        kept.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
    });
    String::from_utf8_lossy(&kept).into_owned()
}

fn read_all(stream: Option<impl Read>, mut take: impl FnMut(&[u8])) {
    let Some(mut stream) = stream else { return };
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
            Ok(len) => take(buffer.get(..len).unwrap_or_default()),
        }
    }
}

/// The first thing that could not be read: the cause of all that follows.
#[derive(Default)]
struct Failures(Mutex<Option<Error>>);

impl Events for Failures {
    fn failed(&self, error: &Error) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none() {
            *first = Some(Error::new(error.kind(), error.to_string()));
        }
    }

    fn strange(&self, _: &str) {}
}

/// A folder that only this user can enter, removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        // The path of a socket is short, TMPDIR need not be.
        let chosen = std::env::temp_dir();
        let base = if chosen.as_os_str().len() < 60 { chosen } else { PathBuf::from("/tmp") };
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        let path = base.join(format!("dacapo-{}-{now}", std::process::id()));
        // It fails if anything has that name, a link included.
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .context(|| format!("making the folder {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_percentage_counts() {
        assert_eq!(percent("    (0.00/100%)\r    (12.34/100%)\r"), Some(12.34));
        assert_eq!(percent("    (99.00/100%)\r    (100.0"), Some(99.0));
        assert_eq!(percent("nothing"), None);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! qemu-img, another program: it reads and writes the disks of virtual machines.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::error::{Context, Error, Result};
use crate::pipeline::Cancel;

const NAME: &str = "qemu-img";

/// How soon it is noticed that it has ended, or that the job is to end.
const LOOK: Duration = Duration::from_millis(20);

/// As much of what it says is kept.
const MOST_SAID: usize = 1 << 20;

/// How many of the last lines that it said are shown.
const LAST_LINES: usize = 3;

/// The program, found on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QemuImg(PathBuf);

impl QemuImg {
    /// Finds it. `task` is what it is needed for, and `otherwise` how to go
    /// without it.
    ///
    /// # Errors
    /// Unsupported if it is not installed, with what to install.
    pub fn find(task: &str, otherwise: &str) -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut programs = std::env::split_paths(&path).map(|folder| folder.join(NAME));
        let found = programs.find(|program| program.is_file()).map(Self);
        found.ok_or_else(|| {
            Error::unsupported(format!("{NAME} is not installed, which {task}")).hint(format!(
                "it is in the package qemu-utils (Debian, Ubuntu), qemu-img (Fedora, SUSE, \
                 Arch); {otherwise}"
            ))
        })
    }

    /// Runs it to its end, or until the job is to stop. With `-p` among its
    /// arguments `percent` is told how far it is, from 0 to 100.
    ///
    /// # Errors
    /// If it cannot be started, and interruption. That it failed is in its code.
    pub fn run(
        &self,
        args: &[&OsStr],
        cancel: &Cancel,
        percent: &mut (dyn FnMut(f64) + Send),
    ) -> Result<Ran> {
        let mut command = Command::new(&self.0);
        command
            .args(args)
            // What it says is looked into.
            .env("LC_ALL", "C")
            // Ctrl-C at the terminal is for this program, which ends it then.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = Running(command.spawn().context(|| format!("starting {NAME}"))?);
        let (stdout, stderr) = (child.0.stdout.take(), child.0.stderr.take());
        thread::scope(|scope| {
            let stdout = scope.spawn(move || {
                let mut progress = Progress::default();
                said(stdout, |bytes| progress.take(bytes, percent))
            });
            let stderr = scope.spawn(move || said(stderr, |_| {}));
            let ended = loop {
                match child.0.try_wait().context(|| format!("waiting for {NAME}")) {
                    Ok(Some(status)) => break Ok(status.code()),
                    Ok(None) if cancel.is_cancelled() => break Err(Error::interrupted()),
                    Ok(None) => thread::sleep(LOOK),
                    Err(error) => break Err(error),
                }
            };
            // Nothing more is said from here on, so that the readers end.
            drop(child);
            let stdout = stdout.join().unwrap_or_default();
            let stderr = stderr.join().unwrap_or_default();
            Ok(Ran { code: ended?, stdout, stderr })
        })
    }
}

/// What it said, and how it ended.
#[derive(Debug, Clone, Default)]
pub struct Ran {
    /// Its exit code; `None` if it was killed.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    stderr: String,
}

impl Ran {
    /// True if it found no more room. It has no other way to say so.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let words = ["No space left on device", "File too large"];
        words.iter().any(|words| self.stderr.contains(words) || self.stdout.contains(words))
    }

    /// True if it says that another program has the image open to write to it.
    #[must_use]
    pub fn says_in_use(&self) -> bool {
        self.stderr.lines().any(|line| line.starts_with("Is another process using the image"))
    }

    /// True if it says that it does not read images of that kind.
    #[must_use]
    pub fn says_unsupported(&self) -> bool {
        self.stderr.lines().any(|line| line.ends_with(": Operation not supported"))
    }

    /// The last that it said, with its name in front.
    #[must_use]
    pub fn last_words(&self) -> String {
        let lines = self.stdout.split(['\n', '\r']).chain(self.stderr.split('\n')).map(str::trim);
        let lines: Vec<&str> =
            lines.filter(|line| !line.is_empty() && percentage(line).is_none()).collect();
        let from = lines.len().saturating_sub(LAST_LINES);
        format!("{NAME}: {}", lines.get(from..).unwrap_or_default().join("; "))
    }
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

/// Finds in what it prints how far it is.
#[derive(Default)]
struct Progress {
    /// The end of what it printed: the next piece may go on in a number.
    text: String,
}

impl Progress {
    fn take(&mut self, bytes: &[u8], percent: &mut dyn FnMut(f64)) {
        self.text.push_str(&String::from_utf8_lossy(bytes));
        if let Some(done) = percentage(&self.text) {
            percent(done.clamp(0.0, 100.0));
        }
        let from = self.text.len().saturating_sub(64);
        self.text.drain(..self.text.ceil_char_boundary(from));
    }
}

/// The last whole percentage: it prints `(12.34/100%)` again and again.
fn percentage(text: &str) -> Option<f64> {
    let (before, _) = text.rsplit_once("/100%)")?;
    let (_, number) = before.rsplit_once('(')?;
    number.trim().parse().ok()
}

/// What it says, as far as that is kept; each piece is also given to `told`.
fn said(stream: Option<impl Read>, mut told: impl FnMut(&[u8])) -> String {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else { return String::new() };
    let mut buffer = [0; 4096];
    loop {
        let bytes = match stream.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // What was read before an error is still worth showing.
            Ok(0) | Err(_) => return String::from_utf8_lossy(&kept).into_owned(),
            Ok(len) => buffer.get(..len).unwrap_or_default(),
        };
        told(bytes);
        let room = MOST_SAID.saturating_sub(kept.len());
        kept.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_percentage_counts() {
        assert_eq!(percentage("    (0.00/100%)\r    (12.34/100%)\r"), Some(12.34));
        assert_eq!(percentage("    (99.00/100%)\r    (100.0"), Some(99.0));
        assert_eq!(percentage("nothing"), None);
        let mut told = Vec::new();
        let mut progress = Progress::default();
        for piece in ["    (1.", "00/100%)\r   (2.00/1", "00%)\r"] {
            progress.take(piece.as_bytes(), &mut |percent| told.push(percent));
        }
        assert_eq!(told, [1.0, 2.0]);
    }

    #[test]
    fn the_last_words_are_no_percentages() {
        let ran = Ran {
            code: Some(1),
            stdout: "    (0.00/100%)\r    (50.00/100%)\r".into(),
            stderr: "a\nb\n\nc\nqemu-img: error while writing: No space left on device\n".into(),
        };
        let words = "qemu-img: b; c; qemu-img: error while writing: No space left on device";
        assert_eq!(ran.last_words(), words);
        assert!(ran.is_full() && !Ran::default().is_full());
    }
}

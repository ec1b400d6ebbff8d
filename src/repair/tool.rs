// SPDX-License-Identifier: MIT OR Apache-2.0
//! The programs of filesystems that check and enlarge them.

use std::ffi::OsStr;
use std::io::{self, Read, Write as _};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use crate::error::{Context, Error, Result};

/// How many of the last lines of a program are kept for messages.
const LAST_LINES: usize = 3;

/// As much of what a program says is kept of either stream.
const MOST_BYTES: usize = 16 << 10;

/// What a program said and how it ended.
pub(super) struct Ran {
    name: &'static str,
    code: Option<i32>,
    text: String,
}

/// The path of a program.
pub(super) fn find(folders: &[PathBuf], name: &str) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Where programs are: as the system says, and where it may not look for those
/// of the administrator.
pub(super) fn folders() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(Into::into));
    folders
}

/// Runs a program to its end, answering `input` to what it asks.
///
/// # Errors
/// If it cannot be started.
pub(super) fn run(
    folders: &[PathBuf],
    name: &'static str,
    args: &[&OsStr],
    input: &str,
) -> Result<Ran> {
    let what = || format!("running {name}");
    let path = find(folders, name).ok_or_else(|| Error::failed(format!("{name} is missing")))?;
    let mut child = Command::new(path)
        .args(args)
        .env("LC_ALL", "C")
        // Ctrl-C at the terminal must not tear it.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context(what)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that asks nothing may have ended before.
        let _ = stdin.write_all(input.as_bytes());
    }
    let (stdout, stderr) = thread::scope(|scope| {
        let stderr = child.stderr.take();
        let stderr = scope.spawn(move || last_of(stderr));
        (last_of(child.stdout.take()), stderr.join().unwrap_or_default())
    });
    let status = child.wait().context(what)?;
    let text = format!("{stdout}\n{stderr}");
    Ok(Ran { name, code: status.code(), text })
}

/// The last of what is read, up to its end: a program on a damaged filesystem
/// may have any number of complaints.
fn last_of(stream: Option<impl Read>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut last = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => break,
            Ok(len) => {
                last.extend_from_slice(&buffer[..len]);
                last.drain(..last.len().saturating_sub(MOST_BYTES));
            }
        }
    }
    String::from_utf8_lossy(&last).into_owned()
}

impl Ran {
    /// True if it ended with this code.
    pub(super) fn has_ended_with(&self, code: i32) -> bool {
        self.code == Some(code)
    }

    /// An error unless it ended with one of these codes.
    pub(super) fn ended_with(self, good: &[i32]) -> Result<Self> {
        if self.code.is_some_and(|code| good.contains(&code)) {
            return Ok(self);
        }
        let code = self.code.map_or_else(|| "a signal".into(), |code| format!("exit code {code}"));
        Err(Error::failed(format!("{} ended with {code}: {}", self.name, self.last_words())))
    }

    /// The last lines that say something.
    pub(super) fn last_words(&self) -> String {
        let lines: Vec<&str> = self
            .text
            .split(['\n', '\r'])
            .map(str::trim)
            .filter(|line| line.chars().any(char::is_alphanumeric))
            .collect();
        let from = lines.len().saturating_sub(LAST_LINES);
        lines[from..].join("; ")
    }
}

/// A path as an argument.
pub(super) fn arg(path: &Path) -> &OsStr {
    path.as_os_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_program_ended_is_told_with_its_last_words() {
        let folders = folders();
        let sh = |script: &str, input: &str| {
            run(&folders, "sh", &["-c", script].map(OsStr::new), input).unwrap()
        };
        let ran = sh("echo one; echo two >&2; echo; exit 3", "");
        let error = ran.ended_with(&[0, 1]).err().unwrap().to_string();
        assert_eq!(error, "sh ended with exit code 3: one; two");
        assert!(sh("read answer; test \"$answer\" = y", "y\n").ended_with(&[0]).is_ok());
        let killed = sh("kill -9 $$", "").ended_with(&[0]).err().unwrap().to_string();
        assert!(killed.contains("a signal"), "{killed}");
        assert!(find(&folders, "no-such-program").is_none());
        // However much it says, it is not stuck, and its end is kept.
        let ran =
            sh("yes complaint | head -c 3000000; echo the last; yes no | head -c 3000000 >&2", "");
        assert!(ran.text.len() <= 2 * MOST_BYTES + 1 && ran.text.contains("the last"));
    }
}

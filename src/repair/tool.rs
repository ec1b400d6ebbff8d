// SPDX-License-Identifier: MIT OR Apache-2.0
//! The programs of filesystems that check and enlarge them.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Context, Error, Result};

/// How many of the last lines of a program are kept for messages.
const LAST_LINES: usize = 3;

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
        let _ = std::io::Write::write_all(&mut stdin, input.as_bytes());
    }
    let output = child.wait_with_output().context(what)?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push('\n');
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok(Ran { name, code: output.status.code(), text })
}

impl Ran {
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
    }
}

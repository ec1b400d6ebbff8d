// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starting programs: the other parts of this one, and the screen.

use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use nix::sys::signal::SigSet;

/// The program.
pub(crate) const DACAPO: &str = "/bin/dacapo";

/// What everything that is started finds in its environment.
const ENVIRONMENT: [(&str, &str); 5] = [
    ("DACAPO_RESCUE", "1"),
    ("LANG", "C.UTF-8"),
    ("PATH", "/bin:/sbin:/usr/bin:/usr/sbin"),
    ("HOME", "/root"),
    ("TERM", "linux"),
];

/// A program with the environment of the rescue system and nothing of what
/// the kernel put into that of process 1.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(ENVIRONMENT);
    command
}

/// Another part of this program.
pub(crate) fn part(words: &[&str]) -> Command {
    let this = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/init"));
    let mut command = command(&this.to_string_lossy());
    command.args(words);
    command
}

/// Process 1 takes its signals one by one and so has them blocked; its
/// children start with none blocked.
///
/// # Errors
/// Never, on a kernel that has signals.
pub(crate) fn unblock_signals() -> io::Result<()> {
    Ok(SigSet::all().thread_unblock()?)
}

/// How a program ended, in words.
pub(crate) fn ending(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".into(),
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The small programs of the rescue system that know how to talk to the
//! kernel's network: run for a limited time, by argument vector.

use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Context, Error, Result};

/// How long setting something may take.
const SOON: Duration = Duration::from_secs(10);

/// Runs `ip`.
///
/// # Errors
/// With what it said.
pub(super) fn ip(args: &[&str]) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(args);
    run(command, SOON).map(drop)
}

/// Runs a program, which has to succeed within `limit`.
///
/// # Errors
/// With what it said.
pub(super) fn run(mut command: Command, limit: Duration) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let what = || format!("running {name}");
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    command.env("PATH", path).env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::null());
    // A file and not a pipe: what is left running must not keep us waiting.
    let said = nix::sys::memfd::memfd_create(c"said", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)
        .map_err(std::io::Error::from)
        .context(what)?;
    let mut said = std::fs::File::from(said);
    command.stderr(said.try_clone().context(what)?);
    let mut child = command.spawn().context(what)?;
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().context(what)? {
            if status.success() {
                return Ok(());
            }
            let mut text = String::new();
            // Without what it said there is still that it failed.
            let _ = std::io::Seek::rewind(&mut said);
            let _ = (&mut said).take(4096).read_to_string(&mut text);
            let text: Vec<&str> = text.lines().map(str::trim).filter(|it| !it.is_empty()).collect();
            return Err(Error::failed(format!("{}: {}", what(), text.join("; "))));
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::failed(format!("{}: it takes too long", what())));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_fails_with_what_it_said_and_in_its_time() {
        let mut command = Command::new("ls");
        command.arg("/nonexistent");
        let error = run(command, SOON).unwrap_err();
        assert!(error.to_string().contains("No such file"), "{error}");
        let mut command = Command::new("sleep");
        command.arg("100");
        let error = run(command, Duration::from_millis(100)).unwrap_err();
        assert!(error.to_string().contains("too long"), "{error}");
        run(Command::new("true"), SOON).unwrap();
        assert!(run(Command::new("dacapo-no-such-program"), SOON).is_err());
    }
}

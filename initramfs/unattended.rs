// SPDX-License-Identifier: MIT OR Apache-2.0
//! A restore without a question: runs it, shows all consoles what it prints,
//! and says how it ended in one last line.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::process::{ExitCode, Stdio};

use dacapo::error::Request;
use dacapo::media::command_line::CommandLine;

use crate::consoles::{self, Consoles};
use crate::{children, log};

/// What is to be shown before the screen, kept here for process 1.
pub(crate) const NOTICE: &str = "/run/dacapo/unattended.txt";

/// How many lines a person sees again before the screen.
const NOTICE_LINES: usize = 12;

/// Runs it to its end.
pub(crate) fn run() -> ExitCode {
    let _ = children::unblock_signals();
    let command_line = CommandLine::of_kernel();
    let mut consoles = Consoles::open(&consoles::present(&command_line));
    let mut lines = Vec::new();
    let code = match restore(&mut consoles, &mut lines) {
        Ok(code) => code,
        Err(error) => {
            lines.push(format!("{} cannot be started: {error}", children::DACAPO));
            1
        }
    };
    let last = last_line(code, &lines);
    log::event(&last);
    consoles.say(&last);
    lines.push(last);
    let first = lines.len().saturating_sub(NOTICE_LINES);
    let _ = fs::write(NOTICE, lines[first..].join("\n"));
    ExitCode::from(after(&command_line, code == 0).map_or(0, Request::exit_code))
}

fn restore(consoles: &mut Consoles, lines: &mut Vec<String>) -> io::Result<i32> {
    let (reader, writer) = io::pipe()?;
    let mut command = children::command(children::DACAPO);
    command.args(["rescue", "auto"]).stdin(Stdio::null());
    let mut child = command.stdout(writer.try_clone()?).stderr(writer).spawn()?;
    // The ends to write to are in the command, too.
    drop(command);
    let mut kept = OpenOptions::new().append(true).create(true).open(log::SCREEN).ok();
    // Open until the restore has ended, which could not go on without it.
    let mut reader = BufReader::new(reader);
    follow(&mut reader, |line| {
        consoles.say(&line);
        if let Some(kept) = &mut kept {
            let _ = writeln!(kept, "{line}");
        }
        lines.push(line);
        if lines.len() > 2 * NOTICE_LINES {
            lines.remove(0);
        }
    });
    let status = child.wait()?;
    Ok(status.code().unwrap_or(1))
}

/// Hears each line. That one cannot be read is no end of what prints it.
fn follow(reader: &mut impl BufRead, mut heard: impl FnMut(String)) {
    for line in reader.split(b'\n') {
        match line {
            Ok(line) => heard(String::from_utf8_lossy(&line).trim_end().to_owned()),
            Err(error) => {
                heard(format!("what it prints cannot be read any more: {error}"));
                return;
            }
        }
    }
}

/// The last line on every console, which scripts look for.
fn last_line(code: i32, lines: &[String]) -> String {
    if code == 0 {
        return "dacapo: unattended restore done".into();
    }
    let error = lines.iter().rev().find_map(|line| line.strip_prefix("error: "));
    let why = error.or(lines.last().map(String::as_str)).unwrap_or("no reason was given");
    format!("dacapo: unattended restore failed (exit {code}): {why}")
}

/// What is asked for afterwards; the screen, if nothing.
fn after(command_line: &CommandLine, is_done: bool) -> Option<Request> {
    let name = if is_done { "dacapo.after" } else { "dacapo.after-failure" };
    match command_line.value(name) {
        Some("poweroff") => Some(Request::PowerOff),
        Some("reboot") => Some(Request::Restart),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_says_how_it_ended() {
        assert_eq!(last_line(0, &[]), "dacapo: unattended restore done");
        let lines = ["error: no disk has the serial number S1", "hint: found were:", "  S2"];
        let lines: Vec<String> = lines.map(str::to_owned).into();
        assert_eq!(
            last_line(5, &lines),
            "dacapo: unattended restore failed (exit 5): no disk has the serial number S1"
        );
        assert!(last_line(1, &[]).ends_with("(exit 1): no reason was given"));
    }

    #[test]
    fn what_cannot_be_read_is_no_end_of_the_restore() {
        struct Broken;
        impl io::Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::InvalidData.into())
            }
        }
        let mut reader = BufReader::new(io::Read::chain(&b"one\r\ntwo"[..], Broken));
        let mut lines = Vec::new();
        follow(&mut reader, |line| lines.push(line));
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0] == "one" && lines[1].contains("cannot be read any more"), "{lines:?}");
    }

    #[test]
    fn a_failure_does_not_power_off_unless_that_is_asked_for() {
        let after = |text: &str| {
            let line = CommandLine::parse(text);
            [true, false].map(|is_done| after(&line, is_done))
        };
        let (off, restart) = (Some(Request::PowerOff), Some(Request::Restart));
        assert_eq!(after("dacapo.after=poweroff"), [off, None]);
        assert_eq!(after("dacapo.after=reboot dacapo.after-failure=poweroff"), [restart, off]);
        assert_eq!(after("dacapo.after=screen"), [None, None]);
    }
}

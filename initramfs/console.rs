// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keeps the screen of dacapo on one console: starts it, does what its exit
//! code asks for, and when it crashes says so and offers ways on.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use dacapo::error::Request;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::terminal::Terminal;
use crate::{children, consoles, log, shutdown};

/// The console is not there, so that there is nothing to keep.
pub(crate) const NO_CONSOLE: u8 = 3;

/// A screen that asks to be shown again after less than this has not been
/// seen by anybody.
const SHORTEST: Duration = Duration::from_secs(1);
/// How often in a row that may happen.
const SHORT_ONES: u32 = 3;
/// How much of what a screen wrote before it crashed is shown.
const SHOWN_LINES: usize = 12;
/// How much of the log is looked at for that.
const TAIL_LEN: u64 = 16 << 10;

/// What to do next on this console.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Next {
    Screen,
    Shell,
    PowerOff,
    Restart,
    /// Say what happened and ask.
    Ask(String),
}

/// An empty screen.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// What a person chooses after a crash.
const WAYS_ON: &str = "\
  1  the screen again
  2  a shell, for those who know their way
  3  power off

Press 1, 2 or 3: ";

/// Runs until the machine is powered off.
pub(crate) fn run(path: &str, trouble: Option<&str>) -> ExitCode {
    let _ = children::unblock_signals();
    let terminal = match Terminal::take(path) {
        Ok(terminal) => terminal,
        Err(error) => {
            log::event(&format!("there is no screen on {path}: {error}"));
            return ExitCode::from(NO_CONSOLE);
        }
    };
    catch_keys();
    if let Some(trouble) = trouble {
        // What is said was printed here as it happened; once is enough.
        terminal.write(CLEAR);
        let question = format!("{trouble}\n\nPress Enter for the screen of dacapo: ");
        terminal.ask(&question, b"\r\n");
    }
    let mut keeper = Keeper { terminal, path, short_ones: 0 };
    let mut next = Next::Screen;
    loop {
        next = match next {
            Next::Screen => keeper.screen(),
            Next::Shell => keeper.shell(),
            Next::Ask(what) => keeper.ask(&what),
            Next::PowerOff => ask_for(shutdown::POWER_OFF),
            Next::Restart => ask_for(shutdown::RESTART),
        };
    }
}

/// Ctrl-C while a shell runs is for what the shell runs. Not ignored but
/// caught, because ignoring is inherited.
fn catch_keys() {
    for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTSTP] {
        let _ = signal_hook::flag::register(signal as i32, Arc::new(AtomicBool::new(false)));
    }
}

/// Asks process 1 to end everything, which ends this process as well.
fn ask_for(signal: Signal) -> ! {
    let _ = kill(Pid::from_raw(1), signal);
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}

struct Keeper<'a> {
    terminal: Terminal,
    path: &'a str,
    short_ones: u32,
}

impl Keeper<'_> {
    fn screen(&mut self) -> Next {
        let started = Instant::now();
        let log_len = std::fs::metadata(log::SCREEN).map_or(0, |log| log.len());
        let status = self.run_screen();
        self.terminal.make_sane();
        self.short_ones = if started.elapsed() < SHORTEST { self.short_ones + 1 } else { 0 };
        let next = match status {
            Ok(status) => after_screen(status),
            Err(error) => Next::Ask(format!("{} cannot be started: {error}", children::DACAPO)),
        };
        match next {
            Next::Screen if self.short_ones >= SHORT_ONES => {
                self.short_ones = 0;
                Next::Ask("The screen ends again and again as soon as it is shown.".into())
            }
            Next::Ask(what) => {
                log::event(&format!("{}: {what}", self.path));
                Next::Ask(format!("{what}\n\n{}", tail(log_len)))
            }
            next => next,
        }
    }

    fn run_screen(&self) -> io::Result<ExitStatus> {
        let errors = OpenOptions::new().append(true).create(true).open(log::SCREEN)?;
        children::command(children::DACAPO)
            .arg("tui")
            .env("TERM", self.kind())
            .stdin(self.terminal.share()?)
            .stdout(self.terminal.share()?)
            .stderr(errors)
            .status()
    }

    fn shell(&mut self) -> Next {
        self.terminal.leave_screen();
        self.terminal.write("This is a shell. 'exit' leads back to the screen.\n");
        let started = self.run_shell();
        self.terminal.make_sane();
        match started {
            Ok(_) => Next::Screen,
            Err(error) => Next::Ask(format!("A shell cannot be started: {error}")),
        }
    }

    fn run_shell(&self) -> io::Result<ExitStatus> {
        children::command("/bin/busybox")
            .args(["sh", "-l"])
            .env("TERM", self.kind())
            .current_dir("/root")
            .stdin(Stdio::from(self.terminal.share()?))
            .stdout(self.terminal.share()?)
            .stderr(self.terminal.share()?)
            .status()
    }

    fn ask(&mut self, what: &str) -> Next {
        self.terminal.leave_screen();
        let question = format!("{}\n\nWhat now?\n\n{WAYS_ON}", what.trim_end());
        let key = self.terminal.ask(&question, b"123");
        self.terminal.write("\n");
        match key {
            b'1' => Next::Screen,
            b'2' => Next::Shell,
            _ => Next::PowerOff,
        }
    }

    /// What kind of terminal it is, for the programs on it.
    fn kind(&self) -> &'static str {
        if consoles::is_own_screen(self.path) { "linux" } else { "vt220" }
    }
}

/// What the exit code of the screen asks for.
fn after_screen(status: ExitStatus) -> Next {
    match status.code().and_then(Request::of) {
        Some(Request::PowerOff) => Next::PowerOff,
        Some(Request::Restart) => Next::Restart,
        Some(Request::Shell) => Next::Shell,
        None if status.success() => Next::Screen,
        None => Next::Ask(format!(
            "The screen of dacapo ended unexpectedly ({}).",
            children::ending(status)
        )),
    }
}

/// The last lines that were added to the log of the screens.
fn tail(since: u64) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log::SCREEN)?;
        let start = since.max(file.metadata()?.len().saturating_sub(TAIL_LEN));
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(TAIL_LEN).read_to_end(&mut bytes)?;
        Ok(last_lines(&String::from_utf8_lossy(&bytes)))
    };
    read().unwrap_or_default()
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let first = lines.len().saturating_sub(SHOWN_LINES);
    let shown = lines[first..].iter().map(|line| {
        let line: String = line.chars().filter(|c| !c.is_control()).take(76).collect();
        format!("  {line}")
    });
    shown.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn the_exit_code_says_what_comes_next() {
        let next = |code: i32| after_screen(ExitStatus::from_raw(code << 8));
        assert_eq!(next(0), Next::Screen);
        assert_eq!(next(10), Next::PowerOff);
        assert_eq!(next(11), Next::Restart);
        assert_eq!(next(12), Next::Shell);
        for crash in [1, 2, 101, 130] {
            let Next::Ask(what) = next(crash) else { panic!("{crash}") };
            assert!(what.contains(&format!("exit code {crash}")), "{what}");
        }
        let Next::Ask(what) = after_screen(ExitStatus::from_raw(11)) else { panic!() };
        assert!(what.contains("signal 11"), "{what}");
    }

    #[test]
    fn the_last_lines_cannot_steer_the_terminal() {
        let text = format!("{}a\u{1b}[2Jb\n\n", "line\n".repeat(30));
        let shown = last_lines(&text);
        assert_eq!(shown.lines().count(), SHOWN_LINES);
        assert!(shown.ends_with("  a[2Jb") && !shown.contains('\u{1b}'), "{shown:?}");
    }
}

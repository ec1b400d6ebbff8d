// SPDX-License-Identifier: MIT OR Apache-2.0
//! Running programs: the one under test, and the independent ones that judge.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A program that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(900);

/// What a program that has ended left behind.
pub struct Ran {
    /// The command line, for messages.
    pub command: String,
    /// The exit code; 128 + n if it was killed by signal n, as a shell says.
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Runs dacapo.
#[track_caller]
pub fn dacapo(args: &[impl AsRef<OsStr>]) -> Ran {
    finish(dacapo_command(args), &[])
}

/// dacapo as a command, for tests that set its environment or kill it.
pub fn dacapo_command(args: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dacapo"));
    command.args(args).env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
    command
}

/// Runs another program, which must succeed.
#[track_caller]
pub fn run(program: &str, args: &[impl AsRef<OsStr>]) -> Ran {
    try_run(program, args).success()
}

/// Runs another program, whatever comes of it.
#[track_caller]
pub fn try_run(program: &str, args: &[impl AsRef<OsStr>]) -> Ran {
    let mut command = Command::new(program);
    command.args(args).env("PATH", super::search_path()).env("LC_ALL", "C");
    finish(command, &[])
}

/// Gives `input` to a command and waits for its end.
#[track_caller]
pub fn finish(mut command: Command, input: &[u8]) -> Ran {
    let text = command_text(&command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("starting {text}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    thread::scope(|scope| {
        // A program may end without reading all of its input.
        scope.spawn(move || drop(stdin.write_all(input)));
        let read_stdout = scope.spawn(move || read_all(&mut stdout));
        let read_stderr = scope.spawn(move || read_all(&mut stderr));
        let code = wait(&mut child, LIMIT);
        let ran = Ran {
            command: text,
            code: code.unwrap_or(-1),
            stdout: read_stdout.join().unwrap(),
            stderr: read_stderr.join().unwrap(),
        };
        assert!(code.is_some(), "not ended after {LIMIT:?}:\n{ran}");
        ran
    })
}

/// A port of this machine that nobody uses.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits for a program; kills it and returns None after `limit`.
pub fn wait(child: &mut Child, limit: Duration) -> Option<i32> {
    use std::os::unix::process::ExitStatusExt as _;
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().or(status.signal().map(|signal| 128 + signal));
        }
        if start.elapsed() > limit {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

fn read_all(from: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    bytes
}

fn command_text(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        let _ = write!(text, " {}", arg.to_string_lossy());
    }
    text
}

impl Ran {
    /// The same, if the program succeeded; else the test fails.
    #[track_caller]
    pub fn success(self) -> Self {
        self.exits(0)
    }

    /// The same, if the program ended with `code`; else the test fails and
    /// shows all that was printed.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert!(self.code == code, "expected exit code {code}\n{self}");
        self
    }

    /// Standard output as text.
    #[track_caller]
    pub fn out(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap_or_else(|_| panic!("not text\n{self}"))
    }

    /// Standard error as text.
    #[track_caller]
    pub fn err(&self) -> &str {
        std::str::from_utf8(&self.stderr).unwrap_or_else(|_| panic!("not text\n{self}"))
    }

    /// The same, if `part` is in either output.
    #[track_caller]
    pub fn says(self, part: &str) -> Self {
        let found = self.out().contains(part) || self.err().contains(part);
        assert!(found, "'{part}' was not said\n{self}");
        self
    }

    /// Standard output as JSON lines.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        json_lines(self.out())
    }

    /// The JSON lines of one `message_type`.
    #[track_caller]
    pub fn messages(&self, message_type: &str) -> Vec<serde_json::Value> {
        let mut lines = self.json_lines();
        lines.retain(|line| line["message_type"] == message_type);
        lines
    }
}

/// Text as JSON lines.
#[track_caller]
pub fn json_lines(text: &str) -> Vec<serde_json::Value> {
    text.lines()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("no JSON object: {line}: {error}"));
            assert!(value["message_type"].is_string(), "no message_type: {line}");
            value
        })
        .collect()
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "$ {}\nexit code {}", self.command, self.code)?;
        for (name, bytes) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(8192)]);
            let cut = if bytes.len() > 8192 { " (cut)" } else { "" };
            writeln!(f, "--- {name}{cut}\n{text}")?;
        }
        Ok(())
    }
}

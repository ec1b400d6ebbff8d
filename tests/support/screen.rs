// SPDX-License-Identifier: MIT OR Apache-2.0
//! A person before a screen: reads what is on it, waits for a text, types keys.
//!
//! The screen is fed with the bytes that a program sends to its terminal, from
//! wherever they come: a pseudo terminal of this machine ([`Program`]), or the
//! serial port of a virtual machine ([`Screen::new`] with both ends of a
//! socket). The judge of what they mean is the terminal of the `vt100` crate.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait;

/// The keys that have no letter, as a terminal sends them.
pub mod key {
    pub const ENTER: &str = "\r";
    pub const ESC: &str = "\u{1b}";
    pub const TAB: &str = "\t";
    pub const BACKSPACE: &str = "\u{7f}";
    pub const CTRL_C: &str = "\u{3}";
    pub const CTRL_U: &str = "\u{15}";
    pub const UP: &str = "\u{1b}[A";
    pub const DOWN: &str = "\u{1b}[B";
    pub const RIGHT: &str = "\u{1b}[C";
    pub const LEFT: &str = "\u{1b}[D";
    pub const PAGE_UP: &str = "\u{1b}[5~";
    pub const PAGE_DOWN: &str = "\u{1b}[6~";
}

/// As many bytes of what was received are kept for messages and for
/// [`Screen::wait_for_output`].
const KEPT: usize = 1 << 20;
/// Between two keys. A person is slower; a serial port takes 16 at once.
const BETWEEN_KEYS: Duration = Duration::from_millis(15);
/// Between two bytes of one key: 1200 bits a second.
const BETWEEN_BYTES: Duration = Duration::from_millis(8);
/// After Esc alone: what follows at once belongs to it, for a terminal.
const AFTER_ESC: Duration = Duration::from_millis(150);

/// A screen and its keyboard.
pub struct Screen {
    shared: Arc<Shared>,
    keys: Mutex<Box<dyn Write + Send>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    parser: vt100::Parser,
    /// The last bytes that came.
    received: VecDeque<u8>,
    /// How many bytes came in all.
    count: u64,
    /// True if no more bytes will come.
    ended: bool,
    /// What was typed, for messages.
    typed: Vec<String>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Screen {
    /// A screen that shows what comes from `from`; keys go to `to`.
    pub fn new(
        mut from: impl Read + Send + 'static,
        to: impl Write + Send + 'static,
        columns: u16,
        rows: u16,
    ) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                parser: vt100::Parser::new(rows, columns, 0),
                received: VecDeque::new(),
                count: 0,
                ended: false,
                typed: Vec::new(),
            }),
            changed: Condvar::new(),
        });
        let feed = Arc::clone(&shared);
        // Ends with the program at the other end.
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let read = match from.read(&mut buffer) {
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    // A terminal whose program has ended gives an error.
                    Ok(0) | Err(_) => break,
                    Ok(read) => read,
                };
                let mut state = feed.lock();
                state.parser.process(&buffer[..read]);
                state.received.extend(&buffer[..read]);
                let surplus = state.received.len().saturating_sub(KEPT);
                state.received.drain(..surplus);
                state.count += read as u64;
                drop(state);
                feed.changed.notify_all();
            }
            feed.lock().ended = true;
            feed.changed.notify_all();
        });
        Self { shared, keys: Mutex::new(Box::new(to)) }
    }

    /// What is on the screen: lines without the blanks at their ends.
    pub fn contents(&self) -> String {
        self.shared.lock().parser.screen().contents()
    }

    /// The line that has the text, if there is one.
    pub fn line_with(&self, text: &str) -> Option<String> {
        self.contents().lines().find(|line| line.contains(text)).map(str::to_owned)
    }

    /// True if nothing more will come: the program has ended.
    pub fn has_ended(&self) -> bool {
        self.shared.lock().ended
    }

    /// How many bytes have come so far.
    pub fn received(&self) -> u64 {
        self.shared.lock().count
    }

    /// All that came, as text: also what has left the screen since.
    pub fn output(&self) -> String {
        let state = self.shared.lock();
        let bytes: Vec<u8> = state.received.iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until the text is on the screen, and returns what else is on it.
    /// The test fails after `timeout`, or when the program ends before.
    #[track_caller]
    pub fn wait_for(&self, text: &str, timeout: Duration) -> String {
        self.wait_until(&format!("'{text}' on the screen"), timeout, |shown| shown.contains(text))
    }

    /// Waits until the text is no longer on the screen.
    #[track_caller]
    pub fn wait_until_gone(&self, text: &str, timeout: Duration) -> String {
        self.wait_until(&format!("no '{text}' on the screen"), timeout, |shown| {
            !shown.contains(text)
        })
    }

    /// Waits until `test` is true of what is on the screen; `what` names it in
    /// the message of a failure.
    #[track_caller]
    pub fn wait_until(&self, what: &str, timeout: Duration, test: impl Fn(&str) -> bool) -> String {
        match self.waited(timeout, |state| {
            let shown = state.parser.screen().contents();
            test(&shown).then_some(shown)
        }) {
            Some(shown) => shown,
            None => panic!("waited {timeout:?} for {what}\n{}", self.dump()),
        }
    }

    /// Waits until the text has come, wherever on the screen, and even if it
    /// has left it again: for messages of a system that starts.
    #[track_caller]
    pub fn wait_for_output(&self, text: &str, timeout: Duration) {
        let found = self.waited(timeout, |state| {
            let bytes = state.received.make_contiguous();
            let wanted = text.as_bytes();
            bytes.windows(wanted.len()).any(|part| part == wanted).then_some(())
        });
        assert!(found.is_some(), "waited {timeout:?} for the output '{text}'\n{}", self.dump());
    }

    /// True if the text is on the screen within `timeout`.
    pub fn shows(&self, text: &str, timeout: Duration) -> bool {
        self.waited(timeout, |state| state.parser.screen().contents().contains(text).then_some(()))
            .is_some()
    }

    /// Waits until `timeout` for something to be found. What had come when the
    /// program ended still counts.
    fn waited<T>(
        &self,
        timeout: Duration,
        mut find: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        let end = Instant::now() + timeout;
        let mut state = self.shared.lock();
        loop {
            if let Some(found) = find(&mut state) {
                return Some(found);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || state.ended {
                return None;
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Types text and keys (`"y"`, `key::DOWN`, `"path\r"`), one after the
    /// other as a person does.
    pub fn type_keys(&self, text: &str) {
        self.shared.lock().typed.push(text.to_owned());
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        for key in split_keys(text) {
            // A program that has ended takes no keys; what the test waits for
            // next will say so.
            let _ = keys.write_all(key.as_bytes()).and_then(|()| keys.flush());
            thread::sleep(if key == key::ESC { AFTER_ESC } else { BETWEEN_KEYS });
        }
    }

    /// Types one key, but its bytes come one by one, as over a serial line.
    pub fn type_in_pieces(&self, key: &str) {
        self.shared.lock().typed.push(format!("{key} in pieces"));
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        for byte in key.as_bytes() {
            let _ = keys.write_all(&[*byte]).and_then(|()| keys.flush());
            thread::sleep(BETWEEN_BYTES);
        }
    }

    /// The screen in a frame, what was typed, and the end of what came.
    pub fn dump(&self) -> String {
        let state = self.shared.lock();
        let screen = state.parser.screen();
        let (rows, columns) = screen.size();
        let edge = format!("+{}+\n", "-".repeat(columns.into()));
        let mut text = edge.clone();
        for row in screen.rows(0, columns).take(rows.into()) {
            let blanks = usize::from(columns).saturating_sub(row.chars().count());
            text.push_str(&format!("|{row}{}|\n", " ".repeat(blanks)));
        }
        text.push_str(&edge);
        text.push_str(&format!("typed so far: {:?}\n", state.typed));
        if state.ended {
            text.push_str("the program has ended\n");
        }
        let tail: Vec<u8> = state.received.iter().rev().take(2000).rev().copied().collect();
        text.push_str(&format!("last bytes: {:?}\n", String::from_utf8_lossy(&tail)));
        text
    }
}

/// Text as single keys: an escape sequence is one.
fn split_keys(text: &str) -> Vec<&str> {
    let mut keys = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = match rest.strip_prefix("\u{1b}[") {
            Some(sequence) => sequence
                .find(|c: char| c.is_ascii_alphabetic() || c == '~')
                .map_or(rest.len(), |end| end + 3),
            None => first.len_utf8(),
        };
        let (key, after) = rest.split_at(len);
        keys.push(key);
        rest = after;
    }
    keys
}

/// A program on a terminal of its own. Killed if the test ends before it.
pub struct Program {
    child: Child,
    /// Its screen and keyboard.
    pub screen: Screen,
}

impl Program {
    /// Starts a program on a terminal of this size.
    #[track_caller]
    pub fn start(command: &Command, columns: u16, rows: u16) -> Self {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Self::start_sized(command, size, columns, rows)
    }

    /// Starts a program on a terminal whose size it cannot know, as at the end
    /// of a serial line. It is one of 80 columns and 24 rows.
    #[track_caller]
    pub fn start_as_serial(command: &Command) -> Self {
        let size = Winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
        Self::start_sized(command, size, 80, 24)
    }

    #[track_caller]
    fn start_sized(command: &Command, size: Winsize, columns: u16, rows: u16) -> Self {
        let pty = openpty(Some(&size), None).unwrap();
        // Without a session of its own the terminal would be nobody's.
        let mut started = Command::new("setsid");
        started.args(["--ctty", "--"]).arg(command.get_program()).args(command.get_args());
        started.env("TERM", "linux").env("LANG", "C.UTF-8").env_remove("LC_ALL");
        started.env_remove("NO_COLOR");
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => started.env(name, value),
                None => started.env_remove(name),
            };
        }
        let slave = || Stdio::from(pty.slave.try_clone().unwrap());
        started.stdin(slave()).stdout(slave()).stderr(slave());
        let child = started.spawn().unwrap();
        // The terminal ends when the last copy of this end is closed.
        drop(started);
        drop(pty.slave);
        let master = File::from(pty.master);
        let keys = master.try_clone().unwrap();
        Self { child, screen: Screen::new(master, keys, columns, rows) }
    }

    /// Waits for the end of the program, and returns its exit code.
    #[track_caller]
    pub fn wait(&mut self, timeout: Duration) -> i32 {
        let Some(code) = wait(&mut self.child, timeout) else {
            panic!("not ended after {timeout:?}\n{}", self.screen.dump());
        };
        // What it has printed last is on its way.
        let _ = self.screen.waited(timeout, |state| state.ended.then_some(()));
        code
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Program {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Program::start(&command, 40, 5)
    }

    #[test]
    fn what_a_program_prints_and_is_told_is_on_the_screen() {
        let mut shell = shell("printf 'name? '; read name; echo hello $name; exit 3");
        shell.screen.wait_for("name?", SOON);
        shell.screen.type_keys("ann\r");
        shell.screen.wait_for("hello ann", SOON);
        assert_eq!(shell.screen.line_with("name?").unwrap(), "name? ann");
        assert_eq!(shell.wait(SOON), 3);
        assert!(!shell.screen.shows("hello bob", SOON), "an ended program is waited for");
        assert!(shell.screen.has_ended());
        assert!(shell.screen.dump().contains("|hello ann                               |"));
    }

    #[test]
    fn it_is_a_terminal_of_the_size_and_sequences_move_the_cursor() {
        let mut shell =
            shell("stty size; printf '\\033[4;3Hhere\\033[1;1Hgone'; printf '\\033[2K'");
        shell.screen.wait_for("here", SOON);
        assert_eq!(shell.wait(SOON), 0);
        shell.screen.wait_for_output("5 40", SOON);
        shell.screen.wait_for_output("gone", SOON);
        shell.screen.wait_until_gone("gone", SOON);
        assert_eq!(shell.screen.contents().lines().nth(3), Some("  here"));
    }

    #[test]
    fn keys_are_typed_one_by_one() {
        let keys = format!("a{}{}b{}", key::DOWN, key::PAGE_UP, key::ESC);
        assert_eq!(split_keys(&keys), ["a", "\u{1b}[B", "\u{1b}[5~", "b", "\u{1b}"]);
    }
}

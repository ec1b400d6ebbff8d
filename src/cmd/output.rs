// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a command says: text for people or JSON lines for programs.
//!
//! Text: results go to standard output, everything else to standard error.
//! JSON: every line is one object with a `message_type`, all on standard
//! output: `status`, `note`, `ready`, `error`, `summary`, `exit_error`. Readers must
//! ignore fields and types they do not know. Where standard output carries
//! data (`save SOURCE -`), all of this goes to standard error.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::os::unix::fs::FileTypeExt;
use std::sync::{Arc, Mutex, PoisonError};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::progress::Progress;

use super::progress::Listener;
use super::signals::Signals;
use super::sink::Sink;

/// The style of `error:` in front of an error.
pub const ERROR: Style = AnsiColor::Red.on_default().bold();
/// The style of `warning:`.
pub const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// The style of `hint:` and `note:`.
pub const HINT: Style = AnsiColor::Cyan.on_default();

/// Where and how a command speaks.
#[derive(Debug)]
pub struct Output {
    json: bool,
    quiet: bool,
    stdout_is_data: bool,
    results: Arc<Sink>,
    messages: Arc<Sink>,
    signals: Signals,
    /// How the user can go on if the job is interrupted.
    way_on: Mutex<Option<String>>,
}

/// One JSON line.
#[derive(Serialize)]
struct Line<'a, T: Serialize> {
    message_type: &'a str,
    #[serde(flatten)]
    body: T,
}

/// The fields of the JSON lines `error` and `exit_error`.
#[derive(Serialize)]
pub(crate) struct ErrorFields<'a> {
    pub(crate) code: u8,
    pub(crate) kind: &'a str,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<&'a str>,
}

impl<'a> From<&'a Error> for ErrorFields<'a> {
    fn from(error: &'a Error) -> Self {
        Self {
            code: error.kind().exit_code(),
            kind: error.kind().name(),
            message: error.to_string(),
            hint: error.hint_text(),
        }
    }
}

impl Output {
    pub(crate) fn new(json: bool, quiet: bool, stdout_is_data: bool, signals: Signals) -> Self {
        let messages = Arc::new(Sink::stderr());
        let results = if stdout_is_data { Arc::clone(&messages) } else { Arc::new(Sink::stdout()) };
        Self { json, quiet, stdout_is_data, results, messages, signals, way_on: Mutex::default() }
    }

    /// True if the user asked for JSON; a command then gives its result to
    /// [`Output::summary`] and prints no text.
    #[must_use]
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// A line of the result, shown even with `--quiet`; nothing in JSON mode.
    /// May hold colours; text from a disk goes through [`plain`] first.
    pub fn result(&self, line: &str) {
        if !self.json {
            self.results.line(line);
        }
    }

    /// Lines of the result, many at a time: text or JSON, as asked for.
    pub(super) fn lines(&self, lines: &str) {
        self.results.line(lines);
    }

    /// A line that explains what happens, silenced by `--quiet`.
    pub fn info(&self, line: &str) {
        if !self.json && !self.quiet {
            self.results.line(line);
        }
    }

    /// Something worth knowing beside the result.
    pub fn note(&self, message: &str) {
        if self.quiet {
            return;
        }
        if self.json {
            self.results.line(&json_line("note", &serde_json::json!({ "message": message })));
        } else {
            self.messages.line(&note_line(message));
        }
    }

    /// The result as JSON: one line of `message_type` `summary`. Nothing in
    /// text mode.
    pub fn summary(&self, body: &impl Serialize) {
        if self.json {
            self.results.line(&json_line("summary", body));
        }
    }

    /// As JSON, what a command that serves others offers from now on: one line of
    /// `message_type` `ready`. Nothing in text mode.
    pub fn ready(&self, body: &impl Serialize) {
        if self.json {
            self.results.line(&json_line("ready", body));
        }
    }

    /// An error after which the command goes on.
    pub fn error(&self, error: &Error) {
        if self.json {
            self.results.line(&json_line("error", &ErrorFields::from(error)));
        } else {
            self.error_text(error);
        }
    }

    /// Says how the user can go on if this job is interrupted.
    pub fn way_on(&self, text: String) {
        *self.way_on.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }

    /// The error of an interrupted job, with the way to go on.
    pub(crate) fn interrupted(&self) -> Error {
        let error = Error::interrupted();
        match self.way_on.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            Some(way_on) => error.hint(way_on),
            None => error,
        }
    }

    /// The error with which the program ends.
    pub(crate) fn exit_error(&self, error: &Error) {
        if self.json {
            self.results.line(&json_line("exit_error", &ErrorFields::from(error)));
        } else {
            self.error_text(error);
        }
    }

    fn error_text(&self, error: &Error) {
        self.messages.line(&error_line(error));
        if let Some(hint) = error.hint_text() {
            self.messages.line(&format!("{HINT}hint:{HINT:#} {}", plain(hint)));
        }
    }

    /// A listener for one job; drop it before printing the result.
    #[must_use]
    pub fn listener(&self) -> Box<dyn Progress> {
        Box::new(Listener::new(
            self.json,
            self.quiet,
            Arc::clone(if self.json { &self.results } else { &self.messages }),
        ))
    }

    /// Writes bytes that are themselves the product, such as a map, to
    /// standard output.
    ///
    /// # Errors
    /// If they could not all be written, a closed pipe included.
    pub fn data(&self, bytes: &[u8]) -> Result<()> {
        debug_assert!(self.stdout_is_data, "the command does not claim standard output");
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(bytes)
            .and_then(|()| stdout.flush())
            .context(|| "writing to standard output".into())
    }

    /// What a person types, if there is one who can be asked. Where standard
    /// input is a pipe, the person is at the terminal all the same:
    /// `ssh HOST cat IMAGE </dev/null | dacapo restore - TARGET`.
    #[must_use]
    pub fn person(&self) -> Option<Box<dyn BufRead>> {
        if self.json || !io::stderr().is_terminal() {
            return None;
        }
        if io::stdin().is_terminal() {
            return Some(Box::new(io::stdin().lock()));
        }
        let is_pipe = std::fs::metadata("/proc/self/fd/0")
            .is_ok_and(|it| it.file_type().is_fifo() || it.file_type().is_socket());
        let terminal = is_pipe.then(|| std::fs::File::open("/dev/tty").ok()).flatten()?;
        Some(Box::new(BufReader::new(terminal)))
    }

    /// Runs `ask`, which may read from the terminal; Ctrl-C then ends the
    /// program at once.
    pub fn while_asking<T>(&self, ask: impl FnOnce() -> T) -> T {
        self.signals.while_asking(ask)
    }

    /// An error if a line could not be written, for a reason other than a
    /// reader that went away.
    pub(crate) fn check_written(&self) -> Result<()> {
        self.results.check()?;
        self.messages.check()
    }
}

/// One JSON line of type `message_type` with the fields of `body`.
pub(crate) fn json_line(message_type: &str, body: &impl Serialize) -> String {
    serde_json::to_string(&Line { message_type, body }).unwrap_or_else(|error| {
        // Only a map with keys that are no strings can get here; say so
        // instead of dropping a line.
        serde_json::json!({ "message_type": "error", "message": error.to_string() }).to_string()
    })
}

/// `error: a: b: c`, or `warning:` for work that was finished with losses.
pub(crate) fn error_line(error: &Error) -> String {
    let text = error.to_string();
    let text = plain(&text);
    if error.kind() == ErrorKind::Losses {
        format!("{WARNING}warning:{WARNING:#} {text}")
    } else {
        format!("{ERROR}error:{ERROR:#} {text}")
    }
}

/// `note: ...`
pub(crate) fn note_line(message: &str) -> String {
    format!("{HINT}note:{HINT:#} {}", plain(message))
}

/// `text` without anything that could move the cursor or reorder letters:
/// labels and serials come from disks, and disks are hostile input.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.contains(harmful) {
        Cow::Owned(text.replace(harmful, "?"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(line: &str) -> serde_json::Value {
        assert!(!line.contains('\n'), "one object a line: {line}");
        serde_json::from_str(line).unwrap()
    }

    #[test]
    fn the_type_comes_first_and_the_fields_stand_beside_it() {
        let line = json_line("summary", &serde_json::json!({ "bytes": 5, "a": "x\ny" }));
        assert!(line.starts_with(r#"{"message_type":"summary","#), "{line}");
        let value = fields(&line);
        assert_eq!(value["bytes"], 5);
        assert_eq!(value["a"], "x\ny");
    }

    #[test]
    fn an_error_has_its_code_kind_message_and_hint() {
        let error = Error::refused("/dev/sda2 is mounted on /").hint("unmount it");
        let value = fields(&json_line("exit_error", &ErrorFields::from(&error)));
        assert_eq!(value["message_type"], "exit_error");
        assert_eq!(value["code"], 5);
        assert_eq!(value["kind"], "refused");
        assert_eq!(value["message"], "/dev/sda2 is mounted on /");
        assert_eq!(value["hint"], "unmount it");
        let bare = fields(&json_line("error", &ErrorFields::from(&Error::failed("x"))));
        assert!(bare.get("hint").is_none());
    }

    #[test]
    fn losses_are_a_warning_and_all_else_an_error() {
        let losses = Error::new(ErrorKind::Losses, "2 ranges could not be read");
        assert!(error_line(&losses).contains("warning:"));
        for kind in ErrorKind::ALL.into_iter().filter(|kind| *kind != ErrorKind::Losses) {
            assert!(error_line(&Error::new(kind, "x")).contains("error:"), "{kind:?}");
        }
    }

    #[test]
    fn text_from_a_disk_cannot_steer_the_terminal() {
        assert_eq!(plain("DATA"), "DATA");
        assert_eq!(plain("Sample Bibliothek \u{e4}"), "Sample Bibliothek \u{e4}");
        assert_eq!(plain("\u{1b}[2Jgone\r\u{9b}x"), "?[2Jgone??x");
        assert_eq!(plain("a\u{202e}b"), "a?b");
        let line = error_line(&Error::failed("reading '\u{1b}]0;x\u{7}'"));
        assert!(line.ends_with("reading '?]0;x?'"), "{line:?}");
    }
}

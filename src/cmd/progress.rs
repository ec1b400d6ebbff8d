// SPDX-License-Identifier: MIT OR Apache-2.0
//! The listeners of a running job: a bar on a terminal, a line every few
//! seconds where there is none, JSON lines for programs.
//!
//! They differ in their face only. A clock thread that ends with the listener
//! redraws the face, so that a disk that has stalled is seen to have stalled.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::error::ErrorKind;
use crate::extent::Extent;
use crate::progress::{Event, Progress};
use crate::units::human;

use super::meter::{Meter, Snapshot, clock};
use super::output::{ERROR, WARNING, json_line, note_line, plain};
use super::sink::Sink;

/// So many ranges that are lost or differ are told one by one as text; the
/// report at the end has them all.
const TOLD_ONE_BY_ONE: u64 = 20;

/// A listener with one of the three faces.
pub(crate) struct Listener {
    state: Arc<Mutex<State>>,
    clock: Option<Clock>,
}

struct State {
    meter: Meter,
    face: Box<dyn Face>,
}

/// How progress is shown.
trait Face: Send {
    /// The time between two drawings.
    fn interval(&self) -> Duration;
    /// A stage begins.
    fn stage(&mut self, now: &Snapshot) {
        self.draw(now);
    }
    /// The clock has struck.
    fn draw(&mut self, now: &Snapshot);
    /// Something to tell.
    fn event(&mut self, event: &Event, now: &Snapshot);
    /// The job has ended, well or not.
    fn finish(&mut self, now: &Snapshot);
}

impl Listener {
    pub(crate) fn new(json: bool, quiet: bool, sink: Arc<Sink>) -> Self {
        // A dumb terminal cannot move its cursor, so it gets lines.
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let face: Box<dyn Face> = if json {
            Box::new(Json { sink, quiet })
        } else if quiet || dumb || !io::stderr().is_terminal() {
            Box::new(Lines { sink, quiet })
        } else {
            Box::new(Bar::new(ProgressDrawTarget::stderr()))
        };
        Self::with_face(face)
    }

    fn with_face(face: Box<dyn Face>) -> Self {
        let interval = face.interval();
        let state = Arc::new(Mutex::new(State { meter: Meter::new(Instant::now()), face }));
        let shared = Arc::clone(&state);
        let clock = Clock::start(interval, move || {
            let State { meter, face } = &mut *lock(&shared);
            face.draw(&meter.snapshot(Instant::now()));
        });
        Self { state, clock: Some(clock) }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // A panic in a face must not take the job down with it.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Progress for Listener {
    fn stage(&self, name: &str, total: u64) {
        let State { meter, face } = &mut *lock(&self.state);
        let now = Instant::now();
        meter.stage(name, total, now);
        face.stage(&meter.snapshot(now));
    }

    fn advance(&self, bytes: u64) {
        lock(&self.state).meter.advance(bytes, Instant::now());
    }

    fn note(&self, event: &Event) {
        let State { meter, face } = &mut *lock(&self.state);
        match event {
            Event::Position(text) => meter.position(text),
            Event::Unreadable { extent, .. } => meter.unreadable(*extent),
            Event::Mismatch { extent, .. } => meter.different(*extent),
            Event::Notice(_) => {}
        }
        face.event(event, &meter.snapshot(Instant::now()));
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // First the clock, so that nothing is drawn behind the end.
        drop(self.clock.take());
        let State { meter, face } = &mut *lock(&self.state);
        face.finish(&meter.snapshot(Instant::now()));
    }
}

/// A thread that strikes at an interval until it is dropped.
struct Clock {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Clock {
    fn start(interval: Duration, mut strike: impl FnMut() + Send + 'static) -> Self {
        let (stop, stopped) = bounded::<()>(0);
        let thread = thread::spawn(move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                strike();
            }
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread can only have panicked in a face; the job is not
            // concerned.
            let _ = thread.join();
        }
    }
}

/// "12.3 GiB of 29.4 GiB, 512 MiB/s, 0:35 left"
fn numbers(now: &Snapshot) -> String {
    let mut text = format!("{} of {}", human(now.done), human(now.total));
    if let Some(speed) = now.speed {
        let _ = write!(text, ", {}/s", human(speed as u64));
    }
    if let Some(left) = now.left {
        let _ = write!(text, ", {} left", clock(left));
    }
    text
}

/// "1 range (512 B) unreadable, 2 ranges (8.00 KiB) different", or nothing.
fn losses(now: &Snapshot) -> String {
    let mut text = String::new();
    for (tally, what) in [(now.unreadable, "unreadable"), (now.different, "different")] {
        if tally.ranges > 0 {
            let comma = if text.is_empty() { "" } else { ", " };
            let s = if tally.ranges == 1 { "" } else { "s" };
            let bytes = human(tally.bytes);
            let _ = write!(text, "{comma}{} range{s} ({bytes}) {what}", tally.ranges);
        }
    }
    text
}

fn range(extent: Extent) -> String {
    format!("{:#x}..{:#x} ({})", extent.start(), extent.end(), human(extent.len()))
}

/// The text of an event, if it is one that is told.
fn event_text(event: &Event, now: &Snapshot, quiet: bool) -> Option<String> {
    let (style, label, text, count) = match event {
        Event::Position(_) => return None,
        Event::Notice(_) if quiet => return None,
        Event::Notice(text) => return Some(note_line(text)),
        Event::Unreadable { extent, cause } => {
            let text = format!("bytes {} cannot be read: {cause}", range(*extent));
            (WARNING, "warning:", text, now.unreadable.ranges)
        }
        Event::Mismatch { extent, what } => {
            let text = format!("bytes {} differ: {what}", range(*extent));
            (ERROR, "error:", text, now.different.ranges)
        }
    };
    if count > TOLD_ONE_BY_ONE {
        let more = "more of these; from here on they are only counted";
        return (count == TOLD_ONE_BY_ONE + 1).then(|| format!("{style}{label}{style:#} {more}"));
    }
    Some(format!("{style}{label}{style:#} {}", plain(&text)))
}

/// A bar on a terminal.
struct Bar {
    bar: ProgressBar,
}

impl Bar {
    fn new(target: ProgressDrawTarget) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let template = "{prefix} {wide_bar:.cyan}\n  {wide_msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar }
    }
}

/// The two lines of the bar: what stands in front of it, and below it.
fn bar_texts(now: &Snapshot) -> (String, String) {
    let prefix = format!("{} {:5.1} %", now.stage, now.part() * 100.0);
    let mut below = numbers(now);
    for text in [plain(&now.current).into_owned(), losses(now)] {
        if !text.is_empty() {
            let _ = write!(below, "; {text}");
        }
    }
    (prefix, below)
}

impl Face for Bar {
    fn interval(&self) -> Duration {
        Duration::from_millis(200)
    }

    fn draw(&mut self, now: &Snapshot) {
        if now.stage.is_empty() {
            return;
        }
        let (prefix, below) = bar_texts(now);
        self.bar.set_length(now.total);
        self.bar.set_position(now.done);
        self.bar.set_prefix(prefix);
        self.bar.set_message(below);
    }

    fn event(&mut self, event: &Event, now: &Snapshot) {
        if let Some(text) = event_text(event, now, false) {
            // Through the same stream as all other text, so that NO_COLOR
            // counts here, too.
            let colours = anstream::stderr().current_choice() != anstream::ColorChoice::Never;
            let text = if colours { text } else { anstream::adapter::strip_str(&text).to_string() };
            self.bar.println(text);
        }
    }

    fn finish(&mut self, _: &Snapshot) {
        self.bar.finish_and_clear();
    }
}

/// A line every few seconds.
struct Lines {
    sink: Arc<Sink>,
    quiet: bool,
}

impl Face for Lines {
    fn interval(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn stage(&mut self, _: &Snapshot) {
        // A job of less than five seconds does not need lines.
    }

    fn draw(&mut self, now: &Snapshot) {
        if self.quiet || now.stage.is_empty() {
            return;
        }
        let (prefix, below) = bar_texts(now);
        self.sink.line(&format!("{prefix}: {below}"));
    }

    fn event(&mut self, event: &Event, now: &Snapshot) {
        if let Some(text) = event_text(event, now, self.quiet) {
            self.sink.line(&text);
        }
    }

    fn finish(&mut self, _: &Snapshot) {}
}

/// JSON lines.
struct Json {
    sink: Arc<Sink>,
    quiet: bool,
}

/// The fields of a `status` line; those of restic where it has them.
#[derive(Serialize)]
struct Status<'a> {
    /// From 0 to 1, of this stage.
    percent_done: f64,
    /// Since the job began.
    seconds_elapsed: u64,
    /// Until this stage ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_remaining: Option<u64>,
    bytes_done: u64,
    total_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_second: Option<u64>,
    stage: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    current: &'a str,
    unreadable_ranges: u64,
    unreadable_bytes: u64,
    different_ranges: u64,
    different_bytes: u64,
}

/// The fields of an `error` line that names a range of the disk.
#[derive(Serialize)]
struct RangeError<'a> {
    code: u8,
    kind: &'a str,
    message: &'a str,
    offset: u64,
    length: u64,
}

impl Face for Json {
    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn draw(&mut self, now: &Snapshot) {
        if self.quiet || now.stage.is_empty() {
            return;
        }
        self.sink.line(&json_line(
            "status",
            &Status {
                percent_done: now.part(),
                seconds_elapsed: now.elapsed.as_secs(),
                seconds_remaining: now.left.map(|left| left.as_secs()),
                bytes_done: now.done,
                total_bytes: now.total,
                bytes_per_second: now.speed.map(|speed| speed as u64),
                stage: &now.stage,
                current: &now.current,
                unreadable_ranges: now.unreadable.ranges,
                unreadable_bytes: now.unreadable.bytes,
                different_ranges: now.different.ranges,
                different_bytes: now.different.bytes,
            },
        ));
    }

    fn event(&mut self, event: &Event, _: &Snapshot) {
        let (kind, extent, message) = match event {
            Event::Position(_) => return,
            Event::Notice(_) if self.quiet => return,
            Event::Notice(text) => {
                self.sink.line(&json_line("note", &serde_json::json!({ "message": text })));
                return;
            }
            Event::Unreadable { extent, cause } => (ErrorKind::Losses, extent, cause),
            Event::Mismatch { extent, what } => (ErrorKind::Damaged, extent, what),
        };
        self.sink.line(&json_line(
            "error",
            &RangeError {
                code: kind.exit_code(),
                kind: kind.name(),
                message,
                offset: extent.start(),
                length: extent.len(),
            },
        ));
    }

    fn finish(&mut self, now: &Snapshot) {
        self.draw(now);
    }
}

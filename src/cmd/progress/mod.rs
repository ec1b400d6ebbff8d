// SPDX-License-Identifier: MIT OR Apache-2.0
//! The listeners of a running job: a bar on a terminal, a line every few
//! seconds where there is none, JSON lines for programs.
//!
//! They differ in their face only. A clock thread that ends with the listener
//! redraws the face, so that a disk that has stalled is seen to have stalled.

mod bar;
mod json;
mod lines;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use indicatif::ProgressDrawTarget;

use crate::extent::Extent;
use crate::progress::{Event, Meter, Progress, Snapshot, clock};
use crate::units::human;

use super::output::{WARNING, note_line, plain};
use super::sink::Sink;
use super::terminal;
use bar::Bar;
use json::Json;
use lines::Lines;

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
    /// A stage begins; `before` is where the last one ended.
    fn stage(&mut self, before: &Snapshot, now: &Snapshot) {
        self.draw(before);
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
        let face: Box<dyn Face> = if json {
            Box::new(Json { sink, quiet })
        } else if quiet || terminal::is_dumb() || !io::stderr().is_terminal() {
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
        let before = meter.snapshot(now);
        meter.stage(name, total, now);
        face.stage(&before, &meter.snapshot(now));
    }

    fn advance(&self, bytes: u64) {
        lock(&self.state).meter.advance(bytes, Instant::now());
    }

    fn note(&self, event: &Event) {
        let State { meter, face } = &mut *lock(&self.state);
        match event {
            Event::Position(text) => meter.position(text),
            Event::Unreadable { extent, .. } => meter.unreadable(*extent),
            Event::Mismatch { extent } => meter.different(*extent),
            Event::Lost { .. } | Event::Notice(_) => {}
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
        Event::Position(_) | Event::Mismatch { .. } => return None,
        Event::Notice(_) if quiet => return None,
        Event::Notice(text) => return Some(note_line(text)),
        Event::Lost { path, cause } => {
            let text = format!("{path}: {cause}");
            return Some(format!("{WARNING}warning:{WARNING:#} {}", plain(&text)));
        }
        Event::Unreadable { extent, cause } => {
            let text = format!("bytes {} cannot be read: {cause}", range(*extent));
            (WARNING, "warning:", text, now.unreadable.ranges)
        }
    };
    if count > TOLD_ONE_BY_ONE {
        let more = "more of these; from here on they are only counted";
        return (count == TOLD_ONE_BY_ONE + 1).then(|| format!("{style}{label}{style:#} {more}"));
    }
    Some(format!("{style}{label}{style:#} {}", plain(&text)))
}

/// The two lines of the bar: what stands in front of it, and below it.
fn bar_texts(now: &Snapshot) -> (String, String) {
    // How much there is to do may not be known.
    let is_known = now.total > 0 || now.done > 0;
    let (prefix, numbers) = match is_known {
        true => (format!("{} {:5.1} %", now.stage, now.part() * 100.0), numbers(now)),
        false => (now.stage.clone(), String::new()),
    };
    let mut below = numbers;
    for text in [plain(&now.current).into_owned(), losses(now)] {
        if !text.is_empty() {
            let semicolon = if below.is_empty() { "" } else { "; " };
            let _ = write!(below, "{semicolon}{text}");
        }
    }
    (prefix, below)
}

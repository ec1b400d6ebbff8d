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

    fn stage(&mut self, _: &Snapshot, _: &Snapshot) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::MIB;

    /// What a listener prints while `job` runs.
    fn heard(face: fn(Arc<Sink>) -> Box<dyn Face>, job: impl FnOnce(&dyn Progress)) -> String {
        let sink = Arc::new(Sink::memory());
        let listener = Listener::with_face(face(Arc::clone(&sink)));
        job(&listener);
        drop(listener);
        sink.text()
    }

    fn json(sink: Arc<Sink>) -> Box<dyn Face> {
        Box::new(Json { sink, quiet: false })
    }

    fn json_quiet(sink: Arc<Sink>) -> Box<dyn Face> {
        Box::new(Json { sink, quiet: true })
    }

    fn lines(sink: Arc<Sink>) -> Box<dyn Face> {
        Box::new(Lines { sink, quiet: false })
    }

    fn lines_quiet(sink: Arc<Sink>) -> Box<dyn Face> {
        Box::new(Lines { sink, quiet: true })
    }

    fn lossy(progress: &dyn Progress) {
        progress.stage("saving", 4 * MIB);
        progress.note(&Event::Position("partition 2, ext4".into()));
        progress.advance(MIB);
        progress.note(&Event::Notice("the backup GPT moves".into()));
        let extent = Extent::at(MIB, 4096);
        progress.note(&Event::Unreadable { extent, cause: "Input/output error".into() });
        progress.advance(MIB);
    }

    #[test]
    fn json_lines_have_the_promised_fields() {
        let text = heard(json, lossy);
        let values: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let types: Vec<&str> =
            values.iter().map(|value| value["message_type"].as_str().unwrap()).collect();
        assert_eq!(types, ["status", "note", "error", "status"], "{text}");
        assert_eq!(values[0]["percent_done"], 0.0);
        assert_eq!(values[1]["message"], "the backup GPT moves");
        assert_eq!(values[2]["code"], 3);
        assert_eq!(values[2]["offset"], MIB);
        assert_eq!(values[2]["length"], 4096);
        assert_eq!(values[2]["message"], "Input/output error");
        assert_eq!(values[3]["percent_done"], 0.5);
        assert_eq!(values[3]["bytes_done"], 2 * MIB);
        assert_eq!(values[3]["total_bytes"], 4 * MIB);
        assert_eq!(values[3]["stage"], "saving");
        assert_eq!(values[3]["current"], "partition 2, ext4");
        assert_eq!(values[3]["unreadable_bytes"], 4096);
        assert_eq!(values[3]["seconds_elapsed"], 0);
    }

    #[test]
    fn every_field_is_in_the_documentation() {
        let documented = include_str!("../../docs/json-lines.md");
        let text = heard(json, |progress| {
            lossy(progress);
            // Long enough for speed and time left.
            thread::sleep(Duration::from_millis(1100));
        });
        let mut fields = 0;
        for line in text.lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let name = value["message_type"].as_str().unwrap();
            assert!(documented.contains(&format!("\n## {name}\n")), "{name}");
            for field in value.as_object().unwrap().keys() {
                assert!(documented.contains(&format!("`{field}`")), "{field} of {name}");
                fields += 1;
            }
        }
        assert!(fields >= 30 && text.contains("seconds_remaining"), "{text}");
    }

    #[test]
    fn every_stage_is_told_to_its_end() {
        let text = heard(json, |progress| {
            progress.stage("saving", 10);
            progress.advance(10);
            progress.stage("verifying", 20);
            progress.advance(20);
        });
        let told: Vec<(String, f64)> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|value| (value["stage"].to_string(), value["percent_done"].as_f64().unwrap()))
            .collect();
        let expected = [("saving", 0.0), ("saving", 1.0), ("verifying", 0.0), ("verifying", 1.0)];
        assert_eq!(told, expected.map(|(stage, part)| (format!("\"{stage}\""), part)));
    }

    #[test]
    fn quiet_tells_losses_and_nothing_else() {
        let text = heard(json_quiet, lossy);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.starts_with(r#"{"message_type":"error""#), "{text}");
        let text = heard(lines_quiet, lossy);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("bytes 0x100000..0x101000 (4.00 KiB) cannot be read"), "{text}");
    }

    #[test]
    fn without_a_terminal_a_short_job_tells_only_its_events() {
        let text = heard(lines, lossy);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("note:") && text.contains("the backup GPT moves"), "{text}");
    }

    #[test]
    fn a_flood_of_losses_is_counted_not_told() {
        let flood = |progress: &dyn Progress| {
            for n in 0..1000 {
                let extent = Extent::at(n * 8192, 512);
                progress.note(&Event::Mismatch { extent, what: "stored data".into() });
            }
        };
        let text = heard(lines, flood);
        assert_eq!(text.lines().count(), 21, "{text}");
        assert!(text.ends_with("from here on they are only counted\n"), "{text}");
        // A program gets all of them.
        assert_eq!(heard(json, flood).lines().count(), 1000);
    }

    #[test]
    fn the_clock_draws_although_the_job_stands_still() {
        struct Often(Json);
        impl Face for Often {
            fn interval(&self) -> Duration {
                Duration::from_millis(5)
            }
            fn draw(&mut self, now: &Snapshot) {
                self.0.draw(now);
            }
            fn event(&mut self, event: &Event, now: &Snapshot) {
                self.0.event(event, now);
            }
            fn finish(&mut self, _: &Snapshot) {}
        }
        let often = |sink| -> Box<dyn Face> { Box::new(Often(Json { sink, quiet: false })) };
        let text = heard(often, |progress| {
            progress.stage("saving", MIB);
            thread::sleep(Duration::from_millis(200));
        });
        assert!(text.lines().count() >= 5, "{text}");
    }

    #[test]
    fn the_bar_says_all_there_is_to_say_in_eighty_columns() {
        let now = Snapshot {
            stage: "saving".into(),
            current: "partition 2, ext4 STUDIO".into(),
            done: 13_207_024_435,
            total: 31_568_009_626,
            speed: Some(512.0 * MIB as f64),
            left: Some(Duration::from_secs(35)),
            ..Snapshot::default()
        };
        let (prefix, below) = bar_texts(&now);
        assert_eq!(prefix, "saving  41.8 %");
        assert_eq!(below, "12.3 GiB of 29.4 GiB, 512 MiB/s, 0:35 left; partition 2, ext4 STUDIO");
        assert!(below.len() <= 78);
    }

    #[test]
    fn losses_are_told_in_words() {
        let mut meter = Meter::new(Instant::now());
        assert_eq!(losses(&meter.snapshot(Instant::now())), "");
        meter.unreadable(Extent::at(0, 512));
        meter.different(Extent::at(0, 4096));
        meter.different(Extent::at(8192, 4096));
        assert_eq!(
            losses(&meter.snapshot(Instant::now())),
            "1 range (512 B) unreadable, 2 ranges (8.00 KiB) different"
        );
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! JSON lines; docs/json-lines.md describes their fields.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::error::ErrorKind;
use crate::progress::{Event, Snapshot};

use super::super::output::json_line;
use super::super::sink::Sink;
use super::Face;

/// JSON lines.
pub(super) struct Json {
    pub(super) sink: Arc<Sink>,
    pub(super) quiet: bool,
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
            Event::Position(_) | Event::Mismatch { .. } => return,
            Event::Notice(_) if self.quiet => return,
            Event::Notice(text) => {
                self.sink.line(&json_line("note", &serde_json::json!({ "message": text })));
                return;
            }
            Event::Lost { path, cause } => {
                let kind = ErrorKind::Losses;
                let fields = serde_json::json!({
                    "code": kind.exit_code(),
                    "kind": kind.name(),
                    "message": format!("{path}: {cause}"),
                    "path": path,
                });
                self.sink.line(&json_line("error", &fields));
                return;
            }
            Event::Unreadable { extent, cause } => (ErrorKind::Losses, extent, cause),
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

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A line every few seconds, for logs and for terminals that cannot move
//! their cursor.

use std::sync::Arc;
use std::time::Duration;

use crate::progress::{Event, Snapshot};

use super::super::sink::Sink;
use super::{Face, bar_texts, event_text};

/// A line every few seconds.
pub(super) struct Lines {
    pub(super) sink: Arc<Sink>,
    pub(super) quiet: bool,
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

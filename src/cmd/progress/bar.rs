// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bar on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::progress::{Event, Snapshot};

use super::{Face, bar_texts, event_text};

/// A bar on a terminal.
pub(super) struct Bar {
    bar: ProgressBar,
}

impl Bar {
    pub(super) fn new(target: ProgressDrawTarget) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let template = "{prefix} {wide_bar:.cyan}\n  {wide_msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar }
    }
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

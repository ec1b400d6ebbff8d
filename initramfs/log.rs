// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happened, a line an event, for the person who looks for the cause.

use std::fs::{self, OpenOptions};
use std::io::Write;

/// The folder of everything that is kept until power-off.
pub(crate) const FOLDER: &str = "/run/dacapo";
/// The log of events.
pub(crate) const EVENTS: &str = "/run/dacapo/log.txt";
/// What the screens wrote to their standard error.
pub(crate) const SCREEN: &str = "/run/dacapo/screen.log";

/// Adds a line. That it cannot be written is nothing to stop for.
pub(crate) fn event(text: &str) {
    let _ = fs::create_dir_all(FOLDER);
    let line = format!("{:.0} init: {}\n", jiff::Timestamp::now(), text.trim_end());
    let file = OpenOptions::new().append(true).create(true).open(EVENTS);
    // One write, so that lines of several processes do not mix.
    let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
}

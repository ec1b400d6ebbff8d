// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo disks`: what this machine has.
//!
//! `content` looks into the disks, which needs root; `show` puts what is
//! known in words. What /sys tells is shown in any case.

mod content;
mod show;

use clap::Args;

use crate::device::{self, Source};
use crate::error::Result;
use crate::io::ReadAt;
use crate::pipeline::Cancel;
use crate::progress::{Progress, Silent};

use super::Outcome;
use super::output::Output;
use super::terminal::Terminal;

pub(crate) use self::content::Shown;
#[cfg(test)]
pub(crate) use self::content::{Content, Part};

const EXAMPLE: &str = "\
Example:
  dacapo disks";

/// List the disks of this machine
///
/// Shows name, model, serial number, size, sector sizes, how each disk is
/// attached and what uses it, and its partitions with filesystem, label, what
/// of it is in use, and what a save would store of it and why. The latter is
/// read from the disks, which needs root.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct DisksArgs {}

/// Runs the command.
///
/// # Errors
/// If the list of disks cannot be read.
pub fn run(_: &DisksArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let shown = look(cancel, &Silent)?;
    for line in show::lines(&shown, &Terminal::of_stdout()) {
        output.result(&line);
    }
    for note in show::unreadable(&shown) {
        output.note(&note);
    }
    output.summary(&serde_json::json!({ "disks": shown }));
    Ok(Outcome::Done)
}

/// Looks at all disks.
///
/// # Errors
/// If the list of disks cannot be read.
pub(crate) fn look(cancel: &Cancel, progress: &dyn Progress) -> Result<Vec<Shown>> {
    let mut disks = device::disks()?;
    // Files that stand in for disks are of less interest, and there may be
    // dozens of them.
    disks.sort_by_key(|disk| disk.identity.bus.as_deref() == Some("loop"));
    let booted = device::booted_disks()?;
    let sources: Vec<Result<Source>> =
        disks.iter().map(|disk| Source::open(&disk.identity.path)).collect();
    let mut shown: Vec<Shown> = Vec::new();
    for (n, disk) in disks.into_iter().enumerate() {
        cancel.check()?;
        progress.stage(&disk.identity.path, 0);
        let is_other = |(other, _): &(usize, &Result<Source>)| *other != n;
        let others = sources.iter().enumerate().filter(is_other);
        let others: Vec<&dyn ReadAt> = others
            .filter_map(|(_, source)| source.as_ref().ok())
            .map(|source| source as &dyn ReadAt)
            .collect();
        shown.push(Shown::new(disk, &sources[n], &others, &booted));
    }
    Ok(shown)
}

/// One disk in words, in lines for a terminal.
pub(crate) fn describe(shown: &Shown, terminal: &Terminal) -> Vec<String> {
    show::lines(std::slice::from_ref(shown), terminal)
}

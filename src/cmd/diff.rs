// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo diff`: which files differ.

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueHint};

use crate::browse::OpenDisk;
use crate::browse::diff::{self, Change, Diffed, Difference};
use crate::browse::names::shown;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::files::NodeKind;
use crate::pipeline::Cancel;
use crate::units::human;

use super::Outcome;
use super::files::{kind_word, name_of, open_disks};
use super::open::{BesideArgs, outcome};
use super::output::{Output, json_line};
use super::text::{duration, hex};

const EXAMPLE: &str = "\
Examples:
  dacapo diff monday.img.zst friday.img.zst
  dacapo diff studio.img.zst /dev/sda
  dacapo diff one.img.zst /dev/sda --with two.img.zst --other-with /dev/sdb";

/// List the files that differ between two images, or an image and a disk
///
/// Of the same disk at two times: files that were added, removed or changed
/// from the first to the second, in content, permissions, owner, time or
/// attributes. Of two images only what differs by the hashes of their pieces is
/// read. Nothing is written. The exit code is 4 if anything differs.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct DiffArgs {
    /// Image that was first; also at an http(s) address
    #[arg(value_name = "IMAGE", value_hint = ValueHint::FilePath)]
    pub image: PathBuf,

    /// Image, disk, partition or raw image file to compare with it
    #[arg(value_name = "IMAGE_OR_DISK", value_hint = ValueHint::AnyPath)]
    pub other: PathBuf,

    /// Other disks of a set that IMAGE is the first of.
    #[command(flatten)]
    pub set: BesideArgs,

    /// Another image or disk that IMAGE_OR_DISK is spread over
    ///
    /// As --with is for IMAGE. Of a volume that is spread over several disks every
    /// file is read on both sides; without all of them it counts as not compared.
    #[arg(long, value_name = "IMAGE", value_hint = ValueHint::AnyPath)]
    pub other_with: Vec<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// If one of the two cannot be read.
pub fn run(args: &DiffArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let before = open_disks(&args.image, &args.set, output)?;
    let set = BesideArgs { others: args.other_with.clone() };
    let after = open_disks(&args.other, &set, output)?;
    let started = Instant::now();
    let listener = output.listener();
    let diffed = diff::run(&before, &after, cancel, &*listener)?;
    drop(listener);
    for difference in &diffed.differences {
        output.lines(&if output.is_json() { json(difference) } else { text(difference) });
    }
    let seconds = started.elapsed().as_secs_f64();
    let [added, removed, changed] = diffed.counts();
    output.info(&format!(
        "{added} added, {removed} removed, {changed} changed, {}",
        duration(seconds)
    ));
    output.summary(&serde_json::json!({
        "before": before.name,
        "after": after.name,
        "added": added,
        "removed": removed,
        "changed": changed,
        "same_volumes": diffed.same_volumes,
        "files_read": diffed.read,
        "files_known": diffed.known,
        "losses": diffed.lost,
        "seconds_elapsed": seconds,
    }));
    Ok(outcome(finding(&diffed, &before, &after)))
}

/// The error with which it ends although it was finished.
fn finding(diffed: &Diffed, before: &OpenDisk, after: &OpenDisk) -> Result<()> {
    let lost = match diffed.lost {
        0 => String::new(),
        lost => format!("{lost} could not be compared, as told above"),
    };
    let finding = if !diffed.differences.is_empty() {
        let and = if lost.is_empty() { "" } else { "; " };
        Error::damaged(format!(
            "{} differs from {} in {} files{and}{lost}",
            after.name,
            before.name,
            diffed.differences.len()
        ))
    } else if !lost.is_empty() {
        Error::new(ErrorKind::Losses, lost)
    } else {
        return Ok(());
    };
    if !diffed.lacks_disks {
        return Err(finding);
    }
    Err(finding.hint(format!(
        "give the other disks of {} with --with, and those of {} with --other-with",
        before.name, after.name
    )))
}

fn word(change: &Change) -> &'static str {
    match change {
        Change::Added => "added",
        Change::Removed => "removed",
        Change::Changed(_) => "changed",
    }
}

fn text(difference: &Difference) -> String {
    let path = format!("{}:{}", shown(difference.volume.as_bytes()), shown(&difference.path));
    let name = match difference.kind {
        _ if difference.path.is_empty() => format!("{path} (volume)"),
        kind => name_of(&path, kind, None),
    };
    let size = difference.size.filter(|_| matches!(difference.kind, NodeKind::File));
    let mut facts: Vec<String> = size.map(human).into_iter().collect();
    if let Change::Changed(what) = &difference.change {
        facts = vec![what.join(", ")];
    }
    let facts = if facts.is_empty() { String::new() } else { format!("  ({})", facts.join(", ")) };
    format!("{:8} {name}{facts}", word(&difference.change))
}

fn json(difference: &Difference) -> String {
    let is_text = std::str::from_utf8(&difference.path).is_ok();
    let mut fields = serde_json::json!({
        "change": word(&difference.change),
        "volume": difference.volume,
        "path": String::from_utf8_lossy(&difference.path),
        "kind": if difference.path.is_empty() { "volume" } else { kind_word(difference.kind) },
        "size": difference.size,
    });
    if !is_text {
        fields["path_hex"] = hex(&difference.path).into();
    }
    if let Change::Changed(what) = &difference.change {
        fields["differs_in"] = what.as_slice().into();
    }
    json_line("difference", &fields)
}

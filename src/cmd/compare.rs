// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo compare`: is the disk what the image says?

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueHint};

use crate::device::Source;
use crate::error::Result;
use crate::job::compare;
use crate::pipeline::Cancel;
use crate::store;
use crate::units::human;

use super::Outcome;
use super::open::{open_image, outcome};
use super::output::{Output, plain};
use super::text::duration;

const EXAMPLE: &str = "\
Examples:
  dacapo compare studio.img.zst /dev/sda
  dacapo compare studio.img.zst /dev/sda2 --partition 2";

/// Compare a disk with an image
///
/// Compares every range that the image stores and lists the partitions and
/// ranges that differ. Nothing is written.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct CompareArgs {
    /// Image to compare with: a file, an http(s) address, or - for standard
    /// input
    #[arg(value_name = "IMAGE", value_hint = ValueHint::FilePath)]
    pub image: PathBuf,

    /// Disk, partition or file to compare
    #[arg(value_name = "DISK", value_hint = ValueHint::AnyPath)]
    pub disk: PathBuf,

    /// List every range that differs, not only the first ones
    #[arg(long)]
    pub all: bool,

    /// Compare DISK with this partition of the image
    #[arg(long, short, value_name = "N")]
    pub partition: Option<NonZeroU32>,
}

/// How many ranges are listed without `--all`.
const LISTED: usize = 10;

/// Runs the command.
///
/// # Errors
/// If one of the two cannot be read or the image is damaged.
pub fn run(args: &CompareArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let image = open_image(&args.image, output)?;
    let disk = Source::open(&args.disk)?;
    let started = Instant::now();
    let listener = output.listener();
    let partition = args.partition.map(NonZeroU32::get);
    let found = compare::run(&image, partition, &disk, cancel, &*listener)?;
    drop(listener);

    let different = &found.compared.different;
    let mut regions = Vec::new();
    for region in &found.regions {
        output.result(&format!(
            "{} ({}): {} differ in {} places",
            region.title,
            plain(&region.content),
            human(region.bytes),
            region.ranges
        ));
        regions.push(serde_json::json!({
            "region": region.title,
            "bytes": region.bytes,
            "ranges": region.ranges,
        }));
    }
    let shown = if args.all { usize::MAX } else { LISTED };
    for extent in different.iter().take(shown) {
        output.result(&format!("  {extent} ({})", human(extent.len())));
    }
    if different.count() > shown {
        output.result(&format!("  and {} more; --all lists them", different.count() - shown));
    }
    let seconds = started.elapsed().as_secs_f64();
    output.summary(&serde_json::json!({
        "image": store::shown(&args.image),
        "disk": args.disk.to_string_lossy(),
        "bytes_compared": found.compared.bytes,
        "bytes_different": different.bytes(),
        "regions": regions,
        "ranges": different.iter().take(shown).collect::<Vec<_>>(),
        "seconds_elapsed": seconds,
    }));
    if different.is_empty() {
        output.info(&format!(
            "{} compared in {}: {} has all that is in the image",
            human(found.compared.bytes),
            duration(seconds),
            args.disk.display()
        ));
    }
    Ok(outcome(found.finding(&args.disk)))
}

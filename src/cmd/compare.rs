// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo compare`: is the disk what the image says?

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueHint};

use crate::compare;
use crate::device::Source;
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::pipeline::Cancel;
use crate::restore::Indexed;
use crate::save::check_losses;
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
    /// Image to compare with
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
    let reader = open_image(&args.image, output)?;
    let layout = &reader.head().about.layout;
    let window = match args.partition.map(NonZeroU32::get) {
        None => Extent::new(0, reader.head().disk_len),
        Some(number) => layout.partition_extent(number, reader.head().disk_len)?,
    };
    let disk = Source::open(&args.disk)?;
    let started = Instant::now();
    let listener = output.listener();
    let feed = Indexed::from_offset(&reader, window.start());
    let compared = compare::run(&feed, window, &disk, cancel, &*listener)?;
    drop(listener);

    let different = &compared.different;
    let mut regions = Vec::new();
    for region in &layout.regions {
        let count = different.within(region.extent).count();
        let bytes: u64 = different.within(region.extent).map(|part| part.len()).sum();
        if bytes > 0 {
            output.result(&format!(
                "{} ({}): {} differ in {count} places",
                region.title(),
                plain(region.content()),
                human(bytes)
            ));
            regions.push(serde_json::json!({
                "region": region.title(),
                "bytes": bytes,
                "ranges": count,
            }));
        }
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
        "image": args.image.to_string_lossy(),
        "disk": args.disk.to_string_lossy(),
        "bytes_compared": compared.bytes,
        "bytes_different": different.bytes(),
        "regions": regions,
        "ranges": different.iter().take(shown).collect::<Vec<_>>(),
        "seconds_elapsed": seconds,
    }));
    if different.is_empty() {
        output.info(&format!(
            "{} compared in {}: {} has all that is in the image",
            human(compared.bytes),
            duration(seconds),
            args.disk.display()
        ));
        return Ok(outcome(check_losses(&reader.report().losses)));
    }
    let text = format!(
        "{} differs from the image in {} of {}",
        args.disk.display(),
        human(different.bytes()),
        human(compared.bytes)
    );
    Ok(Outcome::Finding(Error::damaged(text).hint(
        "a system that has been started since changes its disk; restore again to get the saved state",
    )))
}

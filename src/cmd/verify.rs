// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo verify`: is the image whole?

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueHint};

use crate::error::Result;
use crate::job::verify::{self, Checked};
use crate::pipeline::Cancel;
use crate::restore::Feed;
use crate::units::human;

use super::Outcome;
use super::open::{is_standard_stream, open_image, open_stdin, outcome};
use super::output::Output;
use super::text::duration;

const EXAMPLE: &str = "\
Example:
  dacapo verify studio.img.zst";

/// Check that an image is whole and undamaged
///
/// Reads all of the image, unpacks it and checks every piece against its
/// hash. Nothing is written.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct VerifyArgs {
    /// Image to check, or - for standard input
    #[arg(value_name = "IMAGE", value_hint = ValueHint::FilePath)]
    pub image: PathBuf,

    /// Check structure and index only, not the data
    #[arg(long)]
    pub quick: bool,
}

/// Runs the command.
///
/// # Errors
/// Damaged if the image is.
pub fn run(args: &VerifyArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let started = Instant::now();
    let listener = output.listener();
    let (checked, len) = if is_standard_stream(&args.image) {
        let feed = open_stdin()?;
        let verified = crate::verify::run(&feed, cancel, &*listener)?;
        (Checked { verified, losses: feed.losses(), damage: None, quick: false }, None)
    } else {
        let reader = open_image(&args.image, output)?;
        let checked = verify::run(&reader, args.quick, cancel, &*listener)?;
        (checked, Some(reader.file_len()))
    };
    drop(listener);
    let seconds = started.elapsed().as_secs_f64();
    let depth = if args.quick { "structure and index are good" } else { "all data is good" };
    let size = len.map(|len| format!(" ({})", human(len))).unwrap_or_default();
    if checked.damage.is_none() {
        output.info(&format!("{}{size}: {depth}, {}", args.image.display(), duration(seconds)));
    }
    output.summary(&serde_json::json!({
        "image": args.image.to_string_lossy(),
        "quick": args.quick,
        "pieces": checked.verified.pieces,
        "bytes_decoded": checked.verified.bytes,
        "losses": checked.losses,
        "damage": checked.damage,
        "seconds_elapsed": seconds,
    }));
    Ok(outcome(checked.finding(&args.image)))
}

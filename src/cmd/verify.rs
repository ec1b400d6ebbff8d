// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo verify`: is the image whole?

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueHint};

use crate::error::{Error, Result};
use crate::pipeline::Cancel;
use crate::restore::{Feed, Indexed};
use crate::save::check_losses;
use crate::units::human;
use crate::verify;

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
    let (verified, len, losses, damage) = if is_standard_stream(&args.image) {
        let feed = open_stdin()?;
        let verified = verify::run(&feed, cancel, &*listener)?;
        (verified, None, feed.losses(), None)
    } else {
        let reader = open_image(&args.image, output)?;
        let feed = Indexed::new(&reader);
        let verified = if args.quick {
            verify::Verified { pieces: reader.entries().len() as u64, bytes: 0 }
        } else {
            verify::run(&feed, cancel, &*listener)?
        };
        let damage = reader.damage().map(str::to_owned);
        (verified, Some(reader.file_len()), feed.losses(), damage)
    };
    drop(listener);
    let seconds = started.elapsed().as_secs_f64();
    let depth = if args.quick { "structure and index are good" } else { "all data is good" };
    let size = len.map(|len| format!(" ({})", human(len))).unwrap_or_default();
    if damage.is_none() {
        output.info(&format!("{}{size}: {depth}, {}", args.image.display(), duration(seconds)));
    }
    output.summary(&serde_json::json!({
        "image": args.image.to_string_lossy(),
        "quick": args.quick,
        "pieces": verified.pieces,
        "bytes_decoded": verified.bytes,
        "losses": losses,
        "damage": damage,
        "seconds_elapsed": seconds,
    }));
    if let Some(damage) = damage {
        let data = if args.quick { "its data was not read" } else { "all its data is good" };
        let error = Error::damaged(format!("{}: {damage}; {data}", args.image.display()))
            .hint("the image can be restored; save the disk again while you can");
        return Ok(Outcome::Finding(error));
    }
    Ok(outcome(check_losses(&losses)))
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo verify`: is the image whole?

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueHint};

use crate::error::Result;
use crate::job::open::Image;
use crate::job::verify;
use crate::pipeline::Cancel;
use crate::store;
use crate::units::human;

use super::Outcome;
use super::open::{open_image, outcome};
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
    /// Image to check: a file, an http(s) address, or - for standard input
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
    let image = open_image(&args.image, output)?;
    let checked = verify::run(&image, args.quick, cancel, &*listener)?;
    let len = match &image {
        Image::Indexed(reader) => Some(reader.file_len()),
        Image::Streamed(_) => None,
    };
    drop(listener);
    let name = store::shown(&args.image);
    let seconds = started.elapsed().as_secs_f64();
    let depth = if checked.quick { "structure and index are good" } else { "all data is good" };
    let size = len.map(|len| format!(" ({})", human(len))).unwrap_or_default();
    if checked.damage.is_none() {
        output.info(&format!("{name}{size}: {depth}, {}", duration(seconds)));
    }
    output.summary(&serde_json::json!({
        "image": name,
        "quick": checked.quick,
        "pieces": checked.verified.pieces,
        "bytes_decoded": checked.verified.bytes,
        "losses": checked.losses,
        "damage": checked.damage,
        "seconds_elapsed": seconds,
    }));
    Ok(outcome(checked.finding(&args.image)))
}

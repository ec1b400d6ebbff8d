// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo verify`: is the image whole?

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::error::{Error, Result};
use crate::pipeline::Cancel;

use super::Outcome;
use super::output::Output;

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
/// If the image cannot be read or is damaged.
pub fn run(args: &VerifyArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let _ = (args, output, cancel);
    Err(Error::failed("not wired yet"))
}

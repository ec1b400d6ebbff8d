// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo info`: what an image holds.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::error::{Error, Result};
use crate::pipeline::Cancel;

use super::Outcome;
use super::output::Output;

const EXAMPLE: &str = "\
Example:
  dacapo info studio.img.zst";

/// Show what an image holds
///
/// Shows label, date, machine and disk, the partitions with their used and
/// free space, why anything was saved whole, and the sizes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct InfoArgs {
    /// Image to show
    #[arg(value_name = "IMAGE", value_hint = ValueHint::FilePath)]
    pub image: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// If the image cannot be read.
pub fn run(args: &InfoArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let _ = (args, output, cancel);
    Err(Error::failed("not wired yet"))
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo compare`: is the disk what the image says?

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::error::{Error, Result};
use crate::pipeline::Cancel;

use super::Outcome;
use super::output::Output;

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

/// Runs the command.
///
/// # Errors
/// If the image or the disk cannot be read.
pub fn run(args: &CompareArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let _ = (args, output, cancel);
    Err(Error::failed("not wired yet"))
}

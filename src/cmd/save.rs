// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo save`: a disk, a partition or a file becomes an image.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::error::{Error, Result};
use crate::pipeline::Cancel;
use crate::units::SectorSize;

use super::Outcome;
use super::output::Output;
use super::values;

const EXAMPLE: &str = "\
Example:
  dacapo save /dev/sda studio.img.zst --label 'before the update'";

/// Save a disk, a partition or a raw image file to an image
///
/// The image is an ordinary .zst file. Ranges that are proven to be free are
/// left out; a filesystem that is not fully understood is saved whole. The
/// source is never written to. Until the image is complete its name ends in
/// .partial.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct SaveArgs {
    /// Disk, partition or raw image file to save
    #[arg(value_name = "SOURCE", value_hint = ValueHint::AnyPath)]
    pub source: PathBuf,

    /// File to write, a folder, or - for standard output
    ///
    /// In a folder the file is named after the label or model and the date.
    #[arg(value_name = "IMAGE", value_hint = ValueHint::AnyPath)]
    pub image: PathBuf,

    /// Name of this backup, kept in the image
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,

    /// Remark, kept in the image
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,

    /// Compression from 1 (fast) to 19 (small)
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(i32).range(1..=19))]
    pub level: i32,

    /// Show what would be saved, and write nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Save every byte, free space included
    #[arg(long)]
    pub raw: bool,

    /// Go on with an interrupted save
    ///
    /// Continues IMAGE.partial, after checking that it belongs to this disk
    /// and that the disk is still in use in the same places.
    #[arg(long)]
    pub resume: bool,

    /// Sector size, if SOURCE is the file of a disk with 4096
    #[arg(long, value_name = "BYTES", value_parser = values::sector_size)]
    pub sector_size: Option<SectorSize>,

    /// Size of a piece of the image, for measurements
    #[arg(long, value_name = "SIZE", value_parser = values::chunk_size, hide = true)]
    pub chunk_size: Option<u32>,
}

impl SaveArgs {
    /// True if the image goes to standard output.
    pub(crate) fn writes_to_stdout(&self) -> bool {
        self.image.as_os_str() == "-" && !self.dry_run
    }
}

/// Runs the command.
///
/// # Errors
/// If the source cannot be opened or is in use, or the image not be written.
pub fn run(args: &SaveArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let _ = (args, output, cancel);
    Err(Error::failed("not wired yet"))
}

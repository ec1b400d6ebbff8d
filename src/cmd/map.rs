// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo map`: the used ranges as a map for GNU ddrescue.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::error::{Error, Result};
use crate::pipeline::Cancel;
use crate::units::SectorSize;

use super::Outcome;
use super::output::Output;
use super::values;

const EXAMPLE: &str = "\
Examples:
  dacapo map /dev/sda --output used.map
  ddrescue --domain-mapfile=used.map /dev/sda rescued.raw rescue.map";

/// Print which ranges are in use, as a map for GNU ddrescue
///
/// '+' is used, '?' is free. GNU ddrescue takes the map as its domain and
/// then reads a failing disk only where there is data.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct MapArgs {
    /// Disk, partition, raw image file or image
    #[arg(value_name = "SOURCE_OR_IMAGE", value_hint = ValueHint::AnyPath)]
    pub source: PathBuf,

    /// Only this partition; positions count from its start
    #[arg(long, short, value_name = "N")]
    pub partition: Option<NonZeroU32>,

    /// File to write instead of standard output
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,

    /// Sector size, if SOURCE is the file of a disk with 4096
    #[arg(long, value_name = "BYTES", value_parser = values::sector_size)]
    pub sector_size: Option<SectorSize>,
}

impl MapArgs {
    /// True if the map goes to standard output.
    pub(crate) fn writes_to_stdout(&self) -> bool {
        self.output.as_ref().is_none_or(|path| path.as_os_str() == "-")
    }
}

/// Runs the command.
///
/// # Errors
/// If the source cannot be read, or the map not be written.
pub fn run(args: &MapArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let _ = (args, output, cancel);
    Err(Error::failed("not wired yet"))
}

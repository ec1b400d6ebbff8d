// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo disks`: what this machine has.

use clap::Args;

use crate::error::{Error, Result};
use crate::pipeline::Cancel;

use super::Outcome;
use super::output::Output;

const EXAMPLE: &str = "\
Example:
  dacapo disks";

/// List the disks of this machine
///
/// Shows name, model, serial number, size, sector sizes, how each disk is
/// attached and what uses it, and its partitions with filesystem and label.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct DisksArgs {}

/// Runs the command.
///
/// # Errors
/// If the list of disks cannot be read.
pub fn run(args: &DisksArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let _ = (args, output, cancel);
    Err(Error::failed("not wired yet"))
}

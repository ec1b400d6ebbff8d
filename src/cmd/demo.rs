// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo demo`: save and restore a small disk, without root.

use clap::Args;

use crate::error::{Error, Result};
use crate::pipeline::Cancel;

use super::Outcome;
use super::output::Output;

const EXAMPLE: &str = "\
Example:
  dacapo demo";

/// Show a save and a restore on a small disk in a temporary folder
///
/// Needs no administrator rights and touches no disk of this machine: unpacks
/// a small disk that comes with the program, saves it, restores it over
/// junk, compares, and says in a line what each step does.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct DemoArgs {}

/// Runs the command.
///
/// # Errors
/// If a step fails, or the restored disk differs.
pub fn run(args: &DemoArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let _ = (args, output, cancel);
    Err(Error::failed("not wired yet"))
}

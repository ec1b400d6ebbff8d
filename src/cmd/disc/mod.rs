// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo disc`: optical discs as files.

pub mod info;
pub mod list;
pub mod read;
pub mod scan;
pub mod verify;
pub mod write;

use clap::{Args, Subcommand};

use crate::error::Result;
use crate::pipeline::Cancel;

use super::Outcome;
use super::output::Output;

const EXAMPLE: &str = "\
Examples:
  dacapo disc read /dev/sr0 /mnt/discs --title 'Synth 2 installer'
  dacapo disc scan /mnt/discs
  dacapo disc list /mnt/discs --html /mnt/discs/discs.html";

/// Archive optical discs as ISO files, and look after them
///
/// A disc becomes a plain .iso that every other program can burn or mount.
/// Beside it stands a small .json file with its names, dates, sizes and hashes,
/// by which it is checked in years to come.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, arg_required_else_help = true)]
pub struct DiscArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DiscCommand,
}

/// What can be done with discs.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "a comment here would replace the help text of the struct")]
pub enum DiscCommand {
    Read(read::ReadArgs),
    Info(info::InfoArgs),
    Verify(verify::VerifyArgs),
    Scan(scan::ScanArgs),
    List(list::ListArgs),
    Write(write::WriteArgs),
}

/// Runs the command.
///
/// # Errors
/// Those of what is to be done.
pub fn run(args: &DiscArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    match &args.command {
        DiscCommand::Read(args) => read::run(args, output, cancel),
        DiscCommand::Info(args) => info::run(args, output, cancel),
        DiscCommand::Verify(args) => verify::run(args, output, cancel),
        DiscCommand::Scan(args) => scan::run(args, output, cancel),
        DiscCommand::List(args) => list::run(args, output, cancel),
        DiscCommand::Write(args) => write::run(args, output, cancel),
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo clone`: disk to disk without an image between.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::error::Result;
use crate::job::open::{check_still_unused, open_source, readers};
use crate::pipeline::Cancel;
use crate::restore::Disk;
use crate::save::{Options, Plan};
use crate::units::SectorSize;

use super::Outcome;
use super::bars;
use super::open::OthersArgs;
use super::output::Output;
use super::target::TargetArgs;
use super::terminal::Terminal;
use super::values;
use super::write::Job;

const EXAMPLE: &str = "\
Examples:
  dacapo clone /dev/sda /dev/sdb
  dacapo clone /dev/sda /dev/sdb --yes --confirm S3Z9NB0K";

/// Copy a disk to another disk
///
/// ALL DATA ON THE TARGET IS LOST. Does what saving and restoring would do,
/// without an image between: free space is left out, the target is shown and
/// its serial number asked for, what was written is read back and checked.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct CloneArgs {
    /// Disk, partition or raw image file to copy
    #[arg(value_name = "SOURCE", value_hint = ValueHint::AnyPath)]
    pub source: PathBuf,

    /// Disk, partition or file to overwrite
    #[arg(value_name = "TARGET", value_hint = ValueHint::AnyPath)]
    pub target: PathBuf,

    /// Other disks of a set.
    #[command(flatten)]
    pub set: OthersArgs,

    /// Sector size, if SOURCE is the file of a disk with 4096
    #[arg(long, value_name = "BYTES", value_parser = values::sector_size)]
    pub sector_size: Option<SectorSize>,

    /// How to write, and the confirmation.
    #[command(flatten)]
    pub how: TargetArgs,
}

/// Runs the command.
///
/// # Errors
/// If the source cannot be read, or the target is refused or not written.
pub fn run(args: &CloneArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let source = open_source(&args.source, args.sector_size)?;
    let others = args.set.open(&args.source, |path| open_source(path, args.sector_size))?;
    let plan = Plan::with(&source, &readers(&others), source.identity(), &Options::default())?;
    for line in bars::lines(plan.layout(), &Terminal::of_stdout()) {
        output.info(&line);
    }
    let job = Job {
        path: &args.target,
        how: &args.how,
        partition: None,
        // Cloning a disk onto itself is refused like restoring onto the
        // disk that holds the image.
        image: Some(&args.source),
        lost: &[],
    };
    let outcome = job.run(&Disk::new(&plan, &source), Some((&source, &[])), output, cancel)?;
    if !args.how.dry_run {
        [&source].into_iter().chain(&others).try_for_each(check_still_unused).map_err(|error| {
            let hint = error.hint_text().map(|hint| format!("{hint}; ")).unwrap_or_default();
            error.hint(format!("{hint}clone again: {} is no true copy", args.target.display()))
        })?;
    }
    Ok(outcome)
}

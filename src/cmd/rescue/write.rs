// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo rescue write`: the medium on a stick, with room for images.

use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};

use crate::cmd::Outcome;
use crate::cmd::output::Output;
use crate::cmd::target::{ConfirmArgs, Fill, FreeSpace, TargetArgs};
use crate::cmd::write::Job;
use crate::device::{self, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::io::ReadAt as _;
use crate::pipeline::Cancel;
use crate::rescue::{STICK_LABEL, Stick};
use crate::restore::Disk;
use crate::units::{SectorSize, human};

const EXAMPLE: &str = "\
Examples:
  dacapo rescue write rescue.iso /dev/sdb
  dacapo rescue write rescue.iso /dev/sdb --yes --confirm 4C530001";

/// Write the rescue system to a USB stick
///
/// ALL DATA ON THE STICK IS LOST. The rest of the stick becomes an exFAT
/// partition named DACAPO for images, which Windows, macOS and Linux read and
/// write. The stick is shown and its serial number asked for, and what was
/// written is read back and compared.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct WriteArgs {
    /// Medium made by 'dacapo rescue build'
    #[arg(value_name = "OUT.iso", value_hint = ValueHint::FilePath)]
    pub medium: PathBuf,

    /// Stick to overwrite, or a file of its size
    #[arg(value_name = "STICK", value_hint = ValueHint::AnyPath)]
    pub target: PathBuf,

    /// Show what would be done, and write nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Do not read back what was written
    #[arg(long)]
    pub no_verify: bool,

    /// The answer to the question.
    #[command(flatten)]
    pub answer: ConfirmArgs,
}

/// Runs the command.
///
/// # Errors
/// If the stick is refused or not written.
pub fn run(args: &WriteArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let stick = Stick::new(&args.medium, size_of(&args.target)?)?;
    let plan = stick.plan()?;
    let how = TargetArgs {
        dry_run: args.dry_run,
        free: FreeSpace::Auto,
        fit: false,
        fill: Fill::Zeros,
        no_verify: args.no_verify,
        answer: args.answer.clone(),
    };
    let job = Job {
        path: &args.target,
        how: &how,
        partition: None,
        image: Some(&args.medium),
        lost: &[],
    };
    let outcome = job.run(&Disk::new(&plan, &stick), Some((&stick, &[])), output, cancel)?;
    if !args.dry_run {
        output.info(&format!(
            "it starts the rescue system; images go to its partition {STICK_LABEL}, {}",
            human(stick.images().len())
        ));
    }
    Ok(outcome)
}

/// The size of what a stick can be written to.
fn size_of(path: &Path) -> Result<u64> {
    let shown = path.display();
    if !path.exists() {
        return Err(Error::failed(format!("{shown} does not exist"))
            .hint("'dacapo disks' lists the disks; a file has to be made in its full size first"));
    }
    if device::is_partition(path) {
        return Err(Error::refused(format!("{shown} is a partition, and a stick is a whole disk"))
            .hint("name the disk that it is on"));
    }
    let found = Source::open(path)?;
    if found.sector_size() != SectorSize::B512 {
        return Err(Error::new(
            ErrorKind::Refused,
            format!(
                "{shown} counts in sectors of {} bytes, from which no BIOS starts",
                found.sector_size()
            ),
        )
        .hint("take another stick: nearly all have sectors of 512 bytes"));
    }
    Ok(found.len())
}

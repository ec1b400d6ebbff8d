// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo restore`: an image becomes a disk again.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::browse::OpenDisk;
use crate::browse::lost::{LostVolume, lost_files};
use crate::error::Result;
use crate::extent::Extent;
use crate::job::open::Image;
use crate::pipeline::Cancel;
use crate::restore::Indexed;
use crate::store;

use super::Outcome;
use super::open::{is_standard_stream, open_image};
use super::output::Output;
use super::target::TargetArgs;
use super::write::Job;

const EXAMPLE: &str = "\
Examples:
  dacapo restore studio.img.zst /dev/sdb
  dacapo restore studio.img.zst /dev/sdb --yes --confirm S3Z9NB0K
  dacapo restore studio.img.zst disk.raw --partition 2
  dacapo restore http://nas.local/studio.img.zst /dev/sdb
  ssh nas cat studio.img.zst </dev/null | dacapo restore - /dev/sdb";

/// Restore an image to a disk, a partition or a file
///
/// ALL DATA ON THE TARGET IS LOST. The target is shown and its serial number
/// asked for before anything is written. What was written is read back and
/// checked; the start of the disk is written last, so that a restore that was
/// interrupted cannot be booted by mistake. The same command starts over.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct RestoreArgs {
    /// Image to restore: a file, an http(s) address, or - for standard input
    #[arg(value_name = "IMAGE", value_hint = ValueHint::FilePath)]
    pub image: PathBuf,

    /// Disk, partition or file to overwrite
    #[arg(value_name = "TARGET", value_hint = ValueHint::AnyPath)]
    pub target: PathBuf,

    /// Restore only this partition of the image
    #[arg(long, short, value_name = "N")]
    pub partition: Option<NonZeroU32>,

    /// How to write, and the confirmation.
    #[command(flatten)]
    pub how: TargetArgs,
}

/// The files of the image that could not be read when it was made.
fn lost(args: &RestoreArgs, losses: &[Extent], cancel: &Cancel) -> Result<Vec<LostVolume>> {
    if losses.is_empty() {
        return Ok(Vec::new());
    }
    let mut lost = lost_files(&OpenDisk::open(&args.image)?, cancel)?;
    if let Some(number) = args.partition {
        // Of volumes in several partitions it is not known in which they are.
        let (name, inside) = (number.to_string(), format!("{number}/"));
        lost.retain(|it| {
            let starts_with_number = it.volume.starts_with(|c: char| c.is_ascii_digit());
            it.volume == name || it.volume.starts_with(&inside) || !starts_with_number
        });
    }
    Ok(lost)
}

/// Runs the command.
///
/// # Errors
/// If the image is damaged, or the target refused or not written.
pub fn run(args: &RestoreArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let is_file = !is_standard_stream(&args.image) && !store::is_address(&args.image);
    let job = Job {
        path: &args.target,
        how: &args.how,
        partition: args.partition.map(NonZeroU32::get),
        image: is_file.then_some(args.image.as_path()),
        lost: &[],
    };
    match open_image(&args.image, output)? {
        Image::Streamed(feed) => job.run(&feed, None, output, cancel),
        Image::Indexed(reader) => {
            let lost = lost(args, &reader.report().losses, cancel)?;
            let job = Job { lost: &lost, ..job };
            job.run(&Indexed::new(&reader), Some((&reader, reader.entries())), output, cancel)
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo export`: an image as a file for other programs.

use std::fs::File;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::{Args, ValueHint};

use crate::error::{Context, Error, Result};
use crate::export::{Destination, Format, raw, virtual_disk};
use crate::extent::{Extent, ExtentSet};
use crate::image::Cached;
use crate::job::open::Image;
use crate::job::serve::exports_of_image;
use crate::pipeline::Cancel;
use crate::progress::Progress;
use crate::restore::{Feed, Indexed};
use crate::save::check_losses;
use crate::store;
use crate::units::human;

use super::Outcome;
use super::open::{open_image, outcome};
use super::output::{Output, plain};
use super::text::duration;

const EXAMPLE: &str = "\
Examples:
  dacapo export studio.img.zst studio.qcow2
  dacapo export studio.img.zst studio.vhdx
  dacapo export studio.img.zst windows.raw --partition 2";

/// Write an image to a file for virtual machines or other programs
///
/// raw is the bytes of the disk, which dacapo writes itself; qcow2 (QEMU), vhdx
/// (Hyper-V), vmdk (VMware) and vdi (VirtualBox) need qemu-img. What is zero
/// takes no room in any of them. Until it is complete the name of the file ends
/// in .partial. What could not be read when the disk was saved is zero in the
/// file and named, and the exit code is 3.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct ExportArgs {
    /// Image: a file, an http(s) address, or for raw - for standard input
    #[arg(value_name = "IMAGE", value_hint = ValueHint::FilePath)]
    pub image: PathBuf,

    /// File to write; the end of its name says the format
    #[arg(value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub out: PathBuf,

    /// Format: raw, qcow2, vhdx, vmdk or vdi
    #[arg(long, short, value_name = "FORMAT", value_parser = format_of)]
    pub format: Option<Format>,

    /// Only this partition
    #[arg(long, short, value_name = "N")]
    pub partition: Option<NonZeroU32>,

    /// Replace OUT if it is there
    #[arg(long)]
    pub overwrite: bool,
}

/// How many ranges that are missing are named one by one.
const LISTED: usize = 20;

fn format_of(text: &str) -> Result<Format, String> {
    Format::of_name(text).ok_or_else(|| "write raw, qcow2, vhdx, vmdk or vdi".to_owned())
}

/// Runs the command.
///
/// # Errors
/// If the image is damaged, qemu-img is needed and missing, or the file cannot
/// be written.
pub fn run(args: &ExportArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let format = args.format.map_or_else(|| Format::of_file(&args.out), Ok)?;
    let program = if format == Format::Raw { None } else { Some(virtual_disk::program()?) };
    let image = open_image(&args.image, output)?;
    let head = image.head();
    let window = match args.partition.map(NonZeroU32::get) {
        None => Extent::new(0, head.disk_len),
        Some(number) => head.about.layout.partition_extent(number, head.disk_len)?,
    };
    if head.about.disk.logical_sector != 512 {
        output.note(&format!(
            "the disk has sectors of {0} bytes, which no file tells: whoever uses it has to be \
             told (QEMU: logical_block_size={0})",
            head.about.disk.logical_sector
        ));
    }
    let destination = Destination::create(&args.out, &args.image, args.overwrite)?;
    let started = Instant::now();
    let listener = output.listener();
    let losses = match program {
        None => write_raw(&image, window, &destination, cancel, &*listener)?,
        Some(program) => {
            let Image::Indexed(reader) = image else {
                return Err(Error::unsupported(format!(
                    "{} can only be read front to back, which is enough for raw alone",
                    store::shown(&args.image)
                ))
                .hint("copy the image to this machine first"));
            };
            let losses = reader.losses();
            // They are told by this command.
            let image = Arc::new(Cached::with_losses_as_zeros(reader));
            let exports = exports_of_image(image, None)?;
            let name = args.partition.map_or_else(|| "disk".to_owned(), |it| it.to_string());
            let to = (format, destination.partial());
            virtual_disk::run(&program, &exports, &name, to, cancel, &*listener)?;
            losses
        }
    };
    drop(listener);
    destination.commit()?;
    report(args, format, window, &losses, started, output)
}

fn write_raw(
    image: &Image,
    window: Extent,
    destination: &Destination,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<ExtentSet> {
    let indexed;
    let feed: &dyn Feed = match image {
        Image::Indexed(reader) => {
            indexed = Indexed::from_offset(reader, window.start());
            &indexed
        }
        Image::Streamed(feed) => feed,
    };
    let name = destination.partial();
    let what = || format!("opening {}", name.display());
    let file = File::options().write(true).open(name).context(what)?;
    let exported = raw::run(feed, window, &file, cancel, progress);
    exported.context(|| format!("exporting to {}", name.display()))?;
    Ok(feed.losses().into_iter().collect())
}

fn report(
    args: &ExportArgs,
    format: Format,
    window: Extent,
    losses: &ExtentSet,
    started: Instant,
    output: &Output,
) -> Result<Outcome> {
    use std::os::unix::fs::MetadataExt;
    let what = || format!("looking at {}", args.out.display());
    let found = std::fs::metadata(&args.out).context(what)?;
    // By the definition of that field.
    let taken = found.blocks().saturating_mul(512);
    let seconds = started.elapsed().as_secs_f64();
    let losses: Vec<Extent> = losses.within(window).collect();
    output.info(&format!(
        "exported {} as {} ({} on the disk) in {}: {}",
        human(window.len()),
        format.name(),
        human(taken),
        duration(seconds),
        plain(&args.out.to_string_lossy()),
    ));
    for lost in losses.iter().take(LISTED) {
        output.note(&format!(
            "bytes {lost} of the disk could not be read when it was saved, and are zero in the file"
        ));
    }
    if losses.len() > LISTED {
        let more = losses.len() - LISTED;
        output.note(&format!("so are {more} more ranges: 'dacapo info --json' lists all"));
    }
    output.summary(&serde_json::json!({
        "image": store::shown(&args.image),
        "output": args.out.to_string_lossy(),
        "format": format.name(),
        "bytes": window.len(),
        "bytes_taken": taken,
        "seconds_elapsed": seconds,
        "losses": losses,
    }));
    Ok(outcome(check_losses(&losses).map_err(|error| {
        let hint = "that is how it was saved: in the file it is zero";
        Error::new(error.kind(), error.to_string()).hint(hint)
    })))
}

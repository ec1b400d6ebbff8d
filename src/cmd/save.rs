// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo save`: a disk, a partition or a file becomes an image.

use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueHint};

use crate::device::Source;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::format::DEFAULT_CHUNK_SIZE;
use crate::io::ReadAt;
use crate::job::open::{check_still_unused, open_source};
use crate::job::save::{Done, Prepared};
use crate::pipeline::Cancel;
use crate::save::{self, Options, Plan, Saved};
use crate::store::refuse_device;
use crate::units::{SectorSize, human};

use super::Outcome;
use super::bars;
use super::open::{OthersArgs, outcome};
use super::output::Output;
use super::terminal::Terminal;
use super::text::{duration, hex, ratio};
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

    /// Other disks of a set.
    #[command(flatten)]
    pub set: OthersArgs,

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
    refuse_device(&args.image)?;
    let source = open_source(&args.source, args.sector_size)?;
    let options = Options {
        label: args.label.clone(),
        note: args.note.clone(),
        level: args.level,
        chunk_size: args.chunk_size.unwrap_or(DEFAULT_CHUNK_SIZE),
        raw: args.raw,
        command: std::env::args_os().map(|it| it.to_string_lossy().into_owned()).collect(),
    };
    let others = args.set.open(&args.source, |path| open_source(path, args.sector_size))?;
    let prepared = Prepared::new(source, others, &options)?;
    show_plan(&prepared, args.dry_run, output)?;
    if args.dry_run {
        return Ok(Outcome::Done);
    }
    if args.image.as_os_str() == "-" {
        return to_stdout(prepared.plan(), prepared.source(), output, cancel);
    }
    let path = prepared.image_path(&args.image, args.resume);
    let listener = output.listener();
    let len = prepared.source().len();
    let begun = prepared.begin(&path, args.resume, cancel, &*listener)?;
    drop(listener);
    if let Some(kept) = begun.kept_bytes() {
        output.info(&format!("going on after {} of {}", human(kept), human(len)));
    }
    let name = begun.partial().to_owned();
    output.way_on(format!(
        "what was saved is kept in {}; go on by running the same command with --resume",
        name.display()
    ));
    let started = Instant::now();
    let listener = output.listener();
    let done = begun.run(cancel, &*listener);
    drop(listener);
    let Done { saved, plan, path } = done.map_err(|error| with_way_on(error, &name))?;
    report(&saved, &path.display().to_string(), &plan, started, output);
    Ok(outcome(save::check_losses(&saved.losses)))
}

fn to_stdout(plan: &Plan, source: &Source, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    if std::io::stdout().is_terminal() {
        return Err(Error::usage("an image is not written to a terminal")
            .hint("give the name of a file, or send standard output to one"));
    }
    let started = Instant::now();
    let writer = save::start(plan, BufWriter::with_capacity(64 << 10, std::io::stdout().lock()))?;
    let listener = output.listener();
    let (mut out, saved) = save::run(plan, source, writer, false, cancel, &*listener)?;
    drop(listener);
    out.flush().context(|| "writing to standard output".into())?;
    check_still_unused(source)?;
    report(&saved, "standard output", plan, started, output);
    Ok(outcome(save::check_losses(&saved.losses)))
}

fn show_plan(prepared: &Prepared, dry_run: bool, output: &Output) -> Result<()> {
    let (plan, source) = (prepared.plan(), prepared.source());
    let used = plan.head.used.bytes();
    output.info(&format!("{}: {} of {} to save", source.path(), human(used), human(source.len())));
    for line in bars::lines(plan.layout(), &Terminal::of_stdout()) {
        output.info(&line);
    }
    for note in plan.layout().table.iter().flat_map(|table| &table.notes) {
        output.note(note);
    }
    if dry_run {
        let estimate = plan.estimate(source)?;
        output.info(&format!("the image would take about {}", human(estimate)));
        output.summary(&serde_json::json!({
            "source": source.path(),
            "size": source.len(),
            "used": used,
            "estimated_image_size": estimate,
            "disk": plan.head.about.disk,
            "layout": plan.layout(),
        }));
    }
    Ok(())
}

/// The error of an interrupted save, with the way to go on.
fn with_way_on(error: Error, partial: &Path) -> Error {
    let kept = format!("what was saved is kept in {}", partial.display());
    match error.kind() {
        ErrorKind::NoSpace if error.hint_text().is_none() => {
            error.hint(format!("{kept}; free some space and run the same command with --resume"))
        }
        ErrorKind::Interrupted => {
            error.hint(format!("{kept}; go on by running the same command with --resume"))
        }
        _ => {
            let hint = error.hint_text().map(|hint| format!("{hint}; ")).unwrap_or_default();
            error.hint(format!("{hint}{kept}; --resume goes on with it"))
        }
    }
}

fn report(saved: &Saved, name: &str, plan: &Plan, started: Instant, output: &Output) {
    let seconds = started.elapsed().as_secs_f64();
    let len = saved.written.len;
    output.info(&format!(
        "saved {} as {} ({}) in {}: {name}",
        human(saved.used),
        human(len),
        ratio(len, saved.used),
        duration(seconds),
    ));
    output.summary(&serde_json::json!({
        "image": name,
        "image_id": plan.head.image_id,
        "image_size": len,
        "content_hash": hex(&saved.written.content_hash),
        "size": plan.head.disk_len,
        "used": saved.used,
        "seconds_elapsed": seconds,
        "losses": saved.losses,
    }));
}

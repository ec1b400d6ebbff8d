// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo save`: a disk, a partition or a file becomes an image.

use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueHint};

use crate::browse::lost::{self, LostVolume};
use crate::device::Source;
use crate::error::{Context, Error, Result};
use crate::image::format::DEFAULT_CHUNK_SIZE;
use crate::io::{ReadAt, attend};
use crate::job::open::{check_still_unused, open_source};
use crate::job::save::{Done, Prepared, Reading, map_path};
use crate::pipeline::Cancel;
use crate::progress::Progress;
use crate::save::{self, Options, Plan, Saved};
use crate::store::refuse_device;
use crate::units::{SectorSize, human};

use super::Outcome;
use super::bars;
use super::open::{OthersArgs, outcome};
use super::output::{Output, plain};
use super::terminal::Terminal;
use super::text::{duration, hex, ratio};
use super::values;

const EXAMPLE: &str = "\
Example:
  dacapo save /dev/sda studio.img.zst --label 'before the update'";

/// As many of the files of a volume that are lost are named; --json has all.
pub(crate) const SHOWN_FILES: usize = 20;
const FAILING: &str = "Drives that cannot be read everywhere";

/// Save a disk, a partition or a raw image file to an image
///
/// The image is an ordinary .zst file. Ranges that are proven to be free are
/// left out; a filesystem that is not fully understood is saved whole. The
/// source is never written to. Until the image is complete its name ends in
/// .partial.
///
/// If the drive has places that cannot be read, it is read into IMAGE.rescue
/// first: good areas before bad ones, so that as much as possible is there
/// before it dies. The same command goes on with that at any time.
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

    /// File to read a failing drive into, instead of IMAGE.rescue
    ///
    /// It takes as much room as there is to save, and FILE.map says what of it
    /// was read; GNU ddrescue understands both, and can have begun them. If they
    /// are there, the rescue goes on. If the option is given, the drive is
    /// treated as a failing one from the beginning.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath,
        help_heading = FAILING)]
    pub rescue: Option<PathBuf>,

    /// Try bad sectors N times more in the end
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "in_place",
        help_heading = FAILING)]
    pub retries: u32,

    /// Make the image of what could be read until then: 90m, 8h, 2d
    #[arg(long, value_name = "TIME", value_parser = values::duration,
        conflicts_with = "in_place", help_heading = FAILING)]
    pub max_time: Option<Duration>,

    /// Read a failing drive front to back, too
    ///
    /// This needs no room but that for the image. It is harder on the drive, and
    /// what is behind the bad places may never be read if it dies on them.
    #[arg(long, conflicts_with = "rescue", help_heading = FAILING)]
    pub in_place: bool,

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
    let is_stream = args.image.as_os_str() == "-";
    if is_stream && (args.rescue.is_some() || args.retries > 0 || args.max_time.is_some()) {
        return Err(Error::usage("what goes to standard output is read front to back, once")
            .hint("give the name of a file for the image of a failing drive"));
    }
    let prepared = if is_stream || args.dry_run {
        Prepared::new(source, others, &options)?
    } else {
        let reading = Reading {
            in_place: args.in_place,
            raw: args.rescue.clone(),
            retries: args.retries,
            most_time: args.max_time,
        };
        let listener = output.listener();
        Prepared::for_image(source, others, &options, reading, &args.image, cancel, &*listener)?
    };
    show_plan(&prepared, args.dry_run, output)?;
    if args.dry_run {
        return Ok(Outcome::Done);
    }
    if is_stream {
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
    output.way_on(format!(
        "what was saved is kept beside {}; go on by running the same command with --resume",
        path.display()
    ));
    let started = Instant::now();
    let listener = output.listener();
    let done = begun.run(cancel, &*listener);
    drop(listener);
    let Done { saved, plan, path, rescue, lost } = done?;
    report(&saved, &path.display().to_string(), &plan, &lost, started, output);
    show_lost(&lost, output);
    if let Some(raw) = rescue {
        output.note(&kept_rescue(&raw));
    }
    Ok(outcome(save::check_losses(&saved.losses)))
}

/// Names the files that are lost.
pub(super) fn show_lost(lost: &[LostVolume], output: &Output) {
    if lost.is_empty() {
        return;
    }
    output.info("what could not be read:");
    for line in lost::lines(lost, SHOWN_FILES) {
        output.info(&format!("  {}", plain(&line)));
    }
}

/// What a rescue with losses has left.
pub(crate) fn kept_rescue(raw: &Path) -> String {
    format!(
        "{0} and {1} are kept, to try again for what is missing: save to another name with \
         --rescue {0} --retries 3; or delete them",
        raw.display(),
        map_path(raw).display()
    )
}

fn to_stdout(plan: &Plan, source: &Source, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    if std::io::stdout().is_terminal() {
        return Err(Error::usage("an image is not written to a terminal")
            .hint("give the name of a file, or send standard output to one"));
    }
    let started = Instant::now();
    let writer = save::start(plan, BufWriter::with_capacity(64 << 10, std::io::stdout().lock()))?;
    let listener = output.listener();
    let run = |source: &dyn ReadAt, progress: &dyn Progress| {
        save::run(plan, source, writer, false, cancel, progress)
    };
    let (mut out, saved) = attend(source, cancel, &*listener, run)?;
    drop(listener);
    out.flush().context(|| "writing to standard output".into())?;
    check_still_unused(source)?;
    report(&saved, "standard output", plan, &[], started, output);
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
        let estimate = prepared.estimate()?;
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

fn report(
    saved: &Saved,
    name: &str,
    plan: &Plan,
    lost: &[LostVolume],
    started: Instant,
    output: &Output,
) {
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
        "lost_files": lost,
    }));
}

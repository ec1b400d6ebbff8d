// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo save`: a disk, a partition or a file becomes an image.

use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueHint};

use crate::device::Source;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::Writer;
use crate::image::format::DEFAULT_CHUNK_SIZE;
use crate::image::rescan::{Rescan, read_head};
use crate::io::ReadAt;
use crate::pipeline::Cancel;
use crate::save::{self, Options, Plan, Saved, resume_check};
use crate::store::{Partial, default_name, find_interrupted, partial_path, refuse_device, room_at};
use crate::units::{SectorSize, human};

use super::Outcome;
use super::bars;
use super::open::{OthersArgs, check_still_unused, open_source, outcome, readers};
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
    let mut plan = Plan::with(&source, &readers(&others), source.identity(), &options)?;
    show_plan(&plan, &source, args.dry_run, output)?;
    if args.dry_run {
        return Ok(Outcome::Done);
    }
    if args.image.as_os_str() == "-" {
        return to_stdout(&plan, &source, output, cancel);
    }
    let path = image_path(&args.image, &plan, args.resume);
    let interrupted = partial_path(&path);
    let kept = if args.resume && interrupted.exists() {
        keep_interrupted(&interrupted, &mut plan, &source, output, cancel)?
    } else {
        None
    };
    let resumed = kept.is_some();
    let (partial, found) = match kept {
        Some(found) => (Partial::resume(&path, found.end)?, Some(found)),
        None => {
            if args.resume {
                output.note("there is nothing to go on with; starting from the beginning");
            } else if interrupted.exists() {
                refuse_foreign(&interrupted, &plan)?;
                output.note(&format!(
                    "{} was interrupted and is replaced; --resume would have gone on with it",
                    interrupted.display()
                ));
            }
            check_room(&path, &plan, &source, output)?;
            (Partial::create(&path)?, None)
        }
    };
    let name = partial.partial().to_owned();
    output.way_on(format!(
        "what was saved is kept in {}; go on by running the same command with --resume",
        name.display()
    ));
    let out = BufWriter::with_capacity(64 << 10, partial);
    let writer = match found {
        Some(found) => Writer::resume(out, found)?,
        None => save::start(&plan, out)?,
    };
    let started = Instant::now();
    let listener = output.listener();
    let saved = save::run(&plan, &source, writer, resumed, cancel, &*listener);
    drop(listener);
    let finish = || {
        let (out, saved) = saved?;
        let partial = out
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .context(|| "writing the image".into())?;
        [&source].into_iter().chain(&others).try_for_each(check_still_unused)?;
        partial.commit()?;
        Ok(saved)
    };
    let saved = finish().map_err(|error: Error| with_way_on(error, &name))?;
    report(&saved, &path.display().to_string(), &plan, started, output);
    Ok(outcome(save::check_losses(&saved.losses)))
}

/// Refuses to replace the interrupted image of another disk.
fn refuse_foreign(interrupted: &Path, plan: &Plan) -> Result<()> {
    let Ok((head, _, _)) = Source::open(interrupted).and_then(|old| read_head(&old)) else {
        return Ok(());
    };
    let (old, new) = (&head.about.disk, &plan.head.about.disk);
    if head.disk_len == plan.head.disk_len && old.serial == new.serial && old.model == new.model {
        return Ok(());
    }
    Err(Error::refused(format!(
        "{} is the interrupted image of another disk",
        interrupted.display()
    ))
    .hint("choose another name for the image, or delete it first"))
}

/// What of an interrupted image can be kept; nothing, if not even its head was
/// written.
fn keep_interrupted(
    interrupted: &Path,
    plan: &mut Plan,
    source: &Source,
    output: &Output,
    cancel: &Cancel,
) -> Result<Option<Rescan>> {
    let old = Source::open(interrupted)?;
    if read_head(&old).is_err_and(|error| error.kind() == ErrorKind::Damaged) {
        return Ok(None);
    }
    let listener = output.listener();
    let kept = resume_check(plan, source, &old, cancel, &*listener)?;
    drop(listener);
    output.info(&format!("going on after {} of {}", human(kept.bytes), human(source.len())));
    Ok(Some(kept.found))
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

/// The file to write: in a folder it is named after the label or model and the
/// date; an interrupted image of an earlier date is found, too.
fn image_path(path: &Path, plan: &Plan, resume: bool) -> PathBuf {
    if !path.is_dir() {
        return path.to_owned();
    }
    let about = &plan.head.about;
    let from_file =
        || Path::new(&about.disk.path).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let title = about.label.clone().or_else(|| about.disk.model.clone()).or_else(from_file);
    let title = title.as_deref().unwrap_or("disk");
    let date = about.created.get(..10).unwrap_or_default();
    let interrupted = if resume { find_interrupted(path, title) } else { None };
    interrupted.unwrap_or_else(|| default_name(path, title, date))
}

fn show_plan(plan: &Plan, source: &Source, dry_run: bool, output: &Output) -> Result<()> {
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

/// Refuses to begin what cannot end well for lack of space.
fn check_room(path: &Path, plan: &Plan, source: &Source, output: &Output) -> Result<()> {
    let room = room_at(path)?;
    // Room for everything uncompressed needs no closer look.
    if room > plan.head.used.bytes().saturating_add(plan.head.disk_len / 16384) {
        return Ok(());
    }
    let estimate = plan.estimate(source)?;
    let text = format!("about {} are needed and {} are free", human(estimate), human(room));
    // The estimate is made from samples: only a clear case is refused.
    if room < estimate / 4 * 3 {
        return Err(Error::new(
            ErrorKind::NoSpace,
            format!("there is no room for {}: {text}", path.display()),
        )
        .hint("free some space, choose another place, or a higher --level"));
    }
    if room < estimate + estimate / 5 {
        output.note(&format!("space may run out: {text}"));
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

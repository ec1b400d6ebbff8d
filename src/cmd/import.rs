// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo import`: what another tool has saved becomes an image.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueHint};

use crate::error::{Error, ErrorKind, Result};
use crate::extent::ExtentSet;
use crate::image::format::{DEFAULT_CHUNK_SIZE, Imported};
use crate::import::Found;
use crate::import::scratch::is_sparse;
use crate::io::ReadAt;
use crate::job::import::{Prepared, check_interrupted};
use crate::job::save::{Done, interrupted_image_of, take_over_without_drive};
use crate::pipeline::Cancel;
use crate::save::Options;
use crate::store::{refuse_device, refuse_existing, room_at};
use crate::units::{SectorSize, human};

use super::Outcome;
use super::bars;
use super::open::outcome;
use super::output::{Output, plain};
use super::save::show_lost;
use super::terminal::Terminal;
use super::text::{duration, hex, ratio};
use super::values;

const EXAMPLE: &str = "\
Example:
  dacapo import /mnt/clonezilla/2019-05-01-img old-studio.img.zst";

/// Make an image of what another tool has saved
///
/// Takes raw disk images, also compressed with gzip, bzip2, xz, lzma, lzip,
/// lz4 or zstd; images of Partclone, Partimage and ntfsclone; whole folders of
/// Clonezilla; and, with qemu-img, disks of virtual machines (qcow2, VHDX,
/// VMDK, VDI, VHD). What it is, is recognised by its content; of a split file,
/// give the first piece. Everything that has a checksum is checked: what is
/// damaged or cut off is refused. An image restores what the other tool would
/// have restored, and tells what it has not.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct ImportArgs {
    /// File or folder that another tool has written
    #[arg(value_name = "OLD", value_hint = ValueHint::AnyPath)]
    pub source: PathBuf,

    /// Image to write, or a folder for it
    ///
    /// In a folder it is named after the label or the file and the date.
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

    /// Folder for the temporary file
    ///
    /// What cannot be read where it is, is unpacked there first; the file has
    /// no name and vanishes in any case. The folder of IMAGE, if not given.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub scratch: Option<PathBuf>,

    /// Check and show what would be imported, and write no image
    #[arg(long)]
    pub dry_run: bool,

    /// Mapfile of GNU ddrescue, if OLD is a drive that it has rescued
    ///
    /// What it does not call finished counts as unreadable: it is zero in the
    /// image, which says so, and the exit code is 3.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub mapfile: Option<PathBuf>,

    /// Which disk of a Clonezilla folder that has several
    #[arg(long, value_name = "NAME")]
    pub disk: Option<String>,

    /// Sector size of the disk, if it had 4096
    #[arg(long, value_name = "BYTES", value_parser = values::sector_size)]
    pub sector_size: Option<SectorSize>,
}

/// Runs the command.
///
/// # Errors
/// If it is nothing that can be imported, is damaged, or the image cannot be
/// written.
pub fn run(args: &ImportArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    refuse_device(&args.image)?;
    if !args.image.is_dir() {
        refuse_existing(&args.image)?;
    }
    let started = Instant::now();
    let sector = args.sector_size.unwrap_or(SectorSize::B512);
    let interrupted = match &args.mapfile {
        Some(map) => interrupted_image_of(&args.source, map, &args.image)?,
        None => None,
    };
    if let Some(interrupted) = interrupted {
        if args.dry_run {
            return Ok(dry_run_of_two(args, &interrupted, output));
        }
        take_over_without_drive(&args.source, &interrupted, cancel, &*output.listener())?;
    }
    let mut found = Found::open(&args.source, sector, args.disk.as_deref(), cancel)?;
    if let Some(map) = &args.mapfile {
        found = found.with_mapfile(map)?;
    }
    let source = args.source.display().to_string();
    if !args.image.is_dir() {
        check_interrupted(&args.image, found.imported())?;
    }
    show(&source, found.imported(), output);
    let shown = found.imported().notes.len();
    let folder = scratch_folder(args);
    check_room(&found, &folder, output)?;
    let listener = output.listener();
    let disk = found.unpack(&folder, cancel, &*listener);
    drop(listener);
    let options = Options {
        label: args.label.clone(),
        note: args.note.clone(),
        level: args.level,
        chunk_size: DEFAULT_CHUNK_SIZE,
        raw: false,
        command: std::env::args_os().map(|it| it.to_string_lossy().into_owned()).collect(),
    };
    let disk = disk?;
    disk.imported().notes.iter().skip(shown).for_each(|note| output.note(note));
    let prepared = Prepared::new(disk, &options)?;
    show_plan(&source, &prepared, output);
    let missing = prepared.missing().clone();
    let unreadable = prepared.disk().unreadable().clone();
    // Of a rescue, anything that is in use may be missing.
    let whose = if args.mapfile.is_some() { "that are in use" } else { "that a filesystem uses" };
    if args.dry_run {
        dry_run(&source, &prepared, output)?;
        return Ok(outcome(finding(whose, &missing, &unreadable, &ExtentSet::new())));
    }
    let listener = output.listener();
    let done = prepared.run(&args.image, cancel, &*listener);
    drop(listener);
    let done = done?;
    report(&done, started, output);
    let losses: ExtentSet = done.saved.losses.iter().copied().collect();
    Ok(outcome(finding(whose, &missing, &unreadable, &losses.subtract(&missing))))
}

/// The folder of the temporary file: where the image will be, unless another
/// was asked for.
fn scratch_folder(args: &ImportArgs) -> PathBuf {
    if let Some(folder) = &args.scratch {
        return folder.clone();
    }
    if args.image.is_dir() {
        return args.image.clone();
    }
    match args.image.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => ".".into(),
    }
}

/// Says what was found.
fn show(source: &str, imported: &Imported, output: &Output) {
    output.info(&plain(&format!("{source}: {}", imported.title())));
    if let Some(content) = &imported.content {
        output.info(&plain(&format!("  {content}")));
    }
    imported.notes.iter().for_each(|note| output.note(note));
}

/// Says what the temporary file will take, and refuses to begin what cannot end
/// well.
fn check_room(found: &Found, folder: &Path, output: &Output) -> Result<()> {
    let Some(room) = found.room()? else { return Ok(()) };
    let free = room_at(&folder.join("x"))?;
    let shown = folder.display();
    let most = if is_sparse(folder)? { room.most } else { room.full.or(room.most) };
    let Some(most) = most else {
        output.note(&format!(
            "it is unpacked into a temporary file in {shown}, where {} are free; how much that \
             takes is not known before",
            human(free)
        ));
        return Ok(());
    };
    if most > free {
        return Err(Error::new(
            ErrorKind::NoSpace,
            format!(
                "unpacking takes up to {} in {shown}, where {} are free",
                human(most),
                human(free)
            ),
        )
        .hint("free some space, or give a folder with more of it to --scratch"));
    }
    output.note(&format!(
        "it is unpacked into a temporary file in {shown} of up to {}; {} are free",
        human(most),
        human(free)
    ));
    Ok(())
}

fn show_plan(source: &str, prepared: &Prepared, output: &Output) {
    let plan = prepared.plan();
    let used = human(plan.head.used.bytes());
    output.info(&plain(&format!("{source}: {used} of {} to save", human(prepared.disk().len()))));
    for line in bars::lines(plan.layout(), &Terminal::of_stdout()) {
        output.info(&line);
    }
    for note in plan.layout().table.iter().flat_map(|table| &table.notes) {
        output.note(note);
    }
}

fn dry_run(source: &str, prepared: &Prepared, output: &Output) -> Result<()> {
    let (plan, estimate) = (prepared.plan(), prepared.estimate()?);
    output.info(&format!("the image would take about {}", human(estimate)));
    output.summary(&serde_json::json!({
        "source": source,
        "imported": plan.head.about.imported,
        "size": plan.head.disk_len,
        "used": plan.head.used.bytes(),
        "missing": prepared.missing().as_slice(),
        "unreadable": prepared.disk().unreadable().as_slice(),
        "estimated_image_size": estimate,
        "disk": plan.head.about.disk,
        "layout": plan.layout(),
    }));
    Ok(())
}

/// Of a rescue and what has still to move to it. The partition table may be in
/// either of them: what the image has cannot be told before.
fn dry_run_of_two(args: &ImportArgs, interrupted: &Path, output: &Output) -> Outcome {
    let source = args.source.display().to_string();
    output.info(&plain(&format!(
        "{source}: a part of what was read of the drive is in {}, and moves to it first; what the \
         image will have is known then",
        interrupted.display()
    )));
    output.summary(&serde_json::json!({
        "source": source,
        "takes_over": interrupted.display().to_string(),
    }));
    Outcome::Done
}

/// What is wrong with what was imported, although it is not damaged: what is
/// missing in it, what its tool could not read, and what could not be read now.
fn finding(
    whose: &str,
    missing: &ExtentSet,
    unreadable: &ExtentSet,
    unread: &ExtentSet,
) -> Result<()> {
    let mut texts = Vec::new();
    if !unread.is_empty() {
        texts.push(format!(
            "{} bytes in {} places of what was imported could not be read; they are zero in the \
             image",
            unread.bytes(),
            unread.count()
        ));
    }
    if !missing.is_empty() {
        texts.push(format!(
            "{} bytes in {} places {whose} are not in what was imported; they are zero in the image",
            missing.bytes(),
            missing.count()
        ));
    }
    if !unreadable.is_empty() {
        texts.push(format!(
            "{} bytes in {} places could not be read when they were saved, and hold the marks \
             of the tool that saved them",
            unreadable.bytes(),
            unreadable.count()
        ));
    }
    if texts.is_empty() {
        return Ok(());
    }
    let failing =
        if unread.is_empty() { "" } else { "; the drive may be failing: keep this image" };
    Err(Error::new(ErrorKind::Losses, texts.join("; ")).hint(format!(
        "everything else was imported; 'dacapo info' lists what is missing{failing}"
    )))
}

fn report(done: &Done, started: Instant, output: &Output) {
    let Done { saved, plan, path, lost, .. } = done;
    let seconds = started.elapsed().as_secs_f64();
    let len = saved.written.len;
    output.info(&format!(
        "imported {} as {} ({}) in {}: {}",
        human(saved.used),
        human(len),
        ratio(len, saved.used),
        duration(seconds),
        path.display()
    ));
    show_lost(lost, output);
    output.summary(&serde_json::json!({
        "image": path.display().to_string(),
        "image_id": plan.head.image_id,
        "image_size": len,
        "content_hash": hex(&saved.written.content_hash),
        "imported": plan.head.about.imported,
        "size": plan.head.disk_len,
        "used": saved.used,
        "seconds_elapsed": seconds,
        "losses": saved.losses,
        "lost_files": lost,
    }));
}

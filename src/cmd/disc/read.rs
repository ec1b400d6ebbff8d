// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo disc read`: a disc becomes a file.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueHint};

use crate::cmd::Outcome;
use crate::cmd::open::outcome;
use crate::cmd::output::{Output, plain};
use crate::cmd::text::duration;
use crate::disc::read::{self, About, Done};
use crate::disc::{Contents, drive};
use crate::error::Result;
use crate::pipeline::Cancel;
use crate::units::human;

const EXAMPLE: &str = "\
Examples:
  dacapo disc read /dev/sr0
  dacapo disc read /dev/sr0 /mnt/discs --title 'Synth 2' --serial 12-34-56";

/// Read a disc to an ISO file
///
/// The file holds the disc bit for bit and is named after its label. Beside it
/// a .json file is written with what is known of the disc. What cannot be read
/// is zero in the file, is named, and ends with exit code 3. Until the file is
/// complete its name ends in .partial.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct ReadArgs {
    /// Drive with the disc, or a file that stands for one
    #[arg(value_name = "DEVICE", value_hint = ValueHint::AnyPath)]
    pub device: PathBuf,

    /// File to write, or the folder it is written to [default: this folder]
    #[arg(value_name = "OUT", value_hint = ValueHint::AnyPath)]
    pub out: Option<PathBuf>,

    /// Title of the disc, kept in the .json
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,

    /// Remark, kept in the .json
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,

    /// Serial number or licence of what is on it, kept in the .json
    #[arg(long, value_name = "TEXT")]
    pub serial: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// If the disc cannot be kept as a file, or the file not be written.
pub fn run(args: &ReadArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let started = Instant::now();
    let drive = drive::open(&args.device)?;
    let contents = Contents::of(&*drive);
    contents.check_plain()?;
    let out = args.out.as_deref().unwrap_or(Path::new("."));
    let path = read::path_for(out, &contents, "iso");
    output.info(&format!(
        "{}: {}, {}",
        plain(&args.device.to_string_lossy()),
        super::info::title(&contents),
        human(contents.len())
    ));
    let about =
        About { title: args.title.clone(), note: args.note.clone(), serial: args.serial.clone() };
    let listener = output.listener();
    let done = read::run(&*drive, &contents, &path, &about, cancel, &*listener);
    drop(listener);
    let done = done?;
    report(&done, started, output);
    Ok(outcome(done.check()))
}

fn report(done: &Done, started: Instant, output: &Output) {
    let record = &done.record;
    let seconds = started.elapsed().as_secs_f64();
    for note in notes(done) {
        output.note(&note);
    }
    output.info(&format!(
        "read {} in {}: {}",
        human(record.bytes),
        duration(seconds),
        plain(&done.path.to_string_lossy())
    ));
    output.info(&format!("SHA-256 {}", record.digests.sha256));
    output.summary(&serde_json::json!({
        "output": done.path.to_string_lossy(),
        "record": record,
        "seconds_elapsed": seconds,
    }));
}

/// What is worth knowing of a disc that was read.
fn notes(done: &Done) -> Vec<String> {
    let (record, behind) = (&done.record, done.record.behind);
    let mut notes = Vec::new();
    let filesystems = record.sizes.filesystems();
    if behind.bytes > 0 && filesystems > 0 {
        let what = if behind.is_zero { "all zero" } else { "not all zero" };
        notes.push(format!(
            "{} behind the end of the filesystem were kept, too; they are {what}",
            human(behind.bytes)
        ));
    }
    if behind.run_out_sectors > 0 {
        notes.push(format!(
            "the last {} sectors cannot be read, as is usual for discs that were written track \
             at once; nothing of the filesystem is in them",
            behind.run_out_sectors
        ));
    }
    if record.sizes.capacity < filesystems {
        notes.push(format!(
            "the filesystem needs {}, and there are only {}: the end is missing",
            human(filesystems),
            human(record.sizes.capacity)
        ));
    }
    if let Some(start) = record.toc.as_ref().and_then(crate::device::Toc::last_session) {
        notes.push(format!(
            "the disc has several sessions; to see the last one, mount the file with the option \
             sbsector={start}"
        ));
    }
    notes
}

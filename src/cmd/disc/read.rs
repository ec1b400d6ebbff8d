// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo disc read`: a disc becomes a file.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueHint};

use crate::cmd::Outcome;
use crate::cmd::open::outcome;
use crate::cmd::output::{Output, plain};
use crate::cmd::text::duration;
use crate::device::DiscState;
use crate::disc::read::{self, About, Done, Options};
use crate::disc::{Contents, drive, raw};
use crate::error::Result;
use crate::pipeline::Cancel;
use crate::units::human;

const EXAMPLE: &str = "\
Examples:
  dacapo disc read /dev/sr0
  dacapo disc read /dev/sr0 /mnt/discs --title 'Synth 2' --serial 12-34-56
  dacapo disc read /dev/sr1 SYNTH_2.iso --resume --retries 3";

/// How to go on with a disc that was interrupted.
const WAY_ON: &str = "what was read is kept: go on by running the same command with --resume";

/// Read a disc to an ISO file
///
/// The file holds the disc bit for bit and is named after its label. Beside it
/// a .json file is written with what is known of the disc. What cannot be read
/// is zero in the file, is named, stands in a .map file that GNU ddrescue knows,
/// too, and ends with exit code 3. Films that are encrypted (AACS) stay so in the
/// file, which ends with 3 as well. Until all was tried the name of the file ends in
/// .partial.
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

    /// Try bad sectors again this many times
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub retries: u32,

    /// Go on with a disc that was interrupted or could not be read whole
    ///
    /// Takes what OUT.map says is missing from the disc in DEVICE, which may be
    /// another drive, or the same disc after it was cleaned.
    #[arg(long)]
    pub resume: bool,

    /// Another drive with the same disc, or a file of it, that fills gaps
    ///
    /// Can be given several times. Label, size and volume descriptors have to
    /// be the same; with --raw, the tracks.
    #[arg(long = "merge", value_name = "OTHER", value_hint = ValueHint::AnyPath)]
    pub others: Vec<PathBuf>,

    /// Store a CD with sound: raw sectors (.bin) and a cue sheet
    #[arg(long)]
    pub raw: bool,
}

/// Runs the command.
///
/// # Errors
/// If the disc cannot be kept as a file, or the file not be written.
pub fn run(args: &ReadArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let started = Instant::now();
    let drive = drive::open(&args.device)?;
    let contents = Contents::of(&*drive);
    if args.raw {
        raw::check(&contents)?;
    } else {
        contents.check_plain()?;
    }
    let out = args.out.as_deref().unwrap_or(Path::new("."));
    let path = read::path_for(out, &contents, if args.raw { "bin" } else { "iso" });
    output.info(&format!(
        "{}: {}, {}",
        plain(&args.device.to_string_lossy()),
        super::info::title(&contents),
        human(contents.len())
    ));
    if contents.state == Some(DiscState::Open) {
        output.note(
            "the last session of the disc was never closed: what was written last may be missing \
             here, and other drives may not read the disc",
        );
    }
    let options = Options {
        about: About {
            title: said(args.title.as_deref()),
            note: said(args.note.as_deref()),
            serial: said(args.serial.as_deref()),
        },
        retries: args.retries,
        resume: args.resume,
        others: args.others.clone(),
        way_on: WAY_ON,
    };
    output.way_on(WAY_ON.to_owned());
    let listener = output.listener();
    let done = if args.raw {
        raw::run(&*drive, &contents, &path, &options, cancel, &*listener)
    } else {
        read::run(&*drive, &contents, &path, &options, cancel, &*listener)
    };
    drop(listener);
    let done = done?;
    report(&done, started, output);
    Ok(outcome(done.check()))
}

/// What the user says, if it is more than blanks.
fn said(text: Option<&str>) -> Option<String> {
    text.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn report(done: &Done, started: Instant, output: &Output) {
    let record = &done.record;
    let seconds = started.elapsed().as_secs_f64();
    for note in done.notes() {
        output.note(&plain(&note));
    }
    if !record.damaged_files.is_empty() {
        output.note(&format!(
            "files that are not whole: {}",
            record.damaged_files.iter().map(|it| plain(it)).collect::<Vec<_>>().join(", ")
        ));
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

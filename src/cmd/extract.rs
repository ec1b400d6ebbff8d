// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo extract`: files out of an image.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueHint};

use crate::browse::extract::{self, Destination, Extracted, Options};
use crate::browse::path::{self, Place};
use crate::error::{Error, Result};
use crate::pipeline::Cancel;
use crate::store;
use crate::units::human;

use super::Outcome;
use super::files::{bytes, open_to_copy, tell_notices};
use super::open::{BesideArgs, outcome};
use super::output::Output;
use super::text::duration;

const EXAMPLE: &str = "\
Examples:
  dacapo extract studio.img.zst 2:/Users/me/song.wav .
  dacapo extract studio.img.zst 2:/Users /mnt/rescued
  dacapo extract studio.img.zst Windows:/notes.txt --stdout";

const USAGE: &str = "\
dacapo extract [OPTIONS] <IMAGE> <PATH>... <DEST>
       dacapo extract [OPTIONS] <IMAGE> <PATH> --stdout";

/// Copy files and folders out of an image
///
/// With times, and as far as the destination has such with permissions,
/// owners (as root), links, holes and extended attributes. As with cp, DEST is
/// a folder or a new name; the content of a whole volume (2:/) goes into DEST
/// itself. Links are kept as they are and never followed while writing. What
/// cannot be read is named, all else is copied, and the exit code is 3.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, override_usage = USAGE)]
pub struct ExtractArgs {
    /// Image, also at an http(s) address, disk, partition or raw image file
    #[arg(value_name = "IMAGE", value_hint = ValueHint::AnyPath)]
    pub image: PathBuf,

    /// Files and folders, each [PARTITION:]PATH; the last one is DEST, the folder
    /// or new name where they go
    #[arg(value_name = "PATH", required = true, value_hint = ValueHint::AnyPath)]
    pub paths: Vec<OsString>,

    /// Write one file to standard output; there is no DEST
    #[arg(long)]
    pub stdout: bool,

    /// Replace files that are there
    #[arg(long)]
    pub overwrite: bool,

    /// Make devices, pipes and sockets, too (as root)
    #[arg(long)]
    pub special: bool,

    /// Keep setuid and setgid bits and capabilities of programs
    #[arg(long)]
    pub setuid: bool,

    /// Extract further streams of files (NTFS, HFS, HFS+, APFS) as NAME:STREAM
    #[arg(long)]
    pub streams: bool,

    /// Other disks of a set.
    #[command(flatten)]
    pub set: BesideArgs,
}

/// Runs the command.
///
/// # Errors
/// If the image cannot be opened, a path is not in it, or the destination
/// cannot be written.
pub fn run(args: &ExtractArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let open = |path: &Path| open_to_copy(path, output);
    let disk = args.set.beside(&args.image, open(&args.image)?, open)?;
    let find = |text: &OsString| path::find(&disk, bytes(text));
    if args.stdout {
        let [text] = args.paths.as_slice() else {
            return Err(Error::usage("--stdout writes one file, and has no DEST"));
        };
        let source = find(text)?;
        tell_notices([source.volume], output);
        extract::read_out(&source, cancel, &mut |bytes| output.data(bytes))?;
        return Ok(Outcome::Done);
    }
    let Some((destination, texts)) = args.paths.split_last().filter(|(_, texts)| !texts.is_empty())
    else {
        return Err(Error::usage("give what to extract, and behind it where it goes")
            .hint("'.' is the folder you are in"));
    };
    let sources: Vec<Place> = texts.iter().map(find).collect::<Result<_>>()?;
    tell_notices(sources.iter().map(|source| source.volume), output);
    let destination = Path::new(destination);
    let plan = Destination::plan(destination, &sources, args.overwrite)?;
    let options = Options {
        overwrite: args.overwrite,
        special: args.special,
        setuid: args.setuid,
        streams: args.streams,
    };
    let started = Instant::now();
    let listener = output.listener();
    let extracted = extract::run(&sources, &plan, &options, cancel, &*listener)?;
    drop(listener);
    report(&extracted, args, destination, started.elapsed().as_secs_f64(), output);
    Ok(outcome(extracted.finding()))
}

fn report(
    extracted: &Extracted,
    args: &ExtractArgs,
    destination: &Path,
    seconds: f64,
    output: &Output,
) {
    for note in &extracted.notes {
        output.note(note);
    }
    let what = [(extracted.files, "file"), (extracted.folders, "folder")];
    let what: Vec<String> = what
        .iter()
        .filter(|(count, what)| *count > 0 || *what == "file")
        .map(|(count, what)| counted(*count, what))
        .collect();
    output.info(&format!(
        "{}, {} to {}, {}",
        what.join(" in "),
        human(extracted.bytes),
        destination.display(),
        duration(seconds)
    ));
    output.summary(&serde_json::json!({
        "image": store::shown(&args.image),
        "destination": destination.to_string_lossy(),
        "files": extracted.files,
        "folders": extracted.folders,
        "hard_links": extracted.hard_links,
        "others": extracted.others,
        "bytes": extracted.bytes,
        "lost": extracted.lost,
        "renamed": extracted.renamed,
        "seconds_elapsed": seconds,
    }));
}

/// "1 file", "2 files".
fn counted(count: u64, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo disc info`: what is known of a disc.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::cmd::Outcome;
use crate::cmd::output::{Output, plain};
use crate::cmd::terminal::{FAINT, TITLE, Terminal, wrap};
use crate::device::DiscState;
use crate::disc::{Contents, Record, drive, record};
use crate::error::Result;
use crate::pipeline::Cancel;
use crate::units::human;

const EXAMPLE: &str = "\
Examples:
  dacapo disc info /dev/sr0
  dacapo disc info SYNTH_2.iso";

/// Where the values stand.
const INDENT: usize = 20;

/// Show what a disc says of itself
///
/// Of an archived disc, what its .json file says is shown, too. Nothing is
/// written, and only the descriptors are read.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct InfoArgs {
    /// Drive with a disc, or the file of one
    #[arg(value_name = "DISC", value_hint = ValueHint::AnyPath)]
    pub disc: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// If it cannot be opened.
pub fn run(args: &InfoArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    cancel.check()?;
    let drive = drive::open(&args.disc)?;
    let contents = Contents::of(&*drive);
    let record = if contents.is_in_drive { None } else { record::beside(&args.disc)? };
    let terminal = Terminal::of_stdout();
    let name = plain(&args.disc.to_string_lossy()).into_owned();
    output.result(&format!("{TITLE}{name}{TITLE:#}"));
    let mut all = lines(&contents, record.as_ref());
    all.extend(details(&contents, record.as_ref()));
    for (name, value) in all {
        for (number, line) in wrap(&plain(&value), terminal.width, INDENT).iter().enumerate() {
            let name = if number == 0 { name } else { "" };
            output.result(&format!("  {FAINT}{name:<18}{FAINT:#}{}", line.trim_start()));
        }
    }
    output.summary(&serde_json::json!({
        "disc": args.disc.to_string_lossy(),
        "contents": contents,
        "record": record,
    }));
    Ok(Outcome::Done)
}

/// A disc in a few words: its label and what is on it.
pub(crate) fn title(contents: &Contents) -> String {
    let formats = contents.volume.formats.join(", ");
    let label = contents.volume.label.as_deref().map(|label| format!("'{}'", plain(label)));
    let medium = contents.medium.clone();
    let blank = (contents.state == Some(DiscState::Blank)).then(|| "empty".to_owned());
    let parts = [medium, blank, label, Some(formats).filter(|it| !it.is_empty())];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "a disc without a known filesystem".into() } else { parts.join(", ") }
}

const fn in_words(state: DiscState) -> &'static str {
    match state {
        DiscState::Blank => "empty: nothing was written to it",
        DiscState::Open => "its last session was never closed",
        DiscState::Closed => "closed",
    }
}

/// What a line says, and of what.
type Line = (&'static str, String);

fn add(lines: &mut Vec<Line>, name: &'static str, value: Option<String>) {
    lines.extend(value.filter(|value| !value.is_empty()).map(|value| (name, value)));
}

/// What people know a disc by.
pub(crate) fn lines(contents: &Contents, record: Option<&Record>) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut add = |name, value| add(&mut lines, name, value);
    if let Some(record) = record {
        add("title", record.title.clone());
        add("serial number", record.serial.clone());
        add("note", record.note.clone());
        add("read", Some(record.read_at.clone()));
    }
    let volume = &contents.volume;
    add("label", volume.label.clone());
    add("formats", Some(volume.formats.join(", ")));
    for (name, value) in [
        ("volume set", &volume.volume_set),
        ("system", &volume.system),
        ("publisher", &volume.publisher),
        ("preparer", &volume.preparer),
        ("application", &volume.application),
        ("made", &volume.created),
        ("changed", &volume.modified),
        ("expires", &volume.expires),
        ("effective", &volume.effective),
    ] {
        add(name, value.clone());
    }
    let drive = contents.drive.as_ref().or(record.and_then(|record| record.drive.as_ref()));
    add("drive", drive.and_then(|drive| drive.model.clone()));
    add("medium", contents.medium.clone().or(record.and_then(|record| record.medium.clone())));
    add(
        "protection",
        match contents.encryption() {
            None => contents.protection.clone(),
            Some(name) => Some(format!("{name}: its films are encrypted, in a copy, too")),
        },
    );
    add("state", contents.state.map(|state| in_words(state).to_owned()));
    if let Some(toc) = contents.toc.as_ref().or(record.and_then(|record| record.toc.as_ref())) {
        let sound = toc.audio_tracks();
        let (tracks, sessions) = (toc.tracks.len(), toc.sessions.len());
        add("tracks", Some(format!("{tracks}, {sound} of them sound; sessions: {sessions}")));
    }
    lines
}

/// Sizes by everything that tells one, and the hashes of an archived disc.
fn details(contents: &Contents, record: Option<&Record>) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut add = |name, value| add(&mut lines, name, value);
    let sizes = &contents.sizes;
    let bytes = |size: u64| Some(format!("{size} bytes ({})", human(size)));
    for (name, size) in [
        ("primary volume", sizes.primary),
        ("supplementary", sizes.supplementary),
        ("path table", sizes.path_table),
        ("UDF partition", sizes.udf_partition),
        ("UDF descriptors", sizes.udf_descriptors),
        ("UDF anchor", sizes.udf_anchor),
        ("HFS volume", sizes.hfs),
        ("partition table", sizes.partition_table),
        ("data tracks", sizes.lead_out),
        ("capacity", Some(sizes.capacity)),
    ] {
        add(name, size.and_then(bytes));
    }
    let not_believed = |end| format!("{end} bytes ({}), more than such a disc holds", human(end));
    add("not believed", sizes.impossible().map(not_believed));
    if let Some(record) = record {
        add("BLAKE3", Some(record.digests.blake3.clone()));
        add("SHA-256", Some(record.digests.sha256.clone()));
        add("MD5", Some(record.digests.md5.clone()));
        let missing = record.missing_sectors();
        add("unreadable", (missing > 0).then(|| format!("{missing} sectors")));
    }
    lines
}

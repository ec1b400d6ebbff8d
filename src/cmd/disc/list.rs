// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo disc list`: a catalogue of archived discs.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::cmd::Outcome;
use crate::cmd::output::{Output, json_line, plain};
use crate::disc::page;
use crate::disc::shelf::{self, Shelf};
use crate::error::Result;
use crate::pipeline::Cancel;
use crate::units::human;

const EXAMPLE: &str = "\
Examples:
  dacapo disc list /mnt/discs
  dacapo disc list /mnt/discs --html /mnt/discs/discs.html";

/// List the archived discs of a folder
///
/// Shows what their .json files say; the discs themselves are not read. With
/// --html the list is written as one page with a search box, which needs
/// nothing else to be looked at.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct ListArgs {
    /// Folder with archived discs
    #[arg(value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,

    /// Write a page for a browser to this file
    ///
    /// An older page is replaced, any other file is not.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub html: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// If the folder cannot be read, or the page not be written.
pub fn run(args: &ListArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let Shelf { discs, mut failures } = shelf::find(&args.folder, cancel)?;
    let mut rows = vec![["disc", "read", "size", "file"].map(str::to_owned)];
    for disc in &discs {
        let file = disc.image.strip_prefix(&args.folder).unwrap_or(&disc.image);
        let shown = |text: &str| plain(text).into_owned();
        let record = disc.record.as_ref();
        let date = record.map_or("-", |it| it.read_at.get(..10).unwrap_or("-"));
        let mut place = shown(&file.to_string_lossy());
        if !disc.is_there() {
            place += " (missing)";
        }
        if disc.trouble.is_some() {
            place += " (its .json cannot be read)";
        }
        rows.push([
            record.map_or_else(|| "-".into(), |it| shown(it.name())),
            shown(date),
            record.map_or_else(|| "-".into(), |it| human(it.bytes)),
            place,
        ]);
        if output.is_json() {
            output.lines(&json_line(
                "disc",
                &serde_json::json!({
                    "file": disc.image.to_string_lossy(),
                    "is_there": disc.is_there(),
                    "record": record,
                    "problem": disc.trouble.as_ref().map(ToString::to_string),
                }),
            ));
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths = [0, 1, 2].map(|column| width(column).unwrap_or(0));
    for [name, date, size, file] in &rows {
        output.result(&format!(
            "{name:a$}  {date:b$}  {size:>c$}  {file}",
            a = widths[0],
            b = widths[1],
            c = widths[2]
        ));
    }
    if let Some(path) = &args.html {
        let today = jiff::Zoned::now().strftime("%Y-%m-%d").to_string();
        page::write(path, &page::page(&args.folder, &discs, &today))?;
        output.info(&format!("the page is {}", plain(&path.to_string_lossy())));
    }
    let html = args.html.as_ref().map(|path| path.to_string_lossy());
    output.summary(&serde_json::json!({ "discs": discs.len(), "html": html }));
    let last = failures.pop();
    failures.iter().for_each(|failure| output.error(failure));
    Ok(last.map_or(Outcome::Done, Outcome::Finding))
}

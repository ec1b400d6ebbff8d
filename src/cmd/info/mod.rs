// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo info`: what an image holds.
//!
//! `facts` finds out as much as the file still tells, `show` puts it in
//! words. An image that is damaged or cut off is shown as far as it goes.

mod facts;
mod show;

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::error::{Error, Result};
use crate::pipeline::Cancel;
use crate::store;

use super::Outcome;
use super::open::is_standard_stream;
use super::output::Output;
use super::terminal::Terminal;

use self::facts::Facts;

const EXAMPLE: &str = "\
Example:
  dacapo info studio.img.zst";

/// Show what an image holds
///
/// Shows label, date, machine and disk, the partitions with their used and
/// free space, why anything was saved whole, the sizes, and which files could
/// not be read. Of an image that is damaged or incomplete, shows what is there.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct InfoArgs {
    /// Image to show: a file, an http(s) address, or - for standard input
    ///
    /// Of an image that comes front to back, only the head is read.
    #[arg(value_name = "IMAGE", value_hint = ValueHint::FilePath)]
    pub image: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// If the image cannot be read, or not even its head is whole.
pub fn run(args: &InfoArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    cancel.check()?;
    let facts = if is_standard_stream(&args.image) {
        Facts::of_stdin()?
    } else {
        let mut facts = Facts::of_file(&args.image)?;
        facts.name_losses(&args.image, cancel)?;
        facts
    };
    let name = store::shown(&args.image).into_owned();
    for line in show::lines(&name, &facts, &Terminal::of_stdout()) {
        output.result(&line);
    }
    output.summary(&show::summary(&name, &facts));
    if facts.damage.is_empty() {
        return Ok(Outcome::Done);
    }
    let error = Error::damaged(format!("{name}: {}", facts.damage.join("; ")));
    Ok(Outcome::Finding(error.hint(facts.way_on(&args.image))))
}

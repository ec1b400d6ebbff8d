// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo disc scan`: which archived discs have rotted?

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::cmd::Outcome;
use crate::cmd::output::Output;
use crate::disc::shelf::{self, Shelf};
use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::Cancel;

use super::verify::Tally;

const EXAMPLE: &str = "\
Example:
  dacapo disc scan /mnt/discs";

/// Check all archived discs of a folder
///
/// Verifies each disc in the folder and the folders in it. One that is damaged,
/// or whose file is gone while its .json is there, ends with exit code 4 after
/// all others were checked. Nothing is written.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct ScanArgs {
    /// Folder with archived discs
    #[arg(value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// Damaged if a disc is; losses if one was read with losses.
pub fn run(args: &ScanArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let Shelf { discs, failures } = shelf::find(&args.folder, cancel)?;
    if discs.is_empty() && failures.is_empty() {
        return Err(Error::failed(format!("no discs are in {}", args.folder.display()))
            .hint("files of discs end in .iso; 'dacapo disc read' makes them"));
    }
    let mut tally = Tally::default();
    failures.into_iter().for_each(|failure| tally.add_failure(failure, output));
    for disc in discs {
        let listener = output.listener();
        let checked = disc.check(cancel, &*listener);
        drop(listener);
        match checked {
            Ok(checked) => tally.add(&checked, output),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            Err(error) => tally.add_failure(error, output),
        }
    }
    Ok(tally.end(output))
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo tui`: the screens.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::error::{Error, Result};
use crate::pipeline::Cancel;
use crate::tui;

use super::Outcome;
use super::output::Output;

const EXAMPLE: &str = "\
Example:
  dacapo tui /mnt/backup";

/// Do all of this on a screen, with menus
///
/// Restores, saves and checks disks as the other commands do, step by step,
/// with everything explained. This is what the rescue stick starts with.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct TuiArgs {
    /// Folders to look for images in
    #[arg(value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub folders: Vec<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// If there is no terminal.
pub fn run(args: &TuiArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    if output.is_json() {
        return Err(Error::usage("the screens are for people, and --json is not")
            .hint("the other commands do the same: dacapo --help"));
    }
    Ok(Outcome::Code(tui::run(&args.folders, cancel)?))
}

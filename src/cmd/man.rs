// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo man`: the manual pages, made from the same definitions as help.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use clap_mangen::Man;
use serde::Serialize;

use crate::error::{Context, Result};
use crate::pipeline::Cancel;

use super::Outcome;
use super::output::Output;

const EXAMPLE: &str = "\
Example:
  dacapo man /usr/local/share/man/man1";

/// Write the manual pages into a folder
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct ManArgs {
    /// Folder to write to; made if it does not exist
    #[arg(value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,
}

#[derive(Serialize)]
struct Summary {
    files: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// If a page cannot be written.
pub fn run(args: &ManArgs, output: &Output, _: &Cancel) -> Result<Outcome> {
    std::fs::create_dir_all(&args.folder)
        .context(|| format!("making the folder {}", args.folder.display()))?;
    let mut files = Vec::new();
    for (name, page) in pages()? {
        let path = args.folder.join(name);
        std::fs::write(&path, page).context(|| format!("writing {}", path.display()))?;
        output.info(&format!("wrote {}", path.display()));
        files.push(path.display().to_string());
    }
    output.summary(&Summary { files });
    Ok(Outcome::Done)
}

/// Name and text of each page: one for the program, one for each command and
/// for each of its own.
fn pages() -> Result<Vec<(String, String)>> {
    let mut definition = super::definition();
    definition.build();
    let mut commands = vec![definition];
    let mut at = 0;
    while let Some(command) = commands.get(at) {
        let shown = |it: &&clap::Command| !it.is_hide_set() && it.get_name() != "help";
        let below: Vec<_> = command.get_subcommands().filter(shown).cloned().collect();
        commands.extend(below);
        at += 1;
    }
    commands
        .into_iter()
        .map(|command| {
            let man = Man::new(command)
                .source("dacapo")
                // No date: a page changes when the program does, not with the
                // day on which it was generated.
                .date(env!("CARGO_PKG_VERSION"))
                .manual("User Commands");
            let mut page = Vec::new();
            man.render(&mut page).context(|| "making a manual page".into())?;
            let page = String::from_utf8_lossy(&page).replace(".SH EXTRA\n", ".SH EXAMPLES\n");
            Ok((man.get_filename(), page))
        })
        .collect()
}

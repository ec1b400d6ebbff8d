// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo completions`: what a shell needs to complete commands.

use clap::Args;
use clap_complete::Shell;

use crate::error::Result;
use crate::pipeline::Cancel;

use super::Outcome;
use super::output::Output;

const EXAMPLE: &str = "\
Example:
  dacapo completions bash > /etc/bash_completion.d/dacapo";

/// Print a script that completes dacapo's commands in a shell
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct CompletionsArgs {
    /// Shell to print the script for
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: Shell,
}

/// Runs the command.
///
/// # Errors
/// If standard output cannot be written.
pub fn run(args: &CompletionsArgs, output: &Output, _: &Cancel) -> Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::definition(), "dacapo", &mut script);
    output.data(&script)?;
    Ok(Outcome::Done)
}

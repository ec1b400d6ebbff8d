// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands: one file each with its options and its `run`, one `match`.
//!
//! The doc comments of the structs in this folder are what the user reads in
//! `--help`, in the manual pages and in the completions; those are generated
//! from here and nowhere written by hand.

pub(crate) mod bars;
pub mod clone;
pub mod compare;
pub mod completions;
pub mod confirm;
pub mod demo;
pub mod diff;
pub mod disc;
pub mod disks;
pub mod export;
pub mod extract;
mod files;
pub mod find;
pub mod import;
pub mod info;
pub mod ls;
pub mod man;
pub mod map;
pub mod mount;
pub mod network;
mod open;
pub mod output;
mod progress;
pub mod repair;
pub mod rescue;
pub mod restore;
pub mod save;
pub mod serve;
mod signals;
mod sink;
mod target;
pub(crate) mod terminal;
pub(crate) mod text;
pub mod tui;
pub mod unattended;
mod values;
mod verdict;
pub mod verify;
mod write;

use std::ffi::OsString;
use std::sync::Arc;

use clap::error::ErrorKind as UsageKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::Cancel;

use output::Output;
use signals::Signals;

const EXIT_CODES: &str = "\
Exit codes:
  0    done, nothing lost
  1    failed
  2    wrong use of the command line
  3    finished, but parts of the source could not be read
  4    damage found: the image is corrupt, or a comparison differs
  5    refused for safety: disk in use, too small, or not confirmed
  6    not supported: made by a newer version, or a feature is missing
  7    wrong or missing key
  8    no space left on the destination
  130  interrupted";

const EXAMPLES: &str = "\
Examples:
  dacapo disks                          what this machine has
  dacapo save /dev/sda studio.img.zst   save a whole disk
  dacapo restore studio.img.zst /dev/sdb";

/// Save a whole disk to a file and restore it exactly
///
/// An image is an ordinary .zst file: 'zstd -dc IMAGE' gives the disk back
/// without this program. Only ranges that are proven to be free are left out.
/// The disk that is saved is never written to.
#[derive(Debug, Parser)]
#[command(
    name = "dacapo",
    version,
    max_term_width = 80,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"),
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: GlobalArgs,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct GlobalArgs {
    /// Print errors and results only
    #[arg(long, short, global = true, display_order = 900)]
    pub quiet: bool,

    /// Print JSON, one object a line, instead of text
    #[arg(long, global = true, display_order = 901)]
    pub json: bool,
}

/// The commands, in the order in which help lists them.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "a comment here would replace the help text in the command's file")]
pub enum Command {
    Disks(disks::DisksArgs),
    Save(save::SaveArgs),
    Restore(restore::RestoreArgs),
    Verify(verify::VerifyArgs),
    Compare(compare::CompareArgs),
    Clone(clone::CloneArgs),
    Repair(repair::RepairArgs),
    Import(import::ImportArgs),
    Info(info::InfoArgs),
    Map(map::MapArgs),
    Ls(ls::LsArgs),
    Extract(extract::ExtractArgs),
    Find(find::FindArgs),
    Diff(diff::DiffArgs),
    Mount(mount::MountArgs),
    Serve(serve::ServeArgs),
    Export(export::ExportArgs),
    Disc(disc::DiscArgs),
    Tui(tui::TuiArgs),
    Rescue(rescue::RescueArgs),
    Network(network::NetworkArgs),
    Demo(demo::DemoArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// How a command that was carried out ended.
#[derive(Debug)]
pub enum Outcome {
    /// Done, nothing lost.
    Done,
    /// The work was finished, but its result is not a success: unreadable
    /// ranges, a difference. The report has been shown; this decides the exit
    /// code and is the last line the user reads.
    Finding(Error),
    /// Done, and whoever started the program is told more by its exit code.
    Code(u8),
}

impl Command {
    /// True if this command writes data to standard output, so that nothing
    /// else may go there.
    fn stdout_is_data(&self) -> bool {
        match self {
            Self::Save(args) => args.writes_to_stdout(),
            Self::Map(args) => args.writes_to_stdout(),
            Self::Extract(args) => args.stdout,
            Self::Completions(_) => true,
            _ => false,
        }
    }

    fn run(&self, output: &Output, cancel: &Cancel) -> Result<Outcome> {
        match self {
            Self::Disks(args) => disks::run(args, output, cancel),
            Self::Save(args) => save::run(args, output, cancel),
            Self::Restore(args) => restore::run(args, output, cancel),
            Self::Verify(args) => verify::run(args, output, cancel),
            Self::Compare(args) => compare::run(args, output, cancel),
            Self::Clone(args) => clone::run(args, output, cancel),
            Self::Repair(args) => repair::run(args, output, cancel),
            Self::Import(args) => import::run(args, output, cancel),
            Self::Info(args) => info::run(args, output, cancel),
            Self::Map(args) => map::run(args, output, cancel),
            Self::Ls(args) => ls::run(args, output, cancel),
            Self::Extract(args) => extract::run(args, output, cancel),
            Self::Find(args) => find::run(args, output, cancel),
            Self::Diff(args) => diff::run(args, output, cancel),
            Self::Mount(args) => mount::run(args, output, cancel),
            Self::Serve(args) => serve::run(args, output, cancel),
            Self::Export(args) => export::run(args, output, cancel),
            Self::Disc(args) => disc::run(args, output, cancel),
            Self::Tui(args) => tui::run(args, output, cancel),
            Self::Rescue(args) => rescue::run(args, output, cancel),
            Self::Network(args) => network::run(args, output, cancel),
            Self::Demo(args) => demo::run(args, output, cancel),
            Self::Completions(args) => completions::run(args, output, cancel),
            Self::Man(args) => man::run(args, output, cancel),
        }
    }
}

/// The definition of the command line, from which help, manual pages and
/// completions are made.
#[must_use]
pub fn definition() -> clap::Command {
    Cli::command()
}

/// Runs the program with `arguments`, the first of which is its name, and
/// returns its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let parsed = definition()
        .try_get_matches_from(&arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return show_usage(&error, &arguments),
    };
    if terminal::is_dumb() {
        // Otherwise decided by more than the terminal: CI=1 means colours.
        anstream::ColorChoice::Never.write_global();
    }
    let signals = Signals::default();
    let output = Arc::new(Output::new(
        cli.global.json,
        cli.global.quiet,
        cli.command.stdout_is_data(),
        signals.clone(),
    ));
    let last_words = {
        let output = Arc::clone(&output);
        move || output.exit_error(&output.interrupted())
    };
    let result = signals
        .install()
        .and_then(|cancel| {
            signals.end_soon(cancel.clone(), last_words);
            Signals::run(|| cli.command.run(&output, &cancel))
        })
        .and_then(|outcome| output.check_written().map(|()| outcome));
    match result {
        Ok(Outcome::Done) => 0,
        Ok(Outcome::Code(code)) => code,
        Ok(Outcome::Finding(error)) | Err(error) => {
            output.exit_error(&error);
            error.kind().exit_code()
        }
    }
}

/// Prints help or a usage error, and returns the exit code for it.
fn show_usage(error: &clap::Error, arguments: &[OsString]) -> u8 {
    // A closed pipe behind `--help` is no reason to fail.
    let _ = error.print();
    if matches!(error.kind(), UsageKind::DisplayHelp | UsageKind::DisplayVersion) {
        return 0;
    }
    if arguments.iter().any(|argument| argument == "--json") {
        let first_line = error.to_string().lines().next().unwrap_or_default().to_owned();
        let message = first_line.trim_start_matches("error: ").to_owned();
        Output::new(true, true, false, Signals::default()).exit_error(&Error::usage(message));
    }
    ErrorKind::Usage.exit_code()
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo disc verify`: is an archived disc what it was?

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::cmd::Outcome;
use crate::cmd::output::{Output, json_line, plain};
use crate::disc::verify::{self, Checked, State};
use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::Cancel;

const EXAMPLE: &str = "\
Example:
  dacapo disc verify SYNTH_2.iso";

/// Check archived discs against what they were
///
/// Reads each file and compares it with the hashes in its .json file, with the
/// MD5 that makers of Linux discs implant into them, and of raw sectors with
/// their own checksums. Nothing is written.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct VerifyArgs {
    /// Files of archived discs
    #[arg(value_name = "ISO", required = true, value_hint = ValueHint::FilePath)]
    pub images: Vec<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// Damaged if one is; losses if one was read with losses.
pub fn run(args: &VerifyArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let mut tally = Tally::default();
    for image in &args.images {
        let listener = output.listener();
        let checked = verify::run(image, cancel, &*listener);
        drop(listener);
        match checked {
            Ok(checked) => tally.add(&checked, output),
            Err(error) if args.images.len() == 1 => return Err(error),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            Err(error) => tally.add_failure(error, output),
        }
    }
    Ok(tally.end(output))
}

/// What came of all discs that were checked.
#[derive(Debug, Default, serde::Serialize)]
pub(super) struct Tally {
    good: u64,
    unknown: u64,
    incomplete: u64,
    damaged: u64,
    /// Those of which not even that can be told.
    failed: u64,
    #[serde(skip)]
    worst: Option<Error>,
}

impl Tally {
    pub(super) fn add(&mut self, checked: &Checked, output: &Output) {
        let shown = plain(&checked.file.to_string_lossy()).into_owned();
        let word = match checked.state {
            State::Good => "good",
            State::Unknown => "unknown",
            State::Incomplete => "incomplete",
            State::Damaged => "DAMAGED",
        };
        match checked.state {
            State::Good => self.good += 1,
            State::Unknown => self.unknown += 1,
            State::Incomplete => self.incomplete += 1,
            State::Damaged => self.damaged += 1,
        }
        output.result(&format!("{word:<10}  {shown}: {}", checked.evidence()));
        if output.is_json() {
            output.lines(&json_line("disc", checked));
        }
        if let Err(error) = checked.check() {
            self.found(error, output);
        }
    }

    pub(super) fn add_failure(&mut self, error: Error, output: &Output) {
        self.failed += 1;
        self.found(error, output);
    }

    /// An error; the first one of the gravest kind ends the program.
    fn found(&mut self, error: Error, output: &Output) {
        let rank = |kind: ErrorKind| match kind {
            ErrorKind::Damaged => 2,
            ErrorKind::Losses => 0,
            _ => 1,
        };
        let Some(worst) = self.worst.take() else {
            self.worst = Some(error);
            return;
        };
        let is_worse = rank(error.kind()) > rank(worst.kind());
        let (worst, other) = if is_worse { (error, worst) } else { (worst, error) };
        output.error(&other);
        self.worst = Some(worst);
    }

    /// The end of a command that has checked discs.
    pub(super) fn end(self, output: &Output) -> Outcome {
        let all = self.good + self.unknown + self.incomplete + self.damaged + self.failed;
        if all > 1 {
            let mut parts = vec![format!("{} good", self.good)];
            for (count, what) in [
                (self.incomplete, "incomplete as they were read"),
                (self.unknown, "with nothing to compare them with"),
                (self.damaged, "damaged"),
                (self.failed, "that could not be checked"),
            ] {
                if count > 0 {
                    parts.push(format!("{count} {what}"));
                }
            }
            output.result(&format!("{all} discs: {}", parts.join(", ")));
        }
        output.summary(&serde_json::json!({ "discs": all, "counts": self }));
        match self.worst {
            None => Outcome::Done,
            Some(error) => Outcome::Finding(error),
        }
    }
}

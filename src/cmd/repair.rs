// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo repair`: named steps for a restored machine that does not start, or
//! whose disk is larger now.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use serde_json::{Value, json};

use crate::device::Seen;
use crate::error::{Context, Error, Result};
use crate::job::Target;
use crate::pipeline::Cancel;
use crate::repair::{self, Machine, State, Step};

use super::Outcome;
use super::confirm::confirm_repair;
use super::output::{Output, plain};
use super::target::ConfirmArgs;
use super::terminal::{Terminal, wrap};

const EXAMPLE: &str = "\
Examples:
  dacapo repair /dev/sda                        what could be done, and why
  dacapo repair /dev/sda --step boot-entry
  dacapo repair /dev/sda --step backup-gpt --step grow";

/// Make a restored machine start again, step by step
///
/// A restore brings back every byte of the disk, but not what the machine kept
/// elsewhere: the boot entry in its firmware. And a larger disk stays partly
/// unused. Each step changes one such thing. Without --step, all steps are
/// listed with what each would do and why it may be needed, and nothing is
/// written. What a step did is read back and reported as it is.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct RepairArgs {
    /// Disk that was restored, or the file of one
    #[arg(value_name = "DISK", value_hint = ValueHint::AnyPath)]
    pub disk: PathBuf,

    /// Step to run; several are run in this order
    #[arg(long, short, value_name = "NAME", num_args = 1..,
          value_parser = clap::builder::PossibleValuesParser::new(repair::names()))]
    pub step: Vec<String>,

    /// Show what would be done, and write nothing
    #[arg(long)]
    pub dry_run: bool,

    /// The answer to the question.
    #[command(flatten)]
    pub answer: ConfirmArgs,

    /// Folder in place of /sys/firmware/efi
    #[arg(long, value_name = "FOLDER", hide = true)]
    pub firmware: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// Refused before anything is written if a step is not possible or not
/// confirmed; and if a step failed, after which no other is run.
pub fn run(args: &RepairArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    let machine = match &args.firmware {
        Some(folder) => Machine::with_firmware(folder),
        None => Machine::running(),
    };
    // What is shown, confirmed and changed is one disk.
    let seen = Seen::new(&args.disk)?;
    let steps = repair::steps_on(&machine, &seen)?;
    if args.step.is_empty() {
        list(&steps, output);
        output.summary(&json!({ "disk": args.disk, "steps": steps }));
        return Ok(Outcome::Done);
    }
    let chosen: Vec<&Step> =
        args.step.iter().filter_map(|name| steps.iter().find(|step| step.name == name)).collect();
    for step in &chosen {
        if let State::NotPossible(why) = &step.state {
            return Err(Error::refused(format!("{} is not possible: {why}", step.name))
                .hint("nothing was written; 'dacapo repair DISK' shows what can be done"));
        }
        show(step, output);
    }
    let is_needed = chosen.iter().any(|step| step.is_possible());
    if args.dry_run || !is_needed {
        output.summary(&json!({ "disk": args.disk, "steps": chosen }));
        return Ok(Outcome::Done);
    }
    let _agreed = confirm_repair(&Target::seen(&seen), &args.answer, output)?;
    cancel.check()?;
    // A step must not be torn: from here on it ends by itself.
    cancel.finish();
    let mut reports = Vec::new();
    for step in chosen {
        if let Err(error) = run_step(step, output, &mut reports) {
            output.summary(&json!({ "disk": args.disk, "steps": reports }));
            return Err(error).context(|| step.name.into());
        }
    }
    output.summary(&json!({ "disk": args.disk, "steps": reports }));
    Ok(Outcome::Done)
}

/// Runs one step as it is possible now: the steps before may have changed that.
fn run_step(step: &Step, output: &Output, reports: &mut Vec<Value>) -> Result<()> {
    let (name, step) = (step.name, step.again()?);
    let mut report = serde_json::to_value(&step).unwrap_or_default();
    if let State::NotNeeded(why) = &step.state {
        output.info(&format!("{name}: nothing to do: {}", plain(why)));
        reports.push(report);
        return Ok(());
    }
    let result = step.run();
    match &result {
        Ok(done) => {
            output.info(&format!("{name}: done"));
            for line in done {
                output.info(&format!("  {}", plain(line)));
            }
            report["done"] = json!(done);
        }
        Err(error) => report["error"] = json!(error.to_string()),
    }
    reports.push(report);
    result.map(|_| ())
}

/// All steps, for a person who wants to choose.
fn list(steps: &[Step], output: &Output) {
    let width = Terminal::of_stdout().width.saturating_sub(2);
    for (n, step) in steps.iter().enumerate() {
        if n > 0 {
            output.result("");
        }
        output.result(&format!("{}: {}", step.name, step.title));
        let about = wrap(step.why, width, 0);
        let state = state_lines(step).into_iter().flat_map(|line| wrap(&plain(&line), width, 2));
        for line in about.into_iter().chain(state) {
            output.result(&format!("  {line}"));
        }
    }
}

fn show(step: &Step, output: &Output) {
    output.info(&format!("{}: {}", step.name, step.title));
    for line in state_lines(step) {
        output.info(&format!("  {}", plain(&line)));
    }
}

fn state_lines(step: &Step) -> Vec<String> {
    match &step.state {
        State::Possible => step.will.iter().map(|line| format!("- {line}")).collect(),
        State::NotNeeded(why) => vec![format!("nothing to do: {why}")],
        State::NotPossible(why) => vec![format!("not possible here: {why}")],
    }
}

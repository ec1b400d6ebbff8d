// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo rescue build`: the medium as a file.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::cmd::Outcome;
use crate::cmd::output::Output;
use crate::error::Result;
use crate::pipeline::Cancel;
use crate::rescue::{self, Inputs, Plan};
use crate::units::human;

const EXAMPLE: &str = "\
Examples:
  dacapo rescue build rescue.iso
  dacapo rescue build studio.iso --append 'dacapo.restore=studio'";

/// Build the rescue system as one file for CD and USB stick
///
/// Needs Debian 12 or its packages. They are fetched by apt, which checks their
/// signatures, and unpacked in a temporary folder; nothing is installed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct BuildArgs {
    /// File to write
    #[arg(value_name = "OUT.iso", value_hint = ValueHint::FilePath)]
    pub out: PathBuf,

    /// Fetch and show what would be in it, and write nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Folder of Debian packages to take instead of fetching them
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub packages: Option<PathBuf>,

    /// Kernel to take instead of Debian's
    #[arg(long, value_name = "FILE", requires = "modules", value_hint = ValueHint::FilePath)]
    pub kernel: Option<PathBuf>,

    /// Modules of that kernel: its folder /lib/modules/VERSION
    #[arg(long, value_name = "FOLDER", requires = "kernel", value_hint = ValueHint::DirPath)]
    pub modules: Option<PathBuf>,

    /// Folder of firmware files to put in, as in /lib/firmware
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub firmware: Option<PathBuf>,

    /// Static dacapo to put in; else this program, if it is static
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub program: Option<PathBuf>,

    /// Static init program to put in; else dacapo-init beside this program
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub init: Option<PathBuf>,

    /// Arguments for the kernel to add to the boot menu
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub append: String,

    /// Write kernel and initramfs into the folder OUT.iso, for emulators
    #[arg(long, hide = true)]
    pub initramfs_only: bool,
}

/// Runs the command.
///
/// # Errors
/// If something is missing or cannot be written.
pub fn run(args: &BuildArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    if !args.initramfs_only && !args.dry_run {
        rescue::check(&args.out, &args.append)?;
    }
    let inputs = Inputs {
        packages: args.packages.clone(),
        kernel: args.kernel.clone().zip(args.modules.clone()),
        firmware: args.firmware.clone(),
        program: args.program.clone(),
        init: args.init.clone(),
    };
    let listener = output.listener();
    let plan = Plan::new(&inputs, cancel, &*listener);
    drop(listener);
    let plan = plan?;
    show(&plan, output);
    if args.dry_run {
        output.summary(&plan);
        return Ok(Outcome::Done);
    }
    let listener = output.listener();
    if args.initramfs_only {
        plan.write_files(&args.out, &*listener)?;
        drop(listener);
        output.summary(&plan);
        return Ok(Outcome::Done);
    }
    let written = plan.write(&args.out, &args.append, &*listener);
    drop(listener);
    let sizes = written?;
    output.result(&format!(
        "{}: {}, {} of it the rescue system and {} the kernel",
        args.out.display(),
        human(sizes.medium),
        human(sizes.initramfs),
        human(plan.kernel_bytes)
    ));
    output.summary(&serde_json::json!({ "plan": plan, "sizes": sizes }));
    Ok(Outcome::Done)
}

fn show(plan: &Plan, output: &Output) {
    output.info(&format!("kernel {} ({})", plan.kernel, human(plan.kernel_bytes)));
    output.info(&format!("{} modules ({})", plan.modules, human(plan.modules_bytes)));
    output.info(&format!("both programs ({})", human(plan.programs_bytes)));
    output.info("from these packages of Debian:");
    for package in &plan.packages {
        output.info(&format!("  {:<28} {:<34} {}", package.name, package.version, package.why));
    }
    output.info(&format!("{} unpacked", human(plan.unpacked_bytes)));
    for notice in &plan.notices {
        output.note(notice);
    }
}

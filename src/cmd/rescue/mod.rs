// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo rescue`: making the medium that a machine without a system is
//! started from.

pub mod build;
pub mod write;

use clap::{Args, Subcommand};

use crate::error::Result;
use crate::pipeline::Cancel;

use super::Outcome;
use super::output::Output;
use super::unattended::{self, AutoArgs};

const EXAMPLE: &str = "\
Examples:
  dacapo rescue build rescue.iso
  dacapo rescue write rescue.iso /dev/sdb";

/// Make the medium that starts a machine without a system
///
/// A small system with nothing in it but a kernel, dacapo and a few tools. It
/// starts from CD or USB stick, under BIOS and UEFI, with Secure Boot as well.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, arg_required_else_help = true)]
pub struct RescueArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: RescueCommand,
}

/// The steps of making a medium.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "a comment here would replace the help text of the struct")]
pub enum RescueCommand {
    Build(build::BuildArgs),
    Write(write::WriteArgs),
    #[command(hide = true)]
    Auto(AutoArgs),
}

/// Runs the command.
///
/// # Errors
/// Those of the step.
pub fn run(args: &RescueArgs, output: &Output, cancel: &Cancel) -> Result<Outcome> {
    match &args.command {
        RescueCommand::Build(args) => build::run(args, output, cancel),
        RescueCommand::Write(args) => write::run(args, output, cancel),
        RescueCommand::Auto(args) => unattended::run(args, output, cancel),
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Options of the two commands that write to a disk.

use clap::{Args, ValueEnum};

/// What to do with ranges of the target that the image does not store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum FreeSpace {
    /// Discard where the disk can, else leave
    #[default]
    Auto,
    /// Leave what is there
    Leave,
    /// Tell the disk that it may forget them (TRIM)
    Discard,
    /// Write zeros: slow, but no old data stays behind
    Zero,
}

/// What to write where the source could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Fill {
    /// Zeros
    #[default]
    Zeros,
    /// A text that can be searched for: DACAPO: THIS COULD NOT BE READ
    Pattern,
}

/// Options of `dacapo restore` and `dacapo clone`.
#[derive(Debug, Args)]
pub struct TargetArgs {
    /// Show what would be done, and write nothing
    #[arg(long)]
    pub dry_run: bool,

    /// What to do with ranges that hold no data
    #[arg(long, value_enum, value_name = "WHAT", default_value = "auto")]
    pub free: FreeSpace,

    /// Fit onto a smaller disk, if all data lies in front of its end
    ///
    /// The end of the GPT is moved to the end of the smaller disk. Nothing is
    /// shrunk or moved; if data lies behind the end, this is refused.
    #[arg(long)]
    pub fit: bool,

    /// What to write where the source could not be read
    #[arg(long, value_enum, value_name = "WHAT", default_value = "zeros")]
    pub fill: Fill,

    /// Do not read back what was written
    #[arg(long)]
    pub no_verify: bool,

    /// The answer to the question.
    #[command(flatten)]
    pub answer: ConfirmArgs,
}

/// What a script says in place of a person who is asked.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfirmArgs {
    /// Do not ask; a disk or drive needs --confirm, too
    #[arg(long, help_heading = "Confirmation without a question")]
    pub yes: bool,

    /// Serial number of the disk or drive that may be written to
    ///
    /// 'dacapo disks' shows it. Without one: the size of the disk in bytes, or the
    /// model of a drive for discs.
    #[arg(long, value_name = "SERIAL", help_heading = "Confirmation without a question")]
    pub confirm: Option<String>,
}

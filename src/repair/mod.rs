// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boot repair: what a restored machine may need beyond its exact bytes.
//!
//! A restore changes nothing. Each step here changes one named thing, shows
//! first what that will be, and reports what it reads back afterwards. None is
//! ever run unless a person chose it.
//!
//! - `disk`: the disk a step is about, seen and opened
//! - `boot_entry`: the entry in the firmware; with `efivars`, the firmware's
//!   variables, and `load_option`, the form of an entry
//! - `fallback_loader`: the loader that is found without an entry; with `esp`,
//!   the FAT volume it is on, and `loader`, what can be started there
//! - `backup_gpt`: the backup of the partition table, at the end of the disk
//! - `grow`: the last partition of a larger disk; with `filesystem`, how each
//!   filesystem grows, and `tool`, the programs that do it

mod backup_gpt;
mod boot_entry;
mod disk;
mod efivars;
mod esp;
mod fallback_loader;
mod filesystem;
mod grow;
mod load_option;
mod loader;
mod tool;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::device::Source;
use crate::error::{Error, Result};

use disk::{Disk, Seen};

/// Every step, in the order in which they are sensibly run.
static REPAIRS: &[&dyn Repair] = &[
    &boot_entry::BootEntry,
    &fallback_loader::FallbackLoader,
    &backup_gpt::BackupGpt,
    &grow::Grow,
];

/// The machine a step runs on; tests have one in a folder.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Where the kernel says that the firmware is UEFI.
    pub firmware: PathBuf,
    /// Where the firmware's variables are files.
    pub variables: PathBuf,
    /// Where the programs of filesystems are looked for.
    pub tools: Vec<PathBuf>,
}

impl Machine {
    /// The machine this program runs on.
    #[must_use]
    pub fn running() -> Self {
        Self::with_firmware("/sys/firmware/efi")
    }

    /// This machine, with its firmware's variables in the folder `efivars`
    /// below this one.
    #[must_use]
    pub fn with_firmware(folder: impl Into<PathBuf>) -> Self {
        let firmware = folder.into();
        let variables = firmware.join("efivars");
        Self { firmware, variables, tools: tool::folders() }
    }

    fn has_tool(&self, name: &str) -> bool {
        tool::find(&self.tools, name).is_some()
    }

    /// The part of the names of boot loaders that says for which processor
    /// they are. Some machines of 64 bits have firmware of 32.
    fn suffix(&self) -> loader::Suffix {
        let bits = std::fs::read_to_string(self.firmware.join("fw_platform_size"));
        let is_32 = bits.is_ok_and(|bits| bits.trim() == "32");
        match std::env::consts::ARCH {
            "x86_64" | "x86" if is_32 => "ia32",
            "aarch64" => "aa64",
            _ => "x64",
        }
    }
}

/// Can a step be run, and is there anything to do?
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "reason", rename_all = "kebab-case")]
pub enum State {
    /// There is something to do, and it can be done.
    Possible,
    /// There is nothing to do, and why.
    NotNeeded(String),
    /// It cannot be done here, and why.
    NotPossible(String),
}

/// What a step finds to do.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Plan {
    state: State,
    will: Vec<String>,
}

impl Plan {
    fn possible(will: Vec<String>) -> Self {
        Self { state: State::Possible, will }
    }

    fn not_needed(why: impl Into<String>) -> Self {
        Self { state: State::NotNeeded(why.into()), will: Vec::new() }
    }

    fn not_possible(why: impl Into<String>) -> Self {
        Self { state: State::NotPossible(why.into()), will: Vec::new() }
    }
}

/// One kind of step.
trait Repair: Sync {
    /// The name on the command line.
    fn name(&self) -> &'static str;

    /// What it is for, as a heading.
    fn title(&self) -> &'static str;

    /// When a machine needs it, in a sentence.
    fn why(&self) -> &'static str;

    /// What it would do to this disk; nothing is written.
    fn plan(&self, machine: &Machine, disk: &Disk<'_>) -> Result<Plan>;

    /// Does it, and says what is there now.
    fn run(&self, machine: &Machine, seen: &Seen) -> Result<Vec<String>>;
}

/// A step that a person can choose for a disk.
#[derive(Clone, Serialize)]
pub struct Step {
    /// The name on the command line: "boot-entry".
    pub name: &'static str,
    /// What it is for, as a heading.
    pub title: &'static str,
    /// When a machine needs it, in a sentence.
    pub why: &'static str,
    /// Can it be run, and is there anything to do?
    #[serde(flatten)]
    pub state: State,
    /// What it will do, a line each.
    pub will: Vec<String>,
    #[serde(skip)]
    repair: &'static dyn Repair,
    #[serde(skip)]
    machine: Arc<Machine>,
    #[serde(skip)]
    seen: Arc<Seen>,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step")
            .field("name", &self.name)
            .field("state", &self.state)
            .field("will", &self.will)
            .finish_non_exhaustive()
    }
}

impl Step {
    /// True if there is something to do, and it can be done.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        self.state == State::Possible
    }

    /// Why there is nothing to do, or why it cannot be done.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match &self.state {
            State::Possible => None,
            State::NotNeeded(why) | State::NotPossible(why) => Some(why),
        }
    }

    /// Does it, and says what is there now, a line each, as it was read back.
    ///
    /// # Errors
    /// Refused before anything is written if the step is not possible, the disk
    /// is in use, or has become another one since the step was shown. Any later
    /// error says what was done and what was not.
    pub fn run(&self) -> Result<Vec<String>> {
        if let Some(reason) = self.reason() {
            return Err(Error::refused(format!("{} is not done: {reason}", self.name)));
        }
        self.repair.run(&self.machine, &self.seen)
    }
}

/// The names of all steps.
#[must_use]
pub fn names() -> Vec<&'static str> {
    REPAIRS.iter().map(|repair| repair.name()).collect()
}

/// What can be repaired on a disk, or the file of one; nothing is written.
///
/// # Errors
/// If the disk cannot be read.
pub fn steps(disk: &Path) -> Result<Vec<Step>> {
    steps_on(&Machine::running(), disk)
}

/// As [`steps`], on a machine that need not be the one this runs on.
///
/// # Errors
/// As [`steps`].
pub fn steps_on(machine: &Machine, path: &Path) -> Result<Vec<Step>> {
    let source = Source::open(path)?;
    let seen = Arc::new(Seen::new(path, &source)?);
    let machine = Arc::new(machine.clone());
    let disk = Disk::new(&source);
    Ok(REPAIRS
        .iter()
        .map(|repair| {
            let plan = repair
                .plan(&machine, &disk)
                .unwrap_or_else(|error| Plan::not_possible(error.to_string()));
            Step {
                name: repair.name(),
                title: repair.title(),
                why: repair.why(),
                state: plan.state,
                will: plan.will,
                repair: *repair,
                machine: Arc::clone(&machine),
                seen: Arc::clone(&seen),
            }
        })
        .collect())
}

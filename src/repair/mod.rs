// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boot repair: what a restored machine may need beyond its exact bytes.
//!
//! A restore changes nothing. Each step here changes one named thing, shows
//! first what that will be, and reports what it reads back afterwards. None is
//! ever run unless a person chose it.
//!
//! - `disk`: the disk a step is about
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
#[cfg(fuzzing)]
pub mod fuzzing;
mod grow;
mod load_option;
mod loader;
mod tool;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::device::Seen;
use crate::error::{Error, Result};

use disk::Disk;

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

    /// Why what was shown is not done any more.
    fn refusal(self) -> Error {
        Error::refused(match self.state {
            State::Possible => "there is something else to do by now".into(),
            State::NotNeeded(why) | State::NotPossible(why) => why,
        })
    }
}

/// What a person has seen and agreed to.
struct Agreed<'a> {
    seen: &'a Seen,
    will: &'a [String],
}

impl Agreed<'_> {
    /// Fails if a step would do anything that was not shown. It may do less:
    /// steps before it may have done a part of it.
    fn check(&self, will: &[String]) -> Result<()> {
        let Some(other) = will.iter().find(|line| !self.will.contains(line)) else {
            return Ok(());
        };
        Err(Error::refused(format!("it would do what was not shown: {other}"))
            .hint("nothing was written; look at what it would do now, and choose it again"))
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

    /// Does it, if it is what was agreed to, and says what is there now.
    fn run(&self, machine: &Machine, agreed: &Agreed<'_>) -> Result<Vec<String>>;
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
    /// is in use or has become another one since the step was shown, or if it
    /// would do more than was shown. Any later error says what was done and
    /// what was not.
    pub fn run(&self) -> Result<Vec<String>> {
        if let Some(reason) = self.reason() {
            return Err(Error::refused(format!("{} is not done: {reason}", self.name)));
        }
        self.repair.run(&self.machine, &Agreed { seen: &self.seen, will: &self.will })
    }

    /// The same step as it is after others were run.
    ///
    /// # Errors
    /// Refused if the disk has become another one, or if the step would do more
    /// than was shown.
    pub fn again(&self) -> Result<Self> {
        let source = self.seen.open()?;
        let Plan { state, will } = plan(self.repair, &self.machine, &Disk::new(&source));
        Agreed { seen: &self.seen, will: &self.will }.check(&will)?;
        Ok(Self { state, will, ..self.clone() })
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
/// If the disk cannot be read, or is not the one that was seen.
pub fn steps(seen: &Seen) -> Result<Vec<Step>> {
    steps_on(&Machine::running(), seen)
}

/// As [`steps`], on a machine that need not be the one this runs on.
///
/// # Errors
/// As [`steps`].
pub fn steps_on(machine: &Machine, seen: &Seen) -> Result<Vec<Step>> {
    let source = seen.open()?;
    let seen = Arc::new(seen.clone());
    let machine = Arc::new(machine.clone());
    let disk = Disk::new(&source);
    Ok(REPAIRS
        .iter()
        .map(|repair| {
            let Plan { state, will } = plan(*repair, &machine, &disk);
            Step {
                name: repair.name(),
                title: repair.title(),
                why: repair.why(),
                state,
                will,
                repair: *repair,
                machine: Arc::clone(&machine),
                seen: Arc::clone(&seen),
            }
        })
        .collect())
}

fn plan(repair: &dyn Repair, machine: &Machine, disk: &Disk<'_>) -> Plan {
    repair.plan(machine, disk).unwrap_or_else(|error| Plan::not_possible(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::error::ErrorKind;
    use crate::table::samples::GptDisk;
    use crate::units::SectorSize;

    /// The file of a disk whose table was made for fewer sectors.
    fn copied(path: &Path, sectors: u64) -> Vec<u8> {
        let small = GptDisk::new(SectorSize::B512, sectors, 4, 128, &[(0, 8, 15)]);
        let mut bytes = small.bytes.clone();
        bytes.resize(200 * 512, 0);
        std::fs::write(path, &bytes).unwrap();
        bytes
    }

    fn backup_gpt(path: &Path) -> Step {
        let seen = Seen::new(path).unwrap();
        let machine = Machine::with_firmware("/nowhere");
        let steps = steps_on(&machine, &seen).unwrap();
        steps.into_iter().find(|step| step.name == "backup-gpt").unwrap()
    }

    #[test]
    fn a_step_changes_the_disk_that_was_shown_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("disk.raw"), folder.path().join("other.raw"));
        copied(&path, 64);
        let step = backup_gpt(&path);
        assert!(step.is_possible() && step.again().unwrap().is_possible());
        // The same bytes, but another one: as if it was unplugged meanwhile.
        let bytes = copied(&other, 64);
        std::fs::rename(&other, &path).unwrap();
        for result in [step.run().map(drop), step.again().map(drop)] {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert!(error.to_string().contains("another one"), "{error}");
        }
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn a_step_does_what_was_shown_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.raw");
        copied(&path, 64);
        let step = backup_gpt(&path);
        // Somebody else has changed it: the old backup is elsewhere.
        let bytes = copied(&path, 80);
        for result in [step.run().map(drop), step.again().map(drop)] {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert!(error.to_string().contains("was not shown"), "{error}");
        }
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        // As shown again it is done, and then there is nothing left of it.
        let step = backup_gpt(&path);
        step.run().unwrap();
        assert_ne!(std::fs::read(&path).unwrap(), bytes);
        assert!(matches!(step.again().unwrap().state, State::NotNeeded(_)));
        assert_eq!(step.run().unwrap_err().kind(), ErrorKind::Refused);
    }
}

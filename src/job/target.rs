// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is about to be overwritten, and what it takes to confirm that.
//!
//! A disk is shown by model, serial number, size and what is on it now, and
//! its serial number must be given, or its size if it has none: names such as
//! /dev/sdb change from one start to the next, serial numbers do not. A file
//! that holds data needs a plain yes, a new file nothing.

use std::path::Path;

use crate::device::{self, DiskIdentity, Seen, Source};
use crate::error::{Error, Result};
use crate::layout::{self, Layout};
use crate::units::{human, parse_size};

/// What is about to be overwritten.
#[derive(Debug, Clone)]
pub struct Target {
    /// The path the user gave.
    pub path: String,
    /// A disk or a file.
    pub kind: Kind,
    /// What is on it now.
    pub layout: Layout,
}

/// The kinds of targets, which are confirmed differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file that does not exist yet, or is empty.
    NewFile,
    /// A regular file that holds data.
    File {
        /// Its size in bytes.
        size: u64,
    },
    /// A disk or a partition.
    Device {
        /// The model, as the drive gives it.
        model: Option<String>,
        /// The serial number of the drive.
        serial: Option<String>,
        /// The size in bytes.
        size: u64,
    },
}

/// The agreement to overwrite one target. There is no other way to get one
/// than the answer of a person, or the options that stand for it.
#[derive(Debug)]
pub struct Confirmed {
    path: String,
}

impl Confirmed {
    /// True if it is this target that may be overwritten.
    pub(super) fn is_of(&self, target: &Target) -> bool {
        self.path == target.path
    }
}

impl Target {
    /// A target whose content is of no interest, because it stays.
    #[must_use]
    pub fn seen(seen: &Seen) -> Self {
        let DiskIdentity { model, serial, size, .. } = seen.identity().clone();
        let kind = if seen.is_device() {
            Kind::Device { model, serial, size }
        } else {
            Kind::File { size }
        };
        Self { path: seen.path().display().to_string(), kind, layout: Layout::default() }
    }

    /// The agreement, if `answer` is what names this device.
    #[must_use]
    pub fn confirm_by_name(&self, answer: &str) -> Option<Confirmed> {
        let is_it = matches!(self.kind, Kind::Device { .. }) && self.is_named(answer);
        is_it.then(|| self.confirmed())
    }

    /// The agreement of somebody who said yes; of a device that is not enough.
    #[must_use]
    pub fn confirm_by_yes(&self) -> Option<Confirmed> {
        matches!(self.kind, Kind::File { .. }).then(|| self.confirmed())
    }

    /// The agreement that a new file needs: none. But a mistyped or unplugged
    /// disk must not become a file in the memory that holds /dev.
    ///
    /// # Errors
    /// Refused if it is to be below /dev, or is no new file.
    pub fn confirm_new(&self) -> Result<Confirmed> {
        if self.kind != Kind::NewFile {
            return Err(Error::refused(format!("{} holds data", self.path)));
        }
        if self.path.starts_with("/dev/") {
            return Err(Error::refused(format!("{} does not exist", self.path))
                .hint("'dacapo disks' lists the disks"));
        }
        Ok(self.confirmed())
    }

    fn confirmed(&self) -> Confirmed {
        Confirmed { path: self.path.clone() }
    }

    /// The serial number of a device that has one.
    #[must_use]
    pub fn serial(&self) -> Option<&str> {
        match &self.kind {
            Kind::Device { serial: Some(serial), .. } => Some(serial.trim()),
            _ => None,
        }
        .filter(|serial| !serial.is_empty())
    }

    /// The size in bytes; of a new file 0.
    #[must_use]
    pub const fn size(&self) -> u64 {
        match self.kind {
            Kind::NewFile => 0,
            Kind::File { size } | Kind::Device { size, .. } => size,
        }
    }

    /// What confirms this device: its serial number, else its size.
    #[must_use]
    pub fn name(&self) -> String {
        self.serial().map_or_else(|| self.size().to_string(), str::to_owned)
    }

    /// True if `text` is what confirms this device. Nobody types a serial
    /// number with its blanks, and case tells no two disks apart.
    #[must_use]
    pub fn is_named(&self, text: &str) -> bool {
        let folded = |text: &str| -> String {
            text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_ascii_lowercase()).collect()
        };
        if text.trim().is_empty() {
            return false;
        }
        match self.serial() {
            Some(serial) => folded(serial) == folded(text),
            None => {
                parse_size(text).is_ok_and(|size| size == self.size())
                    || folded(&human(self.size())) == folded(text)
            }
        }
    }

    /// "/dev/sdb is Samsung SSD 870 EVO, serial S5Y1, 466 GiB"
    #[must_use]
    pub fn identity(&self) -> String {
        let mut parts = Vec::new();
        if let Kind::Device { model: Some(model), .. } = &self.kind {
            parts.push(model.trim().to_owned());
        }
        if matches!(self.kind, Kind::Device { .. }) {
            parts.push(self.serial().map_or_else(
                || "without a serial number".to_owned(),
                |serial| format!("serial {serial}"),
            ));
        }
        parts.push(format!("{} ({} bytes)", human(self.size()), self.size()));
        format!("{} is {}", self.path, parts.join(", "))
    }

    /// What is on it now, a line for each partition.
    #[must_use]
    pub fn contents(&self) -> Vec<String> {
        self.layout
            .regions
            .iter()
            .filter(|region| region.partition.is_some() || region.filesystem.is_some())
            .map(|region| {
                let label = region.filesystem.as_ref().and_then(|it| it.label.as_deref());
                format!(
                    "{}: {}{}, {}",
                    region.title(),
                    region.content(),
                    label.map(|label| format!(" '{label}'")).unwrap_or_default(),
                    human(region.extent.len())
                )
            })
            .collect()
    }
}

/// What is on the target now, to be shown before it is overwritten; and how
/// to know it again, unless it holds nothing.
pub(super) fn look_at(path: &Path) -> Result<(Target, Option<Seen>)> {
    let name = path.display().to_string();
    if is_new(path) {
        let kind = Kind::NewFile;
        return Ok((Target { path: name, kind, layout: Layout::default() }, None));
    }
    let source = Source::open(path)?;
    let seen = Seen::of_source(&source)?;
    let scan = layout::scan(&source).unwrap_or_default();
    Ok((Target { layout: scan.layout, ..Target::seen(&seen) }, Some(seen)))
}

/// What kind of target is at a path.
pub(super) fn kind_of(path: &Path) -> Result<Kind> {
    if is_new(path) { Ok(Kind::NewFile) } else { Ok(Target::seen(&Seen::new(path)?).kind) }
}

fn is_new(path: &Path) -> bool {
    std::fs::metadata(path).map_or(true, |it| it.is_file() && it.len() == 0)
}

/// Fails unless the opened target is what was confirmed: what was seen, or still
/// new.
pub(super) fn check_same(target: &device::Target, seen: Option<&Seen>) -> Result<()> {
    if let Some(seen) = seen {
        return seen.check(&Seen::of_target(target)?);
    }
    if target.was_created() || target.was_empty() {
        return Ok(());
    }
    Err(Error::refused(format!("{} has got content since it was shown", target.path()))
        .hint("nothing was written; begin again, and look at it anew"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn device(serial: Option<&str>) -> Target {
        Target {
            path: "/dev/sdb".into(),
            kind: Kind::Device { model: None, serial: serial.map(str::to_owned), size: 1 << 20 },
            layout: Layout::default(),
        }
    }

    #[test]
    fn an_agreement_is_of_one_target_and_of_its_kind() {
        let (disk, path) = (device(Some("S5Y1")), "a.raw".to_owned());
        let file =
            Target { path: path.clone(), kind: Kind::File { size: 1 }, layout: Layout::default() };
        let new = Target { path, kind: Kind::NewFile, layout: Layout::default() };
        assert!(disk.confirm_by_yes().is_none() && disk.confirm_new().is_err());
        assert!(disk.confirm_by_name("S5Y2").is_none());
        let confirmed = disk.confirm_by_name(" s5y1").unwrap();
        assert!(confirmed.is_of(&disk) && !confirmed.is_of(&file));
        assert!(file.confirm_by_name("1").is_none() && file.confirm_new().is_err());
        assert!(file.confirm_by_yes().is_some_and(|it| it.is_of(&file)));
        assert!(new.confirm_by_yes().is_none() && new.confirm_by_name("0").is_none());
        assert!(new.confirm_new().is_ok());
        let below_dev = Target { path: "/dev/sdq".into(), ..new };
        assert!(below_dev.confirm_new().is_err());
    }

    #[test]
    fn a_new_file_is_still_empty_when_it_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.raw");
        assert!(look_at(&path).unwrap().1.is_none());
        check_same(&device::Target::open(&path, Some(4096)).unwrap(), None).unwrap();
        std::fs::write(&path, []).unwrap();
        check_same(&device::Target::open(&path, Some(4096)).unwrap(), None).unwrap();
        // Of the right length, but somebody else's.
        let error =
            check_same(&device::Target::open(&path, Some(4096)).unwrap(), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    }
}

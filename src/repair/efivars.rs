// SPDX-License-Identifier: MIT OR Apache-2.0
//! The variables of UEFI firmware, as the kernel shows them in files: four
//! bytes of attributes, then the value. A variable is written whole by one
//! call; the kernel protects some of them by the flag "immutable".

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::load_option::{ACTIVE, LoadOption};
use crate::device;
use crate::error::{Context, Error, ErrorKind, Result};

/// The vendor of all variables that the specification defines.
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Kept without power, and seen before and after the system is started.
const ATTRIBUTES: u32 = 7;
/// No variable of any firmware is longer.
const MOST_BYTES: u64 = 128 << 10;

/// The folder of a firmware's variables.
#[derive(Debug)]
pub(super) struct Variables<'a> {
    folder: &'a Path,
}

/// A boot entry and its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) number: u16,
    pub(super) option: LoadOption,
    /// All of it as the firmware has it: more may be in it than is understood.
    value: Vec<u8>,
}

impl Entry {
    /// A new entry.
    ///
    /// # Errors
    /// If it would be longer than entries can be.
    pub(super) fn new(number: u16, option: LoadOption) -> Result<Self> {
        let value = option
            .to_bytes()
            .ok_or_else(|| Error::failed(format!("{} would be too long", boot_name(number))))?;
        Ok(Self { number, option, value })
    }

    fn parse(number: u16, value: Vec<u8>) -> Option<Self> {
        Some(Self { number, option: LoadOption::parse(&value)?, value })
    }

    /// The same entry, to be tried by itself; every other bit stays.
    pub(super) fn switched_on(mut self) -> Self {
        self.option.attributes |= ACTIVE;
        if let Some(field) = self.value.get_mut(..4) {
            field.copy_from_slice(&self.option.attributes.to_le_bytes());
        }
        self
    }

    /// "Boot0003"
    pub(super) fn name(&self) -> String {
        boot_name(self.number)
    }
}

/// "Boot0003"
pub(super) fn boot_name(number: u16) -> String {
    format!("Boot{number:04X}")
}

impl<'a> Variables<'a> {
    /// The variables in a folder; `None` if there are none, as where nothing
    /// is mounted: every firmware has some.
    pub(super) fn open(folder: &'a Path) -> Option<Self> {
        let has_some = std::fs::read_dir(folder).ok()?.next().is_some();
        has_some.then_some(Self { folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}-{GLOBAL}"))
    }

    /// The value of a variable, if it is there.
    fn read(&self, name: &str) -> Result<Option<(u32, Vec<u8>)>> {
        let what = || format!("reading the firmware's variable {name}");
        let file = match File::open(self.path(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.context(what)?,
        };
        let mut bytes = Vec::new();
        file.take(MOST_BYTES).read_to_end(&mut bytes).context(what)?;
        // A variable that was deleted may still have an empty file.
        let Some((attributes, value)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
        Ok(Some((u32::from_le_bytes(*attributes), value.to_vec())))
    }

    /// Sets a variable, and reads it back.
    fn write(&self, name: &str, value: &[u8]) -> Result<()> {
        let what = || format!("writing the firmware's variable {name}");
        let path = self.path(name);
        let attributes = self.read(name)?.map_or(ATTRIBUTES, |(attributes, _)| attributes);
        if let Ok(file) = File::open(&path) {
            device::clear_immutable(&file).context(what)?;
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .context(what)?;
        let bytes = [&attributes.to_le_bytes()[..], value].concat();
        let written = file.write(&bytes).map_err(|error| refused_by_firmware(name, error))?;
        drop(file);
        if written != bytes.len() || self.read(name)? != Some((attributes, value.to_vec())) {
            return Err(Error::damaged(format!(
                "the firmware's variable {name} reads back differently from what was written"
            ))
            .hint("look at the boot order in the setup of the firmware before the next start"));
        }
        Ok(())
    }

    /// The order in which entries are tried.
    pub(super) fn boot_order(&self) -> Result<Vec<u16>> {
        let value = self.read("BootOrder")?.map(|(_, value)| value).unwrap_or_default();
        let (pairs, _) = value.as_chunks::<2>();
        Ok(pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect())
    }

    pub(super) fn set_boot_order(&self, order: &[u16]) -> Result<()> {
        let value: Vec<u8> = order.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.write("BootOrder", &value)
    }

    /// The entries that can be understood, by number. Their numbers are four
    /// capital digits: other spellings are other variables.
    pub(super) fn entries(&self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for number in self.numbers()? {
            if let Some((_, value)) = self.read(&boot_name(number))?
                && let Some(entry) = Entry::parse(number, value)
            {
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    /// The numbers that are taken, by whatever.
    fn numbers(&self) -> Result<Vec<u16>> {
        let what = || format!("reading the firmware's variables in {}", self.folder.display());
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(self.folder).context(what)? {
            let name = entry.context(what)?.file_name();
            let Some(name) = name.to_str() else { continue };
            let digits = name
                .strip_prefix("Boot")
                .and_then(|rest| rest.strip_suffix(GLOBAL)?.strip_suffix('-'));
            if let Some(digits) = digits
                && let Ok(number) = u16::from_str_radix(digits, 16)
                && boot_name(number) == format!("Boot{digits}")
            {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The smallest numbers that no entry has and the order does not name.
    pub(super) fn free_numbers(&self) -> Result<impl Iterator<Item = u16> + use<>> {
        let mut taken = self.numbers()?;
        taken.extend(self.boot_order()?);
        Ok((0..=u16::MAX).filter(move |number| !taken.contains(number)))
    }

    pub(super) fn set_entry(&self, entry: &Entry) -> Result<()> {
        self.write(&entry.name(), &entry.value)
    }
}

fn refused_by_firmware(name: &str, error: io::Error) -> Error {
    let what = format!("writing the firmware's variable {name}");
    match error.raw_os_error() {
        Some(libc::ENOSPC) => Error::io(what, error).hint(
            "the firmware has no room for another entry: delete old ones in its setup, or reset it",
        ),
        Some(libc::EACCES | libc::EPERM | libc::EROFS) => {
            Error::new(ErrorKind::Refused, format!("{what}: {error}"))
                .hint("the firmware or the system does not allow it; dacapo needs root for this")
        }
        _ => Error::io(what, error)
            .hint("the firmware did not take it; the fallback loader may start the disk as well"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(label: &str) -> LoadOption {
        LoadOption {
            attributes: 1,
            label: label.into(),
            drive: None,
            file: Some("\\a.efi".into()),
            arguments: Vec::new(),
        }
    }

    #[test]
    fn entries_and_their_order_are_written_and_read() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Variables::open(folder.path()).is_none());
        assert!(Variables::open(&folder.path().join("no")).is_none());
        std::fs::write(folder.path().join("SecureBoot-x"), [6, 0, 0, 0, 1]).unwrap();
        let variables = Variables::open(folder.path()).unwrap();
        assert!(variables.entries().unwrap().is_empty());
        assert!(variables.boot_order().unwrap().is_empty());
        let entry = Entry::new(0x1a, option("debian")).unwrap();
        variables.set_entry(&entry).unwrap();
        variables.set_boot_order(&[0x1a, 0]).unwrap();
        assert_eq!(variables.entries().unwrap(), [entry]);
        assert_eq!(variables.boot_order().unwrap(), [0x1a, 0]);
        assert_eq!(variables.free_numbers().unwrap().take(2).collect::<Vec<_>>(), [1, 2]);
        let raw = std::fs::read(variables.path("BootOrder")).unwrap();
        assert_eq!(raw, [7, 0, 0, 0, 0x1a, 0, 0, 0]);
    }

    #[test]
    fn an_entry_that_is_switched_on_keeps_all_that_is_not_understood() {
        // A path of a network card and of a file, and two more instances.
        let mut value = vec![0, 0xab, 0, 0, 33, 0];
        value.extend([b'x', 0, 0, 0]);
        value.extend([3, 11, 4, 0, 4, 4, 8, 0, b'a', 0, 0, 0, 0x7f, 1, 4, 0]);
        value.extend([9, 9, 13, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x7f, 0xff, 4, 0]);
        value.extend([0xde, 0xad]);
        let entry = Entry::parse(1, value.clone()).unwrap().switched_on();
        value[0] = 1;
        assert_eq!(entry.value, value);
        assert_ne!(entry.option.to_bytes().unwrap(), value);
        assert_eq!(Entry::parse(1, value), Some(entry));
    }

    #[test]
    fn what_is_no_entry_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        };
        for (name, bytes) in [
            (format!("Boot0000-{GLOBAL}"), &[7, 0, 0, 0, 1, 0][..]),
            (format!("Boot0001-{GLOBAL}"), &[7, 0][..]),
            (format!("Boot000g-{GLOBAL}"), &[][..]),
            (format!("Boot+001-{GLOBAL}"), &[][..]),
            (format!("Boot00aa-{GLOBAL}"), &[][..]),
            (format!("BootCurrent-{GLOBAL}"), &[6, 0, 0, 0, 1, 0][..]),
            ("Boot0002-other".to_owned(), &[][..]),
        ] {
            file(&name, bytes);
        }
        let variables = Variables::open(folder.path()).unwrap();
        assert!(variables.entries().unwrap().is_empty());
        // Their numbers are taken nevertheless.
        assert_eq!(variables.free_numbers().unwrap().next(), Some(2));
    }
}

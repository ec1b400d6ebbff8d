// SPDX-License-Identifier: MIT OR Apache-2.0
//! A boot entry as the firmware keeps it: what is started, from which
//! partition, under which name.
//!
//! UEFI specification 2.10, section 3.1.3 (`EFI_LOAD_OPTION`), 10.3.5.1 (hard
//! drive) and 10.3.5.4 (file path).

#![warn(clippy::arithmetic_side_effects, clippy::as_conversions)]

use std::fmt;

use uuid::Uuid;

use crate::ondisk::Fields;

/// The entry is to be tried by itself.
pub(super) const ACTIVE: u32 = 1;

/// Attributes and length of the path, in front of the name.
const NAME: usize = 6;
const MEDIA: u8 = 0x04;
const HARD_DRIVE: u8 = 0x01;
const FILE_PATH: u8 = 0x04;
const END: [u8; 4] = [0x7f, 0xff, 4, 0];
const HARD_DRIVE_LEN: u16 = 42;

/// A partition as the firmware knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HardDrive {
    /// Its number, from 1.
    pub(super) number: u32,
    /// Its first sector.
    pub(super) start: u64,
    /// Its length in sectors.
    pub(super) sectors: u64,
    /// What tells it from all others.
    pub(super) signature: Signature,
}

/// What tells a partition, or the disk of one, from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signature {
    /// The GUID of a partition in a GPT, as its bytes are there.
    Guid([u8; 16]),
    /// The signature of an MBR.
    Mbr(u32),
}

/// A boot entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LoadOption {
    /// [`ACTIVE`] and others.
    pub(super) attributes: u32,
    /// The name for people.
    pub(super) label: String,
    /// The partition, if it names one.
    pub(super) drive: Option<HardDrive>,
    /// The file on it.
    pub(super) file: Option<String>,
    /// What is given to the program.
    pub(super) arguments: Vec<u8>,
}

impl LoadOption {
    /// Reads an entry; `None` if the bytes are none.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let attributes = bytes.u32_le(0)?;
        let path_len = usize::from(bytes.u16_le(4)?);
        let (label, name_len) = utf16_text(bytes.get(NAME..)?)?;
        let path_start = NAME.checked_add(name_len)?;
        let path_end = path_start.checked_add(path_len)?;
        let mut path = bytes.get(path_start..path_end)?;
        let mut option = Self {
            attributes,
            label,
            drive: None,
            file: None,
            arguments: bytes.get(path_end..)?.to_vec(),
        };
        // What follows the first end belongs to other instances of the path.
        while let Some((kind, sub_kind, node, rest)) = next_node(path) {
            match (kind, sub_kind) {
                (0x7f, _) => break,
                (MEDIA, HARD_DRIVE) => option.drive = HardDrive::parse(node),
                (MEDIA, FILE_PATH) => {
                    // A path may be given in several nodes.
                    let part = utf16_text(node.get(4..)?).map(|(text, _)| text)?;
                    option.file = Some(join(option.file.take(), &part));
                }
                _ => {}
            }
            path = rest;
        }
        Some(option)
    }

    /// The bytes of the entry; `None` if it is too long to be one.
    pub(super) fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut path = Vec::new();
        if let Some(drive) = &self.drive {
            path.extend(drive.to_bytes());
        }
        if let Some(file) = &self.file {
            let text = utf16_bytes(file);
            let len = u16::try_from(text.len().checked_add(4)?).ok()?;
            path.extend([MEDIA, FILE_PATH]);
            path.extend(len.to_le_bytes());
            path.extend(text);
        }
        path.extend(END);
        let mut bytes = self.attributes.to_le_bytes().to_vec();
        bytes.extend(u16::try_from(path.len()).ok()?.to_le_bytes());
        bytes.extend(utf16_bytes(&self.label));
        bytes.extend(path);
        bytes.extend(&self.arguments);
        Some(bytes)
    }

    /// True if this starts the same file from the same partition. Firmware
    /// finds a partition by what tells it from others, not by its place.
    pub(super) fn starts_same(&self, other: &Self) -> bool {
        let signature = |option: &Self| option.drive.map(|drive| drive.signature);
        let file = |option: &Self| option.file.as_deref().map(str::to_lowercase);
        signature(self).is_some()
            && signature(self) == signature(other)
            && file(self) == file(other)
            && self.drive.map(number) == other.drive.map(number)
    }
}

/// The number counts where the signature is that of a whole disk.
fn number(drive: HardDrive) -> u32 {
    match drive.signature {
        Signature::Guid(_) => 0,
        Signature::Mbr(_) => drive.number,
    }
}

/// Arguments as firmware hands them over: UTF-16 with a zero behind.
pub(super) fn arguments(text: &str) -> Vec<u8> {
    if text.is_empty() { Vec::new() } else { utf16_bytes(text) }
}

impl HardDrive {
    fn parse(node: &[u8]) -> Option<Self> {
        let signature = match (node.u8_at(40)?, node.u8_at(41)?) {
            (2, 2) => Signature::Guid(node.array(24)?),
            (1, 1) => Signature::Mbr(node.u32_le(24)?),
            _ => return None,
        };
        Some(Self {
            number: node.u32_le(4)?,
            start: node.u64_le(8)?,
            sectors: node.u64_le(16)?,
            signature,
        })
    }

    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = vec![MEDIA, HARD_DRIVE];
        bytes.extend(HARD_DRIVE_LEN.to_le_bytes());
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(self.start.to_le_bytes());
        bytes.extend(self.sectors.to_le_bytes());
        match self.signature {
            Signature::Guid(guid) => {
                bytes.extend(guid);
                bytes.extend([2, 2]);
            }
            Signature::Mbr(signature) => {
                bytes.extend(signature.to_le_bytes());
                bytes.extend([0; 12]);
                bytes.extend([1, 1]);
            }
        }
        bytes
    }
}

impl fmt::Display for LoadOption {
    /// "'debian': \EFI\debian\shimx64.efi on partition 1, GUID"
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.label)?;
        if let Some(file) = &self.file {
            write!(f, ": {file}")?;
        }
        match &self.drive {
            Some(HardDrive { number, signature: Signature::Guid(guid), .. }) => {
                write!(f, " on partition {number}, {}", Uuid::from_bytes_le(*guid))
            }
            Some(HardDrive { number, signature: Signature::Mbr(signature), .. }) => {
                write!(f, " on partition {number} of disk {signature:08x}")
            }
            None => Ok(()),
        }
    }
}

/// The kind, the node and what follows it.
fn next_node(path: &[u8]) -> Option<(u8, u8, &[u8], &[u8])> {
    let len = usize::from(path.u16_le(2)?);
    let (node, rest) = path.split_at_checked(len).filter(|_| len >= 4)?;
    Some((node.u8_at(0)?, node.u8_at(1)?, node, rest))
}

fn join(first: Option<String>, part: &str) -> String {
    match first {
        None => part.to_owned(),
        Some(first) => {
            format!("{}\\{}", first.trim_end_matches('\\'), part.trim_start_matches('\\'))
        }
    }
}

/// The text up to the zero, and its length in bytes with the zero.
fn utf16_text(bytes: &[u8]) -> Option<(String, usize)> {
    let (units, _) = bytes.as_chunks::<2>();
    let units: Vec<u16> = units.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
    let end = units.iter().position(|unit| *unit == 0)?;
    let text = String::from_utf16_lossy(units.get(..end)?);
    let text = text.chars().filter(|c| !c.is_control()).collect();
    Some((text, end.checked_add(1)?.checked_mul(2)?))
}

fn utf16_bytes(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> =
            hex.chars().filter_map(|c| c.to_digit(16)).map(|d| u8::try_from(d).unwrap()).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    /// An entry in the form in which `efibootmgr -c` writes it.
    const DEBIAN: &str = "01000000 6200 6400650062006900 61006e000000
        04012a00 01000000 0008000000000000 0000100000000000
        28732ac11ff8d211ba4b00a0c93ec93b 02 02
        04043400 5c004500460049005c00640065006200690061006e005c007300680069006d007800360034
        002e006500660069000000 7fff0400";

    #[test]
    fn an_entry_of_another_program_is_read_and_written_alike() {
        let bytes = bytes(DEBIAN);
        let option = LoadOption::parse(&bytes).unwrap();
        assert_eq!(option.label, "debian");
        assert_eq!(option.attributes, ACTIVE);
        assert_eq!(option.file.as_deref(), Some("\\EFI\\debian\\shimx64.efi"));
        let drive = option.drive.unwrap();
        assert_eq!((drive.number, drive.start, drive.sectors), (1, 0x800, 0x10_0000));
        assert_eq!(
            option.to_string(),
            "'debian': \\EFI\\debian\\shimx64.efi on partition 1, \
             c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
        );
        assert!(option.arguments.is_empty());
        assert_eq!(option.to_bytes().unwrap(), bytes);
    }

    #[test]
    fn the_same_file_of_the_same_partition_is_the_same_whatever_it_is_called() {
        let option = LoadOption::parse(&bytes(DEBIAN)).unwrap();
        let mut other = option.clone();
        other.label = "old".into();
        other.file = Some("\\efi\\DEBIAN\\shimx64.efi".into());
        // The partition was grown or moved.
        other.drive.as_mut().unwrap().sectors = 5;
        assert!(option.starts_same(&other));
        other.drive.as_mut().unwrap().signature = Signature::Guid([7; 16]);
        assert!(!option.starts_same(&other));
        let mut nowhere = option.clone();
        nowhere.drive = None;
        assert!(!nowhere.starts_same(&nowhere.clone()));
        // Of an MBR disk, the number of the partition counts, too.
        let mut first = option.clone();
        first.drive.as_mut().unwrap().signature = Signature::Mbr(1);
        let mut second = first.clone();
        second.drive.as_mut().unwrap().number = 2;
        assert!(first.starts_same(&first.clone()));
        assert!(!first.starts_same(&second));
    }

    #[test]
    fn cut_entries_are_none_and_never_a_panic() {
        let whole = bytes(DEBIAN);
        for len in 0..whole.len() {
            assert_eq!(LoadOption::parse(&whole[..len]), None, "{len}");
        }
        // A node that says it is longer than the path, or shorter than its
        // own header.
        for len in [0_u16, 3, 0xffff] {
            let mut wrong = whole.clone();
            wrong[22..24].copy_from_slice(&len.to_le_bytes());
            assert_eq!(LoadOption::parse(&wrong).unwrap().drive, None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = LoadOption::parse(&bytes);
        }

        #[test]
        fn what_is_written_is_read(
            label in "[a-zA-Z0-9 ]{1,40}",
            file in "\\\\EFI\\\\[a-z]{1,20}\\\\[a-z0-9]{1,12}\\.efi",
            guid in any::<[u8; 16]>(),
            numbers in any::<(u32, u64, u64, bool)>(),
            arguments in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let (number, start, sectors, is_mbr) = numbers;
            let signature = if is_mbr { Signature::Mbr(number) } else { Signature::Guid(guid) };
            let option = LoadOption {
                attributes: ACTIVE,
                label,
                drive: Some(HardDrive { number, start, sectors, signature }),
                file: Some(file),
                arguments,
            };
            prop_assert_eq!(LoadOption::parse(&option.to_bytes().unwrap()), Some(option));
        }
    }
}

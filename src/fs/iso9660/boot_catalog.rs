// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a machine starts from: the boot catalog of El Torito ("Bootable CD-ROM
//! Format Specification" 1.0, Phoenix and IBM).

use super::SECTOR;
use crate::extent::Extent;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError, text};

const ENTRY: usize = 32;
/// How many bytes of a catalog are looked at.
const MOST_BYTES: u64 = 16 * SECTOR;

/// The machine that an entry is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// A PC with a BIOS.
    Bios,
    /// A Mac with a `PowerPC` processor that starts as PCs do.
    PowerPc,
    /// A Mac.
    Mac,
    /// Any with UEFI.
    Efi,
    /// Another.
    Other(u8),
}

impl From<u8> for Platform {
    fn from(id: u8) -> Self {
        match id {
            0 => Self::Bios,
            1 => Self::PowerPc,
            2 => Self::Mac,
            0xef => Self::Efi,
            other => Self::Other(other),
        }
    }
}

/// What an image pretends to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emulation {
    /// Nothing: it is loaded and run.
    None,
    /// A floppy disk of 1200, 1440 or 2880 KiB.
    Floppy(u16),
    /// A hard disk.
    HardDisk,
    /// Something else.
    Other(u8),
}

/// An image that a machine can start from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootEntry {
    /// The machine it is for.
    pub platform: Platform,
    /// False if it is there, but not to be started from.
    pub is_bootable: bool,
    /// What it pretends to be.
    pub emulation: Emulation,
    /// The segment that it is loaded to; 0 for the usual one.
    pub load_segment: u16,
    /// How many sectors of 512 bytes are loaded at the start.
    pub load_sectors: u16,
    /// Where it begins, in bytes.
    pub position: u64,
    /// The name of the section that it is in.
    pub section: String,
}

impl BootEntry {
    /// The bytes of the image, as far as the catalog says: all of a floppy
    /// disk, otherwise what is loaded at the start.
    #[must_use]
    pub fn extent(&self) -> Extent {
        let len = match self.emulation {
            Emulation::Floppy(kib) => u64::from(kib).saturating_mul(1024),
            _ => u64::from(self.load_sectors).saturating_mul(512),
        };
        Extent::at(self.position, len)
    }
}

/// A boot catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootCatalog {
    /// Where it is, in bytes.
    pub position: u64,
    /// Who made it.
    pub manufacturer: String,
    /// What can be started, the default first.
    pub entries: Vec<BootEntry>,
}

impl BootCatalog {
    /// Reads the catalog at this byte.
    ///
    /// # Errors
    /// If it cannot be read, or its first entry, which has a checksum, is wrong.
    pub fn read(disc: &dyn ReadAt, position: u64) -> Result<Self, FormatError> {
        let len = disc.len().saturating_sub(position).min(MOST_BYTES);
        let bytes = read_vec(disc, position, usize::try_from(len).unwrap_or(0))?;
        let corrupt = |expected: &str, found: String| {
            FormatError::corrupt("boot catalog", position, expected, found)
        };
        let mut entries = bytes.chunks_exact(ENTRY);
        let validation = entries.next().unwrap_or_default();
        if validation.u8_at(0) != Some(1) || validation.bytes_at(30, 2) != Some(b"\x55\xaa") {
            let found = validation.escape_ascii().to_string();
            return Err(corrupt("a validation entry", found));
        }
        let words = validation.chunks_exact(2).filter_map(|word| word.u16_le(0));
        let sum = words.fold(0_u16, u16::wrapping_add);
        if sum != 0 {
            return Err(corrupt("a checksum of 0", format!("{sum:#06x}")));
        }
        let mut platform = Platform::from(validation.u8_at(1).unwrap_or(0));
        let default = entries.next().unwrap_or_default();
        let mut found = vec![parse(default, platform, "")];
        let mut section = String::new();
        // How many entries of the section follow, and whether it is the last.
        let (mut left, mut is_last) = (0_u16, false);
        for entry in entries {
            match entry.u8_at(0).unwrap_or(0) {
                header @ (0x90 | 0x91) if left == 0 && !is_last => {
                    is_last = header == 0x91;
                    platform = entry.u8_at(1).unwrap_or(0).into();
                    left = entry.u16_le(2).unwrap_or(0);
                    section = text(entry.bytes_at(4, 28).unwrap_or_default());
                }
                // More of the conditions of the entry in front.
                0x44 => {}
                0 | 0x88 if left > 0 => {
                    left = left.saturating_sub(1);
                    found.push(parse(entry, platform, &section));
                }
                _ => break,
            }
        }
        let manufacturer = text(validation.bytes_at(4, 24).unwrap_or_default());
        Ok(Self { position, manufacturer, entries: found })
    }
}

fn parse(entry: &[u8], platform: Platform, section: &str) -> BootEntry {
    let emulation = match entry.u8_at(1).unwrap_or(0) & 0x0f {
        0 => Emulation::None,
        1 => Emulation::Floppy(1200),
        2 => Emulation::Floppy(1440),
        3 => Emulation::Floppy(2880),
        4 => Emulation::HardDisk,
        other => Emulation::Other(other),
    };
    BootEntry {
        platform,
        is_bootable: entry.u8_at(0) == Some(0x88),
        emulation,
        load_segment: entry.u16_le(2).unwrap_or(0),
        load_sectors: entry.u16_le(6).unwrap_or(0),
        position: u64::from(entry.u32_le(8).unwrap_or(0)).saturating_mul(SECTOR),
        section: section.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, reason = "test numbers")]

    use super::*;
    use crate::io::Memory;

    fn catalog() -> Vec<u8> {
        let mut bytes = vec![0; 2048];
        bytes[0] = 1;
        bytes[4..8].copy_from_slice(b"ACME");
        bytes[30..32].copy_from_slice(b"\x55\xaa");
        let words = bytes[..32].chunks_exact(2).map(|word| word.u16_le(0).unwrap());
        let sum = words.fold(0_u16, u16::wrapping_add);
        bytes[28..30].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
        bytes[32..44].copy_from_slice(&[0x88, 2, 0, 0, 0, 0, 1, 0, 20, 0, 0, 0]);
        bytes[64..68].copy_from_slice(&[0x91, 0xef, 1, 0]);
        bytes[68..72].copy_from_slice(b"UEFI");
        bytes[96..108].copy_from_slice(&[0x88, 0, 0, 0, 0, 0, 8, 0, 0, 1, 0, 0]);
        bytes
    }

    #[test]
    fn entries_of_all_sections_are_found() {
        let found = BootCatalog::read(&Memory::new(catalog()), 0).unwrap();
        assert_eq!(found.manufacturer, "ACME");
        let [bios, efi] = found.entries.as_slice() else { panic!("{found:?}") };
        assert_eq!((bios.platform, bios.emulation), (Platform::Bios, Emulation::Floppy(1440)));
        assert_eq!(bios.extent(), Extent::at(20 * 2048, 1440 << 10));
        assert_eq!((efi.platform, efi.section.as_str()), (Platform::Efi, "UEFI"));
        assert_eq!(efi.extent(), Extent::at(256 * 2048, 4096));
    }

    #[test]
    fn a_wrong_checksum_is_an_error() {
        let mut bytes = catalog();
        bytes[5] ^= 1;
        assert!(BootCatalog::read(&Memory::new(bytes), 0).is_err());
        assert!(BootCatalog::read(&Memory::new(vec![1; 20]), 0).is_err());
        assert!(BootCatalog::read(&Memory::new(Vec::new()), 5).is_err());
    }
}

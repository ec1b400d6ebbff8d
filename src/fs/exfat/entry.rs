// SPDX-License-Identifier: MIT OR Apache-2.0
//! Folder entries: sets of 32-byte records, checked, as what they allocate.
//!
//! Names and offsets are those of the specification, sections 6 and 7. An
//! entry type that is not listed here is not skipped, although the
//! specification allows that for some: it may allocate clusters.

use crate::ondisk::{Fields, FormatError, text};

/// Bytes of an entry.
pub(super) const LEN: usize = 32;

/// The bit of an entry's type that says that it is in use.
pub(super) const IN_USE: u8 = 0x80;
/// The bit of an entry that belongs to the one before it.
pub(super) const SECONDARY: u8 = 0x40;

const BITMAP: u8 = 0x81;
pub(super) const UPCASE: u8 = 0x82;
const LABEL: u8 = 0x83;
pub(super) const FILE: u8 = 0x85;
const VOLUME_GUID: u8 = 0xa0;
const TEXFAT_PADDING: u8 = 0xa1;
pub(super) const STREAM: u8 = 0xc0;
pub(super) const FILE_NAME: u8 = 0xc1;
const VENDOR: u8 = 0xe0;
const VENDOR_ALLOCATION: u8 = 0xe1;

const NO_FAT_CHAIN: u8 = 1 << 1;
pub(super) const DIRECTORY: u16 = 1 << 4;

/// Clusters that an entry has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allocation {
    /// 0 if there are none.
    pub(super) first_cluster: u64,
    /// In bytes.
    pub(super) len: u64,
    /// The clusters follow each other; their FAT entries mean nothing.
    pub(super) is_contiguous: bool,
    /// The entry, in bytes from the start of the volume.
    pub(super) position: u64,
}

/// What a folder has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// An allocation bitmap: the first or the second.
    Bitmap(u8, Allocation),
    /// The up-case table and its checksum.
    Upcase(u32, Allocation),
    /// The label of the volume.
    Label(String),
    /// A file.
    File(Allocation),
    /// Another folder.
    Folder(Allocation),
    /// Clusters of a vendor's extension to a file.
    Extension(Allocation),
}

/// What follows an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// More entries.
    More,
    /// Nothing: the folder ends here.
    End,
}

/// Puts the entries of one folder together.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// The entries of a set so far, their positions, and how many are missing.
    set: Vec<u8>,
    positions: Vec<u64>,
    missing: u8,
    is_ended: bool,
}

impl Parser {
    /// The next entry, which is at `position`. What it completes is added to
    /// `items`.
    pub(super) fn push(
        &mut self,
        entry: &[u8],
        position: u64,
        items: &mut Vec<Item>,
    ) -> Result<Step, FormatError> {
        let Some(kind) = entry.u8_at(0).filter(|_| entry.len() == LEN) else {
            return Err(FormatError::corrupt("folder entry", position, "32 bytes", entry.len()));
        };
        let wrong = |expected: &str| {
            let found = format!("{kind:#04x}");
            Err(FormatError::corrupt("type of a folder entry", position, expected, found))
        };
        if self.missing > 0 {
            if kind & (IN_USE | SECONDARY) != IN_USE | SECONDARY {
                return wrong("another entry of the set");
            }
            self.add(entry, position);
            self.missing = self.missing.saturating_sub(1);
            if self.missing == 0 {
                self.finish(items)?;
            }
            return Ok(Step::More);
        }
        if self.is_ended && kind & IN_USE != 0 {
            return wrong("nothing behind the end of the folder");
        }
        match kind {
            0 => {
                self.is_ended = true;
                return Ok(Step::End);
            }
            _ if kind & IN_USE == 0 => {}
            BITMAP => {
                let number = entry.u8_at(1).unwrap_or(0);
                items.push(Item::Bitmap(number, allocation(entry, position, false)));
            }
            UPCASE => {
                let checksum = entry.u32_le(4).unwrap_or(0);
                items.push(Item::Upcase(checksum, allocation(entry, position, false)));
            }
            LABEL => items.push(Item::Label(label(entry, position)?)),
            FILE | VOLUME_GUID => {
                self.set.clear();
                self.positions.clear();
                self.add(entry, position);
                self.missing = entry.u8_at(1).unwrap_or(0);
                if self.missing == 0 {
                    self.finish(items)?;
                }
            }
            TEXFAT_PADDING => {}
            _ if kind & SECONDARY != 0 => return wrong("the first entry of a set"),
            _ => {
                return Err(FormatError::unsupported(format!(
                    "the folder entry at byte {position:#x} is of the unknown type {kind:#04x}"
                )));
            }
        }
        Ok(Step::More)
    }

    /// An error if the folder ends within a set.
    pub(super) fn end(&self) -> Result<(), FormatError> {
        match self.positions.first().filter(|_| self.missing > 0) {
            Some(position) => Err(FormatError::corrupt(
                "set of folder entries",
                *position,
                "all of its entries in the folder",
                format!("{} missing", self.missing),
            )),
            None => Ok(()),
        }
    }

    fn add(&mut self, entry: &[u8], position: u64) {
        self.set.extend_from_slice(entry);
        self.positions.push(position);
    }

    fn finish(&self, items: &mut Vec<Item>) -> Result<(), FormatError> {
        let position = self.positions.first().copied().unwrap_or(0);
        let sum = checksum(&self.set);
        let found = self.set.u16_le(2).unwrap_or(0);
        if sum != found {
            let (expected, found) = (format!("{sum:#06x}"), format!("{found:#06x}"));
            return Err(FormatError::corrupt("SetChecksum", position, expected, found));
        }
        if self.set.u8_at(0) == Some(VOLUME_GUID) {
            return match self.positions.len() {
                1 => Ok(()),
                _ => {
                    let found = self.positions.len();
                    Err(FormatError::corrupt("volume GUID entry", position, "no others", found))
                }
            };
        }
        self.file(position, items)
    }

    /// A file: its entry, a stream extension, and its name in as many entries
    /// as it takes; extensions of vendors may follow.
    fn file(&self, position: u64, items: &mut Vec<Item>) -> Result<(), FormatError> {
        let mut entries = self.set.chunks_exact(LEN).zip(self.positions.iter().copied()).skip(1);
        let wrong = |position, expected: &str, found: &[u8]| {
            let found = format!("type {:#04x}", found.u8_at(0).unwrap_or(0));
            Err(FormatError::corrupt("set of folder entries", position, expected, found))
        };
        let Some((stream, at)) = entries.next() else {
            return wrong(position, "a stream extension", &[]);
        };
        if stream.u8_at(0) != Some(STREAM) {
            return wrong(at, "a stream extension", stream);
        }
        let allocation = stream_allocation(stream, at)?;
        let attributes = self.set.u16_le(4).unwrap_or(0);
        items.push(if attributes & DIRECTORY != 0 {
            Item::Folder(allocation)
        } else {
            Item::File(allocation)
        });
        // At least one: a name has 1 to 255 letters, 15 in an entry.
        let letters = stream.u8_at(3).unwrap_or(0);
        let names = letters.div_ceil(15).max(1);
        for _ in 0..names {
            match entries.next() {
                Some((entry, _)) if entry.u8_at(0) == Some(FILE_NAME) => {}
                Some((entry, at)) => return wrong(at, "the name", entry),
                None => return wrong(position, "the name", &[]),
            }
        }
        for (entry, at) in entries {
            match entry.u8_at(0) {
                Some(VENDOR) => {}
                Some(VENDOR_ALLOCATION) => {
                    let is_contiguous = entry.u8_at(1).unwrap_or(0) & NO_FAT_CHAIN != 0;
                    items.push(Item::Extension(self::allocation(entry, at, is_contiguous)));
                }
                Some(STREAM | FILE_NAME) => return wrong(at, "an extension", entry),
                kind => {
                    return Err(FormatError::unsupported(format!(
                        "the folder entry at byte {at:#x} is of the unknown type {:#04x}",
                        kind.unwrap_or(0)
                    )));
                }
            }
        }
        Ok(())
    }
}

/// The clusters of a file, by its stream extension.
pub(super) fn stream_allocation(stream: &[u8], position: u64) -> Result<Allocation, FormatError> {
    let is_contiguous = stream.u8_at(1).unwrap_or(0) & NO_FAT_CHAIN != 0;
    let found = allocation(stream, position, is_contiguous);
    let valid = stream.u64_le(8).unwrap_or(u64::MAX);
    if valid > found.len {
        return Err(FormatError::corrupt(
            "ValidDataLength",
            position.saturating_add(8),
            format!("at most the {} of DataLength", found.len),
            valid,
        ));
    }
    Ok(found)
}

/// The clusters that an entry names.
pub(super) fn allocation(entry: &[u8], position: u64, is_contiguous: bool) -> Allocation {
    Allocation {
        first_cluster: entry.u32_le(20).map_or(0, u64::from),
        len: entry.u64_le(24).unwrap_or(0),
        is_contiguous,
        position,
    }
}

fn label(entry: &[u8], position: u64) -> Result<String, FormatError> {
    const LETTERS: u8 = 11;
    let count = entry.u8_at(1).unwrap_or(0);
    if count > LETTERS {
        let offset = position.saturating_add(1);
        return Err(FormatError::corrupt("CharacterCount", offset, "at most 11", count));
    }
    let bytes = entry.get(2..).unwrap_or_default().chunks_exact(2).take(usize::from(count));
    let units: Vec<u16> = bytes.filter_map(|unit| unit.u16_le(0)).collect();
    Ok(text(String::from_utf16_lossy(&units).as_bytes()))
}

/// The checksum of a set, which leaves out its own field, by section 6.3.3.
pub(super) fn checksum(set: &[u8]) -> u16 {
    set.iter()
        .enumerate()
        .filter(|(index, _)| !(2..4).contains(index))
        .fold(0_u16, |sum, (_, byte)| sum.rotate_right(1).wrapping_add(u16::from(*byte)))
}

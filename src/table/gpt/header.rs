// SPDX-License-Identifier: MIT OR Apache-2.0
//! One header of a GUID partition table: its fields, its checks, and the same
//! header for another place.
//!
//! Layout: UEFI specification 2.10, section 5.3.2. Bytes that the
//! specification reserves, and those behind the header, are kept as they are.

use crate::ondisk::{Fields, FormatError};
use crate::units::SectorSize;

/// What a header starts with.
pub(super) const SIGNATURE: [u8; 8] = *b"EFI PART";
/// The size of all that revision 1.0 defines.
const MIN_HEADER: usize = 0x5c;
/// The revision every known system writes.
const REVISION_1_0: u32 = 0x0001_0000;
/// The largest array that is read. Known tools write 16 KiB; the headers'
/// 32-bit numbers allow for more than any machine has memory.
const MAX_ARRAY: u64 = 16 << 20;

const HEADER_SIZE: usize = 0x0c;
const HEADER_CRC: usize = 0x10;
const MY_LBA: usize = 0x18;
const ALTERNATE_LBA: usize = 0x20;
const FIRST_USABLE_LBA: usize = 0x28;
const LAST_USABLE_LBA: usize = 0x30;
const DISK_GUID: usize = 0x38;
const ENTRY_LBA: usize = 0x48;
const ENTRY_COUNT: usize = 0x50;
const ENTRY_SIZE: usize = 0x54;
const ENTRY_CRC: usize = 0x58;

/// A header whose own checksum and place are right.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    /// The sector as it is on the disk.
    sector: Vec<u8>,
    header_size: usize,
    pub(super) revision: u32,
    pub(crate) own_lba: u64,
    pub(crate) alternate_lba: u64,
    pub(super) first_usable: u64,
    pub(crate) last_usable: u64,
    pub(super) disk_guid: [u8; 16],
    pub(crate) entries_lba: u64,
    pub(super) entry_count: u32,
    pub(super) entry_size: usize,
    pub(crate) entries_crc: u32,
    /// The bytes of the array: at most [`MAX_ARRAY`].
    pub(crate) array_len: usize,
}

/// The fields of a header that depend on where it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) own_lba: u64,
    pub(crate) alternate_lba: u64,
    pub(crate) entries_lba: u64,
    pub(crate) last_usable: u64,
}

impl Header {
    /// Reads and checks the header in `sector`, which was found at `lba`;
    /// `None` if there is no signature.
    pub(crate) fn parse(
        sector: &[u8],
        lba: u64,
        size: SectorSize,
    ) -> Result<Option<Self>, FormatError> {
        if sector.array(0) != Some(SIGNATURE) {
            return Ok(None);
        }
        let position = lba.saturating_mul(size.bytes());
        let short = || FormatError::corrupt("GPT header", position, "a whole sector", "less");
        let declared = sector.u32_le(HEADER_SIZE).ok_or_else(short)?;
        let header_size = usize::try_from(declared)
            .ok()
            .filter(|bytes| (MIN_HEADER..=sector.len()).contains(bytes))
            .ok_or_else(|| {
                FormatError::corrupt(
                    "GPT header size",
                    position,
                    format!("{MIN_HEADER} to {size}"),
                    declared,
                )
            })?;
        let stored = sector.u32_le(HEADER_CRC).ok_or_else(short)?;
        let computed = checksum(sector.get(..header_size).ok_or_else(short)?);
        if stored != computed {
            return Err(FormatError::corrupt(
                "GPT header checksum",
                position,
                format!("{computed:08x}"),
                format!("{stored:08x}"),
            ));
        }
        let own_lba = sector.u64_le(MY_LBA).ok_or_else(short)?;
        if own_lba != lba {
            return Err(FormatError::corrupt("GPT header's own sector", position, lba, own_lba));
        }
        let entry_count = sector.u32_le(ENTRY_COUNT).ok_or_else(short)?;
        let entry_size = sector.u32_le(ENTRY_SIZE).ok_or_else(short)?;
        // 128 bytes times a power of two, says the specification. Others may
        // exist, but where the fields are in them is anybody's guess.
        if entry_size < 128 || !entry_size.is_power_of_two() {
            return Err(FormatError::unsupported(format!(
                "the GPT header at byte {position:#x} has entries of {entry_size} bytes"
            )));
        }
        let array_len = u64::from(entry_count).saturating_mul(u64::from(entry_size));
        let too_long = || {
            FormatError::corrupt(
                "GPT entry count",
                position,
                format!("entries of 128 to {MAX_ARRAY} bytes in all"),
                format!("{entry_count} of {entry_size} bytes"),
            )
        };
        if array_len == 0 || array_len > MAX_ARRAY {
            return Err(too_long());
        }
        Ok(Some(Self {
            header_size,
            revision: sector.u32_le(0x08).ok_or_else(short)?,
            own_lba,
            alternate_lba: sector.u64_le(ALTERNATE_LBA).ok_or_else(short)?,
            first_usable: sector.u64_le(FIRST_USABLE_LBA).ok_or_else(short)?,
            last_usable: sector.u64_le(LAST_USABLE_LBA).ok_or_else(short)?,
            disk_guid: sector.array(DISK_GUID).ok_or_else(short)?,
            entries_lba: sector.u64_le(ENTRY_LBA).ok_or_else(short)?,
            entry_count,
            entry_size: usize::try_from(entry_size).map_err(|_| too_long())?,
            entries_crc: sector.u32_le(ENTRY_CRC).ok_or_else(short)?,
            array_len: usize::try_from(array_len).map_err(|_| too_long())?,
            sector: sector.to_vec(),
        }))
    }

    /// Where a header says its other copy is, even if the header is damaged.
    pub(super) fn claimed_alternate(sector: &[u8]) -> Option<u64> {
        if sector.array(0) != Some(SIGNATURE) {
            return None;
        }
        sector.u64_le(ALTERNATE_LBA)
    }

    /// The same of a header whose place nobody knows but itself.
    pub(crate) fn parse_anywhere(
        sector: &[u8],
        size: SectorSize,
    ) -> Result<Option<Self>, FormatError> {
        Self::parse(sector, sector.u64_le(MY_LBA).unwrap_or(0), size)
    }

    /// True if these are the entries it is about.
    pub(crate) fn is_of(&self, entries: &[u8]) -> bool {
        crc32fast::hash(entries) == self.entries_crc
    }

    /// True if this is revision 1.0, the only one there is so far.
    pub(super) const fn is_known_revision(&self) -> bool {
        self.revision == REVISION_1_0
    }

    /// How many sectors the array takes.
    pub(crate) fn array_sectors(&self, size: SectorSize) -> u64 {
        // OK because the array is never longer than MAX_ARRAY.
        u64::try_from(self.array_len).unwrap_or(MAX_ARRAY).div_ceil(size.bytes())
    }

    /// True if both copies describe the same partitions of the same disk.
    pub(super) fn agrees_with(&self, other: &Self) -> bool {
        self.disk_guid == other.disk_guid
            && self.entry_count == other.entry_count
            && self.entry_size == other.entry_size
            && self.entries_crc == other.entries_crc
    }

    /// The sector of the same header for another place, with a new checksum
    /// and everything else as it is.
    pub(crate) fn at(&self, place: Place) -> Vec<u8> {
        let mut sector = self.sector.clone();
        put(&mut sector, MY_LBA, &place.own_lba.to_le_bytes());
        put(&mut sector, ALTERNATE_LBA, &place.alternate_lba.to_le_bytes());
        put(&mut sector, ENTRY_LBA, &place.entries_lba.to_le_bytes());
        put(&mut sector, LAST_USABLE_LBA, &place.last_usable.to_le_bytes());
        let crc = checksum(sector.get(..self.header_size).unwrap_or_default());
        put(&mut sector, HEADER_CRC, &crc.to_le_bytes());
        sector
    }
}

impl Header {
    /// The sector of the same header for entries with this checksum, with
    /// `last` among the usable sectors.
    pub(super) fn with_entries(&self, entries_crc: u32, last: u64) -> Vec<u8> {
        let mut sector = self.sector.clone();
        put(&mut sector, LAST_USABLE_LBA, &self.last_usable.max(last).to_le_bytes());
        put(&mut sector, ENTRY_CRC, &entries_crc.to_le_bytes());
        let crc = checksum(sector.get(..self.header_size).unwrap_or_default());
        put(&mut sector, HEADER_CRC, &crc.to_le_bytes());
        sector
    }
}

/// The checksum of a header, in which its own field counts as zero.
fn checksum(header: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header.get(..HEADER_CRC).unwrap_or_default());
    hasher.update(&[0; 4]);
    hasher.update(header.get(BEHIND_CRC..).unwrap_or_default());
    hasher.finalize()
}

/// The byte behind the checksum field.
const BEHIND_CRC: usize = HEADER_CRC + 4;

/// Overwrites a field; a header was checked to be long enough for all of them.
fn put(sector: &mut [u8], offset: usize, field: &[u8]) {
    let end = offset.saturating_add(field.len());
    if let Some(slot) = sector.get_mut(offset..end) {
        slot.copy_from_slice(field);
    }
}

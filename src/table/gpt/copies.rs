// SPDX-License-Identifier: MIT OR Apache-2.0
//! Both copies of a GUID partition table: where they are and which of them
//! hold.
//!
//! The primary copy is at sector 1. The backup is where the primary says; for
//! a damaged primary, and for disks that were grown or cut after the table was
//! made, the last sector and the end of the protective MBR are asked, too.

use super::header::{Header, SIGNATURE};
use super::protective::Protective;
use crate::extent::{Extent, ExtentSet};
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError};
use crate::units::SectorSize;

/// Where the primary header is.
pub(super) const PRIMARY_LBA: u64 = 1;

/// What is at one of the places where a copy can be.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) lba: u64,
    /// True if a header's signature is there, damaged or not.
    pub(super) signature: bool,
    /// The header, if it holds.
    pub(super) header: Option<Header>,
    /// The array of entries, if it holds.
    pub(super) entries: Option<Vec<u8>>,
    /// Why one of both does not.
    pub(super) fault: Option<FormatError>,
    /// Where the copy's array is, or would be, even if nothing of it holds.
    pub(super) array: Extent,
    /// Where the header says the other copy is.
    alternate: Option<u64>,
}

impl Copy {
    fn read(disk: &dyn ReadAt, lba: u64, size: SectorSize) -> Self {
        let mut copy = Self {
            lba,
            signature: false,
            header: None,
            entries: None,
            fault: None,
            array: Extent::new(0, 0),
            alternate: None,
        };
        if let Err(fault) = copy.fill(disk, size) {
            copy.fault = Some(fault);
        }
        copy
    }

    fn fill(&mut self, disk: &dyn ReadAt, size: SectorSize) -> Result<(), FormatError> {
        let position = self.lba.saturating_mul(size.bytes());
        // OK because a sector is at most 65536 bytes.
        let len = usize::try_from(size.get()).unwrap_or(0);
        let sector = read_vec(disk, position, len)?;
        self.signature = sector.array(0) == Some(SIGNATURE);
        self.alternate = Header::claimed_alternate(&sector);
        let Some(header) = Header::parse(&sector, self.lba, size)? else { return Ok(()) };
        let start = header.entries_lba.saturating_mul(size.bytes());
        let sectors = header.array_sectors(size).saturating_mul(size.bytes());
        self.array = Extent::at(start, sectors).intersect(&Extent::new(0, disk.len()));
        let (wanted, array_len) = (header.entries_crc, header.array_len);
        self.header = Some(header);
        let entries = read_vec(disk, start, array_len)?;
        let computed = crc32fast::hash(&entries);
        if computed != wanted {
            return Err(FormatError::corrupt(
                "checksum of the GPT entries",
                start,
                format!("{wanted:08x}"),
                format!("{computed:08x}"),
            ));
        }
        self.entries = Some(entries);
        Ok(())
    }

    /// The header and its entries, if both hold.
    pub(super) fn good(&self) -> Option<(&Header, &[u8])> {
        Some((self.header.as_ref()?, self.entries.as_deref()?))
    }

    /// What is wrong with this copy, in words.
    pub(super) fn damage(&self) -> String {
        match &self.fault {
            Some(fault) => fault.to_string(),
            None if self.signature => "unknown".into(),
            None => "there is no GPT header".into(),
        }
    }
}

/// All copies that a disk has, counted in sectors of one size.
#[derive(Debug)]
pub(super) struct Copies {
    pub(super) size: SectorSize,
    /// The last whole sector of the disk.
    pub(super) last_lba: u64,
    pub(super) protective: Protective,
    pub(super) primary: Copy,
    /// The backup: the first place where one holds, else where one should be.
    pub(super) backup: Option<Copy>,
    /// Other places with the signature of a header.
    pub(super) strays: Vec<Copy>,
}

impl Copies {
    /// Looks for both copies; `None` if the disk is too small to have any.
    pub(super) fn find(disk: &dyn ReadAt, size: SectorSize) -> Option<Self> {
        // OK because a sector size is never 0.
        let last_lba = disk.len().checked_div(size.bytes())?.checked_sub(1)?;
        if last_lba <= PRIMARY_LBA {
            return None;
        }
        let protective = Protective::read(disk, last_lba);
        let primary = Copy::read(disk, PRIMARY_LBA, size);
        let mut places = Vec::new();
        for place in [primary.alternate, Some(last_lba), protective.last_lba].into_iter().flatten()
        {
            if place > PRIMARY_LBA && place <= last_lba && !places.contains(&place) {
                places.push(place);
            }
        }
        let mut found: Vec<Copy> =
            places.into_iter().map(|place| Copy::read(disk, place, size)).collect();
        // What was found first is nearest to what the primary says.
        let chosen = found
            .iter()
            .position(|copy| copy.good().is_some())
            .or_else(|| found.iter().position(|copy| copy.signature))
            .unwrap_or(0);
        let backup = (chosen < found.len()).then(|| found.remove(chosen));
        let strays = found.into_iter().filter(|copy| copy.signature).collect();
        Some(Self { size, last_lba, protective, primary, backup, strays })
    }

    /// True if there is anything of a GPT, damaged or not.
    pub(super) fn has_signature(&self) -> bool {
        self.primary.signature || self.backup.as_ref().is_some_and(|backup| backup.signature)
    }

    /// The copy to go by: the primary if it holds, else the backup.
    pub(super) fn best(&self) -> Option<(&Header, &[u8])> {
        self.primary.good().or_else(|| self.backup.as_ref()?.good())
    }

    /// True if the headers are those of different disks or states. That one of
    /// them has lost its entries does not make the other one right.
    pub(super) fn contradict(&self) -> bool {
        let backup = self.backup.as_ref().and_then(|backup| backup.header.as_ref());
        let primary = self.primary.header.as_ref();
        primary.zip(backup).is_some_and(|(one, other)| !one.agrees_with(other))
    }

    /// The sectors of every copy, and those where a damaged copy was.
    pub(super) fn sectors(&self) -> ExtentSet {
        let unit = self.size.bytes();
        let sector = |lba: u64| Extent::at(lba.saturating_mul(unit), unit);
        let mut sectors: ExtentSet = [sector(0), sector(PRIMARY_LBA)].into_iter().collect();
        // A damaged copy's own numbers are not trusted, but the good copy's
        // array is as long as the damaged one was.
        let array_sectors = self.best().map_or(0, |(header, _)| header.array_sectors(self.size));
        let array_len = array_sectors.saturating_mul(unit);
        sectors.insert(self.primary.array);
        if self.primary.header.is_none() {
            sectors.insert(Extent::at(unit.saturating_mul(2), array_len));
        }
        for copy in self.backup.iter().chain(&self.strays) {
            if !copy.signature {
                continue;
            }
            let header = sector(copy.lba);
            sectors.insert(header);
            sectors.insert(copy.array);
            if copy.header.is_none() {
                sectors
                    .insert(Extent::new(header.start().saturating_sub(array_len), header.start()));
            }
        }
        sectors
    }
}

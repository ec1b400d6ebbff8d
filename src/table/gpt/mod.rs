// SPDX-License-Identifier: MIT OR Apache-2.0
//! GUID partition tables.
//!
//! Read in this order: the MBR in sector 0, the header in sector 1, its array
//! of entries, the backup header and its array (UEFI specification 2.10,
//! chapter 5). The table counts in sectors; the image of a disk with other
//! sectors than the reader's is recognised by where its header is.
//!
//! Either copy may be damaged; the other one is used, and what is damaged is
//! neither repaired nor left out of the image.

mod copies;
mod enlarge;
mod entry;
mod header;
mod protective;
mod relocate;
#[cfg(test)]
mod tests;
mod types;

use std::collections::HashSet;

use copies::{Copies, Copy};
pub(crate) use header::{Header, Place};

use super::misfits::note_misfits;
use super::{PartitionTable, Relocation, Table};
use crate::error::Result;
use crate::extent::Extent;
use crate::io::ReadAt;
use crate::ondisk::FormatError;
use crate::units::SectorSize;

/// No system has names for more partitions; a table with more of them is no
/// table of this world, and costs everybody behind it time.
const MOST_PARTITIONS: usize = 1024;

/// The driver of GUID partition tables.
#[derive(Debug)]
pub struct Gpt;

impl Table for Gpt {
    fn name(&self) -> &'static str {
        "GPT"
    }

    fn read(&self, disk: &dyn ReadAt) -> Result<Option<PartitionTable>, FormatError> {
        let mut failure = None;
        let mut damaged = None;
        for size in sizes(disk.sector_size()) {
            let Some(copies) = Copies::find(disk, size) else { continue };
            if let Some((header, entries)) = copies.best()
                && is_valid(&copies)
            {
                let mut table = table(disk, &copies, header, entries);
                if let Some(other) = damaged {
                    table.notes.push(format!("a damaged GPT with sectors of {other} bytes, too"));
                    table.doubtful = true;
                }
                return Ok(Some(table));
            }
            if copies.has_signature() {
                damaged = damaged.or(Some(size));
            }
            failure = failure.or_else(|| self::failure(copies));
        }
        failure.map_or(Ok(None), Err)
    }

    fn moved(
        &self,
        disk: &dyn ReadAt,
        table: &PartitionTable,
        target_len: u64,
    ) -> Result<Relocation> {
        relocate::moved(disk, table, target_len)
    }

    fn to_end(&self, disk: &dyn ReadAt, table: &PartitionTable) -> Result<Option<Relocation>> {
        relocate::to_end(disk, table)
    }

    fn space_end(&self, disk: &dyn ReadAt, table: &PartitionTable) -> Result<u64> {
        enlarge::space_end(disk, table)
    }

    fn enlarged(
        &self,
        disk: &dyn ReadAt,
        table: &PartitionTable,
        number: u32,
        end: u64,
    ) -> Result<Vec<(u64, Vec<u8>)>> {
        enlarge::enlarged(disk, table, number, end)
    }
}

/// The byte behind the backup of the table, as the primary copy gives it, if no
/// backup is found anywhere.
pub fn missing_backup_end(disk: &dyn ReadAt, size: SectorSize) -> Option<u64> {
    let copies = Copies::find(disk, size)?;
    let (primary, _) = copies.primary.good()?;
    if copies.backup.as_ref().is_some_and(|backup| backup.good().is_some()) {
        return None;
    }
    primary.alternate_lba.checked_add(1)?.checked_mul(size.bytes())
}

/// The sector sizes to try: the reader's, then those of the disks that a file
/// may be an image of.
fn sizes(own: SectorSize) -> impl Iterator<Item = SectorSize> {
    let others = [SectorSize::B512, SectorSize::B4096];
    std::iter::once(own).chain(others.into_iter().filter(move |size| *size != own))
}

/// A backup alone, without a protective MBR, is what an earlier use of the
/// disk left behind: systems do not look at it.
fn is_valid(copies: &Copies) -> bool {
    copies.primary.good().is_some()
        || copies.protective.present
        || copies.protective.error.is_some()
}

/// Why a disk that says it has a GPT has none that can be used.
fn failure(copies: Copies) -> Option<FormatError> {
    if let Some(error) = copies.protective.error {
        return Some(error.into());
    }
    if !copies.protective.present {
        return None;
    }
    let position = copies.primary.lba.saturating_mul(copies.size.bytes());
    let backup = copies.backup.map_or_else(|| "none".into(), |copy| copy.damage());
    Some(FormatError::corrupt(
        "GPT behind a protective MBR",
        position,
        "one copy that holds",
        format!("primary: {}; backup: {backup}", copies.primary.damage()),
    ))
}

/// The table as one good copy describes it, with notes about everything else.
fn table(disk: &dyn ReadAt, copies: &Copies, header: &Header, entries: &[u8]) -> PartitionTable {
    let size = copies.size;
    let mut table = PartitionTable::new("GPT", size);
    table.id = Some(entry::guid(header.disk_guid));
    table.partitions = entry::partitions(entries, header.entry_size, size);
    table.protected = copies.sectors();
    if size != disk.sector_size() {
        table.notes.push(format!(
            "the table counts in sectors of {size} bytes, the disk in {}",
            disk.sector_size()
        ));
    }
    table.notes.extend(copies.protective.notes.iter().cloned());
    if !copies.protective.present {
        // Linux and Windows go by sector 0; which of both tables the data
        // belongs to cannot be told.
        table.notes.push("without a protective MBR most systems ignore the GPT".into());
        table.doubtful = true;
    }
    if table.partitions.len() > MOST_PARTITIONS {
        table.notes.push(format!("{} partitions", table.partitions.len()));
        table.doubtful = true;
    }
    note_copies(copies, &mut table);
    note_header(header, copies.last_lba, &mut table);
    if table.partitions.iter().any(|p| types::LDM.contains(&p.type_id.as_str())) {
        table.notes.push("dynamic disk of Windows: its volumes are not in the GPT".into());
        table.doubtful = true;
    }
    let mut ids = HashSet::new();
    if !table.partitions.iter().all(|p| ids.insert(&p.id)) {
        table.notes.push("two partitions have the same GUID".into());
    }
    note_misfits(&mut table, disk.len());
    table
}

fn note_copies(copies: &Copies, table: &mut PartitionTable) {
    let notes = &mut table.notes;
    if copies.primary.good().is_none() {
        let damage = copies.primary.damage();
        notes.push(format!("the primary GPT is damaged, the backup is used: {damage}"));
    }
    let expected = copies.primary.header.as_ref().map(|header| header.alternate_lba);
    match &copies.backup {
        Some(backup) if backup.good().is_some() => {
            if expected.is_some_and(|lba| lba != backup.lba) {
                notes.push(format!(
                    "the backup GPT is at sector {}, not where the primary says",
                    backup.lba
                ));
            }
            if backup.lba != copies.last_lba {
                notes.push(format!(
                    "the backup GPT is at sector {}, the disk ends with sector {}",
                    backup.lba, copies.last_lba
                ));
            }
        }
        Some(backup) if backup.signature => {
            notes.push(format!("the backup GPT is damaged: {}", backup.damage()));
        }
        _ => match expected {
            Some(lba) if lba > copies.last_lba => notes.push(format!(
                "the backup GPT would be at sector {lba}, behind the end of the disk"
            )),
            _ => notes.push("there is no backup GPT".into()),
        },
    }
    for stray in &copies.strays {
        notes.push(format!("another GPT header at sector {} is not used", stray.lba));
    }
    if copies.contradict() {
        notes.push("the copies of the GPT contradict each other".into());
        table.doubtful = true;
    } else if let (Some((one, _)), Some((other, _))) =
        (copies.primary.good(), copies.backup.as_ref().and_then(Copy::good))
        && (one.first_usable, one.last_usable) != (other.first_usable, other.last_usable)
    {
        notes.push("the copies of the GPT differ in their usable sectors".into());
    }
}

fn note_header(header: &Header, last_lba: u64, table: &mut PartitionTable) {
    let notes = &mut table.notes;
    if !header.is_known_revision() {
        notes.push(format!("the GPT is of the unknown revision {:#010x}", header.revision));
    }
    if header.first_usable > header.last_usable {
        notes.push("the GPT's usable sectors are reversed".into());
    } else if header.last_usable > last_lba {
        notes.push("the GPT's usable sectors go beyond the end of the disk".into());
    }
    let unit = table.sector_size.bytes();
    let usable = Extent::new(
        header.first_usable.saturating_mul(unit),
        header.last_usable.saturating_add(1).saturating_mul(unit),
    );
    let outside =
        table.partitions.iter().filter(|p| !p.extent.is_empty() && !usable.contains(&p.extent));
    let count = outside.count();
    if count > 0 {
        notes.push(format!("{count} partitions are outside of the GPT's usable sectors"));
    }
}

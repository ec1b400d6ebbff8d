// SPDX-License-Identifier: MIT OR Apache-2.0
//! Master boot records: four entries in sector 0, one of which may hold a
//! chain of extended boot records with more.
//!
//! Nothing protects sector 0 against being something else. A boot sector of a
//! filesystem ends with the same two bytes and has text or code where the
//! entries would be, so the entries have to make sense before they are used.
//!
//! Not read: the tables of BSD, Solaris and Minix inside of their partitions.
//! Those partitions hold no filesystem that is known here, so all of them is
//! stored.

pub(in crate::table) mod boot_sector;
mod enlarge;
mod extended;
#[cfg(test)]
mod tests;
mod types;

use boot_sector::{BOOT_RECORD, BootSector, Entry};

use super::misfits::note_misfits;
use super::{Partition, PartitionTable, Table};
use crate::error::Result;
use crate::extent::Extent;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::FormatError;
use crate::units::SectorSize;

/// The type of Windows dynamic disks, whose volumes are described elsewhere.
const LDM: u8 = 0x42;

/// The driver of master boot records.
#[derive(Debug)]
pub struct Mbr;

impl Table for Mbr {
    fn name(&self) -> &'static str {
        "MBR"
    }

    fn read(&self, disk: &dyn ReadAt) -> Result<Option<PartitionTable>, FormatError> {
        let own = disk.sector_size();
        if disk.len() < own.bytes() {
            return Ok(None);
        }
        let sector = read_vec(disk, 0, BOOT_RECORD)?;
        let Some(boot) = BootSector::parse(&sector) else { return Ok(None) };
        let container = boot.entries.iter().find(|entry| entry.is_extended());
        let size = container.map_or(own, |entry| extended::sector_size(disk, own, entry));
        let Some(doubts) = doubts(&boot, disk.len(), size) else { return Ok(None) };

        let mut table = PartitionTable::new("MBR", size);
        table.id = Some(format!("{:08x}", boot.signature));
        table.protected.insert(Extent::at(0, size.bytes()));
        table.doubtful = !doubts.is_empty();
        table.notes = doubts;
        note_entries(&boot, &mut table);
        if size != own {
            table
                .notes
                .push(format!("the table counts in sectors of {size} bytes, the disk in {own}"));
        }
        for (number, entry) in boot.used() {
            table.partitions.push(partition(number, entry, 0, size));
        }
        if let Some(container) = container {
            extended::walk(disk, container, &mut table);
        }
        note_misfits(&mut table, disk.len());
        Ok(Some(table))
    }

    fn space_end(&self, disk: &dyn ReadAt, table: &PartitionTable) -> Result<u64> {
        // Sectors have numbers of 32 bits.
        let most = u64::from(u32::MAX).saturating_mul(table.sector_size.bytes());
        Ok(disk.len().min(most))
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

/// A partition whose entry counts from sector `base`.
fn partition(number: u32, entry: &Entry, base: u64, size: SectorSize) -> Partition {
    let start = base.saturating_add(u64::from(entry.start));
    let end = start.saturating_add(u64::from(entry.count));
    Partition {
        number,
        extent: Extent::new(start.saturating_mul(size.bytes()), end.saturating_mul(size.bytes())),
        type_id: format!("{:02x}", entry.type_id),
        type_name: types::name(entry.type_id).map(str::to_owned),
        id: None,
        name: None,
        container: entry.is_extended(),
    }
}

/// Why the table may not be what it seems; `None` if sector 0 is no table.
fn doubts(boot: &BootSector, disk_len: u64, size: SectorSize) -> Option<Vec<String>> {
    let mut doubts = Vec::new();
    let sane = boot.used().next().is_some() && entries_fit(boot, disk_len, size);
    let odd_flags = boot.entries.iter().any(|entry| !matches!(entry.boot_flag, 0x00 | 0x80));
    if let Some(filesystem) = boot.filesystem {
        if !sane || odd_flags {
            return None;
        }
        // A boot loader may carry the parameters of an earlier filesystem
        // along, or a filesystem may have been made over the whole disk.
        doubts.push(format!("sector 0 is also the boot sector of a {filesystem} filesystem"));
    } else if odd_flags && !sane {
        return None;
    }
    if boot.used().any(|(_, entry)| entry.type_id == LDM) {
        doubts.push("dynamic disk of Windows: its volumes are not in the MBR".into());
    }
    if boot.used().any(|(_, entry)| entry.is_protective()) {
        doubts.push("the MBR protects a GPT that is not there".into());
    }
    Some(doubts)
}

/// True if the used entries are inside of the disk and apart from each other.
fn entries_fit(boot: &BootSector, disk_len: u64, size: SectorSize) -> bool {
    let mut extents: Vec<Extent> =
        boot.used().map(|(number, entry)| partition(number, entry, 0, size).extent).collect();
    extents.sort_unstable();
    boot.used().all(|(_, entry)| entry.start != 0 && entry.type_id != 0)
        && extents.iter().all(|extent| extent.end() <= disk_len)
        && extents.iter().zip(extents.iter().skip(1)).all(|(one, next)| !one.overlaps(next))
}

fn note_entries(boot: &BootSector, table: &mut PartitionTable) {
    for (number, entry) in (1_u32..).zip(&boot.entries) {
        if !matches!(entry.boot_flag, 0x00 | 0x80) {
            let flag = entry.boot_flag;
            table.notes.push(format!("entry {number} has the unusual boot flag {flag:02x}"));
        }
        if entry.type_id == 0 && entry.is_used() {
            table.notes.push(format!("partition {number} has type 00, which means unused"));
        }
        if entry.type_id != 0 && !entry.is_used() {
            let type_id = entry.type_id;
            table.notes.push(format!("entry {number} has type {type_id:02x} but no sectors"));
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The chain of extended boot records inside of an extended partition.
//!
//! Each record is a sector like sector 0: one entry for a logical partition,
//! counted from the record, and one that links to the next record, counted
//! from the start of the extended partition. Records need not be in ascending
//! order. Numbers go up from 5 along the chain, in the way Linux gives them.

use std::collections::HashSet;

use super::boot_sector::{BOOT_RECORD, BootSector, Entry};
use super::partition;
use crate::extent::Extent;
use crate::io::{ReadAt, read_vec};
use crate::table::PartitionTable;
use crate::units::SectorSize;

/// The number of the first logical partition.
const FIRST_NUMBER: u32 = 5;
/// How many records are followed; Linux has no numbers for more partitions.
const MOST_RECORDS: usize = 256;

/// The sector size in which the table counts: the disk's, unless the first
/// extended boot record is only found with another one.
pub(super) fn sector_size(disk: &dyn ReadAt, own: SectorSize, container: &Entry) -> SectorSize {
    let is_record = |size: SectorSize| {
        let position = u64::from(container.start).saturating_mul(size.bytes());
        read_vec(disk, position, BOOT_RECORD).is_ok_and(|sector| {
            BootSector::parse(&sector).is_some_and(|record| {
                record.filesystem.is_none()
                    && record.entries.iter().all(|e| matches!(e.boot_flag, 0x00 | 0x80))
            })
        })
    };
    if is_record(own) {
        return own;
    }
    let others = [SectorSize::B512, SectorSize::B4096];
    others.into_iter().find(|size| *size != own && is_record(*size)).unwrap_or(own)
}

/// Adds the logical partitions of `container`, and the sectors of the chain.
pub(super) fn walk(disk: &dyn ReadAt, container: &Entry, table: &mut PartitionTable) {
    let mut chain = Chain {
        first: u64::from(container.start),
        end: u64::from(container.start).saturating_add(u64::from(container.count)),
        number: FIRST_NUMBER,
        extra: 0,
        outside: 0,
    };
    // Sector 0 is no extended boot record: a chain that leads there is a loop.
    let mut seen = HashSet::from([0]);
    let mut here = Some(Record { lba: chain.first, count: u64::from(container.count) });
    while let Some(record) = here {
        let lba = record.lba;
        if !seen.insert(lba) {
            table.notes.push(format!("the chain of extended boot records loops at sector {lba}"));
            table.doubtful = true;
            break;
        }
        if seen.len() > MOST_RECORDS {
            table.notes.push(format!("more than {MOST_RECORDS} extended boot records"));
            table.doubtful = true;
            break;
        }
        match read_record(disk, lba, table) {
            Ok(boot) => here = chain.follow(&record, &boot, table),
            Err(why) => {
                // What was linked from here is between the partitions now,
                // where everything is stored.
                table.notes.push(format!("the extended boot record at sector {lba} {why}"));
                break;
            }
        }
    }
    if chain.extra > 0 {
        let extra = chain.extra;
        table.notes.push(format!("{extra} unusual entries in the extended boot records"));
    }
    if chain.outside > 0 {
        let outside = chain.outside;
        table.notes.push(format!(
            "{outside} logical partitions or records are outside of the extended one"
        ));
    }
    let ignored = table.partitions.iter().filter(|p| p.container).count().saturating_sub(1);
    if ignored > 0 {
        table.notes.push("a second extended partition is ignored".into());
    }
}

fn read_record(
    disk: &dyn ReadAt,
    lba: u64,
    table: &mut PartitionTable,
) -> Result<BootSector, String> {
    let size = table.sector_size.bytes();
    let sector = Extent::at(lba.saturating_mul(size), size);
    if sector.end() > disk.len() {
        return Err("is behind the end of the disk".into());
    }
    table.protected.insert(sector);
    let bytes = read_vec(disk, sector.start(), BOOT_RECORD)
        .map_err(|error| format!("cannot be read: {error}"))?;
    BootSector::parse(&bytes).ok_or_else(|| "does not end with 55 aa".into())
}

/// An extended boot record, and how many sectors the link to it spans.
struct Record {
    lba: u64,
    count: u64,
}

/// The extended partition, and what was met along its chain.
struct Chain {
    first: u64,
    end: u64,
    number: u32,
    extra: usize,
    outside: usize,
}

impl Chain {
    /// Adds the partitions of one record and returns the next one.
    fn follow(
        &mut self,
        record: &Record,
        boot: &BootSector,
        table: &mut PartitionTable,
    ) -> Option<Record> {
        if !(self.first..self.end).contains(&record.lba) {
            self.outside = self.outside.saturating_add(1);
        }
        let mut data = 0_usize;
        let mut next = None;
        for (slot, entry) in boot.used() {
            if entry.is_extended() {
                if next.is_some() || slot > 2 {
                    self.extra = self.extra.saturating_add(1);
                }
                let lba = self.first.saturating_add(u64::from(entry.start));
                next = next.or(Some(Record { lba, count: u64::from(entry.count) }));
                continue;
            }
            data = data.saturating_add(1);
            if data > 1 || slot > 2 {
                self.extra = self.extra.saturating_add(1);
            }
            let start = record.lba.saturating_add(u64::from(entry.start));
            let end = start.saturating_add(u64::from(entry.count));
            let inside = self.first <= start && end <= self.end;
            // Some tools leave junk in the two entries that the chain does not
            // use; Linux takes them only if they could be partitions.
            let in_record =
                u64::from(entry.start).saturating_add(u64::from(entry.count)) <= record.count;
            if slot > 2 && !(inside && in_record) {
                continue;
            }
            if !inside {
                self.outside = self.outside.saturating_add(1);
            }
            table.partitions.push(partition(self.number, entry, record.lba, table.sector_size));
            self.number = self.number.saturating_add(1);
        }
        next
    }
}

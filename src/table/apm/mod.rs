// SPDX-License-Identifier: MIT OR Apache-2.0
//! Apple partition maps: a driver descriptor in block 0, and an entry in each
//! of the blocks behind it, the map itself among them (Apple, "Inside
//! Macintosh: Devices", chapter 3).
//!
//! The map counts in blocks of a size of its own. Everything that has a second
//! meaning makes it doubtful: a boot record or a GPT on the same disk, as discs
//! have that start on every computer; boot code within a partition; drivers
//! in a partition that is none of theirs. Such a disk is stored whole.

mod entry;
#[cfg(test)]
mod tests;

use entry::{Entry, kind};

use super::gpt::Gpt;
use super::mbr::boot_sector::{BOOT_RECORD, BootSector};
use super::misfits::note_misfits;
use super::{Partition, PartitionTable, Table};
use crate::extent::Extent;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError};
use crate::units::SectorSize;

/// The most entries of a map. Macs have room for 63.
const MOST_ENTRIES: u32 = 1024;

/// The most drivers that fit into block 0.
const MOST_DRIVERS: u16 = 61;

/// The driver of Apple partition maps.
#[derive(Debug)]
pub struct Apm;

impl Table for Apm {
    fn name(&self) -> &'static str {
        "APM"
    }

    fn read(&self, disk: &dyn ReadAt) -> Result<Option<PartitionTable>, FormatError> {
        if disk.len() < 1024 {
            return Ok(None);
        }
        let descriptor = read_vec(disk, 0, BOOT_RECORD)?;
        // Discs that start on a PC have the same two letters, as code.
        if descriptor.bytes_at(0, 2) != Some(b"ER") {
            return Ok(None);
        }
        let size = descriptor.u16_be(2).and_then(|size| SectorSize::new(size.into()));
        let Some(size) = size.filter(|size| size.bytes() <= 4096) else { return Ok(None) };
        let Some(first) = entry_at(disk, size, 1)? else { return Ok(None) };
        let entries = entries(disk, size, first)?;

        let mut table = PartitionTable::new("APM", size);
        // Block 0, and the blocks of all entries, whatever the map says of itself.
        let blocks = u64::try_from(entries.len()).unwrap_or(u64::MAX).saturating_add(1);
        table.protected.insert(Extent::at(0, blocks.saturating_mul(size.bytes())));
        let doubts = [
            whose_disk(disk, &descriptor)?,
            whose_blocks(disk, size),
            map_of_itself(&entries, blocks),
            drivers(&descriptor, &entries, size),
            entries.iter().find_map(|(number, entry)| entry.doubt(*number)),
        ];
        table.notes.extend(doubts.into_iter().flatten());
        table.doubtful = !table.notes.is_empty();
        for (number, entry) in &entries {
            let extent = entry.extent(size);
            match kind(&entry.type_name) {
                entry::Kind::Map => table.protected.insert(extent),
                // Space of no partition is stored for being that.
                entry::Kind::Free => {}
                entry::Kind::Driver | entry::Kind::Data => table.partitions.push(Partition {
                    number: *number,
                    extent,
                    type_id: entry.type_name.clone(),
                    type_name: entry::words(&entry.type_name).map(str::to_owned),
                    id: None,
                    name: Some(entry.name.clone()).filter(|name| !name.is_empty()),
                    container: false,
                }),
            }
        }
        note_misfits(&mut table, disk.len());
        Ok(Some(table))
    }
}

/// The entry in a block; `None` if there is none.
fn entry_at(disk: &dyn ReadAt, size: SectorSize, block: u32) -> Result<Option<Entry>, FormatError> {
    let position = u64::from(block).saturating_mul(size.bytes());
    if position.saturating_add(512) > disk.len() {
        return Ok(None);
    }
    Ok(Entry::parse(&read_vec(disk, position, 512)?))
}

/// All entries with their numbers, which are those of their blocks.
fn entries(
    disk: &dyn ReadAt,
    size: SectorSize,
    first: Entry,
) -> Result<Vec<(u32, Entry)>, FormatError> {
    let count = first.map_entries;
    let position = |block: u32| u64::from(block).saturating_mul(size.bytes());
    if count == 0 || count > MOST_ENTRIES {
        let expected = format!("1 to {MOST_ENTRIES}");
        return Err(FormatError::corrupt("pmMapBlkCnt", position(1), expected, count));
    }
    let mut entries = vec![(1, first)];
    for number in 2..=count {
        let Some(entry) = entry_at(disk, size, number)? else {
            let expected = format!("{count} entries");
            return Err(FormatError::corrupt("pmSig", position(number), expected, "none"));
        };
        if entry.map_entries != count {
            let (expected, found) = (count, entry.map_entries);
            return Err(FormatError::corrupt("pmMapBlkCnt", position(number), expected, found));
        }
        entries.push((number, entry));
    }
    Ok(entries)
}

/// Another table that claims the disk.
fn whose_disk(disk: &dyn ReadAt, descriptor: &[u8]) -> Result<Option<String>, FormatError> {
    if BootSector::parse(descriptor).is_some() {
        return Ok(Some("block 0 is also a boot record of PCs".to_owned()));
    }
    // The map is there to be read by Macs, the GPT by all others.
    match Gpt.read(disk) {
        Ok(None) => Ok(None),
        Err(error @ FormatError::Io(_)) => Err(error),
        Ok(Some(_)) | Err(_) => Ok(Some("there is a GPT, too".to_owned())),
    }
}

/// Blocks that are not the disk's sectors are those of a disc.
fn whose_blocks(disk: &dyn ReadAt, size: SectorSize) -> Option<String> {
    let own = disk.sector_size();
    // The file of a disk does not say how large its sectors were.
    let is_usual = size == own || (own == SectorSize::B512 && size == SectorSize::B4096);
    (!is_usual).then(|| format!("the map counts in blocks of {size} bytes, the disk in {own}"))
}

/// Whether the map says of itself that it has the blocks that it is in.
fn map_of_itself(entries: &[(u32, Entry)], blocks: u64) -> Option<String> {
    let mut maps = entries.iter().filter(|(_, entry)| kind(&entry.type_name) == entry::Kind::Map);
    match (maps.next(), maps.next()) {
        (Some((_, map)), None) if map.start == 1 && map.end() >= blocks => None,
        (Some(_), None) => Some("the map is not where it says it is".to_owned()),
        _ => Some("the map does not say once where it is".to_owned()),
    }
}

/// The drivers, which are loaded from where block 0 says they are. What a
/// filesystem calls free there may be one.
fn drivers(descriptor: &[u8], entries: &[(u32, Entry)], size: SectorSize) -> Option<String> {
    let count = descriptor.u16_be(0x10)?;
    if count > MOST_DRIVERS {
        return Some(format!("block 0 lists {count} drivers"));
    }
    (0..usize::from(count)).find_map(|number| {
        let field = descriptor.bytes_at(number.checked_mul(8)?.checked_add(0x12)?, 8)?;
        let start = u64::from(field.u32_be(0)?).saturating_mul(size.bytes());
        let driver = Extent::at(start, u64::from(field.u16_be(4)?).saturating_mul(512));
        let is_in_data = entries.iter().any(|(_, entry)| {
            kind(&entry.type_name) == entry::Kind::Data && entry.extent(size).overlaps(&driver)
        });
        is_in_data.then(|| format!("driver {number} is in a partition with data"))
    })
}

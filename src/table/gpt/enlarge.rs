// SPDX-License-Identifier: MIT OR Apache-2.0
//! A partition that ends later: one field of its entry, in both copies, and the
//! checksums above it.

use super::copies::{Copies, Copy};
use super::entry::set_end;
use super::header::Header;
use super::relocate::new_place;
use crate::error::{Error, Result};
use crate::io::{ReadAt, read_vec};
use crate::table::PartitionTable;

/// The byte up to which partitions may reach, once the backup is at the end of
/// the disk.
pub(super) fn space_end(disk: &dyn ReadAt, table: &PartitionTable) -> Result<u64> {
    let copies = Copies::find(disk, table.sector_size).ok_or_else(no_copies)?;
    let (header, _) = copies.best().ok_or_else(no_copies)?;
    let place = new_place(&copies, header, copies.last_lba).ok_or_else(no_copies)?;
    let end = place.entries_lba.saturating_mul(copies.size.bytes());
    // A backup that is there already may keep its entries further in front.
    let there = copies.backup.iter().filter(|it| it.lba == copies.last_lba && it.good().is_some());
    Ok(there.map(|backup| backup.array.start()).fold(end, u64::min))
}

/// The sectors that make partition `number` end at byte `end`, in the order in
/// which they are to be written: while one copy is changed, the other is good.
pub(super) fn enlarged(
    disk: &dyn ReadAt,
    table: &PartitionTable,
    number: u32,
    end: u64,
) -> Result<Vec<(u64, Vec<u8>)>> {
    let copies = Copies::find(disk, table.sector_size).ok_or_else(no_copies)?;
    let backup = copies.backup.as_ref().filter(|backup| backup.lba == copies.last_lba);
    let (Some((primary_header, _)), Some((backup, (backup_header, _)))) =
        (copies.primary.good(), backup.and_then(|it| it.good().map(|good| (it, good))))
    else {
        return Err(Error::refused(
            "the partition table needs two good copies, one at each end of the disk",
        ));
    };
    if copies.contradict() || copies.protective.hybrid {
        return Err(Error::refused("the disk has two partition tables that would differ"));
    }
    // OK because a sector size is never 0.
    let behind = end.checked_div(copies.size.bytes()).unwrap_or(0);
    let last = behind.checked_sub(1).ok_or_else(no_copies)?;
    let mut writes = copy(disk, &copies, backup, backup_header, number, last)?;
    writes.extend(copy(disk, &copies, &copies.primary, primary_header, number, last)?);
    Ok(writes)
}

/// The array and the header of one copy.
fn copy(
    disk: &dyn ReadAt,
    copies: &Copies,
    copy: &Copy,
    header: &Header,
    number: u32,
    last: u64,
) -> Result<Vec<(u64, Vec<u8>)>> {
    let len = usize::try_from(copy.array.len()).map_err(|_| no_copies())?;
    let mut array = read_vec(disk, copy.array.start(), len)?;
    let entries = array.get_mut(..header.array_len).ok_or_else(no_copies)?;
    set_end(entries, header.entry_size, number, last).ok_or_else(|| {
        Error::failed(format!("there is no entry of partition {number} in the table"))
    })?;
    let sector = header.with_entries(crc32fast::hash(entries), last);
    let position = copy.lba.saturating_mul(copies.size.bytes());
    Ok(vec![(copy.array.start(), array), (position, sector)])
}

fn no_copies() -> Error {
    Error::refused("the partition table cannot be changed: it has no good copy")
}

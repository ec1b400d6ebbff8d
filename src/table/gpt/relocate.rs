// SPDX-License-Identifier: MIT OR Apache-2.0
//! A GUID partition table on a target of another size.
//!
//! The backup moves to the new end, with its entries as they are. Both headers
//! get new positions, the new last usable sector and a new checksum, and keep
//! all their other bytes, the reserved ones included. The protective MBR is
//! changed only if it covered the old disk exactly.
//!
//! What is damaged stays damaged, with one exception: a backup is needed at
//! the new end, so a missing one is made from the primary.

use super::copies::{Copies, Copy, PRIMARY_LBA};
use super::header::{Header, Place};
use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::io::{ReadAt, read_vec};
use crate::table::mbr::boot_sector::BootSector;
use crate::table::{PartitionTable, Relocation};
use crate::units::{SectorSize, human};

/// The specification wants this many bytes to be set aside for entries, even
/// if there are fewer.
const RESERVED_ARRAY: u64 = 16 << 10;
/// Where the count of the first entry of an MBR is.
const FIRST_COUNT: usize = 0x1be + 0x0c;

/// What a target of `target_len` bytes needs differently.
pub(super) fn moved(
    disk: &dyn ReadAt,
    table: &PartitionTable,
    target_len: u64,
) -> Result<Relocation> {
    let size = table.sector_size;
    let Some(copies) = Copies::find(disk, size) else { return Ok(Relocation::default()) };
    let Some((header, _)) = copies.best() else { return Ok(Relocation::default()) };
    if let Some(why) = doubt(&copies) {
        return stays(disk, target_len, why);
    }
    let new_last = target_len.checked_div(size.bytes()).and_then(|count| count.checked_sub(1));
    if new_last == Some(copies.last_lba) {
        // Another size, but the same sectors.
        return Ok(Relocation::default());
    }
    let new_last = new_last.ok_or_else(|| no_room(target_len))?;
    rewritten(disk, &copies, header, new_last, &[copies.last_lba])
}

/// What the disk needs for its backup to be at its own end, as after its bytes
/// were copied from a disk of another size; `None` if it is there.
pub(super) fn to_end(disk: &dyn ReadAt, table: &PartitionTable) -> Result<Option<Relocation>> {
    let Some(copies) = Copies::find(disk, table.sector_size) else { return Ok(None) };
    let Some((header, _)) = copies.best() else { return Ok(None) };
    let last = copies.last_lba;
    let primary = copies.primary.header.as_ref();
    let is_there =
        copies.backup.as_ref().is_some_and(|backup| backup.good().is_some() && backup.lba == last);
    if is_there && primary.is_none_or(|primary| primary.alternate_lba == last) {
        return Ok(None);
    }
    if let Some(why) = doubt(&copies) {
        return Err(Error::refused(format!("the partition table stays as it is: {why}")));
    }
    // The ends of the disk for which the table was made.
    let ends: Vec<u64> = primary
        .map(|primary| primary.alternate_lba)
        .into_iter()
        .chain(copies.backup.iter().filter(|backup| backup.signature).map(|backup| backup.lba))
        .collect();
    rewritten(disk, &copies, header, last, &ends).map(Some)
}

/// The sectors of a table whose disk ends with sector `new_last`. The
/// protective MBR is changed if it covers a disk that ends with one of
/// `old_ends`.
fn rewritten(
    disk: &dyn ReadAt,
    copies: &Copies,
    header: &Header,
    new_last: u64,
    old_ends: &[u64],
) -> Result<Relocation> {
    let size = copies.size;
    // The primary's array is checked as well: the usable sectors may be a lie.
    let fits = |place: &Place| {
        place.last_usable >= header.first_usable
            && place.entries_lba.saturating_mul(size.bytes()) >= copies.primary.array.end()
    };
    let place = new_place(copies, header, new_last).filter(fits);
    let len = new_last.saturating_add(1).saturating_mul(size.bytes());
    let place = place.ok_or_else(|| no_room(len))?;

    let position = |lba: u64| lba.saturating_mul(size.bytes());
    let (template, array) = backup_source(copies, header);
    let array_len = usize::try_from(array.len()).map_err(|_| too_long())?;
    let mut relocation =
        Relocation { end: Some(position(place.entries_lba)), ..Relocation::default() };
    relocation.writes = vec![
        (position(place.entries_lba), read_vec(disk, array.start(), array_len)?),
        (position(place.own_lba), template.at(place)),
    ];
    let good = copies.backup.as_ref().filter(|backup| backup.good().is_some());
    relocation.steps.push(match good {
        Some(backup) if backup.lba == place.own_lba => {
            format!("the backup GPT at sector {} stays there", place.own_lba)
        }
        _ => format!("the backup GPT moves to sector {}", place.own_lba),
    });
    if good.is_none() {
        relocation.steps.push("the backup GPT is made from the primary".into());
    }

    // The header may hold even if its array does not: then it has to point to
    // the new backup all the more.
    match &copies.primary.header {
        Some(primary) => {
            let sector = primary.at(Place {
                own_lba: PRIMARY_LBA,
                alternate_lba: place.own_lba,
                entries_lba: primary.entries_lba,
                last_usable: place.last_usable,
            });
            relocation.writes.push((position(PRIMARY_LBA), sector));
            relocation.steps.push(format!(
                "the primary GPT gets its last usable sector {} and a new checksum",
                place.last_usable
            ));
        }
        None => relocation.steps.push("the damaged primary GPT stays as it is".into()),
    }
    if copies.primary.header.is_some() && copies.primary.entries.is_none() {
        relocation.steps.push("the damaged entries of the primary GPT stay as they are".into());
    }
    resize_protective(disk, copies, old_ends, place.own_lba, &mut relocation)?;
    relocation.blank = forgotten(copies, header);
    Ok(relocation)
}

/// The sectors of the backup at its old place. What a header says of its array
/// is believed only if the array holds, and lies where neither a partition nor
/// the primary can be: it may name the array of the primary, or any place on
/// the disk.
fn forgotten(copies: &Copies, header: &Header) -> ExtentSet {
    let unit = copies.size.bytes();
    let position = |lba: u64| lba.saturating_mul(unit);
    let Some(backup) = copies.backup.as_ref().filter(|backup| backup.signature) else {
        return ExtentSet::new();
    };
    let own = Extent::at(position(backup.lba), unit);
    let array = backup.good().map(|_| backup.array);
    // The usable sectors may be a lie as well: what the primary needs stays.
    let usual = Extent::at(position(2), position(header.array_sectors(copies.size)));
    let behind = position(header.last_usable.saturating_add(1))
        .max(copies.primary.array.end())
        .max(usual.end());
    std::iter::once(own).chain(array).filter(|it| it.start() >= behind).collect()
}

fn no_room(len: u64) -> Error {
    Error::refused(format!("the target of {} has no room for the partition table", human(len)))
}

/// Why it cannot be told what the table on the target should be.
fn doubt(copies: &Copies) -> Option<&'static str> {
    if copies.contradict() {
        Some("the copies of the GPT contradict each other")
    } else if copies.protective.present {
        None
    } else {
        Some("there is no protective MBR")
    }
}

/// A table in doubt is restored as it was, where that is possible.
fn stays(disk: &dyn ReadAt, target_len: u64, why: &str) -> Result<Relocation> {
    if target_len < disk.len() {
        return Err(Error::refused(format!("the partition table cannot be made smaller: {why}"))
            .hint(format!("use a target of {} or more", human(disk.len()))));
    }
    Ok(Relocation::none(format!("the partition table stays as it is: {why}")))
}

fn too_long() -> Error {
    Error::failed("the entries of the GPT do not fit into memory")
}

/// Where the backup goes if `last` is the last sector: as far in front of the
/// header as it was, if that is how tables are made.
pub(super) fn new_place(copies: &Copies, header: &Header, last: u64) -> Option<Place> {
    let sectors = header.array_sectors(copies.size);
    let reserved = RESERVED_ARRAY.div_ceil(copies.size.bytes()).max(sectors);
    let distance = copies
        .backup
        .as_ref()
        .and_then(|backup| backup.header.as_ref())
        .and_then(|backup| backup.own_lba.checked_sub(backup.entries_lba))
        .filter(|distance| (sectors..=reserved).contains(distance))
        .unwrap_or(sectors);
    let entries_lba = last.checked_sub(distance)?;
    Some(Place {
        own_lba: last,
        alternate_lba: PRIMARY_LBA,
        entries_lba,
        last_usable: entries_lba.checked_sub(1)?,
    })
}

/// The header and the array to make the new backup from: the old backup if it
/// is the same table, else the primary.
fn backup_source<'a>(copies: &'a Copies, best: &'a Header) -> (&'a Header, Extent) {
    let same = |copy: &'a Copy| copy.header.as_ref().filter(|header| header.agrees_with(best));
    let backup = copies.backup.as_ref();
    let template = backup.and_then(same).unwrap_or(best);
    let array = backup
        .filter(|backup| backup.good().is_some())
        .map_or(copies.primary.array, |backup| backup.array);
    (template, array)
}

/// Makes the protective MBR cover the target, if it covered the old disk.
fn resize_protective(
    disk: &dyn ReadAt,
    copies: &Copies,
    old_ends: &[u64],
    new_last: u64,
    relocation: &mut Relocation,
) -> Result<()> {
    if copies.protective.hybrid {
        relocation.steps.push("the hybrid MBR stays as it is".into());
        return Ok(());
    }
    let mut sector = read_vec(disk, 0, sector_len(copies.size))?;
    let covering = |last: u64| u32::try_from(last).unwrap_or(u32::MAX);
    let Some(entry) = BootSector::parse(&sector).map(|boot| boot.entries[0]) else { return Ok(()) };
    let count = covering(new_last).to_le_bytes();
    if entry.is_protective() && entry.count.to_le_bytes() == count {
        return Ok(());
    }
    let covered = old_ends.iter().any(|last| entry.count == covering(*last));
    if !entry.is_protective() || entry.start != 1 || !covered {
        relocation.steps.push("the protective MBR stays as it is".into());
        return Ok(());
    }
    if let Some(field) = sector.get_mut(FIRST_COUNT..).and_then(|rest| rest.get_mut(..4)) {
        field.copy_from_slice(&count);
    }
    relocation.writes.push((0, sector));
    relocation.steps.push("the protective MBR covers the target".into());
    Ok(())
}

/// OK because a sector is at most 65536 bytes.
fn sector_len(size: SectorSize) -> usize {
    usize::try_from(size.get()).unwrap_or(0)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A primary partition that ends later: its count of sectors, and the old
//! numbers of cylinder, head and sector that nobody goes by.

use super::boot_sector::{BOOT_RECORD, BootSector, ENTRIES, ENTRY_LEN};
use crate::error::{Error, Result};
use crate::io::{ReadAt, read_vec};
use crate::table::PartitionTable;

/// What stands for an end that the old numbers cannot express.
const BEYOND: [u8; 3] = [0xfe, 0xff, 0xff];
const END_IN_CYLINDERS: usize = 0x05;
const COUNT: usize = 0x0c;

/// Sector 0, with partition `number` up to byte `end`.
pub(super) fn enlarged(
    disk: &dyn ReadAt,
    table: &PartitionTable,
    number: u32,
    end: u64,
) -> Result<Vec<(u64, Vec<u8>)>> {
    let wrong = || Error::refused(format!("partition {number} cannot be made larger"));
    let slot = usize::try_from(number.checked_sub(1).ok_or_else(wrong)?).map_err(|_| wrong())?;
    if slot >= 4 {
        return Err(Error::refused(format!(
            "partition {number} is a logical one, inside of an extended partition that would \
             have to become larger, too: that is not done here"
        )));
    }
    let mut sector = read_vec(disk, 0, BOOT_RECORD)?;
    let boot = BootSector::parse(&sector).ok_or_else(wrong)?;
    let entry = boot.entries.get(slot).filter(|entry| entry.is_used()).ok_or_else(wrong)?;
    let last = end.checked_div(table.sector_size.bytes()).ok_or_else(wrong)?;
    let count = last.checked_sub(u64::from(entry.start)).ok_or_else(wrong)?;
    let count = u32::try_from(count).map_err(|_| wrong())?;
    let at = slot.saturating_mul(ENTRY_LEN).saturating_add(ENTRIES);
    let field =
        sector.get_mut(at..).and_then(|rest| rest.get_mut(..ENTRY_LEN)).ok_or_else(wrong)?;
    for (offset, value) in [(END_IN_CYLINDERS, &BEYOND[..]), (COUNT, &count.to_le_bytes())] {
        let place = offset..offset.saturating_add(value.len());
        field.get_mut(place).ok_or_else(wrong)?.copy_from_slice(value);
    }
    Ok(vec![(0, sector)])
}

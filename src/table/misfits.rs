// SPDX-License-Identifier: MIT OR Apache-2.0
//! Notes on partitions that do not fit: reversed, out of the disk, over each
//! other or over the table's own sectors. Nothing is changed or left out.

use super::{Partition, PartitionTable};
use crate::extent::Extent;

/// A hostile table has thousands of bad entries; people read the first few.
const MOST_NOTES: usize = 16;

/// Adds a note for every partition that does not fit.
pub(super) fn note_misfits(table: &mut PartitionTable, disk_len: u64) {
    let mut notes = Vec::new();
    for partition in &table.partitions {
        let (number, extent) = (partition.number, partition.extent);
        if extent.is_empty() {
            notes.push(format!("partition {number} ends before it starts"));
        } else if extent.start() >= disk_len {
            notes.push(format!("partition {number} starts behind the end of the disk"));
        } else if extent.end() > disk_len {
            notes.push(format!("partition {number} ends behind the end of the disk"));
        }
        if !partition.container && table.protected.touches(extent) {
            notes.push(format!("partition {number} lies over sectors of the table itself"));
        }
    }
    note_overlaps(&table.partitions, &mut notes);
    let more = notes.len().saturating_sub(MOST_NOTES);
    notes.truncate(MOST_NOTES);
    if more > 0 {
        notes.push(format!("and {more} more entries that do not fit"));
    }
    table.notes.append(&mut notes);
}

/// One pass over the sorted partitions: every overlap has a pair in which the
/// first is the one that reaches furthest so far.
fn note_overlaps(partitions: &[Partition], notes: &mut Vec<String>) {
    let mut sorted: Vec<&Partition> =
        partitions.iter().filter(|p| !p.container && !p.extent.is_empty()).collect();
    sorted.sort_by_key(|p| (p.extent, p.number));
    let mut furthest: Option<&Partition> = None;
    for partition in sorted {
        let reach = furthest.map_or(Extent::new(0, 0), |p| p.extent);
        if let Some(other) = furthest
            && reach.overlaps(&partition.extent)
        {
            notes.push(format!("partitions {} and {} overlap", other.number, partition.number));
        }
        if furthest.is_none() || partition.extent.end() > reach.end() {
            furthest = Some(partition);
        }
    }
}

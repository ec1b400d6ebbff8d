// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disk a step is about: looked at, claimed, written to and read back.

use crate::device::{KernelPartition, Reread, Seen, Target, check_opened_target, check_target};
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::fs;
use crate::io::{ReadAt, WriteAt};
use crate::table::{self, Partition, PartitionTable};
use crate::units::SectorSize;

/// A disk that is looked at, and its partition table.
pub(super) struct Disk<'a> {
    pub(super) bytes: &'a dyn ReadAt,
    /// The table, or why it cannot be gone by.
    pub(super) table: Result<PartitionTable, String>,
}

impl<'a> Disk<'a> {
    pub(super) fn new(bytes: &'a dyn ReadAt) -> Self {
        Self { bytes, table: read_table(bytes) }
    }

    /// The partitions that hold data and are whole on the disk.
    pub(super) fn partitions(&self) -> impl Iterator<Item = &Partition> {
        let all = Extent::new(0, self.bytes.len());
        let partitions = self.table.as_ref().map_or(&[][..], |table| &table.partitions);
        partitions
            .iter()
            .filter(move |it| !it.container && !it.extent.is_empty() && all.contains(&it.extent))
    }
}

fn read_table(disk: &dyn ReadAt) -> Result<PartitionTable, String> {
    if let Some(member) = fs::whole_disk_member(disk) {
        return Err(format!("the disk is a member of an array ({member})"));
    }
    match table::read(disk) {
        Ok(Some(table)) if table.doubtful => {
            Err(format!("the partitions are not certain: {}", table.notes.join("; ")))
        }
        Ok(Some(table)) => Ok(table),
        Ok(None) => Err("the disk has no partition table".into()),
        Err(error) => Err(format!("the partition table cannot be used: {error}")),
    }
}

/// Claims a disk to write to it.
///
/// # Errors
/// Refused if it is in use, or not the one that was seen.
pub(super) fn claim(seen: &Seen) -> Result<Target> {
    check_target(seen.path(), None)?;
    let sector_size = {
        let source = seen.open()?;
        let table = table::read(&source).ok().flatten();
        // The file of a disk has the sectors in which its table counts.
        table.map_or(SectorSize::B512, |table| table.sector_size).max(source.sector_size())
    };
    let target = Target::open_with_sector_size(seen.path(), None, sector_size)?;
    seen.check(&Seen::of_target(&target)?)?;
    check_opened_target(&target, None)?;
    Ok(target)
}

/// Bytes, and where on the disk they belong.
pub(super) type Piece = (u64, Vec<u8>);

/// Writes pieces in the given order, each on the medium before the next.
pub(super) fn write_in_order(target: &dyn WriteAt, pieces: &[Piece]) -> Result<()> {
    for (position, bytes) in pieces {
        target.write_at(*position, bytes)?;
        target.flush()?;
    }
    Ok(())
}

/// Reads pieces back from the medium.
///
/// # Errors
/// Damaged, if one reads back differently.
pub(super) fn read_back(target: &dyn WriteAt, pieces: &[Piece]) -> Result<()> {
    target.drop_cache()?;
    for (position, bytes) in pieces {
        let mut found = vec![0; bytes.len()];
        target.read_at(*position, &mut found)?;
        if found != *bytes {
            return Err(Error::damaged(format!(
                "what was written at {position:#x} reads back differently"
            ))
            .hint("the drive, its cable or the memory of this machine is faulty"));
        }
    }
    Ok(())
}

/// Makes the kernel see the table as it is now; says so if it does not.
pub(super) fn show_kernel(target: &Target) -> Option<String> {
    let table = table::read(target).ok().flatten()?;
    let partitions: Vec<KernelPartition> = table
        .partitions
        .iter()
        .filter(|partition| !partition.extent.is_empty())
        .map(|partition| KernelPartition { number: partition.number, extent: partition.extent })
        .collect();
    match target.reread_partition_table(&partitions) {
        Ok(Reread::ByKernel | Reread::ByHand | Reread::NotApplicable) => None,
        Err(error) => Some(format!(
            "the system does not see the new partitions yet ({error}); reconnect the disk or restart"
        )),
    }
}

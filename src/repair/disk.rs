// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disk a step is about: seen when the step is shown, known again when it
//! is run.

use std::path::{Path, PathBuf};

use crate::device::{
    DiskIdentity, KernelPartition, NodeId, Reread, Source, Target, check_opened_target,
    check_target,
};
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

/// What was at a path when its steps were shown.
#[derive(Debug)]
pub(super) struct Seen {
    path: PathBuf,
    node: NodeId,
    disk: DiskIdentity,
    sector_size: SectorSize,
}

impl Seen {
    pub(super) fn new(path: &Path, source: &Source) -> Result<Self> {
        let table = table::read(source).ok().flatten();
        Ok(Self {
            path: path.to_owned(),
            node: source.node()?,
            disk: source.identity(),
            // The file of a disk has the sectors in which its table counts.
            sector_size: table
                .map_or(source.sector_size(), |table| table.sector_size)
                .max(source.sector_size()),
        })
    }

    /// Opens the disk to read it.
    ///
    /// # Errors
    /// Refused if it is not the one that was seen.
    pub(super) fn open(&self) -> Result<Source> {
        let source = Source::open(&self.path)?;
        self.check(source.node()?, &source.identity())?;
        Ok(source)
    }

    /// Claims the disk to write to it.
    ///
    /// # Errors
    /// Refused if it is in use, or not the one that was seen.
    pub(super) fn claim(&self) -> Result<Target> {
        check_target(&self.path, None)?;
        let target = Target::open_with_sector_size(&self.path, None, self.sector_size)?;
        self.check(target.node()?, &target.identity())?;
        check_opened_target(&target, None)?;
        Ok(target)
    }

    fn check(&self, node: NodeId, disk: &DiskIdentity) -> Result<()> {
        let seen = &self.disk;
        let is_same = self.node == node
            && seen.serial == disk.serial
            && seen.model == disk.model
            && seen.wwn == disk.wwn
            && seen.size == disk.size;
        if is_same {
            return Ok(());
        }
        Err(Error::refused(format!("{} has become another one since it was shown", disk.path))
            .hint("nothing was written; look at the disks again"))
    }
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

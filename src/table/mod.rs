// SPDX-License-Identifier: MIT OR Apache-2.0
//! Partition tables: what they say about the disk, and which sectors they
//! occupy themselves.
//!
//! Tables are never rewritten from their meaning: their sectors are stored and
//! restored as they are. The meaning only decides which ranges are partitions,
//! and is shown to people. The one exception has a name: [`relocate`] tells
//! which sectors a target of another size needs differently.

#![warn(clippy::arithmetic_side_effects, clippy::as_conversions)]

pub mod apm;
pub mod gpt;
pub mod mbr;
mod misfits;
mod relocation;
#[cfg(test)]
pub(crate) mod samples;

use serde::{Deserialize, Serialize};

pub use relocation::{Relocation, backup_to_end, enlarge, relocate, space_end};

use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::io::ReadAt;
use crate::ondisk::FormatError;
use crate::units::SectorSize;

/// Every kind of table, in the order in which a disk is asked for them: a disk
/// with a GPT has an MBR, too, that is there to protect it. An Apple partition map
/// is asked for first, because only its driver doubts disks that have both.
pub static TABLES: &[&dyn Table] = &[&apm::Apm, &gpt::Gpt, &mbr::Mbr];

/// A partition as its table describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// The number by which systems call it: 1 is `sda1`.
    pub number: u32,
    /// Its bytes on the disk.
    pub extent: Extent,
    /// The type: a GUID in a GPT, two hexadecimal digits in an MBR, a name in an
    /// Apple partition map.
    pub type_id: String,
    /// The type in words, if it is a known one.
    pub type_name: Option<String>,
    /// The partition's own GUID.
    pub id: Option<String>,
    /// The name in the table.
    pub name: Option<String>,
    /// True for the extended partition of an MBR: a frame around logical
    /// partitions that have entries of their own. It holds no data itself.
    #[serde(default)]
    pub container: bool,
}

/// What a partition table says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionTable {
    /// The name of the kind: "GPT", "MBR" or "APM".
    pub kind: &'static str,
    /// The disk's GUID, or the MBR's signature as 8 hexadecimal digits.
    pub id: Option<String>,
    /// The sector size in which the table counts. It differs from the
    /// reader's for the image of a disk with other sectors.
    pub sector_size: SectorSize,
    /// The partitions in the order of their numbers. Entries that are
    /// reversed, out of the disk or overlap others are kept as they are in the
    /// list: the layout decides what to make of them. A reversed one is empty.
    pub partitions: Vec<Partition>,
    /// The sectors that the table itself occupies, extended boot records and
    /// the backup included.
    pub protected: ExtentSet,
    /// What is unusual: a damaged copy, a hybrid MBR, entries that make no
    /// sense. Shown to people, never repaired.
    pub notes: Vec<String>,
    /// True if the notes mean that the partitions cannot be trusted; the disk
    /// is then stored whole.
    pub doubtful: bool,
}

impl PartitionTable {
    /// A table of this kind without partitions.
    #[must_use]
    pub const fn new(kind: &'static str, sector_size: SectorSize) -> Self {
        Self {
            kind,
            id: None,
            sector_size,
            partitions: Vec::new(),
            protected: ExtentSet::new(),
            notes: Vec::new(),
            doubtful: false,
        }
    }
}

/// A kind of partition table.
pub trait Table: Sync {
    /// The name of the kind.
    fn name(&self) -> &'static str;

    /// The table on this disk; `None` if there is none of this kind.
    ///
    /// # Errors
    /// If there is one that cannot be read; the disk is then stored whole.
    fn read(&self, disk: &dyn ReadAt) -> Result<Option<PartitionTable>, FormatError>;

    /// What a target of another size needs differently from the disk that was
    /// saved. A kind that keeps nothing at the end of the disk needs nothing.
    ///
    /// # Errors
    /// If the sectors of the table cannot be read.
    fn moved(
        &self,
        disk: &dyn ReadAt,
        table: &PartitionTable,
        target_len: u64,
    ) -> Result<Relocation> {
        let _ = (disk, table, target_len);
        Ok(Relocation::default())
    }

    /// What the table needs for what it keeps at the end to be at the end of
    /// this disk; `None` if it is there, or there is no such thing.
    ///
    /// # Errors
    /// Refused if it cannot be told what the table should be.
    fn to_end(&self, disk: &dyn ReadAt, table: &PartitionTable) -> Result<Option<Relocation>> {
        let _ = (disk, table);
        Ok(None)
    }

    /// The byte up to which partitions may reach on this disk.
    ///
    /// # Errors
    /// If the table has no good copy.
    fn space_end(&self, disk: &dyn ReadAt, table: &PartitionTable) -> Result<u64> {
        let _ = table;
        Ok(disk.len())
    }

    /// The sectors that make partition `number` end at byte `end` and leave all
    /// else as it is, in the order in which they are to be written.
    ///
    /// # Errors
    /// Refused if this kind of table, or what is unusual about it, does not
    /// allow it.
    fn enlarged(
        &self,
        disk: &dyn ReadAt,
        table: &PartitionTable,
        number: u32,
        end: u64,
    ) -> Result<Vec<(u64, Vec<u8>)>> {
        let _ = (disk, number, end);
        Err(Error::refused(format!(
            "partitions in a table of the kind {} stay as they are",
            table.kind
        )))
    }
}

/// The table on this disk, of the first kind in [`TABLES`] that finds one.
///
/// # Errors
/// If there is one that cannot be read; the disk is then stored whole.
pub fn read(disk: &dyn ReadAt) -> Result<Option<PartitionTable>, FormatError> {
    for kind in TABLES {
        if let Some(table) = kind.read(disk)? {
            return Ok(Some(table));
        }
    }
    Ok(None)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Partition tables: what they say about the disk, and which sectors they
//! occupy themselves.
//!
//! Tables are never rewritten from their meaning: their sectors are stored and
//! restored as they are. The meaning only decides which ranges are partitions,
//! and is shown to people.

#![warn(clippy::arithmetic_side_effects, clippy::as_conversions)]

use serde::{Deserialize, Serialize};

use crate::extent::{Extent, ExtentSet};
use crate::io::ReadAt;
use crate::ondisk::FormatError;

/// A partition as its table describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// The number by which systems call it: 1 is `sda1`.
    pub number: u32,
    /// Its bytes on the disk.
    pub extent: Extent,
    /// The type: a GUID in a GPT, two hexadecimal digits in an MBR.
    pub type_id: String,
    /// The type in words, if it is a known one.
    pub type_name: Option<String>,
    /// The partition's own GUID.
    pub id: Option<String>,
    /// The name in the table.
    pub name: Option<String>,
}

/// What a partition table says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartitionTable {
    /// The name of the kind: "GPT" or "MBR".
    pub kind: &'static str,
    /// The disk's GUID, or the MBR's signature as 8 hexadecimal digits.
    pub id: Option<String>,
    /// The partitions in the order of their numbers. Entries that are
    /// reversed, out of the disk or overlap others are kept as they are in the
    /// list: the layout decides what to make of them.
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

/// A kind of partition table.
pub trait Table: Sync {
    /// The name of the kind.
    fn name(&self) -> &'static str;

    /// The table on this disk; `None` if there is none of this kind.
    ///
    /// # Errors
    /// If there is one that cannot be read; the disk is then stored whole.
    fn read(&self, disk: &dyn ReadAt) -> Result<Option<PartitionTable>, FormatError>;
}

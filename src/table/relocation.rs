// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a target of another size needs differently from the disk that was
//! saved.
//!
//! A target of the same size gets every byte as it was. On a larger one the
//! sectors that belong to the end of the disk move there. A smaller one is
//! refused unless all that is stored lies in front of its end. Everything that
//! is changed is said in words.

use super::{PartitionTable, TABLES, Table};
use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::io::ReadAt;
use crate::units::human;

/// The changes that a target of another size needs; none for the same size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relocation {
    /// Positions on the target and the whole sectors that belong there, in
    /// ascending order and apart from each other.
    pub writes: Vec<(u64, Vec<u8>)>,
    /// What must not stay on the target: the sectors of the table's backup at
    /// the old end. They are to read as zeros.
    pub blank: ExtentSet,
    /// What is changed, or why nothing is, in words.
    pub steps: Vec<String>,
    /// Where the table's sectors at the end of the target start, if it has
    /// any there. Nothing else fits behind it.
    pub end: Option<u64>,
}

impl Relocation {
    /// Nothing is changed, and why.
    pub(super) fn none(why: impl Into<String>) -> Self {
        Self { steps: vec![why.into()], ..Self::default() }
    }
}

/// The changes that a target of `target_len` bytes needs, if `stored` are the
/// ranges of `original` that will be restored.
///
/// # Errors
/// Refused if the target is too small for a partition or for anything stored;
/// and if the table cannot be read.
pub fn relocate(original: &dyn ReadAt, stored: &ExtentSet, target_len: u64) -> Result<Relocation> {
    if target_len == original.len() {
        return Ok(Relocation::default());
    }
    let is_smaller = target_len < original.len();
    let (partitions, mut relocation) = match find(original) {
        Ok(Some((kind, table))) => {
            let relocation = kind.moved(original, &table, target_len)?;
            (table.partitions, relocation)
        }
        Ok(None) => (Vec::new(), Relocation::default()),
        // Nothing that is not understood is changed. The disk was stored
        // whole, so a smaller target is refused below.
        Err(error) if !is_smaller => {
            return Ok(Relocation::none(format!("the partition table stays as it is: {error}")));
        }
        Err(error) => return Err(error),
    };

    let end = relocation.end.unwrap_or(target_len);
    let stored = stored.subtract(&relocation.blank);
    let mut occupied: ExtentSet = partitions.iter().map(|partition| partition.extent).collect();
    let misfit = partitions
        .iter()
        .find(|partition| partition.extent.end() > end)
        .map(|partition| {
            format!("partition {} ends at {:#x}", partition.number, partition.extent.end())
        })
        .or_else(|| {
            let stored_end = stored.end();
            (stored_end > end).then(|| format!("what is stored ends at {stored_end:#x}"))
        });
    if let Some(misfit) = misfit {
        if is_smaller {
            return Err(Error::refused(format!(
                "the target of {} is too small: {misfit}, the space for it at {end:#x}",
                human(target_len)
            ))
            .hint(format!("use a target of {} or more", human(original.len()))));
        }
        return Ok(Relocation::none(format!(
            "the partition table stays as it is: {misfit}, where its backup would have to be"
        )));
    }
    occupied.extend(relocation.writes.iter().map(|(position, bytes)| {
        Extent::at(*position, u64::try_from(bytes.len()).unwrap_or(u64::MAX))
    }));
    relocation.blank = relocation.blank.subtract(&occupied).intersect(&ExtentSet::all(target_len));
    relocation.writes.sort_by_key(|(position, _)| *position);
    Ok(relocation)
}

fn find(disk: &dyn ReadAt) -> Result<Option<(&'static dyn Table, PartitionTable)>> {
    for kind in TABLES {
        if let Some(table) = kind.read(disk)? {
            return Ok(Some((*kind, table)));
        }
    }
    Ok(None)
}

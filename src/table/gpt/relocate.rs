// SPDX-License-Identifier: MIT OR Apache-2.0
//! A GUID partition table on a target of another size.
use crate::error::Result;
use crate::io::ReadAt;
use crate::table::{PartitionTable, Relocation};
pub(super) fn moved(_: &dyn ReadAt, _: &PartitionTable, _: u64) -> Result<Relocation> {
    Ok(Relocation::default())
}

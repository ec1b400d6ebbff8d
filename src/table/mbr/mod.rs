// SPDX-License-Identifier: MIT OR Apache-2.0
//! Master boot records.
pub(in crate::table) mod boot_sector;
use super::{PartitionTable, Table};
use crate::io::ReadAt;
use crate::ondisk::FormatError;
/// The driver of master boot records.
#[derive(Debug)]
pub struct Mbr;
impl Table for Mbr {
    fn name(&self) -> &'static str {
        "MBR"
    }
    fn read(&self, _disk: &dyn ReadAt) -> Result<Option<PartitionTable>, FormatError> {
        Ok(None)
    }
}

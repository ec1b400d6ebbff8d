// SPDX-License-Identifier: MIT OR Apache-2.0
//! The path table: all folders of a volume in one place (ECMA-119, 9.4).

use super::descriptor::VolumeDescriptor;
use crate::extent::Extent;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError};

/// The largest table that is read: 65,535 folders of names of 255 bytes.
const MOST_BYTES: u32 = 18 << 20;

/// A folder in the path table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTableRecord {
    /// Its name, as it is recorded; one zero byte for the root.
    pub name: Vec<u8>,
    /// The number of the folder that it is in, counted from 1.
    pub parent: u16,
    /// Where it begins, in bytes.
    pub position: u64,
}

/// Reads the path table of a volume, the one in little-endian numbers.
///
/// # Errors
/// If it cannot be read, or is no path table.
pub fn read(
    disc: &dyn ReadAt,
    volume: &VolumeDescriptor,
) -> Result<Vec<PathTableRecord>, FormatError> {
    let len = volume.path_table_size;
    if len > MOST_BYTES {
        return Err(FormatError::unsupported(format!("a path table of {len} bytes")));
    }
    let start = volume.position_of(volume.path_table);
    let table = read_vec(disc, start, usize::try_from(len).unwrap_or(usize::MAX))?;
    let mut records: Vec<PathTableRecord> = Vec::new();
    let mut rest = table.as_slice();
    while let Some(len) = rest.u8_at(0).filter(|len| *len != 0) {
        let len = usize::from(len);
        let (Some(head), Some(name)) = (rest.bytes_at(0, 8), rest.bytes_at(8, len)) else {
            let read = table.len().saturating_sub(rest.len());
            let position = start.saturating_add(u64::try_from(read).unwrap_or(0));
            return Err(FormatError::corrupt("path table", position, "all of a record", "less"));
        };
        let block = head.u32_le(2).unwrap_or(0).saturating_add(head.u8_at(1).unwrap_or(0).into());
        records.push(PathTableRecord {
            name: name.to_vec(),
            parent: head.u16_le(6).unwrap_or(0),
            position: volume.position_of(block),
        });
        // Names of an odd length are followed by a zero byte.
        let used = len.next_multiple_of(2).saturating_add(8);
        rest = rest.get(used..).unwrap_or_default();
    }
    Ok(records)
}

/// The end of the path table and of the first block of every folder in it.
///
/// # Errors
/// As [`read`].
pub fn end(disc: &dyn ReadAt, volume: &VolumeDescriptor) -> Result<u64, FormatError> {
    let tables = volume.path_tables().map(|table| table.end());
    let records = read(disc, volume)?;
    let block = u64::from(volume.block_size);
    let folders = records.iter().map(|record| Extent::at(record.position, block).end());
    Ok(tables.chain(folders).max().unwrap_or(0))
}

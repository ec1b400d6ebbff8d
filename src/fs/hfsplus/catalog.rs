// SPDX-License-Identifier: MIT OR Apache-2.0
//! What records of the catalog and of the attributes file say of blocks
//! (TN1150, "Catalog File" and "Attributes File"), and the volume's name.

use super::file::File;
use super::fork::{ExtentRecord, FORK_LEN, Fork, RECORD_LEN};
use super::tree::{Record, Tree};
use crate::fs::hfs::balance::Balance;
use crate::ondisk::{Fields, FormatError, text};

const FOLDER: u16 = 1;
const FILE: u16 = 2;
const FOLDER_THREAD: u16 = 3;
const FILE_THREAD: u16 = 4;

const FOLDER_LEN: usize = 88;
const FILE_LEN: usize = 248;

/// The parent of the root folder, whose key so is the first of all.
const ROOT_PARENT: u32 = 1;

const DATA_FORK: u8 = 0;
const RESOURCE_FORK: u8 = 0xff;

const INLINE_DATA: u32 = 0x10;
const FORK_DATA: u32 = 0x20;
const MORE_EXTENTS: u32 = 0x30;

/// Shows the extents that a record of the catalog has to `claim`, and notes
/// in `balance` the blocks that it leaves to the overflow file.
pub(super) fn claims(
    record: &Record,
    file: &File,
    balance: &mut Balance,
    claim: &mut dyn FnMut(&ExtentRecord),
) -> Result<(), FormatError> {
    let what = "record of the catalog";
    let bad = |expected: &str, found: String| {
        Err(FormatError::corrupt(what, record.position, expected, found))
    };
    let len = record.data.len();
    match record.data.u16_be(0) {
        Some(FOLDER) if len >= FOLDER_LEN => return Ok(()),
        Some(FOLDER_THREAD | FILE_THREAD) => return Ok(()),
        Some(FILE) if len >= FILE_LEN => {}
        kind => return bad("a folder, file or thread", format!("kind {kind:?} of {len} bytes")),
    }
    let id = record.data.u32_be(8).unwrap_or(0);
    for (fork, offset) in [(DATA_FORK, 88), (RESOURCE_FORK, 168)] {
        let bytes = record.data.bytes_at(offset, FORK_LEN).unwrap_or_default();
        let found = Fork::parse(bytes, what, record.position, file.header())?;
        balance.missing(id, fork, found.overflow());
        claim(&found.extents);
    }
    Ok(())
}

/// The same for a record of the attributes file, which has its overflow
/// within itself.
pub(super) fn attribute_claims(
    record: &Record,
    file: &File,
    balance: &mut Balance,
    claim: &mut dyn FnMut(&ExtentRecord),
) -> Result<(), FormatError> {
    let what = "record of the attributes file";
    let id = record.key.u32_be(2).unwrap_or(0);
    match record.data.u32_be(0) {
        Some(INLINE_DATA) => {}
        Some(FORK_DATA) => {
            let bytes = record.data.bytes_at(8, FORK_LEN).unwrap_or_default();
            let fork = Fork::parse(bytes, what, record.position, file.header())?;
            balance.missing(id, DATA_FORK, fork.overflow());
            claim(&fork.extents);
        }
        Some(MORE_EXTENTS) => {
            let bytes = record.data.bytes_at(8, RECORD_LEN).unwrap_or_default();
            let extents = ExtentRecord::parse(bytes, what, record.position, file.header())?;
            balance.found(id, DATA_FORK, extents.blocks());
            claim(&extents);
        }
        kind => {
            let expected = "data, a fork or extents";
            return Err(FormatError::corrupt(
                what,
                record.position,
                expected,
                format!("kind {kind:x?}"),
            ));
        }
    }
    Ok(())
}

/// The name of the root folder, which is the volume's.
pub(super) fn label(catalog: &File) -> Result<Option<String>, FormatError> {
    let mut label = None;
    Tree::open(catalog)?.first(&mut |record| {
        if record.key.u32_be(0) == Some(ROOT_PARENT) {
            let units = usize::from(record.key.u16_be(4).unwrap_or(0));
            let bytes = record.key.bytes_at(6, units.saturating_mul(2)).unwrap_or_default();
            let units: Vec<u16> = bytes.chunks_exact(2).map_while(|unit| unit.u16_be(0)).collect();
            label = Some(text(String::from_utf16_lossy(&units).as_bytes()));
        }
        Ok(())
    })?;
    Ok(label.filter(|label| !label.is_empty()))
}

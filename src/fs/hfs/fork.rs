// SPDX-License-Identifier: MIT OR Apache-2.0
//! Forks: where the bytes of a file are. The first three places are in its record
//! or in the master directory block, all others in the extents overflow file
//! ("Inside Macintosh: Files", 2-75).

use super::MasterDirectoryBlock;
use super::master_directory_block::{ForkExtents, fork_extents};
use super::tree::{Tree, spend};
use crate::fs::budget::Spending;
use crate::fs::files::FileResult;
use crate::fs::pieces::Pieces;
use crate::io::ReadAt;
use crate::ondisk::{Fields, FormatError};

/// The data fork and the resource fork, as the overflow file calls them.
pub(super) const DATA: u8 = 0;
pub(super) const RESOURCE: u8 = 0xff;

const WHAT: &str = "record of the extents overflow file";

/// A fork as its record describes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Fork {
    /// How many bytes there are.
    pub(super) len: u32,
    /// The bytes of all its blocks.
    pub(super) allocated: u32,
    /// The first three places.
    pub(super) extents: ForkExtents,
}

/// Adds these places to those of a fork that has so many blocks by now; returns
/// how many it has then. Behind an empty place there is none.
fn push(
    block: &MasterDirectoryBlock,
    extents: &ForkExtents,
    position: u64,
    (mut blocks, needed): (u64, u64),
    pieces: &mut Pieces,
) -> FileResult<u64> {
    for (start, count) in extents.iter().take_while(|(_, count)| *count > 0) {
        if blocks >= needed {
            break;
        }
        let end = u32::from(*start).saturating_add((*count).into());
        if end > block.block_count.into() {
            let expected = format!("places within the {} blocks", block.block_count);
            let found = format!("blocks {start} to {end}");
            return Err(FormatError::corrupt("extents of a file", position, expected, found));
        }
        pieces.push(block.blocks(*start, *count))?;
        blocks = blocks.saturating_add((*count).into());
    }
    Ok(blocks)
}

impl Fork {
    /// Where its bytes are. `position` is that of its record, `id` the file and
    /// which of its forks it is; without `overflow` its first places are all.
    pub(super) fn pieces(
        &self,
        block: &MasterDirectoryBlock,
        position: u64,
        overflow: Option<(&Tree, &dyn ReadAt, &mut Spending)>,
        id: (u32, u8),
    ) -> FileResult<Pieces> {
        let needed = u64::from(self.len).div_ceil(u64::from(block.block_size).max(1));
        if needed > u64::from(block.block_count) {
            let expected = format!("a file within the {} blocks", block.block_count);
            let found = format!("{} bytes", self.len);
            return Err(FormatError::corrupt("length of a file", position, expected, found));
        }
        let mut pieces = Pieces::default();
        let mut blocks = push(block, &self.extents, position, (0, needed), &mut pieces)?;
        if blocks < needed
            && let Some((tree, volume, spending)) = overflow
        {
            let key_of = |key: &[u8]| {
                (key.u32_be(1).unwrap_or(0), key.u8_at(0).unwrap_or(0), key.u16_be(5).unwrap_or(0))
            };
            let mut failed = None;
            tree.from(volume, &|key| key_of(key).cmp(&(id.0, id.1, 0)), &mut |record| {
                let add = || -> FileResult<bool> {
                    spend(spending, &record)?;
                    let record = record?;
                    let (file, fork, start) = key_of(record.key);
                    if (file, fork) != id || blocks >= needed {
                        return Ok(false);
                    }
                    if u64::from(start) != blocks {
                        let expected = format!("places from block {blocks} of the file on");
                        return Err(FormatError::corrupt(WHAT, record.position, expected, start));
                    }
                    let extents = fork_extents(record.data, 0);
                    let before = blocks;
                    let so_far = (blocks, needed);
                    blocks = push(block, &extents, record.position, so_far, &mut pieces)?;
                    Ok(blocks > before)
                };
                add().unwrap_or_else(|error| {
                    failed = Some(error);
                    false
                })
            })?;
            if let Some(error) = failed {
                return Err(error);
            }
        }
        if blocks < needed {
            let expected = format!("places of {needed} blocks");
            return Err(FormatError::corrupt("extents of a file", position, expected, blocks));
        }
        Ok(pieces)
    }
}

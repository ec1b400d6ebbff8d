// SPDX-License-Identifier: MIT OR Apache-2.0
//! The anchors: fixed places that say where the volume descriptors are
//! (ECMA-167, 3/10.2; UDF 2.60, 2.2.3).

use super::tag::{Tag, id};
use crate::extent::Extent;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::FormatError;

/// The sizes of blocks that are tried, the most likely first.
const BLOCK_SIZES: [u32; 7] = [2048, 512, 1024, 4096, 8192, 16384, 32768];

/// An anchor volume descriptor pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// The size of a block in bytes.
    pub block_size: u32,
    /// The block that it is in.
    pub block: u32,
    /// The bytes of the main sequence of volume descriptors.
    pub main: Extent,
    /// The bytes of its copy.
    pub reserve: Extent,
}

impl Anchor {
    /// Its own bytes.
    #[must_use]
    pub fn extent(&self) -> Extent {
        blocks(self.block, 1, self.block_size)
    }

    fn read(volume: &dyn ReadAt, block: u32, block_size: u32) -> Result<Self, FormatError> {
        let position = blocks(block, 1, block_size).start();
        let bytes = read_vec(volume, position, 512)?;
        Tag::expect(&bytes, position, Some(block), id::ANCHOR)?;
        let extent = |offset| super::extent_ad(&bytes, offset, block_size);
        Ok(Self { block_size, block, main: extent(16), reserve: extent(24) })
    }
}

/// The bytes of `count` blocks.
pub(super) fn blocks(first: u32, count: u32, block_size: u32) -> Extent {
    let bytes = |blocks: u32| u64::from(blocks).saturating_mul(block_size.into());
    Extent::at(bytes(first), bytes(count))
}

/// The anchors of a volume: in block 256, in the last one N, in N - 256, or in
/// 512 of a disc that is not closed. What drives and programs add behind the
/// last block or leave out is tried, as Linux does.
///
/// # Errors
/// If there is none, and a place where one may be cannot be read.
pub fn anchors(volume: &dyn ReadAt) -> Result<Vec<Anchor>, FormatError> {
    let mut failed = None;
    for block_size in BLOCK_SIZES {
        let count = volume.len().checked_div(block_size.into()).unwrap_or(0);
        let Some(last) = u32::try_from(count).unwrap_or(u32::MAX).checked_sub(1) else { continue };
        // The two blocks at the end of a track that was written at once, and the
        // 150 of a gap behind it.
        let lasts = [0, 1, 2, 150, 152].into_iter().filter_map(|less| last.checked_sub(less));
        let ends = lasts.flat_map(|last| [Some(last), last.checked_sub(256)]).flatten();
        let mut found: Vec<Anchor> = Vec::new();
        for block in [256, 512].into_iter().chain(ends) {
            if block > last || found.iter().any(|anchor| anchor.block == block) {
                continue;
            }
            match Anchor::read(volume, block, block_size) {
                Ok(anchor) => found.push(anchor),
                Err(FormatError::Io(error)) => failed = Some(error),
                Err(_) => {}
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
    }
    failed.map_or(Ok(Vec::new()), |error| Err(FormatError::Io(error)))
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The used map: everything in front of the main area, the blocks of the main
//! area that the segment information calls valid, and what is behind it.

use super::checkpoint::Checkpoint;
use super::recovery;
use super::segments;
use super::superblock::{BLOCKS_PER_SEGMENT, Superblock};
use crate::extent::Extent;
use crate::fs::runs::Runs;
use crate::fs::{Used, bitmap};
use crate::io::ReadAt;
use crate::ondisk::FormatError;

pub(super) fn map(
    reader: &dyn ReadAt,
    superblock: &Superblock,
    checkpoint: &Checkpoint,
) -> Result<Used, FormatError> {
    let mut runs = Runs::new();
    runs.push(Superblock::extent(0, superblock.main_blkaddr));
    segments::read(reader, superblock, checkpoint, |number, segment| {
        let start = superblock.segment_start(number);
        for (first, end) in bitmap::ones(&segment.blocks, BLOCKS_PER_SEGMENT) {
            let count = end.saturating_sub(first);
            runs.push(Superblock::extent(start.saturating_add(first), count));
        }
    })?;
    let end = Superblock::extent(superblock.main_end(), 0).start();
    runs.push(Extent::new(end, reader.len()));
    let used = runs.into_set();
    let doubtful = recovery::doubtful(superblock, checkpoint);
    Ok(Used::proven(used.union(&doubtful)).spare(doubtful.subtract(&used)))
}

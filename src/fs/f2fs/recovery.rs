// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files that were fsynced after the last checkpoint: a mount finds them by
//! following the log of warm nodes from where the checkpoint says that its
//! next block would be written. A node block belongs to them if its footer has
//! the version of the checkpoint; each names the place of the next.
//!
//! That the checkpoint says "unmounted" proves nothing: it says so until the
//! next one is written, whatever was fsynced in between.
//!
//! If the first block of that log is none of them, nothing else is read. But
//! that holds only while the block stays what it is: a restore onto the disk
//! that the image is from would otherwise leave node blocks there which were
//! written after the image was made, with the very version that makes a mount
//! follow them. So the rest of that segment is stored, and for the sake of
//! other programs the next block of every log.

use super::checkpoint::{Checkpoint, Log};
use super::superblock::{BLOCK, BLOCKS_PER_SEGMENT, Superblock};
use crate::error::Context;
use crate::extent::ExtentSet;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError};

/// Where the footer of a node block has the version of the checkpoint.
const CP_VER: usize = 4096 - 12;

/// True if a mount would find node blocks that were written after the
/// checkpoint.
pub(super) fn has_nodes(
    reader: &dyn ReadAt,
    superblock: &Superblock,
    warm_nodes: Log,
    version: u64,
) -> Result<bool, FormatError> {
    let block = superblock.segment_start(warm_nodes.segment).saturating_add(warm_nodes.next);
    let position = block.saturating_mul(BLOCK);
    let len = usize::try_from(BLOCK).unwrap_or(0);
    let bytes = read_vec(reader, position, len)
        .context(|| format!("reading the log of nodes of F2FS at byte {position:#x}"))?;
    let [low, high] = [version, bytes.u64_le(CP_VER).unwrap_or(0)].map(|version| version << 32);
    // The upper half may hold the checkpoint's checksum, or not; a flag says
    // which, but a block that matches in the lower half is doubtful enough.
    Ok(low == high)
}

/// Free blocks that a later recovery could read.
pub(super) fn doubtful(superblock: &Superblock, checkpoint: &Checkpoint) -> ExtentSet {
    let next = |log: &Log, count: u64| {
        let first = superblock.segment_start(log.segment).saturating_add(log.next);
        Superblock::extent(first, count)
    };
    let mut set: ExtentSet = checkpoint.logs.iter().map(|log| next(log, 1)).collect();
    let warm = checkpoint.warm_nodes();
    set.insert(next(&warm, BLOCKS_PER_SEGMENT.saturating_sub(warm.next)));
    set
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The free queues: blocks that were freed a few transactions ago.
//!
//! They stay marked as in use, because older checkpoints still have them,
//! until a later transaction takes them out of the queue.

use super::btree::{Storage, Tree, Visitor};
use super::checkpoint::Checkpoint;
use super::object::{Blocks, kind};
use super::spaceman::{FreeQueue, Pool, Spaceman};
use crate::extent::{Extent, ExtentSet};
use crate::ondisk::{Fields, FormatError};

const WHAT: &str = "free queue";

/// The blocks of both queues, in bytes. Those of the pool are taken from it.
pub(super) fn extents<'a>(
    blocks: Blocks<'a>,
    checkpoint: &Checkpoint,
    spaceman: &Spaceman,
    pool: &mut Pool<'a>,
) -> Result<ExtentSet, FormatError> {
    let mut extents = Vec::new();
    let xid = checkpoint.superblock.xid;
    for (queue, is_pools) in spaceman.queues.into_iter().zip([true, false]) {
        let mut visitor =
            Queue { blocks, pool: &mut *pool, is_pools, xid, count: 0, extents: &mut extents };
        // A container that was just made may not have it yet.
        if queue.tree != 0 {
            let tree = Tree {
                what: WHAT,
                blocks,
                storage: Storage::Ephemeral(checkpoint),
                subtype: kind::SPACEMAN_FREE_QUEUE,
                fixed: Some((16, 8)),
                xid,
            };
            tree.walk(queue.tree, &mut visitor)?;
        }
        if visitor.count != queue.count {
            let FreeQueue { count, tree } = queue;
            return Err(FormatError::corrupt(
                "sfq_count",
                blocks.position(checkpoint.superblock.data.base),
                format!("{} blocks as in tree {tree}", visitor.count),
                count,
            ));
        }
    }
    // A queue is in the order of transactions.
    extents.sort_unstable();
    Ok(extents.into_iter().collect())
}

struct Queue<'a, 'b> {
    blocks: Blocks<'a>,
    pool: &'b mut Pool<'a>,
    is_pools: bool,
    xid: u64,
    count: u64,
    extents: &'b mut Vec<Extent>,
}

impl Visitor for Queue<'_, '_> {
    fn node(&mut self, _: u64) -> Result<bool, FormatError> {
        Ok(true)
    }

    fn leaf(&mut self, position: u64, key: &[u8], value: Option<&[u8]>) -> Result<(), FormatError> {
        let wrong = |found| {
            FormatError::corrupt(
                "record of a free queue",
                position,
                "blocks of this queue, freed by a transaction that there was",
                found,
            )
        };
        let (xid, first) = (key.u64_le(0).unwrap_or(0), key.u64_le(8).unwrap_or(0));
        // No value stands for one block.
        let count = value.map_or(Some(1), |value| value.u64_le(0)).unwrap_or(0);
        let extent = self.blocks.extent(WHAT, first, count)?;
        if xid > self.xid || count == 0 {
            return Err(wrong(format!("{count} blocks, transaction {xid}")));
        }
        let last = first.saturating_add(count.saturating_sub(1));
        for end in [first, last] {
            if self.pool.holds(end) != self.is_pools {
                return Err(wrong(format!("block {end}, of the other one")));
            }
        }
        if self.is_pools {
            for block in first..=last {
                self.pool.take(WHAT, block)?;
            }
        }
        self.count = self.count.saturating_add(count);
        self.extents.push(extent);
        Ok(())
    }
}

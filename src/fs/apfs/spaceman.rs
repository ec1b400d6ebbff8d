// SPDX-License-Identifier: MIT OR Apache-2.0
//! The space manager, `spaceman_phys_t`: what of the container is in use.
//!
//! It has the addresses of chunk-info blocks (CIBs), in a very large container
//! of blocks with addresses of those (CABs). A CIB has the address of a bitmap
//! for each of its chunks, and the number of free blocks in it; a chunk without
//! a bitmap is all free. CABs, CIBs and bitmaps are in the internal pool, which
//! has a bitmap of its own, in a ring of several versions.

use super::checkpoint::{Checkpoint, Ephemeral};
use super::object::{Blocks, kind};
use super::superblock::{Doubt, Range};
use crate::extent::Extent;
use crate::fs::bitmap::{ones, set};
use crate::fs::runs::Runs;
use crate::ondisk::{Fields, FormatError};

const WHAT: &str = "space manager";

/// `SM_FLAG_VERSIONED`, with which the structure has a version: this one.
const VERSIONED: u32 = 1;
const VERSION: u32 = 1;
/// The size of a chunk-info block's and an address block's head.
const LIST_HEAD: u64 = 0x28;
/// The size of `chunk_info_t`.
const CHUNK_INFO: usize = 0x20;
/// `CI_COUNT_MASK`.
const COUNT: u32 = 0x000f_ffff;
/// Hints about which chunk to allocate from next: `CI_PINNED_TO_MAIN` and
/// `CI_ALLOC_ZONE_HINT`.
const HINTS: u32 = 0x0c00_0000;
/// More blocks than the internal pool of a container of 16 EiB has.
const MAX_POOL: u64 = 1 << 28;

/// `spaceman_device_t` of the main device.
#[derive(Debug, Clone, Copy)]
struct Device {
    chunks: u64,
    cibs: u64,
    cabs: u64,
    free: u64,
    addresses: usize,
}

/// `spaceman_free_queue_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FreeQueue {
    pub(super) count: u64,
    pub(super) tree: u64,
}

/// The space manager of a checkpoint.
pub(super) struct Spaceman<'a> {
    blocks: Blocks<'a>,
    object: &'a Ephemeral,
    xid: u64,
    device: Device,
    /// The blocks of the internal pool, and the ring of its bitmaps.
    pub(super) pool: Range,
    pub(super) pool_bitmaps: Range,
    /// The queues of the internal pool and of everything else.
    pub(super) queues: [FreeQueue; 2],
    per_chunk: u64,
    per_cib: u64,
    per_cab: u64,
}

impl<'a> Spaceman<'a> {
    /// Parses the space manager; `Err` with a reason if it is not one that
    /// is understood.
    pub(super) fn new(
        blocks: Blocks<'a>,
        checkpoint: &'a Checkpoint,
    ) -> Result<Result<Self, Doubt>, FormatError> {
        let superblock = &checkpoint.superblock;
        let object = checkpoint.get(WHAT, superblock.spaceman_oid, kind::SPACEMAN, 0)?;
        let bytes = &object.bytes;
        let u32_at = |offset| bytes.u32_le(offset).unwrap_or(0);
        let u64_at = |offset| bytes.u64_le(offset).unwrap_or(0);
        let wrong = |what, offset: u64, expected: u64, found: u64| {
            FormatError::corrupt(what, object.position.saturating_add(offset), expected, found)
        };
        // The second device, and its free queue.
        if bytes.bytes_at(0x60, 0x20).is_none_or(|device| device.iter().any(|byte| *byte != 0))
            || bytes.bytes_at(0x118, 0x18).is_none_or(|queue| queue.iter().any(|byte| *byte != 0))
        {
            return Ok(Err(Doubt::fusion()));
        }
        let (flags, version) = (u32_at(0x90), u32_at(0x150));
        if flags & !VERSIONED != 0 || (flags & VERSIONED != 0 && version != VERSION) {
            return Ok(Err(Doubt::new(format!(
                "its space manager has unknown flags or version ({flags:#x}, {version})"
            ))));
        }
        let per_chunk = blocks.size.saturating_mul(8);
        let room = blocks.size.saturating_sub(LIST_HEAD);
        let (per_cib, per_cab) = (room / 0x20, room / 8);
        for (what, offset, expected) in [
            ("sm_block_size", 0x20, blocks.size),
            ("sm_blocks_per_chunk", 0x24, per_chunk),
            ("sm_chunks_per_cib", 0x28, per_cib),
            ("sm_cibs_per_cab", 0x2c, per_cab),
        ] {
            let found = u64::from(u32_at(usize::try_from(offset).unwrap_or(0)));
            if found != expected {
                return Err(wrong(what, offset, expected, found));
            }
        }
        let device = Device {
            chunks: u64_at(0x38),
            cibs: u64::from(u32_at(0x40)),
            cabs: u64::from(u32_at(0x44)),
            free: u64_at(0x48),
            addresses: usize::try_from(u32_at(0x50)).unwrap_or(usize::MAX),
        };
        let chunks = blocks.count.div_ceil(per_chunk.max(1));
        let cibs = chunks.div_ceil(per_cib.max(1));
        // One address block would hold no more than the space manager does.
        let cabs = if cibs > per_cab { cibs.div_ceil(per_cab.max(1)) } else { 0 };
        for (what, offset, expected, found) in [
            ("sm_block_count", 0x30, blocks.count, u64_at(0x30)),
            ("sm_chunk_count", 0x38, chunks, device.chunks),
            ("sm_cib_count", 0x40, cibs, device.cibs),
            ("sm_cab_count", 0x44, cabs, device.cabs),
        ] {
            if found != expected {
                return Err(wrong(what, offset, expected, found));
            }
        }
        let queue = |offset: usize| FreeQueue {
            count: u64_at(offset),
            tree: u64_at(offset.saturating_add(8)),
        };
        let spaceman = Self {
            blocks,
            object,
            xid: superblock.xid,
            device,
            pool: Range { first: u64_at(0xb0), count: u64_at(0x98) },
            pool_bitmaps: Range { first: u64_at(0xa8), count: u64::from(u32_at(0xa4)) },
            queues: [queue(0xc8), queue(0xf0)],
            per_chunk,
            per_cib,
            per_cab,
        };
        let per_bitmap = u64::from(u32_at(0xa0));
        let needed = spaceman.pool.count.div_ceil(per_chunk.max(1));
        if spaceman.pool.count > MAX_POOL {
            return Err(wrong("sm_ip_block_count", 0x98, MAX_POOL, spaceman.pool.count));
        }
        if per_bitmap != needed || spaceman.pool_bitmaps.count < needed {
            return Err(wrong("sm_ip_bm_size_in_blocks", 0xa0, needed, per_bitmap));
        }
        Ok(Ok(spaceman))
    }

    /// The current bitmap of the internal pool.
    pub(super) fn pool(&self) -> Result<Pool<'a>, FormatError> {
        let mut bitmap = Vec::new();
        // sm_ip_bitmap_offset: where the numbers of its blocks in the ring are.
        let offsets = usize::try_from(self.object.bytes.u32_le(0x148).unwrap_or(0)).unwrap_or(0);
        let mut taken = Vec::new();
        for index in 0..self.pool.count.div_ceil(self.per_chunk.max(1)) {
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            let offset = index
                .checked_mul(2)
                .and_then(|at| self.object.bytes.u16_le(at.checked_add(offsets)?))
                .map(u64::from)
                .filter(|offset| *offset < self.pool_bitmaps.count && !taken.contains(offset));
            let offset = offset.ok_or_else(|| {
                FormatError::corrupt(
                    "sm_ip_bitmap_offset",
                    self.object.position.saturating_add(0x148),
                    format!("blocks of the ring of {}, no two alike", self.pool_bitmaps.count),
                    "others",
                )
            })?;
            taken.push(offset);
            let block = self.pool_bitmaps.first.saturating_add(offset);
            bitmap.extend(self.blocks.read("bitmap of the internal pool", block)?);
        }
        let taken = vec![0; bitmap.len()];
        Ok(Pool { blocks: self.blocks, range: self.pool, bitmap, taken })
    }

    /// Everything the bitmaps call used. The blocks that hold them are taken
    /// from the pool.
    pub(super) fn map(&self, pool: &mut Pool) -> Result<Runs, FormatError> {
        let mut map = Map { runs: Runs::new(), next: 0, free: 0 };
        let is_indirect = self.device.cabs > 0;
        let lists = if is_indirect { self.device.cabs } else { self.device.cibs };
        for index in 0..lists {
            let block = usize::try_from(index)
                .ok()
                .and_then(|index| self.device.addresses.checked_add(index.checked_mul(8)?))
                .and_then(|at| self.object.bytes.u64_le(at))
                .ok_or_else(|| {
                    FormatError::corrupt(
                        "sm_addr_offset",
                        self.object.position.saturating_add(0x50),
                        format!("{lists} addresses inside of the space manager"),
                        self.device.addresses,
                    )
                })?;
            if is_indirect {
                self.address_block(index, block, pool, &mut map)?;
            } else {
                self.chunk_info_block(index, block, pool, &mut map)?;
            }
        }
        if map.free != self.device.free {
            return Err(FormatError::corrupt(
                "sm_free_count",
                self.object.position.saturating_add(0x48),
                format!("{} blocks, the sum of all chunks", map.free),
                self.device.free,
            ));
        }
        Ok(map.runs)
    }

    fn address_block(
        &self,
        index: u64,
        block: u64,
        pool: &mut Pool,
        map: &mut Map,
    ) -> Result<(), FormatError> {
        const WHAT: &str = "block of addresses of chunk-info blocks";
        pool.take(WHAT, block)?;
        let first = index.saturating_mul(self.per_cab);
        let count = self.device.cibs.saturating_sub(first).min(self.per_cab);
        let bytes = self.list(WHAT, block, kind::SPACEMAN_CAB, index, count)?;
        let len = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(8);
        let addresses = bytes.bytes_at(0x28, len).unwrap_or_default();
        for (address, index) in addresses.chunks_exact(8).zip(first..) {
            self.chunk_info_block(index, address.u64_le(0).unwrap_or(0), pool, map)?;
        }
        Ok(())
    }

    fn chunk_info_block(
        &self,
        index: u64,
        block: u64,
        pool: &mut Pool,
        map: &mut Map,
    ) -> Result<(), FormatError> {
        const WHAT: &str = "chunk-info block";
        pool.take(WHAT, block)?;
        let first = index.saturating_mul(self.per_cib);
        let count = self.device.chunks.saturating_sub(first).min(self.per_cib);
        let bytes = self.list(WHAT, block, kind::SPACEMAN_CIB, index, count)?;
        let len = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(CHUNK_INFO);
        let chunks = bytes.bytes_at(0x28, len).unwrap_or_default();
        let positions = (self.blocks.position(block).saturating_add(0x28)..).step_by(CHUNK_INFO);
        for (chunk, position) in chunks.chunks_exact(CHUNK_INFO).zip(positions) {
            self.chunk(position, chunk, pool, map)?;
        }
        Ok(())
    }

    /// The bytes of one of the lists, which has to be this one and this long.
    fn list(
        &self,
        what: &'static str,
        block: u64,
        kind: u32,
        index: u64,
        count: u64,
    ) -> Result<Vec<u8>, FormatError> {
        let (_, bytes) = self.blocks.physical(what, block, (kind, 0), self.xid)?;
        let found = |offset| bytes.u32_le(offset).map(u64::from);
        if (found(0x20), found(0x24)) == (Some(index), Some(count)) {
            return Ok(bytes);
        }
        Err(FormatError::corrupt(
            what,
            self.blocks.position(block),
            format!("number {index}, {count} entries"),
            format!("number {:?}, {:?} entries", found(0x20), found(0x24)),
        ))
    }

    /// One `chunk_info_t`.
    fn chunk(
        &self,
        position: u64,
        chunk: &[u8],
        pool: &mut Pool,
        map: &mut Map,
    ) -> Result<(), FormatError> {
        let u64_at = |offset| chunk.u64_le(offset).unwrap_or(0);
        let u32_at = |offset| chunk.u32_le(offset).unwrap_or(0);
        let count = self.blocks.count.saturating_sub(map.next).min(self.per_chunk);
        let (xid, first, bitmap) = (u64_at(0), u64_at(0x08), u64_at(0x18));
        let (counted, free) = (u32_at(0x10), u32_at(0x14));
        if first != map.next || u64::from(counted & COUNT) != count || xid > self.xid {
            return Err(FormatError::corrupt(
                "chunk_info_t",
                position,
                format!(
                    "{count} blocks from block {} on, up to transaction {}",
                    map.next, self.xid
                ),
                format!("{} from block {first} on, transaction {xid}", counted & COUNT),
            ));
        }
        if counted & !(COUNT | HINTS) != 0 || free & !COUNT != 0 {
            return Err(FormatError::unsupported(format!(
                "unknown flags of a chunk at byte {position:#x} ({counted:#x}, {free:#x})"
            )));
        }
        let mut used = 0_u64;
        if bitmap != 0 {
            const WHAT: &str = "bitmap of a chunk";
            pool.take(WHAT, bitmap)?;
            let bits = self.blocks.read(WHAT, bitmap)?;
            for (start, end) in ones(&bits, count) {
                used = used.saturating_add(end.saturating_sub(start));
                map.runs.push(Extent::new(
                    self.blocks.position(first.saturating_add(start)),
                    self.blocks.position(first.saturating_add(end)),
                ));
            }
        }
        if count.saturating_sub(used) != u64::from(free) {
            return Err(FormatError::corrupt(
                "ci_free_count",
                position.saturating_add(0x14),
                format!("{} free blocks as in the bitmap", count.saturating_sub(used)),
                free,
            ));
        }
        map.next = first.saturating_add(count);
        map.free = map.free.saturating_add(u64::from(free));
        Ok(())
    }
}

/// The map as far as it has been read.
struct Map {
    runs: Runs,
    /// The first block of the next chunk.
    next: u64,
    free: u64,
}

/// The internal pool, and which of its blocks somebody has named.
pub(super) struct Pool<'a> {
    blocks: Blocks<'a>,
    range: Range,
    bitmap: Vec<u8>,
    taken: Vec<u8>,
}

impl Pool<'_> {
    /// True if a block is one of the pool's.
    pub(super) const fn holds(&self, block: u64) -> bool {
        match block.checked_sub(self.range.first) {
            Some(index) => index < self.range.count,
            None => false,
        }
    }

    /// A block that is in use: its bit is set, and nobody else has it.
    pub(super) fn take(&mut self, what: &'static str, block: u64) -> Result<(), FormatError> {
        let index = block.saturating_sub(self.range.first);
        let end = index.saturating_add(1);
        if self.holds(block)
            && !set(&mut self.bitmap, index, end)
            && set(&mut self.taken, index, end)
        {
            return Ok(());
        }
        Err(FormatError::corrupt(
            what,
            self.blocks.position(block),
            format!(
                "a block in use among the {} of the internal pool from block {} on",
                self.range.count, self.range.first
            ),
            format!("block {block}, which is not, or is another's, too"),
        ))
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The newest checkpoint: its superblock, its maps and the ephemeral objects
//! that they list.
//!
//! A checkpoint is a run of blocks in the ring that the descriptor area is:
//! one or more checkpoint maps, then a superblock. The maps list all ephemeral
//! objects, which are in the ring that the data area is. Whoever mounts takes
//! the superblock with the highest transaction, or an older one if something
//! of that checkpoint is damaged; in the second case there is no map here.

use std::collections::BTreeMap;

use super::object::{Blocks, EPHEMERAL, Header, PHYSICAL, checked, expect, kind};
use super::superblock::{Area, Superblock};
use crate::ondisk::{Fields, FormatError};

/// More descriptor blocks than any container has: macOS makes 8 to some
/// hundreds.
const MAX_DESCRIPTORS: u64 = 1 << 14;
/// More than all objects of a checkpoint have: those of 10 TiB are 50 KiB, and
/// full free queues some MiB.
const MAX_OBJECTS: u64 = 64 << 20;
/// `CHECKPOINT_MAP_LAST`.
const LAST: u32 = 1;

/// An ephemeral object.
#[derive(Debug, Clone)]
pub(super) struct Ephemeral {
    pub(super) position: u64,
    pub(super) kind: u32,
    pub(super) subtype: u32,
    pub(super) bytes: Vec<u8>,
}

/// A complete checkpoint.
#[derive(Debug)]
pub(super) struct Checkpoint {
    pub(super) superblock: Superblock,
    /// Its objects, all of which are whole.
    pub(super) objects: BTreeMap<u64, Ephemeral>,
}

/// The newest checkpoint's superblock, and its block in the descriptor area.
/// `copy` is the superblock in block 0, which is not written until the
/// container is unmounted.
pub(super) fn newest(blocks: Blocks, copy: &Superblock) -> Result<(u64, Superblock), FormatError> {
    const WHAT: &str = "checkpoint descriptor area";
    let area = copy.descriptors;
    let position = blocks.extent(WHAT, area.base, area.blocks)?.start();
    if area.blocks > MAX_DESCRIPTORS {
        return Err(FormatError::unsupported(format!(
            "an APFS container with {} checkpoint descriptors",
            area.blocks
        )));
    }
    let mut found = Vec::new();
    for index in 0..area.blocks {
        let head = blocks.read_head(WHAT, area.base.saturating_add(index), 0x28)?;
        if Superblock::block_size(&head).is_some()
            && let Some(header) = Header::parse(&head)
        {
            found.push((header.xid, index));
        }
    }
    found.sort_unstable();
    let (xid, index) = found
        .last()
        .copied()
        .ok_or_else(|| FormatError::corrupt(WHAT, position, "a superblock", "none"))?;
    if found.iter().filter(|(other, _)| *other == xid).count() > 1 {
        return Err(FormatError::corrupt(
            WHAT,
            position,
            "one newest superblock",
            format!("several of transaction {xid}"),
        ));
    }
    // If this one is torn, a mount goes back to the one before. There is no
    // proof then that nobody needs what the torn one had.
    let block = area.base.saturating_add(index);
    let newest = Superblock::parse(&blocks.read(WHAT, block)?, blocks.position(block))?;
    let places = |superblock: &Superblock| {
        let place = |area: Area| (area.base, area.blocks, area.is_tree);
        (superblock.uuid, place(superblock.descriptors), place(superblock.data))
    };
    if newest.xid < copy.xid
        || places(&newest) != places(copy)
        || newest.block_count != copy.block_count
    {
        return Err(FormatError::corrupt(
            "superblock of the newest checkpoint",
            blocks.position(block),
            format!("that of the container in block 0, transaction {} or later", copy.xid),
            format!("another one, transaction {}", newest.xid),
        ));
    }
    Ok((index, newest))
}

impl Checkpoint {
    /// Reads all that the checkpoint consists of; `index` is the place of its
    /// superblock in the descriptor area.
    pub(super) fn read(
        blocks: Blocks,
        index: u64,
        superblock: Superblock,
    ) -> Result<Self, FormatError> {
        let area = superblock.descriptors;
        let position = blocks.position(area.base.saturating_add(index));
        if area.len < 2
            || area.len > area.blocks
            || ring(area, index.saturating_add(1)) != area.next
        {
            return Err(FormatError::corrupt(
                "nx_xp_desc_len and nx_xp_desc_next",
                position,
                format!("maps and then a superblock, all before block {}", area.next),
                format!("{} blocks that end with block {index}", area.len),
            ));
        }
        let mut checkpoint = Self { superblock, objects: BTreeMap::new() };
        let most = MAX_OBJECTS.checked_div(blocks.size).unwrap_or(0);
        let mut blocks_left = checkpoint.superblock.data.blocks.min(most);
        for back in (1..area.len).rev() {
            let at = index.saturating_add(area.blocks).saturating_sub(back);
            let block = area.base.saturating_add(ring(area, at));
            checkpoint.add_map(blocks, block, back == 1, &mut blocks_left)?;
        }
        Ok(checkpoint)
    }

    fn add_map(
        &mut self,
        blocks: Blocks,
        block: u64,
        is_last: bool,
        blocks_left: &mut u64,
    ) -> Result<(), FormatError> {
        const WHAT: &str = "checkpoint map";
        const MAPPING_LEN: usize = 40;
        let xid = self.superblock.xid;
        let (header, bytes) = blocks.physical(WHAT, block, (kind::CHECKPOINT_MAP, 0), xid)?;
        let position = blocks.position(block);
        let flags = bytes.u32_le(0x20).unwrap_or(0);
        if header.xid != xid || flags != u32::from(is_last) * LAST {
            return Err(FormatError::corrupt(
                WHAT,
                position,
                format!("transaction {xid}, flags {}", u32::from(is_last)),
                format!("transaction {}, flags {flags}", header.xid),
            ));
        }
        let count = usize::try_from(bytes.u32_le(0x24).unwrap_or(0)).unwrap_or(usize::MAX);
        let mappings = count.checked_mul(MAPPING_LEN).and_then(|len| bytes.bytes_at(0x28, len));
        let mappings = mappings
            .ok_or_else(|| FormatError::corrupt("cpm_count", position, "what fits", count))?;
        for mapping in mappings.chunks_exact(MAPPING_LEN) {
            let (oid, object) = self.object(blocks, position, mapping, blocks_left)?;
            if self.objects.insert(oid, object).is_some() {
                return Err(FormatError::corrupt(
                    WHAT,
                    position,
                    "one mapping for each object",
                    format!("two for object {oid}"),
                ));
            }
        }
        Ok(())
    }

    fn object(
        &self,
        blocks: Blocks,
        position: u64,
        mapping: &[u8],
        blocks_left: &mut u64,
    ) -> Result<(u64, Ephemeral), FormatError> {
        const WHAT: &str = "ephemeral object";
        let fields = (|| {
            Some((
                mapping.u32_le(0)?,
                mapping.u32_le(4)?,
                u64::from(mapping.u32_le(8)?),
                mapping.u64_le(24)?,
                mapping.u64_le(32)?,
            ))
        })();
        let (kind, subtype, len, oid, first) = fields.unwrap_or_default();
        let area = self.superblock.data;
        let count = len.checked_div(blocks.size).unwrap_or(0);
        let offset = first.checked_sub(area.base).filter(|offset| *offset < area.blocks);
        // All together they have to fit into the area and into memory.
        let (Some(offset), Some(left)) = (offset, blocks_left.checked_sub(count)) else {
            return Err(FormatError::corrupt(
                "mapping of an ephemeral object",
                position,
                "blocks of the checkpoint data area",
                format!("{count} blocks from block {first} on"),
            ));
        };
        *blocks_left = left;
        if count == 0 || blocks.position(count) != len {
            return Err(FormatError::corrupt("cpm_size", position, "whole blocks", len));
        }
        // An object may go on at the start of the ring.
        let mut bytes = Vec::new();
        for index in 0..count {
            let block = area.base.saturating_add(ring(area, offset.saturating_add(index)));
            bytes.extend(blocks.read(WHAT, block)?);
        }
        let position = blocks.position(first);
        let header = checked(WHAT, position, &bytes)?;
        expect(WHAT, position, &header, (kind, subtype), oid)?;
        if kind & (EPHEMERAL | PHYSICAL) != EPHEMERAL || header.xid != self.superblock.xid {
            return Err(FormatError::corrupt(
                WHAT,
                position,
                format!("an ephemeral one of transaction {}", self.superblock.xid),
                format!("type {kind:#x} of transaction {}", header.xid),
            ));
        }
        Ok((oid, Ephemeral { position, kind, subtype, bytes }))
    }

    /// An ephemeral object of this type.
    pub(super) fn get(
        &self,
        what: &'static str,
        oid: u64,
        kind: u32,
        subtype: u32,
    ) -> Result<&Ephemeral, FormatError> {
        self.objects
            .get(&oid)
            .filter(|object| object.kind == EPHEMERAL | kind && object.subtype == subtype)
            .ok_or_else(|| {
                FormatError::corrupt(
                    what,
                    self.superblock.data.base.saturating_mul(self.superblock.block_size),
                    format!("object {oid} of type {kind:#x}, {subtype:#x} in the checkpoint"),
                    "none such",
                )
            })
    }
}

const fn ring(area: Area, index: u64) -> u64 {
    match index.checked_rem(area.blocks) {
        Some(index) => index,
        None => 0,
    }
}

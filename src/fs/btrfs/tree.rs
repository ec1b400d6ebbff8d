// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trees: blocks that are checked before anything in them is believed, and a
//! walk over the items of a tree in the order of their keys.
//!
//! A block is believed only if its checksum is right and if it is the one that
//! its parent points to: address, filesystem, chunk tree, generation, level,
//! tree, first key. All copies of it are read. Since keys only ever rise in a
//! walk and levels only ever fall, no loop is possible.

use std::cell::RefCell;

use super::checksum::Checksum;
use super::chunk::Chunks;
use super::devices::Devices;
use super::superblock::{Root, Superblock};
use crate::ondisk::{Fields, FormatError};

/// The key of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) objectid: u64,
    pub(super) kind: u8,
    pub(super) offset: u64,
}

impl Key {
    pub(super) const LEN: usize = 17;

    pub(super) const INODE_ITEM: u8 = 1;
    pub(super) const INODE_REF: u8 = 12;
    pub(super) const INODE_EXTREF: u8 = 13;
    pub(super) const XATTR_ITEM: u8 = 24;
    pub(super) const DIR_LOG_INDEX: u8 = 72;
    pub(super) const DIR_ITEM: u8 = 84;
    pub(super) const DIR_INDEX: u8 = 96;
    pub(super) const EXTENT_DATA: u8 = 108;
    pub(super) const EXTENT_CSUM: u8 = 128;
    pub(super) const ROOT_ITEM: u8 = 132;
    pub(super) const ROOT_REF: u8 = 156;
    pub(super) const EXTENT_ITEM: u8 = 168;
    pub(super) const METADATA_ITEM: u8 = 169;
    pub(super) const TREE_BLOCK_REF: u8 = 176;
    pub(super) const EXTENT_DATA_REF: u8 = 178;
    pub(super) const SHARED_BLOCK_REF: u8 = 182;
    pub(super) const SHARED_DATA_REF: u8 = 184;
    pub(super) const BLOCK_GROUP_ITEM: u8 = 192;
    pub(super) const FREE_SPACE_INFO: u8 = 198;
    pub(super) const FREE_SPACE_EXTENT: u8 = 199;
    pub(super) const FREE_SPACE_BITMAP: u8 = 200;
    pub(super) const DEV_EXTENT: u8 = 204;
    pub(super) const DEV_ITEM: u8 = 216;
    pub(super) const CHUNK_ITEM: u8 = 228;
    pub(super) const PERSISTENT_ITEM: u8 = 249;
    pub(super) const DEV_REPLACE: u8 = 250;

    /// The object of all chunks, and that of all devices.
    pub(super) const CHUNK_OBJECT: u64 = 256;
    pub(super) const DEVICE_OBJECT: u64 = 1;

    /// The largest key that is smaller.
    pub(super) fn before(self) -> Option<Self> {
        if let Some(offset) = self.offset.checked_sub(1) {
            return Some(Self { offset, ..self });
        }
        if let Some(kind) = self.kind.checked_sub(1) {
            return Some(Self { kind, offset: u64::MAX, ..self });
        }
        let objectid = self.objectid.checked_sub(1)?;
        Some(Self { objectid, kind: u8::MAX, offset: u64::MAX })
    }

    pub(super) fn at(bytes: &[u8], offset: usize) -> Option<Self> {
        let bytes = bytes.bytes_at(offset, Self::LEN)?;
        Some(Self { objectid: bytes.u64_le(0)?, kind: bytes.u8_at(8)?, offset: bytes.u64_le(9)? })
    }
}

/// The numbers of trees.
pub(super) mod tree_id {
    pub(in super::super) const ROOT: u64 = 1;
    pub(in super::super) const EXTENT: u64 = 2;
    pub(in super::super) const CHUNK: u64 = 3;
    pub(in super::super) const DEVICE: u64 = 4;
    pub(in super::super) const FILES: u64 = 5;
    pub(in super::super) const CHECKSUM: u64 = 7;
    pub(in super::super) const FREE_SPACE: u64 = 10;
    pub(in super::super) const BLOCK_GROUP: u64 = 11;
    pub(in super::super) const RAID_STRIPE: u64 = 12;
    pub(in super::super) const REMAP: u64 = 13;
    pub(in super::super) const LOG: u64 = 0_u64.wrapping_sub(6);
    /// The first of a subvolume, and the last.
    pub(in super::super) const FIRST_FREE: u64 = 256;
    pub(in super::super) const LAST_FREE: u64 = 0_u64.wrapping_sub(256);
}

pub(super) const HEADER: usize = 101;
pub(super) const POINTER: usize = 33;
pub(super) const ITEM: usize = 25;
/// The highest level of a node.
pub(super) const TOP_LEVEL: u8 = 7;

/// What a parent says of a block.
#[derive(Debug, Clone, Copy)]
struct Pointer {
    root: Root,
    owner: u64,
    first: Option<Key>,
}

/// A block that is what its parent says.
#[derive(Debug)]
struct Block {
    bytes: Vec<u8>,
    items: usize,
    next: usize,
    pointer: Pointer,
    position: u64,
}

/// All that is needed to read a block.
#[derive(Debug)]
pub(super) struct Forest<'a> {
    pub(super) devices: &'a Devices<'a>,
    pub(super) chunks: &'a Chunks,
    pub(super) superblock: &'a Superblock,
    /// What the chunk tree's UUID is, once one block has told.
    chunk_tree: RefCell<Option<[u8; 16]>>,
    seen: RefCell<Seen>,
}

/// What was noticed on the way.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The logical addresses of all blocks that were read.
    pub(super) blocks: Vec<u64>,
    /// How many copies of blocks were damaged, where another was not.
    pub(super) damaged: u64,
}

/// More blocks than this are those of extent trees of petabytes.
const MOST_BLOCKS: usize = 4 << 20;

impl<'a> Forest<'a> {
    pub(super) fn new(
        devices: &'a Devices<'a>,
        chunks: &'a Chunks,
        superblock: &'a Superblock,
    ) -> Self {
        let (chunk_tree, seen) = (RefCell::new(None), RefCell::new(Seen::default()));
        Self { devices, chunks, superblock, chunk_tree, seen }
    }

    /// A forest of the same filesystem with more chunks.
    pub(super) fn with_chunks(self, chunks: &'a Chunks) -> Self {
        Self { chunks, ..self }
    }

    pub(super) fn into_seen(self) -> Seen {
        self.seen.into_inner()
    }

    /// A walk over all items of a tree.
    pub(super) fn walk(&self, root: Root, owner: u64) -> Result<Walk<'_, 'a>, FormatError> {
        let block = self.read(Pointer { root, owner, first: None })?;
        Ok(Walk { forest: self, stack: vec![block], last: None })
    }

    fn read(&self, pointer: Pointer) -> Result<Block, FormatError> {
        let logical = pointer.root.logical;
        let node_size = self.superblock.node_size;
        let wrong = |expected: &str| {
            let found = format!("logical address {logical:#x}");
            FormatError::corrupt("pointer to a tree block", 0, expected, found)
        };
        if !logical.is_multiple_of(self.superblock.sector_size) {
            return Err(wrong("a multiple of the sector size"));
        }
        let chunk = self
            .chunks
            .find(logical)
            .and_then(|number| self.chunks.all().get(number))
            .filter(|chunk| chunk.is_metadata())
            .ok_or_else(|| wrong("an address in a chunk for metadata"))?;
        let copies = chunk
            .copies(logical, node_size)
            .ok_or_else(|| wrong("a whole block inside of a chunk"))?;
        let mut good: Option<Block> = None;
        let mut bad = None;
        let mut damaged = 0_u64;
        for (number, offset) in copies {
            let stripe = chunk.stripes.get(number).ok_or_else(|| wrong("a stripe"))?;
            let position = stripe.offset.saturating_add(offset);
            let block = self
                .devices
                .read(stripe, position, node_size)
                .and_then(|bytes| self.check(bytes, pointer, position));
            match block {
                Ok(block) => match &good {
                    None => good = Some(block),
                    Some(first) if first.bytes == block.bytes => {}
                    // Both are whole, and only one can be right: two devices
                    // that were in use one without the other.
                    Some(_) => {
                        return Err(FormatError::corrupt(
                            "tree block",
                            position,
                            "the same as in its other copy",
                            "other bytes",
                        ));
                    }
                },
                Err(error) => {
                    damaged = damaged.saturating_add(1);
                    bad.get_or_insert(error);
                }
            }
        }
        let block = match (good, bad) {
            (Some(block), _) => block,
            (None, Some(error)) => return Err(error),
            (None, None) => return Err(wrong("a copy")),
        };
        let mut seen = self.seen.borrow_mut();
        if seen.blocks.len() >= MOST_BLOCKS {
            return Err(FormatError::unsupported("it has too many tree blocks"));
        }
        seen.blocks.push(logical);
        seen.damaged = seen.damaged.saturating_add(damaged);
        Ok(block)
    }

    /// Checks a copy of a block.
    fn check(&self, bytes: Vec<u8>, pointer: Pointer, position: u64) -> Result<Block, FormatError> {
        let checksum: Checksum = self.superblock.checksum;
        if !checksum.holds(&bytes) {
            return Err(FormatError::corrupt(
                "checksum of a tree block",
                position,
                "the checksum of its bytes",
                "another one",
            ));
        }
        let number = |what, expected: u64, found: Option<u64>| {
            let found = found.unwrap_or(u64::MAX);
            if expected == found {
                return Ok(());
            }
            let (expected, found) = (format!("{expected:#x}"), format!("{found:#x}"));
            Err(FormatError::corrupt(what, position, expected, found))
        };
        let fields = bytes.as_slice();
        let Root { logical, generation, level } = pointer.root;
        number("bytenr of a tree block", logical, fields.u64_le(48))?;
        number("generation of a tree block", generation, fields.u64_le(80))?;
        number("owner of a tree block", pointer.owner, fields.u64_le(88))?;
        number("level of a tree block", u64::from(level), fields.u8_at(100).map(u64::from))?;
        if level > TOP_LEVEL {
            return Err(FormatError::corrupt("level of a tree block", position, "0 to 7", level));
        }
        // Bits 0 and 1 are flags, the highest byte is the revision of backrefs.
        if fields.u8_at(63) != Some(1) {
            let what = "a tree block has backrefs in the format from before 2009";
            return Err(FormatError::unsupported(what));
        }
        let uuid = |what, expected: [u8; 16], found: [u8; 16]| {
            if expected == found {
                return Ok(());
            }
            let (expected, found) =
                (uuid::Uuid::from_bytes(expected), uuid::Uuid::from_bytes(found));
            Err(FormatError::corrupt(what, position, expected, found))
        };
        let fsid = fields.array(32).unwrap_or_default();
        uuid("fsid of a tree block", self.superblock.metadata_uuid, fsid)?;
        let found = fields.array(64).unwrap_or_default();
        let chunk_tree = *self.chunk_tree.borrow_mut().get_or_insert(found);
        uuid("chunk tree UUID of a tree block", chunk_tree, found)?;
        let items = check_items(fields, level, pointer.first, position)?;
        Ok(Block { bytes, items, next: 0, pointer, position })
    }
}

/// Checks the keys and places of a block's items; returns how many it has.
pub(super) fn check_items(
    fields: &[u8],
    level: u8,
    first: Option<Key>,
    position: u64,
) -> Result<usize, FormatError> {
    let count = fields.u32_le(96).unwrap_or(u32::MAX);
    let items = usize::try_from(count).unwrap_or(usize::MAX);
    let stride = if level == 0 { ITEM } else { POINTER };
    let most = fields.len().saturating_sub(HEADER).checked_div(stride).unwrap_or(0);
    if items > most || (level > 0 && items == 0) {
        let expected = format!("at most {most} and none only in a leaf");
        return Err(FormatError::corrupt("nritems of a tree block", position, expected, count));
    }
    let mut last = None;
    let mut end = fields.len().saturating_sub(HEADER);
    let table = items.saturating_mul(stride);
    for number in 0..items {
        let place = HEADER.saturating_add(number.saturating_mul(stride));
        let key = Key::at(fields, place);
        if key.is_none() || key <= last {
            return Err(FormatError::corrupt(
                "key in a tree block",
                position,
                format!("one above {last:?}"),
                format!("{key:?}"),
            ));
        }
        if number == 0 && first.is_some() && first != key {
            return Err(FormatError::corrupt(
                "first key of a tree block",
                position,
                format!("{:?}", first),
                format!("{key:?}"),
            ));
        }
        last = key;
        if level > 0 {
            continue;
        }
        // The data of items lies side by side, the first item's at the end.
        let field = |at: usize| {
            let number = fields.u32_le(place.saturating_add(Key::LEN).saturating_add(at));
            number.and_then(|number| usize::try_from(number).ok()).unwrap_or(usize::MAX)
        };
        let (offset, size) = (field(0), field(4));
        if offset.checked_add(size) != Some(end) || offset < table {
            return Err(FormatError::corrupt(
                "place of an item in a leaf",
                position,
                format!("bytes that end at {end}"),
                format!("{size} bytes at {offset}"),
            ));
        }
        end = offset;
    }
    // Only the root may have been emptied.
    if first.is_some() && items == 0 {
        return Err(FormatError::corrupt("leaf", position, "an item", "none"));
    }
    Ok(items)
}

/// The items of a tree, one after the other.
#[derive(Debug)]
pub(super) struct Walk<'f, 'a> {
    forest: &'f Forest<'a>,
    stack: Vec<Block>,
    last: Option<Key>,
}

/// An item of a leaf.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item<'w> {
    pub(super) key: Key,
    pub(super) data: &'w [u8],
    /// Where its leaf is, for messages.
    pub(super) position: u64,
}

impl Walk<'_, '_> {
    /// The next item.
    pub(super) fn next(&mut self) -> Result<Option<Item<'_>>, FormatError> {
        loop {
            let Some(block) = self.stack.last_mut() else { return Ok(None) };
            if block.next >= block.items {
                self.stack.pop();
                continue;
            }
            let number = block.next;
            block.next = number.saturating_add(1);
            let broken = || FormatError::corrupt("tree block", 0, "an item", "none");
            if block.pointer.root.level > 0 {
                let child = block.child(number).ok_or_else(broken)?;
                let child = self.forest.read(child)?;
                self.stack.push(child);
                continue;
            }
            let key = block.key(number, ITEM).ok_or_else(broken)?;
            // Inside of a leaf that is checked, but not from one to the next.
            if number == 0 && self.last.is_some_and(|last| last >= key) {
                return Err(FormatError::corrupt(
                    "first key of a leaf",
                    block.position,
                    format!("one above {:?}", self.last),
                    format!("{key:?}"),
                ));
            }
            self.last = Some(key);
            break;
        }
        let item = self.stack.last().and_then(Block::current);
        item.map(Some).ok_or_else(|| FormatError::corrupt("leaf", 0, "an item", "none"))
    }
}

impl Block {
    fn key(&self, number: usize, stride: usize) -> Option<Key> {
        Key::at(&self.bytes, number.checked_mul(stride)?.checked_add(HEADER)?)
    }

    /// The item that [`Walk::next`] has just passed.
    fn current(&self) -> Option<Item<'_>> {
        let place = self.next.checked_sub(1)?.checked_mul(ITEM)?.checked_add(HEADER)?;
        let fields = self.bytes.as_slice();
        let offset = usize::try_from(fields.u32_le(place.checked_add(Key::LEN)?)?).ok()?;
        let size = usize::try_from(fields.u32_le(place.checked_add(Key::LEN + 4)?)?).ok()?;
        let data = fields.bytes_at(offset.checked_add(HEADER)?, size)?;
        Some(Item { key: Key::at(fields, place)?, data, position: self.position })
    }

    fn child(&self, number: usize) -> Option<Pointer> {
        let place = number.checked_mul(POINTER)?.checked_add(HEADER)?;
        let fields = self.bytes.as_slice();
        let root = Root {
            logical: fields.u64_le(place.checked_add(Key::LEN)?)?,
            generation: fields.u64_le(place.checked_add(Key::LEN + 8)?)?,
            level: self.pointer.root.level.checked_sub(1)?,
        };
        Some(Pointer { root, owner: self.pointer.owner, first: Some(Key::at(fields, place)?) })
    }
}

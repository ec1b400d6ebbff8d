// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trees that many threads search at the same time: blocks are read when they
//! are needed, checked before anything in them is believed, and kept.
//!
//! A block is believed if its checksum is right and if it is the one that its
//! parent points to. If it is not, the next copy is tried.

use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;
use std::sync::Arc;

use super::super::chunk::{Chunk, Chunks, Profile, STRIPE_LEN};
use super::super::superblock::{self, POSITIONS, Root, Superblock};
use super::super::tree::{HEADER, ITEM, Key, POINTER, TOP_LEVEL, check_items, tree_id};
use crate::extent::Extent;
use crate::fs::SharedReaders;
use crate::fs::cache::Cache;
use crate::fs::files::FileResult;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError};

/// The bytes of checked tree blocks that are kept.
const CACHE_BYTES: usize = 32 << 20;

/// A device that is at hand.
struct Member {
    reader: Arc<dyn ReadAt>,
    id: u64,
    uuid: [u8; 16],
    /// What its tree blocks have as their filesystem's UUID.
    filesystem: [u8; 16],
    /// True if it has all commits.
    is_newest: bool,
}

/// A tree: where its root is, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tree {
    pub(super) root: Root,
    pub(super) owner: u64,
}

/// What a replay of the log makes of the items of a tree; `None` where one is
/// taken out.
pub(super) type Overlay = BTreeMap<Key, Option<Arc<[u8]>>>;

type Changes<'a> = btree_map::Range<'a, Key, Option<Arc<[u8]>>>;

/// A tree block that is what its parent says.
#[derive(Debug)]
pub(super) struct TreeBlock {
    bytes: Vec<u8>,
    items: usize,
    level: u8,
    generation: u64,
    /// For messages.
    position: u64,
    logical: u64,
}

/// The devices of a filesystem, and the way to their trees.
pub(super) struct Forest {
    members: Vec<Member>,
    pub(super) superblock: Superblock,
    pub(super) chunks: Chunks,
    blocks: Cache<u64, Arc<TreeBlock>>,
    /// What a replay of the logs makes of the trees of subvolumes.
    pub(super) overlays: BTreeMap<u64, Overlay>,
    /// The checksums that it adds, by logical address.
    pub(super) logged_sums: BTreeMap<u64, Arc<[u8]>>,
}

impl std::fmt::Debug for Forest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forest").field("superblock", &self.superblock).finish_non_exhaustive()
    }
}

impl Forest {
    /// Finds the devices of the filesystem on the first reader, and its chunks.
    pub(super) fn open(readers: SharedReaders, first: Superblock) -> FileResult<Self> {
        let position = POSITIONS[0];
        let mut found = vec![(0, first.clone())];
        for (number, reader) in readers.iter().enumerate().skip(1) {
            let Ok(Some(bytes)) = superblock::read(reader.as_ref(), position) else { continue };
            let Ok(superblock) = Superblock::parse(bytes, position) else { continue };
            // Of the same filesystem, or of one that it may be built on.
            let is_copy = superblock.device.uuid == first.device.uuid && first.num_devices == 1;
            if !is_copy {
                found.push((number, superblock));
            }
        }
        let newest = found
            .iter()
            .filter(|(_, superblock)| superblock.fsid == first.fsid)
            .map(|(_, superblock)| superblock)
            .max_by_key(|superblock| superblock.generation)
            .unwrap_or(&first)
            .clone();
        let mut members: Vec<Member> = Vec::new();
        for (number, superblock) in found {
            let Some(reader) = readers.get(number) else { continue };
            let member = Member {
                reader: Arc::clone(reader),
                id: superblock.device.id,
                uuid: superblock.device.uuid,
                filesystem: superblock.metadata_uuid,
                is_newest: superblock.fsid != newest.fsid
                    || superblock.generation == newest.generation,
            };
            if members.iter().any(|other| (other.id, other.uuid) == (member.id, member.uuid)) {
                return Err(FormatError::unsupported(
                    "two volumes say that they are the same device of this filesystem",
                ));
            }
            members.push(member);
        }
        let place = position.saturating_add(0x32B);
        let chunks = Chunks::bootstrap(&newest.system_chunks, newest.sector_size, place)?;
        let mut forest = Self {
            members,
            superblock: newest,
            chunks,
            blocks: Cache::new(CACHE_BYTES),
            overlays: BTreeMap::new(),
            logged_sums: BTreeMap::new(),
        };
        forest.chunks = forest.read_chunks()?;
        Ok(forest)
    }

    fn read_chunks(&self) -> FileResult<Chunks> {
        let mut chunks = Chunks::default();
        let tree = Tree { root: self.superblock.chunk_root, owner: tree_id::CHUNK };
        let start = Key { objectid: Key::CHUNK_OBJECT, kind: Key::CHUNK_ITEM, offset: 0 };
        let mut cursor = self.seek(&tree, start)?;
        while let Some(item) = cursor.next()? {
            let key = item.key;
            if key.objectid != Key::CHUNK_OBJECT || key.kind != Key::CHUNK_ITEM {
                break;
            }
            let position = item.position();
            let (chunk, _) = Chunk::parse(key, item.data(), self.superblock.sector_size, position)?;
            chunks.push(chunk, position)?;
        }
        Ok(chunks)
    }

    /// The chunk of a logical address.
    fn chunk(&self, logical: u64) -> FileResult<&Chunk> {
        self.chunks.find(logical).and_then(|number| self.chunks.all().get(number)).ok_or_else(
            || {
                let found = format!("logical address {logical:#x}");
                FormatError::corrupt("chunk tree", 0, "a chunk with each address in use", found)
            },
        )
    }

    /// Reads a piece that lies in one stripe, from the first copy that `accept`
    /// takes: on devices that have all commits first.
    fn read_copies<T>(
        &self,
        chunk: &Chunk,
        logical: u64,
        len: u64,
        accept: impl Fn(Vec<u8>, u64) -> FileResult<T>,
    ) -> FileResult<T> {
        let copies = chunk.copies(logical, len).ok_or_else(|| {
            let found = format!("{len} bytes at logical address {logical:#x}");
            FormatError::corrupt("chunk", 0, "bytes inside of one of its stripes", found)
        })?;
        let mut places: Vec<(&Member, u64)> = Vec::new();
        let mut failed = None;
        for (number, offset) in copies {
            let Some(stripe) = chunk.stripes.get(number) else { continue };
            let at_hand =
                |member: &&Member| (member.id, member.uuid) == (stripe.device, stripe.uuid);
            match self.members.iter().find(at_hand) {
                Some(member) => places.push((member, stripe.offset.saturating_add(offset))),
                None => {
                    let what = format!("its device {} is not at hand", stripe.device);
                    failed.get_or_insert(FormatError::unsupported(what));
                }
            }
        }
        places.sort_by_key(|(member, _)| !member.is_newest);
        // What keeps a copy that is there from being read says more.
        let mut why = None;
        for (member, position) in places {
            let size = usize::try_from(len).unwrap_or(usize::MAX);
            let read = read_vec(member.reader.as_ref(), position, size)
                .map_err(FormatError::from)
                .and_then(|bytes| accept(bytes, position));
            match read {
                Ok(value) => return Ok(value),
                Err(error) => {
                    why.get_or_insert(error);
                }
            }
        }
        let none = || FormatError::corrupt("chunk", 0, "a copy", "none");
        Err(why.or(failed).unwrap_or_else(none))
    }

    /// Reads data at a logical address, piece by piece; `accept` says whether a
    /// piece is right.
    pub(super) fn read_data(
        &self,
        logical: u64,
        len: u64,
        accept: impl Fn(u64, &[u8]) -> FileResult<()>,
    ) -> FileResult<Vec<u8>> {
        let mut data: Vec<u8> = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
        let end = logical.saturating_add(len);
        let mut at = logical;
        while at < end {
            let chunk = self.chunk(at)?;
            let within = at.saturating_sub(chunk.logical.start());
            let most = match chunk.profile {
                Profile::Copies => chunk.logical.end().saturating_sub(at),
                Profile::Striped { .. } | Profile::Parity { .. } => {
                    STRIPE_LEN.saturating_sub(within.checked_rem(STRIPE_LEN).unwrap_or(0))
                }
            };
            // A damaged sector makes no more than this come from another copy.
            let len = end.saturating_sub(at).min(most).min(STRIPE_LEN << 4);
            let bytes = self.read_copies(chunk, at, len, |bytes, _| {
                accept(at, &bytes)?;
                Ok(bytes)
            })?;
            data.extend(bytes);
            at = at.saturating_add(len.max(1));
        }
        Ok(data)
    }

    /// Where logical addresses are on the device of the first reader.
    pub(super) fn places(&self, logical: Extent, places: &mut Vec<Extent>) -> FileResult<()> {
        let Some(first) = self.members.first() else { return Ok(()) };
        let mut at = logical.start();
        while at < logical.end() {
            let chunk = self.chunk(at)?;
            let part = chunk.logical.intersect(&Extent::new(at, logical.end()));
            for (number, stripe) in chunk.stripes.iter().enumerate() {
                if (stripe.device, stripe.uuid) != (first.id, first.uuid) {
                    continue;
                }
                let place = chunk.on_stripe(number, part).shift(stripe.offset);
                if place.end() > first.reader.len() {
                    let expected = "a place on its device";
                    return Err(FormatError::corrupt("stripe", place.start(), expected, "none"));
                }
                places.push(place);
            }
            at = part.end().max(at.saturating_add(1));
        }
        Ok(())
    }

    /// A tree block, read once and checked once.
    fn block(&self, root: Root, owner: u64, first: Option<Key>) -> FileResult<Arc<TreeBlock>> {
        let node_size = self.superblock.node_size;
        let block = self.blocks.get(root.logical, || {
            let chunk = self.chunk(root.logical)?;
            if !chunk.is_metadata() {
                let found = format!("logical address {:#x}", root.logical);
                let expected = "an address in a chunk for metadata";
                return Err(FormatError::corrupt("pointer to a tree block", 0, expected, found));
            }
            let block = self.read_copies(chunk, root.logical, node_size, |bytes, position| {
                self.check(bytes, root, owner, first, position)
            })?;
            Ok((Arc::new(block), usize::try_from(node_size).unwrap_or(0)))
        })?;
        // Another parent may have asked for it before.
        let is_right = block.level == root.level
            && block.generation == root.generation
            && first.is_none_or(|first| block.key(0) == Some(first));
        if is_right {
            return Ok(block);
        }
        let expected = format!("level {} of generation {}", root.level, root.generation);
        let found = format!("level {} of generation {}", block.level, block.generation);
        Err(FormatError::corrupt("tree block", block.position, expected, found))
    }

    fn check(
        &self,
        bytes: Vec<u8>,
        root: Root,
        owner: u64,
        first: Option<Key>,
        position: u64,
    ) -> FileResult<TreeBlock> {
        if !self.superblock.checksum.holds(&bytes) {
            let expected = "the checksum of its bytes";
            let what = "checksum of a tree block";
            return Err(FormatError::corrupt(what, position, expected, "another one"));
        }
        let fields = bytes.as_slice();
        let number = |what, expected: u64, found: Option<u64>| {
            let found = found.unwrap_or(u64::MAX);
            if expected == found {
                return Ok(());
            }
            let (expected, found) = (format!("{expected:#x}"), format!("{found:#x}"));
            Err(FormatError::corrupt(what, position, expected, found))
        };
        number("bytenr of a tree block", root.logical, fields.u64_le(48))?;
        number("generation of a tree block", root.generation, fields.u64_le(80))?;
        number("level of a tree block", root.level.into(), fields.u8_at(100).map(u64::from))?;
        let found = fields.u64_le(88).unwrap_or(0);
        // Subvolumes share blocks with those that they are snapshots of.
        if !(is_subvolume(owner) && is_subvolume(found)) {
            number("owner of a tree block", owner, Some(found))?;
        }
        if root.level > TOP_LEVEL {
            let what = "level of a tree block";
            return Err(FormatError::corrupt(what, position, "0 to 7", root.level));
        }
        // A filesystem that was built on another has blocks of both.
        if !self.members.iter().any(|member| fields.array(32) == Some(member.filesystem)) {
            let expected = "the UUID of its filesystem";
            return Err(FormatError::corrupt(
                "fsid of a tree block",
                position,
                expected,
                "another",
            ));
        }
        let items = check_items(fields, root.level, first, position)?;
        let (level, generation, logical) = (root.level, root.generation, root.logical);
        Ok(TreeBlock { bytes, items, level, generation, position, logical })
    }

    /// The items of a tree from a key on.
    pub(super) fn seek(&self, tree: &Tree, start: Key) -> FileResult<Cursor<'_>> {
        self.seek_over(tree, self.overlays.get(&tree.owner), start)
    }

    /// The same with what a replay makes of them.
    pub(super) fn seek_over<'a>(
        &'a self,
        tree: &Tree,
        overlay: Option<&'a Overlay>,
        start: Key,
    ) -> FileResult<Cursor<'a>> {
        let mut cursor = self.descend(tree, start, |block, key| block.before(key))?;
        cursor.over = overlay.map(|overlay| overlay.range(start..).peekable());
        Ok(cursor)
    }

    /// The last item of a tree at or before a key.
    pub(super) fn at_or_before(&self, tree: &Tree, key: Key) -> FileResult<Option<Item>> {
        self.last_over(tree, self.overlays.get(&tree.owner), key)
    }

    /// The same with what a replay makes of them.
    pub(super) fn last_over(
        &self,
        tree: &Tree,
        overlay: Option<&Overlay>,
        mut key: Key,
    ) -> FileResult<Option<Item>> {
        loop {
            let cursor = self.descend(tree, key, |block, key| block.up_to(key))?;
            let committed = cursor
                .stack
                .last()
                .and_then(|(block, after)| TreeBlock::item(block, after.checked_sub(1)?));
            let over = overlay.and_then(|overlay| overlay.range(..=key).next_back());
            let Some((at, data)) = over else { return Ok(committed) };
            if committed.as_ref().is_some_and(|item| item.key > *at) {
                return Ok(committed);
            }
            if let Some(data) = data {
                return Ok(Some(Item { key: *at, source: Source::Replayed(Arc::clone(data)) }));
            }
            // It was taken out.
            let Some(before) = at.before() else { return Ok(None) };
            key = before;
        }
    }

    /// The item with just this key.
    pub(super) fn get(&self, tree: &Tree, key: Key) -> FileResult<Option<Item>> {
        Ok(self.at_or_before(tree, key)?.filter(|item| item.key == key))
    }

    /// True if a replay changes items of this kind of an object.
    pub(super) fn is_changed(&self, tree: &Tree, objectid: u64, kind: u8) -> bool {
        let key = |offset| Key { objectid, kind, offset };
        let overlay = self.overlays.get(&tree.owner);
        overlay.is_some_and(|overlay| overlay.range(key(0)..=key(u64::MAX)).next().is_some())
    }

    fn descend(
        &self,
        tree: &Tree,
        key: Key,
        in_leaf: impl Fn(&TreeBlock, Key) -> usize,
    ) -> FileResult<Cursor<'_>> {
        let mut stack = Vec::new();
        let mut block = self.block(tree.root, tree.owner, None)?;
        while block.level > 0 {
            // The last child that starts at or before the key.
            let index = block.up_to(key).saturating_sub(1);
            let (root, first) = block.child(index).ok_or_else(|| block.broken())?;
            let child = self.block(root, tree.owner, Some(first))?;
            stack.push((block, index.saturating_add(1)));
            block = child;
        }
        let index = in_leaf(&block, key);
        stack.push((block, index));
        let (over, waiting) = (None, None);
        Ok(Cursor { forest: self, owner: tree.owner, stack, last: None, over, waiting })
    }
}

/// True if blocks of this tree may be shared by snapshots.
fn is_subvolume(owner: u64) -> bool {
    owner == tree_id::FILES || (tree_id::FIRST_FREE..=tree_id::LAST_FREE).contains(&owner)
}

impl TreeBlock {
    fn stride(&self) -> usize {
        if self.level == 0 { ITEM } else { POINTER }
    }

    fn key(&self, index: usize) -> Option<Key> {
        if index >= self.items {
            return None;
        }
        Key::at(&self.bytes, index.checked_mul(self.stride())?.checked_add(HEADER)?)
    }

    /// How many keys are smaller than this one, by `is_before`.
    fn count(&self, is_before: impl Fn(Key) -> bool) -> usize {
        let (mut low, mut high) = (0, self.items);
        while low < high {
            let middle = low.midpoint(high);
            if self.key(middle).is_some_and(&is_before) {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        low
    }

    fn before(&self, key: Key) -> usize {
        self.count(|other| other < key)
    }

    fn up_to(&self, key: Key) -> usize {
        self.count(|other| other <= key)
    }

    fn child(&self, index: usize) -> Option<(Root, Key)> {
        let first = self.key(index)?;
        let place = index.checked_mul(POINTER)?.checked_add(HEADER)?.checked_add(Key::LEN)?;
        let fields = self.bytes.as_slice();
        let root = Root {
            logical: fields.u64_le(place)?,
            generation: fields.u64_le(place.checked_add(8)?)?,
            level: self.level.checked_sub(1)?,
        };
        Some((root, first))
    }

    fn item(block: &Arc<Self>, index: usize) -> Option<Item> {
        let key = block.key(index)?;
        let place = index.checked_mul(ITEM)?.checked_add(HEADER)?.checked_add(Key::LEN)?;
        let fields = block.bytes.as_slice();
        let start = usize::try_from(fields.u32_le(place)?).ok()?.checked_add(HEADER)?;
        let len = usize::try_from(fields.u32_le(place.checked_add(4)?)?).ok()?;
        Some(Item { key, source: Source::Leaf { block: Arc::clone(block), start, len } })
    }

    fn broken(&self) -> FormatError {
        FormatError::corrupt("tree block", self.position, "an item", "none")
    }
}

/// An item of a tree.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) key: Key,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    Leaf {
        block: Arc<TreeBlock>,
        start: usize,
        len: usize,
    },
    /// From a replay of the log.
    Replayed(Arc<[u8]>),
}

impl Item {
    pub(super) fn data(&self) -> &[u8] {
        match &self.source {
            Source::Leaf { block, start, len } => {
                block.bytes.bytes_at(*start, *len).unwrap_or_default()
            }
            Source::Replayed(data) => data,
        }
    }

    /// Where its leaf is, for messages.
    pub(super) fn position(&self) -> u64 {
        match &self.source {
            Source::Leaf { block, .. } => block.position,
            Source::Replayed(_) => 0,
        }
    }

    /// The logical address of its leaf.
    pub(super) fn logical(&self) -> Option<u64> {
        match &self.source {
            Source::Leaf { block, .. } => Some(block.logical),
            Source::Replayed(_) => None,
        }
    }

    /// Something in it that is not as it has to be.
    pub(super) fn corrupt(
        &self,
        what: &'static str,
        expected: impl ToString,
        found: impl ToString,
    ) -> FormatError {
        FormatError::corrupt(what, self.position(), expected, found)
    }
}

/// The items of a tree, one after the other. Their keys only ever rise and the
/// levels only ever fall, so that there is an end.
pub(super) struct Cursor<'a> {
    forest: &'a Forest,
    owner: u64,
    /// From the root to a leaf, each with the next index.
    stack: Vec<(Arc<TreeBlock>, usize)>,
    last: Option<Key>,
    /// What a replay makes of them.
    over: Option<Peekable<Changes<'a>>>,
    /// The next item of the last commit, if a replay brings others before it.
    waiting: Option<Item>,
}

impl Cursor<'_> {
    pub(super) fn next(&mut self) -> FileResult<Option<Item>> {
        loop {
            let committed = match self.waiting.take() {
                Some(item) => Some(item),
                None => self.next_committed()?,
            };
            let Some(over) = &mut self.over else { return Ok(committed) };
            let Some((key, data)) = over.peek().copied() else { return Ok(committed) };
            match committed {
                Some(item) if item.key < *key => return Ok(Some(item)),
                // The replay brings it, or takes it out.
                Some(item) if item.key == *key => {}
                other => self.waiting = other,
            }
            over.next();
            if let Some(data) = data {
                let source = Source::Replayed(Arc::clone(data));
                return Ok(Some(Item { key: *key, source }));
            }
        }
    }

    fn next_committed(&mut self) -> FileResult<Option<Item>> {
        loop {
            let Some((block, next)) = self.stack.last_mut() else { return Ok(None) };
            let index = *next;
            if index >= block.items {
                self.stack.pop();
                continue;
            }
            *next = index.saturating_add(1);
            if block.level > 0 {
                let (root, first) = block.child(index).ok_or_else(|| block.broken())?;
                let child = self.forest.block(root, self.owner, Some(first))?;
                self.stack.push((child, 0));
                continue;
            }
            let item = TreeBlock::item(block, index).ok_or_else(|| block.broken())?;
            if self.last.is_some_and(|last| last >= item.key) {
                let expected = format!("one above {:?}", self.last);
                return Err(item.corrupt("key of an item", expected, format!("{:?}", item.key)));
            }
            self.last = Some(item.key);
            return Ok(Some(item));
        }
    }
}

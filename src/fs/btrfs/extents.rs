// SPDX-License-Identifier: MIT OR Apache-2.0
//! The extent tree: every range of logical addresses that is in use.
//!
//! Its items are compared with what else is told of them: each lies in one
//! chunk of the right type, none overlap, those of a block group add up to the
//! number in its item, all of them to the number in the superblock, and what
//! is between them is what the free space tree calls free.

use super::chunk::{Chunk, Chunks};
use super::free_space::FreeSpace;
use super::tree::{Item, Key, Walk};
use crate::extent::{Extent, ExtentSet};
use crate::fs::runs::Runs;
use crate::ondisk::{Fields, FormatError};

const FLAG_DATA: u64 = 1 << 0;
const FLAG_TREE_BLOCK: u64 = 1 << 1;
const FLAG_FULL_BACKREF: u64 = 1 << 8;

/// What the extent tree is read for.
pub(super) struct Extents<'c, 'f, 'a> {
    chunks: &'c Chunks,
    node_size: u64,
    sector_size: u64,
    free_space: Option<FreeSpace<'f, 'a>>,
    runs: Runs,
    /// The bytes in use in each chunk, by its number.
    used: Vec<u64>,
    /// What the item of each block group says, by the number of its chunk.
    groups: Vec<Option<u64>>,
    /// The number of the chunk that is being passed, and how far.
    chunk: usize,
    at: u64,
    /// The start of the last extent, whose backrefs may follow.
    last: Option<u64>,
}

impl<'c, 'f, 'a> Extents<'c, 'f, 'a> {
    pub(super) fn new(
        chunks: &'c Chunks,
        node_size: u64,
        sector_size: u64,
        free_space: Option<FreeSpace<'f, 'a>>,
    ) -> Self {
        let count = chunks.all().len();
        Self {
            chunks,
            node_size,
            sector_size,
            free_space,
            runs: Runs::new(),
            used: vec![0; count],
            groups: vec![None; count],
            chunk: 0,
            at: chunks.all().first().map_or(0, |chunk| chunk.logical.start()),
            last: None,
        }
    }

    /// Reads the extent tree; `has_groups` says that the items of the block
    /// groups are in it, too.
    pub(super) fn read(&mut self, mut walk: Walk, has_groups: bool) -> Result<(), FormatError> {
        while let Some(item) = walk.next()? {
            match item.key.kind {
                Key::EXTENT_ITEM | Key::METADATA_ITEM => self.extent(item)?,
                Key::BLOCK_GROUP_ITEM if has_groups => self.group(item)?,
                Key::TREE_BLOCK_REF
                | Key::EXTENT_DATA_REF
                | Key::SHARED_BLOCK_REF
                | Key::SHARED_DATA_REF => {
                    if self.last != Some(item.key.objectid) {
                        return wrong(item, "a reference to the extent before it");
                    }
                }
                kind => {
                    let what = format!("its extent tree has items of the unknown type {kind}");
                    return Err(FormatError::unsupported(what));
                }
            }
        }
        while self.chunk < self.chunks.all().len() {
            self.finish_chunk()?;
        }
        if let Some(free_space) = &mut self.free_space
            && let Some(more) = free_space.next()?
        {
            return Err(contradiction(None, Some(more)));
        }
        Ok(())
    }

    /// Reads the tree that only has block groups.
    pub(super) fn read_groups(&mut self, mut walk: Walk) -> Result<(), FormatError> {
        while let Some(item) = walk.next()? {
            if item.key.kind != Key::BLOCK_GROUP_ITEM {
                return wrong(item, "a block group");
            }
            self.group(item)?;
        }
        Ok(())
    }

    /// The ranges of logical addresses in use, and how many bytes they are.
    pub(super) fn finish(self) -> Result<(ExtentSet, u64), FormatError> {
        let mut sum = 0_u64;
        for ((chunk, used), group) in self.chunks.all().iter().zip(&self.used).zip(&self.groups) {
            if *group != Some(*used) {
                let found = group.map_or("no item".to_owned(), |used| used.to_string());
                return Err(FormatError::corrupt(
                    "used bytes of a block group",
                    0,
                    format!("{used}, the sum of the extents at logical {}", chunk.logical),
                    found,
                ));
            }
            sum = sum.saturating_add(*used);
        }
        Ok((self.runs.into_set(), sum))
    }

    fn extent(&mut self, item: Item) -> Result<(), FormatError> {
        let Item { key, data, .. } = item;
        let fields = || Some((data.u64_le(0)?, data.u64_le(16)?));
        let Some((refs, flags)) = fields() else {
            return wrong(item, "references and flags");
        };
        let is_tree_block = flags & FLAG_TREE_BLOCK != 0;
        let length = match key.kind {
            Key::METADATA_ITEM if is_tree_block && key.offset < 8 => self.node_size,
            Key::EXTENT_ITEM if !is_tree_block || key.offset == self.node_size => key.offset,
            _ => return wrong(item, "a tree block"),
        };
        let known = [FLAG_DATA, FLAG_TREE_BLOCK, FLAG_TREE_BLOCK | FLAG_FULL_BACKREF];
        if refs == 0 || !known.contains(&flags) {
            return wrong(item, "an extent with references, for data or for a tree block");
        }
        let aligned = key.objectid.is_multiple_of(self.sector_size)
            && length.is_multiple_of(self.sector_size);
        if length == 0 || !aligned || key.objectid.checked_add(length).is_none() {
            return wrong(item, "whole sectors");
        }
        let extent = Extent::at(key.objectid, length);
        while self.current().is_some_and(|chunk| chunk.logical.end() <= extent.start()) {
            self.finish_chunk()?;
        }
        let right = self.current().is_some_and(|chunk| {
            let right = if is_tree_block { chunk.is_metadata() } else { chunk.is_data() };
            right && chunk.logical.contains(&extent)
        });
        if !right {
            return wrong(item, "a place in a chunk of its type");
        }
        if extent.start() < self.at {
            return wrong(item, "an extent behind the one before it");
        }
        self.gap(Extent::new(self.at, extent.start()))?;
        self.at = extent.end();
        self.last = Some(extent.start());
        if let Some(used) = self.used.get_mut(self.chunk) {
            *used = used.saturating_add(length);
        }
        self.runs.push(extent);
        Ok(())
    }

    fn group(&mut self, item: Item) -> Result<(), FormatError> {
        let Item { key, data, .. } = item;
        let number = self.chunks.find(key.objectid);
        let chunk = number.and_then(|number| self.chunks.all().get(number));
        let fields = || Some((data.u64_le(0)?, data.u64_le(8)?, data.u64_le(16)?));
        let (Some(number), Some(chunk), Some((used, object, kind))) = (number, chunk, fields())
        else {
            return wrong(item, "a block group of a chunk");
        };
        let same = Some(chunk.logical.end()) == key.objectid.checked_add(key.offset)
            && chunk.logical.start() == key.objectid;
        if !same || chunk.kind != kind || object != Key::CHUNK_OBJECT {
            return wrong(item, "the place and the type of its chunk");
        }
        if let Some(group) = self.groups.get_mut(number) {
            *group = Some(used);
        }
        Ok(())
    }

    fn current(&self) -> Option<&Chunk> {
        self.chunks.all().get(self.chunk)
    }

    fn finish_chunk(&mut self) -> Result<(), FormatError> {
        let end = self.current().map_or(self.at, |chunk| chunk.logical.end());
        self.gap(Extent::new(self.at, end))?;
        self.chunk = self.chunk.saturating_add(1);
        self.at = self.current().map_or(end, |chunk| chunk.logical.start());
        Ok(())
    }

    /// A range that nothing in the extent tree uses.
    fn gap(&mut self, gap: Extent) -> Result<(), FormatError> {
        if gap.is_empty() {
            return Ok(());
        }
        let Some(free_space) = &mut self.free_space else { return Ok(()) };
        let found = free_space.next()?;
        if found == Some(gap) { Ok(()) } else { Err(contradiction(Some(gap), found)) }
    }
}

fn wrong<T>(item: Item, expected: &str) -> Result<T, FormatError> {
    Err(FormatError::corrupt("extent tree", item.position, expected, format!("{:?}", item.key)))
}

fn contradiction(expected: Option<Extent>, found: Option<Extent>) -> FormatError {
    let words = |range: Option<Extent>| {
        range.map_or("nothing".to_owned(), |range| format!("logical bytes {range}"))
    };
    let expected = format!("{} free, as in the extent tree", words(expected));
    FormatError::corrupt("free space tree", 0, expected, words(found))
}

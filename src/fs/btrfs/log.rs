// SPDX-License-Identifier: MIT OR Apache-2.0
//! The log trees: what fsync wrote since the last commit.
//!
//! A mount replays them. Neither their own blocks nor the data they speak of
//! are in the extent tree, which is as old as the last commit.

use super::superblock::Root;
use super::tree::{Forest, Item, Key, Seen, tree_id};
use crate::extent::{Extent, ExtentSet};
use crate::ondisk::{Fields, FormatError};

/// Inodes, references to them, attributes, verity, orphans, folders and the
/// ranges of folders that are logged, file extents, checksums.
const KNOWN: [u8; 13] = [1, 12, 13, 24, 36, 37, 48, 60, 72, 84, 96, Key::EXTENT_DATA, 128];

/// More extents than one log holds: it is written anew with each commit.
const MOST_EXTENTS: usize = 1 << 20;

/// The logical addresses that the log trees name.
pub(super) fn read(forest: &Forest, root: Root) -> Result<ExtentSet, FormatError> {
    let mut extents = ExtentSet::new();
    let mut trees = Vec::new();
    let mut walk = forest.walk(root, tree_id::LOG)?;
    while let Some(item) = walk.next()? {
        if item.key.objectid != tree_id::LOG || item.key.kind != Key::ROOT_ITEM {
            return Err(FormatError::corrupt(
                "log root tree",
                item.position,
                "the root of a log tree",
                format!("{:?}", item.key),
            ));
        }
        trees.push(root_item(item)?);
    }
    for tree in trees {
        let mut walk = forest.walk(tree, tree_id::LOG)?;
        while let Some(item) = walk.next()? {
            if !KNOWN.contains(&item.key.kind) {
                let kind = item.key.kind;
                let what = format!("its log has items of the unknown type {kind}");
                return Err(FormatError::unsupported(what));
            }
            if item.key.kind == Key::EXTENT_DATA
                && let Some(extent) = file_extent(forest, item)?
            {
                extents.insert(extent);
                if extents.count() > MOST_EXTENTS {
                    return Err(FormatError::unsupported("its log has too many extents"));
                }
            }
        }
    }
    Ok(extents)
}

/// The logical addresses of blocks that were read.
pub(super) fn blocks(seen: &Seen, node_size: u64) -> ExtentSet {
    let mut blocks = seen.blocks.clone();
    blocks.sort_unstable();
    blocks.into_iter().map(|logical| Extent::at(logical, node_size)).collect()
}

/// Where a tree is, by its item in the tree of roots.
pub(super) fn root_item(item: Item) -> Result<Root, FormatError> {
    root_fields(item.data).ok_or_else(|| {
        FormatError::corrupt("root item", item.position, "239 bytes", item.data.len())
    })
}

/// The fields of a root item that say where the tree is.
pub(super) fn root_fields(data: &[u8]) -> Option<Root> {
    Some(Root {
        generation: data.u64_le(160)?,
        logical: data.u64_le(176)?,
        level: data.u8_at(238)?,
    })
}

/// The logical addresses of a file's extent; `None` for a hole and for data
/// that is in the item itself.
fn file_extent(forest: &Forest, item: Item) -> Result<Option<Extent>, FormatError> {
    let wrong = |expected: &str, found: String| {
        Err(FormatError::corrupt("file extent in the log", item.position, expected, found))
    };
    let kind = item.data.u8_at(20);
    if kind == Some(0) {
        return Ok(None);
    }
    let fields = || Some((item.data.u64_le(21)?, item.data.u64_le(29)?));
    let (Some(1 | 2), Some((start, len))) = (kind, fields()) else {
        return wrong("inline, regular or preallocated", format!("{kind:?}"));
    };
    if start == 0 {
        return Ok(None);
    }
    let extent = Extent::at(start, len);
    let chunk = forest.chunks.find(start).and_then(|number| forest.chunks.all().get(number));
    if len == 0 || !chunk.is_some_and(|chunk| chunk.is_data() && chunk.logical.contains(&extent)) {
        return wrong("an extent in a chunk for data", extent.to_string());
    }
    Ok(Some(extent))
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of a btrfs.
//!
//! The folder that is shown is the top level (`subvolid=5`), whichever
//! subvolume is the default: every subvolume and snapshot is a folder below it.
//! The number of a [`Node`]'s tree is that of its subvolume.
//!
//! What fsync wrote since the last commit is in log trees, which a mount
//! replays. So it is here, in memory.

mod compression;
mod extents;
mod folder;
mod inode;
mod links;
mod replay;
mod trees;

use std::sync::Arc;

use self::inode::Inode;
use self::trees::{Forest, Tree};
use super::log::root_fields;
use super::superblock::{self, POSITIONS, Superblock};
use super::tree::{Key, tree_id};
use crate::extent::{Extent, ExtentSet};
use crate::fs::SharedReaders;
use crate::fs::cache::Cache;
use crate::fs::files::{Attributes, DirectoryEntry, EachEntry, FileResult, Files, Node, NodeKind};
use crate::fs::listing::Listings;
use crate::ondisk::{Fields, FormatError};

/// The number that the kernel gives to an empty folder which stands for a
/// subvolume that is not there.
const EMPTY: u64 = 2;
/// The bytes of unpacked extents that are kept.
const UNPACKED_BYTES: usize = 16 << 20;
/// The bytes of roots of trees that are kept.
const TREE_BYTES: usize = 1 << 20;
/// The most pieces of a file that are counted one by one.
const MAX_PIECES: usize = 1 << 20;
/// No link is longer.
const MAX_LINK_LEN: u64 = 4096;

/// The files of a filesystem.
#[derive(Debug)]
pub(super) struct BtrfsFiles {
    forest: Forest,
    trees: Cache<u64, (Tree, u64)>,
    /// Compressed extents, and whether they were compared with their checksums.
    unpacked: Cache<(extents::Packed, bool), Arc<[u8]>>,
    listings: Listings,
}

/// Opens a filesystem.
pub(super) fn open(readers: SharedReaders) -> FileResult<Option<Box<dyn Files>>> {
    let position = POSITIONS[0];
    let Some(reader) = readers.first() else { return Ok(None) };
    let Some(bytes) = superblock::read(reader.as_ref(), position)? else { return Ok(None) };
    let superblock = Superblock::parse(bytes, position)?;
    let forest = Forest::open(readers, superblock)?;
    if let Some(why) = forest.superblock.distrust_of_files() {
        return Err(FormatError::unsupported(why));
    }
    let mut files = BtrfsFiles {
        forest,
        trees: Cache::new(TREE_BYTES),
        unpacked: Cache::of_few(UNPACKED_BYTES),
        listings: Listings::new(),
    };
    let (overlays, sums) = replay::all(&files)?;
    files.forest.overlays = overlays;
    files.forest.logged_sums = sums;
    // Without the root of all there is nothing to show.
    files.subvolume_root(tree_id::FILES)?;
    Ok(Some(Box::new(files)))
}

impl BtrfsFiles {
    const fn sector_size(&self) -> u64 {
        self.forest.superblock.sector_size
    }

    /// A tree by its number.
    fn tree(&self, id: u64) -> FileResult<Tree> {
        Ok(self.tree_and_folder(id)?.0)
    }

    /// A tree, and the number of its root folder.
    fn tree_and_folder(&self, id: u64) -> FileResult<(Tree, u64)> {
        let roots = Tree { root: self.forest.superblock.root, owner: tree_id::ROOT };
        if id == tree_id::ROOT {
            return Ok((roots, 0));
        }
        self.trees.get(id, || {
            let missing =
                || FormatError::corrupt("tree of roots", 0, format!("a root of tree {id}"), "none");
            // The last of its roots, whatever the offset of its key is.
            let key = Key { objectid: id, kind: Key::ROOT_ITEM, offset: u64::MAX };
            let item = self
                .forest
                .at_or_before(&roots, key)?
                .filter(|item| item.key.objectid == id && item.key.kind == Key::ROOT_ITEM)
                .ok_or_else(missing)?;
            let root = root_fields(item.data()).ok_or_else(missing)?;
            let folder = item.data().u64_le(168).ok_or_else(missing)?;
            if item.data().u32_le(216) == Some(0) {
                return Err(item.corrupt("root item", "one in use", "that of a deleted subvolume"));
            }
            Ok(((Tree { root, owner: id }, folder), 100))
        })
    }

    /// The root folder of a subvolume.
    fn subvolume_root(&self, id: u64) -> FileResult<Node> {
        let (_, folder) = self.tree_and_folder(id)?;
        Ok(Node { tree: id, number: folder })
    }

    fn inode(&self, node: Node) -> FileResult<Inode> {
        Inode::read(self, node)
    }

    /// The parts of a file that are stored, in the file and on the volume.
    fn stored(&self, file: Node) -> FileResult<(Vec<Extent>, Vec<Extent>)> {
        let inode = self.inode(file)?;
        inode.expect(NodeKind::File)?;
        let (mut ranges, mut places) = (Vec::new(), Vec::new());
        extents::stored(self, &inode, &mut |range, logical| {
            ranges.push(range);
            self.forest.places(logical, &mut places)?;
            if ranges.len().max(places.len()) > MAX_PIECES {
                let what = format!("inode {} is in too many pieces to be told", file.number);
                return Err(FormatError::unsupported(what));
            }
            Ok(())
        })?;
        Ok((ranges, places))
    }
}

impl Files for BtrfsFiles {
    fn root(&self) -> Node {
        // It was there when this was opened.
        let known = self.subvolume_root(tree_id::FILES);
        known.unwrap_or(Node { tree: tree_id::FILES, number: 256 })
    }

    fn attributes(&self, node: Node) -> FileResult<Attributes> {
        self.inode(node)?.attributes()
    }

    fn list(&self, folder: Node, each: EachEntry) -> FileResult<()> {
        folder::list(self, &self.inode(folder)?, each)
    }

    fn lookup(&self, folder: Node, name: &[u8]) -> FileResult<Option<DirectoryEntry>> {
        folder::lookup(self, &self.inode(folder)?, name)
    }

    fn read_at(&self, file: Node, offset: u64, buf: &mut [u8]) -> FileResult<usize> {
        let inode = self.inode(file)?;
        inode.expect(NodeKind::File)?;
        let left = inode.size().saturating_sub(offset);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        extents::read(self, &inode, offset, buf.get_mut(..len).unwrap_or_default())?;
        Ok(len)
    }

    fn link_target(&self, link: Node) -> FileResult<Vec<u8>> {
        let inode = self.inode(link)?;
        inode.expect(NodeKind::Link)?;
        let size = inode.size();
        let Some(len) = usize::try_from(size).ok().filter(|_| size <= MAX_LINK_LEN) else {
            return Err(inode.corrupt("length of a link", format!("at most {MAX_LINK_LEN}"), size));
        };
        let mut target = vec![0; len];
        extents::read(self, &inode, 0, &mut target)?;
        Ok(target)
    }

    fn data_ranges(&self, file: Node) -> FileResult<Option<ExtentSet>> {
        let mut ranges = ExtentSet::new();
        ranges.extend(self.stored(file)?.0);
        Ok(Some(ranges))
    }

    fn places(&self, file: Node) -> FileResult<Option<ExtentSet>> {
        let mut places = ExtentSet::new();
        places.extend(self.stored(file)?.1);
        Ok(Some(places))
    }

    fn extended_attributes(&self, node: Node) -> FileResult<Vec<(Vec<u8>, Vec<u8>)>> {
        self.inode(node)?.extended_attributes(self)
    }
}

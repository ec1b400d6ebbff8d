// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of an XFS, as they are once the log has been replayed: what a
//! replay would write lies over the disk, and the disk stays as it is.
//!
//! The structures are described in "XFS Algorithms & Data Structures" and in
//! the kernel's `xfs_format.h` and `xfs_da_format.h`. In version 5 every
//! structure carries a checksum and the inode it belongs to, and both are
//! compared before it is believed.

mod attributes;
mod folder;
mod inode;
mod map;

use std::sync::Arc;

use self::inode::{Fork, Inode};
use super::log::Log;
use super::superblock::Superblock;
use super::volume::{Block, Overlay, Volume};
use super::{read_superblock, recovery};
use crate::extent::{Extent, ExtentSet};
use crate::fs::SharedReaders;
use crate::fs::cache::Cache;
use crate::fs::files::{Attributes, DirectoryEntry, EachEntry, FileResult, Files, Node, NodeKind};
use crate::fs::listing::Listings;
use crate::io::ReadAt;
use crate::ondisk::FormatError;

/// The bytes of checked blocks that are kept.
const CACHE_BYTES: usize = 16 << 20;
/// The most pieces of a file that are counted one by one.
const MAX_PIECES: usize = 1 << 20;

/// What a block of metadata is used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Use {
    Inodes,
    Map,
    Folder,
    Attributes,
}

impl Use {
    const fn name(self) -> &'static str {
        match self {
            Self::Inodes => "inodes",
            Self::Map => "map of a file",
            Self::Folder => "folder",
            Self::Attributes => "extended attributes",
        }
    }
}

/// The files of a filesystem.
pub(super) struct XfsFiles {
    reader: Arc<dyn ReadAt>,
    superblock: Superblock,
    /// What a replay of the log would write.
    replayed: Overlay,
    /// Blocks of metadata by their position, each checked for the inode it
    /// belongs to.
    blocks: Cache<(u64, Use, u64), Arc<Block>>,
    listings: Listings,
}

impl std::fmt::Debug for XfsFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("XfsFiles").field("superblock", &self.superblock).finish_non_exhaustive()
    }
}

/// Opens a filesystem.
pub(super) fn open(readers: SharedReaders) -> FileResult<Option<Box<dyn Files>>> {
    let Some(reader) = readers.first() else { return Ok(None) };
    let Some(block) = read_superblock(reader.as_ref())? else { return Ok(None) };
    let superblock = Superblock::parse(&block, reader.len())?;
    let geometry = &superblock.geometry;
    if geometry.features.needs_repair {
        return Err(FormatError::unsupported("it is marked for repair: run xfs_repair on it"));
    }
    if geometry.log_start == 0 {
        return Err(FormatError::unsupported(
            "its log is on another device, which alone knows whether it has to be replayed",
        ));
    }
    let volume = Volume::new(reader.as_ref(), geometry);
    let head = Log::new(&volume).head()?;
    let replayed =
        if head.is_clean { Overlay::new() } else { recovery::everything(&volume, &head)? };
    let size = usize::try_from(geometry.sector_size).unwrap_or(0);
    let sector = volume.replayed(&replayed).read_merged("superblock", 0, size)?;
    let after = Superblock::parse(&sector, reader.len())?;
    if after.geometry != *geometry || after.root_inode != superblock.root_inode {
        return Err(FormatError::unsupported(
            "its log has to be replayed, and changes the size or the features of the filesystem",
        ));
    }
    Ok(Some(Box::new(XfsFiles {
        reader: Arc::clone(reader),
        superblock,
        replayed,
        blocks: Cache::new(CACHE_BYTES),
        listings: Listings::new(),
    })))
}

impl XfsFiles {
    fn volume(&self) -> Volume<'_> {
        Volume::new(self.reader.as_ref(), &self.superblock.geometry).replayed(&self.replayed)
    }

    const fn block_size(&self) -> u64 {
        self.superblock.geometry.block_size
    }

    /// True for version 5, where everything has checksums and owners.
    const fn has_checksums(&self) -> bool {
        self.superblock.geometry.features.has_crc
    }

    /// A structure of metadata, read once and checked once for its owner.
    fn block(
        &self,
        what: Use,
        position: u64,
        len: u64,
        owner: u64,
        check: impl FnOnce(&Block) -> FileResult<()>,
    ) -> FileResult<Arc<Block>> {
        self.blocks.get((position, what, owner), || {
            let size = usize::try_from(len).unwrap_or(usize::MAX);
            let block = self.volume().read_merged(what.name(), position, size)?;
            check(&block)?;
            Ok((Arc::new(block), size))
        })
    }

    fn inode(&self, node: Node) -> FileResult<Inode> {
        Inode::read(self, node.number)
    }

    /// Reads bytes of a fork, which all have to be there unless `is_sparse`; true
    /// if a replay writes any of them.
    fn read_fork(
        &self,
        inode: &Inode,
        fork: &Fork,
        offset: u64,
        buf: &mut [u8],
        is_sparse: bool,
    ) -> FileResult<bool> {
        let volume = self.volume();
        let (mut done, mut is_replayed) = (0_usize, false);
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let position = offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
            let block = position.checked_div(self.block_size()).unwrap_or(0);
            let piece = map::piece(self, inode, fork, block)?;
            let end = piece.end.saturating_mul(self.block_size());
            let len =
                usize::try_from(end.saturating_sub(position)).unwrap_or(usize::MAX).min(rest.len());
            let rest = rest.get_mut(..len).unwrap_or_default();
            match self.place(&piece) {
                Some(place) => {
                    let start = piece.first.saturating_mul(self.block_size());
                    let place = place.start().saturating_add(position.saturating_sub(start));
                    is_replayed |= volume.read_into("content of a file", place, rest)?;
                }
                None if is_sparse => rest.fill(0),
                None => {
                    return Err(inode.corrupt(
                        "map of an inode",
                        format!("block {block}"),
                        "a hole",
                    ));
                }
            }
            done = done.saturating_add(len.max(1));
        }
        Ok(is_replayed)
    }

    /// The bytes of the volume that a piece of a file is in.
    fn place(&self, piece: &map::Piece) -> Option<Extent> {
        let geometry = &self.superblock.geometry;
        let (group, first) = geometry.split(piece.place?);
        Some(geometry.extent(group, first, piece.count()))
    }

    /// The pieces of a file that are stored, in the file and on the volume.
    fn stored(&self, inode: &Inode) -> FileResult<Vec<(Extent, Extent)>> {
        let fork = inode.content()?;
        let size = inode.size();
        let end = size.div_ceil(self.block_size().max(1));
        let mut stored: Vec<(Extent, Extent)> = Vec::new();
        let mut block = 0;
        while block < end {
            let piece = map::piece(self, inode, &fork, block)?;
            if let Some(place) = self.place(&piece) {
                let first = piece.first.saturating_mul(self.block_size());
                let inside = Extent::at(first, place.len()).intersect(&Extent::new(0, size));
                stored.push((inside, Extent::at(place.start(), inside.len())));
                if stored.len() > MAX_PIECES {
                    return Err(inode.unsupported("is in too many pieces to be told"));
                }
            }
            block = piece.end.max(block.saturating_add(1));
        }
        Ok(stored)
    }
}

impl Files for XfsFiles {
    fn root(&self) -> Node {
        Node::new(self.superblock.root_inode)
    }

    fn attributes(&self, node: Node) -> FileResult<Attributes> {
        self.inode(node)?.attributes(self)
    }

    fn list(&self, folder: Node, each: EachEntry) -> FileResult<()> {
        folder::list(self, &self.inode(folder)?, each)
    }

    fn lookup(&self, folder: Node, name: &[u8]) -> FileResult<Option<DirectoryEntry>> {
        self.listings.lookup(self, folder, name, None)
    }

    fn read_at(&self, file: Node, offset: u64, buf: &mut [u8]) -> FileResult<usize> {
        let inode = self.inode(file)?;
        inode.expect(NodeKind::File)?;
        let fork = inode.content()?;
        let left = inode.size().saturating_sub(offset);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let buf = buf.get_mut(..len).unwrap_or_default();
        self.read_fork(&inode, &fork, offset, buf, true)?;
        Ok(len)
    }

    fn link_target(&self, link: Node) -> FileResult<Vec<u8>> {
        let inode = self.inode(link)?;
        inode.expect(NodeKind::Link)?;
        inode.link_target(self)
    }

    fn data_ranges(&self, file: Node) -> FileResult<Option<ExtentSet>> {
        let inode = self.inode(file)?;
        inode.expect(NodeKind::File)?;
        let mut ranges = ExtentSet::new();
        ranges.extend(self.stored(&inode)?.into_iter().map(|(inside, _)| inside));
        Ok(Some(ranges))
    }

    fn places(&self, file: Node) -> FileResult<Option<ExtentSet>> {
        let inode = self.inode(file)?;
        inode.expect(NodeKind::File)?;
        let mut places = ExtentSet::new();
        places.extend(self.stored(&inode)?.into_iter().map(|(_, place)| place));
        Ok(Some(places))
    }

    fn extended_attributes(&self, node: Node) -> FileResult<Vec<(Vec<u8>, Vec<u8>)>> {
        attributes::read(self, &self.inode(node)?)
    }
}

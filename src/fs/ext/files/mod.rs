// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of an ext2, ext3 or ext4, as they are once the journal has been
//! replayed: what a replay would write lies over the disk, and the disk stays
//! as it is.
//!
//! The structures are described in the kernel's documentation, "ext4 Data
//! Structures and Algorithms". Every checksum is compared before what it covers
//! is believed, and a file whose structures do not hold is an error of that
//! file alone.

mod folder;
mod inode;
mod map;
mod xattr;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::inode::Inode;
use super::fast_commit;
use super::features::INCOMPAT_JOURNAL_DEV;
use super::group::{self, Trust};
use super::superblock::{LEN, POSITION, Superblock, features};
use super::volume::{Copy, Volume};
use super::{inode as journal_inode, journal, read_superblock, replay};
use crate::extent::{Extent, ExtentSet};
use crate::fs::SharedReaders;
use crate::fs::cache::Cache;
use crate::fs::files::{Attributes, DirectoryEntry, EachEntry, FileResult, Files, Node, NodeKind};
use crate::fs::listing::{Fold, Listings};
use crate::io::ReadAt;
use crate::ondisk::FormatError;

/// The inode of the root folder.
const ROOT: u32 = 2;
/// The bytes of checked blocks that are kept.
const CACHE_BYTES: usize = 16 << 20;
/// The bytes of places of inode tables that are kept.
const TABLE_BYTES: usize = 1 << 20;
/// The most pieces of a file that are counted one by one.
const MAX_PIECES: usize = 1 << 20;

/// What a block of metadata is used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Use {
    InodeTable,
    ExtentTree,
    BlockNumbers,
    Folder,
    Attributes,
}

impl Use {
    const fn name(self) -> &'static str {
        match self {
            Self::InodeTable => "inode table",
            Self::ExtentTree => "extent tree of a file",
            Self::BlockNumbers => "block numbers of a file",
            Self::Folder => "folder",
            Self::Attributes => "extended attributes",
        }
    }
}

/// The files of a filesystem.
pub(super) struct ExtFiles {
    reader: Arc<dyn ReadAt>,
    superblock: Superblock,
    /// What a replay of the journal would write.
    replayed: BTreeMap<u64, Copy>,
    /// Where the inode tables of the groups are.
    tables: Cache<u64, u64>,
    /// Blocks of metadata, each checked for the inode it belongs to; 0 for
    /// those that belong to none.
    blocks: Cache<(u64, Use, u32), Arc<[u8]>>,
    listings: Listings,
}

impl std::fmt::Debug for ExtFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExtFiles").field("superblock", &self.superblock).finish_non_exhaustive()
    }
}

/// Opens a filesystem.
pub(super) fn open(readers: SharedReaders) -> FileResult<Option<Box<dyn Files>>> {
    let Some(reader) = readers.first() else { return Ok(None) };
    let Some(bytes) = read_superblock(reader.as_ref())? else { return Ok(None) };
    if features(&bytes)?.has_incompat(INCOMPAT_JOURNAL_DEV) {
        return Err(FormatError::unsupported(
            "it is the journal of a filesystem on another device",
        ));
    }
    let superblock = Superblock::parse_for_reading(&bytes, reader.len())?;
    let files = if superblock.needs_recovery() {
        let (superblock, replayed) = after_replay(reader.as_ref(), &superblock)?;
        ExtFiles::new(Arc::clone(reader), superblock, replayed)
    } else {
        ExtFiles::new(Arc::clone(reader), superblock, BTreeMap::new())
    };
    Ok(Some(Box::new(files)))
}

/// The superblock as a replay of the journal leaves it, and all that the replay
/// writes.
fn after_replay(
    reader: &dyn ReadAt,
    superblock: &Superblock,
) -> FileResult<(Superblock, BTreeMap<u64, Copy>)> {
    if superblock.journal_is_external {
        return Err(FormatError::unsupported(
            "its journal has to be replayed, and is on another device",
        ));
    }
    if !superblock.has_journal() {
        let expected = "a journal, as it has to be replayed";
        return Err(FormatError::corrupt("s_feature_incompat", POSITION, expected, "none"));
    }
    let volume = Volume::new(reader, &superblock.geometry);
    let groups = group::read(&volume, superblock, Trust::Before)?;
    let file = journal_inode::read(&volume, superblock, &groups, superblock.journal_inode)?;
    let journal = journal::read(&volume, &file)?;
    let log = replay::scan(&volume, &file, &journal, &|_| true)?;
    fast_commit::check_none_waits(&volume, &file, &journal, log.next_sequence)?;
    let written = log.replay();

    let volume = volume.replayed(&written);
    let block = superblock.geometry.superblock_block();
    let start = POSITION.saturating_sub(volume.extent(block, 1).start());
    let bytes = volume.read("superblock", block, 1)?;
    let bytes = usize::try_from(start)
        .ok()
        .and_then(|start| bytes.get(start..start.checked_add(LEN)?))
        .unwrap_or_default();
    let after = Superblock::parse_for_reading(bytes, reader.len())?;
    if !after.is_same_filesystem(superblock) {
        return Err(FormatError::unsupported(
            "its journal has to be replayed, and changes the size or layout of the filesystem",
        ));
    }
    Ok((after, written))
}

impl ExtFiles {
    fn new(reader: Arc<dyn ReadAt>, superblock: Superblock, replayed: BTreeMap<u64, Copy>) -> Self {
        Self {
            reader,
            superblock,
            replayed,
            tables: Cache::new(TABLE_BYTES),
            blocks: Cache::new(CACHE_BYTES),
            listings: Listings::new(),
        }
    }

    fn volume(&self) -> Volume<'_> {
        Volume::new(self.reader.as_ref(), &self.superblock.geometry).replayed(&self.replayed)
    }

    const fn block_size(&self) -> u64 {
        self.superblock.geometry.block_size
    }

    /// A block of metadata, read once and checked once for its owner.
    fn block(
        &self,
        what: Use,
        block: u64,
        owner: u32,
        check: impl FnOnce(&[u8], u64) -> FileResult<()>,
    ) -> FileResult<Arc<[u8]>> {
        self.blocks.get((block, what, owner), || {
            let volume = self.volume();
            let bytes = volume.read(what.name(), block, 1)?;
            check(&bytes, volume.extent(block, 1).start())?;
            let len = bytes.len();
            Ok((bytes.into(), len))
        })
    }

    /// Where the inode table of a group is.
    fn table(&self, group: u64) -> FileResult<u64> {
        self.tables.get(group, || {
            let group = group::read_one(&self.volume(), &self.superblock, group)?;
            Ok((group.inode_table, 64))
        })
    }

    /// The inode of a node.
    fn inode(&self, node: Node) -> FileResult<Inode> {
        let number = u32::try_from(node.number).unwrap_or(0);
        Inode::read(self, number)
    }

    /// Reads the content of an inode, whatever that is.
    fn read_file(&self, inode: &Inode, offset: u64, buf: &mut [u8]) -> FileResult<usize> {
        let left = inode.size().saturating_sub(offset);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let buf = buf.get_mut(..len).unwrap_or_default();
        if inode.is_encrypted() {
            return Err(
                inode.unsupported("is encrypted (fscrypt), and can be read with its key only")
            );
        }
        if inode.is_inline() {
            let bytes = xattr::inline_content(self, inode)?;
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let there = bytes.get(start..).unwrap_or_default();
            // What lies behind the inline bytes of a file reads as zeros.
            buf.fill(0);
            buf.iter_mut().zip(there).for_each(|(to, from)| *to = *from);
            return Ok(len);
        }
        let volume = self.volume();
        let mut done = 0_usize;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let position = offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
            let block = position.checked_div(self.block_size()).unwrap_or(0);
            let piece = map::piece(self, inode, block)?;
            let bytes = volume.extent(piece.first, piece.count());
            let within = position.saturating_sub(bytes.start());
            let len = usize::try_from(bytes.end().saturating_sub(position))
                .unwrap_or(usize::MAX)
                .min(rest.len());
            let rest = rest.get_mut(..len).unwrap_or_default();
            match piece.place {
                Some(place) => {
                    let position = volume.extent(place, 1).start().saturating_add(within);
                    volume.read_into("content of a file", position, rest)?;
                }
                None => rest.fill(0),
            }
            done = done.saturating_add(len.max(1));
        }
        Ok(len)
    }

    /// The pieces of a file that are stored, in the file and on the volume.
    fn stored(&self, inode: &Inode) -> FileResult<Vec<(Extent, Extent)>> {
        let volume = self.volume();
        let size = inode.size();
        let end = size.div_ceil(self.block_size().max(1));
        let mut stored: Vec<(Extent, Extent)> = Vec::new();
        let mut block = 0;
        while block < end {
            let piece = map::piece(self, inode, block)?;
            if let Some(place) = piece.place {
                let inside = volume.extent(piece.first, piece.count());
                let inside = inside.intersect(&Extent::new(0, size));
                let place = Extent::at(volume.extent(place, 1).start(), inside.len());
                match stored.last_mut() {
                    Some((before, at))
                        if before.end() == inside.start() && at.end() == place.start() =>
                    {
                        *before = Extent::new(before.start(), inside.end());
                        *at = Extent::new(at.start(), place.end());
                    }
                    _ => stored.push((inside, place)),
                }
                if stored.len() > MAX_PIECES {
                    return Err(inode.unsupported("is in too many pieces to be told"));
                }
            }
            block = piece.end.max(block.saturating_add(1));
        }
        Ok(stored)
    }
}

impl Files for ExtFiles {
    fn root(&self) -> Node {
        Node::new(ROOT.into())
    }

    fn attributes(&self, node: Node) -> FileResult<Attributes> {
        self.inode(node)?.attributes(self)
    }

    fn list(&self, folder: Node, each: EachEntry) -> FileResult<()> {
        folder::list(self, &self.inode(folder)?, each)
    }

    fn lookup(&self, folder: Node, name: &[u8]) -> FileResult<Option<DirectoryEntry>> {
        let is_casefolded = self.inode(folder)?.is_casefolded();
        let fold: Option<Fold> = if is_casefolded { Some(&folder::fold) } else { None };
        self.listings.lookup(self, folder, name, fold)
    }

    fn read_at(&self, file: Node, offset: u64, buf: &mut [u8]) -> FileResult<usize> {
        let inode = self.inode(file)?;
        inode.expect(NodeKind::File)?;
        self.read_file(&inode, offset, buf)
    }

    fn link_target(&self, link: Node) -> FileResult<Vec<u8>> {
        let inode = self.inode(link)?;
        inode.expect(NodeKind::Link)?;
        inode.link_target(self)
    }

    fn data_ranges(&self, file: Node) -> FileResult<Option<ExtentSet>> {
        let inode = self.inode(file)?;
        inode.expect(NodeKind::File)?;
        if inode.is_inline() {
            let bytes = xattr::inline_content(self, &inode)?;
            let len = u64::try_from(bytes.len()).unwrap_or(0).min(inode.size());
            return Ok(Some(ExtentSet::all(len)));
        }
        let mut ranges = ExtentSet::new();
        ranges.extend(self.stored(&inode)?.into_iter().map(|(inside, _)| inside));
        Ok(Some(ranges))
    }

    fn places(&self, file: Node) -> FileResult<Option<ExtentSet>> {
        let inode = self.inode(file)?;
        let mut places = ExtentSet::new();
        if inode.is_inline() {
            if inode.size() > 0 {
                places.insert(inode.extent());
            }
        } else {
            places.extend(self.stored(&inode)?.into_iter().map(|(_, place)| place));
        }
        Ok(Some(places))
    }

    fn extended_attributes(&self, node: Node) -> FileResult<Vec<(Vec<u8>, Vec<u8>)>> {
        xattr::read(self, &self.inode(node)?)
    }
}

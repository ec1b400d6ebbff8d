// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of an HFS.
//!
//! A node is the place of its record in the catalog: the number of a leaf, and
//! which of its records it is. Names are turned from Mac OS Roman into UTF-8,
//! whatever script they were written in, as nothing on the volume says that. The
//! resource fork is the stream `rsrc`, and what the Finder keeps is the
//! extended attribute that macOS shows it as.

use std::cmp::Ordering;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::fork::{DATA, Fork, RESOURCE};
use super::master_directory_block::POSITION;
use super::record::{self, FinderInfo, Item};
use super::tree::{number, spend};
use super::trees::Trees;
use super::{FINDER_INFO, MasterDirectoryBlock};
use crate::extent::ExtentSet;
use crate::fs::budget::{Part, Spending};
use crate::fs::files::{
    Attributes, DirectoryEntry, DosAttributes, EachEntry, FileResult, Files, Node, NodeKind,
    may_be_old, no_stream,
};
use crate::fs::listing::Listings;
use crate::fs::names;
use crate::fs::pieces::{self, Pieces, within};
use crate::fs::recent::Recent;
use crate::io::ReadAt;
use crate::ondisk::{Fields, FormatError};

const ROOT: u32 = 2;
const ROOT_PARENT: u32 = 1;

/// The stream that the resource fork is.
const RESOURCE_FORK: &[u8] = b"rsrc";

/// Files whose places are kept, and bytes of these.
const RECENT_FILES: usize = 128;
const RECENT_BYTES: usize = 16 << 20;

/// The files of a volume.
pub(super) struct HfsFiles {
    volume: Arc<dyn ReadAt>,
    block: MasterDirectoryBlock,
    trees: Trees,
    root: Node,
    opened: Recent<Node, Opened>,
    listings: Listings,
}

impl fmt::Debug for HfsFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HfsFiles").field("block", &self.block).finish_non_exhaustive()
    }
}

/// Takes a name, what it is of and the place of the record, and says whether to
/// go on.
type EachItem<'a> = &'a mut dyn FnMut(&[u8], FileResult<Item>, (u32, u16)) -> bool;

/// A file, and where its content is.
struct Opened {
    item: Item,
    data: (u64, Pieces),
    resource: (u64, Pieces),
}

/// Compares a key of the catalog with the first one of a folder.
fn first_of(folder: u32) -> impl Fn(&[u8]) -> Ordering {
    move |key| {
        let own = (key.u32_be(1).unwrap_or(0), key.u8_at(5).unwrap_or(0));
        own.cmp(&(folder, 0))
    }
}

impl HfsFiles {
    pub(super) fn open(volume: &Arc<dyn ReadAt>, block: MasterDirectoryBlock) -> FileResult<Self> {
        let mut files = Self {
            trees: Trees::open(volume, &block)?,
            volume: Arc::clone(volume),
            block,
            root: Node::new(0),
            opened: Recent::new(RECENT_FILES, RECENT_BYTES),
            listings: Listings::new(),
        };
        let mut root = None;
        let mut spending = files.trees.budget.begin(Part::Names, Node::new(0), 0);
        files.children(ROOT_PARENT, &mut spending, &mut |_, item, place| {
            let item = item.ok().filter(|item| item.id == ROOT && item.is_folder());
            root = item.map(|_| Node::new(number(place)));
            root.is_none()
        })?;
        drop(spending);
        files.root =
            root.ok_or_else(|| FormatError::corrupt("catalog", POSITION, "a root folder", "none"))?;
        Ok(files)
    }

    /// Gives the records of what is in a folder, until `each` has enough.
    fn children(&self, folder: u32, spending: &mut Spending, each: EachItem) -> FileResult<()> {
        let mut spent = Ok(());
        self.trees.catalog.from(&self.volume, &first_of(folder), &mut |record| {
            spent = spend(spending, &record);
            if spent.is_err() {
                return false;
            }
            let record = match record {
                Ok(record) => record,
                Err(error) => return each(&[], Err(error), (0, 0)),
            };
            if record.key.u32_be(1) != Some(folder) {
                return false;
            }
            let name = record::name(record.key).unwrap_or_default();
            match Item::parse(&record).transpose() {
                None => true,
                Some(item) => each(&name, item, record.place),
            }
        })?;
        spent
    }

    /// The record of a node.
    fn item(&self, node: Node) -> FileResult<Item> {
        self.trees.catalog.numbered(&self.volume, node.number, Item::parse)
    }

    fn open_node(&self, file: Node) -> FileResult<Arc<Opened>> {
        self.opened.get_or_open(file, || {
            let item = self.item(file)?;
            let (data, resource) = item.forks.unwrap_or_default();
            let mut spending = self.trees.budget.begin(Part::Places, file, 0);
            let mut pieces = |fork: Fork, which| -> FileResult<(u64, Pieces)> {
                let volume: &dyn ReadAt = &self.volume;
                let overflow = Some((&self.trees.extents, volume, &mut spending));
                let id = (item.id, which);
                Ok((fork.len.into(), fork.pieces(&self.block, item.position, overflow, id)?))
            };
            let (data, resource) = (pieces(data, DATA)?, pieces(resource, RESOURCE)?);
            let opened = Opened { item, data, resource };
            let bytes = opened.data.1.weight().saturating_add(opened.resource.1.weight());
            Ok((opened, bytes.saturating_add(size_of::<Opened>())))
        })
    }
}

impl Files for HfsFiles {
    fn root(&self) -> Node {
        self.root
    }

    fn notice(&self) -> Option<String> {
        self.block.unclean().map(|unclean| may_be_old(unclean.what()))
    }

    fn attributes(&self, node: Node) -> FileResult<Attributes> {
        let item = self.item(node)?;
        Ok(Attributes {
            kind: if item.is_folder() { NodeKind::Folder } else { NodeKind::File },
            size: item.forks.map_or(0, |(data, _)| data.len.into()),
            allocated: item.allocated(),
            times: item.times,
            mode: None,
            owner: None,
            links: 1,
            dos: Some(DosAttributes {
                read_only: item.is_locked,
                hidden: item.is_invisible(),
                ..DosAttributes::default()
            }),
        })
    }

    fn list(&self, folder: Node, each: EachEntry) -> FileResult<()> {
        let item = self.item(folder)?;
        if !item.is_folder() {
            return Err(FormatError::corrupt("folder", item.position, "a folder", "a file"));
        }
        let mut spending = self.trees.budget.begin(Part::Names, folder, 0);
        self.children(item.id, &mut spending, &mut |name, found, place| {
            let entry = found.and_then(|found| {
                names::check(name, found.position)?;
                let kind = if found.is_folder() { NodeKind::Folder } else { NodeKind::File };
                Ok(DirectoryEntry { name: name.to_vec(), node: Node::new(number(place)), kind })
            });
            each(entry) == ControlFlow::Continue(())
        })
    }

    fn lookup(&self, folder: Node, name: &[u8]) -> FileResult<Option<DirectoryEntry>> {
        // Nearly the letters that HFS takes for the same.
        let fold = |name: &[u8]| names::folded(name, names::capital);
        self.listings.lookup(self, folder, name, Some(&fold))
    }

    fn read_at(&self, file: Node, offset: u64, buf: &mut [u8]) -> FileResult<usize> {
        let opened = self.open_node(file)?;
        if opened.item.is_folder() {
            return Err(FormatError::corrupt("file", opened.item.position, "a file", "a folder"));
        }
        let (len, pieces) = &opened.data;
        let buf = within(*len, offset, buf);
        pieces.read(&self.volume, offset, buf)?;
        Ok(buf.len())
    }

    fn link_target(&self, link: Node) -> FileResult<Vec<u8>> {
        let position = self.item(link)?.position;
        Err(FormatError::corrupt("file", position, "a link", "none: HFS has no links"))
    }

    fn data_ranges(&self, file: Node) -> FileResult<Option<ExtentSet>> {
        Ok(Some(ExtentSet::all(self.open_node(file)?.data.0)))
    }

    fn places(&self, file: Node) -> FileResult<Option<ExtentSet>> {
        let opened = self.open_node(file)?;
        let (len, pieces) = &opened.data;
        pieces::on_volume(pieces.places_of(*len), self.volume.len())
    }

    fn extended_attributes(&self, node: Node) -> FileResult<Vec<(Vec<u8>, Vec<u8>)>> {
        let finder = self.item(node)?.finder;
        let is_set = finder != FinderInfo::default();
        Ok(is_set.then(|| (FINDER_INFO.to_vec(), finder.to_vec())).into_iter().collect())
    }

    fn streams(&self, file: Node) -> FileResult<Vec<(Vec<u8>, u64)>> {
        let size = self.item(file)?.forks.map_or(0, |(_, resource)| u64::from(resource.len));
        Ok((size > 0).then(|| (RESOURCE_FORK.to_vec(), size)).into_iter().collect())
    }

    fn read_stream_at(
        &self,
        file: Node,
        stream: &[u8],
        offset: u64,
        buf: &mut [u8],
    ) -> FileResult<usize> {
        if stream != RESOURCE_FORK {
            return Err(no_stream(stream));
        }
        let opened = self.open_node(file)?;
        let (len, pieces) = &opened.resource;
        let buf = within(*len, offset, buf);
        pieces.read(&self.volume, offset, buf)?;
        Ok(buf.len())
    }
}

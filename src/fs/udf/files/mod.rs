// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of a UDF.
//!
//! The number of a node is the block of its file entry, its tree the partition
//! that this is in. Names that were deleted are not shown, hidden ones are.

pub(super) mod content;
pub(super) mod entry;

use std::ops::ControlFlow;
use std::sync::Arc;

use content::Content;
use entry::Entry;

use super::descriptor::Descriptors;
use super::space::{Address, Space};
use super::tag::{Tag, id};
use super::text::units;
use crate::extent::ExtentSet;
use crate::fs::budget::{Budget, Part, Spending};
use crate::fs::files::{
    Attributes, DirectoryEntry, EachEntry, FileResult, Files, Node, NodeKind, no_stream,
};
use crate::fs::listing::Listings;
use crate::fs::names;
use crate::fs::pieces::{self, within};
use crate::fs::recent::Recent;
use crate::io::ReadAt;
use crate::ondisk::{Fields, FormatError};

/// Files whose places are kept, and bytes of these.
const RECENT_FILES: usize = 128;
const RECENT_BYTES: usize = 16 << 20;
/// The largest folder that is read, and the largest of streams, in bytes.
const MOST_FOLDER: u64 = 64 << 20;
const MOST_STREAMS: u64 = 1 << 20;
/// Bytes of the entry of a file, and of where its content is, that do not count.
const FREE: u64 = 1 << 13;
/// The longest link, in bytes.
const MOST_LINK: u64 = 32 << 10;

/// The files of a volume.
#[derive(Debug)]
pub(super) struct UdfFiles<'v> {
    space: Space<'v>,
    root: Address,
    budget: Budget,
    opened: Recent<Node, Opened>,
    listings: Listings,
}

/// A file, and where its content is.
#[derive(Debug)]
struct Opened {
    entry: Entry,
    content: Content,
}

/// A name in a folder, and where its entry is.
type Name = (Vec<u8>, Address);

fn node(address: Address) -> Node {
    Node { tree: address.partition.into(), number: address.block.into() }
}

fn address(node: Node) -> Address {
    Address {
        partition: node.tree.try_into().unwrap_or(u16::MAX),
        block: node.number.try_into().unwrap_or(u32::MAX),
    }
}

impl<'v> UdfFiles<'v> {
    pub(super) fn new(volume: Arc<dyn ReadAt + 'v>, descriptors: &Descriptors) -> FileResult<Self> {
        let budget = Budget::new(volume.len());
        let (partition, block) = descriptors.logical.file_set;
        let file_set = Address { partition, block };
        let mut spending = budget.begin(Part::Places, node(file_set), 0);
        let space = Space::open(volume, descriptors, &mut spending)?;
        drop(spending);
        let root = space.file_set(file_set)?;
        Ok(Self {
            space,
            root,
            budget,
            opened: Recent::new(RECENT_FILES, RECENT_BYTES),
            listings: Listings::new(),
        })
    }

    fn open(&self, node: Node) -> FileResult<Arc<Opened>> {
        self.opened.get_or_open(node, || {
            let mut spending = self.budget.begin(Part::Places, node, FREE);
            let entry = Entry::read(&self.space, address(node), &mut spending)?;
            let content = entry.content(&self.space, &mut spending)?;
            let own = size_of::<Opened>().saturating_add(content.weight());
            let bytes = own.saturating_add(usize::try_from(self.space.block_size).unwrap_or(0));
            Ok((Opened { entry, content }, bytes))
        })
    }

    /// All of a content of no more than `most` bytes.
    fn all(&self, opened: &Opened, most: u64) -> FileResult<Vec<u8>> {
        let size = opened.content.size();
        if size > most {
            let what =
                format!("a folder or link of {size} bytes, of which at most {most} are read");
            return Err(FormatError::unsupported(what));
        }
        // What has no place is noticed before memory is taken for it.
        if !opened.content.is_whole() {
            opened.content.read(self.space.volume.as_ref(), size.saturating_sub(1), &mut [0])?;
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        opened.content.read(self.space.volume.as_ref(), 0, &mut bytes)?;
        Ok(bytes)
    }

    /// Calls `each` with the names of a folder of `most` bytes and where their
    /// entries are, and what it costs.
    fn names(
        &self,
        folder: &Opened,
        most: u64,
        spending: &mut Spending,
        each: &mut dyn FnMut(FileResult<Name>, &mut Spending) -> ControlFlow<()>,
    ) -> FileResult<()> {
        const HEAD: usize = 38;
        const DELETED: u8 = 4;
        const PARENT: u8 = 8;
        let position = folder.entry.position;
        spending.spend(folder.content.size().min(most))?;
        let bytes = self.all(folder, most)?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            spending.check()?;
            let len = |offset: usize| rest.u8_at(offset).map_or(0, usize::from);
            let own = usize::from(rest.u16_le(36).unwrap_or(0));
            let start = HEAD.saturating_add(own);
            let end = start.saturating_add(len(19));
            let record = rest.get(..end.next_multiple_of(4));
            let record = record.filter(|it| it.u16_le(0) == Some(id::FILE_IDENTIFIER));
            let Some(record) = record else {
                let at = bytes.len().saturating_sub(rest.len());
                let expected = format!("a name at its byte {at}");
                return Err(FormatError::corrupt("folder", position, expected, "none"));
            };
            rest = rest.get(record.len()..).unwrap_or_default();
            let flags = record.u8_at(18).unwrap_or(0);
            if flags & (DELETED | PARENT) != 0 {
                continue;
            }
            let name = || {
                Tag::parse(record, position, None)?;
                let field = record.bytes_at(start, len_of(record)).unwrap_or_default();
                let name = names::wtf8(units(field).unwrap_or_default());
                names::check(&name, position)?;
                Ok((name, Address::of_long_ad(record, 20)))
            };
            if each(name(), spending).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The streams of a file: their names and entries.
    fn stream_entries(&self, file: Node, spending: &mut Spending) -> FileResult<Vec<Name>> {
        let Some(folder) = self.open(file)?.entry.streams else { return Ok(Vec::new()) };
        let folder = self.open(node(folder))?;
        let mut found = Vec::new();
        let mut failed = None;
        self.names(&folder, MOST_STREAMS, spending, &mut |entry, _| {
            match entry {
                Ok(entry) => found.push(entry),
                Err(error) => failed = Some(error),
            }
            ControlFlow::Continue(())
        })?;
        failed.map_or(Ok(found), Err)
    }

    fn read_content(&self, opened: &Opened, offset: u64, buf: &mut [u8]) -> FileResult<usize> {
        let buf = within(opened.content.size(), offset, buf);
        opened.content.read(self.space.volume.as_ref(), offset, buf)?;
        Ok(buf.len())
    }

    fn file(&self, node: Node) -> FileResult<Arc<Opened>> {
        let opened = self.open(node)?;
        if opened.entry.kind() == NodeKind::File {
            return Ok(opened);
        }
        Err(FormatError::corrupt("file", opened.entry.position, "a file", "something else"))
    }

    fn target(&self, opened: &Opened) -> FileResult<Vec<u8>> {
        if opened.entry.kind() != NodeKind::Link {
            return Err(FormatError::corrupt("file", opened.entry.position, "a link", "none"));
        }
        target(&self.all(opened, MOST_LINK)?, opened.entry.position)
    }
}

/// The length of the name in a record of a folder.
fn len_of(record: &[u8]) -> usize {
    record.u8_at(19).map_or(0, usize::from)
}

/// The target of a link, from its parts (ECMA-167, 4/14.16).
fn target(bytes: &[u8], position: u64) -> FileResult<Vec<u8>> {
    let mut target = Vec::new();
    let mut rest = bytes;
    while let Some([kind, len]) = rest.array::<2>(0) {
        let len = usize::from(len);
        let part = rest.bytes_at(4, len).ok_or_else(|| {
            FormatError::corrupt("parts of a link", position, "all of a part", "less")
        })?;
        let is_root = matches!(kind, 1 | 2);
        match kind {
            // The root that creator and reader agree on, or of the volume.
            1 if len > 0 => return Err(FormatError::unsupported("a link to another volume")),
            1 | 2 => target = b"/".to_vec(),
            3 => target.extend_from_slice(b".."),
            4 => target.push(b'.'),
            5 => target.extend(names::wtf8(units(part).unwrap_or_default())),
            other => {
                let what = format!("a part of a link of the kind {other}");
                return Err(FormatError::unsupported(what));
            }
        }
        rest = rest.get(len.saturating_add(4)..).unwrap_or_default();
        if !is_root && !rest.is_empty() {
            target.push(b'/');
        }
    }
    Ok(target)
}

impl Files for UdfFiles<'_> {
    fn root(&self) -> Node {
        node(self.root)
    }

    fn attributes(&self, node: Node) -> FileResult<Attributes> {
        let opened = self.open(node)?;
        let entry = &opened.entry;
        let kind = entry.kind();
        // A number of all ones is none.
        let (user, group) = entry.owner;
        let owner = (user != u32::MAX && group != u32::MAX).then_some(entry.owner);
        let size = match kind {
            NodeKind::File | NodeKind::Folder => entry.size,
            NodeKind::Link => u64::try_from(self.target(&opened)?.len()).unwrap_or(u64::MAX),
            _ => 0,
        };
        Attributes {
            kind,
            size,
            allocated: Some(entry.blocks.saturating_mul(self.space.bytes())),
            times: entry.times,
            // Links have no rights of their own, as Linux shows them.
            mode: Some(if kind == NodeKind::Link { 0o777 } else { entry.mode() }),
            owner,
            links: entry.links.into(),
            dos: None,
        }
        .checked(entry.position)
    }

    fn list(&self, folder: Node, each: EachEntry) -> FileResult<()> {
        let opened = self.open(folder)?;
        if opened.entry.kind() != NodeKind::Folder {
            let position = opened.entry.position;
            return Err(FormatError::corrupt("folder", position, "a folder", "something else"));
        }
        let mut spending = self.budget.begin(Part::Names, folder, 0);
        self.names(&opened, MOST_FOLDER, &mut spending, &mut |found, spending| {
            each(found.and_then(|(name, address)| {
                let kind = Entry::read(&self.space, address, spending)?.kind();
                Ok(DirectoryEntry { name, node: node(address), kind })
            }))
        })
    }

    fn lookup(&self, folder: Node, name: &[u8]) -> FileResult<Option<DirectoryEntry>> {
        self.listings.lookup(self, folder, name, None)
    }

    fn read_at(&self, file: Node, offset: u64, buf: &mut [u8]) -> FileResult<usize> {
        self.read_content(self.file(file)?.as_ref(), offset, buf)
    }

    fn link_target(&self, link: Node) -> FileResult<Vec<u8>> {
        self.target(self.open(link)?.as_ref())
    }

    fn data_ranges(&self, file: Node) -> FileResult<Option<ExtentSet>> {
        Ok(Some(self.file(file)?.content.stored()))
    }

    fn places(&self, file: Node) -> FileResult<Option<ExtentSet>> {
        pieces::on_volume(self.file(file)?.content.places(), self.space.volume.len())
    }

    fn streams(&self, file: Node) -> FileResult<Vec<(Vec<u8>, u64)>> {
        let mut spending = self.budget.begin(Part::Streams, file, FREE);
        let entries = self.stream_entries(file, &mut spending)?.into_iter();
        let mut entry = |address| Entry::read(&self.space, address, &mut spending);
        entries.map(|(name, address)| Ok((name, entry(address)?.size))).collect()
    }

    fn read_stream_at(
        &self,
        file: Node,
        stream: &[u8],
        offset: u64,
        buf: &mut [u8],
    ) -> FileResult<usize> {
        let mut spending = self.budget.begin(Part::Streams, file, FREE);
        let entries = self.stream_entries(file, &mut spending)?;
        let found = entries.into_iter().find(|(name, _)| name == stream);
        let Some((_, address)) = found else {
            return Err(no_stream(stream));
        };
        self.read_content(self.open(node(address))?.as_ref(), offset, buf)
    }
}

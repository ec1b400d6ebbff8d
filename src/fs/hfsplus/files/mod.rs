// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of an HFS+ or HFSX.
//!
//! A node is the place of its record in the catalog: the number of a leaf, and
//! which of its records it is (`tree`, `record`). Names are as they are on the
//! disk, with accents after their letters (decomposed), except for the two
//! letters that macOS shows as others. Hard links are names of files that lie in
//! two folders of the volume's own, which are not shown. What macOS has
//! compressed with zlib or LZVN is unpacked (`decmpfs`). The resource fork is the
//! stream `rsrc`, and what the Finder keeps is the extended attribute that macOS
//! shows it as.

mod record;

use std::cmp::Ordering;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use self::record::{HardLink, Item};
use super::file::Volume;
use super::fork::{ExtentRecord, FORK_LEN, Fork, RECORD_LEN};
use super::journal::Journal;
use super::volume_header::{Special, VolumeHeader};
use super::wrapper::Place;
use crate::extent::{Extent, ExtentSet};
use crate::fs::budget::{Budget, Part, Spending};
use crate::fs::decmpfs::{self, Compressed, Unpacked};
use crate::fs::files::{
    Attributes, DirectoryEntry, EachEntry, FileResult, Files, Node, NodeKind, may_be_old, no_stream,
};
use crate::fs::hfs::FINDER_INFO;
use crate::fs::hfs::tree::{Keys, Record, Tree, number, spend};
use crate::fs::hfs::unclean::Unclean;
use crate::fs::listing::{Fold, Listings};
use crate::fs::names;
use crate::fs::pieces::{self, Pieces, within};
use crate::fs::recent::Recent;
use crate::io::{ReadAt, Window};
use crate::ondisk::{Fields, FormatError};

const ROOT: u32 = 2;
const ROOT_PARENT: u32 = 1;

/// The folders in which what has several names is kept.
const LINKED_FILES: &str = "␀␀␀␀HFS+ Private Data";
const LINKED_FOLDERS: &[u8] = b".HFS+ Private Directory Data\r";

/// The stream that the resource fork is.
const RESOURCE_FORK: &[u8] = b"rsrc";

const DATA: u8 = 0;
const RESOURCE: u8 = 0xff;

/// The longest target of a link, and the largest attribute.
const MAX_TARGET: u64 = 4096;
const MAX_ATTRIBUTE: u64 = 1 << 20;
/// Bytes of all attributes of a file.
const MAX_ATTRIBUTES: usize = 8 << 20;

/// Files whose places are kept, and bytes of these.
const RECENT_FILES: usize = 128;
const RECENT_BYTES: usize = 16 << 20;

/// The files of a volume.
pub(super) struct HfsPlusFiles {
    volume: Window<Arc<dyn ReadAt>>,
    /// Where the volume begins in what was opened.
    start: u64,
    header: VolumeHeader,
    extents: Tree,
    catalog: Tree,
    attributes: Option<Tree>,
    budget: Budget,
    root: Node,
    linked_files: Option<u32>,
    linked_folders: Option<u32>,
    opened: Recent<Node, Opened>,
    unpacked: Unpacked,
    listings: Listings,
}

impl fmt::Debug for HfsPlusFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HfsPlusFiles").field("header", &self.header).finish_non_exhaustive()
    }
}

/// Takes a name, what it is of and the place of the record, and says whether to
/// go on.
type EachItem<'a> = &'a mut dyn FnMut(&[u8], FileResult<Item>, (u32, u16)) -> bool;

/// A file, and where its content is.
struct Opened {
    item: Item,
    data: Pieces,
    resource: Pieces,
    compressed: Option<Compressed>,
}

impl Opened {
    fn size(&self) -> u64 {
        let fork = self.item.forks.map_or(0, |(data, _)| data.logical_size);
        self.compressed.as_ref().map_or(fork, |compressed| compressed.bytes)
    }

    fn resource_size(&self) -> u64 {
        self.item.forks.map_or(0, |(_, resource)| resource.logical_size)
    }
}

/// Compares a key of the catalog with the first one of a folder.
fn first_of(folder: u32) -> impl Fn(&[u8]) -> Ordering {
    move |key| {
        let own = (key.u32_be(0).unwrap_or(0), key.u16_be(4).unwrap_or(0));
        own.cmp(&(folder, 0))
    }
}

impl HfsPlusFiles {
    pub(super) fn open(reader: &Arc<dyn ReadAt>, place: Place) -> FileResult<Self> {
        let header = place.header;
        header.check_supported()?;
        let volume = Window::new(Arc::clone(reader), place.extent);
        Journal::read(&Volume { reader: &volume, header: &header })?.check_replayed()?;
        let budget = Budget::new(volume.len());
        let special = |special: Special, extents: Option<&Tree>| {
            let fork = header.special(special)?;
            let mut pieces = first_pieces(&header, &fork)?;
            if fork.overflow() > 0 {
                let extents = extents.ok_or_else(|| {
                    FormatError::corrupt(special.name(), 0, "at most eight extents", "more")
                })?;
                let id = special.id();
                let mut spending = budget.begin(Part::Places, Node::new(0), 0);
                let volume: &dyn ReadAt = &volume;
                overflow(
                    (extents, volume, &mut spending),
                    &header,
                    &fork,
                    (id, DATA),
                    &mut pieces,
                )?;
            }
            Tree::open(&volume, special.name(), pieces, fork.logical_size, Keys::Long)
        };
        let extents = special(Special::Extents, None)?;
        let catalog = special(Special::Catalog, Some(&extents))?;
        // Without it files have no attributes, and are readable.
        let has_attributes =
            header.special(Special::Attributes).is_ok_and(|it| it.logical_size > 0);
        let attributes =
            if has_attributes { Some(special(Special::Attributes, Some(&extents))?) } else { None };
        let mut files = Self {
            start: place.extent.start(),
            volume,
            header,
            extents,
            catalog,
            attributes,
            budget,
            root: Node::new(0),
            linked_files: None,
            linked_folders: None,
            opened: Recent::new(RECENT_FILES, RECENT_BYTES),
            unpacked: decmpfs::unpacked(),
            listings: Listings::new(),
        };
        files.find_root()?;
        Ok(files)
    }

    /// Finds the root folder, and the folders of what has several names.
    fn find_root(&mut self) -> FileResult<()> {
        let mut root = None;
        let mut spending = self.budget.begin(Part::Names, Node::new(0), 0);
        self.children(ROOT_PARENT, &mut spending, &mut |_, item, place| {
            root = item.ok().filter(|item| item.id == ROOT).map(|_| Node::new(number(place)));
            root.is_none()
        })?;
        let position = super::volume_header::POSITION;
        let root =
            root.ok_or_else(|| FormatError::corrupt("catalog", position, "a root folder", "none"))?;
        let (mut files, mut folders) = (None, None);
        self.children(ROOT, &mut spending, &mut |name, item, _| {
            let id = item.ok().filter(|item| item.kind == NodeKind::Folder).map(|item| item.id);
            if name == LINKED_FILES.as_bytes() {
                files = id;
            } else if name == LINKED_FOLDERS {
                folders = id;
            }
            // They sort before and among the first, but there is no rule.
            files.is_none() || folders.is_none()
        })?;
        drop(spending);
        (self.root, self.linked_files, self.linked_folders) = (root, files, folders);
        Ok(())
    }

    /// Gives the records of what is in a folder, until `each` has enough.
    fn children(&self, folder: u32, spending: &mut Spending, each: EachItem) -> FileResult<()> {
        let mut spent = Ok(());
        self.catalog.from(&self.volume, &first_of(folder), &mut |record| {
            spent = spend(spending, &record);
            if spent.is_err() {
                return false;
            }
            let record = match record {
                Ok(record) => record,
                Err(error) => return each(&[], Err(error), (0, 0)),
            };
            if record.key.u32_be(0) != Some(folder) {
                return false;
            }
            let name = record::name(record.key).unwrap_or_default();
            match Item::parse(&record, &self.header).transpose() {
                None => true,
                Some(item) => each(&name, item, record.place),
            }
        })?;
        spent
    }

    /// The record of a node.
    fn item(&self, node: Node) -> FileResult<Item> {
        let parse = |record: &Record| Item::parse(record, &self.header);
        self.catalog.numbered(&self.volume, node.number, parse)
    }

    /// What a hard link is a name of, by its record.
    fn linked(&self, link: HardLink, position: u64) -> FileResult<Node> {
        let (folder, name) = match link {
            HardLink::File(number) => (self.linked_files, format!("iNode{number}")),
            HardLink::Folder(number) => (self.linked_folders, format!("dir_{number}")),
        };
        let missing =
            || FormatError::corrupt("hard link", position, format!("the file {name}"), "none");
        let folder = folder.ok_or_else(missing)?;
        // All names there are of plain letters, of which those of either case
        // are the same unless the volume tells them apart.
        let fold = |byte: u8| if self.header.is_hfsx { byte } else { byte.to_ascii_lowercase() };
        let order = |key: &[u8]| {
            let own = key.u32_be(0).unwrap_or(0).cmp(&folder);
            let units = key.get(6..).unwrap_or_default().as_chunks::<2>().0.iter();
            let units = units.map(|unit| match *unit {
                [0, byte] => u16::from(fold(byte)),
                unit => u16::from_be_bytes(unit),
            });
            own.then_with(|| units.cmp(name.bytes().map(|byte| u16::from(fold(byte)))))
        };
        let mut found = None;
        self.catalog.from(&self.volume, &order, &mut |record| {
            let is_it = |record: &Record| order(record.key) == Ordering::Equal;
            found = record.ok().filter(is_it).map(|record| Node::new(number(record.place)));
            false
        })?;
        found.ok_or_else(missing)
    }

    /// An entry of a folder as it is shown: what a hard link is a name of.
    fn entry(&self, name: Vec<u8>, item: Item, place: (u32, u16)) -> FileResult<DirectoryEntry> {
        names::check(&name, item.position)?;
        let Some(link) = item.hard_link else {
            return Ok(DirectoryEntry { name, node: Node::new(number(place)), kind: item.kind });
        };
        let node = self.linked(link, item.position)?;
        Ok(DirectoryEntry { name, node, kind: self.item(node)?.kind })
    }

    fn open_node(&self, node: Node) -> FileResult<Arc<Opened>> {
        self.opened.get_or_open(node, || {
            let item = self.item(node)?;
            let mut spending = self.budget.begin(Part::Places, node, 0);
            let (mut data, mut resource) = (Pieces::default(), Pieces::default());
            if let Some((data_fork, resource_fork)) = &item.forks {
                data = self.pieces(data_fork, (item.id, DATA), &mut spending)?;
                resource = self.pieces(resource_fork, (item.id, RESOURCE), &mut spending)?;
            }
            let mut compressed = None;
            if item.is_compressed() && item.kind == NodeKind::File {
                let attribute = self.attribute(item.id, decmpfs::ATTRIBUTE, &mut spending)?;
                let attribute = attribute.ok_or_else(|| {
                    let what = "attribute of a compressed file";
                    FormatError::corrupt(what, item.position, "one", "none")
                })?;
                compressed = Some(Compressed::parse(&attribute, item.position)?);
            }
            let bytes = data.weight().saturating_add(resource.weight());
            let packed = compressed.as_ref().map_or(0, Compressed::weight);
            let bytes = bytes.saturating_add(size_of::<Opened>()).saturating_add(packed);
            Ok((Opened { item, data, resource, compressed }, bytes))
        })
    }

    /// Where the content of a fork is.
    fn pieces(&self, fork: &Fork, of: (u32, u8), spending: &mut Spending) -> FileResult<Pieces> {
        let mut pieces = first_pieces(&self.header, fork)?;
        if fork.overflow() > 0 {
            let volume: &dyn ReadAt = &self.volume;
            overflow((&self.extents, volume, spending), &self.header, fork, of, &mut pieces)?;
        }
        Ok(pieces)
    }

    /// Gives the attributes of a file: name, where the record is, and value.
    fn each_attribute(
        &self,
        id: u32,
        spending: &mut Spending,
        each: &mut dyn FnMut(Vec<u8>, FileResult<Vec<u8>>) -> bool,
    ) -> FileResult<()> {
        const INLINE: u32 = 0x10;
        const FORK: u32 = 0x20;
        let Some(tree) = &self.attributes else { return Ok(()) };
        let order = |key: &[u8]| key.u32_be(2).unwrap_or(0).cmp(&id);
        let (mut failed, mut unfinished) = (None, None);
        tree.from(&self.volume, &order, &mut |record| {
            let record = match spend(spending, &record).and(record) {
                Ok(record) => record,
                Err(error) => {
                    failed = Some(error);
                    return false;
                }
            };
            if record.key.u32_be(2) != Some(id) {
                return false;
            }
            let units = usize::from(record.key.u16_be(10).unwrap_or(0));
            let bytes = record.key.bytes_at(12, units.saturating_mul(2)).unwrap_or_default();
            let units = bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_be_bytes(*unit));
            let name = names::wtf8(units);
            let value = match record.data.u32_be(0) {
                Some(INLINE) => {
                    let len = record.data.u32_be(12).and_then(|len| usize::try_from(len).ok());
                    let value = len.and_then(|len| record.data.bytes_at(16, len));
                    value.map(<[u8]>::to_vec).ok_or_else(|| {
                        let what = "record of the attributes file";
                        FormatError::corrupt(what, record.position, "a value", "less")
                    })
                }
                // A fork, and behind it more extents of it.
                Some(FORK) => match self.attribute_fork(&record) {
                    Ok((fork, pieces)) if fork.overflow() > 0 => {
                        let missing = fork.overflow();
                        unfinished = Some((fork.logical_size, pieces, missing));
                        return true;
                    }
                    fork => {
                        fork.and_then(|(fork, it)| self.attribute_value(fork.logical_size, &it))
                    }
                },
                _ => {
                    let Some((size, pieces, missing)) = &mut unfinished else { return true };
                    match self.more_extents(&record, pieces, missing) {
                        Ok(()) if *missing > 0 => return true,
                        more => {
                            let value = more.and_then(|()| self.attribute_value(*size, pieces));
                            unfinished = None;
                            value
                        }
                    }
                }
            };
            each(name, value)
        })?;
        if let Some((_, _, missing)) = unfinished {
            let position = super::volume_header::POSITION;
            let expected = "all extents of an attribute";
            failed = Some(FormatError::corrupt(
                "attributes file",
                position,
                expected,
                format!("{missing} blocks too few"),
            ));
        }
        failed.map_or(Ok(()), Err)
    }

    fn attribute_fork(&self, record: &Record) -> FileResult<(Fork, Pieces)> {
        let bytes = record.data.bytes_at(8, FORK_LEN).unwrap_or_default();
        let what = "record of the attributes file";
        let fork = Fork::parse(bytes, what, record.position, &self.header)?;
        let pieces = first_pieces(&self.header, &fork)?;
        Ok((fork, pieces))
    }

    fn more_extents(
        &self,
        record: &Record,
        pieces: &mut Pieces,
        missing: &mut u64,
    ) -> FileResult<()> {
        let what = "record of the attributes file";
        let bytes = record.data.bytes_at(8, RECORD_LEN).unwrap_or_default();
        let extents = ExtentRecord::parse(bytes, what, record.position, &self.header)?;
        for (start, count) in extents.iter() {
            pieces.push(extent(&self.header, start, count))?;
        }
        let left = missing.checked_sub(extents.blocks()).filter(|_| extents.blocks() > 0);
        *missing = left.ok_or_else(|| {
            let expected = format!("at most {missing} blocks more");
            FormatError::corrupt(what, record.position, expected, extents.blocks())
        })?;
        Ok(())
    }

    fn attribute_value(&self, size: u64, pieces: &Pieces) -> FileResult<Vec<u8>> {
        if size > MAX_ATTRIBUTE {
            let what = format!("an extended attribute of {size} bytes");
            return Err(FormatError::unsupported(what));
        }
        let mut value = vec![0; usize::try_from(size).unwrap_or(0)];
        pieces.read(&self.volume, 0, &mut value)?;
        Ok(value)
    }

    fn attribute(
        &self,
        id: u32,
        wanted: &[u8],
        spending: &mut Spending,
    ) -> FileResult<Option<Vec<u8>>> {
        let mut found = None;
        self.each_attribute(id, spending, &mut |name, value| {
            if name == wanted {
                found = Some(value);
            }
            found.is_none()
        })?;
        found.transpose()
    }

    /// Fills `part` with bytes of the resource fork; `None` if they are behind
    /// its end.
    fn read_resource(
        &self,
        opened: &Opened,
        offset: u64,
        part: &mut [u8],
    ) -> FileResult<Option<()>> {
        let end = u64::try_from(part.len()).ok().and_then(|len| offset.checked_add(len));
        if end.is_none_or(|end| end > opened.resource_size()) {
            return Ok(None);
        }
        opened.resource.read(&self.volume, offset, part).map(Some)
    }
}

/// The bytes of a range of blocks.
const fn extent(header: &VolumeHeader, start: u64, count: u64) -> Extent {
    let size = header.block_size;
    Extent::at(start.saturating_mul(size), count.saturating_mul(size))
}

/// The extents of a fork that its record has.
fn first_pieces(header: &VolumeHeader, fork: &Fork) -> FileResult<Pieces> {
    let mut pieces = Pieces::default();
    for (start, count) in fork.extents.iter() {
        pieces.push(extent(header, start, count))?;
    }
    Ok(pieces)
}

/// The extents of a fork that the overflow file has.
fn overflow(
    (tree, volume, spending): (&Tree, &dyn ReadAt, &mut Spending),
    header: &VolumeHeader,
    fork: &Fork,
    (id, kind): (u32, u8),
    pieces: &mut Pieces,
) -> FileResult<()> {
    const WHAT: &str = "record of the extents overflow file";
    let key_of = |key: &[u8]| {
        (key.u32_be(2).unwrap_or(0), key.u8_at(0).unwrap_or(0), key.u32_be(6).unwrap_or(0))
    };
    let mut blocks = fork.extents.blocks();
    let mut failed = None;
    tree.from(volume, &|key| key_of(key).cmp(&(id, kind, 0)), &mut |record| {
        let add = || -> FileResult<bool> {
            spend(spending, &record)?;
            let record = record?;
            let (own, own_kind, start) = key_of(record.key);
            if (own, own_kind) != (id, kind) || blocks >= fork.total_blocks {
                return Ok(false);
            }
            if u64::from(start) != blocks {
                let expected = format!("extents from block {blocks} of the file on");
                return Err(FormatError::corrupt(WHAT, record.position, expected, start));
            }
            let extents = ExtentRecord::parse(record.data, WHAT, record.position, header)?;
            for (start, count) in extents.iter() {
                pieces.push(extent(header, start, count))?;
                blocks = blocks.saturating_add(count);
            }
            Ok(extents.blocks() > 0)
        };
        add().unwrap_or_else(|error| {
            failed = Some(error);
            false
        })
    })?;
    match failed {
        Some(error) => Err(error),
        None if blocks < fork.total_blocks => Err(FormatError::corrupt(
            "extents overflow file",
            pieces.places(1).next().map_or(0, |it| it.start()),
            format!("all {} blocks of file {id}", fork.total_blocks),
            blocks,
        )),
        None => Ok(()),
    }
}

impl Files for HfsPlusFiles {
    fn root(&self) -> Node {
        self.root
    }

    fn notice(&self) -> Option<String> {
        self.header.unclean().map(Unclean::what).map(may_be_old)
    }

    fn attributes(&self, node: Node) -> FileResult<Attributes> {
        let item = self.item(node)?;
        let mut size = item.forks.filter(|_| item.kind != NodeKind::Folder);
        size = size.filter(|_| matches!(item.kind, NodeKind::File | NodeKind::Link));
        let mut size = size.map_or(0, |(data, _)| data.logical_size);
        if item.is_compressed() && item.kind == NodeKind::File {
            size = self.open_node(node)?.size();
        }
        let blocks = item
            .forks
            .map(|(data, resource)| data.total_blocks.saturating_add(resource.total_blocks));
        // What is in the folder for it has its number of names.
        let is_linked = item.forks.is_some() && item.links() > 1;
        let is_file = matches!(item.kind, NodeKind::File | NodeKind::Link);
        Attributes {
            kind: item.kind,
            size,
            allocated: blocks.map(|blocks| blocks.saturating_mul(self.header.block_size)),
            times: item.times,
            mode: item.mode(),
            owner: item.owner(),
            links: if is_linked && is_file { item.links() } else { 1 },
            dos: None,
        }
        .checked(item.position)
    }

    fn list(&self, folder: Node, each: EachEntry) -> FileResult<()> {
        let item = self.item(folder)?;
        if item.kind != NodeKind::Folder {
            return Err(FormatError::corrupt("folder", item.position, "a folder", "a file"));
        }
        let mut spending = self.budget.begin(Part::Names, folder, 0);
        self.children(item.id, &mut spending, &mut |name, found, place| {
            let is_own =
                item.id == ROOT && (name == LINKED_FILES.as_bytes() || name == LINKED_FOLDERS);
            let entry = match found {
                Ok(_) if is_own => return true,
                Ok(found) => self.entry(name.to_vec(), found, place),
                Err(error) => Err(error),
            };
            each(entry) == ControlFlow::Continue(())
        })
    }

    fn lookup(&self, folder: Node, name: &[u8]) -> FileResult<Option<DirectoryEntry>> {
        // Nearly the letters that HFS+ takes for the same; HFSX may tell all
        // of them apart.
        let fold = |name: &[u8]| names::folded(name, names::capital);
        let fold: Option<Fold> = if self.header.is_hfsx { None } else { Some(&fold) };
        self.listings.lookup(self, folder, name, fold)
    }

    fn read_at(&self, file: Node, offset: u64, buf: &mut [u8]) -> FileResult<usize> {
        let opened = self.open_node(file)?;
        if opened.item.kind == NodeKind::Folder {
            return Err(FormatError::corrupt("file", opened.item.position, "a file", "a folder"));
        }
        let buf = within(opened.size(), offset, buf);
        match &opened.compressed {
            None => opened.data.read(&self.volume, offset, buf)?,
            Some(compressed) => {
                let fork = |offset, part: &mut [u8]| self.read_resource(&opened, offset, part);
                compressed.read(&self.unpacked, file, offset, buf, &fork)?;
            }
        }
        Ok(buf.len())
    }

    fn link_target(&self, link: Node) -> FileResult<Vec<u8>> {
        let opened = self.open_node(link)?;
        let size = opened.size();
        if opened.item.kind != NodeKind::Link || size > MAX_TARGET {
            let expected = "a link of at most 4096 bytes";
            return Err(FormatError::corrupt("file", opened.item.position, expected, size));
        }
        let mut target = vec![0; usize::try_from(size).unwrap_or(0)];
        opened.data.read(&self.volume, 0, &mut target)?;
        Ok(target)
    }

    fn data_ranges(&self, file: Node) -> FileResult<Option<ExtentSet>> {
        Ok(Some(ExtentSet::all(self.open_node(file)?.size())))
    }

    fn places(&self, file: Node) -> FileResult<Option<ExtentSet>> {
        let opened = self.open_node(file)?;
        let (pieces, len) = match &opened.compressed {
            None => (&opened.data, opened.size()),
            Some(compressed) if compressed.is_in_fork() => {
                (&opened.resource, opened.resource_size())
            }
            Some(_) => return Ok(None),
        };
        let places = pieces::on_volume(pieces.places_of(len), self.volume.len())?;
        Ok(places.map(|places| places.shift(self.start)))
    }

    fn stream_places(&self, file: Node) -> FileResult<Option<ExtentSet>> {
        let opened = self.open_node(file)?;
        let places = opened.resource.places_of(opened.resource_size());
        let places = pieces::on_volume(places, self.volume.len())?;
        Ok(places.map(|places| places.shift(self.start)))
    }

    fn extended_attributes(&self, node: Node) -> FileResult<Vec<(Vec<u8>, Vec<u8>)>> {
        let item = self.item(node)?;
        let finder = item.finder().map(|finder| (FINDER_INFO.to_vec(), finder.to_vec()));
        let mut found: Vec<_> = finder.into_iter().collect();
        let (mut bytes, mut failed) = (0_usize, None);
        let mut spending = self.budget.begin(Part::Streams, node, 0);
        self.each_attribute(item.id, &mut spending, &mut |name, value| {
            match value {
                // As on macOS, one that calls itself what the catalog has is not shown.
                Ok(_) if name == decmpfs::ATTRIBUTE || name == FINDER_INFO => {}
                Ok(value) => {
                    bytes = bytes.saturating_add(value.len());
                    found.push((name, value));
                }
                Err(error) => failed = Some(error),
            }
            failed.is_none() && bytes <= MAX_ATTRIBUTES
        })?;
        if bytes > MAX_ATTRIBUTES {
            let what = format!("extended attributes of more than {MAX_ATTRIBUTES} bytes");
            return Err(FormatError::unsupported(what));
        }
        failed.map_or(Ok(found), Err)
    }

    fn streams(&self, file: Node) -> FileResult<Vec<(Vec<u8>, u64)>> {
        let opened = self.open_node(file)?;
        // That of a compressed file is its content.
        let is_own = opened.compressed.is_none() && opened.resource_size() > 0;
        Ok(is_own.then(|| (RESOURCE_FORK.to_vec(), opened.resource_size())).into_iter().collect())
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
        let buf = within(opened.resource_size(), offset, buf);
        opened.resource.read(&self.volume, offset, buf)?;
        Ok(buf.len())
    }
}

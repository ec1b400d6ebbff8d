// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of an APFS container, as its newest checkpoint has them.
//!
//! The folder that is shown holds the volumes by their names, whose root
//! folders they are. The number of a [`Node`]'s tree is that of its volume,
//! counted from 1; what is read of a volume is found by its object map and is
//! in one tree (`tree`, `record`). What macOS has compressed with zlib or LZVN
//! is unpacked (`decmpfs`), and the resource fork is the stream `rsrc`. Volumes
//! that are encrypted have a name and an error.

mod record;
mod stream;
mod tree;

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use self::record::{Inode, Name, Value, Xattr};
use self::stream::Stream;
use self::tree::{Nodes, Record, Search};
use super::btree::{Storage, Tree};
use super::checkpoint::newest;
use super::object::{Blocks, kind};
use super::superblock::Superblock;
use super::volumes::{self, Volume};
use crate::extent::ExtentSet;
use crate::fs::cache::Cache;
use crate::fs::decmpfs::{self, Compressed, Unpacked};
use crate::fs::files::{
    Attributes, DirectoryEntry, EachEntry, FileResult, Files, Node, NodeKind, Times, no_stream,
};
use crate::fs::listing::{Fold, Listings};
use crate::fs::names;
use crate::fs::pieces::{self, within};
use crate::fs::recent::Recent;
use crate::io::ReadAt;
use crate::ondisk::{Fields, FormatError};

/// The folder of the volumes.
const ROOT: Node = Node { tree: 0, number: 0 };
/// `ROOT_DIR_INO_NUM`.
const ROOT_FOLDER: u64 = 2;

/// Extended attributes that macOS keeps other things in.
const LINK_TARGET: &[u8] = b"com.apple.fs.symlink";
const RESOURCE_FORK: &[u8] = b"com.apple.ResourceFork";
/// The stream that the resource fork is.
const RESOURCE_STREAM: &[u8] = b"rsrc";

/// The longest target of a link, and the largest attribute.
const MAX_TARGET: u64 = 4096;
const MAX_ATTRIBUTE: u64 = 1 << 20;
/// Bytes of all attributes of a file.
const MAX_ATTRIBUTES: usize = 8 << 20;

/// The bytes of checked nodes that are kept.
const NODE_BYTES: usize = 16 << 20;
/// Files whose places are kept, and bytes of these.
const RECENT_FILES: usize = 128;
const RECENT_BYTES: usize = 16 << 20;

/// The files of a container.
pub(super) struct ApfsFiles {
    reader: Arc<dyn ReadAt>,
    superblock: Superblock,
    volumes: Vec<OpenVolume>,
    nodes: Nodes,
    opened: Recent<Node, Opened>,
    unpacked: Unpacked,
    listings: Listings,
}

impl fmt::Debug for ApfsFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApfsFiles").field("superblock", &self.superblock).finish_non_exhaustive()
    }
}

/// A volume, and the root of its object map or why it is not read.
struct OpenVolume {
    volume: Volume,
    omap: Result<u64, String>,
}

/// A file, and where its content is.
struct Opened {
    inode: Inode,
    data: Stream,
    resource: Stream,
    compressed: Option<Compressed>,
}

impl Opened {
    fn size(&self) -> u64 {
        self.compressed.as_ref().map_or(self.data.size, |compressed| compressed.bytes)
    }
}

impl ApfsFiles {
    /// Opens the container whose superblock in block 0 is `copy`.
    pub(super) fn open(reader: &Arc<dyn ReadAt>, copy: &Superblock) -> FileResult<Self> {
        if let Some(doubt) = copy.doubt() {
            return Err(FormatError::unsupported(doubt.why));
        }
        let blocks = Blocks::new(reader.as_ref(), copy);
        let (_, superblock) = newest(blocks, copy)?;
        if let Some(doubt) = superblock.doubt() {
            return Err(FormatError::unsupported(doubt.why));
        }
        let volumes: Vec<OpenVolume> = volumes::list(blocks, &superblock)?
            .into_iter()
            .map(|volume| {
                let omap = match volume.why_not_read() {
                    Some(why) => Err(why),
                    None => volumes::omap_root(blocks, superblock.xid, volume.omap())
                        .map_err(|error| error.to_string()),
                };
                OpenVolume { volume, omap }
            })
            .collect();
        // Without any of them there is nothing to show.
        if !volumes.iter().any(|volume| volume.omap.is_ok()) {
            let whys = volumes.iter().map(|it| {
                let why = it.omap.as_ref().err().map_or("", String::as_str);
                format!("volume \"{}\": {why}", it.volume.name)
            });
            let whys = whys.collect::<Vec<_>>().join("; ");
            let whys = if whys.is_empty() { "it has no volumes".to_owned() } else { whys };
            return Err(FormatError::unsupported(whys));
        }
        Ok(Self {
            reader: Arc::clone(reader),
            superblock,
            volumes,
            nodes: Cache::new(NODE_BYTES),
            opened: Recent::new(RECENT_FILES, RECENT_BYTES),
            unpacked: decmpfs::unpacked(),
            listings: Listings::new(),
        })
    }

    fn blocks(&self) -> Blocks<'_> {
        Blocks::new(self.reader.as_ref(), &self.superblock)
    }

    /// The volume of a node, and the root of its object map.
    fn volume(&self, node: Node) -> FileResult<(&Volume, u64)> {
        let number = node.tree.checked_sub(1).and_then(|number| usize::try_from(number).ok());
        let found = number.and_then(|number| self.volumes.get(number)).ok_or_else(|| {
            FormatError::corrupt("APFS container", 0, "a volume of this number", node.tree)
        })?;
        match &found.omap {
            Ok(omap) => Ok((&found.volume, *omap)),
            Err(why) => {
                let name = &found.volume.name;
                Err(FormatError::unsupported(format!("the volume \"{name}\": {why}")))
            }
        }
    }

    /// The block of the newest version of an object.
    fn block_of(&self, number: u64, omap: u64, oid: u64) -> FileResult<u64> {
        const DELETED: u32 = 1;
        const ENCRYPTED: u32 = 4;
        const WITHOUT_HEADER: u32 = 8;
        let (blocks, xid) = (self.blocks(), self.superblock.xid);
        let search = Search {
            tree: volumes::omap_tree(blocks, xid),
            root: omap,
            nodes: &self.nodes,
            // Apart from the volume's own tree.
            number: number.saturating_add(1_u64.wrapping_shl(32)),
        };
        let order = |key: &[u8]| {
            let own = (key.u64_le(0).unwrap_or(0), key.u64_le(8).unwrap_or(0));
            own.cmp(&(oid, xid))
        };
        let found = search.last(&order, |record| {
            let is_it = record.key.u64_le(0) == Some(oid);
            let fields = (record.value.u32_le(0), record.value.u32_le(4), record.value.u64_le(8));
            (is_it, fields, record.position)
        })?;
        let position = found.map_or(blocks.position(omap), |(.., position)| position);
        match found {
            Some((true, (Some(flags), Some(len), Some(block)), _)) if flags & DELETED == 0 => {
                if flags & (ENCRYPTED | WITHOUT_HEADER) != 0 || u64::from(len) != blocks.size {
                    let what = format!("an object of {len} bytes with the flags {flags:#x}");
                    return Err(FormatError::unsupported(what));
                }
                Ok(block)
            }
            _ => {
                let expected = format!("the object {oid}");
                Err(FormatError::corrupt(
                    "object map of an APFS volume",
                    position,
                    expected,
                    "none",
                ))
            }
        }
    }

    /// Asks the tree of a node's volume.
    fn search<T>(&self, node: Node, ask: impl FnOnce(&Search) -> FileResult<T>) -> FileResult<T> {
        let (volume, omap) = self.volume(node)?;
        let block_of = |oid| self.block_of(node.tree, omap, oid);
        ask(&Search {
            tree: Tree {
                what: "files of an APFS volume",
                blocks: self.blocks(),
                storage: Storage::Virtual(&block_of),
                subtype: kind::FSTREE,
                fixed: None,
                xid: self.superblock.xid,
            },
            root: volume.root_tree(),
            nodes: &self.nodes,
            number: node.tree,
        })
    }

    /// Gives the records of a kind that a file has.
    fn each(
        &self,
        node: Node,
        id: u64,
        kind: u8,
        each: &mut dyn FnMut(Record) -> FileResult<bool>,
    ) -> FileResult<()> {
        self.search(node, |search| {
            search.from(&record::of(id, kind), &mut |record| {
                if record::owner(record.key) == (id, kind) { each(record) } else { Ok(false) }
            })
        })
    }

    fn inode(&self, node: Node) -> FileResult<Inode> {
        let mut found = None;
        self.each(node, node.number, record::INODE, &mut |record| {
            found = Some(Inode::parse(record)?);
            Ok(false)
        })?;
        found.ok_or_else(|| {
            let expected = format!("the inode {}", node.number);
            FormatError::corrupt("files of an APFS volume", 0, expected, "none")
        })
    }

    /// An extended attribute of this name.
    fn attribute(&self, node: Node, name: &[u8]) -> FileResult<Option<Value>> {
        let mut found = None;
        self.each(node, node.number, record::XATTR, &mut |record| {
            let attribute = Xattr::parse(record)?;
            if attribute.name == name {
                found = Some(attribute.value);
            }
            Ok(found.is_none())
        })?;
        Ok(found)
    }

    /// The bytes of an attribute, at most so many.
    fn value(&self, node: Node, value: Value, most: u64) -> FileResult<Vec<u8>> {
        match value {
            Value::Embedded(bytes) => Ok(bytes),
            Value::Stream(id, data) => {
                if data.size > most {
                    let what = format!("an extended attribute of {} bytes", data.size);
                    return Err(FormatError::unsupported(what));
                }
                let mut bytes = vec![0; usize::try_from(data.size).unwrap_or(0)];
                self.stream(node, id, data.size)?.read(self.reader.as_ref(), 0, &mut bytes)?;
                Ok(bytes)
            }
        }
    }

    /// Where a content is that has the extents of this identifier.
    fn stream(&self, node: Node, id: u64, size: u64) -> FileResult<Stream> {
        let mut stream = Stream::new(size);
        if size > 0 {
            self.each(node, id, record::FILE_EXTENT, &mut |record| {
                stream.push(record, self.blocks())?;
                Ok(!stream.is_whole())
            })?;
        }
        stream.check()?;
        Ok(stream)
    }

    fn open_node(&self, node: Node) -> FileResult<Arc<Opened>> {
        self.opened.get_or_open(node, || {
            let inode = self.inode(node)?;
            let size = inode.stream.map_or(0, |stream| stream.size);
            let (mut data, mut compressed) = (Stream::new(0), None);
            if inode.kind()? == NodeKind::File {
                if inode.is_compressed() {
                    let value = self.attribute(node, decmpfs::ATTRIBUTE)?.ok_or_else(|| {
                        let what = "attribute of a compressed file";
                        FormatError::corrupt(what, inode.position, "one", "none")
                    })?;
                    let value = self.value(node, value, MAX_ATTRIBUTE)?;
                    compressed = Some(Compressed::parse(&value, inode.position)?);
                } else {
                    data = self.stream(node, inode.private_id, size)?;
                }
            }
            let resource = match self.attribute(node, RESOURCE_FORK)? {
                None => Stream::new(0),
                Some(Value::Stream(id, data)) => self.stream(node, id, data.size)?,
                Some(Value::Embedded(bytes)) => Stream::embedded(bytes),
            };
            let bytes = data.weight().saturating_add(resource.weight());
            let packed = compressed.as_ref().map_or(0, Compressed::weight);
            let bytes = bytes.saturating_add(packed).saturating_add(size_of::<Opened>());
            Ok((Opened { inode, data, resource, compressed }, bytes))
        })
    }

    /// A file whose content can be read.
    fn open_file(&self, node: Node) -> FileResult<Arc<Opened>> {
        let opened = self.open_node(node)?;
        if opened.inode.kind()? != NodeKind::File {
            let found = format!("{:?}", opened.inode.kind()?);
            return Err(FormatError::corrupt("inode", opened.inode.position, "a file", found));
        }
        if opened.inode.is_dataless() {
            return Err(FormatError::unsupported("the content of the file is in a cloud only"));
        }
        Ok(opened)
    }

    fn target(&self, link: Node) -> FileResult<Vec<u8>> {
        let inode = self.inode(link)?;
        let corrupt = |found: String| {
            FormatError::corrupt("link", inode.position, "a target of at most 4096 bytes", found)
        };
        if inode.kind()? != NodeKind::Link {
            return Err(corrupt(format!("{:?}", inode.kind()?)));
        }
        let value = self.attribute(link, LINK_TARGET)?.ok_or_else(|| corrupt("none".into()))?;
        let mut target = self.value(link, value, MAX_TARGET)?;
        if target.last() == Some(&0) {
            target.pop();
        }
        Ok(target)
    }

    /// The names of the volumes.
    fn list_volumes(&self, each: EachEntry) {
        for (number, volume) in (1..).zip(&self.volumes) {
            let name = volume.volume.name.clone().into_bytes();
            let checked = names::check(&name, 0);
            let node = Node { tree: number, number: ROOT_FOLDER };
            let entry = checked.map(|()| DirectoryEntry { name, node, kind: NodeKind::Folder });
            if each(entry).is_break() {
                return;
            }
        }
    }
}

impl Files for ApfsFiles {
    fn root(&self) -> Node {
        ROOT
    }

    fn attributes(&self, node: Node) -> FileResult<Attributes> {
        if node == ROOT {
            return Ok(Attributes {
                kind: NodeKind::Folder,
                size: 0,
                allocated: None,
                times: Times::default(),
                mode: None,
                owner: None,
                links: 1,
                dos: None,
            });
        }
        let inode = self.inode(node)?;
        let size = match inode.kind()? {
            NodeKind::File if inode.is_compressed() => self.open_node(node)?.size(),
            NodeKind::File => inode.stream.map_or(0, |stream| stream.size),
            NodeKind::Link => u64::try_from(self.target(node)?.len()).unwrap_or(u64::MAX),
            _ => 0,
        };
        inode.attributes(size)
    }

    fn list(&self, folder: Node, each: EachEntry) -> FileResult<()> {
        if folder == ROOT {
            self.list_volumes(each);
            return Ok(());
        }
        let inode = self.inode(folder)?;
        if inode.kind()? != NodeKind::Folder {
            let found = format!("{:?}", inode.kind()?);
            return Err(FormatError::corrupt("inode", inode.position, "a folder", found));
        }
        let has_hashes = self.volume(folder)?.0.has_hashes();
        self.each(folder, folder.number, record::DIRECTORY_RECORD, &mut |record| {
            let entry = Name::parse(record, has_hashes).and_then(|name| {
                names::check(name.name, record.position)?;
                let node = Node { tree: folder.tree, number: name.file };
                let kind = match name.kind {
                    Some(kind) => kind,
                    None => self.inode(node)?.kind()?,
                };
                Ok(DirectoryEntry { name: name.name.to_vec(), node, kind })
            });
            Ok(each(entry) == ControlFlow::Continue(()))
        })
    }

    fn lookup(&self, folder: Node, name: &[u8]) -> FileResult<Option<DirectoryEntry>> {
        // Nearly the letters that APFS takes for the same.
        let fold = |name: &[u8]| names::folded(name, names::capital);
        let ignores_case = folder == ROOT || self.volume(folder)?.0.ignores_case();
        let fold: Option<Fold> = if ignores_case { Some(&fold) } else { None };
        self.listings.lookup(self, folder, name, fold)
    }

    fn read_at(&self, file: Node, offset: u64, buf: &mut [u8]) -> FileResult<usize> {
        let opened = self.open_file(file)?;
        let buf = within(opened.size(), offset, buf);
        match &opened.compressed {
            None => opened.data.read(self.reader.as_ref(), offset, buf)?,
            Some(compressed) => {
                let fork = |offset, part: &mut [u8]| {
                    opened.resource.read_inside(self.reader.as_ref(), offset, part)
                };
                compressed.read(&self.unpacked, file, offset, buf, &fork)?;
            }
        }
        Ok(buf.len())
    }

    fn link_target(&self, link: Node) -> FileResult<Vec<u8>> {
        self.target(link)
    }

    fn data_ranges(&self, file: Node) -> FileResult<Option<ExtentSet>> {
        let opened = self.open_file(file)?;
        if opened.compressed.is_some() {
            return Ok(Some(ExtentSet::all(opened.size())));
        }
        Ok(Some(opened.data.stored().map(|(range, _)| range).collect()))
    }

    fn places(&self, file: Node) -> FileResult<Option<ExtentSet>> {
        let opened = self.open_node(file)?;
        let stream = match &opened.compressed {
            None => &opened.data,
            Some(compressed) if compressed.is_in_fork() => &opened.resource,
            Some(_) => return Ok(None),
        };
        let places = stream.stored().map(|(_, place)| place).collect();
        pieces::on_volume(places, self.reader.len())
    }

    fn stream_places(&self, file: Node) -> FileResult<Option<ExtentSet>> {
        let opened = self.open_node(file)?;
        let places = opened.resource.stored().map(|(_, place)| place).collect();
        pieces::on_volume(places, self.reader.len())
    }

    fn extended_attributes(&self, node: Node) -> FileResult<Vec<(Vec<u8>, Vec<u8>)>> {
        if node == ROOT {
            return Ok(Vec::new());
        }
        let is_compressed = self.inode(node)?.is_compressed();
        let is_own = |name: &[u8]| {
            name == LINK_TARGET
                || name == RESOURCE_FORK
                || is_compressed && name == decmpfs::ATTRIBUTE
        };
        let (mut found, mut bytes) = (Vec::new(), 0_usize);
        self.each(node, node.number, record::XATTR, &mut |record| {
            let attribute = Xattr::parse(record)?;
            if !is_own(&attribute.name) {
                let value = self.value(node, attribute.value, MAX_ATTRIBUTE)?;
                bytes = bytes.saturating_add(value.len()).saturating_add(attribute.name.len());
                found.push((attribute.name, value));
            }
            if bytes > MAX_ATTRIBUTES {
                let what = format!("extended attributes of more than {MAX_ATTRIBUTES} bytes");
                return Err(FormatError::unsupported(what));
            }
            Ok(true)
        })?;
        Ok(found)
    }

    fn streams(&self, file: Node) -> FileResult<Vec<(Vec<u8>, u64)>> {
        if file == ROOT {
            return Ok(Vec::new());
        }
        let opened = self.open_node(file)?;
        // That of a compressed file is its content.
        let is_own = opened.compressed.is_none() && opened.resource.size > 0;
        let size = opened.resource.size;
        Ok(is_own.then(|| (RESOURCE_STREAM.to_vec(), size)).into_iter().collect())
    }

    fn read_stream_at(
        &self,
        file: Node,
        stream: &[u8],
        offset: u64,
        buf: &mut [u8],
    ) -> FileResult<usize> {
        if stream != RESOURCE_STREAM {
            return Err(no_stream(stream));
        }
        let opened = self.open_node(file)?;
        let buf = within(opened.resource.size, offset, buf);
        opened.resource.read(self.reader.as_ref(), offset, buf)?;
        Ok(buf.len())
    }
}

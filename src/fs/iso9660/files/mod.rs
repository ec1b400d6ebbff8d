// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of an ISO 9660: by Rock Ridge, or else Joliet, or else its own
//! names.
//!
//! The number of a file is the place of its directory record, that of a folder
//! the place of its content, which begins with a record of itself: what that
//! says of it counts, as for Linux.
//!
//! Without Rock Ridge or Joliet names are shown as they are recorded, without
//! the version 1 at their end; letters of the other case are the same. Linux
//! shows them in small letters, Windows as here.

mod record;
mod rock_ridge;
mod zisofs;

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use record::{MOST_BYTES, Record, without_version};
use rock_ridge::{Compressed, RockRidge};

use super::descriptor::Descriptors;
use crate::extent::{Extent, ExtentSet};
use crate::fs::budget::{Budget, Part, Spending};
use crate::fs::files::{Attributes, DirectoryEntry, EachEntry, FileResult, Files, Node, NodeKind};
use crate::fs::listing::{Fold, Listings};
use crate::fs::names;
use crate::fs::pieces::{self, Pieces, within};
use crate::fs::recent::Recent;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields as _, FormatError};

/// Files whose places are kept, and bytes of these.
const RECENT_FILES: usize = 128;
const RECENT_BYTES: usize = 16 << 20;
/// Blocks of compressed files that are kept, and bytes of these.
const RECENT_BLOCKS: usize = 64;
const RECENT_BLOCK_BYTES: usize = 8 << 20;
/// Bytes of a folder that are read at a time.
const PIECE: u64 = 1 << 16;
/// How many records a file may have: 4 TiB of them; bytes of records that do
/// not count.
const MOST_RECORDS: usize = 1024;
const FREE_RECORDS: u64 = 1 << 13;

/// Which of its names are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// Those of Rock Ridge, behind so many bytes of something else.
    RockRidge(u8),
    /// Those of Joliet.
    Joliet,
    /// Its own.
    Plain,
}

/// The files of a volume.
pub(super) struct IsoFiles {
    volume: Arc<dyn ReadAt>,
    block_size: u64,
    root: Extent,
    naming: Naming,
    /// The disc of the set that this is, if there are several.
    volume_sequence: Option<u16>,
    budget: Budget,
    opened: Recent<Node, Opened>,
    blocks: Recent<(Node, u64), Vec<u8>>,
    listings: Listings,
}

impl fmt::Debug for IsoFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IsoFiles").field("naming", &self.naming).finish_non_exhaustive()
    }
}

/// A file, and where its content is.
struct Opened {
    pieces: Pieces,
    size: u64,
    compressed: Option<Compressed>,
}

impl IsoFiles {
    pub(super) fn new(volume: Arc<dyn ReadAt>, descriptors: &Descriptors) -> FileResult<Self> {
        let primary = &descriptors.primary;
        let joliet = descriptors.joliet();
        let skip = rock_ridge_skip(volume.as_ref(), primary.root, primary.block_size.into());
        let (naming, chosen) = match (skip, joliet) {
            (Ok(Some(skip)), _) => (Naming::RockRidge(skip), primary),
            (_, Some(joliet)) => (Naming::Joliet, joliet),
            (Ok(None), None) => (Naming::Plain, primary),
            (Err(error), None) => return Err(error),
        };
        let is_one_of_many = chosen.volume_set_size > 1;
        Ok(Self {
            block_size: chosen.block_size.into(),
            root: chosen.root,
            naming,
            volume_sequence: is_one_of_many.then_some(chosen.volume_sequence),
            budget: Budget::new(volume.len()),
            volume,
            opened: Recent::new(RECENT_FILES, RECENT_BYTES),
            blocks: Recent::new(RECENT_BLOCKS, RECENT_BLOCK_BYTES),
            listings: Listings::new(),
        })
    }

    fn position_of(&self, block: u64) -> u64 {
        block.saturating_mul(self.block_size)
    }

    /// The record at a place.
    fn record(&self, position: u64) -> FileResult<Record> {
        let left = self.volume.len().saturating_sub(position);
        let len = usize::try_from(left).unwrap_or(MOST_BYTES).min(MOST_BYTES);
        let bytes = read_vec(self.volume.as_ref(), position, len)?;
        Record::parse(&bytes, position)
    }

    /// The record of a folder in itself.
    fn folder(&self, node: Node) -> FileResult<Record> {
        let record = self.record(node.number)?;
        let start = self.position_of(record.block);
        if !record.is_folder() || record.name != [0] || start != node.number {
            let (expected, found) = ("the record of a folder in itself", "another");
            return Err(FormatError::corrupt("folder", node.number, expected, found));
        }
        Ok(record)
    }

    /// What Rock Ridge says of a record, if it is used.
    fn rock_ridge(&self, record: &Record) -> FileResult<Option<RockRidge>> {
        let Naming::RockRidge(skip) = self.naming else { return Ok(None) };
        let volume = self.volume.as_ref();
        let own = record.system_use.get(usize::from(skip)..).unwrap_or_default();
        RockRidge::read(volume, self.block_size, own, record.position).map(Some)
    }

    /// Calls `each` with the records of a folder, and what it costs.
    fn records(
        &self,
        folder: Extent,
        spending: &mut Spending,
        each: &mut dyn FnMut(FileResult<Record>, &mut Spending) -> ControlFlow<()>,
    ) -> FileResult<()> {
        let mut position = folder.start();
        let (mut window, mut start) = (Vec::new(), position);
        while position < folder.end() {
            spending.check()?;
            let at = usize::try_from(position.saturating_sub(start)).unwrap_or(usize::MAX);
            let end = start.saturating_add(u64::try_from(window.len()).unwrap_or(0));
            if window.get(at..).is_none_or(|rest| rest.len() < MOST_BYTES) && end < folder.end() {
                let len = folder.end().saturating_sub(position).min(PIECE);
                spending.spend(len)?;
                let len = usize::try_from(len).unwrap_or(0);
                (window, start) = (read_vec(self.volume.as_ref(), position, len)?, position);
                continue;
            }
            let bytes = window.get(at..).unwrap_or_default();
            let Some(len) = bytes.u8_at(0).filter(|len| *len != 0) else {
                // The rest of a block is zeros.
                let next = position.saturating_add(1).checked_next_multiple_of(self.block_size);
                position = next.unwrap_or(u64::MAX);
                continue;
            };
            if each(Record::parse(bytes, position), spending).is_break() {
                return Ok(());
            }
            position = position.saturating_add(len.into());
        }
        Ok(())
    }

    /// The entry that a record stands for; `None` if it has its name elsewhere.
    fn entry(
        &self,
        record: &Record,
        spending: &mut Spending,
    ) -> FileResult<Option<DirectoryEntry>> {
        let rock_ridge = self.rock_ridge(record)?;
        spending.spend(rock_ridge.as_ref().map_or(0, |it| it.elsewhere))?;
        let name = match (&rock_ridge, self.naming) {
            (Some(it), _) if !it.name.is_empty() => it.name.clone(),
            (_, Naming::Joliet) => {
                let units: Vec<u16> =
                    record.name.chunks_exact(2).filter_map(|unit| unit.u16_be(0)).collect();
                let version = [u16::from(b';'), u16::from(b'1')];
                names::wtf8(without_version(&units, version, u16::from(b'.')).iter().copied())
            }
            _ => without_version(&record.name, *b";1", b'.').to_vec(),
        };
        let (mut node, mut kind) = (Node::new(record.position), NodeKind::File);
        if let Some(it) = rock_ridge {
            if it.is_relocated {
                return Ok(None);
            }
            kind = it.kind();
            if let Some(child) = it.child {
                (node, kind) = (Node::new(self.position_of(child.into())), NodeKind::Folder);
            } else if kind == NodeKind::Folder && !record.is_folder() {
                kind = NodeKind::Other("a folder that is nowhere");
            }
        }
        if record.is_folder() {
            (node, kind) = (Node::new(self.position_of(record.block)), NodeKind::Folder);
        }
        names::check(&name, record.position)?;
        Ok(Some(DirectoryEntry { name, node, kind }))
    }

    /// Where the content of a file is.
    fn open(&self, node: Node) -> FileResult<Arc<Opened>> {
        self.opened.get_or_open(node, || {
            let record = self.record(node.number)?;
            let rock_ridge = self.rock_ridge(&record)?;
            let kind = rock_ridge.as_ref().map_or(NodeKind::File, RockRidge::kind);
            if record.is_folder() || kind != NodeKind::File {
                return Err(FormatError::corrupt("file", node.number, "a file", "something else"));
            }
            if rock_ridge.as_ref().is_some_and(|it| it.sparse.is_some()) {
                return Err(FormatError::unsupported("sparse files of Rock Ridge are not read"));
            }
            let (pieces, size) = self.pieces(&record)?;
            let compressed = rock_ridge.and_then(|it| it.compressed);
            if let Some(compressed) = compressed {
                zisofs::check(self.volume.as_ref(), &pieces, size, compressed, node.number)?;
            }
            let size = compressed.map_or(size, |it| it.size);
            let bytes = pieces.weight().saturating_add(size_of::<Opened>());
            Ok((Opened { pieces, size, compressed }, bytes))
        })
    }

    /// The records that a file goes on with, the first one included.
    fn parts(&self, first: &Record) -> FileResult<Vec<Record>> {
        let mut parts = vec![first.clone()];
        let node = Node::new(first.position);
        let mut spending = self.budget.begin(Part::Places, node, FREE_RECORDS);
        while let Some(last) = parts.last()
            && last.goes_on()
        {
            let end = last.position.saturating_add(last.len.try_into().unwrap_or(0));
            let corrupt = |expected: &str, found: &str| {
                FormatError::corrupt("parts of a file", end, expected, found)
            };
            if parts.len() >= MOST_RECORDS {
                return Err(corrupt("1024 parts at most", "more"));
            }
            spending.spend(MOST_BYTES.try_into().unwrap_or(0))?;
            // The rest of a block may be zeros.
            let is_end = read_vec(self.volume.as_ref(), end, 1)? == [0];
            let next = if is_end { end.checked_next_multiple_of(self.block_size) } else { None };
            let next = self.record(next.unwrap_or(end))?;
            if next.name != first.name || next.is_folder() {
                return Err(corrupt("another part of the same file", "another name"));
            }
            parts.push(next);
        }
        Ok(parts)
    }

    /// Where the content of the file is that begins with a record, and its size.
    fn pieces(&self, first: &Record) -> FileResult<(Pieces, u64)> {
        let mut pieces = Pieces::default();
        let mut size = 0_u64;
        for part in self.parts(first)? {
            if part.is_interleaved {
                return Err(FormatError::unsupported("files with gaps (interleaved) are not read"));
            }
            let other = self.volume_sequence.filter(|own| *own != part.volume_sequence);
            if other.is_some() {
                let number = part.volume_sequence;
                return Err(FormatError::unsupported(format!("it is on disc {number} of the set")));
            }
            let len = u64::from(part.size);
            if len > 0 {
                pieces.push(Extent::at(self.position_of(part.block), len))?;
            }
            size = size.saturating_add(len);
        }
        Ok((pieces, size))
    }

    fn folder_attributes(&self, node: Node) -> FileResult<Attributes> {
        let record = self.folder(node)?;
        // What is damaged of it is no reason not to show what is in the folder.
        let rock_ridge = self.rock_ridge(&record).ok().flatten();
        let size = u64::from(record.size);
        let mut known = attributes(&record, rock_ridge.as_ref(), NodeKind::Folder, size);
        known.allocated = Some(size.next_multiple_of(self.block_size));
        Ok(known)
    }
}

/// What a record and Rock Ridge say of a file.
fn attributes(
    record: &Record,
    rock_ridge: Option<&RockRidge>,
    kind: NodeKind,
    size: u64,
) -> Attributes {
    let mut times = rock_ridge.map(|it| it.times).unwrap_or_default();
    times.modified = times.modified.or(record.modified);
    let with_mode = rock_ridge.and_then(|it| Some((it, it.mode?)));
    Attributes {
        kind,
        size,
        allocated: None,
        times,
        mode: with_mode.map(|(_, mode)| mode & 0o7777),
        owner: with_mode.map(|(it, _)| it.owner),
        links: with_mode.map_or(1, |(it, _)| it.links),
        dos: None,
    }
}

/// How many bytes are in front of the entries of Rock Ridge, if the root folder
/// says that there are such.
fn rock_ridge_skip(
    volume: &dyn ReadAt,
    root: Extent,
    block_size: u64,
) -> Result<Option<u8>, FormatError> {
    let left = volume.len().saturating_sub(root.start());
    let len = usize::try_from(left).unwrap_or(MOST_BYTES).min(MOST_BYTES);
    let bytes = read_vec(volume, root.start(), len)?;
    let record = Record::parse(&bytes, root.start())?;
    let found = RockRidge::read(volume, block_size, &record.system_use, root.start());
    Ok(found.ok().filter(|it| it.is_there).and_then(|it| it.skip))
}

impl Files for IsoFiles {
    fn root(&self) -> Node {
        Node::new(self.root.start())
    }

    fn attributes(&self, node: Node) -> FileResult<Attributes> {
        let record = self.record(node.number)?;
        if record.is_folder() {
            return self.folder_attributes(node);
        }
        let rock_ridge = self.rock_ridge(&record)?;
        let kind = match rock_ridge.as_ref().map(RockRidge::kind) {
            Some(NodeKind::Folder) => NodeKind::Other("a folder that is nowhere"),
            kind => kind.unwrap_or(NodeKind::File),
        };
        let mut known = attributes(&record, rock_ridge.as_ref(), kind, 0);
        match kind {
            NodeKind::File => {
                let parts = self.parts(&record)?;
                let stored = parts.iter().map(|part| u64::from(part.size));
                let stored = stored.fold(0, u64::saturating_add);
                let other = rock_ridge.as_ref();
                let other = other.and_then(|it| it.sparse.or(it.compressed.map(|it| it.size)));
                known.size = other.unwrap_or(stored);
                known.allocated = Some(stored.next_multiple_of(self.block_size));
            }
            NodeKind::Link => {
                let target = rock_ridge.and_then(|it| it.target).transpose()?;
                known.size = target.map_or(0, |it| u64::try_from(it.len()).unwrap_or(0));
            }
            _ => {}
        }
        Ok(known)
    }

    fn list(&self, folder: Node, each: EachEntry) -> FileResult<()> {
        let record = self.folder(folder)?;
        let all = Extent::at(folder.number, record.size.into());
        let there = all.intersect(&Extent::new(0, self.volume.len()));
        let (mut goes_on, mut stopped) = (false, false);
        let mut spending = self.budget.begin(Part::Names, folder, 0);
        self.records(there, &mut spending, &mut |record, spending| {
            let flow = match record {
                Ok(record) => {
                    let is_part = std::mem::replace(&mut goes_on, record.goes_on());
                    if is_part || record.is_dot() || record.is_associated() {
                        return ControlFlow::Continue(());
                    }
                    match self.entry(&record, spending) {
                        Ok(None) => ControlFlow::Continue(()),
                        Ok(Some(entry)) => each(Ok(entry)),
                        Err(error) => each(Err(error)),
                    }
                }
                Err(error) => each(Err(error)),
            };
            stopped = flow.is_break();
            flow
        })?;
        if there == all || stopped {
            return Ok(());
        }
        let (expected, found) = (format!("{} bytes", all.len()), format!("{} bytes", there.len()));
        Err(FormatError::corrupt("folder", folder.number, expected, found))
    }

    fn lookup(&self, folder: Node, name: &[u8]) -> FileResult<Option<DirectoryEntry>> {
        let fold = |name: &[u8]| names::folded(name, names::capital);
        let fold: Option<Fold> = match self.naming {
            Naming::RockRidge(_) => None,
            _ => Some(&fold),
        };
        self.listings.lookup(self, folder, name, fold)
    }

    fn read_at(&self, file: Node, offset: u64, buf: &mut [u8]) -> FileResult<usize> {
        let opened = self.open(file)?;
        let buf = within(opened.size, offset, buf);
        let len = buf.len();
        let volume = self.volume.as_ref();
        let Some(compressed) = opened.compressed else {
            opened.pieces.read(volume, offset, buf)?;
            return Ok(len);
        };
        let block_size = 1_u64.wrapping_shl(compressed.block_bits.into());
        let (mut offset, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let number = offset.checked_div(block_size).unwrap_or(0);
            let content = self.blocks.get_or_open((file, number), || {
                let content = zisofs::block(volume, &opened.pieces, compressed, number)?;
                let bytes = content.len();
                Ok::<_, FormatError>((content, bytes))
            })?;
            let skip = offset.saturating_sub(number.saturating_mul(block_size));
            let skip = usize::try_from(skip).unwrap_or(usize::MAX);
            let content = content.get(skip..).unwrap_or_default();
            let count = content.len().min(rest.len());
            if count == 0 {
                let (expected, found) = (format!("a byte {offset}"), "none");
                return Err(FormatError::corrupt("compressed file", file.number, expected, found));
            }
            let (part, behind) = rest.split_at_mut_checked(count).unwrap_or_default();
            part.copy_from_slice(content.get(..count).unwrap_or_default());
            offset = offset.saturating_add(u64::try_from(count).unwrap_or(0));
            rest = behind;
        }
        Ok(len)
    }

    fn link_target(&self, link: Node) -> FileResult<Vec<u8>> {
        let rock_ridge = self.rock_ridge(&self.record(link.number)?)?;
        let target = rock_ridge.and_then(|it| it.target);
        target.unwrap_or_else(|| Err(FormatError::corrupt("file", link.number, "a link", "none")))
    }

    fn data_ranges(&self, file: Node) -> FileResult<Option<ExtentSet>> {
        Ok(Some(ExtentSet::all(self.open(file)?.size)))
    }

    fn places(&self, file: Node) -> FileResult<Option<ExtentSet>> {
        pieces::on_volume(self.open(file)?.pieces.places_of(u64::MAX), self.volume.len())
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Folders: the names of files as a B-tree, whose first node is in the record of
//! the folder (`$INDEX_ROOT`) and whose others are blocks of a stream
//! (`$INDEX_ALLOCATION`).

use std::cmp::Ordering;
use std::collections::HashSet;
use std::ops::ControlFlow;

use super::super::mft::Mft;
use super::super::record::{kind, restore_sectors};
use super::super::stream::Stream;
use super::upcase::UpCase;
use crate::fs::files::{FileResult, NodeKind};
use crate::fs::names::units_le;
use crate::ondisk::{Fields, FormatError};

/// No tree of as many names as there can be is as deep.
const MAX_DEPTH: usize = 32;

/// Names in the order of their letters.
const COLLATION_FILE_NAME: u32 = 1;

/// The index of a folder.
pub(super) struct Index<'a> {
    mft: &'a Mft<'a>,
    root: &'a [u8],
    allocation: Option<&'a Stream>,
    block_bytes: usize,
    /// Where the record of the folder is.
    position: u64,
}

/// The name of a file in a folder, with what is repeated there of the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'a> {
    /// The file.
    pub(super) reference: u64,
    /// Little-endian UTF-16.
    pub(super) units: &'a [u8],
    flags: u32,
    reparse_tag: u32,
    bytes: u64,
    namespace: u8,
    /// Where the node is, for messages.
    pub(super) position: u64,
}

impl<'a> Name<'a> {
    fn parse(key: &'a [u8], reference: u64, position: u64) -> Option<Self> {
        let len = usize::from(key.u8_at(0x40)?).checked_mul(2)?;
        Some(Self {
            reference,
            units: key.bytes_at(0x42, len)?,
            flags: key.u32_le(0x38)?,
            reparse_tag: key.u32_le(0x3c)?,
            bytes: key.u64_le(0x30)?,
            namespace: key.u8_at(0x41)?,
            position,
        })
    }

    /// True for a short name that is there beside a long one.
    pub(super) const fn is_short(&self) -> bool {
        const DOS: u8 = 2;
        self.namespace == DOS
    }

    pub(super) const fn is_folder(&self) -> bool {
        const FOLDER: u32 = 0x1000_0000;
        self.flags & FOLDER != 0
    }

    /// What the file is, if the name tells.
    pub(super) fn kind(&self) -> Option<NodeKind> {
        let has_reparse_point = self.flags & super::file::REPARSE_POINT != 0;
        if has_reparse_point && self.reparse_tag != super::reparse::WOF {
            return None;
        }
        if self.is_folder() {
            return Some(NodeKind::Folder);
        }
        let may_be_interix = super::reparse::may_be_interix(self.flags, self.bytes);
        (!may_be_interix).then_some(NodeKind::File)
    }
}

/// An entry of a node: a name, the subtree before it, or both.
struct Entry<'a> {
    key: Option<(u64, &'a [u8])>,
    subtree: Option<u64>,
}

/// The entries of a node, whose header is at the start of `bytes`.
struct Entries<'a> {
    rest: &'a [u8],
    position: u64,
    ended: bool,
}

impl<'a> Entries<'a> {
    fn new(header: &'a [u8], position: u64) -> FileResult<Self> {
        let range = || {
            let start = usize::try_from(header.u32_le(0)?).ok()?;
            let end = usize::try_from(header.u32_le(4)?).ok()?;
            header.get(start..end).filter(|_| start >= 0x10)
        };
        let rest = range().ok_or_else(|| {
            FormatError::corrupt("index of a folder", position, "entries inside the node", "others")
        })?;
        Ok(Self { rest, position, ended: false })
    }

    fn parse(&self) -> Option<(Entry<'a>, usize, bool)> {
        const HAS_SUBTREE: u16 = 1;
        const LAST: u16 = 2;
        let len = usize::from(self.rest.u16_le(8)?);
        let entry = self.rest.bytes_at(0, len).filter(|_| len >= 0x10 && len.is_multiple_of(8))?;
        let key_len = usize::from(entry.u16_le(10)?);
        let flags = entry.u16_le(12)?;
        let is_last = flags & LAST != 0;
        let subtree = match flags & HAS_SUBTREE {
            0 => None,
            _ => Some(entry.u64_le(len.checked_sub(8).filter(|at| *at >= 0x10)?)?),
        };
        let key = match is_last {
            true => None,
            false => Some((entry.u64_le(0)?, entry.bytes_at(0x10, key_len)?)),
        };
        Some((Entry { key, subtree }, len, is_last))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = FileResult<Entry<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let Some((entry, len, is_last)) = self.parse() else {
            self.ended = true;
            return Some(Err(FormatError::corrupt(
                "index of a folder",
                self.position,
                "whole entries up to the last",
                "less",
            )));
        };
        self.rest = self.rest.get(len..).unwrap_or_default();
        self.ended = is_last;
        Some(Ok(entry))
    }
}

impl<'a> Index<'a> {
    pub(super) fn new(
        mft: &'a Mft<'a>,
        root: &'a [u8],
        allocation: Option<&'a Stream>,
        position: u64,
    ) -> FileResult<Self> {
        let corrupt = |expected: &str, found: u32| {
            FormatError::corrupt("index of a folder", position, expected, format!("{found:#x}"))
        };
        let field = |offset| root.u32_le(offset).unwrap_or(0);
        if field(0) != kind::FILE_NAME || field(4) != COLLATION_FILE_NAME {
            return Err(corrupt("names as its key", field(0)));
        }
        let block_bytes = field(8);
        if !block_bytes.is_power_of_two() || !(512..=65536).contains(&block_bytes) {
            return Err(corrupt("blocks of 512 to 65536 bytes", block_bytes));
        }
        let block_bytes = usize::try_from(block_bytes).unwrap_or(0);
        Ok(Self { mft, root, allocation, block_bytes, position })
    }

    fn root_entries(&self) -> FileResult<Entries<'a>> {
        Entries::new(self.root.get(0x10..).unwrap_or_default(), self.position)
    }

    /// The block that a number names: numbers count clusters, or sectors of 512
    /// bytes where a cluster is larger than a block.
    fn block(&self, number: u64) -> FileResult<Vec<u8>> {
        let allocation = self.allocation.ok_or_else(|| {
            FormatError::corrupt("index of a folder", self.position, "blocks of names", "none")
        })?;
        let offset = self.block_offset(number);
        let mut bytes = vec![0; self.block_bytes];
        allocation.read(self.mft.volume, self.mft.boot, offset, &mut bytes)?;
        let position = allocation.place(self.mft.boot, offset);
        if bytes.bytes_at(0, 4) != Some(b"INDX") {
            let found = bytes.bytes_at(0, 4).unwrap_or_default().escape_ascii().to_string();
            return Err(FormatError::corrupt("index of a folder", position, "INDX", found));
        }
        restore_sectors("index of a folder", position, &mut bytes)?;
        let own = bytes.u64_le(0x10).unwrap_or(0);
        if own != number {
            let expected = format!("block {number}");
            return Err(FormatError::corrupt("index of a folder", position, expected, own));
        }
        Ok(bytes)
    }

    /// Where a block is in the stream.
    fn block_offset(&self, number: u64) -> u64 {
        let cluster = self.mft.boot.cluster_bytes;
        let is_larger = usize::try_from(cluster).is_ok_and(|cluster| cluster > self.block_bytes);
        number.saturating_mul(if is_larger { 512 } else { cluster })
    }

    /// The entries of a block.
    fn entries<'b>(&self, block: &'b [u8], number: u64) -> FileResult<Entries<'b>> {
        let offset = self.block_offset(number);
        let position = self.allocation.map_or(self.position, |it| it.place(self.mft.boot, offset));
        Entries::new(block.get(0x18..).unwrap_or_default(), position)
    }

    /// Gives all names. What a damaged node holds is missing; the error is given
    /// in its place.
    pub(super) fn walk(
        &self,
        each: &mut dyn FnMut(FileResult<Name>) -> ControlFlow<()>,
    ) -> FileResult<()> {
        let (mut seen, mut waiting) = (HashSet::new(), Vec::new());
        let root = self.root_entries()?;
        let mut flow = walk_node(root, &mut seen, &mut waiting, each);
        while flow.is_continue() {
            let Some(number) = waiting.pop() else { break };
            flow = match self.block(number) {
                Ok(block) => match self.entries(&block, number) {
                    Ok(entries) => walk_node(entries, &mut seen, &mut waiting, each),
                    Err(error) => each(Err(error)),
                },
                Err(error) => each(Err(error)),
            };
        }
        Ok(())
    }

    /// Gives the names that are `wanted`, case left aside, until told to stop.
    pub(super) fn find(
        &self,
        wanted: &[u16],
        upcase: Option<&UpCase>,
        each: &mut dyn FnMut(Name) -> ControlFlow<()>,
    ) -> FileResult<()> {
        if let Some(upcase) = upcase {
            let mut search = Search { index: self, wanted, upcase, seen: HashSet::new(), each };
            return search.node(self.root_entries()?, 0).map(|_| ());
        }
        let mut failed = None;
        self.walk(&mut |name| match name {
            Ok(name) if units_le(name.units).eq(wanted.iter().copied()) => each(name),
            Ok(_) => ControlFlow::Continue(()),
            Err(error) => {
                failed.get_or_insert(error);
                ControlFlow::Continue(())
            }
        })?;
        // It may be the one that is damaged.
        failed.map_or(Ok(()), Err)
    }
}

/// Gives the names of a node; its subtrees that were not seen yet have to wait.
fn walk_node(
    entries: Entries,
    seen: &mut HashSet<u64>,
    waiting: &mut Vec<u64>,
    each: &mut dyn FnMut(FileResult<Name>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let position = entries.position;
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return each(Err(error)),
        };
        waiting.extend(entry.subtree.filter(|number| seen.insert(*number)));
        if let Some((reference, key)) = entry.key {
            let name = Name::parse(key, reference, position);
            each(name.ok_or_else(|| not_a_name(position)))?;
        }
    }
    ControlFlow::Continue(())
}

fn not_a_name(position: u64) -> FormatError {
    FormatError::corrupt("index of a folder", position, "a whole name", "less")
}

/// A search for a name, from the root downwards.
struct Search<'a, 'e> {
    index: &'a Index<'a>,
    wanted: &'a [u16],
    upcase: &'a UpCase,
    seen: HashSet<u64>,
    each: &'e mut dyn FnMut(Name) -> ControlFlow<()>,
}

impl Search<'_, '_> {
    /// Searches a node; broken off when all that can be there was found.
    fn node(&mut self, entries: Entries, depth: usize) -> FileResult<ControlFlow<()>> {
        let position = entries.position;
        for entry in entries {
            let entry = entry?;
            let mut order = Ordering::Less;
            let mut name = None;
            if let Some((reference, key)) = entry.key {
                let parsed = Name::parse(key, reference, position);
                let parsed = parsed.ok_or_else(|| not_a_name(position))?;
                let wanted = self.wanted.iter().copied();
                order = self.upcase.compare(wanted, units_le(parsed.units));
                name = Some(parsed);
            }
            if order == Ordering::Greater {
                continue;
            }
            // Names that differ in case only may be on both sides.
            if let Some(number) = entry.subtree.filter(|number| self.seen.insert(*number)) {
                if depth >= MAX_DEPTH {
                    let found = "a deeper one";
                    let expected = "a tree of at most 32 floors";
                    return Err(FormatError::corrupt(
                        "index of a folder",
                        position,
                        expected,
                        found,
                    ));
                }
                let block = self.index.block(number)?;
                let below = self.index.entries(&block, number)?;
                if self.node(below, depth.saturating_add(1))?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            match name {
                Some(name) if order == Ordering::Equal && (self.each)(name).is_continue() => {}
                Some(_) => return Ok(ControlFlow::Break(())),
                None => {}
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

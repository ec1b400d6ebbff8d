// SPDX-License-Identifier: MIT OR Apache-2.0
//! B-trees of HFS and HFS+ from the root downwards: the records from a key on
//! ("Inside Macintosh: Files", 2-64, and TN1150, "B-Trees"). Of a tree only what
//! is on the way has to be in order.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::extent::Extent;
use crate::fs::budget::Spending;
use crate::fs::files::FileResult;
use crate::fs::pieces::Pieces;
use crate::fs::recent::Recent;
use crate::io::ReadAt;
use crate::ondisk::{Fields, FormatError};

const DESCRIPTOR_LEN: usize = 14;
const LEAF: u8 = 0xff;
const INDEX: u8 = 0x00;
const HEADER: u8 = 0x01;

/// No tree of as many records as there can be is as deep.
const MAX_DEPTH: usize = 16;

/// Nodes that are kept, and bytes of them.
const RECENT_NODES: usize = 256;
const RECENT_BYTES: usize = 4 << 20;

/// How the keys of a tree are kept.
#[derive(Debug, Clone, Copy)]
pub(in crate::fs) enum Keys {
    /// As HFS does: behind a length of 8 bits, and in index nodes with room for
    /// the longest, which has so many bytes.
    Short(usize),
    /// As HFS+ does: behind a length of 16 bits, in index nodes as well.
    Long,
}

/// The number of a file by the place of its record: a leaf, and which of its
/// records it is.
pub(in crate::fs) fn number((leaf, record): (u32, u16)) -> u64 {
    u64::from(leaf).wrapping_shl(16) | u64::from(record)
}

/// Counts a record that is read, with its place in the table of its node.
///
/// # Errors
/// As [`Spending::spend`].
pub(in crate::fs) fn spend(spending: &mut Spending, record: &FileResult<Record>) -> FileResult<()> {
    const PLACE: u64 = 2;
    let bytes = record.as_ref().map_or(0, |it| it.key.len().saturating_add(it.data.len()));
    spending.spend(u64::try_from(bytes).unwrap_or(u64::MAX).saturating_add(PLACE))
}

/// A B-tree in one of the special files.
pub(in crate::fs) struct Tree {
    what: &'static str,
    pieces: Pieces,
    keys: Keys,
    node_size: usize,
    nodes: u64,
    root: u32,
    /// How many records the leaves have.
    records: u32,
    recent: Recent<u32, Node>,
}

/// A record: its key without its length, and its data.
#[derive(Debug, Clone, Copy)]
pub(in crate::fs) struct Record<'a> {
    pub(in crate::fs) key: &'a [u8],
    pub(in crate::fs) data: &'a [u8],
    /// The node and which of its records it is.
    pub(in crate::fs) place: (u32, u16),
    /// Where the node is on the volume, for messages.
    pub(in crate::fs) position: u64,
}

/// A node: its bytes, checked as far as its descriptor and its table go.
pub(in crate::fs) struct Node {
    number: u32,
    bytes: Vec<u8>,
    position: u64,
    next: u32,
    kind: u8,
    count: u16,
    keys: Keys,
}

impl Node {
    /// The record of this number.
    pub(in crate::fs) fn record(&self, number: u16) -> FileResult<Record<'_>> {
        let offset = |slot: u16| {
            let back = usize::from(slot).checked_add(1)?.checked_mul(2)?;
            self.bytes.u16_be(self.bytes.len().checked_sub(back)?).map(usize::from)
        };
        let record = || {
            let start = offset(number).filter(|start| *start >= DESCRIPTOR_LEN)?;
            let bytes = self.bytes.get(start..offset(number.checked_add(1)?)?)?;
            let (len, start) = match self.keys {
                Keys::Long => (usize::from(bytes.u16_be(0)?), 2_usize),
                Keys::Short(_) => (usize::from(bytes.u8_at(0)?), 1),
            };
            let key = bytes.bytes_at(start, len)?;
            let room = match self.keys {
                Keys::Short(longest) if self.kind == INDEX => longest,
                _ => len,
            };
            // Data is at an even place.
            let data = bytes.get(start.checked_add(room)?.checked_next_multiple_of(2)?..)?;
            Some(Record { key, data, place: (self.number, number), position: self.position })
        };
        let found = (number < self.count).then(record).flatten();
        found.ok_or_else(|| {
            let found = format!("less in record {number} of node {}", self.number);
            FormatError::corrupt("node of a B-tree", self.position, "a key and data", found)
        })
    }
}

impl Tree {
    /// The tree in a file whose bytes lie there, and are so many.
    pub(in crate::fs) fn open(
        volume: &dyn ReadAt,
        what: &'static str,
        pieces: Pieces,
        len: u64,
        keys: Keys,
    ) -> FileResult<Self> {
        let position = pieces.places(1).next().map_or(0, |it| it.start());
        let bad = |expected: &str, found: String| {
            Err(FormatError::corrupt(what, position, expected, found))
        };
        let mut head = vec![0; 512];
        pieces.read(volume, 0, &mut head)?;
        let word = |offset| head.u32_be(offset).unwrap_or(0);
        if head.u8_at(8) != Some(HEADER) {
            return bad("a header node", format!("kind {:?}", head.u8_at(8)));
        }
        let node_size = head.u16_be(0x20).map_or(0, usize::from);
        if !node_size.is_power_of_two() || !(512..=32768).contains(&node_size) {
            return bad("a node size that is a power of two", node_size.to_string());
        }
        let node_bytes = u64::try_from(node_size).unwrap_or(u64::MAX);
        let nodes = u64::from(word(0x24));
        if nodes.saturating_mul(node_bytes) > len {
            return bad("as many nodes as fit into the file", nodes.to_string());
        }
        let recent = Recent::new(RECENT_NODES, RECENT_BYTES);
        Ok(Self {
            what,
            pieces,
            keys,
            node_size,
            nodes,
            root: word(0x10),
            records: word(0x14),
            recent,
        })
    }

    /// Where its file lies.
    pub(in crate::fs) fn places(&self) -> impl Iterator<Item = Extent> + '_ {
        self.pieces.places(u64::MAX)
    }

    /// Gives the records of all leaves, which have to be as many as the header
    /// says.
    pub(in crate::fs) fn all(
        &self,
        volume: &dyn ReadAt,
        each: &mut dyn FnMut(&Record) -> FileResult<()>,
    ) -> FileResult<()> {
        let (mut count, mut failed) = (0_u64, None);
        self.from(volume, &|_| Ordering::Greater, &mut |record| {
            count = count.saturating_add(1);
            failed = record.and_then(|record| each(&record)).err();
            failed.is_none()
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        if count == u64::from(self.records) {
            return Ok(());
        }
        let position = self.places().next().map_or(0, |it| it.start());
        let expected = format!("{} records in the leaves", self.records);
        Err(FormatError::corrupt(self.what, position, expected, count))
    }

    /// A node.
    pub(in crate::fs) fn node(&self, volume: &dyn ReadAt, number: u32) -> FileResult<Arc<Node>> {
        self.recent.get_or_open(number, || {
            let size = u64::try_from(self.node_size).unwrap_or(u64::MAX);
            let offset = u64::from(number).saturating_mul(size);
            let start = self.pieces.places(offset.saturating_add(1)).last();
            let start = start.map_or(0, |it| it.end().saturating_sub(1));
            if u64::from(number) >= self.nodes || number == 0 {
                let expected = format!("a node from 1 to before {}", self.nodes);
                return Err(FormatError::corrupt(self.what, start, expected, number));
            }
            let mut bytes = vec![0; self.node_size];
            self.pieces.read(volume, offset, &mut bytes)?;
            let node = Node {
                number,
                position: start,
                next: bytes.u32_be(0).unwrap_or(0),
                kind: bytes.u8_at(8).unwrap_or(0),
                count: bytes.u16_be(10).unwrap_or(0),
                keys: self.keys,
                bytes,
            };
            if ![LEAF, INDEX].contains(&node.kind) {
                let found = format!("kind {} of node {number}", node.kind);
                return Err(FormatError::corrupt(self.what, start, "a leaf or an index", found));
            }
            Ok((node, self.node_size))
        })
    }

    /// Reads the record that a [`number`] stands for; `parse` gives none if it is
    /// of no file.
    pub(in crate::fs) fn numbered<T>(
        &self,
        volume: &dyn ReadAt,
        number: u64,
        parse: impl FnOnce(&Record) -> FileResult<Option<T>>,
    ) -> FileResult<T> {
        let corrupt = |found: &str| {
            let expected = "the record of a file or folder";
            FormatError::corrupt(self.what, number, expected, found)
        };
        let leaf = u32::try_from(number.wrapping_shr(16)).map_err(|_| corrupt("none"))?;
        let leaf = self.node(volume, leaf)?;
        let [low, high, ..] = number.to_le_bytes();
        let record = leaf.record(u16::from_le_bytes([low, high]))?;
        parse(&record)?.ok_or_else(|| corrupt("another"))
    }

    /// Gives the records of the leaves from the first on whose key is not less
    /// than what is wanted, until `each` has enough. `order` compares a key
    /// with what is wanted.
    pub(in crate::fs) fn from(
        &self,
        volume: &dyn ReadAt,
        order: &dyn Fn(&[u8]) -> Ordering,
        each: &mut dyn FnMut(FileResult<Record>) -> bool,
    ) -> FileResult<()> {
        if self.root == 0 {
            return Ok(());
        }
        let mut node = self.node(volume, self.root)?;
        let mut depth = 0_usize;
        while node.kind == INDEX {
            depth = depth.saturating_add(1);
            if depth > MAX_DEPTH {
                let expected = "a tree of at most 16 floors";
                return Err(FormatError::corrupt(
                    self.what,
                    node.position,
                    expected,
                    "a deeper one",
                ));
            }
            // The last whose key is less leads to where it may be. Behind one that
            // is the same there may be more, but in front of it, too: `order` may
            // look at the first part of a key only.
            let mut child = None;
            for number in 0..node.count {
                let record = node.record(number)?;
                if child.is_some() && order(record.key) != Ordering::Less {
                    break;
                }
                child = record.data.u32_be(0);
            }
            let child = child.ok_or_else(|| {
                FormatError::corrupt(self.what, node.position, "the number of a node", "none")
            })?;
            node = self.node(volume, child)?;
        }
        let (mut left, mut is_first) = (self.nodes, true);
        loop {
            for number in 0..node.count {
                let record = node.record(number);
                if record.as_ref().is_ok_and(|record| order(record.key) == Ordering::Less) {
                    // A way that leads too far to the front would have all leaves
                    // read, for every folder and file anew.
                    if is_first {
                        continue;
                    }
                    let expected = "keys that grow from leaf to leaf";
                    return Err(FormatError::corrupt(self.what, node.position, expected, "less"));
                }
                if !each(record) {
                    return Ok(());
                }
            }
            if node.next == 0 {
                return Ok(());
            }
            left = left.checked_sub(1).ok_or_else(|| {
                FormatError::corrupt(self.what, node.position, "a chain that ends", "a loop")
            })?;
            let next = self.node(volume, node.next)?;
            if next.kind != LEAF {
                let found = format!("kind {}", next.kind);
                return Err(FormatError::corrupt(self.what, next.position, "a leaf", found));
            }
            (node, is_first) = (next, false);
        }
    }
}

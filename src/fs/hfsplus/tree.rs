// SPDX-License-Identifier: MIT OR Apache-2.0
//! B-trees: the records in the leaves of one (TN1150, "B-Trees").
//!
//! Leaves are read in the order in which they are on the disk, which for an old
//! catalog is many times faster than the order of their keys. Three statements
//! then have to agree on which nodes are leaves: the map of nodes in use, the
//! nodes themselves, and the chain that leads from the first leaf to the last.

use super::file::File;
use crate::ondisk::{Fields, FormatError};

const NODE_DESCRIPTOR_LEN: usize = 14;
const KIND_LEAF: u8 = 0xff;
const KIND_INDEX: u8 = 0x00;
const KIND_HEADER: u8 = 0x01;
const KIND_MAP: u8 = 0x02;

/// Not closed properly.
const BAD_CLOSE: u32 = 1;
/// Keys have lengths of 16 bits.
const BIG_KEYS: u32 = 2;
/// Keys in index nodes are as long as they have to be.
const VARIABLE_INDEX_KEYS: u32 = 4;

/// Bytes read at a time.
const PIECE: u64 = 1 << 20;

/// The most nodes of a tree, for which 36 MiB of memory are needed. A catalog
/// of 32 GiB has as many.
const MOST_NODES: u64 = 1 << 23;

/// The link of a node that is no leaf.
const NO_LEAF: u32 = u32::MAX;

/// A B-tree: its header node, and which nodes are in use.
pub(super) struct Tree<'a> {
    file: &'a File<'a>,
    node_size: usize,
    total_nodes: u64,
    leaf_records: u64,
    pub(super) first_leaf: u32,
    last_leaf: u32,
    map: Vec<u8>,
}

/// A record of a leaf.
pub(super) struct Record<'a> {
    /// The key, without its length.
    pub(super) key: &'a [u8],
    pub(super) data: &'a [u8],
    /// Where the leaf is, for messages.
    pub(super) position: u64,
}

impl<'a> Tree<'a> {
    /// The tree in this file, which is not empty.
    pub(super) fn open(file: &'a File<'a>) -> Result<Self, FormatError> {
        let bad = |expected: &str, found: String| {
            Err(FormatError::corrupt(file.what, file.position(0), expected, found))
        };
        let head = file.read(0, 512)?;
        let word = |offset| head.u32_be(offset).unwrap_or(0);
        let half = |offset| head.u16_be(offset).unwrap_or(0);
        let kind = head.u8_at(8).unwrap_or(0);
        if kind != KIND_HEADER || word(4) != 0 || half(10) != 3 {
            return bad(
                "a header node with three records",
                format!("kind {kind}, {} records", half(10)),
            );
        }
        let node_size = usize::from(half(0x20));
        if !node_size.is_power_of_two() || !(512..=32768).contains(&node_size) {
            return bad("a node size that is a power of two", node_size.to_string());
        }
        let total_nodes = u64::from(word(0x24));
        let node_bytes = u64::try_from(node_size).unwrap_or(u64::MAX);
        if total_nodes == 0 || total_nodes.saturating_mul(node_bytes) > file.logical_size {
            return bad("as many nodes as fit into the file", total_nodes.to_string());
        }
        if total_nodes > MOST_NODES {
            let what = format!("a B-tree of {total_nodes} nodes in the {}", file.what);
            return Err(FormatError::unsupported(what));
        }
        let (kind, attributes) = (head.u8_at(0x32).unwrap_or(0xff), word(0x34));
        if attributes & BAD_CLOSE != 0 {
            let what = format!("the B-tree of the {} was not closed properly", file.what);
            return Err(FormatError::unsupported(what));
        }
        if kind != 0 || attributes & !VARIABLE_INDEX_KEYS != BIG_KEYS {
            let what = format!(
                "a B-tree of type {kind} with attributes {attributes:#x} in the {}",
                file.what
            );
            return Err(FormatError::unsupported(what));
        }
        let mut tree = Self {
            file,
            node_size,
            total_nodes,
            leaf_records: word(0x14).into(),
            first_leaf: word(0x18),
            last_leaf: word(0x1c),
            map: Vec::new(),
        };
        tree.read_map(word(0x28))?;
        Ok(tree)
    }

    /// Reads the map of nodes in use: the third record of the header node, and
    /// the nodes that follow it.
    fn read_map(&mut self, free_nodes: u32) -> Result<(), FormatError> {
        let needed = usize::try_from(self.total_nodes.div_ceil(8)).unwrap_or(usize::MAX);
        let mut number = 0_u32;
        let mut record = 2;
        loop {
            let bytes = self.read_node(number)?;
            let node = Node::parse(self, &bytes, number)?;
            if number != 0 && node.kind != KIND_MAP {
                return Err(self.corrupt(number, "a map node", format!("kind {}", node.kind)));
            }
            let part = node.record(record).unwrap_or_default();
            if part.is_empty() {
                return Err(self.corrupt(number, "a part of the map", "none"));
            }
            self.map.extend(part.iter().map(|byte| byte.reverse_bits()));
            if self.map.len() >= needed {
                break;
            }
            // Each has a part that is not empty, so this ends, loop or not.
            (number, record) = (node.next, 0);
            if number == 0 {
                return Err(self.corrupt(number, "a map of all nodes", self.map.len()));
            }
        }
        self.map.truncate(needed);
        let used = crate::fs::bitmap::ones(&self.map, self.total_nodes)
            .fold(0_u64, |sum, (start, end)| sum.saturating_add(end.saturating_sub(start)));
        let free = self.total_nodes.saturating_sub(used);
        if free != u64::from(free_nodes) {
            return Err(self.corrupt(0, &format!("{free} free nodes, as in the map"), free_nodes));
        }
        Ok(())
    }

    /// Shows every record of every leaf to `visit`.
    pub(super) fn records(
        &self,
        visit: &mut dyn FnMut(&Record) -> Result<(), FormatError>,
    ) -> Result<(), FormatError> {
        let mut links = vec![NO_LEAF; usize::try_from(self.total_nodes).unwrap_or(0)];
        let (mut leaves, mut records) = (0_u64, 0_u64);
        for (start, end) in crate::fs::bitmap::ones(&self.map, self.total_nodes) {
            let mut number = start;
            while number < end {
                let count = self.nodes_at_once().min(end.saturating_sub(number));
                let bytes = self.read_nodes(number, count)?;
                for bytes in bytes.chunks_exact(self.node_size) {
                    let node = Node::parse(self, bytes, u32::try_from(number).unwrap_or(0))?;
                    if node.kind == KIND_LEAF {
                        leaves = leaves.saturating_add(1);
                        records = records.saturating_add(u64::from(node.count));
                        let link = usize::try_from(number).ok();
                        if let Some(link) = link.and_then(|number| links.get_mut(number)) {
                            *link = node.next;
                        }
                        self.visit_leaf(&node, visit)?;
                    }
                    number = number.saturating_add(1);
                }
            }
        }
        self.check_chain(&links, leaves)?;
        if records != self.leaf_records {
            let expected = format!("{records} records, the sum of all leaves");
            return Err(self.corrupt(0, &expected, self.leaf_records));
        }
        Ok(())
    }

    /// The first record of the first leaf.
    pub(super) fn first(
        &self,
        visit: &mut dyn FnMut(&Record) -> Result<(), FormatError>,
    ) -> Result<(), FormatError> {
        let bytes = self.read_node(self.first_leaf)?;
        let node = Node::parse(self, &bytes, self.first_leaf)?;
        if node.kind != KIND_LEAF {
            return Err(self.corrupt(self.first_leaf, "a leaf", format!("kind {}", node.kind)));
        }
        self.record(&node, 0).and_then(|record| visit(&record))
    }

    fn visit_leaf(
        &self,
        node: &Node,
        visit: &mut dyn FnMut(&Record) -> Result<(), FormatError>,
    ) -> Result<(), FormatError> {
        (0..usize::from(node.count)).try_for_each(|number| visit(&self.record(node, number)?))
    }

    fn record<'n>(&self, node: &Node<'n>, number: usize) -> Result<Record<'n>, FormatError> {
        let short = || self.corrupt(node.number, "a key and data", format!("record {number}"));
        let bytes = node.record(number).ok_or_else(short)?;
        let len = usize::from(bytes.u16_be(0).ok_or_else(short)?);
        let key = bytes.bytes_at(2, len).ok_or_else(short)?;
        // Data is at an even place.
        let data = len.saturating_add(2).checked_next_multiple_of(2).and_then(|at| bytes.get(at..));
        let position = self.node_position(node.number);
        Ok(Record { key, data: data.ok_or_else(short)?, position })
    }

    /// The chain has to pass every leaf. It cannot pass one twice without going
    /// on for ever, so counting is enough.
    fn check_chain(&self, links: &[u32], leaves: u64) -> Result<(), FormatError> {
        let (mut number, mut last, mut passed) = (self.first_leaf, 0, 0_u64);
        while number != 0 {
            let link = usize::try_from(number).ok().and_then(|number| links.get(number));
            let link = link.copied().unwrap_or(NO_LEAF);
            if link == NO_LEAF {
                return Err(self.corrupt(last, "a leaf that is in use to follow", number));
            }
            passed = passed.saturating_add(1);
            if passed > leaves {
                return Err(self.corrupt(number, "a chain of leaves that ends", "a loop"));
            }
            (last, number) = (number, link);
        }
        if passed != leaves || last != self.last_leaf {
            let expected = format!("a chain of {leaves} leaves to node {}", self.last_leaf);
            return Err(self.corrupt(last, &expected, format!("{passed} to node {last}")));
        }
        Ok(())
    }

    fn nodes_at_once(&self) -> u64 {
        let size = u64::try_from(self.node_size).unwrap_or(u64::MAX);
        PIECE.checked_div(size).unwrap_or(1).max(1)
    }

    fn read_node(&self, number: u32) -> Result<Vec<u8>, FormatError> {
        self.read_nodes(number.into(), 1)
    }

    fn read_nodes(&self, number: u64, count: u64) -> Result<Vec<u8>, FormatError> {
        let size = u64::try_from(self.node_size).unwrap_or(u64::MAX);
        let len = usize::try_from(size.saturating_mul(count)).unwrap_or(usize::MAX);
        self.file.read(size.saturating_mul(number), len)
    }

    fn node_position(&self, number: u32) -> u64 {
        let size = u64::try_from(self.node_size).unwrap_or(0);
        self.file.position(size.saturating_mul(number.into()))
    }

    fn corrupt(&self, number: u32, expected: &str, found: impl ToString) -> FormatError {
        let found = format!("{} in node {number}", found.to_string());
        FormatError::corrupt(self.file.what, self.node_position(number), expected, found)
    }
}

/// A node: its descriptor, and where its records are.
struct Node<'a> {
    number: u32,
    bytes: &'a [u8],
    next: u32,
    kind: u8,
    count: u16,
}

impl<'a> Node<'a> {
    fn parse(tree: &Tree, bytes: &'a [u8], number: u32) -> Result<Self, FormatError> {
        let node = Self {
            number,
            bytes,
            next: bytes.u32_be(0).unwrap_or(0),
            kind: bytes.u8_at(8).unwrap_or(0),
            count: bytes.u16_be(10).unwrap_or(0),
        };
        let is_known = match node.kind {
            KIND_HEADER => number == 0,
            KIND_LEAF | KIND_INDEX | KIND_MAP => number != 0,
            _ => false,
        };
        if !is_known || node.count == 0 {
            let found = format!("kind {} with {} records", node.kind, node.count);
            return Err(tree.corrupt(number, "a node in use with records", found));
        }
        // The table of offsets grows from the end of the node towards them.
        let table = usize::from(node.count).saturating_add(1).saturating_mul(2);
        let end = bytes.len().saturating_sub(table);
        let mut last = NODE_DESCRIPTOR_LEN;
        for slot in 0..=usize::from(node.count) {
            let offset = node.offset(slot).unwrap_or(0);
            let is_first = slot == 0;
            if offset > end || (is_first && offset != last) || (!is_first && offset <= last) {
                let expected = format!("record {slot} at {last} to {end}");
                return Err(tree.corrupt(number, &expected, offset));
            }
            last = offset;
        }
        Ok(node)
    }

    fn offset(&self, slot: usize) -> Option<usize> {
        let back = slot.checked_add(1)?.checked_mul(2)?;
        Some(self.bytes.u16_be(self.bytes.len().checked_sub(back)?)?.into())
    }

    fn record(&self, number: usize) -> Option<&'a [u8]> {
        if number >= usize::from(self.count) {
            return None;
        }
        self.bytes.get(self.offset(number)?..self.offset(number.checked_add(1)?)?)
    }
}

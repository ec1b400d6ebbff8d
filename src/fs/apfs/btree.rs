// SPDX-License-Identifier: MIT OR Apache-2.0
//! B-trees: walking all nodes of one, each node once, down to the leaves.
//!
//! A tree names the number of its nodes and keys in its root. That number, and
//! levels that go down by one, bound the walk of a tree that has a loop.

use super::checkpoint::Checkpoint;
use super::object::{Blocks, PHYSICAL, VIRTUAL, checked, expect, kind};
use crate::ondisk::{Fields, FormatError};

/// Trees of more levels would hold more keys than there are blocks.
const MAX_LEVELS: u16 = 12;
/// `btree_node_phys_t` up to `btn_data`.
const NODE_HEADER: usize = 0x38;
/// `btree_info_t`, at the end of a root.
const INFO_LEN: usize = 0x28;
/// `BTOFF_INVALID`: a key without a value.
const NO_VALUE: u16 = 0xffff;

mod flags {
    pub(super) const ROOT: u16 = 0x01;
    pub(super) const LEAF: u16 = 0x02;
    pub(super) const FIXED: u16 = 0x04;
}

/// Where the nodes of a tree are.
#[derive(Clone, Copy)]
pub(super) enum Storage<'a> {
    /// A node's identifier is its block.
    Physical,
    /// Nodes are objects of the checkpoint.
    Ephemeral(&'a Checkpoint),
    /// Nodes are objects whose blocks this tells.
    Virtual(&'a dyn Fn(u64) -> Result<u64, FormatError>),
}

/// A tree to walk.
#[derive(Clone, Copy)]
pub(super) struct Tree<'a> {
    pub(super) what: &'static str,
    pub(super) blocks: Blocks<'a>,
    pub(super) storage: Storage<'a>,
    pub(super) subtype: u32,
    /// The length of keys and values, where all are alike.
    pub(super) fixed: Option<(usize, usize)>,
    /// The newest transaction.
    pub(super) xid: u64,
}

/// What is met on a walk.
pub(super) trait Visitor {
    /// A physical node; false ends the walk before its time.
    fn node(&mut self, block: u64) -> Result<bool, FormatError>;

    /// A key and its value, if it has one, of a leaf at this position.
    fn leaf(&mut self, position: u64, key: &[u8], value: Option<&[u8]>) -> Result<(), FormatError>;
}

/// A node, as far as its header goes.
#[derive(Debug)]
pub(super) struct Node {
    /// Where it is on the volume.
    pub(super) position: u64,
    bytes: Vec<u8>,
    flags: u16,
    pub(super) level: u16,
    /// How many keys it has.
    pub(super) count: u64,
    /// Where the table of contents, the keys and the end of the values are.
    table: usize,
    keys: usize,
    values: usize,
}

impl Tree<'_> {
    /// Walks the tree with this root.
    pub(super) fn walk(&self, root: u64, visitor: &mut dyn Visitor) -> Result<(), FormatError> {
        let mut waiting = vec![(root, None)];
        let (mut nodes, mut keys) = (0_u64, 0_u64);
        let mut told = None;
        while let Some((oid, level)) = waiting.pop() {
            if matches!(self.storage, Storage::Physical) && !visitor.node(oid)? {
                return Ok(());
            }
            let node = self.node(oid, level)?;
            nodes = nodes.saturating_add(1);
            let (most_keys, most_nodes) = match told {
                Some(told) => told,
                None => *told.insert(node.info().ok_or_else(|| node.damaged(self.what))?),
            };
            if nodes > most_nodes {
                return Err(FormatError::corrupt(
                    self.what,
                    node.position,
                    format!("{most_nodes} nodes"),
                    "more, or a loop",
                ));
            }
            for index in 0..node.count {
                let (key, value) =
                    self.entry(&node, index).ok_or_else(|| node.damaged(self.what))?;
                if let Some(below) = node.level.checked_sub(1) {
                    let child = value.and_then(|value| value.u64_le(0));
                    let child = child.ok_or_else(|| node.damaged(self.what))?;
                    waiting.push((child, Some(below)));
                } else {
                    keys = keys.saturating_add(1);
                    visitor.leaf(node.position, key, value)?;
                }
            }
            if waiting.is_empty() && (nodes, keys) != (most_nodes, most_keys) {
                return Err(FormatError::corrupt(
                    self.what,
                    node.position,
                    format!("{most_nodes} nodes and {most_keys} keys as in the root"),
                    format!("{nodes} nodes and {keys} keys"),
                ));
            }
        }
        Ok(())
    }

    /// A node of this level; of any level if it is the root.
    pub(super) fn node(&self, oid: u64, level: Option<u16>) -> Result<Node, FormatError> {
        let kind = if level.is_none() { kind::BTREE } else { kind::BTREE_NODE };
        let (position, bytes) = match self.storage {
            Storage::Physical => {
                let (_, bytes) =
                    self.blocks.physical(self.what, oid, (kind, self.subtype), self.xid)?;
                (self.blocks.position(oid), bytes)
            }
            Storage::Ephemeral(checkpoint) => {
                let object = checkpoint.get(self.what, oid, kind, self.subtype)?;
                (object.position, object.bytes.clone())
            }
            Storage::Virtual(block_of) => {
                let block = block_of(oid)?;
                let (position, bytes) =
                    (self.blocks.position(block), self.blocks.read(self.what, block)?);
                let header = checked(self.what, position, &bytes)?;
                expect(self.what, position, &header, (VIRTUAL | kind, self.subtype), oid)?;
                (position, bytes)
            }
        };
        let damaged = || FormatError::corrupt(self.what, position, "a node of a tree", "none");
        let mut node = Node::parse(position, bytes).ok_or_else(damaged)?;
        let is_root = node.flags & flags::ROOT != 0;
        let is_leaf = node.flags & flags::LEAF != 0;
        let is_fixed = node.flags & flags::FIXED != 0;
        let known = flags::ROOT | flags::LEAF | flags::FIXED;
        if node.flags & !known != 0
            || is_root != level.is_none()
            || is_leaf != (node.level == 0)
            || is_fixed != self.fixed.is_some()
            || level.is_some_and(|level| level != node.level)
            || node.level >= MAX_LEVELS
            // Only an empty tree has an empty node.
            || (node.count == 0 && !(is_root && is_leaf))
        {
            return Err(FormatError::corrupt(
                self.what,
                position,
                format!("a node of level {level:?} with known flags"),
                format!("level {}, flags {:#x}, {} keys", node.level, node.flags, node.count),
            ));
        }
        if is_root {
            node.values = node.values.checked_sub(INFO_LEN).ok_or_else(damaged)?;
            // bt_flags: the tree says itself where its nodes are.
            let is_physical = matches!(self.storage, Storage::Physical);
            if (node.bytes.u32_le(node.values).unwrap_or(0) & 0x10 != 0) != is_physical {
                return Err(damaged());
            }
        }
        Ok(node)
    }

    /// A key of a node, and its value if it has one.
    pub(super) fn entry<'n>(
        &self,
        node: &'n Node,
        index: u64,
    ) -> Option<(&'n [u8], Option<&'n [u8]>)> {
        let index = usize::try_from(index).ok()?;
        let table = node.bytes.get(node.table..node.keys)?;
        let ((key, key_len), (value, value_len)) = if let Some((key_len, value_len)) = self.fixed {
            let at = index.checked_mul(4)?;
            // The value of a node that is no leaf is another node.
            let value_len = if node.level == 0 { value_len } else { 8 };
            ((table.u16_le(at)?, key_len), (table.u16_le(at.checked_add(2)?)?, value_len))
        } else {
            let at = index.checked_mul(8)?;
            let field = |offset: usize| table.u16_le(at.checked_add(offset)?);
            ((field(0)?, usize::from(field(2)?)), (field(4)?, usize::from(field(6)?)))
        };
        let key = node.bytes.get(node.keys..node.values)?.bytes_at(usize::from(key), key_len)?;
        if value == NO_VALUE {
            return Some((key, None));
        }
        let value = node.values.checked_sub(usize::from(value)).filter(|at| *at >= node.keys)?;
        let value = node.bytes.get(..node.values)?.bytes_at(value, value_len)?;
        Some((key, Some(value)))
    }
}

impl Node {
    /// Bytes of memory that it takes.
    pub(super) const fn weight(&self) -> usize {
        self.bytes.len().saturating_add(size_of::<Self>())
    }

    fn parse(position: u64, bytes: Vec<u8>) -> Option<Self> {
        let table = NODE_HEADER.checked_add(usize::from(bytes.u16_le(0x28)?))?;
        let keys = table.checked_add(usize::from(bytes.u16_le(0x2a)?))?;
        Some(Self {
            position,
            flags: bytes.u16_le(0x20)?,
            level: bytes.u16_le(0x22)?,
            count: u64::from(bytes.u32_le(0x24)?),
            table,
            keys,
            values: bytes.len(),
            bytes,
        })
    }

    /// The numbers of keys and of nodes of the whole tree.
    pub(super) fn info(&self) -> Option<(u64, u64)> {
        let at = |offset: usize| self.bytes.u64_le(self.values.checked_add(offset)?);
        Some((at(0x18)?, at(0x20)?))
    }

    pub(super) fn damaged(&self, what: &'static str) -> FormatError {
        FormatError::corrupt(what, self.position, "keys and values inside of the node", "others")
    }
}

/// The type of the root of a physical tree, as superblocks note it.
pub(super) const PHYSICAL_TREE: u32 = PHYSICAL | kind::BTREE;

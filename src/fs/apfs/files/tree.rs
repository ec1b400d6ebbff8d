// SPDX-License-Identifier: MIT OR Apache-2.0
//! Searching trees: from the root downwards, each node read once and kept.

use std::cmp::Ordering;
use std::sync::Arc;

use super::super::btree::{Node, Tree};
use crate::fs::cache::Cache;
use crate::fs::files::FileResult;
use crate::ondisk::{Fields, FormatError};

/// The nodes of all trees that were read: by the tree, the object, and the level
/// that its parent gives it.
pub(super) type Nodes = Cache<(u64, u64, Option<u16>), Arc<Node>>;

/// A tree to search.
pub(super) struct Search<'a> {
    pub(super) tree: Tree<'a>,
    pub(super) root: u64,
    pub(super) nodes: &'a Nodes,
    /// Tells the tree apart from others among the nodes.
    pub(super) number: u64,
}

/// A key and its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
    /// Where its node is, for messages.
    pub(super) position: u64,
}

impl Search<'_> {
    fn node(&self, oid: u64, level: Option<u16>) -> FileResult<Arc<Node>> {
        self.nodes.get((self.number, oid, level), || {
            let node = self.tree.node(oid, level)?;
            let weight = node.weight();
            Ok((Arc::new(node), weight))
        })
    }

    fn record<'n>(&self, node: &'n Node, index: u64) -> FileResult<Record<'n>> {
        let entry = self.tree.entry(node, index);
        let (key, value) = entry.ok_or_else(|| node.damaged(self.tree.what))?;
        Ok(Record { key, value: value.unwrap_or_default(), position: node.position })
    }

    fn child(&self, node: &Node, index: u64) -> FileResult<Arc<Node>> {
        let oid = self.record(node, index)?.value.u64_le(0);
        let oid = oid.ok_or_else(|| node.damaged(self.tree.what))?;
        self.node(oid, Some(node.level.saturating_sub(1)))
    }

    /// How many of the keys of a node are before a place.
    fn count(
        &self,
        node: &Node,
        order: &dyn Fn(&[u8]) -> Ordering,
        is_before: fn(Ordering) -> bool,
    ) -> FileResult<u64> {
        let (mut low, mut high) = (0, node.count);
        while low < high {
            let middle = low.midpoint(high);
            if is_before(order(self.record(node, middle)?.key)) {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Passes the last record whose key is at or before what is wanted; `order`
    /// compares a key with that.
    pub(super) fn last<T>(
        &self,
        order: &dyn Fn(&[u8]) -> Ordering,
        take: impl FnOnce(Record) -> T,
    ) -> FileResult<Option<T>> {
        let mut node = self.node(self.root, None)?;
        loop {
            let count = self.count(&node, order, Ordering::is_le)?;
            let Some(index) = count.checked_sub(1) else { return Ok(None) };
            if node.level == 0 {
                return Ok(Some(take(self.record(&node, index)?)));
            }
            node = self.child(&node, index)?;
        }
    }

    /// Gives the records from the first one on that is what is wanted or behind
    /// it, until `each` has enough.
    pub(super) fn from(
        &self,
        order: &dyn Fn(&[u8]) -> Ordering,
        each: &mut dyn FnMut(Record) -> FileResult<bool>,
    ) -> FileResult<()> {
        let mut node = self.node(self.root, None)?;
        // Bounds the walk of a tree that has a node twice.
        let most = node.info().map_or(0, |(_, nodes)| nodes).min(self.tree.blocks.count);
        let mut left = most;
        let mut stack: Vec<(Arc<Node>, u64)> = Vec::new();
        loop {
            let count = self.count(&node, order, Ordering::is_lt)?;
            if node.level == 0 {
                stack.push((node, count));
                break;
            }
            // The last child that begins before it may have it, too.
            let index = count.saturating_sub(1);
            let child = self.child(&node, index)?;
            stack.push((node, index.saturating_add(1)));
            node = child;
        }
        while let Some((node, next)) = stack.last_mut() {
            let index = *next;
            if index >= node.count {
                stack.pop();
                continue;
            }
            *next = index.saturating_add(1);
            if node.level == 0 {
                if !each(self.record(node, index)?)? {
                    return Ok(());
                }
                continue;
            }
            left = left.checked_sub(1).ok_or_else(|| {
                let expected = format!("{most} nodes");
                let (what, position) = (self.tree.what, node.position);
                FormatError::corrupt(what, position, expected, "more, or a loop")
            })?;
            let child = self.child(node, index)?;
            stack.push((child, 0));
        }
        Ok(())
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The numbers by which the kernel knows what it was shown.
//!
//! They are made from the number that the filesystem in the image has for the
//! thing, so that nothing has to be kept for hundreds of thousands of files:
//! the lower 48 bits are that number, the upper 16 say which tree of which
//! volume. What does not fit is kept in a list.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use crate::fs::files::Node;

/// The folder itself.
pub(super) const ROOT: u64 = 1;
/// Its folder `files`.
pub(super) const FILES: u64 = 2;
/// The first `.img`.
const FIRST_IMAGE: u64 = 16;

const NUMBER_BITS: u32 = 48;
const MAX_NUMBER: u64 = (1 << NUMBER_BITS) - 1;
/// The tree of what does not fit.
const LISTED: u64 = 0xffff;
/// How many nodes are kept in the list.
const MAX_LISTED: usize = 1 << 20;

/// What the kernel asks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The folder itself.
    Root,
    /// Its folder `files`.
    Files,
    /// An `.img`, by its position.
    Image(usize),
    /// A node of a volume, by the volume's position.
    Node(usize, Node),
}

/// The numbers that were given.
#[derive(Debug, Default)]
pub(super) struct Inodes {
    trees: RwLock<Numbered<(usize, u64)>>,
    listed: RwLock<Numbered<(usize, Node)>>,
}

#[derive(Debug)]
struct Numbered<T> {
    items: Vec<T>,
    numbers: HashMap<T, u64>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { items: Vec::new(), numbers: HashMap::new() }
    }
}

impl<T: Copy + Eq + std::hash::Hash> Numbered<T> {
    /// The number of an item, from 0; `None` if there are `most` already.
    fn number(this: &RwLock<Self>, item: T, most: usize) -> Option<u64> {
        let read = this.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = read.numbers.get(&item) {
            return Some(*number);
        }
        drop(read);
        let mut write = this.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = write.numbers.get(&item) {
            return Some(*number);
        }
        if write.items.len() >= most {
            return None;
        }
        let number = u64::try_from(write.items.len()).ok()?;
        write.items.push(item);
        write.numbers.insert(item, number);
        Some(number)
    }

    fn item(this: &RwLock<Self>, number: u64) -> Option<T> {
        let read = this.read().unwrap_or_else(PoisonError::into_inner);
        read.items.get(usize::try_from(number).ok()?).copied()
    }
}

/// The number of an `.img`.
pub(super) fn of_image(index: usize) -> u64 {
    FIRST_IMAGE.saturating_add(u64::try_from(index).unwrap_or(MAX_NUMBER))
}

impl Inodes {
    /// The number of a node; `None` if a hostile filesystem used all of them up.
    pub(super) fn of_node(&self, volume: usize, node: Node) -> Option<u64> {
        if node.number <= MAX_NUMBER {
            // Trees count from 1: 0 is our own.
            let most = usize::try_from(LISTED).unwrap_or(usize::MAX) - 1;
            if let Some(tree) = Numbered::number(&self.trees, (volume, node.tree), most) {
                return Some(((tree + 1) << NUMBER_BITS) | node.number);
            }
        }
        let number = Numbered::number(&self.listed, (volume, node), MAX_LISTED)?;
        Some((LISTED << NUMBER_BITS) | number)
    }

    /// What has a number; `None` if it was never given.
    pub(super) fn place(&self, number: u64) -> Option<Place> {
        let low = number & MAX_NUMBER;
        match (number >> NUMBER_BITS, number) {
            (0, ROOT) => Some(Place::Root),
            (0, FILES) => Some(Place::Files),
            (0, _) => Some(Place::Image(usize::try_from(low.checked_sub(FIRST_IMAGE)?).ok()?)),
            (LISTED, _) => {
                let (volume, node) = Numbered::item(&self.listed, low)?;
                Some(Place::Node(volume, node))
            }
            (tree, _) => {
                let (volume, tree) = Numbered::item(&self.trees, tree - 1)?;
                Some(Place::Node(volume, Node { tree, number: low }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_one_number_and_gets_back_from_it() {
        let inodes = Inodes::default();
        let nodes = [
            (0, Node::new(0)),
            (0, Node::new(2)),
            (1, Node::new(2)),
            (1, Node::new(MAX_NUMBER)),
            (1, Node::new(MAX_NUMBER + 1)),
            (1, Node::new(u64::MAX)),
            (1, Node { tree: 256, number: 2 }),
            (1, Node { tree: u64::MAX, number: u64::MAX }),
        ];
        let numbers: Vec<u64> =
            nodes.iter().map(|(volume, node)| inodes.of_node(*volume, *node).unwrap()).collect();
        for (number, (volume, node)) in numbers.iter().zip(nodes) {
            assert_eq!(inodes.place(*number), Some(Place::Node(volume, node)));
            assert_eq!(inodes.of_node(volume, node), Some(*number));
            assert_eq!(numbers.iter().filter(|it| *it == number).count(), 1);
        }
        assert_eq!(inodes.place(of_image(3)), Some(Place::Image(3)));
        assert_eq!(inodes.place(ROOT), Some(Place::Root));
        for unknown in [0, 3, 77 << NUMBER_BITS, u64::MAX] {
            assert_eq!(inodes.place(unknown), None, "{unknown:#x}");
        }
    }

    #[test]
    fn more_trees_than_bits_are_listed() {
        let inodes = Inodes::default();
        for tree in 0..70_000 {
            let node = Node { tree, number: 256 };
            let number = inodes.of_node(0, node).unwrap();
            assert_eq!(inodes.place(number), Some(Place::Node(0, node)));
        }
    }
}

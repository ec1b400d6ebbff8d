// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two trees of a volume: the extents overflow file and the catalog.

use super::MasterDirectoryBlock;
use super::fork::{DATA, Fork};
use super::master_directory_block::POSITION;
use super::tree::{Keys, Tree};
use crate::fs::budget::{Budget, Part};
use crate::fs::files::{FileResult, Node};
use crate::io::ReadAt;

/// The number of the catalog, which is one of a file.
pub(super) const CATALOG: u32 = 4;

/// The longest keys of both trees, without their length.
const EXTENT_KEY: usize = 7;
const CATALOG_KEY: usize = 37;

/// The trees.
pub(super) struct Trees {
    pub(super) extents: Tree,
    pub(super) catalog: Tree,
    /// What is left to be spent on reading them.
    pub(super) budget: Budget,
}

impl Trees {
    pub(super) fn open(volume: &dyn ReadAt, block: &MasterDirectoryBlock) -> FileResult<Self> {
        let tree = |what, fork: Fork, overflow, longest| {
            let pieces = fork.pieces(block, POSITION, overflow, (CATALOG, DATA))?;
            Tree::open(volume, what, pieces, fork.len.into(), Keys::Short(longest))
        };
        // Where the rest of the overflow file is it cannot say itself.
        let extents = tree("extents overflow file", block.overflow, None, EXTENT_KEY)?;
        let budget = Budget::new(volume.len());
        let mut spending = budget.begin(Part::Places, Node::new(0), 0);
        let overflow = Some((&extents, volume, &mut spending));
        let catalog = tree("catalog file", block.catalog, overflow, CATALOG_KEY)?;
        drop(spending);
        Ok(Self { extents, catalog, budget })
    }
}

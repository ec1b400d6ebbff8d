// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ranges on their way to a used map, in bounded memory.

use crate::extent::{Extent, ExtentSet};

/// Collects used ranges in ascending order, in bounded memory.
///
/// When a map has become too fragmented, the smallest free ranges count as
/// used: a map may always claim more than is in use, and nobody gains from
/// skipping a few blocks at a time.
#[derive(Debug)]
pub(super) struct Runs {
    set: ExtentSet,
    most: usize,
    /// Free ranges shorter than this count as used.
    shortest_hole: u64,
}

/// 16 MiB of ranges.
const MAX_EXTENTS: usize = 1 << 20;

impl Runs {
    pub(super) const fn new() -> Self {
        Self::at_most(MAX_EXTENTS)
    }

    /// With so many ranges before holes are given up.
    pub(super) const fn at_most(most: usize) -> Self {
        Self { set: ExtentSet::new(), most, shortest_hole: 0 }
    }

    /// Adds a range that starts behind all others, or inside the last.
    pub(super) fn push(&mut self, extent: Extent) {
        if extent.is_empty() {
            return;
        }
        self.join(extent);
        while self.set.count() > self.most.max(1) {
            self.shortest_hole = self.shortest_hole.saturating_mul(2).max(4096);
            for extent in std::mem::take(&mut self.set).iter() {
                self.join(extent);
            }
        }
    }

    fn join(&mut self, extent: Extent) {
        let end = self.set.end();
        let hole = extent.start().saturating_sub(end);
        let start =
            if hole < self.shortest_hole { extent.start().min(end) } else { extent.start() };
        self.set.insert(Extent::new(start, extent.end()));
    }

    /// The collected ranges.
    pub(super) fn into_set(self) -> ExtentSet {
        self.set
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "test numbers")]

    use super::*;

    #[test]
    fn a_fragmented_map_gives_up_its_smallest_holes_first() {
        let mut runs = Runs::new();
        let mut used = ExtentSet::new();
        for index in 0..MAX_EXTENTS as u64 + 10 {
            // Holes of 4 KiB, and every 1024th of 1 MiB.
            let start = index * 8192 + (index >> 10 << 20);
            runs.push(Extent::at(start, 4096));
            used.insert(Extent::at(start, 4096));
        }
        let set = runs.into_set();
        assert_eq!(used.subtract(&set), ExtentSet::new());
        assert!(set.count() <= 1026, "{}", set.count());
        assert!(set.holes_within(Extent::new(0, set.end())).all(|hole| hole.len() > 1 << 20));
        assert_eq!(set.count() - 1, set.holes_within(Extent::new(0, set.end())).count());
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What became of each byte of a drive.

use std::collections::BTreeMap;

use super::mapfile::{Block, Status};
use crate::extent::{Extent, ExtentSet};

/// The status of each byte of a drive. Those of its *domain* are to be read;
/// what is known of all others is only kept.
#[derive(Debug, Clone)]
pub struct Blocks {
    /// Blocks of the domain by their start: end and status. Those that touch
    /// have different ones.
    map: BTreeMap<u64, (u64, Status)>,
    outside: Vec<Block>,
    bytes: [u64; 5],
}

impl Blocks {
    /// A drive of `len` bytes of which this is known; all else was not tried. All
    /// of it is its domain.
    #[must_use]
    pub fn new(len: u64, known: &[Block]) -> Self {
        let mut blocks = Self { map: BTreeMap::new(), outside: Vec::new(), bytes: [0; 5] };
        let whole = Extent::new(0, len);
        blocks.add(whole, Status::NonTried);
        for block in known {
            blocks.set(block.extent.intersect(&whole), block.status);
        }
        blocks
    }

    /// The same with another domain.
    #[must_use]
    pub fn with_domain(self, domain: &ExtentSet) -> Self {
        let mut blocks = Self { map: BTreeMap::new(), outside: Vec::new(), bytes: [0; 5] };
        for Block { extent, status } in self.all() {
            domain.within(extent).for_each(|part| blocks.add(part, status));
            let outside = domain.holes_within(extent);
            blocks.outside.extend(outside.map(|extent| Block { extent, status }));
        }
        blocks
    }

    /// All blocks in ascending order, those outside of the domain included.
    #[must_use]
    pub fn all(&self) -> Vec<Block> {
        let inside = self.map.iter().map(|(start, (end, status))| Block {
            extent: Extent::new(*start, *end),
            status: *status,
        });
        let mut all: Vec<Block> = inside.chain(self.outside.iter().copied()).collect();
        all.sort_unstable_by_key(|block| block.extent);
        all
    }

    /// How many bytes of the domain have a status.
    #[must_use]
    pub const fn bytes(&self, status: Status) -> u64 {
        self.bytes[status as usize]
    }

    /// How many bytes the domain has.
    #[must_use]
    pub fn domain_bytes(&self) -> u64 {
        self.bytes.iter().sum()
    }

    /// The bytes of the domain with a status.
    #[must_use]
    pub fn of(&self, status: Status) -> ExtentSet {
        let blocks = self.map.iter().filter(|(_, (_, it))| *it == status);
        blocks.map(|(start, (end, _))| Extent::new(*start, *end)).collect()
    }

    /// All bytes that are there, in the domain or not.
    #[must_use]
    pub fn finished(&self) -> ExtentSet {
        let outside = self.outside.iter().filter(|block| block.status == Status::Finished);
        self.of(Status::Finished).union(&outside.map(|block| block.extent).collect())
    }

    /// The status of a byte of the domain.
    #[must_use]
    pub fn status_at(&self, offset: u64) -> Option<Status> {
        let (_, (end, status)) = self.map.range(..=offset).next_back()?;
        (offset < *end).then_some(*status)
    }

    /// The blocks of the domain in a range, cut at its ends.
    pub fn within(&self, range: Extent) -> impl Iterator<Item = Block> + '_ {
        let before = self.map.range(..range.start()).next_back();
        before.into_iter().chain(self.map.range(range.start()..range.end())).filter_map(
            move |(start, (end, status))| {
                let extent = Extent::new(*start, *end).intersect(&range);
                (!extent.is_empty()).then_some(Block { extent, status: *status })
            },
        )
    }

    /// The first block with a status that ends behind `from`, cut there.
    #[must_use]
    pub fn first_from(&self, status: Status, from: u64) -> Option<Extent> {
        let mut blocks = self.within(Extent::new(from, u64::MAX));
        blocks.find(|block| block.status == status).map(|block| block.extent)
    }

    /// The last block with a status that begins in front of `before`, cut there.
    #[must_use]
    pub fn last_before(&self, status: Status, before: u64) -> Option<Extent> {
        let mut blocks = self.map.range(..before).rev();
        let (start, (end, _)) = blocks.find(|(_, (_, it))| *it == status)?;
        Some(Extent::new(*start, (*end).min(before)))
    }

    /// Gives the bytes of the domain in a range another status.
    pub fn set(&mut self, range: Extent, status: Status) {
        if range.is_empty() {
            return;
        }
        for at in [range.start(), range.end()] {
            self.split(at);
        }
        let inside: Vec<Block> = self.within(range).collect();
        // All are taken out first: adding joins what is there.
        for Block { extent, status } in &inside {
            self.map.remove(&extent.start());
            self.bytes[*status as usize] -= extent.len();
        }
        inside.into_iter().for_each(|block| self.add(block.extent, status));
    }

    fn split(&mut self, at: u64) {
        let Some((_, block)) = self.map.range_mut(..at).next_back() else { return };
        let (end, status) = *block;
        if at < end {
            block.0 = at;
            self.map.insert(at, (end, status));
        }
    }

    /// Adds bytes that are in no block, joined to their neighbours.
    fn add(&mut self, extent: Extent, status: Status) {
        if extent.is_empty() {
            return;
        }
        self.bytes[status as usize] += extent.len();
        let (mut start, mut end) = (extent.start(), extent.end());
        if let Some((before, (its_end, its))) = self.map.range(..start).next_back()
            && *its_end == start
            && *its == status
        {
            start = *before;
        }
        if let Some((next_end, next)) = self.map.get(&end).copied()
            && next == status
        {
            self.map.remove(&end);
            end = next_end;
        }
        self.map.insert(start, (end, status));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_set_anywhere_as_in_a_plain_list() {
        const LEN: u64 = 200;
        let domain: ExtentSet =
            [Extent::new(3, 70), Extent::new(75, 76), Extent::new(90, 200)].into_iter().collect();
        let known = [Block { extent: Extent::new(60, 100), status: Status::Bad }];
        let mut blocks = Blocks::new(LEN, &known).with_domain(&domain);
        let mut plain: Vec<Status> = (0..LEN)
            .map(|at| if (60..100).contains(&at) { Status::Bad } else { Status::NonTried })
            .collect();
        let mut state = 7_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for _ in 0..2000 {
            let start = random(LEN);
            let range = Extent::at(start, random(20));
            let status = Status::ALL[random(5) as usize];
            blocks.set(range, status);
            for at in range.start()..range.end().min(LEN) {
                if domain.touches(Extent::at(at, 1)) {
                    plain[at as usize] = status;
                }
            }
            let all = blocks.all();
            let mut end = 0;
            for block in &all {
                assert_eq!(block.extent.start(), end);
                end = block.extent.end();
                assert!((block.extent.start()..end).all(|at| plain[at as usize] == block.status));
            }
            assert_eq!(end, LEN);
            for status in Status::ALL {
                assert_eq!(blocks.bytes(status), blocks.of(status).bytes());
                let at = random(LEN);
                let first = blocks.first_from(status, at);
                let wanted = (at..LEN).find(|it| blocks.status_at(*it) == Some(status));
                assert_eq!(first.map(|it| it.start()), wanted);
                let last = blocks.last_before(status, at);
                let wanted = (0..at).rev().find(|it| blocks.status_at(*it) == Some(status));
                assert_eq!(last.map(|it| it.end() - 1), wanted);
            }
        }
        assert_eq!(blocks.domain_bytes(), domain.bytes());
    }
}

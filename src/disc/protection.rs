// SPDX-License-Identifier: MIT OR Apache-2.0
//! Unreadable sectors that somebody may have made on purpose.
//!
//! SafeDisc, early SecuROM, LaserLock and others press discs with a ring of
//! single bad sectors; the program asks for them, and knows by the errors that
//! it has the disc. A scratch that runs around the disc looks alike, so that
//! this is only ever a suspicion.

use super::volume::SECTOR;
use crate::extent::{Extent, ExtentSet};

/// Fewer ranges are a scratch or dirt.
const LEAST_RANGES: usize = 32;
/// Longer ranges are none of a ring, in sectors.
const MOST_IN_RANGE: u64 = 4;
/// What may lie between two of a ring, in sectors.
const MOST_BETWEEN: u64 = 400;
/// Rings are this wide at most, in sectors: 47 MB.
const MOST_WIDTH: u64 = 24_000;

/// What the pattern of unreadable sectors looks like, in words; None if there is
/// nothing to it.
#[must_use]
pub fn suspicion(lost: &ExtentSet) -> Option<String> {
    let single: Vec<Extent> = lost.iter().filter(|it| it.len() <= MOST_IN_RANGE * SECTOR).collect();
    let is_mostly_single = single.len() * 10 >= lost.count() * 9;
    if single.len() < LEAST_RANGES || !is_mostly_single {
        return None;
    }
    let (first, last) = (single.first()?, single.last()?);
    let near = single
        .windows(2)
        .filter(|pair| pair[1].start() - pair[0].end() <= MOST_BETWEEN * SECTOR)
        .count();
    let width = (last.end() - first.start()) / SECTOR;
    let is_ring = near * 10 >= (single.len() - 1) * 9 && width <= MOST_WIDTH;
    is_ring.then(|| {
        format!(
            "{} single sectors between sector {} and {} cannot be read, spread evenly: so do \
             copy-protected discs look (SafeDisc, SecuROM, LaserLock), and scratches that run \
             around a disc. If it is protection, the file is as complete as it can be, but the \
             program may insist on the disc itself",
            single.len(),
            first.start() / SECTOR,
            last.end() / SECTOR - 1
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(sectors: impl IntoIterator<Item = (u64, u64)>) -> ExtentSet {
        let ranges = sectors.into_iter();
        ranges.map(|(first, count)| Extent::at(first * SECTOR, count * SECTOR)).collect()
    }

    #[test]
    fn a_ring_of_single_sectors_is_suspicious() {
        let ring = lost((0..500).map(|n| (800 + n * 17 + n % 5, 1)));
        let text = suspicion(&ring).unwrap();
        assert!(text.contains("500 single sectors between sector 800 and"), "{text}");
        // Dirt in another place does not hide it.
        let with_dirt = ring.union(&lost([(200_000, 900)]));
        assert!(suspicion(&with_dirt).is_some());
    }

    #[test]
    fn dirt_and_scratches_are_none() {
        assert_eq!(suspicion(&lost([])), None);
        assert_eq!(suspicion(&lost([(100, 5000)])), None);
        assert_eq!(suspicion(&lost((0..20).map(|n| (n * 17, 1)))), None);
        assert_eq!(suspicion(&lost((0..200).map(|n| (n * 1700, 1)))), None);
        assert_eq!(suspicion(&lost((0..200).map(|n| (n * 40, 20)))), None);
    }
}

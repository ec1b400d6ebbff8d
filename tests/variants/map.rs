// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sorted byte ranges, and the ddrescue mapfiles they come from. Written anew
//! here: the judge of a used map does not use the program's own extents.

use std::fmt::Write as _;

/// Sorted ranges (start, length) that neither touch nor overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranges(pub Vec<(u64, u64)>);

impl Ranges {
    /// Any ranges, sorted and merged.
    pub fn new(mut ranges: Vec<(u64, u64)>) -> Self {
        ranges.retain(|range| range.1 > 0);
        ranges.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
        for (start, length) in ranges {
            match merged.last_mut() {
                Some(last) if last.0 + last.1 >= start => {
                    last.1 = last.1.max(start + length - last.0);
                }
                _ => merged.push((start, length)),
            }
        }
        Self(merged)
    }

    /// How many bytes they hold.
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|range| range.1).sum()
    }

    /// What lies in `0..length` and not in them.
    pub fn holes(&self, length: u64) -> Self {
        let mut holes = Vec::new();
        let mut at = 0;
        for &(start, len) in &self.0 {
            if start > at {
                holes.push((at, start.min(length) - at));
            }
            at = at.max(start + len);
            if at >= length {
                break;
            }
        }
        if at < length {
            holes.push((at, length - at));
        }
        Self(holes)
    }

    /// What is in them and not in `other`.
    pub fn without(&self, other: &Self) -> Self {
        let end = self.0.last().map_or(0, |last| last.0 + last.1);
        let mut left = Vec::new();
        let outside = other.holes(end);
        let mut candidates = outside.0.iter().peekable();
        for &(start, length) in &self.0 {
            while candidates.peek().is_some_and(|hole| hole.0 + hole.1 <= start) {
                candidates.next();
            }
            for hole in candidates.clone() {
                if hole.0 >= start + length {
                    break;
                }
                let first = hole.0.max(start);
                left.push((first, (hole.0 + hole.1).min(start + length) - first));
            }
        }
        Self::new(left)
    }

    /// The first few, for messages.
    pub fn sample(&self) -> String {
        let mut text = format!("{} bytes in {} ranges:", self.bytes(), self.0.len());
        for (start, length) in self.0.iter().take(8) {
            let _ = write!(text, " {start:#x}+{length:#x}");
        }
        text
    }
}

/// The ranges with status `+` of a ddrescue mapfile, and where its last range
/// ends.
pub fn read_mapfile(text: &str) -> (Ranges, u64) {
    let mut used = Vec::new();
    let mut end = 0;
    let mut lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines.next().expect("a mapfile has a status line");
    for line in lines {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [start, length, status] = fields[..] else { panic!("not a mapfile line: {line}") };
        let number = |text: &str| {
            let digits = text.strip_prefix("0x").unwrap_or_else(|| panic!("not hex: {line}"));
            u64::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("not hex: {line}"))
        };
        let (start, length) = (number(start), number(length));
        assert_eq!(start, end, "a mapfile has no gaps: {line}");
        end = start + length;
        match status {
            "+" => used.push((start, length)),
            "?" => {}
            _ => panic!("unexpected status: {line}"),
        }
    }
    (Ranges::new(used), end)
}

#[test]
fn ranges_are_subtracted() {
    let a = Ranges::new(vec![(0, 10), (20, 10), (40, 5)]);
    let b = Ranges::new(vec![(5, 20), (44, 100)]);
    assert_eq!(a.without(&b).0, [(0, 5), (25, 5), (40, 4)]);
    assert_eq!(b.without(&a).0, [(10, 10), (45, 99)]);
    assert_eq!(a.without(&Ranges::new(vec![])), a);
    assert_eq!(a.without(&a).bytes(), 0);
    assert_eq!(a.holes(50).0, [(10, 10), (30, 10), (45, 5)]);
    assert_eq!(a.holes(22).0, [(10, 10)]);
    assert_eq!(Ranges::new(vec![(3, 2), (0, 3), (4, 4)]).0, [(0, 8)]);
}

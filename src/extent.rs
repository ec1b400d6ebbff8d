// SPDX-License-Identifier: MIT OR Apache-2.0
//! Byte ranges and sets of them: the currency of every statement about used
//! and free space.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A range of bytes, `start` included, `end` not. Never reversed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "StoredExtent")]
pub struct Extent {
    start: u64,
    end: u64,
}

/// A range as a file has it, possibly reversed.
#[derive(Deserialize)]
struct StoredExtent {
    start: u64,
    end: u64,
}

impl From<StoredExtent> for Extent {
    fn from(stored: StoredExtent) -> Self {
        Self::new(stored.start, stored.end)
    }
}

impl Extent {
    /// The range from `start` to before `end`; empty if they are reversed.
    #[must_use]
    pub const fn new(start: u64, end: u64) -> Self {
        Self { start, end: if end < start { start } else { end } }
    }

    /// The range of `len` bytes at `start`, cut at the largest position.
    #[must_use]
    pub const fn at(start: u64, len: u64) -> Self {
        Self { start, end: start.saturating_add(len) }
    }

    /// The first byte.
    #[must_use]
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// The byte after the last.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// The number of bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// True if there is no byte in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// The part that both have.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// True if both have a byte in common.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        !self.intersect(other).is_empty()
    }

    /// True if every byte of `other` is in this range.
    #[must_use]
    pub const fn contains(&self, other: &Self) -> bool {
        other.is_empty() || (self.start <= other.start && other.end <= self.end)
    }

    /// The range moved by `by` bytes towards the end.
    #[must_use]
    pub const fn shift(&self, by: u64) -> Self {
        Self { start: self.start.saturating_add(by), end: self.end.saturating_add(by) }
    }

    /// The range in pieces of at most `len` bytes, in ascending order.
    pub fn pieces(self, len: u64) -> impl Iterator<Item = Self> {
        (0..self.len().div_ceil(len.max(1)))
            .map(move |n| Self::at(self.start + n * len, len).intersect(&self))
    }

    /// The range with both ends moved outwards to multiples of `unit`.
    #[must_use]
    pub fn align_outwards(&self, unit: u64) -> Self {
        if self.is_empty() || unit == 0 {
            return *self;
        }
        Self {
            start: self.start - self.start % unit,
            end: self.end.checked_next_multiple_of(unit).unwrap_or(u64::MAX),
        }
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}-{:#x}", self.start, self.end)
    }
}

/// A set of bytes as sorted ranges that neither overlap nor touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtentSet {
    extents: Vec<Extent>,
}

impl ExtentSet {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { extents: Vec::new() }
    }

    /// The bytes from 0 to before `len`.
    #[must_use]
    pub fn all(len: u64) -> Self {
        Extent::new(0, len).into()
    }

    /// Adds a range.
    pub fn insert(&mut self, extent: Extent) {
        if extent.is_empty() {
            return;
        }
        // Maps are read in ascending order: the end is where most goes.
        match self.extents.last_mut() {
            None => return self.extents.push(extent),
            Some(last) if last.end < extent.start => return self.extents.push(extent),
            Some(last) if last.start <= extent.start => {
                last.end = last.end.max(extent.end);
                return;
            }
            Some(_) => {}
        }
        let first = self.extents.partition_point(|e| e.end < extent.start);
        let after = self.extents.partition_point(|e| e.start <= extent.end);
        let mut merged = extent;
        if let (Some(low), Some(high)) =
            (self.extents.get(first), after.checked_sub(1).and_then(|last| self.extents.get(last)))
            && first < after
        {
            merged = Extent::new(merged.start.min(low.start), merged.end.max(high.end));
        }
        self.extents.splice(first..after, [merged]);
    }

    /// The ranges, in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Extent> + Clone + '_ {
        self.extents.iter().copied()
    }

    /// The ranges, in ascending order.
    #[must_use]
    pub fn as_slice(&self) -> &[Extent] {
        &self.extents
    }

    /// The set in at most `count` ranges: the nearest ones are joined
    /// with what is between them.
    #[must_use]
    pub fn joined(&self, count: usize) -> Self {
        let gap = |pair: &[Extent]| pair[1].start - pair[0].end;
        let mut gaps: Vec<u64> = self.extents.windows(2).map(gap).collect();
        let Some(last) = self.count().checked_sub(count.max(1) + 1) else { return self.clone() };
        let (narrower, &mut widest, _) = gaps.select_nth_unstable(last);
        // Of gaps that are as wide as the widest to be joined, only so many.
        let mut ties = 1 + narrower.iter().filter(|gap| **gap == widest).count();
        let mut extents: Vec<Extent> = Vec::new();
        for next in &self.extents {
            let gap = extents.last().map(|before| next.start - before.end);
            let is_joined = match gap {
                Some(gap) if gap == widest && ties > 0 => {
                    ties -= 1;
                    true
                }
                gap => gap.is_some_and(|gap| gap < widest),
            };
            match extents.last_mut() {
                Some(before) if is_joined => before.end = next.end,
                _ => extents.push(*next),
            }
        }
        Self { extents }
    }

    /// How many ranges there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.extents.len()
    }

    /// How many bytes there are.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.extents.iter().fold(0, |sum, e| sum.saturating_add(e.len()))
    }

    /// True if there is no byte in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.extents.is_empty()
    }

    /// The end of the last range, 0 if there is none.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.extents.last().map_or(0, Extent::end)
    }

    /// The parts of the set inside `window`, in ascending order.
    pub fn within(&self, window: Extent) -> impl Iterator<Item = Extent> + '_ {
        let first = self.extents.partition_point(|e| e.end <= window.start);
        self.extents[first..]
            .iter()
            .take_while(move |e| e.start < window.end)
            .map(move |e| e.intersect(&window))
    }

    /// The parts of `window` that are not in the set, in ascending order.
    pub fn holes_within(&self, window: Extent) -> impl Iterator<Item = Extent> + '_ {
        let mut position = window.start;
        self.within(window).chain(std::iter::once(Extent::new(window.end, window.end))).filter_map(
            move |extent| {
                let hole = Extent::new(position, extent.start);
                position = extent.end.max(position);
                (!hole.is_empty()).then_some(hole)
            },
        )
    }

    /// True if a byte of `window` is in the set.
    #[must_use]
    pub fn touches(&self, window: Extent) -> bool {
        self.within(window).next().is_some()
    }

    /// True if every byte of `window` is in the set.
    #[must_use]
    pub fn covers(&self, window: Extent) -> bool {
        self.holes_within(window).next().is_none()
    }

    /// The bytes that are in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut extents = Vec::with_capacity(self.count().max(other.count()));
        let (mut a, mut b) = (self.extents.iter().peekable(), other.extents.iter().peekable());
        loop {
            let next = match (a.peek(), b.peek()) {
                (Some(x), Some(y)) => {
                    if x.start <= y.start {
                        a.next()
                    } else {
                        b.next()
                    }
                }
                (Some(_), None) => a.next(),
                (None, _) => b.next(),
            };
            let Some(next) = next else { break };
            match extents.last_mut() {
                Some(Extent { end, .. }) if next.start <= *end => *end = (*end).max(next.end),
                _ => extents.push(*next),
            }
        }
        Self { extents }
    }

    /// The bytes of this set that are not in `other`.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let extents = self.extents.iter().flat_map(|e| other.holes_within(*e)).collect();
        Self { extents }
    }

    /// The bytes that both sets have.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let extents = self.extents.iter().flat_map(|e| other.within(*e)).collect();
        Self { extents }
    }

    /// The bytes from 0 to before `len` that are not in the set.
    #[must_use]
    pub fn complement(&self, len: u64) -> Self {
        Self { extents: self.holes_within(Extent::new(0, len)).collect() }
    }

    /// The set moved by `by` bytes towards the end.
    #[must_use]
    pub fn shift(&self, by: u64) -> Self {
        Self { extents: self.extents.iter().map(|e| e.shift(by)).collect() }
    }

    /// The set with every range moved outwards to multiples of `unit`, cut at `len`.
    #[must_use]
    pub fn align_outwards(&self, unit: u64, len: u64) -> Self {
        self.extents
            .iter()
            .map(|e| e.align_outwards(unit).intersect(&Extent::new(0, len)))
            .collect()
    }
}

impl From<Extent> for ExtentSet {
    fn from(extent: Extent) -> Self {
        let mut set = Self::new();
        set.insert(extent);
        set
    }
}

impl FromIterator<Extent> for ExtentSet {
    fn from_iter<I: IntoIterator<Item = Extent>>(extents: I) -> Self {
        let mut set = Self::new();
        set.extend(extents);
        set
    }
}

impl Extend<Extent> for ExtentSet {
    fn extend<I: IntoIterator<Item = Extent>>(&mut self, extents: I) {
        let mut added: Vec<Extent> = extents.into_iter().filter(|e| !e.is_empty()).collect();
        // One sort and one merge: inserting many ranges one by one into the
        // middle of a long list would take quadratic time.
        added.sort_unstable();
        let mut sorted = Self::new();
        for extent in added {
            sorted.insert(extent);
        }
        *self = if self.is_empty() { sorted } else { self.union(&sorted) };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    use super::*;

    const LEN: u64 = 64;

    fn set(ranges: &[(u64, u64)]) -> ExtentSet {
        ranges.iter().map(|(start, end)| Extent::new(*start, *end)).collect()
    }

    fn bits(set: &ExtentSet) -> Vec<bool> {
        (0..LEN).map(|byte| set.touches(Extent::at(byte, 1))).collect()
    }

    fn is_normal(set: &ExtentSet) -> bool {
        set.extents.iter().all(|e| !e.is_empty())
            && set.extents.windows(2).all(|pair| pair[0].end < pair[1].start)
    }

    #[test]
    fn ranges_that_touch_become_one() {
        assert_eq!(set(&[(0, 4), (4, 8)]).count(), 1);
        assert_eq!(set(&[(4, 8), (0, 4)]).count(), 1);
        assert_eq!(set(&[(0, 2), (6, 8), (1, 7)]), set(&[(0, 8)]));
        assert_eq!(set(&[(10, 12), (0, 2), (5, 6)]).count(), 3);
    }

    #[test]
    fn a_reversed_range_is_empty() {
        assert!(Extent::new(8, 4).is_empty());
        assert_eq!(Extent::new(8, 4).len(), 0);
        assert!(set(&[(8, 4)]).is_empty());
    }

    #[test]
    fn a_reversed_range_in_a_file_is_empty() {
        let extent: Extent = serde_json::from_str(r#"{"start":8,"end":4}"#).unwrap();
        assert_eq!(extent, Extent::new(8, 8));
        assert_eq!(serde_json::to_string(&extent).unwrap(), r#"{"start":8,"end":8}"#);
    }

    #[test]
    fn joining_takes_the_nearest_first() {
        let many = set(&[(0, 1), (3, 4), (5, 6), (20, 21), (23, 24)]);
        assert_eq!(many.joined(9), many);
        assert_eq!(many.joined(5), many);
        assert_eq!(many.joined(4), set(&[(0, 1), (3, 6), (20, 21), (23, 24)]));
        assert_eq!(many.joined(3), set(&[(0, 6), (20, 21), (23, 24)]));
        assert_eq!(many.joined(2), set(&[(0, 6), (20, 24)]));
        assert_eq!(many.joined(1), set(&[(0, 24)]));
        assert_eq!(ExtentSet::new().joined(0), ExtentSet::new());
    }

    #[test]
    fn aligning_never_wraps() {
        let end = Extent::new(u64::MAX - 1, u64::MAX).align_outwards(4096);
        assert!(end.contains(&Extent::new(u64::MAX - 1, u64::MAX)));
    }

    proptest! {
        #[test]
        fn set_algebra_is_that_of_single_bytes(
            a in prop::collection::vec((0..LEN, 0..LEN), 0..9),
            b in prop::collection::vec((0..LEN, 0..LEN), 0..9),
            start in 0..LEN, end in 0..LEN,
        ) {
            let (a, b) = (set(&a), set(&b));
            let (in_a, in_b) = (bits(&a), bits(&b));
            let each = |f: &dyn Fn(bool, bool) -> bool| -> Vec<bool> {
                in_a.iter().zip(&in_b).map(|(x, y)| f(*x, *y)).collect()
            };
            for (result, wanted) in [
                (a.union(&b), each(&|x, y| x || y)),
                (a.subtract(&b), each(&|x, y| x && !y)),
                (a.intersect(&b), each(&|x, y| x && y)),
                (a.complement(LEN), each(&|x, _| !x)),
            ] {
                prop_assert!(is_normal(&result));
                prop_assert_eq!(bits(&result), wanted);
            }
            let mut one_by_one = a.clone();
            for extent in b.iter() {
                one_by_one.insert(extent);
            }
            prop_assert_eq!(&one_by_one, &a.union(&b));
            let window = Extent::new(start, end);
            let inside: u64 = a.within(window).map(|e| e.len()).sum();
            let outside: u64 = a.holes_within(window).map(|e| e.len()).sum();
            prop_assert_eq!(inside + outside, window.len());
            prop_assert_eq!(a.covers(window), outside == 0);
        }
    }
}

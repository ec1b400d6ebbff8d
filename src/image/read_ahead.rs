// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who reads an image front to back, and how far ahead of them to decode.
//!
//! Readers do not say who they are, so they are told by where they read: one
//! that comes to the entry behind that of the last read is the same, and goes
//! front to back. Requests that overtake each other are allowed for.

/// So many readers are told apart.
const READERS: usize = 16;

/// How far out of order the requests of one reader may be, in entries.
const NEAR: usize = 2;

/// A reader that was not seen for so many reads no longer counts.
const FORGOTTEN: u64 = 1024;

/// The readers of an image.
#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    readers: Vec<At>,
    clock: u64,
}

/// A reader.
#[derive(Debug, Clone, Copy)]
struct At {
    /// The furthest entry.
    entry: usize,
    /// How often it went on to a next entry.
    steps: u32,
    /// When it was seen.
    seen: u64,
}

impl ReadAhead {
    /// Notes a read of the entry of this number, by a request that goes on to
    /// entry `last`. Returns how many data entries behind it are wanted,
    /// `most` at most; none unless the reader came to a new entry.
    pub(super) fn touch(&mut self, entry: usize, last: usize, most: usize) -> usize {
        self.clock = self.clock.saturating_add(1);
        let clock = self.clock;
        let is_near = |at: &&mut At| {
            let reach = at.entry.saturating_sub(NEAR)..=at.entry.saturating_add(NEAR);
            reach.contains(&entry)
        };
        let asked = last.saturating_sub(entry);
        let ahead = match self.readers.iter_mut().filter(is_near).max_by_key(|at| at.seen) {
            Some(at) => {
                at.seen = clock;
                if entry <= at.entry {
                    return 0;
                }
                at.entry = entry;
                at.steps = at.steps.saturating_add(1);
                // 2, 4, 8, ...: whoever stops soon has cost little.
                1_usize.checked_shl(at.steps.min(16)).unwrap_or(most)
            }
            None => {
                self.remember(At { entry, steps: 0, seen: clock });
                0
            }
        };
        let active = self
            .readers
            .iter()
            .filter(|at| at.steps > 0 && clock.saturating_sub(at.seen) < FORGOTTEN);
        let share = most.checked_div(active.count().max(1)).unwrap_or(most).max(1);
        ahead.max(asked).min(share)
    }

    fn remember(&mut self, at: At) {
        if self.readers.len() < READERS {
            self.readers.push(at);
        } else if let Some(oldest) = self.readers.iter_mut().min_by_key(|at| at.seen) {
            *oldest = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_goes_on_gets_more_and_whoever_jumps_nothing() {
        let mut ahead = ReadAhead::default();
        let wanted: Vec<usize> = (10..16).map(|entry| ahead.touch(entry, entry, 8)).collect();
        assert_eq!(wanted, [0, 2, 4, 8, 8, 8]);
        assert_eq!(ahead.touch(15, 15, 8), 0, "the same entry once more");
        assert_eq!(ahead.touch(14, 14, 8), 0, "a request that was overtaken");
        assert_eq!(ahead.touch(17, 17, 8), 8, "a hole that was skipped");
        for entry in [100, 50, 900, 20] {
            assert_eq!(ahead.touch(entry, entry, 8), 0);
        }
    }

    #[test]
    fn a_large_request_is_decoded_at_once_on_all_cores() {
        assert_eq!(ReadAhead::default().touch(5, 9, 8), 4);
        assert_eq!(ReadAhead::default().touch(5, 99, 8), 8);
    }

    #[test]
    fn readers_share_and_are_told_apart() {
        let mut ahead = ReadAhead::default();
        let starts = [0, 1000, 2000, 3000];
        for step in 0..10 {
            for start in starts {
                let wanted = ahead.touch(start + step, start + step, 8);
                assert!(step < 5 || wanted == 2, "{wanted}");
            }
        }
        // Thousands of random reads leave room for them.
        for n in 0..3000 {
            ahead.touch(1_000_000 + n * 10, 0, 8);
        }
        ahead.touch(50, 50, 8);
        ahead.touch(51, 51, 8);
        assert_eq!(ahead.touch(52, 52, 8), 4, "the others are forgotten");
    }
}

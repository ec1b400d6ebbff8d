// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much the structures of a volume may cost to read.
//!
//! On a volume that somebody has written files to, every name, every folder and
//! every list of places belongs to one thing, so that to read all of them once
//! costs no more than to read the volume a few times. Where many folders share
//! their content, or many names a chain of entries, a small volume would cost
//! more time than anybody has. So what is read is counted, by bytes and not by
//! the clock: each part of each node when it is read for the first time.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use super::files::Node;
use crate::ondisk::FormatError;

/// What all structures of a volume may cost, in its bytes. The most expensive
/// honest volume has nothing but names of 40 bytes on it, each of which counts as
/// 256 bytes more for the entry that it leads to.
const TIMES: u64 = 8;
/// What the smallest volume may cost, and the largest: 2^20 files of a disc of
/// 128 GB, each with 64 KiB of structures.
const LEAST: u64 = 16 << 20;
const MOST: u64 = 64 << 30;

/// What of a node is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// The names in a folder.
    Names,
    /// Where its content is.
    Places,
    /// Its streams.
    Streams,
}

/// What is left to be spent on the structures of a volume.
#[derive(Debug)]
pub(super) struct Budget {
    all: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    left: u64,
    /// What was counted already: it costs no more than it did then.
    known: HashSet<(Part, Node)>,
}

impl Budget {
    /// That of a volume of so many bytes.
    pub(super) fn new(volume_len: u64) -> Self {
        let all = volume_len.saturating_mul(TIMES).clamp(LEAST, MOST);
        Self { all, state: Mutex::new(State { left: all, known: HashSet::new() }) }
    }

    /// Begins to read a part of a node; the first `free` bytes of it do not
    /// count.
    pub(super) fn begin(&self, part: Part, node: Node, free: u64) -> Spending<'_> {
        let key = (part, node);
        let is_known = self.with(|state| state.known.contains(&key));
        Spending { budget: self, key, free, is_known, has_spent: false, is_over: false }
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What reading a part of a node costs.
#[derive(Debug)]
pub(super) struct Spending<'a> {
    budget: &'a Budget,
    key: (Part, Node),
    free: u64,
    is_known: bool,
    has_spent: bool,
    is_over: bool,
}

impl Spending<'_> {
    /// Counts bytes that are read.
    ///
    /// # Errors
    /// Corrupt if no honest volume could cost so much.
    pub(super) fn spend(&mut self, bytes: u64) -> Result<(), FormatError> {
        let free = bytes.min(self.free);
        self.free = self.free.saturating_sub(free);
        let bytes = bytes.saturating_sub(free);
        if self.is_known || bytes == 0 {
            return Ok(());
        }
        self.has_spent = true;
        let is_enough = self.budget.with(|state| {
            let left = state.left.checked_sub(bytes);
            state.left = left.unwrap_or(0);
            left.is_some()
        });
        self.is_over = !is_enough;
        self.check()
    }

    /// An error if more was spent than there is: what goes on after a part that
    /// failed does not.
    ///
    /// # Errors
    /// As [`Spending::spend`].
    pub(super) fn check(&self) -> Result<(), FormatError> {
        if !self.is_over {
            return Ok(());
        }
        let expected = format!("no more than {} bytes of them in all", self.budget.all);
        let found = "more: they share what belongs to one of them";
        Err(FormatError::corrupt("folders and entries", self.key.1.number, expected, found))
    }
}

impl Drop for Spending<'_> {
    fn drop(&mut self) {
        if self.has_spent && !self.is_over {
            self.budget.with(|state| state.known.insert(self.key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_counts_once_and_all_of_them_no_more_than_the_budget() {
        let budget = Budget::new(0);
        let spend = |part, number, bytes| {
            budget.begin(part, Node::new(number), 100).spend(bytes).map_err(|it| it.to_string())
        };
        for _ in 0..5 {
            // Known from the first time on.
            spend(Part::Names, 1, LEAST / 2).unwrap();
            // What is cheap does not count.
            spend(Part::Names, 2, 100).unwrap();
        }
        spend(Part::Places, 1, LEAST / 2).unwrap();
        for _ in 0..2 {
            // The first 100 bytes of each were free.
            let error = spend(Part::Streams, 1, 301).unwrap_err();
            assert!(error.contains("share what belongs to one"), "{error}");
        }
        spend(Part::Names, 1, LEAST).unwrap();
        spend(Part::Names, 3, 100).unwrap();
        assert_eq!((Budget::new(u64::MAX).all, Budget::new(1 << 30).all), (MOST, 8 << 30));
    }
}

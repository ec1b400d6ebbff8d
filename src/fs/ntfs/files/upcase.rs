// SPDX-License-Identifier: MIT OR Apache-2.0
//! `$UpCase`: which letters are the same in names, as the volume was told when
//! it was made.

use std::cmp::Ordering;

use crate::fs::names::units_le;

/// The table: the capital of each of the 65536 units.
pub(super) struct UpCase(Vec<u16>);

impl UpCase {
    /// The length of the table on the disk.
    pub(super) const LEN: u64 = 2 << 16;

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let is_whole = u64::try_from(bytes.len()) == Ok(Self::LEN);
        is_whole.then(|| Self(units_le(bytes).collect()))
    }

    pub(super) fn capital(&self, unit: u16) -> u16 {
        self.0.get(usize::from(unit)).copied().unwrap_or(unit)
    }

    /// Compares names as folders order them, case left aside.
    pub(super) fn compare(
        &self,
        one: impl Iterator<Item = u16>,
        other: impl Iterator<Item = u16>,
    ) -> Ordering {
        one.map(|unit| self.capital(unit)).cmp(other.map(|unit| self.capital(unit)))
    }
}

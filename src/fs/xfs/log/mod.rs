// SPDX-License-Identifier: MIT OR Apache-2.0
//! The log: where it ends, and whether something in it waits to be replayed.
//!
//! The log is a ring of 512-byte blocks. Every block starts with the number of
//! the round (cycle) in which it was written, so the end of the log is where
//! the number falls by one. It is searched exactly as the kernel searches it
//! when it mounts, because what counts is what a mount will find.
//!
//! A log is clean if the last record in front of its end is that of an unmount.

pub(super) mod item;
mod record;
pub(super) mod transaction;

use self::record::{Header, MAGIC, Record};
use super::superblock::Geometry;
use super::volume::Volume;
use crate::error::Context;
use crate::extent::Extent;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError};

/// The unit of the log.
pub(super) const BLOCK: u64 = 512;
/// How many blocks can be under way at once: eight records.
const RECORDS_UNDER_WAY: u64 = 8;
const UNMOUNT: u8 = 0x20;

/// The end of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// The block where the next record will start.
    pub(super) block: u64,
    /// The place of the end: round in the upper half, block in the lower.
    pub(super) lsn: u64,
    /// The place of the oldest record that is needed.
    pub(super) tail_lsn: u64,
    /// True if the last record is that of an unmount.
    pub(super) is_clean: bool,
}

/// The blocks of a log that is on the volume.
#[derive(Clone, Copy)]
pub(super) struct Log<'a> {
    reader: &'a dyn ReadAt,
    extent: Extent,
    pub(super) geometry: &'a Geometry,
}

/// Where a search back for the start of a record ended.
enum Found {
    /// The end of the log by this record.
    End(u64),
    /// At the start of the ring.
    Start,
}

impl<'a> Log<'a> {
    pub(super) fn new(volume: &Volume<'a>) -> Self {
        Self { reader: volume.reader, extent: volume.geometry.log(), geometry: volume.geometry }
    }

    /// How many blocks the ring has.
    pub(super) const fn blocks(&self) -> u64 {
        self.extent.len() / BLOCK
    }

    /// The position of a block on the volume.
    pub(super) const fn position(&self, block: u64) -> u64 {
        self.extent.start().saturating_add(block.saturating_mul(BLOCK))
    }

    /// A block of the ring, counted on over its end.
    pub(super) fn wrap(&self, block: u64) -> u64 {
        block.checked_rem(self.blocks()).unwrap_or(0)
    }

    /// Reads blocks, over the end of the ring if need be.
    pub(super) fn read(&self, first: u64, count: u64) -> Result<Vec<u8>, FormatError> {
        let first = self.wrap(first);
        let straight = count.min(self.blocks().saturating_sub(first));
        let mut bytes = self.read_straight(first, straight)?;
        if straight < count {
            let rest = count.saturating_sub(straight).min(self.blocks());
            bytes.extend(self.read_straight(0, rest)?);
        }
        Ok(bytes)
    }

    fn read_straight(&self, first: u64, count: u64) -> Result<Vec<u8>, FormatError> {
        let position = self.position(first);
        let len = usize::try_from(count.saturating_mul(BLOCK)).unwrap_or(usize::MAX);
        Ok(read_vec(self.reader, position, len)
            .context(|| format!("reading the log at byte {position:#x}"))?)
    }

    fn corrupt(&self, block: u64, expected: impl ToString, found: impl ToString) -> FormatError {
        FormatError::corrupt("log", self.position(block), expected, found)
    }

    /// The most blocks a record has.
    const fn record_blocks(&self) -> u64 {
        if self.geometry.features.has_log_v2 { 512 } else { 64 }
    }

    fn cycle(&self, block: u64) -> Result<u32, FormatError> {
        Ok(cycle_of(&self.read(block, 1)?))
    }

    /// Finds the end of the log.
    pub(super) fn head(&self) -> Result<Head, FormatError> {
        let end = self.end()?;
        let (at, header) = self.last_record(end)?;
        let wrapped = at >= end;
        let round = header.cycle.wrapping_add(u32::from(wrapped));
        let lsn = place(round, end);
        let behind = at.saturating_add(header.blocks()).saturating_add(header.data_blocks());
        let mut is_clean = false;
        if self.wrap(behind) == end && header.ops == 1 {
            let first = self.read(at.saturating_add(header.blocks()), 1)?;
            is_clean = first.u8_at(9).unwrap_or(0) & UNMOUNT != 0;
        }
        if is_clean {
            // Stricter than a mount, which takes the flag for the whole truth.
            Record::read(self, at, false)?;
        }
        Ok(Head { block: end, lsn, tail_lsn: header.tail_lsn, is_clean })
    }

    /// The block behind the last record that was written whole.
    fn end(&self) -> Result<u64, FormatError> {
        let total = self.blocks();
        let most = total.min(RECORDS_UNDER_WAY.saturating_mul(self.record_blocks()));
        let first_cycle = self.cycle(0)?;
        if first_cycle == 0 {
            return Err(self.corrupt(0, "a record", "a round of 0"));
        }
        let last = total.saturating_sub(1);
        let last_cycle = self.cycle(last)?;
        if last_cycle == 0 {
            // It was never written to its end.
            let mut end = self.cycle_start(last, 0)?;
            let count = most.min(end);
            let start = end.saturating_sub(count);
            if let Some(earlier) = self.find_cycle(start, count, 0)? {
                end = earlier;
            }
            return match self.verify(start, end, 0)? {
                Found::End(end) => Ok(end),
                Found::Start => Err(self.corrupt(0, "a record", "none")),
            };
        }
        let mut end;
        let stop;
        if first_cycle == last_cycle {
            end = total;
            stop = last_cycle.wrapping_sub(1);
        } else {
            end = self.cycle_start(last, last_cycle)?;
            stop = last_cycle;
        }
        // Records are written several at a time and may have reached the disk
        // in any order: the first gap is the end.
        if end >= most {
            let start = end.saturating_sub(most);
            if let Some(earlier) = self.find_cycle(start, most, stop)? {
                end = earlier;
            }
        } else {
            let count = most.saturating_sub(end);
            let start = total.saturating_sub(count);
            if let Some(earlier) = self.find_cycle(start, count, stop.wrapping_sub(1))? {
                end = earlier;
            } else if let Some(earlier) = self.find_cycle(0, end, stop)? {
                end = earlier;
            }
        }
        let end = self.whole_record(end)?;
        Ok(self.wrap(end))
    }

    /// The end, moved to the start of the record it is in the middle of.
    fn whole_record(&self, end: u64) -> Result<u64, FormatError> {
        let most = self.record_blocks();
        if let Some(start) = end.checked_sub(most) {
            return match self.verify(start, end, 0)? {
                Found::End(end) => Ok(end),
                Found::Start => Err(self.corrupt(start, "a record", "none")),
            };
        }
        if let Found::End(moved) = self.verify(0, end, 0)? {
            return Ok(moved);
        }
        let total = self.blocks();
        let start = total.saturating_sub(most).saturating_add(end);
        match self.verify(start, total, end)? {
            Found::End(moved) if moved == total => Ok(end),
            Found::End(moved) => Ok(moved),
            Found::Start => Err(self.corrupt(0, "a record", "none")),
        }
    }

    /// Looks back from `end` for the start of a record; if the record does not
    /// end there (and `extra` blocks further on), its start is the end.
    fn verify(&self, start: u64, end: u64, extra: u64) -> Result<Found, FormatError> {
        let bytes = self.read(start, end.saturating_sub(start))?;
        let count = end.saturating_sub(start);
        let mut at = end;
        for block in bytes.rchunks_exact(512).take(usize::try_from(count).unwrap_or(0)) {
            at = at.saturating_sub(1);
            if block.u32_be(0) != Some(MAGIC) {
                continue;
            }
            let header = Header::parse(self, at, block)?;
            let len = end.saturating_sub(at).saturating_add(extra);
            let is_whole = len == header.blocks().saturating_add(header.data_blocks());
            return Ok(Found::End(if is_whole { end } else { at }));
        }
        if start == 0 {
            return Ok(Found::Start);
        }
        Err(self.corrupt(start, "the start of a record", "none"))
    }

    /// The record in front of the end, and where it starts.
    fn last_record(&self, end: u64) -> Result<(u64, Header), FormatError> {
        let total = self.blocks();
        // Twice the longest record, so that one is in it.
        let most = total.min(self.record_blocks().saturating_add(16).saturating_mul(2));
        let start = end.saturating_add(total).saturating_sub(most);
        let bytes = self.read(start, most)?;
        let mut at = start.saturating_add(most);
        for block in bytes.rchunks_exact(512) {
            at = at.saturating_sub(1);
            if block.u32_be(0) == Some(MAGIC) {
                let at = self.wrap(at);
                return Ok((at, Header::parse(self, at, block)?));
            }
        }
        Err(self.corrupt(end, "a record in front of the log's end", "none"))
    }

    /// By bisection, about where the round `cycle` starts, which the block
    /// `last` has and the first has not.
    fn cycle_start(&self, mut last: u64, cycle: u32) -> Result<u64, FormatError> {
        let mut first = 0_u64;
        loop {
            let middle = first.midpoint(last);
            if middle == first || middle == last {
                return Ok(last);
            }
            if self.cycle(middle)? == cycle {
                last = middle;
            } else {
                first = middle;
            }
        }
    }

    /// The first of some blocks that was written in the round `cycle`.
    fn find_cycle(&self, start: u64, count: u64, cycle: u32) -> Result<Option<u64>, FormatError> {
        let bytes = self.read(start, count)?;
        let index = bytes.chunks_exact(512).position(|block| cycle_of(block) == cycle);
        Ok(index.and_then(|index| u64::try_from(index).ok()).map(|at| start.saturating_add(at)))
    }
}

/// The round in which a block was written.
fn cycle_of(block: &[u8]) -> u32 {
    let first = block.u32_be(0).unwrap_or(0);
    if first == MAGIC { block.u32_be(4).unwrap_or(0) } else { first }
}

/// The place of a block of a round.
pub(super) const fn place(cycle: u32, block: u64) -> u64 {
    let [a, b, c, d] = cycle.to_be_bytes();
    u64::from_be_bytes([a, b, c, d, 0, 0, 0, 0]) | block
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Forks: where the bytes of a file are (TN1150, "Fork Data Structure").

use super::volume_header::VolumeHeader;
use crate::ondisk::{Fields, FormatError};

/// The bytes of a fork.
pub(super) const FORK_LEN: usize = 80;

/// The bytes of eight extents.
pub(super) const RECORD_LEN: usize = 64;

/// Eight extents, as a fork and the records of the overflow file have them:
/// first block and number of blocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ExtentRecord([(u64, u64); 8]);

impl ExtentRecord {
    /// The extents in these bytes, all of them inside of the volume. After the
    /// first that is empty there is none.
    pub(super) fn parse(
        bytes: &[u8],
        what: &'static str,
        position: u64,
        header: &VolumeHeader,
    ) -> Result<Self, FormatError> {
        let short = || FormatError::corrupt(what, position, "eight extents", "the record's end");
        let mut record = Self::default();
        let mut ended = false;
        for (number, extent) in record.0.iter_mut().enumerate() {
            let field = bytes.bytes_at(number.saturating_mul(8), 8).ok_or_else(short)?;
            let start = u64::from(field.u32_be(0).ok_or_else(short)?);
            let count = u64::from(field.u32_be(4).ok_or_else(short)?);
            if count == 0 {
                ended = true;
                continue;
            }
            let end = start.saturating_add(count);
            if ended || end > header.total_blocks {
                return Err(FormatError::corrupt(
                    what,
                    position,
                    format!("extents in a row within the {} blocks", header.total_blocks),
                    format!("blocks {start} to {end} as extent {number}"),
                ));
            }
            *extent = (start, count);
        }
        Ok(record)
    }

    /// The extents that are not empty.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied().filter(|(_, count)| *count != 0)
    }

    /// The blocks of all extents.
    pub(super) fn blocks(&self) -> u64 {
        self.iter().fold(0, |sum, (_, count)| sum.saturating_add(count))
    }

    fn is_full(&self) -> bool {
        self.0.iter().all(|(_, count)| *count != 0)
    }
}

/// A fork as its record describes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fork {
    pub(super) logical_size: u64,
    pub(super) total_blocks: u64,
    /// The first eight extents; the others are in the overflow file.
    pub(super) extents: ExtentRecord,
}

impl Fork {
    pub(super) fn parse(
        bytes: &[u8],
        what: &'static str,
        position: u64,
        header: &VolumeHeader,
    ) -> Result<Self, FormatError> {
        let short = || FormatError::corrupt(what, position, "a fork", "the record's end");
        let record = bytes.bytes_at(16, RECORD_LEN).ok_or_else(short)?;
        let fork = Self {
            logical_size: bytes.u64_be(0).ok_or_else(short)?,
            total_blocks: bytes.u32_be(12).ok_or_else(short)?.into(),
            extents: ExtentRecord::parse(record, what, position, header)?,
        };
        let room = fork.total_blocks.saturating_mul(header.block_size);
        if fork.logical_size > room {
            let expected = format!("at most the {room} bytes of its blocks");
            return Err(FormatError::corrupt(what, position, expected, fork.logical_size));
        }
        let blocks = fork.extents.blocks();
        let is_right = match fork.total_blocks.cmp(&blocks) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => true,
            std::cmp::Ordering::Greater => fork.extents.is_full(),
        };
        if !is_right {
            let expected = format!("extents of {} blocks", fork.total_blocks);
            return Err(FormatError::corrupt(what, position, expected, blocks));
        }
        Ok(fork)
    }

    /// The blocks that the overflow file has to know of.
    pub(super) fn overflow(&self) -> u64 {
        self.total_blocks.saturating_sub(self.extents.blocks())
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The fast commit area behind a journal's log: are there changes in it that
//! the log does not have?
//!
//! The records are not read: where some wait, the filesystem is stored whole.
//! The area is never cleared, so that records of a transaction that was
//! committed to the log later are found there all the time.

use super::inode::FileMap;
use super::journal::Journal;
use super::volume::Volume;
use crate::ondisk::{Fields, FormatError};

const TAG_HEAD: u16 = 9;

/// An error unless the area is proven to hold nothing that a replay would use,
/// when the log ends before the transaction `next_sequence`.
pub(super) fn check_none_waits(
    volume: &Volume,
    file: &FileMap,
    journal: &Journal,
    next_sequence: u32,
) -> Result<(), FormatError> {
    if !journal.has_fast_commit {
        return Ok(());
    }
    // The kernel leaves out the first block of the area. It costs nothing not
    // to rely on that.
    for block in [journal.end, journal.end.saturating_add(1)] {
        let Some(held_at) = file.locate(block).filter(|_| block < journal.len) else { continue };
        let bytes = volume.read("fast commit area", held_at, 1)?;
        if !is_empty_or_stale(&bytes, next_sequence) {
            return Err(FormatError::unsupported(
                "its journal has to be replayed, and fast commits may wait in it",
            ));
        }
    }
    Ok(())
}

/// True if the records do not start, or belong to a transaction in the log.
fn is_empty_or_stale(block: &[u8], next_sequence: u32) -> bool {
    if block.iter().all(|byte| *byte == 0) {
        return true;
    }
    let (Some(TAG_HEAD), Some(transaction)) = (block.u16_le(0), block.u32_le(8)) else {
        return false;
    };
    // Numbers of transactions wrap around: older is less than half a turn back.
    let back = next_sequence.wrapping_sub(transaction);
    (1..1 << 31).contains(&back)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(transaction: u32) -> Vec<u8> {
        let mut block = vec![9, 0, 8, 0, 0, 0, 0, 0];
        block.extend(transaction.to_le_bytes());
        block.resize(1024, 0);
        block
    }

    #[test]
    fn only_older_transactions_and_nothing_at_all_are_no_danger() {
        assert!(is_empty_or_stale(&[0; 1024], 5));
        assert!(is_empty_or_stale(&head(4), 5));
        assert!(!is_empty_or_stale(&head(5), 5));
        assert!(!is_empty_or_stale(&head(6), 5));
        assert!(is_empty_or_stale(&head(u32::MAX), 0));
        assert!(!is_empty_or_stale(&head(0), u32::MAX));
    }

    #[test]
    fn records_without_a_head_are_doubt() {
        let mut block = head(4);
        block[0] = 6;
        assert!(!is_empty_or_stale(&block, 5));
        assert!(!is_empty_or_stale(&[9, 0, 8], 5));
    }
}

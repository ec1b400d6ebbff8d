// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether the extents overflow file of HFS or HFS+ has all that belongs there.

use crate::ondisk::FormatError;

/// Whether the overflow file has as many blocks of each file as the catalog
/// says it should.
///
/// A list of files could be of any length. Two sums are not: one of blocks, one
/// of blocks weighted by the file. Both are zero only if every file's blocks
/// are there, and none too many.
#[derive(Debug, Default)]
pub(in crate::fs) struct Balance {
    blocks: u64,
    weighted: u64,
}

impl Balance {
    pub(in crate::fs) const fn missing(&mut self, file: u32, fork: u8, blocks: u64) {
        self.blocks = self.blocks.wrapping_add(blocks);
        self.weighted = self.weighted.wrapping_add(blocks.wrapping_mul(weight(file, fork)));
    }

    pub(in crate::fs) const fn found(&mut self, file: u32, fork: u8, blocks: u64) {
        self.blocks = self.blocks.wrapping_sub(blocks);
        self.weighted = self.weighted.wrapping_sub(blocks.wrapping_mul(weight(file, fork)));
    }

    /// An error unless all that was missing was found.
    pub(in crate::fs) fn check(
        &self,
        what: &'static str,
        position: u64,
    ) -> Result<(), FormatError> {
        if (self.blocks, self.weighted) == (0, 0) {
            return Ok(());
        }
        let expected = "the blocks of every file with more than eight extents";
        let found = format!("{} blocks too few", self.blocks.cast_signed());
        Err(FormatError::corrupt(what, position, expected, found))
    }
}

/// A number that no sum of others gives by chance.
const fn weight(file: u32, fork: u8) -> u64 {
    let [a, b, c, d] = file.to_le_bytes();
    let mixed = u64::from_le_bytes([a, b, c, d, fork, 1, 0, 0]);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 32)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

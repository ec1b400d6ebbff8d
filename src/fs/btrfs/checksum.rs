// SPDX-License-Identifier: MIT OR Apache-2.0
//! The four checksums of btrfs.
//!
//! Superblocks and tree blocks start with 32 bytes for the checksum of all
//! that follows; shorter ones are filled up with zeros.

use blake2::Blake2b;
use blake2::digest::consts::U32;
use sha2::{Digest, Sha256};
use xxhash_rust::xxh64::xxh64;

use crate::ondisk::{Fields, FormatError};

/// The bytes that a checksum has in front of what it covers.
pub(super) const LEN: usize = 32;

/// Which checksum a filesystem has, by its number in the superblock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checksum {
    Crc32c,
    Xxhash64,
    Sha256,
    Blake2b,
}

impl Checksum {
    pub(super) fn parse(number: u16) -> Result<Self, FormatError> {
        match number {
            0 => Ok(Self::Crc32c),
            1 => Ok(Self::Xxhash64),
            2 => Ok(Self::Sha256),
            3 => Ok(Self::Blake2b),
            _ => Err(FormatError::unsupported(format!(
                "its checksum has the unknown number {number}"
            ))),
        }
    }

    /// The checksum of a superblock or tree block, as it has to be in front.
    pub(super) fn of(self, block: &[u8]) -> [u8; LEN] {
        self.of_data(block.get(LEN..).unwrap_or_default())
    }

    /// The checksum of data, as the tree of checksums has it.
    pub(super) fn of_data(self, covered: &[u8]) -> [u8; LEN] {
        let mut sum = [0; LEN];
        match self {
            Self::Crc32c => fill(&mut sum, &crc32c::crc32c(covered).to_le_bytes()),
            Self::Xxhash64 => fill(&mut sum, &xxh64(covered, 0).to_le_bytes()),
            Self::Sha256 => fill(&mut sum, &Sha256::digest(covered)),
            Self::Blake2b => fill(&mut sum, &Blake2b::<U32>::digest(covered)),
        }
        sum
    }

    /// How many bytes of the 32 are the checksum. What is behind them is
    /// zeros in practice, and nobody looks.
    pub(super) const fn len(self) -> usize {
        match self {
            Self::Crc32c => 4,
            Self::Xxhash64 => 8,
            Self::Sha256 | Self::Blake2b => LEN,
        }
    }

    /// True if the block's checksum is right.
    pub(super) fn holds(self, block: &[u8]) -> bool {
        let stored = block.bytes_at(0, self.len());
        stored.is_some() && stored == self.of(block).get(..self.len())
    }
}

fn fill(sum: &mut [u8; LEN], bytes: &[u8]) {
    for (to, from) in sum.iter_mut().zip(bytes) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digests of "abc" that the specifications of the algorithms give
    /// (RFC 3720 has no "abc" for CRC-32C; that one is of "123456789").
    #[test]
    fn checksums_are_those_of_the_specifications() {
        let block = |text: &[u8]| [&[0; LEN][..], text].concat();
        let crc = Checksum::Crc32c.of(&block(b"123456789"));
        assert_eq!(crc[..4], 0xE306_9283_u32.to_le_bytes());
        assert_eq!(crc[4..], [0; 28]);
        let xxhash = Checksum::Xxhash64.of(&block(b"abc"));
        assert_eq!(xxhash[..8], 0x44BC_2CF5_AD77_0999_u64.to_le_bytes());
        let sha = Checksum::Sha256.of(&block(b"abc"));
        assert_eq!(sha[..4], [0xBA, 0x78, 0x16, 0xBF]);
        let blake = Checksum::Blake2b.of(&block(b"abc"));
        assert_eq!(blake[..4], [0xBD, 0xDD, 0x81, 0x3C]);
    }

    #[test]
    fn a_block_without_room_for_a_checksum_has_none() {
        assert!(!Checksum::Crc32c.holds(&[]));
        assert!(!Checksum::Sha256.holds(&[0; 31]));
        let mut block = vec![7; 100];
        let sum = Checksum::Xxhash64.of(&block);
        block[..LEN].copy_from_slice(&sum);
        assert!(Checksum::Xxhash64.holds(&block));
        block[99] = 8;
        assert!(!Checksum::Xxhash64.holds(&block));
        assert!(Checksum::parse(4).is_err());
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The checksum of F2FS: the CRC-32 of Ethernet, least significant bit first,
//! that starts at the filesystem's magic and is never inverted.

/// Where every checksum starts: the magic of the superblock.
pub(super) const START: u32 = 0xF2F5_2010;

/// The checksum continued from `crc`.
pub(super) fn crc32(crc: u32, bytes: &[u8]) -> u32 {
    // The crate inverts at both ends, F2FS does not.
    let mut hasher = crc32fast::Hasher::new_with_initial(!crc);
    hasher.update(bytes);
    !hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_published_one_but_for_its_ends() {
        // The check value of the catalogue of parametrised CRC algorithms.
        assert_eq!(!crc32(u32::MAX, b"123456789"), 0xCBF4_3926);
        // A register that starts at zero stays there over zeros.
        assert_eq!(crc32(0, &[0; 8]), 0);
        let whole = crc32(START, b"123456789");
        assert_eq!(crc32(crc32(START, b"1234"), b"56789"), whole);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The checksums of ext4 and its journal, as the kernel computes them: the
//! running value goes in and comes out without being inverted.

/// Where every checksum chain of ext4 and jbd2 starts.
pub(super) const START: u32 = u32::MAX;

/// CRC-32C continued from `crc`: group descriptors, bitmaps, inodes, the
/// superblock, and journals with checksums of version 2 and 3.
pub(super) fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    // The crate inverts at both ends, the kernel does not.
    !crc32c::crc32c_append(!crc, bytes)
}

/// CRC-16 continued from `crc`: group descriptors of `uninit_bg` filesystems.
pub(super) fn crc16(crc: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(crc, |crc, byte| {
        let [low, high] = crc.to_le_bytes();
        CRC16.get(usize::from(low ^ byte)).copied().unwrap_or(0) ^ u16::from(high)
    })
}

/// CRC-32, most significant bit first, continued from `crc`: journals with
/// checksums of version 1.
pub(super) fn crc32_be(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| {
        let [high, ..] = crc.to_be_bytes();
        CRC32_BE.get(usize::from(high ^ byte)).copied().unwrap_or(0) ^ (crc << 8)
    })
}

/// x^16 + x^15 + x^2 + 1, least significant bit first.
#[expect(clippy::as_conversions, reason = "constant functions have no From; below 256")]
const CRC16: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256_u16 {
        let mut value = byte;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0xA001 } else { value >> 1 };
            bit += 1;
        }
        table[byte as usize] = value;
        byte += 1;
    }
    table
};

/// The polynomial of Ethernet, most significant bit first.
#[expect(clippy::as_conversions, reason = "constant functions have no From; below 256")]
const CRC32_BE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256_u32 {
        let mut value = byte << 24;
        let mut bit = 0;
        while bit < 8 {
            value = if value >> 31 == 1 { (value << 1) ^ 0x04C1_1DB7 } else { value << 1 };
            bit += 1;
        }
        table[byte as usize] = value;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    // The check values of the catalogue of parametrised CRC algorithms, for
    // the text "123456789".
    const TEXT: &[u8] = b"123456789";

    #[test]
    fn checksums_match_the_published_check_values() {
        assert_eq!(!crc32c(START, TEXT), 0xE306_9283);
        assert_eq!(crc16(0xFFFF, TEXT), 0x4B37);
        assert_eq!(crc16(0, TEXT), 0xBB3D);
        assert_eq!(crc32_be(START, TEXT), 0x0376_E6E7);
    }

    #[test]
    fn a_checksum_can_be_continued() {
        let (a, b) = TEXT.split_at(4);
        assert_eq!(crc32c(crc32c(START, a), b), crc32c(START, TEXT));
        assert_eq!(crc16(crc16(7, a), b), crc16(7, TEXT));
        assert_eq!(crc32_be(crc32_be(7, a), b), crc32_be(7, TEXT));
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tag that begins every descriptor: what it is, where it belongs, and its
//! checksums (ECMA-167, 3/7.2 and 4/7.2).

use crate::ondisk::{Fields, FormatError};

/// The length of a tag.
pub const LEN: usize = 16;

/// What a descriptor is.
#[expect(missing_docs, reason = "the names of the specification")]
pub mod id {
    pub const PRIMARY_VOLUME: u16 = 1;
    pub const ANCHOR: u16 = 2;
    pub const VOLUME_POINTER: u16 = 3;
    pub const IMPLEMENTATION_USE: u16 = 4;
    pub const PARTITION: u16 = 5;
    pub const LOGICAL_VOLUME: u16 = 6;
    pub const UNALLOCATED_SPACE: u16 = 7;
    pub const TERMINATING: u16 = 8;
    pub const INTEGRITY: u16 = 9;
    pub const FILE_SET: u16 = 256;
    pub const FILE_IDENTIFIER: u16 = 257;
    pub const ALLOCATION_EXTENT: u16 = 258;
    pub const INDIRECT_ENTRY: u16 = 259;
    pub const FILE_ENTRY: u16 = 261;
    pub const EXTENDED_ATTRIBUTES: u16 = 262;
    pub const EXTENDED_FILE_ENTRY: u16 = 266;
}

/// The tag of a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// What the descriptor is, see [`id`].
    pub id: u16,
    /// The version of the specification: 2 or 3.
    pub version: u16,
    /// The number of the volume's making.
    pub serial: u16,
    /// The block that it belongs into.
    pub location: u32,
}

impl Tag {
    /// The tag at the start of these bytes, if both of its checksums are right.
    /// `position` is where they are, for the error; they have to belong to
    /// block `location`, if that is given.
    ///
    /// # Errors
    /// If there is none, one of another block, or a checksum is wrong.
    pub fn parse(bytes: &[u8], position: u64, location: Option<u32>) -> Result<Self, FormatError> {
        let corrupt = |expected: String, found: String| {
            Err(FormatError::corrupt("tag of a descriptor", position, expected, found))
        };
        let Some(tag) = bytes.array::<LEN>(0) else {
            return corrupt(format!("{LEN} bytes"), bytes.len().to_string());
        };
        let others = tag.iter().enumerate().filter(|(index, _)| *index != 4);
        let sum = others.fold(0_u8, |sum, (_, byte)| sum.wrapping_add(*byte));
        let found = tag.u8_at(4).unwrap_or(0);
        let tag = Self {
            id: tag.u16_le(0).unwrap_or(0),
            version: tag.u16_le(2).unwrap_or(0),
            serial: tag.u16_le(6).unwrap_or(0),
            location: tag.u32_le(12).unwrap_or(0),
        };
        if sum != found {
            return corrupt(format!("a tag with the checksum {sum:#04x}"), format!("{found:#04x}"));
        }
        if !matches!(tag.version, 2 | 3) {
            return corrupt("version 2 or 3".into(), tag.version.to_string());
        }
        if location.is_some_and(|location| location != tag.location) {
            let expected = format!("that of block {}", location.unwrap_or(0));
            return corrupt(expected, format!("that of block {}", tag.location));
        }
        let crc = bytes.u16_le(8).unwrap_or(0);
        let crc_len = usize::from(bytes.u16_le(10).unwrap_or(0));
        let Some(covered) = bytes.bytes_at(LEN, crc_len) else {
            return corrupt(
                format!("at most {} bytes", bytes.len()),
                format!("{crc_len} and {LEN}"),
            );
        };
        let real = crc_16(covered);
        if real != crc {
            return corrupt(format!("the CRC {real:#06x}"), format!("{crc:#06x}"));
        }
        Ok(tag)
    }

    /// As [`Tag::parse`], for a descriptor that has to be of this kind.
    ///
    /// # Errors
    /// As [`Tag::parse`], and if it is of another kind.
    pub fn expect(
        bytes: &[u8],
        position: u64,
        location: Option<u32>,
        id: u16,
    ) -> Result<Self, FormatError> {
        let tag = Self::parse(bytes, position, location)?;
        if tag.id == id {
            return Ok(tag);
        }
        let (expected, found) = (format!("number {id}"), tag.id);
        Err(FormatError::corrupt("kind of a descriptor", position, expected, found))
    }
}

/// The CRC of the polynomial x^16 + x^12 + x^5 + 1.
fn crc_16(bytes: &[u8]) -> u16 {
    const TABLE: [u16; 256] = table();
    bytes.iter().fold(0, |crc: u16, byte| {
        let [high, low] = crc.to_be_bytes();
        let next = TABLE.get(usize::from(high ^ byte)).copied().unwrap_or(0);
        u16::from_be_bytes([low, 0]) ^ next
    })
}

const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte: u16 = 0;
    while byte < 256 {
        let mut crc = byte << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
            bit = 1_u16.wrapping_add(bit);
        }
        #[expect(clippy::as_conversions, reason = "u16 to usize, in a const fn")]
        #[expect(clippy::indexing_slicing, reason = "less than 256")]
        {
            table[byte as usize] = crc;
        }
        byte = byte.wrapping_add(1);
    }
    table
}

/// A tag with both checksums over a descriptor without one, for tests.
#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test numbers")]
pub(super) fn seal(bytes: &mut [u8], id: u16, location: u32) {
    let len = bytes.len() - LEN;
    bytes[..LEN].fill(0);
    bytes[0..2].copy_from_slice(&id.to_le_bytes());
    bytes[2..4].copy_from_slice(&2_u16.to_le_bytes());
    bytes[10..12].copy_from_slice(&u16::try_from(len).unwrap().to_le_bytes());
    bytes[12..16].copy_from_slice(&location.to_le_bytes());
    reseal(bytes);
}

/// Makes both checksums of a changed descriptor right again, for tests.
#[cfg(test)]
pub(super) fn reseal(bytes: &mut [u8]) {
    let len = usize::from(u16::from_le_bytes([bytes[10], bytes[11]]));
    let crc = crc_16(&bytes[LEN..(LEN + len).min(bytes.len())]);
    bytes[8..10].copy_from_slice(&crc.to_le_bytes());
    bytes[4] = 0;
    bytes[4] = bytes[..LEN].iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_is_that_of_the_specification() {
        // ECMA-167, Annex D: 70 6A 77 gives 3299.
        assert_eq!(crc_16(&[0x70, 0x6a, 0x77]), 0x3299);
    }

    #[test]
    fn every_byte_of_a_descriptor_counts() {
        let mut bytes = [7; 100];
        seal(&mut bytes, 5, 300);
        let tag = Tag::parse(&bytes, 0, Some(300)).unwrap();
        assert_eq!((tag.id, tag.version, tag.location), (5, 2, 300));
        assert!(Tag::parse(&bytes, 0, Some(301)).is_err());
        assert!(Tag::expect(&bytes, 0, None, 6).is_err());
        for len in 0..bytes.len() {
            assert!(Tag::parse(&bytes[..len], 0, None).is_err());
            bytes[len] ^= 1;
            assert!(Tag::parse(&bytes, 0, None).is_err(), "{len}");
            bytes[len] ^= 1;
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The checksum of labels, headers and texts: CRC-32 as everywhere, but from
//! another start and without the last inversion.

const INITIAL_CRC: u32 = 0xf597_a6cf;

/// The checksum of these bytes, one after the other.
pub(super) fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(!INITIAL_CRC);
    for part in parts {
        hasher.update(part);
    }
    !hasher.finalize()
}

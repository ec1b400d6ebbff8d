// SPDX-License-Identifier: MIT OR Apache-2.0
//! The checksum of every structure of version 5: CRC-32C over all of it, the
//! checksum's own place taken as zero, stored little-endian.

use crate::ondisk::Fields;

/// The checksum that belongs at `offset`.
pub(super) fn computed(bytes: &[u8], offset: usize) -> u32 {
    let before = bytes.get(..offset).unwrap_or_default();
    let after = bytes.get(offset.saturating_add(4)..).unwrap_or_default();
    let crc = crc32c::crc32c_append(crc32c::crc32c(before), &[0; 4]);
    crc32c::crc32c_append(crc, after)
}

/// The checksum that is stored at `offset`.
pub(super) fn stored(bytes: &[u8], offset: usize) -> u32 {
    bytes.u32_le(offset).unwrap_or(0)
}

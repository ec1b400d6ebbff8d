// SPDX-License-Identifier: MIT OR Apache-2.0
//! Values of options that clap has no parser for.

use crate::error::Error;
use crate::units::{KIB, MIB, SectorSize, parse_size};

/// The sector size of a disk that is kept in a file.
pub(crate) fn sector_size(text: &str) -> Result<SectorSize, String> {
    text.parse().ok().and_then(SectorSize::new).ok_or_else(|| "write 512 or 4096".to_owned())
}

/// The size of a piece of an image.
pub(crate) fn chunk_size(text: &str) -> Result<u32, String> {
    let bytes = parse_size(text).map_err(|error: Error| error.to_string())?;
    u32::try_from(bytes)
        .ok()
        .filter(|_| bytes.is_power_of_two() && (64 * KIB..=8 * MIB).contains(&bytes))
        .ok_or_else(|| "must be a power of two from 64K to 8M".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_possible_sizes_are_taken() {
        assert_eq!(sector_size("4096").unwrap(), SectorSize::B4096);
        for wrong in ["", "0", "520", "4K", "-512", "131072"] {
            assert!(sector_size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(chunk_size("1MiB").unwrap(), 1 << 20);
        for wrong in ["", "0", "32K", "100K", "16M", "x"] {
            assert!(chunk_size(wrong).is_err(), "{wrong}");
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Values of options that clap has no parser for.

use std::time::Duration;

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

/// A time as people write it: 90, 90s, 30m, 8h, 2d.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => 0,
    };
    number
        .parse()
        .ok()
        .and_then(|number: u64| number.checked_mul(seconds))
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs)
        .ok_or_else(|| "write for example 90m, 8h or 2d".to_owned())
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
        assert_eq!(duration("90m").unwrap(), Duration::from_secs(5400));
        assert_eq!(duration("7").unwrap(), Duration::from_secs(7));
        for wrong in ["", "0", "h", "1.5h", "-1s", "1w", "99999999999999999999", "0d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(chunk_size("1MiB").unwrap(), 1 << 20);
        for wrong in ["", "0", "32K", "100K", "16M", "x"] {
            assert!(chunk_size(wrong).is_err(), "{wrong}");
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sizes as people write them, and the checked size of a sector.
//!
//! Every position and length that crosses a module boundary is a `u64` of
//! bytes. Block, cluster and sector numbers never leave the parser that read
//! them, so they cannot be mixed up with bytes.

use std::fmt;

use crate::error::{Error, Result};

/// 1024 bytes.
pub const KIB: u64 = 1 << 10;
/// 1024 KiB.
pub const MIB: u64 = 1 << 20;
/// 1024 MiB.
pub const GIB: u64 = 1 << 30;

/// A sector size: a power of two from 512 to 65536 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SectorSize(u32);

impl SectorSize {
    /// The size of nearly every disk, and of regular files.
    pub const B512: Self = Self(512);
    /// The size of "4K native" disks.
    pub const B4096: Self = Self(4096);

    /// Checks that `bytes` is a possible sector size.
    #[must_use]
    pub const fn new(bytes: u32) -> Option<Self> {
        if bytes.is_power_of_two() && bytes >= 512 && bytes <= 65536 {
            Some(Self(bytes))
        } else {
            None
        }
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0 as u64
    }

    /// The size in bytes as the 32-bit number that formats and ioctls use.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for SectorSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Writes a size with three digits that matter: "512 B", "1.50 GiB", "931 GiB".
#[must_use]
pub fn human(bytes: u64) -> String {
    if bytes < KIB {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// Reads a size: "4096", "256K", "1.5 GiB"; units are powers of 1024.
///
/// # Errors
/// A usage error that names the text.
pub fn parse_size(text: &str) -> Result<u64> {
    let wrong = || Error::usage(format!("'{text}' is not a size; write for example 512K or 1MiB"));
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(split);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return Err(wrong()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift).ok_or_else(wrong);
    }
    let value: f64 = number.parse().map_err(|_| wrong())?;
    let bytes = value * (1_u64 << shift) as f64;
    if bytes.is_finite() && bytes < 1e18 { Ok(bytes as u64) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        assert_eq!(human(0), "0 B");
        assert_eq!(human(1023), "1023 B");
        assert_eq!(human(1536), "1.50 KiB");
        assert_eq!(human(10 * MIB), "10.0 MiB");
        assert_eq!(human(500_107_862_016), "466 GiB");
        assert_eq!(human(1023 * GIB), "1.00 TiB");
    }

    #[test]
    fn sizes_are_read_back() {
        assert_eq!(parse_size("4096").unwrap(), 4096);
        assert_eq!(parse_size("256K").unwrap(), 256 * KIB);
        assert_eq!(parse_size("1.5 GiB").unwrap(), 3 * GIB / 2);
        assert!(parse_size("x").is_err());
        assert!(parse_size("1 parsec").is_err());
        assert!(parse_size("99999999999T").is_err());
    }

    #[test]
    fn a_sector_size_is_a_power_of_two() {
        assert!(SectorSize::new(512).is_some());
        assert!(SectorSize::new(4096).is_some());
        for wrong in [0, 1, 256, 520, 4097, 131_072] {
            assert!(SectorSize::new(wrong).is_none());
        }
    }
}

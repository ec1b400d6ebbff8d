// SPDX-License-Identifier: MIT OR Apache-2.0
//! A sector of a CD with all of its 2352 bytes: what kind it is, and whether
//! its own checksum and error correction agree with its data.
//!
//! Specification: ECMA-130, section 14 and annexes A (RSPC) and B; CD-ROM XA
//! for the two forms of mode 2.

use crate::device::RAW_SECTOR;
use crate::ondisk::Fields;

/// What every sector with data begins with.
const SYNC: [u8; 12] = [0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0];

/// What a sector says of its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Sound, or data of another kind: there is nothing to check.
    Plain,
    /// Data, and nothing that contradicts it.
    Good,
    /// Data that its checksum or its error correction contradicts.
    Damaged,
}

/// Looks at a sector of 2352 bytes.
#[must_use]
pub fn check(sector: &[u8]) -> Found {
    if sector.len() != RAW_SECTOR || !sector.starts_with(&SYNC) {
        return Found::Plain;
    }
    let is_good = match sector.u8_at(15) {
        Some(1) => {
            let has_gap = sector.bytes_at(2068, 8) == Some(&[0; 8]);
            has_gap && has_checksum(sector, 0, 2064) && has_parity(sector)
        }
        // The bit of the subheader that means form 2.
        Some(2) if sector.u8_at(18).is_some_and(|submode| submode & 0x20 != 0) => {
            // Its checksum may be left out.
            sector.u32_le(2348) == Some(0) || has_checksum(sector, 16, 2348)
        }
        Some(2) if sector.bytes_at(16, 4) == sector.bytes_at(20, 4) => {
            // The address is no part of what is corrected.
            let mut plain = sector.to_vec();
            plain.get_mut(12..16).unwrap_or_default().fill(0);
            has_checksum(sector, 16, 2072) && has_parity(&plain)
        }
        _ => return Found::Plain,
    };
    if is_good { Found::Good } else { Found::Damaged }
}

/// The 2048 bytes of data of a sector; None if it holds none in that form.
#[must_use]
pub fn data(sector: &[u8]) -> Option<&[u8]> {
    if !sector.starts_with(&SYNC) {
        return None;
    }
    match sector.u8_at(15)? {
        1 => sector.bytes_at(16, 2048),
        2 => sector.bytes_at(24, 2048),
        _ => None,
    }
}

/// The mode of a sector with data.
#[must_use]
pub fn mode(sector: &[u8]) -> Option<u8> {
    sector.starts_with(&SYNC).then(|| sector.u8_at(15))?
}

/// True if the checksum of the bytes from `start` is what stands at `end`.
fn has_checksum(sector: &[u8], start: usize, end: usize) -> bool {
    let covered = sector.get(start..end).unwrap_or_default();
    sector.u32_le(end) == Some(checksum(covered))
}

/// The checksum (EDC): x^32 + x^31 + x^16 + x^15 + x^4 + x^3 + x + 1, the lowest
/// bit first.
fn checksum(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = checksum_table();
    bytes.iter().fold(0, |sum, byte| {
        let [low, ..] = sum.to_le_bytes();
        (sum >> 8) ^ TABLE[usize::from(low ^ byte)]
    })
}

const fn checksum_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut number = 0;
    while number < 256 {
        let mut sum = number as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xd801_8001 } else { sum >> 1 };
            bit += 1;
        }
        table[number] = sum;
        number += 1;
    }
    table
}

/// True if both layers of the error correction agree: 86 columns of 24 bytes
/// (P), and 52 diagonals of 43 over data and P (Q). Bytes are counted from
/// the header.
fn has_parity(sector: &[u8]) -> bool {
    let Some(body) = sector.get(12..) else { return false };
    let columns = (0..86).all(|column| {
        let places = (0..24).map(|row| column + 86 * row);
        agrees(body, places, 2064 + column, 86)
    });
    let diagonals = (0..52).all(|diagonal| {
        let (pair, low) = (diagonal / 2, diagonal % 2);
        let places = (0..43).map(|step| (pair * 86 + step * 88 + low) % 2236);
        agrees(body, places, 2236 + diagonal, 52)
    });
    columns && diagonals
}

/// True if the two bytes of parity at `first`, and `apart` behind it, belong to
/// the bytes at `places`.
fn agrees(body: &[u8], places: impl Iterator<Item = usize>, first: usize, apart: usize) -> bool {
    let (mut weighted, mut sum) = (0_u8, 0_u8);
    for place in places {
        let byte = body.get(place).copied().unwrap_or(0);
        weighted = double(weighted ^ byte);
        sum ^= byte;
    }
    // Of the two equations a + b = sum, a * x + b = weighted * x.
    let one = divide(double(weighted) ^ sum);
    body.get(first) == Some(&one) && body.get(first + apart) == Some(&(one ^ sum))
}

/// Times x in GF(2^8) modulo x^8 + x^4 + x^3 + x^2 + 1.
const fn double(byte: u8) -> u8 {
    (byte << 1) ^ if byte & 0x80 != 0 { 0x1d } else { 0 }
}

/// Divided by x + 1.
fn divide(byte: u8) -> u8 {
    const TABLE: [u8; 256] = divide_table();
    TABLE[usize::from(byte)]
}

const fn divide_table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut number = 0;
    while number < 256 {
        let byte = number as u8;
        table[(double(byte) ^ byte) as usize] = byte;
        number += 1;
    }
    table
}

#[cfg(test)]
pub(super) mod samples {
    use super::*;

    /// A sector of mode 1 with everything that belongs to it.
    pub(in crate::disc) fn mode_1(number: u32, data: &[u8]) -> Vec<u8> {
        let bcd = |n: u32| u8::try_from(n / 10 * 16 + n % 10).unwrap();
        let frames = number + 150;
        let mut sector = SYNC.to_vec();
        sector.extend([bcd(frames / 4500), bcd(frames / 75 % 60), bcd(frames % 75), 1]);
        sector.extend(data);
        sector.extend(checksum(&sector).to_le_bytes());
        sector.resize(RAW_SECTOR, 0);
        let parity = |sector: &mut Vec<u8>, places: Vec<usize>, first: usize, apart: usize| {
            let (mut weighted, mut sum) = (0, 0);
            for place in places {
                weighted = double(weighted ^ sector[12 + place]);
                sum ^= sector[12 + place];
            }
            let one = divide(double(weighted) ^ sum);
            sector[12 + first] = one;
            sector[12 + first + apart] = one ^ sum;
        };
        for column in 0..86 {
            let places = (0..24).map(|row| column + 86 * row).collect();
            parity(&mut sector, places, 2064 + column, 86);
        }
        for diagonal in 0..52 {
            let places = (0..43).map(|s| (diagonal / 2 * 86 + s * 88 + diagonal % 2) % 2236);
            parity(&mut sector, places.collect(), 2236 + diagonal, 52);
        }
        sector
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_sector_with_data_is_noticed() {
        let data: Vec<u8> = (0..2048_u32).map(|n| (n * 7 % 256) as u8).collect();
        let good = samples::mode_1(16, &data);
        assert_eq!(check(&good), Found::Good);
        assert_eq!(super::data(&good), Some(&data[..]));
        assert_eq!(mode(&good), Some(1));
        for place in 16..RAW_SECTOR {
            let mut bad = good.clone();
            bad[place] ^= 1 << (place % 8);
            assert_eq!(check(&bad), Found::Damaged, "byte {place}");
        }
    }

    #[test]
    fn sound_and_short_sectors_have_nothing_to_check() {
        assert_eq!(check(&[0; RAW_SECTOR]), Found::Plain);
        assert_eq!(check(&[1; 100]), Found::Plain);
        assert_eq!(check(&[]), Found::Plain);
        assert_eq!(data(&[0; RAW_SECTOR]), None);
    }
}

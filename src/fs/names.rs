// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names that a filesystem keeps as UTF-16, and times as Windows counts them.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::ondisk::FormatError;

/// The bytes of a name as UTF-8; what is no character because a surrogate is
/// alone as WTF-8, which no other name can be.
pub(super) fn wtf8(units: impl IntoIterator<Item = u16>) -> Vec<u8> {
    let mut name = Vec::new();
    for character in char::decode_utf16(units) {
        match character {
            Ok(character) => {
                name.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            Err(alone) => {
                let unit = alone.unpaired_surrogate();
                let [low, _] = unit.to_le_bytes();
                let middle = unit.wrapping_shr(6).to_le_bytes()[0];
                name.extend([0xed, 0x80 | middle & 0x3f, 0x80 | low & 0x3f]);
            }
        }
    }
    name
}

/// The UTF-16 of a name in WTF-8; `None` if the bytes are neither that nor
/// UTF-8, so that no name is like it.
pub(super) fn utf16(name: &[u8]) -> Option<Vec<u16>> {
    let mut units = Vec::with_capacity(name.len());
    let mut rest = name;
    while !rest.is_empty() {
        let (good, bad) = match str::from_utf8(rest) {
            Ok(good) => (good, &rest[..0]),
            Err(error) => {
                let (good, bad) = rest.split_at_checked(error.valid_up_to())?;
                (str::from_utf8(good).ok()?, bad)
            }
        };
        units.extend(good.encode_utf16());
        rest = match *bad {
            [] => bad,
            [0xed, middle @ 0xa0..=0xbf, last @ 0x80..=0xbf, ..] => {
                let middle = u16::from(middle & 0x3f).wrapping_shl(6);
                units.push(0xd000 | middle | u16::from(last & 0x3f));
                bad.get(3..)?
            }
            _ => return None,
        };
    }
    Some(units)
}

/// What a name is compared by where letters of another case are the same:
/// `fold` gives the letter that stands for both. `None` if it is no name there.
pub(super) fn folded(name: &[u8], fold: impl Fn(u16) -> u16) -> Option<Vec<u8>> {
    Some(utf16(name)?.into_iter().flat_map(|unit| fold(unit).to_le_bytes()).collect())
}

/// The little-endian units of a name on the disk.
pub(super) fn units_le(bytes: &[u8]) -> impl Iterator<Item = u16> + Clone + '_ {
    bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit))
}

/// An error unless this can be the name of something in a folder.
pub(super) fn check(name: &[u8], position: u64) -> Result<(), FormatError> {
    let is_name = !name.is_empty()
        && name != b"."
        && name != b".."
        && !name.iter().any(|b| b"/\0".contains(b));
    if is_name {
        return Ok(());
    }
    let found = name.escape_ascii().to_string();
    Err(FormatError::corrupt("name in a folder", position, "a name", format!("\"{found}\"")))
}

/// The capital of a letter, as far as it is one unit and Unicode has one.
pub(super) fn capital(unit: u16) -> u16 {
    let Some(letter) = char::from_u32(unit.into()) else { return unit };
    let mut capitals = letter.to_uppercase();
    match (capitals.next(), capitals.next()) {
        (Some(capital), None) => u16::try_from(u32::from(capital)).unwrap_or(unit),
        _ => unit,
    }
}

/// A time in units of 100 nanoseconds since 1601, as Windows counts.
pub(super) fn windows_time(ticks: u64) -> Option<Timestamp> {
    const EPOCH: i128 = 11_644_473_600_000_000_000;
    let nanoseconds = i128::from(ticks).checked_mul(100)?.checked_sub(EPOCH)?;
    Timestamp::from_nanosecond(nanoseconds).ok()
}

/// A time as DOS counts, in two seconds and what is added to them in
/// hundredths; without a zone, so taken as UTC.
pub(super) fn dos_time(date: u16, time: u16, hundredths: u8) -> Option<Timestamp> {
    let bits = |field: u16, shift: u32, count: u32| {
        let mask = 1_u16.wrapping_shl(count).wrapping_sub(1);
        i8::try_from(field.wrapping_shr(shift) & mask).ok()
    };
    let year = i16::try_from(date.wrapping_shr(9)).ok()?.checked_add(1980)?;
    let (month, day) = (bits(date, 5, 4)?, bits(date, 0, 5)?);
    let date = Date::new(year, month, day).ok()?;
    let (hour, minute) = (bits(time, 11, 5)?, bits(time, 5, 6)?);
    let second = bits(time, 0, 5)?.checked_mul(2)?;
    let time = Time::new(hour, minute, second, 0).ok()?;
    let added = SignedDuration::from_millis(i64::from(hundredths).checked_mul(10)?);
    let start = date.to_datetime(time).to_zoned(TimeZone::UTC).ok()?.timestamp();
    start.checked_add(added).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn every_row_of_units_is_a_name_of_its_own(
            units in prop::collection::vec(any::<u16>(), 0..9),
            surrogates in prop::collection::vec(0xd700_u16..0xe100, 0..9),
        ) {
            for units in [units, surrogates] {
                let name = wtf8(units.iter().copied());
                prop_assert_eq!(utf16(&name), Some(units));
            }
        }

        #[test]
        fn characters_are_utf8(text in ".{0,9}") {
            prop_assert_eq!(wtf8(text.encode_utf16()), text.as_bytes());
        }

        #[test]
        fn any_bytes_are_a_name_or_none(bytes in prop::collection::vec(any::<u8>(), 0..9)) {
            let _ = utf16(&bytes);
        }
    }

    #[test]
    fn times_of_windows() {
        assert_eq!(windows_time(116_444_736_000_000_000), Some(Timestamp::UNIX_EPOCH));
        assert_eq!(windows_time(0), "1601-01-01T00:00:00Z".parse().ok());
        assert_eq!(windows_time(u64::MAX), None);
    }

    #[test]
    fn times_of_dos() {
        let date = 46 << 9 | 11 << 5 | 27;
        let time = 23 << 11 | 59 << 5 | 29;
        assert_eq!(dos_time(date, time, 150), "2026-11-27T23:59:59.5Z".parse().ok());
        assert_eq!(dos_time(0, 0, 0), None);
        assert_eq!(dos_time(date, time | 31, 0), None);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Timestamps (ECMA-167, 1/7.3).

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::{Offset, TimeZone};

use crate::ondisk::Fields;

/// The time in a field of 12 bytes; `None` if it is not set, or no time. One
/// whose zone is not given is taken as UTC.
pub(super) fn timestamp(field: &[u8]) -> Option<Timestamp> {
    const NO_ZONE: i16 = -2047;
    let zone = field.u16_le(0)?;
    // Twelve bits with a sign: minutes east of Greenwich.
    let minutes = i16::from_le_bytes(zone.wrapping_shl(4).to_le_bytes()).wrapping_shr(4);
    let minutes = if minutes == NO_ZONE || minutes.abs() > 1440 { 0 } else { minutes };
    let year = i16::from_le_bytes(field.array(2)?);
    let small = |offset: usize| i8::try_from(field.u8_at(offset)?).ok();
    let date = Date::new(year, small(4)?, small(5)?).ok()?;
    let part = |offset: usize, unit: i32| {
        // What is no part of a hundred is left out, as by Linux.
        let number = i32::from(field.u8_at(offset)?);
        if number < 100 { number.checked_mul(unit) } else { Some(0) }
    };
    let nanoseconds =
        part(9, 10_000_000)?.checked_add(part(10, 100_000)?)?.checked_add(part(11, 1000)?)?;
    let time = Time::new(small(6)?, small(7)?, small(8)?, nanoseconds).ok()?;
    let seconds = i32::from(minutes).checked_mul(60)?;
    let zone = TimeZone::fixed(Offset::from_seconds(seconds).ok()?);
    Some(date.to_datetime(time).to_zoned(zone).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_their_zone() {
        let time = |text: &str| text.parse::<Timestamp>().ok();
        let field = |zone: u16| {
            let [low, high] = zone.to_le_bytes();
            [low, high, 0xe8, 7, 1, 2, 3, 4, 5, 6, 7, 8]
        };
        assert_eq!(timestamp(&field(0x1000 | 60)), time("2024-01-02T02:04:05.060708Z"));
        assert_eq!(timestamp(&field(0x1fc4)), time("2024-01-02T04:04:05.060708Z"));
        assert_eq!(timestamp(&field(0x1801)), time("2024-01-02T03:04:05.060708Z"));
        assert_eq!(timestamp(&[0; 12]), None);
        assert_eq!(timestamp(&[0; 5]), None);
    }
}

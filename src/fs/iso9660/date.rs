// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two ways in which ISO 9660 writes a time: as digits in descriptors
//! (ECMA-119, 8.4.26.1), as seven numbers in directory records (9.1.5).

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::{Offset, TimeZone};

use crate::ondisk::Fields as _;

/// A time of a volume descriptor, 17 bytes; `None` if it is not set, or no time.
pub(super) fn of_descriptor(field: &[u8]) -> Option<Timestamp> {
    let digits = field.get(..16)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |start: usize, len: usize| {
        let digits = digits.bytes_at(start, len)?;
        str::from_utf8(digits).ok()?.parse::<i16>().ok()
    };
    let small = |start: usize| i8::try_from(number(start, 2)?).ok();
    let date = Date::new(number(0, 4)?, small(4)?, small(6)?).ok()?;
    let nanoseconds = i32::from(number(14, 2)?).checked_mul(10_000_000)?;
    let time = Time::new(small(8)?, small(10)?, small(12)?, nanoseconds).ok()?;
    in_zone(date, time, field.u8_at(16)?)
}

/// A time of a directory record, 7 bytes; `None` if it is not set, or no time.
pub(super) fn of_record(field: &[u8]) -> Option<Timestamp> {
    let [years, month, day, hour, minute, second, zone] = *field.first_chunk::<7>()?;
    let year = i16::from(years).checked_add(1900)?;
    let small = |number: u8| i8::try_from(number).ok();
    let date = Date::new(year, small(month)?, small(day)?).ok()?;
    let time = Time::new(small(hour)?, small(minute)?, small(second)?, 0).ok()?;
    in_zone(date, time, zone)
}

/// The zone is a number of quarters of an hour east of Greenwich, with a sign.
/// What is none of this world's is taken as UTC, as Linux does.
fn in_zone(date: Date, time: Time, zone: u8) -> Option<Timestamp> {
    let quarters = Some(i8::from_le_bytes([zone])).filter(|it| (-52..=52).contains(it));
    let seconds = i32::from(quarters.unwrap_or(0)).checked_mul(15 * 60)?;
    let zone = TimeZone::fixed(Offset::from_seconds(seconds).ok()?);
    Some(date.to_datetime(time).to_zoned(zone).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_their_zone() {
        let time = |text: &str| text.parse::<Timestamp>().ok();
        assert_eq!(of_descriptor(b"2024010203040506\x04"), time("2024-01-02T02:04:05.06Z"));
        assert_eq!(of_descriptor(b"2024010203040506\xfc"), time("2024-01-02T04:04:05.06Z"));
        assert_eq!(of_descriptor(b"0000000000000000\0"), None);
        assert_eq!(of_descriptor(b"2024130203040506\0"), None);
        assert_eq!(of_descriptor(b"                \0"), None);
        assert_eq!(of_descriptor(b"2024"), None);
        assert_eq!(of_record(&[124, 1, 2, 3, 4, 5, 0]), time("2024-01-02T03:04:05Z"));
        assert_eq!(of_record(&[124, 1, 2, 3, 4, 5, 100]), time("2024-01-02T03:04:05Z"));
        assert_eq!(of_record(&[0; 7]), None);
        assert_eq!(of_record(&[124]), None);
    }
}

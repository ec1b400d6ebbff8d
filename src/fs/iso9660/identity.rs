// SPDX-License-Identifier: MIT OR Apache-2.0
//! Label and UUID of an ISO 9660, with or without Joliet. What they are made of
//! is libblkid's choice, which everybody's `/dev/disk/by-uuid` shows.

use super::SECTOR;
use crate::fs::Identity;
use crate::fs::signature::Volume;
use crate::ondisk::{Fields, FormatError, text};

/// Where the descriptors begin.
const DESCRIPTORS: u64 = 0x8000;

/// ISO 9660 has its label in the primary descriptor, or with more letters in
/// the one of Joliet.
pub(super) fn identity(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    const MOST: u64 = 16;
    if !volume.has(DESCRIPTORS.saturating_add(1), b"CD001")? {
        return Ok(None);
    }
    let (mut primary, mut joliet) = (None, None);
    for number in 0..MOST {
        let start = DESCRIPTORS.saturating_add(number.saturating_mul(SECTOR));
        let Some(descriptor) = volume.bytes(start, 2048)? else { break };
        match descriptor.u8_at(0) {
            Some(0xff) => break,
            Some(1) if primary.is_none() => primary = Some(descriptor),
            Some(2) if joliet.is_none() => {
                let escape = descriptor.bytes_at(88, 3);
                if matches!(escape, Some(b"%/@" | b"%/C" | b"%/E")) {
                    joliet = Some(descriptor);
                }
            }
            _ => {}
        }
    }
    let mut identity = volume.identity("ISO 9660", None, None)?;
    let Some(primary) = primary else { return Ok(Some(identity)) };
    let plain = primary.bytes_at(40, 32).unwrap_or_default();
    let label = match joliet.as_ref().and_then(|joliet| joliet.bytes_at(40, 32)) {
        Some(wide) => merged(wide, plain).unwrap_or_else(|| units(wide)),
        None => text(plain),
    };
    identity.label = Some(label.trim().to_owned()).filter(|label| !label.is_empty());
    // The time of the last change, or of its making.
    identity.uuid = [830, 813].iter().find_map(|offset| time(primary.bytes_at(*offset, 17)?));
    Ok(Some(identity))
}

/// A time as an identifier, unless it is not set.
fn time(field: &[u8]) -> Option<String> {
    let digits = field.get(..16)?;
    if digits.iter().all(|digit| *digit == b'0') && field.u8_at(16) == Some(0) {
        return None;
    }
    let written = String::from_utf8_lossy(digits);
    let parts = [0..4, 4..6, 6..8, 8..10, 10..12, 12..14, 14..16];
    let parts: Option<Vec<&str>> = parts.into_iter().map(|part| written.get(part)).collect();
    Some(text(parts?.join("-").as_bytes())).filter(|time| !time.is_empty())
}

/// Joliet has 16 letters of any kind, the primary descriptor 32 of ASCII with
/// `_` for all others. If one begins with the other, this is both together.
fn merged(wide: &[u8], plain: &[u8]) -> Option<String> {
    let mut found: Vec<u16> = Vec::new();
    let mut letters = plain.iter().copied();
    let mut units = wide.chunks_exact(2).filter_map(|unit| unit.u16_be(0)).peekable();
    while let Some(unit) = units.next() {
        let Some(letter) = letters.next() else { break };
        let mut unit = unit;
        // One letter of the plain label stands for two units of a pair.
        if (0xd800..0xdc00).contains(&unit)
            && let Some(second) = units.next_if(|next| (0xdc00..0xe000).contains(next))
        {
            found.push(unit);
            unit = second;
        }
        let [high, low] = unit.to_be_bytes();
        if letter == b'_' {
            found.push(unit);
        } else if unit == u16::from(b'_') {
            found.push(u16::from(letter));
        } else if high == 0 && letter.eq_ignore_ascii_case(&low) {
            let is_upper = letter.is_ascii_uppercase();
            found.push(if is_upper { unit } else { u16::from(letter) });
        } else {
            return None;
        }
    }
    found.extend(letters.map(u16::from));
    Some(decode(&found))
}

fn units(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes.chunks_exact(2).filter_map(|unit| unit.u16_be(0)).collect();
    decode(&units)
}

fn decode(units: &[u16]) -> String {
    let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
    let units = units.get(..end).unwrap_or_default();
    text(String::from_utf16_lossy(units).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wide(letters: &str) -> Vec<u8> {
        let mut bytes: Vec<u8> = letters.encode_utf16().flat_map(u16::to_be_bytes).collect();
        bytes.resize(32, 0);
        bytes
    }

    #[test]
    fn two_labels_are_put_together_if_one_begins_with_the_other() {
        let plain = b"A_LONG_LABEL_OF_A_DISC__________";
        let found = merged(&wide("A long LABEL of "), plain).unwrap();
        assert_eq!(found, "A long LABEL of A_DISC__________");
        assert_eq!(merged(&wide("Another"), plain), None);
        let found = merged(&wide("A_\u{41b}\u{1f3b5}xxxxxxxxxxx"), b"AB__XXXXXXXXXXXX").unwrap();
        assert_eq!(found, "AB\u{41b}\u{1f3b5}xxxxxxxxxxxX");
        assert_eq!(merged(&[], &[]).as_deref(), Some(""));
    }

    #[test]
    fn a_time_that_is_not_set_is_none() {
        assert_eq!(time(b"0000000000000000\0"), None);
        let found = time(b"2024010203040506\0");
        assert_eq!(found.as_deref(), Some("2024-01-02-03-04-05-06"));
        assert_eq!(time(b"20240102"), None);
        assert!(time(b"\xff\xff24010203040506\0").is_none_or(|time| !time.contains('\u{1b}')));
    }
}

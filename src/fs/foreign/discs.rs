// SPDX-License-Identifier: MIT OR Apache-2.0
//! The filesystems of optical discs: ISO 9660 with or without Joliet, and UDF.
//!
//! Specifications: ECMA-119 (ISO 9660), the Joliet specification, ECMA-167 and
//! OSTA "Universal Disk Format Specification" 2.60. What a label and a UUID are
//! made of is libblkid's choice, which everybody's `/dev/disk/by-uuid` shows.

use crate::fs::Identity;
use crate::fs::signature::Volume;
use crate::ondisk::{Fields, FormatError, text};

/// Where the descriptors of both begin.
const DESCRIPTORS: u64 = 0x8000;
const SECTOR: u64 = 2048;

/// ISO 9660 has its label in the primary descriptor, or with more letters in
/// the one of Joliet.
pub(super) fn iso9660(volume: &Volume) -> Result<Option<Identity>, FormatError> {
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

/// UDF has an NSR descriptor among the volume structure descriptors, which
/// are 2 KiB apart, or a sector if that is larger.
pub(super) fn udf(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    let mut is_udf = false;
    for step in [SECTOR, 4096] {
        for number in 0..64_u64 {
            let offset = number.saturating_mul(step).saturating_add(DESCRIPTORS);
            let Some(name) = volume.bytes(offset.saturating_add(1), 5)? else { break };
            match name.as_slice() {
                b"NSR02" | b"NSR03" => {
                    is_udf = true;
                    break;
                }
                b"BEA01" | b"BOOT2" | b"CD001" | b"CDW02" | b"TEA01" => {}
                _ => break,
            }
        }
    }
    if !is_udf {
        return Ok(None);
    }
    let mut identity = volume.identity("UDF", None, None)?;
    (identity.label, identity.uuid) = udf_names(volume)?;
    Ok(Some(identity))
}

/// The label is the name of the logical volume, the UUID is made of that of the
/// volume set.
fn udf_names(volume: &Volume) -> Result<(Option<String>, Option<String>), FormatError> {
    const ANCHOR: u16 = 2;
    const PRIMARY: u16 = 1;
    const LOGICAL: u16 = 6;
    const TERMINATING: u16 = 8;
    const MOST: u32 = 64;
    let (mut label, mut uuid) = (None, None);
    // The size of a block is not known; the anchor tells, which is in block 256
    // or 512.
    for block in [512_u64, 1024, 2048, 4096] {
        for number in [256_u32, 512] {
            let start = u64::from(number).saturating_mul(block);
            let Some(anchor) = volume.bytes(start, 512)? else { continue };
            if anchor.u16_le(0) != Some(ANCHOR) || anchor.u32_le(12) != Some(number) {
                continue;
            }
            let first = anchor.u32_le(20).unwrap_or(0);
            let count = u64::from(anchor.u32_le(16).unwrap_or(0)).checked_div(block).unwrap_or(0);
            let count = u32::try_from(count).unwrap_or(MOST).min(MOST);
            for place in (0..count).map(|number| first.saturating_add(number)) {
                let start = u64::from(place).saturating_mul(block);
                let Some(descriptor) = volume.bytes(start, 512)? else { break };
                if descriptor.u32_le(12) != Some(place) {
                    break;
                }
                match descriptor.u16_le(0) {
                    Some(0 | TERMINATING) | None => break,
                    Some(PRIMARY) if uuid.is_none() && is_udf_text(&descriptor, 200) => {
                        uuid = descriptor.bytes_at(72, 128).and_then(dstring).and_then(set_uuid);
                    }
                    Some(LOGICAL) if label.is_none() && is_udf_text(&descriptor, 20) => {
                        label = descriptor.bytes_at(84, 128).and_then(dstring);
                    }
                    Some(_) => {}
                }
            }
            let label = label.map(|label| text(label.as_bytes()));
            return Ok((label.filter(|label| !label.is_empty()), uuid));
        }
    }
    Ok((None, None))
}

/// True if a field says that the text is in OSTA's encoding.
fn is_udf_text(descriptor: &[u8], offset: usize) -> bool {
    const NAME: &[u8] = b"\0OSTA Compressed Unicode\0";
    descriptor.bytes_at(offset, NAME.len()) == Some(NAME)
}

/// A string in a field: the kind of its letters, the letters, and in the last
/// byte how many bytes of the field are in use.
fn dstring(field: &[u8]) -> Option<String> {
    let (last, rest) = field.split_last()?;
    let letters = rest.get(1..usize::from(*last).min(rest.len()).max(1))?;
    match field.u8_at(0)? {
        8 => Some(letters.iter().copied().take_while(|b| *b != 0).map(char::from).collect()),
        16 => Some(units(letters)),
        _ => None,
    }
}

/// 16 letters of the name of a volume set: those that are hexadecimal as they
/// are, others by their codes.
fn set_uuid(name: String) -> Option<String> {
    let bytes = name.as_bytes();
    let bytes = bytes.get(..bytes.len().min(16))?;
    if bytes.len() < 8 {
        return None;
    }
    let is_hex = |byte: &u8| byte.is_ascii_hexdigit();
    let codes = |part: &[u8]| part.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let first = bytes.get(..8)?;
    let letters = |part: &[u8]| String::from_utf8_lossy(part).to_lowercase();
    if !first.iter().all(is_hex) {
        return Some(codes(first));
    }
    if bytes.len() == 16 && bytes.iter().all(is_hex) {
        return Some(letters(bytes));
    }
    let mut rest = bytes.get(8..bytes.len().min(12)).unwrap_or_default().to_vec();
    rest.resize(4, 0);
    Some(format!("{}{}", letters(first), codes(&rest)))
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
    fn strings_in_fields_end_where_they_say() {
        let field = |bytes: &[u8], last: u8| {
            let mut field = bytes.to_vec();
            field.resize(127, 0);
            field.push(last);
            dstring(&field)
        };
        assert_eq!(field(b"\x08abc", 4).as_deref(), Some("abc"));
        assert_eq!(field(b"\x08abc", 3).as_deref(), Some("ab"));
        assert_eq!(field(b"\x08ab\xe9", 4).as_deref(), Some("ab\u{e9}"));
        assert_eq!(field(b"\x10\x04\x1b\x04\x30", 5).as_deref(), Some("\u{41b}\u{430}"));
        assert_eq!(field(b"\x08abc", 0xff).as_deref(), Some("abc"));
        assert_eq!(field(b"\x08abc", 0).as_deref(), Some(""));
        assert_eq!(field(b"\x09abc", 4), None);
        assert_eq!(dstring(&[]), None);
        assert_eq!(dstring(&[8]), None);
    }

    #[test]
    fn a_volume_set_has_an_identifier_of_sixteen_digits() {
        let uuid = |name: &str| set_uuid(name.to_owned());
        assert_eq!(uuid("0123456789ABCDEFsome text").as_deref(), Some("0123456789abcdef"));
        assert_eq!(uuid("0123456789abXYZ0").as_deref(), Some("0123456738396162"));
        assert_eq!(uuid("01234567").as_deref(), Some("0123456700000000"));
        assert_eq!(uuid("a name of it").as_deref(), Some("61206e616d65206f"));
        assert_eq!(uuid("short"), None);
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

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Text: OSTA Compressed Unicode, letters of 8 or of 16 bits (UDF 2.60, 2.1.1).

use crate::fs::names;
use crate::ondisk::{Fields, text};

/// The letters behind the byte that says how they are written; `None` if it says
/// something else. 254 and 255 are those of names that were deleted.
pub(super) fn units(field: &[u8]) -> Option<Vec<u16>> {
    let (kind, letters) = field.split_first()?;
    match kind {
        8 | 254 => Some(letters.iter().copied().map(u16::from).collect()),
        16 | 255 => Some(letters.chunks_exact(2).filter_map(|unit| unit.u16_be(0)).collect()),
        _ => None,
    }
}

/// A string in a field: the kind of its letters, the letters, and in the last
/// byte how many bytes of the field are in use.
pub(super) fn dstring(field: &[u8]) -> Option<String> {
    let (last, rest) = field.split_last()?;
    let used = rest.get(..usize::from(*last).min(rest.len()).max(1))?;
    let mut units = units(used)?;
    let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
    units.truncate(end);
    Some(text(&names::wtf8(units)))
}

/// As [`dstring`]; nothing for what is not set or no text.
pub(super) fn words(bytes: &[u8], offset: usize, len: usize) -> String {
    bytes.bytes_at(offset, len).and_then(dstring).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}

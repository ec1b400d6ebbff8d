// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names in folders: short ones of 8 and 3 letters, and long ones in entries
//! before them.
//!
//! A short name is in the code page of the system that made it, of which the
//! volume keeps no trace. It is read in code page 437, that of DOS and of
//! Windows in English; letters beyond ASCII may be other ones in truth. Whatever
//! has a letter of either case beyond what two flags can tell has a long name,
//! which is in Unicode.

use crate::fs::names::{units_le, wtf8};
use crate::ondisk::Fields;

/// The upper half of code page 437.
const CODE_PAGE: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨\
                         ╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

/// The most parts of a long name, 13 letters each: 255 letters.
const MAX_PARTS: usize = 20;

/// The attributes of an entry that holds a part of a long name.
const LONG_NAME: u8 = 0x0f;

/// True if an entry holds a part of a long name.
pub(super) fn is_part(entry: &[u8]) -> bool {
    entry.u8_at(11).is_some_and(|attributes| attributes & 0x3f == LONG_NAME)
}

/// The name of 11 letters in an entry.
pub(super) fn short(entry: &[u8]) -> Vec<u8> {
    const LOWER_BASE: u8 = 0x08;
    const LOWER_EXTENSION: u8 = 0x10;
    let case = entry.u8_at(12).unwrap_or(0);
    let part = |offset, len, lower: u8| {
        let bytes = entry.bytes_at(offset, len).unwrap_or_default().trim_ascii_end();
        // The first letter 0xE5 would be a deleted entry.
        let first = bytes.first().map(|byte| if offset == 0 && *byte == 5 { 0xe5 } else { *byte });
        let letters = first.into_iter().chain(bytes.iter().skip(1).copied()).map(letter);
        let mut text: String = letters.collect();
        if case & lower != 0 {
            text.make_ascii_lowercase();
        }
        text
    };
    let (base, extension) = (part(0, 8, LOWER_BASE), part(8, 3, LOWER_EXTENSION));
    let name = if extension.is_empty() { base } else { format!("{base}.{extension}") };
    name.into_bytes()
}

fn letter(byte: u8) -> char {
    match byte.checked_sub(0x80) {
        None => byte.into(),
        Some(index) => CODE_PAGE.chars().nth(index.into()).unwrap_or('\u{fffd}'),
    }
}

/// The checksum of a short name, by which a long one is known to be of it.
fn checksum(short: &[u8]) -> u8 {
    short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

/// Puts a long name together, whose last part comes first.
#[derive(Debug, Default)]
pub(super) struct LongName {
    /// From the last part to the first.
    parts: Vec<[u8; 26]>,
    missing: u8,
    checksum: u8,
}

impl LongName {
    /// The next entry.
    pub(super) fn push(&mut self, entry: &[u8]) {
        const LAST: u8 = 0x40;
        let order = entry.u8_at(0).unwrap_or(0);
        let (number, checksum) = (order & 0x3f, entry.u8_at(13).unwrap_or(0));
        let is_first = order & LAST != 0 && (1..=MAX_PARTS).contains(&usize::from(number));
        if is_first {
            *self = Self { parts: Vec::new(), missing: number, checksum };
        }
        let mut part = [0; 26];
        let pieces = [entry.bytes_at(1, 10), entry.bytes_at(14, 12), entry.bytes_at(28, 4)];
        for (to, from) in part.iter_mut().zip(pieces.into_iter().flatten().flatten()) {
            *to = *from;
        }
        if number == 0 || number != self.missing || checksum != self.checksum {
            return *self = Self::default();
        }
        self.parts.push(part);
        self.missing = number.saturating_sub(1);
    }

    /// The name, if all of it came, of the short name in `entry`; the next one
    /// begins anew.
    pub(super) fn take(&mut self, entry: &[u8]) -> Option<Vec<u8>> {
        let all = std::mem::take(self);
        let short = entry.bytes_at(0, 11)?;
        if all.parts.is_empty() || all.missing > 0 || checksum(short) != all.checksum {
            return None;
        }
        let units = all.parts.iter().rev().flat_map(|part| units_le(part));
        let name = wtf8(units.take_while(|unit| *unit != 0));
        (!name.is_empty()).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &[u8; 11], case: u8) -> [u8; 32] {
        let mut entry = [0; 32];
        entry[..11].copy_from_slice(name);
        entry[12] = case;
        entry
    }

    #[test]
    fn short_names() {
        let text = |name, case| String::from_utf8(short(&entry(name, case))).unwrap();
        assert_eq!(CODE_PAGE.chars().count(), 128);
        assert_eq!(text(b"README  TXT", 0), "README.TXT");
        assert_eq!(text(b"README  TXT", 0x08), "readme.TXT");
        assert_eq!(text(b"README  TXT", 0x18), "readme.txt");
        assert_eq!(text(b"NO         ", 0), "NO");
        assert_eq!(text(b"\x8eRGER   \x90\x9a ", 0), "ÄRGER.ÉÜ");
        assert_eq!(text(b"\x05AB        ", 0), "σAB");
    }

    #[test]
    fn long_names_belong_to_their_short_name() {
        let short = entry(b"ALONGN~1TXT", 0);
        let sum = checksum(&short[..11]);
        let part = |order: u8, text: &str, sum: u8| {
            let mut part = [0xff; 32];
            part[0] = order;
            part[11] = LONG_NAME;
            part[13] = sum;
            let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let places = (1..11).chain(14..26).chain(28..32);
            places.zip(bytes).for_each(|(at, byte)| part[at] = byte);
            part
        };
        let name = |parts: &[[u8; 32]]| {
            let mut long = LongName::default();
            parts.iter().for_each(|part| long.push(part));
            long.take(&short).map(|name| String::from_utf8(name).unwrap())
        };
        let (last, first) = (part(0x42, "ame 🦀\0", sum), part(1, "A very long n", sum));
        assert_eq!(name(&[last, first]).as_deref(), Some("A very long name 🦀"));
        assert_eq!(name(&[last]), None);
        assert_eq!(name(&[first]), None);
        assert_eq!(name(&[first, last]), None);
        assert_eq!(name(&[last, last, first]).as_deref(), Some("A very long name 🦀"));
        assert_eq!(name(&[last, part(1, "A very long n", 7)]), None);
        assert_eq!(name(&[part(0x41, "another", sum.wrapping_add(1))]), None);
    }
}

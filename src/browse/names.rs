// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names and paths of files, which are bytes that anybody may have chosen, as
//! they are shown.

use std::fmt::Write as _;

/// The largest name that every filesystem of Linux takes.
pub const MAX_NAME: usize = 255;

/// A name or path for people: what is no text, moves the cursor or reorders
/// letters is written as an escape.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                '\r' => text.push_str("\\r"),
                c if u32::from(c) < 0x80 && c.is_control() => {
                    let _ = write!(text, "\\x{:02x}", u32::from(c));
                }
                c if c.is_control() || reorders(c) => {
                    let _ = write!(text, "\\u{{{:x}}}", u32::from(c));
                }
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// The name of an extended attribute as Linux takes it: one that is in none of
/// its namespaces, as those of macOS are, goes into that of users.
#[must_use]
pub fn attribute(name: &[u8]) -> Vec<u8> {
    let known = [&b"user."[..], b"trusted.", b"security.", b"system."];
    let start = if known.iter().any(|space| name.starts_with(space)) { &b""[..] } else { b"user." };
    [start, name].concat()
}

/// Letters that change the order in which others are shown, or the lines.
const fn reorders(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// True if these bytes can be a name in a folder.
#[must_use]
pub fn is_name(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes != b"."
        && bytes != b".."
        && !bytes.iter().any(|b| *b == b'/' || *b == 0)
}

/// The path of `name` in the folder `folder`, which begins with `/`.
#[must_use]
pub fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = folder.strip_suffix(b"/").unwrap_or(folder).to_vec();
    path.push(b'/');
    path.extend_from_slice(name);
    path
}

/// The parts of a path, without those that are empty or `.`.
pub fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_cannot_steer_a_terminal() {
        for (bytes, text) in [
            (&b"a b.txt"[..], "a b.txt"),
            (b"\xc3\xa4", "\u{e4}"),
            (b"a\nb\tc\rd", "a\\nb\\tc\\rd"),
            (b"\x1b[2J\x7f", "\\x1b[2J\\x7f"),
            (b"\xff\xfe.txt", "\\xff\\xfe.txt"),
            (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
            ("a\u{202e}b\u{9b}".as_bytes(), "a\\u{202e}b\\u{9b}"),
        ] {
            assert_eq!(shown(bytes), text);
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_none() {
        for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0b"] {
            assert!(!is_name(name), "{name:?}");
        }
        assert!(is_name(b"..."));
        assert_eq!(join(b"/", b"a"), b"/a");
        assert_eq!(join(b"/a", b"b"), b"/a/b");
        assert_eq!(parts(b"//a/./b/").collect::<Vec<_>>(), [b"a", b"b"]);
    }
}

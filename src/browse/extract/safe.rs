// SPDX-License-Identifier: MIT OR Apache-2.0
//! Other names for what the destination cannot hold under its own.

use std::io;

use rustix::io::Errno;

use super::super::names::MAX_NAME;

/// Why a name was refused, if it was the name.
pub(super) fn refusal(error: &io::Error) -> Option<&'static str> {
    match Errno::from_io_error(error)? {
        Errno::NAMETOOLONG => Some("the name is too long for the destination"),
        // exFAT in user space calls a folder of no valid name one that is not
        // there; the folder that is written to is open.
        Errno::INVAL | Errno::ILSEQ | Errno::NOENT => Some("the destination takes no such name"),
        Errno::EXIST => Some("another file there has that name, or one that counts as the same"),
        _ => None,
    }
}

/// The name under which it is kept instead: readable, with all that any
/// filesystem minds replaced, and as distinct as the name was.
pub(super) fn other_name(name: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(name);
    let allowed: String = text
        .chars()
        .map(|c| match c {
            '"' | '*' | '/' | ':' | '<' | '>' | '?' | '\\' | '|' | '\u{fffd}' => '_',
            c if c.is_control() => '_',
            c => c,
        })
        .collect();
    let hash = blake3::hash(name).to_hex();
    let hash = hash.get(..8).unwrap_or_default();
    let (stem, extension) = match allowed.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && extension.len() <= 16 => {
            (stem, format!(".{extension}"))
        }
        _ => (allowed.as_str(), String::new()),
    };
    let room = MAX_NAME - hash.len() - 1 - extension.len();
    let mut cut = stem.len().min(room);
    while !stem.is_char_boundary(cut) {
        cut -= 1;
    }
    let stem = stem.get(..cut).unwrap_or_default();
    format!("{stem}~{hash}{}", extension.trim_end_matches([' ', '.'])).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_names_are_short_plain_and_distinct() {
        let long = "\u{e4}".repeat(200) + ".txt";
        for name in
            [&b"a:b?.txt"[..], b"\xff", b"a.", b"CON ", long.as_bytes(), b".x", &[b'x'; 255]]
        {
            let other = other_name(name);
            assert!(other.len() <= MAX_NAME);
            let other = String::from_utf8(other).unwrap();
            assert!(
                !other.contains([':', '?', '\u{fffd}']) && !other.ends_with(['.', ' ']),
                "{other}"
            );
        }
        assert!(other_name(b"a:b.txt").ends_with(b".txt"));
        assert_ne!(other_name(b"A"), other_name(b"a"));
        assert_ne!(other_name(b"\xff"), other_name(b"\xfe"));
    }
}

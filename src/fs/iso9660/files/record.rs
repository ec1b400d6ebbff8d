// SPDX-License-Identifier: MIT OR Apache-2.0
//! Directory records: a name, and where its content is (ECMA-119, 9.1).

use jiff::Timestamp;

use crate::fs::iso9660::date;
use crate::fs::iso9660::descriptor::both_32;
use crate::ondisk::{Fields, FormatError};

/// The longest record.
pub(super) const MOST_BYTES: usize = 255;
/// A record without a name.
const HEAD: usize = 33;

/// A directory record.
#[derive(Debug, Clone)]
pub(super) struct Record {
    /// Where it is, in bytes from the start of the volume.
    pub(super) position: u64,
    /// Its length.
    pub(super) len: usize,
    /// The block of its content: behind the extended attributes, if it has any.
    pub(super) block: u64,
    /// The length of its content in bytes.
    pub(super) size: u32,
    pub(super) modified: Option<Timestamp>,
    flags: u8,
    /// True if its content is spread with gaps.
    pub(super) is_interleaved: bool,
    /// The disc of the set that its content is on.
    pub(super) volume_sequence: u16,
    /// Its name, as it is recorded.
    pub(super) name: Vec<u8>,
    /// What extensions keep behind the name.
    pub(super) system_use: Vec<u8>,
}

impl Record {
    /// The record at the start of these bytes, which are at `position`.
    pub(super) fn parse(bytes: &[u8], position: u64) -> Result<Self, FormatError> {
        let corrupt = |expected: &str, found: String| {
            FormatError::corrupt("directory record", position, expected, found)
        };
        let len = usize::from(bytes.u8_at(0).unwrap_or(0));
        let name_len = usize::from(bytes.u8_at(32).unwrap_or(0));
        let end = HEAD.saturating_add(name_len);
        if len < end || name_len == 0 {
            let found = format!("{len} bytes with a name of {name_len}");
            return Err(corrupt("a name within the record", found));
        }
        let record = bytes.get(..len).ok_or_else(|| {
            corrupt("all of a record in a sector", format!("{} of {len} bytes", bytes.len()))
        })?;
        let name = record.bytes_at(HEAD, name_len).unwrap_or_default();
        // A name of an even length is followed by a zero byte.
        let behind = end.saturating_add(usize::from(name_len.is_multiple_of(2)));
        let block = both_32(record, 2).0;
        let attributes = record.u8_at(1).unwrap_or(0);
        Ok(Self {
            position,
            len,
            block: u64::from(block).saturating_add(attributes.into()),
            size: both_32(record, 10).0,
            modified: record.bytes_at(18, 7).and_then(date::of_record),
            flags: record.u8_at(25).unwrap_or(0),
            is_interleaved: record.bytes_at(26, 2) != Some(&[0, 0]),
            volume_sequence: record.u16_le(28).unwrap_or(0),
            name: name.to_vec(),
            system_use: record.get(behind..).unwrap_or_default().to_vec(),
        })
    }

    /// True for the records of a folder itself and of the one it is in.
    pub(super) fn is_dot(&self) -> bool {
        matches!(self.name.as_slice(), [0 | 1])
    }

    pub(super) const fn is_folder(&self) -> bool {
        self.flags & 0x02 != 0
    }

    /// True for what belongs to the file of the next record: a resource fork.
    pub(super) const fn is_associated(&self) -> bool {
        self.flags & 0x04 != 0
    }

    /// True if the content of the file goes on with the next record.
    pub(super) const fn goes_on(&self) -> bool {
        self.flags & 0x80 != 0
    }
}

/// A name without the version behind it and the dot of no extension.
pub(super) fn without_version<T: PartialEq + Copy>(
    mut name: &[T],
    version: [T; 2],
    dot: T,
) -> &[T] {
    if let Some(short) = name.strip_suffix(&version)
        && !short.is_empty()
    {
        name = short;
    }
    while let Some((last, rest)) = name.split_last()
        && *last == dot
        && !rest.is_empty()
    {
        name = rest;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_dots_are_taken_off() {
        let name = |name: &'static str| {
            String::from_utf8_lossy(without_version(name.as_bytes(), *b";1", b'.'))
        };
        for (written, shown) in [
            ("README.TXT;1", "README.TXT"),
            ("README.;1", "README"),
            ("README.TXT;2", "README.TXT;2"),
            ("README..", "README"),
            (";1", ";1"),
            (".", "."),
            ("", ""),
        ] {
            assert_eq!(name(written), shown);
        }
    }
}

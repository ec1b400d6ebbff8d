// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checked fields of on-disk structures, and the three ways in which reading
//! one can fail.
//!
//! A parser takes a slice, reads fields at the offsets of the specification,
//! checks them, and builds a small struct of checked values. It never indexes
//! a slice by a number from the disk.

use crate::error::{Error, ErrorKind};

/// Why an on-disk structure could not be used.
///
/// The three causes are never mixed: what cannot be read may be readable on a
/// second try, what is unsupported is healthy, what is corrupt is not. For a
/// used map all three mean the same: store the range whole and say why.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The structure could not be read.
    #[error("{0}")]
    Io(#[from] Error),
    /// The structure is healthy but uses something this program does not know.
    #[error("{0}")]
    Unsupported(String),
    /// The structure contradicts its specification.
    #[error("{what} at byte {position:#x}: expected {expected}, found {found}")]
    Corrupt {
        /// The structure or field.
        what: &'static str,
        /// Where it starts, in bytes from the start of the volume.
        position: u64,
        /// What the specification wants.
        expected: String,
        /// What is there.
        found: String,
    },
}

impl FormatError {
    /// A structure that contradicts its specification.
    pub fn corrupt(
        what: &'static str,
        position: u64,
        expected: impl ToString,
        found: impl ToString,
    ) -> Self {
        Self::Corrupt { what, position, expected: expected.to_string(), found: found.to_string() }
    }

    /// Something this program does not know.
    pub fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported(what.into())
    }
}

impl From<FormatError> for Error {
    fn from(error: FormatError) -> Self {
        match error {
            FormatError::Io(error) => error,
            FormatError::Unsupported(what) => Self::new(ErrorKind::Unsupported, what),
            corrupt @ FormatError::Corrupt { .. } => {
                Self::new(ErrorKind::Damaged, corrupt.to_string())
            }
        }
    }
}

/// Fields at an offset of a slice; `None` where the slice is too short.
pub trait Fields {
    /// `len` bytes at `offset`.
    fn bytes_at(&self, offset: usize, len: usize) -> Option<&[u8]>;

    /// A byte.
    fn u8_at(&self, offset: usize) -> Option<u8> {
        self.bytes_at(offset, 1)?.first().copied()
    }

    /// A little-endian 16-bit number.
    fn u16_le(&self, offset: usize) -> Option<u16> {
        Some(u16::from_le_bytes(self.bytes_at(offset, 2)?.try_into().ok()?))
    }

    /// A little-endian 32-bit number.
    fn u32_le(&self, offset: usize) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes_at(offset, 4)?.try_into().ok()?))
    }

    /// A little-endian 64-bit number.
    fn u64_le(&self, offset: usize) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes_at(offset, 8)?.try_into().ok()?))
    }

    /// A big-endian 16-bit number.
    fn u16_be(&self, offset: usize) -> Option<u16> {
        Some(u16::from_be_bytes(self.bytes_at(offset, 2)?.try_into().ok()?))
    }

    /// A big-endian 32-bit number.
    fn u32_be(&self, offset: usize) -> Option<u32> {
        Some(u32::from_be_bytes(self.bytes_at(offset, 4)?.try_into().ok()?))
    }

    /// A big-endian 64-bit number.
    fn u64_be(&self, offset: usize) -> Option<u64> {
        Some(u64::from_be_bytes(self.bytes_at(offset, 8)?.try_into().ok()?))
    }

    /// `N` bytes, for identifiers and signatures.
    fn array<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.bytes_at(offset, N)?.try_into().ok()
    }
}

impl Fields for [u8] {
    fn bytes_at(&self, offset: usize, len: usize) -> Option<&[u8]> {
        self.get(offset..offset.checked_add(len)?)
    }
}

/// Text up to the first zero byte, control characters and ends trimmed.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default());
    // A label is printed on terminals: escape sequences must not get there.
    text.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_both_orders_and_never_past_the_end() {
        let bytes: &[u8] = &[1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(bytes.u16_le(0), Some(0x0201));
        assert_eq!(bytes.u32_be(4), Some(0x0506_0708));
        assert_eq!(bytes.u64_le(0), Some(0x0807_0605_0403_0201));
        assert_eq!(bytes.u64_le(1), None);
        assert_eq!(bytes.u8_at(usize::MAX), None);
        assert_eq!(bytes.bytes_at(usize::MAX, 2), None);
        assert_eq!(bytes.array::<4>(6), None);
    }

    #[test]
    fn labels_lose_their_escape_sequences() {
        assert_eq!(text(b"a\x1b[31mb \0junk"), "a[31mb");
    }
}

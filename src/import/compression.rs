// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a file is compressed, by its first bytes, and what unpacks it.
//!
//! All of them may be several streams one behind the other, as parallel
//! compressors and `cat` make them.

use std::io::{self, Read};

use lzma_rust2::LzmaReader;

use super::lz4::{self, Lz4};
use crate::error::{Error, Result};
use crate::ondisk::Fields;
use crate::units::{KIB, MIB};

/// The most memory that a decoder takes for its window. The files themselves
/// say how much they need, and a hostile one would say anything.
const MOST_WINDOW: u64 = 512 * MIB;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// LZMA alone, as `lzma` writes it.
    Lzma,
    /// lzip.
    Lzip,
    /// LZ4 frames.
    Lz4,
    /// Zstandard (RFC 8878).
    Zstd,
    /// lzop; not unpacked.
    Lzop,
    /// lrzip; not unpacked.
    Lrzip,
    /// LZ4 in the form of its first versions; not unpacked.
    OldLz4,
}

impl Compression {
    /// How many first bytes tell which it is.
    pub const HEAD: u64 = 16;

    /// Tells it by the first bytes of a file.
    #[must_use]
    pub fn of(head: &[u8]) -> Self {
        // bzip2: the first block's magic is pi, that of an empty file the
        // square root of pi.
        let is_bzip2 = head.starts_with(b"BZh")
            && matches!(head.u8_at(3), Some(b'1'..=b'9'))
            && matches!(
                head.bytes_at(4, 6),
                Some(b"\x31\x41\x59\x26\x53\x59" | b"\x17\x72\x45\x38\x50\x90")
            );
        match head {
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            _ if is_bzip2 => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [b'L', b'Z', b'I', b'P', 1, ..] => Self::Lzip,
            [0x04, 0x22, 0x4d, 0x18, ..] => Self::Lz4,
            [0x02, 0x21, 0x4c, 0x18, ..] => Self::OldLz4,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0x89, b'L', b'Z', b'O', 0, b'\r', b'\n', 0x1a, b'\n', ..] => Self::Lzop,
            [b'L', b'R', b'Z', b'I', 0, ..] => Self::Lrzip,
            _ if is_lzma(head) => Self::Lzma,
            _ => Self::None,
        }
    }

    /// The name of the program that compresses so; `None` if it is not.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("gzip"),
            Self::Bzip2 => Some("bzip2"),
            Self::Xz => Some("xz"),
            Self::Lzma => Some("lzma"),
            Self::Lzip => Some("lzip"),
            Self::Lz4 => Some("lz4"),
            Self::Zstd => Some("zstd"),
            Self::Lzop => Some("lzop"),
            Self::Lrzip => Some("lrzip"),
            Self::OldLz4 => Some("lz4 (legacy)"),
        }
    }

    /// True if damage in the compressed data is noticed: the file that begins
    /// so has checksums. zstd and lz4 write them unless told not to.
    #[must_use]
    pub fn is_checked(self, head: &[u8]) -> bool {
        match self {
            Self::Gzip | Self::Bzip2 | Self::Xz | Self::Lzip => true,
            Self::Lz4 => lz4::is_checked(head),
            // Content_Checksum_flag. A skippable frame says nothing of the next.
            Self::Zstd => {
                head.first() == Some(&0x28) && head.u8_at(4).is_some_and(|it| it & 4 != 0)
            }
            Self::None | Self::Lzma | Self::Lzop | Self::Lrzip | Self::OldLz4 => false,
        }
    }

    /// What reads the unpacked bytes of `compressed`.
    ///
    /// # Errors
    /// Unsupported, if this program does not unpack it.
    pub fn decoder<'a>(self, compressed: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
        let window_kib = u32::try_from(MOST_WINDOW / KIB).unwrap_or(u32::MAX);
        Ok(match self {
            Self::None => Box::new(compressed),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(compressed)),
            Self::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(compressed)),
            Self::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(compressed, true, window_kib)),
            Self::Lzma => {
                let mut reader = LzmaReader::new_mem_limit(compressed, window_kib, None)
                    .map_err(|error| Error::damaged(format!("the LZMA header: {error}")))?;
                reader.set_relaxed_end_condition(false);
                Box::new(Alone(Some(reader)))
            }
            Self::Lzip => Box::new(lzma_rust2::LzipReader::new(compressed)),
            Self::Lz4 => Box::new(Lz4::new(compressed)),
            Self::Zstd => {
                let make = || -> io::Result<_> {
                    let mut decoder = zstd::stream::read::Decoder::new(compressed)?;
                    decoder.window_log_max(MOST_WINDOW.ilog2())?;
                    Ok(decoder)
                };
                Box::new(make().map_err(|error| Error::io("starting zstd", error))?)
            }
            Self::Lzop | Self::Lrzip | Self::OldLz4 => {
                let name = self.name().unwrap_or_default();
                let program = name.split(' ').next().unwrap_or_default();
                return Err(Error::unsupported(format!(
                    "it is compressed with {name}, which dacapo does not unpack"
                ))
                .hint(format!("unpack it with {program} first, and import what comes out")));
            }
        })
    }
}

/// LZMA alone, behind whose end nothing can follow; `None` behind it.
struct Alone<R: Read>(Option<LzmaReader<R>>);

impl<R: Read> Read for Alone<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(reader) = &mut self.0 else { return Ok(0) };
        let read = reader.read(buf)?;
        if read > 0 || buf.is_empty() {
            return Ok(read);
        }
        let Some((mut rest, unused)) = self.0.take().map(LzmaReader::into_parts) else {
            return Ok(0);
        };
        if unused.is_empty() && rest.read(&mut [0])? == 0 {
            return Ok(0);
        }
        Err(io::Error::other("there is more behind its end"))
    }
}

/// LZMA alone has no magic number: properties, a dictionary size that is a
/// power of two or half more, and a length that is unknown or not absurd.
fn is_lzma(head: &[u8]) -> bool {
    let (Some(0x5d), Some(dictionary), Some(len)) = (head.u8_at(0), head.u32_le(1), head.u64_le(5))
    else {
        return false;
    };
    let ones = dictionary.checked_shr(dictionary.trailing_zeros()).unwrap_or(0);
    let likely = matches!(ones, 0b1 | 0b11);
    dictionary >= 4096 && likely && (len == u64::MAX || len < 1 << 48)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_sectors_are_not_compressed() {
        for head in [
            &b"\xeb\x63\x90\x10\x8e\xd0\xbc\x00\xb0\xb8\x00\x00\x8e\xd8\x8e\xc0"[..],
            b"\x33\xc0\x8e\xd0\xbc\x00\x7c\x8e\xc0\x8e\xd8\xbe\x00\x7c\xbf\x00",
            b"\xeb\x52\x90NTFS    \x00\x02\x08\x00\x00",
            b"]\x00\x00 not a dictionary",
            b"BZh9 is a label",
            b"",
            b"\x1f\x8b",
            &[0; 16],
        ] {
            assert_eq!(Compression::of(head), Compression::None, "{head:x?}");
        }
    }
}

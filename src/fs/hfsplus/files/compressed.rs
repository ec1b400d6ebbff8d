// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files that macOS has compressed: their data fork is empty, and an extended
//! attribute has the content, or says how the resource fork holds it. The
//! header of the attribute is that of `decmpfs.h` of Apple's XNU.

use std::io::Read as _;

use flate2::read::ZlibDecoder;

use crate::fs::files::FileResult;
use crate::ondisk::{Fields, FormatError};

/// What a block unpacks to; only the last is shorter.
pub(super) const BLOCK: u64 = 64 << 10;

/// The name of the attribute.
pub(super) const ATTRIBUTE: &[u8] = b"com.apple.decmpfs";

const HEADER: usize = 16;

/// How a file is compressed.
#[derive(Debug, Clone)]
pub(super) struct Compressed {
    pub(super) bytes: u64,
    pub(super) place: Place,
}

/// Where the content is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// In the attribute, as it is.
    Plain(Vec<u8>),
    /// In the attribute.
    Attribute(Vec<u8>),
    /// In blocks of the resource fork.
    ResourceFork,
    /// In a way that is not known here.
    Unknown(&'static str),
}

impl Compressed {
    /// What the attribute says, which is at `position`.
    pub(super) fn parse(attribute: &[u8], position: u64) -> FileResult<Self> {
        let corrupt = || {
            let what = "attribute of a compressed file";
            FormatError::corrupt(what, position, "a header of decmpfs", "another")
        };
        let magic = attribute.bytes_at(0, 4);
        let (Some(b"fpmc"), Some(kind), Some(bytes), Some(rest)) =
            (magic, attribute.u32_le(4), attribute.u64_le(8), attribute.get(HEADER..))
        else {
            return Err(corrupt());
        };
        let place = match kind {
            1 | 9 => Place::Plain(rest.to_vec()),
            // A first byte that no stream of zlib has: plain behind it.
            3 if rest.first().is_some_and(|byte| byte & 0x0f == 0x0f) => {
                Place::Plain(rest.get(1..).unwrap_or_default().to_vec())
            }
            3 => Place::Attribute(rest.to_vec()),
            4 => Place::ResourceFork,
            7 | 8 => Place::Unknown("LZVN"),
            11 | 12 => Place::Unknown("LZFSE"),
            _ => Place::Unknown("a method that is not known"),
        };
        let is_short = match &place {
            Place::Plain(plain) => u64::try_from(plain.len()).is_ok_and(|len| len < bytes),
            Place::Attribute(_) => bytes > BLOCK,
            _ => false,
        };
        if is_short { Err(corrupt()) } else { Ok(Self { bytes, place }) }
    }
}

/// Unpacks a block of so many bytes. `None` if it is damaged.
pub(super) fn unpack(packed: &[u8], len: usize) -> Option<Vec<u8>> {
    if packed.first().is_some_and(|byte| byte & 0x0f == 0x0f) {
        return packed.get(1..len.checked_add(1)?).map(<[u8]>::to_vec);
    }
    let mut block = vec![0; len];
    ZlibDecoder::new(packed).read_exact(&mut block).ok()?;
    Some(block)
}

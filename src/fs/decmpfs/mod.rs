// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files that macOS has compressed, on HFS+ and APFS: their data fork is empty,
//! and an extended attribute has the content, or says how the resource fork
//! holds it. The header of the attribute is that of `decmpfs.h` of Apple's XNU.

mod lzfse;
mod lzvn;

use std::io::Read as _;
use std::sync::Arc;

use flate2::read::ZlibDecoder;

use super::files::{FileResult, Node};
use super::recent::Recent;
use crate::ondisk::{Fields, FormatError};

/// What a block unpacks to; only the last is shorter.
const BLOCK: u64 = 64 << 10;
/// Blocks that are kept unpacked; several readers at once have one each.
const RECENT_BLOCKS: usize = 32;

/// The name of the attribute.
pub(super) const ATTRIBUTE: &[u8] = b"com.apple.decmpfs";

const HEADER: usize = 16;

/// The blocks of files that were unpacked last.
pub(super) type Unpacked = Recent<(Node, u64), Vec<u8>>;

/// Fills a buffer with bytes of a resource fork; `None` if they are behind its
/// end.
pub(super) type ReadFork<'a> = &'a dyn Fn(u64, &mut [u8]) -> FileResult<Option<()>>;

/// Room for the blocks of a few files.
pub(super) const fn unpacked() -> Unpacked {
    Recent::new(RECENT_BLOCKS, usize::MAX)
}

/// How a file is compressed.
#[derive(Debug, Clone)]
pub(super) struct Compressed {
    /// How long the file is.
    pub(super) bytes: u64,
    place: Place,
    /// Where the attribute is, for messages.
    position: u64,
}

/// Where the content is.
#[derive(Debug, Clone)]
enum Place {
    /// In the attribute, as it is.
    Plain(Vec<u8>),
    /// In the attribute.
    Attribute(Method, Vec<u8>),
    /// In blocks of the resource fork.
    ResourceFork(Method),
    /// In a way that is not known here.
    Unknown,
}

/// How a block is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Zlib,
    Lzvn,
    Lzfse,
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
            1 => Place::Plain(rest.to_vec()),
            // Behind a byte of its own.
            9 => Place::Plain(rest.get(1..).unwrap_or_default().to_vec()),
            // A first byte that no stream of zlib has: plain behind it.
            3 if rest.first().is_some_and(|byte| byte & 0x0f == 0x0f) => {
                Place::Plain(rest.get(1..).unwrap_or_default().to_vec())
            }
            3 => Place::Attribute(Method::Zlib, rest.to_vec()),
            4 => Place::ResourceFork(Method::Zlib),
            7 => Place::Attribute(Method::Lzvn, rest.to_vec()),
            8 => Place::ResourceFork(Method::Lzvn),
            11 => Place::Attribute(Method::Lzfse, rest.to_vec()),
            12 => Place::ResourceFork(Method::Lzfse),
            _ => Place::Unknown,
        };
        let fits = match &place {
            Place::Plain(plain) => u64::try_from(plain.len()) == Ok(bytes),
            Place::Attribute(..) => bytes <= BLOCK,
            _ => true,
        };
        if fits { Ok(Self { bytes, place, position }) } else { Err(corrupt()) }
    }

    /// True if the content is in the resource fork.
    pub(super) const fn is_in_fork(&self) -> bool {
        matches!(self.place, Place::ResourceFork(_))
    }

    /// Bytes of memory that it takes beside its own.
    pub(super) const fn weight(&self) -> usize {
        match &self.place {
            Place::Plain(bytes) | Place::Attribute(_, bytes) => bytes.len(),
            Place::ResourceFork(_) | Place::Unknown => 0,
        }
    }

    /// Fills `buf` with the content of the file at `offset`, all of which is in
    /// front of its end.
    pub(super) fn read(
        &self,
        unpacked: &Unpacked,
        file: Node,
        offset: u64,
        buf: &mut [u8],
        read_fork: ReadFork,
    ) -> FileResult<()> {
        match &self.place {
            Place::Unknown => Err(FormatError::unsupported(
                "the file is compressed by macOS with a method that is not known",
            )),
            Place::Plain(plain) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let part = plain.get(start..).and_then(|rest| rest.get(..buf.len()));
                buf.copy_from_slice(part.ok_or_else(|| self.damaged())?);
                Ok(())
            }
            Place::Attribute(..) | Place::ResourceFork(_) => {
                let (mut position, mut rest) = (offset, buf);
                while !rest.is_empty() {
                    let number = position / BLOCK;
                    let block = self.block(unpacked, file, number, read_fork)?;
                    let skip = usize::try_from(position % BLOCK).unwrap_or(usize::MAX);
                    let found = block.get(skip..).unwrap_or_default();
                    let len = found.len().min(rest.len());
                    if len == 0 {
                        return Err(self.damaged());
                    }
                    let (part, behind) = rest.split_at_mut_checked(len).unwrap_or_default();
                    part.copy_from_slice(found.get(..len).unwrap_or_default());
                    rest = behind;
                    position = position.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
                }
                Ok(())
            }
        }
    }

    fn block(
        &self,
        unpacked: &Unpacked,
        file: Node,
        number: u64,
        read_fork: ReadFork,
    ) -> FileResult<Arc<Vec<u8>>> {
        let start = number.saturating_mul(BLOCK);
        let len = usize::try_from(self.bytes.saturating_sub(start).min(BLOCK)).unwrap_or(0);
        unpacked.get_or_open((file, number), || {
            let block = match &self.place {
                Place::Attribute(method, packed) => method.unpack(packed, len),
                Place::ResourceFork(method) => {
                    let place = method.place(number, read_fork)?;
                    let (start, packed_len) = place.ok_or_else(|| self.damaged())?;
                    let mut packed = vec![0; packed_len];
                    read_fork(start, &mut packed)?.ok_or_else(|| self.damaged())?;
                    method.unpack(&packed, len)
                }
                Place::Plain(_) | Place::Unknown => None,
            };
            Ok((block.ok_or_else(|| self.damaged())?, len))
        })
    }

    fn damaged(&self) -> FormatError {
        let (expected, found) = ("packed blocks up to its end", "something else");
        FormatError::corrupt("compressed file", self.position, expected, found)
    }
}

impl Method {
    /// Unpacks a block of so many bytes. `None` if it is damaged.
    fn unpack(self, packed: &[u8], len: usize) -> Option<Vec<u8>> {
        // What no block of its kind begins with: plain behind it.
        let is_plain = packed.first().is_some_and(|byte| match self {
            Self::Zlib => byte & 0x0f == 0x0f,
            Self::Lzvn => *byte == 0x06,
            Self::Lzfse => *byte == 0xff,
        });
        if is_plain {
            return packed.get(1..).filter(|plain| plain.len() == len).map(<[u8]>::to_vec);
        }
        let mut block = vec![0; len];
        match self {
            Self::Zlib => ZlibDecoder::new(packed).read_exact(&mut block).ok()?,
            Self::Lzvn => lzvn::unpack(packed, &mut block, 0)?,
            Self::Lzfse => lzfse::unpack(packed, &mut block)?,
        }
        Some(block)
    }

    /// Where the block of this number lies in the resource fork, and its
    /// length; `None` if the fork does not tell.
    fn place(self, number: u64, read: ReadFork) -> FileResult<Option<(u64, usize)>> {
        let mut two = [0; 8];
        let (start, len) = match self {
            // Behind the header of the fork is the length of all, and then how
            // many blocks there are, and of each the place and the length.
            Self::Zlib => {
                if read(0, &mut two)?.is_none() {
                    return Ok(None);
                }
                let table = two.u32_be(0).map_or(0, u64::from).saturating_add(4);
                if read(table, &mut two)?.is_none()
                    || number >= two.u32_le(0).map_or(0, u64::from)
                    || read(
                        table.saturating_add(4).saturating_add(number.saturating_mul(8)),
                        &mut two,
                    )?
                    .is_none()
                {
                    return Ok(None);
                }
                let start = two.u32_le(0).map_or(0, u64::from);
                (table.saturating_add(start), two.u32_le(4).map(u64::from))
            }
            // Where each block begins, and where the last ends.
            Self::Lzvn | Self::Lzfse => {
                if read(0, &mut two)?.is_none() {
                    return Ok(None);
                }
                let blocks = (two.u32_le(0).unwrap_or(0) / 4).saturating_sub(1);
                if number >= u64::from(blocks)
                    || read(number.saturating_mul(4), &mut two)?.is_none()
                {
                    return Ok(None);
                }
                let (start, end) = (two.u32_le(0).unwrap_or(0), two.u32_le(4).unwrap_or(0));
                (start.into(), end.checked_sub(start).map(u64::from))
            }
        };
        // No block becomes much longer by being packed.
        let len = len.filter(|len| *len <= BLOCK.saturating_mul(2));
        Ok(len.and_then(|len| usize::try_from(len).ok()).map(|len| (start, len)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "test numbers")]

    use super::*;

    fn plain(kind: u32, bytes: u64, rest: &[u8]) -> Option<Vec<u8>> {
        let (kind, bytes) = (kind.to_le_bytes(), bytes.to_le_bytes());
        let attribute = [b"fpmc".as_slice(), &kind, &bytes, rest].concat();
        match Compressed::parse(&attribute, 0).ok()?.place {
            Place::Plain(plain) => Some(plain),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn plain_content_is_just_as_long_as_the_header_says() {
        for (kind, rest) in [(1, "content"), (9, "\u{4c}content"), (3, "\u{f}content")] {
            let rest = rest.as_bytes();
            assert_eq!(plain(kind, 7, rest).as_deref(), Some(b"content".as_slice()), "{kind}");
            for wrong in [0, 6, 8, u64::MAX] {
                assert_eq!(plain(kind, wrong, rest), None, "{kind}: {wrong}");
            }
        }
        assert_eq!(plain(9, 0, &[0xcc]).as_deref(), Some(b"".as_slice()));
        for (method, marker) in [(Method::Zlib, 0xff), (Method::Lzvn, 0x06), (Method::Lzfse, 0xff)]
        {
            let packed = [&[marker], b"content".as_slice()].concat();
            assert_eq!(method.unpack(&packed, 7).as_deref(), Some(b"content".as_slice()));
            assert_eq!(method.unpack(&packed, 6), None);
            assert_eq!(method.unpack(&packed, 8), None);
        }
    }

    /// As macOS lays out a file of several blocks: where each begins, then these.
    #[test]
    fn lzfse_is_read_from_the_attribute_and_from_blocks_of_the_fork() {
        let samples = lzfse::tests::samples();
        let [whole, small] = [65536, 5000].map(|len| {
            samples.iter().find(|(plain, _)| plain.len() == len && plain[0] != 0).unwrap()
        });
        let head = |kind: u32, len: usize| {
            [&b"fpmc"[..], &kind.to_le_bytes(), &(len as u64).to_le_bytes()].concat()
        };
        let read = |attribute: &[u8], fork: &[u8], offset: u64, len: usize| {
            let file = Compressed::parse(attribute, 0).unwrap();
            let mut buf = vec![0; len];
            let read_fork = |start: u64, to: &mut [u8]| {
                let start = usize::try_from(start).unwrap();
                let from = fork.get(start..).and_then(|rest| rest.get(..to.len()));
                Ok(from.map(|from| to.copy_from_slice(from)))
            };
            file.read(&unpacked(), Node::new(1), offset, &mut buf, &read_fork).map(|()| buf)
        };
        let attribute = [head(11, small.0.len()), small.1.to_vec()].concat();
        assert!(read(&attribute, &[], 10, 100).unwrap() == small.0[10..110]);
        let blocks = [whole.1, whole.1, small.1];
        let mut at = 4 * (blocks.len() as u32 + 1);
        let mut fork = at.to_le_bytes().to_vec();
        for block in blocks {
            at += block.len() as u32;
            fork.extend(at.to_le_bytes());
        }
        blocks.iter().for_each(|block| fork.extend(*block));
        let plain = [&whole.0[..], &whole.0, &small.0].concat();
        let attribute = head(12, plain.len());
        assert!(read(&attribute, &fork, 0, plain.len()).unwrap() == plain);
        let offset = 2 * 65536 - 50;
        assert!(read(&attribute, &fork, offset, 100).unwrap() == plain[offset as usize..][..100]);
        assert!(read(&attribute, &fork[..fork.len() - 40], offset, 100).is_err());
    }
}

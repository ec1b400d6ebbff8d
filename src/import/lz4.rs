// SPDX-License-Identifier: MIT OR Apache-2.0
//! LZ4 frames, one behind the other, each to its end.
//!
//! The decoder takes the end of its input for the end of a frame, and the end
//! of a frame for that of all. So its input is followed on the way: what ends
//! inside of a frame was cut off.
//!
//! Source: the LZ4 Frame Format, 1.6.4 (`lz4_Frame_format.md`).

use std::io::{self, Read};

use lz4_flex::frame::FrameDecoder;

/// What a frame begins with.
const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();

// In the first byte of a frame's descriptor.
const BLOCK_CHECKSUMS: u8 = 0x10;
const CONTENT_SIZE: u8 = 0x08;
const CONTENT_CHECKSUM: u8 = 0x04;
const DICTIONARY: u8 = 0x01;

/// In the length of a block: it is not compressed.
const PLAIN: u32 = 1 << 31;
const CHECKSUM_LEN: u64 = 4;

/// True if the frame that begins so has checksums of its data.
#[must_use]
pub fn is_checked(head: &[u8]) -> bool {
    head.get(4).is_some_and(|flags| flags & (BLOCK_CHECKSUMS | CONTENT_CHECKSUM) != 0)
}

/// Unpacks all frames.
pub struct Lz4<R: Read> {
    /// One for each frame: it keeps what the one before needed. `None` at the
    /// end of all.
    decoder: Option<FrameDecoder<Frames<R>>>,
}

impl<R: Read> Lz4<R> {
    /// Unpacks the frames in `compressed`.
    pub fn new(compressed: R) -> Self {
        let frames = Frames {
            inner: compressed,
            part: Part::Magic,
            seen: Vec::new(),
            skip: 0,
            flags: 0,
            has_ended: false,
        };
        Self { decoder: Some(FrameDecoder::new(frames)) }
    }
}

impl<R: Read> std::fmt::Debug for Lz4<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lz4")
    }
}

impl<R: Read> Read for Lz4<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.decoder {
            let read = decoder.read(buf)?;
            if read > 0 || buf.is_empty() {
                return Ok(read);
            }
            // The end of a frame or of the input, or a block of no bytes.
            let frames = decoder.get_ref();
            match (frames.has_ended, frames.is_between()) {
                (true, true) => self.decoder = None,
                (true, false) if frames.part == Part::Unknown => {
                    return Err(io::Error::other("what follows a frame is none"));
                }
                (true, false) => return Err(io::ErrorKind::UnexpectedEof.into()),
                (false, true) => {
                    let ended = self.decoder.take();
                    self.decoder = ended.map(|it| FrameDecoder::new(it.into_inner()));
                }
                (false, false) => {}
            }
        }
        Ok(0)
    }
}

/// What comes next in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The magic number, with which a frame begins.
    Magic,
    /// The first two bytes of its descriptor.
    Flags,
    /// The length of a block; 0 is the mark of the frame's end.
    BlockLen,
    /// Something that is no frame, and nothing is known of.
    Unknown,
}

/// Hands bytes on, and knows where in a frame they are.
struct Frames<R> {
    inner: R,
    part: Part,
    /// The bytes of the part so far.
    seen: Vec<u8>,
    /// So many bytes come before the part.
    skip: u64,
    flags: u8,
    has_ended: bool,
}

impl<R> Frames<R> {
    /// True if no frame is going on.
    fn is_between(&self) -> bool {
        self.part == Part::Magic && self.seen.is_empty() && self.skip == 0
    }

    fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.part != Part::Unknown {
            if self.skip > 0 {
                let len = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
                self.skip = self.skip.saturating_sub(u64::try_from(len).unwrap_or(u64::MAX));
                bytes = bytes.get(len..).unwrap_or_default();
                continue;
            }
            let (first, rest) = bytes.split_at(1);
            self.seen.extend(first);
            bytes = rest;
            self.finish_part();
        }
    }

    /// Goes on to the next part, if all of this one has been seen.
    fn finish_part(&mut self) {
        let has = |flag: u8| self.flags & flag != 0;
        match (self.part, self.seen.as_slice()) {
            (Part::Magic, &[_, _, _, _]) => {
                self.part = if self.seen == MAGIC { Part::Flags } else { Part::Unknown };
            }
            (Part::Flags, &[flags, _]) => {
                self.flags = flags;
                // And the checksum of the descriptor.
                let content_size = if flags & CONTENT_SIZE != 0 { 8 } else { 0 };
                let dictionary = if flags & DICTIONARY != 0 { 4 } else { 0 };
                self.skip = 1_u64.saturating_add(content_size).saturating_add(dictionary);
                self.part = Part::BlockLen;
            }
            (Part::BlockLen, &[a, b, c, d]) => {
                let len = u32::from_le_bytes([a, b, c, d]);
                if len == 0 {
                    self.skip = if has(CONTENT_CHECKSUM) { CHECKSUM_LEN } else { 0 };
                    self.part = Part::Magic;
                } else {
                    let checksum = if has(BLOCK_CHECKSUMS) { CHECKSUM_LEN } else { 0 };
                    self.skip = u64::from(len & !PLAIN).saturating_add(checksum);
                }
            }
            _ => return,
        }
        self.seen.clear();
    }
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf)?;
        self.has_ended = read == 0 && !buf.is_empty();
        self.follow(buf.get(..read).unwrap_or_default());
        Ok(read)
    }
}

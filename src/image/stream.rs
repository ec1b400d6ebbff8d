// SPDX-License-Identifier: MIT OR Apache-2.0
//! An image read front to back, without seeking: from a pipe, a tape, a
//! network stream.

use std::io::Read;

use super::format::{self, Entry, Head, MAX_DESCRIPTION};
use super::index;
use crate::error::{Context, Error, Result};
use crate::extent::{Extent, ExtentSet};

/// The skippable magic numbers of RFC 8878.
const SKIPPABLE_MAGICS: std::ops::RangeInclusive<u32> = 0x184D_2A50..=0x184D_2A5F;

/// An image being read.
#[derive(Debug)]
pub struct Stream<R> {
    input: R,
    head: Head,
    head_body: Vec<u8>,
    position: u64,
    /// The index as it must come, by its hash: the entries themselves would
    /// take memory by the size of the disk.
    expected: Expected,
    losses: ExtentSet,
    next_chunk: u64,
}

/// The hash of a list of entries, with all their fields.
#[derive(Debug, Default)]
struct Expected {
    hasher: blake3::Hasher,
    row: Vec<u8>,
}

impl Expected {
    fn add(&mut self, entry: &Entry) {
        self.row.clear();
        index::encode_entry(entry, &mut self.row);
        self.hasher.update(&self.row);
    }
}

/// What comes next in a stream.
enum Next {
    /// The body of a chunk's description, and where it stands.
    Description(Vec<u8>, u64),
    /// The index has come.
    End,
}

impl<R: Read> Stream<R> {
    /// Reads the head.
    ///
    /// # Errors
    /// Damaged if this is not an image, unsupported if it is a newer one.
    pub fn open(mut input: R) -> Result<Self> {
        let foreign = || {
            Error::damaged("this is not a dacapo image, or its head is damaged")
                .hint("a dacapo image is made by 'dacapo save'")
        };
        let mut header = [0; 8];
        input.read_exact(&mut header).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => foreign(),
            _ => Error::io("reading the image", error),
        })?;
        let len = format::payload_len(&header)
            .filter(|len| u64::from(*len) <= format::MAX_HEAD_FRAME)
            .ok_or_else(foreign)?;
        let payload = read_bounded(&mut input, len.into())?;
        let Some((format::TAG_HEAD, head_body)) = format::unseal_vec(payload) else {
            return Err(foreign());
        };
        Ok(Self {
            input,
            head: Head::decode(&head_body)?,
            position: format::SKIPPABLE_HEADER_LEN.saturating_add(len.into()),
            expected: Expected::default(),
            head_body,
            losses: ExtentSet::new(),
            next_chunk: 0,
        })
    }

    /// The head.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// The unreadable ranges met so far.
    pub fn losses(&self) -> &[Extent] {
        self.losses.as_slice()
    }

    /// Reads the next entry, and its frame into `stored`; `None` after the
    /// last, when the index has been found and agrees with what was read.
    ///
    /// # Errors
    /// Damaged if the stream ends early or something in it is wrong.
    pub fn next_entry(&mut self, stored: &mut Vec<u8>) -> Result<Option<Entry>> {
        let (body, position) = match self.next_frame()? {
            Next::Description(body, position) => (body, position),
            Next::End => return Ok(None),
        };
        let (entry, losses) = format::decode_chunk(&body, position, &self.head)?;
        if entry.first_chunk != self.next_chunk || entry.end() <= self.position {
            return Err(damaged(position));
        }
        stored.resize(usize::try_from(entry.stored_len).unwrap_or(0), 0);
        self.input.read_exact(stored).map_err(|error| truncated(error, position))?;
        self.position = entry.end();
        self.next_chunk = entry.first_chunk.saturating_add(entry.count.into());
        for loss in losses {
            self.losses.insert(loss);
        }
        self.expected.add(&entry);
        Ok(Some(entry))
    }

    /// Compares the index at `position` with what was read, and reads to the
    /// end, so that whoever writes to our pipe does not get a broken one.
    fn finish(&mut self, payload_len: u32, position: u64) -> Result<()> {
        let input = &mut self.input;
        let mut fill =
            |buf: &mut [u8]| input.read_exact(buf).map_err(|error| truncated(error, position));
        let mut found = Expected::default();
        let mut each = |entry: Entry| found.add(&entry);
        let head = Some(self.head_body.as_slice());
        index::read_index(payload_len.into(), &mut fill, position, head, &mut each)?;
        if found.hasher.finalize() != self.expected.hasher.finalize() {
            return Err(Error::damaged("the image's index contradicts its content"));
        }
        std::io::copy(&mut self.input, &mut std::io::sink())
            .context(|| "reading the end of the image".into())?;
        Ok(())
    }

    /// The next of our own frames; others' skippable frames are passed over.
    fn next_frame(&mut self) -> Result<Next> {
        loop {
            let position = self.position;
            let mut header = [0; 8];
            self.input.read_exact(&mut header).map_err(|error| truncated(error, position))?;
            let [a, b, c, d, e, f, g, h] = header;
            let (magic, len) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
            if !SKIPPABLE_MAGICS.contains(&magic) {
                return Err(damaged(position));
            }
            self.position =
                position.saturating_add(format::SKIPPABLE_HEADER_LEN).saturating_add(len.into());
            if magic != format::SKIPPABLE_MAGIC {
                let mut skipped = (&mut self.input).take(len.into());
                std::io::copy(&mut skipped, &mut std::io::sink())
                    .map_err(|error| truncated(error, position))?;
                continue;
            }
            // The tag says how long the frame may be, before its seal says
            // whether that is true.
            let mut tag = [0; 8];
            self.input.read_exact(&mut tag).map_err(|error| truncated(error, position))?;
            match tag {
                format::TAG_CHUNK if len <= MAX_DESCRIPTION => {
                    let rest = u64::from(len).checked_sub(8).ok_or_else(|| damaged(position))?;
                    let mut payload = tag.to_vec();
                    payload.append(&mut read_bounded(&mut self.input, rest)?);
                    let (_, body) = format::unseal_vec(payload).ok_or_else(|| damaged(position))?;
                    return Ok(Next::Description(body, position));
                }
                format::TAG_INDEX => {
                    self.finish(len, position)?;
                    return Ok(Next::End);
                }
                _ => return Err(damaged(position)),
            }
        }
    }
}

fn damaged(position: u64) -> Error {
    Error::damaged(format!("the image is damaged at {position:#x}"))
}

fn truncated(error: std::io::Error, position: u64) -> Error {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        return Error::damaged(format!("the image ends early, at {position:#x}"));
    }
    Error::io(format!("reading the image at {position:#x}"), error)
}

/// Reads `len` bytes, taking memory only for what really comes.
fn read_bounded(input: &mut impl Read, len: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(len).read_to_end(&mut bytes).context(|| "reading the image".into())?;
    if u64::try_from(bytes.len()).ok() == Some(len) {
        return Ok(bytes);
    }
    Err(Error::damaged("the image ends early"))
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! An image read front to back, without seeking: from a pipe, a tape, a
//! network stream.

use std::io::Read;

use super::format::{self, Entry, Head, Report};
use crate::error::{Context, Error, Result};
use crate::extent::Extent;

/// The skippable magic numbers of RFC 8878.
const SKIPPABLE_MAGICS: std::ops::RangeInclusive<u32> = 0x184D_2A50..=0x184D_2A5F;

/// An image being read.
#[derive(Debug)]
pub struct Stream<R> {
    input: R,
    head: Head,
    head_body: Vec<u8>,
    position: u64,
    entries: Vec<Entry>,
    losses: Vec<Extent>,
    next_chunk: u64,
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
        input.read_exact(&mut header).map_err(|_| foreign())?;
        let len = format::payload_len(&header)
            .filter(|len| u64::from(*len) <= format::MAX_HEAD_FRAME)
            .ok_or_else(foreign)?;
        let payload = read_bounded(&mut input, len.into())?;
        let Some((format::TAG_HEAD, body)) = format::unseal(&payload) else {
            return Err(foreign());
        };
        Ok(Self {
            input,
            head: Head::decode(body)?,
            head_body: body.to_vec(),
            position: format::SKIPPABLE_HEADER_LEN.saturating_add(len.into()),
            entries: Vec::new(),
            losses: Vec::new(),
            next_chunk: 0,
        })
    }

    /// The head.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// The unreadable ranges met so far.
    pub fn losses(&self) -> &[Extent] {
        &self.losses
    }

    /// Reads the next entry, and its frame into `stored`; `None` after the
    /// last, when the index has been found and agrees with what was read.
    ///
    /// # Errors
    /// Damaged if the stream ends early or something in it is wrong.
    pub fn next_entry(&mut self, stored: &mut Vec<u8>) -> Result<Option<Entry>> {
        let (tag, body, position) = self.sealed()?;
        match tag {
            format::TAG_CHUNK => {
                let (entry, losses) = format::decode_chunk(&body, position, &self.head)?;
                if entry.first_chunk != self.next_chunk || entry.end() <= self.position {
                    return Err(damaged(position));
                }
                stored.resize(usize::try_from(entry.stored_len).unwrap_or(0), 0);
                self.input.read_exact(stored).map_err(|error| truncated(error, position))?;
                self.position = entry.end();
                self.next_chunk = entry.first_chunk.saturating_add(entry.count.into());
                self.losses.extend(losses);
                self.entries.push(entry.clone());
                Ok(Some(entry))
            }
            format::TAG_INDEX => {
                self.finish(&body, position)?;
                Ok(None)
            }
            _ => Err(damaged(position)),
        }
    }

    /// Compares the index with what was read, and reads to the end, so that
    /// whoever writes to our pipe does not get a broken one.
    fn finish(&mut self, body: &[u8], position: u64) -> Result<Report> {
        let index = format::decode_index(body, position)?;
        let hash = format::content_hash(&self.head_body, &self.entries);
        if index.content_hash != hash || index.entries != self.entries {
            return Err(Error::damaged("the image's index contradicts its content"));
        }
        std::io::copy(&mut self.input, &mut std::io::sink())
            .context(|| "reading the end of the image".into())?;
        Ok(index.report)
    }

    /// The next of our own frames; others' skippable frames are passed over.
    fn sealed(&mut self) -> Result<([u8; 8], Vec<u8>, u64)> {
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
            let payload = read_bounded(&mut self.input, len.into())?;
            let (tag, body) = format::unseal(&payload).ok_or_else(|| damaged(position))?;
            return Ok((tag, body.to_vec(), position));
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

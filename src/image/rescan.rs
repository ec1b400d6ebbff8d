// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rebuilds the index from the chunk descriptions: for images whose end is
//! lost, and to go on with an interrupted save.

use super::format::{self, Entry, Head, MAX_DESCRIPTION};
use crate::error::{Context, Error, Result};
use crate::extent::Extent;
use crate::io::{ReadAt, read_vec};

/// What was found in the frames.
#[derive(Debug)]
pub struct Rescan {
    /// The head.
    pub head: Head,
    /// The body of the head frame, as it stands in the file.
    pub head_body: Vec<u8>,
    /// The chunks that are whole in the file, from the first one on. Their
    /// content has not been checked.
    pub entries: Vec<Entry>,
    /// The unreadable ranges in them.
    pub losses: Vec<Extent>,
    /// Where the head ends.
    pub head_end: u64,
    /// Where the last chunk ends.
    pub end: u64,
}

impl Rescan {
    /// True if every chunk of the disk was found.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.next_chunk() == self.head.chunk_count()
    }

    /// The first chunk that was not found.
    #[must_use]
    pub fn next_chunk(&self) -> u64 {
        self.entries.last().map_or(0, |last| last.first_chunk.saturating_add(last.count.into()))
    }
}

/// The payload length of one of our frames at `position`, if it is whole.
fn frame_at(file: &dyn ReadAt, position: u64, max_payload: u64) -> Result<Option<u64>> {
    let mut header = [0; 8];
    if position.saturating_add(format::SKIPPABLE_HEADER_LEN) > file.len() {
        return Ok(None);
    }
    file.read_at(position, &mut header)?;
    let Some(len) = format::payload_len(&header).map(u64::from) else { return Ok(None) };
    let end = position.saturating_add(format::SKIPPABLE_HEADER_LEN).saturating_add(len);
    Ok((len <= max_payload && end <= file.len()).then_some(len))
}

/// A sealed frame of a file.
pub(super) struct Sealed {
    pub(super) tag: [u8; 8],
    pub(super) body: Vec<u8>,
    /// Where it ends in the file.
    pub(super) end: u64,
}

/// Reads the sealed frame at `position`; `None` if there is none, or it is
/// damaged.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn read_sealed(
    file: &dyn ReadAt,
    position: u64,
    max_payload: u64,
) -> Result<Option<Sealed>> {
    let Some(len) = frame_at(file, position, max_payload)? else { return Ok(None) };
    let start = position.saturating_add(format::SKIPPABLE_HEADER_LEN);
    let Ok(payload_len) = usize::try_from(len) else { return Ok(None) };
    let payload = read_vec(file, start, payload_len)?;
    let end = start.saturating_add(len);
    Ok(format::unseal_vec(payload).map(|(tag, body)| Sealed { tag, body, end }))
}

/// How many bytes of a file its head fills, if it begins with a frame at all.
/// Reading the head takes a few times as much memory.
///
/// # Errors
/// If the file cannot be read.
pub fn head_len(file: &dyn ReadAt) -> Result<u64> {
    Ok(frame_at(file, 0, format::MAX_HEAD_FRAME)?.unwrap_or_default())
}

/// Reads the head at the start of the file, and where it ends.
///
/// # Errors
/// Damaged if this is not an image or its head is damaged, unsupported if it
/// is a newer one.
pub fn read_head(file: &dyn ReadAt) -> Result<(Head, Vec<u8>, u64)> {
    let foreign = || {
        Error::damaged("this is not a dacapo image, or its head is damaged")
            .hint("a dacapo image is made by 'dacapo save'")
    };
    let Sealed { tag, body, end } =
        read_sealed(file, 0, format::MAX_HEAD_FRAME)?.ok_or_else(foreign)?;
    if tag != format::TAG_HEAD {
        return Err(foreign());
    }
    Ok((Head::decode(&body)?, body, end))
}

/// Walks the frames from the head on, up to the first that is not whole.
///
/// # Errors
/// If the head cannot be used or the file cannot be read.
pub fn rescan(file: &dyn ReadAt) -> Result<Rescan> {
    let (head, head_body, end) = read_head(file).context(|| "reading the image's head".into())?;
    let mut found =
        Rescan { head, head_body, entries: Vec::new(), losses: Vec::new(), head_end: end, end };
    while !found.is_complete() {
        let Some(Sealed { tag, body, end }) = read_sealed(file, found.end, MAX_DESCRIPTION.into())?
        else {
            break;
        };
        if tag != format::TAG_CHUNK {
            break;
        }
        let Ok((entry, losses)) = format::decode_chunk(&body, found.end, &found.head) else {
            break;
        };
        let description_end = found.end.saturating_add(entry.description_len.into());
        if entry.first_chunk != found.next_chunk()
            || entry.end() > file.len()
            || description_end != end
        {
            break;
        }
        found.end = entry.end();
        found.losses.extend(losses);
        found.entries.push(entry);
    }
    Ok(found)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The seek table of the Zstandard Seekable Format, version 0.1.0: the last
//! frame of an image, for readers that are not ours.

use crate::error::{Error, Result};
use crate::io::{ReadAt, read_vec};
use crate::ondisk::Fields;

/// The magic number of the skippable frame that holds the table.
const FRAME_MAGIC: u32 = 0x184D_2A5E;
/// The magic number at the very end of the file.
const FOOTER_MAGIC: u32 = 0x8F92_EAB1;
/// Bytes of the footer: number of frames, descriptor, magic.
pub(super) const FOOTER_LEN: u64 = 9;
/// The most frames the format allows.
pub(super) const MAX_FRAMES: u64 = 0x0800_0000;
/// How much of a table is compared at a time.
const PIECE: usize = 64 << 10;

/// Collects the lengths of all frames, skippable ones included.
#[derive(Debug, Default)]
pub(super) struct SeekTable {
    entries: Vec<u8>,
    count: u64,
}

impl SeekTable {
    /// Adds a frame of the file.
    pub(super) fn push(&mut self, stored_len: u32, content_len: u32) {
        self.entries.extend_from_slice(&stored_len.to_le_bytes());
        self.entries.extend_from_slice(&content_len.to_le_bytes());
        self.count = self.count.saturating_add(1);
    }

    /// The frame with the table.
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let too_many = || Error::failed("the image has more frames than a seek table may list");
        let count = u32::try_from(self.count)
            .ok()
            .filter(|count| u64::from(*count) <= MAX_FRAMES)
            .ok_or_else(too_many)?;
        let len = u32::try_from(self.entries.len().saturating_add(9)).map_err(|_| too_many())?;
        let mut frame = Vec::with_capacity(self.entries.len().saturating_add(17));
        frame.extend_from_slice(&FRAME_MAGIC.to_le_bytes());
        frame.extend_from_slice(&len.to_le_bytes());
        frame.extend_from_slice(&self.entries);
        frame.extend_from_slice(&count.to_le_bytes());
        // No checksum per entry: every frame has one of its own.
        frame.push(0);
        frame.extend_from_slice(&FOOTER_MAGIC.to_le_bytes());
        Ok(frame)
    }
}

/// True if the table of these frames stands at `position` and ends the file;
/// `frames` are their stored lengths and the lengths of their content.
///
/// It is compared piece by piece: a large image has millions of frames.
pub(super) fn is_at(
    file: &dyn ReadAt,
    position: u64,
    frames: &mut dyn Iterator<Item = (u32, u32)>,
) -> Result<bool> {
    let Some(table_len) = file.len().checked_sub(position) else { return Ok(false) };
    let mut expected = Vec::with_capacity(PIECE.saturating_add(32));
    let Some(len) = table_len.checked_sub(8).and_then(|len| u32::try_from(len).ok()) else {
        return Ok(false);
    };
    expected.extend_from_slice(&FRAME_MAGIC.to_le_bytes());
    expected.extend_from_slice(&len.to_le_bytes());
    let (mut at, mut count) = (position, 0_u32);
    loop {
        let frame = frames.next();
        if let Some((stored, content)) = frame {
            expected.extend_from_slice(&stored.to_le_bytes());
            expected.extend_from_slice(&content.to_le_bytes());
            count = count.saturating_add(1);
        } else {
            expected.extend_from_slice(&count.to_le_bytes());
            expected.push(0);
            expected.extend_from_slice(&FOOTER_MAGIC.to_le_bytes());
        }
        if frame.is_none() || expected.len() >= PIECE {
            let next = at.saturating_add(u64::try_from(expected.len()).unwrap_or(u64::MAX));
            if next > file.len() || read_vec(file, at, expected.len())? != expected {
                return Ok(false);
            }
            at = next;
            expected.clear();
        }
        if frame.is_none() {
            return Ok(at == file.len());
        }
    }
}

/// The length of the whole seek table frame, from its last nine bytes.
pub(super) fn frame_len(footer: &[u8]) -> Option<u64> {
    if footer.u32_le(5)? != FOOTER_MAGIC {
        return None;
    }
    let entry_len = if footer.u8_at(4)? & 0x80 != 0 { 12 } else { 8 };
    u64::from(footer.u32_le(0)?).checked_mul(entry_len)?.checked_add(8 + FOOTER_LEN)
}

/// True if these are the first bytes of a seek table frame.
pub(super) fn is_table(header: &[u8]) -> bool {
    header.u32_le(0) == Some(FRAME_MAGIC)
}

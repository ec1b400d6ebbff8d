// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading structures, as they are on the disk or as they will be once the log
//! has been replayed.

use std::collections::BTreeMap;

use super::checksum;
use super::superblock::Geometry;
use crate::error::Context;
use crate::extent::Extent;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError};

/// What a replay writes: whole buffers by the byte they start at. None of them
/// overlaps another.
pub(super) type Overlay = BTreeMap<u64, Vec<u8>>;

/// A filesystem's bytes.
#[derive(Clone, Copy)]
pub(super) struct Volume<'a> {
    pub(super) reader: &'a dyn ReadAt,
    pub(super) geometry: &'a Geometry,
    replayed: Option<&'a Overlay>,
}

/// A structure that was read.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// Its first byte on the volume.
    pub(super) position: u64,
    pub(super) bytes: Vec<u8>,
    /// True if a replay writes it: it has no checksum yet.
    pub(super) is_replayed: bool,
}

impl<'a> Volume<'a> {
    /// The bytes as they are on the disk.
    pub(super) const fn new(reader: &'a dyn ReadAt, geometry: &'a Geometry) -> Self {
        Self { reader, geometry, replayed: None }
    }

    /// The same bytes after a replay.
    pub(super) const fn replayed(&self, overlay: &'a Overlay) -> Self {
        Self { replayed: Some(overlay), ..*self }
    }

    /// Reads a structure of `len` bytes.
    pub(super) fn read(
        &self,
        what: &'static str,
        position: u64,
        len: u64,
    ) -> Result<Block, FormatError> {
        let size = usize::try_from(len).unwrap_or(usize::MAX);
        let end = position.saturating_add(len);
        if let Some(overlay) = self.replayed {
            if let Some(bytes) = overlay.get(&position).filter(|bytes| bytes.len() == size) {
                return Ok(Block { position, bytes: bytes.clone(), is_replayed: true });
            }
            let before = overlay.range(..end).next_back();
            let overlaps = before.is_some_and(|(start, bytes)| {
                let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                start.saturating_add(len) > position
            });
            if overlaps {
                return Err(FormatError::unsupported(format!(
                    "its log has to be replayed, and writes a part of the {what} at byte \
                     {position:#x}"
                )));
            }
        }
        let bytes = read_vec(self.reader, position, size)
            .context(|| format!("reading the {what} at byte {position:#x}"))?;
        Ok(Block { position, bytes, is_replayed: false })
    }

    /// Reads a structure, parts of which a replay may write.
    pub(super) fn read_merged(
        &self,
        what: &'static str,
        position: u64,
        len: usize,
    ) -> Result<Block, FormatError> {
        let mut bytes = read_vec(self.reader, position, len)
            .context(|| format!("reading the {what} at byte {position:#x}"))?;
        let is_replayed = self.replay_into(position, &mut bytes);
        Ok(Block { position, bytes, is_replayed })
    }

    /// Fills `buf` with the bytes at a position, as they will be; true if a
    /// replay writes any of them.
    pub(super) fn read_into(
        &self,
        what: &'static str,
        position: u64,
        buf: &mut [u8],
    ) -> Result<bool, FormatError> {
        self.reader
            .read_at(position, buf)
            .context(|| format!("reading the {what} at byte {position:#x}"))?;
        Ok(self.replay_into(position, buf))
    }

    /// Writes into `buf` what a replay writes to its place; true if that is
    /// anything.
    fn replay_into(&self, position: u64, buf: &mut [u8]) -> bool {
        let Some(overlay) = self.replayed else { return false };
        let wanted = Extent::at(position, u64::try_from(buf.len()).unwrap_or(u64::MAX));
        let mut is_replayed = false;
        // None overlaps another: from the last that starts before on.
        let first = overlay.range(..=position).next_back().map_or(position, |(start, _)| *start);
        for (start, bytes) in overlay.range(first..wanted.end()) {
            let extent = Extent::at(*start, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            let part = extent.intersect(&wanted);
            let within = |start: u64| {
                let from = usize::try_from(part.start().saturating_sub(start)).ok()?;
                Some(from..from.checked_add(usize::try_from(part.len()).ok()?)?)
            };
            let from = within(extent.start()).and_then(|range| bytes.get(range));
            let to = within(position).and_then(|range| buf.get_mut(range));
            if let (Some(from), Some(to), false) = (from, to, part.is_empty()) {
                to.copy_from_slice(from);
                is_replayed = true;
            }
        }
        is_replayed
    }
}

impl Block {
    pub(super) fn u16(&self, offset: usize) -> u16 {
        self.bytes.u16_be(offset).unwrap_or(0)
    }

    pub(super) fn u32(&self, offset: usize) -> u32 {
        self.bytes.u32_be(offset).unwrap_or(0)
    }

    pub(super) fn u64(&self, offset: usize) -> u64 {
        self.bytes.u64_be(offset).unwrap_or(0)
    }

    /// A field that is not what it has to be.
    pub(super) fn corrupt(
        &self,
        field: &'static str,
        offset: usize,
        expected: impl ToString,
        found: impl ToString,
    ) -> FormatError {
        let offset = u64::try_from(offset).unwrap_or(0);
        FormatError::corrupt(field, self.position.saturating_add(offset), expected, found)
    }

    /// An error unless the 32-bit field is `expected`.
    pub(super) fn expect(
        &self,
        field: &'static str,
        offset: usize,
        expected: u32,
    ) -> Result<(), FormatError> {
        let found = self.u32(offset);
        if found == expected {
            return Ok(());
        }
        Err(self.corrupt(field, offset, format!("{expected:#x}"), format!("{found:#x}")))
    }

    /// An error unless the filesystem's identifier is at `offset`.
    pub(super) fn expect_uuid(
        &self,
        field: &'static str,
        offset: usize,
        geometry: &Geometry,
    ) -> Result<(), FormatError> {
        let found = self.bytes.array::<16>(offset).unwrap_or_default();
        if found == geometry.meta_uuid {
            return Ok(());
        }
        let written = |bytes| uuid::Uuid::from_bytes(bytes).to_string();
        Err(self.corrupt(field, offset, written(geometry.meta_uuid), written(found)))
    }

    /// An error unless the checksum at `offset` is right. What a replay writes
    /// gets its checksum when it is written.
    pub(super) fn expect_checksum(
        &self,
        field: &'static str,
        offset: usize,
    ) -> Result<(), FormatError> {
        let stored = checksum::stored(&self.bytes, offset);
        let computed = checksum::computed(&self.bytes, offset);
        if self.is_replayed || stored == computed {
            return Ok(());
        }
        Err(self.corrupt(field, offset, format!("{computed:#010x}"), format!("{stored:#010x}")))
    }

    /// An error if the structure was written later than `newest`, the end of
    /// the log: then the log is not the one that belongs to it.
    pub(super) fn expect_not_after(
        &self,
        field: &'static str,
        offset: usize,
        newest: Option<u64>,
    ) -> Result<(), FormatError> {
        let found = self.u64(offset);
        match newest {
            Some(newest) if found > newest && found != u64::MAX => Err(self.corrupt(
                field,
                offset,
                format!("a place in the log up to its end, {newest:#x}"),
                format!("{found:#x}"),
            )),
            _ => Ok(()),
        }
    }
}

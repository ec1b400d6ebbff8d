// SPDX-License-Identifier: MIT OR Apache-2.0
//! Appends an image to a writer, front to back, never seeking.

use std::io::Write;

use super::format::{self, Entry, Head, Kind, Report, Trailer};
use super::frame;
use super::rescan::Rescan;
use super::seekable::SeekTable;
use crate::error::{Context, Error, Result};
use crate::extent::{Extent, ExtentSet};

/// What a finished image amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The length of the file.
    pub len: u64,
    /// The hash that identifies the image.
    pub content_hash: [u8; 32],
}

/// An image being written.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    position: u64,
    head: Head,
    head_body: Vec<u8>,
    entries: Vec<Entry>,
    next_chunk: u64,
    /// Zero chunks that have not been written yet: they may become more.
    zeros: u64,
    losses: ExtentSet,
    table: SeekTable,
}

impl<W: Write> Writer<W> {
    /// Starts an image: writes its head.
    ///
    /// # Errors
    /// If the head is too large or cannot be written.
    pub fn create(out: W, head: Head) -> Result<Self> {
        let head_body = head.encode()?;
        let mut writer = Self::new(out, head, head_body);
        let frame = format::seal(format::TAG_HEAD, &writer.head_body)?;
        writer.append(&frame, 0)?;
        Ok(writer)
    }

    /// Goes on with an interrupted image; `out` is at the end of what
    /// `found` describes.
    ///
    /// # Errors
    /// If `found` is larger than the format allows.
    pub fn resume(out: W, found: Rescan) -> Result<Self> {
        let mut writer = Self::new(out, found.head, found.head_body);
        writer.position = found.end;
        writer.table.push(length32(found.head_end)?, 0);
        for entry in &found.entries {
            writer.next_chunk = entry.first_chunk.saturating_add(entry.count.into());
            writer.list(entry)?;
        }
        writer.entries = found.entries;
        writer.losses.extend(found.losses);
        Ok(writer)
    }

    fn new(out: W, head: Head, head_body: Vec<u8>) -> Self {
        Self {
            out,
            position: 0,
            head,
            head_body,
            entries: Vec::new(),
            next_chunk: 0,
            zeros: 0,
            losses: ExtentSet::new(),
            table: SeekTable::default(),
        }
    }

    /// The head that was written.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// The first chunk that has not been appended.
    pub const fn next_chunk(&self) -> u64 {
        self.next_chunk.saturating_add(self.zeros)
    }

    /// How many bytes have been written.
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// The ranges of the disk that could not be read.
    pub fn losses(&self) -> &[Extent] {
        self.losses.as_slice()
    }

    /// Appends the next chunk, compressed in `frame`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn data(&mut self, frame: &[u8], hash: [u8; 32], losses: &[Extent]) -> Result<()> {
        self.write_zeros()?;
        let entry = self.entry(1, Kind::Data, frame, hash, !losses.is_empty())?;
        losses.iter().for_each(|loss| self.losses.insert(*loss));
        self.write_entry(entry, frame, losses)
    }

    /// Appends `count` chunks of zeros.
    pub const fn zeros(&mut self, count: u64) {
        self.zeros = self.zeros.saturating_add(count);
    }

    /// Writes what has been collected, so that an interrupted image holds it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn settle(&mut self) -> Result<()> {
        self.write_zeros()?;
        self.out.flush().context(|| "writing the image".into())
    }

    /// Writes the index and the seek table, and gives the writer back.
    ///
    /// # Errors
    /// If chunks are missing, or something cannot be written.
    pub fn finish(mut self, mut report: Report) -> Result<(W, Written)> {
        self.write_zeros()?;
        if self.next_chunk != self.head.chunk_count() {
            return Err(Error::failed(format!(
                "finishing an image with {} of {} chunks",
                self.next_chunk,
                self.head.chunk_count()
            )));
        }
        // Half a year of reading a dying disk must not fail here. Each chunk's
        // description has its losses exactly; the report may be coarser.
        report.losses = self.losses.joined(format::MAX_REPORT_LOSSES).iter().collect();
        let index_position = self.position;
        let index = format::encode_index(&self.head_body, &report, &self.entries)?;
        self.append(&index, 0)?;
        let trailer = Trailer {
            image_id: self.head.image_id,
            index_position,
            index_len: self.position.saturating_sub(index_position),
        };
        self.append(&trailer.encode()?, 0)?;
        let table = self.table.encode()?;
        self.write(&table)?;
        self.out.flush().context(|| "writing the image".into())?;
        let content_hash = format::content_hash(&self.head_body, &self.entries);
        Ok((self.out, Written { len: self.position, content_hash }))
    }

    fn write_zeros(&mut self) -> Result<()> {
        while self.zeros > 0 {
            // Powers of two, so that a few frames are made once and used often.
            let largest = self.zeros.min(self.head.max_zero_chunks().into());
            let count = u32::try_from(1_u64 << largest.ilog2()).unwrap_or(1);
            let last = self.next_chunk.saturating_add(u64::from(count)).saturating_sub(1);
            let extent = Extent::new(
                self.head.chunk_extent(self.next_chunk).start(),
                self.head.chunk_extent(last).end(),
            );
            let frame = frame::zero_frame(extent.len())?;
            let hash = blake3::hash(&[]).into();
            let entry = self.entry(count, Kind::Zero, &frame, hash, false)?;
            self.zeros = self.zeros.saturating_sub(count.into());
            self.write_entry(entry, &frame, &[])?;
        }
        Ok(())
    }

    fn entry(
        &self,
        count: u32,
        kind: Kind,
        frame: &[u8],
        hash: [u8; 32],
        lossy: bool,
    ) -> Result<Entry> {
        Ok(Entry {
            first_chunk: self.next_chunk,
            count,
            kind,
            lossy,
            position: self.position,
            description_len: 0,
            stored_len: length32(u64::try_from(frame.len()).unwrap_or(u64::MAX))?,
            hash,
        })
    }

    fn write_entry(&mut self, mut entry: Entry, frame: &[u8], losses: &[Extent]) -> Result<()> {
        let description = format::encode_chunk(&entry, losses)?;
        entry.description_len = length32(u64::try_from(description.len()).unwrap_or(u64::MAX))?;
        self.write(&description)?;
        self.write(frame)?;
        self.next_chunk = self.next_chunk.saturating_add(entry.count.into());
        self.list(&entry)?;
        self.entries.push(entry);
        Ok(())
    }

    fn list(&mut self, entry: &Entry) -> Result<()> {
        self.table.push(entry.description_len, 0);
        self.table.push(entry.stored_len, length32(entry.extent(&self.head).len())?);
        Ok(())
    }

    fn append(&mut self, frame: &[u8], content_len: u32) -> Result<()> {
        self.table.push(length32(u64::try_from(frame.len()).unwrap_or(u64::MAX))?, content_len);
        self.write(frame)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).context(|| "writing the image".into())?;
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.position = self.position.saturating_add(len);
        Ok(())
    }
}

fn length32(len: u64) -> Result<u32> {
    u32::try_from(len).map_err(|_| Error::failed("a frame is longer than the format allows"))
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the content of a disk comes from, piece by piece in order: an image
//! by its index, an image front to back, or another disk.

use std::io::Read;
use std::sync::{Mutex, PoisonError};

use crate::device::AlignedBuffer;
use crate::error::Result;
use crate::extent::Extent;
use crate::image::format::{Entry, Head, Kind};
use crate::image::frame::{self, Decompressor};
use crate::image::{Reader, Stream, reader};
use crate::io::{ReadAt, read_vec};
use crate::save::{self, ChunkReader, ChunkWork};

/// A piece of the disk whose content is still to be decoded.
#[derive(Debug)]
pub struct Piece {
    /// Its bytes on the disk.
    pub extent: Extent,
    kind: PieceKind,
}

#[derive(Debug)]
enum PieceKind {
    /// The entry of this number in the index.
    Indexed(usize),
    /// An entry with its frame.
    Framed(Entry, Vec<u8>),
    /// To be read from a disk.
    OnDisk,
    /// Zeros, without anything to decode.
    Zeros,
}

/// The content of a piece.
#[derive(Debug)]
pub struct Content<'a> {
    /// The bytes; `None` if all of them are zero.
    pub bytes: Option<&'a [u8]>,
    /// The BLAKE3 of the bytes.
    pub hash: [u8; 32],
}

impl Content<'_> {
    const ZEROS: Self = Self { bytes: None, hash: [0; 32] };
}

/// Decodes pieces, one after another; every thread has its own.
pub trait Decode {
    /// The checked content of a piece.
    ///
    /// # Errors
    /// Damaged if the piece is.
    fn decode(&mut self, piece: Piece) -> Result<Content<'_>>;
}

/// The content of a disk, piece by piece.
pub trait Feed: Sync {
    /// What is known of the disk.
    fn head(&self) -> &Head;

    /// The next piece in order. Called by one thread.
    ///
    /// # Errors
    /// If the source cannot be read or is damaged.
    fn next_piece(&self) -> Result<Option<Piece>>;

    /// A decoder for one thread.
    ///
    /// # Errors
    /// If zstd does not start.
    fn decoder(&self) -> Result<Box<dyn Decode + '_>>;

    /// Reads and checks what the target cannot do without - its ends - before
    /// anything is written; a pipe cannot be read ahead.
    ///
    /// # Errors
    /// Damaged if a piece is.
    fn rehearse(&self, ends: &[Extent]) -> Result<()> {
        let _ = ends;
        Ok(())
    }

    /// True if pieces that are not needed may stay unread; false for a pipe,
    /// whose writer wants to finish.
    fn may_stop(&self) -> bool {
        true
    }

    /// The ranges whose content is not known, in ascending order, once all
    /// pieces were decoded.
    fn losses(&self) -> Vec<Extent>;

    /// Those of a piece that was decoded, exactly.
    ///
    /// # Errors
    /// If the source cannot be read.
    fn losses_in(&self, piece: Extent) -> Result<Vec<Extent>> {
        Ok(within(&self.losses(), piece))
    }
}

/// The parts of sorted ranges in a piece.
fn within(losses: &[Extent], piece: Extent) -> Vec<Extent> {
    let first = losses.partition_point(|loss| loss.end() <= piece.start());
    let here = losses[first..].iter().take_while(|loss| loss.start() < piece.end());
    here.map(|loss| loss.intersect(&piece)).collect()
}

/// An image through its index.
#[derive(Debug)]
pub struct Indexed<'a, F> {
    reader: &'a Reader<F>,
    next: Mutex<usize>,
}

impl<'a, F: ReadAt> Indexed<'a, F> {
    /// All pieces of an image.
    pub fn new(reader: &'a Reader<F>) -> Self {
        Self { reader, next: Mutex::new(0) }
    }

    /// The pieces of an image from the one that holds `offset` on.
    pub fn from_offset(reader: &'a Reader<F>, offset: u64) -> Self {
        let next =
            reader.entries().partition_point(|entry| entry.extent(reader.head()).end() <= offset);
        Self { reader, next: Mutex::new(next) }
    }
}

struct IndexedDecoder<'a, F> {
    reader: &'a Reader<F>,
    stored: Vec<u8>,
    decompressor: Decompressor,
    content: AlignedBuffer,
}

impl<F: ReadAt> Feed for Indexed<'_, F> {
    fn rehearse(&self, ends: &[Extent]) -> Result<()> {
        for extent in ends {
            read_vec(self.reader, extent.start(), extent.len() as usize)?;
        }
        Ok(())
    }

    fn head(&self) -> &Head {
        self.reader.head()
    }

    fn next_piece(&self) -> Result<Option<Piece>> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = self.reader.entries().get(*next) else { return Ok(None) };
        let kind = PieceKind::Indexed(*next);
        *next += 1;
        Ok(Some(Piece { extent: entry.extent(self.reader.head()), kind }))
    }

    fn decoder(&self) -> Result<Box<dyn Decode + '_>> {
        Ok(Box::new(IndexedDecoder {
            reader: self.reader,
            stored: Vec::new(),
            decompressor: Decompressor::new()?,
            content: AlignedBuffer::new(self.reader.head().chunk_size as usize),
        }))
    }

    fn losses(&self) -> Vec<Extent> {
        self.reader.report().losses.clone()
    }

    fn losses_in(&self, piece: Extent) -> Result<Vec<Extent>> {
        if within(&self.reader.report().losses, piece).is_empty() {
            return Ok(Vec::new());
        }
        let chunk = piece.start() / u64::from(self.head().chunk_size);
        let entry = self.reader.entry_of(chunk);
        entry.map_or_else(|| Ok(Vec::new()), |entry| self.reader.losses_of(entry))
    }
}

impl<F: ReadAt> Decode for IndexedDecoder<'_, F> {
    fn decode(&mut self, piece: Piece) -> Result<Content<'_>> {
        let PieceKind::Indexed(number) = piece.kind else { return Ok(Content::ZEROS) };
        let entry = &self.reader.entries()[number];
        let frame = self.reader.fetch(entry, &mut self.stored)?;
        decode_entry(entry, self.reader.head(), frame, &mut self.decompressor, &mut self.content)
    }
}

fn decode_entry<'a>(
    entry: &Entry,
    head: &Head,
    frame: &[u8],
    decompressor: &mut Decompressor,
    content: &'a mut AlignedBuffer,
) -> Result<Content<'a>> {
    if entry.kind == Kind::Data {
        content.set_len(entry.extent(head).len() as usize);
    }
    reader::decode(entry, head, frame, decompressor, content.as_mut_slice())?;
    Ok(match entry.kind {
        Kind::Zero => Content::ZEROS,
        Kind::Data => Content { bytes: Some(content.as_slice()), hash: entry.hash },
    })
}

/// An image front to back.
#[derive(Debug)]
pub struct Streamed<R> {
    head: Head,
    stream: Mutex<Stream<R>>,
}

impl<R: Read + Send> Streamed<R> {
    /// All pieces of an image.
    pub fn new(stream: Stream<R>) -> Self {
        Self { head: stream.head().clone(), stream: Mutex::new(stream) }
    }
}

struct StreamDecoder<'a> {
    head: &'a Head,
    decompressor: Decompressor,
    content: AlignedBuffer,
}

impl<R: Read + Send> Feed for Streamed<R> {
    fn may_stop(&self) -> bool {
        false
    }

    fn head(&self) -> &Head {
        &self.head
    }

    fn next_piece(&self) -> Result<Option<Piece>> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let mut frame = Vec::new();
        let Some(entry) = stream.next_entry(&mut frame)? else { return Ok(None) };
        let extent = entry.extent(&self.head);
        Ok(Some(Piece { extent, kind: PieceKind::Framed(entry, frame) }))
    }

    fn decoder(&self) -> Result<Box<dyn Decode + '_>> {
        Ok(Box::new(StreamDecoder {
            head: &self.head,
            decompressor: Decompressor::new()?,
            content: AlignedBuffer::new(self.head.chunk_size as usize),
        }))
    }

    fn losses(&self) -> Vec<Extent> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner).losses().to_vec()
    }

    fn losses_in(&self, piece: Extent) -> Result<Vec<Extent>> {
        Ok(within(self.stream.lock().unwrap_or_else(PoisonError::into_inner).losses(), piece))
    }
}

impl Decode for StreamDecoder<'_> {
    fn decode(&mut self, piece: Piece) -> Result<Content<'_>> {
        let PieceKind::Framed(entry, frame) = piece.kind else { return Ok(Content::ZEROS) };
        decode_entry(&entry, self.head, &frame, &mut self.decompressor, &mut self.content)
    }
}

/// Another disk, by the plan of a save.
pub struct Disk<'a> {
    plan: &'a save::Plan,
    source: &'a dyn ReadAt,
    chunks: Mutex<save::Chunks>,
    losses: Mutex<Vec<Extent>>,
}

impl std::fmt::Debug for Disk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Disk")
    }
}

impl<'a> Disk<'a> {
    /// All chunks of a disk.
    #[must_use]
    pub fn new(plan: &'a save::Plan, source: &'a dyn ReadAt) -> Self {
        let chunks = Mutex::new(save::Chunks::new(plan, 0));
        Self { plan, source, chunks, losses: Mutex::default() }
    }
}

struct DiskDecoder<'a> {
    reader: ChunkReader<'a>,
    losses: &'a Mutex<Vec<Extent>>,
}

impl Feed for Disk<'_> {
    fn head(&self) -> &Head {
        &self.plan.head
    }

    fn next_piece(&self) -> Result<Option<Piece>> {
        let mut chunks = self.chunks.lock().unwrap_or_else(PoisonError::into_inner);
        let head = &self.plan.head;
        Ok(chunks.next().map(|(first, piece)| {
            let start = head.chunk_extent(first);
            match piece {
                ChunkWork::Read => Piece { extent: start, kind: PieceKind::OnDisk },
                ChunkWork::Zeros(count) => {
                    let last = head.chunk_extent(first + count - 1);
                    let extent = Extent::new(start.start(), last.end());
                    Piece { extent, kind: PieceKind::Zeros }
                }
            }
        }))
    }

    fn decoder(&self) -> Result<Box<dyn Decode + '_>> {
        let head = &self.plan.head;
        let reader =
            ChunkReader::new(self.source, &head.used, head.chunk_size).without(&self.plan.lost);
        Ok(Box::new(DiskDecoder { reader, losses: &self.losses }))
    }

    fn losses(&self) -> Vec<Extent> {
        let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner).clone();
        losses.sort_unstable();
        losses
    }
}

impl Decode for DiskDecoder<'_> {
    fn decode(&mut self, piece: Piece) -> Result<Content<'_>> {
        if matches!(piece.kind, PieceKind::Zeros) {
            return Ok(Content::ZEROS);
        }
        self.reader.read(piece.extent)?;
        if !self.reader.losses().is_empty() {
            let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
            losses.extend_from_slice(self.reader.losses());
        }
        let bytes = self.reader.content();
        if self.reader.losses().is_empty() && frame::is_zero(bytes) {
            return Ok(Content::ZEROS);
        }
        Ok(Content { hash: blake3::hash(bytes).into(), bytes: Some(bytes) })
    }
}

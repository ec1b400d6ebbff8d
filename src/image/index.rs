// SPDX-License-Identifier: MIT OR Apache-2.0
//! The index: a copy of the head, the report, and every entry of an image.
//!
//! It is read in pieces and every entry is checked as it comes, so that memory
//! is taken for entries that are really there and in order, never for what a
//! length says. The seal counts last: nothing is used before it is right.

use super::format::{
    self, ENTRY_LEN, Entry, Head, INDEX_FIXED_LEN, Kind, MAX_HEAD_FRAME, MAX_JSON_LEN, Report,
    SEAL_LEN, TAG_INDEX, damaged,
};
use crate::error::{Error, ErrorKind, Result};
use crate::extent::{Extent, ExtentSet};
use crate::io::{ReadAt, check_range};
use crate::ondisk::Fields;

/// How much of an index is read at a time; whole entries.
const PIECE: usize = 1024 * ENTRY_LEN;

/// The hash that identifies an image, entry by entry.
#[derive(Debug, Clone)]
pub(super) struct ContentHasher(blake3::Hasher);

impl ContentHasher {
    pub(super) fn new(head_body: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(head_body);
        Self(hasher)
    }

    pub(super) fn add(&mut self, entry: &Entry) {
        self.0.update(&entry.first_chunk.to_le_bytes());
        self.0.update(&entry.count.to_le_bytes());
        self.0.update(&[entry.kind.code()]);
        self.0.update(&entry.hash);
    }

    pub(super) fn finish(&self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// The hash that identifies an image: over the head and the content of every
/// chunk in order.
#[must_use]
pub fn content_hash(head_body: &[u8], entries: &[Entry]) -> [u8; 32] {
    let mut hasher = ContentHasher::new(head_body);
    entries.iter().for_each(|entry| hasher.add(entry));
    hasher.finish()
}

/// An entry as it stands in the index.
pub(super) fn encode_entry(entry: &Entry, out: &mut Vec<u8>) {
    out.extend_from_slice(&entry.first_chunk.to_le_bytes()); // 0
    out.extend_from_slice(&entry.position.to_le_bytes()); // 8
    out.extend_from_slice(&entry.count.to_le_bytes()); // 16
    out.extend_from_slice(&entry.description_len.to_le_bytes()); // 20
    out.extend_from_slice(&entry.stored_len.to_le_bytes()); // 24
    out.push(entry.kind.code()); // 28
    out.push(u8::from(entry.lossy)); // 29
    out.extend_from_slice(&[0; 2]); // 30
    out.extend_from_slice(&entry.hash); // 32
}

fn decode_entry(bytes: &[u8]) -> Result<Entry> {
    let bad = || damaged("index");
    let kind = Kind::from_code(bytes.u8_at(28).ok_or_else(bad)?)?;
    let decode = || {
        Some(Entry {
            first_chunk: bytes.u64_le(0)?,
            position: bytes.u64_le(8)?,
            count: bytes.u32_le(16)?,
            description_len: bytes.u32_le(20)?,
            stored_len: bytes.u32_le(24)?,
            kind,
            lossy: bytes.u8_at(29)? & 1 != 0,
            hash: bytes.array(32)?,
        })
    };
    decode().ok_or_else(bad)
}

/// The index frame: a copy of the head, the report, and every entry.
///
/// # Errors
/// If a part is longer than the format allows.
pub fn encode_index(head_body: &[u8], report: &Report, entries: &[Entry]) -> Result<Vec<u8>> {
    let (json, json_len) = format::encode_json(report, "the report")?;
    let head_len = format::to_len32(head_body.len(), "the head", u32::MAX)?;
    let body_len = INDEX_FIXED_LEN
        .saturating_add(head_body.len())
        .saturating_add(json.len())
        .saturating_add(entries.len().saturating_mul(ENTRY_LEN));
    let mut frame = format::begin_frame(TAG_INDEX, body_len);
    frame.extend_from_slice(&content_hash(head_body, entries)); // 0
    let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
    frame.extend_from_slice(&count.to_le_bytes()); // 32
    frame.extend_from_slice(&head_len.to_le_bytes()); // 40
    frame.extend_from_slice(&json_len.to_le_bytes()); // 44
    frame.extend_from_slice(head_body);
    frame.extend_from_slice(&json);
    for entry in entries {
        encode_entry(entry, &mut frame);
    }
    format::end_frame(frame)
}

/// What an index holds.
#[derive(Debug)]
pub struct Index {
    /// The head, from the copy in the index.
    pub head: Head,
    /// That copy, byte for byte.
    pub head_body: Vec<u8>,
    /// The report of the save; its unreadable ranges are in order, on the disk
    /// and apart.
    pub report: Report,
    /// Every chunk of the disk, in order, without a gap; empty if they were
    /// handed to somebody else.
    pub entries: Vec<Entry>,
    /// The hash that identifies the image.
    pub content_hash: [u8; 32],
}

/// Fills a buffer with the next bytes of the image.
pub(super) type Fill<'a> = &'a mut dyn FnMut(&mut [u8]) -> Result<()>;

/// The body of a sealed frame, hashed while it is read.
struct Body<'a> {
    fill: Fill<'a>,
    hasher: blake3::Hasher,
    left: u64,
}

impl Body<'_> {
    fn read(&mut self, buf: &mut [u8]) -> Result<()> {
        let len = u64::try_from(buf.len()).unwrap_or(u64::MAX);
        self.left = self.left.checked_sub(len).ok_or_else(|| damaged("index"))?;
        (self.fill)(buf)?;
        self.hasher.update(buf);
        Ok(())
    }

    /// Reads `len` bytes, taking memory only for what really comes.
    fn read_vec(&mut self, len: u64) -> Result<Vec<u8>> {
        let len = usize::try_from(len).map_err(|_| damaged("index"))?;
        let mut bytes = Vec::new();
        while bytes.len() < len {
            let start = bytes.len();
            bytes.resize(len.min(start.saturating_add(PIECE)), 0);
            self.read(bytes.get_mut(start..).unwrap_or_default())?;
        }
        Ok(bytes)
    }

    /// Reads the rest and the seal; true if that is right.
    fn has_good_seal(&mut self) -> Result<bool> {
        let mut piece = vec![0; PIECE];
        while self.left > 0 {
            let len = usize::try_from(self.left).unwrap_or(PIECE).min(PIECE);
            self.read(piece.get_mut(..len).unwrap_or_default())?;
        }
        let mut seal = [0; SEAL_LEN];
        (self.fill)(&mut seal)?;
        Ok(self.hasher.finalize().as_bytes().get(..SEAL_LEN) == Some(&seal))
    }
}

/// Reads the body of an index frame that stands at `index_position`.
///
/// # Errors
/// Damaged if a field lies: an entry off the grid, out of the file, or out of
/// order, or a hash that does not fit.
pub fn decode_index(body: &[u8], index_position: u64) -> Result<Index> {
    let mut rest = body;
    let mut fill = |buf: &mut [u8]| {
        let (now, later) = rest.split_at_checked(buf.len()).ok_or_else(|| damaged("index"))?;
        buf.copy_from_slice(now);
        rest = later;
        Ok(())
    };
    let left = u64::try_from(body.len()).unwrap_or(u64::MAX);
    let mut body = Body { fill: &mut fill, hasher: blake3::Hasher::new(), left };
    let mut entries = Vec::new();
    let mut each = |entry| entries.push(entry);
    let index = parse(&mut body, index_position, None, &mut each)?;
    Ok(Index { entries, ..index })
}

/// Reads an index frame of the given payload length, behind its tag, and hands
/// the entries to `each`. They count only if the index is returned.
///
/// # Errors
/// As [`decode_index`]; damaged, too, if the head's copy is not `known_head`.
pub(super) fn read_index(
    payload_len: u64,
    fill: Fill,
    index_position: u64,
    known_head: Option<&[u8]>,
    each: &mut dyn FnMut(Entry),
) -> Result<Index> {
    // The tag has been read; the seal is read last.
    let left = payload_len.checked_sub(8 + 16).ok_or_else(|| damaged("index"))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&TAG_INDEX);
    let mut body = Body { fill, hasher, left };
    match parse(&mut body, index_position, known_head, each) {
        // What is damaged need not be read to the end. But a newer version is
        // only believed under a good seal.
        Err(error) if error.kind() != ErrorKind::Unsupported => Err(error),
        parsed => {
            if body.has_good_seal()? {
                parsed
            } else {
                Err(damaged("index"))
            }
        }
    }
}

/// The index of a file; the frame takes `frame_len` bytes.
pub(super) fn read_file_index(file: &dyn ReadAt, position: u64, frame_len: u64) -> Result<Index> {
    let mut at = position;
    let mut fill = |buf: &mut [u8]| -> Result<()> {
        check_range(file.len(), at, buf.len()).map_err(|_| damaged("index"))?;
        file.read_at(at, buf)?;
        at = at.saturating_add(u64::try_from(buf.len()).unwrap_or(u64::MAX));
        Ok(())
    };
    let mut start = [0; 16];
    fill(&mut start)?;
    let payload_len = format::payload_len(&start).map(u64::from);
    if payload_len != frame_len.checked_sub(8) || start.array(8) != Some(TAG_INDEX) {
        return Err(Error::damaged("the image's index is missing or damaged"));
    }
    let mut entries = Vec::new();
    let mut each = |entry| entries.push(entry);
    let index = read_index(payload_len.unwrap_or(0), &mut fill, position, None, &mut each)?;
    entries.shrink_to_fit();
    Ok(Index { entries, ..index })
}

fn parse(
    body: &mut Body,
    index_position: u64,
    known_head: Option<&[u8]>,
    each: &mut dyn FnMut(Entry),
) -> Result<Index> {
    let bad = || damaged("index");
    let body_len = body.left;
    let mut fixed = [0; INDEX_FIXED_LEN];
    body.read(&mut fixed)?;
    let hash: [u8; 32] = fixed.array(0).ok_or_else(bad)?;
    let count = fixed.u64_le(32).ok_or_else(bad)?;
    let head_len = fixed.u32_le(40).map(u64::from).ok_or_else(bad)?;
    let json_len = fixed.u32_le(44).filter(|len| *len <= MAX_JSON_LEN).ok_or_else(bad)?;
    let sum = || {
        let table = count.checked_mul(u64::try_from(ENTRY_LEN).ok()?)?;
        let fixed = u64::try_from(INDEX_FIXED_LEN).ok()?;
        table.checked_add(fixed)?.checked_add(head_len)?.checked_add(json_len.into())
    };
    let known_len = known_head.map(|known| u64::try_from(known.len()).unwrap_or(u64::MAX));
    if sum() != Some(body_len)
        || head_len > MAX_HEAD_FRAME
        || known_len.is_some_and(|known| known != head_len)
    {
        return Err(bad());
    }
    let head_body = body.read_vec(head_len)?;
    if known_head.is_some_and(|known| known != head_body) {
        return Err(bad());
    }
    let head = Head::decode(&head_body)?;
    if count > head.chunk_count() {
        return Err(bad());
    }
    let json = body.read_vec(json_len.into())?;
    let mut report: Report = serde_json::from_slice(&json).map_err(|_| bad())?;
    drop(json);
    let disk = Extent::new(0, head.disk_len);
    let losses: ExtentSet = report.losses.iter().map(|loss| loss.intersect(&disk)).collect();
    report.losses = losses.iter().collect();

    let mut hasher = ContentHasher::new(&head_body);
    let (mut next_chunk, mut next_position) = (0, None);
    let mut piece = vec![0; PIECE];
    while body.left > 0 {
        let len = usize::try_from(body.left).unwrap_or(PIECE).min(PIECE);
        let table = piece.get_mut(..len).unwrap_or_default();
        body.read(table)?;
        for bytes in table.chunks_exact(ENTRY_LEN) {
            let entry = decode_entry(bytes)?;
            let in_order = entry.first_chunk == next_chunk
                && next_position.is_none_or(|position| position == entry.position)
                && entry.end() <= index_position
                && format::entry_fits(&entry, &head);
            if !in_order {
                return Err(bad());
            }
            next_chunk = entry.first_chunk.saturating_add(entry.count.into());
            next_position = Some(entry.end());
            hasher.add(&entry);
            each(entry);
        }
    }
    if next_chunk != head.chunk_count() || hasher.finish() != hash {
        return Err(bad());
    }
    Ok(Index { head, head_body, report, entries: Vec::new(), content_hash: hash })
}

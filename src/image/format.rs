// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every byte of an image that is not disk content. `docs/format.md` says the
//! same in prose; a test holds the two together.
//!
//! All numbers are little-endian and are written one by one. Every metadata
//! frame is a Zstandard skippable frame (RFC 8878, 3.1.2) whose payload is
//! *sealed*: an 8-byte tag, a body, and the first 16 bytes of the BLAKE3 of
//! both. Sizes are checked before memory is taken.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::frame;
pub use super::index::{Index, content_hash, decode_index, encode_index};
use crate::device::{DiskIdentity, Health};
use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::layout::Layout;
use crate::ondisk::Fields;
use crate::units::{MIB, human};

/// The magic number of the skippable frames that hold metadata; one of the
/// sixteen that RFC 8878 reserves for users.
pub const SKIPPABLE_MAGIC: u32 = 0x184D_2A5D;
/// The magic number and the length in front of a skippable frame's payload.
pub const SKIPPABLE_HEADER_LEN: u64 = 8;
/// The tag of the head frame.
pub const TAG_HEAD: [u8; 8] = *b"dacapoHD";
/// The tag of the frame that describes the chunk behind it.
pub const TAG_CHUNK: [u8; 8] = *b"dacapoCK";
/// The tag of the index frame.
pub const TAG_INDEX: [u8; 8] = *b"dacapoIX";
/// The tag of the trailer frame.
pub const TAG_TRAILER: [u8; 8] = *b"dacapoTR";
/// How much of the BLAKE3 hash stands at the end of a sealed payload.
pub const SEAL_LEN: usize = 16;

/// The version of the format that this program writes. A reader refuses a
/// version above the one it knows.
pub const VERSION: u16 = 1;
/// The features this program knows. A bit outside of it means that the image
/// cannot be read correctly without knowing the feature.
pub const KNOWN_FEATURES: u64 = 0;
/// The names of features that later versions of the format have room for.
pub const FEATURE_NAMES: [(u64, &str); 4] = [
    (1 << 0, "increment (unchanged chunks are in another image)"),
    (1 << 1, "sealed chunks (encrypted)"),
    (1 << 2, "parity groups"),
    (1 << 3, "split volumes"),
];

/// The smallest chunk.
pub const MIN_CHUNK_SIZE: u32 = 64 << 10;
/// The largest chunk: the window that every zstd decoder must support.
pub const MAX_CHUNK_SIZE: u32 = 8 << 20;
/// The chunk size that is written unless asked otherwise; `docs/chunk-size.md`
/// has the figures it was chosen by.
pub const DEFAULT_CHUNK_SIZE: u32 = 1 << 20;
/// The largest disk: 8 EiB less one byte keeps all sums in range.
pub const MAX_DISK_LEN: u64 = i64::MAX.unsigned_abs();
/// The largest JSON text in a head or an index.
pub const MAX_JSON_LEN: u32 = 64 << 20;
/// The most ranges in a used map; a more fragmented one is coarsened, which
/// stores more and loses nothing.
pub const MAX_MAP_RANGES: u32 = 4 << 20;
/// The longest encoding of a used map: two numbers of ten bytes a range.
pub const MAX_MAP_LEN: u32 = MAX_MAP_RANGES * 20;
/// The most unreadable ranges in one chunk: one a sector of the largest chunk.
pub const MAX_LOSSES: u16 = 16384;
/// The longest payload of a chunk description: tag, fixed part, unreadable
/// ranges, seal.
pub const MAX_DESCRIPTION: u32 = 8 + 56 + 16 * 16384 + 16;
/// The most unreadable ranges in the report. One takes at most 57 bytes there,
/// so that all of them fit into [`MAX_JSON_LEN`].
pub const MAX_REPORT_LOSSES: usize = 1 << 20;
/// The most entries that an image is begun for: so many that the index stays
/// below 4 GiB, and the seek table, with two frames for each, below its limit.
pub const MAX_ENTRIES: u64 = 60_000_000;
/// The most content in one frame: what the seekable format allows.
pub const MAX_FRAME_CONTENT: u64 = 1 << 30;

/// Bytes of a head's body before the JSON.
pub const HEAD_FIXED_LEN: usize = 64;
/// Bytes of a chunk description's body before its unreadable ranges.
pub const CHUNK_FIXED_LEN: usize = 56;
/// Bytes of an unreadable range.
pub const LOSS_LEN: usize = 16;
/// Bytes of an index entry.
pub const ENTRY_LEN: usize = 64;
/// Bytes of an index's body before the head's copy.
pub const INDEX_FIXED_LEN: usize = 48;
/// Bytes of a trailer's body.
pub const TRAILER_LEN: usize = 40;
/// Bytes of a whole trailer frame.
pub const TRAILER_FRAME_LEN: u64 = 72;

/// What a chunk is stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One zstd frame with the content.
    Data,
    /// One zero frame: the content of one or more chunks is zero.
    Zero,
}

impl Kind {
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::Zero => 1,
        }
    }

    pub(super) fn from_code(code: u8) -> Result<Self> {
        match code {
            0 => Ok(Self::Data),
            1 => Ok(Self::Zero),
            other => Err(Error::unsupported(format!("chunk kind {other} is not known"))
                .hint("a newer version of dacapo may read this image")),
        }
    }
}

/// One chunk, or one run of zero chunks, of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The number of the first chunk on the disk's grid.
    pub first_chunk: u64,
    /// How many chunks; 1 for data.
    pub count: u32,
    /// What they are stored as.
    pub kind: Kind,
    /// True if some of the content could not be read from the source.
    pub lossy: bool,
    /// Where the description starts in the file.
    pub position: u64,
    /// The length of the description frame.
    pub description_len: u32,
    /// The length of the zstd frame behind it.
    pub stored_len: u32,
    /// The BLAKE3 of the content; of nothing for zero chunks.
    pub hash: [u8; 32],
}

impl Entry {
    /// Where the entry ends in the file.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.position
            .saturating_add(self.description_len.into())
            .saturating_add(self.stored_len.into())
    }

    /// The bytes of the disk that it holds.
    #[must_use]
    pub fn extent(&self, head: &Head) -> Extent {
        let size = u64::from(head.chunk_size);
        let start = self.first_chunk.saturating_mul(size);
        Extent::at(start, size.saturating_mul(self.count.into()))
            .intersect(&Extent::new(0, head.disk_len))
    }
}

/// Who made an image of what, for people and programs; unknown fields of later
/// versions are ignored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    /// The version of the program that wrote it.
    pub dacapo: String,
    /// When the save began, with the time zone.
    pub created: String,
    /// The label that the user gave.
    pub label: Option<String>,
    /// The note that the user gave.
    pub note: Option<String>,
    /// The name of the machine.
    pub host: Option<String>,
    /// The command line.
    pub command: Vec<String>,
    /// The compression level.
    pub level: i32,
    /// The disk.
    pub disk: DiskIdentity,
    /// What is on the disk and why each part of it is stored.
    pub layout: Layout,
    /// What another tool had saved, if the image was made from that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imported: Option<Imported>,
    /// How the drive said it was when the save began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// What another tool had saved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Imported {
    /// What it is: "partclone image", "raw disk image".
    pub format: String,
    /// The version of that format.
    pub version: Option<String>,
    /// The tool that made it, and its version.
    pub tool: Option<String>,
    /// How it is compressed.
    pub compression: Option<String>,
    /// What it says of its content.
    pub content: Option<String>,
    /// The path by which it was opened.
    pub path: String,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

impl Imported {
    /// "partclone image 0002, by partclone 0.3.23, compressed with gzip".
    #[must_use]
    pub fn title(&self) -> String {
        let version = self.version.iter().map(|it| format!(" {it}"));
        let tool = self.tool.iter().map(|it| format!(", by {it}"));
        let compression = self.compression.iter().map(|it| format!(", compressed with {it}"));
        let parts = version.chain(tool).chain(compression).collect::<String>();
        format!("{}{parts}", self.format)
    }
}

/// The first frame of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// The identity of this image.
    pub image_id: Uuid,
    /// The size of the disk in bytes.
    pub disk_len: u64,
    /// The size of a chunk in bytes, a power of two.
    pub chunk_size: u32,
    /// Who, what, when.
    pub about: About,
    /// The bytes of the disk that are stored; all others are unused.
    pub used: ExtentSet,
}

/// What was found out while saving; stored with the index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// When the save ended.
    pub finished: String,
    /// The ranges that could not be read; their content is zero in the image.
    pub losses: Vec<Extent>,
    /// True if the save was interrupted and resumed.
    pub resumed: bool,
    /// How the drive said it was when the save ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// The last metadata: where the index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// The identity of the image.
    pub image_id: Uuid,
    /// Where the index frame starts.
    pub index_position: u64,
    /// How long the index frame is.
    pub index_len: u64,
}

/// Puts `body` into a sealed skippable frame.
///
/// # Errors
/// If the body is too long for a frame.
pub fn seal(tag: [u8; 8], body: &[u8]) -> Result<Vec<u8>> {
    let mut frame = begin_frame(tag, body.len());
    frame.extend_from_slice(body);
    end_frame(frame)
}

/// The start of a sealed frame with room for a body; the length is left open.
pub(super) fn begin_frame(tag: [u8; 8], body_len: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(body_len.saturating_add(16 + SEAL_LEN));
    frame.extend_from_slice(&SKIPPABLE_MAGIC.to_le_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(&tag);
    frame
}

/// Fills in the length of a frame and seals it, where it stands: an index is
/// too large to be copied for it.
pub(super) fn end_frame(mut frame: Vec<u8>) -> Result<Vec<u8>> {
    let hash = blake3::hash(frame.get(8..).unwrap_or_default());
    frame.extend(hash.as_bytes().iter().take(SEAL_LEN));
    let length = u32::try_from(frame.len().saturating_sub(8))
        .map_err(|_| Error::failed("the index is longer than the format allows (4 GiB)"))?;
    if let Some(field) = frame.get_mut(4..8) {
        field.copy_from_slice(&length.to_le_bytes());
    }
    Ok(frame)
}

/// The length of the payload of one of our skippable frames; `None` if the
/// bytes are the start of something else.
#[must_use]
pub fn payload_len(header: &[u8]) -> Option<u32> {
    (header.u32_le(0)? == SKIPPABLE_MAGIC).then(|| header.u32_le(4)).flatten()
}

/// True for the first 16 bytes of a file that says it is an image.
#[must_use]
pub fn is_image_start(start: &[u8; 16]) -> bool {
    payload_len(start).is_some() && start.ends_with(&TAG_HEAD)
}

/// Checks the seal of a skippable frame's payload: its tag and its body.
#[must_use]
pub fn unseal(payload: &[u8]) -> Option<([u8; 8], &[u8])> {
    let content_len = payload.len().checked_sub(SEAL_LEN)?;
    let (content, seal) = payload.split_at_checked(content_len)?;
    let hash = blake3::hash(content);
    if hash.as_bytes().get(..SEAL_LEN)? != seal {
        return None;
    }
    Some((content.array(0)?, content.get(8..)?))
}

/// The same, keeping the payload's memory for the body.
pub(super) fn unseal_vec(mut payload: Vec<u8>) -> Option<([u8; 8], Vec<u8>)> {
    let (tag, body) = unseal(&payload)?;
    let end = body.len().saturating_add(8);
    payload.truncate(end);
    payload.drain(..8);
    Some((tag, payload))
}

pub(super) fn damaged(what: &str) -> Error {
    Error::damaged(format!("the image's {what} is damaged"))
}

pub(super) fn to_len32(len: usize, what: &str, max: u32) -> Result<u32> {
    u32::try_from(len)
        .ok()
        .filter(|len| *len <= max)
        .ok_or_else(|| Error::failed(format!("{what} of {len} bytes is too long")))
}

pub(super) fn encode_json<T: Serialize>(value: &T, what: &str) -> Result<(Vec<u8>, u32)> {
    let json = serde_json::to_vec(value)
        .map_err(|error| Error::failed(format!("writing {what}: {error}")))?;
    let len = to_len32(json.len(), what, MAX_JSON_LEN)?;
    Ok((json, len))
}

pub(super) fn push_number(out: &mut Vec<u8>, mut value: u64) {
    // LEB128: seven bits a byte, the lowest first.
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}

pub(super) fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let low = u64::from(byte & 0x7f);
        let moved = low.checked_shl(shift)?;
        if moved.checked_shr(shift)? != low {
            return None;
        }
        value |= moved;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The used map as alternating gap and run lengths.
fn encode_map(used: &ExtentSet) -> Vec<u8> {
    let mut out = Vec::new();
    let mut position = 0;
    for extent in used.iter() {
        push_number(&mut out, extent.start().saturating_sub(position));
        push_number(&mut out, extent.len());
        position = extent.end();
    }
    out
}

fn decode_map(mut bytes: &[u8], count: u32, disk_len: u64) -> Option<ExtentSet> {
    let mut used = ExtentSet::new();
    let mut position = 0_u64;
    for index in 0..count {
        let gap = take_number(&mut bytes)?;
        let len = take_number(&mut bytes)?;
        // A map has one encoding: no empty runs, no runs that touch.
        if len == 0 || (gap == 0 && index > 0) {
            return None;
        }
        let start = position.checked_add(gap)?;
        position = start.checked_add(len).filter(|end| *end <= disk_len)?;
        used.insert(Extent::new(start, position));
    }
    bytes.is_empty().then_some(used)
}

impl Head {
    /// The number of chunks on the grid; the last may be short.
    #[must_use]
    pub fn chunk_count(&self) -> u64 {
        self.disk_len.div_ceil(self.chunk_size.into())
    }

    /// The most entries that an image of this disk can have: one for each chunk
    /// with used bytes, and runs of zeros between them.
    fn max_entries(&self) -> u64 {
        let chunk = u64::from(self.chunk_size);
        let chunks = |len: u64| len.div_ceil(chunk);
        let coarse = self.used.align_outwards(chunk, self.disk_len);
        let stored: u64 = coarse.iter().map(|run| chunks(run.len())).sum();
        // A run is split into powers of two.
        let powers = u64::from(self.max_zero_chunks().ilog2()).saturating_add(1);
        let zeros = coarse.complement(self.disk_len);
        let zeros = zeros.iter().map(|run| {
            let full = chunks(run.len()).checked_div(self.max_zero_chunks().into()).unwrap_or(0);
            chunks(run.len()).min(full.saturating_add(powers))
        });
        zeros.fold(stored, u64::saturating_add)
    }

    /// The head with chunks so large that the index and the seek table have
    /// room for all of them, whatever the disk holds.
    ///
    /// # Errors
    /// Unsupported if that takes larger chunks than there are.
    pub fn within_limits(mut self) -> Result<Self> {
        while self.max_entries() > MAX_ENTRIES {
            if self.chunk_size >= MAX_CHUNK_SIZE {
                return Err(Error::unsupported(format!(
                    "{} has more used bytes than an image has room for ({})",
                    self.about.disk.path,
                    human(u64::from(MAX_CHUNK_SIZE).saturating_mul(MAX_ENTRIES))
                )));
            }
            self.chunk_size = self.chunk_size.saturating_mul(2);
        }
        Ok(self)
    }

    /// The bytes of one chunk.
    #[must_use]
    pub fn chunk_extent(&self, chunk: u64) -> Extent {
        let size = u64::from(self.chunk_size);
        Extent::at(chunk.saturating_mul(size), size).intersect(&Extent::new(0, self.disk_len))
    }

    /// How many chunks one zero frame may hold.
    #[must_use]
    pub fn max_zero_chunks(&self) -> u32 {
        MAX_FRAME_CONTENT
            .checked_div(self.chunk_size.into())
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(1)
    }

    /// The body of the head frame.
    ///
    /// # Errors
    /// If a part is longer than the format allows.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let (json, json_len) = encode_json(&self.about, "the image's description")?;
        let map = encode_map(&self.used);
        let map_len = to_len32(map.len(), "the used map", MAX_MAP_LEN)?;
        let count = to_len32(self.used.count(), "the used map", MAX_MAP_RANGES)?;
        let packed = frame::Compressor::new(3)?.compress(&map)?;
        let packed_len = to_len32(packed.len(), "the used map", u32::MAX)?;

        let mut body = Vec::with_capacity(HEAD_FIXED_LEN);
        body.extend_from_slice(&VERSION.to_le_bytes()); // 0
        body.extend_from_slice(&0_u16.to_le_bytes()); // 2
        body.extend_from_slice(&self.chunk_size.to_le_bytes()); // 4
        body.extend_from_slice(&KNOWN_FEATURES.to_le_bytes()); // 8
        body.extend_from_slice(&self.disk_len.to_le_bytes()); // 16
        body.extend_from_slice(self.image_id.as_bytes()); // 24
        body.extend_from_slice(&json_len.to_le_bytes()); // 40
        body.extend_from_slice(&count.to_le_bytes()); // 44
        body.extend_from_slice(&map_len.to_le_bytes()); // 48
        body.extend_from_slice(&packed_len.to_le_bytes()); // 52
        body.extend_from_slice(&[0; 8]); // 56
        body.extend_from_slice(&json);
        body.extend_from_slice(&packed);
        Ok(body)
    }

    /// Reads the body of a head frame.
    ///
    /// # Errors
    /// Unsupported for a newer version or an unknown feature, damaged if the
    /// fields contradict each other.
    pub fn decode(body: &[u8]) -> Result<Self> {
        let version = body.u16_le(0).ok_or_else(|| damaged("head"))?;
        if version > VERSION {
            return Err(Error::unsupported(format!(
                "the image has format version {version}; this program knows up to {VERSION}"
            ))
            .hint("use a newer dacapo; or unpack the raw disk with: zstd -dc IMAGE > DISK"));
        }
        let features = body.u64_le(8).ok_or_else(|| damaged("head"))?;
        check_features(features)?;
        Self::decode_fields(body).ok_or_else(|| damaged("head"))
    }

    fn decode_fields(body: &[u8]) -> Option<Self> {
        let chunk_size = body.u32_le(4)?;
        let disk_len = body.u64_le(16)?;
        let json_len = body.u32_le(40).filter(|len| *len <= MAX_JSON_LEN)?;
        let count = body.u32_le(44).filter(|count| *count <= MAX_MAP_RANGES)?;
        let map_len = body.u32_le(48).filter(|len| *len <= MAX_MAP_LEN)?;
        let packed_len = body.u32_le(52)?;
        let in_range = chunk_size.is_power_of_two()
            && (MIN_CHUNK_SIZE..=MAX_CHUNK_SIZE).contains(&chunk_size)
            && disk_len > 0
            && disk_len <= MAX_DISK_LEN;
        if !in_range {
            return None;
        }
        let rest = body.get(HEAD_FIXED_LEN..)?;
        let (json, rest) = rest.split_at_checked(usize::try_from(json_len).ok()?)?;
        let (packed, _later) = rest.split_at_checked(usize::try_from(packed_len).ok()?)?;
        let mut map = vec![0; usize::try_from(map_len).ok()?];
        frame::Decompressor::new().ok()?.decompress(packed, &mut map).ok()?;
        Some(Self {
            image_id: Uuid::from_bytes(body.array(24)?),
            disk_len,
            chunk_size,
            about: serde_json::from_slice(json).ok()?,
            used: decode_map(&map, count, disk_len)?,
        })
    }
}

fn check_features(features: u64) -> Result<()> {
    let unknown = features & !KNOWN_FEATURES;
    if unknown == 0 {
        return Ok(());
    }
    let name = FEATURE_NAMES
        .iter()
        .find(|(bit, _)| unknown & bit != 0)
        .map_or_else(|| format!("{unknown:#x}"), |(_, name)| (*name).to_owned());
    Err(Error::unsupported(format!("the image uses a feature this program lacks: {name}"))
        .hint("use a newer version of dacapo"))
}

/// The description of a chunk: the entry and its unreadable ranges.
///
/// # Errors
/// If there are too many unreadable ranges.
pub fn encode_chunk(entry: &Entry, losses: &[Extent]) -> Result<Vec<u8>> {
    let loss_count = u16::try_from(losses.len())
        .ok()
        .filter(|count| *count <= MAX_LOSSES)
        .ok_or_else(|| Error::failed("too many unreadable ranges in one chunk"))?;
    let mut body = Vec::with_capacity(CHUNK_FIXED_LEN);
    body.extend_from_slice(&entry.first_chunk.to_le_bytes()); // 0
    body.extend_from_slice(&entry.count.to_le_bytes()); // 8
    body.extend_from_slice(&entry.stored_len.to_le_bytes()); // 12
    body.push(entry.kind.code()); // 16
    body.push(u8::from(entry.lossy)); // 17
    body.extend_from_slice(&loss_count.to_le_bytes()); // 18
    body.extend_from_slice(&[0; 4]); // 20
    body.extend_from_slice(&entry.hash); // 24
    for loss in losses {
        body.extend_from_slice(&loss.start().to_le_bytes());
        body.extend_from_slice(&loss.len().to_le_bytes());
    }
    seal(TAG_CHUNK, &body)
}

/// Reads a chunk description that stands at `position`.
///
/// # Errors
/// Damaged if the fields do not fit the head, unsupported for an unknown kind.
pub fn decode_chunk(body: &[u8], position: u64, head: &Head) -> Result<(Entry, Vec<Extent>)> {
    let bad = || Error::damaged(format!("the chunk description at {position:#x} is damaged"));
    let kind = Kind::from_code(body.u8_at(16).ok_or_else(bad)?)?;
    let decode = || -> Option<(Entry, Vec<Extent>)> {
        let entry = Entry {
            first_chunk: body.u64_le(0)?,
            count: body.u32_le(8)?,
            kind,
            lossy: body.u8_at(17)? & 1 != 0,
            position,
            description_len: u32::try_from(body.len()).ok()?.checked_add(32)?,
            stored_len: body.u32_le(12)?,
            hash: body.array(24)?,
        };
        let loss_count = body.u16_le(18).filter(|count| *count <= MAX_LOSSES)?;
        let extent = entry.extent(head);
        let mut losses = body
            .get(CHUNK_FIXED_LEN..)?
            .chunks_exact(LOSS_LEN)
            .take(loss_count.into())
            .map(|loss| Some(Extent::at(loss.u64_le(0)?, loss.u64_le(8)?)))
            .collect::<Option<Vec<_>>>()?;
        let fits = losses.len() == usize::from(loss_count)
            && losses.iter().all(|loss| extent.contains(loss))
            && entry_fits(&entry, head);
        if entry.lossy && losses.is_empty() {
            // It does not say what is lost, so all of it may be.
            losses.push(extent);
        }
        fits.then_some((entry, losses))
    };
    decode().ok_or_else(bad)
}

/// True if an entry is possible on this disk's grid.
pub(super) fn entry_fits(entry: &Entry, head: &Head) -> bool {
    let count_fits = match entry.kind {
        Kind::Data => entry.count == 1,
        Kind::Zero => entry.count >= 1 && entry.count <= head.max_zero_chunks(),
    };
    // A zstd frame is never much longer than its content.
    let stored_max = u64::from(head.chunk_size).saturating_mul(2);
    let end = entry.first_chunk.checked_add(entry.count.into());
    count_fits
        && end.is_some_and(|end| end <= head.chunk_count())
        && u64::from(entry.stored_len) <= stored_max
        && entry.stored_len > 0
}

impl Trailer {
    /// The whole trailer frame.
    ///
    /// # Errors
    /// Never for a trailer; the signature is that of [`seal`].
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut body = Vec::with_capacity(TRAILER_LEN);
        body.extend_from_slice(self.image_id.as_bytes()); // 0
        body.extend_from_slice(&self.index_position.to_le_bytes()); // 16
        body.extend_from_slice(&self.index_len.to_le_bytes()); // 24
        body.extend_from_slice(&[0; 8]); // 32
        seal(TAG_TRAILER, &body)
    }

    /// Reads a trailer's body; `None` if it is too short.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<Self> {
        Some(Self {
            image_id: Uuid::from_bytes(body.array(0)?),
            index_position: body.u64_le(16)?,
            index_len: body.u64_le(24)?,
        })
    }
}

/// The largest payload worth reading into memory for a frame that claims to be
/// ours, so that a hostile length does not take 4 GiB: a chunk description is
/// short, and a head is bounded by its parts.
pub const MAX_HEAD_FRAME: u64 = 3 * 64 * MIB;

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn frames_have_the_sizes_that_the_constants_say() {
        let trailer = Trailer { image_id: Uuid::nil(), index_position: 1, index_len: 2 };
        let frame = trailer.encode().unwrap();
        assert_eq!(frame.len(), usize::try_from(TRAILER_FRAME_LEN).unwrap());
        let (tag, body) = unseal(&frame[8..]).unwrap();
        assert_eq!((tag, body.len()), (TAG_TRAILER, TRAILER_LEN));
        assert_eq!(Trailer::decode(body), Some(trailer));
        assert_eq!(payload_len(&frame), Some(u32::try_from(frame.len() - 8).unwrap()));
        assert!(u64::from(MAX_CHUNK_SIZE) <= MAX_FRAME_CONTENT);
    }

    #[test]
    fn what_is_planned_fits_into_the_index_and_the_seek_table() {
        let index = MAX_ENTRIES * u64::try_from(ENTRY_LEN).unwrap();
        assert!(index + MAX_HEAD_FRAME + u64::from(MAX_JSON_LEN) + 72 <= u64::from(u32::MAX));
        let frames = MAX_ENTRIES.saturating_mul(2).saturating_add(3);
        assert!(frames <= super::super::seekable::MAX_FRAMES);
        let loss = Extent::new(u64::MAX - 1, u64::MAX);
        let report = serde_json::to_vec(&Report { losses: vec![loss; 1000], ..Report::default() });
        let longest = report.unwrap().len().div_ceil(1000) * MAX_REPORT_LOSSES;
        assert!(longest <= usize::try_from(MAX_JSON_LEN).unwrap());
    }

    #[test]
    fn a_large_disk_gets_larger_chunks_and_a_sparse_one_does_not() {
        let head = |disk_len, used| Head {
            image_id: Uuid::nil(),
            disk_len,
            chunk_size: DEFAULT_CHUNK_SIZE,
            about: About::default(),
            used,
        };
        let size = |head: Head| head.within_limits().unwrap().chunk_size;
        assert_eq!(size(head(16 << 40, ExtentSet::all(16 << 40))), 1 << 20);
        assert_eq!(size(head(100 << 40, ExtentSet::all(100 << 40))), 2 << 20);
        assert_eq!(size(head(400 << 40, ExtentSet::all(400 << 40))), 8 << 20);
        assert_eq!(size(head(1 << 50, Extent::at(1 << 49, 1 << 40).into())), 1 << 20);
        let error = head(1 << 50, ExtentSet::all(1 << 50)).within_limits().unwrap_err();
        assert_eq!(error.kind(), crate::error::ErrorKind::Unsupported);
        // 63 zero chunks are 32 + 16 + 8 + 4 + 2 + 1; at most all 11 powers.
        assert_eq!(head(64 << 20, Extent::at(0, 1).into()).max_entries(), 1 + 11);
        assert_eq!(head(4 << 20, Extent::at(0, 1).into()).max_entries(), 1 + 3);
        assert_eq!(head(64 << 20, ExtentSet::all(64 << 20)).max_entries(), 64);
    }

    proptest! {
        #[test]
        fn a_used_map_survives(ranges in prop::collection::vec((0..1_u64 << 40, 1..1_u64 << 30), 0..50)) {
            let used: ExtentSet =
                ranges.iter().map(|(start, len)| Extent::at(*start, *len)).collect();
            let count = u32::try_from(used.count()).unwrap();
            let bytes = encode_map(&used);
            prop_assert_eq!(decode_map(&bytes, count, 1 << 41), Some(used.clone()));
            prop_assert_eq!(decode_map(&bytes, count.saturating_add(1), 1 << 41), None);
            if let Some(last) = used.iter().next_back() {
                prop_assert_eq!(decode_map(&bytes, count, last.end().saturating_sub(1)), None);
            }
        }

        #[test]
        fn numbers_survive(value: u64) {
            let mut bytes = Vec::new();
            push_number(&mut bytes, value);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(take_number(&mut rest), Some(value));
            prop_assert_eq!(rest.len(), 0);
        }
    }

    #[test]
    fn numbers_that_are_too_long_are_refused() {
        assert_eq!(take_number(&mut &[0xff; 11][..]), None);
        assert_eq!(take_number(&mut &[0x80, 0x80][..]), None);
    }
}

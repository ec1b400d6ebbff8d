// SPDX-License-Identifier: MIT OR Apache-2.0
//! Partclone images, versions 0001 and 0002: a head, a map of blocks, and the
//! blocks that the map has, with checksums between them.
//!
//! Source: `IMAGE_FORMATS.md` of Partclone; for what that leaves open, images
//! written by Partclone 0.3.23.

use xxhash_rust::xxh64::Xxh64;

use super::assembly::Place;
use super::input::Stream;
use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::image::format::{Imported, MAX_DISK_LEN};
use crate::ondisk::{Fields, text};
use crate::units::{KIB, MIB, human};

/// What an image begins with.
pub const MAGIC: &[u8] = b"partclone-image";
/// The head of version 0002, its checksum included.
const HEAD_LEN_2: usize = 110;
/// The head of version 0001.
const HEAD_LEN_1: usize = 4160;
/// What stands behind a map of bytes.
const MAP_END: &[u8; 8] = b"BiTmAgIc";
/// The version of the image in its head.
const ENDIAN_MARK: u16 = 0xc0de;
/// No filesystem has larger blocks: exFAT's clusters have up to 32 MiB.
const MAX_BLOCK: u64 = 64 * MIB;
/// The most ranges of blocks that are worked with: 512 MiB of them.
const MAX_RANGES: usize = 1 << 25;
/// How much is read at once.
const PIECE: u64 = MIB;

const VERSION_1: [u8; 4] = *b"0001";
const VERSION_2: [u8; 4] = *b"0002";

/// How blocks are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    None,
    Crc32,
    Xxh64,
    /// Version 0001: the sum was meant to be of the block and is of its first
    /// byte, taken once for each byte of the block.
    FirstByte,
}

impl Mode {
    fn len(self) -> usize {
        match self {
            Self::None => 0,
            Self::Crc32 | Self::FirstByte => 4,
            Self::Xxh64 => 8,
        }
    }
}

/// How the map is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MapMode {
    /// There is none: all blocks are there.
    None,
    /// A bit for each block.
    Bits,
    /// A byte for each block.
    Bytes,
}

/// An image whose head was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    version: [u8; 4],
    tool: Option<String>,
    filesystem: String,
    block: u64,
    blocks: u64,
    device_len: u64,
    used_blocks: u64,
    mode: Mode,
    /// How many blocks one checksum is for; 0 if there are none.
    blocks_per_checksum: u32,
    /// True if each checksum begins anew.
    reseed: bool,
    map: MapMode,
}

impl Image {
    /// Reads the head.
    ///
    /// # Errors
    /// Damaged or unsupported, if it is not a head as it should be.
    pub fn read(stream: &mut Stream<'_>) -> Result<Self> {
        let version = stream.peek(34)?.array::<4>(30).unwrap_or_default();
        let image = match version {
            VERSION_1 => Self::head_1(stream)?,
            VERSION_2 => Self::head_2(stream)?,
            other => {
                let what =
                    format!("{} is a partclone image of version '{}'", stream.name(), text(&other));
                return Err(Error::unsupported(what)
                    .hint("versions 0001 and 0002 are known; a newer dacapo may read it"));
            }
        };
        image.check(stream)?;
        Ok(image)
    }

    fn head_1(stream: &mut Stream<'_>) -> Result<Self> {
        let head = stream.array::<HEAD_LEN_1>("the head")?;
        let fields = || {
            let blocks = head[..].u64_le(48)?;
            Some(Self {
                version: VERSION_1,
                tool: None,
                filesystem: text(head[..].bytes_at(15, 15)?),
                block: head[..].u32_le(36)?.into(),
                blocks,
                // What the head says of the device is often wrong.
                device_len: 0,
                used_blocks: head[..].u64_le(56)?,
                mode: Mode::FirstByte,
                blocks_per_checksum: 1,
                reseed: false,
                map: MapMode::Bytes,
            })
        };
        fields().ok_or_else(|| stream.damaged("the head is too short"))
    }

    fn head_2(stream: &mut Stream<'_>) -> Result<Self> {
        let head = stream.array::<HEAD_LEN_2>("the head")?;
        let head = &head[..];
        let sum = head.u32_le(106);
        if sum != Some(crc32(head.get(..106).unwrap_or_default())) {
            return Err(stream.damaged_at(106, "the checksum of the head is wrong"));
        }
        if head.u16_le(34) != Some(ENDIAN_MARK) {
            return Err(Error::unsupported(format!(
                "{} was made on a machine with another byte order",
                stream.name()
            ))
            .hint("restore it with partclone on such a machine, and save that with dacapo"));
        }
        let unknown = |what: &str, value: u16| {
            Error::unsupported(format!("{}: {what} {value:#x} is not known", stream.name()))
                .hint("a newer dacapo may read it")
        };
        let read = || {
            let mode = match head.u16_le(96)? {
                0 => Ok(Mode::None),
                0x20 => Ok(Mode::Crc32),
                0x30 => Ok(Mode::Xxh64),
                other => Err(unknown("checksum mode", other)),
            };
            let map = match head.u8_at(105)? {
                0 => Ok(MapMode::None),
                1 => Ok(MapMode::Bits),
                8 => Ok(MapMode::Bytes),
                other => Err(unknown("bitmap mode", other.into())),
            };
            let checksum_len = head.u16_le(98)?;
            let (mode, map) = match (mode, map) {
                (Ok(mode), Ok(map)) => (mode, map),
                (Err(error), _) | (_, Err(error)) => return Some(Err(error)),
            };
            if usize::from(checksum_len) != mode.len() {
                return Some(Err(unknown("checksum size", checksum_len)));
            }
            Some(Ok(Self {
                version: VERSION_2,
                tool: Some(text(head.bytes_at(16, 14)?)),
                filesystem: text(head.bytes_at(36, 16)?),
                device_len: head.u64_le(52)?,
                blocks: head.u64_le(60)?,
                used_blocks: head.u64_le(76)?,
                block: head.u32_le(84)?.into(),
                mode,
                blocks_per_checksum: if mode == Mode::None { 0 } else { head.u32_le(100)? },
                reseed: head.u8_at(104)? != 0,
                map,
            }))
        };
        read().ok_or_else(|| stream.damaged("the head is too short"))?
    }

    fn check(&self, stream: &Stream<'_>) -> Result<()> {
        if !(512..=MAX_BLOCK).contains(&self.block) || !self.block.is_multiple_of(512) {
            return Err(stream.damaged_at(0, &format!("blocks of {} bytes", self.block)));
        }
        let end = self.blocks.checked_mul(self.block).filter(|end| *end <= MAX_DISK_LEN);
        if end.is_none() || self.device_len > MAX_DISK_LEN || self.blocks == 0 {
            let what = format!("{} blocks of {} bytes", self.blocks, self.block);
            return Err(stream.damaged_at(0, &what));
        }
        if self.mode != Mode::None && self.blocks_per_checksum == 0 {
            return Err(stream.damaged_at(100, "a checksum for every 0 blocks"));
        }
        Ok(())
    }

    /// The length of the partition.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.device_len.max(self.blocks.saturating_mul(self.block))
    }

    /// True if the partition has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes of it are in the image, if the head is right.
    #[must_use]
    pub fn stored_len(&self) -> u64 {
        self.used_blocks.min(self.blocks).saturating_mul(self.block)
    }

    /// True if everything is in it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.map == MapMode::None || self.filesystem == "raw"
    }

    /// What it is, for people.
    #[must_use]
    pub fn describe(&self) -> Imported {
        let (notes, per) = (Vec::new(), self.blocks_per_checksum);
        let (checks, note) = match self.mode {
            Mode::None => (
                "no checksums".to_owned(),
                Some("the image has no checksums: damage in its data would not be noticed"),
            ),
            Mode::FirstByte => (
                "a checksum a block".to_owned(),
                Some(
                    "the checksums of this version are of the first byte of each block only: \
                     other damage would not be noticed",
                ),
            ),
            Mode::Crc32 => (format!("CRC32 every {per} blocks"), None),
            Mode::Xxh64 => (format!("XXH64 every {per} blocks"), None),
        };
        let mut imported = Imported {
            format: "partclone image".into(),
            version: Some(text(&self.version)),
            tool: self.tool.as_ref().map(|tool| format!("partclone {tool}")),
            content: Some(format!(
                "{} filesystem, {} of {}, {checks}",
                self.filesystem,
                human(self.stored_len()),
                human(self.len())
            )),
            notes,
            ..Imported::default()
        };
        imported.notes.extend(note.map(str::to_owned));
        imported
    }

    /// Puts what it holds into its place.
    ///
    /// # Errors
    /// Damaged, if a checksum or anything else is wrong; or what the place says.
    pub fn unpack(&self, stream: &mut Stream<'_>, place: &mut Place<'_>) -> Result<()> {
        let map = self.read_map(stream)?;
        let mut checker = Checker::new(self);
        let block = usize::try_from(self.block).unwrap_or(usize::MAX);
        let mut buffer = vec![0; usize::try_from(PIECE.max(self.block)).unwrap_or(block)];
        for extent in map.iter() {
            let mut position = extent.start();
            while position < extent.end() {
                let most = PIECE.checked_div(self.block).unwrap_or(0).max(1);
                let most = most.min(checker.blocks_left());
                let len =
                    most.saturating_mul(self.block).min(extent.end().saturating_sub(position));
                let piece = buffer.get_mut(..usize::try_from(len).unwrap_or(0)).unwrap_or_default();
                let start = stream.position();
                stream.exact(piece, "the blocks")?;
                place.store_marked(position, piece)?;
                for block in piece.chunks_exact(block) {
                    checker.add(block);
                }
                checker.check(stream, start, position)?;
                position = position.saturating_add(len);
            }
        }
        checker.finish(stream)?;
        stream.end()
    }

    /// Reads the map: the bytes of the partition that are in the image.
    fn read_map(&self, stream: &mut Stream<'_>) -> Result<ExtentSet> {
        let per_byte = match self.map {
            MapMode::None => return Ok(self.bytes(0, self.blocks).into()),
            MapMode::Bits => 8,
            MapMode::Bytes => 1,
        };
        let mut map = Map { image: self, found: ExtentSet::new(), start: None, next: 0 };
        let mut sum = crc32fast::Hasher::new();
        let mut buffer = vec![0; usize::try_from(64 * KIB).unwrap_or_default()];
        let mut left = self.blocks.div_ceil(per_byte);
        let start = stream.position();
        while left > 0 {
            let len = left.min(64 * KIB);
            left = left.saturating_sub(len);
            let piece =
                buffer.get_mut(..usize::try_from(len).unwrap_or_default()).unwrap_or_default();
            stream.exact(piece, "the map of blocks")?;
            sum.update(piece);
            for byte in piece.iter() {
                if per_byte == 1 {
                    // Old versions wrote other values, too, which partclone
                    // takes for "not there".
                    map.push(*byte == 1);
                } else {
                    (0..8).for_each(|bit| map.push(byte >> bit & 1 == 1));
                }
            }
            if map.found.count() > MAX_RANGES {
                return Err(Error::unsupported(format!(
                    "{} has more than {MAX_RANGES} ranges of blocks",
                    stream.name()
                )));
            }
        }
        let wrong = |stream: &Stream<'_>| stream.damaged_at(start, "the map of blocks is wrong");
        match self.map {
            MapMode::Bytes if stream.array::<8>("the end of the map")? != *MAP_END => {
                return Err(wrong(stream));
            }
            MapMode::Bits if stream.array::<4>("the map's checksum")? != sum_of(sum) => {
                return Err(wrong(stream));
            }
            _ => {}
        }
        Ok(map.finish())
    }

    fn bytes(&self, first: u64, end: u64) -> Extent {
        Extent::new(first.saturating_mul(self.block), end.saturating_mul(self.block))
    }
}

/// The map while it is read, block by block.
struct Map<'a> {
    image: &'a Image,
    found: ExtentSet,
    /// The first block of the run that is going on.
    start: Option<u64>,
    next: u64,
}

impl Map<'_> {
    fn push(&mut self, is_there: bool) {
        // The last byte has more bits than there are blocks.
        if self.next >= self.image.blocks {
            return;
        }
        match self.start {
            None if is_there => self.start = Some(self.next),
            Some(start) if !is_there => {
                self.found.insert(self.image.bytes(start, self.next));
                self.start = None;
            }
            _ => {}
        }
        self.next = self.next.saturating_add(1);
    }

    fn finish(mut self) -> ExtentSet {
        self.push(false);
        if let Some(start) = self.start {
            self.found.insert(self.image.bytes(start, self.image.blocks));
        }
        self.found
    }
}

/// The running sum over blocks.
enum Sum {
    None,
    Crc32(crc32fast::Hasher),
    FirstByte(u32),
    Xxh64(Box<Xxh64>),
}

impl Sum {
    fn new(mode: Mode) -> Self {
        match mode {
            Mode::None => Self::None,
            Mode::Crc32 => Self::Crc32(crc32fast::Hasher::new()),
            Mode::FirstByte => Self::FirstByte(u32::MAX),
            Mode::Xxh64 => Self::Xxh64(Box::new(Xxh64::new(0))),
        }
    }

    fn add(&mut self, block: &[u8]) {
        match self {
            Self::None => {}
            Self::Crc32(hasher) => hasher.update(block),
            Self::Xxh64(hasher) => hasher.update(block),
            Self::FirstByte(sum) => {
                let first = block.first().copied().unwrap_or_default();
                let mut hasher = crc32fast::Hasher::new_with_initial(!*sum);
                let repeated = [first; 512];
                for piece in block.chunks(repeated.len()) {
                    hasher.update(repeated.get(..piece.len()).unwrap_or_default());
                }
                *sum = !hasher.finalize();
            }
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::None => Vec::new(),
            Self::Crc32(hasher) => sum_of(hasher.clone()).to_vec(),
            Self::FirstByte(sum) => sum.to_le_bytes().to_vec(),
            Self::Xxh64(hasher) => hasher.digest().to_le_bytes().to_vec(),
        }
    }
}

/// Compares the checksums between the blocks.
struct Checker<'a> {
    image: &'a Image,
    sum: Sum,
    /// Blocks since the last checksum.
    blocks: u32,
    /// The versions 0.1 for 64 bits wrote checksums of version 0001 as eight
    /// bytes, four of which mean nothing. Not known before the second block.
    is_wide: Option<bool>,
}

impl<'a> Checker<'a> {
    fn new(image: &'a Image) -> Self {
        let is_wide = (image.mode != Mode::FirstByte).then_some(false);
        Self { image, sum: Sum::new(image.mode), blocks: 0, is_wide }
    }

    /// How many blocks come before the next checksum.
    fn blocks_left(&self) -> u64 {
        match self.image.blocks_per_checksum {
            0 => u64::MAX,
            per => per.saturating_sub(self.blocks).into(),
        }
    }

    fn add(&mut self, block: &[u8]) {
        self.sum.add(block);
        self.blocks = self.blocks.saturating_add(1);
    }

    /// Compares the checksum if one is due; the last piece began at `start` in
    /// the stream and belongs at `position` of the partition.
    fn check(&mut self, stream: &mut Stream<'_>, start: u64, position: u64) -> Result<()> {
        if self.image.blocks_per_checksum == 0 || self.blocks < self.image.blocks_per_checksum {
            return Ok(());
        }
        self.compare(stream, start, position)
    }

    fn compare(&mut self, stream: &mut Stream<'_>, start: u64, position: u64) -> Result<()> {
        let mut found = [0; 8];
        let found = found.get_mut(..self.image.mode.len()).unwrap_or_default();
        stream.exact(found, "a checksum")?;
        if *found != *self.sum.bytes() {
            let block = position.checked_div(self.image.block).unwrap_or(0);
            let what = format!("a checksum is wrong, of blocks up to or behind block {block}");
            return Err(stream.damaged_at(start, &what));
        }
        self.blocks = 0;
        if self.image.reseed {
            self.sum = Sum::new(self.image.mode);
        }
        let is_wide = match self.is_wide {
            Some(is_wide) => is_wide,
            None => self.looks_wide(stream)?,
        };
        self.is_wide = Some(is_wide);
        if is_wide {
            stream.array::<4>("a checksum")?;
        }
        Ok(())
    }

    /// Whether the checksum that was just read has four bytes more: then the
    /// next block is right only with them left out.
    fn looks_wide(&self, stream: &mut Stream<'_>) -> Result<bool> {
        let block = usize::try_from(self.image.block).unwrap_or_default();
        let ahead = stream.peek(block.saturating_add(12))?;
        let is_right = |skip: usize| {
            let Some(bytes) = ahead.bytes_at(skip, block) else { return false };
            let Sum::FirstByte(before) = self.sum else { return false };
            let mut sum = Sum::FirstByte(before);
            sum.add(bytes);
            ahead.bytes_at(skip.saturating_add(block), 4) == Some(&sum.bytes())
        };
        Ok(if ahead.len() <= 4 { ahead.len() == 4 } else { !is_right(0) && is_right(4) })
    }

    /// Compares the checksum of the last blocks, which may be fewer.
    fn finish(mut self, stream: &mut Stream<'_>) -> Result<()> {
        if self.image.blocks_per_checksum == 0 || self.blocks == 0 {
            return Ok(());
        }
        let start = stream.position();
        self.compare(stream, start, self.image.len())
    }
}

/// The CRC32 that partclone writes, which lacks the last inversion.
fn crc32(bytes: &[u8]) -> u32 {
    !crc32fast::hash(bytes)
}

fn sum_of(hasher: crc32fast::Hasher) -> [u8; 4] {
    (!hasher.finalize()).to_le_bytes()
}

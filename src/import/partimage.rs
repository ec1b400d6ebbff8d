// SPDX-License-Identifier: MIT OR Apache-2.0
//! Partimage 0.6: heads, a map of blocks, and the blocks that it has, with a
//! CRC32 every 64 KiB and a sum over all at the end. An image may be several
//! files, *volumes*, each of which is compressed alone and has a head of its own.
//!
//! Source: the structures in Partimage's `structures.h`, `fs_base.h` and
//! `FORMAT`, and images written by Partimage 0.6.9. What it calls the CRC of a
//! head is the sum of its bytes, taken as signed.

use std::io::{self, Read};

use super::assembly::Place;
use super::input::Stream;
use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::image::format::{Imported, MAX_DISK_LEN};
use crate::ondisk::{Fields, text};
use crate::units::{KIB, MIB, human};

/// What every volume begins with.
pub const MAGIC: &[u8] = b"PaRtImAgE-VoLuMe";
/// The head of a volume.
const VOLUME_HEAD: usize = 512;
/// The main head, that of the filesystem, the filesystem's own facts, and the
/// tail, without the magic words in front of them and the sums behind.
const HEAD: usize = 16384;
/// Behind so many bytes of blocks is a check.
const CHECKED: u64 = 64 * KIB;
const CHECK_LEN: usize = 16;
/// No filesystem that it knows has larger blocks.
const MAX_BLOCK: u64 = MIB;
/// The most ranges of blocks that are worked with: 512 MiB of them.
const MAX_RANGES: usize = 1 << 25;
/// Copies of master boot records, of which nobody has so many.
const MAX_RECORDS: u64 = 1024;

// In the main head.
const DEVICE: usize = 512 + 4096;
const COMPRESSION: usize = DEVICE + 512 + 4095 + 5 * 65;
const PARTITION_LEN: usize = COMPRESSION + 8 + 44;
const VERSION: usize = PARTITION_LEN + 8 + 128;
const RECORDS: usize = VERSION + 64;
const ENCRYPTION: usize = RECORDS + 8;

/// An image whose heads were read, up to the map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    filesystem: String,
    device: String,
    version: String,
    partition_len: u64,
    records: u64,
    block: u64,
    blocks: u64,
    used_blocks: u64,
    map_len: u64,
    /// The sum over all bytes so far.
    sum: u64,
}

/// The sum over all bytes, which is compared at the end.
struct Summed<'a, 's> {
    stream: &'a mut Stream<'s>,
    sum: u64,
}

impl Summed<'_, '_> {
    fn exact(&mut self, buf: &mut [u8], what: &str) -> Result<()> {
        self.stream.exact(buf, what)?;
        self.sum = buf.iter().fold(self.sum, |sum, byte| sum.wrapping_add(u64::from(*byte)));
        Ok(())
    }

    /// A magic word.
    fn word(&mut self, word: &str) -> Result<()> {
        let start = self.stream.position();
        let mut found = vec![0; word.len()];
        self.exact(&mut found, word)?;
        if found == word.as_bytes() {
            return Ok(());
        }
        Err(self.stream.damaged_at(start, &format!("'{word}' should be there")))
    }

    /// One of the heads, with the sum behind it.
    fn head(&mut self, what: &str) -> Result<Vec<u8>> {
        let start = self.stream.position();
        let mut head = vec![0; HEAD];
        self.exact(&mut head, what)?;
        let sum = head
            .iter()
            .fold(0_u32, |sum, byte| sum.wrapping_add_signed(i32::from(byte.cast_signed())));
        let mut found = [0; 4];
        self.exact(&mut found, what)?;
        if u32::from_le_bytes(found) == sum {
            return Ok(head);
        }
        Err(self.stream.damaged_at(start, &format!("the sum of {what} is wrong")))
    }
}

impl Image {
    /// Reads the heads, up to the map.
    ///
    /// # Errors
    /// Damaged or unsupported, if they are not as they should be.
    pub fn read(stream: &mut Stream<'_>) -> Result<Self> {
        let volume = stream.array::<VOLUME_HEAD>("the head of the volume")?;
        let version = text(volume.get(32..96).unwrap_or_default());
        if volume[..].u32_le(96) != Some(0) {
            return Err(Error::usage(format!("{} is not the first volume", stream.name()))
                .hint("give the one that ends in .000"));
        }
        if !version.starts_with("0.6") {
            let what = format!("{} is a Partimage image of version '{version}'", stream.name());
            return Err(Error::unsupported(what)
                .hint("0.6 is known; restore it with its own Partimage, and save that"));
        }
        let mut summed = Summed { stream, sum: 0 };
        let main = summed.head("the main head")?;
        let mut image = Self::of_main(&main, version)
            .ok_or_else(|| summed.stream.damaged_at(512, "the main head makes no sense"))?;
        if main.u32_le(ENCRYPTION) != Some(0) {
            return Err(Error::unsupported(format!("{} is encrypted", summed.stream.name())));
        }
        summed.word("MAGIC-BEGIN-MBRBACKUP")?;
        let record_len = u64::from(main.u32_le(RECORDS.saturating_add(4)).unwrap_or_default());
        if image.records > MAX_RECORDS || record_len > 64 * KIB {
            return Err(summed.stream.damaged_at(512, "the main head makes no sense"));
        }
        let mut record = vec![0; usize::try_from(record_len).unwrap_or_default()];
        for _ in 0..image.records {
            summed.exact(&mut record, "copies of boot records")?;
        }
        for number in 0..10 {
            summed.word(&format!("MAGIC-BEGIN-EXT{number:03}"))?;
            summed.exact(&mut [0; 4], "the heads")?;
        }
        summed.word("MAGIC-BEGIN-LOCALHEADER")?;
        let local = summed.head("the head of the filesystem")?;
        image.add_local(&local);
        image.sum = summed.sum;
        image.check(stream)?;
        Ok(image)
    }

    fn of_main(main: &[u8], version: String) -> Option<Self> {
        Some(Self {
            filesystem: text(main.bytes_at(0, 512)?),
            device: text(main.bytes_at(DEVICE, 512)?),
            version,
            partition_len: main.u64_le(PARTITION_LEN)?,
            records: main.u32_le(RECORDS)?.into(),
            block: 0,
            blocks: 0,
            used_blocks: 0,
            map_len: 0,
            sum: 0,
        })
    }

    fn add_local(&mut self, local: &[u8]) {
        let field = |offset| local.u64_le(offset).unwrap_or_default();
        self.block = field(0);
        self.used_blocks = field(8);
        self.blocks = field(16);
        self.map_len = field(24);
    }

    fn check(&self, stream: &Stream<'_>) -> Result<()> {
        let bytes = self.blocks.checked_mul(self.block).filter(|bytes| *bytes <= MAX_DISK_LEN);
        let is_possible = (512..=MAX_BLOCK).contains(&self.block)
            && self.block.is_multiple_of(512)
            && bytes.is_some()
            && self.blocks > 0
            && self.partition_len <= MAX_DISK_LEN
            && self.map_len >= self.blocks.div_ceil(8)
            // Some have a few bytes more than they need.
            && self.map_len <= self.blocks.div_ceil(8).saturating_add(4096);
        if is_possible {
            return Ok(());
        }
        Err(stream.damaged("the head of the filesystem makes no sense"))
    }

    /// The length of the partition.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.partition_len.max(self.blocks.saturating_mul(self.block))
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

    /// What it is, for people.
    #[must_use]
    pub fn describe(&self) -> Imported {
        let records = self.records;
        let mut imported = Imported {
            format: "Partimage image".into(),
            version: Some(self.version.clone()),
            tool: Some("Partimage".into()),
            content: Some(format!(
                "{} filesystem of {}, {} of {}, CRC32 every 64 KiB",
                self.filesystem,
                self.device,
                human(self.stored_len()),
                human(self.len())
            )),
            ..Imported::default()
        };
        if records > 0 {
            let note = format!("copies of {records} master boot records in it are not imported");
            imported.notes.push(note);
        }
        imported
    }

    /// Puts what it holds into its place.
    ///
    /// # Errors
    /// Damaged, if a checksum or anything else is wrong; or what the place says.
    pub fn unpack(&self, stream: &mut Stream<'_>, place: &mut Place<'_>) -> Result<()> {
        let mut summed = Summed { stream, sum: self.sum };
        summed.word("MAGIC-BEGIN-BITMAP")?;
        let map = self.read_map(&mut summed)?;
        summed.word("MAGIC-BEGIN-INFO")?;
        summed.head("the facts of the filesystem")?;
        summed.word("MAGIC-BEGIN-DATABLOCKS")?;
        let mut buffer = vec![0; usize::try_from(CHECKED).unwrap_or_default()];
        let (mut left, mut crc) = (CHECKED, crc32fast::Hasher::new());
        for extent in map.iter() {
            let mut position = extent.start();
            while position < extent.end() {
                let len = left.min(extent.end().saturating_sub(position));
                let piece =
                    buffer.get_mut(..usize::try_from(len).unwrap_or_default()).unwrap_or_default();
                let start = summed.stream.position();
                summed.exact(piece, "the blocks")?;
                place.store(position, piece)?;
                crc.update(piece);
                position = position.saturating_add(len);
                left = left.saturating_sub(len);
                if left == 0 {
                    check(&mut summed, &std::mem::take(&mut crc).finalize(), start)?;
                    left = CHECKED;
                }
            }
        }
        // What is behind the last check has the sum over all only.
        summed.word("MAGIC-BEGIN-TAIL")?;
        let sum = summed.sum;
        let start = stream.position();
        let tail = stream.array::<HEAD>("the tail")?;
        if tail[..].u64_le(0) != Some(sum) {
            return Err(stream.damaged_at(start, "the sum over all bytes is wrong"));
        }
        stream.end()
    }

    fn read_map(&self, summed: &mut Summed<'_, '_>) -> Result<ExtentSet> {
        let mut map = ExtentSet::new();
        let (mut left, mut next, mut found) = (self.map_len, 0_u64, 0_u64);
        let start = summed.stream.position();
        let mut buffer = vec![0; usize::try_from(CHECKED).unwrap_or_default()];
        while left > 0 {
            let len = left.min(CHECKED);
            left = left.saturating_sub(len);
            let piece =
                buffer.get_mut(..usize::try_from(len).unwrap_or_default()).unwrap_or_default();
            summed.exact(piece, "the map of blocks")?;
            for (index, bit) in
                piece.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1)).enumerate()
            {
                let index = next.saturating_add(u64::try_from(index).unwrap_or(u64::MAX));
                if bit == 1 && index < self.blocks {
                    map.insert(Extent::at(index.saturating_mul(self.block), self.block));
                    found = found.saturating_add(1);
                }
            }
            next = next.saturating_add(len.saturating_mul(8));
            if map.count() > MAX_RANGES {
                return Err(Error::unsupported(format!(
                    "{} has more than {MAX_RANGES} ranges of blocks",
                    summed.stream.name()
                )));
            }
        }
        if found == self.used_blocks {
            return Ok(map);
        }
        let what = format!("{found} blocks by the map, {} by the head", self.used_blocks);
        Err(summed.stream.damaged_at(start, &what))
    }
}

/// Compares a check with the CRC32 of the bytes in front of it.
fn check(summed: &mut Summed<'_, '_>, crc: &u32, start: u64) -> Result<()> {
    let mut found = [0; CHECK_LEN];
    summed.exact(&mut found, "a check")?;
    if found.starts_with(b"CHK") && found[..].u32_le(4) == Some(*crc) {
        return Ok(());
    }
    Err(summed.stream.damaged_at(start, "the checksum of the blocks there is wrong"))
}

/// The volumes of one image as one stream: the heads of all but the first are
/// checked and left out.
pub struct Volumes<'a> {
    rest: Box<dyn Iterator<Item = Result<Box<dyn Read + 'a>>> + 'a>,
    current: Option<Box<dyn Read + 'a>>,
    /// The bytes of the first head that are still to be given.
    ahead: Vec<u8>,
    number: u32,
    identity: Option<[u8; 8]>,
}

impl std::fmt::Debug for Volumes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Volumes").field("number", &self.number).finish_non_exhaustive()
    }
}

impl<'a> Volumes<'a> {
    /// The volumes whose unpacked bytes `volumes` gives in order.
    pub fn new(volumes: impl Iterator<Item = Result<Box<dyn Read + 'a>>> + 'a) -> Self {
        Self {
            rest: Box::new(volumes),
            current: None,
            ahead: Vec::new(),
            number: 0,
            identity: None,
        }
    }

    /// Goes on with the next volume; false if there is none.
    fn open_next(&mut self) -> io::Result<bool> {
        let Some(volume) = self.rest.next() else { return Ok(false) };
        let mut volume = volume.map_err(|error| io::Error::other(error.to_string()))?;
        let mut head = [0; VOLUME_HEAD];
        volume.read_exact(&mut head)?;
        let wrong = |what: &str| {
            let text = format!("volume {} {what}", self.number);
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        };
        if !head.starts_with(MAGIC) {
            return wrong("is none of Partimage");
        }
        let identity = head[..].array::<8>(100);
        if head[..].u32_le(96) != Some(self.number) {
            return wrong("is not the next one");
        }
        if self.identity.is_some() && self.identity != identity {
            return wrong("is of another image");
        }
        if self.number == 0 {
            self.ahead = head.to_vec();
        }
        self.identity = identity;
        self.number = self.number.saturating_add(1);
        self.current = Some(volume);
        Ok(true)
    }
}

impl Read for Volumes<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.ahead.is_empty() {
                let len = self.ahead.len().min(buf.len());
                for (to, from) in buf.iter_mut().zip(self.ahead.drain(..len)) {
                    *to = from;
                }
                return Ok(len);
            }
            if let Some(current) = &mut self.current {
                let read = current.read(buf)?;
                if read > 0 || buf.is_empty() {
                    return Ok(read);
                }
            }
            if !self.open_next()? {
                return Ok(0);
            }
        }
    }
}

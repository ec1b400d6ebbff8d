// SPDX-License-Identifier: MIT OR Apache-2.0
//! The volume descriptors: who the volume is, where its partitions are, and how
//! the logical volume is made of them (ECMA-167, part 3; UDF 2.60, 2.2).

use jiff::Timestamp;

use super::anchor::{Anchor, blocks};
use super::partition::PartitionMap;
use super::tag::{Tag, id};
use super::text::words;
use super::time;
use crate::extent::Extent;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError};

/// How many descriptors of a sequence are looked at, those that it goes on
/// with elsewhere included.
const MOST: usize = 1024;
/// The most bytes of a descriptor that are read: the largest is that of a
/// logical volume, with a table of partition maps.
const MOST_BYTES: u64 = 32 << 10;

/// Who a volume is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrimaryVolume {
    /// Its name.
    pub volume_id: String,
    /// The set of volumes that it is one of.
    pub volume_set_id: String,
    /// Which of the set, from 1 on.
    pub volume_sequence: u16,
    /// When it was recorded.
    pub recorded: Option<Timestamp>,
    /// The application that made it.
    pub application: String,
    /// The program that wrote the descriptor.
    pub implementation: String,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number, by which partition maps name it.
    pub number: u16,
    /// What it is written in: `+NSR02` or `+NSR03`.
    pub contents: String,
    /// 1: read only, 2: written once, 3: rewritable, 4: overwritable.
    pub access: u32,
    /// Its bytes.
    pub extent: Extent,
}

/// A logical volume: what a system shows as one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogicalVolume {
    /// The label.
    pub identifier: String,
    /// The size of a block in bytes.
    pub block_size: u32,
    /// The version of UDF, in hexadecimal: 0x0201 is 2.01.
    pub revision: u16,
    /// Where the description of the files is: partition map and block.
    pub file_set: (u16, u32),
    /// What its partitions are made of, in the order of their numbers in
    /// addresses.
    pub maps: Vec<PartitionMap>,
    /// The bytes of the integrity sequence.
    pub integrity: Extent,
    /// The program that wrote the descriptor.
    pub implementation: String,
}

/// The state of a logical volume when it was last written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Integrity {
    /// When that was.
    pub recorded: Option<Timestamp>,
    /// True if it was closed in order.
    pub is_closed: bool,
    /// The free blocks of each partition; `None` if that was not known.
    pub free: Vec<Option<u32>>,
    /// The number of files.
    pub files: u32,
    /// The number of folders.
    pub folders: u32,
    /// The version of UDF that is needed to read it, in hexadecimal.
    pub min_read: u16,
    /// The version of UDF that is needed to write to it.
    pub min_write: u16,
}

/// All volume descriptors that count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptors {
    /// The anchors that were found.
    pub anchors: Vec<Anchor>,
    /// Who the volume is.
    pub primary: Option<PrimaryVolume>,
    /// The logical volume.
    pub logical: LogicalVolume,
    /// The partitions.
    pub partitions: Vec<Partition>,
    /// The last state of the logical volume, if it can be read.
    pub integrity: Option<Integrity>,
    /// True if the copy was read because the main sequence is damaged.
    pub is_reserve: bool,
}

impl Descriptors {
    /// Reads the descriptors that the anchors lead to; `None` if there is no
    /// anchor.
    ///
    /// # Errors
    /// If neither the main sequence nor its copy can be used.
    pub fn read(volume: &dyn ReadAt) -> Result<Option<Self>, FormatError> {
        let anchors = super::anchor::anchors(volume)?;
        let Some(first) = anchors.first() else { return Ok(None) };
        let block_size = first.block_size;
        let sequences = anchors.iter().flat_map(|it| [(it.main, false), (it.reserve, true)]);
        let mut failed = None;
        let mut tried: Vec<Extent> = Vec::new();
        for (extent, is_reserve) in sequences {
            if tried.contains(&extent) {
                continue;
            }
            tried.push(extent);
            match Sequence::read(volume, extent, block_size) {
                Ok(sequence) => {
                    return Ok(Some(sequence.finish(volume, anchors.clone(), is_reserve)));
                }
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// The last byte that the descriptors know of, and one: the end of every
    /// partition, of both sequences, of the integrity sequence, and of the
    /// anchors that were found. An anchor that may be missing at the end is
    /// not among them.
    #[must_use]
    pub fn end(&self) -> u64 {
        let anchors = self.anchors.iter();
        let anchors = anchors.flat_map(|it| [it.extent(), it.main, it.reserve]);
        let partitions = self.partitions.iter().map(|it| it.extent);
        let all = anchors.chain(partitions).chain([self.logical.integrity]);
        all.filter(|extent| !extent.is_empty()).map(|it| it.end()).max().unwrap_or(0)
    }
}

/// The descriptors of a sequence, of each kind those with the highest number.
#[derive(Default)]
struct Sequence {
    primary: Option<(u32, PrimaryVolume)>,
    logical: Option<(u32, LogicalVolume)>,
    partitions: Vec<(u32, Partition)>,
}

/// A sequence that has a logical volume and a partition.
struct Complete {
    primary: Option<PrimaryVolume>,
    logical: LogicalVolume,
    partitions: Vec<Partition>,
}

impl Sequence {
    fn read(volume: &dyn ReadAt, extent: Extent, block_size: u32) -> Result<Complete, FormatError> {
        let mut sequence = Self::default();
        let mut left = MOST;
        let mut extent = extent;
        'sequences: loop {
            let mut next = None;
            for place in extent.pieces(block_size.into()) {
                left = left.saturating_sub(1);
                if left == 0 {
                    break 'sequences;
                }
                let bytes = descriptor(volume, place, extent.end(), block_size)?;
                let number = bytes.u32_le(16).unwrap_or(0);
                let location = block_of(place.start(), block_size);
                if bytes.u16_le(0) == Some(0) {
                    break;
                }
                let tag = Tag::parse(&bytes, place.start(), location)?;
                match tag.id {
                    id::TERMINATING => break,
                    id::VOLUME_POINTER => next = Some(super::extent_ad(&bytes, 20, block_size)),
                    id::PRIMARY_VOLUME => {
                        let newest = sequence.primary.as_ref().is_none_or(|it| it.0 <= number);
                        if newest {
                            sequence.primary = Some((number, primary(&bytes)));
                        }
                    }
                    id::LOGICAL_VOLUME => {
                        let newest = sequence.logical.as_ref().is_none_or(|it| it.0 <= number);
                        if newest {
                            let logical = logical(&bytes, place.start(), block_size)?;
                            sequence.logical = Some((number, logical));
                        }
                    }
                    id::PARTITION => sequence.partition(number, &bytes, block_size),
                    _ => {}
                }
            }
            match next {
                Some(next) => extent = next,
                None => break,
            }
        }
        let missing = |what: &str| {
            let position = extent.start();
            Err(FormatError::corrupt("volume descriptors", position, what, "none"))
        };
        let Some((_, logical)) = sequence.logical else { return missing("a logical volume") };
        if sequence.partitions.is_empty() {
            return missing("a partition");
        }
        let partitions = sequence.partitions.into_iter().map(|(_, it)| it).collect();
        Ok(Complete { primary: sequence.primary.map(|(_, it)| it), logical, partitions })
    }

    fn partition(&mut self, number: u32, bytes: &[u8], block_size: u32) {
        let first = bytes.u32_le(188).unwrap_or(0);
        let count = bytes.u32_le(192).unwrap_or(0);
        let partition = Partition {
            number: bytes.u16_le(22).unwrap_or(0),
            contents: regid(bytes, 24),
            access: bytes.u32_le(184).unwrap_or(0),
            extent: blocks(first, count, block_size),
        };
        let same = |it: &&mut (u32, Partition)| it.1.number == partition.number;
        match self.partitions.iter_mut().find(same) {
            Some(known) if known.0 <= number => *known = (number, partition),
            Some(_) => {}
            None => self.partitions.push((number, partition)),
        }
    }
}

impl Complete {
    fn finish(self, volume: &dyn ReadAt, anchors: Vec<Anchor>, is_reserve: bool) -> Descriptors {
        let Self { primary, logical, partitions } = self;
        let integrity = integrity(volume, logical.integrity, logical.block_size);
        Descriptors { anchors, primary, logical, partitions, integrity, is_reserve }
    }
}

/// The block at a position.
fn block_of(position: u64, block_size: u32) -> Option<u32> {
    u32::try_from(position.checked_div(block_size.into())?).ok()
}

/// The bytes of a descriptor in this block: more than the block only if what
/// its checksum covers reaches further.
fn descriptor(
    volume: &dyn ReadAt,
    place: Extent,
    end: u64,
    block_size: u32,
) -> Result<Vec<u8>, FormatError> {
    let size = |len: u64| usize::try_from(len).unwrap_or(0);
    let bytes = read_vec(volume, place.start(), size(block_size.into()))?;
    let covered = u64::from(bytes.u16_le(10).unwrap_or(0)).saturating_add(16);
    let len = covered.min(MOST_BYTES).min(end.saturating_sub(place.start()));
    if len <= u64::from(block_size) || bytes.u16_le(0) == Some(0) {
        return Ok(bytes);
    }
    Ok(read_vec(volume, place.start(), size(len))?)
}

fn primary(bytes: &[u8]) -> PrimaryVolume {
    PrimaryVolume {
        volume_id: words(bytes, 24, 32),
        volume_set_id: words(bytes, 72, 128),
        volume_sequence: bytes.u16_le(56).unwrap_or(0),
        recorded: bytes.bytes_at(376, 12).and_then(time::timestamp),
        application: regid(bytes, 344),
        implementation: regid(bytes, 388),
    }
}

fn logical(bytes: &[u8], position: u64, block_size: u32) -> Result<LogicalVolume, FormatError> {
    let found = bytes.u32_le(212).unwrap_or(0);
    // That of the anchors, by UDF 2.60, 2.2.4.2.
    if found != block_size {
        let position = position.saturating_add(212);
        return Err(FormatError::corrupt("logical block size", position, block_size, found));
    }
    let domain = regid(bytes, 216);
    if domain != "*OSTA UDF Compliant" {
        return Err(FormatError::unsupported(format!("a logical volume of the domain {domain}")));
    }
    let mut maps = Vec::new();
    let table_len = usize::try_from(bytes.u32_le(264).unwrap_or(0)).unwrap_or(usize::MAX);
    let mut table = bytes.bytes_at(440, table_len).unwrap_or_default();
    for _ in 0..bytes.u32_le(268).unwrap_or(0) {
        let len = usize::from(table.u8_at(1).unwrap_or(0));
        let Some(map) = table.get(..len).filter(|map| map.len() >= 6) else {
            let (expected, found) = ("all of a partition map", "less");
            return Err(FormatError::corrupt("partition maps", position, expected, found));
        };
        maps.push(PartitionMap::parse(map)?);
        table = table.get(len..).unwrap_or_default();
    }
    Ok(LogicalVolume {
        identifier: words(bytes, 84, 128),
        block_size,
        revision: bytes.u16_le(240).unwrap_or(0),
        file_set: (bytes.u16_le(256).unwrap_or(0), bytes.u32_le(252).unwrap_or(0)),
        maps,
        integrity: super::extent_ad(bytes, 432, block_size),
        implementation: regid(bytes, 272),
    })
}

/// The last descriptor of the integrity sequence, which may go on elsewhere.
fn integrity(volume: &dyn ReadAt, extent: Extent, block_size: u32) -> Option<Integrity> {
    let mut found = None;
    let mut left = MOST;
    let mut extent = extent;
    loop {
        let mut next = None;
        for place in extent.pieces(block_size.into()) {
            left = left.checked_sub(1)?;
            if left == 0 {
                return found;
            }
            let Ok(bytes) = descriptor(volume, place, extent.end(), block_size) else { break };
            let location = block_of(place.start(), block_size);
            let tag = Tag::expect(&bytes, place.start(), location, id::INTEGRITY);
            let Some(integrity) = tag.ok().and_then(|_| parse_integrity(&bytes)) else { break };
            found = Some(integrity);
            next = Some(super::extent_ad(&bytes, 32, block_size)).filter(|it| !it.is_empty());
            if next.is_some() {
                break;
            }
        }
        match next {
            Some(next) => extent = next,
            None => return found,
        }
    }
}

fn parse_integrity(bytes: &[u8]) -> Option<Integrity> {
    let count = usize::try_from(bytes.u32_le(72)?).ok()?;
    let table = bytes.bytes_at(80, count.checked_mul(8)?)?;
    let free = table.chunks_exact(4).take(count).filter_map(|it| it.u32_le(0));
    let free = free.map(|free| (free != u32::MAX).then_some(free)).collect();
    let own = bytes.get(80_usize.checked_add(table.len())?..)?;
    Some(Integrity {
        recorded: bytes.bytes_at(16, 12).and_then(time::timestamp),
        is_closed: bytes.u32_le(28)? == 1,
        free,
        files: own.u32_le(32).unwrap_or(0),
        folders: own.u32_le(36).unwrap_or(0),
        min_read: own.u16_le(40).unwrap_or(0),
        min_write: own.u16_le(42).unwrap_or(0),
    })
}

/// The name in an entity identifier.
pub(super) fn regid(bytes: &[u8], offset: usize) -> String {
    let name = offset.checked_add(1).and_then(|start| bytes.bytes_at(start, 23));
    crate::ondisk::text(name.unwrap_or_default())
}

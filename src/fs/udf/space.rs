// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the blocks of the partitions of a logical volume are on the disc.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::anchor::blocks;
use super::descriptor::{Descriptors, regid};
use super::files::content::Content;
use super::files::entry::Entry;
use super::partition::PartitionMap;
use super::tag::{Tag, id};
use crate::extent::Extent;
use crate::fs::budget::Spending;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError};

/// How far from the end of a disc its table of virtual blocks is looked for.
const MOST_BEHIND: u32 = 512;
/// The largest table of virtual blocks, in bytes.
const MOST_TABLE: u64 = 64 << 20;

/// An address: partition and block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) partition: u16,
    pub(super) block: u32,
}

impl Address {
    /// The address in a long allocation descriptor (ECMA-167, 4/14.14.2).
    pub(super) fn of_long_ad(bytes: &[u8], offset: usize) -> Self {
        let at = |more: usize| offset.saturating_add(more);
        Self {
            block: bytes.u32_le(at(4)).unwrap_or(0),
            partition: bytes.u16_le(at(8)).unwrap_or(0),
        }
    }
}

/// The partitions of a logical volume.
pub(super) struct Space<'v> {
    pub(super) volume: Arc<dyn ReadAt + 'v>,
    pub(super) block_size: u32,
    partitions: Vec<Mapped>,
}

impl fmt::Debug for Space<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Space").field("block_size", &self.block_size).finish_non_exhaustive()
    }
}

/// Where the blocks of a partition are.
enum Mapped {
    Physical(Extent),
    /// Of each block, where it is on the partition on the disc.
    Virtual(Extent, Vec<u32>),
    /// The packets that are elsewhere, and where on the disc.
    Sparable {
        below: Extent,
        packet_len: u32,
        spared: BTreeMap<u32, u32>,
    },
    Metadata(Content),
}

impl<'v> Space<'v> {
    pub(super) fn open(
        volume: Arc<dyn ReadAt + 'v>,
        descriptors: &Descriptors,
        spending: &mut Spending,
    ) -> Result<Self, FormatError> {
        let logical = &descriptors.logical;
        let mut space = Self { volume, block_size: logical.block_size, partitions: Vec::new() };
        let mut below = Vec::new();
        for map in &logical.maps {
            let number = map.partition();
            let found = descriptors.partitions.iter().find(|it| it.number == number);
            let found = found.ok_or_else(|| {
                let (expected, found) = (format!("a partition of the number {number}"), "none");
                FormatError::corrupt("partition maps", 0, expected, found)
            })?;
            below.push(found.extent);
        }
        // Those that need nothing else first: the others are files on them.
        for (map, below) in logical.maps.iter().zip(&below) {
            let mapped = match map {
                PartitionMap::Sparable { packet_len, tables, table_size, .. } => {
                    let spared = space.spared(tables, *table_size)?;
                    Mapped::Sparable { below: *below, packet_len: (*packet_len).into(), spared }
                }
                _ => Mapped::Physical(*below),
            };
            space.partitions.push(mapped);
        }
        // The file of a metadata partition is on the physical one of its number.
        let physical = |number: u16| {
            let is_it = |map: &PartitionMap| {
                map.partition() == number
                    && matches!(map, PartitionMap::Physical { .. } | PartitionMap::Sparable { .. })
            };
            let index = logical.maps.iter().position(is_it).and_then(|it| u16::try_from(it).ok());
            index.ok_or_else(|| {
                FormatError::unsupported("a partition inside of one that no map describes")
            })
        };
        let mut inside = Vec::new();
        for ((index, map), below) in logical.maps.iter().enumerate().zip(&below) {
            let mapped = match map {
                PartitionMap::Metadata { partition, file, mirror } => {
                    let partition = physical(*partition)?;
                    let main = space.metadata(Address { partition, block: *file }, spending);
                    let mut copy =
                        || space.metadata(Address { partition, block: *mirror }, spending);
                    Mapped::Metadata(main.or_else(|error| copy().map_err(|_| error))?)
                }
                PartitionMap::Virtual { partition } => {
                    let table = space.virtual_table(physical(*partition)?, *below, spending)?;
                    Mapped::Virtual(*below, table)
                }
                _ => continue,
            };
            inside.push((index, mapped));
        }
        for (index, mapped) in inside {
            if let Some(place) = space.partitions.get_mut(index) {
                *place = mapped;
            }
        }
        Ok(space)
    }

    /// The blocks in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.block_size.into()
    }

    /// Calls `each` with where so many bytes from an address on are on the disc.
    pub(super) fn places(
        &self,
        address: Address,
        len: u64,
        each: &mut dyn FnMut(Extent) -> Result<(), FormatError>,
    ) -> Result<(), FormatError> {
        let corrupt = |expected: &str| {
            let found = format!("{len} bytes from block {} on", address.block);
            Err(FormatError::corrupt("address of blocks", 0, expected, found))
        };
        let Some(mapped) = self.partitions.get(usize::from(address.partition)) else {
            return corrupt(&format!("a partition other than {}", address.partition));
        };
        let start = u64::from(address.block).saturating_mul(self.bytes());
        let wanted = Extent::at(start, len);
        match mapped {
            Mapped::Physical(below) => {
                if wanted.end() > below.len() {
                    return corrupt("blocks of the partition");
                }
                each(wanted.shift(below.start()))
            }
            Mapped::Sparable { below, packet_len, spared } => {
                if wanted.end() > below.len() {
                    return corrupt("blocks of the partition");
                }
                let packet = u64::from(*packet_len).saturating_mul(self.bytes());
                let mut at = wanted.start();
                while at < wanted.end() {
                    let number = at.checked_div(packet).unwrap_or(0);
                    let first = number.saturating_mul(packet);
                    let end = first.saturating_add(packet).min(wanted.end());
                    let key = number.saturating_mul((*packet_len).into());
                    let elsewhere = u32::try_from(key).ok().and_then(|key| spared.get(&key));
                    let place = match elsewhere {
                        Some(block) => blocks(*block, 0, self.block_size).start(),
                        None => below.start().saturating_add(first),
                    };
                    let place = place.saturating_add(at.saturating_sub(first));
                    each(Extent::at(place, end.saturating_sub(at)))?;
                    at = end;
                }
                Ok(())
            }
            Mapped::Virtual(below, table) => {
                for piece in wanted.pieces(self.bytes()) {
                    let number = piece.start().checked_div(self.bytes()).unwrap_or(u64::MAX);
                    let entry = usize::try_from(number).ok().and_then(|it| table.get(it));
                    let Some(block) = entry.filter(|block| **block != u32::MAX) else {
                        return corrupt("blocks of the virtual partition");
                    };
                    let place = blocks(*block, 1, self.block_size);
                    if place.end() > below.len() {
                        return corrupt("blocks of the partition below");
                    }
                    each(Extent::at(place.start().saturating_add(below.start()), piece.len()))?;
                }
                Ok(())
            }
            Mapped::Metadata(content) => {
                let mut left = wanted.len();
                for piece in content.pieces_from(wanted.start()) {
                    let own = piece.extent().intersect(&wanted);
                    if own.is_empty() {
                        break;
                    }
                    let Some(place) = piece.place else {
                        return corrupt("recorded blocks of the metadata partition");
                    };
                    let skip = own.start().saturating_sub(piece.extent().start());
                    each(Extent::at(place.saturating_add(skip), own.len()))?;
                    left = left.saturating_sub(own.len());
                }
                if left == 0 { Ok(()) } else { corrupt("blocks of the metadata partition") }
            }
        }
    }

    /// Where a block is on the disc, and its bytes.
    pub(super) fn block(&self, address: Address) -> Result<(u64, Vec<u8>), FormatError> {
        let mut place = None;
        self.places(address, self.bytes(), &mut |extent| {
            place.get_or_insert(extent.start());
            Ok(())
        })?;
        let place = place.unwrap_or(0);
        let len = usize::try_from(self.block_size).unwrap_or(usize::MAX);
        Ok((place, read_vec(self.volume.as_ref(), place, len)?))
    }

    /// The packets that are elsewhere, by the newest table that can be read.
    fn spared(&self, tables: &[u32], size: u32) -> Result<BTreeMap<u32, u32>, FormatError> {
        let mut newest: Option<(u32, BTreeMap<u32, u32>)> = None;
        let mut failed = None;
        for table in tables {
            match self.spared_by(*table, size) {
                Ok((sequence, _)) if newest.as_ref().is_some_and(|it| it.0 >= sequence) => {}
                Ok(found) => newest = Some(found),
                Err(error) => failed = Some(error),
            }
        }
        match (newest, failed) {
            (Some((_, spared)), _) => Ok(spared),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(BTreeMap::new()),
        }
    }

    /// A sparing table (UDF 2.60, 2.2.12).
    fn spared_by(&self, block: u32, size: u32) -> Result<(u32, BTreeMap<u32, u32>), FormatError> {
        const ENTRIES: usize = 56;
        /// Entries from here on are free or bad.
        const UNUSED: u32 = 0xffff_fff0;
        let position = blocks(block, 0, self.block_size).start();
        let len = size.clamp(self.block_size, 1 << 20);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let bytes = read_vec(self.volume.as_ref(), position, len)?;
        Tag::expect(&bytes, position, Some(block), 0)?;
        if regid(&bytes, 16) != "*UDF Sparing Table" {
            let found = regid(&bytes, 16);
            return Err(FormatError::corrupt("sparing table", position, "its name", found));
        }
        let count = usize::from(bytes.u16_le(48).unwrap_or(0));
        let entries = bytes.get(ENTRIES..).unwrap_or_default().chunks_exact(8).take(count);
        let entries = entries.filter_map(|it| Some((it.u32_le(0)?, it.u32_le(4)?)));
        let spared = entries.filter(|(original, _)| *original < UNUSED).collect();
        Ok((bytes.u32_le(52).unwrap_or(0), spared))
    }

    /// Where the blocks of a metadata partition are, by its file.
    fn metadata(&self, file: Address, spending: &mut Spending) -> Result<Content, FormatError> {
        let entry = Entry::read(self, file, spending)?;
        if !matches!(entry.file_type, 250 | 251) {
            let (expected, found) = ("the file of a metadata partition", entry.file_type);
            return Err(FormatError::corrupt("kind of a file", entry.position, expected, found));
        }
        entry.content(self, spending)
    }

    /// The table of a virtual partition: the last file of the disc.
    fn virtual_table(
        &self,
        partition: u16,
        below: Extent,
        spending: &mut Spending,
    ) -> Result<Vec<u32>, FormatError> {
        let end = self.volume.len().min(below.end());
        let count = end.saturating_sub(below.start()).checked_div(self.bytes()).unwrap_or(0);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        for less in 1..=MOST_BEHIND {
            let Some(block) = count.checked_sub(less) else { break };
            spending.check()?;
            let address = Address { partition, block };
            let Ok(entry) = Entry::read(self, address, spending) else { continue };
            if !matches!(entry.file_type, 0 | 248) || entry.size > MOST_TABLE {
                continue;
            }
            spending.spend(entry.size)?;
            let content = entry.content(self, spending)?;
            let mut bytes = vec![0; usize::try_from(entry.size).unwrap_or(0)];
            content.read(self.volume.as_ref(), 0, &mut bytes)?;
            let table = if entry.file_type == 248 {
                let header = usize::from(bytes.u16_le(0).unwrap_or(0));
                bytes.get(header..)
            } else {
                // Until UDF 1.50 its name is behind it, and the table before.
                let end = bytes.len().checked_sub(36);
                let end = end.filter(|end| regid(&bytes, *end) == "*UDF Virtual Alloc Tbl");
                end.and_then(|end| bytes.get(..end))
            };
            if let Some(table) = table {
                return Ok(table.chunks_exact(4).filter_map(|it| it.u32_le(0)).collect());
            }
        }
        let what = "a disc that was not read to its end: the table of its blocks is missing there";
        Err(FormatError::unsupported(what))
    }

    /// The file set descriptor: the root folder, and that of its streams.
    pub(super) fn file_set(&self, address: Address) -> Result<Address, FormatError> {
        let (position, bytes) = self.block(address)?;
        Tag::expect(&bytes, position, Some(address.block), id::FILE_SET)?;
        Ok(Address::of_long_ad(&bytes, 400))
    }
}

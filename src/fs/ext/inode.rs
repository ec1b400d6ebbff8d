// SPDX-License-Identifier: MIT OR Apache-2.0
//! The journal's inode, and the blocks that it maps: by extents, or by lists of
//! block numbers as in ext2 and ext3.

use super::checksum::crc32c;
use super::group::Group;
use super::superblock::Superblock;
use super::volume::Volume;
use crate::ondisk::{Fields, FormatError};

const MODE_TYPE: u16 = 0xF000;
const MODE_REGULAR: u16 = 0x8000;
const FLAG_EXTENTS: u32 = 0x8_0000;
const FLAG_INLINE_DATA: u32 = 0x1000_0000;
const EXTENT_MAGIC: u16 = 0xF30A;
/// The kernel's limit of the depth of an extent tree.
const MAX_DEPTH: u16 = 5;
/// Longer extents are unwritten, which a journal never is.
const MAX_WRITTEN_LEN: u16 = 32768;
/// Bounds the work for one inode; mke2fs stops at 10 240 000 blocks.
const MAX_BLOCKS: u64 = 1 << 24;
/// Bounds the memory of the map; a journal is made in a few pieces.
const MAX_RUNS: usize = 1 << 20;
/// Bounds the reads for the map: lists of block numbers in blocks of 1 KiB
/// need 1 << 16 for the largest file.
const MAX_NODES: usize = 1 << 17;

/// Consecutive blocks of a file that are consecutive on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// The first block, counted in the file.
    pub(super) logical: u64,
    /// The first block, counted in the filesystem.
    pub(super) physical: u64,
    pub(super) len: u64,
}

/// Where a file's blocks are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct FileMap {
    /// In ascending order, without a hole, from block 0.
    runs: Vec<Run>,
    /// The blocks that hold the map itself.
    nodes: Vec<u64>,
    /// The size of the file in whole blocks.
    blocks: u64,
}

impl FileMap {
    /// The blocks of the file.
    pub(super) const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// The block of the filesystem that holds a block of the file.
    pub(super) fn locate(&self, logical: u64) -> Option<u64> {
        let after = self.runs.partition_point(|run| run.logical <= logical);
        let run = self.runs.get(after.checked_sub(1)?)?;
        let within = logical.checked_sub(run.logical)?;
        (within < run.len).then(|| run.physical.checked_add(within)).flatten()
    }

    /// How many blocks from this one on are consecutive on the disk, too.
    pub(super) fn contiguous(&self, logical: u64) -> u64 {
        let after = self.runs.partition_point(|run| run.logical <= logical);
        let run = after.checked_sub(1).and_then(|index| self.runs.get(index));
        run.map_or(0, |run| run.logical.saturating_add(run.len).saturating_sub(logical))
    }

    /// The block of the file after the last that is mapped.
    fn end(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.logical.saturating_add(run.len))
    }

    /// All blocks that belong to the file, as first block and count.
    pub(super) fn all(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let nodes = self.nodes.iter().map(|block| (*block, 1));
        self.runs.iter().map(|run| (run.physical, run.len)).chain(nodes)
    }
}

/// Reads an inode and all of its map.
pub(super) fn read(
    volume: &Volume,
    superblock: &Superblock,
    groups: &[Group],
    number: u32,
) -> Result<FileMap, FormatError> {
    let geometry = &superblock.geometry;
    let wrong = || FormatError::corrupt("s_journal_inum", 1024, "an inode", number);
    let index = u64::from(number).checked_sub(1).ok_or_else(wrong)?;
    let group = index.checked_div(geometry.inodes_per_group).ok_or_else(wrong)?;
    let index = index.checked_rem(geometry.inodes_per_group).ok_or_else(wrong)?;
    let group =
        usize::try_from(group).ok().and_then(|group| groups.get(group)).ok_or_else(wrong)?;
    let offset = index.saturating_mul(geometry.inode_size);
    let block = offset.checked_div(geometry.block_size).ok_or_else(wrong)?;
    let offset = offset.checked_rem(geometry.block_size).ok_or_else(wrong)?;
    let block = group.inode_table.saturating_add(block);
    let table = volume.read("inode table", block, 1)?;
    let position = volume.extent(block, 1).start().saturating_add(offset);
    let raw = usize::try_from(offset)
        .ok()
        .zip(usize::try_from(geometry.inode_size).ok())
        .and_then(|(offset, len)| table.bytes_at(offset, len))
        .ok_or_else(wrong)?;
    Inode::parse(superblock, number, raw, position)?.map(volume)
}

struct Inode<'a> {
    superblock: &'a Superblock,
    /// Where it is, for errors.
    position: u64,
    flags: u32,
    blocks: u64,
    /// `i_block`: the root of the map.
    root: [u8; 60],
    /// Where checksums of the map's blocks start.
    checksum_seed: u32,
}

impl<'a> Inode<'a> {
    fn parse(
        superblock: &'a Superblock,
        number: u32,
        raw: &[u8],
        position: u64,
    ) -> Result<Self, FormatError> {
        let short = || FormatError::corrupt("journal inode", position, "128 bytes", raw.len());
        let generation: [u8; 4] = raw.array(0x64).ok_or_else(short)?;
        let seed = crc32c(superblock.checksum_seed, &number.to_le_bytes());
        let checksum_seed = crc32c(seed, &generation);
        if superblock.has_metadata_checksums() {
            check_inode(raw, checksum_seed, position).ok_or_else(short)??;
        }
        let mode = raw.u16_le(0).ok_or_else(short)?;
        let links = raw.u16_le(0x1A).ok_or_else(short)?;
        if mode & MODE_TYPE != MODE_REGULAR || links == 0 {
            return Err(FormatError::corrupt(
                "journal inode",
                position,
                "a regular file",
                format!("mode {mode:#o} with {links} links"),
            ));
        }
        let low = u64::from(raw.u32_le(0x4).ok_or_else(short)?);
        let high = u64::from(raw.u32_le(0x6C).ok_or_else(short)?);
        let blocks = (high << 32 | low).checked_div(superblock.geometry.block_size).unwrap_or(0);
        let most = MAX_BLOCKS.min(superblock.geometry.blocks);
        if blocks == 0 || blocks > most {
            return Err(FormatError::corrupt(
                "size of the journal",
                position,
                format!("1 to {most} blocks"),
                blocks,
            ));
        }
        Ok(Self {
            superblock,
            position,
            flags: raw.u32_le(0x20).ok_or_else(short)?,
            blocks,
            root: raw.array(0x28).ok_or_else(short)?,
            checksum_seed,
        })
    }

    fn map(&self, volume: &Volume) -> Result<FileMap, FormatError> {
        let mut map = FileMap { blocks: self.blocks, ..FileMap::default() };
        if self.flags & FLAG_INLINE_DATA != 0 {
            return Err(self.corrupt("journal inode", "blocks", "inline data"));
        }
        if self.flags & FLAG_EXTENTS != 0 {
            let depth = self.root.u16_le(6).unwrap_or(0);
            if depth > MAX_DEPTH {
                return Err(self.corrupt("eh_depth", format!("at most {MAX_DEPTH}"), depth));
            }
            self.extents(volume, &mut map, &self.root, depth)?;
        } else {
            self.pointers(volume, &mut map)?;
        }
        let mapped = map.end();
        if mapped < self.blocks {
            return Err(self.corrupt("map of the journal", self.blocks, mapped));
        }
        Ok(map)
    }

    /// Walks a node of an extent tree. Every step down lowers the depth, no
    /// node may be empty, and every extent has to continue where the last one
    /// ended, so that no node can be walked twice.
    fn extents(
        &self,
        volume: &Volume,
        map: &mut FileMap,
        node: &[u8],
        depth: u16,
    ) -> Result<(), FormatError> {
        let header = (node.u16_le(0), node.u16_le(2), node.u16_le(4), node.u16_le(6));
        let (Some(EXTENT_MAGIC), Some(entries), Some(most), Some(found)) = header else {
            return Err(self.corrupt("eh_magic", format!("{EXTENT_MAGIC:#x}"), "another"));
        };
        if found != depth {
            return Err(self.corrupt("eh_depth", depth, found));
        }
        let room = node.len().saturating_sub(12).checked_div(12).unwrap_or(0);
        if entries > most || usize::from(most) > room || entries == 0 {
            let expected = format!("1 to {room} entries");
            return Err(self.corrupt("eh_entries", expected, format!("{entries} of {most}")));
        }
        for entry in node.chunks_exact(12).skip(1).take(usize::from(entries)) {
            let high = |offset| entry.u16_le(offset).map_or(0, |high| u64::from(high) << 32);
            let low = |offset| entry.u32_le(offset).map_or(0, u64::from);
            let logical = low(0);
            if depth == 0 {
                let len = entry.u16_le(4).unwrap_or(0);
                if len == 0 || len > MAX_WRITTEN_LEN {
                    return Err(self.corrupt("ee_len", format!("1 to {MAX_WRITTEN_LEN}"), len));
                }
                let physical = high(6) | low(8);
                self.push(volume, map, Run { logical, physical, len: u64::from(len) })?;
            } else {
                let child = high(8) | low(4);
                let bytes = self.node(volume, map, child)?;
                self.check_node(&bytes, volume.extent(child, 1).start())?;
                let next = depth.saturating_sub(1);
                self.extents(volume, map, &bytes, next)?;
            }
        }
        Ok(())
    }

    /// Reads a block of the map.
    fn node(&self, volume: &Volume, map: &mut FileMap, block: u64) -> Result<Vec<u8>, FormatError> {
        if map.nodes.len() >= MAX_NODES {
            return Err(self.corrupt("map of the journal", format!("{MAX_NODES} nodes"), "more"));
        }
        map.nodes.push(block);
        volume.read("map of the journal", block, 1)
    }

    /// Checks the checksum behind the entries of a node in a block of its own.
    fn check_node(&self, bytes: &[u8], position: u64) -> Result<(), FormatError> {
        if !self.superblock.has_metadata_checksums() {
            return Ok(());
        }
        let most = usize::from(bytes.u16_le(4).unwrap_or(0));
        let tail = most.saturating_mul(12).saturating_add(12);
        let computed = bytes.get(..tail).map(|bytes| crc32c(self.checksum_seed, bytes));
        let stored = bytes.u32_le(tail);
        if stored.is_some() && stored == computed {
            return Ok(());
        }
        let show =
            |crc: Option<u32>| crc.map_or_else(|| "none".into(), |crc| format!("{crc:#010x}"));
        Err(FormatError::corrupt("eb_checksum", position, show(computed), show(stored)))
    }

    /// Walks the twelve direct block numbers and the three trees of them.
    fn pointers(&self, volume: &Volume, map: &mut FileMap) -> Result<(), FormatError> {
        for (slot, pointer) in self.root.chunks_exact(4).enumerate() {
            // Slots 12, 13 and 14 are trees of one, two and three levels.
            let levels = slot.saturating_sub(11);
            self.pointer(volume, map, u64::from(pointer.u32_le(0).unwrap_or(0)), levels)?;
        }
        Ok(())
    }

    fn pointer(
        &self,
        volume: &Volume,
        map: &mut FileMap,
        block: u64,
        levels: usize,
    ) -> Result<(), FormatError> {
        let logical = map.end();
        if logical >= self.blocks {
            return Ok(());
        }
        let Some(levels) = levels.checked_sub(1) else {
            return self.push(volume, map, Run { logical, physical: block, len: 1 });
        };
        // Zero is a hole, and a journal has none.
        if block == 0 {
            return Err(self.corrupt("map of the journal", "a block", "a hole"));
        }
        let bytes = self.node(volume, map, block)?;
        for pointer in bytes.chunks_exact(4) {
            self.pointer(volume, map, u64::from(pointer.u32_le(0).unwrap_or(0)), levels)?;
        }
        Ok(())
    }

    fn push(&self, volume: &Volume, map: &mut FileMap, run: Run) -> Result<(), FormatError> {
        volume.check("journal", run.physical, run.len)?;
        if run.physical <= self.superblock.geometry.superblock_block() {
            return Err(self.corrupt("map of the journal", "a block", run.physical));
        }
        let next = map.end();
        if run.logical != next {
            return Err(self.corrupt("map of the journal", format!("block {next}"), run.logical));
        }
        let is_full = map.runs.len() >= MAX_RUNS;
        match map.runs.last_mut() {
            Some(last) if last.physical.saturating_add(last.len) == run.physical => {
                last.len = last.len.saturating_add(run.len);
            }
            _ if is_full => {
                return Err(self.corrupt("map of the journal", format!("{MAX_RUNS} runs"), "more"));
            }
            _ => map.runs.push(run),
        }
        Ok(())
    }

    fn corrupt(
        &self,
        what: &'static str,
        expected: impl ToString,
        found: impl ToString,
    ) -> FormatError {
        FormatError::corrupt(what, self.position, expected, found)
    }
}

/// Checks an inode's checksum; `None` if the inode is too short.
pub(super) fn check_inode(raw: &[u8], seed: u32, position: u64) -> Option<Result<(), FormatError>> {
    const LOW: usize = 0x7C;
    const EXTRA_SIZE: usize = 0x80;
    const HIGH: usize = 0x82;
    let crc = crc32c(crc32c(seed, raw.get(..LOW)?), &[0, 0]);
    let mut crc = crc32c(crc, raw.get(0x7E..EXTRA_SIZE)?);
    let mut stored = u32::from(raw.u16_le(LOW)?);
    let mut mask = 0xFFFF;
    if raw.len() > EXTRA_SIZE {
        // The upper half exists if the part beyond 128 bytes reaches it.
        if raw.u16_le(EXTRA_SIZE)? >= 4 {
            crc = crc32c(crc32c(crc, raw.get(EXTRA_SIZE..HIGH)?), &[0, 0]);
            crc = crc32c(crc, raw.get(0x84..)?);
            stored |= u32::from(raw.u16_le(HIGH)?) << 16;
            mask = u32::MAX;
        } else {
            crc = crc32c(crc, raw.get(EXTRA_SIZE..)?);
        }
    }
    let computed = crc & mask;
    if computed == stored {
        return Some(Ok(()));
    }
    Some(Err(FormatError::corrupt(
        "checksum of an inode",
        position,
        format!("{computed:#010x}"),
        format!("{stored:#010x}"),
    )))
}

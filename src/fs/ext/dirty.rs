// SPDX-License-Identifier: MIT OR Apache-2.0
//! The used map of a filesystem whose journal has to be replayed.
//!
//! The bitmaps on the disk are older than the filesystem: blocks that were
//! taken in a transaction that is still in the journal are free in them. The
//! map is the union of
//!
//! - the bitmaps as a replay will leave them. They are judged as strictly as
//!   those of a clean filesystem, against descriptors as a replay will leave
//!   them, which also judges whether the journal was understood;
//! - the bitmaps as they are on the disk, for whoever mounts the filesystem
//!   without a replay;
//! - every other copy of a bitmap in the journal. It should never be needed,
//!   and costs next to nothing.
//!
//! What follows a replay only frees blocks: files that were open when they were
//! deleted (the list that starts in `s_last_orphan`, or the orphan file) are
//! removed or cut short. Data of ordinary files is on the disk before the
//! transaction that refers to it is committed, data that was journalled is in
//! the journal, and all of the journal is stored.

use std::collections::BTreeMap;

use super::Answer;
use super::fast_commit;
use super::group::{self, Group, Trust};
use super::inode::FileMap;
use super::journal::Journal;
use super::replay::{self, Log};
use super::superblock::{LEN, POSITION, Superblock};
use super::used::Source;
use super::volume::{Copy, Volume};
use crate::extent::ExtentSet;
use crate::fs::runs::Runs;
use crate::ondisk::{Fields, FormatError};

/// The filesystem as it is on the disk.
#[derive(Clone, Copy)]
pub(super) struct Disk<'a> {
    pub(super) volume: Volume<'a>,
    pub(super) superblock: &'a Superblock,
    pub(super) groups: &'a [Group],
    pub(super) required: &'a ExtentSet,
    /// The length of the volume in bytes.
    pub(super) len: u64,
}

impl<'a> Disk<'a> {
    /// The bitmaps as they are on the disk.
    pub(super) const fn source(&self, trust: Trust) -> Source<'a> {
        Source {
            volume: self.volume,
            superblock: self.superblock,
            groups: self.groups,
            required: self.required,
            trust,
        }
    }

    /// The used bytes of all groups, if the journal can be followed.
    pub(super) fn map(&self, file: &FileMap, journal: &Journal) -> Result<Answer, FormatError> {
        let bitmaps = Bitmaps::of(self.groups);
        let tables: Vec<u64> = {
            let geometry = &self.superblock.geometry;
            let table = (0..geometry.desc_blocks).map(|index| group::table_block(geometry, index));
            let mut blocks: Vec<u64> = table.chain([geometry.superblock_block()]).collect();
            blocks.sort_unstable();
            blocks
        };
        let wanted =
            |block| bitmaps.group_of(block).is_some() || tables.binary_search(&block).is_ok();
        let log = replay::scan(&self.volume, file, journal, &wanted)?;
        fast_commit::check_none_waits(&self.volume, file, journal, log.next_sequence)?;

        let written = log.replay();
        let volume = self.volume.replayed(&written);
        let superblock = self.replayed_superblock(&volume)?;
        if let Some(why) = superblock.distrust() {
            return Ok(Answer::Whole(why));
        }
        let groups = group::read(&volume, &superblock, Trust::Replayed)?;
        self.check_same_places(&groups)?;
        let after = Source {
            volume,
            superblock: &superblock,
            groups: &groups,
            required: self.required,
            trust: Trust::Replayed,
        };
        let map = after.map()?.into_set();
        let older = self.older(&bitmaps, &log, &written, &groups)?;
        let note = format!(
            "its journal has to be replayed ({} transactions): blocks in use before and after \
             the replay are stored",
            log.committed
        );
        Ok(Answer::Map(map.union(&older), vec![note]))
    }

    /// The superblock as a replay leaves it.
    fn replayed_superblock(&self, volume: &Volume) -> Result<Superblock, FormatError> {
        let geometry = &self.superblock.geometry;
        let block = geometry.superblock_block();
        let bytes = volume.read("superblock", block, 1)?;
        let offset = POSITION.saturating_sub(volume.extent(block, 1).start());
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|offset| bytes.bytes_at(offset, LEN))
            .unwrap_or_default();
        let replayed = Superblock::parse(bytes, self.len)?;
        if !replayed.is_same_filesystem(self.superblock) {
            return Err(FormatError::unsupported(
                "its journal has to be replayed, and changes the size or layout of the filesystem",
            ));
        }
        Ok(replayed)
    }

    /// Metadata was claimed by the descriptors on the disk, so those of the
    /// replay have to name the same places.
    fn check_same_places(&self, replayed: &[Group]) -> Result<(), FormatError> {
        let place = |group: &Group| (group.block_bitmap, group.inode_bitmap, group.inode_table);
        if self.groups.iter().map(place).eq(replayed.iter().map(place)) {
            return Ok(());
        }
        Err(FormatError::unsupported(
            "its journal has to be replayed, and moves bitmaps or inode tables",
        ))
    }

    /// What the bitmaps on the disk and the other copies in the journal mark.
    fn older(
        &self,
        bitmaps: &Bitmaps,
        log: &Log,
        written: &BTreeMap<u64, Copy>,
        replayed: &[Group],
    ) -> Result<ExtentSet, FormatError> {
        let mut copies: Vec<(usize, Copy)> = log
            .copies
            .iter()
            .filter_map(|logged| Some((bitmaps.group_of(logged.home)?, logged.copy)))
            .collect();
        for (number, (before, after)) in self.groups.iter().zip(replayed).enumerate() {
            // Where a replay writes no bitmap, the one on the disk has been read.
            let was_read = !after.is_uninit && !written.contains_key(&before.block_bitmap);
            if !before.is_uninit && !was_read {
                copies.push((number, Copy { held_at: before.block_bitmap, escaped: false }));
            }
        }
        copies.sort_unstable_by_key(|(number, copy)| (*number, copy.held_at));
        let before = self.source(Trust::Before);
        let mut runs = Runs::new();
        for copies in copies.chunk_by(|a, b| a.0 == b.0) {
            let Some((number, _)) = copies.first() else { continue };
            let Some(group) = self.groups.get(*number) else { continue };
            let mut all: Vec<u8> = Vec::new();
            for (_, copy) in copies {
                let bitmap = self.volume.copy("block bitmap", *copy)?;
                all.resize(bitmap.len(), 0);
                all.iter_mut().zip(bitmap).for_each(|(sum, byte)| *sum |= byte);
            }
            before.bitmap(*number, group, &mut all, &mut runs)?;
        }
        Ok(runs.into_set())
    }
}

/// Which block is the bitmap of which group.
struct Bitmaps(Vec<(u64, usize)>);

impl Bitmaps {
    fn of(groups: &[Group]) -> Self {
        let mut blocks: Vec<(u64, usize)> =
            groups.iter().enumerate().map(|(number, group)| (group.block_bitmap, number)).collect();
        blocks.sort_unstable();
        Self(blocks)
    }

    fn group_of(&self, block: u64) -> Option<usize> {
        let index = self.0.binary_search_by_key(&block, |(block, _)| *block).ok()?;
        self.0.get(index).map(|(_, group)| *group)
    }
}

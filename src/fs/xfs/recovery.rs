// SPDX-License-Identifier: MIT OR Apache-2.0
//! All that a replay of the log would write, without writing it: what files
//! are read through.
//!
//! The rules are those of the kernel. In a transaction, buffers are written
//! first and inodes after them; a buffer that was freed later (cancelled) is
//! not written; nor is one that the disk has in a newer state, by the place in
//! the log that it carries; of an inode, the logged fields and forks are
//! written over what is on the disk. Version 4 carries no such places, and
//! everything in the log is written again.
//!
//! Quotas, and the pointers from one deleted inode to the next, do not concern
//! files.

use std::collections::{BTreeMap, BTreeSet};

use super::checksum;
use super::log::item::{Buffer, Item, LoggedInode, Meaning};
use super::log::transaction::{Keep, Transaction, scan};
use super::log::{Head, Log};
use super::replay::{self, written_at};
use super::volume::{Overlay, Volume};
use crate::extent::Extent;
use crate::ondisk::{Fields, FormatError};

/// The unit in which changed bytes are kept: a sector.
const UNIT: usize = 512;
/// Bounds the memory of what a replay writes.
const MAX_UNITS: usize = (96 << 20) / UNIT;
/// Bounds the memory of what the log names.
const MAX_NAMED: usize = 1 << 20;
/// The item that says that a change of a file's map was done.
const MAP_DONE: u16 = 0x1245;

const INODE_MAGIC: u16 = 0x494E;
const NO_INODE: u32 = u32::MAX;
/// Which parts of an inode are logged.
const DATA: u32 = 0x2 | 0x4;
const DATA_ROOT: u32 = 0x8;
const DEVICE: u32 = 0x10;
const ATTRIBUTES: u32 = 0x40 | 0x80;
const ATTRIBUTES_ROOT: u32 = 0x100;
const OWNERS: u32 = 0x200 | 0x400;
const BIG_TIME: u64 = 0x8;

/// Reads the log twice, as a replay does: for what was freed, and for the rest.
pub(super) fn everything(volume: &Volume, head: &Head) -> Result<Overlay, FormatError> {
    if volume.geometry.features.log_incompat != 0 {
        return Err(FormatError::unsupported(
            "its log has to be replayed, and holds items of a new kind",
        ));
    }
    let log = Log::new(volume);
    let mut cancelled: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    scan(&log, head, Keep::Allocation, &mut |transaction| {
        for item in &transaction.items {
            if let Meaning::Buffer(buffer) = item.meaning()?
                && buffer.is_cancelled
            {
                let count = cancelled.entry((buffer.sector, buffer.sectors)).or_default();
                *count = count.saturating_add(1);
                if cancelled.len() > MAX_NAMED {
                    return Err(replay::too_much());
                }
            }
        }
        Ok(())
    })?;
    let mut recovery =
        Recovery { volume, cancelled, overlay: Overlay::new(), unfinished: BTreeSet::new() };
    scan(&log, head, Keep::Everything, &mut |transaction| recovery.transaction(&transaction))?;
    if !recovery.unfinished.is_empty() {
        return Err(FormatError::unsupported(
            "its log has to be replayed, and holds a change of a file that is to be finished \
             then: mount it once",
        ));
    }
    Ok(recovery.overlay)
}

struct Recovery<'a> {
    volume: &'a Volume<'a>,
    /// Freed buffers, and how often each is freed from here on.
    cancelled: BTreeMap<(u64, u64), u64>,
    overlay: Overlay,
    /// The numbers of changes of maps that were begun and are not yet done.
    unfinished: BTreeSet<u64>,
}

impl Recovery<'_> {
    fn transaction(&mut self, transaction: &Transaction) -> Result<(), FormatError> {
        let lsn = transaction.lsn;
        for item in &transaction.items {
            match item.meaning()? {
                Meaning::Buffer(buffer) if !buffer.is_cancelled => {
                    self.buffer(lsn, item, buffer)?
                }
                Meaning::Intent { done: MAP_DONE, number, .. } => {
                    self.unfinished.insert(number);
                    if self.unfinished.len() > MAX_NAMED {
                        return Err(replay::too_much());
                    }
                }
                Meaning::Done { done: MAP_DONE, number } => {
                    self.unfinished.remove(&number);
                }
                _ => {}
            }
            self.create(item)?;
        }
        for item in &transaction.items {
            if let Some(inode) = item.logged_inode() {
                self.inode(lsn, item, &inode)?;
            }
        }
        // What a transaction frees counts after all that it writes.
        for item in &transaction.items {
            if let Meaning::Buffer(buffer) = item.meaning()?
                && buffer.is_cancelled
                && let Some(count) = self.cancelled.get_mut(&(buffer.sector, buffer.sectors))
            {
                *count = count.saturating_sub(1);
            }
        }
        Ok(())
    }

    fn is_cancelled(&self, sector: u64, sectors: u64) -> bool {
        self.cancelled.get(&(sector, sectors)).is_some_and(|count| *count > 0)
    }

    /// The bytes of some sectors, which have to be inside the filesystem.
    fn sectors(&self, first: u64, count: u64) -> Result<Extent, FormatError> {
        let extent = Extent::at(first.saturating_mul(512), count.saturating_mul(512));
        if extent.end() <= self.volume.geometry.size() && !extent.is_empty() {
            return Ok(extent);
        }
        Err(FormatError::unsupported(
            "its log has to be replayed, and names blocks that are not in the filesystem",
        ))
    }

    fn misfit(position: u64) -> FormatError {
        FormatError::unsupported(format!(
            "its log has to be replayed, and what it holds for byte {position:#x} does not fit \
             there"
        ))
    }

    fn read(&self, extent: Extent) -> Result<Vec<u8>, FormatError> {
        let len = usize::try_from(extent.len()).unwrap_or(usize::MAX);
        let after = self.volume.replayed(&self.overlay);
        Ok(after.read_merged("logged buffer", extent.start(), len)?.bytes)
    }

    fn write(&mut self, position: u64, bytes: &[u8]) -> Result<(), FormatError> {
        for (at, unit) in (position..).step_by(UNIT).zip(bytes.chunks(UNIT)) {
            self.overlay.insert(at, unit.to_vec());
        }
        if self.overlay.len() > MAX_UNITS {
            return Err(replay::too_much());
        }
        Ok(())
    }

    /// Writes a logged buffer.
    fn buffer(&mut self, lsn: u64, item: &Item, buffer: Buffer) -> Result<(), FormatError> {
        let extent = self.sectors(buffer.sector, buffer.sectors)?;
        if self.is_cancelled(buffer.sector, buffer.sectors) || item.is_of_quotas_or_links() {
            return Ok(());
        }
        let mut bytes = self.read(extent)?;
        let geometry = self.volume.geometry;
        let written = written_at(geometry, &bytes).filter(|_| geometry.features.has_crc);
        if written.is_some_and(|written| written >= lsn) {
            return Ok(());
        }
        if !item.apply(&mut bytes) {
            return Err(Self::misfit(extent.start()));
        }
        self.write(extent.start(), &bytes)
    }

    /// Writes inodes that were just made, all of them free.
    fn create(&mut self, item: &Item) -> Result<(), FormatError> {
        let Some(created) = item.created_inodes() else { return Ok(()) };
        let geometry = self.volume.geometry;
        let is_inside = created.group < geometry.ag_count.into()
            && created.first.saturating_add(created.blocks)
                <= geometry.ag_len(created.group).into();
        let extent = geometry.extent(created.group, created.first, created.blocks);
        let size = usize::try_from(created.inode_size).unwrap_or(0);
        if !is_inside || !(256..=2048).contains(&size) || !size.is_power_of_two() {
            return Err(Self::misfit(extent.start()));
        }
        let sectors = (extent.start() >> 9, extent.end() >> 9);
        let is_cancelled =
            self.cancelled.range((sectors.0, 0)..(sectors.1, 0)).any(|(_, count)| *count > 0);
        if is_cancelled {
            return Ok(());
        }
        let mut number = geometry.inode_of_block(created.group, created.first);
        let mut inode = vec![0_u8; size];
        let len = usize::try_from(extent.len()).unwrap_or(0);
        let mut bytes = Vec::with_capacity(len.min(64 << 20));
        while bytes.len() < len && bytes.len() < 64 << 20 {
            put(&mut inode, 0, &INODE_MAGIC.to_be_bytes());
            put(&mut inode, 4, &[3]);
            put(&mut inode, 92, &created.generation.to_be_bytes());
            put(&mut inode, 96, &NO_INODE.to_be_bytes());
            put(&mut inode, 152, &number.to_be_bytes());
            put(&mut inode, 160, &geometry.meta_uuid);
            bytes.extend_from_slice(&inode);
            number = number.saturating_add(1);
        }
        self.write(extent.start(), &bytes)
    }

    /// Writes the logged parts of an inode.
    fn inode(&mut self, lsn: u64, item: &Item, logged: &LoggedInode) -> Result<(), FormatError> {
        let extent = self.sectors(logged.sector, logged.sectors)?;
        if self.is_cancelled(logged.sector, logged.sectors) {
            return Ok(());
        }
        if logged.fields & OWNERS != 0 {
            return Err(FormatError::unsupported(
                "its log has to be replayed, and changes the owners of blocks: mount it once",
            ));
        }
        let geometry = self.volume.geometry;
        let size = geometry.inode_in_block(0).1;
        let misfit = || Self::misfit(extent.start());
        let position = extent.start().saturating_add(logged.offset);
        let place = Extent::at(position, u64::try_from(size).unwrap_or(0));
        if logged.offset & 511 & (u64::try_from(size).unwrap_or(0).saturating_sub(1)) != 0
            || !extent.contains(&place)
        {
            return Err(misfit());
        }
        // Sectors are the unit; small inodes share one.
        let unit = place.align_outwards(512);
        let mut bytes = self.read(unit)?;
        let offset = usize::try_from(position.saturating_sub(unit.start())).unwrap_or(0);
        let inode = offset
            .checked_add(size)
            .and_then(|end| bytes.get_mut(offset..end))
            .ok_or_else(misfit)?;
        let core = item.part(1).ok_or_else(misfit)?;
        if inode.u16_be(0) != Some(INODE_MAGIC) || core.u16_le(0) != Some(INODE_MAGIC) {
            return Err(misfit());
        }
        if is_older(geometry.features.has_crc, inode, core, lsn) {
            return Ok(());
        }
        write_core(inode, core, lsn).ok_or_else(misfit)?;
        write_forks(inode, item, logged).ok_or_else(misfit)?;
        if geometry.features.has_crc {
            let sum = checksum::computed(inode, 100);
            put(inode, 100, &sum.to_le_bytes());
        }
        self.write(unit.start(), &bytes)
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    let end = at.saturating_add(value.len());
    if let Some(place) = bytes.get_mut(at..end) {
        place.copy_from_slice(value);
    }
}

/// True if what is logged is older than what is on the disk.
fn is_older(has_crc: bool, disk: &[u8], logged: &[u8], lsn: u64) -> bool {
    const FLUSHES: usize = 30;
    if has_crc {
        let written = disk.u64_be(112).unwrap_or(0);
        return written != 0 && written != u64::MAX && written > lsn;
    }
    // How often the inode was written to the disk, a number that wraps.
    let (on_disk, logged) =
        (disk.u16_be(FLUSHES).unwrap_or(0), logged.u16_le(FLUSHES).unwrap_or(0));
    let has_wrapped = on_disk == u16::MAX && logged < u16::MAX >> 1;
    logged < on_disk && !has_wrapped
}

/// The fields of `xfs_log_dinode`, in the order of the machine that wrote them,
/// to those of `xfs_dinode`.
fn write_core(inode: &mut [u8], logged: &[u8], lsn: u64) -> Option<()> {
    let is_v3 = logged.u8_at(4)? == 3;
    let (shorts, longs, wide): (&[usize], &[usize], &[usize]) =
        (&[0, 2, 6, 20, 22, 80, 88, 90], &[8, 12, 16, 72, 76, 84, 92], &[56, 64]);
    for at in shorts {
        put(inode, *at, &logged.u16_le(*at)?.to_be_bytes());
    }
    for at in longs {
        put(inode, *at, &logged.u32_le(*at)?.to_be_bytes());
    }
    for at in wide {
        put(inode, *at, &logged.u64_le(*at)?.to_be_bytes());
    }
    for at in [4, 5, 82, 83] {
        put(inode, at, &[logged.u8_at(at)?]);
    }
    let is_big_time = is_v3 && logged.u64_le(120)? & BIG_TIME != 0;
    let times: &[usize] = if is_v3 { &[32, 40, 48, 144] } else { &[32, 40, 48] };
    for at in times {
        if is_big_time {
            put(inode, *at, &logged.u64_le(*at)?.to_be_bytes());
        } else {
            put(inode, *at, &logged.u32_le(*at)?.to_be_bytes());
            let at = at.checked_add(4)?;
            put(inode, at, &logged.u32_le(at)?.to_be_bytes());
        }
    }
    if !is_v3 {
        put(inode, 24, logged.bytes_at(24, 6)?);
        // The kernel starts to count anew.
        put(inode, 30, &[0, 0]);
        return Some(());
    }
    for at in [24, 104, 120, 152] {
        put(inode, at, &logged.u64_le(at)?.to_be_bytes());
    }
    put(inode, 112, &lsn.to_be_bytes());
    put(inode, 128, &logged.u32_le(128)?.to_be_bytes());
    put(inode, 132, logged.bytes_at(132, 12)?);
    put(inode, 160, logged.bytes_at(160, 16)?);
    Some(())
}

/// The forks that are logged behind the fields.
fn write_forks(inode: &mut [u8], item: &Item, logged: &LoggedInode) -> Option<()> {
    let is_v3 = inode.u8_at(4)? == 3;
    let core = if is_v3 { 176 } else { 100 };
    let boundary = match usize::from(inode.u8_at(82)?) {
        0 => inode.len(),
        units => units.checked_mul(8)?.checked_add(core)?,
    };
    if logged.fields & DEVICE != 0 {
        put(inode, core, &logged.device.to_be_bytes());
    }
    let mut part = 2;
    for (plain, root, range) in
        [(DATA, DATA_ROOT, core..boundary), (ATTRIBUTES, ATTRIBUTES_ROOT, boundary..inode.len())]
    {
        if logged.fields & (plain | root) == 0 {
            continue;
        }
        let bytes = item.part(part)?;
        part = part.checked_add(1)?;
        let fork = inode.get_mut(range)?;
        if logged.fields & root != 0 {
            write_root(fork, bytes, is_v3)?;
        } else {
            fork.get_mut(..bytes.len())?.copy_from_slice(bytes);
        }
    }
    Some(())
}

/// The root of a tree, which is logged as a block of one.
fn write_root(fork: &mut [u8], block: &[u8], is_v3: bool) -> Option<()> {
    let header = if is_v3 { 72 } else { 24 };
    let room = fork.len().checked_sub(4)?.checked_div(16)?;
    let logged_room = block.len().checked_sub(header)?.checked_div(16)?;
    let count = usize::from(block.u16_be(6)?);
    if count > room || count > logged_room {
        return None;
    }
    let len = count.checked_mul(8)?;
    put(fork, 0, block.bytes_at(4, 4)?);
    put(fork, 4, block.bytes_at(header, len)?);
    let pointers = logged_room.checked_mul(8)?.checked_add(header)?;
    put(fork, room.checked_mul(8)?.checked_add(4)?, block.bytes_at(pointers, len)?);
    Some(())
}

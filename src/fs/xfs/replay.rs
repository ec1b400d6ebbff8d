// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a replay of the log would write, without writing it.
//!
//! Only buffers that the free-space trees are found by, or may be in, are made:
//! superblock, AGF, AGI, AGFL and blocks of trees. The rules are those of the
//! kernel, which will do the same to a disk restored from the image:
//!
//! - buffers that were freed later (cancelled) are not written;
//! - a buffer is written only if the one on the disk is older than the
//!   transaction, by the place in the log that it carries;
//! - only the logged parts are written, over what is on the disk.

use std::collections::{BTreeMap, BTreeSet};

use super::log::item::{Buffer, Content, Item, Meaning, Named};
use super::log::transaction::{Keep, Transaction, scan};
use super::log::{Head, Log};
use super::superblock::Geometry;
use super::volume::{Overlay, Volume};
use crate::extent::{Extent, ExtentSet};
use crate::ondisk::{Fields, FormatError};

/// Bounds the memory of what a replay writes.
const MAX_BYTES: u64 = 64 << 20;
/// Bounds the memory of what the log names.
const MAX_NAMED: usize = 1 << 20;

/// What the log says.
#[derive(Debug, Default)]
pub(super) struct Replay {
    /// What a replay writes.
    pub(super) overlay: Overlay,
    /// All blocks that the log names: a replay may read them first.
    pub(super) named: ExtentSet,
    /// How many transactions are committed.
    pub(super) transactions: u64,
}

/// Reads the log twice, as a replay does: for what was freed, and for the rest.
pub(super) fn read(volume: &Volume, head: &Head) -> Result<Replay, FormatError> {
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
                    return Err(too_much());
                }
            }
        }
        Ok(())
    })?;
    let mut replay = Replayer {
        volume,
        cancelled,
        replay: Replay::default(),
        bytes: 0,
        named: BTreeSet::new(),
        intents: BTreeMap::new(),
    };
    scan(&log, head, Keep::Allocation, &mut |transaction| replay.transaction(&transaction))?;
    replay.finish()
}

pub(super) fn too_much() -> FormatError {
    FormatError::unsupported(
        "its log has to be replayed, and holds more than can be kept in memory",
    )
}

struct Replayer<'a> {
    volume: &'a Volume<'a>,
    /// Freed buffers, and how often each is freed from here on.
    cancelled: BTreeMap<(u64, u64), u64>,
    replay: Replay,
    bytes: u64,
    named: BTreeSet<(u64, u64)>,
    /// What was begun and is not yet done.
    intents: BTreeMap<(u16, u64), Vec<Extent>>,
}

impl Replayer<'_> {
    fn transaction(&mut self, transaction: &Transaction) -> Result<(), FormatError> {
        self.replay.transactions = self.replay.transactions.saturating_add(1);
        for item in &transaction.items {
            match item.meaning()? {
                Meaning::Buffer(buffer) => {
                    let extent = self
                        .locate(Named::Sectors { first: buffer.sector, count: buffer.sectors })?;
                    self.name(extent)?;
                    if !buffer.is_cancelled {
                        self.buffer(transaction.lsn, item, buffer, extent)?;
                    }
                }
                Meaning::Names(named) => {
                    let extent = self.locate(named)?;
                    self.name(extent)?;
                }
                Meaning::Intent { done, number, blocks } => {
                    let extents: Result<Vec<Extent>, FormatError> =
                        blocks.into_iter().map(|named| self.locate(named)).collect();
                    self.intents.insert((done, number), extents?);
                    if self.intents.len() > MAX_NAMED {
                        return Err(too_much());
                    }
                }
                Meaning::Done { done, number } => {
                    self.intents.remove(&(done, number));
                }
                Meaning::Nothing => {}
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

    /// Writes a logged buffer.
    fn buffer(
        &mut self,
        lsn: u64,
        item: &Item,
        buffer: Buffer,
        extent: Extent,
    ) -> Result<(), FormatError> {
        let key = (buffer.sector, buffer.sectors);
        if self.cancelled.get(&key).is_some_and(|count| *count > 0) {
            return Ok(());
        }
        let size = usize::try_from(extent.len()).unwrap_or(usize::MAX);
        let before = self.replay.overlay.range(..extent.end()).next_back();
        let overlaps = before.is_some_and(|(start, bytes)| {
            let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let is_same = *start == extent.start() && bytes.len() == size;
            !is_same && start.saturating_add(len) > extent.start()
        });
        let is_written = self.replay.overlay.contains_key(&extent.start());
        if overlaps || (is_written && buffer.content == Content::Other) {
            return Err(FormatError::unsupported(format!(
                "its log has to be replayed, and writes two things to byte {:#x}",
                extent.start()
            )));
        }
        if buffer.content == Content::Other {
            return Ok(());
        }
        if !is_written {
            let disk = self.volume.read("logged buffer", extent.start(), extent.len())?;
            let written = written_at(self.volume.geometry, &disk.bytes);
            if written.is_some_and(|written| written >= lsn) {
                return Ok(());
            }
            self.bytes = self.bytes.saturating_add(extent.len());
            if self.bytes > MAX_BYTES {
                return Err(too_much());
            }
            self.replay.overlay.insert(extent.start(), disk.bytes);
        }
        let bytes = self.replay.overlay.get_mut(&extent.start());
        if bytes.is_some_and(|bytes| item.apply(bytes)) {
            return Ok(());
        }
        Err(FormatError::unsupported(format!(
            "its log has to be replayed, and what it holds for byte {:#x} does not fit there",
            extent.start()
        )))
    }

    fn name(&mut self, extent: Extent) -> Result<(), FormatError> {
        self.named.insert((extent.start(), extent.end()));
        if self.named.len() > MAX_NAMED {
            return Err(too_much());
        }
        Ok(())
    }

    /// Where named blocks are, which has to be inside the filesystem.
    fn locate(&self, named: Named) -> Result<Extent, FormatError> {
        let geometry = self.volume.geometry;
        let sectors = |first: u64, count: u64| {
            Extent::at(first.saturating_mul(512), count.saturating_mul(512))
        };
        let in_group = |group: u64, first: u64, count: u64| {
            let is_inside = group < geometry.ag_count.into()
                && first.saturating_add(count) <= geometry.ag_len(group).into();
            is_inside.then(|| geometry.extent(group, first, count))
        };
        let extent = match named {
            Named::Blocks { first, count } => {
                let (group, first) = geometry.split(first);
                in_group(group, first, count)
            }
            Named::GroupBlocks { group, first, count } => in_group(group, first, count),
            Named::Sectors { first, count } => Some(sectors(first, count)),
            Named::BlocksAtSector { first, count } => Some(Extent::at(
                first.saturating_mul(512),
                count.saturating_mul(geometry.block_size),
            )),
        };
        extent.filter(|extent| extent.end() <= geometry.size() && !extent.is_empty()).ok_or_else(
            || {
                FormatError::unsupported(
                    "its log has to be replayed, and names blocks that are not in the filesystem",
                )
            },
        )
    }

    fn finish(self) -> Result<Replay, FormatError> {
        let mut all: Vec<Extent> =
            self.named.into_iter().map(|(start, end)| Extent::new(start, end)).collect();
        all.extend(self.intents.into_values().flatten());
        all.sort_unstable();
        Ok(Replay { named: all.into_iter().collect(), ..self.replay })
    }
}

/// The place in the log at which what is in a buffer was last written, if it
/// is a structure of this filesystem that carries one.
pub(super) fn written_at(geometry: &Geometry, bytes: &[u8]) -> Option<u64> {
    let uuid_is = |offset, uuid: [u8; 16]| bytes.array::<16>(offset) == Some(uuid);
    let magic = bytes.array::<4>(0)?;
    let (lsn, is_ours) = match &magic {
        // Trees of a group, then those of files.
        b"AB3B" | b"AB3C" | b"ABTB" | b"ABTC" | b"RMB3" | b"R3FC" | b"IAB3" | b"IABT" | b"FIB3"
        | b"FIBT" => (bytes.u64_be(24)?, uuid_is(32, geometry.meta_uuid)),
        b"BMA3" | b"BMAP" => (bytes.u64_be(32)?, uuid_is(40, geometry.meta_uuid)),
        b"XAGF" => (bytes.u64_be(208)?, uuid_is(64, geometry.meta_uuid)),
        b"XAFL" => (bytes.u64_be(24)?, uuid_is(8, geometry.meta_uuid)),
        b"XAGI" => (bytes.u64_be(320)?, uuid_is(296, geometry.meta_uuid)),
        b"XSLM" => (bytes.u64_be(48)?, uuid_is(24, geometry.meta_uuid)),
        b"XDB3" | b"XDD3" | b"XDF3" => (bytes.u64_be(16)?, uuid_is(24, geometry.meta_uuid)),
        b"XFSB" => {
            let offset = if geometry.features.has_meta_uuid { 248 } else { 32 };
            (bytes.u64_be(240)?, uuid_is(offset, geometry.meta_uuid))
        }
        _ => match bytes.u16_be(8)? {
            0x3DF1 | 0x3DFF | 0x3EBE | 0x3BEE => (bytes.u64_be(24)?, uuid_is(32, geometry.uuid)),
            _ => return None,
        },
    };
    (is_ours && lsn != 0 && lsn != u64::MAX).then_some(lsn)
}

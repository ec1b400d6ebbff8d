// SPDX-License-Identifier: MIT OR Apache-2.0
//! Chunks: where logical addresses are on which devices.
//!
//! All trees speak of logical addresses. A chunk is a range of them with a
//! profile (single, DUP, RAID...) and a stripe on each of its devices, twice on
//! one with DUP. `struct btrfs_chunk` of "On-disk Format".

use super::tree::Key;
use crate::extent::Extent;
use crate::ondisk::{Fields, FormatError};

pub(super) const TYPE_DATA: u64 = 1 << 0;
pub(super) const TYPE_SYSTEM: u64 = 1 << 1;
pub(super) const TYPE_METADATA: u64 = 1 << 2;

/// Data is striped in pieces of this length; no other is in use.
pub(super) const STRIPE_LEN: u64 = 64 << 10;

/// A chunk is hundreds of megabytes on large disks: so many would be petabytes.
pub(super) const MOST_CHUNKS: usize = 1 << 18;

pub(super) const fn is_power_of_two(number: u64) -> bool {
    number.is_power_of_two()
}

/// How a chunk is spread over its stripes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Profile {
    /// Single, DUP, RAID1, RAID1C3 and RAID1C4: each stripe has all of it.
    Copies,
    /// RAID0 and RAID10: pieces in turn, each on so many stripes.
    Striped { copies: u64 },
    /// RAID5 and RAID6: so many stripes of each row are parity.
    Parity { parity: u64 },
}

/// A chunk's part of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stripe {
    pub(super) device: u64,
    pub(super) offset: u64,
    pub(super) uuid: [u8; 16],
}

/// A range of logical addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) logical: Extent,
    /// DATA, SYSTEM, METADATA and the bit of the profile.
    pub(super) kind: u64,
    pub(super) profile: Profile,
    pub(super) stripes: Vec<Stripe>,
    /// The bytes of each stripe on its device.
    pub(super) stripe_bytes: u64,
}

/// The length of an item without its stripes, and that of a stripe.
const HEAD: usize = 48;
const STRIPE: usize = 32;

impl Chunk {
    /// The chunk at the start of `bytes`, and the length of its item.
    pub(super) fn parse(
        key: Key,
        bytes: &[u8],
        sector_size: u64,
        position: u64,
    ) -> Result<(Self, usize), FormatError> {
        let corrupt = |what, expected: &str, found: u64| {
            Err(FormatError::corrupt(what, position, expected, found))
        };
        let head = || {
            Some((
                bytes.u64_le(0)?,
                bytes.u64_le(16)?,
                bytes.u64_le(24)?,
                bytes.u16_le(44)?,
                bytes.u16_le(46)?,
            ))
        };
        let Some((length, stripe_len, kind, count, sub_stripes)) = head() else {
            return corrupt("chunk item", "48 bytes", u64::try_from(bytes.len()).unwrap_or(0));
        };
        let stripes = usize::from(count);
        let len = stripes.saturating_mul(STRIPE).saturating_add(HEAD);
        let end = key.offset.checked_add(length);
        if length == 0 || end.is_none_or(|end| end > i64::MAX.unsigned_abs()) {
            return corrupt("length of a chunk", "a range of addresses", length);
        }
        if !key.offset.is_multiple_of(sector_size) || !length.is_multiple_of(sector_size) {
            return corrupt("chunk", "a multiple of the sector size", key.offset | length);
        }
        if stripe_len != STRIPE_LEN {
            return corrupt("stripe_len of a chunk", "65536", stripe_len);
        }
        let Some(items) = bytes.bytes_at(HEAD, stripes.saturating_mul(STRIPE)) else {
            return corrupt("num_stripes of a chunk", "as many as there are", u64::from(count));
        };
        let (profile, data_stripes) = profile(kind, u64::from(count), sub_stripes, position)?;
        let stripe_bytes = length.checked_div(data_stripes).unwrap_or(0);
        let even = stripe_bytes.checked_mul(data_stripes) == Some(length);
        if !even || (profile != Profile::Copies && !stripe_bytes.is_multiple_of(STRIPE_LEN)) {
            return corrupt("length of a chunk", "whole stripes on each device", length);
        }
        let stripes = items
            .chunks_exact(STRIPE)
            .map_while(|item| {
                let device = item.u64_le(0)?;
                Some(Stripe { device, offset: item.u64_le(8)?, uuid: item.array(16)? })
            })
            .collect::<Vec<_>>();
        for stripe in &stripes {
            let end = stripe.offset.checked_add(stripe_bytes);
            if !stripe.offset.is_multiple_of(sector_size) || end.is_none() {
                return corrupt(
                    "offset of a stripe",
                    "a multiple of the sector size",
                    stripe.offset,
                );
            }
        }
        let logical = Extent::at(key.offset, length);
        Ok((Self { logical, kind, profile, stripes, stripe_bytes }, len))
    }

    pub(super) const fn is_data(&self) -> bool {
        self.kind & TYPE_DATA != 0
    }

    pub(super) const fn is_metadata(&self) -> bool {
        self.kind & (TYPE_METADATA | TYPE_SYSTEM) != 0
    }

    fn count(&self) -> u64 {
        u64::try_from(self.stripes.len()).unwrap_or(1).max(1)
    }

    /// Where the copies of `len` bytes at a logical address are, as the number
    /// of the stripe and the offset in it. `None` if they are in no one piece.
    pub(super) fn copies(&self, logical: u64, len: u64) -> Option<Vec<(usize, u64)>> {
        let extent = Extent::at(logical, len);
        if !self.logical.contains(&extent) {
            return None;
        }
        let offset = logical.checked_sub(self.logical.start())?;
        if self.profile == Profile::Copies {
            return Some((0..self.stripes.len()).map(|stripe| (stripe, offset)).collect());
        }
        let piece = offset.checked_div(STRIPE_LEN)?;
        let within = offset.checked_rem(STRIPE_LEN)?;
        if within.checked_add(len)? > STRIPE_LEN {
            return None;
        }
        let in_row = |row: u64| row.checked_mul(STRIPE_LEN)?.checked_add(within);
        match self.profile {
            Profile::Striped { copies } => {
                let groups = self.count().checked_div(copies)?;
                let offset = in_row(piece.checked_div(groups)?)?;
                let first = piece.checked_rem(groups)?.checked_mul(copies)?;
                (first..first.checked_add(copies)?)
                    .map(|stripe| Some((usize::try_from(stripe).ok()?, offset)))
                    .collect()
            }
            Profile::Parity { parity } => {
                let data = self.count().checked_sub(parity)?;
                let row = piece.checked_div(data)?;
                // The stripes take turns in holding the parity.
                let stripe =
                    piece.checked_rem(data)?.checked_add(row)?.checked_rem(self.count())?;
                Some(vec![(usize::try_from(stripe).ok()?, in_row(row)?)])
            }
            Profile::Copies => None,
        }
    }

    /// The bytes of a stripe that hold a range of logical addresses of this
    /// chunk; with parity the whole rows, since all of a row is needed to
    /// bring back a piece of it.
    pub(super) fn on_stripe(&self, stripe: usize, logical: Extent) -> Extent {
        let logical = logical.intersect(&self.logical);
        let start = logical.start().saturating_sub(self.logical.start());
        let end = logical.end().saturating_sub(self.logical.start());
        let stripe = u64::try_from(stripe).unwrap_or(u64::MAX);
        let rows =
            |offset: u64, pieces: u64| offset.div_ceil(pieces.saturating_mul(STRIPE_LEN).max(1));
        match self.profile {
            Profile::Copies => Extent::new(start, end),
            Profile::Striped { copies } => {
                let groups = self.count().checked_div(copies).unwrap_or(1).max(1);
                let group = stripe.checked_div(copies).unwrap_or(0);
                let before = |offset: u64| bytes_before(offset, group, groups);
                Extent::new(before(start), before(end))
            }
            Profile::Parity { parity } => {
                let data = self.count().saturating_sub(parity).max(1);
                let row = data.saturating_mul(STRIPE_LEN);
                let first = start.checked_div(row).unwrap_or(0);
                Extent::new(
                    first.saturating_mul(STRIPE_LEN),
                    rows(end, data).saturating_mul(STRIPE_LEN),
                )
            }
        }
    }
}

/// How many of the first `offset` bytes of a striped chunk are in the stripes
/// of one group.
fn bytes_before(offset: u64, group: u64, groups: u64) -> u64 {
    let row_len = groups.saturating_mul(STRIPE_LEN).max(1);
    let rows = offset.checked_div(row_len).unwrap_or(0);
    let in_row = offset.checked_rem(row_len).unwrap_or(0);
    let partly = in_row.saturating_sub(group.saturating_mul(STRIPE_LEN)).min(STRIPE_LEN);
    rows.saturating_mul(STRIPE_LEN).saturating_add(partly)
}

/// The profile of a chunk, and how many of its stripes hold different data.
fn profile(
    kind: u64,
    count: u64,
    sub_stripes: u16,
    position: u64,
) -> Result<(Profile, u64), FormatError> {
    let types = kind & (TYPE_DATA | TYPE_SYSTEM | TYPE_METADATA);
    // Mixed block groups hold data and metadata.
    let known = [TYPE_DATA, TYPE_SYSTEM, TYPE_METADATA, TYPE_DATA | TYPE_METADATA];
    let profile = kind & !types;
    let (profile, data_stripes, right) = match profile {
        0 => (Profile::Copies, 1, count == 1),
        // RAID1, RAID1C3, RAID1C4 and DUP.
        0x10 | 0x20 => (Profile::Copies, 1, count == 2),
        0x200 => (Profile::Copies, 1, count == 3),
        0x400 => (Profile::Copies, 1, count == 4),
        // RAID0 and RAID10.
        0x08 => (Profile::Striped { copies: 1 }, count, count >= 1),
        0x40 => {
            let right = count >= 2 && count.is_multiple_of(2) && sub_stripes == 2;
            (Profile::Striped { copies: 2 }, count >> 1, right)
        }
        // RAID5 and RAID6.
        0x80 => (Profile::Parity { parity: 1 }, count.saturating_sub(1), count >= 2),
        0x100 => (Profile::Parity { parity: 2 }, count.saturating_sub(2), count >= 3),
        _ => {
            let what = format!("a chunk has the unknown type {kind:#x}");
            return Err(FormatError::unsupported(what));
        }
    };
    if !known.contains(&types) {
        return Err(FormatError::corrupt("type of a chunk", position, "data or metadata", kind));
    }
    if !right {
        return Err(FormatError::corrupt(
            "num_stripes of a chunk",
            position,
            format!("as many as the profile {kind:#x} wants"),
            count,
        ));
    }
    Ok((profile, data_stripes))
}

/// All chunks, in the order of their addresses.
#[derive(Debug, Default)]
pub(super) struct Chunks(Vec<Chunk>);

impl Chunks {
    /// Chunks in ascending order that do not overlap.
    pub(super) fn push(&mut self, chunk: Chunk, position: u64) -> Result<(), FormatError> {
        let last = self.0.last().map_or(0, |last| last.logical.end());
        if chunk.logical.start() < last {
            return Err(FormatError::corrupt(
                "chunk",
                position,
                format!("addresses from {last:#x} on"),
                chunk.logical,
            ));
        }
        if self.0.len() >= MOST_CHUNKS {
            return Err(FormatError::unsupported("it has too many chunks"));
        }
        self.0.push(chunk);
        Ok(())
    }

    pub(super) fn all(&self) -> &[Chunk] {
        &self.0
    }

    /// The number of the chunk that a logical address is in.
    pub(super) fn find(&self, logical: u64) -> Option<usize> {
        let number = self.0.partition_point(|chunk| chunk.logical.end() <= logical);
        self.0.get(number).filter(|chunk| chunk.logical.start() <= logical).map(|_| number)
    }

    /// The first chunk that has addresses of this range.
    pub(super) fn overlapping(&self, logical: Extent) -> Option<&Chunk> {
        let number = self.0.partition_point(|chunk| chunk.logical.end() <= logical.start());
        self.0.get(number).filter(|chunk| chunk.logical.overlaps(&logical))
    }

    /// The chunks that the superblock has, without which the chunk tree could
    /// not be read.
    pub(super) fn bootstrap(
        array: &[u8],
        sector_size: u64,
        position: u64,
    ) -> Result<Self, FormatError> {
        let mut found = Vec::new();
        let mut rest = array;
        while !rest.is_empty() {
            let place = position
                .saturating_add(u64::try_from(array.len().saturating_sub(rest.len())).unwrap_or(0));
            let wrong =
                || FormatError::corrupt("sys_chunk_array", place, "a chunk", "something else");
            let key = Key::at(rest, 0).ok_or_else(wrong)?;
            if key.kind != Key::CHUNK_ITEM || key.objectid != Key::CHUNK_OBJECT {
                return Err(wrong());
            }
            let item = rest.get(Key::LEN..).ok_or_else(wrong)?;
            let (chunk, len) = Chunk::parse(key, item, sector_size, place)?;
            if chunk.kind & TYPE_SYSTEM == 0 {
                return Err(wrong());
            }
            rest = item.get(len..).ok_or_else(wrong)?;
            found.push(chunk);
        }
        found.sort_by_key(|chunk| chunk.logical.start());
        let mut chunks = Self::default();
        for chunk in found {
            chunks.push(chunk, position)?;
        }
        Ok(chunks)
    }
}

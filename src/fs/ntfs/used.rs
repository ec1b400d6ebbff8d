// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which clusters are in use: those that `$Bitmap` says, and those that a
//! record of the master file table names, whatever `$Bitmap` says of them.

use super::boot_sector::BootSector;
use super::hibernation::{self, Sleep};
use super::mft::{Mft, file};
use super::record::{Form, Record, claims_to_be_in_use, kind};
use super::shadow;
use super::stream::Stream;
use crate::extent::{Extent, ExtentSet};
use crate::fs::bitmap;
use crate::fs::runs::Runs;
use crate::ondisk::{Fields, FormatError};

/// Bytes of `$MFT` and `$Bitmap` read at a time; a multiple of every record.
const PIECE: usize = 1 << 20;

/// The bits that are held: 64 MiB of them, one for each cluster of 4 KiB of a
/// volume of 2 TiB. Where there are more clusters, several share a bit, which
/// is set if any of them is in use.
const MAX_BITS: u64 = 1 << 29;

/// Windows allows 2^32 - 1 files; this is a bitmap for 268 million.
const MAX_MFT_BITMAP: u64 = 32 << 20;

/// Sixteen sectors of boot code, and with them the header of shadow copies.
const BOOT_BYTES: u64 = 8192;

/// What the walk has found.
pub(super) enum Found {
    Map(Map),
    /// A Windows that the root folder did not show.
    Asleep(Sleep),
}

/// A proven map.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Map {
    pub(super) extents: ExtentSet,
    /// Attributes with clusters that `$Bitmap` calls free.
    pub(super) unmarked: u64,
    /// Records of which the table's bitmap and the record itself do not agree
    /// whether they are in use.
    pub(super) disputed: u64,
    /// Restore points.
    pub(super) shadow_copies: u64,
}

/// A bit for each cluster, or for each few of them, in segments that are given
/// back one by one while the map grows.
pub(super) struct Clusters {
    segments: Vec<Vec<u8>>,
    count: u64,
    /// How many clusters share a bit.
    shared: u64,
    cluster_bytes: u64,
}

/// Bits of a segment: 4 MiB of them.
const SEGMENT: u64 = 1 << 25;

impl Clusters {
    pub(super) fn new(boot: &BootSector, most: u64) -> Self {
        let mut shared: u64 = 1;
        while boot.clusters.div_ceil(shared) > most.max(1) {
            shared = shared.saturating_mul(2);
        }
        let mut left = boot.clusters.div_ceil(shared).div_ceil(8);
        let mut segments = Vec::new();
        while left > 0 {
            let len = left.min(SEGMENT / 8);
            segments.push(vec![0; usize::try_from(len).unwrap_or(0)]);
            left = left.saturating_sub(len);
        }
        Self { segments, count: boot.clusters, shared, cluster_bytes: boot.cluster_bytes }
    }

    /// Marks clusters as in use; true if one was not.
    fn set(&mut self, first: u64, count: u64) -> bool {
        let end = first.saturating_add(count).min(self.count).div_ceil(self.shared);
        let mut bit = first.checked_div(self.shared).unwrap_or(0);
        let mut changed = false;
        while bit < end {
            let base = (bit / SEGMENT).saturating_mul(SEGMENT);
            let stop = end.min(base.saturating_add(SEGMENT));
            let index = usize::try_from(bit / SEGMENT).unwrap_or(usize::MAX);
            let Some(segment) = self.segments.get_mut(index) else { return true };
            let (from, to) = (bit.saturating_sub(base), stop.saturating_sub(base));
            changed |= bitmap::set(segment, from, to);
            bit = stop;
        }
        changed
    }

    /// Marks the clusters of a range of bytes as in use. What of it is behind
    /// the last cluster is in use anyway.
    pub(super) fn set_bytes(&mut self, extent: Extent) {
        let first = extent.start().checked_div(self.cluster_bytes).unwrap_or(0);
        let end = extent.end().div_ceil(self.cluster_bytes);
        if first < self.count {
            self.set(first, end.saturating_sub(first));
        }
    }

    /// Marks those that `$Bitmap` has as in use.
    fn read(&mut self, mft: &Mft, stream: &Stream) -> Result<(), FormatError> {
        let len = self.count.div_ceil(8);
        let mut offset: u64 = 0;
        if self.shared == 1 {
            for piece in self.segments.iter_mut().flat_map(|segment| segment.chunks_mut(PIECE)) {
                stream.read(mft.volume, mft.boot, offset, piece)?;
                offset = offset.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            }
            return Ok(());
        }
        let mut piece = vec![0; PIECE];
        while offset < len {
            let part = usize::try_from(len.saturating_sub(offset)).unwrap_or(PIECE).min(PIECE);
            let bits = piece.get_mut(..part).unwrap_or_default();
            stream.read(mft.volume, mft.boot, offset, bits)?;
            let base = offset.saturating_mul(8);
            let bytes = u64::try_from(part).unwrap_or(u64::MAX);
            let count = self.count.saturating_sub(base).min(bytes.saturating_mul(8));
            for (first, end) in bitmap::ones(bits, count) {
                self.set(base.saturating_add(first), end.saturating_sub(first));
            }
            offset = offset.saturating_add(bytes);
        }
        Ok(())
    }

    /// The bytes of all that are in use, and those behind the last.
    pub(super) fn into_extents(self, volume_len: u64) -> ExtentSet {
        let mut runs = Runs::new();
        let unit = self.shared.saturating_mul(self.cluster_bytes);
        let end = self.count.saturating_mul(self.cluster_bytes);
        let mut left = self.count.div_ceil(self.shared);
        let mut base: u64 = 0;
        for segment in self.segments {
            for (first, last) in bitmap::ones(&segment, left.min(SEGMENT)) {
                let last = base.saturating_add(last).saturating_mul(unit).min(end);
                runs.push(Extent::new(base.saturating_add(first).saturating_mul(unit), last));
            }
            base = base.saturating_add(SEGMENT);
            left = left.saturating_sub(SEGMENT);
        }
        runs.push(Extent::new(end, volume_len));
        runs.into_set()
    }
}

/// Maps a volume that has been found to be clean.
pub(super) fn map(mft: &Mft) -> Result<Found, FormatError> {
    map_with(mft, MAX_BITS)
}

/// Maps with so many bits at most.
pub(super) fn map_with(mft: &Mft, most_bits: u64) -> Result<Found, FormatError> {
    let boot = mft.boot;
    let mut map = Map::default();
    let mut clusters = Clusters::new(boot, most_bits);
    clusters.read(mft, &volume_bitmap(mft)?)?;
    // The boot code and the copy of the first records are needed whatever the
    // bitmap says; and so is the table, whose own record names it.
    clusters.set_bytes(Extent::new(0, BOOT_BYTES));
    let mirror = boot.extent(boot.mirror_cluster, 1).start();
    clusters.set_bytes(Extent::at(mirror, mft.offset(4)));
    if let Some(sleep) = walk(mft, &mut clusters, &mut map)? {
        return Ok(Found::Asleep(sleep));
    }
    map.shadow_copies = shadow::keep(mft.volume, boot, &mut clusters)?;
    map.extents = clusters.into_extents(mft.volume.len());
    Ok(Found::Map(map))
}

fn volume_bitmap(mft: &Mft) -> Result<Stream, FormatError> {
    let stream = mft
        .stream("$Bitmap", file::BITMAP, kind::DATA, "")?
        .ok_or_else(|| FormatError::corrupt("$Bitmap", 0, "an unnamed $DATA", "none"))?;
    stream.check_plain(mft.boot)?;
    let needed = mft.boot.clusters.div_ceil(8);
    if stream.bytes < needed || stream.initialized_bytes < needed {
        let found = stream.bytes.min(stream.initialized_bytes);
        return Err(stream.corrupt(format!("at least {needed} bytes"), found));
    }
    Ok(stream)
}

/// Reads all records and marks the clusters of those in use.
fn walk(mft: &Mft, clusters: &mut Clusters, map: &mut Map) -> Result<Option<Sleep>, FormatError> {
    let records = mft.records();
    let in_use = mft
        .stream("bitmap of $MFT", file::MFT, kind::BITMAP, "")?
        .ok_or_else(|| FormatError::corrupt("bitmap of $MFT", 0, "one", "none"))?;
    in_use.check_plain(mft.boot)?;
    let in_use = in_use.read_all(mft.volume, mft.boot, MAX_MFT_BITMAP)?;
    if u64::try_from(in_use.len()).unwrap_or(u64::MAX) < records.div_ceil(8) {
        return Err(FormatError::corrupt(
            "bitmap of $MFT",
            0,
            format!("{records} bits"),
            in_use.len(),
        ));
    }
    let mut piece = vec![0; PIECE];
    let mut number: u64 = 0;
    while number < records {
        let left = mft.offset(records.saturating_sub(number));
        let len = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let part = piece.get_mut(..len).unwrap_or_default();
        mft.data.read(mft.volume, mft.boot, mft.offset(number), part)?;
        for bytes in part.chunks_exact_mut(mft.boot.record_bytes) {
            let byte = usize::try_from(number / 8).ok().and_then(|index| in_use.get(index));
            let bit = byte.is_none_or(|byte| byte >> (number % 8) & 1 != 0);
            let claims = bytes.bytes_at(0, 4) == Some(b"FILE") && claims_to_be_in_use(bytes);
            map.disputed = map.disputed.saturating_add(u64::from(bit != claims));
            if bit || claims {
                let position = mft.data.place(mft.boot, mft.offset(number));
                let record = Record::parse(number, position, bytes)?;
                note(mft, &record, clusters, map)?;
                if hibernation::is_named(&record)?
                    && let Some(sleep) = hibernation::of_file(mft, number)?
                {
                    return Ok(Some(sleep));
                }
            }
            number = number.saturating_add(1);
        }
    }
    Ok(None)
}

/// Marks the clusters of a record.
fn note(
    mft: &Mft,
    record: &Record,
    clusters: &mut Clusters,
    map: &mut Map,
) -> Result<(), FormatError> {
    let records = mft.records();
    if let Some(base) = record.base.filter(|base| base.number >= records) {
        return Err(FormatError::corrupt(
            "file record",
            record.position,
            format!("to continue a record before {records}"),
            base.number,
        ));
    }
    for attribute in record.attributes() {
        let attribute = attribute?;
        let Form::Clusters(mapping) = attribute.form else { continue };
        let mut list = attribute.runs(&mapping, mft.boot.clusters);
        let mut next = mapping.first;
        let mut unmarked = false;
        while let Some(run) = list.next()? {
            next = next.saturating_add(run.count);
            if let Some(first) = run.cluster {
                unmarked |= clusters.set(first, run.count);
            }
        }
        if next != mapping.end {
            return Err(FormatError::corrupt(
                "run list",
                attribute.position,
                format!("runs up to cluster {}", mapping.end),
                next,
            ));
        }
        map.unmarked = map.unmarked.saturating_add(u64::from(unmarked));
    }
    Ok(())
}

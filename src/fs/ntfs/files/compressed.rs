// SPDX-License-Identifier: MIT OR Apache-2.0
//! Streams that NTFS compresses itself: in units of 16 clusters, each of which
//! is a hole, plain, or packed into fewer clusters with a hole behind.

use super::super::boot_sector::BootSector;
use super::super::stream::Stream;
use super::lznt1;
use crate::fs::files::FileResult;
use crate::io::ReadAt;

/// How a unit is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Hole,
    Plain,
    /// Packed into so many clusters.
    Packed(u64),
}

impl Unit {
    /// How the unit of this number is stored; each has so many clusters.
    pub(super) fn find(stream: &Stream, number: u64, clusters: u64) -> FileResult<Self> {
        let start = number.saturating_mul(clusters);
        let end = start.saturating_add(clusters);
        let runs = stream.runs();
        let from = runs.partition_point(|(first, run)| first.saturating_add(run.count) <= start);
        let (mut stored, mut holes) = (0_u64, 0_u64);
        for (first, run) in runs.get(from..).unwrap_or_default() {
            if *first >= end {
                break;
            }
            let run_end = first.saturating_add(run.count).min(end);
            let count = run_end.saturating_sub(start.max(*first));
            match run.cluster {
                None => holes = holes.saturating_add(count),
                Some(_) if holes > 0 => {
                    return Err(stream.corrupt("holes at the ends of units", "one before data"));
                }
                Some(_) => stored = stored.saturating_add(count),
            }
        }
        match (stored, holes) {
            (0, _) if holes > 0 => Ok(Self::Hole),
            (stored, 0) if stored == clusters => Ok(Self::Plain),
            (1.., 1..) => Ok(Self::Packed(stored)),
            _ => Err(stream.corrupt("runs for all units", format!("none for cluster {start}"))),
        }
    }
}

/// Unpacks the unit that begins at `start` and is packed into `packed` bytes.
pub(super) fn unpack(
    volume: &dyn ReadAt,
    boot: &BootSector,
    stream: &Stream,
    start: u64,
    packed: u64,
    unit_bytes: u64,
) -> FileResult<Vec<u8>> {
    // Both are bounded: 16 clusters, none larger than 2 MiB.
    let mut bytes = vec![0; usize::try_from(packed).unwrap_or(0)];
    stream.read_clusters(volume, boot, start, &mut bytes)?;
    let mut unit = vec![0; usize::try_from(unit_bytes).unwrap_or(0)];
    lznt1::unpack(&bytes, &mut unit).ok_or_else(|| {
        let place = stream.place(boot, start);
        stream.corrupt("content in LZNT1", format!("something else at byte {place:#x}"))
    })?;
    Ok(unit)
}

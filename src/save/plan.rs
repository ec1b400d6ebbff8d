// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a save will do, before it does it.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;

use jiff::Zoned;
use uuid::{Builder, Uuid};

use super::Options;
use crate::device::{DiskIdentity, Source, health};
use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::image::format::{self, About, Head};
use crate::image::frame::Compressor;
use crate::io::ReadAt;
use crate::layout::{self, Layout, Scan};
use crate::save::read::ChunkReader;

/// How many pieces of the disk are compressed to estimate the image's size.
const SAMPLES: u64 = 24;

/// What a save will store, and why.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The head of the image to be.
    pub head: Head,
    /// Used bytes that are known to read as zero without reading them: holes
    /// of a sparse file.
    pub known_zeros: ExtentSet,
    /// The drive that is asked how it is when the save ends.
    pub drive: Option<PathBuf>,
    /// Used bytes that are known to be lost; they are not read.
    pub lost: ExtentSet,
}

impl Plan {
    /// Looks at the source and decides what has to be stored.
    ///
    /// # Errors
    /// If the source is empty, too large, or cannot be read at all.
    pub fn new(source: &dyn ReadAt, disk: DiskIdentity, options: &Options) -> Result<Self> {
        Self::with(source, &[], disk, options)
    }

    /// As [`Plan::new`], with other disks at hand over which what is on the
    /// source may be spread.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn with(
        source: &dyn ReadAt,
        others: &[&dyn ReadAt],
        disk: DiskIdentity,
        options: &Options,
    ) -> Result<Self> {
        check_len(source, &disk)?;
        let scan =
            if options.raw { layout::raw(source) } else { layout::scan_with(source, others)? };
        Self::of_scan(source, scan, disk, options)
    }

    /// The plan to store what a scan of the source found to be in use.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn of_scan(
        source: &dyn ReadAt,
        scan: Scan,
        mut disk: DiskIdentity,
        options: &Options,
    ) -> Result<Self> {
        check_len(source, &disk)?;
        // A device has its own; of a file, the table is the only sign.
        let is_file = matches!(disk.bus.as_deref(), None | Some("file"));
        if let Some(sector) = scan.sector_size.filter(|_| is_file) {
            disk.logical_sector = sector.get();
        }
        let used = coarsen(scan.used, source.len());
        let about = About {
            dacapo: env!("CARGO_PKG_VERSION").into(),
            created: now(),
            label: options.label.clone(),
            note: options.note.clone(),
            host: host(),
            command: options.command.clone(),
            level: options.level,
            disk,
            layout: scan.layout,
            imported: None,
            health: None,
        };
        let head = Head {
            image_id: new_image_id(),
            disk_len: source.len(),
            chunk_size: options.chunk_size,
            about,
            used,
        }
        .within_limits()?;
        let known_zeros = source.known_zeros().intersect(&head.used);
        Ok(Self { head, known_zeros, drive: None, lost: ExtentSet::new() })
    }

    /// The layout that was found.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.head.about.layout
    }

    /// The same for a drive that is asked how it is, now and in the end.
    #[must_use]
    pub fn of_drive(mut self, source: &Source) -> Self {
        if source.is_device() {
            let path = PathBuf::from(source.path());
            self.head.about.health = health(&path);
            // One that does not answer now will not do so later.
            self.drive = self.head.about.health.as_ref().map(|_| path);
        }
        self
    }

    /// The same without bytes that are known to be lost.
    #[must_use]
    pub fn without(mut self, lost: &ExtentSet) -> Self {
        self.lost = self.head.used.intersect(lost);
        self.known_zeros = self.known_zeros.subtract(lost);
        self
    }

    /// The bytes that must be read, or are lost.
    #[must_use]
    pub fn to_read(&self) -> ExtentSet {
        self.head.used.subtract(&self.known_zeros)
    }

    /// What the image will take, judged by compressing a few pieces.
    ///
    /// # Errors
    /// If the compressor does not start.
    pub fn estimate(&self, source: &dyn ReadAt) -> Result<u64> {
        let to_read = self.to_read();
        let total = to_read.bytes();
        let mut compressor = Compressor::new(self.head.about.level)?;
        let mut reader =
            ChunkReader::new(source, &self.head.used, self.head.chunk_size).without(&self.lost);
        let (mut before, mut after) = (0_u64, 0_u64);
        for sample in 0..SAMPLES {
            let wanted = total / SAMPLES * sample;
            let Some(offset) = nth_byte(&to_read, wanted) else { break };
            let chunk = offset / u64::from(self.head.chunk_size);
            let extent = self.head.chunk_extent(chunk);
            if reader.read(extent).is_err() {
                continue;
            }
            before += to_read.within(extent).map(|piece| piece.len()).sum::<u64>();
            after += compressor.compress(reader.content())?.len() as u64;
        }
        // The frames that hold free space, the index and the map.
        let overhead = self.head.disk_len / 32768 + self.head.used.count() as u64 * 4 + (64 << 10);
        if before == 0 {
            return Ok(overhead);
        }
        Ok((total as f64 / before as f64 * after as f64) as u64 + overhead)
    }
}

fn check_len(source: &dyn ReadAt, disk: &DiskIdentity) -> Result<()> {
    if source.is_empty() {
        return Err(Error::failed(format!("{} has no bytes to save", disk.path)));
    }
    if source.len() > format::MAX_DISK_LEN {
        return Err(Error::unsupported(format!("{} is too large", disk.path)));
    }
    Ok(())
}

/// The position of the `n`th byte of a set.
fn nth_byte(set: &ExtentSet, mut n: u64) -> Option<u64> {
    for extent in set.iter() {
        if n < extent.len() {
            return Some(extent.start() + n);
        }
        n -= extent.len();
    }
    None
}

/// The same map with fewer ranges, if it has more than the format allows; it
/// then holds more bytes, never fewer.
fn coarsen(used: ExtentSet, len: u64) -> ExtentSet {
    let mut used = used;
    let mut unit = 8192;
    while used.count() > format::MAX_MAP_RANGES as usize {
        used = used.align_outwards(unit, len);
        unit *= 2;
    }
    used
}

/// An identity that no other image has.
///
/// The random numbers are those of the standard library's hash tables, which
/// come from the kernel directly: the program has to run where there is not
/// even a /dev.
fn new_image_id() -> Uuid {
    let random = || RandomState::new().build_hasher().finish().to_le_bytes();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&random()).update(&random()).update(now().as_bytes());
    hasher.update(&std::process::id().to_le_bytes());
    let mut bytes = [0; 16];
    hasher.finalize_xof().fill(&mut bytes);
    Builder::from_random_bytes(bytes).into_uuid()
}

/// The time now, with its zone.
pub(crate) fn now() -> String {
    Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

fn host() -> Option<String> {
    nix::unistd::gethostname().ok()?.into_string().ok().filter(|name| !name.is_empty())
}

/// Chunks in order, each with its number: which have to be read, and how many
/// between them are zero.
#[derive(Debug)]
pub(crate) struct Chunks {
    extents: std::vec::IntoIter<Extent>,
    current: Option<Extent>,
    chunk_size: u64,
    next: u64,
    count: u64,
}

/// What is to be done for a chunk, or for several without content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChunkWork {
    /// Read one chunk: it has used bytes.
    Read,
    /// Nothing to read in this many chunks.
    Zeros(u64),
}

impl Chunks {
    /// All chunks from `first` on.
    pub(crate) fn new(plan: &Plan, first: u64) -> Self {
        let mut extents = plan.to_read().iter().collect::<Vec<_>>().into_iter();
        let current = extents.next();
        Self {
            extents,
            current,
            chunk_size: plan.head.chunk_size.into(),
            next: first,
            count: plan.head.chunk_count(),
        }
    }
}

impl Iterator for Chunks {
    type Item = (u64, ChunkWork);

    fn next(&mut self) -> Option<(u64, ChunkWork)> {
        if self.next >= self.count {
            return None;
        }
        let start = self.next * self.chunk_size;
        while self.current.is_some_and(|extent| extent.end() <= start) {
            self.current = self.extents.next();
        }
        let used_chunk = self.current.map_or(self.count, |extent| extent.start() / self.chunk_size);
        let first = self.next;
        if used_chunk > first {
            let zeros = used_chunk.min(self.count) - first;
            self.next += zeros;
            return Some((first, ChunkWork::Zeros(zeros)));
        }
        self.next += 1;
        Some((first, ChunkWork::Read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Memory;

    fn plan(used: &[(u64, u64)], len: usize) -> Plan {
        let options = Options { chunk_size: format::MIN_CHUNK_SIZE, ..Options::default() };
        let disk = Memory::zeros(len);
        let mut plan = Plan::new(&disk, DiskIdentity::default(), &options).unwrap();
        plan.head.used = used.iter().map(|(start, end)| Extent::new(*start, *end)).collect();
        plan
    }

    #[test]
    fn every_chunk_is_read_or_counted_as_zeros() {
        let size = u64::from(format::MIN_CHUNK_SIZE);
        let plan = plan(&[(0, 1), (3 * size - 1, 3 * size + 1), (5 * size, 6 * size)], 1 << 20);
        let pieces: Vec<_> = Chunks::new(&plan, 0).collect();
        let wanted = [
            (0, ChunkWork::Read),
            (1, ChunkWork::Zeros(1)),
            (2, ChunkWork::Read),
            (3, ChunkWork::Read),
            (4, ChunkWork::Zeros(1)),
            (5, ChunkWork::Read),
            (6, ChunkWork::Zeros(10)),
        ];
        assert_eq!(pieces, wanted);
        let rest: Vec<_> = Chunks::new(&plan, 4).collect();
        assert_eq!(rest, wanted[4..]);
    }

    #[test]
    fn a_coarse_map_holds_the_fine_one() {
        let fine: ExtentSet = (0..100).map(|n| Extent::at(n * 8192, 512)).collect();
        let coarse = fine.align_outwards(16384, 100 * 8192);
        assert!(fine.subtract(&coarse).is_empty());
        assert_eq!(nth_byte(&fine, 513), Some(8193));
        assert_eq!(nth_byte(&fine, 1 << 30), None);
    }
}

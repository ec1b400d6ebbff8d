// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads chunks of a disk by a used map: unused bytes become zero, unreadable
//! ones become zero and are reported.

use crate::device::AlignedBuffer;
use crate::error::{Context, Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::io::ReadAt;

/// Unused bytes between two used ranges are read along, rather than asking the
/// device once more, if they are fewer than this.
const READ_THROUGH: u64 = 64 << 10;

/// Nothing is known to be lost.
static NONE: ExtentSet = ExtentSet::new();

/// Reads one chunk after another into the same buffer.
pub struct ChunkReader<'a> {
    source: &'a dyn ReadAt,
    used: &'a ExtentSet,
    lost: &'a ExtentSet,
    buffer: AlignedBuffer,
    losses: Vec<Extent>,
}

impl std::fmt::Debug for ChunkReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChunkReader")
    }
}

impl<'a> ChunkReader<'a> {
    /// A reader of the bytes of `used`.
    pub fn new(source: &'a dyn ReadAt, used: &'a ExtentSet, chunk_size: u32) -> Self {
        let buffer = AlignedBuffer::new(chunk_size as usize);
        Self { source, used, lost: &NONE, buffer, losses: Vec::new() }
    }

    /// The same, for a source of which these bytes are known to be lost: they
    /// are not asked for.
    #[must_use]
    pub const fn without(mut self, lost: &'a ExtentSet) -> Self {
        self.lost = lost;
        self
    }

    /// The content of the chunk read last.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        self.buffer.as_slice()
    }

    /// The used ranges of the chunk read last that could not be read.
    #[must_use]
    pub fn losses(&self) -> &[Extent] {
        &self.losses
    }

    /// Reads the chunk at `extent`.
    ///
    /// # Errors
    /// Anything but an unreadable medium, which is a loss.
    pub fn read(&mut self, extent: Extent) -> Result<()> {
        self.losses.clear();
        self.buffer.set_len(extent.len() as usize);
        let mut run: Option<Extent> = None;
        let lost = self.lost;
        for used in self.used.within(extent).flat_map(|used| lost.holes_within(used)) {
            match &mut run {
                Some(run) if used.start() - run.end() < READ_THROUGH => {
                    *run = Extent::new(run.start(), used.end());
                }
                _ => {
                    if let Some(run) = run.replace(used) {
                        self.read_run(extent.start(), run)?;
                    }
                }
            }
        }
        if let Some(run) = run {
            self.read_run(extent.start(), run)?;
        }
        let base = extent.start();
        for hole in self.used.holes_within(extent) {
            self.buffer.as_mut_slice()[range(base, hole)].fill(0);
        }
        if self.lost.touches(extent) {
            self.leave_out(extent);
        }
        Ok(())
    }

    /// Blanks and counts what is known to be lost of a chunk.
    fn leave_out(&mut self, chunk: Extent) {
        let mut losses: ExtentSet = self.losses.drain(..).collect();
        for lost in self.lost.within(chunk) {
            self.buffer.as_mut_slice()[range(chunk.start(), lost)].fill(0);
            losses.extend(self.used.within(lost));
        }
        self.losses.extend(losses.iter());
    }

    /// Reads a run that lies in the chunk starting at `base`.
    fn read_run(&mut self, base: u64, run: Extent) -> Result<()> {
        let buffer = &mut self.buffer.as_mut_slice()[range(base, run)];
        match self.source.read_at(run.start(), buffer) {
            Err(error) if error.is_media_error() => self.read_pieces(base, run),
            result => result,
        }
    }

    /// Reads a run in which something is unreadable: in pages, then in
    /// sectors. A sector that fails is a loss if any of it is used.
    fn read_pieces(&mut self, base: u64, run: Extent) -> Result<()> {
        let sector = self.source.sector_size().bytes();
        let mut readable = false;
        for page in pieces(run, 4096.max(sector)) {
            if self.try_piece(base, page)? {
                readable = true;
                continue;
            }
            for piece in pieces(page, sector) {
                if self.try_piece(base, piece)? {
                    readable = true;
                    continue;
                }
                self.buffer.as_mut_slice()[range(base, piece)].fill(0);
                for lost in self.used.within(piece) {
                    match self.losses.last_mut() {
                        Some(last) if last.end() == lost.start() => {
                            *last = Extent::new(last.start(), lost.end());
                        }
                        _ => self.losses.push(lost),
                    }
                }
            }
        }
        if readable { Ok(()) } else { self.check_present() }
    }

    /// An error if the source does not answer anywhere: a drive that was
    /// unplugged has no losses, it is gone.
    fn check_present(&self) -> Result<()> {
        let sector = self.source.sector_size().bytes();
        let len = self.source.len();
        let mut buffer = AlignedBuffer::new(sector as usize);
        let places = [0, len / 2 / sector * sector, (len / sector).saturating_sub(1) * sector];
        let mut answer = Ok(());
        for place in places {
            answer = self.source.read_at(place, buffer.as_mut_slice());
            if answer.is_ok() {
                return Ok(());
            }
        }
        answer
            .context(|| "the source does not answer any more".into())
            .map_err(|error| Error::failed(error.to_string()).hint("check its cable and power"))
    }

    /// Reads a piece; false if it is unreadable.
    fn try_piece(&mut self, base: u64, piece: Extent) -> Result<bool> {
        let buffer = &mut self.buffer.as_mut_slice()[range(base, piece)];
        match self.source.read_at(piece.start(), buffer) {
            Ok(()) => Ok(true),
            Err(error) if error.is_media_error() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Where a range of the disk is in the buffer of the chunk that starts at `base`.
pub(crate) fn range(base: u64, extent: Extent) -> std::ops::Range<usize> {
    // OK because a chunk is at most 8 MiB and the range lies in it.
    (extent.start() - base) as usize..(extent.end() - base) as usize
}

/// A range cut at multiples of `unit`.
fn pieces(extent: Extent, unit: u64) -> impl Iterator<Item = Extent> {
    let first = extent.start() / unit;
    (first..extent.end().div_ceil(unit)).map(move |n| Extent::at(n * unit, unit).intersect(&extent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Memory;

    fn disk() -> Memory {
        Memory::new((0..1 << 20).map(|n: u32| (n % 251) as u8 + 1).collect())
    }

    #[test]
    fn unused_bytes_are_zero_and_used_ones_are_not() {
        let used: ExtentSet =
            [Extent::new(512, 1024), Extent::new(2048, 4096), Extent::new(900_000, 900_512)]
                .into_iter()
                .collect();
        let disk = disk();
        let mut reader = ChunkReader::new(&disk, &used, 1 << 20);
        reader.read(Extent::new(0, 1 << 20)).unwrap();
        for (at, byte) in reader.content().iter().enumerate() {
            let is_used = used.touches(Extent::at(at as u64, 1));
            assert_eq!(*byte != 0, is_used, "byte {at}");
        }
        // The next chunk must not show what the buffer held before.
        reader.read(Extent::new(4096, 8192)).unwrap();
        assert_eq!(reader.content(), vec![0; 4096]);
    }

    #[test]
    fn only_the_unreadable_sectors_are_lost() {
        let disk = disk().unreadable(Extent::new(5000, 5001)).unreadable(Extent::new(9300, 9301));
        let used: ExtentSet =
            [Extent::new(0, 9216), Extent::new(10_240, 20_480)].into_iter().collect();
        let mut reader = ChunkReader::new(&disk, &used, 1 << 20);
        reader.read(Extent::new(0, 20_480)).unwrap();
        assert_eq!(reader.losses(), [Extent::new(4608, 5120)]);
        assert!(reader.content()[4608..5120].iter().all(|b| *b == 0));
        assert!(reader.content()[..4608].iter().all(|b| *b != 0));
        assert!(reader.content()[5120..9216].iter().all(|b| *b != 0));
        assert!(reader.content()[10_240..].iter().all(|b| *b != 0));
    }

    #[test]
    fn what_is_known_to_be_lost_is_not_read() {
        // Reading any of it would be an error that is no loss.
        let disk = disk().unreadable(Extent::new(9000, 9001));
        let used: ExtentSet =
            [Extent::new(0, 9216), Extent::new(10_240, 20_480)].into_iter().collect();
        let lost: ExtentSet =
            [Extent::new(512, 1024), Extent::new(9200, 11_000)].into_iter().collect();
        let mut reader = ChunkReader::new(&disk, &used, 1 << 20).without(&lost);
        reader.read(Extent::new(0, 20_480)).unwrap();
        let losses = [Extent::new(512, 1024), Extent::new(8704, 9216), Extent::new(10_240, 11_000)];
        assert_eq!(reader.losses(), losses);
        for (at, byte) in reader.content()[..20_480].iter().enumerate() {
            let at = Extent::at(at as u64, 1);
            let is_there = used.covers(at) && !losses.iter().any(|loss| loss.overlaps(&at));
            assert_eq!(*byte != 0, is_there, "byte {at}");
        }
        // A chunk of which nothing is there does not mean that a drive is gone.
        let all = ExtentSet::all(1 << 20);
        let mut reader = ChunkReader::new(&disk, &all, 1 << 20).without(&all);
        reader.read(Extent::new(0, 1 << 16)).unwrap();
        assert_eq!(reader.losses(), [Extent::new(0, 1 << 16)]);
    }

    #[test]
    fn a_drive_that_is_gone_has_no_losses() {
        let disk = disk().unreadable(Extent::new(0, 1 << 20));
        let used = ExtentSet::all(1 << 20);
        let mut reader = ChunkReader::new(&disk, &used, 1 << 16);
        let error = reader.read(Extent::new(1 << 16, 1 << 17)).unwrap_err();
        assert!(error.to_string().contains("does not answer"), "{error}");
        assert!(!error.is_media_error());
    }

    #[test]
    fn another_error_is_not_a_loss() {
        let disk = Memory::zeros(4096);
        let used = ExtentSet::all(8192);
        let mut reader = ChunkReader::new(&disk, &used, 1 << 20);
        assert!(reader.read(Extent::new(0, 8192)).is_err());
    }
}

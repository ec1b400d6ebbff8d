// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes that are kept in a file without a name, over a reader that stays as
//! it is: for a disk that is used as if it could be written.
//!
//! The file is sparse and gone with whoever has it open, however that ends.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use nix::fcntl::{FallocateFlags, fallocate};

use super::{ReadAt, WriteAt, check_range, unnamed_file};
use crate::error::{Context, Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::units::SectorSize;

/// The unit in which it is known what was written.
const BLOCK: u64 = 4096;

/// The blocks whose states are kept together: a MiB.
const GROUP: u64 = 256;

/// A reader, and in a file all that was written over it.
#[derive(Debug)]
pub struct Scratch<R> {
    below: R,
    file: File,
    groups: RwLock<BTreeMap<u64, Group>>,
    /// Makes holes in the file; another in tests.
    punch: fn(&File, Extent) -> io::Result<()>,
}

/// Where the bytes of a block are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the reader.
    Below,
    /// In the file.
    Written,
    /// Nowhere: they are zero.
    Zero,
}

/// The states of the blocks of a MiB, a bit for each.
#[derive(Debug, Clone, Copy, Default)]
struct Group {
    written: [u64; 4],
    zero: [u64; 4],
}

impl Group {
    fn place(&self, block: u64) -> Place {
        let (word, bit) = Self::bit(block);
        if self.written[word] & bit != 0 {
            Place::Written
        } else if self.zero[word] & bit != 0 {
            Place::Zero
        } else {
            Place::Below
        }
    }

    fn set(&mut self, block: u64, place: Place) {
        let (word, bit) = Self::bit(block);
        self.written[word] &= !bit;
        self.zero[word] &= !bit;
        match place {
            Place::Below => {}
            Place::Written => self.written[word] |= bit,
            Place::Zero => self.zero[word] |= bit,
        }
    }

    /// True if all blocks are in the same place.
    fn is_all(&self, place: Place) -> bool {
        match place {
            Place::Below => self.written == [0; 4] && self.zero == [0; 4],
            Place::Written => self.written == [u64::MAX; 4],
            Place::Zero => self.zero == [u64::MAX; 4],
        }
    }

    fn bit(block: u64) -> (usize, u64) {
        let within = block % GROUP;
        ((within / 64) as usize, 1 << (within % 64))
    }
}

impl<R: ReadAt> Scratch<R> {
    /// Nothing is written yet; what will be goes to a file in `folder`.
    ///
    /// # Errors
    /// If there can be no file as long as `below`.
    pub fn new(below: R, folder: &Path) -> Result<Self> {
        let what = || format!("making a scratch file in {}", folder.display());
        let file = unnamed_file(folder).context(what)?;
        file.set_len(below.len()).context(what).map_err(|error| {
            error.hint("name a folder on a filesystem that takes large files with --scratch")
        })?;
        Ok(Self { below, file, groups: RwLock::default(), punch })
    }

    /// What is below.
    pub const fn below(&self) -> &R {
        &self.below
    }

    /// Where the first bytes of `extent`, which is on the disk, are to be read,
    /// and up to where that holds.
    pub fn place(&self, extent: Extent) -> (Place, Extent) {
        let groups = self.read();
        let place_of = |block: u64| {
            groups.get(&(block / GROUP)).map_or(Place::Below, |group| group.place(block))
        };
        let place = place_of(extent.start() / BLOCK);
        let end = extent.end().div_ceil(BLOCK);
        let mut block = extent.start() / BLOCK + 1;
        while block < end {
            let number = block / GROUP;
            match groups.get(&number) {
                // On to the next of which anything is known.
                None if place == Place::Below => {
                    let next = groups.range(number..).next();
                    block = next.map_or(end, |(next, _)| next * GROUP);
                }
                Some(group) if block.is_multiple_of(GROUP) && group.is_all(place) => {
                    block += GROUP;
                }
                Some(group) if group.place(block) == place => block += 1,
                _ => break,
            }
        }
        (place, Extent::new(extent.start(), (block * BLOCK).min(extent.end())))
    }

    /// Reads bytes that are [`Place::Written`].
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read_written(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(buf, offset).context(|| "reading the scratch file".into())
    }

    /// Makes a range zero and takes the room for it, so that it can be written
    /// whatever else fills the filesystem.
    ///
    /// # Errors
    /// If there is no room.
    pub fn provide(&self, extent: Extent) -> Result<()> {
        let is_hole = self.clear(extent)?;
        let inner = self.whole_blocks(extent);
        if inner.is_empty() {
            return Ok(());
        }
        let mut groups = self.write();
        match allocate(&self.file, FallocateFlags::empty(), inner) {
            Ok(()) => {
                // From now on it is read from the file, which may have old bytes there.
                if !is_hole {
                    self.put_zeros(inner)?;
                }
                set(&mut groups, inner, Place::Written);
                Ok(())
            }
            // A filesystem that cannot promise it.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(()),
            Err(error) => Err(Error::io("taking room for the scratch file", error)),
        }
    }

    /// Makes a range zero; true if its whole blocks are holes in the file, too.
    fn clear(&self, extent: Extent) -> Result<bool> {
        let len = usize::try_from(extent.len()).unwrap_or(usize::MAX);
        check_range(self.len(), extent.start(), len)?;
        let inner = self.whole_blocks(extent);
        if inner.is_empty() {
            // Less than two blocks.
            return self.write_at(extent.start(), &vec![0; len]).map(|()| false);
        }
        for edge in
            [Extent::new(extent.start(), inner.start()), Extent::new(inner.end(), extent.end())]
        {
            self.write_at(edge.start(), &vec![0; edge.len() as usize])?;
        }
        let mut groups = self.write();
        set(&mut groups, inner, Place::Zero);
        // It gives room back. Where it does not work, the file is as it was, and
        // is not read there.
        Ok((self.punch)(&self.file, inner).is_ok())
    }

    fn put_zeros(&self, extent: Extent) -> Result<()> {
        static ZEROS: [u8; 65536] = [0; 65536];
        for piece in extent.pieces(ZEROS.len() as u64) {
            self.put(piece.start(), &ZEROS[..piece.len() as usize])?;
        }
        Ok(())
    }

    /// The part of a range that covers blocks from end to end; the last block
    /// ends with the disk.
    fn whole_blocks(&self, extent: Extent) -> Extent {
        let start = extent.start().next_multiple_of(BLOCK);
        let end =
            if extent.end() == self.len() { extent.end() } else { extent.end() / BLOCK * BLOCK };
        Extent::new(start, end.max(start))
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<u64, Group>> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<u64, Group>> {
        self.groups.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes bytes within one block: with the rest of the block, if that is
    /// not in the file yet.
    fn write_part(&self, groups: &mut BTreeMap<u64, Group>, offset: u64, buf: &[u8]) -> Result<()> {
        let number = offset / BLOCK;
        let whole = Extent::at(number * BLOCK, BLOCK).intersect(&Extent::new(0, self.len()));
        let place = groups.get(&(number / GROUP)).map_or(Place::Below, |it| it.place(number));
        if place == Place::Written || buf.len() as u64 == whole.len() {
            return self.put(offset, buf);
        }
        // OK because a block is short.
        let mut block = vec![0; whole.len() as usize];
        if place == Place::Below {
            self.below.read_at(whole.start(), &mut block)?;
        }
        let within = (offset - whole.start()) as usize;
        block[within..within + buf.len()].copy_from_slice(buf);
        self.put(whole.start(), &block)
    }

    fn put(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.file.write_all_at(buf, offset).context(|| "writing to the scratch file".into())
    }
}

/// Makes a hole in a file.
fn punch(file: &File, extent: Extent) -> io::Result<()> {
    allocate(
        file,
        FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE,
        extent,
    )
}

fn allocate(file: &File, flags: FallocateFlags, extent: Extent) -> io::Result<()> {
    let signed = |value: u64| i64::try_from(value).map_err(|_| io::ErrorKind::InvalidInput);
    let (start, len) = (signed(extent.start())?, signed(extent.len())?);
    fallocate(file, flags, start, len).map_err(io::Error::from)
}

/// Notes where the blocks of a range are from now on.
fn set(groups: &mut BTreeMap<u64, Group>, extent: Extent, place: Place) {
    let (mut block, end) = (extent.start() / BLOCK, extent.end().div_ceil(BLOCK));
    while block < end {
        let group = groups.entry(block / GROUP).or_default();
        let stop = (block / GROUP + 1).saturating_mul(GROUP).min(end);
        (block..stop).for_each(|block| group.set(block, place));
        block = stop;
    }
}

impl<R: ReadAt> ReadAt for Scratch<R> {
    fn len(&self) -> u64 {
        self.below.len()
    }

    fn sector_size(&self) -> SectorSize {
        self.below.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len(), offset, buf.len())?;
        let mut left = Extent::at(offset, buf.len() as u64);
        let mut rest = buf;
        while !left.is_empty() {
            let (place, part) = self.place(left);
            // OK because it is not longer than a slice.
            let (now, later) = rest.split_at_mut(part.len() as usize);
            match place {
                Place::Below => self.below.read_at(part.start(), now)?,
                Place::Written => self.read_written(part.start(), now)?,
                Place::Zero => now.fill(0),
            }
            rest = later;
            left = Extent::new(part.end(), left.end());
        }
        Ok(())
    }

    fn known_zeros(&self) -> ExtentSet {
        let mut zeros = self.below.known_zeros();
        let (mut own, mut position) = (Vec::new(), 0);
        while position < self.len() {
            let (place, part) = self.place(Extent::new(position, self.len()));
            if place != Place::Below {
                own.push((place, part));
            }
            position = part.end();
        }
        let changed: ExtentSet = own.iter().map(|(_, part)| *part).collect();
        zeros = zeros.subtract(&changed);
        let own = own.iter().filter(|(place, _)| *place == Place::Zero);
        zeros.union(&own.map(|(_, part)| *part).collect())
    }
}

impl<R: ReadAt> WriteAt for Scratch<R> {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        check_range(self.len(), offset, buf.len())?;
        let extent = Extent::at(offset, buf.len() as u64);
        let mut groups = self.write();
        let inner = self.whole_blocks(extent);
        let mut position = extent.start();
        while position < extent.end() {
            let end = if position == inner.start() && !inner.is_empty() {
                inner.end()
            } else {
                ((position / BLOCK + 1) * BLOCK).min(extent.end())
            };
            let part = Extent::new(position, end);
            // OK because both are inside of the slice.
            let bytes = &buf[(position - offset) as usize..(end - offset) as usize];
            if part == inner {
                self.put(position, bytes)?;
            } else {
                self.write_part(&mut groups, position, bytes)?;
            }
            set(&mut groups, part, Place::Written);
            position = end;
        }
        Ok(())
    }

    /// What was written is thrown away in the end, so there is nothing to
    /// bring to a medium.
    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn zero(&self, extent: Extent) -> Result<()> {
        self.clear(extent).map(drop)
    }

    fn discard(&self, extent: Extent) -> Result<bool> {
        self.zero(extent).map(|()| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Memory, conformance};

    const LEN: usize = (3 << 20) + 1000;

    fn scratch() -> Scratch<Memory> {
        let below = Memory::new(conformance::pattern(LEN, 5));
        Scratch::new(below, &std::env::temp_dir()).unwrap()
    }

    #[test]
    fn it_is_a_writer_and_what_is_below_stays() {
        let bytes = conformance::pattern(200_000, 5);
        let scratch = Scratch::new(Memory::new(bytes.clone()), &std::env::temp_dir()).unwrap();
        conformance::check_reader(&scratch, &bytes);
        conformance::check_writer(&scratch);
        conformance::check_reader(scratch.below(), &bytes);
    }

    /// Writes and zeros of any place and length, against a plain copy.
    #[test]
    fn any_mixture_of_writes_and_zeros_reads_back() {
        let scratch = scratch();
        let mut expected = conformance::pattern(LEN, 5);
        let mut state = 1_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % below
        };
        for round in 0..400 {
            let start = random(LEN);
            let most = if round % 3 == 0 { 20_000 } else { 5000 };
            let end = if round % 50 == 7 { LEN } else { (start + random(most)).min(LEN) };
            let extent = Extent::new(start as u64, end as u64);
            let fill = round as u8 | 1;
            match round % 4 {
                0 => scratch.zero(extent).unwrap(),
                1 => scratch.provide(extent).unwrap(),
                _ => scratch.write_at(start as u64, &vec![fill; end - start]).unwrap(),
            }
            let fill = if round % 4 < 2 { 0 } else { fill };
            expected[start..end].fill(fill);
            let mut window = vec![0xaa; LEN.min(end + 9000) - start.saturating_sub(9000)];
            scratch.read_at(start.saturating_sub(9000) as u64, &mut window).unwrap();
            assert!(
                window == expected[start.saturating_sub(9000)..LEN.min(end + 9000)],
                "{extent}"
            );
        }
        let mut all = vec![0xaa; LEN];
        scratch.read_at(0, &mut all).unwrap();
        assert!(all == expected);
        for zeros in scratch.known_zeros().iter() {
            assert!(all[zeros.start() as usize..zeros.end() as usize].iter().all(|b| *b == 0));
        }
        assert!(scratch.known_zeros().bytes() > 0);
    }

    #[test]
    fn places_are_told_in_runs() {
        let scratch = scratch();
        let all = Extent::new(0, LEN as u64);
        assert_eq!(scratch.place(all), (Place::Below, all));
        scratch.zero(Extent::new(1 << 20, LEN as u64)).unwrap();
        scratch.write_at(5000, &[1]).unwrap();
        let places = |mut left: Extent| {
            let mut places = Vec::new();
            while !left.is_empty() {
                let (place, part) = scratch.place(left);
                places.push((place, part.end()));
                left = Extent::new(part.end(), left.end());
            }
            places
        };
        let expected = [
            (Place::Below, 4096),
            (Place::Written, 8192),
            (Place::Below, 1 << 20),
            (Place::Zero, LEN as u64),
        ];
        assert_eq!(places(all), expected);
        assert_eq!(scratch.known_zeros().bytes(), LEN as u64 - (1 << 20));
    }

    /// On a filesystem without holes what was there before stays in the file.
    #[test]
    fn where_no_hole_can_be_made_old_bytes_are_not_read() {
        let mut scratch = scratch();
        scratch.punch = |_, _| Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        let (start, end) = (4096 - 10, 300_000 + 10);
        let extent = Extent::new(start, end);
        for by_zero in [true, false] {
            scratch.write_at(0, &vec![0xee; LEN]).unwrap();
            if by_zero {
                scratch.zero(extent).unwrap();
            } else {
                scratch.provide(extent).unwrap();
                assert_eq!(scratch.place(Extent::new(4096, 8192)).0, Place::Written);
            }
            // A part of a block takes the rest of it from where that is.
            scratch.write_at(150_000, &[7]).unwrap();
            let mut all = vec![0xaa; LEN];
            scratch.read_at(0, &mut all).unwrap();
            let expected = |at: usize| match at {
                150_000 => 7,
                at if (start..end).contains(&(at as u64)) => 0,
                _ => 0xee,
            };
            let wrong = (0..LEN).find(|at| all[*at] != expected(*at));
            assert_eq!(wrong, None, "by_zero: {by_zero}");
        }
    }

    const SMALL: usize = 3 * 4096 + 100;

    #[test]
    fn what_is_written_is_read_and_what_is_below_stays() {
        let folder = tempfile::tempdir().unwrap();
        let below: Vec<u8> = (0..SMALL).map(|n| (n % 251) as u8).collect();
        let disk = Memory::new(below.clone());
        let scratch = Scratch::new(&disk, folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it has no name");
        let mut wanted = below.clone();
        // Every way to begin and end in or at a block.
        let edges = [0, 1, 100, 4095, 4096, 4097, 8191, 8192, 9000, 12288, 12300, SMALL];
        let mut byte = 0;
        for (index, start) in edges.iter().enumerate() {
            for end in &edges[index..] {
                byte += 1;
                let extent = Extent::new(*start as u64, *end as u64);
                if byte % 3 == 0 {
                    scratch.zero(extent).unwrap();
                    wanted[*start..*end].fill(0);
                } else {
                    scratch.write_at(extent.start(), &vec![byte; end - start]).unwrap();
                    wanted[*start..*end].fill(byte);
                }
                let mut all = vec![0; SMALL];
                scratch.read_at(0, &mut all).unwrap();
                assert!(all == wanted, "{extent}");
                let fresh = Scratch::new(&disk, folder.path()).unwrap();
                fresh.write_at(extent.start(), &vec![0xee; end - start]).unwrap();
                fresh.read_at(0, &mut all).unwrap();
                let is_written = |at| extent.contains(&Extent::at(at as u64, 1));
                let is_right = |at: usize| all[at] == if is_written(at) { 0xee } else { below[at] };
                assert!((0..SMALL).all(is_right), "{extent}");
            }
        }
        assert!(scratch.write_at(SMALL as u64 - 1, &[0; 2]).is_err());
        assert!(scratch.zero(Extent::at(u64::MAX - 1, 1)).is_err());
        let mut all = vec![0; SMALL];
        disk.read_at(0, &mut all).unwrap();
        assert!(all == below, "what is below was changed");
    }
}

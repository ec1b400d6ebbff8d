// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes that are kept in a file without a name, over a reader that stays as
//! it is: as much as there is room for, and gone when the program ends.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{PoisonError, RwLock};

use nix::fcntl::{FallocateFlags, fallocate};

use super::{ReadAt, WriteAt, check_range};
use crate::error::{Context, Error, Result};
use crate::extent::Extent;
use crate::units::SectorSize;

/// The unit in which it is known what was written.
const BLOCK: u64 = 4096;
/// How many of them are noted together.
const GROUP: u64 = 4096;

/// A reader, and all that was written over it.
#[derive(Debug)]
pub struct Scratch<R> {
    inner: R,
    /// Everything at its own position; holes where nothing was written.
    file: File,
    written: RwLock<Written>,
}

/// Which blocks were written, a bit each.
#[derive(Debug, Default)]
struct Written {
    groups: HashMap<u64, Box<[u64; 64]>>,
}

impl Written {
    fn contains(&self, block: u64) -> bool {
        let (word, bit) = place(block);
        let group = self.groups.get(&(block / GROUP));
        group.and_then(|group| group.get(word)).is_some_and(|word| word & bit != 0)
    }

    fn insert(&mut self, block: u64) {
        let (word, bit) = place(block);
        let group = self.groups.entry(block / GROUP).or_insert_with(|| Box::new([0; 64]));
        if let Some(word) = group.get_mut(word) {
            *word |= bit;
        }
    }
}

fn place(block: u64) -> (usize, u64) {
    let within = block % GROUP;
    // OK because it is less than 64.
    ((within / 64) as usize, 1 << (within % 64))
}

impl<R: ReadAt> Scratch<R> {
    /// Nothing is written yet; what will be goes to a file in `folder`.
    ///
    /// # Errors
    /// If no file can be made there, or not one as long as `inner`.
    pub fn new(inner: R, folder: &Path) -> Result<Self> {
        let what = || format!("making a file for the changes in {}", folder.display());
        let file = nameless(folder).context(what)?;
        file.set_len(inner.len()).context(what)?;
        Ok(Self { inner, file, written: RwLock::default() })
    }

    fn name(&self) -> String {
        "keeping what was changed".into()
    }

    /// Fills the part of a block that a write leaves as it was.
    fn fill(&self, block: u64) -> Result<()> {
        let all = Extent::new(0, self.inner.len());
        let extent = Extent::at(block * BLOCK, BLOCK).intersect(&all);
        // OK because a block is small.
        let below = super::read_vec(&self.inner, extent.start(), extent.len() as usize)?;
        self.file.write_all_at(&below, extent.start()).context(|| self.name())
    }

    /// Makes the blocks at the ends of `extent` whole, so that all of its
    /// blocks can be noted as written.
    fn fill_ends(&self, written: &Written, extent: Extent) -> Result<()> {
        let first = (!extent.start().is_multiple_of(BLOCK)).then_some(extent.start() / BLOCK);
        let is_whole = extent.end().is_multiple_of(BLOCK) || extent.end() == self.inner.len();
        let last = (!is_whole).then_some(extent.end() / BLOCK);
        for block in first.into_iter().chain(last.filter(|_| last != first)) {
            if !written.contains(block) {
                self.fill(block)?;
            }
        }
        Ok(())
    }
}

fn blocks(extent: Extent) -> std::ops::Range<u64> {
    extent.start() / BLOCK..extent.end().div_ceil(BLOCK)
}

/// A file that is gone when it is closed. Not every filesystem makes one
/// without a name.
fn nameless(folder: &Path) -> std::io::Result<File> {
    let options = || {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600);
        options
    };
    if let Ok(file) = options().custom_flags(libc::O_TMPFILE).open(folder) {
        return Ok(file);
    }
    let path = folder.join(format!(".dacapo-{}", uuid::Uuid::from_u128(random())));
    let file = options().create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// Enough for a name that nobody has: the file is made only if it is new.
fn random() -> u128 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let half = || u128::from(RandomState::new().build_hasher().finish());
    (half() << 64) | half()
}

impl<R: ReadAt> ReadAt for Scratch<R> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn sector_size(&self) -> SectorSize {
        self.inner.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len(), offset, buf.len())?;
        let written = self.written.read().unwrap_or_else(PoisonError::into_inner);
        let request = Extent::at(offset, buf.len() as u64);
        let mut rest = buf;
        let mut position = request.start();
        while position < request.end() {
            // As many blocks as are in the same place.
            let is_ours = written.contains(position / BLOCK);
            let mut end = (position / BLOCK + 1) * BLOCK;
            while end < request.end() && written.contains(end / BLOCK) == is_ours {
                end += BLOCK;
            }
            let end = end.min(request.end());
            // OK because it is less than the length of a slice.
            let (now, later) = rest.split_at_mut((end - position) as usize);
            if is_ours {
                self.file.read_exact_at(now, position).context(|| self.name())?;
            } else {
                self.inner.read_at(position, now)?;
            }
            rest = later;
            position = end;
        }
        Ok(())
    }
}

impl<R: ReadAt> WriteAt for Scratch<R> {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        check_range(self.len(), offset, buf.len())?;
        let extent = Extent::at(offset, buf.len() as u64);
        if extent.is_empty() {
            return Ok(());
        }
        let mut written = self.written.write().unwrap_or_else(PoisonError::into_inner);
        self.fill_ends(&written, extent)?;
        self.file.write_all_at(buf, offset).context(|| self.name())?;
        blocks(extent).for_each(|block| written.insert(block));
        Ok(())
    }

    /// Nothing: it is not there any more when it could be missed.
    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn zero(&self, extent: Extent) -> Result<()> {
        let len = usize::try_from(extent.len())
            .map_err(|_| Error::failed(format!("{extent} is too long for this machine")))?;
        check_range(self.len(), extent.start(), len)?;
        if extent.is_empty() {
            return Ok(());
        }
        let mut written = self.written.write().unwrap_or_else(PoisonError::into_inner);
        self.fill_ends(&written, extent)?;
        let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let range = (i64::try_from(extent.start()), i64::try_from(extent.len()));
        let is_punched = match range {
            (Ok(start), Ok(len)) => fallocate(&self.file, punch, start, len).is_ok(),
            _ => false,
        };
        if !is_punched {
            let zeros = [0; 65536];
            for piece in extent.pieces(zeros.len() as u64) {
                // OK because a piece is not longer than the zeros.
                let zeros = &zeros[..piece.len() as usize];
                self.file.write_all_at(zeros, piece.start()).context(|| self.name())?;
            }
        }
        blocks(extent).for_each(|block| written.insert(block));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Memory;

    const LEN: usize = 3 * 4096 + 100;

    #[test]
    fn what_is_written_is_read_and_what_is_below_stays() {
        let folder = tempfile::tempdir().unwrap();
        let below: Vec<u8> = (0..LEN).map(|n| (n % 251) as u8).collect();
        let disk = Memory::new(below.clone());
        let scratch = Scratch::new(&disk, folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it has no name");
        let mut wanted = below.clone();
        // Every way to begin and end in or at a block.
        let edges = [0, 1, 100, 4095, 4096, 4097, 8191, 8192, 9000, 12288, 12300, LEN];
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
                let mut all = vec![0; LEN];
                scratch.read_at(0, &mut all).unwrap();
                assert!(all == wanted, "{extent}");
                let fresh = Scratch::new(&disk, folder.path()).unwrap();
                fresh.write_at(extent.start(), &vec![0xee; end - start]).unwrap();
                fresh.read_at(0, &mut all).unwrap();
                let is_written = |at| extent.contains(&Extent::at(at as u64, 1));
                let is_right = |at: usize| all[at] == if is_written(at) { 0xee } else { below[at] };
                assert!((0..LEN).all(is_right), "{extent}");
            }
        }
        assert!(scratch.write_at(LEN as u64 - 1, &[0; 2]).is_err());
        assert!(scratch.zero(Extent::at(u64::MAX - 1, 1)).is_err());
        let mut all = vec![0; LEN];
        disk.read_at(0, &mut all).unwrap();
        assert!(all == below, "what is below was changed");
    }
}

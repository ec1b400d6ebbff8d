// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes that are kept in memory, over a reader that stays as it is: to see
//! what a change would be before any of it is made.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::{ReadAt, WriteAt, check_range};
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::units::SectorSize;

/// The unit in which changed bytes are kept.
const PAGE: u64 = 4096;

/// A reader, and in memory all that was written over it.
#[derive(Debug)]
pub struct Overlay<R> {
    inner: R,
    pages: Mutex<BTreeMap<u64, Page>>,
    most: usize,
}

#[derive(Debug)]
struct Page {
    bytes: Vec<u8>,
    written: bool,
}

impl<R: ReadAt> Overlay<R> {
    /// Nothing is written yet; at most `most` bytes will be kept.
    pub fn new(inner: R, most: u64) -> Self {
        let most = usize::try_from(most / PAGE).unwrap_or(usize::MAX);
        Self { inner, pages: Mutex::default(), most }
    }

    /// What is different now, in whole sectors of 512 bytes, joined where they
    /// touch.
    ///
    /// # Errors
    /// If what is below cannot be read.
    pub fn changes(&self) -> Result<Vec<(u64, Vec<u8>)>> {
        const UNIT: usize = 512;
        let mut changes: Vec<(u64, Vec<u8>)> = Vec::new();
        for (start, page) in self.lock().iter().filter(|(_, page)| page.written) {
            let below = super::read_vec(&self.inner, *start, page.bytes.len())?;
            let units = page.bytes.chunks(UNIT).zip(below.chunks(UNIT));
            for (position, (new, old)) in (*start..).step_by(UNIT).zip(units) {
                if new == old {
                    continue;
                }
                match changes.last_mut() {
                    Some((at, bytes)) if *at + bytes.len() as u64 == position => {
                        bytes.extend_from_slice(new);
                    }
                    _ => changes.push((position, new.to_vec())),
                }
            }
        }
        Ok(changes)
    }

    /// What is below, as it was; what was written is dropped.
    pub fn into_inner(self) -> R {
        self.inner
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Page>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Uses the part of each page that the request covers, with where that
    /// part is in the request.
    fn each_page(
        &self,
        offset: u64,
        len: usize,
        mut part: impl FnMut(&mut Page, std::ops::Range<usize>, usize),
    ) -> Result<()> {
        let request = Extent::at(offset, len as u64);
        let mut pages = self.lock();
        let mut position = request.start();
        while position < request.end() {
            let start = position - position % PAGE;
            let extent = Extent::at(start, PAGE).intersect(&Extent::new(0, self.inner.len()));
            if !pages.contains_key(&start) {
                if pages.len() >= self.most {
                    return Err(Error::failed("more would change than is kept in memory"));
                }
                let bytes = super::read_vec(&self.inner, start, extent.len() as usize)?;
                pages.insert(start, Page { bytes, written: false });
            }
            let covered = request.intersect(&extent);
            // OK because all of these are less than the length of a slice.
            let inside = (covered.start() - start) as usize..(covered.end() - start) as usize;
            if let Some(page) = pages.get_mut(&start) {
                part(page, inside, (covered.start() - offset) as usize);
            }
            position = covered.end();
        }
        Ok(())
    }
}

impl<R: ReadAt> ReadAt for Overlay<R> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn sector_size(&self) -> SectorSize {
        self.inner.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len(), offset, buf.len())?;
        self.each_page(offset, buf.len(), |page, inside, at| {
            let part = &page.bytes[inside];
            buf[at..at + part.len()].copy_from_slice(part);
        })
    }
}

impl<R: ReadAt> WriteAt for Overlay<R> {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        check_range(self.len(), offset, buf.len())?;
        self.each_page(offset, buf.len(), |page, inside, at| {
            let part = &mut page.bytes[inside];
            part.copy_from_slice(&buf[at..at + part.len()]);
            page.written = true;
        })
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Memory;

    fn disk() -> Memory {
        Memory::new((0..10_000_u32).map(|n| n as u8).collect())
    }

    #[test]
    fn what_is_written_is_read_and_what_is_below_stays() {
        let disk = disk();
        let overlay = Overlay::new(&disk, 1 << 20);
        overlay.write_at(4090, &[0xee; 10]).unwrap();
        let mut buf = [0; 14];
        overlay.read_at(4088, &mut buf).unwrap();
        assert_eq!(buf[..2], [4088_u32 as u8, 4089_u32 as u8]);
        assert_eq!(buf[2..12], [0xee; 10]);
        assert_eq!(buf[12..], [4100_u32 as u8, 4101_u32 as u8]);
        let mut below = [0; 1];
        disk.read_at(4090, &mut below).unwrap();
        assert_eq!(below, [4090_u32 as u8]);
    }

    #[test]
    fn changes_are_the_sectors_that_differ() {
        let disk = disk();
        let overlay = Overlay::new(&disk, 1 << 20);
        assert!(overlay.changes().unwrap().is_empty());
        // The same bytes once more are no change.
        overlay.write_at(0, &[0, 1, 2]).unwrap();
        overlay.write_at(1000, &[0xee; 100]).unwrap();
        overlay.write_at(9999, &[0xee]).unwrap();
        let changes = overlay.changes().unwrap();
        let ranges: Vec<(u64, usize)> = changes.iter().map(|(at, b)| (*at, b.len())).collect();
        assert_eq!(ranges, [(512, 1024), (9728, 272)]);
    }

    #[test]
    fn only_so_much_is_kept_and_nothing_beyond_the_end() {
        let overlay = Overlay::new(disk(), 2 * PAGE);
        overlay.write_at(0, &[1; 8192]).unwrap();
        assert!(overlay.write_at(8192, &[1]).is_err());
        assert!(overlay.write_at(9999, &[1; 2]).is_err());
        assert!(overlay.read_at(u64::MAX, &mut [0; 1]).is_err());
    }
}

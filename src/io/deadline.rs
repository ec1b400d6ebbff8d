// SPDX-License-Identifier: MIT OR Apache-2.0
//! A reader that gives up at a point in time, for what is only a courtesy: a
//! dying disk must not keep the list of disks from being shown.

use std::time::{Duration, Instant};

use super::ReadAt;
use crate::error::{Error, Result};
use crate::extent::ExtentSet;
use crate::units::SectorSize;

/// A reader whose reads fail after a while.
#[derive(Debug)]
pub struct Deadline<R> {
    inner: R,
    end: Instant,
}

impl<R: ReadAt> Deadline<R> {
    /// Reads until `time` from now.
    pub fn new(inner: R, time: Duration) -> Self {
        Self { inner, end: Instant::now() + time }
    }

    /// True if the time is over.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }
}

impl<R: ReadAt> ReadAt for Deadline<R> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn sector_size(&self) -> SectorSize {
        self.inner.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        if self.is_over() {
            return Err(Error::failed("reading takes too long"));
        }
        self.inner.read_at(offset, buf)
    }

    fn known_zeros(&self) -> ExtentSet {
        self.inner.known_zeros()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Memory;
    use crate::io::conformance::{check_reader, pattern};

    #[test]
    fn a_reader_in_time_is_a_reader_like_any_other() {
        let bytes = pattern(5000, 3);
        let disk = Memory::new(bytes.clone());
        check_reader(&Deadline::new(&disk, Duration::from_secs(3600)), &bytes);
    }

    #[test]
    fn after_its_time_nothing_is_read() {
        let disk = Memory::zeros(4096);
        let late = Deadline::new(&disk, Duration::ZERO);
        assert!(late.is_over());
        assert!(late.read_at(0, &mut [0; 512]).is_err());
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A reader for which an unreadable medium is a failure like any other, so that
//! a job ends at the first bad place instead of working on it.

use std::sync::atomic::{AtomicBool, Ordering};

use super::ReadAt;
use crate::error::{Error, Result};
use crate::extent::ExtentSet;
use crate::units::SectorSize;

/// A reader that remembers whether the medium could not be read somewhere.
#[derive(Debug)]
pub struct Strict<R> {
    inner: R,
    has_failed: AtomicBool,
}

impl<R: ReadAt> Strict<R> {
    /// Reads from `inner`.
    pub const fn new(inner: R) -> Self {
        Self { inner, has_failed: AtomicBool::new(false) }
    }

    /// True if there was something that could not be read.
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }
}

impl<R: ReadAt> ReadAt for Strict<R> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn sector_size(&self) -> SectorSize {
        self.inner.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.inner.read_at(offset, buf).map_err(|error| {
            if !error.is_media_error() {
                return error;
            }
            self.has_failed.store(true, Ordering::Relaxed);
            Error::failed(error.to_string())
        })
    }

    fn known_zeros(&self) -> ExtentSet {
        self.inner.known_zeros()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extent::Extent;
    use crate::io::Memory;
    use crate::io::conformance::{check_reader, pattern};

    #[test]
    fn an_unreadable_place_is_a_failure_and_is_remembered() {
        let bytes = pattern(5000, 3);
        check_reader(&Strict::new(Memory::new(bytes.clone())), &bytes);
        let strict = Strict::new(Memory::new(bytes).unreadable(Extent::at(1024, 1)));
        strict.read_at(0, &mut [0; 512]).unwrap();
        assert!(strict.read_at(4900, &mut [0; 512]).is_err());
        assert!(!strict.has_failed(), "the end is no bad place");
        assert!(!strict.read_at(1000, &mut [0; 512]).unwrap_err().is_media_error());
        assert!(strict.has_failed());
    }
}

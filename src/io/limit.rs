// SPDX-License-Identifier: MIT OR Apache-2.0
//! A writer that refuses ranges and knows why.
//!
//! The last line of defence of a restore: while the body is written, the
//! ranges that must come last cannot be touched, whatever an image says.

use super::{ReadAt, WriteAt};
use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::units::SectorSize;

/// A writer in which only the ranges of a set may be written.
#[derive(Debug)]
pub struct Limit<W> {
    inner: W,
    allowed: ExtentSet,
    reason: String,
}

impl<W: WriteAt> Limit<W> {
    /// Allows writes to `allowed` only; the error of any other gives `reason`.
    pub fn new(inner: W, allowed: ExtentSet, reason: impl Into<String>) -> Self {
        Self { inner, allowed, reason: reason.into() }
    }

    fn check(&self, extent: Extent) -> Result<()> {
        if self.allowed.covers(extent) {
            return Ok(());
        }
        Err(Error::failed(format!("writing {extent} is not allowed: {}", self.reason)))
    }
}

impl<W: WriteAt> ReadAt for Limit<W> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn sector_size(&self) -> SectorSize {
        self.inner.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.inner.read_at(offset, buf)
    }
}

impl<W: WriteAt> WriteAt for Limit<W> {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.check(Extent::at(offset, buf.len() as u64))?;
        self.inner.write_at(offset, buf)
    }

    fn flush(&self) -> Result<()> {
        self.inner.flush()
    }

    fn zero(&self, extent: Extent) -> Result<()> {
        self.check(extent)?;
        self.inner.zero(extent)
    }

    fn discard(&self, extent: Extent) -> Result<bool> {
        self.check(extent)?;
        self.inner.discard(extent)
    }

    fn write_back(&self, extent: Extent) {
        self.inner.write_back(extent);
    }

    fn drop_cache(&self) -> Result<()> {
        self.inner.drop_cache()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Memory;

    #[test]
    fn only_the_allowed_range_is_written() {
        let limit = Limit::new(Memory::zeros(64), Extent::new(8, 16).into(), "held back");
        limit.write_at(8, &[1; 8]).unwrap();
        for (offset, len) in [(0, 1), (7, 2), (15, 2), (16, 1), (1 << 60, 1)] {
            let error = limit.write_at(offset, &vec![1; len]).unwrap_err();
            assert!(error.to_string().contains("held back"));
        }
        assert!(limit.zero(Extent::new(0, 9)).is_err());
        assert!(limit.discard(Extent::new(0, 9)).is_err());
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk in memory, for parsers' tests and the demonstration; it fails where
//! it is told to.

use std::sync::{Mutex, PoisonError};

use super::{ReadAt, WriteAt, check_range};
use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::units::SectorSize;

/// A disk in memory.
#[derive(Debug, Default)]
pub struct Memory {
    bytes: Mutex<Vec<u8>>,
    len: u64,
    sector_size: Option<SectorSize>,
    unreadable: ExtentSet,
    unwritable: ExtentSet,
}

impl Memory {
    /// A disk with this content.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { len: bytes.len() as u64, bytes: Mutex::new(bytes), ..Self::default() }
    }

    /// A disk of zeros.
    #[must_use]
    pub fn zeros(len: usize) -> Self {
        Self::new(vec![0; len])
    }

    /// The same disk with another sector size.
    #[must_use]
    pub const fn with_sector_size(mut self, sector_size: SectorSize) -> Self {
        self.sector_size = Some(sector_size);
        self
    }

    /// The same disk with a range that answers EIO when read.
    #[must_use]
    pub fn unreadable(mut self, extent: Extent) -> Self {
        self.unreadable.insert(extent);
        self
    }

    /// The same disk with a range that answers EIO when written.
    #[must_use]
    pub fn unwritable(mut self, extent: Extent) -> Self {
        self.unwritable.insert(extent);
        self
    }

    /// The content.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(what: &str, offset: u64) -> Error {
        Error::io(format!("{what} at {offset:#x}"), std::io::Error::from_raw_os_error(libc::EIO))
    }
}

impl ReadAt for Memory {
    fn len(&self) -> u64 {
        self.len
    }

    fn sector_size(&self) -> SectorSize {
        self.sector_size.unwrap_or(SectorSize::B512)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len, offset, buf.len())?;
        if self.unreadable.touches(Extent::at(offset, buf.len() as u64)) {
            return Err(Self::fail("reading", offset));
        }
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        // The range was checked against the length above.
        buf.copy_from_slice(&bytes[offset as usize..offset as usize + buf.len()]);
        Ok(())
    }
}

impl WriteAt for Memory {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        check_range(self.len, offset, buf.len())?;
        if self.unwritable.touches(Extent::at(offset, buf.len() as u64)) {
            return Err(Self::fail("writing", offset));
        }
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes[offset as usize..offset as usize + buf.len()].copy_from_slice(buf);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fails_where_it_is_told_to() {
        let disk = Memory::zeros(4096)
            .unreadable(Extent::new(512, 1024))
            .unwritable(Extent::new(2048, 2049));
        let mut buf = [0; 512];
        disk.read_at(0, &mut buf).unwrap();
        assert!(disk.read_at(256, &mut buf).unwrap_err().is_media_error());
        assert!(disk.write_at(2040, &buf).is_err());
        disk.write_at(0, &[7; 512]).unwrap();
        disk.read_at(0, &mut buf).unwrap();
        assert_eq!(buf, [7; 512]);
        assert!(disk.read_at(4000, &mut buf).is_err());
    }
}

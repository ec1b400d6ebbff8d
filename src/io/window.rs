// SPDX-License-Identifier: MIT OR Apache-2.0
//! A part of another reader, such as a partition of a disk.

use super::{ReadAt, check_range};
use crate::error::Result;
use crate::extent::Extent;
use crate::units::SectorSize;

/// The bytes of an extent of another reader, counted from 0.
#[derive(Debug, Clone, Copy)]
pub struct Window<R> {
    inner: R,
    extent: Extent,
}

impl<R: ReadAt> Window<R> {
    /// The part of `inner` inside `extent`, cut at the end of `inner`.
    pub fn new(inner: R, extent: Extent) -> Self {
        let extent = extent.intersect(&Extent::new(0, inner.len()));
        Self { inner, extent }
    }
}

impl<R: ReadAt> ReadAt for Window<R> {
    fn len(&self) -> u64 {
        self.extent.len()
    }

    fn sector_size(&self) -> SectorSize {
        self.inner.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len(), offset, buf.len())?;
        self.inner.read_at(self.extent.start().saturating_add(offset), buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Memory;

    #[test]
    fn a_window_shows_its_part_and_nothing_beyond() {
        let disk = Memory::new((0..=255).collect());
        let window = Window::new(&disk, Extent::at(16, 16));
        let mut buf = [0; 4];
        window.read_at(12, &mut buf).unwrap();
        assert_eq!(buf, [28, 29, 30, 31]);
        assert!(window.read_at(13, &mut buf).is_err());
        assert!(window.read_at(u64::MAX, &mut buf).is_err());
        assert_eq!(Window::new(&disk, Extent::at(250, 100)).len(), 6);
    }
}

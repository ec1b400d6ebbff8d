// SPDX-License-Identifier: MIT OR Apache-2.0
//! Everything that holds disk bytes: one small trait to read at a position,
//! one to write, and wrappers that each do one thing.
//!
//! A device, a file, memory, a window of another reader and an opened image
//! are all [`ReadAt`], so parsers, verify and compare are written once.

mod attend;
#[doc(hidden)]
pub mod conformance;
mod deadline;
#[cfg(test)]
pub(crate) mod latch;
mod limit;
mod lock;
mod memory;
mod overlay;
mod recorded;
pub mod rescue;
mod scratch;
mod strict;
mod temporary;
mod window;

pub(crate) use attend::{QUIET, STOPPING, attend, stopping, waiting};
pub use deadline::Deadline;
pub use limit::Limit;
pub(crate) use lock::lock;
pub use memory::Memory;
pub use overlay::Overlay;
pub use recorded::{Recorded, Seen};
pub use scratch::{Place, Scratch};
pub use strict::{Strict, Trouble};
pub use temporary::{scratch_folder, unnamed_file};
pub use window::Window;

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::units::SectorSize;

/// Bytes that can be read at any position.
pub trait ReadAt: Send + Sync {
    /// The number of bytes.
    fn len(&self) -> u64;

    /// True if there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The logical sector size, in which tables count.
    fn sector_size(&self) -> SectorSize {
        SectorSize::B512
    }

    /// Fills `buf` with the bytes at `offset`.
    ///
    /// # Errors
    /// Anything that keeps `buf` from being filled whole; a range that cannot
    /// be read for good answers true to [`Error::is_media_error`].
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Ranges that are known to read as zero without reading them: the holes
    /// of a sparse file.
    fn known_zeros(&self) -> ExtentSet {
        ExtentSet::new()
    }
}

/// Bytes that can be written at any position.
pub trait WriteAt: ReadAt {
    /// Writes all of `buf` at `offset`.
    ///
    /// # Errors
    /// Anything that keeps a byte of `buf` from being written.
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()>;

    /// Returns when all that was written is on the medium.
    ///
    /// # Errors
    /// Any write that failed since the last call.
    fn flush(&self) -> Result<()>;

    /// Makes every byte of the range read as zero.
    ///
    /// # Errors
    /// As for [`WriteAt::write_at`].
    fn zero(&self, extent: Extent) -> Result<()> {
        static ZEROS: [u8; 65536] = [0; 65536];
        let mut position = extent.start();
        while position < extent.end() {
            let len = (extent.end() - position).min(ZEROS.len() as u64);
            self.write_at(position, &ZEROS[..len as usize])?;
            position += len;
        }
        Ok(())
    }

    /// Tells the medium that the range is not needed; its content is
    /// undefined afterwards. Returns false where the medium has no such thing.
    ///
    /// # Errors
    /// If the medium has it, but it failed.
    fn discard(&self, extent: Extent) -> Result<bool> {
        let _ = extent;
        Ok(false)
    }

    /// Starts bringing a range that was written to the medium, so that the last
    /// flush is short and memory is given back; only a hint.
    fn write_back(&self, extent: Extent) {
        let _ = extent;
    }

    /// Forgets cached content, so that the next read comes from the medium.
    ///
    /// # Errors
    /// If the cache could not be dropped.
    fn drop_cache(&self) -> Result<()> {
        Ok(())
    }
}

/// Reads `len` bytes at `offset` into a new buffer.
///
/// # Errors
/// If the range is not inside the reader, or cannot be read. The range is
/// checked before memory is taken.
pub fn read_vec(reader: &dyn ReadAt, offset: u64, len: usize) -> Result<Vec<u8>> {
    check_range(reader.len(), offset, len)?;
    let mut buf = vec![0; len];
    reader.read_at(offset, &mut buf)?;
    Ok(buf)
}

/// An error unless `len` bytes at `offset` are inside `total`.
///
/// # Errors
/// A plain failure that names the range.
pub fn check_range(total: u64, offset: u64, len: usize) -> Result<()> {
    let end = u64::try_from(len).ok().and_then(|len| offset.checked_add(len));
    if end.is_some_and(|end| end <= total) {
        return Ok(());
    }
    Err(Error::failed(format!("{len} bytes at {offset:#x} are outside of the {total:#x} bytes")))
}

/// What is read through a pointer is read where that points to.
macro_rules! read_through {
    ($($pointer:ty),*) => {$(
        impl<T: ReadAt + ?Sized> ReadAt for $pointer {
            fn len(&self) -> u64 {
                (**self).len()
            }

            fn sector_size(&self) -> SectorSize {
                (**self).sector_size()
            }

            fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
                (**self).read_at(offset, buf)
            }

            fn known_zeros(&self) -> ExtentSet {
                (**self).known_zeros()
            }
        }
    )*};
}

read_through!(&T, Box<T>, Arc<T>);

impl<T: WriteAt + ?Sized> WriteAt for &T {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        (**self).write_at(offset, buf)
    }

    fn flush(&self) -> Result<()> {
        (**self).flush()
    }

    fn zero(&self, extent: Extent) -> Result<()> {
        (**self).zero(extent)
    }

    fn discard(&self, extent: Extent) -> Result<bool> {
        (**self).discard(extent)
    }

    fn write_back(&self, extent: Extent) {
        (**self).write_back(extent);
    }

    fn drop_cache(&self) -> Result<()> {
        (**self).drop_cache()
    }
}

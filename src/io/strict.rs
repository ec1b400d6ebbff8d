// SPDX-License-Identifier: MIT OR Apache-2.0
//! A reader for which an unreadable medium is a failure like any other, so that
//! a job ends at the first bad place instead of working on it.

use std::sync::{Mutex, PoisonError};

use super::ReadAt;
use crate::error::{Error, Result};
use crate::extent::ExtentSet;
use crate::units::SectorSize;

/// What was wrong with a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It has places that cannot be read.
    BadPlaces,
    /// It is not there any more.
    Gone,
}

/// A reader that remembers the first trouble with the drive.
#[derive(Debug)]
pub struct Strict<R> {
    inner: R,
    trouble: Mutex<Option<Trouble>>,
}

impl<R: ReadAt> Strict<R> {
    /// Reads from `inner`.
    pub const fn new(inner: R) -> Self {
        Self { inner, trouble: Mutex::new(None) }
    }

    /// What was wrong first.
    pub fn trouble(&self) -> Option<Trouble> {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
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
            let (trouble, hint) = match (error.is_media_error(), error.is_gone()) {
                (true, _) => (Trouble::BadPlaces, None),
                (_, true) => (Trouble::Gone, Some("check its cable and power")),
                _ => return error,
            };
            let mut first = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(trouble);
            let failed = Error::failed(error.to_string());
            hint.into_iter().fold(failed, Error::hint)
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
        assert_eq!(strict.trouble(), None, "the end is no bad place");
        assert!(!strict.read_at(1000, &mut [0; 512]).unwrap_err().is_media_error());
        assert_eq!(strict.trouble(), Some(Trouble::BadPlaces));
    }

    /// A drive that was pulled out.
    struct Gone;

    impl ReadAt for Gone {
        fn len(&self) -> u64 {
            4096
        }

        fn read_at(&self, _: u64, _: &mut [u8]) -> Result<()> {
            Err(Error::io("reading", std::io::Error::from_raw_os_error(libc::ENODEV)))
        }
    }

    #[test]
    fn a_drive_that_has_gone_has_no_bad_places() {
        let strict = Strict::new(Gone);
        let error = strict.read_at(0, &mut [0; 512]).unwrap_err();
        assert!(
            !error.is_media_error() && error.hint_text().is_some_and(|it| it.contains("cable"))
        );
        assert_eq!(strict.trouble(), Some(Trouble::Gone));
    }
}

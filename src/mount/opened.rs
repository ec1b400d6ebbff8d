// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opening what is to be mounted: an image, at an address too, or a disk.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

use super::Event;
use crate::browse::{How, OpenDisk};
use crate::error::{Error, ErrorKind, Result};
use crate::extent::ExtentSet;
use crate::io::ReadAt;
use crate::units::SectorSize;

/// Opens an image, or a disk that nobody writes to and that nobody can mount
/// from then on. That its drive or server fails later is told to `events`, once.
///
/// # Errors
/// As [`OpenDisk::open`]; refused if it is a disk that somebody writes to.
pub fn open(path: &Path, events: &Sender<Event>) -> Result<OpenDisk> {
    let watched = |inner| Watched { inner, events: events.clone(), has_failed: false.into() };
    let how = How { claim: true, ..How::default() };
    OpenDisk::open_with(path, how, |file| Box::new(watched(file))).map_err(|error| {
        match error.kind() {
            ErrorKind::Refused => error.hint("unmount it first, or look at it where it is mounted"),
            _ => error,
        }
    })
}

/// When an image was saved; of a disk, now.
pub(super) fn time_of(disk: &OpenDisk) -> SystemTime {
    let Some(image) = &disk.image else { return SystemTime::now() };
    let created = image.reader().head().about.created.parse();
    created.map_or(UNIX_EPOCH, |created: Timestamp| created.into())
}

/// A reader whose first failure is told.
struct Watched {
    inner: Box<dyn ReadAt>,
    events: Sender<Event>,
    has_failed: AtomicBool,
}

impl ReadAt for Watched {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn sector_size(&self) -> SectorSize {
        self.inner.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let result = self.inner.read_at(offset, buf);
        if let Err(error) = &result
            && !self.has_failed.swap(true, Ordering::Relaxed)
        {
            // Nobody listens any more only when all is over.
            let _ = self.events.send(Event::Failing(Error::failed(error.to_string())));
        }
        result
    }

    fn known_zeros(&self) -> ExtentSet {
        self.inner.known_zeros()
    }
}

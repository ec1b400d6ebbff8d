// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opening what is to be mounted: an image, at an address too, or a disk.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

use super::Event;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::extent::ExtentSet;
use crate::image::{Cached, Reader, format};
use crate::io::{ReadAt, read_vec};
use crate::job::open::open_source;
use crate::store;
use crate::units::SectorSize;

/// What was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An image.
    Image,
    /// A disk, or a file with the bytes of one.
    Disk,
}

/// A disk to be mounted.
pub struct Opened {
    /// Its bytes.
    pub disk: Arc<dyn ReadAt>,
    /// What they come from.
    pub kind: Kind,
    /// When it was saved; of a disk, now.
    pub time: SystemTime,
    /// What has to be said of it.
    pub note: Option<String>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Opens an image, or a disk that nobody writes to. That the drive or the
/// server fails later is told to `events`, once.
///
/// # Errors
/// Damaged if it is an image that cannot be opened; unsupported if it can only
/// be read front to back; refused if it is a disk that somebody writes to.
pub fn open(path: &Path, events: &Sender<Event>) -> Result<Opened> {
    let watched = |inner: Box<dyn ReadAt>| Watched {
        inner,
        events: events.clone(),
        has_failed: AtomicBool::new(false),
    };
    let what = || format!("opening {}", store::shown(path));
    let file = match store::open(path)? {
        store::Opened::Anywhere(file) => file,
        store::Opened::FrontToBack(_) => {
            return Err(Error::unsupported(format!(
                "the server gives {} only from front to back, and a mounted image is read \
                 anywhere",
                store::shown(path)
            ))
            .hint("download it first"));
        }
    };
    if !store::is_address(path) && !is_image(&*file) {
        drop(file);
        let source = open_source(path, None).map_err(|error| match error.kind() {
            ErrorKind::Refused => {
                let hint = "unmount it first, or look at it where it is mounted";
                error.hint(hint)
            }
            _ => error,
        })?;
        let disk = Arc::new(watched(Box::new(source)));
        return Ok(Opened { disk, kind: Kind::Disk, time: SystemTime::now(), note: None });
    }
    let reader = Reader::open(watched(file)).context(what)?;
    let note = match (reader.index_damage(), reader.damage()) {
        (Some(damage), _) => {
            Some(format!("{damage}; the index was rebuilt from the image's frames"))
        }
        (None, damage) => damage.map(|it| format!("{it}; the image can be read all the same")),
    };
    let time = reader.head().about.created.parse().map_or(UNIX_EPOCH, |it: Timestamp| it.into());
    Ok(Opened { disk: Arc::new(Cached::new(reader)), kind: Kind::Image, time, note })
}

/// True if it begins as an image does; one that is damaged there is no disk.
fn is_image(file: &dyn ReadAt) -> bool {
    let start = read_vec(file, 0, 16).ok().and_then(|start| <[u8; 16]>::try_from(start).ok());
    start.is_some_and(|start| format::is_image_start(&start))
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

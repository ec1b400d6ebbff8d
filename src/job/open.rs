// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opening what the jobs read: sources and images.

use std::fmt;
use std::io::Read;
use std::path::Path;

pub use crate::device::open_source;
use crate::device::{Source, check_opened_source};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::{Head, Reader, Stream};
use crate::io::ReadAt;
use crate::restore::{Feed, Streamed};
use crate::store::{self, Opened};

/// Opened disks as readers.
#[must_use]
pub fn readers(others: &[Source]) -> Vec<&dyn ReadAt> {
    others.iter().map(|other| other as &dyn ReadAt).collect()
}

/// Fails if something may have written to the source while it was read: what
/// could not be claimed may have been mounted meanwhile.
///
/// # Errors
/// That it was used, or that the kernel cannot be asked.
pub fn check_still_unused(source: &Source) -> Result<()> {
    check_opened_source(source).map_err(|error| {
        if error.kind() != ErrorKind::Refused {
            return error;
        }
        let hint = error.hint_text().unwrap_or("make sure that nothing uses it").to_owned();
        Error::failed(format!(
            "{} was used while it was read, so that what was read may not fit together: {error}",
            source.path()
        ))
        .hint(hint)
    })
}

/// An image, opened to be read by its index or, where that is not possible,
/// front to back.
#[expect(clippy::large_enum_variant, reason = "a job has one of it, and never moves it")]
pub enum Image {
    /// From a file, or a server that gives parts of it.
    Indexed(Reader<Box<dyn ReadAt>>),
    /// From a pipe, or a server that gives it whole.
    Streamed(Streamed<Box<dyn Read + Send>>),
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Indexed(_) => "Indexed",
            Self::Streamed(_) => "Streamed",
        })
    }
}

impl Image {
    /// What is known of the disk.
    #[must_use]
    pub fn head(&self) -> &Head {
        match self {
            Self::Indexed(reader) => reader.head(),
            Self::Streamed(feed) => feed.head(),
        }
    }

    /// What has to be said of an image that is damaged and can be read all the
    /// same, or that comes front to back from a server.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        match self {
            Self::Indexed(reader) => reader.note(),
            Self::Streamed(_) => {
                Some("the image is read front to back: the server gives no parts of it".into())
            }
        }
    }
}

/// Opens an image: a file, or what is at an address.
///
/// # Errors
/// Damaged if it is not one.
pub fn open_image(path: &Path) -> Result<Image> {
    let what = || format!("opening {}", store::shown(path));
    Ok(match store::open(path)? {
        Opened::Anywhere(file) => Image::Indexed(Reader::open(file).context(what)?),
        Opened::FrontToBack(input) => {
            Image::Streamed(Streamed::new(Stream::open(input).context(what)?))
        }
    })
}

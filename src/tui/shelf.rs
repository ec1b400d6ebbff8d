// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where images are: what is offered to choose from, and the one that was
//! opened.

use std::path::{Path, PathBuf};

use super::widgets::short;
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::image::format::{About, Head};
use crate::job::open::{Image, open_image};
use crate::job::overwrite::Disk;
use crate::media::{self, FoundImage, OpenImage};
use crate::pipeline::Cancel;
use crate::progress::Progress;
use crate::restore::{Feed, Indexed};
use crate::store;

/// An image to be opened.
#[derive(Debug, Clone)]
pub(crate) enum Offer {
    /// One that was found on a drive.
    Found(Box<FoundImage>),
    /// A path or an address that was typed.
    Typed(PathBuf),
}

impl Offer {
    /// What it is called where it is.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Found(found) => found.path_on_medium.display().to_string(),
            Self::Typed(path) => store::shown(path).to_string(),
        }
    }
}

/// An image that was chosen and opened.
#[derive(Debug)]
pub(crate) struct Picked {
    path: PathBuf,
    image: Image,
    /// Holds the mount of its drive.
    _held: Option<OpenImage>,
}

impl Picked {
    /// Opens an image.
    ///
    /// # Errors
    /// If it is none, or cannot be read.
    pub(crate) fn open(offer: &Offer) -> Result<Self> {
        let (path, held) = match offer {
            Offer::Found(found) => {
                let held = media::open(found)?;
                (held.path().to_owned(), Some(held))
            }
            Offer::Typed(path) => (path.clone(), None),
        };
        Ok(Self { image: open_image(&path)?, path, _held: held })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its file, which must not be on the target; none at an address.
    pub(crate) fn file(&self) -> Option<&Path> {
        (!store::is_address(&self.path)).then_some(self.path.as_path())
    }

    /// What it says of itself.
    pub(crate) fn head(&self) -> &Head {
        self.image.head()
    }

    /// What has to be said of it before it is used.
    pub(crate) fn note(&self) -> Option<String> {
        self.image.note()
    }

    /// What could not be read when it was made; of one that is read front to
    /// back, that is not known yet.
    pub(crate) fn losses(&self) -> &[Extent] {
        match &self.image {
            Image::Indexed(reader) => &reader.report().losses,
            Image::Streamed(_) => &[],
        }
    }

    /// Gives its image to a job. One that is read front to back is opened
    /// anew, because it can be read only once.
    ///
    /// # Errors
    /// Those of the job, and if it cannot be opened again.
    pub(crate) fn with_image<T>(&self, job: impl FnOnce(&Image) -> Result<T>) -> Result<T> {
        match &self.image {
            Image::Indexed(_) => job(&self.image),
            Image::Streamed(_) => {
                let again = open_image(&self.path)?;
                if again.head().image_id != self.head().image_id {
                    return Err(Error::failed(format!(
                        "{} has become another image since it was chosen",
                        store::shown(&self.path)
                    ))
                    .hint("choose the image again"));
                }
                job(&again)
            }
        }
    }

    /// As [`Picked::with_image`], for a job that writes it.
    ///
    /// # Errors
    /// As [`Picked::with_image`].
    pub(crate) fn with_feed<T>(
        &self,
        job: impl FnOnce(&dyn Feed, Disk<'_>) -> Result<T>,
    ) -> Result<T> {
        self.with_image(|image| match image {
            Image::Indexed(reader) => job(&Indexed::new(reader), Some((reader, reader.entries()))),
            Image::Streamed(feed) => job(feed, None),
        })
    }

    /// "'studio before the update', saved 2026-11-21 14:03"
    pub(crate) fn name(&self) -> String {
        let about = &self.head().about;
        format!("'{}', saved {}", name_of(about), date_of(&about.created))
    }
}

/// What a person called it, or else what the disk is called.
fn name_of(about: &About) -> String {
    let name = about.label.as_deref().or(about.disk.model.as_deref()).unwrap_or("a disk");
    short(name, 36)
}

/// "2026-11-21 14:03" of the time in an image.
pub(crate) fn date_of(created: &str) -> String {
    let date: String = created.chars().take(16).collect();
    short(&date.replace('T', " "), 16)
}

/// What was found, and what was not searched.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shelf {
    pub(crate) images: Vec<FoundImage>,
    /// Drives that were left out, each with the reason.
    pub(crate) skipped: Vec<String>,
}

/// Looks for images in folders, if there are any, and on all drives else.
///
/// # Errors
/// If it was asked to stop.
pub(crate) fn find(folders: &[PathBuf], cancel: &Cancel, progress: &dyn Progress) -> Result<Shelf> {
    let tell = |text: &str| progress.stage(text, 0);
    let mut shelf = Shelf::default();
    if folders.is_empty() {
        let search = media::search(&tell);
        shelf.images = search.images;
        let skipped = search.skipped.iter();
        shelf.skipped = skipped.map(|it| format!("{}: {}", it.medium, it.why)).collect();
    } else {
        shelf.images = media::find_in(folders, &tell);
    }
    cancel.check()?;
    // The newest first: mostly it is the one that is wanted.
    shelf.images.sort_by_key(newest_first);
    Ok(shelf)
}

fn newest_first(image: &FoundImage) -> (bool, std::cmp::Reverse<String>) {
    let created = image.facts.as_ref().map(|facts| facts.created.clone());
    (created.is_none(), std::cmp::Reverse(created.unwrap_or_default()))
}

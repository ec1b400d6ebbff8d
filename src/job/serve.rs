// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opening an image, or a disk, to be served.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::extent::ExtentSet;
use crate::image::{Cached, format};
use crate::io::ReadAt;
use crate::layout::{self, Layout};
use crate::nbd::{Below, Disk, Exports};
use crate::store;
use crate::units::SectorSize;

use super::open::{Image, open_image, open_source};

/// What was opened to be served.
#[derive(Debug)]
pub struct Opened {
    disk: Disk,
    layout: Layout,
    title: String,
    note: Option<String>,
    losses: ExtentSet,
}

impl Opened {
    /// Opens an image - a file, or what is at an address - or a disk.
    ///
    /// # Errors
    /// If it cannot be opened, or only be read front to back; refused if it is
    /// a disk that something may write to.
    pub fn new(path: &Path, sector: Option<SectorSize>) -> Result<Self> {
        match open_image(path) {
            Ok(image) => Self::of_image(path, image),
            // Not an image, so it is a disk; a damaged image is none.
            Err(error) if error.kind() == ErrorKind::Damaged && !store::is_address(path) => {
                let source = open_source(path, sector)?;
                if source.len() < 16 || starts_as_image(&source)? {
                    return Err(error);
                }
                Ok(Self {
                    layout: layout::scan(&source)?.layout,
                    title: source.path().to_owned(),
                    disk: Disk::new(Below::Disk(Arc::new(source))),
                    note: None,
                    losses: ExtentSet::new(),
                })
            }
            Err(error) => Err(error),
        }
    }

    /// An image that is open.
    ///
    /// # Errors
    /// Unsupported if it can only be read front to back.
    pub fn of_image(path: &Path, image: Image) -> Result<Self> {
        let note = image.note();
        let Image::Indexed(reader) = image else {
            return Err(Error::unsupported(format!(
                "{} can only be read front to back: the server gives no parts of it",
                store::shown(path)
            ))
            .hint("fetch the image first"));
        };
        let about = &reader.head().about;
        let title = about.label.clone().or_else(|| about.disk.model.clone());
        Ok(Self {
            layout: about.layout.clone(),
            title: title.unwrap_or_else(|| about.disk.path.clone()),
            note,
            losses: reader.report().losses.iter().copied().collect(),
            disk: Disk::new(Below::Image(Arc::new(Cached::new(reader)))),
        })
    }

    /// What has to be said of an image that is damaged and can be read all the
    /// same.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// What could not be read when the image was made; it reads as zero.
    #[must_use]
    pub const fn losses(&self) -> &ExtentSet {
        &self.losses
    }

    /// What clients can choose of it; writable with an overlay in a folder.
    ///
    /// # Errors
    /// If there can be no overlay.
    pub fn exports(self, overlay: Option<&Path>) -> Result<Exports> {
        let disk = match overlay {
            Some(folder) => self.disk.with_overlay(folder)?,
            None => self.disk,
        };
        Ok(Exports::new(disk, &self.layout, &self.title))
    }
}

fn starts_as_image(source: &dyn ReadAt) -> Result<bool> {
    let mut start = [0; 16];
    source.read_at(0, &mut start)?;
    Ok(format::is_image_start(&start))
}

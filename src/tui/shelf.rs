// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where images are: what is offered to choose from, and the one that was
//! opened.

use std::path::{Path, PathBuf};

use crate::device::Source;
use crate::error::{Error, Result};
use crate::image::Reader;
use crate::image::format::{About, Head};
use crate::image::rescan::read_head;
use crate::job::open::{damage_note, open_image};
use crate::pipeline::Cancel;
use crate::progress::Progress;

/// An image that was found.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    /// Where it is, in words.
    pub(crate) place: String,
    /// How to open it.
    pub(crate) path: PathBuf,
    /// The size of the file.
    pub(crate) len: u64,
    /// What it says of itself, or why it cannot be used.
    pub(crate) head: Result<About, String>,
    /// The size of the disk that was saved.
    pub(crate) disk_len: u64,
}

/// An image that was chosen and opened.
#[derive(Debug)]
pub(crate) struct Picked {
    /// Its file.
    pub(crate) path: PathBuf,
    /// What it is read by.
    pub(crate) reader: Reader<Source>,
    /// What has to be said of it, if it is damaged and can be read all the same.
    pub(crate) note: Option<String>,
}

impl Picked {
    /// Opens an image file.
    ///
    /// # Errors
    /// If it is none, or cannot be read.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let reader = open_image(path)?;
        let note = damage_note(&reader);
        Ok(Self { path: path.to_owned(), reader, note })
    }

    /// What it says of itself.
    pub(crate) fn head(&self) -> &Head {
        self.reader.head()
    }

    /// "'studio before the update', saved 2026-11-21 14:03"
    pub(crate) fn name(&self) -> String {
        let about = &self.head().about;
        format!("'{}', saved {}", name_of(about), date_of(about))
    }
}

/// What a person called it, or else what the disk is called.
pub(crate) fn name_of(about: &About) -> String {
    let name = about.label.as_deref().or(about.disk.model.as_deref()).unwrap_or("a disk");
    super::widgets::short(name, 40)
}

/// "2026-11-21 14:03"
pub(crate) fn date_of(about: &About) -> String {
    let date: String = about.created.chars().take(16).collect();
    super::widgets::short(&date.replace('T', " "), 16)
}

/// Looks for images.
///
/// # Errors
/// If it was asked to stop.
pub(crate) fn find(
    folders: &[PathBuf],
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<Vec<Offer>> {
    let mut offers = Vec::new();
    for folder in folders {
        progress.stage(&format!("looking in {}", folder.display()), 0);
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries.flatten() {
            cancel.check()?;
            let path = entry.path();
            if path.extension().is_some_and(|it| it == "zst") && path.is_file() {
                offers.push(look_at(&path));
            }
        }
    }
    offers.sort_by(|a, b| newest_first(a).cmp(&newest_first(b)));
    Ok(offers)
}

fn newest_first(offer: &Offer) -> (bool, std::cmp::Reverse<String>) {
    let created = offer.head.as_ref().map(|about| about.created.clone());
    (created.is_err(), std::cmp::Reverse(created.unwrap_or_default()))
}

fn look_at(path: &Path) -> Offer {
    let len = std::fs::metadata(path).map_or(0, |it| it.len());
    let head = Source::open(path).and_then(|file| read_head(&file)).map(|(head, _, _)| head);
    let disk_len = head.as_ref().map_or(0, |head| head.disk_len);
    let head = head.map(|head| head.about).map_err(|error: Error| error.to_string());
    Offer { place: path.display().to_string(), path: path.to_owned(), len, head, disk_len }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! An opened image or disk as what is served.

use std::path::Path;
use std::sync::Arc;

use crate::browse::{OpenDisk, OpenImage};
use crate::error::Result;
use crate::layout;
use crate::nbd::{Below, Disk, Exports};

/// What clients can choose of an opened image or disk; writable with an overlay
/// in a folder.
///
/// # Errors
/// If a disk cannot be read, or there can be no overlay.
pub fn exports(disk: &OpenDisk, overlay: Option<&Path>) -> Result<Exports> {
    if let Some(image) = &disk.image {
        return exports_of_image(Arc::clone(image), overlay);
    }
    let layout = layout::scan(&disk.reader)?.layout;
    let below = Below::Disk(Arc::clone(&disk.reader));
    Ok(Exports::new(served(below, overlay)?, &layout, &disk.name))
}

/// As [`exports`], of an image.
///
/// # Errors
/// If there can be no overlay.
pub fn exports_of_image(image: Arc<OpenImage>, overlay: Option<&Path>) -> Result<Exports> {
    let about = &image.reader().head().about;
    let title = about.label.as_ref().or(about.disk.model.as_ref()).unwrap_or(&about.disk.path);
    let disk = served(Below::Image(Arc::clone(&image)), overlay)?;
    Ok(Exports::new(disk, &about.layout, title))
}

fn served(below: Below, overlay: Option<&Path>) -> Result<Disk> {
    let disk = Disk::new(below);
    match overlay {
        Some(folder) => disk.with_overlay(folder),
        None => Ok(disk),
    }
}

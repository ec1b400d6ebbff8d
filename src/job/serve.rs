// SPDX-License-Identifier: MIT OR Apache-2.0
//! An opened image or disk as what is served.

use std::path::Path;
use std::sync::Arc;

use crate::browse::{OpenDisk, OpenImage, OpenVolume};
use crate::error::Result;
use crate::layout::{self, Layout};
use crate::nbd::{Below, Disk, Exports};

/// What clients can choose of an opened image or disk; writable with an overlay
/// in a folder. Without one, the logical volumes that can be read are among it.
///
/// # Errors
/// If a disk cannot be read, or there can be no overlay.
pub fn exports(disk: &OpenDisk, overlay: Option<&Path>) -> Result<Exports> {
    let has_volumes = |layout: &Layout| layout.regions.iter().any(|it| !it.volumes.is_empty());
    let (exports, has_volumes) = match &disk.image {
        Some(image) => {
            let has_volumes = has_volumes(&image.reader().head().about.layout);
            (exports_of_image(Arc::clone(image), overlay)?, has_volumes)
        }
        None => {
            let layout = layout::scan(&disk.reader)?.layout;
            let below = Below::Disk(Arc::clone(&disk.reader));
            let exports = Exports::new(served(below, overlay)?, &layout, &disk.name);
            (exports, has_volumes(&layout))
        }
    };
    // What is written to the disk would not be seen in them.
    if overlay.is_some() || !has_volumes {
        return Ok(exports);
    }
    // What is a piece of the disk is there as its partition.
    let is_apart = |volume: &&OpenVolume| volume.extent.is_none() && !volume.reader.is_empty();
    Ok(exports.with_volumes(disk.volumes().iter().filter(is_apart).map(|volume| {
        let content = volume.identity.as_ref().map_or("nothing known", |it| &it.name);
        let label = volume.any_label().map(|label| format!(", {label}")).unwrap_or_default();
        (volume.name.clone(), format!("volume, {content}{label}"), Arc::clone(&volume.reader))
    })))
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

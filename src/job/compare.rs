// SPDX-License-Identifier: MIT OR Apache-2.0
//! Comparing a disk with an image, and where they differ.

use std::path::Path;

use crate::compare::{self, Compared};
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::io::ReadAt;
use crate::pipeline::Cancel;
use crate::progress::Progress;
use crate::restore::{Feed, Indexed};
use crate::save::check_losses;
use crate::units::human;

use super::open::Image;

/// What a comparison has found.
#[derive(Debug)]
pub struct Found {
    /// What was compared, and the ranges that differ.
    pub compared: Compared,
    /// The parts of the disk in which they are.
    pub regions: Vec<Different>,
    /// What could not be read when the disk was saved.
    losses: Vec<Extent>,
}

/// A part of the disk that differs.
#[derive(Debug)]
pub struct Different {
    /// "partition 2"
    pub title: String,
    /// What fills it, as the image says; from a disk.
    pub content: String,
    /// How many bytes differ.
    pub bytes: u64,
    /// In how many ranges.
    pub ranges: usize,
}

/// Compares a disk with an image, or with one partition of it.
///
/// # Errors
/// If one of the two cannot be read, the image is damaged, or has no such
/// partition.
pub fn run(
    image: &Image,
    partition: Option<u32>,
    disk: &dyn ReadAt,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<Found> {
    let head = image.head();
    let layout = &head.about.layout;
    let window = match partition {
        None => Extent::new(0, head.disk_len),
        Some(number) => layout.partition_extent(number, head.disk_len)?,
    };
    let indexed;
    let feed: &dyn Feed = match image {
        Image::Streamed(feed) => feed,
        Image::Indexed(reader) => {
            indexed = Indexed::from_offset(reader, window.start());
            &indexed
        }
    };
    let compared = compare::run(feed, window, disk, cancel, progress)?;
    let different = |region: &crate::layout::Region| Different {
        title: region.title(),
        content: region.content().to_owned(),
        bytes: compared.different.within(region.extent).map(|part| part.len()).sum(),
        ranges: compared.different.within(region.extent).count(),
    };
    let regions = layout.regions.iter().map(different).filter(|it| it.bytes > 0).collect();
    Ok(Found { compared, regions, losses: feed.losses() })
}

impl Found {
    /// The error with which a comparison ends that was finished.
    ///
    /// # Errors
    /// Damaged if anything differs, losses if the image has some.
    pub fn finding(&self, disk: &Path) -> Result<()> {
        let different = &self.compared.different;
        if different.is_empty() {
            return check_losses(&self.losses);
        }
        Err(Error::damaged(format!(
            "{} differs from the image in {} of {}",
            disk.display(),
            human(different.bytes()),
            human(self.compared.bytes)
        ))
        .hint(
            "a system that has been started since changes its disk; \
             restore again to get the saved state",
        ))
    }
}

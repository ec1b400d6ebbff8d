// SPDX-License-Identifier: MIT OR Apache-2.0
//! Verifying an image: what it takes to say that it is good.

use std::path::Path;

use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::pipeline::Cancel;
use crate::progress::Progress;
use crate::restore::{Feed, Indexed};
use crate::save::check_losses;
use crate::store;
use crate::verify::{self, Verified};

use super::open::Image;

/// What is known of an image that was verified.
#[derive(Debug)]
pub struct Checked {
    /// How much was checked.
    pub verified: Verified,
    /// What could not be read when the disk was saved.
    pub losses: Vec<Extent>,
    /// Damage that nothing was lost by.
    pub damage: Option<String>,
    /// True if only structure and index were looked at.
    pub quick: bool,
}

/// Verifies an image. Of one that comes front to back, all is read in any case.
///
/// # Errors
/// Damaged at the first piece that is.
pub fn run(
    image: &Image,
    quick: bool,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<Checked> {
    let reader = match image {
        Image::Indexed(reader) => reader,
        Image::Streamed(feed) => {
            let verified = verify::run(feed, cancel, progress)?;
            return Ok(Checked { verified, losses: feed.losses(), damage: None, quick: false });
        }
    };
    let feed = Indexed::new(reader);
    let verified = if quick {
        Verified { pieces: reader.entries().len() as u64, bytes: 0 }
    } else {
        verify::run(&feed, cancel, progress)?
    };
    let damage = reader.damage().map(str::to_owned);
    Ok(Checked { verified, losses: feed.losses(), damage, quick })
}

impl Checked {
    /// The error with which a verification ends that was finished.
    ///
    /// # Errors
    /// Damaged or with losses, if it is.
    pub fn finding(&self, path: &Path) -> Result<()> {
        let Some(damage) = &self.damage else { return check_losses(&self.losses) };
        let data = if self.quick { "its data was not read" } else { "all its data is good" };
        Err(Error::damaged(format!("{}: {damage}; {data}", store::shown(path)))
            .hint("the image can be restored; save the disk again while you can"))
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which bytes are the same on two disks, as far as that is known without
//! reading files: by the hashes of two images, or by comparing an image with
//! the disk.

use crate::compare;
use crate::error::{ErrorKind, Result};
use crate::extent::{Extent, ExtentSet};
use crate::image::{Head, Kind, Reader};
use crate::io::{ReadAt, Window};
use crate::pipeline::Cancel;
use crate::progress::Progress;
use crate::restore::Indexed;

use super::super::open::{OpenDisk, OpenImage};

/// What is known to be the same on two disks.
#[derive(Debug)]
pub struct Unchanged {
    different: ExtentSet,
    /// True if the whole disks were compared.
    is_of_all: bool,
    /// True if places tell nothing: what lies nowhere may have bytes all the same.
    is_nothing: bool,
}

impl Unchanged {
    /// Finds out, for these places at least.
    ///
    /// # Errors
    /// Interruption; what cannot be read is not the same.
    pub fn find(
        before: &OpenDisk,
        after: &OpenDisk,
        places: &ExtentSet,
        cancel: &Cancel,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let (mut different, is_of_all) = match (&before.image, &after.image) {
            (Some(old), Some(new)) if is_same_grid(old.reader().head(), new.reader().head()) => {
                (by_hash(old.reader(), new.reader()), true)
            }
            (Some(image), _) => (by_content(image, after, places, cancel, progress)?, false),
            (None, Some(image)) => (by_content(image, before, places, cancel, progress)?, false),
            (None, None) => (ExtentSet::all(u64::MAX), true),
        };
        for disk in [before, after] {
            let losses = disk.image.iter().flat_map(|image| &image.reader().report().losses);
            different.extend(losses.copied());
        }
        Ok(Self { different, is_of_all, is_nothing: false })
    }

    /// Nothing is known, wherever it lies.
    #[must_use]
    pub fn nothing() -> Self {
        Self { different: ExtentSet::all(u64::MAX), is_of_all: false, is_nothing: true }
    }

    /// Of these bytes, for tests.
    #[cfg(test)]
    pub(crate) const fn except(different: ExtentSet) -> Self {
        Self { different, is_of_all: true, is_nothing: false }
    }

    /// True if it is known that nothing at all differs.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.is_of_all && self.different.is_empty()
    }

    /// Which of these bytes are not known to be the same.
    #[must_use]
    pub fn doubtful(&self, places: &ExtentSet) -> ExtentSet {
        self.different.intersect(places)
    }

    /// True if something lies in the same place on both disks, and its bytes are
    /// the same.
    #[must_use]
    pub fn holds(&self, before: &ExtentSet, after: &ExtentSet) -> bool {
        !self.is_nothing
            && before == after
            && !before.iter().any(|extent| self.different.touches(extent))
    }
}

fn is_same_grid(a: &Head, b: &Head) -> bool {
    a.chunk_size == b.chunk_size
}

/// What differs between two images of the same grid. What one of them has not
/// is different.
fn by_hash<F: ReadAt>(old: &Reader<F>, new: &Reader<F>) -> ExtentSet {
    let mut different = ExtentSet::new();
    let (old_len, new_len) = (old.head().disk_len, new.head().disk_len);
    different.insert(Extent::new(old_len.min(new_len), old_len.max(new_len)));
    let (mut left, mut right) = (old.entries().iter().peekable(), new.entries().iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let (in_a, in_b) = (a.extent(old.head()), b.extent(new.head()));
        let is_same = match (a.kind, b.kind) {
            (Kind::Zero, Kind::Zero) => true,
            (Kind::Data, Kind::Data) => a.hash == b.hash && in_a == in_b,
            _ => false,
        };
        if !is_same || a.lossy || b.lossy {
            different.insert(in_a.intersect(&in_b));
        }
        if in_a.end() <= in_b.end() {
            left.next();
        }
        if in_b.end() <= in_a.end() {
            right.next();
        }
    }
    different
}

/// What differs between an image and something else, of what the image says is
/// in use: what is not is nothing that a file is made of.
fn by_content(
    image: &OpenImage,
    other: &OpenDisk,
    places: &ExtentSet,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<ExtentSet> {
    let reader = image.reader();
    // What was lost counts as different by itself; here it would end it all.
    let disk: &dyn ReadAt = match &other.image {
        Some(image) => &**image,
        None => &*other.reader,
    };
    let all = Extent::new(0, reader.head().disk_len);
    let mut different = ExtentSet::new();
    different.insert(Extent::new(all.end().min(disk.len()), all.end().max(disk.len())));
    for place in places.iter() {
        let window = place.intersect(&all);
        let feed = Indexed::from_offset(reader, window.start());
        let there = Window::new(disk, window);
        match compare::run(&feed, window, &there, cancel, progress) {
            Ok(compared) => different.extend(compared.different.iter()),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            // Each file in it is read then, and those that can be are compared.
            Err(_) => different.insert(window),
        }
    }
    Ok(different)
}

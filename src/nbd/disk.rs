// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is served: a disk, what is written over it, and the parts of it that
//! have a name.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::image::Cached;
use crate::image::cached::Piece;
use crate::io::{Place, ReadAt, Scratch, read_vec};
use crate::layout::Layout;
use crate::units::{SectorSize, human};

/// As much as is read at a time of what is no image.
const PIECE: u64 = 1 << 20;

/// What is read.
#[derive(Clone)]
pub enum Below {
    /// An opened image.
    Image(Arc<Cached<Box<dyn ReadAt>>>),
    /// A disk.
    Disk(Arc<dyn ReadAt>),
}

impl std::fmt::Debug for Below {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::Image(_)) { "Image" } else { "Disk" })
    }
}

impl Below {
    fn inner(&self) -> &dyn ReadAt {
        match self {
            Self::Image(image) => image,
            Self::Disk(disk) => disk,
        }
    }

    fn piece(&self, extent: Extent) -> Result<Piece> {
        match self {
            Self::Image(image) => image.piece(extent),
            Self::Disk(disk) => {
                let len = usize::try_from(extent.len().min(PIECE)).unwrap_or(0);
                Ok(Piece::Bytes(read_vec(disk, extent.start(), len)?.into()))
            }
        }
    }
}

impl ReadAt for Below {
    fn len(&self) -> u64 {
        self.inner().len()
    }

    fn sector_size(&self) -> SectorSize {
        self.inner().sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.inner().read_at(offset, buf)
    }

    fn known_zeros(&self) -> ExtentSet {
        self.inner().known_zeros()
    }
}

/// A disk that is served, and what clients wrote over it.
#[derive(Debug)]
pub struct Disk {
    below: Below,
    zeros: ExtentSet,
    scratch: Option<Scratch<Below>>,
}

impl Disk {
    /// A disk that can only be read.
    pub fn new(below: Below) -> Self {
        Self { zeros: below.known_zeros(), below, scratch: None }
    }

    /// The same disk, writable: what is written goes to a scratch file in
    /// `folder` and is gone in the end.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn with_overlay(self, folder: &Path) -> Result<Self> {
        let scratch = Scratch::new(self.below.clone(), folder)?;
        Ok(Self { scratch: Some(scratch), ..self })
    }

    /// The number of bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.below.len()
    }

    /// True if there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What takes writes, if anything does.
    #[must_use]
    pub const fn scratch(&self) -> Option<&Scratch<Below>> {
        self.scratch.as_ref()
    }

    /// The first bytes of an extent that is on the disk; at least one.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn piece(&self, extent: Extent) -> Result<Piece> {
        let Some(scratch) = &self.scratch else { return self.below.piece(extent) };
        let (place, part) = scratch.place(extent);
        match place {
            Place::Below => self.below.piece(part),
            Place::Zero => Ok(Piece::Zeros(part.len())),
            Place::Written => {
                let len = usize::try_from(part.len().min(PIECE)).unwrap_or(0);
                let mut bytes = vec![0; len];
                scratch.read_written(part.start(), &mut bytes)?;
                Ok(Piece::Bytes(bytes.into()))
            }
        }
    }

    /// The first ranges of an extent that is on the disk, `most` at most: how
    /// long each is, and whether it is known to be zero.
    #[must_use]
    pub fn allocation(&self, extent: Extent, most: usize) -> Vec<(u64, bool)> {
        let mut ranges: Vec<(u64, bool)> = Vec::new();
        let mut left = extent;
        while !left.is_empty() {
            let (place, part) =
                self.scratch.as_ref().map_or((Place::Below, left), |it| it.place(left));
            let (is_zero, end) = match place {
                Place::Zero => (true, part.end()),
                Place::Written => (false, part.end()),
                Place::Below => match self.zeros.within(part).next() {
                    Some(zeros) if zeros.start() == part.start() => (true, zeros.end()),
                    Some(zeros) => (false, zeros.start()),
                    None => (false, part.end()),
                },
            };
            let len = end.saturating_sub(left.start());
            let has_room = ranges.len() < most;
            match ranges.last_mut().filter(|(_, same)| *same == is_zero) {
                Some((last, _)) => *last = last.saturating_add(len),
                None if has_room => ranges.push((len, is_zero)),
                None => break,
            }
            left = Extent::new(end, left.end());
        }
        ranges
    }
}

/// A part of the disk that clients can choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Its name: `disk`, or the number of a partition.
    pub name: String,
    /// What it is, for people.
    pub description: String,
    /// Its bytes on the disk.
    pub extent: Extent,
}

/// A disk and all that clients can choose of it.
#[derive(Debug)]
pub struct Exports {
    disk: Disk,
    list: Vec<Export>,
}

impl Exports {
    /// The disk and each partition that is whole on it.
    #[must_use]
    pub fn new(disk: Disk, layout: &Layout, title: &str) -> Self {
        let len = disk.len();
        let whole = Export {
            name: "disk".into(),
            description: format!("{title}, {}", human(len)),
            extent: Extent::new(0, len),
        };
        let partitions = layout.partitions().filter_map(|(partition, region)| {
            if partition.container {
                return None;
            }
            let extent = layout.partition_extent(partition.number, len).ok()?;
            let label = region.filesystem.as_ref().and_then(|it| it.label.clone());
            let label = label.or_else(|| partition.name.clone()).unwrap_or_default();
            let parts = [region.title(), region.content().to_owned(), label, human(extent.len())];
            let parts: Vec<String> =
                parts.into_iter().filter(|part| !part.is_empty() && part != "-").collect();
            Some(Export {
                name: partition.number.to_string(),
                description: parts.join(", "),
                extent,
            })
        });
        let list = std::iter::once(whole).chain(partitions).collect();
        Self { disk, list }
    }

    /// The disk.
    #[must_use]
    pub const fn disk(&self) -> &Disk {
        &self.disk
    }

    /// All of them; the whole disk is the first.
    #[must_use]
    pub fn list(&self) -> &[Export] {
        &self.list
    }

    /// The one of a name; without a name it is the whole disk.
    ///
    /// # Errors
    /// A sentence for the client with the names there are.
    pub fn find(&self, name: &str) -> Result<&Export> {
        let found = self.list.iter().find(|export| name.is_empty() || export.name == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.list.iter().map(|export| export.name.as_str()).collect();
            Error::failed(format!("there is no such export; there are: {}", names.join(", ")))
        })
    }
}

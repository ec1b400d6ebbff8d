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

/// A part of the disk that clients can choose, or a volume by itself.
#[derive(Debug, Clone)]
pub struct Export {
    /// Its name: `disk`, the number of a partition, or that of a logical volume.
    pub name: String,
    /// What it is, for people.
    pub description: String,
    /// What it is read from: the disk, or the volume.
    pub disk: Arc<Disk>,
    /// Its bytes there.
    pub extent: Extent,
}

/// So many partitions are offered, and so many volumes; more are in no table that is
/// not hostile.
const MAX_PARTITIONS: usize = 1024;

/// A text from an image as clients may show it: short, and without anything that
/// steers a terminal.
fn for_people(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// A disk and all that clients can choose of it.
#[derive(Debug)]
pub struct Exports {
    list: Vec<Export>,
}

impl Exports {
    /// The disk and each partition that is whole on it.
    #[must_use]
    pub fn new(disk: Disk, layout: &Layout, title: &str) -> Self {
        let len = disk.len();
        let disk = Arc::new(disk);
        let all = Extent::new(0, len);
        let whole = Export {
            name: "disk".into(),
            description: for_people(&format!("{title}, {}", human(len))),
            disk: Arc::clone(&disk),
            extent: all,
        };
        let is_whole = |extent: &Extent| all.contains(extent) && !extent.is_empty();
        let partitions = layout
            .partitions()
            .filter(|(partition, _)| is_whole(&partition.extent) && !partition.container);
        let partitions = partitions.take(MAX_PARTITIONS).map(|(partition, region)| {
            let label = region.filesystem.as_ref().and_then(|it| it.label.clone());
            let label = label.or_else(|| partition.name.clone()).unwrap_or_default();
            let size = human(partition.extent.len());
            let parts = [region.title(), region.content().to_owned(), label, size];
            let parts: Vec<String> =
                parts.into_iter().filter(|part| !part.is_empty() && part != "-").collect();
            Export {
                name: partition.number.to_string(),
                description: for_people(&parts.join(", ")),
                disk: Arc::clone(&disk),
                extent: partition.extent,
            }
        });
        let list = std::iter::once(whole).chain(partitions).collect();
        Self { list }
    }

    /// The same, and volumes that are no part of the disk in one piece, each with
    /// its name and what it is: logical volumes. They can only be read.
    #[must_use]
    pub fn with_volumes(
        mut self,
        volumes: impl IntoIterator<Item = (String, String, Arc<dyn ReadAt>)>,
    ) -> Self {
        for (name, what, reader) in volumes.into_iter().take(MAX_PARTITIONS) {
            if self.list.iter().any(|export| export.name == name) {
                continue;
            }
            let disk = Arc::new(Disk::new(Below::Disk(reader)));
            self.list.push(Export {
                name,
                description: for_people(&format!("{what}, {}", human(disk.len()))),
                extent: Extent::new(0, disk.len()),
                disk,
            });
        }
        self
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Memory;
    use crate::layout::{Region, RegionKind};
    use crate::table::Partition;

    /// A disk whose second MiB is known to be zero.
    struct Sparse(Memory);

    const MIB: u64 = 1 << 20;

    impl ReadAt for Sparse {
        fn len(&self) -> u64 {
            self.0.len()
        }

        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
            self.0.read_at(offset, buf)
        }

        fn known_zeros(&self) -> ExtentSet {
            [Extent::at(MIB, MIB)].into_iter().collect()
        }
    }

    fn disk() -> Disk {
        Disk::new(Below::Disk(Arc::new(Sparse(Memory::zeros(3 << 20)))))
    }

    #[test]
    fn what_is_zero_is_told_below_and_above() {
        let all = Extent::new(0, 3 * MIB);
        let told = |disk: &Disk, extent, most| disk.allocation(extent, most);
        let plain = [(MIB, false), (MIB, true), (MIB, false)];
        assert_eq!(told(&disk(), all, 9), plain);
        assert_eq!(told(&disk(), all, 2), plain[..2]);
        assert_eq!(told(&disk(), Extent::new(MIB + 5, MIB + 6), 9), [(1, true)]);

        let overlay = disk().with_overlay(&std::env::temp_dir()).unwrap();
        let scratch = overlay.scratch().unwrap();
        use crate::io::WriteAt;
        scratch.write_at(MIB + 4096, &[1; 4096]).unwrap();
        scratch.zero(Extent::new(2 * MIB, 2 * MIB + 8192)).unwrap();
        let expected =
            [(MIB, false), (4096, true), (4096, false), (MIB, true), (MIB - 8192, false)];
        assert_eq!(told(&overlay, all, 9), expected);
    }

    /// Labels and tables come from an image, and an image is hostile input.
    #[test]
    fn a_hostile_table_is_cut_short() {
        let region = |number: u32| {
            let end = if number == 7 { u64::MAX } else { MIB };
            let partition = Partition {
                number,
                extent: Extent::new(0, end),
                type_id: String::new(),
                type_name: None,
                id: None,
                name: Some("\0\u{1b}[2J".repeat(100)),
                container: false,
            };
            Region {
                extent: partition.extent,
                kind: RegionKind::Partition,
                partition: Some(partition),
                filesystem: None,
                used: 0,
                whole: None,
                notes: Vec::new(),
                advice: None,
                volumes: Vec::new(),
            }
        };
        let layout = Layout { table: None, regions: (1..5000).map(region).collect() };
        let exports = Exports::new(disk(), &layout, "a\nb");
        assert_eq!(exports.list().len(), MAX_PARTITIONS + 1);
        assert!(exports.find("7").is_err() && exports.find("8").is_ok());
        assert_eq!(exports.find("").unwrap().name, "disk");
        for export in exports.list() {
            let text = &export.description;
            assert!(text.len() <= 800 && !text.contains(char::is_control), "{text:?}");
        }
    }
}

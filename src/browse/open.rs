// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opening an image, a disk or the file of one, to look into it.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::volumes::{OpenVolume, volumes};
use crate::device::Source;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::extent::{Extent, ExtentSet};
use crate::image::format::is_image_start;
use crate::image::{Cached, Reader};
use crate::io::{ReadAt, check_range};
use crate::store::{self, Opened};
use crate::units::SectorSize;

/// An opened image, which many may read at once.
pub type OpenImage = Cached<Box<dyn ReadAt>>;

/// An image or a disk, opened to look into it.
pub struct OpenDisk {
    /// As the user named it, without a password.
    pub name: String,
    /// Its bytes. What could not be read when an image was made cannot be read
    /// from it either, whatever the image has in its place.
    pub reader: Arc<dyn ReadAt>,
    /// The image, if it is one.
    pub image: Option<Arc<OpenImage>>,
    volumes: OnceLock<Vec<OpenVolume>>,
}

impl fmt::Debug for OpenDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenDisk").field("name", &self.name).finish_non_exhaustive()
    }
}

impl OpenDisk {
    /// Opens an image, a disk, a partition, or a file that is one.
    ///
    /// # Errors
    /// If it is not there, is a damaged image, or comes from a server that
    /// gives no parts of it.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with_sector_size(path, None)
    }

    /// As [`OpenDisk::open`], for the file of a disk with sectors of this size.
    ///
    /// # Errors
    /// As [`OpenDisk::open`].
    pub fn open_with_sector_size(path: &Path, sector: Option<SectorSize>) -> Result<Self> {
        Self::open_through(path, sector, |file| file)
    }

    /// As [`OpenDisk::open_with_sector_size`]; all is read through what
    /// `through` makes of the opened file.
    ///
    /// # Errors
    /// As [`OpenDisk::open`].
    pub fn open_through(
        path: &Path,
        sector: Option<SectorSize>,
        through: impl FnOnce(Box<dyn ReadAt>) -> Box<dyn ReadAt>,
    ) -> Result<Self> {
        let name = store::shown(path).into_owned();
        let what = || format!("opening {name}");
        let is_address = store::is_address(path);
        let file: Box<dyn ReadAt> = match (is_address, sector) {
            (false, Some(sector)) => Box::new(Source::open_with_sector_size(path, sector)?),
            _ => match store::open(path)? {
                Opened::Anywhere(file) => file,
                Opened::FrontToBack(_) => {
                    return Err(Error::unsupported(format!(
                        "{name} is on a server that gives no parts of files, which looking into \
                         an image needs"
                    ))
                    .hint("copy the image to this machine first, or use a server that does"));
                }
            },
        };
        let file = through(file);
        let mut start = [0; 16];
        let is_image = file.len() >= 16 && {
            file.read_at(0, &mut start).context(what)?;
            is_image_start(&start)
        };
        // An image with a damaged head is known by its end.
        if is_image || sector.is_none() && Reader::open(&file).is_ok() {
            let image = Reader::open(file).context(what)?;
            return Ok(Self::of_image(name, image));
        }
        if is_address {
            return Err(Error::damaged(format!("{name} is not an image")));
        }
        if let Some(kind) = foreign_kind(&start) {
            return Err(Error::unsupported(format!("{name} is {kind}, not an image of dacapo")));
        }
        Ok(Self::of_reader(name, file.into()))
    }

    /// An opened image.
    #[must_use]
    pub fn of_image(name: String, image: Reader<Box<dyn ReadAt>>) -> Self {
        let image = Arc::new(Cached::new(image));
        let losses: ExtentSet = image.reader().report().losses.iter().copied().collect();
        let reader: Arc<dyn ReadAt> = if losses.is_empty() {
            Arc::clone(&image) as Arc<dyn ReadAt>
        } else {
            Arc::new(WithLosses { inner: Arc::clone(&image), losses })
        };
        Self { image: Some(image), ..Self::of_reader(name, reader) }
    }

    /// A disk, or what stands for one.
    #[must_use]
    pub fn of_reader(name: String, reader: Arc<dyn ReadAt>) -> Self {
        Self { name, reader, image: None, volumes: OnceLock::new() }
    }

    /// A disk of which only the volumes are there, for tests.
    #[cfg(test)]
    pub(crate) fn of_volumes(name: &str, volumes: Vec<OpenVolume>) -> Self {
        let reader = Arc::new(crate::io::Memory::new(Vec::new()));
        Self { volumes: volumes.into(), ..Self::of_reader(name.into(), reader) }
    }

    /// Its volumes, in the order in which they lie on it.
    pub fn volumes(&self) -> &[OpenVolume] {
        self.volumes.get_or_init(|| volumes(&self.reader))
    }

    /// What is unusual about the image, and can be read all the same.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        let reader = self.image.as_ref()?.reader();
        if let Some(damage) = reader.index_damage() {
            return Some(format!("{damage}; the index was rebuilt from the image's frames"));
        }
        reader.damage().map(|damage| format!("{damage}; the image can be read all the same"))
    }
}

/// What a file is that people may take for an image or for a disk, by its
/// first bytes.
fn foreign_kind(start: &[u8; 16]) -> Option<&'static str> {
    const KINDS: [(&[u8], &str); 9] = [
        (b"\x28\xb5\x2f\xfd", "compressed by zstd"),
        (b"\x1f\x8b", "compressed by gzip"),
        (b"\xfd7zXZ\0", "compressed by xz"),
        (b"BZh", "compressed by bzip2"),
        (b"QFI\xfb", "a qcow2 file"),
        (b"vhdxfile", "a VHDX file"),
        (b"KDMV", "a VMDK file"),
        (b"# Disk Descriptor", "a VMDK file"),
        (b"partclone-image", "an image of partclone"),
    ];
    let is_it = |magic: &[u8]| start.starts_with(magic.get(..16).unwrap_or(magic));
    KINDS.iter().find(|(magic, _)| is_it(magic)).map(|(_, kind)| *kind)
}

/// An image that does not give what was lost when it was made.
struct WithLosses<R> {
    inner: R,
    losses: ExtentSet,
}

impl<R: ReadAt> ReadAt for WithLosses<R> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn sector_size(&self) -> SectorSize {
        self.inner.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len(), offset, buf.len())?;
        let asked = Extent::at(offset, buf.len() as u64);
        if let Some(lost) = self.losses.within(asked).next() {
            return Err(Error::new(
                ErrorKind::Losses,
                format!("bytes {lost} of the disk could not be read when it was saved"),
            ));
        }
        self.inner.read_at(offset, buf)
    }

    fn known_zeros(&self) -> ExtentSet {
        self.inner.known_zeros().subtract(&self.losses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Memory;

    #[test]
    fn what_was_lost_is_not_given() {
        let losses = ExtentSet::from(Extent::at(1024, 512));
        let disk = WithLosses { inner: Memory::new(vec![7; 4096]), losses };
        let mut buf = [0; 512];
        disk.read_at(512, &mut buf).unwrap();
        disk.read_at(1536, &mut buf).unwrap();
        for offset in [513, 1024, 1535] {
            let error = disk.read_at(offset, &mut buf).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Losses, "{error}");
        }
    }

    #[test]
    fn a_compressed_disk_is_told_from_a_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        for (bytes, word) in
            [(&b"\x1f\x8b\x08..............."[..], "gzip"), (b"QFI\xfb............", "qcow2")]
        {
            std::fs::write(&path, bytes).unwrap();
            let error = OpenDisk::open(&path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains(word), "{error}");
        }
        std::fs::write(&path, [0; 4096]).unwrap();
        assert_eq!(OpenDisk::open(&path).unwrap().volumes().len(), 1);
    }
}

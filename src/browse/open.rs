// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opening an image, a disk or the file of one, to look into it.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::volume::OpenVolume;
use super::volumes::volumes;
use crate::device::{Source, open_source};
use crate::error::{Context, Error, Result};
use crate::extent::ExtentSet;
use crate::image::format::is_image_start;
use crate::image::{Cached, Reader};
use crate::import::foreign;
use crate::io::ReadAt;
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
    /// Over which what is on it may be spread, too.
    others: Vec<OpenDisk>,
    volumes: OnceLock<Vec<OpenVolume>>,
}

impl fmt::Debug for OpenDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenDisk").field("name", &self.name).finish_non_exhaustive()
    }
}

/// How something is opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct How {
    /// The size of the sectors, for the file of a disk with others than 512 bytes.
    pub sector: Option<SectorSize>,
    /// A disk is refused if somebody writes to it, and cannot be mounted from
    /// then on.
    pub claim: bool,
}

impl OpenDisk {
    /// Opens an image, a disk, a partition, or a file that is one.
    ///
    /// # Errors
    /// If it is not there, is a damaged image, comes from a server that gives no
    /// parts of it, or is a file that has to be imported first.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, How::default(), |file| file)
    }

    /// As [`OpenDisk::open`], in this way; all is read through what `through`
    /// makes of the opened file.
    ///
    /// # Errors
    /// As [`OpenDisk::open`]; refused if it was to be claimed and somebody
    /// writes to it.
    pub fn open_with(
        path: &Path,
        how: How,
        through: impl FnOnce(Box<dyn ReadAt>) -> Box<dyn ReadAt>,
    ) -> Result<Self> {
        let name = store::shown(path).into_owned();
        let what = || format!("opening {name}");
        let Opened::Anywhere(file) = store::open(path)? else {
            return Err(Error::unsupported(format!(
                "{name} is on a server that gives no parts of files, which looking into an \
                 image needs"
            ))
            .hint("copy the image to this machine first, or use a server that does"));
        };
        let mut start = [0; 16];
        let is_image = file.len() >= 16 && {
            file.read_at(0, &mut start).context(what)?;
            is_image_start(&start)
        };
        // An image with a damaged head is known by its end.
        if is_image || Reader::open(&file).is_ok() {
            let image = Reader::open(through(file)).context(what)?;
            return Ok(Self::of_image(name, image));
        }
        if store::is_address(path) {
            return Err(Error::damaged(format!("{name} is not an image")));
        }
        if path.is_file()
            && let Some(kind) = foreign::kind_of(&file).context(what)?
        {
            return Err(Error::unsupported(format!("{name} is {kind}, not an image of dacapo"))
                .hint(format!("make an image of it first: dacapo import {name} IMAGE")));
        }
        let disk: Box<dyn ReadAt> = match how.sector {
            sector if how.claim => {
                drop(file);
                Box::new(open_source(path, sector)?)
            }
            Some(sector) => Box::new(Source::open_with_sector_size(path, sector)?),
            None => file,
        };
        Ok(Self::of_reader(name, through(disk).into()))
    }

    /// An opened image.
    #[must_use]
    pub fn of_image(name: String, image: Reader<Box<dyn ReadAt>>) -> Self {
        let image = Arc::new(Cached::new(image));
        let reader = Arc::clone(&image) as Arc<dyn ReadAt>;
        Self { image: Some(image), ..Self::of_reader(name, reader) }
    }

    /// A disk, or what stands for one.
    #[must_use]
    pub fn of_reader(name: String, reader: Arc<dyn ReadAt>) -> Self {
        Self { name, reader, image: None, others: Vec::new(), volumes: OnceLock::new() }
    }

    /// The same, with others at hand over which a filesystem or a group of volumes
    /// on it may be spread.
    #[must_use]
    pub fn with_others(self, others: Vec<Self>) -> Self {
        Self { others, volumes: OnceLock::new(), ..self }
    }

    /// The others at hand.
    #[must_use]
    pub fn others(&self) -> &[Self] {
        &self.others
    }

    /// A disk of which only the volumes are there, for tests.
    #[cfg(test)]
    pub(crate) fn of_volumes(name: &str, volumes: Vec<OpenVolume>) -> Self {
        let reader = Arc::new(crate::io::Memory::new(Vec::new()));
        Self { volumes: volumes.into(), ..Self::of_reader(name.into(), reader) }
    }

    /// Its volumes, in the order in which they lie on it.
    pub fn volumes(&self) -> &[OpenVolume] {
        self.volumes.get_or_init(|| {
            let others: Vec<_> = self.others.iter().map(|it| Arc::clone(&it.reader)).collect();
            let head = self.image.as_ref().map(|image| image.reader().head());
            volumes(&self.reader, &others, head.map(|head| &head.about.layout))
        })
    }

    /// What is unusual about the image, and can be read all the same.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        self.image.as_ref()?.reader().note()
    }

    /// What could not be read when the image was made.
    #[must_use]
    pub fn losses(&self) -> ExtentSet {
        self.image.as_ref().map(|image| image.reader().losses()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

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
            assert!(error.hint_text().unwrap().contains("dacapo import"), "{error}");
        }
        std::fs::write(&path, [0; 4096]).unwrap();
        assert_eq!(OpenDisk::open(&path).unwrap().volumes().len(), 1);
    }
}

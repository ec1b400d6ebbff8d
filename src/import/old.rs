// SPDX-License-Identifier: MIT OR Apache-2.0
//! An image of one disk or partition that another tool made: which kind it is,
//! by its first bytes, and what it says of itself.

use super::assembly::Place;
use super::input::Stream;
use super::{container, ntfsclone, partclone, partimage, virtual_disk};
use crate::error::{Error, Result};
use crate::image::format::Imported;

/// How much of a raw image is read at once.
const PIECE: usize = 1 << 20;

/// An old image whose head was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Old {
    /// The bytes as they are: what is nothing else.
    Raw,
    /// Partclone.
    Partclone(partclone::Image),
    /// ntfsclone's special format.
    Ntfsclone(ntfsclone::Image),
    /// Partimage.
    Partimage(partimage::Image),
}

impl Old {
    /// Reads the head, which tells what it is.
    ///
    /// # Errors
    /// Damaged or unsupported, as the kind says.
    pub fn read(stream: &mut Stream<'_>) -> Result<Self> {
        let head = stream.peek(512)?;
        if head.starts_with(partclone::MAGIC) {
            return Ok(Self::Partclone(partclone::Image::read(stream)?));
        }
        if head.starts_with(ntfsclone::MAGIC) {
            return Ok(Self::Ntfsclone(ntfsclone::Image::read(stream)?));
        }
        if head.starts_with(partimage::MAGIC) {
            return Ok(Self::Partimage(partimage::Image::read(stream)?));
        }
        if let Some(format) = virtual_disk::format_of(head, &[]) {
            let what = format!("{} holds a {format} of a virtual machine", stream.name());
            return Err(Error::unsupported(what).hint("unpack it first, and import what comes out"));
        }
        let head = head.to_vec();
        container::refuse_head(&head, stream.name())?;
        Ok(Self::Raw)
    }

    /// The length of the disk or partition, if it is known.
    #[must_use]
    pub fn len(&self) -> Option<u64> {
        match self {
            Self::Raw => None,
            Self::Partclone(image) => Some(image.len()),
            Self::Ntfsclone(image) => Some(image.len()),
            Self::Partimage(image) => Some(image.len()),
        }
    }

    /// True if it is known to have no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// How many bytes of it are in the image, if that is known.
    #[must_use]
    pub fn stored_len(&self) -> Option<u64> {
        match self {
            Self::Raw => None,
            Self::Partclone(image) => Some(image.stored_len()),
            Self::Ntfsclone(image) => Some(image.stored_len()),
            Self::Partimage(image) => Some(image.stored_len()),
        }
    }

    /// True if all its bytes are in the image, used or not.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        match self {
            Self::Raw => true,
            Self::Partclone(image) => image.is_whole(),
            Self::Ntfsclone(_) | Self::Partimage(_) => false,
        }
    }

    /// What it is, for people.
    #[must_use]
    pub fn describe(&self) -> Imported {
        match self {
            Self::Raw => Imported { format: "raw disk image".into(), ..Imported::default() },
            Self::Partclone(image) => image.describe(),
            Self::Ntfsclone(image) => image.describe(),
            Self::Partimage(image) => image.describe(),
        }
    }

    /// Puts what it holds into its place, and says how long it is.
    ///
    /// # Errors
    /// Damaged, if a checksum or anything else is wrong; or what the place says.
    pub fn unpack(&self, stream: &mut Stream<'_>, place: &mut Place<'_>) -> Result<u64> {
        match self {
            Self::Raw => raw(stream, place),
            Self::Partclone(image) => image.unpack(stream, place).map(|()| image.len()),
            Self::Ntfsclone(image) => image.unpack(stream, place).map(|()| image.len()),
            Self::Partimage(image) => image.unpack(stream, place).map(|()| image.len()),
        }
    }
}

fn raw(stream: &mut Stream<'_>, place: &mut Place<'_>) -> Result<u64> {
    let mut buffer = vec![0; PIECE];
    let start = stream.position();
    loop {
        let position = stream.position().saturating_sub(start);
        let len = stream.fill(&mut buffer)?;
        if len == 0 {
            return Ok(position);
        }
        place.store(position, buffer.get(..len).unwrap_or_default())?;
    }
}

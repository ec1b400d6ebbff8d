// SPDX-License-Identifier: MIT OR Apache-2.0
//! The label of a physical volume and the header behind it: who it is, and
//! where its areas are.

use super::checksum::checksum;
use crate::extent::Extent;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError};

/// The label is in one of the first four sectors of this size, whatever the
/// sectors of the disk are.
const SECTOR: usize = 512;
const SECTORS: usize = 4;
const MAGIC: &[u8] = b"LABELONE";
const TYPE: &[u8] = b"LVM2 001";
/// The version of the header's extension that is known, and its only flag.
const EXTENSION_VERSION: u32 = 2;
const EXTENSION_USED: u32 = 1;

/// An identifier of LVM2: 32 letters and digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id([u8; 32]);

impl Id {
    /// From the 32 letters.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let letters: [u8; 32] = bytes.try_into().ok()?;
        letters.iter().all(u8::is_ascii_alphanumeric).then_some(Self(letters))
    }

    /// From the letters in groups of 6, 4, 4, 4, 4, 4 and 6, as people see them.
    pub(super) fn parse_written(bytes: &[u8]) -> Option<Self> {
        let letters: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != b'-').collect();
        let id = Self::parse(&letters)?;
        (id.written().as_bytes() == bytes).then_some(id)
    }

    /// The 32 letters.
    pub(super) const fn letters(&self) -> [u8; 32] {
        self.0
    }

    /// The letters with their hyphens.
    pub(super) fn written(&self) -> String {
        let mut written = String::new();
        for (position, letter) in self.0.iter().enumerate() {
            if [6, 10, 14, 18, 22, 26].contains(&position) {
                written.push('-');
            }
            written.push(char::from(*letter));
        }
        written
    }
}

/// A checked label and header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) id: Id,
    /// How large the volume was when the header was written.
    device_size: u64,
    /// Where the extents of the volume start.
    pub(super) data_start: u64,
    /// The metadata areas.
    pub(super) metadata: Vec<Extent>,
    /// The areas reserved for boot loaders.
    pub(super) boot: Vec<Extent>,
    /// What the header says: does the volume belong to a group? Old headers do
    /// not say.
    pub(super) is_used: Option<bool>,
}

impl Header {
    /// An error unless all of it is inside a volume of `len` bytes.
    pub(super) fn check(&self, len: u64) -> Result<(), FormatError> {
        if self.device_size > len {
            return Err(FormatError::unsupported(format!(
                "the physical volume had {} bytes, and only {len} are there",
                self.device_size
            )));
        }
        let mut areas: Vec<Extent> = self.metadata.iter().chain(&self.boot).copied().collect();
        areas.sort_unstable();
        for (area, next) in areas.iter().zip(areas.iter().skip(1)) {
            if area.overlaps(next) {
                let what = "area of the LVM2 header";
                return Err(FormatError::corrupt(what, next.start(), "bytes of its own", area));
            }
        }
        match areas.iter().find(|area| area.end() > len) {
            None => Ok(()),
            Some(area) => {
                let wanted = format!("bytes of the {len}");
                Err(FormatError::corrupt("area of the LVM2 header", area.start(), wanted, area))
            }
        }
    }
}

/// The header of a physical volume; `None` if the volume is none.
pub(super) fn read(volume: &dyn ReadAt) -> Result<Option<Header>, FormatError> {
    let len = usize::try_from(volume.len()).unwrap_or(usize::MAX);
    let head = read_vec(volume, 0, len.min(SECTOR.saturating_mul(SECTORS)))?;
    let mut found = None;
    for (number, sector) in (0_u64..).zip(head.chunks_exact(SECTOR)) {
        if !sector.starts_with(MAGIC) {
            continue;
        }
        if found.replace((number, sector)).is_some() {
            return Err(FormatError::unsupported("there is more than one LVM2 label"));
        }
    }
    found.map(|(number, sector)| parse(number, sector)).transpose()
}

fn parse(number: u64, sector: &[u8]) -> Result<Header, FormatError> {
    let position = number.saturating_mul(512);
    let short = || FormatError::corrupt("LVM2 label", position, "all fields in its sector", "less");
    let stored = sector.u64_le(8).ok_or_else(short)?;
    if stored != number {
        return Err(FormatError::corrupt("sector_xl of the label", position, number, stored));
    }
    let (wanted, stored) =
        (checksum(&[sector.get(20..).unwrap_or_default()]), sector.u32_le(16).ok_or_else(short)?);
    if wanted != stored {
        let (wanted, stored) = (format!("{wanted:#x}"), format!("{stored:#x}"));
        return Err(FormatError::corrupt("checksum of the label", position, wanted, stored));
    }
    let kind = sector.bytes_at(24, 8).ok_or_else(short)?;
    if kind != TYPE {
        let kind = crate::ondisk::text(kind);
        return Err(FormatError::unsupported(format!("an LVM label of the unknown type {kind}")));
    }
    let offset = sector.u32_le(20).and_then(|offset| usize::try_from(offset).ok());
    // Behind the label's own 32 bytes.
    let header = offset.filter(|it| *it >= 32).and_then(|it| sector.get(it..)).ok_or_else(short)?;
    let id = header.bytes_at(0, 32).ok_or_else(short)?;
    let id = Id::parse(id).ok_or_else(|| {
        FormatError::corrupt("pv_uuid", position, "letters and digits", crate::ondisk::text(id))
    })?;
    let device_size = header.u64_le(32).ok_or_else(short)?;
    let mut at = 40;
    let data = list(header, &mut at).ok_or_else(short)?;
    // One area, without an end.
    let [(data_start, 0)] = data[..] else {
        return Err(FormatError::unsupported(format!(
            "{} data areas on an LVM2 physical volume, or one with an end",
            data.len()
        )));
    };
    let metadata = extents(list(header, &mut at).ok_or_else(short)?)?;
    let mut boot = Vec::new();
    let mut is_used = None;
    // Headers from before 2013 have no extension: there are zeros.
    let version = header.u32_le(at).unwrap_or(0);
    if version > EXTENSION_VERSION {
        let text = format!("version {version} of the extension of an LVM2 header");
        return Err(FormatError::unsupported(text));
    }
    if version > 0 {
        let flags = header.u32_le(at.saturating_add(4)).ok_or_else(short)?;
        if flags & !EXTENSION_USED != 0 {
            let text = format!("the flags {flags:#x} in the extension of an LVM2 header");
            return Err(FormatError::unsupported(text));
        }
        is_used = (version >= 2).then_some(flags & EXTENSION_USED != 0);
        at = at.saturating_add(8);
        boot = extents(list(header, &mut at).ok_or_else(short)?)?;
    }
    Ok(Header { id, device_size, data_start, metadata, boot, is_used })
}

/// Offsets and sizes up to one of zeros.
fn list(header: &[u8], at: &mut usize) -> Option<Vec<(u64, u64)>> {
    let mut areas = Vec::new();
    loop {
        let offset = header.u64_le(*at)?;
        let size = header.u64_le(at.checked_add(8)?)?;
        *at = at.checked_add(16)?;
        if offset == 0 {
            return (size == 0).then_some(areas);
        }
        areas.push((offset, size));
    }
}

fn extents(areas: Vec<(u64, u64)>) -> Result<Vec<Extent>, FormatError> {
    let check = |(offset, size): (u64, u64)| {
        let extent = Extent::at(offset, size);
        (extent.len() == size && size > 0).then_some(extent).ok_or_else(|| {
            let found = format!("{size} bytes");
            FormatError::corrupt("area of the LVM2 header", offset, "some bytes", found)
        })
    };
    areas.into_iter().map(check).collect()
}

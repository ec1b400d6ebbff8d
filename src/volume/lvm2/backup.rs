// SPDX-License-Identifier: MIT OR Apache-2.0
//! The backup of a group's metadata that `vgcfgbackup` writes, and the physical
//! volumes that are made of it again: label, header, and one metadata area with
//! the text.
//!
//! A backup has the same text as a metadata area, except that the section of the
//! group comes last there and first here: LVM2 takes the first word for the
//! name. Of what a header says the text has all but the places of the metadata
//! areas. One is made, where `pvcreate` makes it: from the fifth KiB up to what is
//! kept for boot loaders, or the first extent.
//!
//! Sources: `pv_header`, `mda_header` and `raw_locn` as LVM2 writes them (version
//! 2.03), `pvcreate(8)`, `vgcfgbackup(8)`.

use super::checksum::checksum;
use super::group::Group;
use super::{extents_of, piece};
use crate::extent::Extent;
use crate::ondisk::FormatError;
use crate::volume::Mapped;

const SECTOR: usize = 512;
/// Where the metadata area is.
const AREA: u64 = 4096;
/// Its header; the ring of texts is behind it.
const AREA_HEADER: u64 = 512;

/// A group as its backup describes it.
#[derive(Debug)]
pub struct Backup {
    group: Group,
    /// The text as it stands in a metadata area, with the zero at its end.
    text: Vec<u8>,
}

/// A logical volume of a group.
#[derive(Debug, Clone)]
pub struct Logical {
    /// Its name in the group: "root".
    pub name: String,
    /// False if it is a part of another.
    pub is_visible: bool,
    /// Where its bytes lie, or in one sentence why that is not known.
    pub place: Result<Mapped<Option<Extent>>, String>,
}

impl Backup {
    /// Reads a backup.
    ///
    /// # Errors
    /// If it is not understood exactly.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let group = Group::parse(bytes)?;
        let text = text_of(bytes, &group.name).filter(|text| {
            // Nothing may have got another meaning.
            Group::parse(text).is_ok_and(|again| again == group)
        });
        let text = text.ok_or_else(|| {
            FormatError::unsupported("an LVM2 backup that is not laid out as vgcfgbackup does")
        })?;
        Ok(Self { group, text })
    }

    /// The name of the group.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.group.name
    }

    /// How many physical volumes it has.
    #[must_use]
    pub fn physical_count(&self) -> usize {
        self.group.physical.len()
    }

    /// The physical volume with this identifier, as LVM2 writes it, by its place
    /// in the list.
    #[must_use]
    pub fn physical(&self, id: &str) -> Option<usize> {
        self.group.physical.iter().position(|it| it.id.written() == id)
    }

    /// The bytes of a physical volume that lie in no extent of the group, if the
    /// volume has `len` bytes: what is in front of the extents, and behind them.
    #[must_use]
    pub fn outside(&self, physical: usize, len: u64) -> Option<[Extent; 2]> {
        let extents = extents_of(&self.group, physical)?;
        (extents.end() <= len)
            .then(|| [Extent::new(0, extents.start()), Extent::new(extents.end(), len)])
    }

    /// The first bytes of a physical volume of `len` bytes: label, header and
    /// metadata area. What follows up to the first extent is zero.
    ///
    /// # Errors
    /// If there is no such physical volume, or no room for any of it.
    pub fn head(&self, physical: usize, len: u64) -> Result<Vec<u8>, FormatError> {
        let found = self.group.physical.get(physical);
        let found = found.ok_or_else(|| FormatError::unsupported("no such physical volume"))?;
        if found.is_missing {
            return Err(FormatError::unsupported("its group has marked it as missing"));
        }
        let ends = [Some(found.start), found.boot.map(|boot| boot.start())];
        let area = Extent::new(AREA, ends.into_iter().flatten().min().unwrap_or(AREA).max(AREA));
        let text_len = u64::try_from(self.text.len()).unwrap_or(u64::MAX);
        if area.len().saturating_sub(AREA_HEADER) < text_len {
            return Err(FormatError::unsupported(format!(
                "{} bytes in front of its extents have no room for {text_len} of metadata",
                found.start
            )));
        }
        let device_size = found.device_size.unwrap_or(len);
        let needed = extents_of(&self.group, physical).map_or(u64::MAX, |extents| extents.end());
        if device_size > len || needed > len {
            let size = device_size.max(needed);
            return Err(FormatError::unsupported(format!(
                "it had {size} bytes, and its partition has {len}"
            )));
        }
        let mut head = vec![0; SECTOR];
        head.extend(label(&found.id.letters(), device_size, found.start, area, found.boot));
        head.resize(usize::try_from(AREA).unwrap_or_default(), 0);
        head.extend(area_header(area, &self.text));
        head.extend(&self.text);
        Ok(head)
    }

    /// The logical volumes, on physical volumes that are these parts of a disk,
    /// or not on the disk.
    #[must_use]
    pub fn logical(&self, parts: &[Option<Extent>]) -> Vec<Logical> {
        let places: Vec<usize> = (0..self.group.physical.len()).collect();
        let part = |place: &usize| parts.get(*place).copied().flatten();
        let parts: Vec<Option<Extent>> = places.iter().map(part).collect();
        let all = self.group.logical.iter().map(|logical| {
            let pieces = logical.segments.iter().map(|it| piece(&self.group, it, &places));
            let place = match &logical.doubt {
                Some(why) => Err(why.clone()),
                None => pieces
                    .collect::<Option<_>>()
                    .and_then(|pieces| Mapped::on_disk(parts.clone(), pieces))
                    .ok_or_else(|| "its stripes do not fit its extents".into()),
            };
            Logical { name: logical.name.clone(), is_visible: logical.is_visible, place }
        });
        all.collect()
    }
}

/// The text of a backup with the section of the group first.
fn text_of(bytes: &[u8], name: &str) -> Option<Vec<u8>> {
    let start = format!("\n{name} {{").into_bytes();
    let at = bytes.windows(start.len()).position(|it| it == start)?.checked_add(1)?;
    let (before, group) = bytes.split_at_checked(at)?;
    let group = group.trim_ascii_end();
    Some([group, b"\n", before.trim_ascii_end(), b"\n\0"].concat())
}

/// The sector of the label, with the header in it.
fn label(
    id: &[u8; 32],
    device_size: u64,
    start: u64,
    area: Extent,
    boot: Option<Extent>,
) -> Vec<u8> {
    let mut header = id.to_vec();
    let mut put = |numbers: &[u64]| {
        numbers.iter().for_each(|number| header.extend(number.to_le_bytes()));
    };
    // Each list ends with zeros.
    put(&[device_size, start, 0, 0, 0, area.start(), area.len(), 0, 0]);
    // The extension: version 2, in use.
    put(&[(1 << 32) | 2]);
    if let Some(boot) = boot {
        put(&[boot.start(), boot.len()]);
    }
    put(&[0, 0]);
    let mut covered = 32_u32.to_le_bytes().to_vec();
    covered.extend(b"LVM2 001");
    covered.extend(header);
    covered.resize(SECTOR.saturating_sub(20), 0);
    let mut sector = b"LABELONE".to_vec();
    sector.extend(1_u64.to_le_bytes());
    sector.extend(checksum(&[&covered]).to_le_bytes());
    sector.extend(covered);
    sector
}

/// The header of a metadata area with one text, right behind it.
fn area_header(area: Extent, text: &[u8]) -> Vec<u8> {
    let mut covered = b" LVM2 x[5A%r0N*>".to_vec();
    covered.extend(1_u32.to_le_bytes());
    let len = u64::try_from(text.len()).unwrap_or(u64::MAX);
    for number in [area.start(), area.len(), AREA_HEADER, len] {
        covered.extend(number.to_le_bytes());
    }
    covered.extend(checksum(&[text]).to_le_bytes());
    covered.resize(SECTOR.saturating_sub(4), 0);
    let mut header = checksum(&[&covered]).to_le_bytes().to_vec();
    header.extend(covered);
    header
}

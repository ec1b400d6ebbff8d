// SPDX-License-Identifier: MIT OR Apache-2.0
//! A stick with the rescue system, and the rest of it for images.
//!
//! Such a stick is a disk that does not exist yet: the medium, with one more
//! partition in its MBR, and an empty exFAT in that. As it can be read like any
//! other disk it is written like one: by the rules of a clone, with the same
//! checks, read back, its first MiB last.

use std::path::Path;

use super::exfat::{SMALLEST, Volume};
use super::iso;
use crate::device::{DiskIdentity, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::extent::{Extent, ExtentSet};
use crate::io::{ReadAt, check_range, read_vec};
use crate::ondisk::{Fields, text};
use crate::save::{Options, Plan};
use crate::units::{GIB, MIB, human};

/// The name of the partition for images.
pub const LABEL: &str = "DACAPO";

/// What flash memory erases at once is not larger, nearly everywhere.
const ALIGNMENT: u64 = 4 * MIB;

/// The third of the four entries of an MBR.
const ENTRY: usize = 446 + 2 * 16;

/// The largest disk that an MBR describes, with sectors of 512 bytes.
const MBR_END: u64 = 2048 * GIB - ALIGNMENT;

/// A stick to be written.
#[derive(Debug)]
pub struct Stick {
    medium: Source,
    len: u64,
    images: Extent,
    /// The end of what has to be written: behind there is free space.
    used: u64,
    /// What is not as in the medium, in the order of positions.
    pieces: Vec<(u64, Vec<u8>)>,
}

impl Stick {
    /// A stick of `len` bytes with the medium in the file `path`.
    ///
    /// # Errors
    /// Refused, if the file is no medium that `dacapo rescue build` has made;
    /// or if the stick is too small.
    pub fn new(path: &Path, len: u64) -> Result<Self> {
        let medium = Source::open(path)?;
        let mut first = first_sector(&medium, path)?;
        let start = medium.len().next_multiple_of(ALIGNMENT);
        let end = len.min(MBR_END) / MIB * MIB;
        let least = start + SMALLEST;
        if end < least {
            return Err(Error::refused(format!(
                "the stick has {}, and the rescue system with room for images needs {}",
                human(len),
                human(least)
            ))
            .hint("take a larger stick: an image of a system disk has some ten GiB"));
        }
        let images = Extent::new(start, end);
        let sectors = |bytes: u64| u32::try_from(bytes / 512).unwrap_or(u32::MAX).to_le_bytes();
        let entry = &mut first[ENTRY..ENTRY + 16];
        // Beyond the reach of cylinders and heads, as all write it.
        entry[..8].copy_from_slice(&[0, 0xfe, 0xff, 0xff, 0x07, 0xfe, 0xff, 0xff]);
        entry[8..12].copy_from_slice(&sectors(images.start()));
        entry[12..].copy_from_slice(&sectors(images.len()));
        let serial = first.u32_le(440).unwrap_or_default();
        let volume = Volume::new(images.start(), images.len(), LABEL, serial);
        let used = images.start() + volume.used;
        let inside = volume.pieces.into_iter().map(|(at, bytes)| (images.start() + at, bytes));
        let pieces = std::iter::once((0, first)).chain(inside).collect();
        Ok(Self { medium, len, images, used, pieces })
    }

    /// The partition for images.
    #[must_use]
    pub const fn images(&self) -> Extent {
        self.images
    }

    /// What has to be written: all but the free space of the partition for
    /// images, which was proven free by making it.
    ///
    /// # Errors
    /// If the medium cannot be read.
    pub fn plan(&self) -> Result<Plan> {
        // Such a disk is an ISO 9660 in the first place, and would be stored
        // whole.
        let options = Options { raw: true, ..Options::default() };
        let mut plan = Plan::new(self, self.identity(), &options)?;
        plan.head.used = Extent::new(0, self.used).into();
        plan.known_zeros = self.known_zeros().intersect(&plan.head.used);
        Ok(plan)
    }

    /// What the stick would say of itself.
    fn identity(&self) -> DiskIdentity {
        DiskIdentity {
            path: self.medium.identity().path,
            model: Some("dacapo rescue system".into()),
            size: self.len,
            logical_sector: 512,
            physical_sector: 512,
            bus: Some("file".into()),
            ..DiskIdentity::default()
        }
    }
}

impl ReadAt for Stick {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len, offset, buf.len())?;
        buf.fill(0);
        let wanted = Extent::at(offset, buf.len() as u64);
        let of_medium = wanted.intersect(&Extent::new(0, self.medium.len()));
        if !of_medium.is_empty() {
            let part = &mut buf[inside(&wanted, &of_medium)];
            self.medium.read_at(of_medium.start(), part)?;
        }
        for (position, bytes) in &self.pieces {
            let piece = Extent::at(*position, bytes.len() as u64);
            let part = wanted.intersect(&piece);
            if !part.is_empty() {
                buf[inside(&wanted, &part)].copy_from_slice(&bytes[inside(&piece, &part)]);
            }
        }
        Ok(())
    }

    fn known_zeros(&self) -> ExtentSet {
        let mut written = ExtentSet::from(Extent::new(0, self.medium.len()));
        for (position, bytes) in &self.pieces {
            written = written.union(&Extent::at(*position, bytes.len() as u64).into());
        }
        ExtentSet::from(Extent::new(0, self.len)).subtract(&written)
    }
}

/// Where `part` is in a slice that holds `whole`.
fn inside(whole: &Extent, part: &Extent) -> std::ops::Range<usize> {
    let start = (part.start() - whole.start()) as usize;
    start..start + part.len() as usize
}

/// The first sector of a medium, if it is one.
fn first_sector(medium: &Source, path: &Path) -> Result<Vec<u8>> {
    let other = || {
        Error::new(ErrorKind::Refused, format!("{} is no rescue medium of dacapo", path.display()))
            .hint("'dacapo rescue build OUT.iso' makes one")
    };
    // ECMA-119: the primary volume descriptor is sector 16 of 2048 bytes, its
    // volume identifier at byte 40.
    let descriptor = read_vec(medium, 16 * 2048, 2048).map_err(|_| other())?;
    let label = descriptor.bytes_at(40, 32).map(text).unwrap_or_default();
    let sector = read_vec(medium, 0, 512)?;
    let entries = sector.bytes_at(446, 64).unwrap_or_default();
    let is_medium = descriptor.array(0) == Some(*b"\x01CD001\x01")
        && label == iso::LABEL
        && sector.array(510) == Some([0x55, 0xaa])
        && entries.u8_at(4) != Some(0)
        && entries.u8_at(20) == Some(0xef)
        && entries.bytes_at(32, 32).is_some_and(|rest| rest.iter().all(|byte| *byte == 0));
    if !is_medium {
        return Err(other());
    }
    // ECMA-119 8.4.8: the number of its blocks, of 2048 bytes. The partitions
    // are not all of it, and need not be in it.
    let blocks = descriptor.u32_le(80).map(|blocks| u64::from(blocks).saturating_mul(2048));
    let partition_end = |at: usize| {
        let sectors = u64::from(entries.u32_le(at + 8)?) + u64::from(entries.u32_le(at + 12)?);
        Some(sectors.saturating_mul(512))
    };
    let end = [blocks, partition_end(0), partition_end(16)].into_iter().flatten().max();
    if end.is_some_and(|end| end > medium.len()) {
        return Err(Error::damaged(format!(
            "{} is not all of a rescue medium: it has {} bytes of {}",
            path.display(),
            medium.len(),
            end.unwrap_or_default()
        ))
        .hint("copy or download it again, or build it anew: 'dacapo rescue build OUT.iso'"));
    }
    Ok(sector)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A medium as far as a stick looks at it.
    fn medium(folder: &Path) -> std::path::PathBuf {
        let mut bytes = vec![0xee; 5 << 20];
        bytes[440..512].fill(0);
        // The ISO 9660 of 4 MiB, and the volume for UEFI behind it.
        for (entry, kind, start, count) in [(446, 0xcd, 64_u32, 8128_u32), (462, 0xef, 8192, 2048)]
        {
            bytes[entry..entry + 16].fill(0);
            bytes[entry + 4] = kind;
            bytes[entry + 8..entry + 12].copy_from_slice(&start.to_le_bytes());
            bytes[entry + 12..entry + 16].copy_from_slice(&count.to_le_bytes());
        }
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        bytes[32768..32775].copy_from_slice(b"\x01CD001\x01");
        bytes[32848..32852].copy_from_slice(&2048_u32.to_le_bytes());
        bytes[32808..32840].fill(b' ');
        bytes[32808..32808 + iso::LABEL.len()].copy_from_slice(iso::LABEL.as_bytes());
        let path = folder.join("medium.iso");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn a_stick_is_the_medium_and_a_partition_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = medium(folder.path());
        let stick = Stick::new(&path, 64 << 20).unwrap();
        assert_eq!(stick.images(), Extent::new(8 << 20, 64 << 20));
        let whole = read_vec(&stick, 0, 64 << 20).unwrap();
        let medium = std::fs::read(&path).unwrap();
        assert_eq!(whole[512..5 << 20], medium[512..]);
        assert_eq!(whole[..ENTRY], medium[..ENTRY]);
        assert_eq!(whole[ENTRY + 4], 7);
        assert_eq!(whole.u32_le(ENTRY + 8), Some(8 << 11));
        assert_eq!(whole.u32_le(ENTRY + 12), Some(56 << 11));
        assert_eq!(&whole[(8 << 20) + 3..(8 << 20) + 11], b"EXFAT   ");
        // Read in pieces of any size it is the same.
        for (offset, len) in [(0, 513), (500, 1000), ((8 << 20) - 7, 600), ((5 << 20) - 1, 2)] {
            let piece = read_vec(&stick, offset as u64, len).unwrap();
            assert_eq!(piece, whole[offset..offset + len]);
        }
        for zeros in stick.known_zeros().iter() {
            assert!(whole[zeros.start() as usize..zeros.end() as usize].iter().all(|b| *b == 0));
        }
        assert!(read_vec(&stick, 64 << 20, 1).is_err());
        // The free space is not written, and everything else is.
        let used = stick.plan().unwrap().head.used;
        assert!(used.bytes() < 12 << 20, "{}", used.bytes());
        let free = ExtentSet::from(Extent::new(0, stick.len())).subtract(&used);
        assert!(free.subtract(&stick.known_zeros()).is_empty());
    }

    #[test]
    fn other_files_and_small_sticks_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = medium(folder.path());
        assert_eq!(Stick::new(&path, 15 << 20).unwrap_err().kind(), ErrorKind::Refused);
        let bytes = std::fs::read(&path).unwrap();
        // The label, the signature, the second entry, an entry too many.
        for at in [32808, 510, 466, ENTRY + 4] {
            let mut other = bytes.clone();
            other[at] ^= 0x11;
            std::fs::write(&path, other).unwrap();
            let error = Stick::new(&path, 64 << 20).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused, "{at}: {error}");
        }
        std::fs::write(&path, b"short").unwrap();
        assert!(Stick::new(&path, 64 << 20).is_err());
    }

    #[test]
    fn a_part_of_a_medium_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = medium(folder.path());
        let bytes = std::fs::read(&path).unwrap();
        for len in [36 << 10, 4 << 20, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..len]).unwrap();
            let error = Stick::new(&path, 64 << 20).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged, "{len}: {error}");
        }
        // The ISO 9660 says that there is more of it.
        let mut more = bytes.clone();
        more[32848..32852].copy_from_slice(&2561_u32.to_le_bytes());
        std::fs::write(&path, more).unwrap();
        assert_eq!(Stick::new(&path, 64 << 20).unwrap_err().kind(), ErrorKind::Damaged);
    }

    #[test]
    fn the_largest_disks_keep_to_what_an_mbr_can_say() {
        let folder = tempfile::tempdir().unwrap();
        let stick = Stick::new(&medium(folder.path()), 8 << 40).unwrap();
        assert!(stick.images().end() / 512 <= u64::from(u32::MAX));
        assert_eq!(stick.len(), 8 << 40);
    }
}

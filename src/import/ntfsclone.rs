// SPDX-License-Identifier: MIT OR Apache-2.0
//! The special image format of ntfsclone: a head, and then clusters and gaps
//! between them, front to back. There are no checksums.
//!
//! Source: `ntfsclone --save-image` of ntfs-3g 2022.10.3 and the images it
//! writes. A gap may lead backwards in images of metadata only; what comes
//! later then counts.

use super::assembly::Place;
use super::input::Stream;
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::image::format::{Imported, MAX_DISK_LEN};
use crate::ondisk::Fields;
use crate::units::{KIB, human};

/// What an image begins with.
pub const MAGIC: &[u8] = b"\0ntfsclone-image";
/// The head, as far as it is known.
const HEAD_LEN: usize = 50;
/// The data may begin later, but not much.
const MAX_HEAD: u32 = 4096;
/// The first version that is the same on all machines.
const MAJOR: u8 = 10;
/// No NTFS has larger clusters.
const MAX_CLUSTER: u64 = 2048 * KIB;

/// The most gaps that lead backwards: each may make what comes next belong
/// anywhere.
const MAX_JUMPS: u32 = 1 << 20;
/// So many ranges are collected before they are brought into order.
const COLLECTED: usize = 1 << 20;

const GAP: u8 = 0;
const CLUSTER: u8 = 1;

/// An image whose head was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    version: (u8, u8),
    cluster: u64,
    device_len: u64,
    clusters: u64,
    in_use: u64,
}

impl Image {
    /// Reads the head, and what is between it and the data.
    ///
    /// # Errors
    /// Damaged or unsupported, if it is not a head as it should be.
    pub fn read(stream: &mut Stream<'_>) -> Result<Self> {
        let head = stream.array::<HEAD_LEN>("the head")?;
        let head = &head[..];
        let read = || {
            let image = Self {
                version: (head.u8_at(16)?, head.u8_at(17)?),
                cluster: head.u32_le(18)?.into(),
                device_len: head.u64_le(22)?,
                clusters: head.u64_le(30)?,
                in_use: head.u64_le(38)?,
            };
            Some((image, head.u32_le(46)?))
        };
        let (image, data) = read().ok_or_else(|| stream.damaged("the head is too short"))?;
        let (major, minor) = image.version;
        if major != MAJOR {
            let what =
                format!("{} is an ntfsclone image of version {major}.{minor}", stream.name());
            return Err(Error::unsupported(what)
                .hint("restore it with ntfsclone, and save that with dacapo"));
        }
        let is_possible = image.cluster.is_power_of_two()
            && (512..=MAX_CLUSTER).contains(&image.cluster)
            && image.device_len <= MAX_DISK_LEN
            && image.clusters > 0
            && image
                .clusters
                .checked_mul(image.cluster)
                .is_some_and(|bytes| bytes <= image.device_len);
        let gap = data.checked_sub(u32::try_from(HEAD_LEN).unwrap_or(u32::MAX));
        let gap = gap.filter(|_| is_possible && data <= MAX_HEAD);
        let gap = gap.ok_or_else(|| stream.damaged_at(16, "the head makes no sense"))?;
        let mut skipped = vec![0; usize::try_from(gap).unwrap_or_default()];
        stream.exact(&mut skipped, "the head")?;
        Ok(image)
    }

    /// The length of the partition.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.device_len
    }

    /// True if the partition has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.device_len == 0
    }

    /// How many bytes of it are in the image, if the head is right.
    #[must_use]
    pub fn stored_len(&self) -> u64 {
        self.in_use.saturating_add(1).saturating_mul(self.cluster).min(self.device_len)
    }

    /// What it is, for people.
    #[must_use]
    pub fn describe(&self) -> Imported {
        let (major, minor) = self.version;
        Imported {
            format: "ntfsclone image".into(),
            version: Some(format!("{major}.{minor}")),
            tool: Some("ntfsclone".into()),
            content: Some(format!(
                "NTFS filesystem, {} of {}, no checksums",
                human(self.stored_len()),
                human(self.device_len)
            )),
            notes: vec![
                "the image has no checksums: damage in its data would not be noticed".into(),
            ],
            ..Imported::default()
        }
    }

    /// Puts what it holds into its place.
    ///
    /// # Errors
    /// Damaged, if anything is wrong with it; or what the place says.
    pub fn unpack(&self, stream: &mut Stream<'_>, place: &mut Place<'_>) -> Result<()> {
        let mut buffer = vec![0; usize::try_from(self.cluster).unwrap_or_default()];
        let (mut next, mut stored, mut jumps) = (0_u64, 0_u64, 0_u32);
        let mut given: Vec<Extent> = Vec::new();
        // Version 10.1 has the backup of the boot sector, too, in the cluster
        // behind the last.
        let end = if self.version.1 == 0 { self.clusters } else { self.clusters.saturating_add(1) };
        while next < end {
            let start = stream.position();
            let [command] = stream.array::<1>("the clusters")?;
            match command {
                GAP => {
                    let count = i64::from_le_bytes(stream.array::<8>("a gap")?);
                    let after = next.checked_add_signed(count).filter(|it| *it <= end);
                    let wrong = || stream.damaged_at(start, &format!("a gap of {count} clusters"));
                    next = after.filter(|_| count != 0).ok_or_else(wrong)?;
                    jumps = jumps.saturating_add(u32::from(count < 0));
                    if jumps > MAX_JUMPS {
                        return Err(stream.damaged_at(start, "it jumps to and fro without end"));
                    }
                }
                CLUSTER => {
                    let position = next.saturating_mul(self.cluster);
                    // The last may be cut off by the end of the partition.
                    let len = self.device_len.saturating_sub(position).min(self.cluster);
                    let bytes = buffer
                        .get_mut(..usize::try_from(len).unwrap_or_default())
                        .unwrap_or_default();
                    stream.exact(bytes, "a cluster")?;
                    place.write_marked(position, bytes, &mut given)?;
                    if given.len() >= COLLECTED {
                        place.give(given.drain(..));
                    }
                    next = next.saturating_add(1);
                    stored = stored.saturating_add(1);
                }
                other => {
                    let what = format!("{other:#x} is neither a cluster nor a gap");
                    return Err(stream.damaged_at(start, &what));
                }
            }
        }
        place.give(given);
        if stored < self.in_use {
            let what = format!("{stored} of {} clusters are there", self.in_use);
            return Err(stream.damaged(&what));
        }
        stream.end()
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The file allocation table: entries by number through a small cache, chains,
//! and passes over all of it.

use super::boot_sector::BootSector;
use crate::extent::Extent;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError};

/// The end of a chain.
pub(super) const END: u32 = 0xffff_ffff;
/// A cluster that cannot be used.
pub(super) const BAD: u32 = 0xffff_fff7;
/// The first entry: the media type, filled up with ones.
const MEDIA: u32 = 0xffff_fff8;

/// Bytes that a page of the cache holds.
const PAGE: u64 = 4096;
/// Pages of the cache: 4 MiB. Chains of real files go forwards, so one page
/// would do for each that is being followed; a fragmented one takes more.
const PAGES: usize = 1024;
/// Bytes that a pass over the table reads at a time.
const PIECE: u64 = 1 << 18;

/// The valid FAT of a volume.
pub(super) struct Table<'a> {
    volume: &'a dyn ReadAt,
    start: u64,
    end: u64,
    pages: Vec<Option<(u64, Vec<u8>)>>,
}

impl<'a> Table<'a> {
    /// The active FAT of a volume.
    pub(super) fn open(volume: &'a dyn ReadAt, boot: &BootSector) -> Result<Self, FormatError> {
        let start = boot.fat_copy_start(boot.active);
        let end = start.saturating_add(boot.end_cluster().saturating_mul(4));
        let mut table = Self { volume, start, end, pages: vec![None; PAGES] };
        let media = table.entry(0)?;
        if media != MEDIA {
            let (expected, found) = (format!("{MEDIA:#x}"), format!("{media:#x}"));
            return Err(FormatError::corrupt("first entry of the FAT", start, expected, found));
        }
        Ok(table)
    }

    /// Where the entry of a cluster is.
    pub(super) const fn position(&self, cluster: u64) -> u64 {
        self.start.saturating_add(cluster.saturating_mul(4))
    }

    /// The entry of a cluster.
    pub(super) fn entry(&mut self, cluster: u64) -> Result<u32, FormatError> {
        let offset = cluster.saturating_mul(4);
        let number = offset / PAGE;
        let slot = usize::try_from(number).unwrap_or(0) % PAGES;
        let start = self.start.saturating_add(number.saturating_mul(PAGE));
        let page = self.pages.get_mut(slot);
        let Some(page) = page else { return Ok(0) };
        if page.as_ref().is_none_or(|(cached, _)| *cached != number) {
            let extent = Extent::at(start, PAGE).intersect(&Extent::new(0, self.end));
            let len = usize::try_from(extent.len()).unwrap_or(0);
            *page = Some((number, read_vec(self.volume, start, len)?));
        }
        let within = usize::try_from(offset % PAGE).unwrap_or(usize::MAX);
        let bytes = page.as_ref().map(|(_, bytes)| bytes.as_slice()).unwrap_or_default();
        bytes.u32_le(within).ok_or_else(|| {
            let expected = format!("at most {}", self.end.saturating_sub(self.start) / 4);
            FormatError::corrupt("number of a cluster", start, expected, cluster)
        })
    }

    /// The cluster that follows in a chain; `None` at its end.
    pub(super) fn next(
        &mut self,
        boot: &BootSector,
        cluster: u64,
    ) -> Result<Option<u64>, FormatError> {
        let entry = self.entry(cluster)?;
        let next = u64::from(entry);
        if entry == END {
            return Ok(None);
        }
        if !boot.has(next) {
            return Err(FormatError::corrupt(
                "FAT entry",
                self.position(cluster),
                format!("cluster {cluster} to be followed by another, or to be the last"),
                format!("{entry:#x}"),
            ));
        }
        Ok(Some(next))
    }
}

/// Calls `note` with every entry of a copy of the FAT that is not zero.
pub(super) fn each_entry(
    volume: &dyn ReadAt,
    boot: &BootSector,
    copy: u64,
    mut note: impl FnMut(u64, u32),
) -> Result<(), FormatError> {
    let start = boot.fat_copy_start(copy);
    let table = Extent::at(start, boot.end_cluster().saturating_mul(4));
    let mut bytes = Vec::new();
    for piece in table.pieces(PIECE) {
        bytes.resize(usize::try_from(piece.len()).unwrap_or(0), 0);
        volume.read_at(piece.start(), &mut bytes)?;
        let first = piece.start().saturating_sub(start) / 4;
        for (number, entry) in (first..).zip(bytes.chunks_exact(4)) {
            // Most of a table is zeros, as most files are contiguous.
            let entry = entry.u32_le(0).unwrap_or(0);
            if entry != 0 && number >= 2 {
                note(number, entry);
            }
        }
    }
    Ok(())
}

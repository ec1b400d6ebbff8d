// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which clusters the file allocation tables call used.

use super::{BootSector, Root, Width};
use crate::extent::{Extent, ExtentSet};
use crate::fs::runs::Runs;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError};

/// Bytes of a FAT read at a time: a multiple of 12, so that pieces start at an
/// entry of any width, and at an even one of FAT12.
const PIECE: u64 = 12 << 16;

/// Clusters looked at in one pass over the FATs, which bounds the bitmap to
/// 16 MiB. Nothing but a FAT32 of more than 134 million clusters takes two.
const PASS: u64 = 1 << 27;

/// Why the FATs may be behind the directories, if they may.
pub(super) fn doubt(volume: &dyn ReadAt, boot: &BootSector) -> Result<Option<String>, FormatError> {
    // Windows and Linux set the first bit while a volume is mounted, Windows the
    // second after an error. Linux does so on FAT12, too.
    const DIRTY: u8 = 0x01;
    const ERRORS: u8 = 0x02;
    let name = boot.width.name();
    let dirty = format!(
        "the {name} filesystem was not unmounted cleanly, so its allocation table may be behind \
         its directories"
    );
    let errors = format!(
        "the {name} filesystem has had disk errors, so its allocation table may be incomplete"
    );
    if boot.state & DIRTY != 0 {
        return Ok(Some(dirty));
    }
    if boot.state & ERRORS != 0 {
        return Ok(Some(errors));
    }
    for copy in 0..boot.fat_count {
        let start = boot.fat_copy_start(copy);
        let head = read_vec(volume, start, 8)?;
        if copy == boot.active_fat && head.first() != Some(&boot.media) {
            return Err(FormatError::corrupt(
                "first entry of the FAT",
                start,
                format!("the media type {:#x}", boot.media),
                format!("{:#x}", head.first().copied().unwrap_or(0)),
            ));
        }
        // In FAT[1] the bits are the other way round: set means well.
        let (is_clean, is_without_errors) = match boot.width {
            Width::Fat12 => (true, true),
            Width::Fat16 => {
                let entry = head.u16_le(2).unwrap_or(0);
                (entry & 0x8000 != 0, entry & 0x4000 != 0)
            }
            Width::Fat32 => {
                let entry = head.u32_le(4).unwrap_or(0);
                (entry & 0x0800_0000 != 0, entry & 0x0400_0000 != 0)
            }
        };
        if !is_clean {
            return Ok(Some(dirty));
        }
        if !is_without_errors {
            return Ok(Some(errors));
        }
    }
    Ok(None)
}

/// The bytes in use. The filesystem must fit into the volume.
pub(super) fn map(volume: &dyn ReadAt, boot: &BootSector) -> Result<ExtentSet, FormatError> {
    map_within(volume, boot, PASS, Runs::new())
}

/// The bytes in use, in passes of so many clusters, collected in `ranges`.
pub(super) fn map_within(
    volume: &dyn ReadAt,
    boot: &BootSector,
    pass_clusters: u64,
    mut ranges: Runs,
) -> Result<ExtentSet, FormatError> {
    ranges.push(Extent::new(0, boot.data_start));
    let mut first = 2;
    while first < boot.end_cluster() {
        let pass = Pass::over(volume, boot, first, pass_clusters)?;
        pass.check_root(boot)?;
        for cluster in first..pass.end {
            if pass.is_used(cluster) {
                ranges.push(Extent::at(boot.cluster_start(cluster), boot.cluster_bytes));
            }
        }
        first = pass.end;
    }
    ranges.push(Extent::new(boot.cluster_start(boot.end_cluster()), volume.len()));
    Ok(ranges.into_set())
}

/// An entry of the active FAT of a FAT32, without the reserved bits.
pub(super) fn fat32_entry(
    volume: &dyn ReadAt,
    boot: &BootSector,
    cluster: u64,
) -> Result<u64, FormatError> {
    let offset = cluster.saturating_mul(4);
    let start = boot.fat_copy_start(boot.active_fat).saturating_add(offset);
    let entry = read_vec(volume, start, 4)?.u32_le(0).unwrap_or(0);
    Ok(u64::from(entry & 0x0fff_ffff))
}

/// A bit for each of the clusters looked at in one pass.
struct Pass {
    first: u64,
    end: u64,
    bits: Vec<u64>,
}

impl Pass {
    /// Reads every entry of every FAT for the clusters from `first` on.
    fn over(
        volume: &dyn ReadAt,
        boot: &BootSector,
        first: u64,
        clusters: u64,
    ) -> Result<Self, FormatError> {
        let end = first.saturating_add(clusters.max(1)).min(boot.end_cluster());
        let words = end.saturating_sub(first).div_ceil(64);
        let bits = vec![0; usize::try_from(words).unwrap_or(0)];
        let mut pass = Self { first, end, bits };
        let len = boot.width.bytes(boot.end_cluster()).unwrap_or(boot.fat_bytes);
        let mut piece = vec![0; usize::try_from(PIECE.min(len)).unwrap_or(0)];
        for copy in 0..boot.fat_count {
            let mut position = 0;
            let mut number = 0;
            while position < len {
                let part = usize::try_from(len.saturating_sub(position)).unwrap_or(usize::MAX);
                let part = piece.len().min(part);
                let part = piece.get_mut(..part).unwrap_or_default();
                let start = boot.fat_copy_start(copy).saturating_add(position);
                volume.read_at(start, part)?;
                number = pass.note_piece(boot, copy, part, number)?;
                position = position.saturating_add(PIECE);
            }
        }
        Ok(pass)
    }

    /// Notes the entries of a piece, the first of which belongs to `number`,
    /// and returns the number after the last.
    fn note_piece(
        &mut self,
        boot: &BootSector,
        copy: u64,
        piece: &[u8],
        mut number: u64,
    ) -> Result<u64, FormatError> {
        let mut note = |entry: u32| {
            let result = if entry == 0 { Ok(()) } else { self.note(boot, copy, number, entry) };
            number = number.saturating_add(1);
            result
        };
        match boot.width {
            Width::Fat12 => {
                for pair in piece.chunks(3) {
                    if let Some(entry) = pair.u16_le(0) {
                        note(u32::from(entry & 0x0fff))?;
                    }
                    if let Some(entry) = pair.u16_le(1) {
                        note(u32::from(entry >> 4))?;
                    }
                }
            }
            Width::Fat16 => {
                for entry in piece.chunks_exact(2) {
                    note(u32::from(entry.u16_le(0).unwrap_or(u16::MAX)))?;
                }
            }
            Width::Fat32 => {
                for entry in piece.chunks_exact(4) {
                    note(entry.u32_le(0).unwrap_or(u32::MAX))?;
                }
            }
        }
        Ok(number)
    }

    /// Notes an entry that is not zero: its own cluster is in use, and so is
    /// the one that it points at, whatever that one's own entry says.
    fn note(
        &mut self,
        boot: &BootSector,
        copy: u64,
        number: u64,
        entry: u32,
    ) -> Result<(), FormatError> {
        // Entries 0 and 1 hold the media type and flags. FAT12 may have half an
        // entry more than there are clusters.
        if number < 2 || number >= boot.end_cluster() {
            return Ok(());
        }
        // The reserved upper bits of FAT32 make a cluster used here: a system
        // that does not know them would think so.
        self.set(number);
        let (next, reserved) = match boot.width {
            Width::Fat12 => (entry, 0xff0),
            Width::Fat16 => (entry, 0xfff0),
            Width::Fat32 => (entry & 0x0fff_ffff, 0x0fff_fff0),
        };
        let next_cluster = u64::from(next);
        if next_cluster >= 2 && next_cluster < boot.end_cluster() {
            self.set(next_cluster);
        } else if (2..reserved).contains(&next) {
            return Err(FormatError::corrupt(
                "FAT entry",
                boot.fat_copy_start(copy).saturating_add(boot.width.offset(number)),
                format!(
                    "cluster {number} to be followed by one below {}, an end or a bad mark",
                    boot.end_cluster()
                ),
                next,
            ));
        }
        Ok(())
    }

    fn set(&mut self, cluster: u64) {
        if let Some((word, mask)) = self.place(cluster)
            && let Some(word) = self.bits.get_mut(word)
        {
            *word |= mask;
        }
    }

    fn is_used(&self, cluster: u64) -> bool {
        // A cluster without a bit has not been proven free.
        self.place(cluster)
            .and_then(|(word, mask)| Some(self.bits.get(word)? & mask != 0))
            .unwrap_or(true)
    }

    /// The word and the bit in it of a cluster of this pass.
    fn place(&self, cluster: u64) -> Option<(usize, u64)> {
        let index = cluster.checked_sub(self.first).filter(|_| cluster < self.end)?;
        let mask = 1_u64.checked_shl(u32::try_from(index % 64).ok()?)?;
        Some((usize::try_from(index / 64).ok()?, mask))
    }

    /// The root directory of a FAT32 is in use, or the FAT is not its FAT.
    fn check_root(&self, boot: &BootSector) -> Result<(), FormatError> {
        match boot.root {
            Root::Cluster(cluster) if !self.is_used(cluster) => Err(FormatError::corrupt(
                "BPB_RootClus",
                0x2c,
                "a cluster that is in use",
                format!("cluster {cluster}, which is free"),
            )),
            _ => Ok(()),
        }
    }
}

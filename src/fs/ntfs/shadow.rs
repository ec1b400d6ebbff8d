// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shadow copies ("restore points", "previous versions").
//!
//! A shadow copy is the volume as it was, kept by copying each block of 16 KiB
//! to a store before it is written to for the first time. What was not written
//! to since is read in place, also where the filesystem has freed it. So the
//! blocks that a shadow copy needs are not those of `$Bitmap`, but those that
//! the bitmaps of its store do not release.
//!
//! Read in this order: the header at 0x1e00, the catalog, and for each store in
//! it the bitmaps (all blocks not released by both are kept), and the list of
//! copied blocks (where they were, where they are, and where moved ones went).
//! A shadow copy is read through the stores of all later ones, so what any of
//! them does not release is kept. Anything that is not as described, or a store
//! on another volume, means that nothing is known to be free.
//!
//! Specification: Joachim Metz, "Volume Shadow Snapshot (VSS) format", which is
//! the work of observation: Microsoft has published none.

use std::collections::BTreeMap;

use super::boot_sector::BootSector;
use super::used::Clusters;
use crate::error::Context;
use crate::extent::Extent;
use crate::fs::bitmap;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError};

/// {3808876b-c176-4e48-b7ae-04046e6cc752}
const IDENTIFIER: [u8; 16] = [
    0x6b, 0x87, 0x08, 0x38, 0x76, 0xc1, 0x48, 0x4e, 0xb7, 0xae, 0x04, 0x04, 0x6e, 0x6c, 0xc7, 0x52,
];

const HEADER: u64 = 0x1e00;

/// Everything is in blocks of this size.
const BLOCK: u64 = 0x4000;
const BLOCK_HEADER: usize = 0x80;

/// Windows keeps at most 512 shadow copies of a volume, as two entries each;
/// 127 entries are in a block.
const MAX_CATALOG: u64 = 64;

/// The record types of blocks.
mod kind {
    pub(super) const VOLUME_HEADER: u32 = 1;
    pub(super) const CATALOG: u32 = 2;
    pub(super) const BLOCK_LIST: u32 = 3;
    pub(super) const STORE_HEADER: u32 = 4;
    pub(super) const RANGE_LIST: u32 = 5;
    pub(super) const BITMAP: u32 = 6;
}

/// Where the parts of a store are.
#[derive(Debug, Clone, Copy, Default)]
struct Store {
    is_copy: bool,
    /// Block list, header, range list, current and previous bitmap.
    parts: Option<[u64; 5]>,
}

/// Marks everything that shadow copies read as in use, and says how many there
/// are.
pub(super) fn keep(
    volume: &dyn ReadAt,
    boot: &BootSector,
    clusters: &mut Clusters,
) -> Result<u64, FormatError> {
    let Some(catalog) = header(volume)? else { return Ok(0) };
    let reader = Reader { volume, boot };
    let mut count: u64 = 0;
    for store in reader.stores(catalog, clusters)?.values() {
        let parts = store.parts.ok_or_else(|| unclear("one of them is stored elsewhere"))?;
        reader.keep(parts, store.is_copy, clusters)?;
        count = count.saturating_add(u64::from(store.is_copy));
    }
    Ok(count)
}

fn unclear(what: &str) -> FormatError {
    FormatError::unsupported(format!("shadow copies (restore points): {what}"))
}

/// Where the catalog is, if there is one.
fn header(volume: &dyn ReadAt) -> Result<Option<u64>, FormatError> {
    if volume.len() < HEADER.saturating_add(512) {
        return Ok(None);
    }
    let bytes = read_vec(volume, HEADER, 512)
        .context(|| format!("reading the header of shadow copies at byte {HEADER:#x}"))?;
    if bytes.bytes_at(0, 16) != Some(&IDENTIFIER) {
        return Ok(None);
    }
    let version = bytes.u32_le(0x10);
    if !matches!(version, Some(1 | 2)) || bytes.u32_le(0x14) != Some(kind::VOLUME_HEADER) {
        return Err(unclear("the header is of a version that is not known"));
    }
    if bytes.u64_le(0x18) != Some(HEADER) {
        return Err(unclear("the header is not where it says"));
    }
    if bytes.array::<16>(0x40) != bytes.array::<16>(0x50) {
        return Err(unclear("they are stored on another volume"));
    }
    Ok(bytes.u64_le(0x30).filter(|catalog| *catalog != 0))
}

struct Reader<'a> {
    volume: &'a dyn ReadAt,
    boot: &'a BootSector,
}

impl Reader<'_> {
    /// Reads the catalog.
    fn stores(
        &self,
        catalog: u64,
        clusters: &mut Clusters,
    ) -> Result<BTreeMap<[u8; 16], Store>, FormatError> {
        let mut found: BTreeMap<[u8; 16], Store> = BTreeMap::new();
        let mut chain = Chain { left: MAX_CATALOG, ..self.chain(catalog, kind::CATALOG) };
        while let Some((place, block)) = chain.next()? {
            clusters.set_bytes(Extent::at(place, BLOCK));
            for entry in block.get(BLOCK_HEADER..).unwrap_or_default().chunks_exact(0x80) {
                let identifier = entry.array::<16>(0x10).unwrap_or_default();
                match entry.u64_le(0) {
                    // Not in use.
                    Some(0 | 1) => {}
                    Some(2) => {
                        let store = found.entry(identifier).or_default();
                        if store.is_copy {
                            return Err(unclear("two have the same name"));
                        }
                        store.is_copy = true;
                    }
                    Some(3) => {
                        let store = found.entry(identifier).or_default();
                        if store.parts.is_some() {
                            return Err(unclear("two have the same store"));
                        }
                        let place = |offset| entry.u64_le(offset).unwrap_or(0);
                        store.parts =
                            Some([place(0x08), place(0x20), place(0x28), place(0x30), place(0x48)]);
                    }
                    _ => return Err(unclear("the catalog has an entry that is not known")),
                }
            }
        }
        Ok(found)
    }

    /// The last block may be only partly on the volume.
    const fn end(&self) -> u64 {
        self.boot.size.div_ceil(BLOCK).saturating_mul(BLOCK)
    }

    fn chain(&self, start: u64, kind: u32) -> Chain<'_> {
        // No list has more blocks than the volume.
        let left = self.end() / BLOCK;
        Chain { volume: self.volume, boot: self.boot, next: start, left, kind }
    }

    /// Marks what is read through a store. One that is not of a copy of this
    /// volume is of another's: it is a file like others, and its bitmaps are
    /// about that volume.
    fn keep(
        &self,
        parts: [u64; 5],
        is_own: bool,
        clusters: &mut Clusters,
    ) -> Result<(), FormatError> {
        let [list, header, ranges, current, previous] = parts;
        if list == 0 || header == 0 || ranges == 0 || current == 0 {
            return Err(unclear("a store is not complete"));
        }
        // The ranges are where the store had room when it was begun. The file
        // is cut to what it needs later, so they prove nothing.
        for (start, kind) in [(header, kind::STORE_HEADER), (ranges, kind::RANGE_LIST)] {
            let mut chain = self.chain(start, kind);
            while let Some((place, _)) = chain.next()? {
                clusters.set_bytes(Extent::at(place, BLOCK));
            }
        }
        self.keep_list(list, is_own, clusters)?;
        for bitmap in [current, previous].into_iter().filter(|start| *start != 0) {
            self.keep_bitmap(bitmap, is_own, clusters)?;
        }
        Ok(())
    }

    /// The blocks that were copied: where they were, where they are now, and
    /// where the filesystem has moved them to.
    fn keep_list(
        &self,
        start: u64,
        is_own: bool,
        clusters: &mut Clusters,
    ) -> Result<(), FormatError> {
        const FORWARDER: u32 = 0x01;
        const NOT_USED: u32 = 0x04;
        const UNKNOWN: u32 = 0xffff_ff00;
        let mut chain = self.chain(start, kind::BLOCK_LIST);
        while let Some((place, block)) = chain.next()? {
            clusters.set_bytes(Extent::at(place, BLOCK));
            for entry in block.get(BLOCK_HEADER..).unwrap_or_default().chunks_exact(32) {
                let flags = entry.u32_le(0x18).unwrap_or(u32::MAX);
                if entry.iter().all(|byte| *byte == 0) || flags & NOT_USED != 0 {
                    continue;
                }
                // Of the lower bits, which other ones mean what is not known;
                // none of them changes where a block is.
                if flags & UNKNOWN != 0 {
                    return Err(unclear("a copied block has flags that are not known"));
                }
                let place = |offset| entry.u64_le(offset).unwrap_or(u64::MAX);
                if flags & FORWARDER == 0 {
                    clusters.set_bytes(self.inside(place(0x10))?);
                }
                if is_own {
                    clusters.set_bytes(self.inside(place(0))?);
                    if flags & FORWARDER != 0 {
                        clusters.set_bytes(self.inside(place(0x08))?);
                    }
                }
            }
        }
        Ok(())
    }

    /// The blocks that a bitmap does not release, all those behind its end
    /// among them.
    fn keep_bitmap(
        &self,
        start: u64,
        is_own: bool,
        clusters: &mut Clusters,
    ) -> Result<(), FormatError> {
        let mut chain = self.chain(start, kind::BITMAP);
        let mut base: u64 = 0;
        while let Some((place, block)) = chain.next()? {
            clusters.set_bytes(Extent::at(place, BLOCK));
            if !is_own {
                continue;
            }
            let kept: Vec<u8> =
                block.get(BLOCK_HEADER..).unwrap_or_default().iter().map(|byte| !byte).collect();
            let count = u64::try_from(kept.len()).unwrap_or(0).saturating_mul(8);
            for (first, end) in bitmap::ones(&kept, count) {
                let start = base.saturating_add(first).saturating_mul(BLOCK);
                let end = base.saturating_add(end).saturating_mul(BLOCK);
                clusters.set_bytes(Extent::new(start, end));
            }
            base = base.saturating_add(count);
        }
        if is_own {
            clusters.set_bytes(Extent::new(base.saturating_mul(BLOCK), self.boot.size));
        }
        Ok(())
    }

    /// A block of the volume.
    fn inside(&self, start: u64) -> Result<Extent, FormatError> {
        if start.checked_add(BLOCK).is_some_and(|end| end <= self.end()) {
            return Ok(Extent::at(start, BLOCK));
        }
        Err(unclear("a store names a place behind the end of the volume"))
    }
}

/// Blocks of one kind, each of which names the next.
struct Chain<'a> {
    volume: &'a dyn ReadAt,
    boot: &'a BootSector,
    next: u64,
    left: u64,
    kind: u32,
}

impl Chain<'_> {
    fn next(&mut self) -> Result<Option<(u64, Vec<u8>)>, FormatError> {
        let place = self.next;
        if place == 0 {
            return Ok(None);
        }
        self.left = self.left.checked_sub(1).ok_or_else(|| {
            FormatError::corrupt("list of a shadow copy", place, "an end", "a loop")
        })?;
        if place.checked_add(BLOCK).is_none_or(|end| end > self.boot.clusters_bytes()) {
            return Err(unclear("a list goes on behind the end of the volume"));
        }
        let bytes = read_vec(self.volume, place, usize::try_from(BLOCK).unwrap_or(0))
            .context(|| format!("reading a list of a shadow copy at byte {place:#x}"))?;
        let is_it = bytes.bytes_at(0, 16) == Some(&IDENTIFIER)
            && matches!(bytes.u32_le(0x10), Some(1 | 2))
            && bytes.u32_le(0x14) == Some(self.kind)
            && bytes.u64_le(0x20) == Some(place);
        if !is_it {
            return Err(unclear(&format!("at byte {place:#x} is not what should be there")));
        }
        self.next = bytes.u64_le(0x28).unwrap_or(0);
        Ok(Some((place, bytes)))
    }
}

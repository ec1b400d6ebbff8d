// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of a FAT.
//!
//! A node is the place of its entry on the volume. A file has as many clusters
//! of its chain as its size needs; a folder has all of them. Long names are used
//! if they are whole and belong to their short name, as everywhere else; the
//! entry of the label and what was deleted are no files.

use std::fmt;
use std::sync::Arc;

use super::boot_sector::{BootSector, Root, Width};
use super::name::{self, LongName};
use crate::extent::{Extent, ExtentSet};
use crate::fs::files::{
    Attributes, DirectoryEntry, DosAttributes, EachEntry, FileResult, Files, Node, NodeKind, Times,
};
use crate::fs::listing::Listings;
use crate::fs::names;
use crate::fs::pieces::{self, Pieces, within};
use crate::fs::recent::Recent;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError};

/// No entry is there: the boot sector is.
const ROOT: Node = Node::new(0);

/// Files whose places are kept, and bytes of these.
const RECENT_FILES: usize = 128;
const RECENT_BYTES: usize = 16 << 20;

/// The longest folder: 65536 entries.
const FOLDER_MAX: u64 = 65536 * 32;

/// Bytes of a folder and of the FAT that are read at a time.
const PIECE: u64 = 1 << 16;
const PAGE: u64 = 4096;

const LEN: usize = 32;
const LABEL: u8 = 0x08;
const DIRECTORY: u8 = 0x10;

/// The files of a volume.
pub(super) struct FatFiles {
    volume: Arc<dyn ReadAt>,
    boot: BootSector,
    notice: Option<String>,
    opened: Recent<Node, Opened>,
    listings: Listings,
}

impl fmt::Debug for FatFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FatFiles").field("boot", &self.boot).finish_non_exhaustive()
    }
}

/// A file or folder, and where its content is.
struct Opened {
    entry: Entry,
    pieces: Pieces,
}

/// What an entry says beside the name.
#[derive(Debug, Clone, Copy)]
struct Entry {
    attributes: u8,
    times: Times,
    first_cluster: u64,
    size: u64,
}

impl Entry {
    fn parse(bytes: &[u8], width: Width) -> Self {
        let half = |offset| bytes.u16_le(offset).unwrap_or(0);
        let high = match width {
            Width::Fat32 => u64::from(half(0x14)),
            // Other systems keep other things there.
            Width::Fat12 | Width::Fat16 => 0,
        };
        let hundredths = bytes.u8_at(0x0d).unwrap_or(0);
        Self {
            attributes: bytes.u8_at(0x0b).unwrap_or(0),
            times: Times {
                created: names::dos_time(half(0x10), half(0x0e), hundredths),
                modified: names::dos_time(half(0x18), half(0x16), 0),
                accessed: names::dos_time(half(0x12), 0, 0),
                changed: None,
            },
            first_cluster: high.wrapping_shl(16) | u64::from(half(0x1a)),
            size: bytes.u32_le(0x1c).map_or(0, u64::from),
        }
    }

    /// The root folder, which no entry describes.
    fn root(boot: &BootSector) -> Self {
        let first_cluster = match boot.root {
            Root::Area { .. } => 0,
            Root::Cluster(cluster) => cluster,
        };
        Self { attributes: DIRECTORY, times: Times::default(), first_cluster, size: 0 }
    }

    const fn is_folder(&self) -> bool {
        self.attributes & DIRECTORY != 0
    }

    const fn kind(&self) -> NodeKind {
        if self.is_folder() { NodeKind::Folder } else { NodeKind::File }
    }
}

/// The active FAT, a page of it at a time.
struct Table<'a> {
    volume: &'a dyn ReadAt,
    boot: &'a BootSector,
    page: Option<(u64, Vec<u8>)>,
}

impl Table<'_> {
    /// The cluster that follows in a chain; `None` at its end.
    fn next(&mut self, cluster: u64) -> FileResult<Option<u64>> {
        let boot = self.boot;
        let offset = boot.width.offset(cluster);
        let start = boot.fat_copy_start(boot.active_fat);
        let number = offset / PAGE;
        if self.page.as_ref().is_none_or(|(own, _)| *own != number) {
            // An entry of FAT12 may go on in the next page.
            let from = start.saturating_add(number.saturating_mul(PAGE));
            let page = Extent::at(from, PAGE.saturating_add(4))
                .intersect(&Extent::at(start, boot.fat_bytes));
            let bytes =
                read_vec(self.volume, page.start(), usize::try_from(page.len()).unwrap_or(0))?;
            self.page = Some((number, bytes));
        }
        let bytes = self.page.as_ref().map(|(_, bytes)| bytes.as_slice()).unwrap_or_default();
        let at = usize::try_from(offset % PAGE).unwrap_or(usize::MAX);
        let (entry, bad) = match boot.width {
            Width::Fat12 => {
                let pair = bytes.u16_le(at);
                let shift = if cluster.is_multiple_of(2) { 0 } else { 4 };
                (pair.map(|pair| u64::from(pair.wrapping_shr(shift) & 0x0fff)), 0x0ff7)
            }
            Width::Fat16 => (bytes.u16_le(at).map(u64::from), 0xfff7),
            Width::Fat32 => (bytes.u32_le(at).map(|it| u64::from(it & 0x0fff_ffff)), 0x0fff_fff7),
        };
        match entry {
            Some(next) if (2..boot.end_cluster()).contains(&next) && next != bad => Ok(Some(next)),
            Some(next) if next > bad => Ok(None),
            next => Err(FormatError::corrupt(
                "FAT entry",
                start.saturating_add(offset),
                format!("cluster {cluster} to be followed by another, or to be the last"),
                format!("{:#x}", next.unwrap_or(0)),
            )),
        }
    }
}

impl FatFiles {
    pub(super) fn new(volume: Arc<dyn ReadAt>, boot: BootSector, notice: Option<String>) -> Self {
        Self {
            volume,
            boot,
            notice,
            opened: Recent::new(RECENT_FILES, RECENT_BYTES),
            listings: Listings::new(),
        }
    }

    fn entry(&self, node: Node) -> FileResult<Entry> {
        if node == ROOT {
            return Ok(Entry::root(&self.boot));
        }
        let bytes = read_vec(self.volume.as_ref(), node.number, LEN)?;
        Ok(Entry::parse(&bytes, self.boot.width))
    }

    /// Where the content of a file or folder is.
    fn pieces(&self, node: Node, entry: &Entry) -> FileResult<Pieces> {
        if let (ROOT, Root::Area { start, len }) = (node, self.boot.root) {
            let mut pieces = Pieces::default();
            pieces.push(Extent::at(start, len))?;
            return Ok(pieces);
        }
        let cluster_bytes = self.boot.cluster_bytes;
        let (needed, most) = if entry.is_folder() {
            (None, FOLDER_MAX.div_ceil(cluster_bytes).min(self.boot.clusters))
        } else {
            (Some(entry.size.div_ceil(cluster_bytes)), self.boot.clusters)
        };
        if needed == Some(0) {
            return Ok(Pieces::default());
        }
        let first = entry.first_cluster;
        if !(2..self.boot.end_cluster()).contains(&first) {
            return Err(FormatError::corrupt(
                "folder entry",
                node.number,
                format!("a cluster from 2 to {}", self.boot.end_cluster().saturating_sub(1)),
                first,
            ));
        }
        let mut table = Table { volume: self.volume.as_ref(), boot: &self.boot, page: None };
        let extent = |cluster| Extent::at(self.boot.cluster_start(cluster), cluster_bytes);
        pieces::chain(first, needed, most, extent, |cluster| table.next(cluster))
    }

    fn open(&self, node: Node) -> FileResult<Arc<Opened>> {
        self.opened.get_or_open(node, || {
            let entry = self.entry(node)?;
            let pieces = self.pieces(node, &entry)?;
            let bytes = pieces.weight().saturating_add(size_of::<Opened>());
            Ok((Opened { entry, pieces }, bytes))
        })
    }
}

impl Files for FatFiles {
    fn root(&self) -> Node {
        ROOT
    }

    fn notice(&self) -> Option<String> {
        self.notice.clone()
    }

    fn attributes(&self, node: Node) -> FileResult<Attributes> {
        const READ_ONLY: u8 = 0x01;
        const HIDDEN: u8 = 0x02;
        const SYSTEM: u8 = 0x04;
        const ARCHIVE: u8 = 0x20;
        let entry = self.entry(node)?;
        let has = |flag| entry.attributes & flag != 0;
        let clusters = entry.size.div_ceil(self.boot.cluster_bytes);
        Ok(Attributes {
            kind: entry.kind(),
            size: if entry.is_folder() { 0 } else { entry.size },
            allocated: (!entry.is_folder())
                .then(|| clusters.saturating_mul(self.boot.cluster_bytes)),
            times: entry.times,
            mode: None,
            owner: None,
            links: 1,
            dos: Some(DosAttributes {
                read_only: has(READ_ONLY),
                hidden: has(HIDDEN),
                system: has(SYSTEM),
                archive: has(ARCHIVE),
            }),
        })
    }

    fn list(&self, folder: Node, each: EachEntry) -> FileResult<()> {
        const DELETED: u8 = 0xe5;
        let opened = self.open(folder)?;
        if !opened.entry.is_folder() {
            return Err(FormatError::corrupt("folder", folder.number, "a folder", "a file"));
        }
        let mut long = LongName::default();
        let mut bytes = Vec::new();
        for extent in opened.pieces.places(u64::MAX).flat_map(|extent| extent.pieces(PIECE)) {
            bytes.resize(usize::try_from(extent.len()).unwrap_or(0), 0);
            self.volume.read_at(extent.start(), &mut bytes)?;
            for (position, entry) in (extent.start()..).step_by(LEN).zip(bytes.chunks_exact(LEN)) {
                match entry.first() {
                    Some(0) | None => return Ok(()),
                    Some(&DELETED) => {
                        long = LongName::default();
                        continue;
                    }
                    _ if name::is_part(entry) => {
                        long.push(entry);
                        continue;
                    }
                    _ => {}
                }
                let long = long.take(entry);
                // The first two names of a folder are itself and its parent's.
                let is_dots =
                    matches!(entry.bytes_at(0, 11), Some(b".          " | b"..         "));
                if entry.u8_at(11).is_some_and(|it| it & LABEL != 0) || is_dots {
                    continue;
                }
                let name = long.unwrap_or_else(|| name::short(entry));
                let kind = Entry::parse(entry, self.boot.width).kind();
                let found = names::check(&name, position);
                let found =
                    found.map(|()| DirectoryEntry { name, node: Node::new(position), kind });
                if each(found).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn lookup(&self, folder: Node, name: &[u8]) -> FileResult<Option<DirectoryEntry>> {
        let fold = |name: &[u8]| names::folded(name, names::capital);
        self.listings.lookup(self, folder, name, Some(&fold))
    }

    fn read_at(&self, file: Node, offset: u64, buf: &mut [u8]) -> FileResult<usize> {
        let opened = self.open(file)?;
        if opened.entry.is_folder() {
            return Err(FormatError::corrupt("file", file.number, "a file", "a folder"));
        }
        let buf = within(opened.entry.size, offset, buf);
        opened.pieces.read(self.volume.as_ref(), offset, buf)?;
        Ok(buf.len())
    }

    fn link_target(&self, link: Node) -> FileResult<Vec<u8>> {
        Err(FormatError::corrupt("file", link.number, "a link", "none: FAT has no links"))
    }

    fn data_ranges(&self, file: Node) -> FileResult<Option<ExtentSet>> {
        let entry = self.entry(file)?;
        Ok(Some(ExtentSet::all(if entry.is_folder() { 0 } else { entry.size })))
    }

    fn places(&self, file: Node) -> FileResult<Option<ExtentSet>> {
        let opened = self.open(file)?;
        let len = if opened.entry.is_folder() { u64::MAX } else { opened.entry.size };
        pieces::on_volume(opened.pieces.places_of(len), self.volume.len())
    }
}

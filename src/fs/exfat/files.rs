// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of an exFAT.
//!
//! A node is the place of its set of entries: the number of the first entry on
//! the volume, and whether the folder that it is in is contiguous, by which the
//! rest of the set is found where it goes on in another cluster. A set that is
//! damaged is one name less, and an error.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use super::boot_sector::BootSector;
use super::entry::{self, Allocation};
use super::table::Table;
use super::walk::{FOLDER_MAX, UPCASE_MAX};
use crate::extent::{Extent, ExtentSet};
use crate::fs::files::{
    Attributes, DirectoryEntry, DosAttributes, EachEntry, FileResult, Files, Node, NodeKind, Times,
    may_be_old,
};
use crate::fs::listing::Listings;
use crate::fs::names::{self, units_le};
use crate::fs::pieces::{self, Pieces, within};
use crate::fs::recent::Recent;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError};

/// No entry is there: the boot sector is.
const ROOT: Node = Node::new(0);

/// Files whose places are kept, and bytes of these.
const RECENT_FILES: usize = 128;
const RECENT_BYTES: usize = 16 << 20;

/// Bytes of a folder that are read at a time.
const PIECE: u64 = 1 << 16;

/// The files of a volume.
pub(super) struct ExfatFiles {
    volume: Arc<dyn ReadAt>,
    boot: BootSector,
    upcase: OnceLock<Vec<u16>>,
    opened: Recent<Node, Opened>,
    listings: Listings,
}

impl fmt::Debug for ExfatFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExfatFiles").field("boot", &self.boot).finish_non_exhaustive()
    }
}

/// A file or folder, and where its content is.
struct Opened {
    set: Set,
    pieces: Pieces,
}

/// What the entries of a file say.
#[derive(Debug, Clone)]
struct Set {
    name: Vec<u8>,
    attributes: u16,
    times: Times,
    /// What is behind reads as zeros.
    valid: u64,
    allocation: Allocation,
}

impl Set {
    /// The set in these bytes, which begin at `position`.
    fn parse(bytes: &[u8], position: u64) -> FileResult<Self> {
        let corrupt = |expected: &str, found: String| {
            FormatError::corrupt("set of folder entries", position, expected, found)
        };
        let (sum, found) = (entry::checksum(bytes), bytes.u16_le(2).unwrap_or(0));
        if sum != found {
            return Err(corrupt(&format!("the checksum {sum:#06x}"), format!("{found:#06x}")));
        }
        let mut entries = bytes.chunks_exact(entry::LEN).skip(1);
        let is_stream = |it: &&[u8]| it.u8_at(0) == Some(entry::STREAM);
        let Some(stream) = entries.next().filter(is_stream) else {
            return Err(corrupt("a stream extension", "none".into()));
        };
        let len = usize::from(stream.u8_at(3).unwrap_or(0)).saturating_mul(2);
        let names = entries.take_while(|it| it.u8_at(0) == Some(entry::FILE_NAME));
        let letters: Vec<u8> = names.flat_map(|it| it.iter().skip(2).copied()).collect();
        let letters = letters.get(..len).filter(|letters| !letters.is_empty());
        let letters = letters.ok_or_else(|| corrupt("all of the name", "less".into()))?;
        let name = names::wtf8(units_le(letters));
        names::check(&name, position)?;
        let time = |at: usize, hundredths: Option<usize>, zone: usize| {
            let (time, date) = (bytes.u16_le(at)?, bytes.u16_le(at.checked_add(2)?)?);
            let hundredths = hundredths.map_or(Some(0), |at| bytes.u8_at(at))?;
            let local = names::dos_time(date, time, hundredths)?;
            // The highest bit says that a zone is known: quarters of an hour,
            // a number of seven bits with a sign.
            let zone = bytes.u8_at(zone).filter(|zone| zone & 0x80 != 0).unwrap_or(0);
            let quarters = i64::from(i8::from_le_bytes([zone.wrapping_shl(1)]) / 2);
            let zone = jiff::SignedDuration::from_mins(quarters.checked_mul(15)?);
            local.checked_sub(zone).ok()
        };
        Ok(Self {
            name,
            attributes: bytes.u16_le(4).unwrap_or(0),
            times: Times {
                created: time(8, Some(20), 22),
                modified: time(12, Some(21), 23),
                accessed: time(16, None, 24),
                changed: None,
            },
            valid: stream.u64_le(8).unwrap_or(0),
            allocation: entry::stream_allocation(stream, position)?,
        })
    }

    /// The root folder, which no entry describes.
    fn root(boot: &BootSector) -> Self {
        Self {
            name: Vec::new(),
            attributes: entry::DIRECTORY,
            times: Times::default(),
            valid: 0,
            allocation: Allocation {
                first_cluster: boot.root,
                len: 0,
                is_contiguous: false,
                position: 0,
            },
        }
    }

    const fn is_folder(&self) -> bool {
        self.attributes & entry::DIRECTORY != 0
    }

    const fn kind(&self) -> NodeKind {
        if self.is_folder() { NodeKind::Folder } else { NodeKind::File }
    }
}

/// The node whose set begins at `position`.
fn node(position: u64, is_contiguous: bool) -> Node {
    // Entries are 32 bytes, so five bits are free.
    Node::new((position & !0x1f) | u64::from(is_contiguous))
}

impl ExfatFiles {
    pub(super) fn new(volume: Arc<dyn ReadAt>, boot: BootSector) -> Self {
        Self {
            volume,
            boot,
            upcase: OnceLock::new(),
            opened: Recent::new(RECENT_FILES, RECENT_BYTES),
            listings: Listings::new(),
        }
    }

    fn cluster_extent(&self, cluster: u64) -> Extent {
        Extent::at(self.boot.cluster_start(cluster), self.boot.cluster_bytes)
    }

    /// The set of a node.
    fn set(&self, node: Node) -> FileResult<Set> {
        if node == ROOT {
            return Ok(Set::root(&self.boot));
        }
        let (position, is_contiguous) = (node.number & !0x1f, node.number & 1 != 0);
        let mut cluster = self.boot.cluster_at(position);
        let corrupt = |expected: &str| {
            FormatError::corrupt("set of folder entries", position, expected, "less or other")
        };
        if !self.boot.has(cluster) || position < self.boot.heap_start {
            return Err(corrupt("a place in a cluster"));
        }
        let first = read_vec(self.volume.as_ref(), position, entry::LEN)?;
        if first.u8_at(0) != Some(entry::FILE) {
            return Err(corrupt("the entry of a file"));
        }
        let count = usize::from(first.u8_at(1).unwrap_or(0)).saturating_add(1);
        let mut set = vec![0; count.saturating_mul(entry::LEN)];
        let (mut at, mut rest) = (position, set.as_mut_slice());
        let mut table = None;
        while !rest.is_empty() {
            let end = self.cluster_extent(cluster).end();
            let left = usize::try_from(end.saturating_sub(at)).unwrap_or(0).min(rest.len());
            let (part, behind) = rest.split_at_mut_checked(left).unwrap_or_default();
            self.volume.read_at(at, part)?;
            rest = behind;
            if rest.is_empty() {
                break;
            }
            cluster = if is_contiguous {
                Some(cluster.saturating_add(1)).filter(|next| self.boot.has(*next))
            } else {
                let table = match &mut table {
                    Some(table) => table,
                    None => table.insert(Table::open(self.volume.as_ref(), &self.boot)?),
                };
                table.next(&self.boot, cluster)?
            }
            .ok_or_else(|| corrupt("all of its entries in the folder"))?;
            at = self.cluster_extent(cluster).start();
        }
        Set::parse(&set, position)
    }

    /// Where the content of a file or folder is.
    fn pieces(&self, set: &Set, is_root: bool) -> FileResult<Pieces> {
        let Allocation { first_cluster: first, len, is_contiguous, position } = set.allocation;
        let needed = len.div_ceil(self.boot.cluster_bytes);
        if needed == 0 && !is_root {
            return Ok(Pieces::default());
        }
        let has = |cluster: u64| self.boot.has(cluster);
        let end = first.checked_add(needed).filter(|end| *end <= self.boot.end_cluster());
        if !has(first) || end.is_none() && is_contiguous || needed > self.boot.clusters {
            return Err(FormatError::corrupt(
                "set of folder entries",
                position,
                "clusters of the volume",
                format!("{needed} clusters from {first} on"),
            ));
        }
        let most = if set.is_folder() {
            FOLDER_MAX.checked_div(self.boot.cluster_bytes).unwrap_or(0).max(1)
        } else {
            self.boot.clusters
        };
        if is_contiguous {
            let mut pieces = Pieces::default();
            let count = needed.min(most);
            let len = count.saturating_mul(self.boot.cluster_bytes);
            pieces.push(Extent::at(self.boot.cluster_start(first), len))?;
            return Ok(pieces);
        }
        let mut table = Table::open(self.volume.as_ref(), &self.boot)?;
        let needed = (!is_root).then_some(needed);
        let next = |cluster| table.next(&self.boot, cluster);
        pieces::chain(first, needed, most, |cluster| self.cluster_extent(cluster), next)
    }

    fn open(&self, node: Node) -> FileResult<Arc<Opened>> {
        self.opened.get_or_open(node, || {
            let set = self.set(node)?;
            let pieces = self.pieces(&set, node == ROOT)?;
            let bytes = pieces.weight().saturating_add(size_of::<Opened>());
            Ok((Opened { set, pieces }, bytes))
        })
    }

    /// Calls `each` with the entries of a folder up to its end, and where they
    /// are.
    fn entries(
        &self,
        pieces: &Pieces,
        each: &mut dyn FnMut(&[u8], u64) -> ControlFlow<()>,
    ) -> FileResult<()> {
        let mut bytes = Vec::new();
        for extent in pieces.places(u64::MAX).flat_map(|extent| extent.pieces(PIECE)) {
            bytes.resize(usize::try_from(extent.len()).unwrap_or(0), 0);
            self.volume.read_at(extent.start(), &mut bytes)?;
            let mut position = extent.start();
            for entry in bytes.chunks_exact(entry::LEN) {
                if entry.u8_at(0) == Some(0) || each(entry, position).is_break() {
                    return Ok(());
                }
                position = position.saturating_add(32);
            }
        }
        Ok(())
    }

    /// The letters that stand for letters of either case.
    fn fold(&self, unit: u16) -> u16 {
        let table = self.upcase.get_or_init(|| self.read_upcase().unwrap_or_default());
        table.get(usize::from(unit)).copied().unwrap_or(unit)
    }

    /// The up-case table, by section 7.2 of the specification; without one
    /// letters of either case are different.
    fn read_upcase(&self) -> Option<Vec<u16>> {
        let root = self.open(ROOT).ok()?;
        let mut found = None;
        let each = &mut |entry: &[u8], position| {
            if entry.u8_at(0) != Some(entry::UPCASE) {
                return ControlFlow::Continue(());
            }
            found = Some(entry::allocation(entry, position, false));
            ControlFlow::Break(())
        };
        self.entries(&root.pieces, each).ok()?;
        let allocation = found.filter(|it| it.len <= UPCASE_MAX)?;
        let set = Set { allocation, attributes: 0, ..Set::root(&self.boot) };
        let pieces = self.pieces(&set, false).ok()?;
        let mut bytes = vec![0; usize::try_from(allocation.len).ok()?];
        pieces.read(self.volume.as_ref(), 0, &mut bytes).ok()?;
        let mut table: Vec<u16> = Vec::new();
        let mut units = units_le(&bytes);
        // 0xFFFF and a number: so many letters that are their own capitals.
        while let (Some(unit), true) = (units.next(), table.len() < 1 << 16) {
            let own = u16::try_from(table.len()).unwrap_or(u16::MAX);
            match units.clone().next() {
                Some(count) if unit == 0xffff && own != 0xffff => {
                    units.next();
                    table.extend((own..=u16::MAX).take(usize::from(count)));
                }
                _ => table.push(unit),
            }
        }
        Some(table)
    }
}

impl Files for ExfatFiles {
    fn root(&self) -> Node {
        ROOT
    }

    fn notice(&self) -> Option<String> {
        let is_doubtful = self.boot.is_dirty || self.boot.has_failed;
        is_doubtful.then(|| may_be_old("it was not unmounted, or has had disk errors"))
    }

    fn attributes(&self, node: Node) -> FileResult<Attributes> {
        const READ_ONLY: u16 = 0x01;
        const HIDDEN: u16 = 0x02;
        const SYSTEM: u16 = 0x04;
        const ARCHIVE: u16 = 0x20;
        let set = self.set(node)?;
        let has = |flag| set.attributes & flag != 0;
        let clusters = set.allocation.len.div_ceil(self.boot.cluster_bytes);
        Ok(Attributes {
            kind: set.kind(),
            size: if set.is_folder() { 0 } else { set.allocation.len },
            allocated: (node != ROOT).then(|| clusters.saturating_mul(self.boot.cluster_bytes)),
            times: set.times,
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
        let opened = self.open(folder)?;
        if !opened.set.is_folder() {
            return Err(FormatError::corrupt("folder", folder.number, "a folder", "a file"));
        }
        let is_contiguous = opened.set.allocation.is_contiguous;
        // Of the set that is being read: its entries, its place, how many are
        // missing. Of one without a beginning there is one error only.
        let (mut set, mut start, mut missing) = (Vec::new(), 0, 0_u8);
        let mut is_stray = false;
        let broken = |position| {
            let expected = "all entries of a set, one after the other";
            Err(FormatError::corrupt("set of folder entries", position, expected, "others"))
        };
        let mut stopped = false;
        self.entries(&opened.pieces, &mut |entry, position| {
            let kind = entry.u8_at(0).unwrap_or(0);
            let is_part =
                kind & (entry::IN_USE | entry::SECONDARY) == entry::IN_USE | entry::SECONDARY;
            let mut flow = ControlFlow::Continue(());
            if missing > 0 && !is_part {
                missing = 0;
                flow = each(broken(start));
            }
            if is_part && missing > 0 {
                set.extend_from_slice(entry);
                missing = missing.saturating_sub(1);
                if missing == 0 {
                    flow = each(Set::parse(&set, start).map(|set| DirectoryEntry {
                        node: node(start, is_contiguous),
                        kind: set.kind(),
                        name: set.name,
                    }));
                }
            } else if is_part && !is_stray {
                is_stray = true;
                flow = each(broken(position));
            } else if kind == entry::FILE && flow.is_continue() {
                set.clear();
                set.extend_from_slice(entry);
                (start, missing) = (position, entry.u8_at(1).unwrap_or(0));
                if missing == 0 {
                    flow = each(broken(position));
                }
            }
            is_stray &= is_part;
            stopped = flow.is_break();
            flow
        })?;
        if missing > 0 && !stopped {
            let _ = each(broken(start));
        }
        Ok(())
    }

    fn lookup(&self, folder: Node, name: &[u8]) -> FileResult<Option<DirectoryEntry>> {
        let fold = |name: &[u8]| names::folded(name, |unit| self.fold(unit));
        self.listings.lookup(self, folder, name, Some(&fold))
    }

    fn read_at(&self, file: Node, offset: u64, buf: &mut [u8]) -> FileResult<usize> {
        let opened = self.open(file)?;
        if opened.set.is_folder() {
            return Err(FormatError::corrupt("file", file.number, "a file", "a folder"));
        }
        let buf = within(opened.set.allocation.len, offset, buf);
        let len = buf.len();
        let written = within(opened.set.valid, offset, buf).len();
        let (written, unwritten) = buf.split_at_mut_checked(written).unwrap_or_default();
        opened.pieces.read(self.volume.as_ref(), offset, written)?;
        unwritten.fill(0);
        Ok(len)
    }

    fn link_target(&self, link: Node) -> FileResult<Vec<u8>> {
        Err(FormatError::corrupt("file", link.number, "a link", "none: exFAT has no links"))
    }

    fn data_ranges(&self, file: Node) -> FileResult<Option<ExtentSet>> {
        Ok(Some(ExtentSet::all(self.open(file)?.set.valid)))
    }

    fn places(&self, file: Node) -> FileResult<Option<ExtentSet>> {
        let opened = self.open(file)?;
        pieces::on_volume(opened.pieces.places_of(opened.set.valid), self.volume.len())
    }
}

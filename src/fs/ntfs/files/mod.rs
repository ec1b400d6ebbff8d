// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of an NTFS.
//!
//! A node is a file reference: the number of a record of the master file table
//! and how often it was reused, so that a name that outlived its file is found
//! out. A file is its record and those that an attribute list adds (`file`); a
//! folder is a tree of names in the order of `$UpCase` (`index`, `upcase`). What
//! Windows keeps compressed is unpacked (`compressed`, `lznt1`; by Compact OS:
//! `wof`, `xpress`, `lzx`), what it encrypted (EFS) is not. Reparse points are links
//! where they name a path, and told in words where another program or a cloud
//! has the content (`reparse`).
//!
//! As Windows does, short names beside long ones are not listed, and of the root
//! folder not the filesystem's own files.

mod compressed;
mod file;
mod huffman;
mod index;
mod lznt1;
mod lzx;
mod reparse;
mod upcase;
mod wof;
mod xpress;

use std::borrow::Cow;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use self::compressed::Unit;
use self::file::File;
use self::index::{Index, Name};
use self::reparse::Reparse;
use self::upcase::UpCase;
use super::boot_sector::BootSector;
use super::mft::{Mft, file as number};
use super::record::{Reference, kind};
use super::state::{self, Doubt, information};
use super::stream::Stream;
use crate::extent::{Extent, ExtentSet};
use crate::fs::files::{
    Attributes, DirectoryEntry, DosAttributes, EachEntry, FileResult, Files, Node, NodeKind,
    may_be_old, no_stream,
};
use crate::fs::listing::Listings;
use crate::fs::names;
use crate::fs::pieces::{self, within};
use crate::fs::recent::Recent;
use crate::io::ReadAt;
use crate::ondisk::FormatError;

/// Files that are kept open, and bytes of their run lists.
const RECENT_FILES: usize = 128;
const RECENT_FILE_BYTES: usize = 16 << 20;

/// Units that are kept unpacked; several readers at once have one each.
const RECENT_UNITS: usize = 64;
const RECENT_UNIT_BYTES: usize = 4 << 20;

/// `$EFS` has the key; the content is noise without.
const ENCRYPTED: u16 = 0x4000;

/// The files of a volume.
pub(super) struct NtfsFiles {
    volume: Arc<dyn ReadAt>,
    boot: BootSector,
    table: Stream,
    root: Node,
    notice: Option<String>,
    upcase: OnceLock<Option<UpCase>>,
    files: Recent<u64, File>,
    /// By node, stream and the number of the unit or chunk.
    units: Recent<(u64, usize, u64), Vec<u8>>,
    listings: Listings,
}

impl fmt::Debug for NtfsFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NtfsFiles").field("boot", &self.boot).finish_non_exhaustive()
    }
}

impl NtfsFiles {
    /// Opens the files of a volume.
    pub(super) fn open(volume: Arc<dyn ReadAt>, boot: BootSector) -> FileResult<Self> {
        let mft = Mft::open(volume.as_ref(), &boot)?;
        // A version that cannot be read keeps no file from being read.
        if let Ok(information) = information(&mft) {
            information.check_version()?;
        }
        let notice = match state::doubt(&mft, false) {
            Ok(doubt) => doubt.map(Doubt::what),
            Err(error) => Some(format!("whether it was shut down cleanly is not known ({error})")),
        };
        let mut own = mft.read(number::ROOT)?;
        let root = Reference { number: number::ROOT, sequence: own.parse()?.sequence };
        let table = mft.data.into_owned();
        Ok(Self {
            table,
            root: Node::new(root.raw()),
            notice: notice.map(may_be_old),
            upcase: OnceLock::new(),
            files: Recent::new(RECENT_FILES, RECENT_FILE_BYTES),
            units: Recent::new(RECENT_UNITS, RECENT_UNIT_BYTES),
            listings: Listings::new(),
            volume,
            boot,
        })
    }

    fn mft(&self) -> Mft<'_> {
        Mft { volume: self.volume.as_ref(), boot: &self.boot, data: Cow::Borrowed(&self.table) }
    }

    fn file(&self, node: Node) -> FileResult<Arc<File>> {
        self.files.get_or_open(node.number, || {
            let file = File::read(&self.mft(), Reference::parse(node.number))?;
            let bytes = file.weight();
            Ok((file, bytes))
        })
    }

    fn upcase(&self) -> Option<&UpCase> {
        let read = || {
            let table = self.mft().value("$UpCase", number::UPCASE, kind::DATA, UpCase::LEN);
            table.ok().flatten().and_then(|table| UpCase::parse(&table))
        };
        self.upcase.get_or_init(read).as_ref()
    }

    /// The tree of names of a folder.
    fn index<'a>(&self, mft: &'a Mft, folder: &'a File) -> FileResult<Index<'a>> {
        let Some(root) = folder.index_root.as_ref().filter(|_| folder.is_folder) else {
            return Err(folder.corrupt("a folder", "none"));
        };
        Index::new(mft, root, folder.index_allocation.as_ref(), folder.position)
    }

    /// An entry of a folder as it is shown; `None` if it is not.
    fn entry(&self, folder: Node, name: &Name) -> Option<FileResult<DirectoryEntry>> {
        let own = Reference::parse(name.reference).number;
        if folder == self.root && own < number::FIRST_USER {
            return None;
        }
        let node = Node::new(name.reference);
        let text = names::wtf8(names::units_le(name.units));
        let checked = names::check(&text, name.position);
        // Only the file itself tells which kind of a reparse point it is, or
        // whether it is a link of Interix. If it cannot be read, that shows
        // when it is.
        let kind = match name.kind() {
            Some(kind) => kind,
            None => match self.file(node) {
                Ok(file) => file.kind,
                Err(_) if name.is_folder() => NodeKind::Folder,
                Err(_) => NodeKind::File,
            },
        };
        Some(checked.map(|()| DirectoryEntry { name: text, node, kind }))
    }

    /// Reads a stream of a file; `which` it is tells its units apart.
    fn read(
        &self,
        node: Node,
        file: &File,
        which: usize,
        offset: u64,
        buf: &mut [u8],
    ) -> FileResult<usize> {
        let Some((_, stream)) = file.streams.get(which) else { return Ok(0) };
        if stream.flags & ENCRYPTED != 0 {
            return Err(FormatError::unsupported(
                "the file is encrypted by Windows (EFS): only Windows can read it, with the key of \
                 its user",
            ));
        }
        let buf = within(stream.bytes, offset, buf);
        if buf.is_empty() {
            return Ok(0);
        }
        let unit_clusters = stream.unit_clusters()?;
        if unit_clusters == 1 {
            stream.read(self.volume.as_ref(), &self.boot, offset, buf)?;
            return Ok(buf.len());
        }
        let unit_bytes = unit_clusters.saturating_mul(self.boot.cluster_bytes);
        let mut position = offset;
        let mut rest = &mut *buf;
        while !rest.is_empty() {
            let unit = position.checked_div(unit_bytes).unwrap_or(0);
            let start = unit.saturating_mul(unit_bytes);
            let skip = position.saturating_sub(start);
            let left = usize::try_from(unit_bytes.saturating_sub(skip)).unwrap_or(usize::MAX);
            let len = left.min(rest.len());
            let (part, behind) = rest.split_at_mut_checked(len).unwrap_or_default();
            rest = behind;
            match Unit::find(stream, unit, unit_clusters)? {
                // What was never written reads as zeros, whatever is there.
                _ if position >= stream.initialized_bytes => part.fill(0),
                Unit::Hole => part.fill(0),
                Unit::Plain => {
                    stream.read(self.volume.as_ref(), &self.boot, position, part)?;
                }
                Unit::Packed(clusters) => {
                    let unpacked = self.units.get_or_open((node.number, which, unit), || {
                        let packed = clusters.saturating_mul(self.boot.cluster_bytes);
                        let volume = self.volume.as_ref();
                        let unit = compressed::unpack(
                            volume, &self.boot, stream, start, packed, unit_bytes,
                        )?;
                        let bytes = unit.len();
                        Ok::<_, FormatError>((unit, bytes))
                    })?;
                    let from = usize::try_from(skip).unwrap_or(usize::MAX);
                    let found = from.checked_add(len).and_then(|end| unpacked.get(from..end));
                    let found = found.ok_or_else(|| stream.corrupt("a whole unit", "less"))?;
                    part.copy_from_slice(found);
                    let written = stream.initialized_bytes.saturating_sub(position);
                    let written = usize::try_from(written).unwrap_or(usize::MAX);
                    part.get_mut(written..).unwrap_or_default().fill(0);
                }
            }
            position = position.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        }
        Ok(buf.len())
    }
}

impl NtfsFiles {
    /// Reads a file that Compact OS has compressed.
    fn read_chunks(
        &self,
        node: Node,
        file: &File,
        method: u32,
        offset: u64,
        buf: &mut [u8],
    ) -> FileResult<usize> {
        let Some(method) = wof::Method::of(method) else {
            let what = format!("the file is compressed by Compact OS with the method {method}");
            return Err(FormatError::unsupported(what));
        };
        let which = file.streams.iter().position(|(name, _)| name == wof::STREAM);
        let stream = which.and_then(|which| file.streams.get(which).map(|it| (which, &it.1)));
        let Some((which, stream)) = stream else {
            return Err(file.corrupt("the stream with the compressed content", "none"));
        };
        let bytes = file.data().map_or(0, |data| data.bytes);
        let buf = within(bytes, offset, buf);
        let (mut position, mut rest) = (offset, &mut *buf);
        while !rest.is_empty() {
            let number = position.checked_div(method.chunk()).unwrap_or(0);
            let start = number.saturating_mul(method.chunk());
            let chunk = self.units.get_or_open((node.number, which, number), || {
                let len = bytes.saturating_sub(start).min(method.chunk());
                let len = usize::try_from(len).unwrap_or(0);
                let damaged = || stream.corrupt("chunks of Compact OS", "something else");
                let mut read =
                    |at, part: &mut [u8]| stream.read(self.volume.as_ref(), &self.boot, at, part);
                let place = wof::place(method, number, bytes, stream.bytes, &mut read)?;
                let (at, packed_len) = place.ok_or_else(damaged)?;
                let mut packed = vec![0; packed_len];
                read(at, &mut packed)?;
                let chunk = method.unpack(packed, len).ok_or_else(damaged)?;
                Ok::<_, FormatError>((chunk, len))
            })?;
            let skip = usize::try_from(position.saturating_sub(start)).unwrap_or(usize::MAX);
            let found = chunk.get(skip..).unwrap_or_default();
            let len = found.len().min(rest.len());
            let (part, behind) = rest.split_at_mut_checked(len).unwrap_or_default();
            part.copy_from_slice(found.get(..len).unwrap_or_default());
            if len == 0 {
                return Err(stream.corrupt("a chunk up to the end of the file", "less"));
            }
            rest = behind;
            position = position.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        }
        Ok(buf.len())
    }

    /// The stream that has the content: of a file that Compact OS has
    /// compressed not the main one.
    fn stored(file: &File) -> Option<&Stream> {
        match file.reparse {
            Some(Reparse::Compressed(_)) => {
                file.streams.iter().find(|(name, _)| name == wof::STREAM).map(|(_, it)| it)
            }
            _ => file.data(),
        }
    }

    /// Where a stream lies.
    fn places_of(&self, file: &File, stream: Option<&Stream>) -> ExtentSet {
        // Clusters that nothing was written to have no content yet.
        let written = |data: &&Stream| data.bytes.min(data.initialized_bytes) > 0;
        let Some(data) = stream.filter(written) else { return ExtentSet::new() };
        if data.is_resident() {
            let record = u64::try_from(self.boot.record_bytes).unwrap_or(u64::MAX);
            return Extent::at(file.position, record).into();
        }
        let runs = data.runs().iter().filter_map(|(_, run)| Some((run.cluster?, run.count)));
        runs.map(|(cluster, count)| self.boot.extent(cluster, count)).collect()
    }
}

impl Files for NtfsFiles {
    fn root(&self) -> Node {
        self.root
    }

    fn notice(&self) -> Option<String> {
        self.notice.clone()
    }

    fn attributes(&self, node: Node) -> FileResult<Attributes> {
        const READ_ONLY: u32 = 0x01;
        const HIDDEN: u32 = 0x02;
        const SYSTEM: u32 = 0x04;
        const ARCHIVE: u32 = 0x20;
        let file = self.file(node)?;
        let has = |flag| file.flags & flag != 0;
        let size = match file.kind {
            NodeKind::Link => u64::try_from(file.link_target()?.len()).unwrap_or(u64::MAX),
            NodeKind::File => file.data().map_or(0, |data| data.bytes),
            _ => 0,
        };
        let clusters: u64 = file.streams.iter().fold(0, |sum, (_, stream)| {
            sum.saturating_add(stream.runs().iter().fold(0, |sum: u64, (_, run)| {
                sum.saturating_add(run.cluster.map_or(0, |_| run.count))
            }))
        });
        Attributes {
            kind: file.kind,
            size,
            allocated: Some(clusters.saturating_mul(self.boot.cluster_bytes)),
            times: file.times,
            mode: None,
            owner: None,
            links: file.names.max(1),
            dos: Some(DosAttributes {
                read_only: has(READ_ONLY),
                hidden: has(HIDDEN),
                system: has(SYSTEM),
                archive: has(ARCHIVE),
            }),
        }
        .checked(file.position)
    }

    fn list(&self, folder: Node, each: EachEntry) -> FileResult<()> {
        let (file, mft) = (self.file(folder)?, self.mft());
        self.index(&mft, &file)?.walk(&mut |name| match name {
            Ok(name) if name.is_short() => ControlFlow::Continue(()),
            Ok(name) => self.entry(folder, &name).map_or(ControlFlow::Continue(()), &mut *each),
            Err(error) => each(Err(error)),
        })
    }

    fn lookup(&self, folder: Node, name: &[u8]) -> FileResult<Option<DirectoryEntry>> {
        let Some(wanted) = names::utf16(name) else { return Ok(None) };
        let (file, mft) = (self.file(folder)?, self.mft());
        let index = self.index(&mft, &file)?;
        // Without the table nothing is known of the order, and all is read.
        let upcase = self.upcase();
        let mut found = None;
        let searched = index.find(&wanted, upcase, &mut |name| {
            let is_exact = names::units_le(name.units).eq(wanted.iter().copied());
            if found.is_none() || is_exact {
                found = self.entry(folder, &name).or_else(|| found.take());
            }
            if is_exact { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if let (Ok(()), Some(found)) = (searched, found) {
            return found.map(Some);
        }
        // In a folder that is damaged, or whose names are not in order, it may
        // be there all the same.
        let fold = |unit| upcase.map_or(unit, |upcase| upcase.capital(unit));
        let fold = |name: &[u8]| names::folded(name, fold);
        self.listings.lookup(self, folder, name, Some(&fold))
    }

    fn read_at(&self, node: Node, offset: u64, buf: &mut [u8]) -> FileResult<usize> {
        let file = self.file(node)?;
        file.check_readable()?;
        if let Some(Reparse::Compressed(method)) = file.reparse {
            return self.read_chunks(node, &file, method, offset, buf);
        }
        match file.data_index() {
            Some(which) => self.read(node, &file, which, offset, buf),
            // Windows makes files without it only of its own.
            None => Ok(0),
        }
    }

    fn link_target(&self, link: Node) -> FileResult<Vec<u8>> {
        self.file(link)?.link_target()
    }

    fn data_ranges(&self, node: Node) -> FileResult<Option<ExtentSet>> {
        let file = self.file(node)?;
        let Some(data) = file.data() else { return Ok(Some(ExtentSet::new())) };
        if data.is_resident() || matches!(file.reparse, Some(Reparse::Compressed(_))) {
            return Ok(Some(ExtentSet::all(data.bytes)));
        }
        let written = Extent::new(0, data.initialized_bytes.min(data.bytes));
        let unit_bytes = data.unit_clusters()?.saturating_mul(self.boot.cluster_bytes);
        let stored: ExtentSet = data
            .runs()
            .iter()
            .filter(|(_, run)| run.cluster.is_some())
            .map(|(first, run)| self.boot.extent(*first, run.count))
            .map(|extent| extent.align_outwards(unit_bytes).intersect(&written))
            .collect();
        Ok(Some(stored))
    }

    fn places(&self, node: Node) -> FileResult<Option<ExtentSet>> {
        let file = self.file(node)?;
        pieces::on_volume(self.places_of(&file, Self::stored(&file)), self.volume.len())
    }

    fn stream_places(&self, node: Node) -> FileResult<Option<ExtentSet>> {
        let file = self.file(node)?;
        let named = file.streams.iter().filter(|(name, _)| !name.is_empty());
        let places = named.map(|(_, stream)| self.places_of(&file, Some(stream)));
        let places = places.fold(ExtentSet::new(), |all, places| all.union(&places));
        pieces::on_volume(places, self.volume.len())
    }

    fn streams(&self, node: Node) -> FileResult<Vec<(Vec<u8>, u64)>> {
        let file = self.file(node)?;
        let is_content = |name: &[u8]| {
            let is_compressed = matches!(file.reparse, Some(Reparse::Compressed(_)));
            name.is_empty() || is_compressed && name == wof::STREAM
        };
        let named = file.streams.iter().filter(|(name, _)| !is_content(name));
        Ok(named.map(|(name, stream)| (name.clone(), stream.bytes)).collect())
    }

    fn read_stream_at(
        &self,
        node: Node,
        stream: &[u8],
        offset: u64,
        buf: &mut [u8],
    ) -> FileResult<usize> {
        let file = self.file(node)?;
        let which = file.streams.iter().position(|(name, _)| name == stream);
        let Some(which) = which.filter(|_| !stream.is_empty()) else {
            return Err(no_stream(stream));
        };
        self.read(node, &file, which, offset, buf)
    }
}

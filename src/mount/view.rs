// SPDX-License-Identifier: MIT OR Apache-2.0
//! The answers to what the kernel asks of a mounted folder.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fuser::{Errno, FileAttr, FileType};

use super::attributes::{self, Own};
use super::inodes::{self, FILES, Place, ROOT};
use super::listing::Listing;
use super::tree::{ImageFile, Tree, Volume, ended_early};
use super::trouble::Troubles;
use crate::browse::names;
use crate::error::{Error, ErrorKind};
use crate::extent::{Extent, ExtentSet};
use crate::fs::files::{Node, NodeKind};
use crate::image::cached::Piece;
use crate::io::WriteAt;

/// An answer, or the number of an error.
pub(super) type Answer<T> = Result<T, Errno>;

/// The longest value of an extended attribute (XATTR_SIZE_MAX).
const MAX_VALUE: u64 = 65536;
/// The longest target of a link, with the zero behind it (PATH_MAX).
const MAX_TARGET: usize = 4096;
/// What the names of streams begin with as extended attributes.
const STREAM: &[u8] = b"user.";

/// What a mounted folder shows.
#[derive(Debug)]
pub(super) struct View {
    pub(super) tree: Tree,
    troubles: Troubles,
    own: Own,
    /// Others are let in: the images are for the owner alone.
    is_shared: bool,
    folders: Mutex<HashMap<u64, Arc<Folder>>>,
    next_folder: AtomicU64,
}

/// A folder that somebody reads.
#[derive(Debug)]
pub(super) struct Folder {
    number: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// Ours.
    Own(Vec<(String, u64, FileType)>),
    /// That of a volume.
    Volume(usize, Arc<Listing>),
}

/// An entry of a folder.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a [u8],
    pub(super) number: u64,
    pub(super) kind: FileType,
}

impl Folder {
    /// True if all of its names are known.
    pub(super) fn is_whole(&self) -> bool {
        match &self.content {
            Content::Own(_) => true,
            Content::Volume(_, listing) => listing.damaged.is_empty(),
        }
    }
}

impl View {
    pub(super) fn new(tree: Tree, troubles: Troubles, is_shared: bool) -> Self {
        Self {
            own: Own::current(tree.time),
            tree,
            troubles,
            is_shared,
            folders: Mutex::default(),
            next_folder: AtomicU64::new(1),
        }
    }

    /// True if others are let in.
    pub(super) const fn is_shared(&self) -> bool {
        self.is_shared
    }

    fn place(&self, number: u64) -> Answer<Place> {
        self.tree.inodes.place(number).ok_or(Errno::ENOENT)
    }

    fn volume(&self, index: usize) -> Answer<&Volume> {
        self.tree.volumes.get(index).ok_or(Errno::ENOENT)
    }

    pub(super) fn image(&self, index: usize) -> Answer<&ImageFile> {
        self.tree.images.get(index).ok_or(Errno::ENOENT)
    }

    /// A node of a volume; an error for anything of our own.
    fn node(&self, number: u64, otherwise: Errno) -> Answer<(&Volume, Node)> {
        match self.place(number)? {
            Place::Node(index, node) => Ok((self.volume(index)?, node)),
            _ => Err(otherwise),
        }
    }

    /// Tells why something cannot be read.
    fn fail(&self, number: u64, error: impl Into<Error>) -> Errno {
        self.troubles.unreadable(number, || self.tree.path(number), error.into());
        Errno::EIO
    }

    /// Tells why something cannot be written.
    fn fail_write(&self, number: u64, error: Error) -> Errno {
        let is_full = error.kind() == ErrorKind::NoSpace;
        self.troubles.unwritable(number, || self.tree.path(number), error);
        if is_full { Errno::ENOSPC } else { Errno::EIO }
    }

    pub(super) fn attributes(&self, number: u64) -> Answer<FileAttr> {
        let own = |kind, size, perm| attributes::ours(number, kind, size, perm, self.own);
        match self.place(number)? {
            Place::Root | Place::Files => Ok(own(FileType::Directory, 0, 0o555)),
            Place::Image(index) => {
                let image = self.image(index)?;
                let write = if image.writer.is_some() { 0o200 } else { 0 };
                let read = if self.is_shared { 0o400 } else { 0o444 };
                let attr = own(FileType::RegularFile, image.reader.len(), read | write);
                let data = self.tree.data(image).map_or(attr.size, ExtentSet::bytes);
                Ok(FileAttr { blocks: data.div_ceil(512), ..attr })
            }
            Place::Node(index, node) => {
                let volume = self.volume(index)?;
                let known = volume.files.attributes(node);
                let known = known.map_err(|error| self.fail(number, error))?;
                Ok(attributes::of_node(number, &known, self.own, volume.has_local_times))
            }
        }
    }

    /// The attributes of a folder of which nothing else matters.
    pub(super) fn own_folder(&self, number: u64) -> FileAttr {
        attributes::ours(number, FileType::Directory, 0, 0o555, self.own)
    }

    /// The number of what a folder has under a name; `None` if there is nothing.
    pub(super) fn lookup(&self, parent: u64, name: &[u8]) -> Answer<Option<u64>> {
        match self.place(parent)? {
            Place::Root if name == b"files" => Ok(Some(FILES)),
            Place::Root => {
                let mut images = self.tree.images.iter();
                let found = images.position(|image| image.name.as_bytes() == name);
                Ok(found.map(inodes::of_image))
            }
            Place::Files => {
                let mut volumes = self.tree.volumes.iter().enumerate();
                let found = volumes.find(|(_, volume)| volume.name.as_bytes() == name);
                let Some((index, volume)) = found else { return Ok(None) };
                self.number(index, volume.files.root(), parent).map(Some)
            }
            Place::Image(_) => Err(Errno::ENOTDIR),
            Place::Node(index, folder) => {
                let node = self.lookup_node(parent, self.volume(index)?, folder, name)?;
                node.map(|node| self.number(index, node, parent)).transpose()
            }
        }
    }

    /// Names are the same here if their bytes are: a kernel that was given one
    /// folder under two names would not know which it is in.
    fn lookup_node(
        &self,
        parent: u64,
        volume: &Volume,
        folder: Node,
        name: &[u8],
    ) -> Answer<Option<Node>> {
        let found = |listing: &Listing| listing.find(name).map(|entry| entry.node);
        if let Some(listing) = self.tree.recent.get(parent) {
            return Ok(found(&listing));
        }
        match volume.files.lookup(folder, name) {
            Ok(None) => Ok(None),
            Ok(Some(entry)) if entry.name == name => Ok(Some(entry.node)),
            // There may be another that has this very name.
            Ok(Some(_)) => Ok(found(&self.tree.listing(parent, volume, folder))),
            Err(error) => Err(self.fail(parent, error)),
        }
    }

    fn number(&self, volume: usize, node: Node, parent: u64) -> Answer<u64> {
        let number = self.tree.inodes.of_node(volume, node).ok_or(Errno::ENFILE)?;
        self.tree.note_parent(number, parent);
        Ok(number)
    }

    /// Opens a folder: its handle, and whether the kernel may keep its names.
    pub(super) fn open_folder(&self, number: u64) -> Answer<(u64, bool)> {
        let content = match self.place(number)? {
            Place::Root => {
                let images = self.tree.images.iter().enumerate();
                let mut entries: Vec<_> = images
                    .map(|(index, image)| {
                        (image.name.clone(), inodes::of_image(index), FileType::RegularFile)
                    })
                    .collect();
                entries.push(("files".to_owned(), FILES, FileType::Directory));
                Content::Own(entries)
            }
            Place::Files => {
                let volumes = self.tree.volumes.iter().enumerate();
                let entries = volumes.map(|(index, volume)| {
                    let number = self.number(index, volume.files.root(), FILES)?;
                    Ok((volume.name.clone(), number, FileType::Directory))
                });
                Content::Own(entries.collect::<Answer<_>>()?)
            }
            Place::Image(_) => return Err(Errno::ENOTDIR),
            Place::Node(index, folder) => {
                let listing = self.tree.listing(number, self.volume(index)?, folder);
                if let Some(error) = listing.damaged.first() {
                    self.fail(number, Error::damaged(error.to_string()));
                }
                Content::Volume(index, listing)
            }
        };
        let folder = Arc::new(Folder { number, content });
        let is_whole = folder.is_whole();
        let handle = self.next_folder.fetch_add(1, Ordering::Relaxed);
        self.folders.lock().unwrap_or_else(PoisonError::into_inner).insert(handle, folder);
        Ok((handle, is_whole))
    }

    pub(super) fn folder(&self, handle: u64) -> Answer<Arc<Folder>> {
        let folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        folders.get(&handle).cloned().ok_or(Errno::EBADF)
    }

    pub(super) fn close_folder(&self, handle: u64) {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner).remove(&handle);
    }

    /// The entry of a folder at a position: `.` and `..` first. `None` at the
    /// end; an error there if not all names could be read.
    pub(super) fn entry<'f>(&self, folder: &'f Folder, position: u64) -> Answer<Option<Entry<'f>>> {
        let directory = |name, number| Ok(Some(Entry { name, number, kind: FileType::Directory }));
        let index = match position {
            0 => return directory(b".", folder.number),
            1 => return directory(b"..", self.tree.parent(folder.number).unwrap_or(ROOT)),
            _ => usize::try_from(position - 2).map_err(|_| Errno::EINVAL)?,
        };
        match &folder.content {
            Content::Own(entries) => Ok(entries.get(index).map(|(name, number, kind)| Entry {
                name: name.as_bytes(),
                number: *number,
                kind: *kind,
            })),
            Content::Volume(volume, listing) => match listing.get(index) {
                Some(named) => {
                    let number = self.tree.inodes.of_node(*volume, named.node);
                    let number = number.ok_or(Errno::ENFILE)?;
                    let kind = attributes::kind(named.kind);
                    Ok(Some(Entry { name: named.name, number, kind }))
                }
                None if listing.damaged.is_empty() => Ok(None),
                None => Err(Errno::EIO),
            },
        }
    }

    /// The attributes of an entry that the kernel gets with its name; zeros of
    /// its kind, and false, if they cannot be read: it has to ask once more, and
    /// is told then.
    pub(super) fn entry_attributes(&self, folder: &Folder, entry: &Entry) -> (FileAttr, bool) {
        self.tree.note_parent(entry.number, folder.number);
        match self.attributes(entry.number) {
            Ok(attr) => (attr, true),
            Err(_) => (attributes::ours(entry.number, entry.kind, 0, 0, self.own), false),
        }
    }

    /// Opens a file; its handle is its size, which every read has to know.
    pub(super) fn open_file(&self, number: u64, writes: bool) -> Answer<u64> {
        match self.place(number)? {
            Place::Root | Place::Files => Err(Errno::EISDIR),
            Place::Image(index) => {
                let image = self.image(index)?;
                if writes && image.writer.is_none() {
                    return Err(Errno::EROFS);
                }
                Ok(image.reader.len())
            }
            Place::Node(index, node) => {
                if writes {
                    return Err(Errno::EROFS);
                }
                let known = self.volume(index)?.files.attributes(node);
                let known = known.map_err(|error| self.fail(number, error))?;
                if let NodeKind::Other(what) = known.kind {
                    let text = format!("it is {what}, which has no content here");
                    return Err(self.fail(number, Error::unsupported(text)));
                }
                Ok(known.size)
            }
        }
    }

    /// Bytes of an image that need not be copied; `None` where they have to be.
    pub(super) fn piece(&self, number: u64, offset: u64, len: usize) -> Option<Piece> {
        let Ok(Place::Image(index)) = self.place(number) else { return None };
        self.tree.piece(self.image(index).ok()?, offset, len)
    }

    /// Fills `buf` with bytes of a file that is `size` long, and returns how
    /// many those are: fewer only at its end.
    pub(super) fn read(
        &self,
        number: u64,
        size: u64,
        offset: u64,
        buf: &mut [u8],
    ) -> Answer<usize> {
        let left = size.saturating_sub(offset);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let Some(buf) = buf.get_mut(..len).filter(|buf| !buf.is_empty()) else { return Ok(0) };
        match self.place(number)? {
            Place::Root | Place::Files => return Err(Errno::EISDIR),
            Place::Image(index) => {
                let read = self.image(index)?.reader.read_at(offset, buf);
                read.map_err(|error| self.fail(number, error))?;
            }
            Place::Node(index, node) => {
                let read = self.volume(index)?.files.read_at(node, offset, buf);
                let got = read.map_err(|error| self.fail(number, error))?;
                if got != len {
                    return Err(self.fail(number, ended_early(len, offset, got)));
                }
            }
        }
        Ok(len)
    }

    /// What writes to an image; an error for anything else.
    pub(super) fn writer(&self, number: u64) -> Answer<&dyn WriteAt> {
        match self.place(number)? {
            Place::Image(index) => self.image(index)?.writer.as_deref().ok_or(Errno::EROFS),
            _ => Err(Errno::EROFS),
        }
    }

    pub(super) fn write(&self, number: u64, offset: u64, bytes: &[u8]) -> Answer<()> {
        let written = self.writer(number)?.write_at(offset, bytes);
        written.map_err(|error| self.fail_write(number, error))
    }

    pub(super) fn zero(&self, number: u64, extent: Extent) -> Answer<()> {
        let zeroed = self.writer(number)?.zero(extent);
        zeroed.map_err(|error| self.fail_write(number, error))
    }

    pub(super) fn target(&self, number: u64) -> Answer<Vec<u8>> {
        let (volume, node) = self.node(number, Errno::EINVAL)?;
        let target = volume.files.link_target(node).map_err(|error| self.fail(number, error))?;
        if target.len() >= MAX_TARGET {
            return Err(Errno::ENAMETOOLONG);
        }
        if target.is_empty() || target.contains(&0) {
            let error = Error::damaged("the target of the link is empty or has a zero byte");
            return Err(self.fail(number, error));
        }
        Ok(target)
    }

    /// The names of the extended attributes, each with a zero behind it.
    pub(super) fn attribute_names(&self, number: u64) -> Answer<Vec<u8>> {
        let Ok((volume, node)) = self.node(number, Errno::ENODATA) else { return Ok(Vec::new()) };
        let fail = |error| self.fail(number, error);
        let mut names = Vec::new();
        let mut add = |start: &[u8], name: &[u8]| {
            if !name.is_empty() && !name.contains(&0) {
                names.extend_from_slice(start);
                names.extend_from_slice(name);
                names.push(0);
            }
        };
        for (name, _) in volume.files.extended_attributes(node).map_err(fail)? {
            add(b"", &names::attribute(&name));
        }
        for (name, _) in volume.files.streams(node).map_err(fail)? {
            add(STREAM, &name);
        }
        Ok(names)
    }

    /// The value of an extended attribute, or the content of a further stream.
    pub(super) fn attribute(&self, number: u64, name: &[u8]) -> Answer<Vec<u8>> {
        let (volume, node) = self.node(number, Errno::ENODATA)?;
        let fail = |error| self.fail(number, error);
        let attributes = volume.files.extended_attributes(node).map_err(fail)?;
        if let Some((_, value)) =
            attributes.into_iter().find(|(known, _)| names::attribute(known) == name)
        {
            return Ok(value);
        }
        let stream = name.strip_prefix(STREAM).ok_or(Errno::ENODATA)?;
        let streams = volume.files.streams(node).map_err(fail)?;
        let known = streams.into_iter().find(|(known, _)| known == stream);
        let (_, size) = known.ok_or(Errno::ENODATA)?;
        if size > MAX_VALUE {
            return Err(Errno::E2BIG);
        }
        let len = usize::try_from(size).map_err(|_| Errno::E2BIG)?;
        let mut value = vec![0; len];
        let read = volume.files.read_stream_at(node, stream, 0, &mut value);
        let got = read.map_err(fail)?;
        if got != len {
            return Err(self.fail(number, ended_early(len, 0, got)));
        }
        Ok(value)
    }

    /// Where the data (or else the hole) at or behind `offset` begins.
    pub(super) fn seek(&self, number: u64, offset: u64, to_data: bool) -> Answer<u64> {
        let found = match self.place(number)? {
            Place::Root | Place::Files => return Err(Errno::EINVAL),
            Place::Image(index) => {
                let image = self.image(index)?;
                seek_in(image.reader.len(), self.tree.data(image), offset, to_data)
            }
            Place::Node(index, node) => {
                let files = &self.volume(index)?.files;
                let known = files.attributes(node).map_err(|error| self.fail(number, error))?;
                let data = files.data_ranges(node).map_err(|error| self.fail(number, error))?;
                seek_in(known.size, data.as_ref(), offset, to_data)
            }
        };
        found.ok_or(Errno::ENXIO)
    }
}

/// As `lseek` does with SEEK_DATA and SEEK_HOLE; `None` if there is no such
/// place.
fn seek_in(size: u64, data: Option<&ExtentSet>, offset: u64, to_data: bool) -> Option<u64> {
    if offset >= size {
        return None;
    }
    let rest = Extent::new(offset, size);
    let found = match (data, to_data) {
        (None, true) => Some(offset),
        (None, false) => None,
        (Some(data), true) => data.within(rest).next().map(|extent| extent.start()),
        (Some(data), false) => data.holes_within(rest).next().map(|extent| extent.start()),
    };
    // There is a hole behind the end of every file.
    if to_data { found } else { Some(found.unwrap_or(size)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_and_holes_are_where_lseek_says() {
        let data: ExtentSet = [Extent::new(10, 20), Extent::new(50, 60)].into_iter().collect();
        let seek = |offset, to_data| seek_in(100, Some(&data), offset, to_data);
        assert_eq!([seek(0, true), seek(15, true), seek(20, true)], [Some(10), Some(15), Some(50)]);
        assert_eq!([seek(60, true), seek(100, true)], [None, None]);
        assert_eq!([seek(0, false), seek(12, false)], [Some(0), Some(20)]);
        assert_eq!([seek(55, false), seek(100, false)], [Some(60), None]);
        assert_eq!([seek_in(9, None, 4, true), seek_in(9, None, 4, false)], [Some(4), Some(9)]);
    }
}

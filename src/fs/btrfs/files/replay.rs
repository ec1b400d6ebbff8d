// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a replay of the log trees makes of the items of a subvolume, in memory.
//!
//! A log tree holds the items of inodes that were fsynced since the last
//! commit. The rules are those of a mount: first inodes, with what was deleted
//! of them; then names of folders; then references, attributes and extents.
//! The judge of all this is what the kernel shows of a copy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::log::root_fields;
use super::super::tree::{Key, tree_id};
use super::folder;
use super::links::{Folders, Name, extended_references, plain_references};
use super::trees::{Forest, Item, Overlay, Tree};
use super::{BtrfsFiles, extents};
use crate::fs::files::FileResult;
use crate::ondisk::{Fields, FormatError};

/// Bounds the memory of what the replays of all logs change: bytes of items,
/// each with what it takes beside its data.
const MAX_BYTES: usize = 96 << 20;
const ITEM_BYTES: usize = 128;
/// Bounds how many items are looked at together.
const MAX_ITEMS: usize = 1 << 20;
const INODE_LEN: usize = 160;

/// A subvolume while its log is replayed.
pub(super) struct Replay<'a> {
    forest: &'a Forest,
    tree: Tree,
    log: Tree,
    overlay: Overlay,
    /// What this and the replays before it take.
    bytes: usize,
    /// Up to where a file has extents in the log.
    logged: (u64, u64),
    /// An inode, and the folders in which it has lost what it had lost.
    compared: (u64, BTreeSet<u64>),
    pub(super) folders: Folders,
    /// Inodes whose references may have changed.
    pub(super) touched: BTreeSet<u64>,
}

/// Why a log is not replayed.
pub(super) fn refuse(why: &str) -> FormatError {
    FormatError::unsupported(format!("its log has to be replayed, and {why}: mount it once"))
}

/// The items that a replay of all logs changes, by subvolume, and the checksums
/// that it adds.
pub(super) type Replayed = (BTreeMap<u64, Overlay>, BTreeMap<u64, Arc<[u8]>>);

/// Replays all logs.
pub(super) fn all(files: &BtrfsFiles) -> FileResult<Replayed> {
    let forest = &files.forest;
    let (mut overlays, mut sums, mut bytes) = (BTreeMap::new(), BTreeMap::new(), 0);
    let Some(root) = forest.superblock.log_root else { return Ok((overlays, sums)) };
    let start = Key { objectid: 0, kind: 0, offset: 0 };
    let mut logs = forest.seek(&Tree { root, owner: tree_id::LOG }, start)?;
    while let Some(item) = logs.next()? {
        let known = item.key.objectid == tree_id::LOG && item.key.kind == Key::ROOT_ITEM;
        let root = root_fields(item.data()).filter(|_| known).ok_or_else(|| {
            let found = format!("{:?}", item.key);
            item.corrupt("log root tree", "the root of a log tree", found)
        })?;
        // The offset of its key is the number of the subvolume.
        let log = Tree { root, owner: tree_id::LOG };
        let tree = files.tree(item.key.offset)?;
        let mut replay = Replay {
            forest,
            tree,
            log,
            overlay: Overlay::new(),
            bytes,
            logged: (0, 0),
            compared: (0, BTreeSet::new()),
            folders: Folders::default(),
            touched: BTreeSet::new(),
        };
        replay.run(&mut sums)?;
        bytes = replay.bytes;
        overlays.insert(item.key.offset, replay.overlay);
    }
    Ok((overlays, sums))
}

impl Replay<'_> {
    /// An item as it is by now.
    pub(super) fn get(&self, key: Key) -> FileResult<Option<Item>> {
        let found = self.forest.last_over(&self.tree, Some(&self.overlay), key)?;
        Ok(found.filter(|item| item.key == key))
    }

    /// All items of a kind that an object has by now.
    pub(super) fn all(&self, objectid: u64, kind: u8) -> FileResult<Vec<Item>> {
        let start = Key { objectid, kind, offset: 0 };
        let mut cursor = self.forest.seek_over(&self.tree, Some(&self.overlay), start)?;
        let mut found = Vec::new();
        while let Some(item) = cursor.next()? {
            if item.key.objectid != objectid || item.key.kind != kind {
                break;
            }
            if found.len() >= MAX_ITEMS {
                return Err(refuse("holds more than can be kept in memory"));
            }
            found.push(item);
        }
        Ok(found)
    }

    pub(super) fn put(&mut self, key: Key, data: Vec<u8>) -> FileResult<()> {
        self.take(data.len())?;
        self.overlay.insert(key, Some(data.into()));
        Ok(())
    }

    pub(super) fn remove(&mut self, key: Key) -> FileResult<()> {
        self.take(0)?;
        self.overlay.insert(key, None);
        Ok(())
    }

    /// Counts an item with so many bytes of data that is kept.
    fn take(&mut self, len: usize) -> FileResult<()> {
        self.bytes = self.bytes.saturating_add(len).saturating_add(ITEM_BYTES);
        if self.bytes <= MAX_BYTES {
            return Ok(());
        }
        Err(refuse("holds more than can be kept in memory"))
    }

    fn inode(&self, number: u64) -> FileResult<Option<Item>> {
        self.get(Key { objectid: number, kind: Key::INODE_ITEM, offset: 0 })
    }

    /// The item that the log has for a key.
    fn logged(&self, key: Key) -> FileResult<Option<Item>> {
        self.forest.get(&self.log, key)
    }

    fn run(&mut self, sums: &mut BTreeMap<u64, Arc<[u8]>>) -> FileResult<()> {
        self.each(|replay, item| match item.key.kind {
            Key::INODE_ITEM => replay.start_inode(item),
            _ => Ok(()),
        })?;
        self.each(|replay, item| match item.key.kind {
            Key::DIR_INDEX => replay.folder_name(item),
            _ => Ok(()),
        })?;
        self.each(|replay, item| match item.key.kind {
            Key::XATTR_ITEM => replay.put(item.key, item.data().to_vec()),
            Key::INODE_REF | Key::INODE_EXTREF => replay.reference(item),
            Key::EXTENT_DATA => replay.extent(item),
            _ => Ok(()),
        })?;
        let start = Key { objectid: extents::CHECKSUM_OBJECT, kind: Key::EXTENT_CSUM, offset: 0 };
        let forest = self.forest;
        let mut cursor = forest.seek(&self.log, start)?;
        while let Some(item) = cursor.next()? {
            if (item.key.objectid, item.key.kind) == (start.objectid, start.kind) {
                self.take(item.data().len())?;
                sums.insert(item.key.offset, item.data().into());
            }
        }
        self.finish()
    }

    /// Passes the items of all logged inodes that still have a name.
    fn each(&mut self, mut act: impl FnMut(&mut Self, &Item) -> FileResult<()>) -> FileResult<()> {
        let forest = self.forest;
        let start = Key { objectid: 0, kind: 0, offset: 0 };
        let mut cursor = forest.seek(&self.log, start)?;
        let mut is_ignored = false;
        while let Some(item) = cursor.next()? {
            if item.key.kind == Key::INODE_ITEM {
                is_ignored = item.data().u32_le(40) == Some(0);
            }
            if !is_ignored && item.key.objectid != extents::CHECKSUM_OBJECT {
                act(self, &item)?;
            }
        }
        Ok(())
    }

    /// An inode, and what was deleted of it.
    fn start_inode(&mut self, item: &Item) -> FileResult<()> {
        let number = item.key.objectid;
        let kind = |data: &[u8]| data.u32_le(52).unwrap_or(0) & 0xF000;
        let (is_folder, is_file) = (kind(item.data()) == 0x4000, kind(item.data()) == 0x8000);
        if item.data().len() < INODE_LEN {
            return Err(item.corrupt("inode", format!("{INODE_LEN} bytes"), item.data().len()));
        }
        // Those that are still there are logged.
        for attribute in self.all(number, Key::XATTR_ITEM)? {
            self.remove(attribute.key)?;
        }
        if is_folder {
            self.deleted_names(number)?;
        }
        let size = item.data().u64_le(16).unwrap_or(0);
        let mut data = item.data().to_vec();
        match self.inode(number)? {
            // It was logged only to say that it is there.
            Some(there) if item.data().u64_le(0) == Some(0) => {
                data = there.data().to_vec();
                if is_file && kind(there.data()) == 0x8000 && size != 0 {
                    put(&mut data, 16, &size.to_le_bytes());
                }
            }
            Some(there) if is_folder => {
                put(&mut data, 16, there.data().bytes_at(16, 8).unwrap_or_default());
            }
            None if is_folder => put(&mut data, 16, &[0; 8]),
            _ => {}
        }
        let size = data.u64_le(16).unwrap_or(0);
        self.put(item.key, data)?;
        if is_file {
            let sector = self.forest.superblock.sector_size;
            let end = size.checked_next_multiple_of(sector).unwrap_or(u64::MAX);
            self.drop_extents(number, end, u64::MAX)?;
        }
        self.touched.insert(number);
        Ok(())
    }

    /// Names of a folder that lie in a range that was logged, and were not.
    fn deleted_names(&mut self, number: u64) -> FileResult<()> {
        let start = Key { objectid: number, kind: Key::DIR_LOG_INDEX, offset: 0 };
        let forest = self.forest;
        let mut cursor = forest.seek(&self.log, start)?;
        while let Some(range) = cursor.next()? {
            if range.key.objectid != number || range.key.kind != start.kind {
                break;
            }
            let last = range.data().u64_le(0).unwrap_or(0);
            for (index, name) in self.names_between(number, range.key.offset, last)? {
                let key = Key { objectid: number, kind: Key::DIR_INDEX, offset: index };
                let mut is_there = false;
                if let Some(logged) = self.logged(key)? {
                    for entry in folder::entries(&logged) {
                        is_there |= entry?.name == name.name;
                    }
                }
                if !is_there {
                    self.unlink(number, index)?;
                }
            }
        }
        Ok(())
    }

    /// A name that was logged with its folder.
    fn folder_name(&mut self, item: &Item) -> FileResult<()> {
        let (number, index) = (item.key.objectid, item.key.offset);
        if self.inode(number)?.is_none() {
            return Err(refuse("has names in a folder that is not there"));
        }
        for entry in folder::entries(item) {
            let entry = entry?;
            let target = entry.target;
            let name = Name { name: entry.name.to_vec(), target, kind: entry.kind };
            let exists = target.kind == Key::INODE_ITEM && self.inode(target.objectid)?.is_some();
            if let Some((there, known)) = self.name(number, &name.name)? {
                if known.target == target && known.kind == name.kind {
                    continue;
                }
                if !exists {
                    continue;
                }
                self.unlink(number, there)?;
            }
            if !exists || self.has_logged_reference(target.objectid, number, &name.name)? {
                // Its reference brings it, or nothing does.
                continue;
            }
            if self.names_between(number, index, index)?.is_empty() {
                self.refer(target.objectid, number, index, &name.name)?;
                self.link(number, index, name)?;
            }
        }
        Ok(())
    }

    fn has_logged_reference(&self, inode: u64, folder: u64, name: &[u8]) -> FileResult<bool> {
        Ok(self.logged_references(inode, folder)?.iter().any(|other| other == name))
    }

    /// The names that the log says an inode has in a folder.
    fn logged_references(&self, inode: u64, folder: u64) -> FileResult<Vec<Vec<u8>>> {
        let key = Key { objectid: inode, kind: Key::INODE_REF, offset: folder };
        let mut names = Vec::new();
        if let Some(item) = self.logged(key)? {
            names.extend(plain_references(item.data()).into_iter().map(|(_, name)| name));
        }
        let start = Key { objectid: inode, kind: Key::INODE_EXTREF, offset: 0 };
        let mut cursor = self.forest.seek(&self.log, start)?;
        while let Some(item) = cursor.next()? {
            if item.key.objectid != inode || item.key.kind != start.kind {
                break;
            }
            let found = extended_references(item.data()).into_iter();
            names.extend(found.filter(|(parent, ..)| *parent == folder).map(|(.., name)| name));
        }
        Ok(names)
    }

    /// References of an inode to its names, which bring those, too.
    fn reference(&mut self, item: &Item) -> FileResult<()> {
        let number = item.key.objectid;
        let references: Vec<(u64, u64, Vec<u8>)> = if item.key.kind == Key::INODE_REF {
            let found = plain_references(item.data()).into_iter();
            found.map(|(index, name)| (item.key.offset, index, name)).collect()
        } else {
            extended_references(item.data())
        };
        let Some(inode) = self.inode(number)? else {
            return Err(refuse("has references of an inode that is not there"));
        };
        let kind = match inode.data().u32_le(52).unwrap_or(0) & 0xF000 {
            0x8000 => 1,
            0x4000 => 2,
            0x2000 => 3,
            0x6000 => 4,
            0x1000 => 5,
            0xC000 => 6,
            0xA000 => 7,
            _ => 0,
        };
        let target = Key { objectid: number, kind: Key::INODE_ITEM, offset: 0 };
        if self.compared.0 != number {
            self.compared = (number, BTreeSet::new());
        }
        for folder in references.iter().map(|(folder, ..)| *folder).collect::<BTreeSet<u64>>() {
            // A folder that was deleted is not there any more.
            if self.inode(folder)?.is_none() {
                return Ok(());
            }
            // All that the inode has lost there was found with its first item.
            if !self.compared.1.insert(folder) {
                continue;
            }
            let logged = self.logged_references(number, folder)?;
            for old in self.references(number, folder)? {
                if !logged.contains(&old)
                    && let Some((at, _)) = self.name(folder, &old)?
                {
                    self.unlink(folder, at)?;
                }
            }
        }
        for (folder, index, name) in &references {
            let known = self.name(*folder, name)?;
            let is_there = known
                .as_ref()
                .is_some_and(|(at, known)| at == index && known.target.objectid == number);
            if is_there {
                continue;
            }
            if let Some((at, _)) = self.name(*folder, name)? {
                self.unlink(*folder, at)?;
            }
            for (at, _) in self.names_between(*folder, *index, *index)? {
                self.unlink(*folder, at)?;
            }
            self.link(*folder, *index, Name { name: name.clone(), target, kind })?;
        }
        self.put(item.key, item.data().to_vec())
    }

    fn extent(&mut self, item: &Item) -> FileResult<()> {
        let range = extents::range(item, self.forest.superblock.sector_size)?;
        let number = item.key.objectid;
        if self.logged.0 == number && range.start() < self.logged.1 {
            return Err(refuse("has extents of a file that overlap"));
        }
        self.logged = (number, range.end());
        self.drop_extents(number, range.start(), range.end())?;
        self.put(item.key, item.data().to_vec())
    }

    /// Takes a range out of the extents of a file.
    fn drop_extents(&mut self, number: u64, start: u64, end: u64) -> FileResult<()> {
        const OFFSET: usize = 37;
        const COUNT: usize = 45;
        let sector = self.forest.superblock.sector_size;
        for item in self.extents_between(number, start, end)? {
            let range = extents::range(&item, sector)?;
            if range.end() <= start {
                continue;
            }
            self.remove(item.key)?;
            let is_inline = item.data().u8_at(20) == Some(0);
            if is_inline && (range.start() < start || range.end() > end) {
                return Err(refuse("cuts a file that is in its tree"));
            }
            if range.start() < start {
                let mut data = item.data().to_vec();
                let count = start.saturating_sub(range.start());
                put(&mut data, COUNT, &count.to_le_bytes());
                self.put(item.key, data)?;
            }
            if range.end() > end {
                let mut data = item.data().to_vec();
                let cut = end.saturating_sub(range.start());
                let offset = data.u64_le(OFFSET).unwrap_or(0);
                // A hole has no place in an extent.
                if data.u64_le(21) != Some(0) {
                    put(&mut data, OFFSET, &offset.saturating_add(cut).to_le_bytes());
                }
                put(&mut data, COUNT, &range.end().saturating_sub(end).to_le_bytes());
                self.put(Key { offset: end, ..item.key }, data)?;
            }
        }
        Ok(())
    }

    /// The extents of a file that begin before `end`, from the one on that is at
    /// `start`.
    fn extents_between(&self, number: u64, start: u64, end: u64) -> FileResult<Vec<Item>> {
        let key = |offset| Key { objectid: number, kind: Key::EXTENT_DATA, offset };
        let is_ours =
            |item: &Item| item.key.objectid == number && item.key.kind == Key::EXTENT_DATA;
        let overlay = Some(&self.overlay);
        let before = self.forest.last_over(&self.tree, overlay, key(start))?.filter(is_ours);
        let first = before.map_or(start, |item| item.key.offset);
        let mut cursor = self.forest.seek_over(&self.tree, overlay, key(first))?;
        let mut found = Vec::new();
        while let Some(item) = cursor.next()? {
            if !is_ours(&item) || item.key.offset >= end {
                break;
            }
            if found.len() >= MAX_ITEMS {
                return Err(refuse("holds more than can be kept in memory"));
            }
            found.push(item);
        }
        Ok(found)
    }

    /// Counts what follows from the names.
    fn finish(&mut self) -> FileResult<()> {
        for (number, size) in self.finish_folders()? {
            if let Some(item) = self.inode(number)? {
                let mut data = item.data().to_vec();
                put(&mut data, 16, &size.to_le_bytes());
                self.put(item.key, data)?;
            }
        }
        for number in std::mem::take(&mut self.touched) {
            if let Some(item) = self.inode(number)? {
                let mut data = item.data().to_vec();
                let count = self.count_references(number)?;
                put(&mut data, 40, &count.to_le_bytes());
                self.put(item.key, data)?;
            }
        }
        Ok(())
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    let end = at.saturating_add(value.len());
    if let Some(place) = bytes.get_mut(at..end) {
        place.copy_from_slice(value);
    }
}

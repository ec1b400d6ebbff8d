// SPDX-License-Identifier: MIT OR Apache-2.0
//! The names of a subvolume while its log is replayed: folders, and the
//! references of inodes to them, are changed together.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::tree::Key;
use super::folder;
use super::replay::{Replay, refuse};
use crate::fs::files::FileResult;
use crate::ondisk::Fields;

/// Bounds the memory of the folders that a log speaks of.
const MAX_NAMES: usize = 1 << 21;

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) name: Vec<u8>,
    pub(super) target: Key,
    pub(super) kind: u8,
}

/// A folder that the log speaks of.
#[derive(Debug, Default)]
struct Folder {
    by_index: BTreeMap<u64, Name>,
    by_name: HashMap<Vec<u8>, u64>,
    /// The indices whose items are no longer those of the last commit.
    changed: BTreeSet<u64>,
}

/// All folders that the log speaks of.
#[derive(Debug, Default)]
pub(super) struct Folders {
    folders: BTreeMap<u64, Folder>,
    names: usize,
}

impl Replay<'_> {
    fn folder(&mut self, number: u64) -> FileResult<&mut Folder> {
        if !self.folders.folders.contains_key(&number) {
            let mut folder = Folder::default();
            for item in self.all(number, Key::DIR_INDEX)? {
                for entry in folder::entries(&item) {
                    let entry = entry?;
                    let (name, target, kind) = (entry.name.to_vec(), entry.target, entry.kind);
                    folder.by_name.insert(name.clone(), item.key.offset);
                    folder.by_index.insert(item.key.offset, Name { name, target, kind });
                }
            }
            self.folders.names = self.folders.names.saturating_add(folder.by_index.len());
            if self.folders.names > MAX_NAMES {
                return Err(refuse("holds more than can be kept in memory"));
            }
            self.folders.folders.insert(number, folder);
        }
        Ok(self.folders.folders.entry(number).or_default())
    }

    /// The names of a folder from one index to another.
    pub(super) fn names_between(
        &mut self,
        folder: u64,
        first: u64,
        last: u64,
    ) -> FileResult<Vec<(u64, Name)>> {
        if first > last {
            return Ok(Vec::new());
        }
        let folder = self.folder(folder)?;
        let range = folder.by_index.range(first..=last);
        Ok(range.map(|(index, name)| (*index, name.clone())).collect())
    }

    /// A name of a folder, and its index.
    pub(super) fn name(&mut self, folder: u64, name: &[u8]) -> FileResult<Option<(u64, Name)>> {
        let folder = self.folder(folder)?;
        let Some(index) = folder.by_name.get(name).copied() else { return Ok(None) };
        Ok(folder.by_index.get(&index).map(|found| (index, found.clone())))
    }

    /// Takes a name out of a folder, and the reference to it out of its inode.
    pub(super) fn unlink(&mut self, folder: u64, index: u64) -> FileResult<()> {
        let known = self.folder(folder)?;
        let Some(name) = known.by_index.remove(&index) else { return Ok(()) };
        known.by_name.remove(&name.name);
        known.changed.insert(index);
        if name.target.kind == Key::INODE_ITEM {
            self.forget_reference(name.target.objectid, folder, &name.name)?;
            self.touched.insert(name.target.objectid);
        }
        Ok(())
    }

    /// Puts a name into a folder that has neither it nor its index.
    pub(super) fn link(&mut self, folder: u64, index: u64, name: Name) -> FileResult<()> {
        self.touched.insert(name.target.objectid);
        self.folders.names = self.folders.names.saturating_add(1);
        let known = self.folder(folder)?;
        if known.by_index.contains_key(&index) || known.by_name.contains_key(&name.name) {
            return Err(refuse("has two names in one place"));
        }
        known.by_name.insert(name.name.clone(), index);
        known.by_index.insert(index, name);
        known.changed.insert(index);
        Ok(())
    }

    /// The names that an inode has in a folder, as references say.
    pub(super) fn references(&self, inode: u64, folder: u64) -> FileResult<Vec<Vec<u8>>> {
        let key = Key { objectid: inode, kind: Key::INODE_REF, offset: folder };
        let mut names = Vec::new();
        if let Some(item) = self.get(key)? {
            names.extend(plain_references(item.data()).into_iter().map(|(_, name)| name));
        }
        for item in self.all(inode, Key::INODE_EXTREF)? {
            let found = extended_references(item.data()).into_iter();
            names.extend(found.filter(|(parent, ..)| *parent == folder).map(|(.., name)| name));
        }
        Ok(names)
    }

    /// Adds a reference of an inode to a name.
    pub(super) fn refer(
        &mut self,
        inode: u64,
        folder: u64,
        index: u64,
        name: &[u8],
    ) -> FileResult<()> {
        let key = Key { objectid: inode, kind: Key::INODE_REF, offset: folder };
        let mut data = self.get(key)?.map(|item| item.data().to_vec()).unwrap_or_default();
        let len = u16::try_from(name.len()).map_err(|_| refuse("has a name that is too long"))?;
        data.extend(index.to_le_bytes());
        data.extend(len.to_le_bytes());
        data.extend(name);
        self.put(key, data)
    }

    fn forget_reference(&mut self, inode: u64, folder: u64, name: &[u8]) -> FileResult<()> {
        let key = Key { objectid: inode, kind: Key::INODE_REF, offset: folder };
        if let Some(item) = self.get(key)? {
            let mut kept = Vec::new();
            for (index, other) in plain_references(item.data()) {
                if other != name {
                    kept.extend(index.to_le_bytes());
                    kept.extend(u16::try_from(other.len()).unwrap_or(0).to_le_bytes());
                    kept.extend(other);
                }
            }
            if kept.is_empty() { self.remove(key)? } else { self.put(key, kept)? }
        }
        for item in self.all(inode, Key::INODE_EXTREF)? {
            let found = extended_references(item.data());
            if !found.iter().any(|(parent, _, other)| *parent == folder && other == name) {
                continue;
            }
            let mut kept = Vec::new();
            for (parent, index, other) in found {
                if parent != folder || other != name {
                    kept.extend(parent.to_le_bytes());
                    kept.extend(index.to_le_bytes());
                    kept.extend(u16::try_from(other.len()).unwrap_or(0).to_le_bytes());
                    kept.extend(other);
                }
            }
            if kept.is_empty() { self.remove(item.key)? } else { self.put(item.key, kept)? }
        }
        Ok(())
    }

    /// How many references an inode has.
    pub(super) fn count_references(&self, inode: u64) -> FileResult<u32> {
        let mut count = 0_usize;
        for item in self.all(inode, Key::INODE_REF)? {
            count = count.saturating_add(plain_references(item.data()).len());
        }
        for item in self.all(inode, Key::INODE_EXTREF)? {
            count = count.saturating_add(extended_references(item.data()).len());
        }
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Makes items of the folders; returns those that changed, with the sums of
    /// the lengths of their names.
    pub(super) fn finish_folders(&mut self) -> FileResult<Vec<(u64, u64)>> {
        let mut sizes = Vec::new();
        for (number, folder) in std::mem::take(&mut self.folders.folders) {
            if folder.changed.is_empty() {
                continue;
            }
            for index in &folder.changed {
                let key = Key { objectid: number, kind: Key::DIR_INDEX, offset: *index };
                match folder.by_index.get(index) {
                    None => self.remove(key)?,
                    Some(name) => self.put(key, entry(name))?,
                }
            }
            let size = folder.by_index.values().fold(0_u64, |sum, name| {
                sum.saturating_add(u64::try_from(name.name.len()).unwrap_or(0).saturating_mul(2))
            });
            sizes.push((number, size));
        }
        Ok(sizes)
    }
}

/// An item for a name.
fn entry(name: &Name) -> Vec<u8> {
    let mut data = name.target.objectid.to_le_bytes().to_vec();
    data.push(name.target.kind);
    data.extend(name.target.offset.to_le_bytes());
    data.extend([0; 10]);
    data.extend(u16::try_from(name.name.len()).unwrap_or(0).to_le_bytes());
    data.push(name.kind);
    data.extend(&name.name);
    data
}

/// Index and name of each reference to the folder that the key has.
pub(super) fn plain_references(mut data: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    while let (Some(index), Some(len)) = (data.u64_le(0), data.u16_le(8)) {
        let Some(name) = data.bytes_at(10, len.into()) else { break };
        found.push((index, name.to_vec()));
        data = data.get(usize::from(len).saturating_add(10)..).unwrap_or_default();
    }
    found
}

/// Folder, index and name of each reference.
pub(super) fn extended_references(mut data: &[u8]) -> Vec<(u64, u64, Vec<u8>)> {
    let mut found = Vec::new();
    while let (Some(folder), Some(index), Some(len)) =
        (data.u64_le(0), data.u64_le(8), data.u16_le(16))
    {
        let Some(name) = data.bytes_at(18, len.into()) else { break };
        found.push((folder, index, name.to_vec()));
        data = data.get(usize::from(len).saturating_add(18)..).unwrap_or_default();
    }
    found
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Folders: names by the order in which they were made, and by a hash of them.
//! A name may stand for the root of another subvolume.

use super::super::tree::{Key, tree_id};
use super::inode::Inode;
use super::trees::Item;
use super::{BtrfsFiles, EMPTY};
use crate::fs::files::{DirectoryEntry, EachEntry, FileResult, Node, NodeKind};
use crate::ondisk::Fields;

/// The bytes of an entry in front of its name.
const HEAD: usize = 30;

/// A name, as an item has it.
pub(super) struct RawEntry<'a> {
    pub(super) target: Key,
    pub(super) kind: u8,
    pub(super) name: &'a [u8],
    /// Of an extended attribute.
    pub(super) value: &'a [u8],
}

/// The names in an item: names whose hash is the same share one.
pub(super) fn entries(item: &Item) -> impl Iterator<Item = FileResult<RawEntry<'_>>> {
    let mut rest = item.data();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let parsed = (|| {
            let value_len = usize::from(rest.u16_le(25)?);
            let name_len = usize::from(rest.u16_le(27)?);
            let value_at = name_len.checked_add(HEAD)?;
            let entry = RawEntry {
                target: Key::at(rest, 0)?,
                kind: rest.u8_at(29)?,
                name: rest.bytes_at(HEAD, name_len)?,
                value: rest.bytes_at(value_at, value_len)?,
            };
            Some((entry, rest.get(value_at.checked_add(value_len)?..)?))
        })();
        match parsed {
            Some((entry, after)) => {
                rest = after;
                Some(Ok(entry))
            }
            None => {
                rest = &[];
                Some(Err(item.corrupt("entry of a folder", "one inside of its item", "another")))
            }
        }
    })
}

/// Gives the names of a folder.
pub(super) fn list(files: &BtrfsFiles, folder: &Inode, each: EachEntry) -> FileResult<()> {
    folder.expect(NodeKind::Folder)?;
    if folder.is_empty_folder() {
        return Ok(());
    }
    let tree = files.tree(folder.node.tree)?;
    let start = Key { objectid: folder.number(), kind: Key::DIR_INDEX, offset: 0 };
    let mut cursor = files.forest.seek(&tree, start)?;
    while let Some(item) = cursor.next()? {
        if item.key.objectid != start.objectid || item.key.kind != start.kind {
            break;
        }
        for entry in entries(&item) {
            let entry = entry.and_then(|entry| resolve(files, folder.node, &item, &entry));
            if each(entry).is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// What a name of a folder stands for.
pub(super) fn lookup(
    files: &BtrfsFiles,
    folder: &Inode,
    name: &[u8],
) -> FileResult<Option<DirectoryEntry>> {
    folder.expect(NodeKind::Folder)?;
    if folder.is_empty_folder() {
        return Ok(None);
    }
    let tree = files.tree(folder.node.tree)?;
    if files.forest.is_changed(&tree, folder.number(), Key::DIR_INDEX) {
        // A replay changes names by their index only.
        return files.listings.lookup(files, folder.node, name, None);
    }
    let key = Key { objectid: folder.number(), kind: Key::DIR_ITEM, offset: u64::from(hash(name)) };
    let Some(item) = files.forest.get(&tree, key)? else { return Ok(None) };
    for entry in entries(&item) {
        let entry = entry?;
        if entry.name == name {
            return resolve(files, folder.node, &item, &entry).map(Some);
        }
    }
    Ok(None)
}

/// CRC-32C from a start of its own, without the last inversion.
fn hash(name: &[u8]) -> u32 {
    !crc32c::crc32c_append(1, name)
}

fn resolve(
    files: &BtrfsFiles,
    folder: Node,
    item: &Item,
    entry: &RawEntry,
) -> FileResult<DirectoryEntry> {
    let name = entry.name;
    if name.is_empty()
        || matches!(name, b"." | b"..")
        || name.iter().any(|byte| matches!(byte, 0 | b'/'))
    {
        let found = String::from_utf8_lossy(name).escape_debug().to_string();
        return Err(item.corrupt("name in a folder", "a name", found));
    }
    let node = match entry.target.kind {
        Key::INODE_ITEM => Node { tree: folder.tree, number: entry.target.objectid },
        Key::ROOT_ITEM => subvolume(files, folder, entry.target.objectid, name)?,
        kind => return Err(item.corrupt("target of a name", "an inode or a root", kind)),
    };
    let kind = match entry.kind {
        1 => NodeKind::File,
        2 => NodeKind::Folder,
        5 => NodeKind::Pipe,
        6 => NodeKind::Socket,
        7 => NodeKind::Link,
        // Of a device, its inode knows which.
        _ => files.inode(node)?.kind()?,
    };
    Ok(DirectoryEntry { name: name.to_vec(), node, kind })
}

/// The root folder of a subvolume, if it is this folder that has it. A snapshot
/// has the names of the subvolumes inside of its original, but not those.
fn subvolume(files: &BtrfsFiles, folder: Node, id: u64, name: &[u8]) -> FileResult<Node> {
    let tree = files.tree(tree_id::ROOT)?;
    let key = Key { objectid: folder.tree, kind: Key::ROOT_REF, offset: id };
    let reference = files.forest.get(&tree, key)?;
    let is_here = reference.is_some_and(|item| {
        let data = item.data();
        let len = data.u16_le(16).map_or(0, usize::from);
        data.u64_le(0) == Some(folder.number) && data.bytes_at(18, len) == Some(name)
    });
    if !is_here {
        return Ok(Node { tree: folder.tree, number: EMPTY });
    }
    files.subvolume_root(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hashed_as_on_the_disk() {
        // As `btrfs inspect-internal dump-tree` shows the name "default", which
        // every filesystem has.
        assert_eq!(hash(b"default"), 2_378_154_706);
    }
}

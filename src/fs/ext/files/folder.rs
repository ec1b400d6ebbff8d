// SPDX-License-Identifier: MIT OR Apache-2.0
//! Folders: names in blocks, one after the other. The index of a large folder
//! is made to look like empty blocks, and is passed.

use std::ops::ControlFlow;

use super::super::checksum::crc32c;
use super::inode::Inode;
use super::{ExtFiles, Use, map, xattr};
use crate::fs::files::{DirectoryEntry, EachEntry, FileResult, Node, NodeKind};
use crate::ondisk::{Fields, FormatError};

const INCOMPAT_FILETYPE: u32 = 0x2;
const ENTRY_LEN: usize = 8;
/// The kind of the entry at the end of a block that holds the checksum.
const KIND_CHECKSUM: u8 = 0xDE;
const CHECKSUM_LEN: usize = 12;
/// In front of the names of a folder in its inode: the number of its parent.
const INLINE_PARENT_LEN: usize = 4;

/// Gives the names of a folder.
pub(super) fn list(files: &ExtFiles, folder: &Inode, each: EachEntry) -> FileResult<()> {
    folder.expect(NodeKind::Folder)?;
    if folder.is_inline() {
        return list_inline(files, folder, each);
    }
    let blocks = folder.size().div_ceil(files.block_size().max(1));
    let most = files.superblock.geometry.blocks;
    if blocks > most {
        return Err(folder.corrupt("size of a folder", format!("up to {most} blocks"), blocks));
    }
    let mut block = 0;
    while block < blocks {
        let piece = map::piece(files, folder, block)?;
        let Some(place) = piece.place else {
            let hole = folder.corrupt("blocks of a folder", format!("block {block}"), "a hole");
            if each(Err(hole)).is_break() {
                return Ok(());
            }
            block = piece.end;
            continue;
        };
        for (block, place) in (piece.first..piece.end.min(blocks)).zip(place..) {
            let bytes = files.block(Use::Folder, place, folder.number, |bytes, position| {
                check_block(files, folder, block, bytes, position)
            });
            let listed = match bytes {
                Ok(bytes) => {
                    let position = files.volume().extent(place, 1).start();
                    list_block(files, folder, &bytes, position, each)
                }
                Err(error) => each(Err(error)),
            };
            if listed.is_break() {
                return Ok(());
            }
        }
        block = piece.end;
    }
    Ok(())
}

/// The names of a folder in its inode: some in place of the map, others in an
/// extended attribute.
fn list_inline(files: &ExtFiles, folder: &Inode, each: EachEntry) -> FileResult<()> {
    let content = xattr::inline_content(files, folder)?;
    let (first, second) = content.split_at_checked(super::inode::MAP_LEN).unwrap_or_default();
    for part in [first.get(INLINE_PARENT_LEN..).unwrap_or_default(), second] {
        if list_block(files, folder, part, folder.position, each).is_break() {
            break;
        }
    }
    Ok(())
}

/// Gives the names in a block; a damaged entry hides those behind it.
fn list_block(
    files: &ExtFiles,
    folder: &Inode,
    mut rest: &[u8],
    position: u64,
    each: EachEntry,
) -> ControlFlow<()> {
    let block_size = files.block_size();
    let position = |rest: &[u8], all: usize| {
        position.saturating_add(u64::try_from(all.saturating_sub(rest.len())).unwrap_or(0))
    };
    let all = rest.len();
    while !rest.is_empty() {
        let at = position(rest, all);
        let Some((len, entry)) = split_entry(rest, block_size) else {
            return each(Err(FormatError::corrupt(
                "entry of a folder",
                at,
                "one inside of its block",
                "another",
            )));
        };
        rest = rest.get(len..).unwrap_or_default();
        let (number, kind, name) = match entry {
            Some(entry) => entry,
            None => continue,
        };
        if matches!(name, b"." | b"..") {
            continue;
        }
        each(read_entry(files, folder, number, kind, name, at))?;
    }
    ControlFlow::Continue(())
}

type RawEntry<'a> = (u32, u8, &'a [u8]);

/// The length of the entry in front, and the entry if it is in use.
fn split_entry(rest: &[u8], block_size: u64) -> Option<(usize, Option<RawEntry<'_>>)> {
    let number = rest.u32_le(0)?;
    let len = entry_len(rest.u16_le(4)?, block_size)?;
    let (name_len, kind) = (rest.u8_at(6)?, rest.u8_at(7)?);
    if len < ENTRY_LEN || len & 3 != 0 || len > rest.len() {
        return None;
    }
    if number == 0 {
        return Some((len, None));
    }
    let name = rest.get(..len)?.bytes_at(ENTRY_LEN, name_len.into())?;
    Some((len, Some((number, kind, name))))
}

/// The length of an entry: with blocks of 64 KiB, one that fills all of a block
/// does not fit into the field.
fn entry_len(field: u16, block_size: u64) -> Option<usize> {
    if block_size < 65536 {
        return Some(field.into());
    }
    if field == u16::MAX || field == 0 {
        return usize::try_from(block_size).ok();
    }
    let field = usize::from(field);
    Some(field & 0xFFFC | (field & 3) << 16)
}

fn read_entry(
    files: &ExtFiles,
    folder: &Inode,
    number: u32,
    kind: u8,
    name: &[u8],
    position: u64,
) -> FileResult<DirectoryEntry> {
    let node = Node::new(number.into());
    let is_name = !name.is_empty() && !name.iter().any(|byte| matches!(byte, 0 | b'/'));
    let name = if folder.is_encrypted() {
        encrypted_name(name)
    } else if is_name {
        name.to_vec()
    } else {
        let found = String::from_utf8_lossy(name).escape_debug().to_string();
        return Err(FormatError::corrupt("name in a folder", position, "a name", found));
    };
    let has_kinds = files.superblock.features.has_incompat(INCOMPAT_FILETYPE);
    let kind = match kind {
        1 if has_kinds => NodeKind::File,
        2 if has_kinds => NodeKind::Folder,
        5 if has_kinds => NodeKind::Pipe,
        6 if has_kinds => NodeKind::Socket,
        7 if has_kinds => NodeKind::Link,
        // Of a device, its inode knows which.
        _ => files.inode(node)?.kind()?,
    };
    Ok(DirectoryEntry { name, node, kind })
}

/// A name that cannot be read without its key, in letters that every name may
/// have: base64url, as the kernel shows such names, though without its hash.
fn encrypted_name(name: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut shown = Vec::new();
    for three in name.chunks(3) {
        let bits = (0..3).fold(0_usize, |bits, index| {
            bits << 8 | usize::from(three.get(index).copied().unwrap_or(0))
        });
        for letter in 0..=three.len() {
            let shift = 18_usize.saturating_sub(letter.saturating_mul(6));
            shown.extend(LETTERS.get(bits >> shift & 63));
        }
    }
    shown
}

/// The letters by which names of a folder are compared in which case is left
/// aside: nearly those of the kernel, which knows more of Unicode.
pub(super) fn fold(name: &[u8]) -> Option<Vec<u8>> {
    str::from_utf8(name).ok().map(|name| name.to_lowercase().into_bytes())
}

/// Checks the checksum at the end of a block of names or of an index.
fn check_block(
    files: &ExtFiles,
    folder: &Inode,
    block: u64,
    bytes: &[u8],
    position: u64,
) -> FileResult<()> {
    if !files.superblock.has_metadata_checksums() {
        return Ok(());
    }
    let tail = bytes.len().saturating_sub(CHECKSUM_LEN);
    let is_tail = bytes.u32_le(tail) == Some(0)
        && bytes.u16_le(tail.saturating_add(4)) == Some(12)
        && bytes.u8_at(tail.saturating_add(6)) == Some(0)
        && bytes.u8_at(tail.saturating_add(7)) == Some(KIND_CHECKSUM);
    let of_names = is_tail.then(|| {
        let covered = bytes.get(..tail).unwrap_or_default();
        (bytes.u32_le(tail.saturating_add(8)), Some(crc32c(folder.checksum_seed, covered)))
    });
    // A block that became one of an index keeps the end of a block of names.
    let of_index = folder.is_indexed().then(|| {
        let start = if block == 0 { INDEX_ROOT } else { INDEX_NODE };
        index_checksum(folder.checksum_seed, bytes, start)
    });
    let mut found = of_names.into_iter().chain(of_index.flatten()).peekable();
    let (stored, computed) = found.peek().copied().unwrap_or_default();
    if found.any(|(stored, computed)| stored.is_some() && stored == computed) {
        return Ok(());
    }
    let show = |crc: Option<u32>| crc.map_or_else(|| "none".into(), |crc| format!("{crc:#010x}"));
    Err(FormatError::corrupt("checksum of a folder", position, show(computed), show(stored)))
}

/// Where the limit and count of the entries of an index are: behind `.`, `..`
/// and its header in the first block, else behind an empty entry.
const INDEX_ROOT: usize = 0x20;
const INDEX_NODE: usize = 0x8;

/// The stored and the computed checksum of a block of an index.
fn index_checksum(seed: u32, bytes: &[u8], start: usize) -> Option<(Option<u32>, Option<u32>)> {
    let (limit, count) = (bytes.u16_le(start)?, bytes.u16_le(start.checked_add(2)?)?);
    let after = |entries: u16| start.checked_add(usize::from(entries).checked_mul(8)?);
    let tail = after(limit)?;
    // The reserved half of the tail is covered, the checksum itself as zeros.
    let crc = crc32c(seed, bytes.get(..after(count)?)?);
    let crc = crc32c(crc32c(crc, bytes.bytes_at(tail, 4)?), &[0; 4]);
    Some((bytes.u32_le(tail.checked_add(4)?), Some(crc)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_a_key_are_letters() {
        assert_eq!(encrypted_name(b"\0/\xff"), b"AC__");
        assert_eq!(encrypted_name(b"Man"), b"TWFu");
        assert_eq!(encrypted_name(b"Ma"), b"TWE");
        assert_eq!(encrypted_name(b"M"), b"TQ");
        assert_eq!(encrypted_name(b""), b"");
    }

    #[test]
    fn entries_of_the_largest_blocks_fit_into_their_field() {
        assert_eq!(entry_len(16, 4096), Some(16));
        assert_eq!(entry_len(0, 65536), Some(65536));
        assert_eq!(entry_len(65535, 65536), Some(65536));
        assert_eq!(entry_len(0xFFFC, 65536), Some(65532));
    }
}

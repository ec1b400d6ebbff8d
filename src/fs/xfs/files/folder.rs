// SPDX-License-Identifier: MIT OR Apache-2.0
//! Folders: in the inode (`xfs_dir2_sf`), in one block with its index, or in
//! many blocks of names whose index lies elsewhere and is not needed here.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::super::volume::Block;
use super::inode::{Fork, Format, Inode};
use super::{Use, XfsFiles, map};
use crate::fs::files::{DirectoryEntry, EachEntry, FileResult, Node, NodeKind};
use crate::ondisk::{Fields, FormatError};

/// The bytes of a folder in front of its index.
const MAX_LEN: u64 = 1 << 35;
const HEADER_LEN: usize = 64;
const OLD_HEADER_LEN: usize = 16;
const FREE: u16 = 0xFFFF;

/// Gives the names of a folder.
pub(super) fn list(files: &XfsFiles, folder: &Inode, each: EachEntry) -> FileResult<()> {
    folder.expect(NodeKind::Folder)?;
    let fork = folder.content()?;
    if fork.format == Format::Local {
        return list_short(files, folder, &fork, each);
    }
    if folder.size() > MAX_LEN {
        let expected = format!("at most {MAX_LEN} bytes");
        return Err(folder.corrupt("size of a folder", expected, folder.size()));
    }
    let step = files.superblock.geometry.folder_block_size;
    let per_block = step.checked_div(files.block_size()).unwrap_or(1).max(1);
    let end = MAX_LEN.checked_div(files.block_size()).unwrap_or(0);
    let mut block = 0;
    let mut left = files.superblock.geometry.blocks;
    while block < end {
        let piece = map::piece(files, folder, &fork, block)?;
        if piece.place.is_none() {
            // Blocks that became empty are given back.
            block = piece.end.checked_next_multiple_of(per_block).unwrap_or(end);
            continue;
        }
        // No folder has more blocks than the filesystem.
        left = left
            .checked_sub(per_block)
            .ok_or_else(|| folder.corrupt("blocks of a folder", "as many as there are", "more"))?;
        let listed = match read_block(files, folder, &fork, block) {
            Ok(block) => list_block(files, &block, each),
            Err(error) => each(Err(error)),
        };
        if listed.is_break() {
            break;
        }
        block = block.saturating_add(per_block);
    }
    Ok(())
}

/// A block of names, which may lie in several pieces.
fn read_block(files: &XfsFiles, folder: &Inode, fork: &Fork, block: u64) -> FileResult<Arc<Block>> {
    let geometry = &files.superblock.geometry;
    let step = geometry.folder_block_size;
    let piece = map::piece(files, folder, fork, block)?;
    let (Some(place), Some(first)) = (files.place(&piece), block.checked_sub(piece.first)) else {
        return Err(folder.corrupt("blocks of a folder", format!("block {block}"), "a hole"));
    };
    let position = place.start().saturating_add(first.saturating_mul(files.block_size()));
    let is_straight = position.saturating_add(step) <= place.end();
    if is_straight {
        return files.block(Use::Folder, position, step, folder.number, |block| {
            check_block(files, folder, block)
        });
    }
    let mut bytes = vec![0; usize::try_from(step).unwrap_or(0)];
    let start = block.saturating_mul(files.block_size());
    let is_replayed = files.read_fork(folder, fork, start, &mut bytes, false)?;
    let block = Block { position, bytes, is_replayed };
    check_block(files, folder, &block)?;
    Ok(Arc::new(block))
}

fn check_block(files: &XfsFiles, folder: &Inode, block: &Block) -> FileResult<()> {
    let magic = block.bytes.array::<4>(0).unwrap_or_default();
    let known: [&[u8; 4]; 2] =
        if files.has_checksums() { [b"XDB3", b"XDD3"] } else { [b"XD2B", b"XD2D"] };
    if !known.contains(&&magic) {
        return Err(block.corrupt("magic of a folder", 0, "that of names", format!("{magic:?}")));
    }
    if !files.has_checksums() {
        return Ok(());
    }
    block.expect_checksum("crc of a folder", 4)?;
    block.expect_uuid("uuid of a folder", 24, &files.superblock.geometry)?;
    if block.u64(40) != folder.number {
        return Err(block.corrupt("owner of a folder", 40, folder.number, block.u64(40)));
    }
    Ok(())
}

/// Gives the names in a block; a damaged entry hides those behind it.
fn list_block(files: &XfsFiles, block: &Block, each: EachEntry) -> ControlFlow<()> {
    let bytes = block.bytes.as_slice();
    let mut at = if files.has_checksums() { HEADER_LEN } else { OLD_HEADER_LEN };
    let mut end = bytes.len();
    if matches!(bytes.bytes_at(0, 4), Some(b"XDB3" | b"XD2B")) {
        // The index is at the end, with its length behind it.
        let count = bytes.u32_be(end.saturating_sub(8)).unwrap_or(u32::MAX);
        let len =
            usize::try_from(count).ok().and_then(|count| count.checked_mul(8)?.checked_add(8));
        end = len.and_then(|len| end.checked_sub(len)).unwrap_or(0);
    }
    while at < end {
        let entry = bytes.get(at..end).unwrap_or_default();
        if entry.u16_be(0) == Some(FREE) {
            let len = usize::from(entry.u16_be(2).unwrap_or(0));
            if len == 0 || len & 7 != 0 {
                return each(Err(block.corrupt("free space of a folder", at, "a length", len)));
            }
            at = at.saturating_add(len);
            continue;
        }
        let parsed = || {
            let name_len = usize::from(entry.u8_at(8)?);
            let name = entry.bytes_at(9, name_len)?;
            let kind = entry.u8_at(name_len.checked_add(9)?)?;
            Some((entry.u64_be(0)?, name, kind))
        };
        let Some((number, name, kind)) = parsed() else {
            return each(Err(block.corrupt(
                "entry of a folder",
                at,
                "one inside of its block",
                "another",
            )));
        };
        let with_kind = usize::from(files.superblock.geometry.features.has_file_types);
        let len = name.len().saturating_add(with_kind).saturating_add(11).next_multiple_of(8);
        let position = block.position.saturating_add(u64::try_from(at).unwrap_or(0));
        at = at.saturating_add(len);
        if !matches!(name, b"." | b"..") {
            each(entry_of(files, number, kind, name, position))?;
        }
    }
    ControlFlow::Continue(())
}

/// The names of a folder in its inode.
fn list_short(files: &XfsFiles, folder: &Inode, fork: &Fork, each: EachEntry) -> FileResult<()> {
    let bytes = fork.bytes.as_slice();
    let is_wide = bytes.u8_at(1).is_some_and(|count| count > 0);
    let number_len = if is_wide { 8_usize } else { 4 };
    let number = |bytes: &[u8], at: usize| {
        if is_wide { bytes.u64_be(at) } else { bytes.u32_be(at).map(u64::from) }
    };
    let count = bytes.u8_at(0).unwrap_or(0);
    let with_kind = usize::from(files.superblock.geometry.features.has_file_types);
    let mut at = number_len.saturating_add(2);
    for _ in 0..count {
        let parsed = || {
            let name_len = usize::from(bytes.u8_at(at)?);
            let name = bytes.bytes_at(at.checked_add(3)?, name_len)?;
            let after = at.checked_add(3)?.checked_add(name_len)?;
            let kind = if with_kind == 1 { bytes.u8_at(after)? } else { 0 };
            let number_at = after.checked_add(with_kind)?;
            Some((number(bytes, number_at)?, name, kind, number_at.checked_add(number_len)?))
        };
        let Some((number, name, kind, next)) = parsed() else {
            each(Err(folder.corrupt("entry of a folder", "one inside of its inode", "another")))
                .is_break();
            return Ok(());
        };
        if each(entry_of(files, number, kind, name, 0)).is_break() {
            return Ok(());
        }
        at = next;
    }
    Ok(())
}

fn entry_of(
    files: &XfsFiles,
    number: u64,
    kind: u8,
    name: &[u8],
    position: u64,
) -> FileResult<DirectoryEntry> {
    let node = Node::new(number);
    if name.is_empty() || name.iter().any(|byte| matches!(byte, 0 | b'/')) {
        let found = String::from_utf8_lossy(name).escape_debug().to_string();
        return Err(FormatError::corrupt("name in a folder", position, "a name", found));
    }
    let has_kinds = files.superblock.geometry.features.has_file_types;
    let kind = match kind {
        1 if has_kinds => NodeKind::File,
        2 if has_kinds => NodeKind::Folder,
        5 if has_kinds => NodeKind::Pipe,
        6 if has_kinds => NodeKind::Socket,
        7 if has_kinds => NodeKind::Link,
        // Of a device, its inode knows which.
        _ => files.inode(node)?.kind()?,
    };
    Ok(DirectoryEntry { name: name.to_vec(), node, kind })
}

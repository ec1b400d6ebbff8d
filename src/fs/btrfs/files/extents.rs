// SPDX-License-Identifier: MIT OR Apache-2.0
//! The content of files: extents, as they are or compressed, and what is so
//! short that it is in the tree. Data is compared with its checksums before it
//! is given to anybody.

use std::sync::Arc;

use super::super::tree::{Key, tree_id};
use super::BtrfsFiles;
use super::compression::Compression;
use super::inode::Inode;
use super::trees::Item;
use crate::extent::Extent;
use crate::fs::files::FileResult;
use crate::ondisk::{Fields, FormatError};

/// The object of all checksums of data.
pub(super) const CHECKSUM_OBJECT: u64 = 0_u64.wrapping_sub(10);
/// The bytes of an item in front of inline data.
const HEAD: usize = 21;
/// The kernel compresses at most 128 KiB at once.
const MAX_COMPRESSED: u64 = 1 << 20;
/// Uncompressed data is read in pieces of at most so many bytes.
const MAX_READ: u64 = 1 << 20;

/// What a part of a file is.
#[derive(Debug, Clone)]
enum Content {
    Zeros,
    /// Bytes in the tree.
    Inline(Item, Compression, u64),
    /// Bytes of an extent.
    Extent(Stored),
}

/// A part of an extent of data.
#[derive(Debug, Clone, Copy)]
struct Stored {
    packed: Packed,
    /// Where in the extent, once it is not compressed any more, the part starts.
    offset: u64,
}

/// An extent of data, and how it is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Packed {
    /// Where the extent is, and its length there.
    logical: u64,
    len: u64,
    /// The length of the extent once it is not compressed any more.
    unpacked: u64,
    compression: Compression,
}

/// A part of a file.
#[derive(Debug, Clone)]
struct Part {
    range: Extent,
    content: Content,
}

/// The part that an item describes.
fn parse(item: &Item, size: u64, sector: u64) -> FileResult<Part> {
    let data = item.data();
    let start = item.key.offset;
    let wrong =
        || item.corrupt("file extent", "one with all fields", format!("{} bytes", data.len()));
    let unpacked = data.u64_le(8).ok_or_else(wrong)?;
    let compression = Compression::parse(data.u8_at(16).ok_or_else(wrong)?)?;
    if data.u8_at(17) != Some(0) || data.u16_le(18) != Some(0) {
        return Err(FormatError::unsupported("its content is encrypted"));
    }
    if data.u8_at(20) == Some(0) {
        if unpacked > MAX_COMPRESSED {
            return Err(item.corrupt("length of inline data", MAX_COMPRESSED, unpacked));
        }
        let range = Extent::at(start, unpacked.max(size.saturating_sub(start).min(sector)));
        return Ok(Part { range, content: Content::Inline(item.clone(), compression, unpacked) });
    }
    let fields =
        (|| Some((data.u64_le(21)?, data.u64_le(29)?, data.u64_le(37)?, data.u64_le(45)?)))();
    let (logical, len, offset, count) = fields.ok_or_else(wrong)?;
    let range = Extent::at(start, count);
    let content = match data.u8_at(20) {
        Some(1) if logical == 0 => Content::Zeros,
        Some(1) => {
            // There are filesystems whose extents say that they would be of
            // another length if they were unpacked, though they are not packed.
            let unpacked = if compression == Compression::None { len } else { unpacked };
            Content::Extent(Stored {
                packed: Packed { logical, len, unpacked, compression },
                offset,
            })
        }
        Some(2) => Content::Zeros,
        kind => {
            return Err(item.corrupt("type of a file extent", "0, 1 or 2", format!("{kind:?}")));
        }
    };
    let is_part = match &content {
        Content::Extent(Stored { packed, offset }) => {
            let is_small = packed.unpacked.max(packed.len) <= MAX_COMPRESSED;
            let end = offset.checked_add(count);
            end.is_some_and(|end| end <= packed.unpacked)
                && (is_small || compression == Compression::None)
        }
        _ => true,
    };
    if !is_part || count == 0 {
        let found = format!("{count} bytes at {offset} of {unpacked} in {len}");
        return Err(item.corrupt("file extent", "a part of its extent", found));
    }
    Ok(Part { range, content })
}

/// The bytes of a file that an item is about, in whole sectors.
pub(super) fn range(item: &Item, sector: u64) -> FileResult<Extent> {
    let part = parse(item, 0, sector)?;
    Ok(match part.content {
        Content::Inline(..) => part.range.align_outwards(sector),
        Content::Zeros | Content::Extent(_) => part.range,
    })
}

/// The part of a file that a position is in.
fn part(files: &BtrfsFiles, inode: &Inode, position: u64) -> FileResult<Part> {
    let size = inode.size();
    let key = Key { objectid: inode.number(), kind: Key::EXTENT_DATA, offset: position };
    let tree = files.tree(inode.node.tree)?;
    let is_ours =
        |item: &Item| item.key.objectid == key.objectid && item.key.kind == Key::EXTENT_DATA;
    let before = files.forest.at_or_before(&tree, key)?.filter(is_ours);
    let mut hole_from = 0;
    if let Some(item) = before {
        let part = parse(&item, size, files.sector_size())?;
        if position < part.range.end() {
            return Ok(part);
        }
        hole_from = part.range.end();
    }
    // Up to the next one there is nothing.
    let next = files.forest.seek(&tree, key)?.next()?.filter(is_ours);
    let end = next.map_or(u64::MAX, |item| item.key.offset);
    Ok(Part { range: Extent::new(hole_from, end), content: Content::Zeros })
}

/// Reads bytes of a file, all of which are in front of its end.
pub(super) fn read(
    files: &BtrfsFiles,
    inode: &Inode,
    offset: u64,
    buf: &mut [u8],
) -> FileResult<()> {
    let mut done = 0_usize;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let position = offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
        let part = part(files, inode, position)?;
        let within = position.saturating_sub(part.range.start());
        let left = part.range.end().saturating_sub(position).min(MAX_READ);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
        let rest = rest.get_mut(..len).unwrap_or_default();
        match part.content {
            Content::Zeros => rest.fill(0),
            Content::Inline(item, compression, unpacked) => {
                let bytes = inline(&item, compression, unpacked, files.sector_size())?;
                let start = usize::try_from(within).unwrap_or(usize::MAX);
                rest.fill(0);
                let there = bytes.get(start..).unwrap_or_default();
                rest.iter_mut().zip(there).for_each(|(to, from)| *to = *from);
            }
            Content::Extent(stored) => {
                let start = stored.offset.saturating_add(within);
                read_stored(files, inode, &stored, start, rest)?;
            }
        }
        done = done.saturating_add(len.max(1));
    }
    Ok(())
}

/// Bytes that are in the tree.
fn inline(
    item: &Item,
    compression: Compression,
    unpacked: u64,
    sector: u64,
) -> FileResult<Vec<u8>> {
    let data = item.data().get(HEAD..).unwrap_or_default();
    let len = usize::try_from(unpacked).unwrap_or(usize::MAX);
    if compression == Compression::None {
        if data.len() != len {
            return Err(item.corrupt("length of inline data", len, data.len()));
        }
        return Ok(data.to_vec());
    }
    let bytes = compression.unpack(data, len, sector);
    bytes.map_err(|why| item.corrupt("compressed inline data", "what can be unpacked", why))
}

/// Reads from `start` on of an extent.
fn read_stored(
    files: &BtrfsFiles,
    inode: &Inode,
    stored: &Stored,
    start: u64,
    buf: &mut [u8],
) -> FileResult<()> {
    let packed = stored.packed;
    let len = u64::try_from(buf.len()).unwrap_or(u64::MAX);
    let short = || {
        let found = format!("{len} bytes at {start} of {}", packed.unpacked);
        FormatError::corrupt("file extent", 0, "bytes of its extent", found)
    };
    let (bytes, first) = if packed.compression == Compression::None {
        // Checksums are of whole sectors.
        let sector = files.sector_size();
        let wanted = Extent::at(start, len).align_outwards(sector);
        let wanted = wanted.intersect(&Extent::new(0, packed.len));
        let logical = packed.logical.saturating_add(wanted.start());
        let bytes = data(files, inode, logical, wanted.len())?;
        (bytes.into(), wanted.start())
    } else {
        let unpacked = files.unpacked.get((packed, inode.has_no_checksums()), || {
            let bytes = data(files, inode, packed.logical, packed.len)?;
            let len = usize::try_from(packed.unpacked).unwrap_or(usize::MAX);
            let bytes = packed.compression.unpack(&bytes, len, files.sector_size());
            let bytes = bytes.map_err(|why| {
                let what = "compressed extent";
                FormatError::corrupt(what, packed.logical, "what can be unpacked", why)
            })?;
            let size = bytes.len();
            Ok::<_, FormatError>((Arc::<[u8]>::from(bytes), size))
        })?;
        (unpacked, 0)
    };
    let from = usize::try_from(start.saturating_sub(first)).map_err(|_| short())?;
    let part = bytes.bytes_at(from, buf.len()).ok_or_else(short)?;
    buf.copy_from_slice(part);
    Ok(())
}

/// Reads whole sectors of data, which have to have their checksums.
fn data(files: &BtrfsFiles, inode: &Inode, logical: u64, len: u64) -> FileResult<Vec<u8>> {
    if inode.has_no_checksums() {
        return files.forest.read_data(logical, len, |_, _| Ok(()));
    }
    let sector = files.sector_size();
    let size = files.forest.superblock.checksum.len();
    let sums = checksums(files, logical, len)?;
    let step = usize::try_from(sector).unwrap_or(4096);
    files.forest.read_data(logical, len, |at, bytes| {
        let first = at.saturating_sub(logical).checked_div(sector).unwrap_or(0);
        for (number, bytes) in (first..).zip(bytes.chunks(step)) {
            let place = usize::try_from(number).unwrap_or(usize::MAX).saturating_mul(size);
            let stored = sums.bytes_at(place, size).unwrap_or_default();
            if files.forest.superblock.checksum.of_data(bytes).get(..size) != Some(stored) {
                let at = logical.saturating_add(number.saturating_mul(sector));
                return Err(FormatError::corrupt(
                    "data at a logical address",
                    at,
                    "the checksum that was stored for it",
                    "another",
                ));
            }
        }
        Ok(())
    })
}

/// The checksums of some sectors.
fn checksums(files: &BtrfsFiles, logical: u64, len: u64) -> FileResult<Vec<u8>> {
    let sector = files.sector_size();
    let size = u64::try_from(files.forest.superblock.checksum.len()).unwrap_or(32);
    let tree = files.tree(tree_id::CHECKSUM)?;
    let covered = |start: u64, data: &[u8]| {
        let count = u64::try_from(data.len()).unwrap_or(0).checked_div(size).unwrap_or(0);
        Extent::at(start, count.saturating_mul(sector))
    };
    let end = logical.saturating_add(len);
    let mut sums: Vec<u8> = Vec::new();
    let mut at = logical;
    while at < end {
        let logged = &files.forest.logged_sums;
        let newer = logged.range(..=at).next_back();
        let newer = newer.filter(|(start, data)| covered(**start, data).end() > at);
        let mut wanted = Extent::new(at, end);
        let item;
        let (start, data): (u64, &[u8]) = if let Some((start, data)) = newer {
            (*start, data)
        } else {
            if let Some((next, _)) = logged.range(at..).next() {
                wanted = Extent::new(at, end.min(*next));
            }
            let key = Key { objectid: CHECKSUM_OBJECT, kind: Key::EXTENT_CSUM, offset: at };
            item = files
                .forest
                .at_or_before(&tree, key)?
                .filter(|item| (item.key.objectid, item.key.kind) == (key.objectid, key.kind));
            item.as_ref().map_or((0, &[][..]), |item| (item.key.offset, item.data()))
        };
        let part = covered(start, data).intersect(&wanted);
        let place = |logical: u64| {
            let number = logical.saturating_sub(start).checked_div(sector)?;
            usize::try_from(number.checked_mul(size)?).ok()
        };
        let bytes = place(part.start()).zip(place(part.end())).and_then(|(a, b)| data.get(a..b));
        match bytes.filter(|bytes| part.start() == at && !bytes.is_empty()) {
            Some(bytes) => sums.extend_from_slice(bytes),
            None => {
                let expected = "a checksum for each sector of a file";
                return Err(FormatError::corrupt("checksum tree", at, expected, "none"));
            }
        }
        at = part.end();
    }
    Ok(sums)
}

/// The parts of a file that are stored, and the logical addresses of those that
/// are not in the tree.
pub(super) fn stored(
    files: &BtrfsFiles,
    inode: &Inode,
    each: &mut dyn FnMut(Extent, Extent) -> FileResult<()>,
) -> FileResult<()> {
    let size = inode.size();
    let all = Extent::new(0, size);
    let start = Key { objectid: inode.number(), kind: Key::EXTENT_DATA, offset: 0 };
    let tree = files.tree(inode.node.tree)?;
    let mut cursor = files.forest.seek(&tree, start)?;
    while let Some(item) = cursor.next()? {
        if item.key.objectid != start.objectid || item.key.kind != Key::EXTENT_DATA {
            break;
        }
        let part = parse(&item, size, files.sector_size())?;
        let range = part.range.intersect(&all);
        match part.content {
            Content::Zeros => {}
            Content::Inline(item, ..) => {
                let node_size = files.forest.superblock.node_size;
                let place = item.logical().map(|logical| Extent::at(logical, node_size));
                each(range, place.unwrap_or(Extent::at(0, 0)))?;
            }
            Content::Extent(Stored { packed, offset })
                if packed.compression == Compression::None =>
            {
                let logical = packed.logical.saturating_add(offset);
                each(range, Extent::at(logical, range.len()))?;
            }
            Content::Extent(Stored { packed, .. }) => {
                each(range, Extent::at(packed.logical, packed.len))?;
            }
        }
    }
    Ok(())
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Extended attributes: in the inode, in a block, or in a tree of blocks;
//! large values in blocks of their own.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::volume::Block;
use super::inode::{Fork, Format, Inode};
use super::{Use, XfsFiles, map};
use crate::fs::files::FileResult;
use crate::ondisk::Fields;

const NODE_MAGIC: u16 = 0x3EBE;
const LEAF_MAGIC: u16 = 0x3BEE;
const OLD_NODE_MAGIC: u16 = 0xFEBE;
const OLD_LEAF_MAGIC: u16 = 0xFBEE;
const REMOTE_MAGIC: &[u8; 4] = b"XARM";
const REMOTE_HEADER_LEN: usize = 56;

const LOCAL: u8 = 0x01;
const ROOT: u8 = 0x02;
const SECURE: u8 = 0x04;
const PARENT: u8 = 0x08;
const INCOMPLETE: u8 = 0x80;
/// The kernel's limit of a value.
const MAX_VALUE_LEN: usize = 65536;
/// No tree of attributes is higher.
const MAX_LEVELS: usize = 5;

type Found = Vec<(Vec<u8>, Vec<u8>)>;

/// The attributes that a program sees.
pub(super) fn read(files: &XfsFiles, inode: &Inode) -> FileResult<Found> {
    let Some(fork) = inode.attribute_fork()? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    match fork.format {
        Format::Local => read_short(inode, &fork, &mut found)?,
        Format::Extents(0) => {}
        Format::Extents(_) | Format::Tree => read_leaves(files, inode, &fork, &mut found)?,
    }
    Ok(found)
}

/// Adds an attribute by the name that the kernel gives it.
fn add(inode: &Inode, flags: u8, name: &[u8], value: Vec<u8>, found: &mut Found) -> FileResult<()> {
    if flags & (PARENT | INCOMPLETE) != 0 {
        return Ok(());
    }
    let list = match (flags & ROOT != 0, name) {
        (true, b"SGI_ACL_FILE") => Some("system.posix_acl_access"),
        (true, b"SGI_ACL_DEFAULT") => Some("system.posix_acl_default"),
        _ => None,
    };
    if let Some(list) = list {
        let shown = acl(&value).ok_or_else(|| {
            inode.corrupt("access control list", "whole entries", format!("{} bytes", value.len()))
        })?;
        found.push((list.into(), shown));
        return Ok(());
    }
    let prefix = if flags & ROOT != 0 {
        "trusted."
    } else if flags & SECURE != 0 {
        "security."
    } else {
        "user."
    };
    found.push(([prefix.as_bytes(), name].concat(), value));
    Ok(())
}

/// An access control list as programs see it.
fn acl(stored: &[u8]) -> Option<Vec<u8>> {
    const SHOWN_VERSION: u32 = 2;
    const ENTRY_LEN: usize = 12;
    let count = usize::try_from(stored.u32_be(0)?).ok()?;
    let entries = stored.bytes_at(4, count.checked_mul(ENTRY_LEN)?)?;
    let mut shown = SHOWN_VERSION.to_le_bytes().to_vec();
    for entry in entries.chunks_exact(ENTRY_LEN) {
        let tag = u16::try_from(entry.u32_be(0)?).ok()?;
        // Only named users and groups have a number.
        let id = if matches!(tag, 0x2 | 0x8) { entry.u32_be(4)? } else { u32::MAX };
        shown.extend(tag.to_le_bytes());
        shown.extend(entry.u16_be(8)?.to_le_bytes());
        shown.extend(id.to_le_bytes());
    }
    Some(shown)
}

/// Those in the inode.
fn read_short(inode: &Inode, fork: &Fork, found: &mut Found) -> FileResult<()> {
    let bytes = fork.bytes.as_slice();
    let wrong = || inode.corrupt("attributes of an inode", "entries inside of it", "others");
    let count = bytes.u8_at(2).ok_or_else(wrong)?;
    let mut rest = bytes.get(4..).unwrap_or_default();
    for _ in 0..count {
        let (name_len, value_len) = (rest.u8_at(0), rest.u8_at(1));
        let (name_len, value_len) =
            (usize::from(name_len.ok_or_else(wrong)?), usize::from(value_len.ok_or_else(wrong)?));
        let after = name_len.saturating_add(3);
        let name = rest.bytes_at(3, name_len).ok_or_else(wrong)?;
        let value = rest.bytes_at(after, value_len).ok_or_else(wrong)?;
        add(inode, rest.u8_at(2).unwrap_or(0), name, value.to_vec(), found)?;
        rest = rest.get(after.saturating_add(value_len)..).unwrap_or_default();
    }
    Ok(())
}

/// Those in blocks: down the left side of the tree, then from leaf to leaf.
fn read_leaves(files: &XfsFiles, inode: &Inode, fork: &Fork, found: &mut Found) -> FileResult<()> {
    let mut number = 0_u32;
    let mut seen = BTreeSet::new();
    for _ in 0..=MAX_LEVELS {
        let block = read_block(files, inode, fork, number)?;
        if matches!(block.u16(8), NODE_MAGIC | OLD_NODE_MAGIC) {
            let (count, first) = if files.has_checksums() { (56, 64_usize) } else { (12, 16) };
            if block.u16(count) == 0 {
                return Err(block.corrupt("count of a node", count, "entries", 0));
            }
            number = block.u32(first.saturating_add(4));
            continue;
        }
        let mut block = block;
        loop {
            if !seen.insert(number) {
                return Err(block.corrupt(
                    "next block of attributes",
                    0,
                    "one not yet seen",
                    number,
                ));
            }
            read_leaf(files, inode, fork, &block, found)?;
            number = block.u32(0);
            if number == 0 {
                return Ok(());
            }
            block = read_block(files, inode, fork, number)?;
        }
    }
    Err(inode.corrupt("tree of attributes", format!("at most {MAX_LEVELS} levels"), "more"))
}

fn read_block(files: &XfsFiles, inode: &Inode, fork: &Fork, number: u32) -> FileResult<Arc<Block>> {
    let piece = map::piece(files, inode, fork, number.into())?;
    let (Some(place), Some(first)) =
        (files.place(&piece), u64::from(number).checked_sub(piece.first))
    else {
        return Err(inode.corrupt("blocks of attributes", format!("block {number}"), "a hole"));
    };
    let size = files.block_size();
    let position = place.start().saturating_add(first.saturating_mul(size));
    files.block(Use::Attributes, position, size, inode.number, |block| {
        let magic = block.u16(8);
        if !files.has_checksums() {
            if matches!(magic, OLD_NODE_MAGIC | OLD_LEAF_MAGIC) {
                return Ok(());
            }
            return Err(block.corrupt("magic of attributes", 8, "node or leaf", magic));
        }
        if !matches!(magic, NODE_MAGIC | LEAF_MAGIC) {
            return Err(block.corrupt("magic of attributes", 8, "node or leaf", magic));
        }
        block.expect_checksum("crc of attributes", 12)?;
        block.expect_uuid("uuid of attributes", 32, &files.superblock.geometry)?;
        if block.u64(48) != inode.number {
            return Err(block.corrupt("owner of attributes", 48, inode.number, block.u64(48)));
        }
        Ok(())
    })
}

fn read_leaf(
    files: &XfsFiles,
    inode: &Inode,
    fork: &Fork,
    block: &Block,
    found: &mut Found,
) -> FileResult<()> {
    const ENTRY_LEN: usize = 8;
    if !matches!(block.u16(8), LEAF_MAGIC | OLD_LEAF_MAGIC) {
        return Err(block.corrupt("magic of attributes", 8, "that of a leaf", block.u16(8)));
    }
    let (count, first) = if files.has_checksums() { (56, 80) } else { (12, 32) };
    let len = usize::from(block.u16(count)).saturating_mul(ENTRY_LEN);
    let bytes = block.bytes.as_slice();
    let wrong = || block.corrupt("attribute", first, "one inside of its block", "another");
    for entry in bytes.bytes_at(first, len).ok_or_else(wrong)?.chunks_exact(ENTRY_LEN) {
        let at = usize::from(entry.u16_be(4).unwrap_or(0));
        let flags = entry.u8_at(6).unwrap_or(0);
        let rest = bytes.get(at..).unwrap_or_default();
        if flags & LOCAL != 0 {
            let value_len = usize::from(rest.u16_be(0).ok_or_else(wrong)?);
            let name_len = usize::from(rest.u8_at(2).ok_or_else(wrong)?);
            let name = rest.bytes_at(3, name_len).ok_or_else(wrong)?;
            let value = rest.bytes_at(name_len.saturating_add(3), value_len).ok_or_else(wrong)?;
            add(inode, flags, name, value.to_vec(), found)?;
            continue;
        }
        let (start, value_len) =
            (rest.u32_be(0).ok_or_else(wrong)?, rest.u32_be(4).ok_or_else(wrong)?);
        let name_len = usize::from(rest.u8_at(8).ok_or_else(wrong)?);
        let name = rest.bytes_at(9, name_len).ok_or_else(wrong)?;
        if flags & INCOMPLETE != 0 {
            continue;
        }
        let value = remote_value(files, inode, fork, start, value_len)?;
        add(inode, flags, name, value, found)?;
    }
    Ok(())
}

/// A value in blocks of its own.
fn remote_value(
    files: &XfsFiles,
    inode: &Inode,
    fork: &Fork,
    start: u32,
    len: u32,
) -> FileResult<Vec<u8>> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len > MAX_VALUE_LEN {
        return Err(inode.corrupt("value of an attribute", format!("up to {MAX_VALUE_LEN}"), len));
    }
    let size = files.block_size();
    let mut value = Vec::with_capacity(len);
    if !files.has_checksums() {
        value.resize(len, 0);
        files.read_fork(inode, fork, u64::from(start).saturating_mul(size), &mut value, false)?;
        return Ok(value);
    }
    let mut number = u64::from(start);
    while value.len() < len {
        let piece = map::piece(files, inode, fork, number)?;
        let (Some(place), Some(first)) = (files.place(&piece), number.checked_sub(piece.first))
        else {
            return Err(inode.corrupt(
                "value of an attribute",
                format!("block {number}"),
                "a hole",
            ));
        };
        let position = place.start().saturating_add(first.saturating_mul(size));
        let block_len = usize::try_from(size).unwrap_or(0);
        let block = files.volume().read_merged("value of an attribute", position, block_len)?;
        if block.bytes.bytes_at(0, 4) != Some(REMOTE_MAGIC.as_slice()) {
            return Err(block.corrupt("rm_magic", 0, "XARM", format!("{:#x}", block.u32(0))));
        }
        block.expect_checksum("rm_crc", 12)?;
        let here = usize::try_from(block.u32(8)).unwrap_or(usize::MAX);
        let is_next = block.u64(32) == inode.number
            && usize::try_from(block.u32(4)).ok() == Some(value.len());
        let part = block.bytes.bytes_at(REMOTE_HEADER_LEN, here);
        match part.filter(|_| is_next && here > 0 && here <= len.saturating_sub(value.len())) {
            Some(part) => value.extend_from_slice(part),
            None => {
                return Err(block.corrupt("rm_bytes", 8, format!("from {}", value.len()), here));
            }
        }
        number = number.saturating_add(1);
    }
    Ok(value)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Extended attributes: behind the fields of an inode, and in a block of their
//! own; large values in inodes of their own. Short files are in one of them.

use super::super::checksum::crc32c;
use super::inode::Inode;
use super::{ExtFiles, Use};
use crate::fs::files::{FileResult, NodeKind};
use crate::ondisk::{Fields, FormatError};

const MAGIC: u32 = 0xEA02_0000;
const BLOCK_HEADER_LEN: usize = 32;
const ENTRY_LEN: usize = 16;
/// The kernel's limit of a value.
const MAX_VALUE_LEN: u32 = 65536;

const SYSTEM: u8 = 7;
const INLINE_DATA: &[u8] = b"data";

/// The names that the kernel gives to what is kept by number. What is not
/// among them is for the filesystem alone.
const PREFIXES: &[(u8, &str)] = &[
    (1, "user."),
    (ACL_ACCESS, "system.posix_acl_access"),
    (ACL_DEFAULT, "system.posix_acl_default"),
    (4, "trusted."),
    (6, "security."),
    (10, "gnu."),
];
const ACL_ACCESS: u8 = 2;
const ACL_DEFAULT: u8 = 3;

struct Attribute<'a> {
    prefix: u8,
    name: &'a [u8],
    value: Value<'a>,
}

#[derive(Clone, Copy)]
enum Value<'a> {
    Here(&'a [u8]),
    /// The content of an inode, so many bytes.
    Inode(u32, u32),
}

/// The attributes that a program sees.
pub(super) fn read(files: &ExtFiles, inode: &Inode) -> FileResult<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let block = attribute_block(files, inode)?;
    for attribute in inside(inode)?.into_iter().chain(in_block(inode, block.as_deref())?) {
        let known = PREFIXES.iter().find(|(prefix, _)| *prefix == attribute.prefix);
        let Some((_, prefix)) = known else { continue };
        let name = [prefix.as_bytes(), attribute.name].concat();
        // What is in the inode hides what is in the block.
        if found.iter().any(|(other, _)| *other == name) {
            continue;
        }
        let value = match attribute.value {
            Value::Here(value) => value.to_vec(),
            Value::Inode(number, len) => value_of_inode(files, inode, number, len)?,
        };
        let value = match attribute.prefix {
            ACL_ACCESS | ACL_DEFAULT => acl(&value).ok_or_else(|| {
                inode.corrupt("access control list", "version 1 with whole entries", "another")
            })?,
            _ => value,
        };
        found.push((name, value));
    }
    Ok(found)
}

/// The content of a file that is kept in its inode: the first bytes in place of
/// the map, the others as an attribute.
pub(super) fn inline_content(files: &ExtFiles, inode: &Inode) -> FileResult<Vec<u8>> {
    let mut content = inode.map().to_vec();
    let inside = inside(inode)?;
    let rest = inside.iter().find(|it| it.prefix == SYSTEM && it.name == INLINE_DATA);
    match rest.map(|rest| rest.value) {
        Some(Value::Here(value)) => content.extend_from_slice(value),
        Some(Value::Inode(number, len)) => {
            content.extend(value_of_inode(files, inode, number, len)?);
        }
        // Without the attribute it is not known what the file is.
        None => return Err(inode.corrupt("inline data", "the attribute system.data", "none")),
    }
    let size = usize::try_from(inode.size()).unwrap_or(usize::MAX);
    if inode.kind()? != NodeKind::Folder {
        content.truncate(size);
    }
    Ok(content)
}

/// Those behind the fields of the inode.
fn inside(inode: &Inode) -> FileResult<Vec<Attribute<'_>>> {
    let area = inode.attribute_area();
    if area.u32_le(0) != Some(MAGIC) {
        return Ok(Vec::new());
    }
    let entries = area.get(4..).unwrap_or_default();
    parse(inode, entries, entries)
}

/// Those in the block of attributes.
fn in_block<'a>(inode: &Inode, block: Option<&'a [u8]>) -> FileResult<Vec<Attribute<'a>>> {
    let Some(block) = block else { return Ok(Vec::new()) };
    parse(inode, block.get(BLOCK_HEADER_LEN..).unwrap_or_default(), block)
}

/// Walks the entries up to four bytes of zeros; places of values are counted
/// from the start of `values`.
fn parse<'a>(
    inode: &Inode,
    mut entries: &'a [u8],
    values: &'a [u8],
) -> FileResult<Vec<Attribute<'a>>> {
    let mut found = Vec::new();
    while entries.u32_le(0).is_some_and(|start| start != 0) {
        let attribute = parse_one(entries, values).ok_or_else(|| {
            inode.corrupt("extended attribute", "one inside of its block", "another")
        })?;
        // Names are padded to four bytes.
        let len = ENTRY_LEN.saturating_add(attribute.name.len()).next_multiple_of(4);
        entries = entries.get(len..).unwrap_or_default();
        found.push(attribute);
    }
    Ok(found)
}

fn parse_one<'a>(entry: &'a [u8], values: &'a [u8]) -> Option<Attribute<'a>> {
    let name = entry.bytes_at(ENTRY_LEN, entry.u8_at(0)?.into())?;
    let len = entry.u32_le(8)?;
    let value = match entry.u32_le(4)? {
        0 if len == 0 => Value::Here(&[]),
        0 => Value::Here(values.bytes_at(entry.u16_le(2)?.into(), usize::try_from(len).ok()?)?),
        number => Value::Inode(number, len),
    };
    Some(Attribute { prefix: entry.u8_at(1)?, name, value })
}

fn attribute_block(files: &ExtFiles, inode: &Inode) -> FileResult<Option<std::sync::Arc<[u8]>>> {
    let block = inode.attribute_block();
    if block == 0 {
        return Ok(None);
    }
    files
        .block(Use::Attributes, block, 0, |bytes, position| {
            let header = (bytes.u32_le(0), bytes.u32_le(8));
            if header != (Some(MAGIC), Some(1)) {
                let expected = format!("{MAGIC:#x}, one block");
                let found = format!("{:#x}, {}", header.0.unwrap_or(0), header.1.unwrap_or(0));
                return Err(FormatError::corrupt("h_magic", position, expected, found));
            }
            if files.superblock.has_metadata_checksums() {
                check_block(files.superblock.checksum_seed, block, bytes, position)?;
            }
            Ok(())
        })
        .map(Some)
}

fn check_block(seed: u32, block: u64, bytes: &[u8], position: u64) -> FileResult<()> {
    let computed = || {
        let crc = crc32c(crc32c(seed, &block.to_le_bytes()), bytes.get(..16)?);
        Some(crc32c(crc32c(crc, &[0; 4]), bytes.get(20..)?))
    };
    let (computed, stored) = (computed().unwrap_or(0), bytes.u32_le(16).unwrap_or(0));
    if computed == stored {
        return Ok(());
    }
    let (computed, stored) = (format!("{computed:#010x}"), format!("{stored:#010x}"));
    Err(FormatError::corrupt("h_checksum", position, computed, stored))
}

/// A value that has an inode of its own.
fn value_of_inode(files: &ExtFiles, owner: &Inode, number: u32, len: u32) -> FileResult<Vec<u8>> {
    let inode = Inode::read(files, number)?;
    if !inode.is_ea_inode()
        || inode.is_inline()
        || inode.size() != u64::from(len)
        || len > MAX_VALUE_LEN
    {
        let expected = format!("{len} bytes of an attribute in inode {number}");
        return Err(owner.corrupt("extended attribute", expected, inode.size()));
    }
    let mut value = vec![0; usize::try_from(len).unwrap_or(0)];
    files.read_file(&inode, 0, &mut value)?;
    Ok(value)
}

/// An access control list as programs see it: ext4 leaves out the numbers of
/// those entries that have none.
fn acl(stored: &[u8]) -> Option<Vec<u8>> {
    const STORED_VERSION: u32 = 1;
    const SHOWN_VERSION: u32 = 2;
    const USER: u16 = 0x2;
    const GROUP: u16 = 0x8;
    if stored.u32_le(0)? != STORED_VERSION {
        return None;
    }
    let mut shown = SHOWN_VERSION.to_le_bytes().to_vec();
    let mut rest = stored.get(4..)?;
    while !rest.is_empty() {
        let (tag, permissions) = (rest.u16_le(0)?, rest.u16_le(2)?);
        let (id, len) =
            if matches!(tag, USER | GROUP) { (rest.u32_le(4)?, 8) } else { (u32::MAX, 4) };
        shown.extend(tag.to_le_bytes());
        shown.extend(permissions.to_le_bytes());
        shown.extend(id.to_le_bytes());
        rest = rest.get(len..)?;
    }
    Some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_access_get_the_numbers_they_leave_out() {
        let stored = [1, 0, 0, 0, 1, 0, 7, 0, 2, 0, 6, 0, 0xE8, 3, 0, 0, 4, 0, 5, 0];
        let shown = [
            2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 6, 0, 0xE8, 3, 0, 0, 4, 0, 5, 0, 255,
            255, 255, 255,
        ];
        assert_eq!(acl(&stored).as_deref(), Some(&shown[..]));
        assert_eq!(acl(&stored[..14]), None);
        assert_eq!(acl(&[2, 0, 0, 0]), None);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a Windows is asleep on the volume.
//!
//! `hiberfil.sys` in the root folder holds the memory of a Windows that is
//! hibernated, or of the half of it that Fast Startup keeps when the user shuts
//! down. Its header (`PO_MEMORY_IMAGE`) starts with a signature, and since
//! Windows 10 has a byte `Hiberboot` that tells the two apart, at a place that
//! depends on the version and so on the header's length. Windows zeroes the
//! header when it has resumed.

use super::mft::{Mft, file};
use super::record::{Form, Record, Reference, kind, restore_sectors};
use crate::ondisk::{Fields, FormatError};

/// What kind of sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sleep {
    /// The user chose Hibernate.
    Hibernated,
    /// The user chose Shut down, and Windows kept its own half.
    FastStartup,
    /// One of the two: the header is of a version that is not known.
    Either,
    /// Windows began to resume. It may do so again.
    Resuming,
    /// There is something else in the file.
    Unknown,
}

pub(super) const NAME: &str = "hiberfil.sys";

/// The root folder of a disk in use has a few kilobytes.
const MAX_INDEX: u64 = 64 << 20;

/// The part of the header that is looked at.
const HEADER: usize = 4096;

/// The sleep of the volume, by the root folder.
pub(super) fn find(mft: &Mft) -> Result<Option<Sleep>, FormatError> {
    let mut found = None;
    for reference in in_root(mft)? {
        if is_current(mft, reference)? {
            found = found.or(of_file(mft, reference.number)?);
        }
    }
    Ok(found)
}

/// False if a name is left over from a file that is gone, whose record may be
/// another's by now. One that cannot be parsed is left to the walk over all.
fn is_current(mft: &Mft, reference: Reference) -> Result<bool, FormatError> {
    if reference.number >= mft.records() {
        return Ok(false);
    }
    let mut own = mft.read(reference.number)?;
    Ok(own.parse().is_ok_and(|record| record.in_use && record.sequence == reference.sequence))
}

/// The files of that name in the root folder. Every index block is looked at,
/// even those that are no longer part of the tree: which names are real, the
/// records say.
fn in_root(mft: &Mft) -> Result<Vec<Reference>, FormatError> {
    let mut found = Vec::new();
    let mut own = mft.read(file::ROOT)?;
    let root = own.parse()?;
    for attribute in root.attributes() {
        let attribute = attribute?;
        if attribute.kind == kind::INDEX_ROOT
            && attribute.is_named("$I30")
            && let Form::Resident(value) = attribute.form
        {
            entries(value.get(0x10..).unwrap_or_default(), &mut found);
        }
    }
    let blocks = mft.stream("root folder", file::ROOT, kind::INDEX_ALLOCATION, "$I30")?;
    let Some(blocks) = blocks else { return Ok(found) };
    // Each block says itself how long it is; 512 bytes is the shortest.
    let bytes = blocks.read_all(mft.volume, mft.boot, MAX_INDEX)?;
    let mut offset: usize = 0;
    while let Some(head) = bytes.bytes_at(offset, 512) {
        let mut len: usize = 512;
        if head.bytes_at(0, 4) == Some(b"INDX") {
            // 0x18 bytes before the index header, which has its allocated size.
            let size = head.u32_le(0x20).and_then(|size| usize::try_from(size).ok());
            len = size.and_then(|size| size.checked_add(0x18)).unwrap_or(0).max(512);
            let mut block = bytes.bytes_at(offset, len).unwrap_or(head).to_vec();
            // One that was not written whole cannot be told from one that is no
            // longer used; the walk over all records sees what is missed here.
            let place = blocks.place(mft.boot, u64::try_from(offset).unwrap_or(u64::MAX));
            if restore_sectors("index block", place, &mut block).is_ok() {
                entries(block.get(0x18..).unwrap_or_default(), &mut found);
            }
        }
        offset = offset.saturating_add(len);
    }
    Ok(found)
}

/// Adds the entries of an index that have the name.
fn entries(index: &[u8], found: &mut Vec<Reference>) {
    /// More than one is not possible, a few are tolerated.
    const MOST: usize = 16;
    let Some(mut offset) = index.u32_le(0).and_then(|offset| usize::try_from(offset).ok()) else {
        return;
    };
    while let Some(entry) = index.get(offset..) {
        let Some(len) = entry.u16_le(0x08).map(usize::from).filter(|len| *len >= 0x10) else {
            return;
        };
        let key_len = entry.u16_le(0x0a).map_or(0, usize::from);
        if let Some((_, true)) = entry.bytes_at(0x10, key_len).and_then(file_name)
            && let Some(raw) = entry.u64_le(0)
            && found.len() < MOST
        {
            found.push(Reference::parse(raw));
        }
        // The last entry has no name.
        if entry.u16_le(0x0c).is_none_or(|flags| flags & 2 != 0) {
            return;
        }
        offset = offset.saturating_add(len);
    }
}

/// The folder that a `$FILE_NAME` is in, and whether it is the one looked for.
fn file_name(value: &[u8]) -> Option<(Reference, bool)> {
    let parent = Reference::parse(value.u64_le(0)?);
    let len = usize::from(value.u8_at(0x40)?);
    let units = value.bytes_at(0x42, len.checked_mul(2)?)?.chunks_exact(2);
    let is_it = len == NAME.len()
        && units.zip(NAME.bytes()).all(|(unit, wanted)| {
            unit.u16_le(0)
                .and_then(|unit| u8::try_from(unit).ok())
                .is_some_and(|unit| unit.eq_ignore_ascii_case(&wanted))
        });
    Some((parent, is_it))
}

/// True if a record says that its file has the name, in the root folder.
pub(super) fn is_named(record: &Record) -> Result<bool, FormatError> {
    for attribute in record.attributes() {
        let attribute = attribute?;
        if attribute.kind == kind::FILE_NAME
            && let Some((parent, true)) = attribute.resident().and_then(file_name)
            && parent.number == file::ROOT
        {
            return Ok(true);
        }
        if attribute.kind > kind::FILE_NAME {
            break;
        }
    }
    Ok(false)
}

/// The sleep that a file of that name holds.
pub(super) fn of_file(mft: &Mft, number: u64) -> Result<Option<Sleep>, FormatError> {
    let mut own = mft.read(number)?;
    let record = own.parse()?;
    if !record.in_use {
        return Ok(None);
    }
    if let Some(base) = record.base {
        return header(mft, base.number);
    }
    header(mft, number)
}

fn header(mft: &Mft, number: u64) -> Result<Option<Sleep>, FormatError> {
    let Some(data) = mft.stream(NAME, number, kind::DATA, "")? else { return Ok(None) };
    if data.flags != 0 {
        // Windows reads it before it can unpack anything.
        return Ok(Some(Sleep::Unknown));
    }
    let len = usize::try_from(data.bytes).unwrap_or(HEADER).min(HEADER);
    let mut bytes = vec![0; len];
    data.read(mft.volume, mft.boot, 0, &mut bytes)?;
    Ok(sleep(&bytes))
}

/// What a header means.
pub(super) fn sleep(header: &[u8]) -> Option<Sleep> {
    if header.iter().all(|byte| *byte == 0) {
        return None;
    }
    Some(match header.bytes_at(0, 4).unwrap_or_default() {
        // Up to Windows 7, which has no Fast Startup.
        b"hibr" => Sleep::Hibernated,
        b"HIBR" => hiberboot(header),
        b"wake" | b"WAKE" | b"RSTR" => Sleep::Resuming,
        _ => Sleep::Unknown,
    })
}

/// `Hiberboot` of a 64-bit header of Windows 10 or 11.
fn hiberboot(header: &[u8]) -> Sleep {
    // The size of pages confirms that the fields are where they are thought.
    if header.u32_le(0x18) != Some(0x1000) {
        return Sleep::Either;
    }
    let offset = match header.u32_le(0x0c) {
        Some(0x3c8) => 0x354,
        Some(0x3d8 | 0x3e0) => 0x364,
        Some(0x448) => 0x3cc,
        _ => return Sleep::Either,
    };
    match header.u8_at(offset) {
        Some(0) => Sleep::Hibernated,
        Some(1) => Sleep::FastStartup,
        _ => Sleep::Either,
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The content of a file, copied: what is not stored, or zero, becomes a hole.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::fs::Files;
use crate::fs::files::Node;
use crate::pipeline::Cancel;

/// How much is read at once.
const PIECE: u64 = 1 << 20;
/// Zeros are looked for in units of this many bytes.
const UNIT: usize = 64 << 10;

/// Where a content is read from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Content<'a> {
    /// The content of a file.
    Main,
    /// The stream of this name.
    Stream(&'a [u8]),
}

/// Why a content could not be copied.
#[derive(Debug)]
pub(super) enum Failure {
    /// It cannot be read: this file is lost.
    Read(Error),
    /// It cannot be written.
    Write(io::Error),
    /// The user has stopped it.
    Stopped(Error),
}

/// Gives the `size` bytes of a content to `take`, at their offsets and in order;
/// holes are left out.
///
/// # Errors
/// As they come; none of `take` is given without its bytes being read.
pub(super) fn read(
    files: &dyn Files,
    node: Node,
    content: Content,
    size: u64,
    buffer: &mut Vec<u8>,
    cancel: &Cancel,
    take: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
) -> Result<(), Failure> {
    let lost = |error: crate::ondisk::FormatError| Failure::Read(error.into());
    let stored = match content {
        Content::Main => files.data_ranges(node).map_err(lost)?,
        Content::Stream(_) => None,
    };
    let stored = stored.unwrap_or_else(|| ExtentSet::all(size));
    for piece in stored.within(Extent::new(0, size)).flat_map(|extent| extent.pieces(PIECE)) {
        cancel.check().map_err(Failure::Stopped)?;
        // At most PIECE.
        buffer.resize(piece.len() as usize, 0);
        let mut done = 0;
        while done < buffer.len() {
            let offset = piece.start() + done as u64;
            let rest = buffer.get_mut(done..).unwrap_or_default();
            let read = match content {
                Content::Main => files.read_at(node, offset, rest),
                Content::Stream(name) => files.read_stream_at(node, name, offset, rest),
            };
            match read.map_err(lost)? {
                0 => {
                    return Err(Failure::Read(Error::damaged(format!(
                        "it ends at byte {offset} of {size}"
                    ))));
                }
                read => done += read,
            }
        }
        take(piece.start(), buffer).map_err(Failure::Write)?;
    }
    Ok(())
}

/// Writes bytes, but leaves zeros out.
pub(super) fn write_sparse(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let mut start = 0;
    for (n, unit) in bytes.chunks(UNIT).enumerate() {
        let at = n * UNIT;
        if unit.iter().all(|byte| *byte == 0) {
            write(file, offset, bytes, start, at)?;
            start = at + unit.len();
        }
    }
    write(file, offset, bytes, start, bytes.len())
}

fn write(file: &File, offset: u64, bytes: &[u8], start: usize, end: usize) -> io::Result<()> {
    match bytes.get(start..end) {
        None | Some([]) => Ok(()),
        Some(bytes) => file.write_all_at(bytes, offset + start as u64),
    }
}

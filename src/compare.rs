// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares every stored range of an image with a disk.

use crate::device::AlignedBuffer;
use crate::error::{Context, Result};
use crate::extent::{Extent, ExtentSet};
use crate::io::ReadAt;
use crate::pipeline::{self, Cancel};
use crate::progress::{Event, Progress};
use crate::restore::{Feed, Piece};
use crate::save::range;

/// Differences are told in units of this many bytes.
const UNIT: u64 = 512;

/// What a comparison has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// The stored bytes that were compared.
    pub bytes: u64,
    /// The ranges of the image's disk that differ.
    pub different: ExtentSet,
}

/// Compares the stored bytes of `feed` inside `window` with `disk`, on which
/// the window's first byte is byte 0.
///
/// # Errors
/// If one of them cannot be read, or the image is damaged.
pub fn run(
    feed: &dyn Feed,
    window: Extent,
    disk: &dyn ReadAt,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<Compared> {
    let used: ExtentSet = feed.head().used.within(window).collect();
    progress.stage("comparing", used.bytes());
    let mut compared = Compared::default();
    let worker = || -> Result<_> {
        let mut decoder = feed.decoder()?;
        let mut buffer = AlignedBuffer::new(0);
        let used = &used;
        Ok(move |piece: Piece| {
            let extent = piece.extent;
            let content = decoder.decode(piece)?;
            let mut different = ExtentSet::new();
            let mut bytes = 0;
            for part in used.within(extent) {
                for part in part.pieces(8 << 20) {
                    cancel.check()?;
                    bytes += part.len();
                    let offset = part.start() - window.start();
                    // Bytes behind the end of the disk are not on it.
                    let there = part
                        .intersect(&Extent::at(part.start(), disk.len().saturating_sub(offset)));
                    different.insert(Extent::new(there.end(), part.end()));
                    buffer.set_len(there.len() as usize);
                    if there.is_empty() {
                        continue;
                    }
                    disk.read_at(offset, buffer.as_mut_slice())
                        .context(|| format!("reading {there} of the disk"))?;
                    let wanted = content.bytes.map(|bytes| &bytes[range(extent.start(), there)]);
                    differences(there.start(), wanted, buffer.as_slice(), &mut different);
                }
            }
            Ok((bytes, different))
        })
    };
    let jobs = || loop {
        match feed.next_piece()? {
            Some(piece) if !piece.extent.overlaps(&window) => {}
            piece => return Ok(piece),
        }
    };
    pipeline::run(pipeline::default_threads(), cancel, jobs, worker, |(bytes, different)| {
        compared.bytes += bytes;
        progress.advance(bytes);
        for extent in different.iter() {
            progress.note(&Event::Mismatch { extent });
        }
        compared.different.extend(different.iter());
        Ok(())
    })?;
    Ok(compared)
}

fn differences(start: u64, wanted: Option<&[u8]>, found: &[u8], out: &mut ExtentSet) {
    let zeros = [0; UNIT as usize];
    if wanted.is_some_and(|wanted| wanted == found) {
        return;
    }
    for (n, found) in found.chunks(UNIT as usize).enumerate() {
        let at = n * UNIT as usize;
        let same = match wanted {
            Some(wanted) => &wanted[at..at + found.len()] == found,
            None => zeros[..found.len()] == *found,
        };
        if !same {
            out.insert(Extent::at(start + at as u64, found.len() as u64));
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bytes of a disk or partition as a sparse file, unpacked on all cores.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::error::{Context, Error, Result};
use crate::extent::Extent;
use crate::image::frame::is_zero;
use crate::pipeline::{self, Cancel};
use crate::progress::Progress;
use crate::restore::{Feed, Piece};

/// What is zero in pieces of this length is left out: a page, and the block of
/// most filesystems.
const BLOCK: usize = 4096;

/// Writes `window` of a disk to the start of a file, which is empty. Returns
/// how many bytes were written; all others are holes.
///
/// # Errors
/// Damaged if the image is; if the file cannot be written.
pub fn run(
    feed: &dyn Feed,
    window: Extent,
    file: &File,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<u64> {
    progress.stage("exporting", window.len());
    file.set_len(window.len()).context(|| "writing the file".into())?;
    let jobs = || loop {
        let piece = feed.next_piece()?;
        match piece {
            Some(piece) if piece.extent.end() <= window.start() => {}
            Some(piece) if piece.extent.start() >= window.end() && feed.may_stop() => {
                return Ok(None);
            }
            piece => return Ok(piece),
        }
    };
    let worker = || -> Result<_> {
        let mut decoder = feed.decoder()?;
        Ok(move |piece: Piece| {
            let extent = piece.extent;
            let part = extent.intersect(&window);
            let content = decoder.decode(piece)?;
            let mut written = 0;
            if let Some(bytes) = content.bytes.filter(|_| !part.is_empty()) {
                // OK because both are inside of the piece.
                let start = (part.start() - extent.start()) as usize;
                let bytes = bytes
                    .get(start..start + part.len() as usize)
                    .ok_or_else(|| Error::failed("a piece is shorter than it should be"))?;
                written = write(file, part.start() - window.start(), bytes)?;
            }
            Ok((part.len(), written))
        })
    };
    let mut total = 0;
    pipeline::run(pipeline::default_threads(), cancel, jobs, worker, |(len, written)| {
        total += written;
        progress.advance(len);
        Ok(())
    })?;
    Ok(total)
}

/// Writes the blocks that are not zero, as many as touch at once.
fn write(file: &File, offset: u64, bytes: &[u8]) -> Result<u64> {
    let mut written = 0;
    for run in runs(offset, bytes) {
        let what = || "writing the file".into();
        // OK because it is the position of a byte in memory.
        file.write_all_at(&bytes[run.clone()], offset + run.start as u64).context(what)?;
        written += run.len() as u64;
    }
    Ok(written)
}

/// The runs of blocks that are not zero; `offset` is that of the bytes in the
/// file, in whose blocks they are counted.
fn runs(offset: u64, bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        // OK because a block is short.
        let within = (offset + start as u64) as usize % BLOCK;
        let end = bytes.len().min(start + BLOCK - within);
        if !is_zero(&bytes[start..end]) {
            match runs.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => runs.push(start..end),
            }
        }
        start = end;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_the_blocks_that_are_not_zero() {
        let mut bytes = vec![0; 5 * BLOCK + 10];
        assert!(runs(0, &bytes).is_empty());
        bytes[BLOCK + 5] = 1;
        bytes[3 * BLOCK - 1] = 1;
        bytes[5 * BLOCK + 9] = 1;
        assert_eq!(runs(0, &bytes), [BLOCK..3 * BLOCK, 5 * BLOCK..5 * BLOCK + 10]);
        // The same bytes in a partition that begins elsewhere.
        let offset = BLOCK as u64 - 512;
        let ends = [(512, BLOCK + 512), (2 * BLOCK + 512, 3 * BLOCK + 512)];
        let mut expected: Vec<_> = ends.map(|(start, end)| start..end).into();
        expected.push(4 * BLOCK + 512..bytes.len());
        assert_eq!(runs(offset, &bytes), expected);
    }
}

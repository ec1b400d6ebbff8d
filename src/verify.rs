// SPDX-License-Identifier: MIT OR Apache-2.0
//! Decodes and hashes everything in an image.

use crate::error::Result;
use crate::pipeline::{self, Cancel};
use crate::progress::Progress;
use crate::restore::{Feed, Piece};

/// What was verified.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    /// The chunks and runs of zero chunks.
    pub pieces: u64,
    /// The bytes of content that were decoded and hashed.
    pub bytes: u64,
}

/// Decodes every piece and compares it with its hash.
///
/// # Errors
/// Damaged at the first piece that is.
pub fn run(feed: &dyn Feed, cancel: &Cancel, progress: &dyn Progress) -> Result<Verified> {
    progress.stage("verifying", feed.head().disk_len);
    let mut verified = Verified::default();
    let worker = || -> Result<_> {
        let mut decoder = feed.decoder()?;
        Ok(move |piece: Piece| {
            let len = piece.extent.len();
            let content = decoder.decode(piece)?;
            Ok((len, content.bytes.map_or(0, |bytes| bytes.len() as u64)))
        })
    };
    let jobs = || feed.next_piece();
    pipeline::run(pipeline::default_threads(), cancel, jobs, worker, |(len, bytes)| {
        verified.pieces += 1;
        verified.bytes += bytes;
        progress.advance(len);
        Ok(())
    })?;
    Ok(verified)
}

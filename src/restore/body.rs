// SPDX-License-Identifier: MIT OR Apache-2.0
//! The body of a restore: written piece by piece, then read back.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::{Feed, Fill, FreeSpace, Plan, mismatch};
use crate::device::AlignedBuffer;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::extent::{Extent, ExtentSet};
use crate::image::frame::is_zero;
use crate::io::WriteAt;
use crate::pipeline::{self, Cancel};
use crate::progress::{Event, Progress};
use crate::save::range;

/// Zeros are written and read back in pieces of this size.
const ZERO_PIECE: u64 = 8 << 20;

/// Unused space is zeroed or discarded in pieces of this size.
const FREE_PIECE: u64 = 256 << 20;
const CANNOT_DISCARD: &str = "the target cannot discard unused space";

/// How much is written between two hints to the kernel.
const PACE: u64 = 32 << 20;

/// How much of a hash is kept: against faults of a drive, not against somebody
/// who looks for two contents with one hash.
const KEPT_HASH: usize = 16;

/// What was written for a piece, to be read back. One is kept for every chunk
/// of the disk, so it is small.
#[derive(Debug, Clone, Copy)]
pub(super) struct WrittenPiece {
    /// The bytes of the image's disk.
    extent: Extent,
    /// The start of the BLAKE3 of the body's ranges in it; `None` if they are
    /// zero.
    hash: Option<[u8; KEPT_HASH]>,
}

/// The content of the ends, collected until they are written.
#[derive(Debug)]
pub(super) struct Held {
    extents: ExtentSet,
    contents: Mutex<BTreeMap<Extent, Vec<u8>>>,
}

impl Held {
    /// Nothing collected yet; what no piece gives is zero.
    pub(super) fn new(extents: &[Extent]) -> Self {
        let contents =
            extents.iter().map(|extent| (*extent, vec![0; extent.len() as usize])).collect();
        Self { extents: extents.iter().copied().collect(), contents: Mutex::new(contents) }
    }

    /// Keeps what `bytes`, which start at `base`, has of the ends.
    fn keep(&self, piece: Extent, bytes: &[u8]) {
        if !self.extents.touches(piece) {
            return;
        }
        let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        for (extent, content) in contents.iter_mut() {
            let part = extent.intersect(&piece);
            if !part.is_empty() {
                let from = &bytes[range(piece.start(), part)];
                content[range(extent.start(), part)].copy_from_slice(from);
            }
        }
    }

    /// What has to be written at the ends, in ascending order of the target,
    /// with the changes for a target of another size.
    pub(super) fn into_contents(self, plan: &Plan) -> Vec<(Extent, Vec<u8>)> {
        let contents = self.contents.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut ends: Vec<(Extent, Vec<u8>)> = contents
            .into_iter()
            .map(|(extent, content)| (plan.on_target(extent), content))
            .collect();
        let Some(relocation) = &plan.relocation else { return ends };
        for blank in relocation.blank.iter() {
            patch(&mut ends, blank.start(), &vec![0; blank.len() as usize]);
        }
        for (offset, bytes) in &relocation.writes {
            patch(&mut ends, *offset, bytes);
        }
        ends.sort_by_key(|(extent, _)| *extent);
        ends
    }
}

/// Lays `bytes` over the ends, as ranges of their own where there is none.
fn patch(ends: &mut Vec<(Extent, Vec<u8>)>, offset: u64, bytes: &[u8]) {
    let whole = Extent::at(offset, bytes.len() as u64);
    let mut rest = ExtentSet::from(whole);
    for (extent, content) in ends.iter_mut() {
        let part = extent.intersect(&whole);
        if !part.is_empty() {
            content[range(extent.start(), part)].copy_from_slice(&bytes[range(offset, part)]);
            rest = rest.subtract(&part.into());
        }
    }
    for part in rest.iter() {
        ends.push((part, bytes[range(offset, part)].to_vec()));
    }
}

/// Hands what was written to the medium while the rest is still decoded.
#[derive(Debug, Default)]
struct Pace {
    handed: u64,
}

impl Pace {
    /// Everything in front of `position` has been written.
    fn written(&mut self, position: u64, target: &dyn WriteAt) {
        if position.saturating_sub(self.handed) < PACE {
            return;
        }
        // What was handed over the last time is on the medium by now, and is
        // forgotten this time.
        target.write_back(Extent::new(self.handed.saturating_sub(PACE), position));
        self.handed = position;
    }
}

/// The body of one restore.
pub(super) struct Body<'a> {
    pub(super) plan: &'a Plan,
    pub(super) target: &'a dyn WriteAt,
    pub(super) fill: Fill,
    pub(super) cancel: &'a Cancel,
    pub(super) progress: &'a dyn Progress,
}

impl Body<'_> {
    /// Writes all pieces, and says what to expect when they are read back.
    pub(super) fn write(&self, feed: &dyn Feed, held: &Held) -> Result<Vec<WrittenPiece>> {
        let plan = self.plan;
        self.progress.stage("restoring", plan.body.bytes());
        let mut pieces = Vec::new();
        let (mut region, mut pace) = (None, Pace::default());
        let worker = || -> Result<_> {
            let mut decoder = feed.decoder()?;
            Ok(move |piece: super::Piece| -> Result<WrittenPiece> {
                let extent = piece.extent;
                let content = decoder.decode(piece)?;
                let Some(bytes) = content.bytes else {
                    self.write_zeros(extent)?;
                    return Ok(WrittenPiece { extent, hash: None });
                };
                let filled = self.filled(feed, extent, bytes)?;
                let (bytes, hash) = match &filled {
                    Some(filled) => (filled.as_slice(), blake3::hash(filled).into()),
                    None => (bytes, content.hash),
                };
                held.keep(extent, bytes);
                let whole = self.write_bytes(extent, bytes, hash)?;
                let mut hash = [0; KEPT_HASH];
                hash.copy_from_slice(&whole[..KEPT_HASH]);
                Ok(WrittenPiece { extent, hash: Some(hash) })
            })
        };
        let jobs = || -> Result<Option<super::Piece>> {
            // Pieces outside of the window are not even fetched.
            while let Some(piece) = feed.next_piece()? {
                if piece.extent.overlaps(&plan.window) {
                    return Ok(Some(piece));
                }
                if piece.extent.start() >= plan.window.end() && feed.may_stop() {
                    break;
                }
            }
            Ok(None)
        };
        pipeline::run(pipeline::default_threads(), self.cancel, jobs, worker, |piece| {
            let found = feed.head().about.layout.region_at(piece.extent.start());
            if let Some(found) = found
                && region.replace(found.extent.start()) != Some(found.extent.start())
            {
                self.progress.note(&Event::Position(found.title()));
            }
            self.progress.advance(bytes_in(&plan.body, piece.extent));
            pace.written(plan.on_target(piece.extent).end(), self.target);
            pieces.push(piece);
            Ok(())
        })?;
        Ok(pieces)
    }

    /// The bytes of a piece with what could not be read filled, if there is
    /// something of it and it is not to be zero.
    fn filled(&self, feed: &dyn Feed, piece: Extent, bytes: &[u8]) -> Result<Option<Vec<u8>>> {
        if self.fill == Fill::Zeros {
            return Ok(None);
        }
        let losses = feed.losses_in(piece)?;
        if losses.is_empty() {
            return Ok(None);
        }
        let mut filled = bytes.to_vec();
        for loss in losses {
            self.fill.fill(loss.start(), &mut filled[range(piece.start(), loss)]);
        }
        Ok(Some(filled))
    }

    fn write_bytes(&self, piece: Extent, bytes: &[u8], hash: [u8; 32]) -> Result<[u8; 32]> {
        let plan = self.plan;
        for part in plan.body.within(piece) {
            let target = plan.on_target(part);
            self.target
                .write_at(target.start(), &bytes[range(piece.start(), part)])
                .context(|| format!("writing {target} of the target"))?;
        }
        if plan.body.covers(piece) {
            return Ok(hash);
        }
        let mut hasher = blake3::Hasher::new();
        for part in plan.body.within(piece) {
            hasher.update(&bytes[range(piece.start(), part)]);
        }
        Ok(hasher.finalize().into())
    }

    /// Writes zeros where zeros are stored; "not stored" is something else.
    fn write_zeros(&self, piece: Extent) -> Result<()> {
        if self.plan.target_is_zero {
            return Ok(());
        }
        for part in self.plan.body.within(piece) {
            for part in part.pieces(ZERO_PIECE) {
                self.cancel.check()?;
                let target = self.plan.on_target(part);
                self.target
                    .zero(target)
                    .context(|| format!("writing zeros to {target} of the target"))?;
            }
        }
        Ok(())
    }

    /// Reads everything back and compares it with what was to be written.
    pub(super) fn read_back(&self, pieces: &[WrittenPiece]) -> Result<()> {
        let plan = self.plan;
        self.progress.stage("reading back", plan.body.bytes());
        let mut left = pieces.iter();
        let worker = || -> Result<_> {
            let mut buffer = AlignedBuffer::new(0);
            Ok(move |piece: &WrittenPiece| {
                let extent = piece.extent;
                if !self.matches(piece, &mut buffer)? {
                    return Err(mismatch(plan.on_target(extent.intersect(&plan.window))));
                }
                Ok(bytes_in(&plan.body, extent))
            })
        };
        let jobs = || Ok(left.next());
        // Little but waiting for the medium: more requests under way help.
        pipeline::run(2 * pipeline::default_threads(), self.cancel, jobs, worker, |bytes| {
            self.progress.advance(bytes);
            Ok(())
        })
    }

    fn matches(&self, piece: &WrittenPiece, buffer: &mut AlignedBuffer) -> Result<bool> {
        if piece.hash.is_none() && self.plan.target_is_zero {
            return Ok(true);
        }
        let mut hasher = blake3::Hasher::new();
        for part in self.plan.body.within(piece.extent) {
            for part in part.pieces(ZERO_PIECE) {
                self.cancel.check()?;
                let target = self.plan.on_target(part);
                buffer.set_len(target.len() as usize);
                self.target
                    .read_at(target.start(), buffer.as_mut_slice())
                    .context(|| format!("reading back {target} of the target"))?;
                match piece.hash {
                    None if !is_zero(buffer.as_slice()) => return Ok(false),
                    None => {}
                    Some(_) => {
                        hasher.update(buffer.as_slice());
                    }
                }
            }
        }
        Ok(piece.hash.is_none_or(|hash| hasher.finalize().as_bytes()[..KEPT_HASH] == hash))
    }

    /// Does what was asked about the unused bytes.
    pub(super) fn free_space(&self) -> Result<()> {
        let plan = self.plan;
        if plan.free_space == FreeSpace::Leave || plan.target_is_zero {
            return Ok(());
        }
        let zero = plan.free_space == FreeSpace::Zero;
        let name = if zero { "zeroing unused space" } else { "discarding unused space" };
        self.progress.stage(name, plan.free.bytes());
        for part in plan.free.iter().flat_map(|extent| extent.pieces(FREE_PIECE)) {
            self.cancel.check()?;
            let target = plan.on_target(part);
            if zero {
                self.target.zero(target).context(|| name.into())?;
            } else {
                let problem = match self.target.discard(target) {
                    Ok(true) => None,
                    Ok(false) => Some(Error::new(ErrorKind::Unsupported, CANNOT_DISCARD)),
                    Err(error) => Some(error),
                };
                match problem {
                    None => {}
                    // Nobody asked for it, and nothing is lost without it.
                    Some(error) if plan.free_space == FreeSpace::Auto => {
                        let text = format!("unused space is left as it is: {error}");
                        self.progress.note(&Event::Notice(text));
                        break;
                    }
                    Some(error) => {
                        let hint = "restore with --free leave or --free zero";
                        return Err(error.hint(hint));
                    }
                }
            }
            self.progress.advance(part.len());
        }
        self.target.flush()
    }
}

fn bytes_in(set: &ExtentSet, extent: Extent) -> u64 {
    set.within(extent).map(|part| part.len()).sum()
}

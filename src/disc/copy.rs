// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bringing home the bytes of a disc: front to back as long as nothing fails,
//! hashed on the way; and as a drive that is failing is read from the first
//! error on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::digest::{self, Digests, PIECE};
use super::drive::Drive;
use super::output::Output;
use super::same::{self, Sameness};
use super::volume::SECTOR;
use crate::error::Result;
use crate::extent::{Extent, ExtentSet};
use crate::io::rescue::{self, Blocks, Mapfile, Passes, Phase, Settings, State, Status};
use crate::io::{ReadAt, WriteAt as _};
use crate::pipeline::Cancel;
use crate::progress::{Event, Progress};

/// How often it is written down what was read.
const SAVE_EVERY: Duration = Duration::from_secs(30);

/// A disc that is being read.
pub(super) struct Copying<'a> {
    out: &'a mut Output,
    blocks: Blocks,
    phase: Phase,
    len: u64,
    /// The bytes that the disc has; all others are between its sessions.
    domain: ExtentSet,
    retries: u32,
    saved: Instant,
    cancel: &'a Cancel,
    progress: &'a dyn Progress,
}

impl<'a> Copying<'a> {
    /// A disc of `len` bytes, those of `gaps` not; `known` says what was read
    /// before.
    pub(super) fn new(
        out: &'a mut Output,
        (len, gaps): (u64, &ExtentSet),
        known: Option<&Mapfile>,
        retries: u32,
        cancel: &'a Cancel,
        progress: &'a dyn Progress,
    ) -> Self {
        let domain = gaps.complement(len);
        let known = known.map_or(&[][..], |map| &map.blocks);
        let blocks = Blocks::new(len, known).with_domain(&domain);
        let (phase, saved) = (Phase::Copying, Instant::now());
        Self { out, blocks, phase, len, domain, retries, saved, cancel, progress }
    }

    /// Reads a disc of which nothing is known front to back, up to the first
    /// error. Returns the hashes of what the file then is, if there was none.
    pub(super) fn straight(&mut self, drive: &dyn Drive) -> Result<Option<Digests>> {
        let there = Extent::new(0, drive.len());
        let (is_whole, digests) = digest::hash(|feed| {
            for piece in Extent::new(0, self.len).pieces(PIECE) {
                self.check()?;
                // At most PIECE.
                let mut bytes = vec![0; piece.len() as usize];
                let parts = self.domain.within(piece.intersect(&there));
                let parts: Vec<Extent> = parts.filter(|part| !part.is_empty()).collect();
                for part in parts {
                    let from = (part.start() - piece.start()) as usize;
                    let bytes = &mut bytes[from..from + part.len() as usize];
                    match drive.read_at(part.start(), bytes) {
                        Ok(()) => {}
                        Err(error) if error.is_media_error() => return Ok(false),
                        Err(error) => return Err(error),
                    }
                    self.out.file().write_at(part.start(), bytes)?;
                    self.blocks.set(part, Status::Finished);
                }
                feed.bytes(bytes)?;
                self.progress.advance(piece.len());
            }
            Ok(true)
        })?;
        Ok(is_whole.then_some(digests))
    }

    /// Reads from `drive` what was not tried yet, in the order that brings home
    /// most.
    pub(super) fn rescue(&mut self, drive: &dyn Drive) -> Result<()> {
        let there = self.domain.within(Extent::new(0, drive.len())).collect();
        let blocks = self.blocks.clone().with_domain(&there);
        self.passes(drive, blocks)
    }

    /// Reads from `drive` everything that is missing, once more or for the first
    /// time there, and returns how many bytes that brought.
    pub(super) fn fill(&mut self, drive: &dyn Drive) -> Result<u64> {
        let before = self.missing();
        let there: ExtentSet = before.within(Extent::new(0, drive.len())).collect();
        let mut blocks = self.blocks.clone().with_domain(&there);
        there.iter().for_each(|extent| blocks.set(extent, Status::NonTried));
        self.passes(drive, blocks)?;
        Ok(before.bytes() - self.missing().bytes())
    }

    fn passes(&mut self, drive: &dyn Drive, blocks: Blocks) -> Result<()> {
        let store = Arc::clone(self.out.file());
        let mut listener = Listener {
            out: self.out,
            cancel: self.cancel,
            progress: self.progress,
            done: blocks.bytes(Status::Finished),
            title: String::new(),
            saved: Instant::now(),
        };
        let mut state = State { blocks, ..State::new(self.len, None) };
        let settings = Settings { retries: self.retries, ..Settings::new(drive.len(), SECTOR) };
        let mut patient = Patient { drive, began: Instant::now() };
        let mut listen = |state: &State| listener.told(state);
        let passes = Passes::new(&mut patient, &*store, settings, &mut state, &mut listen);
        let result = passes.run();
        self.phase = state.phase;
        // What was read is there, whatever came after it.
        self.blocks = state.blocks.with_domain(&self.domain);
        result.map(drop)
    }

    /// Compares what is there with another copy of the disc.
    pub(super) fn compare(&self, drive: &dyn Drive) -> Result<Sameness> {
        let there = self.blocks.of(Status::Finished);
        same::compare(&**self.out.file(), &there, drive, self.cancel)
    }

    /// What of the disc is not there.
    pub(super) fn missing(&self) -> ExtentSet {
        self.domain.subtract(&self.blocks.of(Status::Finished))
    }

    /// What became of it, to be kept.
    pub(super) fn map(&self) -> Mapfile {
        let state = State { blocks: self.blocks.clone(), ..State::new(self.len, None) };
        State { phase: self.phase, ..state }.mapfile(comments())
    }

    /// Writes it down.
    pub(super) fn save_map(&mut self) -> Result<()> {
        let map = self.map();
        self.out.save_map(&map)
    }

    fn check(&mut self) -> Result<()> {
        self.cancel.check()?;
        if self.saved.elapsed() >= SAVE_EVERY {
            self.save_map()?;
            self.saved = Instant::now();
        }
        Ok(())
    }
}

/// What is told while a disc is rescued.
struct Listener<'a> {
    out: &'a mut Output,
    cancel: &'a Cancel,
    progress: &'a dyn Progress,
    done: u64,
    title: String,
    saved: Instant,
}

impl Listener<'_> {
    fn told(&mut self, state: &State) -> Result<()> {
        let done = state.blocks.bytes(Status::Finished);
        self.progress.advance(done.saturating_sub(self.done));
        self.done = done;
        let title = if state.is_gone { "waiting for the drive".into() } else { state.title() };
        if title != self.title {
            self.progress.note(&Event::Position(title.clone()));
            self.title = title;
        }
        if self.saved.elapsed() >= SAVE_EVERY {
            self.out.save_map(&state.mapfile(comments()))?;
            self.saved = Instant::now();
        }
        self.cancel.check()
    }
}

/// A drive that is rescued: one that has gone is not opened again, but waited
/// for.
struct Patient<'a> {
    drive: &'a dyn Drive,
    began: Instant,
}

impl rescue::Drive for Patient<'_> {
    fn reader(&self) -> &dyn ReadAt {
        self.drive
    }

    fn reopen(&mut self) -> Result<bool> {
        Ok(true)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// The head of the map.
fn comments() -> Vec<String> {
    vec![format!("Mapfile. Created by dacapo {}", env!("CARGO_PKG_VERSION"))]
}

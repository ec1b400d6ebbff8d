// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bringing home the bytes of a disc: front to back as long as nothing fails,
//! hashed on the way; and as a drive that is failing is read from the first
//! error on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::digest::{self, Digests, PIECE};
use super::drive::Drive;
use super::output::Output;
use super::read::Options;
use super::same::{self, Sameness};
use super::volume::SECTOR;
use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::io::rescue::{self, Blocks, Mapfile, Passes, Phase, Settings, State, Status};
use crate::io::{ReadAt, WriteAt as _, attend};
use crate::pipeline::Cancel;
use crate::progress::{Event, Progress};

/// How often it is written down what was read.
const SAVE_EVERY: Duration = Duration::from_secs(30);

/// What a disc is, as far as it matters to whoever reads it.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// Its length in bytes.
    pub(super) len: u64,
    /// The bytes that are not there: between its sessions.
    pub(super) gaps: ExtentSet,
    /// The bytes of a sector.
    pub(super) sector: u64,
    /// The bytes that are sound, which need not be the same each time.
    pub(super) sound: ExtentSet,
}

impl Shape {
    /// A disc of data.
    pub(super) const fn plain(len: u64, gaps: ExtentSet) -> Self {
        Self { len, gaps, sector: SECTOR, sound: ExtentSet::new() }
    }
}

/// Another copy of the disc.
pub(super) struct Other<'a> {
    pub(super) drive: Box<dyn Drive + 'a>,
    /// True if something else than its sectors says that it is one.
    pub(super) is_known: bool,
}

/// What came of the bytes of a disc.
pub(super) struct Copied {
    /// The hashes, if all was read front to back.
    pub(super) digests: Option<Digests>,
    /// The other copies that have filled something.
    pub(super) merged: Vec<String>,
}

/// A disc that is being read.
pub(super) struct Copying<'a> {
    out: &'a mut Output,
    shape: &'a Shape,
    blocks: Blocks,
    phase: Phase,
    /// True if something of it was read before.
    is_resumed: bool,
    /// The bytes that the disc has; all others are between its sessions.
    domain: ExtentSet,
    options: &'a Options,
    saved: Instant,
    cancel: &'a Cancel,
    progress: &'a dyn Progress,
}

impl<'a> Copying<'a> {
    /// A disc of which `known` says what was read before.
    pub(super) fn new(
        out: &'a mut Output,
        shape: &'a Shape,
        known: Option<&Mapfile>,
        options: &'a Options,
        cancel: &'a Cancel,
        progress: &'a dyn Progress,
    ) -> Self {
        let domain = shape.gaps.complement(shape.len);
        let is_resumed = known.is_some();
        let known = known.map_or(&[][..], |map| &map.blocks);
        let blocks = Blocks::new(shape.len, known).with_domain(&domain);
        let (phase, saved) = (Phase::Copying, Instant::now());
        Self { out, shape, blocks, phase, is_resumed, domain, options, saved, cancel, progress }
    }

    /// Reads all that `drive` gives, and what is missing then from the others.
    ///
    /// # Errors
    /// Those of a drive or of what is written; what was read until then is
    /// written down.
    pub(super) fn run(&mut self, drive: &dyn Drive, others: &[Other<'_>]) -> Result<Copied> {
        let copied = match self.copy(drive, others) {
            Ok(copied) => copied,
            // What has ended it counts, also if not even the map can be written.
            Err(error) if self.save_map().is_err() => return Err(error),
            Err(error) => return Err(self.options.with_way_on(error)),
        };
        if copied.digests.is_none() || !self.missing().is_empty() {
            // What comes now takes time, and a reading that was hard is not lost.
            self.save_map()?;
        }
        Ok(copied)
    }

    fn copy(&mut self, drive: &dyn Drive, others: &[Other<'_>]) -> Result<Copied> {
        let mut digests = None;
        if self.is_resumed {
            self.fill(drive)?;
        } else {
            let (cancel, progress) = (self.cancel, self.progress);
            digests =
                attend(drive, cancel, progress, |drive, progress| self.straight(drive, progress))?;
            if digests.is_none() {
                self.rescue(drive)?;
            }
        }
        let mut merged = Vec::new();
        for other in others {
            if self.missing().is_empty() {
                break;
            }
            let shown = other.drive.path().display().to_string();
            match self.compare(&*other.drive)? {
                Sameness::Same => {}
                Sameness::Differs(sector) => {
                    return Err(Error::refused(format!(
                        "{shown} is not the same disc: its sector {sector} differs"
                    ))
                    .hint(
                        "only another copy of the same disc can fill what is missing: leave it out",
                    ));
                }
                Sameness::Untold if other.is_known => {}
                Sameness::Untold => return Err(same::untold(&shown)),
                Sameness::UntoldSound => return Err(same::untold_sound(&shown)),
            }
            if self.fill(&*other.drive)? > 0 {
                merged.push(shown);
                digests = None;
            }
        }
        Ok(Copied { digests, merged })
    }

    /// Reads a disc of which nothing is known front to back, up to the first
    /// error. Returns the hashes of what the file then is, if there was none.
    fn straight(&mut self, drive: &dyn ReadAt, progress: &dyn Progress) -> Result<Option<Digests>> {
        // One that hangs from the beginning can be gone on with, too.
        self.save_map()?;
        let there = Extent::new(0, drive.len());
        let piece = PIECE - PIECE % self.shape.sector;
        let (is_whole, digests) = digest::hash(|feed| {
            for piece in Extent::new(0, self.shape.len).pieces(piece) {
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
                progress.advance(piece.len());
            }
            Ok(true)
        })?;
        Ok(is_whole.then_some(digests))
    }

    /// Reads from `drive` what was not tried yet, in the order that brings home
    /// most.
    fn rescue(&mut self, drive: &dyn Drive) -> Result<()> {
        let there = self.domain.within(Extent::new(0, drive.len())).collect();
        let blocks = self.blocks.clone().with_domain(&there);
        self.passes(drive, blocks)
    }

    /// Reads from `drive` everything that is missing, once more or for the first
    /// time there, and returns how many bytes that brought.
    fn fill(&mut self, drive: &dyn Drive) -> Result<u64> {
        let before = self.missing();
        let there: ExtentSet = before.within(Extent::new(0, drive.len())).collect();
        let mut blocks = self.blocks.clone().with_domain(&there);
        there.iter().for_each(|extent| blocks.set(extent, Status::NonTried));
        self.passes(drive, blocks)?;
        Ok(before.bytes() - self.missing().bytes())
    }

    fn passes(&mut self, drive: &dyn Drive, blocks: Blocks) -> Result<()> {
        let (store, done) = (Arc::clone(self.out.file()), blocks.bytes(Status::Finished));
        let mut state = State { blocks, ..State::new(self.shape.len, None) };
        let settings = Settings::new(drive.len(), self.shape.sector);
        let settings = Settings { retries: self.options.retries, ..settings };
        let (cancel, out) = (self.cancel, &mut *self.out);
        let result = attend(drive, cancel, self.progress, |drive, progress| {
            let (title, saved) = (String::new(), Instant::now());
            let mut listener = Listener { out, cancel, progress, done, title, saved };
            let mut patient = Patient { drive, began: Instant::now() };
            let mut listen = |state: &State| listener.told(state);
            Passes::new(&mut patient, &*store, settings, &mut state, &mut listen).run()
        });
        self.phase = state.phase;
        // What was read is there, whatever came after it.
        self.blocks = state.blocks.with_domain(&self.domain);
        result.map(drop)
    }

    /// Compares what is there with another copy of the disc.
    fn compare(&self, drive: &dyn Drive) -> Result<Sameness> {
        let there = self.blocks.of(Status::Finished);
        same::compare(&**self.out.file(), &there, drive, self.shape, self.cancel)
    }

    /// What of the disc is not there.
    pub(super) fn missing(&self) -> ExtentSet {
        self.domain.subtract(&self.blocks.of(Status::Finished))
    }

    /// What became of it, to be kept.
    pub(super) fn map(&self) -> Mapfile {
        let state = State { blocks: self.blocks.clone(), ..State::new(self.shape.len, None) };
        State { phase: self.phase, ..state }.mapfile(comments())
    }

    /// Writes it down.
    fn save_map(&mut self) -> Result<()> {
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
    drive: &'a dyn ReadAt,
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

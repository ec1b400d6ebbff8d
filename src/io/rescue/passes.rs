// SPDX-License-Identifier: MIT OR Apache-2.0
//! The passes of a rescue.

use std::collections::BTreeMap;
use std::time::Duration;

use super::blocks::Blocks;
use super::mapfile::{Mapfile, Phase, Status};
use crate::device::AlignedBuffer;
use crate::error::{Error, ErrorKind, Result};
use crate::extent::{Extent, ExtentSet};
use crate::io::{ReadAt, WriteAt};

/// The passes that copy: 1 and 2 skip ahead of errors and slow areas, 3 and 4
/// read what was skipped as slow, 5 reads what is left.
const COPYING_PASSES: u32 = 5;
/// How many of them skip slow areas.
const SKIPPING_PASSES: u32 = 2;
/// After so many errors in a row the drive is asked whether it still answers:
/// where it could be read before, so that this costs no read of a bad area.
const ASK_AFTER: u64 = 16;
/// After so many, for the last time with a growing distance.
const ASK_EVERY: u64 = 4096;
/// So many times a drive that cannot be reached at one place is opened again;
/// then that place is bad. So is one after which it goes so often.
const REOPENED: u32 = 3;
/// In so many places that could be read the drive is asked, besides the last of
/// them, before it is called gone: some sectors are marginal.
const ASKED: u64 = 8;
/// How long to wait between two attempts to find a drive again.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A drive that is rescued.
pub trait Drive {
    /// Its bytes.
    fn reader(&self) -> &dyn ReadAt;

    /// Opens the drive again after it has gone; false if it is not back.
    ///
    /// # Errors
    /// If what is there now is another one, or in use.
    fn reopen(&mut self) -> Result<bool>;

    /// What of it was brought to the store when it was opened again, in order to
    /// compare it.
    fn fetched(&mut self) -> ExtentSet {
        ExtentSet::new()
    }

    /// The time since any moment in the past.
    fn now(&self) -> Duration;

    /// Lets time go by.
    fn pause(&self, time: Duration);
}

/// How a drive is rescued.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What is read at once, in bytes, as long as nothing fails.
    pub cluster: u64,
    /// What can fail alone: a sector.
    pub sector: u64,
    /// How far to skip after the first error.
    pub first_skip: u64,
    /// How far to skip at most.
    pub most_skip: u64,
    /// How many times bad sectors are tried again.
    pub retries: u32,
    /// When to end with what is there.
    pub most_time: Option<Duration>,
    /// How long a drive that has gone is waited for.
    pub patience: Duration,
    /// Before that, nothing is called slow.
    pub slow_after: Duration,
}

impl Settings {
    /// Those of ddrescue, for a drive of `len` bytes.
    #[must_use]
    pub fn new(len: u64, sector: u64) -> Self {
        // Whole sectors, also of 2352 bytes.
        let cluster = ((64 << 10_u64) / sector * sector).max(sector);
        let round = |skip: u64| skip.max(cluster).next_multiple_of(sector);
        Self {
            cluster,
            sector,
            first_skip: round(len / 100_000),
            most_skip: round(len / 100),
            retries: 0,
            most_time: None,
            patience: Duration::from_secs(300),
            slow_after: Duration::from_secs(30),
        }
    }
}

/// Where a rescue is.
#[derive(Debug, Clone)]
pub struct State {
    /// What became of each byte.
    pub blocks: Blocks,
    /// What is being done.
    pub phase: Phase,
    /// The pass of this phase, from 1 on.
    pub pass: u32,
    /// True if it goes towards the end of the drive.
    pub forward: bool,
    /// The byte that is being read; backwards, the end of that block.
    pub position: u64,
    /// How many reads there were.
    pub reads: u64,
    /// How many of them failed.
    pub read_errors: u64,
    /// The time since something was read, or the beginning.
    pub since_good: Duration,
    /// True while the drive does not answer.
    pub is_gone: bool,
}

impl State {
    /// A rescue that goes on where `map` says; of a drive of `len` bytes.
    #[must_use]
    pub fn new(len: u64, map: Option<&Mapfile>) -> Self {
        let known = map.map_or(&[][..], |map| &map.blocks);
        Self {
            blocks: Blocks::new(len, known),
            phase: map.map_or(Phase::Copying, |map| map.phase),
            pass: map.map_or(1, |map| map.pass),
            forward: true,
            position: map.map_or(0, |map| map.position),
            reads: 0,
            read_errors: 0,
            since_good: Duration::ZERO,
            is_gone: false,
        }
    }

    /// It as a mapfile.
    #[must_use]
    pub fn mapfile(&self, comments: Vec<String>) -> Mapfile {
        let mut map = Mapfile {
            comments,
            position: self.position,
            phase: self.phase,
            pass: self.pass,
            blocks: Vec::new(),
        };
        self.blocks.all().into_iter().for_each(|block| map.push(block));
        map
    }

    /// The bytes of the domain that are not there.
    #[must_use]
    pub fn lost(&self) -> ExtentSet {
        let statuses = Status::ALL.into_iter().filter(|status| *status != Status::Finished);
        statuses.fold(ExtentSet::new(), |lost, status| lost.union(&self.blocks.of(status)))
    }

    /// What is being done, in words: "copying, pass 2 backwards".
    #[must_use]
    pub fn title(&self) -> String {
        let way = if self.forward { "forwards" } else { "backwards" };
        match self.phase {
            Phase::Copying | Phase::Filling | Phase::Generating => {
                format!("copying, pass {} {way}", self.pass)
            }
            Phase::Trimming => "trimming the edges of what has failed".into(),
            Phase::Scraping => "scraping together what is left".into(),
            Phase::Retrying => format!("trying bad sectors again, pass {} {way}", self.pass),
            Phase::Finished => "finished".into(),
        }
    }
}

/// How a rescue has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All was tried.
    Finished,
    /// The time was over.
    OutOfTime,
}

enum Stop {
    OutOfTime,
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Told after every read, and while a drive is waited for; an error ends the
/// rescue.
pub type Listener<'a> = &'a mut dyn FnMut(&State) -> Result<()>;

/// A rescue that runs.
pub struct Passes<'a> {
    drive: &'a mut dyn Drive,
    store: &'a dyn WriteAt,
    settings: Settings,
    state: &'a mut State,
    listener: Listener<'a>,
    buffer: AlignedBuffer,
    began: Duration,
    pace: Pace,
    last_good_at: Duration,
    /// A sector that could be read.
    good_sector: Option<Extent>,
    errors_in_row: u64,
    /// What was said to have failed since the drive last answered, and what it
    /// was before: of a drive that has gone, nothing of it is true.
    doubtful: Vec<(Extent, Status)>,
    /// How many times the drive has gone at a place, by its start.
    gone_at: BTreeMap<u64, u32>,
    skipped_slow: bool,
}

impl std::fmt::Debug for Passes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passes").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl<'a> Passes<'a> {
    /// A rescue of `drive` to `store`, from where `state` is.
    pub fn new(
        drive: &'a mut dyn Drive,
        store: &'a dyn WriteAt,
        settings: Settings,
        state: &'a mut State,
        listener: Listener<'a>,
    ) -> Self {
        let now = drive.now();
        let buffer = AlignedBuffer::new(settings.cluster as usize);
        Self {
            drive,
            store,
            settings,
            state,
            listener,
            buffer,
            began: now,
            pace: Pace::new(now),
            last_good_at: now,
            good_sector: None,
            errors_in_row: 0,
            doubtful: Vec::new(),
            gone_at: BTreeMap::new(),
            skipped_slow: false,
        }
    }

    /// Reads all that can be read.
    ///
    /// # Errors
    /// If the drive has gone for good, `store` cannot be written, or the
    /// listener says so. What was read until then is in the state.
    pub fn run(mut self) -> Result<End> {
        match self.phases() {
            Ok(()) => Ok(End::Finished),
            Err(Stop::OutOfTime) => Ok(End::OutOfTime),
            Err(Stop::Error(error)) => Err(error),
        }
    }

    fn phases(&mut self) -> Result<(), Stop> {
        loop {
            self.copy()?;
            self.trim()?;
            self.scrape()?;
            self.retry()?;
            // A drive that has gone may have been found out late.
            if self.errors_in_row > 0 && !self.answers() {
                self.wait(&Error::failed("reads where it could be read fail"))?;
            }
            if [Status::NonTried, Status::NonTrimmed, Status::NonScraped]
                .into_iter()
                .all(|status| self.state.blocks.bytes(status) == 0)
            {
                break;
            }
            // Some of it lies in front of where this round has begun.
            self.begin(Phase::Copying, 1, true);
            self.state.position = 0;
            (self.listener)(self.state)?;
        }
        self.begin(Phase::Finished, 1, true);
        Ok(())
    }

    fn begin(&mut self, phase: Phase, pass: u32, forward: bool) {
        self.state.phase = phase;
        self.state.pass = pass;
        self.state.forward = forward;
    }

    fn copy(&mut self) -> Result<(), Stop> {
        let is_begun = self.state.phase == Phase::Copying;
        let first = if is_begun { self.state.pass.clamp(1, COPYING_PASSES) } else { 1 };
        // Nobody knows any more what a run before this one has skipped.
        self.skipped_slow = first > SKIPPING_PASSES;
        for pass in first..=COPYING_PASSES {
            let is_for_slow = (SKIPPING_PASSES + 1..COPYING_PASSES).contains(&pass);
            if is_for_slow && !self.skipped_slow {
                continue;
            }
            if self.state.blocks.bytes(Status::NonTried) == 0 {
                break;
            }
            let forward = pass % 2 == 1;
            let start = match (is_begun && pass == first, forward) {
                (true, true) => self.state.position,
                (true, false) if self.state.position > 0 => self.state.position,
                (_, true) => 0,
                (_, false) => u64::MAX,
            };
            self.begin(Phase::Copying, pass, forward);
            self.copying_pass(pass, start)?;
        }
        Ok(())
    }

    fn copying_pass(&mut self, pass: u32, start: u64) -> Result<(), Stop> {
        let forward = pass % 2 == 1;
        let (mut position, mut skip) = (start, 0_u64);
        while let Some(block) = self.next(Status::NonTried, position, forward) {
            let piece = edge(block, self.settings.cluster, forward);
            // Something else lies between, where it is not known how it goes on.
            if far_end(piece, !forward) != position {
                skip = 0;
            }
            let is_good = self.read(piece, Status::NonTrimmed)?;
            position = far_end(piece, forward);
            let is_slow = is_good && pass <= SKIPPING_PASSES && self.is_slow();
            self.skipped_slow |= is_slow;
            if is_good && !is_slow {
                skip = 0;
            } else if is_slow || pass == 1 {
                let next =
                    if skip == 0 { self.settings.first_skip } else { skip.saturating_mul(2) };
                skip = next.min(self.settings.most_skip);
                // Not beyond the end of what is to be read here.
                position = if forward {
                    position.saturating_add(skip).min(block.end())
                } else {
                    position.saturating_sub(skip).max(block.start())
                };
            } else if pass < COPYING_PASSES {
                position = far_end(block, forward);
            }
        }
        Ok(())
    }

    /// Reads what has failed from its edges up to the first bad sector.
    fn trim(&mut self) -> Result<(), Stop> {
        let mut position = 0;
        while let Some(block) = self.next(Status::NonTrimmed, position, true) {
            self.begin(Phase::Trimming, 1, true);
            position = block.end();
            for forward in [true, false] {
                let beside = if forward { block.start().checked_sub(1) } else { Some(block.end()) };
                if beside.and_then(|at| self.state.blocks.status_at(at)) == Some(Status::Bad) {
                    continue;
                }
                let mut from = if forward { block.start() } else { block.end() };
                while let Some(left) = self.next(Status::NonTrimmed, from, forward)
                    && block.contains(&left)
                {
                    let piece = edge(left, self.settings.sector, forward);
                    if !self.read(piece, Status::Bad)? {
                        break;
                    }
                    from = far_end(piece, forward);
                }
            }
            let left: Vec<Extent> = self
                .state
                .blocks
                .within(block)
                .filter(|it| it.status == Status::NonTrimmed)
                .map(|it| it.extent)
                .collect();
            for extent in left {
                self.state.blocks.set(extent, Status::NonScraped);
            }
        }
        Ok(())
    }

    /// Reads the inside of what has failed.
    fn scrape(&mut self) -> Result<(), Stop> {
        while let Some(block) = self.next(Status::NonScraped, 0, true) {
            self.begin(Phase::Scraping, 1, true);
            self.read(edge(block, self.settings.sector, true), Status::Bad)?;
        }
        Ok(())
    }

    /// Reads bad sectors again, each once in a pass.
    fn retry(&mut self) -> Result<(), Stop> {
        let is_begun = self.state.phase == Phase::Retrying;
        let before = if is_begun { self.state.pass.max(1) - 1 } else { 0 };
        let resumed = is_begun.then_some(self.state.position);
        for retry in 0..self.settings.retries {
            if self.state.blocks.bytes(Status::Bad) == 0 {
                break;
            }
            let pass = before.saturating_add(retry).saturating_add(1);
            let forward = pass % 2 == 1;
            self.begin(Phase::Retrying, pass, forward);
            let edge_of_drive = if forward { 0 } else { u64::MAX };
            let mut position = resumed.filter(|at| retry == 0 && *at > 0).unwrap_or(edge_of_drive);
            while let Some(block) = self.next(Status::Bad, position, forward) {
                let piece = edge(block, self.settings.sector, forward);
                self.read(piece, Status::Bad)?;
                position = far_end(piece, forward);
            }
        }
        Ok(())
    }

    fn next(&self, status: Status, position: u64, forward: bool) -> Option<Extent> {
        if forward {
            self.state.blocks.first_from(status, position)
        } else {
            self.state.blocks.last_before(status, position)
        }
    }

    /// Reads a piece; if that fails, it gets the status `failed`.
    fn read(&mut self, piece: Extent, failed: Status) -> Result<bool, Stop> {
        let mut reopened = 0;
        loop {
            if self.is_time_over() {
                return Err(Stop::OutOfTime);
            }
            self.state.position = if self.state.forward { piece.start() } else { piece.end() };
            // OK because a piece is at most a cluster.
            self.buffer.set_len(piece.len() as usize);
            let result = self.drive.reader().read_at(piece.start(), self.buffer.as_mut_slice());
            let now = self.drive.now();
            self.state.reads += 1;
            let is_good = match result {
                Ok(()) => {
                    self.store.write_at(piece.start(), self.buffer.as_slice())?;
                    self.state.blocks.set(piece, Status::Finished);
                    self.good_sector = Some(edge(piece, self.settings.sector, true));
                    self.last_good_at = now;
                    self.errors_in_row = 0;
                    self.doubtful.clear();
                    self.pace.read(piece.len(), now);
                    true
                }
                // Nothing is wrong with the drive.
                Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error.into()),
                Err(error) if !error.is_media_error() && self.is_time_over() => {
                    return Err(Stop::OutOfTime);
                }
                Err(error) => {
                    self.state.read_errors += 1;
                    self.errors_in_row += 1;
                    self.pace.read(0, now);
                    // Other errors are those of a drive that is not there any more.
                    let is_gone = if error.is_media_error() {
                        self.is_to_be_asked() && !self.answers()
                    } else {
                        reopened < REOPENED
                    };
                    if is_gone {
                        reopened += 1;
                        self.wait(&error)?;
                        continue;
                    }
                    let before = self.state.blocks.status_at(piece.start());
                    self.state.blocks.set(piece, failed);
                    // Where it cannot be reached in any case nothing is doubtful.
                    let is_doubtful = reopened < REOPENED;
                    if is_doubtful && self.doubtful.len() as u64 <= ASK_EVERY {
                        self.doubtful.extend(before.map(|before| (piece, before)));
                    }
                    false
                }
            };
            self.state.since_good = now.saturating_sub(self.last_good_at);
            (self.listener)(self.state)?;
            return Ok(is_good);
        }
    }

    /// True if it is not certain that only the medium is bad there.
    const fn is_to_be_asked(&self) -> bool {
        let errors = self.errors_in_row;
        let is_power = errors >= ASK_AFTER && errors.is_power_of_two();
        is_power || errors.is_multiple_of(ASK_EVERY)
    }

    /// True if the drive answers where it did before.
    fn answers(&mut self) -> bool {
        let (reader, sector) = (self.drive.reader(), self.settings.sector);
        let (len, blocks) = (reader.len(), &self.state.blocks);
        let known = (0..ASKED)
            .filter_map(|n| blocks.first_from(Status::Finished, len / ASKED * n))
            .map(|extent| edge(extent, sector, true));
        let others = [0, len / 2 / sector * sector, len.saturating_sub(1) / sector * sector];
        let others = others.map(|at| Extent::at(at, sector).intersect(&Extent::new(0, len)));
        let buffer = &mut self.buffer;
        let mut places = self.good_sector.into_iter().chain(known).chain(others);
        let answered = places.any(|place| {
            buffer.set_len(place.len() as usize);
            reader.read_at(place.start(), buffer.as_mut_slice()).is_ok()
        });
        if answered {
            self.doubtful.clear();
        }
        answered
    }

    /// Waits for a drive that has gone.
    fn wait(&mut self, error: &Error) -> Result<(), Stop> {
        let doubtful = std::mem::take(&mut self.doubtful);
        // The first of it may be what makes the drive go.
        let is_deadly = doubtful.first().is_some_and(|(extent, _)| {
            let times = self.gone_at.entry(extent.start()).or_default();
            *times += 1;
            *times >= REOPENED
        });
        for (extent, status) in doubtful.into_iter().skip(usize::from(is_deadly)).rev() {
            self.state.blocks.set(extent, status);
        }
        self.state.read_errors = self.state.read_errors.saturating_sub(self.errors_in_row);
        let since = self.drive.now();
        self.state.is_gone = true;
        loop {
            (self.listener)(self.state)?;
            let is_back = self.drive.reopen()?;
            for extent in self.drive.fetched().iter() {
                self.state.blocks.set(extent, Status::Finished);
            }
            if is_back && self.answers() {
                break;
            }
            if self.is_time_over() {
                return Err(Stop::OutOfTime);
            }
            if self.drive.now().saturating_sub(since) >= self.settings.patience {
                return Err(Error::failed(format!("the drive does not answer any more: {error}"))
                    .hint("check its cable and power; the same command goes on")
                    .into());
            }
            self.drive.pause(LOOK_EVERY);
        }
        self.state.is_gone = false;
        self.errors_in_row = 0;
        self.pace = Pace::new(self.drive.now());
        Ok(())
    }

    fn is_time_over(&self) -> bool {
        let time = self.drive.now().saturating_sub(self.began);
        self.settings.most_time.is_some_and(|most| time >= most)
    }

    fn is_slow(&self) -> bool {
        let since = self.drive.now().saturating_sub(self.began);
        since >= self.settings.slow_after && self.pace.is_slow
    }
}

/// How fast a drive is read.
#[derive(Debug)]
struct Pace {
    began: Duration,
    bytes: u64,
    second: Duration,
    in_second: u64,
    /// True if a second has ended with this read that gave less than a tenth of
    /// what others do.
    is_slow: bool,
}

impl Pace {
    const fn new(now: Duration) -> Self {
        Self { began: now, bytes: 0, second: now, in_second: 0, is_slow: false }
    }

    fn read(&mut self, bytes: u64, now: Duration) {
        self.is_slow = false;
        self.bytes = self.bytes.saturating_add(bytes);
        self.in_second = self.in_second.saturating_add(bytes);
        let time = now.saturating_sub(self.second).as_secs_f64();
        if time < 1.0 {
            return;
        }
        let whole = now.saturating_sub(self.began).as_secs_f64();
        self.is_slow = self.in_second as f64 / time < self.bytes as f64 / whole / 10.0;
        self.second = now;
        self.in_second = 0;
    }
}

/// The piece at the edge of a block that is read first: up to the next multiple
/// of `unit`, or all of it, if it is no longer than that.
fn edge(block: Extent, unit: u64, forward: bool) -> Extent {
    if block.len() <= unit {
        block
    } else if forward {
        let end = (block.start() / unit).saturating_add(1).saturating_mul(unit);
        Extent::new(block.start(), end.min(block.end()))
    } else {
        let start = block.end().saturating_sub(1) / unit * unit;
        Extent::new(start.max(block.start()), block.end())
    }
}

/// Where to go on behind an extent.
const fn far_end(extent: Extent, forward: bool) -> u64 {
    if forward { extent.end() } else { extent.start() }
}

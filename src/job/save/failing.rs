// SPDX-License-Identifier: MIT OR Apache-2.0
//! Saving a drive that is failing: it is read into a file beside the image
//! first, good areas before bad ones, and the image is made of that.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::same::{Known, compare_again};
use super::store::{SAVE_EVERY, Store, is_same_drive};
use crate::device::{DiskIdentity, Source, check_opened_source, disks, find_by_path, is_partition};
use crate::error::{Error, ErrorKind, Result};
use crate::extent::{Extent, ExtentSet};
use crate::io::rescue::{
    Drive, End, Hanging, Passes, RawFile, Settings, State, Status, Watched, Watcher,
};
use crate::io::{QUIET, ReadAt, STOPPING, Seen, stopping, waiting};
use crate::pipeline::Cancel;
use crate::progress::{Event, Progress};
use crate::store::room_at;
use crate::units::human;

/// What is being done is told at this interval.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// A read that lasts longer is that of a drive that does not answer: more than the
/// half minute after which the kernel tries again by itself, and again.
const LONGEST_READ: Duration = Duration::from_secs(180);

/// How a drive that cannot be read everywhere is read.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// True to read it front to back in any case: bad places are lost after one
    /// more attempt.
    pub in_place: bool,
    /// The file to read it into, instead of one beside the image.
    pub raw: Option<PathBuf>,
    /// How many times bad sectors are tried again in the end.
    pub retries: u32,
    /// When to make the image of what is there.
    pub most_time: Option<Duration>,
}

/// True if a raw file takes no room where nothing was read.
pub(super) fn is_sparse(raw: &Path) -> Result<bool> {
    match raw.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => RawFile::can_be_sparse(folder),
        _ => RawFile::can_be_sparse(Path::new(".")),
    }
}

/// Refuses to begin what would not end well for lack of space.
pub(super) fn check_room(raw: &Path, len: u64, domain: u64, progress: &dyn Progress) -> Result<()> {
    let is_sparse = is_sparse(raw)?;
    let needed = if is_sparse { domain } else { len };
    let room = room_at(raw)?;
    let shown = raw.display();
    if !is_sparse {
        progress.note(&Event::Notice(format!(
            "{shown} takes the full size of the drive, {}: the filesystem there keeps no sparse \
             files",
            human(len)
        )));
    }
    if room >= needed {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::NoSpace,
        format!(
            "the drive cannot be read in one go, so that it is read into {shown} first; that takes \
             up to {}, and {} are free",
            human(needed),
            human(room)
        ),
    )
    .hint(
        "give a file on a disk with more room to --rescue, or read it front to back with \
         --in-place, which is harder on the drive",
    ))
}

/// Reads what can be read of `domain` into the store; gives back the drive, if it
/// is still there. It was found out by what was `seen` that this is in use.
///
/// # Errors
/// If it has gone for good, or the store cannot be written. What was read is
/// kept.
pub(super) fn rescue(
    store: &mut Store,
    source: Source,
    seen: &Seen,
    domain: &ExtentSet,
    reading: &Reading,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<Option<Source>> {
    let Store { raw, state, .. } = &mut *store;
    let whole = State::new(raw.len(), None).blocks;
    state.blocks = std::mem::replace(&mut state.blocks, whole).with_domain(domain);
    progress.stage("rescuing", domain.bytes());
    let sector = source.sector_size().bytes();
    let settings = Settings {
        retries: reading.retries,
        most_time: reading.most_time,
        ..Settings::new(source.len(), sector)
    };
    let mut state = store.state.clone();
    let mut teller = Teller::new(progress, &state);
    let mut saved = Instant::now();
    let known = RefCell::default();
    let began = Instant::now();
    let watcher = |time: Duration| {
        // It is not waited for here, but the kernel lets no program end in it.
        if cancel.is_cancelled() && time >= STOPPING {
            progress.note(&stopping(time));
        }
        cancel.check()?;
        // A little later than who reads, who has to find it over, too.
        if reading.most_time.is_some_and(|most| began.elapsed() >= most + TELL_EVERY) {
            return Err(Error::failed("the time is over"));
        }
        if time >= QUIET {
            progress.note(&waiting(time));
        }
        Ok(())
    };
    let compared = Compared { raw: &store.raw, seen, chosen: &store.seen, known: &known, cancel };
    let mut drive = LiveDrive::new(source, compared, &watcher)?;
    let mut was_gone = false;
    let result = {
        let store = &*store;
        let mut listener = |state: &State| {
            teller.tell(state);
            if state.is_gone && !was_gone {
                *known.borrow_mut() = Known::of(state);
            }
            was_gone = state.is_gone;
            cancel.check()?;
            if saved.elapsed() >= SAVE_EVERY {
                store.save(state)?;
                saved = Instant::now();
            }
            Ok(())
        };
        Passes::new(&mut drive, &store.raw, settings, &mut state, &mut listener).run()
    };
    let source = drive.source.and_then(Watched::into_inner);
    store.state = state;
    // In any case, so that nothing has to be read twice; it may take longer than
    // an interrupted program is given to end.
    if result.is_err() {
        cancel.finish();
    }
    let kept = store.save(&store.state);
    if result? == End::OutOfTime {
        progress.note(&Event::Notice(
            "the time is over: the image is made of what could be read until now".into(),
        ));
    }
    kept?;
    Ok(source)
}

/// Tells a listener how a rescue goes.
struct Teller<'a> {
    progress: &'a dyn Progress,
    finished: u64,
    told: Option<Instant>,
    is_gone: bool,
}

impl<'a> Teller<'a> {
    fn new(progress: &'a dyn Progress, state: &State) -> Self {
        let finished = state.blocks.bytes(Status::Finished);
        progress.advance(finished);
        Self { progress, finished, told: None, is_gone: false }
    }

    fn tell(&mut self, state: &State) {
        let finished = state.blocks.bytes(Status::Finished);
        self.progress.advance(finished.saturating_sub(self.finished));
        self.finished = finished.max(self.finished);
        if state.is_gone != self.is_gone {
            self.is_gone = state.is_gone;
            let text = if state.is_gone {
                "the drive does not answer any more; waiting for it to come back: check its cable \
                 and power"
            } else {
                "the drive is back"
            };
            self.progress.note(&Event::Notice(text.into()));
        }
        if self.told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return;
        }
        self.told = Some(Instant::now());
        let mut text = state.title();
        if state.read_errors > 0 {
            let errors = state.read_errors;
            let s = if errors == 1 { "" } else { "s" };
            text.push_str(&format!("; {errors} read error{s}"));
        }
        let bad = state.blocks.bytes(Status::Bad);
        if bad > 0 {
            text.push_str(&format!("; {} bad", human(bad)));
        }
        if state.since_good >= QUIET {
            text.push_str(&format!("; nothing could be read for {} s", state.since_good.as_secs()));
        }
        self.progress.note(&Event::Position(text));
    }
}

/// With what a drive that came back is compared.
#[derive(Clone, Copy)]
struct Compared<'a> {
    raw: &'a RawFile,
    /// What was read to find out what is in use.
    seen: &'a Seen,
    /// The places in that for a drive that must be spared.
    chosen: &'a [Extent],
    /// What had been read when it went.
    known: &'a RefCell<Known>,
    cancel: &'a Cancel,
}

/// A drive that is opened again when it has gone and come back.
struct LiveDrive<'a> {
    source: Option<Watched<'a, Source>>,
    /// A read of it from before.
    hanging: Option<Hanging>,
    watcher: Watcher<'a>,
    path: PathBuf,
    identity: DiskIdentity,
    is_partition: bool,
    began: Instant,
    gone: Gone,
    compared: Compared<'a>,
    /// What was brought to the file to compare it.
    fetched: ExtentSet,
}

impl<'a> LiveDrive<'a> {
    fn new(source: Source, compared: Compared<'a>, watcher: Watcher<'a>) -> Result<Self> {
        let path = PathBuf::from(source.path());
        Ok(Self {
            identity: source.identity(),
            is_partition: is_partition(&path),
            gone: Gone { len: source.len() },
            source: Some(Watched::new(source, LONGEST_READ, watcher)?),
            hanging: None,
            watcher,
            path,
            began: Instant::now(),
            compared,
            fetched: ExtentSet::new(),
        })
    }

    /// True if it is this drive that says so, by whatever name. Of the size counts
    /// what can be reached, which only one that is open knows.
    fn is_this(&self, found: DiskIdentity) -> bool {
        let (path, size) = (self.identity.path.clone(), self.identity.size);
        is_same_drive(&self.identity, &DiskIdentity { path, size, ..found })
    }

    /// The same drive, if it is at `path`, with what was brought to the file of it;
    /// refused if it was used since.
    fn at(&self, path: &Path) -> Result<Option<(Watched<'a, Source>, ExtentSet)>> {
        // Another one is not even opened.
        if find_by_path(path).is_ok_and(|found| !self.is_this(found)) {
            return Ok(None);
        }
        let Ok(source) = Source::claim(path, None) else { return Ok(None) };
        if !self.is_this(source.identity()) || source.len() != self.gone.len {
            return Ok(None);
        }
        check_opened_source(&source)?;
        let Compared { raw, seen, chosen, known, cancel } = self.compared;
        match compare_again(raw, &known.borrow(), seen, chosen, &source, cancel) {
            Ok(fetched) => {
                let watched = Watched::new(source, LONGEST_READ, self.watcher)?;
                Ok(Some((watched, fetched)))
            }
            Err(error) if error.kind() == ErrorKind::Refused => Err(error),
            // It has gone again.
            Err(_) => Ok(None),
        }
    }
}

impl Drive for LiveDrive<'_> {
    fn reader(&self) -> &dyn ReadAt {
        match &self.source {
            Some(source) => source,
            None => &self.gone,
        }
    }

    fn reopen(&mut self) -> Result<bool> {
        // As long as it is held, the kernel gives it another name, and a read that
        // hangs would be taken for that of another program.
        if let Some(source) = self.source.take() {
            self.hanging = source.close();
        }
        if self.hanging.as_ref().is_some_and(|hanging| !hanging.is_over()) {
            return Ok(false);
        }
        let mut found = self.at(&self.path)?;
        let is_named = self.identity.serial.is_some() || self.identity.wwn.is_some();
        if found.is_none() && is_named && !self.is_partition {
            for disk in disks().unwrap_or_default() {
                found = self.at(Path::new(&disk.identity.path))?;
                if found.is_some() {
                    break;
                }
            }
        }
        let Some((source, fetched)) = found else { return Ok(false) };
        self.source = Some(source);
        self.fetched = fetched;
        Ok(true)
    }

    fn fetched(&mut self) -> ExtentSet {
        std::mem::take(&mut self.fetched)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// In the place of a drive that is not there.
struct Gone {
    len: u64,
}

impl ReadAt for Gone {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, _: u64, _: &mut [u8]) -> Result<()> {
        Err(Error::failed("the drive is not there"))
    }
}

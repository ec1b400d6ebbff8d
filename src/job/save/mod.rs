// SPDX-License-Identifier: MIT OR Apache-2.0
//! Saving a disk to an image file.
//!
//! [`Prepared::new`] looks at the source and makes the plan. That is shown.
//! Then [`Prepared::begin`] makes the file, or finds the interrupted one and
//! what of it can be kept, and [`Begun::run`] saves.
//!
//! A drive that can be read everywhere is read front to back. At the first
//! place that cannot be read this ends, and the drive is read into a file
//! beside the image, as [`rescue`](crate::io::rescue) does it; the image is made
//! of that. The file stays until then, so that a rescue goes on whenever there
//! is one of the drive.

mod failing;
mod same;
mod store;
mod takeover;

use std::io::BufWriter;
use std::path::{Path, PathBuf};

use crate::browse::OpenDisk;
use crate::browse::lost::{LostVolume, lost_files};
use crate::device::{DiskIdentity, Source};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::rescan::{Rescan, read_head};
use crate::image::{Head, Writer};
use crate::io::rescue::Through;
use crate::io::{ReadAt, Recorded, Seen, Strict, Trouble, attend};
use crate::pipeline::Cancel;
use crate::progress::{Event, Progress};
use crate::save::{self, Options, Plan, Saved, resume_check};
use crate::store::{
    Partial, default_name, find_interrupted, partial_path, room_at, set_aside, those_set_aside,
};
use crate::units::human;

use super::open::{check_still_unused, readers};
pub use failing::Reading;
use store::{Look, Store, is_same_drive};
pub use store::{map_path, raw_path};
pub(super) use takeover::rescue_of;
use takeover::take_over;
pub use takeover::{interrupted_image_of, take_over_without_drive};

/// The image is written in pieces of this many bytes.
pub(super) const BUFFER: usize = 64 << 10;

/// A source that was looked at, and what would be saved of it.
#[derive(Debug)]
pub struct Prepared {
    source: Source,
    others: Vec<Source>,
    plan: Plan,
    options: Options,
    reading: Reading,
    /// True if something could not be read already.
    is_failing: bool,
    /// What was read to find out what is in use.
    seen: Seen,
    /// The rescue that goes on, and the image it is for.
    rescue: Option<(Store, PathBuf)>,
}

impl Prepared {
    /// Looks at a source; `others` are the other disks of a set.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn new(source: Source, others: Vec<Source>, options: &Options) -> Result<Self> {
        let strict = Strict::new(&source);
        let recorded = Recorded::new(&strict);
        let plan = Plan::with(&recorded, &readers(&others), source.identity(), options)?;
        let seen = recorded.into_seen();
        let plan = plan.of_drive(&source);
        let is_failing = strict.trouble().is_some();
        let (reading, options) = (Reading::default(), options.clone());
        Ok(Self { source, others, plan, options, reading, is_failing, seen, rescue: None })
    }

    /// As [`Prepared::new`], for an image in the file or folder `path`: if it is
    /// being rescued there, the rescue goes on, and what was read is not read
    /// again.
    ///
    /// # Errors
    /// As [`Prepared::new`]; refused if the rescue is of another drive, or the
    /// drive was used since.
    pub fn for_image(
        source: Source,
        others: Vec<Source>,
        options: &Options,
        reading: Reading,
        path: &Path,
        cancel: &Cancel,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let found = if reading.in_place { None } else { find_rescue(&source, &reading, path) };
        let Some((raw, image)) = found else {
            return Ok(Self { reading, ..Self::new(source, others, options)? });
        };
        let mut store = Store::open(&raw, &source, cancel, progress)?;
        progress.note(&Event::Notice(format!("going on with the rescue in {}", raw.display())));
        progress.stage("looking at what is on the disk", 0);
        let through = Through::new(&source, &store.raw, &mut store.state.blocks);
        let recorded = Recorded::new(&through);
        let plan = Plan::with(&recorded, &readers(&others), source.identity(), options)?;
        let seen = recorded.into_seen();
        let (before, looked_at) = (through.seen(), through.looked_at());
        store.check_seen(&before, plan.layout(), &source, cancel)?;
        store.check_look(&seen, others.len())?;
        store.keep_seen(&looked_at, plan.layout());
        let plan = plan.of_drive(&source);
        let (rescue, options) = (Some((store, image)), options.clone());
        Ok(Self { source, others, plan, options, reading, is_failing: true, seen, rescue })
    }

    /// The disk to be saved.
    #[must_use]
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// What would be saved.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The file to write: in a folder it is named after the label or model and
    /// the date; to go on, an interrupted image of an earlier date is found,
    /// too.
    #[must_use]
    pub fn image_path(&self, path: &Path, resume: bool) -> PathBuf {
        match &self.rescue {
            Some((_, image)) if path.is_dir() && !image.is_dir() => image.clone(),
            _ => image_path(&self.plan, path, resume),
        }
    }

    /// What the image would take, judged by compressing a few pieces. A drive that
    /// cannot be read everywhere is not read for that: it may take as much as
    /// there is.
    ///
    /// # Errors
    /// If the compressor does not start.
    pub fn estimate(&self) -> Result<u64> {
        if self.is_failing {
            return Ok(self.plan.to_read().bytes());
        }
        self.plan.estimate(&Strict::new(&self.source))
    }

    /// The file of the rescue that goes on.
    #[must_use]
    pub fn rescue(&self) -> Option<&Path> {
        self.rescue.as_ref().map(|(store, _)| store.raw.path())
    }

    /// The image of this disk in a folder whose save was interrupted, the
    /// latest one if there are several: its name once it is whole.
    #[must_use]
    pub fn interrupted_in(&self, folder: &Path) -> Option<PathBuf> {
        let entries = std::fs::read_dir(folder).ok()?;
        let mut found: Vec<(String, PathBuf)> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let path = folder.join(name.strip_suffix(".partial")?);
                let old = Source::open(entry.path()).ok()?;
                let (head, _, _) = read_head(&old).ok()?;
                self.is_of_same_disk(&head).then(|| (head.about.created.clone(), path))
            })
            .collect();
        found.sort();
        found.pop().map(|(_, path)| path)
    }

    fn is_of_same_disk(&self, head: &Head) -> bool {
        is_of_same_disk(&self.plan.head, head)
    }

    /// Makes the file `path`, or with `resume` goes on with an interrupted one.
    ///
    /// # Errors
    /// If there is no room or the file cannot be made; refused if it belongs
    /// to another disk, or to another state of this one.
    pub fn begin(
        mut self,
        path: &Path,
        resume: bool,
        cancel: &Cancel,
        progress: &dyn Progress,
    ) -> Result<Begun> {
        let note = |text: String| progress.note(&Event::Notice(text));
        let interrupted = partial_path(path);
        let is_rescue = !self.reading.in_place && (self.is_failing || self.reading.raw.is_some());
        if is_rescue || self.rescue.is_some() {
            return self.begin_rescue(path, progress);
        }
        let kept = if resume && interrupted.exists() {
            match self.keep_interrupted(&interrupted, cancel, progress) {
                // It could not be compared to its end; that it has changed is no
                // matter of bad places.
                Err(error)
                    if self.is_failing
                        && error.kind() != ErrorKind::Refused
                        && !cancel.is_cancelled()
                        && !self.reading.in_place =>
                {
                    return self.begin_rescue(path, progress);
                }
                kept => kept?,
            }
        } else {
            None
        };
        let mut older = None;
        let (partial, kept) = match kept {
            Some(kept) => (Partial::resume(path, kept.found.end)?, Some(kept)),
            None => {
                if resume {
                    note("there is nothing to go on with; starting from the beginning".into());
                } else if interrupted.exists() {
                    self.refuse_foreign(path)?;
                }
                // Samples are not worth the work that a bad place is.
                check_room(&self.plan, &Strict::new(&self.source), path, progress)?;
                if interrupted.exists() && !resume {
                    older = set_aside(path)?;
                    if let Some(older) = &older {
                        note(format!(
                            "{} was interrupted; it is not gone on with, and is kept as {} until \
                             the new image is whole",
                            interrupted.display(),
                            older.display()
                        ));
                    }
                }
                (Partial::create(path)?, None)
            }
        };
        Ok(Begun { prepared: self, file: Some((partial, kept)), path: path.to_owned(), older })
    }

    /// The image is made when the drive was read. An interrupted one is not gone
    /// on with: nobody knows whether the drive was used since.
    fn begin_rescue(self, path: &Path, progress: &dyn Progress) -> Result<Begun> {
        // Before hours are spent on it.
        Partial::check(path)?;
        let interrupted = partial_path(path);
        self.refuse_foreign(path)?;
        let is_taken_over = self.rescue.as_ref().is_some_and(|(store, _)| {
            Source::open(&interrupted).is_ok_and(|old| store.takes_over(&old))
        });
        if interrupted.exists() && !is_taken_over {
            progress.note(&Event::Notice(format!(
                "{} was interrupted, and nothing of it is used: a drive with places that cannot be \
                 read is not compared with it. In the end it is replaced, or set aside if \
                 something is missing",
                interrupted.display()
            )));
        }
        Ok(Begun { prepared: self, file: None, path: path.to_owned(), older: None })
    }

    /// Refuses to replace the interrupted image of another disk.
    fn refuse_foreign(&self, path: &Path) -> Result<()> {
        let interrupted = partial_path(path);
        let Ok((head, _, _)) = Source::open(&interrupted).and_then(|old| read_head(&old)) else {
            return Ok(());
        };
        if self.is_of_same_disk(&head) {
            return Ok(());
        }
        let what = format!("{} is the interrupted image of another disk", interrupted.display());
        Err(refuse_interrupted(&what, path))
    }

    /// What of an interrupted image can be kept; nothing, if not even its head
    /// was written.
    fn keep_interrupted(
        &mut self,
        interrupted: &Path,
        cancel: &Cancel,
        progress: &dyn Progress,
    ) -> Result<Option<Kept>> {
        let old = Source::open(interrupted)?;
        if read_head(&old).is_err_and(|error| error.kind() == ErrorKind::Damaged) {
            return Ok(None);
        }
        let strict = Strict::new(&self.source);
        let source: &dyn ReadAt = if self.reading.in_place { &self.source } else { &strict };
        let kept = resume_check(&mut self.plan, source, &old, cancel, progress);
        // One that has gone says nothing of the interrupted image.
        self.is_failing |= strict.trouble() == Some(Trouble::BadPlaces);
        let kept = kept?;
        if kept.readable > 0 {
            progress.note(&Event::Notice(format!(
                "{} of {} could not be read then and can be read now; they stay missing, so that \
                 nothing that was saved behind them is thrown away: to have them, save once more, \
                 with another name",
                human(kept.readable),
                interrupted.display()
            )));
        }
        Ok(Some(Kept { found: kept.found, bytes: kept.bytes }))
    }
}

/// The error for an interrupted image at the place of the image `path` that is not
/// to be replaced, with the way on: it may have the only copy of something.
pub(super) fn refuse_interrupted(what: &str, path: &Path) -> Error {
    let rescue = Source::open(partial_path(path)).ok().and_then(|old| rescue_of(path, &old));
    let Some(raw) = rescue else {
        // It cannot be known: its rescue may be on another disk.
        return Error::refused(what).hint(
            "choose another name for the image, and keep it unless you know that it is not needed",
        );
    };
    let (raw, map) = (raw.display(), map_path(&raw));
    Error::refused(format!("{what}, and has what was read of a drive before its first bad place"))
        .hint(format!(
            "keep it and choose another name for the image; if that drive never works again, what \
             was read of it becomes an image by: dacapo import {raw} {} --mapfile {}",
            path.display(),
            map.display()
        ))
}

fn is_of_same_disk(one: &Head, other: &Head) -> bool {
    let (old, new) = (&one.about.disk, &other.about.disk);
    one.disk_len == other.disk_len
        && is_same_drive(&DiskIdentity { size: new.size, ..old.clone() }, new)
}

/// The file to write: in a folder it is named after the label or model and
/// the date; to go on, an interrupted image of an earlier date is found, too.
pub(super) fn image_path(plan: &Plan, path: &Path, resume: bool) -> PathBuf {
    if !path.is_dir() {
        return path.to_owned();
    }
    let about = &plan.head.about;
    let from_file = || {
        let stem = Path::new(&about.disk.path).file_stem();
        stem.map(|stem| stem.to_string_lossy().into_owned())
    };
    let title = about.label.clone().or_else(|| about.disk.model.clone()).or_else(from_file);
    let title = title.as_deref().unwrap_or("disk");
    let date = about.created.get(..10).unwrap_or_default();
    let interrupted = if resume { find_interrupted(path, title) } else { None };
    interrupted.unwrap_or_else(|| default_name(path, title, date))
}

/// Refuses to begin what cannot end well for lack of space.
pub(super) fn check_room(
    plan: &Plan,
    source: &dyn ReadAt,
    path: &Path,
    progress: &dyn Progress,
) -> Result<()> {
    let room = room_at(path)?;
    // Room for everything uncompressed needs no closer look.
    if room > plan.head.used.bytes().saturating_add(plan.head.disk_len / 16384) {
        return Ok(());
    }
    let estimate = plan.estimate(source)?;
    let text = format!("about {} are needed and {} are free", human(estimate), human(room));
    // The estimate is made from samples: only a clear case is refused.
    if room < estimate / 4 * 3 {
        return Err(Error::new(
            ErrorKind::NoSpace,
            format!("there is no room for {}: {text}", path.display()),
        )
        .hint("free some space, choose another place, or a higher level of compression"));
    }
    if room < estimate + estimate / 5 {
        progress.note(&Event::Notice(format!("space may run out: {text}")));
    }
    Ok(())
}

#[derive(Debug)]
struct Kept {
    found: Rescan,
    bytes: u64,
}

/// A save that may begin.
#[derive(Debug)]
pub struct Begun {
    prepared: Prepared,
    /// The file of the image, unless the drive has to be rescued first.
    file: Option<(Partial, Option<Kept>)>,
    path: PathBuf,
    /// The interrupted image that this one replaces, if it has no losses.
    older: Option<PathBuf>,
}

impl Begun {
    /// How many bytes of the disk are in the image already.
    #[must_use]
    pub fn kept_bytes(&self) -> Option<u64> {
        let (_, kept) = self.file.as_ref()?;
        kept.as_ref().map(|kept| kept.bytes)
    }

    /// Saves, and gives the image its name.
    ///
    /// # Errors
    /// Anything but unreadable ranges of the source. What was written is kept,
    /// and can be gone on with: the hint says how.
    pub fn run(mut self, cancel: &Cancel, progress: &dyn Progress) -> Result<Done> {
        let older = self.older.take();
        let mut done = self.save(cancel, progress)?;
        if let Some(older) = older.filter(|_| done.saved.losses.is_empty())
            && let Err(error) = std::fs::remove_file(&older)
        {
            let text = format!("{} could not be removed: {error}", older.display());
            progress.note(&Event::Notice(text));
        }
        done.tell_set_aside(progress);
        done.name_losses(cancel, progress);
        Ok(done)
    }

    fn save(self, cancel: &Cancel, progress: &dyn Progress) -> Result<Done> {
        let Self { prepared, file, path, .. } = self;
        let Some((partial, kept)) = file else {
            return prepared.rescue_to(&path, None, cancel, progress);
        };
        let name = partial.partial().to_owned();
        match prepared.straight(partial, kept, cancel, progress) {
            Ok(saved) => {
                let Prepared { plan, .. } = prepared;
                Ok(Done::new(saved, plan, path))
            }
            Err((_, Some(trouble))) if !cancel.is_cancelled() => {
                // That it has gone is told when it is waited for.
                if trouble == Trouble::BadPlaces {
                    progress.note(&Event::Notice(
                        "the drive has places that cannot be read: good areas are read first now, \
                         and bad ones in the end"
                            .into(),
                    ));
                }
                prepared.rescue_to(&path, Some(trouble), cancel, progress)
            }
            Err((error, _)) => Err(with_way_on(error, &name)),
        }
    }
}

impl Prepared {
    /// Saves front to back. The error comes with what was wrong with the drive.
    fn straight(
        &self,
        partial: Partial,
        kept: Option<Kept>,
        cancel: &Cancel,
        progress: &dyn Progress,
    ) -> Result<Saved, (Error, Option<Trouble>)> {
        let strict = Strict::new(&self.source);
        let source: &dyn ReadAt = if self.reading.in_place { &self.source } else { &strict };
        let save = || -> Result<Saved> {
            let out = BufWriter::with_capacity(BUFFER, partial);
            let resumed = kept.is_some();
            let writer = match kept {
                Some(kept) => Writer::resume(out, kept.found)?,
                None => save::start(&self.plan, out)?,
            };
            let run = |source: &dyn ReadAt, progress: &dyn Progress| {
                save::run(&self.plan, source, writer, resumed, cancel, progress)
            };
            let (out, saved) = attend(source, cancel, progress, run)?;
            let partial = out
                .into_inner()
                .map_err(std::io::IntoInnerError::into_error)
                .context(|| "writing the image".into())?;
            [&self.source].into_iter().chain(&self.others).try_for_each(check_still_unused)?;
            partial.commit()?;
            Ok(saved)
        };
        save().map_err(|error| (error, strict.trouble()))
    }

    /// Reads the drive into a file, as much of it as can be read, and makes the
    /// image of that. With `takes_over`, what ended that, what is in the interrupted
    /// image is of this state of the drive: it was just read or compared.
    fn rescue_to(
        self,
        path: &Path,
        takes_over: Option<Trouble>,
        cancel: &Cancel,
        progress: &dyn Progress,
    ) -> Result<Done> {
        let raw = match (&self.rescue, &self.reading.raw) {
            (Some((store, _)), _) => store.raw.path().to_owned(),
            (None, Some(raw)) => raw.clone(),
            (None, None) => raw_path(path),
        };
        let Self { source, others, mut plan, options, reading, seen, rescue, is_failing } = self;
        let has_bad_places = is_failing || takes_over == Some(Trouble::BadPlaces);
        let is_new = rescue.is_none();
        let mut store = match rescue {
            Some((store, _)) => store,
            None => {
                // A file with holes takes no room yet: it is noted in any case that
                // the interrupted image is of this state of the drive, which
                // nobody could tell tomorrow. A good drive that went needs that not.
                let is_noted = takes_over == Some(Trouble::BadPlaces)
                    && failing::is_sparse(&raw).unwrap_or(false);
                let domain = plan.to_read().bytes();
                let room = match is_noted {
                    true => Ok(()),
                    false => failing::check_room(&raw, source.len(), domain, progress),
                };
                let image = takes_over.map(|_| plan.head.image_id);
                let command = &plan.head.about.command;
                let look = Look::of(&seen, source.sector_size(), others.len());
                let made = room.and_then(|()| {
                    let mut store = Store::create(&raw, &source, command, image, look.as_ref())?;
                    if has_bad_places {
                        store.began_at_bad_place()?;
                    }
                    Ok(store)
                });
                made.map_err(|error| match takes_over {
                    Some(_) => with_way_on(error, &partial_path(path)),
                    None => error,
                })?
            }
        };
        let interrupted = partial_path(path);
        let make = || -> Result<Done> {
            take_over(&mut store, &plan, (!is_new).then_some(&source), path, cancel, progress)?;
            if is_new {
                // What filesystems keep of themselves comes first: this look brings
                // it home. What is in use is known already, and whatever fails
                // here fails or is waited for below.
                progress.stage("reading what filesystems keep of themselves", 0);
                let through = Through::new(&source, &store.raw, &mut store.state.blocks);
                let _ = Plan::with(&through, &readers(&others), source.identity(), &options);
                // One that has gone is asked for this when it is back.
                let looked_at = through.looked_at().union(&seen.extents().collect());
                store.keep_seen(&looked_at, plan.layout());
                cancel.check()?;
            }
            let domain = plan.to_read();
            let source =
                failing::rescue(&mut store, source, &seen, &domain, &reading, cancel, progress)?;
            // It may have come back under another name.
            let now_at = source.as_ref().map(|source| PathBuf::from(source.path()));
            plan.drive = plan.drive.take().and(now_at);
            source.iter().chain(&others).try_for_each(check_still_unused)?;
            let lost = store.state.lost();
            plan = plan.clone().without(&lost);
            check_room(&plan, &store.raw, path, progress)?;
            // It may be the only copy of what could be read then and not now.
            let is_unmade = Source::open(&interrupted).is_ok_and(|old| !store.makes(&old));
            if !lost.is_empty()
                && is_unmade
                && let Some(older) = set_aside(path)?
            {
                progress.note(&Event::Notice(format!(
                    "the interrupted image of an earlier day is kept as {}: it may have what is \
                     missing in this one",
                    older.display()
                )));
            }
            store.is_made_into(plan.head.image_id)?;
            let partial = Partial::create(path)?;
            let out = BufWriter::with_capacity(BUFFER, partial);
            let writer = save::start(&plan, out)?;
            let (out, saved) = save::run(&plan, &store.raw, writer, false, cancel, progress)?;
            let partial = out
                .into_inner()
                .map_err(std::io::IntoInnerError::into_error)
                .context(|| "writing the image".into())?;
            partial.commit()?;
            let rescue = (!lost.is_empty()).then(|| raw.clone());
            Ok(Done { rescue, ..Done::new(saved, plan.clone(), path.to_owned()) })
        };
        let done = make();
        if done.is_err() {
            // As at the end of a rescue.
            cancel.finish();
            let _ = store.save(&store.state);
        }
        let done = done.map_err(|error| with_rescue(error, &raw, path))?;
        if done.rescue.is_none() && store.is_ours() {
            store.remove()?;
        } else if done.rescue.is_none() {
            progress.note(&Event::Notice(format!(
                "{} and {} were not begun by dacapo and are kept; nothing in use is missing in them",
                raw.display(),
                map_path(&raw).display()
            )));
        }
        Ok(done)
    }
}

/// The error of a rescue into `raw`, with the ways to go on to the image `path`.
fn with_rescue(error: Error, raw: &Path, path: &Path) -> Error {
    let hint = error.hint_text().map(|hint| format!("{hint}; ")).unwrap_or_default();
    let (raw, map) = (raw.display(), map_path(raw));
    let map = map.display();
    let hint = format!("{hint}what was read is kept in {raw} and {map}");
    // The same would be refused again.
    if error.kind() == ErrorKind::Refused {
        return error.hint(hint);
    }
    let hint = format!("{hint}; go on by running the same command");
    if error.kind() != ErrorKind::Failed {
        return error.hint(hint);
    }
    error.hint(format!(
        "{hint}; if the drive never works again, what was read becomes an image by: dacapo import \
         {raw} {} --mapfile {map}",
        path.display()
    ))
}

/// The error of an interrupted save, with the way to go on.
fn with_way_on(error: Error, partial: &Path) -> Error {
    let kept = format!("what was saved is kept in {}", partial.display());
    match error.kind() {
        ErrorKind::NoSpace if error.hint_text().is_none() => {
            error.hint(format!("{kept}; free some space and run the same command with --resume"))
        }
        ErrorKind::Interrupted => {
            error.hint(format!("{kept}; go on by running the same command with --resume"))
        }
        _ => {
            let hint = error.hint_text().map(|hint| format!("{hint}; ")).unwrap_or_default();
            error.hint(format!("{hint}{kept}; --resume goes on with it"))
        }
    }
}

/// The rescue that is to go on: its file, and the image it is for.
fn find_rescue(source: &Source, reading: &Reading, path: &Path) -> Option<(PathBuf, PathBuf)> {
    if let Some(raw) = &reading.raw {
        return Store::is_at(raw).then(|| (raw.clone(), path.to_owned()));
    }
    let image =
        if path.is_dir() { store::find_in(path, &source.identity())? } else { path.to_owned() };
    let raw = raw_path(&image);
    Store::is_at(&raw).then_some((raw, image))
}

/// A save that is finished.
#[derive(Debug)]
pub struct Done {
    /// What was saved.
    pub saved: Saved,
    /// By which plan.
    pub plan: Plan,
    /// The image.
    pub path: PathBuf,
    /// The file that the drive was read into, if something of it is missing: it
    /// is kept, to try again.
    pub rescue: Option<PathBuf>,
    /// The files in what could not be read.
    pub lost: Vec<LostVolume>,
}

impl Done {
    /// A save without a rescue.
    pub(super) const fn new(saved: Saved, plan: Plan, path: PathBuf) -> Self {
        Self { saved, plan, path, rescue: None, lost: Vec::new() }
    }

    /// Tells which interrupted images of earlier days are left beside the image: each
    /// may be as large as it is.
    fn tell_set_aside(&self, progress: &dyn Progress) {
        let left: Vec<String> =
            those_set_aside(&self.path).iter().map(|it| it.display().to_string()).collect();
        if left.is_empty() {
            return;
        }
        let what = match self.saved.losses.is_empty() {
            true => {
                "nothing is missing in this image; keep them if an earlier state of the drive is \
                 needed, or another drive was saved under this name"
            }
            false => "they may have what is missing in this image",
        };
        progress.note(&Event::Notice(format!(
            "interrupted images of earlier days are still there: {}; {what}",
            left.join(", ")
        )));
    }

    /// Looks into the image for the files that are lost. It is made in any case:
    /// that they cannot be told is only told.
    pub(super) fn name_losses(&mut self, cancel: &Cancel, progress: &dyn Progress) {
        if self.saved.losses.is_empty() {
            return;
        }
        progress.stage("looking for the files that are lost", 0);
        match OpenDisk::open(&self.path).and_then(|disk| lost_files(&disk, cancel)) {
            Ok(lost) => self.lost = lost,
            Err(error) => progress
                .note(&Event::Notice(format!("which files are lost was not found out: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_drive_that_is_dead_the_way_to_an_image_is_told() {
        let (raw, path) = (Path::new("/b/a.rescue"), Path::new("/b/a"));
        let dead = with_rescue(Error::failed("gone").hint("check its cable"), raw, path);
        let hint = dead.hint_text().unwrap();
        assert!(hint.contains("check its cable") && hint.contains("same command"), "{hint}");
        assert!(
            hint.contains("dacapo import /b/a.rescue /b/a --mapfile /b/a.rescue.map"),
            "{hint}"
        );
        let stopped = with_rescue(Error::interrupted(), raw, path);
        assert!(!stopped.hint_text().unwrap().contains("import"));
    }

    #[test]
    fn another_partition_or_disk_is_not_the_same() {
        let head = |path: &str, serial: Option<&str>, wwn: Option<&str>| {
            let disk = DiskIdentity {
                path: path.into(),
                serial: serial.map(Into::into),
                wwn: wwn.map(Into::into),
                ..DiskIdentity::default()
            };
            let memory = crate::io::Memory::zeros(1 << 20);
            Plan::new(&memory, disk, &Options::default()).unwrap().head
        };
        let named = |path: &str| head(path, Some("S1"), Some("W1"));
        assert!(is_of_same_disk(&named("/dev/sda2"), &named("/dev/sdb2")));
        assert!(!is_of_same_disk(&named("/dev/sda2"), &named("/dev/sda3")));
        assert!(!is_of_same_disk(&named("/dev/sda"), &named("/dev/sda3")));
        assert!(!is_of_same_disk(&named("/dev/nvme0n1p1"), &named("/dev/nvme0n1p2")));
        assert!(is_of_same_disk(&named("/dev/nvme0n1"), &named("/dev/nvme1n1")));
        assert!(!is_of_same_disk(&named("/dev/sda"), &head("/dev/sda", Some("S1"), Some("W2"))));
        let nameless = |path: &str| head(path, None, None);
        assert!(is_of_same_disk(&nameless("one.raw"), &nameless("one.raw")));
        assert!(!is_of_same_disk(&nameless("one.raw"), &nameless("two.raw")));
    }
}

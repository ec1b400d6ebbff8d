// SPDX-License-Identifier: MIT OR Apache-2.0
//! Saving a disk to an image file.
//!
//! [`Prepared::new`] looks at the source and makes the plan. That is shown.
//! Then [`Prepared::begin`] makes the file, or finds the interrupted one and
//! what of it can be kept, and [`Begun::run`] saves.

use std::io::BufWriter;
use std::path::{Path, PathBuf};

use crate::device::Source;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::rescan::{Rescan, read_head};
use crate::image::{Head, Writer};
use crate::io::ReadAt;
use crate::pipeline::Cancel;
use crate::progress::{Event, Progress};
use crate::save::{self, Options, Plan, Saved, resume_check};
use crate::store::{Partial, default_name, find_interrupted, partial_path, room_at};
use crate::units::human;

use super::open::{check_still_unused, readers};

/// The image is written in pieces of this many bytes.
pub(super) const BUFFER: usize = 64 << 10;

/// A source that was looked at, and what would be saved of it.
#[derive(Debug)]
pub struct Prepared {
    source: Source,
    others: Vec<Source>,
    plan: Plan,
}

impl Prepared {
    /// Looks at a source; `others` are the other disks of a set.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn new(source: Source, others: Vec<Source>, options: &Options) -> Result<Self> {
        let plan = Plan::with(&source, &readers(&others), source.identity(), options)?;
        Ok(Self { source, others, plan })
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
        image_path(&self.plan, path, resume)
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
        let (old, new) = (&head.about.disk, &self.plan.head.about.disk);
        head.disk_len == self.plan.head.disk_len
            && old.serial == new.serial
            && old.model == new.model
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
        let kept = if resume && interrupted.exists() {
            self.keep_interrupted(&interrupted, cancel, progress)?
        } else {
            None
        };
        let (partial, kept) = match kept {
            Some(kept) => (Partial::resume(path, kept.found.end)?, Some(kept)),
            None => {
                if resume {
                    note("there is nothing to go on with; starting from the beginning".into());
                } else if interrupted.exists() {
                    self.refuse_foreign(&interrupted)?;
                    note(format!(
                        "{} was interrupted; it is replaced, and not gone on with",
                        interrupted.display()
                    ));
                }
                check_room(&self.plan, &self.source, path, progress)?;
                (Partial::create(path)?, None)
            }
        };
        Ok(Begun { prepared: self, partial, kept, path: path.to_owned() })
    }

    /// Refuses to replace the interrupted image of another disk.
    fn refuse_foreign(&self, interrupted: &Path) -> Result<()> {
        let Ok((head, _, _)) = Source::open(interrupted).and_then(|old| read_head(&old)) else {
            return Ok(());
        };
        if self.is_of_same_disk(&head) {
            return Ok(());
        }
        Err(Error::refused(format!(
            "{} is the interrupted image of another disk",
            interrupted.display()
        ))
        .hint("choose another name for the image, or delete it first"))
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
        let kept = resume_check(&mut self.plan, &self.source, &old, cancel, progress)?;
        Ok(Some(Kept { found: kept.found, bytes: kept.bytes }))
    }
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

/// A save whose file is there.
#[derive(Debug)]
pub struct Begun {
    prepared: Prepared,
    partial: Partial,
    kept: Option<Kept>,
    path: PathBuf,
}

impl Begun {
    /// The name of the file while it is not whole.
    #[must_use]
    pub fn partial(&self) -> &Path {
        self.partial.partial()
    }

    /// How many bytes of the disk are in it already.
    #[must_use]
    pub fn kept_bytes(&self) -> Option<u64> {
        self.kept.as_ref().map(|kept| kept.bytes)
    }

    /// Saves, and gives the image its name.
    ///
    /// # Errors
    /// Anything but unreadable ranges of the source. What was written is kept,
    /// and can be gone on with.
    pub fn run(self, cancel: &Cancel, progress: &dyn Progress) -> Result<Done> {
        let Self { prepared, partial, kept, path } = self;
        let Prepared { source, others, plan } = prepared;
        let out = BufWriter::with_capacity(BUFFER, partial);
        let resumed = kept.is_some();
        let writer = match kept {
            Some(kept) => Writer::resume(out, kept.found)?,
            None => save::start(&plan, out)?,
        };
        let (out, saved) = save::run(&plan, &source, writer, resumed, cancel, progress)?;
        let partial = out
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .context(|| "writing the image".into())?;
        [&source].into_iter().chain(&others).try_for_each(check_still_unused)?;
        partial.commit()?;
        Ok(Done { saved, plan, path })
    }
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
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Saving a disk that another tool had saved to an image file.
//!
//! [`Prepared::new`] looks at the disk that came out of it and makes the plan.
//! That is shown, and [`Prepared::run`] saves.

use std::io::BufWriter;
use std::path::{Path, PathBuf};

use crate::device::Source;
use crate::error::{Context, Result};
use crate::extent::ExtentSet;
use crate::image::format::Imported;
use crate::image::rescan::read_head;
use crate::import::{Disk, missing};
use crate::layout;
use crate::pipeline::Cancel;
use crate::progress::{Event, Progress};
use crate::save::{self, Options, Plan};
use crate::store::{Partial, partial_path};

use super::open::check_still_unused;
use super::save::{BUFFER, Done, check_room, image_path, refuse_interrupted};

/// A disk that was imported and looked at, and what would be saved of it.
#[derive(Debug)]
pub struct Prepared {
    disk: Disk,
    plan: Plan,
    missing: ExtentSet,
}

impl Prepared {
    /// Looks at a disk.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn new(disk: Disk, options: &Options) -> Result<Self> {
        let mut scan = layout::scan(&disk)?;
        let missing = missing::fit(&mut scan, &disk);
        let mut plan = Plan::of_scan(&disk, scan, disk.identity().clone(), options)?;
        plan.head.about.imported = Some(told(&disk));
        let missing = missing.union(&plan.head.used.intersect(disk.lost()));
        let plan = plan.without(&missing);
        Ok(Self { disk, plan, missing })
    }

    /// The disk.
    #[must_use]
    pub const fn disk(&self) -> &Disk {
        &self.disk
    }

    /// What would be saved.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Bytes that a filesystem uses, and that were not in what was imported.
    #[must_use]
    pub const fn missing(&self) -> &ExtentSet {
        &self.missing
    }

    /// What the image would take, judged by compressing a few pieces.
    ///
    /// # Errors
    /// If the compressor does not start.
    pub fn estimate(&self) -> Result<u64> {
        self.plan.estimate(&self.disk)
    }

    /// Saves to the file `path`, or to one in the folder `path`. If that
    /// fails, nothing is left of it.
    ///
    /// # Errors
    /// Refused, if there is such a file, or the interrupted image of something
    /// else; if there is no room.
    pub fn run(self, path: &Path, cancel: &Cancel, progress: &dyn Progress) -> Result<Done> {
        let Self { disk, plan, missing } = self;
        let path = image_path(&plan, path, false);
        if check_interrupted(&path, disk.imported())? {
            let name = partial_path(&path);
            let text = format!("{} was interrupted; it is replaced", name.display());
            progress.note(&Event::Notice(text));
        }
        check_room(&plan, &disk, &path, progress)?;
        let partial = Partial::create(&path)?;
        let leftover = Leftover(Some(partial_path(&path)));
        let out = BufWriter::with_capacity(BUFFER, partial);
        let writer = save::start(&plan, out)?;
        let told = Told { progress, missing: &missing };
        let (out, saved) = save::run(&plan, &disk, writer, false, cancel, &told)?;
        let partial = out
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .context(|| "writing the image".into())?;
        disk.source().map_or(Ok(()), check_still_unused)?;
        partial.commit()?;
        leftover.keep();
        let mut done = Done::new(saved, plan, path);
        done.name_losses(cancel, progress);
        Ok(done)
    }
}

/// Looks at what is at the place of the image to be, called `path` once it is
/// whole: true if that is an import of the same that was interrupted, which
/// cannot be gone on with.
///
/// # Errors
/// Refused, if it is the interrupted image of something else.
pub fn check_interrupted(path: &Path, imported: &Imported) -> Result<bool> {
    let interrupted = partial_path(path);
    if !interrupted.exists() {
        return Ok(false);
    }
    let head = Source::open(&interrupted).and_then(|old| read_head(&old));
    let Ok((head, _, _)) = head else { return Ok(true) };
    if head.about.imported.is_some_and(|old| old.path == imported.path) {
        return Ok(true);
    }
    let what = format!("{} is the interrupted image of something else", interrupted.display());
    Err(refuse_interrupted(&what, path))
}

/// What was imported, with what is wrong with it.
fn told(disk: &Disk) -> Imported {
    const LISTED: usize = 10;
    let mut imported = disk.imported().clone();
    let unreadable = disk.unreadable();
    if !unreadable.is_empty() {
        let places: Vec<String> =
            unreadable.iter().take(LISTED).map(|it| it.start().to_string()).collect();
        let more = if unreadable.count() > LISTED { " ..." } else { "" };
        imported.notes.push(format!(
            "{} bytes could not be read when they were saved, and hold the marks of the tool \
             that saved them: at {}{more}",
            unreadable.bytes(),
            places.join(", ")
        ));
    }
    imported
}

/// Removes what was written of an image unless it became whole: it could not
/// be gone on with.
struct Leftover(Option<PathBuf>);

impl Leftover {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            // What cannot be removed still has the name of something unfinished.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Says why ranges are missing: nothing is wrong with a medium if they were
/// not in what was imported.
struct Told<'a> {
    progress: &'a dyn Progress,
    missing: &'a ExtentSet,
}

impl Progress for Told<'_> {
    fn stage(&self, name: &str, total: u64) {
        self.progress.stage(name, total);
    }

    fn advance(&self, bytes: u64) {
        self.progress.advance(bytes);
    }

    fn note(&self, event: &Event) {
        let Event::Unreadable { extent, cause } = event else { return self.progress.note(event) };
        let unreadable = |extent, cause: &str| {
            self.progress.note(&Event::Unreadable { extent, cause: cause.to_owned() });
        };
        for extent in self.missing.within(*extent) {
            unreadable(extent, "it is not in what was imported");
        }
        for extent in self.missing.holes_within(*extent) {
            unreadable(extent, cause);
        }
    }
}

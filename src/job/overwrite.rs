// SPDX-License-Identifier: MIT OR Apache-2.0
//! Overwriting a target, from an image or from another disk.
//!
//! [`Prepared::new`] checks that the target may be overwritten, looks at what
//! is on it, and makes the plan. That is shown and confirmed. Then
//! [`Prepared::open`] claims the target and makes sure that it is still the
//! same one, and [`Opened::run`] writes.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::device::{
    self, KernelPartition, Reread, Seen, Source, check_opened_target, check_target,
};
use crate::error::{Context, Error, Result};
use crate::extent::Extent;
use crate::image::format::{Entry, Head};
use crate::io::ReadAt;
use crate::pipeline::Cancel;
use crate::progress::{Event, Progress};
use crate::restore::{self, Feed, Options, Plan, Restored, TargetFacts};
use crate::units::SectorSize;

use super::target::{Confirmed, Kind, Target, check_same, kind_of, look_at};

/// The disk to write from, if it can be read at any position.
pub type Disk<'a> = Option<(&'a dyn ReadAt, &'a [Entry])>;

/// A target that was checked and looked at, and what would be written to it.
#[derive(Debug)]
pub struct Prepared {
    path: PathBuf,
    read: Option<PathBuf>,
    target: Target,
    seen: Option<Seen>,
    facts: TargetFacts,
    options: Options,
    plan: Plan,
    /// What the plan was made for.
    image_id: Uuid,
}

impl Prepared {
    /// Checks the target, looks at it, and plans. Nothing is written or made.
    ///
    /// `read` is the file or disk that is read, which must not be on the
    /// target.
    ///
    /// # Errors
    /// Refused if it may not be overwritten or what is in `feed` does not go
    /// there.
    pub fn new(
        path: &Path,
        read: Option<&Path>,
        options: &Options,
        feed: &dyn Feed,
        disk: Disk<'_>,
    ) -> Result<Self> {
        let head = feed.head();
        check_target(path, read)?;
        let (target, seen) = look_at(path)?;
        let facts = facts(path, options.partition, head, &target.kind)?;
        // Planned before it is opened: opening makes the file.
        let plan = Plan::new(head, disk, &facts, options)?;
        let (path, read) = (path.to_owned(), read.map(Path::to_owned));
        let (options, image_id) = (options.clone(), head.image_id);
        Ok(Self { path, read, target, seen, facts, options, plan, image_id })
    }

    /// What would be overwritten.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// What would be written.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The size of the target, once it is there.
    #[must_use]
    pub const fn target_len(&self) -> u64 {
        self.facts.len
    }

    /// Claims the target, unless it has become another one since it was shown.
    ///
    /// # Errors
    /// Refused if it is in use or another one by now.
    pub fn open(&self, confirmed: &Confirmed) -> Result<Opened<'_>> {
        if !confirmed.is_of(&self.target) {
            return Err(Error::refused(format!("{} was not confirmed", self.target.path)));
        }
        let target = device::Target::open(&self.path, Some(self.facts.len))?;
        if target.len() != self.facts.len {
            let path = &self.target.path;
            return Err(Error::failed(format!("{path} has changed its size meanwhile")));
        }
        check_same(&target, self.seen.as_ref())?;
        check_opened_target(&target, self.read.as_deref())?;
        Ok(Opened { prepared: self, target })
    }
}

/// A target that is claimed, and confirmed to be the one that was meant.
#[derive(Debug)]
pub struct Opened<'a> {
    prepared: &'a Prepared,
    target: device::Target,
}

impl Opened<'_> {
    /// What is about to be written to, to be known again afterwards.
    ///
    /// # Errors
    /// If the kernel cannot be asked.
    pub fn seen(&self) -> Result<Seen> {
        Seen::of_target(&self.target)
    }

    /// Writes, reads back, and makes the kernel see the new partitions.
    ///
    /// # Errors
    /// Anything that keeps the target from being exact. It is then blank at
    /// both ends; a file that was not there before is removed again.
    pub fn run(
        self,
        feed: &dyn Feed,
        cancel: &Cancel,
        progress: &dyn Progress,
    ) -> Result<Restored> {
        let Prepared { path, plan, options, target: shown, image_id, .. } = self.prepared;
        if feed.head().image_id != *image_id {
            return Err(Error::refused("the image has become another one since it was shown")
                .hint("nothing was written; choose the image again"));
        }
        let note = |text: String| progress.note(&Event::Notice(text));
        if let Err(error) = self.target.forget_partitions() {
            note(format!("the system still shows old partitions ({error})"));
        }
        let result = restore::run(plan, feed, &self.target, options, cancel, progress);
        let restored = result.inspect_err(|_| {
            if self.target.was_created() {
                // What was not there before must not be in the way of the
                // next attempt.
                let _ = std::fs::remove_file(path);
            }
        });
        let restored = restored.context(|| format!("restoring {}", shown.path))?;
        if options.partition.is_none()
            && let Err(error) = reread(&self.target, feed.head())
        {
            note(format!(
                "the system does not see the new partitions yet ({error}); reconnect the disk or \
                 restart"
            ));
        }
        Ok(restored)
    }
}

/// Whether a target would be refused, without a look at what is on it.
///
/// # Errors
/// As [`Prepared::new`].
pub fn check(
    path: &Path,
    read: Option<&Path>,
    options: &Options,
    feed: &dyn Feed,
    disk: Disk<'_>,
) -> Result<()> {
    check_target(path, read)?;
    let facts = facts(path, options.partition, feed.head(), &kind_of(path)?)?;
    Plan::new(feed.head(), disk, &facts, options).map(|_| ())
}

fn facts(path: &Path, partition: Option<u32>, head: &Head, kind: &Kind) -> Result<TargetFacts> {
    let wanted = match partition {
        Some(number) => head.about.layout.partition_extent(number, head.disk_len)?.len(),
        None => head.disk_len,
    };
    let (is_device, is_new) = match kind {
        Kind::NewFile => (false, true),
        Kind::File { .. } => (false, false),
        Kind::Device { .. } => (true, false),
    };
    let mut facts = TargetFacts {
        name: path.display().to_string(),
        len: wanted,
        sector_size: SectorSize::new(head.about.disk.logical_sector).unwrap_or(SectorSize::B512),
        is_device,
        is_new,
        can_discard: true,
    };
    if !is_new {
        let existing = Source::open(path)?;
        facts.len = existing.len();
        if is_device {
            facts.sector_size = existing.sector_size();
            facts.can_discard = device::can_discard(path);
        }
    }
    Ok(facts)
}

/// Makes the kernel see the restored partitions; a failure is no loss.
fn reread(target: &device::Target, head: &Head) -> Result<Reread> {
    let partitions: Vec<KernelPartition> = head
        .about
        .layout
        .partitions()
        .filter(|(partition, _)| !partition.extent.is_empty())
        .map(|(partition, _)| KernelPartition {
            number: partition.number,
            extent: Extent::new(partition.extent.start(), partition.extent.end()),
        })
        .collect();
    target.reread_partition_table(&partitions)
}

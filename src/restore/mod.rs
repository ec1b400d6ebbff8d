// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes a disk, from an image or from another disk, so that it cannot be
//! taken for a good one before it is.
//!
//! The order: checks and a rehearsal; both ends of the target are blanked; the
//! body is written; it is read back from the medium and compared with the
//! hashes; the last MiB (with the backup partition table) is written, then the
//! first MiB; both are read back. A restore that stops anywhere in between
//! leaves a disk that nothing can boot or mount.

mod body;
mod feed;
mod plan;

pub use feed::{Content, Decode, Disk, Feed, Indexed, Piece, Streamed};
pub use plan::{Plan, TargetFacts};

use self::body::{Body, Held};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::extent::Extent;
use crate::io::{Limit, WriteAt};
use crate::pipeline::Cancel;
use crate::progress::{Event, Progress};

/// What to do about the unused bytes of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FreeSpace {
    /// Discard where the target can, else leave.
    #[default]
    Auto,
    /// Leave what is there.
    Leave,
    /// Tell the target that they are unused.
    Discard,
    /// Write zeros.
    Zero,
}

impl FreeSpace {
    const fn resolve(self, target: &TargetFacts) -> Self {
        match self {
            Self::Auto if target.is_new => Self::Leave,
            Self::Auto if target.can_discard => Self::Discard,
            Self::Auto => Self::Leave,
            other => other,
        }
    }
}

/// What a user can choose about a restore.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only this partition.
    pub partition: Option<u32>,
    /// What to do about unused bytes.
    pub free: FreeSpace,
    /// False to trust the medium.
    pub skip_verify: bool,
    /// Allow a smaller target if everything stored fits.
    pub fit: bool,
}

/// What a restore has done.
#[derive(Debug, Clone)]
pub struct Restored {
    /// How many bytes were written.
    pub written: u64,
    /// True if all of it was read back and compared.
    pub verified: bool,
    /// The ranges of the source that were not known, and are zero now.
    pub losses: Vec<Extent>,
}

/// Restores what `feed` gives to `target`.
///
/// # Errors
/// Anything that keeps the target from being exact; it is then blank at both
/// ends.
pub fn run(
    plan: &Plan,
    feed: &dyn Feed,
    target: &dyn WriteAt,
    options: &Options,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<Restored> {
    for notice in &plan.notices {
        progress.note(&Event::Notice(notice.clone()));
    }
    wipe(plan, target)?;

    let limited = Limit::new(
        target,
        plan.body.iter().chain(plan.free.iter()).map(|extent| plan.on_target(extent)).collect(),
        "it is held back until the rest is verified",
    );
    let held = Held::new(&plan.held);
    let body = Body { plan, target: &limited, cancel, progress };
    let pieces = body.write(feed, &held)?;
    finish_writes(target).context(|| "writing the body".into())?;
    if !options.skip_verify {
        target.drop_cache()?;
        body.read_back(&pieces)?;
    }
    body.free_space()?;

    // Last the end, then the beginning: only now the disk becomes one.
    cancel.check()?;
    let ends = held.into_contents(plan);
    for (extent, content) in ends.iter().rev() {
        target.write_at(extent.start(), content)?;
        finish_writes(target)?;
    }
    if !options.skip_verify {
        target.drop_cache()?;
        for (extent, content) in &ends {
            let mut found = vec![0; content.len()];
            target.read_at(extent.start(), &mut found)?;
            if found != *content {
                // Half a disk must not look like one.
                wipe(plan, target)?;
                return Err(mismatch(*extent));
            }
        }
    }
    let written = plan.body.bytes() + ends.iter().map(|(extent, _)| extent.len()).sum::<u64>();
    let kept = plan.window;
    let losses: Vec<Extent> = feed
        .losses()
        .iter()
        .map(|loss| loss.intersect(&kept))
        .filter(|loss| !loss.is_empty())
        .collect();
    Ok(Restored { written, verified: !options.skip_verify, losses })
}

fn finish_writes(target: &dyn WriteAt) -> Result<()> {
    target.flush()
}

/// Blanks both ends, so that neither an old nor a half-written disk is found.
fn wipe(plan: &Plan, target: &dyn WriteAt) -> Result<()> {
    for extent in plan.wiped.iter() {
        target.zero(plan.on_target(extent)).context(|| "blanking the ends of the target".into())?;
    }
    target.flush()
}

fn mismatch(extent: Extent) -> Error {
    Error::new(
        ErrorKind::Damaged,
        format!("what was written at {extent} of the target reads back differently"),
    )
    .hint("the drive, its cable or the memory of this machine is faulty; the target was left blank")
}

/// The losses of a finished restore as the error that sets the exit code.
///
/// # Errors
/// Losses, if there are any.
pub fn check_losses(losses: &[Extent]) -> Result<()> {
    if losses.is_empty() {
        return Ok(());
    }
    let bytes: u64 = losses.iter().map(Extent::len).sum();
    Err(Error::new(
        ErrorKind::Losses,
        format!(
            "{bytes} bytes in {} places could not be read when the disk was saved; \
             they are zero on the target",
            losses.len()
        ),
    )
    .hint("everything else was restored; check the filesystems before use"))
}

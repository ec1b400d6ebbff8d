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

/// What to write where the source could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fill {
    /// Zeros.
    #[default]
    Zeros,
    /// A text that can be searched for.
    Pattern,
}

/// The text of [`Fill::Pattern`], over and over from the start of the disk.
pub const PATTERN: &[u8; 32] = b"DACAPO: THIS COULD NOT BE READ. ";

impl Fill {
    /// Fills bytes that could not be read, which are at `offset` of the disk.
    fn fill(self, offset: u64, bytes: &mut [u8]) {
        if self == Self::Zeros {
            return bytes.fill(0);
        }
        // OK because it is below 32.
        let start = (offset % PATTERN.len() as u64) as usize;
        let text = PATTERN.iter().cycle().skip(start);
        bytes.iter_mut().zip(text).for_each(|(byte, letter)| *byte = *letter);
    }
}

impl FreeSpace {
    const fn resolve(self, target: &TargetFacts) -> Self {
        match self {
            Self::Auto if target.is_new || !target.can_discard => Self::Leave,
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
    /// What to write where the source could not be read.
    pub fill: Fill,
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
/// ends, or the hint says that it could not even be blanked.
pub fn run(
    plan: &Plan,
    feed: &dyn Feed,
    target: &dyn WriteAt,
    options: &Options,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<Restored> {
    feed.rehearse(&plan.held).context(|| "before anything is written".into())?;
    for notice in &plan.notices {
        progress.note(&Event::Notice(notice.clone()));
    }
    let not_blank = |error: Error| error.hint("the target could not be blanked: do not use it");
    wipe(plan, target).map_err(not_blank)?;
    let written = write_body(plan, feed, target, options, cancel, progress).and_then(|held| {
        // From here on a beginning may be there: half a disk must not keep it.
        cancel.finish();
        write_ends(plan, held, target, options).map_err(|error| match wipe(plan, target) {
            Ok(()) => error,
            Err(_) => not_blank(error),
        })
    });
    let written = written.map_err(|error| match error.hint_text() {
        Some(hint) if hint.contains("could not be blanked") => error,
        Some(hint) => {
            let hint = format!("{hint}; {BLANK}");
            error.hint(hint)
        }
        None => error.hint(BLANK),
    })?;
    let losses: Vec<Extent> = feed
        .losses()
        .iter()
        .map(|loss| loss.intersect(&plan.window))
        .filter(|loss| !loss.is_empty())
        .collect();
    Ok(Restored {
        written: plan.body.bytes().saturating_add(written),
        verified: !options.skip_verify,
        losses,
    })
}

const BLANK: &str = "the target is blank at both ends and cannot be booted or mounted; \
                     restoring it again starts over";

/// Writes all but the ends, reads it back, and returns what the ends will hold.
fn write_body(
    plan: &Plan,
    feed: &dyn Feed,
    target: &dyn WriteAt,
    options: &Options,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<Held> {
    let limited = Limit::new(
        target,
        plan.body.iter().chain(plan.free.iter()).map(|extent| plan.on_target(extent)).collect(),
        "it is held back until the rest is verified",
    );
    let held = Held::new(&plan.held);
    let body = Body { plan, target: &limited, fill: options.fill, cancel, progress };
    let pieces = body.write(feed, &held)?;
    target.flush().context(|| "writing the body".into())?;
    if !options.skip_verify {
        target.drop_cache()?;
        body.read_back(&pieces)?;
    }
    body.free_space()?;
    cancel.check()?;
    Ok(held)
}

/// Writes the end, then the beginning: only now the disk becomes one. Returns
/// how many bytes that were.
fn write_ends(plan: &Plan, held: Held, target: &dyn WriteAt, options: &Options) -> Result<u64> {
    let ends = held.into_contents(plan);
    for (extent, content) in ends.iter().rev() {
        target.write_at(extent.start(), content)?;
        target.flush()?;
    }
    if !options.skip_verify {
        target.drop_cache()?;
        for (extent, content) in &ends {
            let mut found = vec![0; content.len()];
            target.read_at(extent.start(), &mut found)?;
            if found != *content {
                return Err(mismatch(*extent));
            }
        }
    }
    Ok(ends.iter().map(|(extent, _)| extent.len()).sum())
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
    .hint("the drive, its cable or the memory of this machine is faulty")
}

/// The losses of a finished restore as the error that sets the exit code.
///
/// # Errors
/// Losses, if there are any.
pub fn check_losses(losses: &[Extent], fill: Fill) -> Result<()> {
    if losses.is_empty() {
        return Ok(());
    }
    let bytes: u64 = losses.iter().map(Extent::len).sum();
    Err(Error::new(
        ErrorKind::Losses,
        format!(
            "{bytes} bytes in {} places could not be read when the disk was saved; they are {} \
             on the target",
            losses.len(),
            match fill {
                Fill::Zeros => "zero",
                Fill::Pattern => "filled with a text that says so",
            }
        ),
    )
    .hint("everything else was restored; check the filesystems before use"))
}

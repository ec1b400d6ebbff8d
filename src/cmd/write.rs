// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `restore` and `clone` have in common: showing a target, asking,
//! writing it, and reporting.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::browse::lost::LostVolume;
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::image::format::Head;
use crate::job::Target;
use crate::job::overwrite::{Disk, Prepared};
use crate::pipeline::Cancel;
use crate::restore::{self, Feed, Fill, FreeSpace, Options, Plan};
use crate::units::human;

use super::Outcome;
use super::confirm::confirm;
use super::open::{is_standard_stream, outcome};
use super::output::{Output, plain};
use super::save::show_lost;
use super::target::{self, TargetArgs};
use super::text::duration;

/// A restore or clone that is about to run.
#[derive(Debug)]
pub(super) struct Job<'a> {
    pub(super) path: &'a Path,
    pub(super) how: &'a TargetArgs,
    pub(super) partition: Option<u32>,
    /// The image, which must not be on the target.
    pub(super) image: Option<&'a Path>,
    /// What of its content is known to be missing.
    pub(super) lost: &'a [LostVolume],
}

impl Job<'_> {
    fn options(&self) -> Options {
        Options {
            partition: self.partition,
            free: match self.how.free {
                target::FreeSpace::Auto => FreeSpace::Auto,
                target::FreeSpace::Leave => FreeSpace::Leave,
                target::FreeSpace::Discard => FreeSpace::Discard,
                target::FreeSpace::Zero => FreeSpace::Zero,
            },
            skip_verify: self.how.no_verify,
            fit: self.how.fit,
            fill: self.fill(),
        }
    }

    const fn fill(&self) -> Fill {
        match self.how.fill {
            target::Fill::Zeros => Fill::Zeros,
            target::Fill::Pattern => Fill::Pattern,
        }
    }

    /// Says what is missing before it is decided whether to write.
    fn show_missing(&self, feed: &dyn Feed, plan: &Plan, output: &Output) {
        let missing: Vec<Extent> = feed
            .losses()
            .iter()
            .map(|loss| loss.intersect(&plan.window))
            .filter(|loss| !loss.is_empty())
            .collect();
        if missing.is_empty() {
            return;
        }
        let bytes: u64 = missing.iter().map(Extent::len).sum();
        output.note(&format!(
            "{} in {} places could not be read when the disk was saved, and will be missing",
            human(bytes),
            missing.len()
        ));
        show_lost(self.lost, output);
    }

    /// Checks, shows, asks, writes, and reports.
    ///
    /// # Errors
    /// Refused before anything is written; anything else after that leaves
    /// the target blank at both ends.
    pub(super) fn run(
        &self,
        feed: &dyn Feed,
        disk: Disk<'_>,
        output: &Output,
        cancel: &Cancel,
    ) -> Result<Outcome> {
        if is_standard_stream(self.path) {
            return Err(Error::usage("a disk is not written to standard output")
                .hint("TARGET is a disk, a partition or a file; a file named '-' is ./-"));
        }
        let read = self.image.map(Path::to_owned).or_else(standard_input_file);
        let prepared = Prepared::new(self.path, read.as_deref(), &self.options(), feed, disk)?;
        let (plan, shown) = (prepared.plan(), prepared.target());
        show(feed.head(), plan, shown, output);
        self.show_missing(feed, plan, output);
        if self.how.dry_run {
            output.summary(&serde_json::json!({
                "target": shown.path,
                "to_write": plan.body.bytes(),
                "notices": plan.notices,
            }));
            return Ok(Outcome::Done);
        }
        let confirmed = confirm(shown, &self.how.answer, output)?;
        let opened = prepared.open(&confirmed)?;
        output.way_on(format!(
            "{} is not complete and cannot be booted or mounted; the same command starts over",
            shown.path
        ));
        let started = Instant::now();
        let listener = output.listener();
        let result = opened.run(feed, cancel, &*listener);
        drop(listener);
        let restored = result?;
        let seconds = started.elapsed().as_secs_f64();
        output.info(&format!(
            "restored {} in {}{}: {}",
            human(restored.written),
            duration(seconds),
            if restored.verified { ", read back and compared" } else { ", not read back" },
            shown.path,
        ));
        output.summary(&serde_json::json!({
            "target": shown.path,
            "written": restored.written,
            "verified": restored.verified,
            "losses": restored.losses,
            "lost_files": self.lost,
            "notices": plan.notices,
            "seconds_elapsed": seconds,
        }));
        Ok(outcome(restore::check_losses(&restored.losses, self.fill())))
    }
}

/// The file or device that standard input comes from, if it is one.
fn standard_input_file() -> Option<PathBuf> {
    // Of a pipe, the link leads to no path.
    std::fs::canonicalize("/proc/self/fd/0").ok()
}

fn show(head: &Head, plan: &Plan, shown: &Target, output: &Output) {
    let about = &head.about;
    let title = about.label.as_deref().or(about.disk.model.as_deref()).unwrap_or("disk");
    output.info(&format!(
        "'{}' of {}: {} to write to {}",
        plain(title),
        plain(&about.created),
        human(plan.body.bytes()),
        shown.path
    ));
}

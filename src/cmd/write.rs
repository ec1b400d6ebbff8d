// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `restore` and `clone` have in common: checking, showing, confirming and
//! writing a target.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::device::{
    DiskIdentity, KernelPartition, NodeId, Reread, Source, Target, check_opened_target,
    check_target,
};
use crate::error::{Context, Error, Result};
use crate::extent::Extent;
use crate::image::format::{Entry, Head};
use crate::io::ReadAt;
use crate::layout;
use crate::pipeline::Cancel;
use crate::restore::{self, Feed, FreeSpace, Options, Plan, TargetFacts};
use crate::units::human;

use super::Outcome;
use super::confirm::{self, confirm};
use super::open::{is_standard_stream, outcome};
use super::output::{Output, plain};
use super::target::{self, TargetArgs};
use super::text::duration;

/// The disk to write from, if it can be read at any position.
pub(super) type Disk<'a> = Option<(&'a dyn ReadAt, &'a [Entry])>;

/// A restore or clone that is about to run.
#[derive(Debug)]
pub(super) struct Job<'a> {
    pub(super) path: &'a Path,
    pub(super) how: &'a TargetArgs,
    pub(super) partition: Option<u32>,
    /// The image, which must not be on the target.
    pub(super) image: Option<&'a Path>,
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
        }
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
        let (head, options) = (feed.head(), self.options());
        if is_standard_stream(self.path) {
            return Err(Error::usage("a disk is not written to standard output")
                .hint("TARGET is a disk, a partition or a file; a file named '-' is ./-"));
        }
        let read = self.image.map(Path::to_owned).or_else(standard_input_file);
        check_target(self.path, read.as_deref())?;
        let (shown, seen) = look_at(self.path)?;
        let facts = self.facts(head, &shown)?;
        // Planned before it is opened: opening makes the file.
        let plan = Plan::new(head, disk, &facts, &options)?;
        show(head, &plan, &shown, output);
        if self.how.dry_run {
            output.summary(&serde_json::json!({
                "target": shown.path,
                "to_write": plan.body.bytes(),
                "notices": plan.notices,
            }));
            return Ok(Outcome::Done);
        }
        confirm(&shown, self.how, output)?;
        let target = Target::open(self.path, Some(facts.len))?;
        if target.len() != facts.len {
            return Err(Error::failed(format!("{} has changed its size meanwhile", shown.path)));
        }
        check_same(&target, seen.as_ref())?;
        check_opened_target(&target, read.as_deref())?;
        if let Err(error) = target.forget_partitions() {
            output.note(&format!("the system still shows old partitions ({error})"));
        }
        output.way_on(format!(
            "{} is not complete and cannot be booted or mounted; the same command starts over",
            shown.path
        ));
        let started = Instant::now();
        let listener = output.listener();
        let result = restore::run(&plan, feed, &target, &options, cancel, &*listener);
        drop(listener);
        let restored = result.inspect_err(|_| {
            if target.was_created() {
                // What was not there before must not be in the way of the
                // same command.
                let _ = std::fs::remove_file(self.path);
            }
        });
        let restored = restored.context(|| format!("restoring {}", shown.path))?;
        if self.partition.is_none() {
            reread(&target, head, output);
        }
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
            "notices": plan.notices,
            "seconds_elapsed": seconds,
        }));
        Ok(outcome(restore::check_losses(&restored.losses)))
    }

    fn facts(&self, head: &Head, shown: &confirm::Target) -> Result<TargetFacts> {
        let wanted = match self.partition {
            Some(number) => head.about.layout.partition_extent(number, head.disk_len)?.len(),
            None => head.disk_len,
        };
        let (is_device, is_new) = match shown.kind {
            confirm::Kind::NewFile => (false, true),
            confirm::Kind::File { .. } => (false, false),
            confirm::Kind::Device { .. } => (true, false),
        };
        let sector = crate::units::SectorSize::new(head.about.disk.logical_sector);
        let mut facts = TargetFacts {
            name: shown.path.clone(),
            len: wanted,
            sector_size: sector.unwrap_or(crate::units::SectorSize::B512),
            is_device,
            is_new,
            can_discard: true,
        };
        if !is_new {
            let existing = Source::open(self.path)?;
            facts.len = existing.len();
            if is_device {
                facts.sector_size = existing.sector_size();
                facts.can_discard = crate::device::can_discard(self.path);
            }
        }
        Ok(facts)
    }
}

/// The file or device that standard input comes from, if it is one.
fn standard_input_file() -> Option<PathBuf> {
    // Of a pipe, the link leads to no path.
    std::fs::canonicalize("/proc/self/fd/0").ok()
}

/// What was at the path of the target when it was shown.
#[derive(Debug)]
struct Seen {
    node: NodeId,
    disk: DiskIdentity,
}

/// Fails unless the opened target is what was confirmed: while a person reads
/// and types, a disk may be unplugged and another one get its name.
fn check_same(target: &Target, seen: Option<&Seen>) -> Result<()> {
    let other = |what: &str| {
        Error::refused(format!("{} {what} since it was shown", target.path()))
            .hint("nothing was written; run the same command again")
    };
    let Some(seen) = seen else {
        let is_new = target.was_created() || target.was_empty();
        return if is_new { Ok(()) } else { Err(other("has got content")) };
    };
    let disk = target.identity();
    let is_same = seen.node == target.node()?
        && seen.disk.serial == disk.serial
        && seen.disk.model == disk.model
        && seen.disk.wwn == disk.wwn
        && seen.disk.size == disk.size;
    if is_same { Ok(()) } else { Err(other("has become another one")) }
}

/// What is on the target now, to be shown before it is overwritten; and how
/// to know it again, unless it holds nothing.
fn look_at(path: &Path) -> Result<(confirm::Target, Option<Seen>)> {
    let name = path.display().to_string();
    let is_new = std::fs::metadata(path).map_or(true, |it| it.is_file() && it.len() == 0);
    if is_new {
        let kind = confirm::Kind::NewFile;
        return Ok((confirm::Target { path: name, kind, contents: Vec::new() }, None));
    }
    let source = Source::open(path)?;
    let seen = Seen { node: source.node()?, disk: source.identity() };
    let size = source.len();
    let kind = if source.is_device() {
        let DiskIdentity { model, serial, .. } = seen.disk.clone();
        confirm::Kind::Device { model, serial, size }
    } else {
        confirm::Kind::File { size }
    };
    let scan = layout::scan(&source).unwrap_or_default();
    let contents = scan
        .layout
        .regions
        .iter()
        .filter(|region| region.partition.is_some() || region.filesystem.is_some())
        .map(|region| {
            let label = region.filesystem.as_ref().and_then(|it| it.label.as_deref());
            format!(
                "{}: {}{}, {}",
                region.title(),
                region.content(),
                label.map(|label| format!(" '{label}'")).unwrap_or_default(),
                human(region.extent.len())
            )
        })
        .collect();
    Ok((confirm::Target { path: name, kind, contents }, Some(seen)))
}

fn show(head: &Head, plan: &Plan, shown: &confirm::Target, output: &Output) {
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

/// Makes the kernel see the restored partitions; a failure is no loss.
fn reread(target: &Target, head: &Head, output: &Output) {
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
    match target.reread_partition_table(&partitions) {
        Ok(Reread::ByKernel | Reread::ByHand | Reread::NotApplicable) => {}
        Err(error) => output.note(&format!(
            "the system does not see the new partitions yet ({error}); reconnect the disk or restart"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn seen(path: &Path) -> Seen {
        look_at(path).unwrap().1.unwrap()
    }

    #[test]
    fn only_what_was_shown_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.raw");
        std::fs::write(&path, [1; 8192]).unwrap();
        let target = Target::open(&path, Some(8192)).unwrap();
        check_same(&target, Some(&seen(&path))).unwrap();
        let changes: [fn(&mut DiskIdentity); 4] = [
            |disk| disk.serial = Some("S5Y1".into()),
            |disk| disk.model = Some("Samsung".into()),
            |disk| disk.wwn = Some("naa.5".into()),
            |disk| disk.size = 4096,
        ];
        for change in changes {
            let mut other = seen(&path);
            change(&mut other.disk);
            let error = check_same(&target, Some(&other)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        }
        let copy = folder.path().join("copy.raw");
        std::fs::copy(&path, &copy).unwrap();
        assert!(check_same(&target, Some(&seen(&copy))).is_err());
    }

    #[test]
    fn a_new_file_is_still_empty_when_it_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.raw");
        assert!(look_at(&path).unwrap().1.is_none());
        check_same(&Target::open(&path, Some(4096)).unwrap(), None).unwrap();
        std::fs::write(&path, []).unwrap();
        check_same(&Target::open(&path, Some(4096)).unwrap(), None).unwrap();
        // Of the right length, but somebody else's.
        let error = check_same(&Target::open(&path, Some(4096)).unwrap(), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    }
}

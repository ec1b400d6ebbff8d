// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a restore will write where, before it writes anything.

use super::{FreeSpace, Options};
use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::image::format::{Entry, Head, Kind};
use crate::image::frame::is_zero;
use crate::io::{ReadAt, read_vec};
use crate::layout::RegionKind;
use crate::save::range;
use crate::table::{Relocation, relocate};
use crate::units::{MIB, SectorSize, human};

/// What is held back and written last, at each end: a disk without its first
/// MiB has no partition table, no boot code and no filesystem.
const HELD_LEN: u64 = MIB;
/// Unused bytes between two used ranges are zeroed along, rather than asking
/// the device once more, if they are fewer than this and need not be left
/// alone.
const WRITE_THROUGH: u64 = 64 << 10;

/// What a restore needs to know of its target.
#[derive(Debug, Clone)]
pub struct TargetFacts {
    /// The name, for messages.
    pub name: String,
    /// The size in bytes.
    pub len: u64,
    /// The logical sector size.
    pub sector_size: SectorSize,
    /// True for a block device.
    pub is_device: bool,
    /// True for a file that was just made: it reads as zero everywhere.
    pub is_new: bool,
    /// True if it can be told which ranges are unused.
    pub can_discard: bool,
}

/// What a restore will do. All ranges are of the image's disk; a byte of it
/// goes to the target at its offset less the start of `window`.
#[derive(Debug)]
pub struct Plan {
    /// The part of the image's disk that is restored.
    pub window: Extent,
    /// The ranges of the body: written first.
    pub body: ExtentSet,
    /// The ranges at both ends that are written last.
    pub held: Vec<Extent>,
    /// Ranges of the target that are blanked first and not held.
    pub wiped: ExtentSet,
    /// The unused ranges that are not blanked anyway.
    pub free: ExtentSet,
    /// What is done about them.
    pub free_space: FreeSpace,
    /// What has to change in the partition table for a target of another size.
    pub relocation: Option<Relocation>,
    /// True if the target reads as zero before anything is written.
    pub target_is_zero: bool,
    /// What the user should know about it.
    pub notices: Vec<String>,
}

impl Plan {
    /// Decides what goes where, and refuses what cannot be exact.
    ///
    /// `disk` is the image's disk, if it can be read at any position; without
    /// it (a pipe) only a target of the same size gets a partition table.
    ///
    /// # Errors
    /// Refused if the target is too small or has other sectors, usage if there
    /// is no such partition.
    pub fn new(
        head: &Head,
        disk: Option<(&dyn ReadAt, &[Entry])>,
        target: &TargetFacts,
        options: &Options,
    ) -> Result<Self> {
        let layout = &head.about.layout;
        let window = match options.partition {
            Some(number) => layout.partition_extent(number, head.disk_len)?,
            None => Extent::new(0, head.disk_len),
        };
        check_sectors(head, target)?;
        let mut notices = Vec::new();
        let mut used: ExtentSet = head.used.within(window).collect();
        if target.len < window.len() {
            used = fit(head, disk, target, options, window, &used)?;
        }
        let relocation = if options.partition.is_none() && target.len != window.len() {
            relocation(head, disk, target, &used)?
        } else {
            None
        };
        if target.len > window.len() {
            notices.push(format!(
                "the target is {} larger than the {}, and that much of it is not used",
                human(target.len - window.len()),
                if options.partition.is_some() { "partition" } else { "disk that was saved" }
            ));
        }
        if let Some(relocation) = &relocation {
            notices.extend(relocation.steps.iter().cloned());
        }

        used = used.within(Extent::at(window.start(), target.len)).collect();
        let end = window.end().min(window.start().saturating_add(target.len));
        let kept = Extent::new(window.start(), end);
        let held = ends(kept);
        let held_set: ExtentSet = held.iter().copied().collect();
        let on_target = Extent::at(window.start(), target.len);
        let free_space = options.free.resolve(target);
        let mut body = used.subtract(&held_set);
        if free_space != FreeSpace::Leave || target.is_new {
            body = join_over(&body, &ExtentSet::from(kept).subtract(&held_set));
        }
        let mut wiped: ExtentSet = held_set;
        if target.len > kept.len() {
            let tail = target.len.saturating_sub(HELD_LEN).max(kept.len());
            wiped.insert(Extent::new(tail, target.len).shift(window.start()));
        }
        // The rest of a larger target is unused, too.
        let free = ExtentSet::from(on_target).subtract(&used).subtract(&wiped);
        Ok(Self {
            window: kept,
            body,
            held,
            wiped,
            free,
            free_space,
            relocation,
            target_is_zero: target.is_new,
            notices,
        })
    }

    /// Where a range of the image's disk is on the target.
    #[must_use]
    pub fn on_target(&self, extent: Extent) -> Extent {
        let start = self.window.start();
        Extent::new(extent.start().saturating_sub(start), extent.end().saturating_sub(start))
    }
}

/// The first and the last MiB; one range if they touch.
fn ends(window: Extent) -> Vec<Extent> {
    if window.len() <= 2 * HELD_LEN {
        return vec![window];
    }
    vec![Extent::at(window.start(), HELD_LEN), Extent::new(window.end() - HELD_LEN, window.end())]
}

/// The set with the small holes between its ranges filled, as far as `inside`.
fn join_over(set: &ExtentSet, inside: &ExtentSet) -> ExtentSet {
    let mut joined: Vec<Extent> = Vec::with_capacity(set.count());
    for extent in set.iter() {
        match joined.last_mut() {
            Some(last)
                if extent.start() - last.end() < WRITE_THROUGH
                    && inside.covers(Extent::new(last.end(), extent.start())) =>
            {
                *last = Extent::new(last.start(), extent.end());
            }
            _ => joined.push(extent),
        }
    }
    joined.into_iter().collect()
}

fn check_sectors(head: &Head, target: &TargetFacts) -> Result<()> {
    let saved = head.about.disk.logical_sector;
    if !target.is_device || saved == target.sector_size.get() {
        return Ok(());
    }
    Err(Error::refused(format!(
        "the image is of a disk with sectors of {saved} bytes, {} has sectors of {} bytes",
        target.name, target.sector_size
    ))
    .hint("partition tables and filesystems count in sectors: restore to a disk with the same"))
}

fn too_small(head: &Head, target: &TargetFacts, window: Extent) -> Error {
    Error::refused(format!(
        "{} is too small: it has {} bytes, {} are needed",
        target.name,
        target.len,
        window.len()
    ))
    .hint(format!(
        "choose a target of at least {}{}",
        human(window.len()),
        if head.about.layout.table.is_some() {
            ", or pass --fit if all partitions lie in front of its end"
        } else {
            ""
        }
    ))
}

/// The used bytes of a disk that is to go to a smaller target. Zeros behind its
/// end need no place; whatever else is stored there makes the relocation refuse.
fn fit(
    head: &Head,
    disk: Option<(&dyn ReadAt, &[Entry])>,
    target: &TargetFacts,
    options: &Options,
    window: Extent,
    used: &ExtentSet,
) -> Result<ExtentSet> {
    if !options.fit || options.partition.is_some() {
        return Err(too_small(head, target, window));
    }
    let Some((disk, entries)) = disk else {
        return Err(Error::refused(
            "a smaller target needs an image that can be read at any position",
        )
        .hint("give the image as a file, not through a pipe"));
    };
    let beyond = Extent::new(target.len, window.end());
    // Free space behind the end belongs to a filesystem that counts on it.
    let layout = &head.about.layout;
    let owned = layout.regions.iter().find(|region| {
        !matches!(region.kind, RegionKind::Gap | RegionKind::Table)
            && region.partition.as_ref().map_or(region.extent, |it| it.extent).overlaps(&beyond)
    });
    if let Some(region) = owned {
        let title = region.title();
        return Err(Error::refused(format!("{title} reaches past the end of {}", target.name))
            .hint("shrink it on the source and save again"));
    }
    // The end of the target will hold the backup table, so zeros that are
    // stored there must make room, too.
    let checked = Extent::new(target.len.saturating_sub(HELD_LEN), window.end());
    let mut stored: ExtentSet = used.within(Extent::new(0, checked.start())).collect();
    // Zero chunks of an image need not be read; of a disk, all has to be.
    let to_read: ExtentSet = if entries.is_empty() {
        used.within(checked).collect()
    } else {
        let data = entries.iter().filter(|entry| entry.kind == Kind::Data);
        data.flat_map(|entry| used.within(entry.extent(head).intersect(&checked))).collect()
    };
    for piece in to_read.iter().flat_map(|extent| extent.pieces(MIB)) {
        let content = read_vec(disk, piece.start(), piece.len() as usize)?;
        stored.extend(
            piece.pieces(512).filter(|part| !is_zero(&content[range(piece.start(), *part)])),
        );
    }
    Ok(stored)
}

fn relocation(
    head: &Head,
    disk: Option<(&dyn ReadAt, &[Entry])>,
    target: &TargetFacts,
    used: &ExtentSet,
) -> Result<Option<Relocation>> {
    let has_gpt = head.about.layout.table.as_ref().is_some_and(|table| table.kind == "GPT");
    let Some((disk, _)) = disk else {
        if !has_gpt {
            return Ok(None);
        }
        return Err(Error::refused(format!(
            "{} has another size than the disk that was saved, so its backup partition table \
             must move, and that needs an image that can be read at any position",
            target.name
        ))
        .hint("give the image as a file, not through a pipe"));
    };
    relocate(disk, used, target.len).map(Some)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is in use on an imported disk, and was not in what was imported.
//!
//! A range that came as it was, such as all of a raw image, is saved by what
//! is proven to be free, as any disk is. Where another tool chose what to keep,
//! exactly that is kept: a restore gives what the other tool would have given.
//! Its choice is compared with what is found to be in use all the same, and
//! what it left out is told: bytes of a filesystem count as lost, bytes that
//! belong to none, such as gaps between partitions, or that it calls free
//! itself, are only mentioned.

use super::Disk;
use crate::extent::{Extent, ExtentSet};
use crate::layout::{Region, Scan};
use crate::units::human;

/// A map with more ranges than this may claim some space that is free, so
/// that it stays small. What is missing by it counts as lost all the same:
/// nothing tells which of it is.
const EXACT_RANGES: usize = 1 << 18;

/// Cuts what is in use down to what is there, and gives back what is missing:
/// bytes that a filesystem uses, and that were not imported.
#[must_use]
pub fn fit(scan: &mut Scan, disk: &Disk) -> ExtentSet {
    let mut lost = ExtentSet::new();
    let mut used = ExtentSet::new();
    for region in &mut scan.layout.regions {
        let here = |set: &ExtentSet| set.within(region.extent).collect::<ExtentSet>();
        let wanted = here(&scan.used);
        if disk.whole.covers(region.extent) {
            used = used.union(&wanted);
            continue;
        }
        let chosen = here(&disk.chosen);
        let given = here(&disk.whole).union(&chosen);
        let absent = wanted.subtract(&given).subtract(&unknown_of(region, &given, disk));
        let lost_here = lost_of(region, &absent.subtract(&scan.spare));
        let is_exact = wanted.count() <= EXACT_RANGES;
        tell(region, &given, &absent.subtract(&lost_here), &lost_here, is_exact);
        let stored = wanted.intersect(&given).union(&chosen).union(&lost_here);
        region.used = stored.bytes();
        used = used.union(&stored);
        lost = lost.union(&lost_here);
    }
    scan.used = used;
    lost
}

/// The bytes of the logical volumes in it of which nobody knows what is in use: as
/// of a partition without a used map, what was imported is all that is known. Says
/// so in their notes.
fn unknown_of(region: &mut Region, given: &ExtentSet, disk: &Disk) -> ExtentSet {
    let mut unknown = ExtentSet::new();
    for inner in &mut region.volumes {
        let Some(extents) = disk.volumes.get(&inner.name) else { continue };
        let here: ExtentSet = extents.within(region.extent).collect();
        if here.subtract(&disk.whole).is_empty() {
            continue;
        }
        let Some(why) = inner.whole.take() else { continue };
        let there = here.intersect(given);
        inner.used = there.bytes();
        inner.notes.push(unknown_note(&there, &why));
        unknown = unknown.union(&here);
    }
    unknown
}

/// What is told of a volume without a used map, of which `given` was imported.
fn unknown_note(given: &ExtentSet, why: &str) -> String {
    if given.is_empty() {
        "it is not in what was imported; all of it is zero".into()
    } else {
        format!("what was imported of it is stored; nothing tells whether that is all ({why})")
    }
}

/// The bytes of its filesystem that are missing. Without a used map of its own
/// nobody knows which.
fn lost_of(region: &Region, absent: &ExtentSet) -> ExtentSet {
    let (Some(identity), None) = (&region.filesystem, &region.whole) else {
        return ExtentSet::new();
    };
    absent.within(Extent::at(region.extent.start(), identity.size)).collect()
}

/// Says so in the region's notes.
fn tell(
    region: &mut Region,
    given: &ExtentSet,
    elsewhere: &ExtentSet,
    lost: &ExtentSet,
    is_exact: bool,
) {
    if !lost.is_empty() {
        let doubt = if is_exact { "" } else { "; some of them may be free: it is much fragmented" };
        region.notes.push(format!(
            "{} bytes that this filesystem uses are not in what was imported; they are zero{doubt}",
            lost.bytes()
        ));
    }
    if given.is_empty() {
        region.whole = None;
        region.notes.push(unknown_note(given, ""));
        return;
    }
    match region.whole.take() {
        Some(why) => region.notes.push(unknown_note(given, &why)),
        None if !elsewhere.is_empty() => region.notes.push(format!(
            "{} that no filesystem calls in use were not imported; they are zero",
            human(elsewhere.bytes())
        )),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Identity;
    use crate::image::format::Imported;
    use crate::import::assembly::Assembly;
    use crate::layout::{Layout, RegionKind};
    use crate::units::SectorSize;

    /// A filesystem of blocks of 4 KiB, every second of which is in use.
    fn fragmented(blocks: u64) -> (Scan, ExtentSet) {
        let used: ExtentSet =
            (0..blocks).step_by(2).map(|number| Extent::at(number << 12, 4096)).collect();
        let size = blocks << 12;
        let region = Region {
            extent: Extent::new(0, size),
            kind: RegionKind::Volume,
            partition: None,
            filesystem: Some(Identity { name: "ext4".into(), size, ..Identity::default() }),
            used: used.bytes(),
            whole: None,
            notes: Vec::new(),
            advice: None,
            volumes: Vec::new(),
        };
        let layout = Layout { table: None, regions: vec![region] };
        (Scan { layout, used: used.clone(), ..Scan::default() }, used)
    }

    #[test]
    fn what_is_missing_is_lost_however_fragmented_the_map_is() {
        let folder = tempfile::tempdir().unwrap();
        for blocks in [1000, 3 << 18] {
            let (mut scan, used) = fragmented(blocks);
            let gone = Extent::at(500 << 12, 4096);
            let len = blocks << 12;
            let mut assembly = Assembly::new(folder.path(), len, SectorSize::B512).unwrap();
            assembly.chosen = used.subtract(&gone.into());
            let disk = Disk::assembled(assembly, folder.path(), Imported::default());
            assert_eq!(fit(&mut scan, &disk), gone.into(), "of {blocks} blocks");
            let notes = scan.layout.regions[0].notes.join("; ");
            assert!(notes.starts_with("4096 bytes that this filesystem uses"), "{notes}");
            assert_eq!(notes.contains("may be free"), blocks > 1000);
            assert!(scan.used.covers(gone));
        }
    }
}

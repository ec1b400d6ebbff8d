// SPDX-License-Identifier: MIT OR Apache-2.0
//! What fills a volume: volumes inside it, or a filesystem.
//!
//! A volume inside another is looked at as a disk is, for it may be the disk of
//! a virtual machine: table first, then what fills its partitions. What is in
//! use on it is then brought back to the bytes where it lies.

use super::{Inner, Scan, behind_the_end};
use crate::extent::ExtentSet;
use crate::fs::member::Member;
use crate::fs::{self, FILESYSTEMS, Filesystem, Identity, Readers, Used};
use crate::io::ReadAt;
use crate::ondisk::FormatError;
use crate::units::human;
use crate::volume::{Answer, Content, Inside, Map, VOLUMES, Volume};

/// How deep volumes inside volumes are looked into: a group of volumes on the
/// disk of a virtual machine that is a logical volume is the second level.
const MAX_DEPTH: u32 = 4;
/// How many volumes inside one are looked into.
const MAX_VOLUMES: usize = 1024;
/// How many ranges are told that no filesystem calls in use: far less than a
/// projection may have.
const MAX_SPARE: usize = 1 << 12;
/// Ranges of the volumes inside before the nearest are joined: 32 MiB of them.
const MAX_RANGES: usize = 1 << 21;

/// What fills a volume, and what of it is in use.
pub(super) struct Understood {
    pub(super) identity: Option<Identity>,
    pub(super) used: Used,
    pub(super) volumes: Vec<Inner>,
}

impl Understood {
    /// Nothing is known of it.
    pub(super) fn whole(len: u64, why: impl Into<String>) -> Self {
        Self::filesystem(None, Used::whole(len, why))
    }

    fn filesystem(identity: Option<Identity>, used: Used) -> Self {
        Self { identity, used, volumes: Vec::new() }
    }
}

/// What fills a volume, without a look at what of it is in use.
#[must_use]
pub fn probe(readers: Readers) -> Option<Identity> {
    let member = Member.probe(readers).ok().flatten();
    member
        .or_else(|| VOLUMES.iter().find_map(|driver| driver.probe(readers).ok().flatten()))
        .or_else(|| FILESYSTEMS.iter().find_map(|driver| driver.probe(readers).ok().flatten()))
}

/// What fills the first of these volumes, and what of it is in use.
pub(super) fn understand(readers: Readers, depth: u32) -> Understood {
    let Some(volume) = readers.first() else { return Understood::whole(0, "nothing to read") };
    let len = volume.len();
    // A member of an array may hold such a volume, but it is the array's.
    if matches!(Member.probe(readers), Ok(None)) {
        for driver in VOLUMES {
            match driver.probe(readers) {
                Ok(None) => {}
                Ok(Some(identity)) => return descend(*driver, identity, readers, depth),
                Err(error) => return unusable(driver.name(), len, &error),
            }
        }
    }
    for driver in FILESYSTEMS {
        match driver.probe(readers) {
            Ok(None) => {}
            Ok(Some(identity)) => {
                let used = driver.used(readers).unwrap_or_else(|error| {
                    Used::whole(len, format!("free space is not proven: {error}"))
                });
                let doubt = if used.whole.is_some() {
                    None
                } else {
                    doubt(&identity.name, fs::rival(*driver, *volume))
                };
                let used = doubt.map_or(used, |doubt| Used::whole(len, doubt));
                return Understood::filesystem(Some(identity), used);
            }
            Err(error) => return unusable(driver.name(), len, &error),
        }
    }
    Understood::whole(len, "no known filesystem was found")
}

fn unusable(name: &str, len: u64, error: &FormatError) -> Understood {
    Understood::whole(len, format!("looks like {name}, but cannot be used: {error}"))
}

/// Why a map is not to be trusted, if the volume may be something else.
fn doubt(name: &str, rival: Result<Option<String>, FormatError>) -> Option<String> {
    match rival {
        Ok(None) => None,
        Ok(Some(rival)) => {
            Some(format!("the volume has the signatures of both {name} and {rival}"))
        }
        Err(error) => Some(format!("what else it may be cannot be ruled out: {error}")),
    }
}

/// What is in use on a volume that holds others.
fn descend(driver: &dyn Volume, identity: Identity, readers: Readers, depth: u32) -> Understood {
    let Some(volume) = readers.first() else { return Understood::whole(0, "nothing to read") };
    let len = volume.len();
    let whole = |identity: Identity, why: String| {
        Understood::filesystem(Some(identity), Used::whole(len, why))
    };
    if depth >= MAX_DEPTH {
        let why = format!("it is inside of {MAX_DEPTH} other volumes, which is not looked into");
        return whole(identity, why);
    }
    let map = match driver.map(readers) {
        Ok(Answer::Map(map)) => map,
        Ok(Answer::Whole(used)) => return Understood::filesystem(Some(identity), used),
        Err(error) => return whole(identity, format!("free space is not proven: {error}")),
    };
    if let Some(doubt) = doubt(&identity.name, fs::rival_of(driver.name(), *volume)) {
        return whole(identity, doubt);
    }
    let (used, spare, volumes) = inside(&map, readers, depth);
    let mut used = Used::proven(used).spare(spare);
    used.notes.push(summary(&map, &volumes, len));
    used.notes.extend(map.notes);
    Understood { identity: Some(identity), used, volumes }
}

/// What is in use of the volumes inside, where it lies, what of it no filesystem
/// in them calls so, and who they are.
fn inside(map: &Map, readers: Readers, depth: u32) -> (ExtentSet, ExtentSet, Vec<Inner>) {
    let readable: Vec<&dyn ReadAt> = map
        .inside
        .iter()
        .filter_map(|inside| match &inside.content {
            Content::Readable(mapped) => Some(mapped as &dyn ReadAt),
            Content::Whole { .. } => None,
        })
        .chain(map.siblings.iter().map(|(_, sibling)| sibling as &dyn ReadAt))
        .collect();
    let outside = readers.get(1..).unwrap_or_default();
    let mut used = map.own.clone();
    let (mut found, mut spare, mut volumes) = (Vec::new(), ExtentSet::new(), Vec::new());
    for (number, inside) in map.inside.iter().enumerate() {
        let (extents, inner) = if number < MAX_VOLUMES {
            look(inside, &readable, outside, depth, &mut spare)
        } else {
            let why = format!("only the first {MAX_VOLUMES} volumes are looked into");
            stored(inside, why, None)
        };
        found.extend(extents.iter());
        if found.len() > MAX_RANGES {
            used.extend(std::mem::take(&mut found));
            used = used.joined(MAX_RANGES);
        }
        volumes.push(inner);
    }
    used.extend(found);
    (used, spare, volumes)
}

/// A volume inside: what is in use of it on the volume it is in, and who it is.
/// What no filesystem in it calls in use is added to `spare`.
fn look(
    inside: &Inside,
    readable: Readers,
    outside: Readers,
    depth: u32,
    spare: &mut ExtentSet,
) -> (ExtentSet, Inner) {
    let mapped = match &inside.content {
        Content::Readable(mapped) => mapped,
        Content::Whole { why, advice } => return stored(inside, why.clone(), advice.clone()),
    };
    let is_other = |reader: &&dyn ReadAt| !std::ptr::addr_eq(*reader, mapped);
    let others = readable.iter().copied().filter(is_other).chain(outside.iter().copied());
    let others: Vec<&dyn ReadAt> = others.collect();
    let scan = Scan::new(mapped, &others, depth.saturating_add(1));
    // Whatever was said of it, it stays inside its own bytes.
    let extents = mapped.project(&scan.used, 0).intersect(&inside.here);
    let mut nobodys = scan.spare.clone();
    for region in scan.layout.regions.iter().filter(|region| region.filesystem.is_some()) {
        nobodys.extend(behind_the_end(region.filesystem.as_ref(), region.extent).iter());
    }
    // Fewer than make a map coarser, so that it is exact.
    if nobodys.count() < MAX_SPARE {
        spare.extend(mapped.project(&nobodys, 0).intersect(&inside.here).iter());
    }
    let mut regions = scan.layout.regions;
    let mut inner = match (&scan.layout.table, regions.pop()) {
        (None, Some(region)) if regions.is_empty() => Inner::of_region(region),
        (table, last) => {
            let whole = regions.iter().chain(&last).find(|it| it.partition.is_none());
            let all = scan.used.bytes() == mapped.len();
            let whole = whole.filter(|_| all).and_then(|region| region.whole.clone());
            let partitions = regions.into_iter().chain(last);
            let partitions = partitions.filter(|region| region.partition.is_some());
            let kind = table.as_ref().map_or("", |table| &table.kind);
            Inner {
                whole,
                notes: vec![format!("a disk of its own, with a partition table ({kind})")],
                volumes: partitions.map(Inner::of_region).collect(),
                ..Inner::default()
            }
        }
    };
    inner.name.clone_from(&inside.name);
    inner.size = inside.here.bytes();
    inner.used = extents.bytes();
    if inner.size < mapped.len() {
        let elsewhere = human(mapped.len().saturating_sub(inner.size));
        inner.notes.push(format!("another {elsewhere} of it are on other physical volumes"));
    }
    (extents, inner)
}

/// A volume inside all of which is stored.
fn stored(inside: &Inside, why: String, advice: Option<String>) -> (ExtentSet, Inner) {
    let inner = Inner::whole(inside.name.clone(), inside.here.bytes(), why);
    (inside.here.clone(), Inner { advice, ..inner })
}

/// "LVM2 group vg0: 2 of 3 logical volumes by their used maps, 1.5 GiB in no
/// volume".
fn summary(map: &Map, volumes: &[Inner], len: u64) -> String {
    let by_map = volumes.iter().filter(|inner| inner.whole.is_none()).count();
    let taken = volumes.iter().fold(map.own.bytes(), |sum, it| sum.saturating_add(it.size));
    let free = human(len.saturating_sub(taken));
    let maps = match (by_map, volumes.len()) {
        (_, 0) => "no logical volumes".to_owned(),
        (by_map, count) => format!("{by_map} of {count} logical volumes by their used maps"),
    };
    format!("{}: {maps}, {free} in no volume", map.title)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What fills a volume, by the first driver that says so.
//!
//! The order of the drivers decides what a volume is that has the marks of several.
//! So where one looks and nothing can be read, what a later driver finds may be left
//! over from before. It is believed only if the head of the image says that the
//! volume was this very filesystem when all of that could be read.

use super::volume::Trouble;
use crate::extent::Extent;
use crate::fs::member::Member;
use crate::fs::{FILESYSTEMS, Filesystem, Identity, Readers};
use crate::layout::{Layout, RegionKind};
use crate::ondisk::FormatError;
use crate::volume::{VOLUMES, Volume};

/// What fills a volume.
pub(super) enum Filled {
    /// It is a part of something else.
    Part(Identity),
    Group(&'static dyn Volume, Identity),
    Filesystem(&'static dyn Filesystem, Identity),
    Nothing,
    /// That cannot be told.
    Unknown(Trouble),
}

/// What fills the first of these volumes, which was `known` when it was saved.
pub(super) fn filled(readers: Readers, known: Option<&Identity>) -> Filled {
    if let Ok(Some(identity)) = Member.probe(readers) {
        return Filled::Part(identity);
    }
    let volumes = VOLUMES.iter().map(|driver| {
        let group = |identity| Filled::Group(*driver, identity);
        (driver.name(), driver.probe(readers).map(|it| it.map(|it| (it.clone(), group(it)))))
    });
    let filesystems = FILESYSTEMS.iter().map(|driver| {
        let filesystem = |identity| Filled::Filesystem(*driver, identity);
        (driver.name(), driver.probe(readers).map(|it| it.map(|it| (it.clone(), filesystem(it)))))
    });
    let mut unread = None;
    for (driver, probed) in volumes.chain(filesystems) {
        let is_certain = unread.is_none();
        match probed {
            Ok(None) => {}
            Ok(Some((identity, filled))) => {
                if is_certain || known.is_some_and(|known| is_same(known, &identity)) {
                    return filled;
                }
                break;
            }
            Err(error @ FormatError::Io(_)) => {
                unread.get_or_insert_with(|| Trouble::of_probe(driver, error));
            }
            Err(error) if is_certain => {
                return Filled::Unknown(Trouble::of_probe(driver, error));
            }
            Err(_) => break,
        }
    }
    unread.map_or(Filled::Nothing, Filled::Unknown)
}

/// True if these are the same filesystem, clean or not.
fn is_same(known: &Identity, found: &Identity) -> bool {
    known.name == found.name
        && known.uuid == found.uuid
        && known.label == found.label
        && known.size == found.size
}

/// What filled the volumes of a disk when it was saved.
#[derive(Debug, Default)]
pub(super) struct Known(Vec<(String, Option<Extent>, Identity)>);

impl Known {
    pub(super) fn of(layout: &Layout) -> Self {
        let mut known = Vec::new();
        for region in &layout.regions {
            let place = match (&region.partition, region.kind) {
                (Some(partition), _) => Some((partition.number.to_string(), partition.extent)),
                (None, RegionKind::Volume) => Some(("disk".to_owned(), region.extent)),
                (None, _) => None,
            };
            let identity = region.filesystem.clone();
            known.extend(place.zip(identity).map(|((name, at), it)| (name, Some(at), it)));
            // Logical volumes; not the partitions inside of one.
            let inside = region.volumes.iter();
            known.extend(
                inside.filter_map(|it| Some((it.name.clone(), None, it.filesystem.clone()?))),
            );
        }
        Self(known)
    }

    /// What filled the volume of this name, at this place if it is in one piece.
    pub(super) fn get(&self, name: &str, extent: Option<Extent>) -> Option<&Identity> {
        let mut all = self.0.iter().filter(|(known, at, _)| known == name && *at == extent);
        // Two groups may have the same name.
        let (_, _, identity) = all.next()?;
        all.next().is_none().then_some(identity)
    }
}

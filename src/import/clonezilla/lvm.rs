// SPDX-License-Identifier: MIT OR Apache-2.0
//! Groups of logical volumes (LVM2) in a folder: `lvm_vg_dev.list` says which
//! partitions are physical volumes of which group, `lvm_GROUP.conf` is what
//! vgcfgbackup wrote of it, and each logical volume has an image as a partition
//! has, by the name `GROUP-VOLUME`.
//!
//! Clonezilla makes the physical volumes anew from the backup, and then restores
//! the logical ones. So it is done here: [`Backup`] has the bytes of the physical
//! volumes, and says where those of the logical ones belong.

use std::collections::BTreeSet;

use super::Files;
use crate::error::{Context, Error, Result};
use crate::extent::Extent;
use crate::import::assembly::Assembly;
use crate::volume::lvm2::{BackedUp, Backup};

/// Which partitions of which disks are in which group.
const PHYSICAL: &str = "lvm_vg_dev.list";
/// The logical volumes that were saved.
const LOGICAL: &str = "lvm_logv.list";

/// A physical volume that the folder tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Physical {
    group: String,
    /// "sda2"
    pub(super) device: String,
    id: String,
}

/// The physical volumes of all disks in the folder.
pub(super) fn physical(files: &Files) -> Result<Vec<Physical>> {
    if !files.has_content(PHYSICAL) {
        return Ok(Vec::new());
    }
    let lines = files.lines(PHYSICAL)?;
    let physical = lines.iter().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (group, device) = (words.next()?.to_owned(), words.next()?);
        let device = device.trim_start_matches("/dev/").replace('/', "-");
        Some(Physical { group, device, id: words.next().unwrap_or_default().to_owned() })
    });
    Ok(physical.collect())
}

/// The logical volumes that were saved: "vg0/root".
pub(super) fn saved(files: &Files) -> Result<Vec<String>> {
    if !files.has_content(LOGICAL) {
        return Ok(Vec::new());
    }
    let lines = files.lines(LOGICAL)?;
    let first = lines.iter().filter_map(|line| line.split_whitespace().next());
    Ok(first.map(|name| name.trim_start_matches("/dev/").to_owned()).collect())
}

/// The file with the backup of a group.
pub(super) fn backup_name(group: &str) -> String {
    format!("lvm_{group}.conf")
}

/// A group with physical volumes on the disk.
#[derive(Debug)]
pub(super) struct Group {
    backup: Backup,
    /// Where each of its physical volumes lies, if it is on the disk.
    parts: Vec<Option<Extent>>,
}

/// What a partition turns out to be that the folder calls a physical volume.
#[derive(Debug)]
pub(super) enum Member {
    /// One of the groups that were found.
    Of(String),
    /// Something that is not made anew, and why.
    Unusable(String),
}

/// The groups that were found, one physical volume after the other.
#[derive(Debug, Default)]
pub(super) struct Groups(pub(super) Vec<Group>);

impl Groups {
    /// Adds a physical volume, which is this partition.
    ///
    /// # Errors
    /// Damaged, if the backup of its group is missing.
    pub(super) fn add(
        &mut self,
        files: &Files,
        found: &Physical,
        extent: Extent,
    ) -> Result<Member> {
        let unusable = |why: String| Ok(Member::Unusable(why));
        if found.group.starts_with('/') {
            return unusable("it is in no group".into());
        }
        let index = match self.0.iter().position(|group| group.backup.name() == found.group) {
            Some(index) => index,
            None => {
                let name = backup_name(&found.group);
                let backup = match Backup::parse(files.text(&name)?.as_bytes()) {
                    Ok(backup) if backup.name() == found.group => backup,
                    Ok(backup) => {
                        return unusable(format!("{name} is of the group {}", backup.name()));
                    }
                    Err(error) => {
                        return unusable(format!(
                            "{name} is not understood: {}",
                            Error::from(error)
                        ));
                    }
                };
                let parts = vec![None; backup.physical_count()];
                self.0.push(Group { backup, parts });
                self.0.len().saturating_sub(1)
            }
        };
        let Some(group) = self.0.get_mut(index) else { return unusable("it is nowhere".into()) };
        let Some(physical) = group.backup.physical(&found.id) else {
            return unusable(format!("the group {} does not name it", found.group));
        };
        if let Err(error) = group.backup.head(physical, extent.len()) {
            return unusable(Error::from(error).to_string());
        }
        match group.parts.get_mut(physical) {
            Some(slot @ None) => *slot = Some(extent),
            _ => return unusable(format!("there are two of {}", found.id)),
        }
        Ok(Member::Of(found.group.clone()))
    }

    /// Something that was saved, or has an image, and that the backup of its group
    /// does not have, with the name of the group: where it belongs, nobody knows.
    /// The groups are those with physical volumes on the disk; all of the folder
    /// are in `physical`.
    pub(super) fn unknown(
        &self,
        saved: &[String],
        files: &Files,
        physical: &[Physical],
    ) -> Option<(String, &str)> {
        let (mut names, mut images) = (BTreeSet::new(), BTreeSet::new());
        for group in &self.0 {
            for (image, logical) in group.logical() {
                names.insert(group.shown(&logical));
                images.insert(image);
            }
        }
        let find = |name: &str| {
            self.0.iter().map(|group| group.backup.name()).find(|group| *group == name)
        };
        let group_of = |name: &String| find(name.split_once('/')?.0);
        // "vg-a-root" may be of the group vg, or of vg-a, which another disk has.
        let owner = |image: &String| {
            let starts =
                |group: &&str| image.strip_prefix(group).is_some_and(|rest| rest.starts_with('-'));
            let groups = physical.iter().map(|it| it.group.as_str()).filter(starts);
            groups.max_by_key(|group| group.len()).and_then(find)
        };
        let there = files.partitions_with_images();
        let saved = saved.iter().filter(|name| !names.contains(*name));
        let there = there.iter().filter(|image| !images.contains(*image));
        let named = saved.filter_map(|name| Some((name.clone(), group_of(name)?)));
        named.chain(there.filter_map(|image| Some((image.clone(), owner(image)?)))).next()
    }
}

impl Group {
    /// The logical volumes that are seen from outside, with the names their
    /// images have.
    pub(super) fn logical(&self) -> impl Iterator<Item = (String, BackedUp)> {
        let all = self.backup.logical(&self.parts).into_iter();
        all.filter(|logical| logical.is_visible)
            .map(|logical| (format!("{}-{}", self.backup.name(), logical.name), logical))
    }

    /// The name of a logical volume for people: "vg0/root".
    pub(super) fn shown(&self, logical: &BackedUp) -> String {
        format!("{}/{}", self.backup.name(), logical.name)
    }

    /// True if some of it lies on the disk.
    pub(super) fn is_here(&self) -> bool {
        self.parts.iter().any(Option::is_some)
    }

    /// Writes the physical volumes, without what is in their extents.
    pub(super) fn write(&self, assembly: &mut Assembly) -> Result<()> {
        for (physical, extent) in self.parts.iter().enumerate() {
            let Some(extent) = *extent else { continue };
            let what = || format!("making a physical volume of {}", self.backup.name());
            let head =
                self.backup.head(physical, extent.len()).map_err(Error::from).context(what)?;
            let mut place = assembly.place(extent, true);
            place.store(0, &head)?;
            // Zeros, as pvcreate leaves them on an empty disk.
            let outside = self.backup.outside(physical, extent.len()).into_iter().flatten();
            place.give(outside.map(|it| it.shift(extent.start())));
        }
        Ok(())
    }
}

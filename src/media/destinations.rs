// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where there is room for a new image.

use std::path::{Path, PathBuf};

use nix::sys::statvfs::{FsFlags, statvfs};

use super::found::Medium;
use super::kinds::{self, Kind};
use super::mounted::{MountFolder, Mounted};
use crate::device::{Source, Use, VolumeNode, mount_points, volumes};
use crate::error::{Context, Error, Result};
use crate::fs::Identity;
use crate::layout;
use crate::units::human;

/// A volume to which an image could be saved.
#[derive(Debug, Clone, PartialEq)]
pub struct Destination {
    /// The drive, its filesystem and label; with `point` if it is mounted.
    pub medium: Medium,
    /// The device.
    pub device: PathBuf,
    /// The label of the filesystem.
    pub label: Option<String>,
    /// The name of the filesystem.
    pub filesystem: String,
    /// How many bytes are free; none if that is not known.
    pub free: Option<u64>,
    /// The largest file that the filesystem takes, if that is little.
    pub largest_file: Option<u64>,
    /// Why it cannot be used, in one sentence with what to do.
    pub why_not: Option<String>,
    /// What else a person should know before choosing it.
    pub note: Option<String>,
}

/// What a file needs that is to be kept; nothing if that is not known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Needs {
    /// The bytes of it that take room.
    pub room: u64,
    /// Its length, which may have holes in it.
    pub len: u64,
}

/// The volumes of this machine to which an image of `source`, or a disc, could
/// be saved, and those to which it could not, with the reason.
///
/// # Errors
/// If the kernel cannot be asked.
pub fn destinations(source: Option<&Path>, needs: Needs) -> Result<Vec<Destination>> {
    let folder = MountFolder::of_rescue();
    folder.clear();
    let nodes = volumes()?;
    let number_of = |path: &Path| {
        use std::os::unix::fs::MetadataExt;
        let found = std::fs::metadata(path).ok()?;
        Some(crate::device::DeviceNumber::from_raw(found.rdev()))
    };
    // The disk of the source, also if the source is a partition of it.
    let source_number = source.and_then(number_of);
    let source_disk = nodes
        .iter()
        .find(|node| {
            Some(node.number) == source_number
                || source.is_some_and(|source| source == Path::new(&node.disk.path))
        })
        .map(|node| node.disk.path.clone());
    let mut found: Vec<Destination> = nodes
        .iter()
        .filter_map(|node| {
            let is_source = source_disk.as_ref() == Some(&node.disk.path);
            destination_of(node, is_source, needs, &folder)
        })
        .collect();
    // The best first: usable ones, and of these the ones with the most room.
    found.sort_by_key(|it| (it.why_not.is_some(), std::cmp::Reverse(it.free)));
    Ok(found)
}

/// The label of the volume on the rescue medium that UEFI starts from: it has
/// hardly any room, and a full one might not start.
pub const STARTING_VOLUME: &str = "DACAPO_BOOT";

/// None for what nobody would take for a place for files.
pub(super) fn destination_of(
    node: &VolumeNode,
    is_source: bool,
    needs: Needs,
    folder: &MountFolder,
) -> Option<Destination> {
    if node.is_disc {
        return None;
    }
    let source = Source::open(&node.path).ok()?;
    let identity = layout::probe(&[&source])?;
    drop(source);
    if identity.label.as_deref() == Some(STARTING_VOLUME) {
        return None;
    }
    let kind = kinds::of(&identity.name);
    let is_encrypted = ["BitLocker", "LUKS"].iter().any(|name| identity.name.contains(name));
    if kind.is_none() && !is_encrypted {
        return None;
    }
    let mut medium = Medium::of_node(node, &identity);
    medium.point = mount_points().ok()?.into_iter().find_map(|mount| {
        let is_here = mount.device == Some(node.number) && !folder.contains(&mount.point);
        is_here.then_some(mount.point)
    });
    let mut destination = Destination {
        device: node.path.clone(),
        label: identity.label.clone(),
        filesystem: identity.name.clone(),
        free: None,
        largest_file: kind.and_then(|kind| kind.largest_file),
        why_not: None,
        note: None,
        medium,
    };
    destination.why_not = why_not(node, kind, &identity, is_source);
    if let Some(kind) = kind
        && destination.why_not.is_none()
    {
        match free(&destination, node, kind, folder) {
            Ok(free) => destination.free = Some(free),
            Err(error) => destination.why_not = Some(error.to_string()),
        }
    }
    destination.judge_room(needs);
    Some(destination)
}

/// Why a volume is no place for an image, whatever room there is.
fn why_not(
    node: &VolumeNode,
    kind: Option<Kind>,
    identity: &Identity,
    is_source: bool,
) -> Option<String> {
    if is_source {
        return Some("it is on the disk that is saved; plug in another drive".into());
    }
    let Some(kind) = kind else {
        return Some(format!("it is encrypted ({}); choose another drive", identity.name));
    };
    if kind.written.is_none() {
        return Some(format!("{} cannot be written to", identity.name));
    }
    if node.read_only && !node.users.iter().any(|user| user.kind == Use::Mount) {
        return Some("it is write-protected; look for a switch on it".into());
    }
    if let Some(user) = node.users.iter().find(|user| user.kind != Use::Mount) {
        return Some(format!("it is in use: {user}"));
    }
    // The driver refuses these, and repairing is the business of their system.
    if !identity.clean && identity.name == "NTFS" {
        let why = identity.unclean.as_deref().unwrap_or("not shut down");
        return Some(format!(
            "Windows did not finish with it ({why}); start Windows and shut it down with Shift held"
        ));
    }
    None
}

/// The free bytes, seen through a mount that changes nothing.
fn free(
    destination: &Destination,
    node: &VolumeNode,
    kind: Kind,
    folder: &MountFolder,
) -> Result<u64> {
    if let Some(point) = &destination.medium.point {
        return free_at(point);
    }
    if !folder.may_mount() {
        return Err(Error::refused("it is not mounted; mount it, and look again"));
    }
    free_at(folder.mount_untouched(node, kind)?.path())
}

/// # Errors
/// If the kernel cannot be asked.
fn free_at(point: &Path) -> Result<u64> {
    let found = statvfs(point)
        .map_err(std::io::Error::from)
        .context(|| format!("asking how much is free at {}", point.display()))?;
    Ok(found.blocks_available().saturating_mul(found.fragment_size()))
}

impl Destination {
    /// Says why there is not enough room, or that there may not be.
    fn judge_room(&mut self, needs: Needs) {
        let (Some(free), None) = (self.free, &self.why_not) else { return };
        if let Some(largest) = self.largest_file {
            let limit = format!("{} takes no file larger than 4 GiB", self.filesystem);
            if needs.len > largest {
                self.why_not = Some(format!("{limit}; choose a drive with exFAT, NTFS or ext4"));
                return;
            }
            self.note = (needs.len == 0).then_some(limit);
        }
        if free == 0 {
            self.why_not = Some("nothing is free there; choose another drive".into());
        } else if free < needs.room {
            // No reason: a part of it may be there already.
            self.note = Some(format!(
                "not enough for something new: {} are free, and {} are needed",
                human(free),
                human(needs.room)
            ));
        }
    }
}

/// A destination that can be written to until this is finished or dropped.
#[derive(Debug)]
pub struct Writable {
    folder: PathBuf,
    mounted: Option<Mounted>,
}

impl Writable {
    /// The folder to write to.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Unmounts it, so that the drive may be pulled; false if it was mounted
    /// before, and still is.
    ///
    /// # Errors
    /// If what was written is not on the drive.
    pub fn finish(self) -> Result<bool> {
        let Some(mounted) = self.mounted else { return Ok(false) };
        mounted.finish()?;
        Ok(true)
    }
}

/// Mounts a destination to write to it, unless it is mounted already.
///
/// # Errors
/// If it cannot be used, has been changed, or the kernel refuses.
pub fn mount_writable(destination: &Destination) -> Result<Writable> {
    mount_writable_in(destination, &MountFolder::of_rescue())
}

pub(super) fn mount_writable_in(
    destination: &Destination,
    folder: &MountFolder,
) -> Result<Writable> {
    let shown = &destination.medium;
    if let Some(why) = &destination.why_not {
        return Err(Error::refused(format!("{shown} cannot be used: {why}")));
    }
    if let Some(point) = &shown.point {
        return Ok(Writable { folder: point.clone(), mounted: None });
    }
    let gone = || {
        Error::failed(format!("{shown} is not there any more"))
            .hint("plug the drive in again, and search again")
    };
    let node = volumes()?.into_iter().find(|node| node.path == destination.device);
    let node = node.ok_or_else(gone)?;
    let source = Source::open(&node.path)?;
    let identity = layout::probe(&[&source]).ok_or_else(gone)?;
    drop(source);
    if identity.label != destination.label || identity.name != destination.filesystem {
        return Err(gone());
    }
    let kind = kinds::of(&identity.name).ok_or_else(gone)?;
    let mounted = folder.mount_to_write(&node, kind)?;
    let flags = statvfs(mounted.path()).map(|found| found.flags());
    if flags.is_ok_and(|flags| flags.contains(FsFlags::ST_RDONLY)) {
        return Err(Error::failed(format!("{shown} can only be read"))
            .hint("the drive may be write-protected, or its filesystem has errors"));
    }
    Ok(Writable { folder: mounted.path().to_owned(), mounted: Some(mounted) })
}

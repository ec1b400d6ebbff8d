// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which images are on the drives of this machine, and opening one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, SendError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::in_rescue;
use super::kinds::{self, Kind};
use super::mounted::{MountFolder, Mounted};
use super::search::{self, Facts, Found, Limits};
use crate::device::{DiskIdentity, MountPoint, Source, VolumeNode, mount_points, volumes};
use crate::error::{Context, Error, Result};
use crate::fs::Identity;
use crate::layout;
use crate::units::human;

/// After this, what has not answered yet is left out.
const PATIENCE: Duration = Duration::from_secs(60);

/// The label of the part of a rescue stick that is for images.
const STICK: &str = "DACAPO";

/// Where an image was found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Medium {
    /// The device, or "server:/share".
    pub device: PathBuf,
    /// Where it is mounted already, if it is.
    pub point: Option<PathBuf>,
    /// The name of the filesystem.
    pub filesystem: String,
    /// The label of the filesystem.
    pub label: Option<String>,
    /// The size of the volume in bytes; 0 if that is not known.
    pub size: u64,
    /// The disk it is on; of a server, nothing.
    pub disk: DiskIdentity,
    /// The number of the partition, if it is one.
    pub partition: Option<u32>,
    /// True if the drive can be taken out or pulled.
    pub removable: bool,
    /// True for a CD, DVD or Blu-ray disc.
    pub is_disc: bool,
}

impl Medium {
    pub(super) fn of_node(node: &VolumeNode, identity: &Identity) -> Self {
        Self {
            device: node.path.clone(),
            point: None,
            filesystem: identity.name.clone(),
            label: identity.label.clone(),
            size: node.size,
            removable: node.removable || node.disk.bus.as_deref() == Some("usb"),
            disk: node.disk.clone(),
            partition: node.partition,
            is_disc: node.is_disc,
        }
    }

    /// What people look at first comes first: the stick, other drives that can
    /// be pulled, discs, and the disks inside.
    fn rank(&self) -> u32 {
        match self {
            _ if self.label.as_deref() == Some(STICK) && self.filesystem == "exFAT" => 0,
            _ if self.is_disc => 2,
            _ if self.removable => 1,
            _ => 3,
        }
    }
}

impl fmt::Display for Medium {
    /// "'DACAPO' on Samsung T5, 466 GiB, /dev/sdb1"
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(label) = &self.label {
            write!(f, "'{label}' on ")?;
        }
        if let Some(model) = &self.disk.model {
            write!(f, "{model}, ")?;
        }
        if self.size > 0 {
            write!(f, "{}, ", human(self.size))?;
        }
        write!(f, "{}", self.device.display())
    }
}

/// An image on a drive, or a file that is called one but is broken.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundImage {
    /// The drive.
    pub medium: Medium,
    /// The path on it: "images/studio.img.zst".
    pub path_on_medium: PathBuf,
    /// The size of the file in bytes.
    pub size: u64,
    /// What its head says, if that can be read.
    pub facts: Option<Facts>,
    /// What is wrong with it. With `facts`, parts of it may be usable.
    pub error: Option<String>,
}

/// A drive that was not searched, or not all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The drive, for people.
    pub medium: String,
    /// Why, in a few words.
    pub why: String,
}

/// What a search found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Search {
    /// The images, in the order in which people look for them.
    pub images: Vec<FoundImage>,
    /// What was left out.
    pub skipped: Vec<Skipped>,
}

/// As [`search`], the images only.
pub fn find(progress: &dyn Fn(&str)) -> Vec<FoundImage> {
    search(progress).images
}

/// Searches all drives for images. `progress` is told what is being looked at.
pub fn search(progress: &dyn Fn(&str)) -> Search {
    let points = mount_points().unwrap_or_default();
    if !in_rescue() {
        return gather(places_of(&points), &MountFolder::of_rescue(), progress);
    }
    let folder = MountFolder::of_rescue();
    folder.clear();
    search_volumes(volumes().unwrap_or_default(), &points, &folder, progress)
}

/// Searches folders, as [`search`] does drives.
pub fn find_in(folders: &[PathBuf], progress: &dyn Fn(&str)) -> Vec<FoundImage> {
    let places = folders.iter().map(|folder| {
        let medium =
            Medium { device: folder.clone(), point: Some(folder.clone()), ..Medium::default() };
        (medium.device.clone(), vec![Place::Folder(Box::new(medium))])
    });
    gather(places.collect(), &MountFolder::of_rescue(), progress).images
}

/// Something to be searched.
#[derive(Debug)]
enum Place {
    Volume(Box<VolumeNode>),
    /// Mounted already.
    Folder(Box<Medium>),
}

/// Places by their drive. Drives are searched at the same time, the parts of
/// one after each other.
type Places = BTreeMap<PathBuf, Vec<Place>>;

pub(super) fn search_volumes(
    volumes: Vec<VolumeNode>,
    points: &[MountPoint],
    folder: &MountFolder,
    progress: &dyn Fn(&str),
) -> Search {
    gather(all_places(volumes, points, folder), folder, progress)
}

/// Everything on which files may be. What another screen reads at the moment is
/// mounted once more, because that screen will unmount it; what is written is
/// searched where it is.
fn all_places(volumes: Vec<VolumeNode>, points: &[MountPoint], folder: &MountFolder) -> Places {
    let others: Vec<MountPoint> = points
        .iter()
        .filter(|mount| !(folder.contains(&mount.point) && mount.read_only))
        .cloned()
        .collect();
    let mut places = places_of(&others);
    for node in volumes {
        if !others.iter().any(|mount| mount.device == Some(node.number)) {
            let disk = PathBuf::from(&node.disk.path);
            places.entry(disk).or_default().push(Place::Volume(Box::new(node)));
        }
    }
    places
}

/// The drives of this machine whose files can be read, in the order in which
/// people look for them, discs last. An installed system has them mounted.
#[must_use]
pub fn drives() -> Vec<Medium> {
    let points = mount_points().unwrap_or_default();
    let folder = MountFolder::of_rescue();
    let places = if in_rescue() {
        folder.clear();
        all_places(volumes().unwrap_or_default(), &points, &folder)
    } else {
        places_of(&points)
    };
    let medium = |place: Place| match place {
        Place::Folder(medium) => Some(*medium),
        Place::Volume(node) => {
            let (identity, _) = what_fills(&node).ok().flatten()?;
            Some(Medium::of_node(&node, &identity))
        }
    };
    let mut found: Vec<Medium> = places.into_values().flatten().filter_map(medium).collect();
    found.sort_by_key(|medium| (medium.is_disc, medium.rank(), medium.device.clone()));
    found
}

/// A drive whose files can be read until this is dropped.
#[derive(Debug)]
pub struct Readable {
    folder: PathBuf,
    /// Holds the mount.
    _mounted: Option<Mounted>,
}

impl Readable {
    /// Where its files are now.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder
    }
}

/// Makes the files of a drive readable, without changing a byte of it.
///
/// # Errors
/// If the drive is gone, or cannot be mounted.
pub fn mount_readable(medium: &Medium) -> Result<Readable> {
    readable_in(medium, &MountFolder::of_rescue())
}

fn readable_in(medium: &Medium, folder: &MountFolder) -> Result<Readable> {
    if let Some(point) = &medium.point {
        return Ok(Readable { folder: point.clone(), _mounted: None });
    }
    let gone = || {
        Error::failed(format!("{medium} is not there any more"))
            .hint("plug the drive in again, and search again")
    };
    let node = volumes()?.into_iter().find(|node| node.path == medium.device);
    let found = mount_volume(&node.ok_or_else(gone)?, folder)?;
    let is_it = |found: &(Medium, Mounted)| {
        (&found.0.label, &found.0.filesystem) == (&medium.label, &medium.filesystem)
    };
    let (_, mounted) = found.filter(is_it).ok_or_else(gone)?;
    Ok(Readable { folder: mounted.path().to_owned(), _mounted: Some(mounted) })
}

/// Each filesystem once, and of one of which only parts are mounted, such as
/// subvolumes, each part.
fn distinct(points: &[MountPoint]) -> Vec<&MountPoint> {
    let mut kept: Vec<&MountPoint> = Vec::new();
    let mut points: Vec<&MountPoint> = points.iter().collect();
    // What holds another part comes before it.
    points.sort_by_key(|mount| mount.root.components().count());
    for mount in points {
        let holds = |other: &&MountPoint| {
            other.source == mount.source && mount.root.starts_with(&other.root)
        };
        if !kept.iter().any(holds) {
            kept.push(mount);
        }
    }
    kept
}

/// What is mounted.
fn places_of(points: &[MountPoint]) -> Places {
    let volumes = volumes().unwrap_or_default();
    let mut places = Places::new();
    for mount in distinct(points) {
        let node = volumes.iter().find(|node| mount.device == Some(node.number));
        let identity = Identity { name: mount.fstype.clone(), ..Identity::default() };
        let medium = node.map_or_else(
            || Medium { filesystem: mount.fstype.clone(), ..Medium::default() },
            |node| Medium::of_node(node, &identity),
        );
        let disk =
            if node.is_some() { medium.disk.path.clone().into() } else { mount.source.clone() };
        let medium =
            Medium { device: mount.source.clone(), point: Some(mount.point.clone()), ..medium };
        places.entry(disk).or_default().push(Place::Folder(Box::new(medium)));
    }
    places
}

/// What a drive's thread tells.
enum Told {
    LooksAt(String),
    Found(Box<Medium>, Found),
    Skipped(Skipped),
    /// The drive is done.
    Done(PathBuf),
}

fn gather(places: Places, folder: &MountFolder, progress: &dyn Fn(&str)) -> Search {
    let (sender, receiver) = mpsc::channel();
    let mut waiting: Vec<PathBuf> = places.keys().cloned().collect();
    for (drive, places) in places {
        let (sender, folder) = (sender.clone(), folder.clone());
        // Detached on purpose: a drive that is dying may keep its thread for
        // minutes, and the images on the others are what is needed then.
        thread::spawn(move || {
            for place in places {
                // Nobody listens any more: the search took too long.
                if look_into(place, &folder, &sender).is_err() {
                    return;
                }
            }
            let _ = sender.send(Told::Done(drive));
        });
    }
    drop(sender);
    let mut result = Search::default();
    let started = Instant::now();
    while !waiting.is_empty() {
        match receiver.recv_timeout(PATIENCE.saturating_sub(started.elapsed())) {
            Ok(Told::LooksAt(what)) => progress(&what),
            Ok(Told::Found(medium, found)) => result.add(&medium, found),
            Ok(Told::Skipped(skipped)) => result.skipped.push(skipped),
            Ok(Told::Done(drive)) => waiting.retain(|other| *other != drive),
            Err(_) => break,
        }
    }
    result.skipped.extend(waiting.iter().map(|drive| Skipped {
        medium: drive.display().to_string(),
        why: "it does not answer in time".into(),
    }));
    result.images.sort_by(|a, b| {
        let key = |image: &FoundImage| {
            (image.medium.rank(), image.medium.device.clone(), image.path_on_medium.clone())
        };
        key(a).cmp(&key(b))
    });
    result
}

impl Search {
    fn add(&mut self, medium: &Medium, found: Found) {
        if let Some(why) = found.cut_short {
            let why = format!("not all of it was searched: {why}");
            self.skipped.push(Skipped { medium: medium.to_string(), why });
        }
        self.images.extend(found.images.into_iter().map(|image| FoundImage {
            medium: medium.clone(),
            path_on_medium: image.path,
            size: image.size,
            facts: image.facts,
            error: image.error,
        }));
    }
}

/// Fails if nobody listens any more.
fn look_into(
    place: Place,
    folder: &MountFolder,
    sender: &Sender<Told>,
) -> Result<(), SendError<Told>> {
    let (medium, mounted) = match place {
        Place::Folder(medium) => (*medium, None),
        Place::Volume(node) => match mount_volume(&node, folder) {
            Ok(Some((medium, mounted))) => (medium, Some(mounted)),
            Ok(None) => return Ok(()),
            Err(error) => {
                let medium = node.path.display().to_string();
                return sender.send(Told::Skipped(Skipped { medium, why: error.to_string() }));
            }
        },
    };
    let point = mounted.as_ref().map(Mounted::path).or(medium.point.as_deref());
    let Some(point) = point.map(Path::to_owned) else { return Ok(()) };
    sender.send(Told::LooksAt(medium.to_string()))?;
    let found = search::search(&point, Limits::USUAL);
    // Before it is told: who hears of the image may want to use the drive.
    drop(mounted);
    sender.send(Told::Found(Box::new(medium), found))
}

/// Mounts what fills a volume; none if that is nothing to search.
///
/// # Errors
/// What to tell a person who knows that there is an image on it.
fn mount_volume(node: &VolumeNode, folder: &MountFolder) -> Result<Option<(Medium, Mounted)>> {
    let Some((identity, kind)) = what_fills(node)? else { return Ok(None) };
    let mounted = folder.mount_untouched(node, kind)?;
    Ok(Some((Medium::of_node(node, &identity), mounted)))
}

/// The filesystem of a volume; none if that is nothing to search.
fn what_fills(node: &VolumeNode) -> Result<Option<(Identity, Kind)>> {
    let source = match Source::open(&node.path) {
        // A drive for discs without one.
        Err(_) if node.is_disc => return Ok(None),
        opened => opened?,
    };
    let Some(identity) = layout::probe(&[&source]) else { return Ok(None) };
    drop(source);
    let Some(kind) = kinds::of(&identity.name) else {
        let is_encrypted = ["BitLocker", "LUKS"].iter().any(|name| identity.name.contains(name));
        return if is_encrypted {
            Err(Error::unsupported(format!("it is encrypted ({})", identity.name)))
        } else {
            Ok(None)
        };
    };
    Ok(Some((identity, kind)))
}

/// An image that can be read until this is dropped.
#[derive(Debug)]
pub struct OpenImage {
    path: PathBuf,
    /// Holds the mount.
    _drive: Readable,
}

impl OpenImage {
    /// Where it can be read now.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes a found image readable: mounts its drive again, and checks that it is
/// the same image.
///
/// # Errors
/// If the drive is gone or has been changed.
pub fn open(image: &FoundImage) -> Result<OpenImage> {
    open_in(image, &MountFolder::of_rescue())
}

pub(super) fn open_in(image: &FoundImage, folder: &MountFolder) -> Result<OpenImage> {
    let medium = &image.medium;
    let drive = readable_in(medium, folder)?;
    let path = drive.path().join(&image.path_on_medium);
    if !path.exists() {
        return Err(gone(medium));
    }
    if let Some(facts) = &image.facts {
        let (head, _) =
            search::read_head(&path).context(|| format!("opening {}", path.display()))?;
        if head.image_id != facts.image_id {
            return Err(gone(medium));
        }
    }
    Ok(OpenImage { path, _drive: drive })
}

fn gone(medium: &Medium) -> Error {
    Error::failed(format!("the image is not on {medium} any more"))
        .hint("plug the drive in again, and search again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_a_filesystem_is_searched_once() {
        let mount = |source: &str, root: &str, point: &str| MountPoint {
            point: point.into(),
            root: root.into(),
            source: source.into(),
            fstype: "btrfs".into(),
            device: None,
            read_only: false,
        };
        let points = [
            mount("/dev/sda2", "/@", "/"),
            mount("/dev/sda2", "/@home", "/home"),
            mount("/dev/sda2", "/@home/anna", "/anna"),
            mount("/dev/sda2", "/@", "/again"),
            mount("/dev/sdb1", "/images", "/bound"),
            mount("/dev/sdb1", "/", "/mnt"),
        ];
        let mut kept: Vec<&Path> =
            distinct(&points).iter().map(|mount| mount.point.as_path()).collect();
        kept.sort();
        assert_eq!(kept, ["/", "/home", "/mnt"].map(Path::new));
    }
}

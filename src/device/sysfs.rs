// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's own description of block devices under /sys, read without
//! udev, which a rescue system does not have.
//!
//! Everything starts from a [`System`]: where /sys, /proc and /dev are. Tests
//! give it a folder with a machine made of files.

use std::fmt;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use crate::extent::Extent;

/// The unit of every size and position under /sys/block, whatever the
/// sectors of the disk are.
pub(super) const SYSFS_SECTOR: u64 = 512;

/// The number by which the kernel knows a block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceNumber {
    /// The number of the driver.
    pub major: u32,
    /// The number of the device among those of the driver.
    pub minor: u32,
}

impl DeviceNumber {
    /// The number in a `dev_t`, as stat gives it.
    #[must_use]
    pub fn from_raw(raw: u64) -> Self {
        // Both parts have at most 32 bits.
        Self { major: nix::sys::stat::major(raw) as u32, minor: nix::sys::stat::minor(raw) as u32 }
    }

    /// Reads "8:1".
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.trim().split_once(':')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl Serialize for DeviceNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Where the kernel shows itself: the running machine, or a folder of a test.
#[derive(Debug, Clone)]
pub struct System {
    root: PathBuf,
    is_running: bool,
}

impl System {
    /// The running machine.
    #[must_use]
    pub fn running() -> Self {
        Self { root: "/".into(), is_running: true }
    }

    /// A machine made of files, with `sys`, `proc` and `dev` under `root`.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), is_running: false }
    }

    /// True for the running machine, whose devices can be opened.
    pub(super) const fn is_running(&self) -> bool {
        self.is_running
    }

    /// A path of the machine, taken from its root.
    pub(super) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A path of the machine without symbolic links. Of what does not exist
    /// yet, the folder in which it would be.
    pub(super) fn canonical(&self, path: &Path) -> Option<PathBuf> {
        let found = path.ancestors().find_map(|path| fs::canonicalize(self.path(path)).ok())?;
        let root = fs::canonicalize(&self.root).ok()?;
        Some(Path::new("/").join(found.strip_prefix(root).ok()?))
    }

    /// The names in a folder of the machine, sorted; none if it is absent.
    pub(super) fn names(&self, folder: impl AsRef<Path>) -> Vec<String> {
        names_in(&self.path(folder))
    }

    /// The device with this number.
    pub(super) fn by_number(&self, number: DeviceNumber) -> Option<Block> {
        let block = Block::in_folder(&self.path(format!("sys/dev/block/{number}")))?;
        (block.number == number).then_some(block)
    }

    /// The whole disk with this name under /sys/block.
    pub(super) fn by_name(&self, name: &str) -> Option<Block> {
        Block::in_folder(&self.path("sys/block").join(name))
    }

    /// The device that a path under /dev leads to.
    pub(super) fn by_path(&self, path: &Path) -> Option<Block> {
        if self.is_running {
            let metadata = fs::metadata(path).ok()?;
            if !metadata.file_type().is_block_device() {
                return None;
            }
            return self.by_number(DeviceNumber::from_raw(metadata.rdev()));
        }
        // The device nodes of a test are empty files with the right names.
        let node = fs::canonicalize(self.path(path)).ok()?;
        if !path.starts_with("/dev") {
            return None;
        }
        let name = node.file_name()?.to_str()?.to_owned();
        self.all().into_iter().find(|block| block.name == name)
    }

    /// True if two paths lead to one file.
    pub(super) fn is_same_file(&self, a: &Path, b: &Path) -> bool {
        let id = |path: &Path| {
            fs::metadata(self.path(path)).map(|found| (found.dev(), found.ino())).ok()
        };
        id(a).is_some_and(|id_of_a| Some(id_of_a) == id(b))
    }

    /// Every whole disk the kernel has, in the order of its names.
    pub(super) fn disks(&self) -> Vec<Block> {
        let mut names = self.names("sys/block");
        names.sort_by_key(|name| natural_order(name));
        names.iter().filter_map(|name| self.by_name(name)).collect()
    }

    /// Every disk and every partition.
    pub(super) fn all(&self) -> Vec<Block> {
        let disks = self.disks();
        let partitions: Vec<Block> = disks.iter().flat_map(Block::partitions).collect();
        disks.into_iter().chain(partitions).collect()
    }
}

/// A block device, as its folder under /sys shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) name: String,
    pub(super) number: DeviceNumber,
    folder: PathBuf,
}

impl Block {
    /// The device whose folder this is, or a link to it.
    pub(super) fn in_folder(folder: &Path) -> Option<Self> {
        let folder = fs::canonicalize(folder).ok()?;
        let number = DeviceNumber::parse(&fs::read_to_string(folder.join("dev")).ok()?)?;
        Some(Self { name: folder.file_name()?.to_str()?.to_owned(), number, folder })
    }

    /// The folder, which shows by what the device is attached.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The node; the kernel writes a slash in a name as '!'.
    pub(super) fn device_path(&self) -> String {
        format!("/dev/{}", self.name.replace('!', "/"))
    }

    /// An attribute without the space around it; none if absent or empty.
    pub(super) fn attribute(&self, name: &str) -> Option<String> {
        let text = self.raw_attribute(name)?;
        let text = String::from_utf8_lossy(&text);
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// An attribute, byte by byte.
    pub(super) fn raw_attribute(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.folder.join(name)).ok()
    }

    /// An attribute that is a number.
    pub(super) fn number_attribute(&self, name: &str) -> Option<u64> {
        self.attribute(name)?.parse().ok()
    }

    /// An attribute that is 0 or 1.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.number_attribute(name).is_some_and(|number| number != 0)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.folder.join(name).exists()
    }

    /// The size in bytes.
    pub(super) fn len(&self) -> u64 {
        self.number_attribute("size").unwrap_or(0).saturating_mul(SYSFS_SECTOR)
    }

    /// The number of the partition, if it is one.
    pub(super) fn partition_number(&self) -> Option<u32> {
        self.attribute("partition")?.parse().ok()
    }

    /// Where a partition is on its disk.
    pub(super) fn extent(&self) -> Extent {
        let start = self.number_attribute("start").unwrap_or(0).saturating_mul(SYSFS_SECTOR);
        Extent::at(start, self.len())
    }

    /// The disk of a partition; the device itself if it is none.
    pub(super) fn disk(&self) -> Self {
        if self.partition_number().is_some()
            && let Some(disk) = self.folder.parent().and_then(Self::in_folder)
        {
            return disk;
        }
        self.clone()
    }

    /// The partitions of a disk, by number.
    pub(super) fn partitions(&self) -> Vec<Self> {
        let mut partitions: Vec<Self> = names_in(&self.folder)
            .iter()
            .map(|name| self.folder.join(name))
            .filter(|folder| folder.join("partition").exists())
            .filter_map(|folder| Self::in_folder(&folder))
            .collect();
        partitions.sort_by_key(Self::partition_number);
        partitions
    }

    /// The devices made from this one: dm, md, bcache.
    pub(super) fn holders(&self) -> Vec<Self> {
        self.linked("holders")
    }

    /// The devices this one is made from.
    pub(super) fn slaves(&self) -> Vec<Self> {
        self.linked("slaves")
    }

    fn linked(&self, folder: &str) -> Vec<Self> {
        let folder = self.folder.join(folder);
        names_in(&folder).iter().filter_map(|name| Self::in_folder(&folder.join(name))).collect()
    }
}

/// The names in a folder, sorted; none if it cannot be read.
pub(super) fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// Sorts "sdb" before "sdaa" and "loop2" before "loop10".
fn natural_order(name: &str) -> (String, usize, String) {
    let letters = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let family: String = if letters.starts_with("sd") { "sd".into() } else { letters.into() };
    (family, name.len(), name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_read_and_written() {
        let number = DeviceNumber { major: 259, minor: 17 };
        assert_eq!(DeviceNumber::parse("259:17\n"), Some(number));
        assert_eq!(number.to_string(), "259:17");
        assert_eq!(DeviceNumber::parse("259"), None);
        assert_eq!(DeviceNumber::parse("a:b"), None);
        let raw = nix::sys::stat::makedev(259, 17);
        assert_eq!(DeviceNumber::from_raw(raw), number);
    }

    #[test]
    fn names_are_sorted_as_people_count() {
        let mut names = ["sdaa", "loop10", "sdb", "nvme1n1", "loop2", "sda", "nvme0n1"];
        names.sort_by_key(|name| natural_order(name));
        assert_eq!(names, ["loop2", "loop10", "nvme0n1", "nvme1n1", "sda", "sdb", "sdaa"]);
    }
}

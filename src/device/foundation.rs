// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a file, or the running system, stands on: from the filesystem down
//! through loop devices, mappings and arrays to partitions and disks.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::inuse::{absolute, backing_file};
use super::mounts::{Mount, mounts};
use super::sysfs::{Block, DeviceNumber, System};
use crate::error::Result;

/// Where a running system keeps what it was started from. Live systems copy
/// or layer their root, so that the stick is seen only at such a place.
const BOOT_POINTS: [&str; 13] = [
    "/",
    "/boot",
    "/boot/efi",
    "/boot/firmware",
    "/efi",
    "/usr",
    "/run/live/medium",
    "/lib/live/mount/medium",
    "/run/initramfs/live",
    "/run/initramfs/isoscan",
    "/cdrom",
    "/run/archiso/bootmnt",
    "/run/miso/bootmnt",
];

/// Deeper than any stack of images in images that is not a loop.
const DEPTH_LIMIT: usize = 16;

/// Every device that some files stand on.
#[derive(Debug)]
pub(super) struct Foundation<'a> {
    system: &'a System,
    mounts: Vec<Mount>,
    blocks: Vec<Block>,
    paths: Vec<PathBuf>,
}

impl<'a> Foundation<'a> {
    /// Of nothing, yet.
    pub(super) fn new(system: &'a System) -> Result<Self> {
        Ok(Self { system, mounts: mounts(system)?, blocks: Vec::new(), paths: Vec::new() })
    }

    /// True if the device, whole or in part, is what the files stand on.
    pub(super) fn contains(&self, block: &Block) -> bool {
        self.blocks.contains(block)
    }

    /// True if the file is one that the files are or stand on, by whatever
    /// name.
    pub(super) fn contains_file(&self, path: &Path) -> bool {
        self.paths.iter().any(|own| self.system.is_same_file(own, path))
    }

    /// The whole disks at the bottom.
    pub(super) fn disks(&self) -> BTreeSet<DeviceNumber> {
        self.blocks
            .iter()
            .filter(|block| block.partition_number().is_none() && block.slaves().is_empty())
            .map(|block| block.number)
            .collect()
    }

    /// Adds what the running system was started from.
    pub(super) fn add_boot(&mut self) {
        // One mount may cover another at the same place; the disk below was
        // started from all the same.
        let is_boot =
            |mount: &&Mount| BOOT_POINTS.iter().any(|point| mount.point == Path::new(point));
        let mounts: Vec<Mount> = self.mounts.iter().filter(is_boot).cloned().collect();
        for mount in mounts {
            self.add_mount(&mount, DEPTH_LIMIT);
        }
    }

    /// Adds what the file, or the folder it would be in, stands on; of a
    /// device itself, its disk and partitions too.
    pub(super) fn add_path(&mut self, path: &Path) {
        self.add_path_within(path, DEPTH_LIMIT);
    }

    fn add_path_within(&mut self, path: &Path, depth: usize) {
        let Some(path) = self.system.canonical(path) else { return };
        if depth == 0 || self.paths.contains(&path) {
            return;
        }
        self.paths.push(path.clone());
        // A node is a file in /dev, but what counts is the disk behind it.
        if let Some(block) = self.system.by_path(&path) {
            let partitions = block.partitions();
            self.add_block(block, depth);
            partitions.into_iter().for_each(|partition| self.add_block(partition, depth));
            return;
        }
        // What stat says is right wherever the filesystem has one device.
        if self.system.is_running()
            && let Ok(metadata) = fs::metadata(&path)
            && let Some(block) = self.system.by_number(DeviceNumber::from_raw(metadata.dev()))
        {
            self.add_block(block, depth);
        }
        // The innermost mount; of several at one place, the last covers the
        // others.
        let mount = self
            .mounts
            .iter()
            .filter(|mount| path.starts_with(&mount.point))
            .max_by_key(|mount| mount.point.components().count());
        if let Some(mount) = mount.cloned() {
            self.add_mount(&mount, depth);
        }
    }

    fn add_mount(&mut self, mount: &Mount, depth: usize) {
        let devices = mount.devices(self.system);
        if !devices.is_empty() {
            devices.into_iter().for_each(|block| self.add_block(block, depth));
            return;
        }
        // Layers over other folders.
        for option in ["lowerdir", "upperdir"] {
            // Both "a:b" and, since Linux 6.8, "lowerdir+=a" are seen.
            let named = mount.options.iter().filter_map(|text| {
                text.strip_prefix(option)?.trim_start_matches('+').strip_prefix('=')
            });
            let folders: Vec<PathBuf> =
                named.flat_map(|value| value.split(':')).map(PathBuf::from).collect();
            folders.iter().for_each(|folder| self.add_path_within(folder, depth - 1));
        }
        // Filesystems that show another folder, such as encrypting ones.
        if mount.source.is_absolute() {
            self.add_path_within(&mount.source, depth - 1);
        }
    }

    fn add_block(&mut self, block: Block, depth: usize) {
        if depth == 0 || self.blocks.contains(&block) {
            return;
        }
        self.blocks.push(block.clone());
        self.add_block(block.disk(), depth);
        for slave in block.slaves() {
            self.add_block(slave, depth - 1);
        }
        if let Some(file) = backing_file(&block) {
            self.add_path_within(&file, depth - 1);
        }
    }
}

/// The disks that hold the file, or would hold it once it is made.
///
/// # Errors
/// If the kernel cannot be asked.
pub fn disks_holding(path: &Path) -> Result<BTreeSet<DeviceNumber>> {
    let system = System::running();
    let mut foundation = Foundation::new(&system)?;
    foundation.add_path(&absolute(path)?);
    Ok(foundation.disks())
}

/// The disks the running system was started from.
///
/// # Errors
/// If the kernel cannot be asked.
pub fn booted_disks() -> Result<BTreeSet<DeviceNumber>> {
    let system = System::running();
    let mut foundation = Foundation::new(&system)?;
    foundation.add_boot();
    Ok(foundation.disks())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::fake::Machine;

    const ATA: &str = "pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0";
    const USB: &str = "pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host4/target4:0:0/4:0:0:0";

    fn machine() -> Machine {
        let machine = Machine::new();
        machine.disk(ATA, "sda", "8:0", 1 << 21);
        machine.partition("sda", "sda1", "8:1", 2048, 1 << 16);
        machine.partition("sda", "sda2", "8:2", 1 << 17, 1 << 16);
        machine.disk(USB, "sdb", "8:16", 1 << 21);
        machine.partition("sdb", "sdb1", "8:17", 2048, 1 << 16);
        machine
    }

    fn holding(machine: &Machine, path: &str) -> Vec<String> {
        let system = machine.system();
        let mut foundation = Foundation::new(&system).unwrap();
        foundation.add_path(Path::new(path));
        foundation.disks().iter().map(DeviceNumber::to_string).collect()
    }

    fn booted(machine: &Machine) -> Vec<String> {
        let system = machine.system();
        let mut foundation = Foundation::new(&system).unwrap();
        foundation.add_boot();
        foundation.disks().iter().map(DeviceNumber::to_string).collect()
    }

    #[test]
    fn the_innermost_and_last_mount_holds_a_file() {
        let mut machine = machine();
        machine.mount("8:1", "/dev/sda1", "/", "rw");
        machine.file("media/stick/a.img", "x");
        assert_eq!(holding(&machine, "/media/stick/a.img"), ["8:0"]);
        machine.mount("8:2", "/dev/sda2", "/media/stick", "rw");
        machine.mount("8:17", "/dev/sdb1", "/media/stick", "rw");
        assert_eq!(holding(&machine, "/media/stick/a.img"), ["8:16"]);
        // Not made yet, and in a folder that is not made yet.
        assert_eq!(holding(&machine, "/media/stick/new/b.img"), ["8:16"]);
        assert_eq!(holding(&machine, "/media/sticky/b.img"), ["8:0"]);
    }

    #[test]
    fn a_link_is_followed_to_the_disk_it_leads_to() {
        let mut machine = machine();
        machine.mount("8:1", "/dev/sda1", "/", "rw");
        machine.mount("8:17", "/dev/sdb1", "/media/stick", "rw");
        machine.file("media/stick/a.img", "x");
        machine.file("home/x", "");
        let link = machine.path("home/a.img");
        std::os::unix::fs::symlink("../media/stick/a.img", link).unwrap();
        assert_eq!(holding(&machine, "/home/a.img"), ["8:16"]);
    }

    #[test]
    fn loops_mappings_and_arrays_are_followed_down() {
        let mut machine = machine();
        machine.disk("virtual", "md0", "9:0", 1 << 20);
        machine.hold("sda2", "md0");
        machine.hold("sdb", "md0");
        machine.mapping("dm-0", "252:0", "md0", "vg-data", "LVM-1");
        machine.mount("252:0", "/dev/mapper/vg-data", "/data", "rw");
        machine.file("data/outer.raw", "x");
        machine.looped("loop0", "7:0", "/data/outer.raw");
        machine.mount("7:0", "/dev/loop0", "/inner", "rw");
        machine.file("inner/a.img", "x");
        assert_eq!(holding(&machine, "/inner/a.img"), ["7:0", "8:0", "8:16"]);
        let system = machine.system();
        let mut foundation = Foundation::new(&system).unwrap();
        foundation.add_path(Path::new("/inner/a.img"));
        let named = |name: &str| system.all().into_iter().find(|b| b.name == name).unwrap();
        assert!(foundation.contains(&named("sda2")));
        assert!(foundation.contains(&named("dm-0")));
        assert!(!foundation.contains(&named("sda1")));
    }

    #[test]
    fn a_btrfs_file_is_on_all_its_devices() {
        let mut machine = machine();
        machine.btrfs("11-22", &["sda2", "sdb1"]);
        machine.mount_any("0:35 /@ /data rw - btrfs /dev/sda2 rw");
        machine.file("data/a.img", "x");
        assert_eq!(holding(&machine, "/data/a.img"), ["8:0", "8:16"]);
    }

    #[test]
    fn an_installed_system_was_started_from_root_and_boot() {
        let mut machine = machine();
        machine.mount("8:1", "/dev/sda1", "/", "rw");
        assert_eq!(booted(&machine), ["8:0"]);
        machine.mount("8:17", "/dev/sdb1", "/boot/efi", "rw");
        assert_eq!(booted(&machine), ["8:0", "8:16"]);
        machine.mount("8:2", "/dev/sda2", "/mnt", "rw");
        assert_eq!(booted(&machine).len(), 2);
    }

    #[test]
    fn a_covered_root_was_started_from_too() {
        let mut machine = machine();
        machine.mount_any("0:2 / / rw - rootfs rootfs rw");
        machine.mount("8:17", "/dev/sdb1", "/", "ro");
        machine.mount("8:1", "/dev/sda1", "/", "rw");
        assert_eq!(booted(&machine), ["8:0", "8:16"]);
    }

    #[test]
    fn a_live_system_was_started_from_its_stick() {
        let mut machine = machine();
        machine.mount_any(
            "0:30 / / rw - overlay overlay rw,lowerdir=/run/live/rootfs/,upperdir=/run/up",
        );
        machine.mount_any("8:17 / /run/live/medium ro - vfat /dev/sdb1 ro");
        machine.file("run/live/medium/live/root.squashfs", "x");
        machine.looped("loop0", "7:0", "/run/live/medium/live/root.squashfs");
        machine.mount_any("7:0 / /run/live/rootfs ro - squashfs /dev/loop0 ro");
        machine.file("run/live/rootfs/x", "");
        assert_eq!(booted(&machine), ["7:0", "8:16"]);
    }

    #[test]
    fn an_overlay_alone_leads_to_the_disks_of_its_layers() {
        let mut machine = machine();
        machine.mount_any("0:30 / / rw - overlay overlay rw,lowerdir+=/low,upperdir=/up/u");
        machine.mount("8:1", "/dev/sda1", "/low", "ro");
        machine.mount("8:17", "/dev/sdb1", "/up", "rw");
        machine.file("low/x", "");
        machine.file("up/u/x", "");
        assert_eq!(booted(&machine), ["8:0", "8:16"]);
    }
}

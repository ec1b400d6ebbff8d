// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who uses a disk: mounts, swap, and the devices made from it or from one of
//! its partitions, and who uses those.
//!
//! What cannot be seen this way - a program that reads and writes the device
//! as such - may still claim it, as ZFS does; [`Usage::claimed`] asks for that.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::mounts::{Mount, foreign_mounts, mounts, swaps};
use super::sysfs::{Block, DeviceNumber, System};
use crate::error::{Context, Error, Result};

/// What a user of a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    /// A mounted filesystem.
    Mount,
    /// Swap space.
    Swap,
    /// A device-mapper device: LVM, an opened LUKS volume, multipath.
    Mapping,
    /// A RAID array.
    Array,
    /// A bcache device.
    Cache,
    /// A loop device over the file.
    Loop,
    /// A program that claimed it and cannot be seen.
    Claim,
}

/// Something that uses a device or a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    /// The device or file that is used.
    pub device: String,
    /// By what it is used.
    pub kind: Use,
    /// Where: the mount point, or the name of the device made from it.
    pub place: String,
    /// True if this user by itself may write to the device.
    pub writes: bool,
    /// How to end the use.
    #[serde(skip)]
    pub(super) hint: String,
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, kind, place, writes, .. } = self;
        match kind {
            Use::Mount if *writes => write!(f, "{device} is mounted at {place}"),
            Use::Mount => write!(f, "{device} is mounted read-only at {place}"),
            Use::Swap => write!(f, "{device} is used as swap"),
            Use::Mapping | Use::Array | Use::Cache => write!(f, "{device} is held by {place}"),
            Use::Loop => write!(f, "{device} is attached to {place}"),
            Use::Claim => write!(f, "{device} is claimed by a program"),
        }
    }
}

/// All mounts and swap spaces of a machine at one moment.
#[derive(Debug)]
pub(super) struct Usage<'a> {
    system: &'a System,
    mounts: Vec<(Mount, Vec<DeviceNumber>)>,
    swap_devices: Vec<(PathBuf, Option<DeviceNumber>)>,
}

impl<'a> Usage<'a> {
    /// Reads what is mounted and swapped to.
    pub(super) fn read(system: &'a System) -> Result<Self> {
        let mut all = mounts(system).context(|| "asking what is mounted".into())?;
        all.extend(foreign_mounts(system, &all));
        let mounts = all
            .into_iter()
            .map(|mount| {
                let devices = mount.devices(system).iter().map(|block| block.number).collect();
                (mount, devices)
            })
            .collect();
        let swap_devices = swaps(system)
            .context(|| "asking what is swapped to".into())?
            .into_iter()
            .map(|path| {
                let number = system.by_path(&path).map(|block| block.number);
                (path, number)
            })
            .collect();
        Ok(Self { system, mounts, swap_devices })
    }

    pub(super) const fn system(&self) -> &System {
        self.system
    }

    /// Who uses the device, one of its partitions, or - for a partition - the
    /// disk as a whole; and who uses what is made from them.
    pub(super) fn of_device(&self, block: &Block) -> Vec<User> {
        self.walk(block).0
    }

    /// Who uses the device or file at a path, programs that cannot be seen
    /// included.
    pub(super) fn of_path(&self, path: &Path) -> Result<Vec<User>> {
        Ok(match device_at(self.system, path)? {
            Some(block) => {
                let mut users = self.of_device(&block);
                users.extend(self.claimed(&block));
                users
            }
            None => self.of_file(path),
        })
    }

    /// Who uses the device itself and what is made from it, but not who uses
    /// its partitions or its disk.
    pub(super) fn of_node(&self, block: &Block) -> Vec<User> {
        let (mut users, mut seen) = (Vec::new(), Vec::new());
        self.add_node(block, &mut users, &mut seen);
        users
    }

    /// The devices that nothing known uses but somebody has claimed; asked
    /// by claiming each for a moment, so only of a device about to be used.
    pub(super) fn claimed(&self, block: &Block) -> Vec<User> {
        let mut claimed: Vec<User> = Vec::new();
        if !self.system.is_running() {
            return claimed;
        }
        let (users, nodes) = self.walk(block);
        // Partitions come first: a disk cannot be claimed if one of them is,
        // nor one of them if the disk is.
        for (node, is_used) in nodes.into_iter().rev() {
            let explained = if node.partition_number().is_some() {
                !self.of_node(&node.disk()).is_empty()
            } else {
                let below = !users.is_empty() || !claimed.is_empty();
                below && !node.partitions().is_empty()
            };
            if !is_used && !explained && is_claimed(&node) {
                let device = node.device_path();
                claimed.push(User {
                    hint: format!("find the program that has {device} open (fuser) and end it"),
                    device,
                    kind: Use::Claim,
                    place: String::new(),
                    writes: true,
                });
            }
        }
        claimed
    }

    /// Who uses a regular file as if it were a disk.
    pub(super) fn of_file(&self, path: &Path) -> Vec<User> {
        let shown = path.display().to_string();
        let mut users = Vec::new();
        for (swap, number) in &self.swap_devices {
            if number.is_none() && self.system.is_same_file(swap, path) {
                users.push(swap_user(&shown));
            }
        }
        for device in self.system.disks() {
            let Some(backing) = backing_file(&device) else { continue };
            if self.system.is_same_file(&backing, path) {
                let place = device.device_path();
                users.push(User {
                    device: shown.clone(),
                    kind: Use::Loop,
                    hint: format!("losetup --detach {place}"),
                    place,
                    // It writes if and only if somebody writes to it.
                    writes: false,
                });
                users.extend(self.of_device(&device));
            }
        }
        users
    }

    /// The users, and every device that was looked at with whether somebody
    /// uses it.
    fn walk(&self, block: &Block) -> (Vec<User>, Vec<(Block, bool)>) {
        let (mut users, mut seen) = (Vec::new(), Vec::new());
        self.add_node(block, &mut users, &mut seen);
        for partition in block.partitions() {
            self.add_node(&partition, &mut users, &mut seen);
        }
        // The disk of a partition may be in use as a whole, such as a stick
        // with a hybrid ISO that is mounted by its first sectors.
        let disk = block.disk();
        if disk != *block {
            self.add_node(&disk, &mut users, &mut seen);
            // Its other partitions are free to be used, and so it is claimed.
            seen.retain(|(node, _)| *node != disk);
        }
        (users, seen)
    }

    fn add_node(&self, block: &Block, users: &mut Vec<User>, seen: &mut Vec<(Block, bool)>) {
        if seen.iter().any(|(node, _)| node == block) {
            return;
        }
        let before = users.len();
        let device = block.device_path();
        for (mount, devices) in &self.mounts {
            if devices.contains(&block.number) {
                users.push(mount_user(&device, mount));
            }
        }
        if self.swap_devices.iter().any(|(_, number)| *number == Some(block.number)) {
            users.push(swap_user(&device));
        }
        let holders = block.holders();
        users.extend(holders.iter().map(|holder| holder_user(&device, holder)));
        // The caching device of a bcache has no holder.
        if block.has("bcache") && holders.is_empty() {
            users.push(User {
                device: device.clone(),
                kind: Use::Cache,
                place: "bcache".into(),
                writes: true,
                hint: format!("echo 1 > /sys/class/block/{}/bcache/stop", block.name),
            });
        }
        seen.push((block.clone(), users.len() > before));
        for holder in holders {
            self.add_node(&holder, users, seen);
            for partition in holder.partitions() {
                self.add_node(&partition, users, seen);
            }
        }
    }
}

/// The file of a loop device.
pub(super) fn backing_file(block: &Block) -> Option<PathBuf> {
    Some(PathBuf::from(block.attribute("loop/backing_file")?))
}

fn mount_user(device: &str, mount: &Mount) -> User {
    let point = mount.point.display();
    let elsewhere = mount.process;
    User {
        device: device.to_owned(),
        kind: Use::Mount,
        place: match elsewhere {
            Some(process) => format!("{point} (as process {process} sees it)"),
            None => point.to_string(),
        },
        writes: !mount.is_read_only(),
        hint: match elsewhere {
            Some(process) => format!("end process {process} or its container"),
            None => format!("umount {point}"),
        },
    }
}

fn swap_user(device: &str) -> User {
    User {
        device: device.to_owned(),
        kind: Use::Swap,
        place: "swap".into(),
        writes: true,
        hint: format!("swapoff {device}"),
    }
}

fn holder_user(device: &str, holder: &Block) -> User {
    let path = holder.device_path();
    let (kind, place, writes, hint) = if let Some(name) = holder.attribute("dm/name") {
        let uuid = holder.attribute("dm/uuid").unwrap_or_default();
        let hint = if uuid.starts_with("LVM-") {
            format!("lvchange --activate n /dev/mapper/{name}")
        } else if uuid.starts_with("CRYPT-") {
            format!("cryptsetup close {name}")
        } else {
            format!("dmsetup remove {name}")
        };
        // A mapping passes on what its own users write; those are looked at.
        (Use::Mapping, format!("{path} ({name})"), false, hint)
    } else if holder.has("md") {
        let level = holder.attribute("md/level").unwrap_or_else(|| "array".into());
        let hint = format!("mdadm --stop {path}");
        (Use::Array, format!("{path} ({level})"), array_writes(holder), hint)
    } else {
        let hint = format!("stop {path}");
        (Use::Cache, path, true, hint)
    };
    User { device: device.to_owned(), kind, place, writes, hint }
}

/// True unless the array is at rest: it writes its superblocks with every
/// change of state, and everything while it is rebuilt.
fn array_writes(array: &Block) -> bool {
    let at_rest = array.attribute("md/array_state").is_some_and(|state| {
        ["clear", "inactive", "suspended", "readonly", "read-auto", "clean"]
            .contains(&state.as_str())
    });
    let busy = array
        .attribute("md/sync_action")
        .is_some_and(|action| action != "idle" && action != "frozen");
    !at_rest || busy
}

fn is_claimed(block: &Block) -> bool {
    // On a device, O_EXCL without O_CREAT claims; O_NONBLOCK leaves the tray
    // of a drive as it is.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_EXCL | libc::O_NONBLOCK)
        .open(block.device_path());
    matches!(opened, Err(error) if error.raw_os_error() == Some(libc::EBUSY))
}

/// Who uses a device, its partitions, and what is made from them; or a file.
///
/// # Errors
/// If the kernel cannot be asked, so that nothing is known.
pub fn users(path: &Path) -> Result<Vec<User>> {
    let system = System::running();
    Usage::read(&system)?.of_path(&absolute(path)?)
}

/// A path that means the same from every folder.
pub(super) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).context(|| format!("looking at {}", path.display()))
}

/// The device at a path; none if there is a regular file or nothing.
pub(super) fn device_at(system: &System, path: &Path) -> Result<Option<Block>> {
    if let Some(block) = system.by_path(path) {
        return Ok(Some(block));
    }
    if fs::metadata(system.path(path)).is_ok_and(|found| found.file_type().is_block_device()) {
        return Err(Error::failed(format!(
            "{} is a device that /sys does not show, so nobody knows who uses it",
            path.display()
        ))
        .hint("mount sysfs at /sys"));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::fake::Machine;

    const ATA: &str = "pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0";
    const NVME: &str = "pci0000:00/0000:00:1d.0/0000:02:00.0/nvme/nvme0";

    fn said(machine: &Machine, path: &str) -> Vec<String> {
        let system = machine.system();
        let users = Usage::read(&system).unwrap().of_path(Path::new(path)).unwrap();
        users.iter().map(User::to_string).collect()
    }

    fn sata() -> Machine {
        let machine = Machine::new();
        machine.disk(ATA, "sda", "8:0", 1 << 21);
        machine.partition("sda", "sda1", "8:1", 2048, 1 << 16);
        machine.partition("sda", "sda2", "8:2", 1 << 17, 1 << 16);
        machine.partition("sda", "sda3", "8:3", 1 << 18, 1 << 16);
        machine
    }

    #[test]
    fn mounts_and_swap_of_partitions_are_users_of_their_disk() {
        let mut machine = sata();
        machine.mount("8:1", "/dev/sda1", "/boot", "ro");
        machine.swaps(&["/dev/sda2"]);
        assert_eq!(
            said(&machine, "/dev/sda"),
            ["/dev/sda1 is mounted read-only at /boot", "/dev/sda2 is used as swap"]
        );
        assert_eq!(said(&machine, "/dev/sda1").len(), 1);
        assert!(said(&machine, "/dev/sda3").is_empty());
    }

    #[test]
    fn a_mapping_on_a_partition_is_seen_with_its_mounts() {
        let mut machine = sata();
        machine.mapping("dm-0", "252:0", "sda3", "luks-home", "CRYPT-LUKS2-77-luks-home");
        machine.mapping("dm-1", "252:1", "dm-0", "vg-home", "LVM-abc");
        machine.mount("252:1", "/dev/mapper/vg-home", "/home", "rw,discard");
        let said = said(&machine, "/dev/sda");
        assert_eq!(
            said,
            [
                "/dev/sda3 is held by /dev/dm-0 (luks-home)",
                "/dev/dm-0 is held by /dev/dm-1 (vg-home)",
                "/dev/dm-1 is mounted at /home",
            ]
        );
        let system = machine.system();
        let users = Usage::read(&system).unwrap().of_path(Path::new("/dev/sda3")).unwrap();
        assert_eq!(users[0].hint, "cryptsetup close luks-home");
        assert!(!users[0].writes && users[2].writes);
        assert_eq!(said.len(), users.len());
    }

    #[test]
    fn an_array_holds_both_its_disks() {
        let mut machine = sata();
        machine.disk(&ATA.replace("ata1", "ata2"), "sdb", "8:16", 1 << 21);
        machine.disk("virtual", "md0", "9:0", 1 << 20);
        machine.attribute("md0", "md/level", "raid1\n");
        machine.attribute("md0", "md/array_state", "clean\n");
        machine.partition("md0", "md0p1", "259:0", 2048, 4096);
        machine.hold("sda1", "md0");
        machine.hold("sdb", "md0");
        machine.mount("259:0", "/dev/md0p1", "/srv", "rw");
        for disk in ["/dev/sda", "/dev/sdb"] {
            let said = said(&machine, disk);
            assert!(said[0].ends_with("is held by /dev/md0 (raid1)"), "{said:?}");
            assert_eq!(said[1], "/dev/md0p1 is mounted at /srv");
        }
        assert!(!array_writes(&machine.system().by_name("md0").unwrap()));
        machine.attribute("md0", "md/sync_action", "resync\n");
        assert!(array_writes(&machine.system().by_name("md0").unwrap()));
        machine.attribute("md0", "md/sync_action", "idle\n");
        machine.attribute("md0", "md/array_state", "active\n");
        assert!(array_writes(&machine.system().by_name("md0").unwrap()));
    }

    #[test]
    fn every_device_of_a_btrfs_is_mounted() {
        let mut machine = sata();
        machine.disk(NVME, "nvme0n1", "259:5", 1 << 21);
        machine.partition("nvme0n1", "nvme0n1p2", "259:7", 2048, 4096);
        machine.btrfs("11-22", &["sda2", "nvme0n1p2"]);
        machine.mount_any("0:35 /@ /data rw,relatime shared:1 - btrfs /dev/sda2 rw,ssd");
        assert_eq!(said(&machine, "/dev/sda"), ["/dev/sda2 is mounted at /data"]);
        assert_eq!(said(&machine, "/dev/nvme0n1"), ["/dev/nvme0n1p2 is mounted at /data"]);
        assert!(said(&machine, "/dev/sda1").is_empty());
    }

    #[test]
    fn a_source_text_alone_does_not_make_a_device_mounted() {
        let mut machine = sata();
        machine.mount_any("8:1 / /mnt rw - ext4 /dev/sda2 rw");
        assert_eq!(said(&machine, "/dev/sda"), ["/dev/sda1 is mounted at /mnt"]);
    }

    #[test]
    fn a_partition_is_in_use_if_its_disk_is_as_a_whole() {
        let mut machine = sata();
        machine.mount_any("8:0 / /run/live/medium ro - iso9660 /dev/sda ro");
        let wanted = ["/dev/sda is mounted read-only at /run/live/medium"];
        assert_eq!(said(&machine, "/dev/sda1"), wanted);
        assert_eq!(said(&machine, "/dev/sda"), wanted);
    }

    #[test]
    fn mounts_of_other_namespaces_count() {
        let machine = sata();
        machine.file("proc/self/mountinfo", "30 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
        for (process, namespace, line) in [
            ("1", "mnt:[1]", "30 1 8:1 / / rw - ext4 /dev/sda1 rw"),
            ("77", "mnt:[2]", "31 1 8:2 / /data rw - xfs /dev/sda2 rw"),
            ("78", "mnt:[2]", "31 1 8:3 / /never rw - xfs /dev/sda3 rw"),
        ] {
            machine.file(format!("proc/{process}/mountinfo"), format!("{line}\n"));
            let link = machine.path(format!("proc/{process}/ns"));
            fs::create_dir_all(&link).unwrap();
            std::os::unix::fs::symlink(namespace, link.join("mnt")).unwrap();
        }
        assert_eq!(
            said(&machine, "/dev/sda"),
            ["/dev/sda1 is mounted at /", "/dev/sda2 is mounted at /data (as process 77 sees it)"]
        );
    }

    #[test]
    fn a_file_is_in_use_through_its_loop_device_and_as_swap() {
        let mut machine = sata();
        machine.file("srv/disk.raw", "x");
        assert!(said(&machine, "/srv/disk.raw").is_empty());
        machine.looped("loop3", "7:3", "/srv/disk.raw");
        machine.mount("7:3", "/dev/loop3", "/mnt", "rw");
        assert_eq!(
            said(&machine, "/srv/disk.raw"),
            ["/srv/disk.raw is attached to /dev/loop3", "/dev/loop3 is mounted at /mnt"]
        );
        machine.file("swapfile", "x");
        machine.swaps(&["/swapfile"]);
        assert_eq!(said(&machine, "/swapfile"), ["/swapfile is used as swap"]);
    }

    #[test]
    fn bcache_is_seen_on_both_its_devices() {
        let machine = sata();
        machine.disk("virtual", "bcache0", "251:0", 1 << 20);
        machine.hold("sda1", "bcache0");
        let folder = machine.system().all().into_iter().find(|b| b.name == "sda2").unwrap();
        fs::create_dir(folder.folder().join("bcache")).unwrap();
        assert_eq!(
            said(&machine, "/dev/sda"),
            ["/dev/sda1 is held by /dev/bcache0", "/dev/sda2 is held by bcache"]
        );
    }
}

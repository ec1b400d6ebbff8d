// SPDX-License-Identifier: MIT OR Apache-2.0
//! Everything of this machine on which a filesystem may be: partitions, disks
//! without partitions, and discs.

use std::path::PathBuf;

use super::inuse::{Usage, User};
use super::mounts::mounts;
use super::sysfs::{Block, DeviceNumber, System};
use super::{DiskIdentity, disks_of, identity};
use crate::error::Result;

/// A device node on which a filesystem may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeNode {
    /// The kernel's name: "sda1", "sr0".
    pub name: String,
    /// Its node.
    pub path: PathBuf,
    /// The kernel's number.
    pub number: DeviceNumber,
    /// The size in bytes.
    pub size: u64,
    /// The number of the partition, if it is one.
    pub partition: Option<u32>,
    /// The disk it is on, or is.
    pub disk: DiskIdentity,
    /// True if the medium can be taken out.
    pub removable: bool,
    /// True for a CD, DVD or Blu-ray disc.
    pub is_disc: bool,
    /// True if the kernel refuses to write to it.
    pub read_only: bool,
    /// Who uses it, mounts included.
    pub users: Vec<User>,
}

/// A filesystem on a device or of a server, and where it is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPoint {
    /// The folder.
    pub point: PathBuf,
    /// What is mounted there: the folder "/" of the filesystem, or another one
    /// of it, such as a subvolume.
    pub root: PathBuf,
    /// What it was mounted from: the node of a device, or "server:/share".
    pub source: PathBuf,
    /// The type by which the kernel knows it.
    pub fstype: String,
    /// The device, if it is on one that the kernel knows by a number.
    pub device: Option<DeviceNumber>,
    /// True if it is not written through any of its mounts.
    pub read_only: bool,
}

/// The volumes of this machine, in the order of their disks.
///
/// # Errors
/// If the kernel cannot be asked.
pub fn volumes() -> Result<Vec<VolumeNode>> {
    volumes_of(&System::running())
}

/// The volumes of a machine.
///
/// # Errors
/// If its kernel cannot be asked.
pub fn volumes_of(system: &System) -> Result<Vec<VolumeNode>> {
    let usage = Usage::read(system)?;
    let disks = disks_of(system)?;
    let mut nodes: Vec<Block> = Vec::new();
    for block in system.disks() {
        let is_disc = is_disc(&block) && block.len() > 0;
        if is_disc || disks.iter().any(|disk| disk.number == block.number) {
            let partitions = block.partitions();
            // A disc may be a hybrid image, whose partitions are in its files.
            if partitions.is_empty() || is_disc {
                nodes.push(block);
            } else {
                nodes.extend(partitions);
            }
        }
    }
    Ok(nodes.iter().map(|block| node(&usage, block)).collect())
}

fn node(usage: &Usage<'_>, block: &Block) -> VolumeNode {
    let disk = block.disk();
    VolumeNode {
        name: block.name.clone(),
        path: block.device_path().into(),
        number: block.number,
        size: block.len(),
        partition: block.partition_number(),
        disk: identity::of(usage.system(), &disk),
        removable: disk.flag("removable"),
        is_disc: is_disc(&disk),
        read_only: block.flag("ro") || disk.flag("ro"),
        users: usage.of_node(block),
    }
}

/// True for an optical drive.
pub(super) fn is_disc(block: &Block) -> bool {
    block.name.strip_prefix("sr").is_some_and(|rest| rest.bytes().all(|it| it.is_ascii_digit()))
}

/// What is mounted, without what only lives in the kernel or in memory.
///
/// # Errors
/// If the kernel cannot be asked.
pub fn mount_points() -> Result<Vec<MountPoint>> {
    const OF_SERVERS: [&str; 5] = ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs"];
    let system = System::running();
    let found = mounts(&system)?.into_iter().filter_map(|mount| {
        let device = system.by_number(mount.number).or_else(|| system.by_path(&mount.source));
        let is_kept = device.is_some() || OF_SERVERS.contains(&mount.fstype.as_str());
        is_kept.then(|| MountPoint {
            device: device.map(|block| block.number),
            read_only: mount.is_read_only(),
            point: mount.point,
            root: mount.root,
            source: mount.source,
            fstype: mount.fstype,
        })
    });
    Ok(found.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::fake::Machine;

    const ATA: &str = "pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0";
    const USB: &str = "pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host4/target4:0:0/4:0:0:0";

    #[test]
    fn partitions_bare_disks_and_discs_are_volumes() {
        let mut machine = Machine::new();
        machine.disk(ATA, "sda", "8:0", 1 << 21);
        machine.partition("sda", "sda1", "8:1", 2048, 1 << 16);
        machine.partition("sda", "sda2", "8:2", 1 << 17, 1 << 16);
        machine.disk(USB, "sdb", "8:16", 1 << 21);
        machine.attribute("sdb", "removable", "1\n");
        machine.disk("virtual", "sr0", "11:0", 4096);
        machine.disk("virtual", "sr1", "11:1", 0);
        machine.disk("virtual", "zram0", "253:0", 4096);
        machine.mapping("dm-0", "252:0", "sda2", "root", "CRYPT-LUKS2-1-root");
        machine.mount("8:1", "/dev/sda1", "/mnt/a", "rw");
        let volumes = volumes_of(&machine.system()).unwrap();
        let names: Vec<&str> = volumes.iter().map(|volume| volume.name.as_str()).collect();
        assert_eq!(names, ["sda1", "sda2", "sdb", "sr0"]);
        let [first, second, stick, disc] = &volumes[..] else { panic!() };
        assert_eq!(first.partition, Some(1));
        assert_eq!(first.disk.size, 1 << 30);
        assert_eq!(first.users.len(), 1);
        assert!(second.users[0].to_string().contains("root"));
        assert!(stick.removable && stick.users.is_empty() && !stick.is_disc);
        assert!(disc.is_disc);
    }
}

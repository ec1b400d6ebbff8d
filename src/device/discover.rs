// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disks of this machine and what each says of itself.

use std::path::Path;

use serde::{Serialize, Serializer};

use super::inuse::{Usage, User, absolute};
use super::sysfs::{Block, DeviceNumber, System};
use super::{DiskIdentity, identity};
use crate::error::{Error, Result};
use crate::extent::Extent;

/// A disk of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// What it says of itself; the path is that of its node.
    #[serde(flatten)]
    pub identity: DiskIdentity,
    /// The kernel's name: "sda", "nvme0n1".
    pub name: String,
    /// The kernel's number.
    pub number: DeviceNumber,
    /// True if writes are refused.
    pub read_only: bool,
    /// True if its medium can be taken out.
    pub removable: bool,
    /// True if it can be told that ranges are not needed.
    pub discard: bool,
    /// True if it must be written zone by zone, which is not supported.
    pub zoned: bool,
    /// Who uses it as a whole.
    pub users: Vec<User>,
    /// The partitions the kernel sees, by number.
    pub partitions: Vec<DiskPartition>,
}

impl Disk {
    /// True if it or one of its partitions is in use.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        !self.users.is_empty() || self.partitions.iter().any(|part| !part.users.is_empty())
    }
}

/// A partition as the kernel sees it; the table may say otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiskPartition {
    /// Its number, from 1.
    pub number: u32,
    /// The kernel's name: "sda1", "nvme0n1p1".
    pub name: String,
    /// Its node.
    pub path: String,
    /// Where it is on the disk.
    #[serde(serialize_with = "start_and_len", flatten)]
    pub extent: Extent,
    /// Who uses it.
    pub users: Vec<User>,
}

fn start_and_len<S: Serializer>(extent: &Extent, serializer: S) -> Result<S::Ok, S::Error> {
    use serde::ser::SerializeMap;
    let mut map = serializer.serialize_map(Some(2))?;
    map.serialize_entry("start", &extent.start())?;
    map.serialize_entry("size", &extent.len())?;
    map.end()
}

/// The disks of this machine, without optical drives, memory disks and
/// mappings.
///
/// # Errors
/// If the kernel cannot be asked.
pub fn disks() -> Result<Vec<Disk>> {
    disks_of(&System::running())
}

/// The disks of a machine.
///
/// # Errors
/// If its kernel cannot be asked.
pub fn disks_of(system: &System) -> Result<Vec<Disk>> {
    if !system.path("sys/block").is_dir() {
        return Err(
            Error::failed("looking for disks: /sys/block is not there").hint("mount sysfs at /sys")
        );
    }
    let usage = Usage::read(system)?;
    Ok(system
        .disks()
        .iter()
        .filter(|block| is_disk(block))
        .map(|block| disk(&usage, block))
        .collect())
}

/// What the disk at a path says of itself; of a partition, what its disk
/// says, with the partition's own size.
///
/// # Errors
/// If the path is not that of a block device.
pub fn find_by_path(path: &Path) -> Result<DiskIdentity> {
    let system = System::running();
    find_by_path_on(&system, &absolute(path)?)
}

/// True if the disk at a path, or the disk a partition is on, can be told which
/// ranges are unused.
#[must_use]
pub fn can_discard(path: &Path) -> bool {
    let block = absolute(path).ok().and_then(|path| System::running().by_path(&path));
    block.is_some_and(|block| block.disk().flag("queue/discard_max_bytes"))
}

/// True for the path of a partition.
#[must_use]
pub fn is_partition(path: &Path) -> bool {
    let block = absolute(path).ok().and_then(|path| System::running().by_path(&path));
    block.is_some_and(|block| block.partition_number().is_some())
}

fn find_by_path_on(system: &System, path: &Path) -> Result<DiskIdentity> {
    let block = system.by_path(path).ok_or_else(|| {
        Error::usage(format!("{} is not a disk or partition", path.display()))
            .hint("dacapo disks lists those of this machine")
    })?;
    Ok(DiskIdentity { path: path.display().to_string(), ..identity::of(system, &block) })
}

fn is_disk(block: &Block) -> bool {
    // Zero sectors: a loop device without a file, a reader without a card.
    // "hidden" are the single paths to a multipath NVMe disk.
    block.len() > 0
        && !block.flag("hidden")
        && !["ram", "zram", "sr", "dm-", "fd"].iter().any(|family| is_of(&block.name, family))
}

/// True for "ram0" of "ram", not for "ramdisk".
fn is_of(name: &str, family: &str) -> bool {
    name.strip_prefix(family)
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

fn disk(usage: &Usage<'_>, block: &Block) -> Disk {
    Disk {
        identity: identity::of(usage.system(), block),
        name: block.name.clone(),
        number: block.number,
        read_only: block.flag("ro"),
        removable: block.flag("removable"),
        discard: block.flag("queue/discard_max_bytes"),
        zoned: block.attribute("queue/zoned").is_some_and(|model| model != "none"),
        users: usage.of_node(block),
        partitions: block
            .partitions()
            .iter()
            .filter_map(|partition| {
                Some(DiskPartition {
                    number: partition.partition_number()?,
                    name: partition.name.clone(),
                    path: partition.device_path(),
                    extent: partition.extent(),
                    users: usage.of_node(partition),
                })
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::fake::Machine;

    const ATA: &str = "pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0";
    const NVME: &str = "pci0000:00/0000:02:00.0/nvme/nvme0";
    const USB: &str = "pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host4/target4:0:0/4:0:0:0";

    fn studio() -> Machine {
        let mut machine = Machine::new();
        machine.disk(ATA, "sda", "8:0", 1 << 21);
        machine.partition("sda", "sda10", "8:10", 1 << 18, 1 << 16);
        machine.partition("sda", "sda2", "8:2", 2048, 1 << 16);
        machine.disk(NVME, "nvme0n1", "259:0", 1 << 21);
        machine.partition("nvme0n1", "nvme0n1p1", "259:1", 2048, 4096);
        machine.disk(USB, "sdb", "8:16", 1 << 21);
        machine.attribute("sdb", "removable", "1\n");
        machine.attribute("sdb", "ro", "1\n");
        machine.attribute("sdb", "queue/discard_max_bytes", "0\n");
        machine.attribute("sdb", "queue/zoned", "host-managed\n");
        for (name, number) in [("loop0", "7:0"), ("sdc", "8:32")] {
            machine.disk("virtual", name, number, 0);
        }
        for (name, number) in [("zram0", "253:0"), ("ram1", "1:1"), ("sr0", "11:0")] {
            machine.disk("virtual", name, number, 4096);
        }
        machine.disk("virtual", "nvme0c0n1", "259:9", 4096);
        machine.attribute("nvme0c0n1", "hidden", "1\n");
        machine.mapping("dm-0", "252:0", "nvme0n1p1", "root", "CRYPT-LUKS2-1-root");
        machine.mount("252:0", "/dev/mapper/root", "/", "rw");
        machine
    }

    #[test]
    fn only_disks_are_listed_and_partitions_by_number() {
        let disks = disks_of(&studio().system()).unwrap();
        let names: Vec<&str> = disks.iter().map(|disk| disk.name.as_str()).collect();
        assert_eq!(names, ["nvme0n1", "sda", "sdb"]);
        let numbers: Vec<u32> = disks[1].partitions.iter().map(|part| part.number).collect();
        assert_eq!(numbers, [2, 10]);
        assert_eq!(disks[1].partitions[0].extent, Extent::at(2048 * 512, 512 << 16));
        assert_eq!(disks[1].partitions[0].path, "/dev/sda2");
    }

    #[test]
    fn each_disk_says_what_it_can_and_who_uses_it() {
        let disks = disks_of(&studio().system()).unwrap();
        let [nvme, sata, usb] = &disks[..] else { panic!("{disks:?}") };
        assert!(nvme.is_in_use() && !sata.is_in_use() && !usb.is_in_use());
        assert!(nvme.users.is_empty());
        let users: Vec<String> = nvme.partitions[0].users.iter().map(User::to_string).collect();
        assert_eq!(
            users,
            ["/dev/nvme0n1p1 is held by /dev/dm-0 (root)", "/dev/dm-0 is mounted at /"]
        );
        assert!(sata.discard && !sata.read_only && !sata.removable && !sata.zoned);
        assert!(!usb.discard && usb.read_only && usb.removable && usb.zoned);
    }

    #[test]
    fn a_disk_in_json_has_its_identity_and_its_partitions() {
        let disks = disks_of(&studio().system()).unwrap();
        let json = serde_json::to_value(&disks[0]).unwrap();
        assert_eq!(json["name"], "nvme0n1");
        assert_eq!(json["bus"], "nvme");
        assert_eq!(json["size"], 1_u64 << 30);
        assert_eq!(json["number"], "259:0");
        let partition = &json["partitions"][0];
        assert_eq!(partition["start"], 1 << 20);
        assert_eq!(partition["size"], 4096 * 512);
        assert_eq!(partition["users"][1]["kind"], "mount");
        assert_eq!(partition["users"][1]["place"], "/");
    }

    #[test]
    fn a_disk_is_found_by_any_of_its_paths() {
        let machine = studio();
        let system = machine.system();
        machine.file("dev/disk/by-id/x", "");
        let link = machine.path("dev/disk/by-id/ata-x");
        std::os::unix::fs::symlink("../../sda", link).unwrap();
        let found = find_by_path_on(&system, Path::new("/dev/disk/by-id/ata-x")).unwrap();
        assert_eq!(found.path, "/dev/disk/by-id/ata-x");
        assert_eq!((found.size, found.bus.as_deref()), (1 << 30, Some("sata")));
        let found = find_by_path_on(&system, Path::new("/dev/sda2")).unwrap();
        assert_eq!((found.size, found.bus.as_deref()), (512 << 16, Some("sata")));
        assert!(find_by_path_on(&system, Path::new("/dev/sdz")).is_err());
    }

    #[test]
    fn without_sysfs_there_is_an_error_and_no_empty_list() {
        let folder = tempfile::tempdir().unwrap();
        assert!(disks_of(&System::at(folder.path())).is_err());
    }
}

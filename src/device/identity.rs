// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a disk says of itself: model, serial number, world wide name, and how
//! it is attached; so that people recognise it and hit no other.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::medium::Medium;
use super::sysfs::{Block, DeviceNumber, System};

/// What a disk says of itself; stored in every image of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DiskIdentity {
    /// The path it was opened by.
    pub path: String,
    /// The model, as the drive gives it.
    pub model: Option<String>,
    /// The serial number, as the drive gives it.
    pub serial: Option<String>,
    /// The world wide name.
    pub wwn: Option<String>,
    /// The size in bytes.
    pub size: u64,
    /// The logical sector size in bytes.
    pub logical_sector: u32,
    /// The physical sector size in bytes.
    pub physical_sector: u32,
    /// How it is attached: "nvme", "sata", "usb", "virtio", "loop", "file".
    pub bus: Option<String>,
    /// True for a spinning disk.
    pub rotational: Option<bool>,
}

/// Parts of the kernel's path of a device, and the bus each means. The first
/// that matches counts: a SATA disk in a USB case is a USB disk.
const BUSES: [(&str, &str); 18] = [
    ("/usb", "usb"),
    ("/virtual/block/loop", "loop"),
    ("/virtual/block/md", "md"),
    ("/virtual/block/dm-", "dm"),
    ("/virtual/block/nbd", "nbd"),
    ("/virtual/block/bcache", "bcache"),
    ("/virtual/block/zram", "memory"),
    ("/nvme", "nvme"),
    ("/mmc", "mmc"),
    ("/fw", "firewire"),
    ("/ata", "sata"),
    ("/end_device-", "sas"),
    ("/rport-", "fibre-channel"),
    ("/session", "iscsi"),
    ("/virtio", "virtio"),
    ("/VMBUS", "hyper-v"),
    ("/vbd-", "xen"),
    ("/host", "scsi"),
];

/// What an open device or file says of itself.
pub(super) fn of_medium(medium: &Medium) -> DiskIdentity {
    let opened = DiskIdentity {
        path: medium.path().to_owned(),
        size: medium.len(),
        logical_sector: medium.sector_size().get(),
        physical_sector: medium.physical_sector(),
        ..DiskIdentity::default()
    };
    if !medium.is_device() {
        return DiskIdentity { bus: Some("file".into()), ..opened };
    }
    let system = System::running();
    let number = medium.file().metadata().map(|found| DeviceNumber::from_raw(found.rdev()));
    let Some(block) = number.ok().and_then(|number| system.by_number(number)) else {
        return opened;
    };
    // Sizes are those that were opened; /sys is asked for the rest.
    let DiskIdentity { model, serial, wwn, bus, rotational, .. } = of(&system, &block);
    DiskIdentity { model, serial, wwn, bus, rotational, ..opened }
}

/// What a disk says of itself; of a partition, its disk, with its own size.
pub(super) fn of(system: &System, block: &Block) -> DiskIdentity {
    let disk = block.disk();
    let bus = bus(system, &disk);
    let usb = if bus == Some("usb") { usb_device(&disk) } else { None };
    let usb_text = |name: &str| Some(tidy(&fs::read(usb.as_ref()?.join(name)).ok()?));
    let sector = |name: &str| disk.number_attribute(name).and_then(|size| size.try_into().ok());
    let logical = sector("queue/logical_block_size").unwrap_or(512);
    DiskIdentity {
        path: block.device_path(),
        model: model(&disk).or_else(|| usb_text("product")).filter(|text| !text.is_empty()),
        serial: serial(&disk).or_else(|| usb_text("serial")).filter(|text| !text.is_empty()),
        wwn: wwn(&disk),
        size: block.len(),
        logical_sector: logical,
        physical_sector: sector("queue/physical_block_size").unwrap_or(logical),
        bus: bus.map(str::to_owned),
        rotational: disk.number_attribute("queue/rotational").map(|flag| flag != 0),
    }
}

fn bus(system: &System, disk: &Block) -> Option<&'static str> {
    let devices = fs::canonicalize(system.path("sys/devices")).ok()?;
    let below = Path::new("/").join(disk.folder().strip_prefix(devices).ok()?);
    let path = below.to_string_lossy();
    BUSES.iter().find(|(part, _)| path.contains(part)).map(|(_, bus)| *bus)
}

fn model(disk: &Block) -> Option<String> {
    // A SCSI disk has eight bytes of vendor before the model, which bridges
    // fill with the start of the model; SATA disks have "ATA" there.
    let vendor = disk.raw_attribute("device/vendor").unwrap_or_default();
    let is_text = vendor.len() >= 8 && !vendor.starts_with(b"ATA ") && !vendor.starts_with(b"0x");
    if is_text && let Some(model) = disk.raw_attribute("device/model") {
        let joined = tidy(&[&vendor[..8], &model].concat());
        return (!joined.is_empty()).then_some(joined);
    }
    // NVMe and SATA have a model, cards a name, device-mapper and md theirs.
    ["device/model", "device/name", "dm/name", "md/level"]
        .iter()
        .find_map(|name| disk.raw_attribute(name))
        .map(|text| tidy(&text))
}

fn serial(disk: &Block) -> Option<String> {
    // virtio has it at the disk, NVMe and cards at the device, SCSI on page
    // 80h of the vital product data, after four bytes of header.
    let text = |name: &str| Some(tidy(&disk.raw_attribute(name)?)).filter(|text| !text.is_empty());
    let page = || {
        let page = disk.raw_attribute("device/vpd_pg80")?;
        let len = usize::from(u16::from_be_bytes([*page.get(2)?, *page.get(3)?]));
        let serial = page.get(4..)?;
        let serial = tidy(serial.get(..len).unwrap_or(serial));
        (page.get(1) == Some(&0x80) && !serial.is_empty()).then_some(serial)
    };
    text("serial").or_else(page).or_else(|| text("device/serial"))
}

fn wwn(disk: &Block) -> Option<String> {
    // "t10." names are made from vendor, model and serial, and no world wide
    // name; a card's identity is its CID.
    let known = ["naa.", "eui.", "uuid.", "nvme."];
    ["wwid", "device/wwid"]
        .iter()
        .find_map(|name| disk.attribute(name))
        .filter(|name| known.iter().any(|start| name.starts_with(start)))
        .or_else(|| disk.attribute("device/cid"))
}

/// The folder of the USB device a disk is part of.
fn usb_device(disk: &Block) -> Option<PathBuf> {
    let folder = disk.folder().ancestors().find(|folder| folder.join("idVendor").exists())?;
    Some(folder.to_owned())
}

/// Text as it is printed on the drive: no padding, one space between words,
/// nothing that would confuse a terminal.
fn tidy(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let printable: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    printable.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::fake::Machine;

    fn identity(machine: &Machine, name: &str) -> DiskIdentity {
        let system = machine.system();
        let block = system.all().into_iter().find(|block| block.name == name).unwrap();
        of(&system, &block)
    }

    fn page_80(serial: &str) -> Vec<u8> {
        let len = u16::try_from(serial.len()).unwrap().to_be_bytes();
        [&[0, 0x80], &len[..], serial.as_bytes()].concat()
    }

    #[test]
    fn a_sata_disk() {
        let machine = Machine::new();
        machine.disk(
            "pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0",
            "sda",
            "8:0",
            976_773_168,
        );
        machine.attribute("sda", "device/vendor", "ATA     \n");
        machine.attribute("sda", "device/model", "Samsung SSD 860 \n");
        machine.attribute("sda", "device/vpd_pg80", page_80("S3Z9NB0K123456A     "));
        machine.attribute("sda", "device/wwid", "naa.5002538e40a1b2c3\n");
        machine.attribute("sda", "queue/rotational", "1\n");
        machine.partition("sda", "sda1", "8:1", 2048, 8);
        let disk = identity(&machine, "sda");
        assert_eq!(
            disk,
            DiskIdentity {
                path: "/dev/sda".into(),
                model: Some("Samsung SSD 860".into()),
                serial: Some("S3Z9NB0K123456A".into()),
                wwn: Some("naa.5002538e40a1b2c3".into()),
                size: 500_107_862_016,
                logical_sector: 512,
                physical_sector: 4096,
                bus: Some("sata".into()),
                rotational: Some(true),
            }
        );
        // A partition is known by its disk, but has its own size and path.
        let wanted = DiskIdentity { path: "/dev/sda1".into(), size: 4096, ..disk };
        assert_eq!(identity(&machine, "sda1"), wanted);
    }

    #[test]
    fn an_nvme_disk() {
        let machine = Machine::new();
        // Here the folder of the disk lies directly in that of the device.
        machine.disk("pci0000:00/0000:02:00.0/nvme/nvme0", "nvme0n1", "259:0", 8);
        machine.attribute("nvme0n1", "device/model", "WD Blue SN570 1TB                       \n");
        machine.attribute("nvme0n1", "device/serial", "21353X800123        \n");
        machine.attribute("nvme0n1", "wwid", "eui.e8238fa6bf530001001b448b4a6d1234\n");
        machine.attribute("nvme0n1", "queue/logical_block_size", "4096\n");
        let disk = identity(&machine, "nvme0n1");
        assert_eq!(disk.model.as_deref(), Some("WD Blue SN570 1TB"));
        assert_eq!(disk.serial.as_deref(), Some("21353X800123"));
        assert_eq!(disk.wwn.as_deref(), Some("eui.e8238fa6bf530001001b448b4a6d1234"));
        assert_eq!(disk.bus.as_deref(), Some("nvme"));
        assert_eq!((disk.logical_sector, disk.rotational), (4096, Some(false)));
    }

    #[test]
    fn a_usb_disk_whose_bridge_hides_the_serial() {
        let machine = Machine::new();
        let usb = "sys/devices/pci0000:00/0000:00:14.0/usb2/2-1";
        machine.disk(
            "pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host4/target4:0:0/4:0:0:0",
            "sdb",
            "8:16",
            8,
        );
        machine.attribute("sdb", "device/vendor", "WDC WD40\n");
        machine.attribute("sdb", "device/model", "EFRX-68WT0N0    \n");
        machine.attribute("sdb", "device/wwid", "t10.WDC WD40 EFRX\n");
        machine.file(format!("{usb}/idVendor"), "152d\n");
        machine.file(format!("{usb}/product"), "USB to ATA\n");
        machine.file(format!("{usb}/serial"), "DB9876543214E\n");
        let disk = identity(&machine, "sdb");
        assert_eq!(disk.bus.as_deref(), Some("usb"));
        assert_eq!(disk.model.as_deref(), Some("WDC WD40EFRX-68WT0N0"));
        assert_eq!(disk.serial.as_deref(), Some("DB9876543214E"));
        assert_eq!(disk.wwn, None);
    }

    #[test]
    fn virtual_disks_and_cards() {
        let machine = Machine::new();
        machine.disk("pci0000:00/0000:00:05.0/virtio2", "vda", "254:0", 8);
        machine.attribute("vda", "serial", "root-disk");
        machine.attribute("vda", "device/vendor", "0x1af4\n");
        machine.disk("platform/soc/mmc_host/mmc0/mmc0:aaaa", "mmcblk0", "179:0", 8);
        machine.attribute("mmcblk0", "device/name", "SU32G\n");
        machine.attribute("mmcblk0", "device/serial", "0x3f81f1a1\n");
        machine.attribute("mmcblk0", "device/cid", "035344535533324780\n");
        machine.looped("loop7", "7:7", "/srv/a.raw");
        let virtio = identity(&machine, "vda");
        assert_eq!(virtio.bus.as_deref(), Some("virtio"));
        assert_eq!(virtio.serial.as_deref(), Some("root-disk"));
        assert_eq!(virtio.model, None);
        let card = identity(&machine, "mmcblk0");
        assert_eq!(card.bus.as_deref(), Some("mmc"));
        assert_eq!(card.model.as_deref(), Some("SU32G"));
        assert_eq!(card.wwn.as_deref(), Some("035344535533324780"));
        assert_eq!(identity(&machine, "loop7").bus.as_deref(), Some("loop"));
    }

    #[test]
    fn what_a_hostile_drive_says_stays_harmless() {
        let machine = Machine::new();
        machine.disk("pci0000:00/usb1/1-1/1-1:1.0/host1/target1:0:0/1:0:0:0", "sdc", "8:32", 8);
        machine.attribute("sdc", "device/vendor", "\x1b[2J\0\0\0\0\n");
        machine.attribute("sdc", "device/model", "\x07Disk\x7f\n");
        // A length beyond the end, and a page that is another.
        machine.attribute("sdc", "device/vpd_pg80", b"\0\x80\xff\xffAB");
        let disk = identity(&machine, "sdc");
        assert_eq!(disk.model.as_deref(), Some("[2J Disk"));
        assert_eq!(disk.serial.as_deref(), Some("AB"));
        machine.attribute("sdc", "device/vpd_pg80", b"\0\x83\0\x02AB");
        assert_eq!(identity(&machine, "sdc").serial, None);
        machine.attribute("sdc", "device/vpd_pg80", b"\0\x80");
        assert_eq!(identity(&machine, "sdc").serial, None);
    }
}

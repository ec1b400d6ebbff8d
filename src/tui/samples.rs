// SPDX-License-Identifier: MIT OR Apache-2.0
//! Made-up disks and images, to draw screens in tests.

use std::sync::Arc;

use super::log::Log;
use super::screen::{Session, Shared};
use super::shelf::Shelf;
use crate::cmd::disks::{Content, Part, Shown};
use crate::device::{DeviceNumber, Disk, DiskIdentity, Toc, Track};
use crate::disc::record::Sectors;
use crate::disc::shelf::Shelved;
use crate::disc::volume::{Sizes, Volume};
use crate::disc::{Contents, Record};
use crate::extent::Extent;
use crate::fs::Identity;
use crate::job::{Kind, Target};
use crate::layout::{Layout, Region, RegionKind, TableSummary};
use crate::media::{Destination, Facts, FoundImage, Medium};
use crate::network::Interface;
use crate::table::Partition;
use crate::units::{GIB, MIB};

/// The size of the disk.
pub(crate) const DISK_LEN: u64 = 500_107_862_016;

fn region(number: u32, start: u64, len: u64, name: &str, label: &str, used: u64) -> Region {
    Region {
        extent: Extent::at(start, len),
        kind: RegionKind::Partition,
        partition: Some(Partition {
            number,
            extent: Extent::at(start, len),
            type_id: String::new(),
            type_name: None,
            id: None,
            name: None,
            container: false,
        }),
        filesystem: Some(Identity {
            name: name.into(),
            label: Some(label.into()),
            clean: true,
            ..Identity::default()
        }),
        used,
        whole: None,
        notes: Vec::new(),
        advice: None,
        volumes: Vec::new(),
    }
}

/// A disk with Windows.
pub(crate) fn layout() -> Layout {
    let rest = DISK_LEN - 641 * MIB;
    Layout {
        table: Some(TableSummary { kind: "GPT".into(), ..TableSummary::default() }),
        regions: vec![
            region(1, MIB, 512 * MIB, "FAT32", "ESP", 40 * MIB),
            region(2, 513 * MIB, 128 * MIB, "-", "", 128 * MIB),
            region(3, 641 * MIB, rest - 2 * MIB, "NTFS", "Windows\u{1b}[2J and studio", 120 * GIB),
        ],
    }
}

/// What a disk says of itself.
pub(crate) fn identity() -> DiskIdentity {
    DiskIdentity {
        path: "/dev/nvme0n1".into(),
        model: Some("Samsung SSD 970 EVO Plus 500GB".into()),
        serial: Some("S4EVNX0M123456A".into()),
        wwn: Some("eui.0025385b11b4e0d1".into()),
        size: DISK_LEN,
        logical_sector: 512,
        physical_sector: 4096,
        bus: Some("nvme".into()),
        rotational: Some(false),
    }
}

/// A disk of a machine.
pub(crate) fn disk() -> Disk {
    Disk {
        identity: identity(),
        name: "nvme0n1".into(),
        number: DeviceNumber::parse("259:0").unwrap(),
        read_only: false,
        removable: false,
        discard: true,
        zoned: false,
        users: Vec::new(),
        partitions: Vec::new(),
    }
}

/// A disk with what is on it.
pub(crate) fn shown() -> Shown {
    let part = |region: Region| {
        let entry = region.partition.clone().unwrap();
        Part {
            number: entry.number,
            name: Some(format!("nvme0n1p{}", entry.number)),
            path: Some(format!("/dev/nvme0n1p{}", entry.number)),
            start: entry.extent.start(),
            size: entry.extent.len(),
            type_name: None,
            label: None,
            filesystem: region.filesystem.clone(),
            region: Some(region),
            users: Vec::new(),
        }
    };
    Shown {
        disk: disk(),
        booted: false,
        content: Content {
            table: layout().table,
            filesystem: None,
            region: None,
            partitions: layout().regions.into_iter().map(part).collect(),
        },
        unreadable: None,
        health: None,
    }
}

/// Images: good ones, and one that is damaged.
pub(crate) fn shelf() -> Shelf {
    let image = |number: u32, facts| FoundImage {
        medium: Medium {
            device: "/dev/sdb1".into(),
            filesystem: "exFAT".into(),
            label: Some("DACAPO\u{1b}[2J".into()),
            size: 64 * GIB,
            disk: identity(),
            ..Medium::default()
        },
        path_on_medium: format!("images/studio-{number}.img.zst").into(),
        size: 61 * GIB,
        facts,
        error: None,
    };
    let facts = Facts {
        image_id: uuid::Uuid::nil(),
        label: Some("studio before the \u{1b}[31mupdate".into()),
        note: Some("all plug-ins are authorised".into()),
        created: "2026-11-21T14:03:22+01:00".into(),
        machine: Some("studio-pc".into()),
        disk: identity(),
        disk_len: DISK_LEN,
        used: 121 * GIB,
        layout: layout(),
    };
    let mut images: Vec<FoundImage> =
        (1..30).map(|number| image(number, Some(facts.clone()))).collect();
    images.push(FoundImage { error: Some("the head is damaged".into()), ..image(30, None) });
    Shelf { images, skipped: vec!["/dev/sdc1: it is encrypted (BitLocker)".into()] }
}

/// What the screens share.
pub(crate) fn session(rescue: bool) -> Shared {
    Arc::new(Session { rescue, folders: Vec::new(), log: Log::new(None) })
}

/// A disk that is about to be overwritten.
pub(crate) fn target(serial: Option<&str>) -> Target {
    let model = Some("Samsung SSD 870 EVO".to_owned());
    let serial = serial.map(str::to_owned);
    Target {
        path: "/dev/sdb".into(),
        kind: Kind::Device { model, serial, size: DISK_LEN },
        layout: layout(),
    }
}

/// Drives with room, and one without.
pub(crate) fn destinations() -> Vec<Destination> {
    let medium = shelf().images[0].medium.clone();
    let good = Destination {
        device: medium.device.clone(),
        label: medium.label.clone(),
        filesystem: medium.filesystem.clone(),
        medium,
        free: Some(60 * GIB),
        largest_file: None,
        why_not: None,
        note: Some("60 GiB are free, which may not be enough".into()),
    };
    let why_not = Some("it can only be read; choose another one".to_owned());
    vec![good.clone(), Destination { why_not, free: None, label: None, note: None, ..good }]
}

/// A disc with data in a drive.
pub(crate) fn disc() -> Contents {
    Contents {
        volume: Volume {
            label: Some("SYNTH_2\u{1b}[2J".into()),
            formats: ["ISO 9660", "Joliet", "El Torito", "Rock Ridge", "UDF 1.02", "HFS"]
                .map(str::to_owned)
                .into(),
            publisher: Some("Some Company \u{1b}[31m".into()),
            ..Volume::default()
        },
        sizes: Sizes { primary: Some(600 * MIB), capacity: 601 * MIB, ..Sizes::default() },
        medium: Some("CD-ROM".into()),
        drive: Some(drive("/dev/sr0")),
        is_in_drive: true,
        ..Contents::default()
    }
}

/// The same with two tracks, of which this many are sound.
pub(crate) fn disc_with_sound(count: u8) -> Contents {
    let track = |number: u8| Track {
        number,
        session: 1,
        start: u32::from(number - 1) * 100_000,
        control: if number > 2 - count { 0 } else { 4 },
    };
    Contents { toc: Toc::of_tracks(vec![track(1), track(2)], 200_000, None), ..disc() }
}

/// A drive for discs.
pub(crate) fn drive(path: &str) -> DiskIdentity {
    let model = Some("HL-DT-ST DVDRAM GH24NSD1 \u{1b}[2J".to_owned());
    DiskIdentity { path: path.into(), model, ..DiskIdentity::default() }
}

/// Archived discs: a good one, one that is not complete, one without a record.
/// The files of none of them are there.
pub(crate) fn archived() -> Vec<Shelved> {
    let record = |unreadable| Record {
        file: "SYNTH_2.iso".into(),
        bytes: 600 * MIB,
        title: Some("Synth 2 \u{1b}[2J, the disc with the samples of the large orchestra".into()),
        serial: Some("12-34-56".into()),
        note: Some("bought in 2009".into()),
        read_at: "2026-11-21T14:03:22Z".into(),
        unreadable,
        ..Record::new()
    };
    let bad = vec![Sectors { first: 5, count: 2 }];
    let disc = |name: &str, record| Shelved {
        image: format!("/mnt/{name}.iso").into(),
        record,
        trouble: None,
    };
    vec![disc("a", Some(record(Vec::new()))), disc("b", Some(record(bad))), disc("c", None)]
}

/// A network card without a cable.
pub(crate) fn interface() -> Interface {
    Interface {
        name: "eth0".into(),
        mac: "52:54:00:12:34:56".into(),
        driver: Some("e1000e".into()),
        link: Some(false),
        is_wireless: false,
        addresses: Vec::new(),
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! An entry of the map, and the types of partitions.

use crate::extent::Extent;
use crate::ondisk::{Fields, text};
use crate::units::SectorSize;

/// An entry of the map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// How many entries there are, itself included.
    pub(super) map_entries: u32,
    pub(super) start: u64,
    pub(super) count: u64,
    pub(super) name: String,
    pub(super) type_name: String,
    /// Where in the partition the data starts.
    data_start: u32,
    /// How many bytes of boot code the partition has.
    boot_size: u32,
}

impl Entry {
    /// The entry in a block; `None` if there is none.
    pub(super) fn parse(block: &[u8]) -> Option<Self> {
        if block.bytes_at(0, 2)? != b"PM" {
            return None;
        }
        Some(Self {
            map_entries: block.u32_be(0x04)?,
            start: block.u32_be(0x08)?.into(),
            count: block.u32_be(0x0c)?.into(),
            name: text(block.bytes_at(0x10, 32)?),
            type_name: text(block.bytes_at(0x30, 32)?),
            data_start: block.u32_be(0x50)?,
            boot_size: block.u32_be(0x60)?,
        })
    }

    /// The block behind the partition.
    pub(super) const fn end(&self) -> u64 {
        self.start.saturating_add(self.count)
    }

    pub(super) const fn extent(&self, size: SectorSize) -> Extent {
        let start = self.start.saturating_mul(size.bytes());
        Extent::new(start, self.end().saturating_mul(size.bytes()))
    }

    /// Why a filesystem in the partition may not know all of it.
    pub(super) fn doubt(&self, number: u32) -> Option<String> {
        if kind(&self.type_name) != Kind::Data {
            return None;
        }
        if self.boot_size != 0 {
            return Some(format!("partition {number} has boot code beside its data"));
        }
        (self.data_start != 0)
            .then(|| format!("the data of partition {number} is not at its start"))
    }
}

/// What a partition is for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The map itself.
    Map,
    /// Space of no partition.
    Free,
    /// Code that a Mac loads to be able to read the disk.
    Driver,
    /// Everything else.
    Data,
}

/// What a partition of this type is. Macs compare without regard to case.
pub(super) fn kind(type_name: &str) -> Kind {
    let lower = type_name.to_ascii_lowercase();
    match lower.as_str() {
        "apple_partition_map" => Kind::Map,
        "apple_free" | "apple_void" | "apple_extra" => Kind::Free,
        "apple_patches" | "apple_fwdriver" | "apple_driver" => Kind::Driver,
        _ if lower.starts_with("apple_driver") => Kind::Driver,
        _ => Kind::Data,
    }
}

/// The type in words, if it is a known one.
pub(super) fn words(type_name: &str) -> Option<&'static str> {
    TYPES.iter().find(|(id, _)| id.eq_ignore_ascii_case(type_name)).map(|(_, words)| *words)
}

const TYPES: &[(&str, &str)] = &[
    ("Apple_HFS", "Apple HFS or HFS+"),
    ("Apple_HFSX", "Apple HFSX"),
    ("Apple_UFS", "Apple UFS"),
    ("Apple_Boot", "Apple boot"),
    ("Apple_Loader", "Apple boot loader"),
    ("Apple_Bootstrap", "boot loader of Linux"),
    ("Apple_RAID", "Apple RAID"),
    ("Apple_Driver", "driver"),
    ("Apple_Driver43", "SCSI driver"),
    ("Apple_Driver43_CD", "SCSI driver of a disc"),
    ("Apple_Driver_ATA", "ATA driver"),
    ("Apple_Driver_ATAPI", "ATAPI driver"),
    ("Apple_Driver_IOKit", "driver"),
    ("Apple_FWDriver", "FireWire driver"),
    ("Apple_Patches", "patches of the system"),
    ("Apple_PRODOS", "ProDOS"),
    ("Apple_Scratch", "empty"),
    ("Apple_UNIX_SVR2", "Unix or Linux"),
    ("Windows_FAT_16", "FAT16"),
    ("Windows_FAT_32", "FAT32"),
    ("Windows_NTFS", "NTFS"),
];

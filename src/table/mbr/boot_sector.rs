// SPDX-License-Identifier: MIT OR Apache-2.0
//! The four entries of a master or extended boot record, and whether sector 0
//! is the boot sector of a filesystem instead.

use crate::ondisk::Fields;

/// The bytes of a boot record, whatever the sector size.
pub(in crate::table) const BOOT_RECORD: usize = 512;

const DISK_SIGNATURE: usize = 0x1b8;
pub(super) const ENTRIES: usize = 0x1be;
pub(super) const ENTRY_LEN: usize = 16;
const MAGIC: usize = 0x1fe;

/// The type of the entry that stands for a whole GPT disk.
pub(in crate::table) const PROTECTIVE: u8 = 0xee;

/// One entry of a boot record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::table) struct Entry {
    pub(in crate::table) boot_flag: u8,
    pub(in crate::table) type_id: u8,
    /// The first sector: from the start of the disk, of the extended
    /// partition or of the boot record, depending on where the entry is.
    pub(in crate::table) start: u32,
    /// How many sectors there are.
    pub(in crate::table) count: u32,
}

impl Entry {
    fn parse(sector: &[u8], slot: usize) -> Option<Self> {
        let at = slot.checked_mul(ENTRY_LEN)?.checked_add(ENTRIES)?;
        let entry = sector.bytes_at(at, ENTRY_LEN)?;
        Some(Self {
            boot_flag: entry.u8_at(0x00)?,
            type_id: entry.u8_at(0x04)?,
            start: entry.u32_le(0x08)?,
            count: entry.u32_le(0x0c)?,
        })
    }

    /// True if the entry describes sectors. Linux goes by the count alone and
    /// shows a partition of type 0, so there may be data in it.
    pub(in crate::table) const fn is_used(&self) -> bool {
        self.count != 0
    }

    /// True for the three types of extended partitions.
    pub(in crate::table) const fn is_extended(&self) -> bool {
        self.is_used() && matches!(self.type_id, 0x05 | 0x0f | 0x85)
    }

    /// True for the entry that stands for a whole GPT disk.
    pub(in crate::table) const fn is_protective(&self) -> bool {
        self.type_id == PROTECTIVE
    }
}

/// A sector that ends with 55 AA.
#[derive(Debug, Clone)]
pub(in crate::table) struct BootSector {
    /// The number by which Windows knows the disk.
    pub(in crate::table) signature: u32,
    pub(in crate::table) entries: [Entry; 4],
    /// What filesystem's boot sector this looks like, going by its start.
    pub(in crate::table) filesystem: Option<&'static str>,
}

impl BootSector {
    /// The boot record in `sector`; `None` if it does not end with 55 AA.
    pub(in crate::table) fn parse(sector: &[u8]) -> Option<Self> {
        if sector.u16_le(MAGIC)? != 0xaa55 {
            return None;
        }
        let entry = |slot| Entry::parse(sector, slot);
        Some(Self {
            signature: sector.u32_le(DISK_SIGNATURE)?,
            entries: [entry(0)?, entry(1)?, entry(2)?, entry(3)?],
            filesystem: filesystem(sector),
        })
    }

    /// The entries that describe sectors, with their numbers from 1.
    pub(in crate::table) fn used(&self) -> impl Iterator<Item = (u32, &Entry)> {
        (1..).zip(&self.entries).filter(|(_, entry)| entry.is_used())
    }
}

/// The kind of filesystem whose boot sector starts like this.
fn filesystem(sector: &[u8]) -> Option<&'static str> {
    match sector.bytes_at(3, 8)? {
        b"NTFS    " => return Some("NTFS"),
        b"EXFAT   " => return Some("exFAT"),
        b"-FVE-FS-" => return Some("BitLocker"),
        _ => {}
    }
    // FAT has no signature. Boot loaders copy its jump into the MBR and leave
    // the parameters zero, so those decide.
    let jump = sector.u8_at(0)?;
    let bytes_per_sector = sector.u16_le(0x0b)?;
    let sectors_per_cluster = sector.u8_at(0x0d)?;
    let reserved = sector.u16_le(0x0e)?;
    let fats = sector.u8_at(0x10)?;
    let media = sector.u8_at(0x15)?;
    let is_fat = matches!(jump, 0xeb | 0xe9 | 0x60 | 0x90)
        && matches!(bytes_per_sector, 128 | 256 | 512 | 1024 | 2048 | 4096)
        && sectors_per_cluster.is_power_of_two()
        && reserved != 0
        && matches!(fats, 1..=4)
        && (media == 0xf0 || media >= 0xf8);
    is_fat.then_some("FAT")
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The MBR in front of a GPT, which keeps systems that do not know GPT away
//! from the disk.

use crate::error::Error;
use crate::io::{ReadAt, read_vec};
use crate::table::mbr::boot_sector::{BOOT_RECORD, BootSector, Entry};

/// What sector 0 says about the GPT behind it.
#[derive(Debug, Default)]
pub(super) struct Protective {
    /// True if there is an entry that stands for the GPT.
    pub(super) present: bool,
    /// True if there are other entries beside it.
    pub(super) hybrid: bool,
    /// The last sector of the entry that stands for the GPT.
    pub(super) last_lba: Option<u64>,
    /// What is unusual about it.
    pub(super) notes: Vec<String>,
    /// Why sector 0 could not be read.
    pub(super) error: Option<Error>,
}

impl Protective {
    /// Looks at sector 0 of a disk whose last sector is `disk_last`.
    pub(super) fn read(disk: &dyn ReadAt, disk_last: u64) -> Self {
        match read_vec(disk, 0, BOOT_RECORD) {
            Ok(sector) => Self::inspect(&sector, disk_last),
            Err(error) => Self {
                notes: vec![format!("the protective MBR cannot be read: {error}")],
                error: Some(error),
                ..Self::default()
            },
        }
    }

    fn inspect(sector: &[u8], disk_last: u64) -> Self {
        let mut found = Self::default();
        let mut note = |text: String| found.notes.push(text);
        let Some(boot) = BootSector::parse(sector) else {
            note("sector 0 holds no protective MBR".into());
            return found;
        };
        // Systems go by the type alone, whatever the count says.
        let guards = boot.entries.iter().filter(|entry| entry.is_protective()).count();
        let others = boot.used().filter(|(_, entry)| !entry.is_protective()).count();
        match (guards, others) {
            (0, 0) => note("sector 0 holds an empty MBR, not a protective one".into()),
            (0, _) => note(format!("the MBR has {others} partitions of its own and no GPT")),
            (1, 0) => {}
            (_, 0) => note("the protective MBR has more than one entry for the GPT".into()),
            _ => note(format!("hybrid MBR: {others} partitions beside the GPT's entry")),
        }
        if let Some(slot) = boot.entries.iter().position(Entry::is_protective)
            && let Some(entry) = boot.entries.get(slot)
        {
            let (start, count) = (u64::from(entry.start), u64::from(entry.count));
            if slot != 0 && others == 0 {
                note("the protective MBR does not use the first entry".into());
            }
            if entry.start != 1 {
                note(format!("the protective MBR starts at sector {start}, not 1"));
            }
            // Disks beyond 2 TiB do not fit in 32 bits; Windows writes the
            // largest number for every disk.
            if others == 0 && entry.count != u32::MAX && count != disk_last {
                note(format!("the protective MBR covers {count} sectors instead of {disk_last}"));
            }
            if entry.boot_flag != 0 {
                note(format!("the protective MBR has boot flag {:02x}", entry.boot_flag));
            }
            found.last_lba = start.saturating_add(count).checked_sub(1);
        }
        found.present = guards > 0;
        found.hybrid = guards > 0 && others > 0;
        found
    }
}

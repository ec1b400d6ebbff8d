// SPDX-License-Identifier: MIT OR Apache-2.0
//! FAT12, FAT16 and FAT32.
//!
//! Read in this order: the boot sector (`boot_sector`), then every copy of the
//! file allocation table (`used`). A cluster is in use if any copy has an entry
//! for it or points at it. Reserved sectors, all FATs, the root area and
//! whatever is behind the last cluster are always in use. FSInfo, which holds
//! hints only, is ignored. Directories are read for the label only.
//!
//! FAT writes are not journalled: while a volume is mounted, a directory may
//! name clusters whose FAT entries are not written yet. So a volume that was
//! not unmounted has no proven map.
//!
//! Specification: Microsoft, "FAT: General Overview of On-Disk Format",
//! version 1.03; ECMA-107.

mod boot_sector;
mod files;
mod name;
mod used;

use std::sync::Arc;

use boot_sector::{BOOT_SECTOR_LEN, BootSector, Root, Width};
use files::FatFiles;

use super::files::may_be_old;
use super::{Files, Filesystem, Identity, Readers, SharedReaders, Support, Used, rival};
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError, text};

/// The driver of FAT12, FAT16 and FAT32.
#[derive(Debug)]
pub struct Fat;

impl Filesystem for Fat {
    fn name(&self) -> &'static str {
        "FAT12/16/32"
    }

    fn support(&self) -> &'static [Support] {
        const {
            &[
                Support::used_blocks("FAT12, FAT16, FAT32", "in use if either FAT says so"),
                Support::whole(
                    "FAT that was not unmounted",
                    "its tables may be behind its folders",
                ),
            ]
        }
    }

    fn probe(&self, readers: Readers) -> Result<Option<Identity>, FormatError> {
        let Some((volume, boot)) = open(readers)? else { return Ok(None) };
        let unclean = if boot.size > volume.len() {
            Some("larger than its partition")
        } else {
            used::doubt(volume, &boot)?.map(|_| "not unmounted")
        };
        Ok(Some(Identity {
            name: boot.width.name().to_owned(),
            // A label is for people only: a root directory that cannot be read
            // shows when it matters.
            label: root_label(volume, &boot).ok().flatten(),
            size: boot.size,
            clean: unclean.is_none(),
            unclean: unclean.map(str::to_owned),
            uuid: boot.serial,
        }))
    }

    fn used(&self, readers: Readers) -> Result<Used, FormatError> {
        let (volume, boot) =
            open(readers)?.ok_or_else(|| FormatError::unsupported("not a FAT filesystem"))?;
        if boot.size > volume.len() {
            return Err(FormatError::corrupt(
                "size of the FAT filesystem",
                0x13,
                format!("at most the {} bytes of the volume", volume.len()),
                boot.size,
            ));
        }
        if let Some(why) = used::doubt(volume, &boot)? {
            return Ok(Used::whole(volume.len(), why));
        }
        // Some filesystems leave the first sectors as they were.
        if let Some(rival) = rival(self, volume)? {
            let why = format!("the volume has the signatures of both FAT and {rival}");
            return Ok(Used::whole(volume.len(), why));
        }
        used::map(volume, &boot).map(Used::proven)
    }

    fn files(&self, readers: SharedReaders) -> Result<Option<Box<dyn Files>>, FormatError> {
        let Some(volume) = readers.first() else { return Ok(None) };
        let Some((_, boot)) = open(&[volume.as_ref()])? else { return Ok(None) };
        let notice = match used::doubt(volume.as_ref(), &boot) {
            Ok(None) => None,
            Ok(Some(_)) => Some("it was not unmounted, or has had disk errors".to_owned()),
            Err(error) => Some(format!("whether it was unmounted is not known ({error})")),
        };
        let notice = notice.map(may_be_old);
        Ok(Some(Box::new(FatFiles::new(Arc::clone(volume), boot, notice))))
    }
}

fn open<'a>(readers: Readers<'a>) -> Result<Option<(&'a dyn ReadAt, BootSector)>, FormatError> {
    let Some(volume) = readers.first() else { return Ok(None) };
    // Reading whole 512 bytes keeps a volume without even a sector out.
    if volume.len() < 512 {
        return Ok(None);
    }
    let sector = read_vec(*volume, 0, BOOT_SECTOR_LEN)?;
    Ok(BootSector::parse(&sector)?.map(|boot| (*volume, boot)))
}

/// The label in the root directory, which is the one that systems show.
fn root_label(volume: &dyn ReadAt, boot: &BootSector) -> Result<Option<String>, FormatError> {
    const READ_MAX: u64 = 1 << 20;
    let mut left = READ_MAX;
    match boot.root {
        Root::Area { start, len } => {
            let bytes = read_vec(volume, start, usize::try_from(len).unwrap_or(0))?;
            Ok(label_in(&bytes).unwrap_or(None))
        }
        Root::Cluster(first) => {
            let mut cluster = first;
            while (2..boot.end_cluster()).contains(&cluster) && left > 0 {
                let start = boot.cluster_start(cluster);
                let len = usize::try_from(boot.cluster_bytes).unwrap_or(0);
                if let Some(found) = label_in(&read_vec(volume, start, len)?) {
                    return Ok(found);
                }
                left = left.saturating_sub(boot.cluster_bytes);
                cluster = used::fat32_entry(volume, boot, cluster)?;
            }
            Ok(None)
        }
    }
}

/// The label among these directory entries: `Some(None)` if the directory ends
/// here without one, `None` if it may go on.
fn label_in(directory: &[u8]) -> Option<Option<String>> {
    const ATTR_VOLUME_ID: u8 = 0x08;
    const ATTR_DIRECTORY: u8 = 0x10;
    const DELETED: u8 = 0xe5;
    for entry in directory.chunks_exact(32) {
        let (name, attributes) = (entry.array::<11>(0)?, entry.u8_at(11)?);
        match name.first() {
            Some(0) => return Some(None),
            Some(&DELETED) => {}
            // Parts of long names have this bit, too, with three others.
            _ if attributes & (ATTR_VOLUME_ID | ATTR_DIRECTORY) == ATTR_VOLUME_ID
                && attributes & 0x0f != 0x0f =>
            {
                let label = text(&name);
                return Some((!label.is_empty()).then_some(label));
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests;

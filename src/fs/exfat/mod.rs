// SPDX-License-Identifier: MIT OR Apache-2.0
//! exFAT.
//!
//! Read in this order: both boot regions (`boot_sector`), the root folder with
//! the entries of the allocation bitmap and the up-case table, all other
//! folders (`walk`, `entry`), and the FAT (`table`). A cluster is in use if a
//! bitmap says so, or if a file or folder has it, by a chain in the FAT or as a
//! contiguous run (`NoFatChain`), or if the FAT marks it as bad. The boot
//! regions, the FATs, the gaps before and between them and the clusters, and
//! whatever is behind the last cluster are always in use. `PercentInUse` is a
//! hint and ignored, and so is `ClearToZero`, which has no meaning for readers.
//!
//! A mount reads what folders name; the bitmap only says where new files may
//! go. So the walk is what proves the map, and the bitmap is united with it
//! for what nothing names any more. They have to agree:
//!
//! - On a volume that was unmounted the bitmap must hold all that the walk
//!   finds; else something is wrong that nobody has noticed, and the volume is
//!   stored whole. What the FAT says of clusters that nothing names is no
//!   contradiction: nobody clears the chains of deleted files.
//! - On one that was not (`VolumeDirty`), or whose medium has failed, the
//!   bitmap may be behind. There is no log, so a mount sees exactly the folders
//!   that are on the disk; these, the bitmap and every entry of the FAT are
//!   united. Every checksum and chain has to be in order all the same.
//! - With two FATs and two bitmaps (`TexFAT`) all four are united: systems that
//!   do not know of the second read the first, whichever is active.
//!
//! Specification: Microsoft, "exFAT file system specification".

mod boot_sector;
mod clusters;
mod entry;
mod files;
mod table;
mod used;
mod walk;

use std::sync::Arc;

use boot_sector::{BootRegions, NAME, NAME_OFFSET, Region};
use files::ExfatFiles;

use super::{Files, Filesystem, Identity, Readers, SharedReaders, Support, Used};
use crate::io::{ReadAt, read_vec};
use crate::ondisk::FormatError;

/// The driver of exFAT.
#[derive(Debug, Clone, Copy)]
pub struct Exfat;

impl Filesystem for Exfat {
    fn name(&self) -> &'static str {
        "exFAT"
    }

    fn support(&self) -> &'static [Support] {
        const {
            &[
                Support::used_blocks("exFAT", "its bitmap and its folders have to agree"),
                Support::used_blocks(
                    "exFAT that was not unmounted",
                    "all that its folders, its bitmap or its FAT know of",
                ),
                Support::used_blocks("exFAT with two FATs (TexFAT)", "in use if either says so"),
                Support::whole(
                    "exFAT with a damaged boot region",
                    "either of the two, as their checksums tell",
                ),
            ]
        }
    }

    fn probe(&self, readers: Readers) -> Result<Option<Identity>, FormatError> {
        let Some((volume, regions)) = open(readers)? else { return Ok(None) };
        let boot = &regions.boot;
        let unclean = match regions.damage {
            Some((Region::Main, _)) => Some("its boot region is damaged"),
            Some((Region::Backup, _)) => Some("the backup of its boot region is damaged"),
            None if boot.size > volume.len() => Some("larger than its partition"),
            None if boot.is_dirty => Some("not unmounted"),
            None if boot.has_failed => Some("has had disk errors"),
            None => None,
        };
        Ok(Some(Identity {
            name: self.name().to_owned(),
            // A label is for people only: a root folder that cannot be read
            // shows when it matters.
            label: walk::label(volume, boot).ok().flatten(),
            uuid: Some(boot.serial()),
            size: boot.size,
            clean: unclean.is_none(),
            unclean: unclean.map(str::to_owned),
        }))
    }

    fn used(&self, readers: Readers) -> Result<Used, FormatError> {
        let (volume, regions) =
            open(readers)?.ok_or_else(|| FormatError::unsupported("not an exFAT filesystem"))?;
        let boot = &regions.boot;
        if let Some((region, error)) = regions.damage {
            let which = match region {
                Region::Main => "the boot region",
                Region::Backup => "the backup of the boot region",
            };
            let why = format!("{which} of the exFAT filesystem is damaged: {error}");
            return Ok(Used::whole(volume.len(), why)
                .advise("to make the image smaller, let Windows check the drive (chkdsk) before"));
        }
        if boot.size > volume.len() {
            return Err(FormatError::corrupt(
                "VolumeLength",
                72,
                format!("at most the {} bytes of the volume", volume.len()),
                boot.size,
            ));
        }
        if boot.unknown_flags != 0 {
            let flags = boot.unknown_flags;
            return Err(FormatError::unsupported(format!(
                "the exFAT filesystem has the unknown flags {flags:#06x}"
            )));
        }
        used::map(volume, boot)
    }

    fn files(&self, readers: SharedReaders) -> Result<Option<Box<dyn Files>>, FormatError> {
        let Some(volume) = readers.first() else { return Ok(None) };
        let Some((_, regions)) = open(&[volume.as_ref()])? else { return Ok(None) };
        Ok(Some(Box::new(ExfatFiles::new(Arc::clone(volume), regions.boot))))
    }
}

fn open<'a>(readers: Readers<'a>) -> Result<Option<(&'a dyn ReadAt, BootRegions)>, FormatError> {
    let Some(volume) = readers.first() else { return Ok(None) };
    if volume.len() < 512 || read_vec(*volume, NAME_OFFSET, NAME.len())? != NAME {
        return Ok(None);
    }
    Ok(Some((*volume, BootRegions::read(*volume)?)))
}

#[cfg(test)]
mod tests;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! NTFS.
//!
//! Read in this order: the boot sector (`boot_sector`), which names the start of
//! the master file table; the table's own record (`record`, `run_list`, `mft`)
//! and its mirror; the state in which the volume was left (`state`): a Windows
//! asleep in it (`hibernation`), the dirty flag, work left in the log
//! (`log_file`). Of a clean volume then `$Bitmap` and every record of the table
//! (`used`), and what shadow copies need beyond that (`shadow`).
//!
//! A cluster is in use if `$Bitmap` says so, if a record that is in use names it
//! (real volumes have such that `$Bitmap` forgot), or if a shadow copy may read
//! it. The boot code, the copy of the first records and all that is behind the
//! last cluster, the backup boot sector among it, are always in use.
//!
//! A volume in doubt is stored whole. Not because its clusters could not be
//! united in the same way: what a log still has to do, or what a sleeping
//! Windows remembers, may be about clusters that nothing on the disk names.
//!
//! Files (`files`) are read of any volume, as it lies on the disk: what its log
//! would change is not looked at, as with `ntfs-3g -o ro`, and that is told.
//!
//! Specification: there is none by Microsoft. Facts are from the documentation
//! of the Linux-NTFS project, `fs/ntfs` and `fs/ntfs3` of Linux, and "NTFS
//! format" by Joachim Metz.

mod boot_sector;
mod files;
mod hibernation;
mod log_file;
mod mft;
mod record;
mod run_list;
mod shadow;
mod state;
mod stream;
mod used;

use std::sync::Arc;

use boot_sector::{BOOT_SECTOR_LEN, BootSector};
use files::NtfsFiles;
use mft::Mft;
use state::Doubt;
use used::Found;

use super::{Files, Filesystem, Identity, Readers, SharedReaders, Support, Used};
use crate::extent::Extent;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::FormatError;

/// Space behind the end of a filesystem that is worth a word: partitions are
/// often a little longer than what is in them.
const NOTED_TAIL: u64 = 16 << 20;

/// The driver of NTFS.
#[derive(Debug, Clone, Copy)]
pub struct Ntfs;

impl Filesystem for Ntfs {
    fn name(&self) -> &'static str {
        "NTFS"
    }

    fn support(&self) -> &'static [Support] {
        const {
            &[
                Support::used_blocks(
                    "NTFS",
                    "in use if $Bitmap or any file record says so; clusters of 512 bytes to 2 MiB",
                ),
                Support::used_blocks(
                    "NTFS with shadow copies",
                    "restore points stay readable: what they need is stored, too",
                ),
                Support::whole(
                    "NTFS, hibernated or after Fast Startup",
                    "exact; shut Windows down with Shift held to make it smaller",
                ),
                Support::whole("NTFS, not shut down cleanly", "its log may change what is free"),
                Support::whole(
                    "NTFS with shadow copies stored on another volume",
                    "what they need cannot be told",
                ),
            ]
        }
    }

    fn probe(&self, readers: Readers) -> Result<Option<Identity>, FormatError> {
        let Some((volume, boot)) = open(readers)? else { return Ok(None) };
        let mut identity = Identity {
            name: "NTFS".into(),
            uuid: Some(format!("{:016X}", boot.serial)),
            size: boot.size,
            ..Identity::default()
        };
        let unclean = if boot.clusters_bytes() > volume.len() {
            Some("larger than its partition")
        } else {
            match Mft::open(volume, &boot) {
                // The map tells what is wrong with it.
                Err(_) => Some("damaged"),
                Ok(mft) => {
                    identity.label = state::label(&mft).ok().flatten();
                    state::doubt(&mft, false)
                        .map_or(Some("damaged"), |doubt| doubt.map(Doubt::few_words))
                }
            }
        };
        identity.clean = unclean.is_none();
        identity.unclean = unclean.map(str::to_owned);
        Ok(Some(identity))
    }

    fn used(&self, readers: Readers) -> Result<Used, FormatError> {
        let (volume, boot) =
            open(readers)?.ok_or_else(|| FormatError::unsupported("not an NTFS filesystem"))?;
        if boot.clusters_bytes() > volume.len() {
            return Err(FormatError::corrupt(
                "size of the NTFS filesystem",
                0x28,
                format!("at most the {} bytes of the volume", volume.len()),
                boot.size,
            ));
        }
        let mft = Mft::open(volume, &boot)?;
        let whole = |doubt: Doubt| Used::whole(volume.len(), doubt.why()).advise(doubt.advice());
        if let Some(doubt) = state::doubt(&mft, true)? {
            return Ok(whole(doubt));
        }
        mft.check_mirror()?;
        let map = match used::map(&mft) {
            Ok(Found::Map(map)) => map,
            Ok(Found::Asleep(sleep)) => return Ok(whole(Doubt::Asleep(sleep))),
            // Healthy, but not understood well enough.
            Err(FormatError::Unsupported(why)) => {
                let why = format!("{why}; the image is exact and complete");
                return Ok(Used::whole(volume.len(), why));
            }
            Err(error) => return Err(error),
        };
        let behind = Extent::new(boot.clusters_bytes(), volume.len());
        let mut used = Used::proven(map.extents).spare(behind);
        if map.shadow_copies > 0 {
            used = used.note(format!(
                "{} restore points (shadow copies) are stored with all that they need",
                map.shadow_copies
            ));
        }
        if map.unmarked > 0 {
            used = used.note(format!(
                "{} parts of files are in clusters that the map of the volume calls free; they are \
                 stored, but let Windows check the disk (chkdsk)",
                map.unmarked
            ));
        }
        let tail = volume.len().saturating_sub(boot.size);
        if tail >= NOTED_TAIL {
            used = used.note(format!(
                "the partition is {tail} bytes larger than its filesystem; they are stored, too"
            ));
        }
        Ok(used)
    }

    fn files(&self, readers: SharedReaders) -> Result<Option<Box<dyn Files>>, FormatError> {
        let Some(volume) = readers.first() else { return Ok(None) };
        let Some((_, boot)) = open(&[volume.as_ref()])? else { return Ok(None) };
        Ok(Some(Box::new(NtfsFiles::open(Arc::clone(volume), boot)?)))
    }
}

fn open<'a>(readers: Readers<'a>) -> Result<Option<(&'a dyn ReadAt, BootSector)>, FormatError> {
    let Some(volume) = readers.first() else { return Ok(None) };
    if volume.len() < 512 {
        return Ok(None);
    }
    let sector = read_vec(*volume, 0, BOOT_SECTOR_LEN)?;
    Ok(BootSector::parse(&sector)?.map(|boot| (*volume, boot)))
}

#[cfg(test)]
mod tests;

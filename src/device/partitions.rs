// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making the kernel see a new partition table.
//!
//! The kernel is asked to read the table (BLKRRPART). A kernel without the
//! parser for it - that of a rescue system, say - is told each partition
//! instead (BLKPG).

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::Duration;

use super::sysfs::Block;
use super::{DeviceNumber, System, Target, ioctl};
use crate::error::{Context, Error, Result};
use crate::extent::Extent;
use crate::io::ReadAt;

/// How often and how long to wait for one who looks at a partition for a
/// moment, as udev does.
const TRIES: u32 = 20;
const WAIT: Duration = Duration::from_millis(100);

/// A partition as the kernel should know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelPartition {
    /// Its number, from 1.
    pub number: u32,
    /// Where it is on the disk.
    pub extent: Extent,
}

/// Who made the kernel see the new partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reread {
    /// The kernel read the table by itself.
    ByKernel,
    /// The kernel was told each partition.
    ByHand,
    /// There is nothing to tell: a file, a partition, or a device without
    /// partitions, such as most loop devices.
    NotApplicable,
}

impl Target {
    /// Makes the kernel see the partition table that was written, in which
    /// the partitions are those given.
    ///
    /// # Errors
    /// If a partition that is in use would change.
    pub fn reread_partition_table(&self, partitions: &[KernelPartition]) -> Result<Reread> {
        if !self.is_device() {
            return Ok(Reread::NotApplicable);
        }
        let disk = self.block()?;
        // The kernel would take partitions of a loop device that was set up
        // without them, and keep them when it is detached.
        let has_none = disk.has("loop") && !disk.flag("loop/partscan");
        if disk.partition_number().is_some() || has_none {
            return Ok(Reread::NotApplicable);
        }
        let by_kernel = reread(self.file());
        if by_kernel.is_ok() && (partitions.is_empty() || !disk.partitions().is_empty()) {
            return Ok(Reread::ByKernel);
        }
        let wanted = without_overlaps(partitions, self.sector_size().bytes());
        tell(self.file(), &disk, &wanted)
            .context(|| format!("telling the kernel the partitions of {}", self.path()))
    }

    /// Makes the kernel forget the partitions of a disk that is about to be
    /// overwritten: what it shows of the old table would read and write in
    /// the middle of the new content.
    ///
    /// # Errors
    /// If a partition is in use.
    pub fn forget_partitions(&self) -> Result<()> {
        if !self.is_device() {
            return Ok(());
        }
        let disk = self.block()?;
        if disk.partition_number().is_some() {
            return Ok(());
        }
        tell(self.file(), &disk, &[])
            .context(|| format!("making the kernel forget the partitions of {}", self.path()))?;
        Ok(())
    }

    fn block(&self) -> Result<Block> {
        let what = || format!("looking for {} in /sys", self.path());
        let number = DeviceNumber::from_raw(self.file().metadata().context(what)?.rdev());
        System::running()
            .by_number(number)
            .ok_or_else(|| Error::failed(format!("{}: device {number} is not there", what())))
    }
}

fn reread(disk: &File) -> io::Result<()> {
    for _ in 1..TRIES {
        match ioctl::reread_partitions(disk) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => thread::sleep(WAIT),
            done => return done,
        }
    }
    ioctl::reread_partitions(disk)
}

fn tell(disk: &File, block: &Block, wanted: &[KernelPartition]) -> Result<Reread> {
    let known: Vec<KernelPartition> = block.partitions().iter().filter_map(known).collect();
    for old in known.iter().filter(|old| !wanted.contains(old)) {
        match ioctl::delete_partition(disk, old.number) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                return Err(Error::io(format!("removing partition {}", old.number), error)
                    .hint("something uses it; close that, or restart before using the disk"));
            }
            Err(error) => {
                return Err(Error::io(format!("removing partition {}", old.number), error));
            }
        }
    }
    let mut added = false;
    for new in wanted.iter().filter(|new| !known.contains(new)) {
        match ioctl::add_partition(disk, new.number, new.extent) {
            Ok(()) => added = true,
            // A device that has no partitions at all refuses the first.
            Err(error)
                if known.is_empty()
                    && !added
                    && matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOTTY)) =>
            {
                return Ok(Reread::NotApplicable);
            }
            Err(error) => {
                return Err(Error::io(
                    format!("adding partition {} at {}", new.number, new.extent),
                    error,
                ));
            }
        }
    }
    Ok(Reread::ByHand)
}

fn known(partition: &Block) -> Option<KernelPartition> {
    Some(KernelPartition { number: partition.partition_number()?, extent: partition.extent() })
}

/// The kernel shows of an extended partition its first KiB only, so that the
/// logical ones do not overlap it, and takes no others that do.
fn without_overlaps(partitions: &[KernelPartition], sector: u64) -> Vec<KernelPartition> {
    let holds_another = |outer: &KernelPartition| {
        partitions
            .iter()
            .any(|inner| inner.number != outer.number && outer.extent.contains(&inner.extent))
    };
    partitions
        .iter()
        .map(|partition| {
            let mut extent = partition.extent;
            if holds_another(partition) {
                extent = Extent::at(extent.start(), sector.max(1024)).intersect(&extent);
            }
            KernelPartition { extent, ..*partition }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extended_partition_is_shown_by_its_start() {
        let partition = |number, start: u64, end: u64| KernelPartition {
            number,
            extent: Extent::new(start << 20, end << 20),
        };
        let told =
            without_overlaps(&[partition(1, 1, 2), partition(2, 2, 9), partition(5, 3, 4)], 512);
        assert_eq!(told[0], partition(1, 1, 2));
        assert_eq!(told[1].extent, Extent::at(2 << 20, 1024));
        assert_eq!(told[2], partition(5, 3, 4));
        let told = without_overlaps(&[partition(2, 2, 9), partition(5, 3, 4)], 4096);
        assert_eq!(told[0].extent, Extent::at(2 << 20, 4096));
    }

    #[test]
    fn a_file_has_no_partitions_to_tell() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::open(folder.path().join("disk.raw"), Some(1 << 20)).unwrap();
        let partition = KernelPartition { number: 1, extent: Extent::new(0, 4096) };
        assert_eq!(target.reread_partition_table(&[partition]).unwrap(), Reread::NotApplicable);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A part of a disk or of a file as a block device of its own, for programs
//! that know nothing of partitions: a loop device with a start and an end.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::{Target, ioctl};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::extent::Extent;
use crate::io::ReadAt;

/// How often another number is tried, because somebody else was faster.
const TRIES: u32 = 50;

/// A loop device over a part of a target; detached when dropped.
#[derive(Debug)]
pub struct LoopDevice {
    file: Option<File>,
    path: PathBuf,
}

impl LoopDevice {
    /// Makes a block device of the part `extent` of a target.
    ///
    /// The target stays claimed; what is written through the device is seen
    /// through the target after its cache was dropped.
    ///
    /// # Errors
    /// If the kernel has no loop devices, or does not give one.
    pub fn over(target: &Target, extent: Extent) -> Result<Self> {
        let what = || format!("making a device of {extent} of {}", target.path());
        if !Extent::new(0, target.len()).contains(&extent) || extent.is_empty() {
            return Err(Error::failed(format!("{}: it is not inside", what())));
        }
        let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control");
        let control = control.map_err(|error| {
            Error::new(ErrorKind::Unsupported, format!("{}: {error}", what()))
                .hint("the kernel has no loop devices, or this needs root")
        })?;
        for _ in 0..TRIES {
            let number = ioctl::free_loop_number(&control).context(what)?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let file = OpenOptions::new().read(true).write(true).open(&path).context(what)?;
            let backing = target.file().as_raw_fd();
            match ioctl::configure_loop(&file, backing, extent, target.sector_size().get()) {
                Ok(()) => return Ok(Self { file: Some(file), path }),
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                    thread::sleep(Duration::from_millis(20));
                }
                Err(error) => return Err(error).context(what),
            }
        }
        Err(Error::failed(format!("{}: all of them are taken", what())))
    }

    /// "/dev/loop3"
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes everything through to the target, and gives the device back.
    ///
    /// # Errors
    /// Any write that failed.
    pub fn finish(mut self) -> Result<()> {
        let synced = self.file.as_ref().map_or(Ok(()), File::sync_all);
        self.detach();
        synced.context(|| format!("writing through {}", self.path.display()))
    }

    fn detach(&mut self) {
        let Some(file) = self.file.take() else { return };
        // Somebody may look at it for a moment; the kernel then detaches it
        // when he goes.
        let _: io::Result<()> = ioctl::detach_loop(&file);
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        self.detach();
    }
}

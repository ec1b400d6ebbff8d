// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's own write protection of a device.
//!
//! It is for devices that nobody writes to: a filesystem asks for it when it is
//! mounted, and leaves its journal alone. Whoever writes at that moment is not
//! left in peace: a program that has the device open fails with its next write
//! (EPERM), while a filesystem that is mounted already writes on.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;

use super::ioctl;
use crate::error::{Context, Error, Result};

/// A device that nobody else uses as long as this is held: no filesystem is
/// mounted from it, and no program that claims its target writes to it.
#[derive(Debug)]
pub struct Claim {
    _file: File,
}

impl Claim {
    /// Claims a device.
    ///
    /// # Errors
    /// Refused, if it is in use.
    pub fn take(device: &Path) -> Result<Self> {
        // Without O_CREAT, O_EXCL on a block device claims it.
        let opened = open(device, OFlag::O_EXCL);
        if matches!(&opened, Err(error) if error.raw_os_error() == Some(libc::EBUSY)) {
            return Err(Error::refused(format!("{} is in use", device.display()))
                .hint("wait until what uses it has ended, and try again"));
        }
        opened.map(|file| Self { _file: file }).context(|| format!("opening {}", device.display()))
    }
}

/// Sets or takes the protection; true if it was set before.
///
/// # Errors
/// If the device cannot be opened, or the kernel refuses.
pub fn set_read_only(device: &Path, is_read_only: bool) -> Result<bool> {
    let doing = || format!("setting the write protection of {}", device.display());
    let file = open(device, OFlag::empty()).context(doing)?;
    let before = ioctl::is_read_only(&file).context(doing)?;
    if before != is_read_only {
        ioctl::set_read_only(&file, is_read_only).context(doing)?;
    }
    Ok(before)
}

/// Opens to read. An optical drive without a disc is not waited for.
fn open(device: &Path, flags: OFlag) -> io::Result<File> {
    let flags = flags | OFlag::O_NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags.bits()).open(device)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's own write protection of a device.
//!
//! It is no lock: programs and the kernel's block layer write on. But every
//! filesystem asks for it when it is mounted, and leaves its journal alone.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;

use super::ioctl;
use crate::error::{Context, Result};

/// Sets or takes the protection; true if it was set before.
///
/// # Errors
/// If the device cannot be opened, or the kernel refuses.
pub fn set_read_only(device: &Path, is_read_only: bool) -> Result<bool> {
    let doing = || format!("setting the write protection of {}", device.display());
    // O_NONBLOCK: an optical drive without a disc is not waited for.
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
    let file = options.open(device).context(doing)?;
    let before = ioctl::is_read_only(&file).context(doing)?;
    if before != is_read_only {
        ioctl::set_read_only(&file, is_read_only).context(doing)?;
    }
    Ok(before)
}

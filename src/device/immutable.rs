// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files that nobody may change until a flag is taken from them: how the kernel
//! keeps the firmware's variables from being deleted by mistake.

use std::fs::File;
use std::io;

use super::ioctl;

/// The flag of a file that nobody may change.
const IMMUTABLE: libc::c_long = 0x10;

/// Takes the protection from a file that may not be changed; false if it had
/// none, or its filesystem knows none.
///
/// # Errors
/// If it cannot be taken.
pub fn clear_immutable(file: &File) -> io::Result<bool> {
    let Ok(flags) = ioctl::file_flags(file) else { return Ok(false) };
    if flags & IMMUTABLE == 0 {
        return Ok(false);
    }
    ioctl::set_file_flags(file, flags & !IMMUTABLE)?;
    Ok(true)
}

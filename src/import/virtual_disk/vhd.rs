// SPDX-License-Identifier: MIT OR Apache-2.0
//! The length of the disk in a VHD.
//!
//! Source: Microsoft's Virtual Hard Disk Image Format Specification.

use std::path::Path;

use crate::error::{Error, Result};
use crate::ondisk::Fields;

/// The footer, which is behind the content.
const FOOTER_LEN: u64 = 512;

/// The type of a disk that is all in the file, front to back.
const FIXED: u32 = 2;

/// Refuses a VHD whose disk has another length than the `disk_len` bytes that
/// were found, or of which the file of `len` bytes does not hold everything.
/// `head` and `tail` are its first and last bytes: one of changing size has its
/// footer in both places.
///
/// # Errors
/// Damaged, if it is so.
pub(super) fn check_len(
    path: &Path,
    head: &[u8],
    tail: &[u8],
    len: u64,
    disk_len: u64,
) -> Result<()> {
    let shown = path.display();
    for footer in [head, tail].into_iter().filter(|it| it.starts_with(b"conectix")) {
        let said = footer.u64_be(48).unwrap_or(0);
        if said != disk_len {
            return Err(Error::damaged(format!(
                "{shown} says that its disk has {said} bytes, and {disk_len} can be read"
            ))
            .hint("open it once with the program that made it, or look for another copy"));
        }
        let room = len.saturating_sub(FOOTER_LEN);
        if footer.u32_be(60) == Some(FIXED) && room < disk_len {
            return Err(Error::damaged(format!(
                "{shown} says that its disk has {disk_len} bytes, and holds {room} of them"
            ))
            .hint("a part of it is missing; look for another copy"));
        }
    }
    Ok(())
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether all of a disk is in its file, of formats in which qemu-img does not
//! look: of a VHD it may take another length than the disk has, and what is not
//! in a VDI any more it takes for zeros.
//!
//! Sources: Microsoft's Virtual Hard Disk Image Format Specification; of VDI,
//! VirtualBox's `VDICore.h`.

use std::path::Path;

use crate::error::{Error, Result};
use crate::ondisk::Fields;

/// The footer of a VHD, which is behind the content.
const FOOTER_LEN: u64 = 512;

/// The type of a VHD that is all in the file, front to back.
const FIXED: u32 = 2;

/// Refuses a disk of which the file of `len` bytes does not hold everything, or
/// of which the `disk_len` bytes that can be read are not everything. `head` and
/// `tail` are the first and last bytes of the file.
///
/// # Errors
/// Damaged, if it is so.
pub(super) fn check(
    path: &Path,
    format: &str,
    head: &[u8],
    tail: &[u8],
    len: u64,
    disk_len: u64,
) -> Result<()> {
    let shown = path.display();
    let cut = |wanted: u64, what: &str| {
        Err(Error::damaged(format!(
            "{shown} was cut off: {what} takes {wanted} bytes, and {len} are there"
        ))
        .hint("no image was made; look for a whole copy"))
    };
    if format == "vdi" {
        let field = |offset: usize| head.u32_le(offset).map_or(0, u64::from);
        let block = field(0x178).saturating_add(field(0x17c));
        let end = field(0x158).saturating_add(field(0x184).saturating_mul(block));
        return if end > len { cut(end, "what it holds of the disk") } else { Ok(()) };
    }
    if format != "vpc" {
        return Ok(());
    }
    // One that grows has its footer in both places.
    for footer in [head, tail].into_iter().filter(|it| it.starts_with(b"conectix")) {
        let said = footer.u64_be(48).unwrap_or(0);
        if said != disk_len {
            return Err(Error::damaged(format!(
                "{shown} says that its disk has {said} bytes, and {disk_len} can be read"
            ))
            .hint("open it once with the program that made it, or look for another copy"));
        }
        let end = disk_len.saturating_add(FOOTER_LEN);
        if footer.u32_be(60) == Some(FIXED) && len < end {
            return cut(end, "the disk with its footer");
        }
    }
    Ok(())
}

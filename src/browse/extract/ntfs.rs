// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a file has on NTFS and on no filesystem of Linux: when it was made, and
//! whether it is hidden, of the system, or to be archived. Where the destination is NTFS, its
//! drivers take these as extended attributes: ntfs-3g both, the kernel's ntfs3
//! the second. That a file is to be archived ntfs-3g sets itself, whenever one gets
//! its name.
//!
//! Sources: ntfs-3g(8) and its `xattrs.c`; `fs/ntfs3/xattr.c` of Linux; of the
//! bits and the time, "File Attribute Constants" and `FILETIME` of Microsoft.

use std::os::fd::AsFd;

use jiff::Timestamp;
use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};
use rustix::io::{Errno, Result};

use crate::fs::files::{Attributes, DosAttributes, NodeKind};

/// The attributes as a big-endian number of 32 bits.
const ATTRIBUTES: &str = "system.ntfs_attrib_be";
/// When it was made, in 100 ns since 1601, as a big-endian number of 64 bits.
const CREATED: &str = "system.ntfs_crtime_be";

const READ_ONLY: u32 = 0x1;
const HIDDEN: u32 = 0x2;
const SYSTEM: u32 = 0x4;
const ARCHIVE: u32 = 0x20;

/// Gives an open file or folder what it had; nothing if the destination is no
/// NTFS.
pub(super) fn set(file: &impl AsFd, attributes: &Attributes) -> Result<()> {
    let (dos, created) = (attributes.dos, attributes.times.created.and_then(file_time));
    if dos.is_none() && created.is_none() {
        return Ok(());
    }
    let mut now = [0; 4];
    let Ok(4) = fgetxattr(file, ATTRIBUTES, &mut now) else { return Ok(()) };
    if let Some(created) = created {
        match fsetxattr(file, CREATED, &created.to_be_bytes(), XattrFlags::empty()) {
            // It has no such thing.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NODATA) => {}
            Err(error) => return Err(error),
        }
    }
    let Some(dos) = dos else { return Ok(()) };
    let now = u32::from_be_bytes(now);
    let wanted = with(now, dos, attributes.kind == NodeKind::Folder);
    if wanted == now {
        return Ok(());
    }
    fsetxattr(file, ATTRIBUTES, &wanted.to_be_bytes(), XattrFlags::empty())
}

/// The attributes with those that are kept set or not.
fn with(now: u32, dos: DosAttributes, is_folder: bool) -> u32 {
    let all = [
        // Of a folder it means something else, and files could not be made in it.
        (READ_ONLY, dos.read_only && !is_folder),
        (HIDDEN, dos.hidden),
        (SYSTEM, dos.system),
        (ARCHIVE, dos.archive),
    ];
    all.iter().fold(now, |bits, (bit, is_set)| if *is_set { bits | bit } else { bits & !bit })
}

/// A time as NTFS counts; `None` if it is before 1601.
fn file_time(time: Timestamp) -> Option<u64> {
    const TO_1970: i128 = 11_644_473_600 * 10_000_000;
    u64::try_from(time.as_nanosecond().div_euclid(100) + TO_1970).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_count_from_1601() {
        let time = |text: &str| file_time(text.parse().unwrap());
        assert_eq!(time("1601-01-01T00:00:00Z"), Some(0));
        assert_eq!(time("1970-01-01T00:00:00.0000001Z"), Some(116_444_736_000_000_001));
        assert_eq!(time("1600-12-31T00:00:00Z"), None);
    }

    #[test]
    fn what_is_kept_is_set_and_all_else_stays() {
        let dos = DosAttributes { read_only: true, hidden: true, ..DosAttributes::default() };
        assert_eq!(with(0x2824, dos, false), 0x2803);
        assert_eq!(with(0x2824, dos, true), 0x2802);
    }
}

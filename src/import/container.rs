// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files that hold a disk and are not the disk, and that are not imported: taken
//! for raw images, they would become images of nothing that ever was a disk.
//!
//! Each is known by its first bytes, or by its last ones.

use super::virtual_disk;
use crate::error::{Error, Result};
use crate::io::{ReadAt, read_vec};

/// How much of the end is looked at: the footer of a VHD or of Apple's images.
const FOOTER_LEN: u64 = 512;

/// Where tar has its magic.
const TAR_AT: usize = 257;

const UNPACK: &str = "unpack it first, and import what comes out";
const SAVE: &str = "restore it to a disk with the program that made it, and save that with dacapo";
const MERGE: &str = "merge its snapshots with the program that made it, and convert it: qemu-img \
                     convert -O qcow2 OLD whole.qcow2";

/// The first bytes, what has them, and what to do with it.
const HEADS: &[(&[u8], &str, &str)] = &[
    (
        b"COWD",
        "a part of a VMware disk (COWD)",
        "import the small .vmdk file beside it that names it; if it is a snapshot, merge that first",
    ),
    (b"QED\0", "a QED disk of a virtual machine", MERGE),
    (b"WithoutFreeSpace", "a Parallels disk of a virtual machine", MERGE),
    (b"WithouFreSpacExt", "a Parallels disk of a virtual machine", MERGE),
    (b"Bochs Virtual HD Image", "a disk of the emulator Bochs", MERGE),
    (b"EVF\x09\x0d\x0a\xff\0", "an image of EnCase (E01)", "make a raw file of it: ewfexport"),
    (b"EVF2\x0d\x0a\x81\0", "an image of EnCase (Ex01)", "make a raw file of it: ewfexport"),
    (b"LVF\x09\x0d\x0a\xff\0", "files kept by EnCase (L01), no disk", UNPACK),
    (b"AFF10\x0d\x0a\0", "an image in the Advanced Forensic Format", UNPACK),
    (b"MSWIM\0\0\0", "files kept by Windows (WIM), no disk", SAVE),
    (b"WLPWM\0\0\0", "files kept by Windows (WIM), no disk", SAVE),
    (b"FsA0", "an archive of FSArchiver", SAVE),
    (b"VMA\0", "a backup of Proxmox (VMA)", UNPACK),
    (b"\x3a\xff\x26\xed", "a sparse image of Android", "make a raw file of it: simg2img"),
    (b"sprs", "a sparse image of macOS", "convert it on a Mac: hdiutil convert"),
    (b"CISO", "a compressed disc (CISO)", UNPACK),
    (b"PK\x03\x04", "a zip archive", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"Rar!\x1a\x07", "a rar archive", UNPACK),
    (b"xar!", "a xar archive", UNPACK),
];

/// Refuses what begins as a file of another kind, called `name`.
///
/// # Errors
/// Unsupported, if it does.
pub fn refuse_head(head: &[u8], name: &str) -> Result<()> {
    if head.get(TAR_AT..).is_some_and(|rest| rest.starts_with(b"ustar")) {
        return Err(refused(name, "a tar archive", UNPACK));
    }
    match HEADS.iter().find(|(magic, ..)| head.starts_with(magic)) {
        Some((_, what, hint)) => Err(refused(name, what, hint)),
        None => Ok(()),
    }
}

/// Refuses what ends as a file of another kind, of which all bytes are there.
///
/// # Errors
/// Unsupported, if it does.
pub fn refuse_tail(content: &dyn ReadAt, name: &str) -> Result<()> {
    let Some(start) = content.len().checked_sub(FOOTER_LEN) else { return Ok(()) };
    let tail = read_vec(content, start, usize::try_from(FOOTER_LEN).unwrap_or_default());
    // What cannot be read is told when all of it is.
    let Ok(tail) = tail else { return Ok(()) };
    if tail.starts_with(b"koly") {
        let hint = "make a raw file of it: qemu-img convert -f dmg -O raw OLD disk.raw";
        return Err(refused(name, "a disk image of macOS (dmg)", hint));
    }
    if virtual_disk::format_of(&[], &tail).is_some() {
        return Err(refused(name, "a VHD disk of a virtual machine", UNPACK));
    }
    Ok(())
}

fn refused(name: &str, what: &str, hint: &str) -> Error {
    Error::unsupported(format!("{name} is {what}, which is not imported")).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::io::Memory;

    #[test]
    fn what_is_no_disk_is_refused_with_a_way_on() {
        let mut tar = vec![0; 512];
        tar[TAR_AT..TAR_AT + 5].copy_from_slice(b"ustar");
        let heads = HEADS.iter().map(|(magic, ..)| magic.to_vec());
        for head in heads.chain([tar]) {
            let error = refuse_head(&head, "old").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            assert!(error.hint_text().is_some());
        }
        for disk in [&b""[..], b"\xeb\x63\x90", b"LUKS\xba\xbe", b"XFSB", &[0; 512]] {
            refuse_head(disk, "old").unwrap();
        }
        for (end, is_disk) in [(&b"koly"[..], false), (b"conectix", false), (b"EFI PART", true)] {
            let mut bytes = vec![0; 4096];
            bytes[4096 - 512..][..end.len()].copy_from_slice(end);
            assert_eq!(refuse_tail(&Memory::new(bytes), "old").is_ok(), is_disk, "{end:?}");
        }
        refuse_tail(&Memory::new(vec![0; 100]), "old").unwrap();
    }
}

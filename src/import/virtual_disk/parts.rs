// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks of virtual machines whose content is not all in their own file. What
//! they name - any file of this machine, or a server - is opened by whoever
//! reads them, so they are known by their own bytes, and refused, before that.
//!
//! Sources: `docs/interop/qcow2.txt` of QEMU; Microsoft's Virtual Hard Disk
//! Image Format Specification; VMware's Virtual Disk Format 5.0; of VDI,
//! VirtualBox's `VDICore.h`.

use std::path::Path;

use crate::error::{Error, Result};
use crate::ondisk::{Fields, text};

/// The most of a VMDK descriptor that is read; QEMU takes no longer ones.
const MAX_DESCRIPTOR: u64 = 1 << 20;
const SECTOR: u64 = 512;

/// The longest name that is shown.
const MAX_NAME: usize = 1024;

// qcow2's incompatible features.
const EXTERNAL_DATA: u64 = 1 << 2;

const DIFFERENCES: &str = "holds the changes to another disk only";

/// That a disk is not whole in its file.
pub(super) fn refused(path: &Path, what: &str, name: &str) -> Error {
    let shown = path.display();
    let name = if name.is_empty() { String::new() } else { format!(": {name}") };
    Error::unsupported(format!("{shown} {what}{name}"))
        .hint(format!("make one file of it first: qemu-img convert -O qcow2 {shown} whole.qcow2"))
}

/// Refuses a disk whose first and last bytes, or its descriptor, say that it
/// is only a part of one; `read` gives the bytes at a place in its file.
///
/// # Errors
/// Unsupported, if it is; and if it cannot be read.
pub(super) fn refuse(
    path: &Path,
    format: &str,
    head: &[u8],
    tail: &[u8],
    read: impl Fn(u64, usize) -> Result<Vec<u8>>,
) -> Result<()> {
    match format {
        "qcow" | "qcow2" => {
            let (at, len) = (head.u64_be(8).unwrap_or(0), head.u32_be(16).unwrap_or(0));
            if at != 0 {
                let len = usize::try_from(len).unwrap_or(MAX_NAME).min(MAX_NAME);
                return Err(refused(path, DIFFERENCES, &text(&read(at, len)?)));
            }
            let has_features = head.u32_be(4).is_some_and(|version| version >= 3);
            if has_features && head.u64_be(72).unwrap_or(0) & EXTERNAL_DATA != 0 {
                return Err(refused(path, "has its content in another file", ""));
            }
        }
        "vpc" => {
            for footer in [head, tail].into_iter().filter(|it| it.starts_with(b"conectix")) {
                match footer.u32_be(60) {
                    Some(2 | 3) => {}
                    Some(4) => {
                        let name = vhd_parent(footer, &read)?;
                        return Err(vhd_refused(path, &name));
                    }
                    other => {
                        let shown = path.display();
                        let kind = other.unwrap_or(0);
                        return Err(Error::unsupported(format!(
                            "{shown} is a VHD of the unknown type {kind}"
                        )));
                    }
                }
            }
        }
        "vdi" => {
            // 1 grows, 2 has a fixed size; 3 and 4 undo and add to another.
            if matches!(head.u32_le(0x4c), Some(3 | 4)) {
                return Err(Error::unsupported(format!("{} {DIFFERENCES}", path.display()))
                    .hint("make one file of it first: VBoxManage clonemedium"));
            }
        }
        "vmdk" => {
            let descriptor = if head.starts_with(b"KDMV") {
                // With a capacity, the content is here whatever it says.
                if head.u64_le(12) != Some(0) {
                    return Ok(());
                }
                let (at, len) = (head.u64_le(28).unwrap_or(0), head.u64_le(36).unwrap_or(0));
                (at.saturating_mul(SECTOR), len.saturating_mul(SECTOR))
            } else {
                (0, MAX_DESCRIPTOR)
            };
            let len = usize::try_from(descriptor.1.min(MAX_DESCRIPTOR)).unwrap_or_default();
            let bytes = read(descriptor.0, len)?;
            return refuse_vmdk(path, &String::from_utf8_lossy(&bytes));
        }
        _ => {}
    }
    Ok(())
}

/// qemu-img would take the other disk for zeros, so it is no way on.
fn vhd_refused(path: &Path, name: &str) -> Error {
    let error = refused(path, DIFFERENCES, name);
    error.hint(
        "merge it with the other disk first, by the program that made it (Hyper-V: \
                Merge-VHD), and import what comes out",
    )
}

/// The name of the other disk, in the header that the footer leads to.
fn vhd_parent(footer: &[u8], read: impl Fn(u64, usize) -> Result<Vec<u8>>) -> Result<String> {
    let header = read(footer.u64_be(16).unwrap_or(u64::MAX >> 1), 1024)?;
    if !header.starts_with(b"cxsparse") {
        return Ok(String::new());
    }
    let units = header.bytes_at(64, 512).unwrap_or_default().chunks_exact(2);
    let units = units.filter_map(|pair| pair.u16_be(0)).take_while(|unit| *unit != 0);
    // What is damaged in a name is not worth a word.
    Ok(char::decode_utf16(units).flatten().filter(|it| !it.is_control()).collect())
}

/// The extents in a descriptor have to be files beside it.
fn refuse_vmdk(path: &Path, descriptor: &str) -> Result<()> {
    for line in descriptor.lines().map(str::trim) {
        if let Some(("parentFileNameHint", name)) = line.split_once('=') {
            return Err(refused(path, DIFFERENCES, name.trim_matches('"')));
        }
        let is_extent =
            ["RW ", "RDONLY ", "NOACCESS "].iter().any(|access| line.starts_with(access));
        let Some(name) = line.split('"').nth(1).filter(|_| is_extent) else { continue };
        // A path, or what QEMU takes for the address of a server.
        if name.contains(['/', ':']) {
            return Err(refused(path, "has its content in another folder", name));
        }
        let beside = path.with_file_name(name);
        let found = beside.symlink_metadata().ok().filter(std::fs::Metadata::is_file);
        let Some(found) = found else {
            return Err(Error::damaged(format!(
                "{} has its content in {name}, which is no file beside it",
                path.display()
            ))
            .hint("look for the other files of this disk"));
        };
        let end = flat_end(line).unwrap_or(0);
        if found.len() < end {
            return Err(Error::damaged(format!(
                "{name} was cut off: {end} bytes of it belong to {}, and {} are there",
                path.display(),
                found.len()
            ))
            .hint("no image was made; look for a whole copy"));
        }
    }
    Ok(())
}

/// Where an extent ends that is in its file as it is: qemu-img takes what is not
/// there for zeros. `RW 4192256 FLAT "disk-f001.vmdk" 0`
fn flat_end(line: &str) -> Option<u64> {
    let mut words = line.split_whitespace().skip(1);
    let sectors: u64 = words.next()?.parse().ok()?;
    if !matches!(words.next()?, "FLAT" | "VMFS") {
        return None;
    }
    let offset: u64 = line.rsplit('"').next()?.trim().parse().unwrap_or(0);
    sectors.checked_add(offset)?.checked_mul(SECTOR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn what_is_not_whole_is_refused_by_its_own_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        std::fs::write(folder.path().join("flat.vmdk"), vec![0; 63 * 512]).unwrap();
        let check = |format: &str, bytes: &[u8]| {
            let read = |offset: u64, len: usize| {
                let start = usize::try_from(offset).unwrap().min(bytes.len());
                Ok(bytes[start..bytes.len().min(start + len)].to_vec())
            };
            let tail = &bytes[bytes.len().saturating_sub(512)..];
            refuse(&path, format, &bytes[..bytes.len().min(512)], tail, read)
        };
        let with = |patches: &[(usize, &[u8])]| {
            let mut bytes = vec![0; 2048];
            patches
                .iter()
                .for_each(|(at, patch)| bytes[*at..][..patch.len()].copy_from_slice(patch));
            bytes
        };
        let qcow = |patches: &[(usize, &[u8])]| {
            with(&[&[(0, &b"QFI\xfb\0\0\0\x03"[..])], patches].concat())
        };
        let vhd = |kind: u8| with(&[(1536, b"conectix"), (1536 + 63, &[kind])]);
        let old = |text: &str| format!("# Disk DescriptorFile\n{text}\n").into_bytes();
        for (format, good) in [
            ("qcow2", qcow(&[])),
            ("vpc", vhd(2)),
            ("vdi", with(&[(0x4c, &[1])])),
            ("vhdx", with(&[])),
            ("vmdk", with(&[(0, b"KDMV"), (12, &[1])])),
            ("vmdk", old("RW 63 FLAT \"flat.vmdk\" 0")),
        ] {
            assert!(check(format, &good).is_ok(), "{format}");
        }
        for (format, bad, says) in [
            ("qcow2", qcow(&[(15, &[200]), (19, &[4]), (200, b"base")]), "another disk only: base"),
            ("qcow2", qcow(&[(79, &[4])]), "content in another file"),
            ("vpc", vhd(4), "another disk only"),
            ("vpc", vhd(5), "unknown type 5"),
            ("vdi", with(&[(0x4c, &[4])]), "another disk only"),
            ("vmdk", old("RW 63 FLAT \"/etc/shadow\" 0"), "another folder: /etc/shadow"),
            ("vmdk", old("RW 63 FLAT \"nbd:host:1\" 0"), "another folder: nbd:host:1"),
            ("vmdk", old("parentFileNameHint=\"base.vmdk\""), "another disk only: base.vmdk"),
        ] {
            let error = check(format, &bad).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(error.kind(), ErrorKind::Unsupported);
        }
        for lines in [
            "RW 63 FLAT \"gone.vmdk\" 0",
            "RW 64 FLAT \"flat.vmdk\" 0",
            "RW 63 FLAT \"flat.vmdk\" 1",
            "RW 64 VMFS \"flat.vmdk\"",
        ] {
            let error = check("vmdk", &old(lines)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged, "{lines}");
        }
        // Of other kinds the file holds less than the disk.
        assert!(check("vmdk", &old("RW 4192256 SPARSE \"flat.vmdk\"")).is_ok());
    }
}

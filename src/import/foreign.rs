// SPDX-License-Identifier: MIT OR Apache-2.0
//! What people may take for a disk or an image of this program: files that can
//! be imported, told by their first and last bytes alone.

use super::compression::Compression;
use super::{ntfsclone, partclone, partimage, virtual_disk};
use crate::error::Result;
use crate::io::{ReadAt, read_vec};

/// How much of the start and the end is looked at: the headers of other tools,
/// and the footer of a VHD.
const PART: u64 = 512;

/// What a file is, in words, if its bytes are not those of a disk: `compressed
/// by xz`, `a qcow2 file`.
///
/// # Errors
/// If it cannot be read.
pub fn kind_of(file: &dyn ReadAt) -> Result<Option<String>> {
    let len = usize::try_from(file.len().min(PART)).unwrap_or(0);
    let head = read_vec(file, 0, len)?;
    let tail = read_vec(file, file.len().saturating_sub(PART), len)?;
    if let Some(name) = Compression::of(&head).name() {
        return Ok(Some(format!("compressed by {name}")));
    }
    if let Some(format) = virtual_disk::format_of(&head, &tail) {
        let name = match format {
            "vpc" => "VHD",
            "vhdx" => "VHDX",
            "vmdk" => "VMDK",
            "vdi" => "VDI",
            other => other,
        };
        return Ok(Some(format!("a {name} file")));
    }
    let tools = [
        (partclone::MAGIC, "Partclone"),
        (ntfsclone::MAGIC, "ntfsclone"),
        (partimage::MAGIC, "Partimage"),
    ];
    let tool = tools.iter().find(|(magic, _)| head.starts_with(magic));
    Ok(tool.map(|(_, name)| format!("an image of {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Memory;

    #[test]
    fn what_is_no_disk_is_told_by_its_bytes() {
        let kind = |start: &[u8], end: &[u8]| {
            let mut bytes = vec![0; 4096];
            bytes[..start.len()].copy_from_slice(start);
            bytes[4096 - 512..][..end.len()].copy_from_slice(end);
            kind_of(&Memory::new(bytes)).unwrap()
        };
        for (start, end, wanted) in [
            (&b"\xfd7zXZ\0"[..], &b""[..], "compressed by xz"),
            (b"\x1f\x8b\x08", b"", "compressed by gzip"),
            (b"QFI\xfb\0\0\0\x03", b"", "a qcow2 file"),
            (b"vhdxfile", b"", "a VHDX file"),
            (b"\xeb\x63\x90", b"conectix", "a VHD file"),
            (b"partclone-image", b"", "an image of Partclone"),
            (b"\0ntfsclone-image", b"", "an image of ntfsclone"),
        ] {
            assert_eq!(kind(start, end).as_deref(), Some(wanted));
        }
        assert_eq!(kind(b"\xeb\x63\x90", b""), None);
        assert_eq!(kind_of(&Memory::new(Vec::new())).unwrap(), None);
    }
}

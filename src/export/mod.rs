// SPDX-License-Identifier: MIT OR Apache-2.0
//! An image as a file that other programs open: the bytes of the disk, or a
//! disk of a virtual machine.
//!
//! The bytes are written here ([`raw`]), every other format by qemu-img
//! ([`virtual_disk`]), which reads the image as a network block device. Until all
//! of it is written and on the medium, the file has another name.

mod destination;
pub mod raw;
pub mod virtual_disk;

pub use destination::Destination;

use std::path::Path;

use crate::error::{Error, Result};

/// What a file can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The bytes of the disk.
    Raw,
    /// Of QEMU.
    Qcow2,
    /// Of Hyper-V.
    Vhdx,
    /// Of VMware.
    Vmdk,
    /// Of VirtualBox.
    Vdi,
}

impl Format {
    /// Each with its name, which qemu-img knows, too.
    pub const ALL: [(&'static str, Self); 5] = [
        ("raw", Self::Raw),
        ("qcow2", Self::Qcow2),
        ("vhdx", Self::Vhdx),
        ("vmdk", Self::Vmdk),
        ("vdi", Self::Vdi),
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, format)| *format == self).map_or("raw", |(name, _)| name)
    }

    /// The format of a name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| name.eq_ignore_ascii_case(known));
        found.map(|(_, format)| *format)
    }

    /// The format that the end of a file's name means.
    ///
    /// # Errors
    /// Usage if it means none.
    pub fn of_file(path: &Path) -> Result<Self> {
        let end = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        match end.as_str() {
            "img" | "dd" | "bin" => Ok(Self::Raw),
            end => Self::of_name(end).ok_or_else(|| {
                let names: Vec<&str> = Self::ALL.iter().map(|(name, _)| *name).collect();
                Error::usage(format!("{} does not say what it is to be", path.display()))
                    .hint(format!("let its name end in .{}, or use --format", names.join(", .")))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_name_says_the_format() {
        for (name, format) in [
            ("disk.raw", Format::Raw),
            ("/a.b/disk.IMG", Format::Raw),
            ("disk.qcow2", Format::Qcow2),
            ("disk.x.VHDX", Format::Vhdx),
        ] {
            assert_eq!(Format::of_file(Path::new(name)).unwrap(), format, "{name}");
        }
        for name in ["disk", "disk.img.zst", "raw", ".qcow2", "disk.vhd"] {
            assert!(Format::of_file(Path::new(name)).is_err(), "{name}");
        }
        assert!(Format::ALL.iter().all(|(name, format)| format.name() == *name));
    }
}

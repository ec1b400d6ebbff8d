// SPDX-License-Identifier: MIT OR Apache-2.0
//! Block devices and the regular files that stand in for them.

mod aligned;
#[cfg(test)]
mod fake;
mod foundation;
mod inuse;
mod ioctl;
mod medium;
mod mounts;
mod partitions;
mod safety;
mod source;
mod sysfs;
mod target;

pub use aligned::{AlignedBuffer, BUFFER_ALIGN};
pub use foundation::{booted_disks, disks_holding};
pub use inuse::{Use, User, users};
pub use partitions::{KernelPartition, Reread};
pub use safety::{check_source, check_target};
pub use source::Source;
pub use sysfs::{DeviceNumber, System};
pub use target::Target;

use serde::{Deserialize, Serialize};

/// What a disk says of itself; stored in every image of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DiskIdentity {
    /// The path it was opened by.
    pub path: String,
    /// The model, as the drive gives it.
    pub model: Option<String>,
    /// The serial number, as the drive gives it.
    pub serial: Option<String>,
    /// The world wide name.
    pub wwn: Option<String>,
    /// The size in bytes.
    pub size: u64,
    /// The logical sector size in bytes.
    pub logical_sector: u32,
    /// The physical sector size in bytes.
    pub physical_sector: u32,
    /// How it is attached: "nvme", "sata", "usb", "virtio", "loop", "file".
    pub bus: Option<String>,
    /// True for a spinning disk.
    pub rotational: Option<bool>,
}

/// What an open device says of itself.
fn identity_of(medium: &medium::Medium) -> DiskIdentity {
    DiskIdentity {
        path: medium.path().to_owned(),
        size: medium.len(),
        logical_sector: medium.sector_size().get(),
        physical_sector: medium.physical_sector(),
        ..DiskIdentity::default()
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Block devices and the regular files that stand in for them.
//!
//! A [`Source`] is read and never written; a [`Target`] is claimed and
//! written; both pass the page cache by. [`disks`] lists what there is, and
//! [`check_source`] and [`check_target`] say what may not be touched and why.
//! All of it is read from /sys, /proc and ioctls: a rescue system has neither
//! udev nor other tools.

mod aligned;
mod discover;
#[cfg(test)]
mod fake;
mod foundation;
mod identity;
mod immutable;
mod inuse;
mod ioctl;
mod loop_device;
mod medium;
mod mounts;
mod optical;
mod partitions;
mod protection;
mod safety;
mod seen;
mod smart;
mod source;
mod sysfs;
mod target;
mod toc;
mod volumes;

pub use aligned::{AlignedBuffer, BUFFER_ALIGN};
pub use discover::{Disk, DiskPartition, can_discard, disks, disks_of, find_by_path, is_partition};
pub use foundation::{booted_disks, disks_holding};
pub use identity::DiskIdentity;
pub use immutable::clear_immutable;
pub use inuse::{Use, User, users};
pub use loop_device::LoopDevice;
pub use medium::NodeId;
pub use optical::{DiscState, OpticalDrive, RAW_SECTOR, Tray, is_optical, optical_drives};
pub use partitions::{KernelPartition, Reread};
pub use protection::{Claim, set_read_only};
pub use safety::{
    check_opened_source, check_opened_target, check_source, check_target, open_source,
};
pub use seen::Seen;
pub use smart::{Health, health};
pub use source::Source;
pub use sysfs::{DeviceNumber, System};
pub use target::Target;
pub use toc::{Session, Toc, Track};
pub use volumes::{MountPoint, VolumeNode, mount_points, volumes, volumes_of};

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is inside of an opened disk or image: its volumes, and their files,
//! without mounting anything.
//!
//! [`volumes`] opens every volume that can be read, those of LVM and of disks
//! inside of volumes too.

mod volumes;

pub use volumes::{OpenVolume, volumes};

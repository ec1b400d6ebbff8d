// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is inside of an opened disk or image: its volumes, and their files,
//! without mounting anything.
//!
//! [`OpenDisk`] is an image, a disk or the file of one, [`volumes()`] opens every volume
//! that can be read, those of LVM and of disks inside of volumes too, and
//! [`path`] finds what a user calls `2:/home`. [`walk`](mod@walk) goes through folders
//! that may be hostile, [`lost`] names the files in what could not be read, and [`names`] shows what
//! anybody may have chosen.

pub mod diff;
pub mod extract;
#[cfg(test)]
pub(crate) mod fake;
mod filled;
pub mod lost;
pub mod names;
pub mod open;
pub mod path;
mod volume;
mod volumes;
pub mod walk;

pub use open::{How, OpenDisk, OpenImage};
pub use path::Place;
pub use volume::{OpenVolume, Trouble};
pub use volumes::volumes;

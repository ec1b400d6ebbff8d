// SPDX-License-Identifier: MIT OR Apache-2.0
//! An opened disk or image as a folder: `disk.img`, an `.img` for each volume,
//! and the files of those volumes, for whatever program reads files (FUSE).
//!
//! What the kernel asks is answered by several threads at once. What cannot be
//! read is an input/output error of that file and is told by name; a short
//! read, which the kernel would fill up with zeros, is never given.

mod attributes;
mod filesystem;
mod inodes;
mod listing;
mod names;
mod opened;
mod session;
mod tree;
mod trouble;
mod users;
mod view;

pub use opened::open;
pub use session::{Mounted, Options, Unmounted, check_folder};
pub use tree::{ImageFile, Shown, Tree, Volume};
pub use trouble::Event;

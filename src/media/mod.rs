// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drives that hold images: finding what is on them without changing a byte,
//! and a place for a new one.
//!
//! The rescue system mounts nothing by itself. What is searched is mounted for
//! the time of the search, strictly read-only, and again while an image on it
//! is in use; so a disk that was searched is as free to be overwritten as
//! before. On an installed system nothing is mounted at all: what is mounted
//! already is searched.

pub mod command_line;
mod destinations;
mod found;
mod kinds;
mod mounted;
mod search;
#[cfg(test)]
mod tests;
pub mod trouble;

pub use destinations::{
    Destination, Needs, STARTING_VOLUME, Writable, destinations, mount_writable,
};
pub use found::{
    FoundImage, Medium, OpenImage, Readable, Search, Skipped, drives, find, find_in,
    mount_readable, open, search,
};
pub use mounted::Mounted;
pub use search::Facts;

/// True inside of the rescue system, which mounts by itself what it searches.
#[must_use]
pub fn in_rescue() -> bool {
    std::env::var_os("DACAPO_RESCUE").is_some_and(|value| value == "1")
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The image file: an ordinary, seekable `.zst` whose decompressed content is
//! the disk.
//!
//! ```text
//! head | chunk description, zstd frame | ... | index | trailer | seek table
//! ```
//!
//! Everything that is not disk content sits in skippable frames, which zstd
//! ignores. [`format`](mod@format) is the contract, byte by byte, and `docs/format.md` its
//! prose; `index` is its largest part; [`frame`] makes and reads the zstd frames; [`writer`] appends,
//! [`reader`] reads by the index, [`cached`] so for many at once, [`stream`] front to back and [`rescan`]
//! rebuilds a lost index from the frames.

#![warn(clippy::arithmetic_side_effects, clippy::as_conversions)]

pub mod cached;
pub mod format;
pub mod frame;
mod index;
mod read_ahead;
pub mod reader;
pub mod rescan;
mod seekable;
pub mod stream;
pub mod writer;

pub use cached::Cached;
pub use format::{Entry, Head, Kind, Report};
pub use reader::Reader;
pub use stream::Stream;
pub use writer::Writer;

#[cfg(test)]
mod document;

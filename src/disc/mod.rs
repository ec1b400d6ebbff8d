// SPDX-License-Identifier: MIT OR Apache-2.0
//! Optical discs: read to files that every other program can use, with a record
//! of what they are, and looked after for years.
//!
//! A disc with data becomes a plain `.iso`; beside it is a [`Record`], a small
//! JSON file with names, dates, sizes and hashes.
//!
//! - [`drive`]: what a disc is read from: a drive, or a file that stands for one
//! - [`volume`]: what a disc says of itself
//! - [`contents`]: that, with what the drive says, and what to make of it
//! - `encryption`: films that nobody can play from a copy
//! - [`digest`]: the hashes
//! - [`implanted`]: the MD5 that makers of Linux discs put into them
//! - [`sector`]: sectors with all their bytes
//! - [`read`]: a disc to a file
//! - `same`: is it the disc that was begun?
//! - [`raw`]: a CD with sound, sector by sector, and its cue sheet ([`cue`])
//! - [`protection`]: bad sectors that somebody may have made on purpose
//! - [`record`]: the file beside it
//! - `missing`: what an archived disc lacks
//! - [`verify`]: is an archived disc what it was?
//! - [`shelf`]: all archived discs of a folder
//! - [`page`]: a catalogue of them to be looked at in a browser
//! - [`write`]: an archived disc back onto a disc

pub mod contents;
mod copy;
pub mod cue;
pub mod digest;
pub mod drive;
mod encryption;
pub mod implanted;
mod missing;
mod output;
pub mod page;
pub mod protection;
pub mod raw;
pub mod read;
pub mod record;
mod same;
pub mod sector;
pub mod shelf;
#[cfg(test)]
mod tests;
pub mod verify;
pub mod volume;
pub mod write;

pub use contents::Contents;
pub use drive::Drive;
pub use record::Record;

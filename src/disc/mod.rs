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
//! - [`digest`]: the hashes
//! - [`implanted`]: the MD5 that makers of Linux discs put into them
//! - [`sector`]: sectors with all their bytes
//! - [`read`]: a disc to a file
//! - [`record`]: the file beside it
//! - [`verify`]: is an archived disc what it was?
//! - [`shelf`]: all archived discs of a folder
//! - [`page`]: a catalogue of them to be looked at in a browser

pub mod contents;
pub mod digest;
pub mod drive;
pub mod implanted;
pub mod page;
pub mod read;
pub mod record;
pub mod sector;
pub mod shelf;
pub mod verify;
pub mod volume;

pub use contents::Contents;
pub use drive::Drive;
pub use record::Record;

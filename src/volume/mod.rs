// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes that hold other volumes: what is inside, where its bytes lie, and
//! which bytes belong to nothing inside.
//!
//! A driver answers *is this mine* ([`Volume::probe`]) and *what is inside*
//! ([`Volume::map`]). What is in use then follows: the layout opens every volume
//! inside as a reader, asks the filesystems about it, and [`Mapped::project`]
//! says where their used bytes lie on the volume asked about. Nothing is
//! assembled or activated, and what is not understood exactly is in use as a
//! whole, with the reason.
//!
//! As with filesystems, a driver gets a set of readers: the first is the volume
//! that is asked about, the others may belong to it.

#![warn(clippy::arithmetic_side_effects, clippy::as_conversions)]

pub mod lvm2;
mod mapped;

pub use mapped::{Area, Mapped, Piece};

use crate::extent::ExtentSet;
use crate::fs::{Identity, Readers, Support, Used};
use crate::io::ReadAt;
use crate::ondisk::FormatError;

/// All kinds, in the order in which they are asked: after the members of arrays
/// and encrypted volumes, before the filesystems.
pub static VOLUMES: &[&dyn Volume] = &[&lvm2::Lvm2];

/// What is inside a volume.
#[derive(Debug)]
pub enum Answer<'a> {
    /// Its parts are known exactly.
    Map(Map<'a>),
    /// It is healthy, but nothing is proven about its parts.
    Whole(Used),
}

/// The parts of a volume.
#[derive(Debug)]
pub struct Map<'a> {
    /// What it is, for people: "LVM2 group vg0".
    pub title: String,
    /// The bytes in use that belong to nothing inside: labels, metadata, tails.
    pub own: ExtentSet,
    /// The volumes that have bytes on this one.
    pub inside: Vec<Inside<'a>>,
    /// Volumes of the same group that can be read and have no bytes here, with
    /// their names: a filesystem inside may span them.
    pub siblings: Vec<(String, Mapped<&'a dyn ReadAt>)>,
    /// True if not all disks that the volumes may lie on are at hand.
    pub lacks_disks: bool,
    /// What else a person should know.
    pub notes: Vec<String>,
}

/// A volume inside another.
#[derive(Debug)]
pub struct Inside<'a> {
    /// Its name, for people: "vg0/root".
    pub name: String,
    /// Its bytes on the volume that was asked about.
    pub here: ExtentSet,
    /// How its bytes can be read.
    pub content: Content<'a>,
}

/// The bytes of a volume inside another.
#[derive(Debug)]
pub enum Content<'a> {
    /// They can be read; the first reader is the volume asked about.
    Readable(Mapped<&'a dyn ReadAt>),
    /// They are stored as they are.
    Whole {
        /// Why, in one sentence.
        why: String,
        /// What the user can do about it.
        advice: Option<String>,
    },
}

/// A kind of volume that holds other volumes.
pub trait Volume: Sync {
    /// The name of the kind, for messages.
    fn name(&self) -> &'static str;

    /// The rows of the table of what is supported; never empty.
    fn support(&self) -> &'static [Support];

    /// Who this is; `None` if it is none of this driver's.
    ///
    /// # Errors
    /// If it is this driver's, but damaged or unsupported so that not even its
    /// identity can be told.
    fn probe(&self, readers: Readers) -> Result<Option<Identity>, FormatError>;

    /// What is inside.
    ///
    /// # Errors
    /// Anything that keeps the parts from being known exactly.
    fn map<'a>(&self, readers: Readers<'a>) -> Result<Answer<'a>, FormatError>;
}

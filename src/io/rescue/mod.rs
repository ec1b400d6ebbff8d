// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading a drive that is failing, in the order that brings home most before
//! it dies: the method of GNU ddrescue, with its mapfile.
//!
//! Good areas come first, in reads of 64 KiB: after an error or in a slow area
//! the reader skips ahead, by more each time. What was skipped is read from
//! behind, up to the first error; then what is left. Only then the edges of
//! what has failed are trimmed sector by sector, the rest is scraped together,
//! and, if asked for, tried again in alternating directions. No sector is tried
//! more than twice before that. (Manual of GNU ddrescue 1.27, "Algorithm"; sizes
//! of skips, "Invoking ddrescue".)
//!
//! [`Passes`] is a state machine over anything that can be read and written; it
//! knows of no files and no clock but those of its [`Drive`]. [`Blocks`] says
//! what became of each byte, [`Mapfile`] is that as ddrescue writes it, and
//! [`RawFile`] the file that it is read into. [`Through`] reads what is there from
//! that file and everything else from the drive, for those who look around on it
//! before. [`Watched`] does not wait forever for a drive that hangs.

mod blocks;
mod mapfile;
mod passes;
mod raw;
#[cfg(test)]
mod tests;
mod through;
mod watched;

pub use blocks::Blocks;
pub use mapfile::{Block, Mapfile, Phase, Status};
pub use passes::{Drive, End, Listener, Passes, Settings, State};
pub use raw::RawFile;
pub use through::Through;
pub use watched::{Hanging, Watched, Watcher};

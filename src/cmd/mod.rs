// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands: one file each with its options and its `run`, one `match`.
//!
//! The doc comments of the structs in this folder are what the user reads in
//! `--help`, in the manual pages and in the completions; those are generated
//! from here and nowhere written by hand.

pub(crate) mod bars;
pub mod clone;
pub mod compare;
pub mod completions;
pub mod confirm;
pub mod demo;
pub mod disks;
pub mod info;
pub mod man;
pub mod map;
mod open;
pub mod output;
mod progress;
pub mod repair;
pub mod rescue;
pub mod restore;
pub mod save;
mod signals;
mod sink;
mod target;
mod terminal;
mod text;
pub mod unattended;

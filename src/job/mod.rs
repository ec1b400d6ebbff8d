// SPDX-License-Identifier: MIT OR Apache-2.0
//! The jobs from end to end, step by step, in the order that safety demands:
//! for whoever asks for one, a command or a screen.
//!
//! Nothing here prints or asks. What a person has to see is in the value that
//! a step returns, what has to be told while a job runs goes to its
//! [`Progress`](crate::progress::Progress), and what a person has to agree to
//! is a value that only the agreement makes: [`Confirmed`].

pub mod choice;
pub mod compare;
pub mod import;
pub mod open;
pub mod overwrite;
pub mod save;
pub mod serve;
mod target;
pub mod verify;

pub use target::{Confirmed, Kind, Target};

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver as a whole, on the containers of `images/` and changed ones.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::unwrap_used,
    reason = "the numbers are the test's own, not a disk's"
)]

mod disk;
mod files;
mod hostile;
mod states;

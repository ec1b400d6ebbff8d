// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver as a whole, on filesystems in memory and against other programs.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::unwrap_used,
    reason = "the numbers are the test's own, not a disk's"
)]

mod clean;
mod hostile;
mod image;
mod oracle;

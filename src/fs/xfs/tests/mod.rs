// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver as a whole, on filesystems that `mkfs.xfs` made and on hostile
//! ones.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::unwrap_used,
    reason = "the numbers are the test's own, not a disk's"
)]

mod hostile;
mod log;
mod oracle;

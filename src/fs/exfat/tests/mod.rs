// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes built byte by byte, and what one changed field does to them.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::unwrap_used,
    reason = "the numbers are the test's own, not a disk's"
)]

mod boot;
mod files;
mod folders;
mod map;
mod volume;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filesystems built byte by byte, and everything that may be wrong with them.

#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "test numbers")]
#![allow(clippy::unwrap_used, reason = "a test may stop")]

mod clean;
mod hostile;
mod huge;
mod image;
mod log;
mod profiles;
mod several;

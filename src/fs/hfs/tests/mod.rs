// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks made byte by byte.
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "test numbers")]

mod files;
pub(in crate::fs) mod nodes;
mod used;
mod volume;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks made byte by byte.
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "test numbers")]

mod files;
mod used;
mod volume;

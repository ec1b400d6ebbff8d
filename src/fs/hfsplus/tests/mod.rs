// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver on the committed disks, whole and with changed fields.
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "test numbers")]

mod clean;
mod disk;
mod fields;
mod hostile;
mod shared;
mod trees;

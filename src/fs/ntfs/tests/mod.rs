// SPDX-License-Identifier: MIT OR Apache-2.0
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::unwrap_used,
    reason = "test numbers"
)]

mod files;
mod geometry;
mod hostile;
mod image;
mod map;
mod shadow;
mod state;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! One binary that drives the built program.
mod device;

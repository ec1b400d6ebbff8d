// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drives that are dying: what can be read of them is brought home, and GNU
//! ddrescue is the judge of that.

mod ddrescue;
mod files;
mod health;
mod mapper;
pub(crate) mod save;
mod unplugged;
mod used;

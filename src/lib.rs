// SPDX-License-Identifier: MIT OR Apache-2.0
//! dacapo saves a whole disk to an ordinary `.zst` file and restores it
//! exactly.
pub mod cmd;
pub mod compare;
pub mod device;
pub mod error;
pub mod extent;
pub mod fs;
pub mod image;
pub mod io;
pub mod layout;
pub mod ondisk;
pub mod pipeline;
pub mod progress;
pub mod restore;
pub mod save;
pub mod store;
pub mod table;
pub mod units;
pub mod verify;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every test of the built program needs: running it and other programs,
//! a screen and its keys, temporary folders, loop devices and mounts that undo
//! themselves, junk, and the question whether this machine can do what a test
//! needs.

// Which of these are used depends on the tests that are there.
#![allow(dead_code)]
// `pub` here means: for the test modules.
#![allow(unreachable_pub)]

mod disk;
mod guest;
mod http_server;
mod lvm;
pub mod machine;
mod needs;
pub mod neighbour;
mod program;
pub mod screen;

pub use disk::*;
pub use guest::*;
pub use http_server::*;
pub use lvm::*;
pub use needs::*;
pub use program::*;

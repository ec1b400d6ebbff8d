// SPDX-License-Identifier: MIT OR Apache-2.0
//! The network of the rescue system: what cards there are, an address for one
//! of them, and folders of other machines.
//!
//! - [`interfaces`]: what there is
//! - [`Setting`]: how an interface gets its address, and [`Setting::apply`]
//! - [`Share`]: a folder on another machine, and [`Share::mount`]
//!
//! An installed system sets up its network itself, and keeps doing so; there
//! only [`interfaces`] is of use. No wireless networks: their drivers need
//! firmware that nobody may pass on freely, and a cable is faster.

mod interface;
mod mount;
mod program;
mod setting;
mod share;

pub use interface::{Address, Interface, interfaces};
pub use mount::{NetworkFolder, disconnect};
pub use setting::{Setting, dhcp, set_static};
pub use share::{Share, Smb};

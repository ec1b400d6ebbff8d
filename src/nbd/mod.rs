// SPDX-License-Identifier: MIT OR Apache-2.0
//! A server for network block devices: qemu, nbd-client, nbdcopy, libguestfs
//! and the Linux kernel use an image as a disk without knowing what one is.
//!
//! [`protocol`] is the bytes on the wire; [`negotiate`] how a client chooses an
//! export, [`transmit`] how it reads it; [`Exports`] what there is to choose
//! from, and [`Server`] the sockets and threads around all of it.

#![warn(clippy::arithmetic_side_effects, clippy::as_conversions)]

mod disk;
pub mod negotiate;
pub mod protocol;
mod server;
pub mod transmit;
mod wire;

pub use disk::{Below, Disk, Export, Exports};
pub use server::{Address, Events, Server, Totals};
pub use wire::Gone;

use std::io::{Read, Write};

use crate::error::Error;

/// Talks to one client until it is gone: everything a client can do, without a
/// socket. `chosen` is called when it has chosen an export, `failed` with what
/// cannot be read or written. Returns the bytes that were sent, and how it went.
pub fn talk(
    input: impl Read,
    output: impl Write,
    exports: &Exports,
    chosen: &dyn Fn() -> std::io::Result<()>,
    failed: &dyn Fn(&Error),
) -> (u64, Gone) {
    let mut wire = wire::Wire::new(input, output);
    let gone = negotiate::run(&mut wire, exports).and_then(|session| {
        chosen()?;
        let disk = &*session.export.disk;
        transmit::Client { disk, session, failed }.run(&mut wire)
    });
    // What was said last may be the reason why it goes.
    let _ = wire.flush();
    (wire.sent(), gone.err().unwrap_or(Gone::Done))
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The first program of the rescue system.
//!
//! One file with several parts to play, which its arguments choose:
//!
//! - *process 1* ([`first`]): mounts what is needed, starts the others, buries
//!   every process that ends, and powers off with everything flushed
//! - `devices`: loads the drivers of the hardware, now and when more appears
//! - `console TTY`: keeps the screen of dacapo on one console
//! - `unattended`: restores without a question, if the kernel's command line
//!   says so
//! - under the name `modprobe`: the kernel asks for a module
//!
//! Each part is a process of its own, so that none takes process 1 with it
//! when it fails. Nothing here starts swap, RAID, LVM, or mounts a disk.

// A test that unwraps says what it expects by failing there.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod aliases;
mod children;
mod console;
mod consoles;
mod devices;
mod first;
mod log;
mod modules;
mod mounts;
mod power_button;
mod shutdown;
mod terminal;
mod uevents;
mod unattended;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let name = words.first().and_then(|path| Path::new(path).file_name()?.to_str());
    if nix::unistd::getpid().as_raw() == 1 {
        first::run();
    }
    match (name, words.get(1..).unwrap_or_default()) {
        (Some("modprobe"), names) => modules::modprobe(names),
        (_, ["devices"]) => devices::run(),
        (_, ["console", tty]) => console::run(tty, None),
        (_, ["console", tty, trouble]) => console::run(tty, Some(trouble)),
        (_, ["unattended"]) => unattended::run(),
        _ => {
            eprintln!("dacapo-init is started by the kernel of the rescue system, as process 1");
            ExitCode::from(2)
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The button that powers the machine off, which the kernel shows as a
//! keyboard with one key.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::shutdown;

/// `struct input_event`: a time of two words, type, code, value.
const EVENT_LEN: usize = 2 * size_of::<usize>() + 8;
const EV_KEY: u16 = 1;
const KEY_POWER: u16 = 116;

#[derive(Debug)]
pub(crate) struct PowerButton {
    /// Its node under /dev.
    pub(crate) name: String,
    file: File,
}

impl PowerButton {
    /// Opens a node under /dev such as "input/event0", if it is such a button.
    pub(crate) fn open(name: &str) -> Option<Self> {
        let event = name.strip_prefix("input/").filter(|name| name.starts_with("event"))?;
        let label = Path::new("/sys/class/input").join(event).join("device/name");
        // Not every key of a keyboard that could power off.
        if fs::read_to_string(label).ok()?.trim() != "Power Button" {
            return None;
        }
        let flags = OFlag::O_NONBLOCK.bits();
        let node = Path::new("/dev").join(name);
        let file = OpenOptions::new().read(true).custom_flags(flags).open(node).ok()?;
        Some(Self { name: name.to_owned(), file })
    }

    /// Powers off if it was pressed. False if it is gone.
    pub(crate) fn look(&mut self) -> bool {
        let mut event = [0; EVENT_LEN];
        loop {
            match self.file.read(&mut event) {
                Ok(EVENT_LEN) => {
                    if is_pressed(&event) {
                        let _ = kill(Pid::from_raw(1), shutdown::POWER_OFF);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Ok(_) | Err(_) => return false,
            }
        }
    }
}

/// Adds the button at a node, unless it is there already: what is heard of
/// twice would power off twice.
pub(crate) fn add(
    buttons: &mut Vec<PowerButton>,
    name: &str,
    open: impl FnOnce(&str) -> Option<PowerButton>,
) {
    if !buttons.iter().any(|button| button.name == name) {
        buttons.extend(open(name));
    }
}

impl AsFd for PowerButton {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn is_pressed(event: &[u8; EVENT_LEN]) -> bool {
    let half = |at: usize| u16::from_ne_bytes([event[at], event[at + 1]]);
    let fields = EVENT_LEN - 8;
    half(fields) == EV_KEY && half(fields + 2) == KEY_POWER && event[fields + 4] == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn only_the_press_of_the_key_counts() {
        let mut event = [0; EVENT_LEN];
        event[EVENT_LEN - 8..].copy_from_slice(&[1, 0, 116, 0, 1, 0, 0, 0]);
        assert!(is_pressed(&event));
        event[EVENT_LEN - 4] = 0;
        assert!(!is_pressed(&event));
        event[EVENT_LEN - 8..].copy_from_slice(&[1, 0, 30, 0, 1, 0, 0, 0]);
        assert!(!is_pressed(&event));
        assert!(!is_pressed(&[0; EVENT_LEN]));
    }

    #[test]
    fn a_button_is_opened_once() {
        let file = || File::open("/dev/null").unwrap();
        let mut opened = 0;
        let mut buttons = Vec::new();
        for name in ["input/event0", "input/event1", "input/event0"] {
            add(&mut buttons, name, |name| {
                opened += 1;
                Some(PowerButton { name: name.to_owned(), file: file() })
            });
        }
        assert_eq!((opened, buttons.len()), (2, 2));
        add(&mut buttons, "input/event2", |_| None);
        assert_eq!(buttons.len(), 2);
    }
}

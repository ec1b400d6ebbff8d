// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a drive of a test hangs at.

use std::sync::{Condvar, Mutex};

/// Holds whoever comes until it is opened.
#[derive(Debug, Default)]
pub(crate) struct Latch {
    is_open: Mutex<bool>,
    changed: Condvar,
}

impl Latch {
    pub(crate) fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.changed.notify_all();
    }

    pub(crate) fn wait(&self) {
        let held = self.is_open.lock().unwrap();
        drop(self.changed.wait_while(held, |is_open| !*is_open).unwrap());
    }
}

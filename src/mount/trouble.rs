// SPDX-License-Identifier: MIT OR Apache-2.0
//! What could not be read, each once.

use std::collections::HashSet;
use std::sync::mpsc::Sender;
use std::sync::{Mutex, PoisonError};

use crate::error::Error;

/// How many things that could not be read are told apart.
const MAX_KNOWN: usize = 1 << 20;

/// Something that whoever mounted should know.
#[derive(Debug)]
pub enum Event {
    /// A file or folder, or a part of it, could not be read.
    Unreadable {
        /// Its path in the mounted folder.
        name: String,
        /// Why.
        error: Error,
    },
    /// What was written to an image could not be kept.
    Unwritable {
        /// The name of the image.
        name: String,
        /// Why.
        error: Error,
    },
    /// What all is read from fails: its drive was pulled out, the network ended.
    Failing(Error),
}

/// Collects what could not be read.
#[derive(Debug)]
pub(super) struct Troubles {
    known: Mutex<HashSet<u64>>,
    unwritable: Mutex<HashSet<u64>>,
    events: Sender<Event>,
}

impl Troubles {
    pub(super) fn new(events: Sender<Event>) -> Self {
        Self { known: Mutex::default(), unwritable: Mutex::default(), events }
    }

    /// Tells that what has this number cannot be read, unless that is known.
    pub(super) fn unreadable(&self, number: u64, name: impl FnOnce() -> String, error: Error) {
        if is_new(&self.known, number) {
            self.tell(Event::Unreadable { name: name(), error });
        }
    }

    /// Tells that what is written to this image cannot be kept, once.
    pub(super) fn unwritable(&self, number: u64, name: impl FnOnce() -> String, error: Error) {
        if is_new(&self.unwritable, number) {
            self.tell(Event::Unwritable { name: name(), error });
        }
    }

    fn tell(&self, event: Event) {
        // Nobody listens any more only when all is over.
        let _ = self.events.send(event);
    }
}

fn is_new(known: &Mutex<HashSet<u64>>, number: u64) -> bool {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    known.len() < MAX_KNOWN && known.insert(number)
}

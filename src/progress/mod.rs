// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a running job tells its listeners: a terminal bar, JSON lines, tests.
//!
//! No terminal code here. A job calls [`Progress`] from the thread that
//! consumes results; workers whose pieces are long only [`Progress::advance`].

mod meter;

pub use meter::{Meter, Snapshot, Tally, clock};

use crate::extent::Extent;

/// Something worth telling while a job runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The job has reached this part of the disk ("partition 2, ext4").
    Position(String),
    /// A range of the source could not be read; the job goes on.
    Unreadable {
        /// The bytes of the source that are missing.
        extent: Extent,
        /// What the system said.
        cause: String,
    },
    /// A range that differs in a comparison; counted while it runs, and listed
    /// by the command at its end.
    Mismatch {
        /// The bytes of the disk that differ.
        extent: Extent,
    },
    /// A file could not be read, or not be written; the job goes on.
    Lost {
        /// The file: "2:/home/x".
        path: String,
        /// Why.
        cause: String,
    },
    /// A step that changes what the user might expect; always shown.
    Notice(String),
}

/// A listener to a running job.
pub trait Progress: Sync {
    /// A stage begins; `total` is in bytes.
    fn stage(&self, name: &str, total: u64) {
        let _ = (name, total);
    }

    /// `bytes` more of the stage are done.
    fn advance(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Something to tell.
    fn note(&self, event: &Event) {
        let _ = event;
    }
}

/// A listener that says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}

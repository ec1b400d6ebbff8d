// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locks on files that only one program may write to.

use std::fs::{File, TryLockError};
use std::thread;
use std::time::Duration;

/// How often a lock that is held is tried again.
const RETRIES: u32 = 10;
/// How long to wait in between.
const PAUSE: Duration = Duration::from_millis(50);

/// Locks a file until it is closed; false if another program holds it. True as
/// well on a filesystem without locks, which cannot tell.
///
/// A program that is started from this one has a copy of all that is open until it
/// runs, so that a lock that was just given back may be held for a moment longer.
pub(crate) fn lock(file: &File) -> bool {
    for _ in 0..RETRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            Ok(()) | Err(TryLockError::Error(_)) => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_had_by_one_and_waited_for_a_moment() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let open = || File::options().create(true).append(true).open(&path).unwrap();
        let (first, second) = (open(), open());
        assert!(lock(&first));
        assert!(!lock(&second));
        let closing = thread::spawn(move || {
            thread::sleep(PAUSE);
            drop(first);
        });
        assert!(lock(&second));
        closing.join().unwrap();
    }
}

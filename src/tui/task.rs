// SPDX-License-Identifier: MIT OR Apache-2.0
//! Work in the background: the screen goes on while a disk is looked at or
//! written.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::error::{Error, Result};
use crate::pipeline::Cancel;
use crate::progress::{Event, Meter, Progress, Snapshot};

/// More notices than this are counted only.
const KEPT_NOTICES: usize = 200;

/// Something that runs in the background, and is asked to stop when nobody
/// waits for it any more.
#[derive(Debug)]
pub(crate) struct Task<T> {
    listener: Arc<Listener>,
    cancel: Cancel,
    thread: Option<JoinHandle<Result<T>>>,
}

/// Hears what the work tells.
#[derive(Debug)]
struct Listener {
    heard: Mutex<Heard>,
}

#[derive(Debug)]
struct Heard {
    meter: Meter,
    notices: Vec<String>,
}

impl Listener {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Listener {
    fn stage(&self, name: &str, total: u64) {
        self.lock().meter.stage(name, total, Instant::now());
    }

    fn advance(&self, bytes: u64) {
        self.lock().meter.advance(bytes, Instant::now());
    }

    fn note(&self, event: &Event) {
        let mut heard = self.lock();
        match event {
            Event::Position(text) => heard.meter.position(text),
            Event::Unreadable { extent, .. } => heard.meter.unreadable(*extent),
            Event::Mismatch { extent } => heard.meter.different(*extent),
            Event::Lost { path, cause } => {
                if heard.notices.len() < KEPT_NOTICES {
                    heard.notices.push(format!("{path}: {cause}"));
                }
            }
            Event::Notice(text) => {
                if heard.notices.len() < KEPT_NOTICES {
                    heard.notices.push(text.clone());
                }
            }
        }
    }
}

impl<T: Send + 'static> Task<T> {
    /// Starts it.
    pub(crate) fn start(
        work: impl FnOnce(&Cancel, &dyn Progress) -> Result<T> + Send + 'static,
    ) -> Self {
        let heard = Heard { meter: Meter::new(Instant::now()), notices: Vec::new() };
        let listener = Arc::new(Listener { heard: Mutex::new(heard) });
        let cancel = Cancel::default();
        let (their_listener, their_cancel) = (Arc::clone(&listener), cancel.clone());
        // Not joined when left: a drive that does not answer must not hold the
        // screen. What it does then is read only; a job that writes is waited
        // for by its screen.
        let thread = thread::spawn(move || work(&their_cancel, &*their_listener));
        Self { listener, cancel, thread: Some(thread) }
    }

    /// The result, once there is one.
    pub(crate) fn poll(&mut self) -> Option<Result<T>> {
        if !self.thread.as_ref()?.is_finished() {
            return None;
        }
        let thread = self.thread.take()?;
        Some(thread.join().unwrap_or_else(|_| {
            Err(Error::failed("this program has made a mistake and cannot go on here")
                .hint("please report it, with what was on the screen"))
        }))
    }
}

impl<T> Task<T> {
    /// How far it is.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.listener.lock().meter.snapshot(Instant::now())
    }

    /// What it has told so far.
    pub(crate) fn notices(&self) -> Vec<String> {
        self.listener.lock().notices.clone()
    }

    /// Asks it to stop.
    pub(crate) fn cancel(&self) {
        self.cancel.cancel();
    }

    /// True if it has been asked to stop.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// True if it is in its last steps, which are short and must not be torn.
    pub(crate) fn is_finishing(&self) -> bool {
        self.cancel.is_finishing()
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::extent::Extent;

    fn result<T: Send + 'static>(task: &mut Task<T>) -> Result<T> {
        for _ in 0..1000 {
            if let Some(result) = task.poll() {
                return result;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("it does not end");
    }

    #[test]
    fn what_it_tells_is_heard() {
        let mut task = Task::start(|_, progress| {
            progress.stage("saving", 100);
            progress.advance(40);
            progress.note(&Event::Position("partition 1".into()));
            progress.note(&Event::Notice("a note".into()));
            progress.note(&Event::Unreadable { extent: Extent::at(0, 512), cause: "x".into() });
            Ok(7)
        });
        assert_eq!(result(&mut task).unwrap(), 7);
        let now = task.snapshot();
        assert_eq!((now.stage.as_str(), now.done, now.total), ("saving", 40, 100));
        assert_eq!((now.current.as_str(), now.unreadable.bytes), ("partition 1", 512));
        assert_eq!(task.notices(), ["a note"]);
        assert!(task.poll().is_none(), "the result is given once");
    }

    #[test]
    fn it_stops_when_asked_and_when_left() {
        let wait = |cancel: &Cancel, _: &dyn Progress| -> Result<()> {
            loop {
                cancel.check()?;
                thread::sleep(Duration::from_millis(1));
            }
        };
        let mut task = Task::start(wait);
        assert!(task.poll().is_none());
        task.cancel();
        assert!(result(&mut task).is_err());
        let left = Task::start(wait);
        let cancel = left.cancel.clone();
        drop(left);
        assert!(cancel.is_cancelled());
    }

    #[test]
    fn a_mistake_in_it_is_an_error() {
        let mut task: Task<()> = Task::start(|_, _| panic!("on purpose"));
        let error = result(&mut task).unwrap_err();
        assert!(error.to_string().contains("mistake"), "{error}");
    }
}

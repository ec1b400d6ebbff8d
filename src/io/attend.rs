// SPDX-License-Identifier: MIT OR Apache-2.0
//! Telling that a drive hangs in the middle of a read.
//!
//! The kernel gives nobody a way to end such a read, not even by a signal, and a
//! healthy drive must not pay for those that are not: the reads are made as without
//! this, and one thread looks a few times a second how long they have lasted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::ReadAt;
use crate::error::Result;
use crate::extent::ExtentSet;
use crate::pipeline::Cancel;
use crate::progress::{Event, Progress};
use crate::units::SectorSize;

/// A read that has lasted so long is told.
pub(crate) const QUIET: Duration = Duration::from_secs(10);

/// Whoever wants to stop is told of a read that has lasted so long: none of a good
/// drive does.
pub(crate) const STOPPING: Duration = Duration::from_secs(1);

/// How often the reads are looked at: several times in what a program has to stop by
/// itself.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// These three.
#[derive(Clone, Copy)]
struct Times {
    quiet: Duration,
    stopping: Duration,
    look_every: Duration,
}

const TIMES: Times = Times { quiet: QUIET, stopping: STOPPING, look_every: LOOK_EVERY };

/// As many reads at once are timed, which are those of all threads of a pipeline but
/// on the largest machines.
const MOST_READS: usize = 64;

/// What is told of a read that has lasted so long.
pub(crate) fn waiting(time: Duration) -> Event {
    Event::Position(format!("waiting for the drive: one read has lasted {} s", time.as_secs()))
}

/// What is told of it to those who want to stop.
pub(crate) fn stopping(time: Duration) -> Event {
    Event::Notice(format!(
        "one read has lasted {} s: it may take until the drive answers before this ends, and \
         Ctrl-C once more changes nothing",
        time.as_secs()
    ))
}

/// Does `work`, which reads from `reader`, and tells meanwhile if a read lasts long.
/// It is given the reader and the listener to use instead.
pub(crate) fn attend<T>(
    reader: &dyn ReadAt,
    cancel: &Cancel,
    progress: &dyn Progress,
    work: impl FnOnce(&dyn ReadAt, &dyn Progress) -> T,
) -> T {
    attend_for(TIMES, reader, cancel, progress, work)
}

fn attend_for<T>(
    times: Times,
    reader: &dyn ReadAt,
    cancel: &Cancel,
    progress: &dyn Progress,
    work: impl FnOnce(&dyn ReadAt, &dyn Progress) -> T,
) -> T {
    let timed = Timed::new(reader);
    let listener = Listener { inner: progress, place: Mutex::default() };
    let (timed, listener) = (&timed, &listener);
    let (working, ended) = mpsc::channel::<()>();
    thread::scope(|scope| {
        // Dropped in any case, a panic of the work included: the thread ends then.
        let _working = working;
        scope.spawn(move || watch(times, timed, &ended, cancel, listener));
        work(timed, listener)
    })
}

/// Looks at the reads until `ended` says so.
fn watch(
    times: Times,
    timed: &Timed<'_>,
    ended: &Receiver<()>,
    cancel: &Cancel,
    listener: &Listener<'_>,
) {
    let mut is_told = false;
    while ended.recv_timeout(times.look_every) == Err(RecvTimeoutError::Timeout) {
        let time = timed.longest();
        listener.wait(time.filter(|time| *time >= times.quiet));
        if let Some(time) = time.filter(|time| *time >= times.stopping)
            && cancel.is_cancelled()
            && !is_told
        {
            is_told = true;
            listener.note(&stopping(time));
        }
    }
    listener.wait(None);
}

/// A reader of which it is known how long its reads have lasted.
struct Timed<'a> {
    inner: &'a dyn ReadAt,
    began: Instant,
    /// When each read that is under way began, in milliseconds; 0 for none.
    reads: [AtomicU64; MOST_READS],
}

impl<'a> Timed<'a> {
    fn new(inner: &'a dyn ReadAt) -> Self {
        Self { inner, began: Instant::now(), reads: [const { AtomicU64::new(0) }; MOST_READS] }
    }

    /// Never 0.
    fn now(&self) -> u64 {
        // OK because it is no number of years that anybody waits.
        self.began.elapsed().as_millis() as u64 + 1
    }

    /// How long the read has lasted that has lasted longest.
    fn longest(&self) -> Option<Duration> {
        let began = self.reads.iter().map(|read| read.load(Ordering::Relaxed));
        let first = began.filter(|began| *began > 0).min()?;
        Some(Duration::from_millis(self.now().saturating_sub(first)))
    }
}

impl ReadAt for Timed<'_> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn sector_size(&self) -> SectorSize {
        self.inner.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let now = self.now();
        let mine = self.reads.iter().find(|read| {
            read.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        });
        let result = self.inner.read_at(offset, buf);
        if let Some(mine) = mine {
            mine.store(0, Ordering::Relaxed);
        }
        result
    }

    fn known_zeros(&self) -> ExtentSet {
        self.inner.known_zeros()
    }
}

/// A listener that knows where the job is, to tell it again after a read that was
/// waited for.
struct Listener<'a> {
    inner: &'a dyn Progress,
    place: Mutex<Place>,
}

/// What the job has told last, and whether something else is shown.
#[derive(Default)]
struct Place {
    text: String,
    is_waiting: bool,
}

impl Listener<'_> {
    /// Tells how long a read was waited for, or after that where the job is.
    fn wait(&self, time: Option<Duration>) {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(time) = time {
            self.inner.note(&waiting(time));
        } else if place.is_waiting {
            self.inner.note(&Event::Position(place.text.clone()));
        }
        place.is_waiting = time.is_some();
    }

    /// Passes on what changes the place, in this order for all threads.
    fn at(&self, text: &str, tell: impl FnOnce()) {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        text.clone_into(&mut place.text);
        tell();
    }
}

impl Progress for Listener<'_> {
    fn stage(&self, name: &str, total: u64) {
        self.at("", || self.inner.stage(name, total));
    }

    fn advance(&self, bytes: u64) {
        self.inner.advance(bytes);
    }

    fn note(&self, event: &Event) {
        match event {
            Event::Position(text) => self.at(text, || self.inner.note(event)),
            _ => self.inner.note(event),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Condvar;

    use super::*;
    use crate::io::Memory;
    use crate::io::conformance::{check_reader, pattern};
    use crate::io::latch::Latch;
    use crate::progress::Silent;

    /// Everything is told at once.
    const AT_ONCE: Times = Times {
        quiet: Duration::ZERO,
        stopping: Duration::ZERO,
        look_every: Duration::from_millis(1),
    };

    /// A drive that hangs.
    #[derive(Default)]
    struct Sticky {
        latch: Latch,
    }

    impl ReadAt for Sticky {
        fn len(&self) -> u64 {
            1 << 20
        }

        fn read_at(&self, _: u64, buf: &mut [u8]) -> Result<()> {
            self.latch.wait();
            buf.fill(7);
            Ok(())
        }
    }

    /// Keeps what was told.
    #[derive(Default)]
    struct Heard {
        events: Mutex<Vec<Event>>,
        changed: Condvar,
    }

    impl Heard {
        /// Waits until something is told that begins so.
        fn wait_for(&self, start: &str) {
            let events = self.events.lock().unwrap();
            let is_missing = |events: &mut Vec<Event>| {
                !events.iter().any(|event| {
                    let (Event::Position(text) | Event::Notice(text)) = event else { return false };
                    text.starts_with(start)
                })
            };
            drop(self.changed.wait_while(events, is_missing).unwrap());
        }
    }

    impl Progress for Heard {
        fn note(&self, event: &Event) {
            self.events.lock().unwrap().push(event.clone());
            self.changed.notify_all();
        }
    }

    #[test]
    fn it_is_read_as_without() {
        let bytes = pattern(5000, 3);
        attend(&Memory::new(bytes.clone()), &Cancel::default(), &Silent, |reader, _| {
            check_reader(reader, &bytes);
        });
    }

    #[test]
    fn a_read_that_hangs_is_told_and_then_where_the_job_is() {
        let (drive, heard, cancel) = (Sticky::default(), Heard::default(), Cancel::default());
        let at = Event::Position("partition 1".into());
        let mut buf = [0; 512];
        attend_for(AT_ONCE, &drive, &cancel, &heard, |reader, progress| {
            progress.note(&at);
            thread::scope(|scope| {
                scope.spawn(|| {
                    heard.wait_for("waiting for the drive: one read has lasted ");
                    // As another thread of the job does.
                    progress.note(&Event::Position("partition 2".into()));
                    drive.latch.open();
                });
                reader.read_at(0, &mut buf).unwrap();
            });
        });
        assert_eq!(buf, [7; 512]);
        let events = heard.events.into_inner().unwrap();
        assert_eq!(
            (&events[0], events.last()),
            (&at, Some(&Event::Position("partition 2".into())))
        );
        assert!(!events.iter().any(|event| matches!(event, Event::Notice(_))), "{events:?}");
    }

    #[test]
    fn whoever_stops_is_told_once_what_it_waits_for() {
        let (drive, heard, cancel) = (Sticky::default(), Heard::default(), Cancel::default());
        let times = Times { quiet: Duration::MAX, ..AT_ONCE };
        let stopped = attend_for(times, &drive, &cancel, &heard, |reader, _| {
            cancel.cancel();
            thread::scope(|scope| {
                scope.spawn(|| {
                    heard.wait_for("one read has lasted ");
                    drive.latch.open();
                });
                reader.read_at(0, &mut [0; 512]).unwrap();
            });
            cancel.check()
        });
        assert!(stopped.is_err());
        let events = heard.events.into_inner().unwrap();
        assert_eq!(events.len(), 1, "{events:?}");
    }

    #[test]
    fn a_panic_of_the_work_ends_it() {
        let panicked = std::panic::catch_unwind(|| {
            let memory = Memory::zeros(512);
            attend(&memory, &Cancel::default(), &Silent, |_, _| panic!("on purpose"));
        });
        assert!(panicked.is_err());
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one shape of every job that moves data: jobs are made in order, worked
//! on by several threads, and their results consumed in order.
//!
//! A worker does everything that belongs to its piece - read, hash, compress,
//! or fetch, decode, write - so that the piece stays in that core's cache and
//! several requests are under way at the device. Only a bounded number of
//! pieces is in flight; the first error or a cancellation stops all threads.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use crate::error::{Error, Result};

/// How long a job may take to notice that it is to stop, while it waits.
const CANCEL_WITHIN: Duration = Duration::from_millis(100);

/// A flag that stops a running job; shared by clones.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    stop: Arc<AtomicBool>,
    finishing: Arc<AtomicBool>,
}

impl Cancel {
    /// A flag around one that a signal handler sets.
    #[must_use]
    pub fn from_flag(stop: Arc<AtomicBool>) -> Self {
        Self { stop, finishing: Arc::default() }
    }

    /// Says that the job is in its last steps, which are short and must not be
    /// torn: it will end by itself.
    pub fn finish(&self) {
        self.finishing.store(true, Ordering::Relaxed);
    }

    /// True if the job is in its last steps.
    #[must_use]
    pub fn is_finishing(&self) -> bool {
        self.finishing.load(Ordering::Relaxed)
    }

    /// Asks the job to stop.
    pub fn cancel(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// True if the job has been asked to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// An error if the job has been asked to stop.
    ///
    /// # Errors
    /// [`Error::interrupted`].
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::interrupted()) } else { Ok(()) }
    }
}

/// Buffers that go round instead of being allocated for every piece.
#[derive(Debug)]
pub struct BufferPool {
    give: Sender<Vec<u8>>,
    take: Receiver<Vec<u8>>,
}

impl Default for BufferPool {
    fn default() -> Self {
        let (give, take) = unbounded();
        Self { give, take }
    }
}

impl BufferPool {
    /// A used buffer, or a new one.
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        self.take.try_recv().unwrap_or_default()
    }

    /// Gives a buffer back.
    pub fn give(&self, buffer: Vec<u8>) {
        // The pool holds the receiver, so sending cannot fail.
        let _ = self.give.send(buffer);
    }
}

/// Twice the cores, at least four: a thread that waits for the disk leaves its
/// core to another, and the device sees several requests at once.
#[must_use]
pub fn default_threads() -> usize {
    (cores() * 2).clamp(4, 64)
}

/// One thread a core, for work that the disk never has to wait for.
#[must_use]
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Runs `worker` on every job from `jobs` and hands the results to `consume`
/// in the order of the jobs.
///
/// # Errors
/// The first error of any part, or [`Error::interrupted`].
pub fn run<Job, Done, Work>(
    threads: usize,
    cancel: &Cancel,
    jobs: impl FnMut() -> Result<Option<Job>> + Send,
    worker: impl Fn() -> Result<Work> + Sync,
    mut consume: impl FnMut(Done) -> Result<()>,
) -> Result<()>
where
    Job: Send,
    Done: Send,
    Work: FnMut(Job) -> Result<Done>,
{
    let threads = threads.max(1);
    // A slow piece at the head must not let the others pile up behind it.
    let in_flight = threads * 2;
    let (job_sender, job_receiver) = bounded::<(u64, Job)>(threads);
    let (done_sender, done_receiver) = bounded::<(u64, Result<Done>)>(in_flight);
    let (token_sender, token_receiver) = bounded::<()>(in_flight);
    for _ in 0..in_flight {
        // The channel has just this capacity.
        let _ = token_sender.send(());
    }
    let stop = AtomicBool::new(false);

    thread::scope(|scope| {
        let producer = {
            let done_sender = done_sender.clone();
            let (stop, mut jobs) = (&stop, jobs);
            move || {
                for sequence in 0.. {
                    if token_receiver.recv().is_err() || stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let failure = match cancel.check().and_then(|()| jobs()) {
                        Ok(Some(job)) => {
                            if job_sender.send((sequence, job)).is_err() {
                                return;
                            }
                            continue;
                        }
                        Ok(None) => return,
                        Err(error) => error,
                    };
                    let _ = done_sender.send((sequence, Err(failure)));
                    return;
                }
            }
        };
        scope.spawn(producer);
        for _ in 0..threads {
            let (jobs, done) = (job_receiver.clone(), done_sender.clone());
            let (stop, worker) = (&stop, &worker);
            scope.spawn(move || {
                let mut work = None;
                for (sequence, job) in jobs {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let result = match &mut work {
                        Some(work) => Ok(work),
                        // Made here and not before: contexts of threads that
                        // never get a job would only take memory.
                        none => worker().map(|made| none.insert(made)),
                    }
                    .and_then(|work| work(job));
                    if done.send((sequence, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop((job_receiver, done_sender));

        let mut waiting = BTreeMap::new();
        let mut next = 0;
        let mut consume_all = || -> Result<()> {
            loop {
                cancel.check()?;
                let (sequence, result) = match done_receiver.recv_timeout(CANCEL_WITHIN) {
                    Ok(done) => done,
                    // A slow piece must not make the user wait to stop the job.
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                };
                waiting.insert(sequence, result?);
                while let Some(done) = waiting.remove(&next) {
                    next += 1;
                    consume(done)?;
                    // The producer may be gone already.
                    let _ = token_sender.send(());
                }
            }
        };
        let result = consume_all();
        stop.store(true, Ordering::Relaxed);
        // Dropped before the threads are joined: blocked senders wake up.
        drop((done_receiver, token_sender));
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(end: u64) -> impl FnMut() -> Result<Option<u64>> + Send {
        let mut next = 0;
        move || {
            next += 1;
            Ok((next <= end).then_some(next))
        }
    }

    #[test]
    fn results_come_in_order_whatever_a_piece_takes() {
        let mut seen = Vec::new();
        let work = || {
            Ok(|n: u64| {
                thread::sleep(Duration::from_micros((n * 7919) % 500));
                Ok(n)
            })
        };
        run(8, &Cancel::default(), numbers(500), work, |n| {
            seen.push(n);
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, (1..=500).collect::<Vec<_>>());
    }

    #[test]
    fn the_first_error_of_any_part_stops_all() {
        let fail = |n: u64| if n == 50 { Err(Error::failed("fifty")) } else { Ok(n) };
        let run_with = |in_jobs: bool, in_work: bool, in_consume: bool| {
            let mut next = 0;
            let mut consumed = 0;
            let result = run(
                4,
                &Cancel::default(),
                || {
                    next += 1;
                    if in_jobs { fail(next).map(Some) } else { Ok(Some(next)) }
                },
                || Ok(|n: u64| if in_work { fail(n) } else { Ok(n) }),
                |n| {
                    consumed = n;
                    if in_consume { fail(n).map(drop) } else { Ok(()) }
                },
            );
            assert_eq!(result.unwrap_err().to_string(), "fifty");
            assert!(consumed <= 50);
        };
        run_with(true, false, false);
        run_with(false, true, false);
        run_with(false, false, true);
    }

    #[test]
    fn a_worker_that_cannot_be_made_is_an_error_and_no_hang() {
        let broken = || -> Result<fn(u64) -> Result<u64>> { Err(Error::failed("no context")) };
        assert!(run(4, &Cancel::default(), numbers(9), broken, |_| Ok(())).is_err());
    }

    #[test]
    fn cancelling_ends_an_endless_job() {
        let cancel = Cancel::default();
        let result = run(
            4,
            &cancel,
            numbers(u64::MAX),
            || Ok(Ok),
            |n| {
                if n == 100 {
                    cancel.cancel();
                }
                Ok(())
            },
        );
        assert_eq!(result.unwrap_err().kind(), crate::error::ErrorKind::Interrupted);
    }

    #[test]
    fn only_a_bounded_number_of_pieces_is_in_flight() {
        use std::sync::atomic::AtomicU64;
        let (made, mut consumed) = (AtomicU64::new(0), 0);
        let jobs = || {
            let n = made.fetch_add(1, Ordering::SeqCst);
            Ok((n < 1000).then_some(n))
        };
        run(
            4,
            &Cancel::default(),
            jobs,
            || Ok(Ok),
            |_| {
                consumed += 1;
                assert!(made.load(Ordering::SeqCst) - consumed <= 9);
                Ok(())
            },
        )
        .unwrap();
        assert_eq!(consumed, 1000);
    }
}

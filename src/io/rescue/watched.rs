// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading a drive that may hang.

use std::fmt;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::device::AlignedBuffer;
use crate::error::{Error, Result};
use crate::io::ReadAt;
use crate::units::SectorSize;

/// How often whoever waits is asked.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Told how long a read has lasted; an error ends the waiting for it.
pub type Watcher<'a> = &'a (dyn Fn(Duration) -> Result<()> + Sync);

/// A reader whose reads are waited for only for so long.
///
/// A drive that is failing can hang in the middle of a read for minutes, and the
/// kernel gives nobody a way to end that read. So it is made by a thread of its
/// own. The next read has to wait for the one that hangs, as in the drive.
pub struct Watched<'a, R> {
    reader: Arc<R>,
    line: Mutex<Line>,
    longest: Duration,
    watcher: Watcher<'a>,
}

/// A read that hangs and is not waited for any more.
#[derive(Debug)]
pub struct Hanging(JoinHandle<()>);

impl Hanging {
    /// True if it has ended, so that the drive is not open any more for it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.is_finished()
    }
}

/// The way to the thread that reads and back.
struct Line {
    requests: Sender<Request>,
    answers: Receiver<Answer>,
    /// The buffer, unless the thread has it: it reads then.
    buffer: Option<AlignedBuffer>,
    thread: JoinHandle<()>,
}

struct Request {
    offset: u64,
    buffer: AlignedBuffer,
}

struct Answer {
    buffer: AlignedBuffer,
    result: Result<()>,
}

impl<R> fmt::Debug for Watched<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("longest", &self.longest).finish_non_exhaustive()
    }
}

impl<'a, R: ReadAt + 'static> Watched<'a, R> {
    /// A reader of which no read is waited for longer than `longest`; `watcher` is
    /// asked several times a second.
    ///
    /// # Errors
    /// If there are no more threads.
    pub fn new(reader: R, longest: Duration, watcher: Watcher<'a>) -> Result<Self> {
        let reader = Arc::new(reader);
        let (requests, asked) = mpsc::channel::<Request>();
        let (answer, answers) = mpsc::channel();
        let of_thread = Arc::clone(&reader);
        let read = move || {
            for Request { offset, mut buffer } in asked {
                let result = of_thread.read_at(offset, buffer.as_mut_slice());
                if answer.send(Answer { buffer, result }).is_err() {
                    break;
                }
            }
        };
        let started = thread::Builder::new().name("rescue".into()).spawn(read);
        let thread = started.map_err(|error| Error::io("starting a thread that reads", error))?;
        let line = Line { requests, answers, buffer: Some(AlignedBuffer::default()), thread };
        Ok(Self { reader, line: Mutex::new(line), longest, watcher })
    }

    /// The reader, unless a read hangs.
    pub fn into_inner(self) -> Option<R> {
        Arc::into_inner(self.end().0)
    }

    /// Closes the reader. A read that hangs keeps it open, and what tells when that
    /// is over is given back.
    pub fn close(self) -> Option<Hanging> {
        self.end().1
    }

    fn end(self) -> (Arc<R>, Option<Hanging>) {
        let Self { reader, line, .. } = self;
        let Line { requests, buffer, thread, .. } =
            line.into_inner().unwrap_or_else(PoisonError::into_inner);
        // Without requests the thread ends.
        drop(requests);
        if buffer.is_none() && !thread.is_finished() {
            return (reader, Some(Hanging(thread)));
        }
        // It has read nothing or has told it: all else that it holds is given back.
        let _ = thread.join();
        (reader, None)
    }

    /// Waits for the answer.
    fn wait(&self, line: &Line) -> Result<Answer> {
        let began = Instant::now();
        loop {
            match line.answers.recv_timeout(ASK_EVERY) {
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let time = began.elapsed();
            (self.watcher)(time)?;
            if time >= self.longest {
                return Err(Error::failed(format!(
                    "the drive has not answered for {} s",
                    time.as_secs()
                )));
            }
        }
    }
}

impl<R: ReadAt + 'static> ReadAt for Watched<'_, R> {
    fn len(&self) -> u64 {
        self.reader.len()
    }

    fn sector_size(&self) -> SectorSize {
        self.reader.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = match line.buffer.take() {
            Some(buffer) => buffer,
            // What it has read is not asked for any more.
            None => self.wait(&line)?.buffer,
        };
        buffer.set_len(buf.len());
        line.requests.send(Request { offset, buffer }).map_err(|_| gone())?;
        let Answer { buffer, result } = self.wait(&line)?;
        if result.is_ok() {
            buf.copy_from_slice(buffer.as_slice());
        }
        line.buffer = Some(buffer);
        result
    }
}

/// The thread has ended without being told to, which it does not do.
fn gone() -> Error {
    Error::failed("the thread that reads has ended")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::error::ErrorKind;
    use crate::io::latch::Latch;

    /// Hangs at odd offsets; gives the offset.
    #[derive(Default)]
    struct Sticky {
        latch: Latch,
    }

    impl ReadAt for Arc<Sticky> {
        fn len(&self) -> u64 {
            1 << 20
        }

        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
            if offset % 2 == 1 {
                self.latch.wait();
            }
            if offset == 66 {
                return Err(Error::io("66", std::io::Error::from_raw_os_error(libc::EIO)));
            }
            buf.fill(offset as u8);
            Ok(())
        }
    }

    fn read(watched: &Watched<'_, Arc<Sticky>>, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut buf = vec![0; len];
        watched.read_at(offset, &mut buf).map(|()| buf)
    }

    fn unless(stopped: &AtomicBool) -> Result<()> {
        if stopped.load(Ordering::Relaxed) { Err(Error::interrupted()) } else { Ok(()) }
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn what_does_not_hang_is_read_as_without() {
        let watched = Watched::new(Arc::<Sticky>::default(), LONG, &|_| Ok(())).unwrap();
        assert_eq!(watched.len(), 1 << 20);
        for len in [512, 65536, 0, 4096] {
            assert_eq!(read(&watched, 4, len).unwrap(), vec![4; len]);
        }
        assert!(read(&watched, 66, 512).unwrap_err().is_media_error());
        assert_eq!(read(&watched, 68, 512).unwrap(), [68; 512]);
        assert!(watched.into_inner().is_some());
    }

    #[test]
    fn a_read_that_hangs_is_given_up_and_its_late_answer_is_not_that_of_the_next() {
        let drive = Arc::<Sticky>::default();
        let short = Duration::from_millis(1);
        let watched = Watched::new(Arc::clone(&drive), short, &|_| Ok(())).unwrap();
        for offset in [1, 2] {
            let error = read(&watched, offset, 512).unwrap_err();
            assert!(!error.is_media_error() && error.to_string().contains("not answered"));
        }
        drive.latch.open();
        // On a machine with much to do any read may last too long.
        let in_the_end = |offset, len| loop {
            if let Ok(bytes) = read(&watched, offset, len) {
                break bytes;
            }
        };
        assert_eq!(in_the_end(2, 1024), [2; 1024]);
        assert_eq!(in_the_end(3, 512), [3; 512]);
        assert!(watched.into_inner().is_some());
    }

    #[test]
    fn who_waits_is_asked_and_may_leave() {
        let drive = Arc::<Sticky>::default();
        let stopped = AtomicBool::new(false);
        let watcher = |_| unless(&stopped);
        let watched = Watched::new(Arc::clone(&drive), LONG, &watcher).unwrap();
        assert_eq!(read(&watched, 2, 512).unwrap(), [2; 512]);
        stopped.store(true, Ordering::Relaxed);
        assert_eq!(read(&watched, 1, 512).unwrap_err().kind(), ErrorKind::Interrupted);
        // Nobody waits for it in the end either.
        assert!(watched.into_inner().is_none());
        drive.latch.open();
    }

    #[test]
    fn a_drive_is_closed_once_nothing_hangs() {
        let drive = Arc::<Sticky>::default();
        let stopped = AtomicBool::new(false);
        let watcher = |_| unless(&stopped);
        let new = || Watched::new(Arc::clone(&drive), LONG, &watcher).unwrap();
        let open = || Arc::strong_count(&drive) - 1;
        let watched = new();
        assert_eq!(read(&watched, 2, 512).unwrap(), [2; 512]);
        assert!(watched.close().is_none() && open() == 0);
        let watched = new();
        stopped.store(true, Ordering::Relaxed);
        assert!(read(&watched, 1, 512).is_err());
        let hanging = watched.close().unwrap();
        assert!(!hanging.is_over() && open() > 0);
        drive.latch.open();
        while !hanging.is_over() {
            thread::yield_now();
        }
        assert_eq!(open(), 0);
    }
}

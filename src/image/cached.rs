// SPDX-License-Identifier: MIT OR Apache-2.0
//! An opened image for many readers at once: decoded chunks are kept, and what
//! is read front to back is decoded ahead on all cores.
//!
//! A chunk is decoded by whoever wants it first, others wait for it. The lock
//! guards the books only; nobody reads, decodes or copies under it. Zeros take
//! no memory, and neither does what turned out to be damaged: each read of that
//! tries again and fails by itself.
//!
//! What could not be read when the image was made cannot be read from it
//! either: what the image has in its place is never taken for what was there.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};

use super::format::{Entry, Kind};
use super::frame::Decompressor;
use super::read_ahead::ReadAhead;
use super::reader::{self, Reader};
use crate::error::{Error, ErrorKind, Result};
use crate::extent::{Extent, ExtentSet};
use crate::io::{ReadAt, check_range};
use crate::pipeline::cores;
use crate::units::SectorSize;

/// How many bytes of decoded chunks are kept, if nobody asks for more or less.
pub const DEFAULT_LIMIT: u64 = 64 << 20;

/// How many buffers of chunks that were given up are kept for the next ones.
const SPARE: usize = 4;

/// An opened image that any number of threads read at once.
pub struct Cached<F: ReadAt + 'static> {
    shared: Arc<Shared<F>>,
    /// Started when something is read front to back, ended with the image.
    workers: OnceLock<Vec<JoinHandle<()>>>,
}

impl<F: ReadAt> fmt::Debug for Cached<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached").field("limit", &self.shared.limit).finish_non_exhaustive()
    }
}

/// Bytes of an image, as they are kept.
#[derive(Debug, Clone)]
pub enum Piece {
    /// So many zeros.
    Zeros(u64),
    /// These bytes.
    Bytes(Bytes),
}

impl Piece {
    /// The number of bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Zeros(len) => *len,
            Self::Bytes(bytes) => u64::try_from(bytes.as_ref().len()).unwrap_or(u64::MAX),
        }
    }

    /// True if there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A part of a decoded chunk, shared with the cache, or bytes from elsewhere.
#[derive(Debug, Clone)]
pub struct Bytes {
    content: Content,
    range: Range<usize>,
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self { range: 0..bytes.len(), content: Arc::new(bytes) }
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self.content.get(self.range.clone()).unwrap_or_default()
    }
}

/// A decoded chunk.
type Content = Arc<Vec<u8>>;

struct Shared<F> {
    reader: Reader<F>,
    /// What is not given.
    losses: ExtentSet,
    limit: u64,
    state: Mutex<State>,
    /// A chunk was decoded, or could not be.
    done: Condvar,
    /// There is something to decode ahead, or nothing ever again.
    work: Condvar,
}

#[derive(Default)]
struct State {
    slots: HashMap<u64, Slot>,
    /// Of all chunks that are kept or being decoded.
    bytes: u64,
    /// Counts uses, to know the oldest.
    clock: u64,
    read_ahead: ReadAhead,
    /// Chunks to be decoded ahead.
    queue: VecDeque<u64>,
    spare: Vec<Vec<u8>>,
    tools: Vec<Tools>,
    stopped: bool,
}

enum Slot {
    /// Somebody is at it; filled in the end, with nothing if that failed.
    Decoding(Arc<OnceLock<Option<Content>>>),
    Kept {
        content: Content,
        used: u64,
    },
}

/// What one thread needs to decode a chunk.
struct Tools {
    stored: Vec<u8>,
    decompressor: Decompressor,
}

impl<F: ReadAt + 'static> Cached<F> {
    /// An opened image with a cache of [`DEFAULT_LIMIT`].
    pub fn new(reader: Reader<F>) -> Self {
        Self::with_limit(reader, DEFAULT_LIMIT)
    }

    /// An opened image that keeps at most `limit` bytes of decoded chunks, but
    /// one chunk at least.
    pub fn with_limit(reader: Reader<F>, limit: u64) -> Self {
        let losses = reader.losses();
        Self::build(reader, limit, losses)
    }

    /// An opened image that gives zeros for what could not be read when it was
    /// made: for whoever says so in another way.
    pub fn with_losses_as_zeros(reader: Reader<F>) -> Self {
        Self::build(reader, DEFAULT_LIMIT, ExtentSet::new())
    }

    fn build(reader: Reader<F>, limit: u64, losses: ExtentSet) -> Self {
        let limit = limit.max(reader.head().chunk_size.into());
        let shared = Shared {
            reader,
            losses,
            limit,
            state: Mutex::default(),
            done: Condvar::new(),
            work: Condvar::new(),
        };
        Self { shared: Arc::new(shared), workers: OnceLock::new() }
    }

    /// The image: its head, report and entries.
    pub fn reader(&self) -> &Reader<F> {
        &self.shared.reader
    }

    /// The bytes of `extent` from its start to the end of its first chunk, of
    /// its first run of zeros, or to the first that was lost when the image was
    /// made, without copying them.
    ///
    /// # Errors
    /// Damaged if the chunk is; losses if the first byte was lost; if `extent`
    /// is empty or outside of the disk.
    pub fn piece(&self, extent: Extent) -> Result<Piece> {
        let shared = &*self.shared;
        let head = shared.reader.head();
        let chunk_of = |at: u64| at.checked_div(head.chunk_size.into()).unwrap_or(0);
        let outside = || Error::failed(format!("bytes {extent} are outside of the disk"));
        if extent.is_empty() || extent.end() > head.disk_len {
            return Err(outside());
        }
        let extent = shared.not_lost(extent)?;
        let number = shared.reader.entry_number(chunk_of(extent.start())).ok_or_else(outside)?;
        let entry = shared.reader.entries().get(number).ok_or_else(outside)?;
        let part = extent.intersect(&entry.extent(head));
        let last = chunk_of(extent.end().saturating_sub(1));
        let last = shared.reader.entry_number(last).unwrap_or(number);
        if shared.read_ahead(number, last) {
            self.workers.get_or_init(|| start_workers(&self.shared));
        }
        if entry.kind == Kind::Zero {
            return Ok(Piece::Zeros(part.len()));
        }
        let content = shared.content(entry)?;
        let within = part.start().saturating_sub(entry.extent(head).start());
        let start = usize::try_from(within).map_err(|_| outside())?;
        let len = usize::try_from(part.len()).map_err(|_| outside())?;
        Ok(Piece::Bytes(Bytes { content, range: start..start.saturating_add(len) }))
    }
}

impl<F: ReadAt + 'static> Drop for Cached<F> {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.work.notify_all();
        for worker in self.workers.take().unwrap_or_default() {
            // A worker that panicked has said so.
            let _ = worker.join();
        }
    }
}

impl<F: ReadAt + 'static> ReadAt for Cached<F> {
    fn len(&self) -> u64 {
        self.reader().len()
    }

    fn sector_size(&self) -> SectorSize {
        self.reader().sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len(), offset, buf.len())?;
        let mut rest = buf;
        let mut left = Extent::at(offset, u64::try_from(rest.len()).unwrap_or(u64::MAX));
        while !rest.is_empty() {
            let piece = self.piece(left)?;
            let len = usize::try_from(piece.len()).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at_mut(len);
            match &piece {
                Piece::Zeros(_) => now.fill(0),
                Piece::Bytes(bytes) => now.copy_from_slice(bytes.as_ref()),
            }
            rest = later;
            left = Extent::new(left.start().saturating_add(piece.len()), left.end());
        }
        Ok(())
    }

    fn known_zeros(&self) -> ExtentSet {
        self.reader().known_zeros().subtract(&self.shared.losses)
    }
}

/// As many as the system gives, up to one a core: it goes without them, too.
fn start_workers<F: ReadAt + 'static>(shared: &Arc<Shared<F>>) -> Vec<JoinHandle<()>> {
    let start = |_| {
        let shared = Arc::clone(shared);
        thread::Builder::new().name("read-ahead".into()).spawn(move || shared.work()).ok()
    };
    (0..cores()).map_while(start).collect()
}

impl<F: ReadAt> Shared<F> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The part of an extent in front of the first loss in it.
    fn not_lost(&self, extent: Extent) -> Result<Extent> {
        let losses = self.losses.as_slice();
        let next = losses.partition_point(|lost| lost.end() <= extent.start());
        match losses.get(next) {
            Some(lost) if lost.start() <= extent.start() => Err(Error::new(
                ErrorKind::Losses,
                format!("bytes {lost} of the disk could not be read when it was saved"),
            )),
            Some(lost) => Ok(Extent::new(extent.start(), extent.end().min(lost.start()))),
            None => Ok(extent),
        }
    }

    /// Notes that the entry of this number is read, and `last` will be by the
    /// same request; true if there is something to do ahead.
    fn read_ahead(&self, number: usize, last: usize) -> bool {
        let mut state = self.lock();
        let chunk_size = u64::from(self.reader.head().chunk_size);
        // Half of the cache for all that is read front to back.
        let room = (self.limit / 2).checked_div(chunk_size).unwrap_or(0);
        let most = usize::try_from(room).unwrap_or(usize::MAX).min(cores().saturating_mul(4));
        let mut wanted = state.read_ahead.touch(number, last, most);
        if wanted == 0 {
            return false;
        }
        let before = state.queue.len();
        for entry in self.reader.entries().iter().skip(number.saturating_add(1)) {
            if wanted == 0 {
                break;
            }
            if entry.kind == Kind::Data {
                wanted = wanted.saturating_sub(1);
                let chunk = entry.first_chunk;
                if !state.slots.contains_key(&chunk) && !state.queue.contains(&chunk) {
                    state.queue.push_back(chunk);
                }
            }
        }
        // What a reader has jumped away from is forgotten first.
        while state.queue.len() > most.saturating_mul(2) {
            state.queue.pop_front();
        }
        let more = state.queue.len() > before;
        if more {
            self.work.notify_all();
        }
        more
    }

    /// What a worker does until the image is closed.
    fn work(&self) {
        let mut state = self.lock();
        while !state.stopped {
            let Some(chunk) = state.queue.pop_front() else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let Some(entry) = self.reader.entry_of(chunk) else { continue };
            let len = entry.extent(self.reader.head()).len();
            if state.slots.contains_key(&chunk) || !state.make_room(len, self.limit) {
                continue;
            }
            // Damage is told to whoever reads there.
            let (after, _) = self.decode(entry, state);
            state = after;
        }
    }

    /// The content of a data entry.
    fn content(&self, entry: &Entry) -> Result<Content> {
        let len = entry.extent(self.reader.head()).len();
        let chunk = entry.first_chunk;
        let mut state = self.lock();
        loop {
            let clock = state.tick();
            let result = match state.slots.get_mut(&chunk) {
                Some(Slot::Kept { content, used }) => {
                    *used = clock;
                    return Ok(Arc::clone(content));
                }
                Some(Slot::Decoding(result)) => Some(Arc::clone(result)),
                None => None,
            };
            let Some(result) = result else {
                if state.make_room(len, self.limit) {
                    return self.decode(entry, state).1;
                }
                // All of it is being decoded by others, who need nobody to end.
                state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            while result.get().is_none() {
                state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if let Some(Some(content)) = result.get() {
                return Ok(Arc::clone(content));
            }
        }
    }

    /// Decodes an entry that nobody is at, for which there is room.
    fn decode<'s>(
        &'s self,
        entry: &Entry,
        mut state: MutexGuard<'s, State>,
    ) -> (MutexGuard<'s, State>, Result<Content>) {
        let extent = entry.extent(self.reader.head());
        let result = Arc::new(OnceLock::new());
        state.slots.insert(entry.first_chunk, Slot::Decoding(Arc::clone(&result)));
        state.bytes = state.bytes.saturating_add(extent.len());
        let (mut content, tools) = (state.spare.pop().unwrap_or_default(), state.tools.pop());
        drop(state);

        let decode = |tools: &mut Tools, content: &mut Vec<u8>| {
            let head = self.reader.head();
            let frame = self.reader.fetch(entry, &mut tools.stored)?;
            // Not cleared first: what is overwritten need not be zeroed.
            content.resize(usize::try_from(extent.len()).unwrap_or(0), 0);
            reader::decode(entry, head, frame, &mut tools.decompressor, content)
        };
        let made = tools.map_or_else(Tools::new, Ok);
        let (tools, decoded) = match made {
            Ok(mut tools) => {
                let decoded = decode(&mut tools, &mut content);
                (Some(tools), decoded)
            }
            Err(error) => (None, Err(error)),
        };

        let mut state = self.lock();
        if state.tools.len() < cores() {
            state.tools.extend(tools);
        }
        let used = state.tick();
        let outcome = match decoded {
            Ok(()) => {
                let content = Arc::new(content);
                let _ = result.set(Some(Arc::clone(&content)));
                let kept = Slot::Kept { content: Arc::clone(&content), used };
                state.slots.insert(entry.first_chunk, kept);
                Ok(content)
            }
            Err(error) => {
                let _ = result.set(None);
                state.slots.remove(&entry.first_chunk);
                state.bytes = state.bytes.saturating_sub(extent.len());
                Err(error)
            }
        };
        self.done.notify_all();
        (state, outcome)
    }
}

impl State {
    fn tick(&mut self) -> u64 {
        self.clock = self.clock.saturating_add(1);
        self.clock
    }

    /// Gives up the chunks that were not used for longest, until there is room
    /// for `len` bytes more; false if all that is left is being decoded.
    fn make_room(&mut self, len: u64, limit: u64) -> bool {
        while self.bytes.saturating_add(len) > limit {
            let kept = self.slots.iter().filter_map(|(chunk, slot)| match slot {
                Slot::Kept { used, .. } => Some((*used, *chunk)),
                Slot::Decoding(_) => None,
            });
            let Some((_, oldest)) = kept.min() else { return false };
            if let Some(Slot::Kept { content, .. }) = self.slots.remove(&oldest) {
                let len = u64::try_from(content.len()).unwrap_or(u64::MAX);
                self.bytes = self.bytes.saturating_sub(len);
                if self.spare.len() < SPARE {
                    self.spare.extend(Arc::try_unwrap(content));
                }
            }
        }
        true
    }
}

impl Tools {
    fn new() -> Result<Self> {
        Ok(Self { stored: Vec::new(), decompressor: Decompressor::new()? })
    }
}

#[cfg(test)]
mod tests;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading ahead: blocks are fetched by a few threads, several at a time, so
//! that neither the way to the server and back nor unpacking keeps the line
//! idle.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::error::{Context, Error, Result};
use crate::io::{ReadAt, check_range};

/// How many blocks are fetched at a time.
pub(super) const FETCHERS: usize = 4;

/// The unit of fetching: a part of a second on most lines, and long against
/// the way to the server and back.
const BLOCK: u64 = 1 << 20;

/// How many blocks are fetched before they are asked for.
const AHEAD: u64 = 6;

/// How many blocks are kept.
const KEPT: usize = 20;

/// What blocks are fetched from.
pub(super) trait Fetch: Send + Sync {
    /// The number of bytes.
    fn len(&self) -> u64;

    /// Fills `buf` with the bytes at `offset`, which are there.
    fn fetch(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Nothing more is wanted: fetching may end with any error.
    fn stop(&self);
}

/// A block, once it has come, or why it has not.
type Block = Arc<OnceLock<Result<Vec<u8>>>>;

/// A reader of what is fetched.
pub(super) struct ReadAhead<F: Fetch> {
    inner: Arc<F>,
    cache: Mutex<Cache>,
    /// Taken when this is dropped, which ends the threads.
    wanted: Option<Sender<(u64, Block)>>,
    fetchers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Cache {
    blocks: HashMap<u64, (Block, u64)>,
    clock: u64,
}

impl<F: Fetch + 'static> ReadAhead<F> {
    /// # Errors
    /// If the system gives no more threads.
    pub(super) fn start(inner: F) -> Result<Self> {
        let (wanted, orders) = unbounded();
        let mut this = Self {
            inner: Arc::new(inner),
            cache: Mutex::default(),
            wanted: Some(wanted),
            fetchers: Vec::new(),
        };
        for _ in 0..FETCHERS {
            let (inner, orders) = (Arc::clone(&this.inner), orders.clone());
            let fetcher = thread::Builder::new()
                .name("fetch".into())
                .spawn(move || fetch_blocks(&*inner, &orders))
                .context(|| "starting a thread".into())?;
            this.fetchers.push(fetcher);
        }
        Ok(this)
    }
}

fn fetch_blocks<F: Fetch>(inner: &F, orders: &Receiver<(u64, Block)>) {
    for (number, block) in orders {
        let start = number * BLOCK;
        let len = BLOCK.min(inner.len().saturating_sub(start));
        // At most one block's length.
        let mut bytes = vec![0; len as usize];
        let result = inner.fetch(start, &mut bytes).map(|()| bytes);
        // Each block is ordered once.
        let _ = block.set(result);
    }
}

impl<F: Fetch> ReadAhead<F> {
    /// Block `number`, which a read of blocks up to `last` is at.
    fn block(&self, number: u64, last: u64) -> Block {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let end = self.inner.len().div_ceil(BLOCK);
        let goes_on =
            number.checked_sub(1).is_some_and(|before| cache.blocks.contains_key(&before));
        let ahead = if goes_on { number + AHEAD } else { last.min(number + AHEAD) };
        let block = self.order(&mut cache, number);
        for next in number + 1..=ahead.min(end.saturating_sub(1)) {
            self.order(&mut cache, next);
        }
        cache.shrink();
        block
    }

    fn order(&self, cache: &mut Cache, number: u64) -> Block {
        cache.clock += 1;
        let clock = cache.clock;
        if let Some((block, used)) = cache.blocks.get_mut(&number) {
            *used = clock;
            return Arc::clone(block);
        }
        let block = Block::default();
        cache.blocks.insert(number, (Arc::clone(&block), clock));
        if let Some(wanted) = &self.wanted {
            // The threads that take it are there as long as this is.
            let _ = wanted.send((number, Arc::clone(&block)));
        }
        block
    }
}

impl Cache {
    /// Forgets what was not used for longest.
    fn shrink(&mut self) {
        while self.blocks.len() > KEPT {
            let oldest = self.blocks.iter().min_by_key(|(_, (_, used))| *used);
            let Some(number) = oldest.map(|(number, _)| *number) else { return };
            self.blocks.remove(&number);
        }
    }
}

impl<F: Fetch> ReadAt for ReadAhead<F> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len(), offset, buf.len())?;
        let last = (offset + (buf.len() as u64).saturating_sub(1)) / BLOCK;
        let (mut position, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let number = position / BLOCK;
            let block = self.block(number, last);
            let bytes = match block.wait() {
                Ok(bytes) => bytes,
                Err(error) => {
                    // It may be there the next time.
                    let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
                    cache.blocks.remove(&number);
                    return Err(copy(error));
                }
            };
            let available = &bytes[(position % BLOCK) as usize..];
            let len = available.len().min(rest.len());
            let (now, later) = rest.split_at_mut(len);
            now.copy_from_slice(&available[..len]);
            rest = later;
            position += len as u64;
        }
        Ok(())
    }
}

/// The same error for each who waits for the block.
fn copy(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error.to_string());
    match error.hint_text() {
        Some(hint) => copy.hint(hint),
        None => copy,
    }
}

impl<F: Fetch> Drop for ReadAhead<F> {
    fn drop(&mut self) {
        self.inner.stop();
        self.wanted = None;
        for fetcher in self.fetchers.drain(..) {
            let _ = fetcher.join();
        }
    }
}

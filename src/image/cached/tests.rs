// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of the cache on images of small chunks, read by many threads.

#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "test numbers")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::device::DiskIdentity;
use crate::error::ErrorKind;
use crate::image::format::MIN_CHUNK_SIZE;
use crate::io::{Memory, conformance};
use crate::pipeline::Cancel;
use crate::progress::Silent;
use crate::save::{self, Options, Plan};

const CHUNK: usize = 64 << 10;
const CHUNKS: usize = 40;
const LEN: usize = CHUNKS * CHUNK - 1000;
/// Chunks of zeros, between others.
const ZEROS: Range<usize> = 10 * CHUNK..14 * CHUNK;

fn disk() -> Vec<u8> {
    let mut bytes = conformance::pattern(LEN, 7);
    bytes[ZEROS].fill(0);
    bytes
}

fn image() -> Vec<u8> {
    let disk = Memory::new(disk());
    let options = Options { chunk_size: MIN_CHUNK_SIZE, ..Options::default() };
    let plan = Plan::new(&disk, DiskIdentity::default(), &options).unwrap();
    let writer = save::start(&plan, Vec::new()).unwrap();
    save::run(&plan, &disk, writer, false, &Cancel::default(), &Silent).unwrap().0
}

/// The file of an image on a drive that takes its time, and where it was read.
struct Slow {
    file: Memory,
    reads: Mutex<Vec<u64>>,
    slow: AtomicBool,
}

impl Slow {
    fn new(image: Vec<u8>) -> Arc<Self> {
        let (file, reads) = (Memory::new(image), Mutex::default());
        Arc::new(Self { file, reads, slow: AtomicBool::new(false) })
    }
}

/// An `Arc` that can be read, and counted on.
struct Shelf(Arc<Slow>);

impl ReadAt for Shelf {
    fn len(&self) -> u64 {
        self.0.file.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.reads.lock().unwrap().push(offset);
        if self.0.slow.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(3));
        }
        self.0.file.read_at(offset, buf)
    }
}

/// The image, opened, on a drive that is slow and counts from now on.
fn opened(image: Vec<u8>, limit: u64) -> (Arc<Slow>, Cached<Shelf>) {
    let slow = Slow::new(image);
    let reader = Reader::open(Shelf(Arc::clone(&slow))).unwrap();
    slow.reads.lock().unwrap().clear();
    slow.slow.store(true, Ordering::Relaxed);
    (slow, Cached::with_limit(reader, limit))
}

/// What was lost is given in no way, and all around it is.
#[test]
fn what_was_lost_is_an_error_and_not_zeros() {
    let lost = Extent::at(5 * CHUNK as u64 + 4096, 8192);
    let disk = Memory::new(disk()).unreadable(lost);
    let options = Options { chunk_size: MIN_CHUNK_SIZE, ..Options::default() };
    let plan = Plan::new(&disk, DiskIdentity::default(), &options).unwrap();
    let writer = save::start(&plan, Vec::new()).unwrap();
    let image = save::run(&plan, &disk, writer, false, &Cancel::default(), &Silent).unwrap().0;
    let cached = Cached::new(Reader::open(Memory::new(image.clone())).unwrap());
    assert_eq!(cached.reader().losses(), ExtentSet::from(lost));
    let is_lost = |result: Result<()>| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Losses, "{error}");
        assert!(error.to_string().contains(&lost.to_string()), "{error}");
    };
    let mut buf = vec![0; 512];
    for offset in [lost.start() - 511, lost.start(), lost.start() + 4096, lost.end() - 1] {
        is_lost(cached.read_at(offset, &mut buf));
        let asked = Extent::at(offset, 512);
        if asked.start() < lost.start() {
            assert_eq!(cached.piece(asked).unwrap().len(), 511, "up to the loss");
        } else {
            is_lost(cached.piece(asked).map(drop));
        }
    }
    for offset in [0, lost.start() - 512, lost.end(), LEN as u64 - 512] {
        cached.read_at(offset, &mut buf).unwrap();
        assert!(buf == self::disk()[offset as usize..][..512], "{offset:#x}");
    }
    assert!(!cached.known_zeros().touches(lost));
    let zeros = Cached::with_losses_as_zeros(Reader::open(Memory::new(image)).unwrap());
    zeros.read_at(lost.start(), &mut buf).unwrap();
    assert_eq!(buf, [0; 512]);
}

#[test]
fn it_reads_as_the_disk_whatever_the_limit() {
    for limit in [8 * CHUNK as u64, DEFAULT_LIMIT] {
        let (slow, cached) = opened(image(), limit);
        slow.slow.store(false, Ordering::Relaxed);
        conformance::check_reader(&cached, &disk());
    }
}

#[test]
fn ten_readers_decode_each_chunk_once() {
    let (slow, cached) = opened(image(), DEFAULT_LIMIT);
    let disk = disk();
    thread::scope(|scope| {
        for reader in 0..10 {
            let (cached, disk) = (&cached, &disk);
            scope.spawn(move || {
                // Half of them from the start to the end, and half jumping.
                let step = if reader % 2 == 0 { 1 } else { 7 };
                for n in 0..CHUNKS {
                    let start = (n * step + reader) % CHUNKS * CHUNK;
                    let end = (start + CHUNK).min(LEN);
                    let mut buf = vec![0xaa; end - start];
                    cached.read_at(start as u64, &mut buf).unwrap();
                    assert!(buf == disk[start..end], "chunk at {start:#x}");
                }
            });
        }
    });
    let mut reads = slow.reads.lock().unwrap().clone();
    let count = reads.len();
    reads.sort_unstable();
    reads.dedup();
    assert_eq!(count, reads.len(), "some chunk was decoded twice");
    assert_eq!(count, CHUNKS - ZEROS.len() / CHUNK);
}

#[test]
fn the_limit_is_kept_by_ten_readers_at_once() {
    let limit = 6 * CHUNK as u64;
    let (slow, cached) = opened(image(), limit);
    let (disk, over) = (disk(), AtomicBool::new(false));
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = 0;
            while !over.load(Ordering::Relaxed) {
                let state = cached.shared.lock();
                assert_eq!(state.slots.len() as u64, state.bytes.div_ceil(CHUNK as u64));
                most = state.bytes.max(most);
                drop(state);
                thread::sleep(Duration::from_micros(200));
            }
            most
        });
        let readers: Vec<_> = (0..10)
            .map(|reader| {
                let (cached, disk) = (&cached, &disk);
                scope.spawn(move || {
                    for start in (0..LEN).step_by(CHUNK / 2) {
                        let start = (start + reader * 4 * CHUNK) % LEN;
                        let end = (start + CHUNK / 2).min(LEN);
                        let mut buf = vec![0xaa; end - start];
                        cached.read_at(start as u64, &mut buf).unwrap();
                        assert!(buf == disk[start..end], "bytes at {start:#x}");
                    }
                })
            })
            .collect();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        over.store(true, Ordering::Relaxed);
        let most = watch.join().unwrap();
        assert!(most <= limit && most > limit / 2, "{most} of {limit}");
    });
    assert!(slow.reads.lock().unwrap().len() > CHUNKS);
}

#[test]
fn a_damaged_chunk_fails_whoever_reads_it_and_nobody_else() {
    let mut image = image();
    let entry = Reader::open(Memory::new(image.clone())).unwrap().entry_of(20).unwrap().clone();
    image[entry.end() as usize - 100] ^= 1;
    let (slow, cached) = opened(image, DEFAULT_LIMIT);
    let disk = disk();
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                let mut buf = vec![0; CHUNK];
                for n in 0..CHUNKS - 1 {
                    let start = n * CHUNK;
                    let read = cached.read_at(start as u64, &mut buf);
                    if n == 20 {
                        assert_eq!(read.unwrap_err().kind(), ErrorKind::Damaged);
                    } else {
                        read.unwrap();
                        assert!(buf == disk[start..start + CHUNK]);
                    }
                }
            });
        }
    });
    let bad = 20 * CHUNK as u64;
    assert!(cached.read_at(bad - 1, &mut [0; 2]).is_err());
    assert!(cached.read_at(bad + CHUNK as u64 - 1, &mut [0; 1]).is_err());
    cached.read_at(bad - 1, &mut [0; 1]).unwrap();
    let tries = slow.reads.lock().unwrap().iter().filter(|at| **at == entry.position).count();
    assert!(tries >= 12, "each tries again: {tries}");
    let state = cached.shared.lock();
    assert!(!state.slots.contains_key(&20));
    assert_eq!(state.bytes, (state.slots.len() * CHUNK - 1000) as u64);
}

#[test]
fn zeros_take_no_memory_and_no_reading() {
    let (slow, cached) = opened(image(), DEFAULT_LIMIT);
    let mut buf = vec![0xaa; ZEROS.len()];
    cached.read_at(ZEROS.start as u64, &mut buf).unwrap();
    assert!(buf.iter().all(|byte| *byte == 0));
    let zeros = Extent::at(ZEROS.start as u64 + 1, LEN as u64 - ZEROS.end as u64);
    let piece = cached.piece(zeros).unwrap();
    assert!(matches!(piece, Piece::Zeros(len) if len == ZEROS.len() as u64 - 1));
    assert!(slow.reads.lock().unwrap().is_empty());
    assert!(cached.shared.lock().slots.is_empty());
    let known: Vec<Extent> = cached.known_zeros().iter().collect();
    assert_eq!(known, [Extent::new(ZEROS.start as u64, ZEROS.end as u64)]);
}

#[test]
fn what_is_read_front_to_back_is_decoded_ahead_and_ends_with_the_image() {
    let (_, cached) = opened(image(), DEFAULT_LIMIT);
    let mut buf = vec![0; CHUNK];
    for n in 0..3 {
        cached.read_at(n * CHUNK as u64, &mut buf).unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while !(3..7).all(|chunk| cached.shared.lock().slots.contains_key(&chunk)) {
        assert!(Instant::now() < deadline, "chunks 3 to 6 were not decoded ahead");
        thread::sleep(Duration::from_millis(1));
    }
    cached.read_at(30 * CHUNK as u64, &mut buf).unwrap();
    assert!(!cached.shared.lock().slots.contains_key(&31), "one read is no order");
    let shared = Arc::downgrade(&cached.shared);
    drop(cached);
    assert_eq!(shared.strong_count(), 0, "a thread outlived the image");
}

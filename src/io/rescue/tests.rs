// SPDX-License-Identifier: MIT OR Apache-2.0
//! A rescue of drives in memory, with a clock that is moved by hand.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::*;
use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::io::conformance::{check_reader, pattern};
use crate::io::{Memory, ReadAt, WriteAt};

const LEN: u64 = 8 << 20;

/// A drive that is slow here, dead there, and gone at times.
struct Faulty {
    memory: Memory,
    slow: ExtentSet,
    time: AtomicU64,
    reads: Mutex<Vec<(Extent, bool)>>,
    /// It goes after so many reads.
    leaves_after: AtomicU64,
    /// It goes when this is read.
    deadly: Option<Extent>,
    /// What reads of it give while it is not there.
    gone: i32,
}

impl Faulty {
    fn new(bad: &[Extent]) -> Self {
        let memory = Memory::new(pattern(LEN as usize, 9));
        Self {
            memory: bad.iter().fold(memory, |memory, extent| memory.unreadable(*extent)),
            slow: ExtentSet::new(),
            time: AtomicU64::new(0),
            reads: Mutex::default(),
            leaves_after: AtomicU64::new(u64::MAX),
            deadly: None,
            gone: libc::EIO,
        }
    }

    fn reads(&self) -> Vec<(Extent, bool)> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ReadAt for Faulty {
    fn len(&self) -> u64 {
        LEN
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let extent = Extent::at(offset, buf.len() as u64);
        if self.deadly.is_some_and(|deadly| deadly.overlaps(&extent)) {
            self.leaves_after.store(0, Ordering::Relaxed);
        }
        let left = self.leaves_after.load(Ordering::Relaxed);
        if left == 0 {
            self.time.fetch_add(1, Ordering::Relaxed);
            return Err(Error::io("reading", std::io::Error::from_raw_os_error(self.gone)));
        }
        self.leaves_after.store(left.saturating_sub(1).max(u64::from(left > 1)), Ordering::Relaxed);
        if left == 1 {
            self.leaves_after.store(0, Ordering::Relaxed);
        }
        let millis = if self.slow.touches(extent) { 1100 } else { 1 };
        self.time.fetch_add(millis, Ordering::Relaxed);
        let result = self.memory.read_at(offset, buf);
        let is_good = result.is_ok();
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).push((extent, is_good));
        result
    }
}

struct Bench<'a> {
    faulty: &'a Faulty,
    /// After how many attempts it is back, if ever.
    returns_after: Option<u32>,
    attempts: Cell<u32>,
}

impl<'a> Bench<'a> {
    fn new(faulty: &'a Faulty) -> Self {
        Self { faulty, returns_after: None, attempts: Cell::new(0) }
    }
}

impl Drive for Bench<'_> {
    fn reader(&self) -> &dyn ReadAt {
        self.faulty
    }

    fn reopen(&mut self) -> Result<bool> {
        self.attempts.set(self.attempts.get() + 1);
        let is_back = self.returns_after.is_some_and(|after| self.attempts.get() >= after);
        if is_back {
            self.faulty.leaves_after.store(u64::MAX, Ordering::Relaxed);
        }
        Ok(is_back)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.faulty.time.load(Ordering::Relaxed))
    }

    fn pause(&self, time: Duration) {
        self.faulty.time.fetch_add(time.as_millis() as u64, Ordering::Relaxed);
    }
}

fn settings() -> Settings {
    Settings { slow_after: Duration::ZERO, ..Settings::new(LEN, 512) }
}

fn rescue(drive: &mut Bench, store: &Memory, settings: Settings, state: &mut State) -> Result<End> {
    Passes::new(drive, store, settings, state, &mut |_| Ok(())).run()
}

/// All that can be read is there, and all else is called bad.
#[track_caller]
fn assert_rescued(state: &State, store: &Memory, bad: &[Extent]) {
    let bad: ExtentSet = bad.iter().copied().collect();
    assert_eq!(state.lost(), bad.align_outwards(512, LEN));
    assert_eq!(state.lost(), state.blocks.of(Status::Bad));
    let mut found = vec![0; LEN as usize];
    store.read_at(0, &mut found).unwrap();
    let wanted = pattern(LEN as usize, 9);
    for good in state.blocks.of(Status::Finished).iter() {
        let range = good.start() as usize..good.end() as usize;
        assert!(found[range.clone()] == wanted[range], "{good}");
    }
}

fn bad_places() -> Vec<Extent> {
    vec![
        Extent::at(1 << 20, 1),
        Extent::at((2 << 20) + 4096, 300_000),
        Extent::at(5 << 20, 300 << 10),
        Extent::at(LEN - 512, 512),
    ]
}

#[test]
fn everything_that_can_be_read_is_read_and_nothing_twice() {
    let faulty = Faulty::new(&bad_places());
    let store = Memory::zeros(LEN as usize);
    let mut state = State::new(LEN, None);
    let end = rescue(&mut Bench::new(&faulty), &store, settings(), &mut state).unwrap();
    assert_eq!((end, state.phase), (End::Finished, Phase::Finished));
    assert_rescued(&state, &store, &bad_places());
    // Each byte once in a large read, and once more alone; and whether the drive
    // still answers is asked where it did.
    let mut counts = vec![0; (LEN / 512) as usize];
    for (extent, is_good) in faulty.reads() {
        let sectors = (extent.start() / 512) as usize..(extent.end() / 512) as usize;
        counts[sectors].iter_mut().for_each(|count| *count += u32::from(!is_good));
    }
    assert!(counts.iter().all(|count| *count <= 2));
    // Good areas come first: the first half of all reads gives nearly everything.
    let reads = faulty.reads();
    let first_errors = reads.iter().take_while(|(extent, _)| extent.len() > 512);
    let large: u64 = first_errors.filter(|(_, good)| *good).map(|(extent, _)| extent.len()).sum();
    assert!(large > LEN - (300 << 10) - 300_000 - 8 * (64 << 10), "{large}");
}

#[test]
fn only_the_domain_is_read() {
    let faulty = Faulty::new(&bad_places());
    let domain: ExtentSet = [
        Extent::new(0, 100 << 10),
        Extent::new((5 << 20) - 4096, (5 << 20) + 8192),
        Extent::new(7 << 20, LEN),
    ]
    .into_iter()
    .collect();
    let store = Memory::zeros(LEN as usize);
    let mut state = State::new(LEN, None);
    state.blocks = state.blocks.with_domain(&domain);
    rescue(&mut Bench::new(&faulty), &store, settings(), &mut state).unwrap();
    let lost: ExtentSet =
        [Extent::at(5 << 20, 8192), Extent::at(LEN - 512, 512)].into_iter().collect();
    assert_eq!(state.lost(), lost);
    let tried: ExtentSet = faulty.reads().iter().map(|(extent, _)| *extent).collect();
    assert_eq!(tried, domain);
    // What is outside stands in the mapfile all the same.
    assert_eq!(state.mapfile(Vec::new()).end(), LEN);
}

#[test]
fn it_goes_on_from_its_mapfile_wherever_it_was_stopped() {
    let whole = Faulty::new(&bad_places());
    let store = Memory::zeros(LEN as usize);
    rescue(&mut Bench::new(&whole), &store, settings(), &mut State::new(LEN, None)).unwrap();
    let most = whole.reads().len();
    for stop in (1..most).step_by(most / 13) {
        let faulty = Faulty::new(&bad_places());
        let store = Memory::zeros(LEN as usize);
        let mut state = State::new(LEN, None);
        let mut left = stop;
        let mut listener = |_: &State| {
            left -= 1;
            if left == 0 { Err(Error::interrupted()) } else { Ok(()) }
        };
        let mut drive = Bench::new(&faulty);
        let error = Passes::new(&mut drive, &store, settings(), &mut state, &mut listener)
            .run()
            .unwrap_err();
        assert_eq!(error.kind(), crate::error::ErrorKind::Interrupted);
        let mut text = Vec::new();
        state.mapfile(vec!["a rescue".into()]).write(&mut text).unwrap();
        let map = Mapfile::read(text.as_slice()).unwrap();
        let mut state = State::new(LEN, Some(&map));
        rescue(&mut drive, &store, settings(), &mut state).unwrap();
        assert_rescued(&state, &store, &bad_places());
        // The piece that was being read may be read twice, and no other.
        assert!(faulty.reads().len() <= most + 60, "{stop}: {} {most}", faulty.reads().len());
    }
}

#[test]
fn bad_sectors_are_tried_again_in_both_directions_if_asked_for() {
    let bad = [Extent::at(4096, 1024), Extent::at(1 << 20, 512)];
    let faulty = Faulty::new(&bad);
    let store = Memory::zeros(LEN as usize);
    let mut state = State::new(LEN, None);
    rescue(&mut Bench::new(&faulty), &store, Settings { retries: 2, ..settings() }, &mut state)
        .unwrap();
    let reads = faulty.reads();
    // The last read of all asks, in a good place, whether the drive is still there.
    let last = &reads[reads.len() - 7..reads.len() - 1];
    let last: Vec<u64> = last.iter().map(|(it, _)| it.start()).collect();
    assert_eq!(last, [4096, 4608, 1 << 20, 1 << 20, 4608, 4096]);
}

#[test]
fn slow_areas_come_after_the_others() {
    let mut faulty = Faulty::new(&[]);
    let slow = Extent::new(3 << 20, 4 << 20);
    faulty.slow = slow.into();
    let store = Memory::zeros(LEN as usize);
    let mut state = State::new(LEN, None);
    let settings = Settings { most_skip: 1 << 20, ..settings() };
    rescue(&mut Bench::new(&faulty), &store, settings, &mut state).unwrap();
    assert_rescued(&state, &store, &[]);
    let reads = faulty.reads();
    let last_fast = reads.iter().rposition(|(it, _)| !it.overlaps(&slow)).unwrap();
    let before = reads[..last_fast].iter().filter(|(it, _)| it.overlaps(&slow)).count();
    let all = reads.iter().filter(|(it, _)| it.overlaps(&slow)).count();
    assert_eq!(all, (slow.len() / (64 << 10)) as usize);
    assert!(before <= all / 2, "{before} of {all} slow reads came before the last fast one");
}

#[test]
fn a_drive_that_went_and_came_back_has_lost_nothing_by_that() {
    for leaves_after in [1, 20, 60, 100, 150, 400, 700] {
        let faulty = Faulty::new(&bad_places());
        faulty.leaves_after.store(leaves_after, Ordering::Relaxed);
        let store = Memory::zeros(LEN as usize);
        let mut state = State::new(LEN, None);
        let mut drive = Bench { returns_after: Some(3), ..Bench::new(&faulty) };
        rescue(&mut drive, &store, settings(), &mut state).unwrap();
        assert_rescued(&state, &store, &bad_places());
    }
}

#[test]
fn a_drive_that_went_for_good_ends_it_and_nothing_is_called_bad_for_that() {
    let faulty = Faulty::new(&[]);
    faulty.leaves_after.store(50, Ordering::Relaxed);
    let store = Memory::zeros(LEN as usize);
    let mut state = State::new(LEN, None);
    let mut was_gone = false;
    let mut listener = |state: &State| {
        was_gone |= state.is_gone;
        Ok(())
    };
    let mut drive = Bench::new(&faulty);
    let error =
        Passes::new(&mut drive, &store, settings(), &mut state, &mut listener).run().unwrap_err();
    assert!(error.to_string().contains("does not answer"), "{error}");
    assert!(was_gone && drive.attempts.get() > 100);
    assert_eq!(state.blocks.bytes(Status::Finished), 50 * (64 << 10));
    assert_eq!(state.blocks.bytes(Status::NonTried), LEN - 50 * (64 << 10));
}

#[test]
fn it_ends_in_time_with_what_is_there() {
    let faulty = Faulty::new(&bad_places());
    let store = Memory::zeros(LEN as usize);
    let mut state = State::new(LEN, None);
    let settings = Settings { most_time: Some(Duration::from_millis(30)), ..settings() };
    let end = rescue(&mut Bench::new(&faulty), &store, settings, &mut state).unwrap();
    assert_eq!(end, End::OutOfTime);
    assert_eq!(faulty.reads().len(), 30);
    assert_ne!(state.phase, Phase::Finished);
}

#[test]
fn a_look_around_reads_nothing_twice_and_hides_nothing() {
    let bytes = pattern(200_000 / 512 * 512, 4);
    let store = Memory::zeros(bytes.len());
    let mut blocks = Blocks::new(bytes.len() as u64, &[]);
    let memory = Memory::new(bytes.clone());
    check_reader(&Through::new(&memory, &store, &mut blocks), &bytes);

    let faulty = Faulty::new(&bad_places());
    let store = Memory::zeros(LEN as usize);
    let mut blocks = Blocks::new(LEN, &[]);
    let through = Through::new(&faulty, &store, &mut blocks);
    let mut buffer = vec![0; 512];
    let wanted = pattern(LEN as usize, 9);
    for _ in 0..3 {
        for offset in [0, (1 << 20) - 512, (1 << 20) + 512, 3 << 20] {
            through.read_at(offset, &mut buffer).unwrap();
            assert!(buffer[..] == wanted[offset as usize..][..512]);
        }
        assert!(through.read_at((1 << 20) + 100, &mut buffer).unwrap_err().is_media_error());
    }
    let errors = RefCell::new(faulty.reads());
    let bad = errors.borrow().iter().filter(|(_, good)| !good).count();
    // The large read behind the bad sector, and the sector itself.
    assert!(bad <= 4, "{bad}");
    assert!(store.flush().is_ok());
    let seen = through.seen();
    assert!(seen.is_empty(), "all of it came from the drive: {seen:?}");
    // Bad for good is only what the rescue itself could not read.
    assert_eq!(blocks.of(Status::NonScraped), ExtentSet::from(Extent::at(1 << 20, 512)));
    assert!(blocks.of(Status::Bad).is_empty());
    // Of a drive that is away nothing gets worse, and what is there stays there.
    faulty.leaves_after.store(0, Ordering::Relaxed);
    blocks.set(Extent::at(6 << 20, 100), Status::Finished);
    let through = Through::new(&faulty, &store, &mut blocks);
    through.read_at(3 << 20, &mut buffer).unwrap();
    assert_eq!(through.seen(), ExtentSet::from(Extent::at(3 << 20, 512)));
    assert!(through.read_at(6 << 20, &mut buffer).is_err());
    assert!(blocks.of(Status::Bad).is_empty());
    assert!(blocks.of(Status::Finished).covers(Extent::at(6 << 20, 100)));
}

#[test]
fn a_place_that_makes_the_drive_go_is_given_up() {
    for gone in [libc::EIO, libc::ENODEV] {
        let deadly = Extent::at((3 << 20) + 5 * 512, 512);
        let mut faulty = Faulty::new(&[]);
        (faulty.deadly, faulty.gone) = (Some(deadly), gone);
        let store = Memory::zeros(LEN as usize);
        let mut state = State::new(LEN, None);
        let mut drive = Bench { returns_after: Some(1), ..Bench::new(&faulty) };
        let mut left = 20_000;
        let mut listener = |_: &State| {
            left -= 1;
            if left == 0 { Err(Error::interrupted()) } else { Ok(()) }
        };
        let end = Passes::new(&mut drive, &store, settings(), &mut state, &mut listener).run();
        assert_eq!(end.unwrap(), End::Finished, "{gone}");
        assert_rescued(&state, &store, &[deadly]);
    }
}

#[test]
fn what_lies_in_front_of_the_last_position_is_read_too() {
    // Written by others, or for a smaller domain, or made to do harm.
    let end = i64::MAX;
    for text in [
        format!("{end:#x} ? 5\n0 0x800000 ?\n"),
        "0x400000 ? 5\n0 0x100000 ?\n0x100000 0x700000 +\n".into(),
        format!("{end:#x} * 1\n0 0x800000 ?\n"),
        format!("{end:#x} ? 3\n0 0x400000 ?\n0x400000 0x400000 /\n"),
    ] {
        let map = Mapfile::read(text.as_bytes()).unwrap();
        let mut state = State::new(LEN, Some(&map));
        let faulty = Faulty::new(&[]);
        let store = Memory::new(pattern(LEN as usize, 9));
        let mut rounds = 0;
        let mut listener = |_: &State| {
            rounds += 1;
            if rounds > 50_000 { Err(Error::interrupted()) } else { Ok(()) }
        };
        let mut drive = Bench::new(&faulty);
        let end = Passes::new(&mut drive, &store, settings(), &mut state, &mut listener).run();
        assert_eq!(end.unwrap(), End::Finished, "{text}");
        assert_rescued(&state, &store, &[]);
    }
}

#[test]
fn a_drive_is_asked_in_several_places_before_it_is_called_gone() {
    // A long dead area, and neither the first nor the middle nor the last sector
    // can be read.
    let bad = [Extent::at(0, 512), Extent::at(4 << 20, 2 << 20), Extent::at(LEN - 512, 512)];
    let faulty = Faulty::new(&bad);
    let store = Memory::new(pattern(LEN as usize, 9));
    // Only what is bad is left to be read: nothing good comes in between.
    let known = ExtentSet::from(Extent::new(0, LEN)).subtract(&bad.into_iter().collect());
    let mut state = State::new(LEN, None);
    known.iter().for_each(|extent| state.blocks.set(extent, Status::Finished));
    let mut drive = Bench::new(&faulty);
    rescue(&mut drive, &store, settings(), &mut state).unwrap();
    assert_rescued(&state, &store, &bad);
}

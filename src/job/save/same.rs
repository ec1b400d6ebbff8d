// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a drive is still as it was when it was read: what is put together of
//! two states of it restores neither.

use crate::device::AlignedBuffer;
use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::image::frame::is_zero;
use crate::io::rescue::{RawFile, State, Status};
use crate::io::{ReadAt, Seen, WriteAt, read_vec};
use crate::layout::Layout;
use crate::pipeline::Cancel;

/// What to do with a drive that is not what was read.
pub(super) const OTHER_NAME: &str = "give another name for the image, or with --rescue";
/// In so many places the drive is compared with what was read of it before.
const COMPARED: u64 = 256;
/// In so many places where filesystems keep what changes with every use, in equal
/// parts for all regions of the disk: a large filesystem alone has hundreds of
/// them, and those behind it may have been used.
const COMPARED_SEEN: usize = 4096;
/// In so many at least in each region.
const COMPARED_IN_REGION: usize = 16;
/// A drive that came back and fails in so many places in a row that could be
/// read before is not back yet.
const MOST_FAILED: usize = 8;
/// What is compared in each place.
const PLACE: u64 = 4096;
/// What is read at once where all is compared.
const PIECE: u64 = 64 << 10;

/// What was known of a drive when it went.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// What had been read.
    pub(super) finished: ExtentSet,
    /// What had failed; not what only a look around could not read: that may
    /// have been of a drive that was away.
    pub(super) bad: ExtentSet,
}

impl Known {
    pub(super) fn of(state: &State) -> Self {
        let bad = state.blocks.of(Status::Bad).union(&state.blocks.of(Status::NonTrimmed));
        Self { finished: state.blocks.finished(), bad }
    }
}

/// Compares the drive with what was read of it, in those places that can be read;
/// gives back in how many there is more than zeros, which any drive may have. Those
/// that come first are spread over the drive.
///
/// # Errors
/// Refused if it differs; that of the medium, if the first `most_failed` places
/// cannot be read.
pub(super) fn compare(
    raw: &RawFile,
    places: &[Extent],
    drive: &dyn ReadAt,
    most_failed: usize,
    cancel: &Cancel,
) -> Result<usize> {
    let (mut compared, mut answered, mut failed) = (0, 0, 0);
    let step = places.len().div_ceil(MOST_FAILED).max(1);
    let between = places.iter().enumerate().filter(|(n, _)| n % step != 0).map(|(_, it)| it);
    for place in places.iter().step_by(step).chain(between) {
        cancel.check()?;
        let wanted = read_vec(raw, place.start(), place.len() as usize)?;
        let mut found = AlignedBuffer::new(wanted.len());
        match drive.read_at(place.start(), found.as_mut_slice()) {
            Ok(()) if found.as_slice() == wanted => {
                answered += 1;
                compared += usize::from(!is_zero(&wanted));
            }
            Ok(()) => return Err(differs(raw, *place)),
            // It is a failing drive.
            Err(error) if error.is_media_error() => {
                failed += 1;
                if answered == 0 && failed >= most_failed {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(compared)
}

pub(super) fn differs(raw: &RawFile, place: Extent) -> Error {
    Error::refused(format!(
        "{} is of another drive, or the drive was used since: they differ at {:#x}",
        raw.path().display(),
        place.start()
    ))
    .hint(OTHER_NAME)
}

/// Compares a drive that came back with what was read of it: in places all over
/// it, and in all that was `seen` when it was found out what is in use. What of
/// that was not read yet is brought to the file; gives back what that is. A
/// drive with bad places is spared: of what was read already only the places
/// `chosen` are compared.
///
/// # Errors
/// Refused if it differs; others if it does not answer.
pub(super) fn compare_again(
    raw: &RawFile,
    known: &Known,
    seen: &Seen,
    chosen: &[Extent],
    drive: &dyn ReadAt,
    cancel: &Cancel,
) -> Result<ExtentSet> {
    let mut all = places(&known.finished);
    if known.bad.is_empty() {
        let seen: ExtentSet = seen.extents().collect();
        all.extend(pieces(&seen.intersect(&known.finished)));
    } else {
        let chosen: ExtentSet = chosen.iter().copied().collect();
        all.extend(places_in(&chosen.intersect(&known.finished)));
    }
    all.sort_unstable();
    compare(raw, &all, drive, MOST_FAILED, cancel)?;

    let mut fetched = ExtentSet::new();
    let (sector, whole) = (drive.sector_size().bytes(), Extent::new(0, drive.len()));
    for extent in seen.extents() {
        cancel.check()?;
        if known.finished.covers(extent) || known.bad.touches(extent) {
            continue;
        }
        let around = extent.align_outwards(sector).intersect(&whole);
        let mut found = AlignedBuffer::new(around.len() as usize);
        match drive.read_at(around.start(), found.as_mut_slice()) {
            Ok(()) => {}
            Err(error) if error.is_media_error() => continue,
            Err(error) => return Err(error),
        }
        let part = |part: Extent| &found.as_slice()[crate::save::range(around.start(), part)];
        if !seen.is_same(extent, part(extent)) {
            return Err(differs(raw, extent));
        }
        for left in known.finished.holes_within(around) {
            raw.write_at(left.start(), part(left))?;
            fetched.insert(left);
        }
    }
    Ok(fetched)
}

/// All of a set, to compare it.
pub(super) fn pieces(set: &ExtentSet) -> impl Iterator<Item = Extent> + '_ {
    set.iter().flat_map(|extent| extent.pieces(PIECE))
}

fn places_in(set: &ExtentSet) -> impl Iterator<Item = Extent> + '_ {
    set.iter().flat_map(|extent| extent.pieces(PLACE))
}

/// The places in which what was seen by a look around is compared: at the start of
/// the first ranges of each region, and spread over all of it.
pub(super) fn places_seen(seen: &ExtentSet, layout: &Layout) -> Vec<Extent> {
    let regions = layout.regions.len().max(1);
    let most = (COMPARED_SEEN / regions).max(COMPARED_IN_REGION);
    let starts = layout.regions.iter().flat_map(|region| {
        let starts = seen.within(region.extent).take(most);
        starts.map(|extent| Extent::at(extent.start(), PLACE).intersect(&extent))
    });
    let all: ExtentSet = starts.chain(places(seen)).collect();
    places_in(&all).collect()
}

/// Places spread evenly over a set, about [`COMPARED`].
pub(super) fn places(set: &ExtentSet) -> Vec<Extent> {
    let step = (set.bytes() / COMPARED).max(PLACE);
    let (mut places, mut before, mut next) = (Vec::new(), 0, 0);
    for extent in set.iter() {
        while next < before + extent.len() {
            let start = extent.start() + (next - before);
            let start = (start - start % PLACE).max(extent.start());
            places.push(Extent::at(start, PLACE).intersect(&extent));
            next += step;
        }
        before += extent.len();
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::io::{Memory, Recorded};

    #[test]
    fn places_are_spread_over_all_that_is_there() {
        let set: ExtentSet =
            [Extent::new(512, 8192), Extent::new(1 << 20, 1 << 30)].into_iter().collect();
        let places = places(&set);
        assert!((200..=257).contains(&places.len()), "{}", places.len());
        assert!(places.iter().all(|place| !place.is_empty() && set.covers(*place)));
        assert!(places.last().unwrap().start() > 900 << 20);
        assert!(super::places(&ExtentSet::new()).is_empty());
        assert_eq!(super::places(&Extent::new(512, 1024).into()), [Extent::new(512, 1024)]);
    }

    #[test]
    fn every_region_is_compared_however_much_is_in_front_of_it() {
        let region = |extent: Extent| -> crate::layout::Region {
            let region = serde_json::json!({ "extent": extent, "kind": "partition", "used": 0 });
            serde_json::from_value(region).unwrap()
        };
        let (first, second) = (Extent::new(0, 1 << 30), Extent::new(1 << 30, 2 << 30));
        let layout = Layout { regions: vec![region(first), region(second)], ..Layout::default() };
        let superblock = Extent::at((1 << 30) + 1024, 1024);
        let bitmaps = (0..20_000).map(|n| Extent::at(n * 32_768, 4096));
        let seen: ExtentSet = bitmaps.chain([superblock]).collect();
        let places = places_seen(&seen, &layout);
        assert!(places.contains(&superblock));
        assert!(places.len() < 2 * COMPARED_SEEN, "{}", places.len());
    }

    /// Counts how often it is read.
    struct Counted(Memory, std::sync::atomic::AtomicUsize);

    impl ReadAt for Counted {
        fn len(&self) -> u64 {
            self.0.len()
        }

        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
            self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            self.0.read_at(offset, buf)
        }
    }

    #[test]
    fn a_drive_that_is_back_and_fails_everywhere_is_soon_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let content = crate::io::conformance::pattern(4 << 20, 3);
        let path = folder.path().join("raw");
        let raw = RawFile::create(&path, 4 << 20, crate::units::SectorSize::B512).unwrap();
        raw.write_at(0, &content).unwrap();
        let known = Known { finished: ExtentSet::all(4 << 20), ..Known::default() };
        let (nothing, cancel) = (Seen::default(), Cancel::default());
        let of = |bad: Extent| {
            let memory = Memory::new(content.clone()).unreadable(bad);
            let drive = Counted(memory, 0.into());
            let result = compare_again(&raw, &known, &nothing, &[], &drive, &cancel);
            (result, drive.1.into_inner())
        };
        let (result, reads) = of(Extent::new(0, 4 << 20));
        assert!(result.unwrap_err().is_media_error());
        assert_eq!(reads, MOST_FAILED);
        // A drive with a large dead area goes on.
        let (result, reads) = of(Extent::new(0, 3 << 20));
        result.unwrap();
        assert!(reads > 200, "{reads}");
    }

    #[test]
    fn what_a_filesystem_keeps_of_itself_is_compared_read_already_or_not() {
        const LEN: u64 = 4 << 20;
        let folder = tempfile::tempdir().unwrap();
        let mut content = crate::io::conformance::pattern(LEN as usize, 3);
        // None of it in the places that are spread over what is there: the first half
        // of every 8 KiB.
        let (zeros, early) = (Extent::at((1 << 20) + 4096, 4096), Extent::at(111_000, 1024));
        let late = Extent::at(3_000_000, 5000);
        content[zeros.start() as usize..zeros.end() as usize].fill(0);
        // What was saved of it before it went.
        let (path, front) = (folder.path().join("raw"), Extent::new(0, 2 << 20));
        std::fs::write(&path, &content[..2 << 20]).unwrap();
        let raw = RawFile::open(&path, LEN, crate::units::SectorSize::B512).unwrap();
        let recorded = Recorded::new(Memory::new(content.clone()));
        for extent in [zeros, early, late] {
            read_vec(&recorded, extent.start(), extent.len() as usize).unwrap();
        }
        let seen = recorded.into_seen();
        let back = |used: Option<u64>, bad: &[Extent], unreadable: Option<Extent>| {
            let mut content = content.clone();
            used.into_iter().for_each(|at| content[at as usize] ^= 1);
            let drive = Memory::new(content);
            let drive = unreadable.into_iter().fold(drive, Memory::unreadable);
            let known = Known { finished: front.into(), bad: bad.iter().copied().collect() };
            let chosen = [Extent::at(early.start(), 512)];
            compare_again(&raw, &known, &seen, &chosen, &drive, &Cancel::default())
        };
        let refused = |used: u64, bad: &[Extent]| {
            assert_eq!(
                back(Some(used), bad, None).unwrap_err().kind(),
                ErrorKind::Refused,
                "{used}"
            );
        };
        let bad = [Extent::at(LEN - 512, 512)];
        for used in [early.start() + 1000, zeros.start() + 4000, late.start() + 4999] {
            refused(used, &[]);
        }
        // One with bad places is asked only for what was not read and what was
        // chosen.
        refused(late.start() + 4999, &bad);
        refused(early.start() + 500, &bad);
        back(Some(early.start() + 1000), &bad, None).unwrap();
        // What cannot be read says nothing, and is not asked for again.
        back(None, &[], Some(Extent::at(late.start(), 1))).unwrap();
        back(Some(late.start()), &[Extent::at(late.start() + 1000, 512)], None).unwrap();

        let fetched = back(None, &[], None).unwrap();
        assert_eq!(fetched, ExtentSet::from(late.align_outwards(512)));
        let there = read_vec(&raw, late.start(), late.len() as usize).unwrap();
        assert_eq!(there, content[late.start() as usize..late.end() as usize]);
    }
}

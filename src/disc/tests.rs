// SPDX-License-Identifier: MIT OR Apache-2.0
//! Discs in a made-up drive: with a table of contents, sound, bad sectors, and
//! the habits of real ones.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::contents::Contents;
use super::drive::Drive;
use super::read::{self, About, Options};
use super::record::{Record, Sectors, map_of, path_of};
use super::sector::samples::mode_1;
use super::volume::SECTOR;
use super::{drive, raw, verify, write};
use crate::device::{DiscState, DiskIdentity, RAW_SECTOR, Session, Toc, Track};
use crate::error::{Error, ErrorKind, Result};
use crate::extent::{Extent, ExtentSet};
use crate::io::{Memory, ReadAt};
use crate::pipeline::Cancel;
use crate::progress::{Event, Progress, Silent};
use crate::store;

mod again;
mod raw_again;
mod raw_discs;
mod sizes;

/// A drive made of memory.
struct MadeUp {
    data: Memory,
    bad: ExtentSet,
    toc: Toc,
    medium: &'static str,
    copyright: Option<u8>,
    state: Option<DiscState>,
    /// Sectors that give other bytes the first time.
    shaky: Option<u32>,
    /// True if it never gives the right ones.
    is_never_right: bool,
    raw_reads: AtomicU32,
    /// How many sectors were read raw.
    raw_sectors: AtomicU32,
    /// By how much it gives sound shifted.
    shift: u8,
    /// True if there is nothing but silence in its tracks with sound.
    is_silent: bool,
}

impl MadeUp {
    /// A CD-R with one track of data.
    fn new(data: Vec<u8>) -> Self {
        let lead_out = u32::try_from(data.len() as u64 / SECTOR).unwrap();
        let track = Track { number: 1, session: 1, start: 0, control: 4 };
        Self {
            data: Memory::new(data),
            bad: ExtentSet::new(),
            toc: Toc::of_tracks(vec![track], lead_out, None).unwrap(),
            medium: "CD-R",
            copyright: None,
            state: None,
            shaky: None,
            is_never_right: false,
            raw_reads: AtomicU32::new(0),
            raw_sectors: AtomicU32::new(0),
            shift: 0,
            is_silent: false,
        }
    }

    fn bad(mut self, first: u64, count: u64) -> Self {
        self.bad.insert(Extent::at(first * SECTOR, count * SECTOR));
        self
    }

    fn track_of(&self, sector: u32) -> Option<&Track> {
        self.toc.tracks.iter().find(|it| it.start <= sector && sector < self.toc.end_of(it))
    }
}

impl ReadAt for MadeUp {
    fn len(&self) -> u64 {
        self.data.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        if self.bad.touches(Extent::at(offset, buf.len() as u64)) {
            let cause = std::io::Error::from_raw_os_error(libc::EIO);
            return Err(Error::io("reading", cause));
        }
        self.data.read_at(offset, buf)
    }
}

impl Drive for MadeUp {
    fn path(&self) -> &Path {
        Path::new("/dev/sr9")
    }

    fn identity(&self) -> Option<DiskIdentity> {
        Some(DiskIdentity { model: Some("MADE-UP".into()), ..DiskIdentity::default() })
    }

    fn medium(&self) -> Option<String> {
        Some(self.medium.into())
    }

    fn state(&self) -> Option<DiscState> {
        self.state
    }

    fn toc(&self) -> Option<Toc> {
        Some(self.toc.clone())
    }

    fn copyright(&self) -> Option<u8> {
        self.copyright
    }

    fn read_raw(&self, first: u32, buf: &mut [u8]) -> Result<()> {
        let reads = self.raw_reads.fetch_add(1, Ordering::Relaxed);
        for (number, sector) in (first..).zip(buf.chunks_mut(RAW_SECTOR)) {
            self.raw_sectors.fetch_add(1, Ordering::Relaxed);
            let mut data = vec![0; 2048];
            self.read_at(u64::from(number) * SECTOR, &mut data)?;
            let first = self.toc.tracks.first().filter(|first| number < first.start);
            match self.track_of(number).or(first) {
                Some(track) if track.is_data() => sector.copy_from_slice(&mode_1(number, &data)),
                Some(_) if self.is_silent => sector.fill(0),
                Some(_) => {
                    let tone = |n: usize| (n + number as usize) as u8;
                    sector.iter_mut().zip(1..).for_each(|(byte, n)| *byte = tone(n) ^ self.shift);
                }
                None => return Err(Error::failed("between sessions")),
            }
            if self.shaky == Some(number) && (reads < 2 || self.is_never_right) {
                sector[100] ^= 1;
            }
        }
        Ok(())
    }
}

/// As much of ISO 9660 as says how long it is.
fn iso(sectors: u32, label: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..u64::from(sectors) * SECTOR).map(|n| (n % 251) as u8).collect();
    let primary = &mut bytes[16 * 2048..17 * 2048];
    primary.fill(0);
    primary[..7].copy_from_slice(b"\x01CD001\x01");
    primary[40..72].fill(b' ');
    primary[40..40 + label.len()].copy_from_slice(label.as_bytes());
    let both = |field: &mut [u8], value: u32| {
        field[..4].copy_from_slice(&value.to_le_bytes());
        field[4..8].copy_from_slice(&value.to_be_bytes());
    };
    both(&mut primary[80..88], sectors);
    primary[128..132].copy_from_slice(&[0, 8, 8, 0]);
    both(&mut primary[132..140], 10);
    primary[140..144].copy_from_slice(&18_u32.to_le_bytes());
    primary[148..152].copy_from_slice(&18_u32.to_be_bytes());
    both(&mut primary[158..166], 19);
    both(&mut primary[166..174], 2048);
    bytes[17 * 2048..18 * 2048].fill(0);
    bytes[17 * 2048..17 * 2048 + 7].copy_from_slice(b"\xffCD001\x01");
    bytes[18 * 2048..18 * 2048 + 10].copy_from_slice(&[1, 0, 19, 0, 0, 0, 1, 0, 0, 0]);
    bytes
}

struct Out {
    folder: tempfile::TempDir,
}

impl Out {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn read(drive: &MadeUp, path: &Path, options: &Options) -> Result<read::Done> {
    let contents = Contents::of(drive);
    read::run(drive, &contents, path, options, &Cancel::default(), &Silent)
}

fn read_raw(drive: &MadeUp, path: &Path) -> Result<read::Done> {
    read_raw_with(drive, path, &Options::default())
}

fn read_raw_with(drive: &dyn Drive, path: &Path, options: &Options) -> Result<read::Done> {
    let contents = Contents::of(drive);
    raw::run(drive, &contents, path, options, &Cancel::default(), &Silent)
}

#[test]
fn run_out_sectors_are_no_loss_and_not_in_the_file() {
    let out = Out::new();
    let mut data = iso(400, "TAO");
    data.resize(402 * 2048, 0);
    let drive = MadeUp::new(data).bad(400, 2);
    let done = read(&drive, &out.at("tao.iso"), &Options::default()).unwrap();
    done.check().unwrap();
    assert_eq!((done.record.bytes, done.record.behind.run_out_sectors), (400 * SECTOR, 2));
    assert_eq!(std::fs::read(out.at("tao.iso")).unwrap(), iso(400, "TAO"));
    assert!(!out.at("tao.map").exists());
    assert_eq!(done.record.drive.unwrap().model.unwrap(), "MADE-UP");
    assert_eq!(done.record.sizes.lead_out, Some(402 * SECTOR));
}

#[test]
fn bad_sectors_are_named_and_filled_by_another_drive_another_day() {
    let out = Out::new();
    let path = out.at("a.iso");
    let drive = MadeUp::new(iso(3000, "BAD")).bad(100, 1).bad(2000, 37);
    let done = read(&drive, &path, &Options::default()).unwrap();
    let error = done.check().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Losses);
    assert!(
        error.to_string().contains("38 sectors") && error.to_string().contains("100, 2000-2036")
    );
    let unreadable =
        [Sectors { first: 100, count: 1 }, Sectors { first: 2000, count: 37 }].to_vec();
    assert_eq!(done.record.unreadable, unreadable);
    let bytes = std::fs::read(&path).unwrap();
    let wanted = iso(3000, "BAD");
    assert_eq!(bytes[..100 * 2048], wanted[..100 * 2048]);
    assert!(bytes[100 * 2048..101 * 2048].iter().all(|byte| *byte == 0));
    assert_eq!(bytes[2037 * 2048..], wanted[2037 * 2048..]);
    let map = std::io::BufReader::new(std::fs::File::open(out.at("a.map")).unwrap());
    let map = crate::io::rescue::Mapfile::read(map).unwrap();
    assert!(map.blocks.iter().any(|it| it.extent == Extent::at(2000 * SECTOR, 37 * SECTOR)));

    // Another disc is not mixed with it; without --resume nothing is touched.
    let resume = Options { resume: true, ..Options::default() };
    let other = read(&MadeUp::new(iso(3000, "OTHER")), &path, &resume).unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Refused);
    // What was refused left the file where it was.
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    let better = MadeUp::new(iso(3000, "BAD")).bad(2005, 2);
    assert!(read(&better, &path, &Options::default()).is_err());
    let done = read(&better, &path, &resume).unwrap();
    assert_eq!(done.record.unreadable, [Sectors { first: 2005, count: 2 }]);
    let done = read(&MadeUp::new(iso(3000, "BAD")), &path, &resume).unwrap();
    done.check().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), wanted);
    assert!(!out.at("a.map").exists());
    let checked = verify::run(&path, &Cancel::default(), &Silent).unwrap();
    assert_eq!(checked.state, verify::State::Good);
    assert!(read(&better, &path, &resume).is_err(), "it is complete");
}

#[test]
fn two_damaged_copies_make_a_whole_one() {
    let out = Out::new();
    let wanted = iso(3000, "TWO");
    let (one, two) = (out.at("one.iso"), out.at("two.iso"));
    let first = MadeUp::new(wanted.clone()).bad(700, 5).bad(1500, 1);
    let second = MadeUp::new(wanted.clone()).bad(40, 9).bad(702, 1);
    assert!(read(&first, &one, &Options::default()).unwrap().check().is_err());
    let options = Options { others: vec![one.clone()], ..Options::default() };
    let done = read(&second, &two, &options).unwrap();
    // The zeros in the gaps of the other copy are no data.
    assert_eq!(done.record.unreadable, [Sectors { first: 702, count: 1 }]);
    assert_eq!(done.record.merged_from, [one.display().to_string()]);
    let third = MadeUp::new(wanted.clone()).bad(2000, 1);
    let options = Options { others: vec![two, one.clone()], ..Options::default() };
    let done = read(&third, &out.at("three.iso"), &options).unwrap();
    done.check().unwrap();
    assert_eq!(std::fs::read(out.at("three.iso")).unwrap(), wanted);
    // Only the same disc fills gaps.
    let other = MadeUp::new(iso(3000, "OTHER")).bad(5, 1);
    let options = Options { others: vec![one], ..Options::default() };
    let error = read(&other, &out.at("four.iso"), &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("its label is 'TWO', not 'OTHER'"), "{error}");
    assert!(!out.at("four.iso").exists() && !out.at("four.iso.partial").exists());
}

#[test]
fn a_ring_of_errors_is_suspected_to_be_protection() {
    let out = Out::new();
    let mut drive = MadeUp::new(iso(5000, "GAME"));
    for n in 0..60 {
        drive = drive.bad(800 + n * 17, 1);
    }
    let done = read(&drive, &out.at("game.iso"), &Options::default()).unwrap();
    assert_eq!(done.check().unwrap_err().kind(), ErrorKind::Losses);
    assert!(done.record.suspicion.unwrap().contains("60 single sectors"));
}

#[test]
fn sound_and_protected_discs_never_become_an_iso() {
    let out = Out::new();
    let mut drive = MadeUp::new(iso(400, "X"));
    drive.toc.tracks[0].control = 0;
    let error = read(&drive, &out.at("x.iso"), &Options::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("audio disc"), "{error}");
    assert!(error.hint_text().unwrap().contains("--raw"));
    for (number, name) in [(1, "CSS"), (2, "CPRM")] {
        let mut drive = MadeUp::new(iso(400, "X"));
        (drive.medium, drive.copyright) = ("DVD-ROM", Some(number));
        let error = read(&drive, &out.at("x.iso"), &Options::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(name), "{error}");
        // Neither can a DVD be read raw.
        assert_eq!(read_raw(&drive, &out.at("x.bin")).unwrap_err().kind(), ErrorKind::Unsupported);
    }
    assert_eq!(std::fs::read_dir(out.folder.path()).unwrap().count(), 0);
}

#[test]
fn a_disc_with_encrypted_films_becomes_an_iso_that_says_so() {
    let out = Out::new();
    let disc = |bad: u64| {
        let mut drive = MadeUp::new(iso(400, "FILM")).bad(350, bad);
        (drive.medium, drive.copyright) = ("HD DVD-ROM", Some(16));
        drive
    };
    let done = read(&disc(0), &out.at("film.iso"), &Options::default()).unwrap();
    assert_eq!(done.record.protection.as_deref(), Some("AACS"));
    let error = done.check().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Losses);
    assert!(error.to_string().contains("all of the disc was read"), "{error}");
    assert!(!done.notes().iter().any(|note| note.contains("AACS")));
    // Where sectors are missing, too, neither is left out.
    let done = read(&disc(2), &out.at("bad.iso"), &Options::default()).unwrap();
    let error = done.check().unwrap_err();
    assert!(error.to_string().contains("2 sectors of the disc"), "{error}");
    assert!(done.notes().iter().any(|note| note.contains("copy-protected (AACS)")));
}

#[test]
fn an_empty_disc_never_becomes_a_file() {
    let out = Out::new();
    // A kernel makes up a size, all of which cannot be read.
    let mut drive = MadeUp::new(iso(400, "X")).bad(0, 400);
    drive.state = Some(DiscState::Blank);
    for error in
        [read(&drive, &out.at("x.iso"), &Options::default()), read_raw(&drive, &out.at("x"))]
    {
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Failed);
        assert!(error.to_string().contains("nothing is on the disc"), "{error}");
    }
    assert_eq!(std::fs::read_dir(out.folder.path()).unwrap().count(), 0);
    // One that was left open has something on it.
    let mut drive = MadeUp::new(iso(400, "X"));
    drive.state = Some(DiscState::Open);
    read(&drive, &out.at("x.iso"), &Options::default()).unwrap().check().unwrap();
}

/// Data and two songs.
fn mixed() -> MadeUp {
    let mut data = iso(3000, "MIXED");
    data[..990 * 2048].copy_from_slice(&iso(990, "MIXED"));
    let mut drive = MadeUp::new(data);
    let track = |number, start, control| Track { number, session: 1, start, control };
    let tracks = vec![track(1, 0, 4), track(2, 1000, 0), track(3, 2000, 2)];
    drive.toc = Toc::of_tracks(tracks, 3000, None).unwrap();
    drive
}

#[test]
fn a_mixed_disc_becomes_raw_sectors_and_a_sheet() {
    let out = Out::new();
    let mut drive = mixed().bad(998, 2);
    drive.shaky = Some(5);
    let refused = read(&drive, &out.at("m.iso"), &Options::default()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    let done = read_raw(&drive, &out.at("m.bin")).unwrap();
    done.check().unwrap();
    assert_eq!(done.record.behind.run_out_sectors, 2);
    let bytes = std::fs::read(out.at("m.bin")).unwrap();
    assert_eq!(bytes.len(), 3000 * RAW_SECTOR);
    // The sector that came wrong at first was read again.
    let data = iso(3000, "MIXED");
    assert_eq!(bytes[5 * RAW_SECTOR..6 * RAW_SECTOR], mode_1(5, &data[5 * 2048..6 * 2048]));
    assert!(bytes[998 * RAW_SECTOR..1000 * RAW_SECTOR].iter().all(|byte| *byte == 0));
    let sheet = std::fs::read_to_string(out.at("m.cue")).unwrap();
    assert!(sheet.contains("FILE \"m.bin\" BINARY") && sheet.contains("TRACK 01 MODE1/2352"));
    assert!(sheet.contains("TRACK 03 AUDIO\n    FLAGS DCP\n    INDEX 01 00:26:50"), "{sheet}");
    let checked = verify::run(&out.at("m.bin"), &Cancel::default(), &Silent).unwrap();
    assert_eq!((checked.state, checked.good_sectors), (verify::State::Good, Some(998)));
    // Without the record its own checksums find a changed byte.
    std::fs::remove_file(path_of(&out.at("m.bin"))).unwrap();
    let mut bytes = bytes;
    bytes[7 * RAW_SECTOR + 500] ^= 1;
    std::fs::write(out.at("m.bin"), bytes).unwrap();
    let checked = verify::run(&out.at("m.bin"), &Cancel::default(), &Silent).unwrap();
    assert_eq!(checked.state, verify::State::Damaged);
    assert_eq!(checked.damaged_sectors, [7]);
}

#[test]
fn bad_sectors_of_a_raw_disc_are_losses() {
    let out = Out::new();
    let done = read_raw(&mixed().bad(500, 2).bad(1500, 1), &out.at("m.bin")).unwrap();
    assert_eq!(done.check().unwrap_err().kind(), ErrorKind::Losses);
    let unreadable = [Sectors { first: 500, count: 2 }, Sectors { first: 1500, count: 1 }];
    assert_eq!(done.record.unreadable, unreadable);
}

#[test]
fn the_gap_between_sessions_is_no_loss() {
    let out = Out::new();
    let mut data = iso(800, "FIRST");
    data.resize(4000 * 2048, 7);
    // The size of a session counts from its start, as genisoimage -C has it.
    data[2000 * 2048..3900 * 2048].copy_from_slice(&iso(1900, "SECOND"));
    let mut drive = MadeUp::new(data).bad(800, 1200);
    let track = |number: u8, start| Track { number, session: number, start, control: 4 };
    drive.toc = Toc {
        tracks: vec![track(1, 0), track(2, 2000)],
        sessions: vec![
            Session { number: 1, start: 0, lead_out: 800 },
            Session { number: 2, start: 2000, lead_out: 4000 },
        ],
        lead_out: 4000,
    };
    let done = read(&drive, &out.at("s.iso"), &Options::default()).unwrap();
    done.check().unwrap();
    let bytes = std::fs::read(out.at("s.iso")).unwrap();
    assert_eq!(bytes.len() as u64, 4000 * SECTOR);
    assert!(bytes[800 * 2048..2000 * 2048].iter().all(|byte| *byte == 0));
    assert_eq!(bytes[2000 * 2048..3900 * 2048], iso(1900, "SECOND"));
    assert!(bytes[3900 * 2048..].iter().all(|byte| *byte == 7));
    assert_eq!(done.record.volume.label.as_deref(), Some("SECOND"));
    assert_eq!(done.record.sizes.primary, Some(3900 * SECTOR));
    assert_eq!(done.record.toc.unwrap().last_session(), Some(2000));
}

#[test]
fn an_interrupted_disc_is_gone_on_with() {
    let out = Out::new();
    let path = out.at("i.iso");
    let drive = MadeUp::new(iso(3000, "I"));
    let cancel = Cancel::default();
    cancel.cancel();
    let contents = Contents::of(&drive);
    let options = Options { way_on: "go on like this", ..Options::default() };
    let error = read::run(&drive, &contents, &path, &options, &cancel, &Silent);
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert_eq!(error.hint_text(), Some("go on like this"));
    assert!(!path.exists() && out.at("i.iso.partial").exists() && out.at("i.map").exists());
    let resume = Options { resume: true, ..Options::default() };
    // Something of that name is not found in the way at the end only.
    std::fs::write(&path, b"mine").unwrap();
    assert_eq!(read(&drive, &path, &resume).unwrap_err().kind(), ErrorKind::Refused);
    std::fs::remove_file(&path).unwrap();
    read(&drive, &path, &resume).unwrap().check().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), iso(3000, "I"));
    assert!(!out.at("i.iso.partial").exists() && !out.at("i.map").exists());
}

/// Asks to stop when it is told that something was not read, or that hashing
/// begins.
#[derive(Default)]
struct StopsLate(Cancel);

impl Progress for StopsLate {
    fn stage(&self, name: &str, _: u64) {
        if name == "hashing" {
            self.0.cancel();
        }
    }

    fn note(&self, event: &Event) {
        if matches!(event, Event::Unreadable { .. }) {
            self.0.cancel();
        }
    }
}

#[test]
fn a_disc_that_was_read_is_kept_whenever_the_rest_is_interrupted() {
    // One that stops short of its filesystem is read front to back, as is one
    // with sectors behind it; and raw ones.
    let mut short = iso(400, "SHORT");
    short.truncate(300 * 2048);
    let mut behind = MadeUp::new(iso(400, "TAO"));
    (behind.toc.lead_out, behind.toc.sessions[0].lead_out) = (402, 402);
    for (name, drive, is_raw) in [
        ("s.iso", MadeUp::new(short), false),
        ("b.iso", behind, false),
        ("d.iso", MadeUp::new(iso(3000, "BAD")).bad(100, 1), false),
        ("r.bin", mixed().bad(100, 1), true),
    ] {
        let out = Out::new();
        let path = out.at(name);
        let contents = Contents::of(&drive);
        let options = Options { way_on: "go on like this", ..Options::default() };
        let stops = StopsLate::default();
        let run = if is_raw { raw::run } else { read::run };
        let error = run(&drive, &contents, &path, &options, &stops.0, &stops).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted, "{name}: {error}");
        assert_eq!(error.hint_text(), Some("go on like this"), "{name}");
        assert!(store::partial_path(&path).exists() && map_of(&path).exists(), "{name}");
        let options = Options { resume: true, ..options };
        let (cancel, progress) = (Cancel::default(), Silent);
        run(&drive, &contents, &path, &options, &cancel, &progress).unwrap();
        assert!(path.exists(), "{name}");
    }
}

#[test]
fn what_is_missing_of_an_interrupted_disc_is_no_data() {
    let out = Out::new();
    let wanted = iso(3000, "GAPS");
    let (part, path) = (out.at("part.iso.partial"), out.at("whole.iso"));
    let mut zeroed = wanted.clone();
    zeroed[500 * 2048..700 * 2048].fill(0);
    std::fs::write(&part, &zeroed).unwrap();
    // Nothing says what was read.
    let error = drive::open(&part).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(write::Image::open(&part).is_err());
    assert!(verify::run(&part, &Cancel::default(), &Silent).is_err());

    let map = "0x0 ? 1\n0x0 0xFA000 +\n0xFA000 0x64000 ?\n0x15E000 0x47E000 +\n";
    std::fs::write(out.at("part.map"), map).unwrap();
    let link = out.at("link.iso");
    std::os::unix::fs::symlink(&part, &link).unwrap();
    for part in [&part, &link] {
        let source = drive::open(part).unwrap();
        let contents = Contents::of(&*source);
        let options = Options::default();
        let done =
            read::run(&*source, &contents, &path, &options, &Cancel::default(), &Silent).unwrap();
        assert_eq!(done.record.unreadable, [Sectors { first: 500, count: 200 }]);
        assert_eq!(write::Image::open(part).unwrap().missing_sectors, 200);
        let checked = verify::run(part, &Cancel::default(), &Silent).unwrap();
        assert_eq!((checked.state, checked.missing_sectors), (verify::State::Incomplete, 200));
        for name in ["whole.iso", "whole.json", "whole.map"] {
            std::fs::remove_file(out.at(name)).unwrap();
        }
    }
    // Nor is it when it fills the gaps of another copy.
    let other = MadeUp::new(wanted).bad(600, 10).bad(900, 1);
    let options = Options { others: vec![part], ..Options::default() };
    let done = read(&other, &path, &options).unwrap();
    assert_eq!(done.record.unreadable, [Sectors { first: 600, count: 10 }]);
}

#[test]
fn what_the_map_or_the_record_knows_to_be_missing_is_missing() {
    let out = Out::new();
    let path = out.at("a.iso");
    let drive = MadeUp::new(iso(3000, "BOTH")).bad(100, 1).bad(2000, 37);
    read(&drive, &path, &Options::default()).unwrap();
    let (map, json) = (out.at("a.map"), path_of(&path));
    let both = [std::fs::read(&map).unwrap(), std::fs::read(&json).unwrap()];
    for lost in [&map, &json] {
        std::fs::remove_file(lost).unwrap();
        let reader = drive::open(&path).unwrap();
        let mut sector = [0; 2048];
        assert!(reader.read_at(2036 * SECTOR, &mut sector).is_err());
        reader.read_at(2037 * SECTOR, &mut sector).unwrap();
        assert_eq!(write::Image::open(&path).unwrap().missing_sectors, 38);
        let checked = verify::run(&path, &Cancel::default(), &Silent).unwrap();
        assert_eq!((checked.state, checked.missing_sectors), (verify::State::Incomplete, 38));
        std::fs::write(&map, &both[0]).unwrap();
        std::fs::write(&json, &both[1]).unwrap();
    }
}

#[test]
fn no_file_beside_a_disc_takes_its_name() {
    let out = Out::new();
    let drive = MadeUp::new(iso(400, "NAMES")).bad(390, 1);
    for name in ["x.json", "x.map", "x.JSON", "x.iso.partial"] {
        for resume in [false, true] {
            let options = Options { resume, ..Options::default() };
            let error = read(&drive, &out.at(name), &options).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage, "{name}: {error}");
        }
    }
    let error = read_raw(&mixed(), &out.at("x.cue")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert_eq!(std::fs::read_dir(out.folder.path()).unwrap().count(), 0);
}

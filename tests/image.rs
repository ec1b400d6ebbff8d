// SPDX-License-Identifier: MIT OR Apache-2.0
//! The image file: written, read by index and front to back, resumed, cut,
//! flipped, and made to lie. The last judge of content is stock zstd.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use dacapo::device::DiskIdentity;
use dacapo::error::{Error, ErrorKind, Result};
use dacapo::extent::{Extent, ExtentSet};
use dacapo::image::format::{self, MIN_CHUNK_SIZE};
use dacapo::image::rescan::rescan;
use dacapo::image::{Reader, Report, Stream, Writer};
use dacapo::io::{Memory, ReadAt, WriteAt};
use dacapo::pipeline::Cancel;
use dacapo::progress::Silent;
use dacapo::restore::{self, Feed as _, Indexed, Streamed};
use dacapo::save::{self, Options, Plan};
use dacapo::{compare, verify};

use crate::support::{requires, temp_dir};

const LEN: usize = (3 << 20) + 4096;

/// A disk of 51 chunks with data, zeros that are used, and unused junk.
fn disk() -> Memory {
    let mut bytes = vec![0; LEN];
    let mut state = 1_u32;
    for (at, byte) in bytes.iter_mut().enumerate() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = match at >> 16 {
            3..9 | 30..40 => 0,
            12 => 0xff,
            _ => (state >> 24) as u8 & 0x3f,
        };
    }
    Memory::new(bytes)
}

/// Every third 4 KiB of the second MiB is used, and all of the rest.
fn used() -> ExtentSet {
    let mut used = ExtentSet::all(LEN as u64);
    let free: ExtentSet = (0..80).map(|n| Extent::at((1 << 20) + n * 12_288, 8192)).collect();
    used = used.subtract(&free);
    used
}

fn plan(disk: &dyn ReadAt) -> Plan {
    let options = Options {
        chunk_size: MIN_CHUNK_SIZE,
        label: Some("test \u{1b}[31m".into()),
        ..Options::default()
    };
    let mut plan = Plan::new(disk, DiskIdentity::default(), &options).unwrap();
    plan.head.used = used();
    plan
}

fn image_of(disk: &Memory) -> Vec<u8> {
    let plan = plan(disk);
    let writer = save::start(&plan, Vec::new()).unwrap();
    save::run(&plan, disk, writer, false, &Cancel::default(), &Silent).unwrap().0
}

/// The disk as it must come out: unused bytes are zero.
fn expected(disk: Memory) -> Vec<u8> {
    let mut bytes = disk.into_bytes();
    for hole in used().complement(LEN as u64).iter() {
        bytes[hole.start() as usize..hole.end() as usize].fill(0);
    }
    bytes
}

fn check(image: &[u8]) -> Result<()> {
    let reader = Reader::open(Memory::new(image.to_vec()))?;
    verify::run(&Indexed::new(&reader), &Cancel::default(), &Silent)?;
    match reader.damage() {
        None => Ok(()),
        Some(damage) => Err(Error::damaged(damage)),
    }
}

fn check_stream(image: &[u8]) -> Result<()> {
    let feed = Streamed::new(Stream::open(image)?);
    verify::run(&feed, &Cancel::default(), &Silent).map(drop)
}

#[test]
fn stock_zstd_and_an_independent_seekable_reader_give_the_disk() {
    if !requires(&["zstd"]) {
        return;
    }
    let image = image_of(&disk());
    let expected = expected(disk());
    let folder = temp_dir();
    let path = folder.path().join("a.img.zst");
    std::fs::write(&path, &image).unwrap();
    let output = std::process::Command::new("zstd").arg("-dcq").arg(&path).output().unwrap();
    assert!(output.status.success());
    assert!(output.stdout == expected, "zstd -dc gives another disk");
    let list = std::process::Command::new("zstd").arg("-l").arg(&path).output().unwrap();
    assert!(list.status.success());
    assert!(String::from_utf8_lossy(&list.stdout).contains("XXH64"));

    let file = std::fs::File::open(&path).unwrap();
    let mut seekable = zeekstd::Decoder::new(file).unwrap();
    for (start, end) in [(0, 1), (65_000, 70_000), (1 << 20, (1 << 20) + 99_999), (3 << 20, LEN)] {
        seekable.set_offset(start as u64).unwrap();
        seekable.set_offset_limit(end as u64).unwrap();
        let mut part = Vec::new();
        seekable.read_to_end(&mut part).unwrap();
        assert!(part == expected[start..end], "range {start}-{end}");
    }
}

#[test]
fn an_image_is_itself_a_disk() {
    let image = image_of(&disk());
    let reader = Reader::open(Memory::new(image)).unwrap();
    let expected = expected(disk());
    assert_eq!(reader.len(), LEN as u64);
    assert_eq!(reader.head().used, used());
    for (start, len) in [(0, LEN), (65_535, 2), (LEN - 1, 1), ((1 << 20) - 7, 200_000)] {
        let mut part = vec![1; len];
        reader.read_at(start as u64, &mut part).unwrap();
        assert!(part == expected[start..start + len], "{len} bytes at {start}");
    }
    assert!(reader.read_at(LEN as u64, &mut [0]).is_err());
}

#[test]
fn both_ways_of_reading_restore_what_is_stored_and_leave_the_rest() {
    let image = image_of(&disk());
    let expected = expected(disk());
    for by_index in [true, false] {
        let reader = Reader::open(Memory::new(image.clone())).unwrap();
        let feed: Box<dyn restore::Feed> = if by_index {
            Box::new(Indexed::new(&reader))
        } else {
            Box::new(Streamed::new(Stream::open(image.as_slice()).unwrap()))
        };
        let target = Memory::new(vec![0xaa; LEN]);
        let options = restore::Options { free: restore::FreeSpace::Leave, ..Default::default() };
        let facts = restore::TargetFacts {
            name: "memory".into(),
            len: LEN as u64,
            sector_size: dacapo::units::SectorSize::B512,
            is_device: false,
            is_new: false,
            can_discard: false,
        };
        let plan = restore::Plan::new(reader.head(), None, &facts, &options).unwrap();
        restore::run(&plan, &*feed, &target, &options, &Cancel::default(), &Silent).unwrap();
        let window = Extent::new(0, LEN as u64);
        let feed = Indexed::new(&reader);
        let same = compare::run(&feed, window, &target, &Cancel::default(), &Silent).unwrap();
        assert!(same.different.is_empty());
        assert_eq!(same.bytes, used().bytes());
        let written = target.into_bytes();
        for (at, byte) in written.iter().enumerate() {
            let extent = Extent::at(at as u64, 1);
            // The ends are blanked first, so unused bytes there become zero.
            let at_the_ends = !(1 << 20..LEN - (1 << 20)).contains(&at);
            let wanted = if used().touches(extent) || at_the_ends { expected[at] } else { 0xaa };
            assert_eq!(*byte, wanted, "byte {at}");
        }
    }
}

#[test]
fn every_truncation_is_seen() {
    let image = image_of(&disk());
    check(&image).unwrap();
    check_stream(&image).unwrap();
    // The seek table is for others: a stream that ends within the frames
    // behind the index has lost nothing that dacapo itself needs.
    for len in (0..image.len()).step_by(997).chain([1, 7, 8, 9, image.len() - 1]) {
        let error = check(&image[..len]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "cut at {len}: {error}");
        if let Err(error) = check_stream(&image[..len]) {
            assert_eq!(error.kind(), ErrorKind::Damaged, "cut at {len}: {error}");
        }
    }
}

/// Flips a bit of every byte, or of every `step`th, in `range`; all of them
/// must be seen.
fn flip(image: &[u8], range: std::ops::Range<usize>, step: usize) {
    for at in range.step_by(step) {
        let flipped = flipped_again(image, at);
        match check(&flipped) {
            // RFC 8878, 3.1.1.1.1.4: the unused bit of a frame header means
            // nothing to any decoder.
            Ok(()) => assert!(
                at % 8 == 4 && image[at - 4..at] == 0xFD2F_B528_u32.to_le_bytes(),
                "nobody saw a flip at {at}"
            ),
            Err(error) => assert!(
                [ErrorKind::Damaged, ErrorKind::Unsupported].contains(&error.kind()),
                "flip at {at}: {error}"
            ),
        }
        if let Err(error) = check_stream(&flipped) {
            assert!(
                [ErrorKind::Damaged, ErrorKind::Unsupported].contains(&error.kind()),
                "flip at {at} of a stream: {error}"
            );
        }
    }
}

#[test]
fn every_flipped_bit_is_seen() {
    let image = image_of(&disk());
    flip(&image, 0..image.len(), 499);
}

#[test]
fn every_flipped_bit_outside_of_the_chunks_is_seen() {
    let disk = Memory::new(vec![0; 200_000]);
    let options = Options { chunk_size: MIN_CHUNK_SIZE, ..Options::default() };
    let plan = Plan::new(&disk, DiskIdentity::default(), &options).unwrap();
    let mut writer = save::start(&plan, Vec::new()).unwrap();
    writer.zeros(1);
    let content: Vec<u8> = (0..65_536_u32).map(|at| (at >> 8) as u8).collect();
    let frame = format_frame(&content);
    writer.data(&frame, blake3::hash(&content).into(), &[]).unwrap();
    writer.zeros(2);
    let (image, _) = writer.finish(Report::default()).unwrap();
    check(&image).unwrap();
    flip(&image, 0..image.len(), 1);
}

fn format_frame(content: &[u8]) -> Vec<u8> {
    dacapo::image::frame::Compressor::new(1).unwrap().compress(content).unwrap()
}

/// What only others need may be damaged: verify says so, a restore does not
/// need it.
#[test]
fn a_damaged_head_or_seek_table_is_damage_and_does_not_keep_from_restoring() {
    let image = image_of(&disk());
    let expected = expected(disk());
    let in_table = image.len() - seek_table_len(&image) / 2;
    for (at, text) in [(4, "head"), (5, "head"), (20, "head"), (300, "head"), (in_table, "table")] {
        let reader = Reader::open(Memory::new(flipped_again(&image, at))).unwrap();
        assert!(reader.damage().unwrap().contains(text), "{at}: {:?}", reader.damage());
        assert!(reader.index_damage().is_none());
        let mut bytes = vec![0; LEN];
        reader.read_at(0, &mut bytes).unwrap();
        assert!(bytes == expected, "flip at {at}");
    }
}

fn flipped_again(image: &[u8], at: usize) -> Vec<u8> {
    let mut flipped = image.to_vec();
    flipped[at] ^= 1 << (at % 8);
    flipped
}

#[test]
fn an_image_without_its_index_is_read_by_its_frames() {
    let image = image_of(&disk());
    let found = rescan(&Memory::new(image.clone())).unwrap();
    assert!(found.is_complete());
    let cut = &image[..found.end as usize];
    let reader = Reader::open(Memory::new(cut.to_vec())).unwrap();
    assert!(reader.index_damage().is_some());
    verify::run(&Indexed::new(&reader), &Cancel::default(), &Silent).unwrap();
}

/// The image with another index, under a good seal.
fn forge(image: &[u8], report: &Report, entries: &[format::Entry]) -> Vec<u8> {
    let memory = Memory::new(image.to_vec());
    let found = rescan(&memory).unwrap();
    let mut forged = image[..found.end as usize].to_vec();
    let index = format::encode_index(&found.head_body, report, entries).unwrap();
    let trailer = format::Trailer {
        image_id: found.head.image_id,
        index_position: found.end,
        index_len: index.len() as u64,
    };
    forged.extend_from_slice(&index);
    forged.extend_from_slice(&trailer.encode().unwrap());
    // The seek table that the real image ends with.
    forged.extend_from_slice(&image[image.len() - seek_table_len(image)..]);
    forged
}

#[test]
fn an_index_that_lies_is_found_out() {
    let image = image_of(&disk());
    let reader = Reader::open(Memory::new(image.clone())).unwrap();
    let lie = |change: &dyn Fn(&mut Vec<format::Entry>)| {
        let mut entries = reader.entries().to_vec();
        change(&mut entries);
        forge(&image, reader.report(), &entries)
    };
    check(&lie(&|_| {})).unwrap();
    type Lie = fn(&mut Vec<format::Entry>);
    let lies: [(&str, Lie); 7] = [
        ("a position", |e| e[2].position += 8),
        ("a length", |e| e[2].stored_len += 1),
        ("a huge length", |e| e[2].stored_len = u32::MAX),
        ("a hash", |e| e[2].hash[0] ^= 1),
        ("a chunk number", |e| e[2].first_chunk = u64::MAX),
        ("a missing chunk", |e| e.truncate(e.len() - 1)),
        ("swapped chunks", |e| e.swap(1, 2)),
    ];
    for (name, change) in lies {
        let error = check(&lie(&change)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{name}: {error}");
    }
}

fn seek_table_len(image: &[u8]) -> usize {
    let count = u32::from_le_bytes(image[image.len() - 9..image.len() - 5].try_into().unwrap());
    count as usize * 8 + 17
}

#[test]
fn newer_versions_and_unknown_features_are_refused_by_name() {
    let image = image_of(&disk());
    let reader = Reader::open(Memory::new(image)).unwrap();
    let body = reader.head().encode().unwrap();
    let forge = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut body = body.clone();
        change(&mut body);
        format::seal(format::TAG_HEAD, &body).unwrap()
    };
    for (head, text) in [
        (forge(&|body| body[0] = 9), "version 9"),
        (forge(&|body| body[8] = 2), "encrypted"),
        (forge(&|body| body[15] = 0x80), "0x8000000000000000"),
    ] {
        for error in [check(&head).unwrap_err(), check_stream(&head).unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains(text), "{error}");
        }
    }
    for foreign in [&b""[..], b"x", b"partclone-image\0 and more", &[0; 4096]] {
        assert_eq!(check(foreign).unwrap_err().kind(), ErrorKind::Damaged);
        assert_eq!(check_stream(foreign).unwrap_err().kind(), ErrorKind::Damaged);
    }
}

/// A writer that fails after so many bytes, as a full disk does.
struct Full {
    written: Vec<u8>,
    room: usize,
}

impl Write for &mut Full {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        let len = buf.len().min(self.room - self.written.len());
        if len == 0 {
            return Err(std::io::Error::from_raw_os_error(28));
        }
        self.written.extend_from_slice(&buf[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_interrupted_save_goes_on_from_anywhere() {
    let disk = disk();
    let whole = image_of(&disk);
    for room in (1000..whole.len()).step_by(whole.len() / 23) {
        let mut full = Full { written: Vec::new(), room };
        let first = plan(&disk);
        let failure = save::start(&first, &mut full)
            .and_then(|writer| {
                save::run(&first, &disk, writer, false, &Cancel::default(), &Silent).map(drop)
            })
            .unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::NoSpace, "room {room}");
        let partial = Memory::new(full.written.clone());
        let mut second = plan(&disk);
        let resumed =
            match save::resume_check(&mut second, &disk, &partial, &Cancel::default(), &Silent) {
                Ok(resumed) => resumed,
                // Not even the head is whole.
                Err(error) => {
                    assert!(room < 3000, "room {room}: {error}");
                    continue;
                }
            };
        let mut out = full.written[..resumed.found.end as usize].to_vec();
        let writer = Writer::resume(&mut out, resumed.found).unwrap();
        save::run(&second, &disk, writer, true, &Cancel::default(), &Silent).unwrap();
        check(&out).unwrap();
        check_stream(&out).unwrap();
        let reader = Reader::open(Memory::new(out)).unwrap();
        assert_eq!(reader.head().image_id, first.head.image_id);
        assert!(reader.report().resumed);
        let mut bytes = vec![0; LEN];
        reader.read_at(0, &mut bytes).unwrap();
        assert!(bytes == expected(self::disk()), "room {room}");
    }
}

#[test]
fn a_resumed_save_keeps_what_it_has_behind_what_could_not_be_read() {
    let bad = Extent::new(1_500_000, 1_500_001);
    let lossy = disk().unreadable(bad);
    let first = plan(&lossy);
    let (image, _) = save::run(
        &first,
        &lossy,
        save::start(&first, Vec::new()).unwrap(),
        false,
        &Cancel::default(),
        &Silent,
    )
    .unwrap();
    let partial = Memory::new(image);
    let resume = |disk: &Memory| {
        let mut plan = plan(disk);
        let (cancel, partial) = (Cancel::default(), &partial);
        let kept = save::resume_check(&mut plan, disk, partial, &cancel, &Silent)?;
        assert_eq!(kept.found.losses, [Extent::at(1_499_648, 512)]);
        Ok::<_, dacapo::error::Error>((kept.bytes, kept.readable))
    };
    // As bad as it was, or worse in the same chunk.
    assert_eq!(resume(&lossy).unwrap(), (LEN as u64, 0));
    let worse = disk().unreadable(Extent::at(1_499_136, 1024));
    assert_eq!(resume(&worse).unwrap(), (LEN as u64, 0));
    // It can be read now; what was good behind it cannot any more.
    assert_eq!(resume(&disk()).unwrap(), (LEN as u64, 512));
    let behind = Extent::at(1_904_740, 1);
    assert!(first.head.used.covers(behind), "the place is not in use");
    let elsewhere = disk().unreadable(behind);
    assert_eq!(resume(&elsewhere).unwrap(), (LEN as u64, 512));
    // What could be read of that chunk is compared.
    let mut bytes = disk().into_bytes();
    bytes[1_501_000] ^= 1;
    let used = Memory::new(bytes).unreadable(bad);
    assert_eq!(resume(&used).unwrap_err().kind(), ErrorKind::Refused);
}

#[test]
fn a_disk_that_changed_is_not_mixed_into_an_interrupted_image() {
    let disk = disk();
    let whole = image_of(&disk);
    let partial = Memory::new(whole[..whole.len() / 2].to_vec());
    let mut bytes = self::disk().into_bytes();
    bytes[100_000] ^= 1;
    let changed = Memory::new(bytes);
    let mut second = plan(&changed);
    let error = save::resume_check(&mut second, &changed, &partial, &Cancel::default(), &Silent)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("changed"), "{error}");
}

#[test]
fn unreadable_ranges_are_recorded_and_the_rest_is_saved() {
    let bad = Extent::new(1_500_000, 1_500_001);
    let disk = disk().unreadable(bad);
    let plan = plan(&disk);
    let writer = save::start(&plan, Vec::new()).unwrap();
    let (image, saved) =
        save::run(&plan, &disk, writer, false, &Cancel::default(), &Silent).unwrap();
    assert_eq!(saved.losses, [Extent::at(1_499_648, 512)]);
    assert_eq!(save::check_losses(&saved.losses).unwrap_err().kind(), ErrorKind::Losses);
    let reader = Reader::open(Memory::new(image.clone())).unwrap();
    assert_eq!(reader.report().losses, saved.losses);
    // The same without the index, and front to back.
    assert_eq!(rescan(&Memory::new(image.clone())).unwrap().losses, saved.losses);
    let feed = Streamed::new(Stream::open(image.as_slice()).unwrap());
    verify::run(&feed, &Cancel::default(), &Silent).unwrap();
    assert_eq!(restore::Feed::losses(&feed), saved.losses);
    let mut wanted = expected(self::disk());
    wanted[1_499_648..1_500_160].fill(0);
    let mut bytes = vec![0; LEN];
    reader.read_at(0, &mut bytes).unwrap();
    assert!(bytes == wanted);
}

/// Losses that touch across chunks are one, and a report that keeps silent
/// about them, or that speaks of bytes off the disk, is not believed.
#[test]
fn losses_are_joined_and_cannot_be_hidden() {
    let size = u64::from(MIN_CHUNK_SIZE);
    let lost = Extent::new(2 * size - 1024, 2 * size + 512);
    let disk = disk().unreadable(lost);
    let plan = plan(&disk);
    let writer = save::start(&plan, Vec::new()).unwrap();
    let (image, saved) =
        save::run(&plan, &disk, writer, false, &Cancel::default(), &Silent).unwrap();
    assert_eq!(saved.losses, [lost]);
    let reader = Reader::open(Memory::new(image.clone())).unwrap();
    assert_eq!(Indexed::new(&reader).losses(), [lost]);
    let cut = rescan(&Memory::new(image.clone())).unwrap().end as usize;
    let without_index = Reader::open(Memory::new(image[..cut].to_vec())).unwrap();
    assert_eq!(without_index.report().losses, [lost]);

    let losses_of = |losses: Vec<Extent>| {
        let report = Report { losses, ..Report::default() };
        let forged = forge(&image, &report, reader.entries());
        Reader::open(Memory::new(forged)).unwrap().report().losses.clone()
    };
    // Silence: all that is used in both chunks may be lost.
    assert_eq!(losses_of(Vec::new()), [Extent::new(size, 3 * size)]);
    let off = [Extent::new(LEN as u64 - 512, u64::MAX), Extent::new(1 << 62, u64::MAX)];
    let clamped = losses_of([vec![lost], off.to_vec(), off.to_vec()].concat());
    assert_eq!(clamped, [lost, Extent::new(LEN as u64 - 512, LEN as u64)]);
    assert_eq!(save::check_losses(&clamped).unwrap_err().kind(), ErrorKind::Losses);
}

/// A disk that died all over: its report would be longer than the format
/// allows, which must not be found out at the end of the save.
#[test]
fn a_report_of_two_million_losses_is_coarsened() {
    let size = u64::from(format::MAX_CHUNK_SIZE);
    let per_chunk = u64::from(format::MAX_LOSSES);
    let chunks = 130;
    let mut head = plan(&disk()).head;
    head.chunk_size = format::MAX_CHUNK_SIZE;
    // Far out on the disk, where numbers are long.
    let before = 1 << 20;
    head.disk_len = (before + chunks) * size;
    head.used = Extent::new(before * size, head.disk_len).into();
    let mut writer = Writer::create(Vec::new(), head).unwrap();
    writer.zeros(before);
    let mut exact = ExtentSet::new();
    for chunk in before..before + chunks {
        let losses: Vec<Extent> =
            (0..per_chunk).map(|n| Extent::at(chunk * size + n * 512, 256)).collect();
        exact.extend(losses.iter().copied());
        writer.data(&[0], [0; 32], &losses).unwrap();
    }
    let (image, _) = writer.finish(Report::default()).unwrap();
    let reader = Reader::open(Memory::new(image)).unwrap();
    let losses: ExtentSet = reader.report().losses.iter().copied().collect();
    assert_eq!(losses.count(), format::MAX_REPORT_LOSSES);
    assert!(exact.subtract(&losses).is_empty());
}

/// A file that is mostly a hole, and that counts what is read of it.
struct Sparse {
    len: u64,
    parts: Vec<(u64, Vec<u8>)>,
    read: AtomicU64,
    largest: AtomicU64,
}

impl ReadAt for Sparse {
    fn len(&self) -> u64 {
        self.len
    }

    fn sector_size(&self) -> dacapo::units::SectorSize {
        dacapo::units::SectorSize::B512
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        assert!(offset + buf.len() as u64 <= self.len);
        self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.largest.fetch_max(buf.len() as u64, Ordering::Relaxed);
        buf.fill(0);
        let wanted = Extent::at(offset, buf.len() as u64);
        for (start, bytes) in &self.parts {
            let part = wanted.intersect(&Extent::at(*start, bytes.len() as u64));
            if !part.is_empty() {
                let from = (part.start() - start) as usize;
                let to = (part.start() - offset) as usize;
                let len = part.len() as usize;
                buf[to..to + len].copy_from_slice(&bytes[from..from + len]);
            }
        }
        Ok(())
    }
}

/// No hostile length may make a reader take more than it has seen content for.
const PATIENCE: u64 = 8 << 20;

/// The start of an index frame that claims to have these parts.
fn index_start(payload_len: u32, count: u64, head: &[u8], head_len: u32, json: u32) -> Vec<u8> {
    let mut bytes = format::SKIPPABLE_MAGIC.to_le_bytes().to_vec();
    bytes.extend(payload_len.to_le_bytes());
    bytes.extend(format::TAG_INDEX);
    bytes.extend([0; 32]);
    bytes.extend(count.to_le_bytes());
    bytes.extend(head_len.to_le_bytes());
    bytes.extend(json.to_le_bytes());
    bytes.extend_from_slice(head);
    bytes.extend_from_slice(b"{}");
    bytes
}

/// Lengths for the start of an index, the ones that contradict each other
/// first.
fn hostile_indexes(head: &[u8]) -> Vec<Vec<u8>> {
    let head_len = head.len() as u32;
    let fits = |count: u64| (72 + u64::from(head_len) + 2 + count * 64) as u32;
    vec![
        index_start(u32::MAX, 0, head, head_len, 2),
        index_start(u32::MAX, u64::MAX, head, head_len, 2),
        index_start(u32::MAX, u64::MAX, head, u32::MAX, u32::MAX),
        index_start(0, 0, head, head_len, 2),
        index_start(7, 51, head, head_len, 2),
        index_start(u32::MAX, 1, head, u32::MAX - (72 + 64 + 2), 2),
        index_start(u32::MAX, 1, head, head_len, u32::MAX - (72 + 64 + head_len)),
        index_start(fits(51), 51, head, head_len, 2),
        index_start(fits(24_000_000), 24_000_000, head, head_len, 2),
    ]
}

#[test]
fn a_hole_that_claims_to_be_an_index_takes_neither_memory_nor_time() {
    let image = image_of(&disk());
    let reader = Reader::open(Memory::new(image.clone())).unwrap();
    // A disk with so many chunks that any number of entries is plausible.
    let mut huge = reader.head().clone();
    huge.disk_len = 1 << 62;
    for (head, position) in [(reader.head(), 4096), (&huge, 1 << 40)] {
        let body = head.encode().unwrap();
        for index in hostile_indexes(&body) {
            let payload_len = u64::from(format::payload_len(&index).unwrap());
            for index_len in [payload_len + 8, 0, u32::MAX.into(), u64::MAX - position, u64::MAX] {
                let end = position.saturating_add(index_len).min(1 << 50);
                let trailer = format::Trailer {
                    image_id: head.image_id,
                    index_position: position,
                    index_len,
                };
                let mut tail = trailer.encode().unwrap();
                tail.extend_from_slice(&image[image.len() - seek_table_len(&image)..]);
                let file = Sparse {
                    len: end + tail.len() as u64,
                    parts: vec![
                        (0, format::seal(format::TAG_HEAD, &body).unwrap()),
                        (position, index.clone()),
                        (end, tail),
                    ],
                    read: AtomicU64::new(0),
                    largest: AtomicU64::new(0),
                };
                let error = Reader::open(&file as &dyn ReadAt).map(drop).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
                let (read, largest) = (file.read.into_inner(), file.largest.into_inner());
                assert!(read < PATIENCE && largest < PATIENCE, "{read} bytes, {largest} at once");
            }
        }
    }
}

/// Endless zeros behind some bytes, counted.
struct Endless<'a> {
    bytes: &'a [u8],
    read: u64,
}

impl Read for &mut Endless<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.read += buf.len() as u64;
        assert!(self.read < PATIENCE, "a hostile length is believed");
        let len = self.bytes.len().min(buf.len());
        if len == 0 {
            buf.fill(0);
            return Ok(buf.len());
        }
        buf[..len].copy_from_slice(&self.bytes[..len]);
        self.bytes = &self.bytes[len..];
        Ok(len)
    }
}

#[test]
fn a_pipe_is_not_read_on_for_a_hostile_length() {
    let image = image_of(&disk());
    let found = rescan(&Memory::new(image.clone())).unwrap();
    let claim = |tag: [u8; 8], len: u32| {
        [&format::SKIPPABLE_MAGIC.to_le_bytes()[..], &len.to_le_bytes(), &tag].concat()
    };
    let mut frames = hostile_indexes(&found.head_body);
    for tag in [format::TAG_CHUNK, format::TAG_INDEX, format::TAG_HEAD, *b"dacapo??"] {
        for len in [0, 7, 8, 23, 24, format::MAX_DESCRIPTION, format::MAX_DESCRIPTION + 1, u32::MAX]
        {
            frames.push(claim(tag, len));
        }
    }
    for frame in frames {
        for start in [found.head_end as usize, found.end as usize] {
            let bytes = [&image[..start], &frame].concat();
            let mut input = Endless { bytes: &bytes, read: 0 };
            let feed = Streamed::new(Stream::open(&mut input).unwrap());
            let error = verify::run(&feed, &Cancel::default(), &Silent).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
        }
    }
}

/// A target that cannot be told what is unused, or whose flush fails at a
/// certain time.
struct Stubborn {
    disk: Memory,
    flushes: std::sync::atomic::AtomicU32,
    fails_at: u32,
}

impl ReadAt for Stubborn {
    fn len(&self) -> u64 {
        self.disk.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.disk.read_at(offset, buf)
    }
}

impl WriteAt for Stubborn {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.disk.write_at(offset, buf)
    }

    fn flush(&self) -> Result<()> {
        let before = self.flushes.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        if before == self.fails_at { Err(Error::failed("flushing")) } else { Ok(()) }
    }

    fn discard(&self, _: Extent) -> Result<bool> {
        Err(Error::failed("discarding"))
    }
}

/// Restores to a stubborn target; the first MiB that is there afterwards.
fn restore_to_stubborn(fails_at: u32, free: restore::FreeSpace) -> (Result<()>, Vec<u8>) {
    let reader = Reader::open(Memory::new(image_of(&disk()))).unwrap();
    let options = restore::Options { free, ..Default::default() };
    let facts = restore::TargetFacts {
        name: "memory".into(),
        len: LEN as u64,
        sector_size: dacapo::units::SectorSize::B512,
        is_device: false,
        is_new: false,
        can_discard: true,
    };
    let plan = restore::Plan::new(reader.head(), None, &facts, &options).unwrap();
    let target = Stubborn { disk: Memory::new(vec![0xaa; LEN]), flushes: 0.into(), fails_at };
    let feed = Indexed::new(&reader);
    let result =
        restore::run(&plan, &feed, &target, &options, &Cancel::default(), &Silent).map(drop);
    let mut bytes = target.disk.into_bytes();
    bytes.truncate(1 << 20);
    (result, bytes)
}

#[test]
fn a_failure_at_any_flush_leaves_no_beginning() {
    let mut failures = 0;
    for fails_at in 0..12 {
        let (result, first) = restore_to_stubborn(fails_at, restore::FreeSpace::Leave);
        let is_blank = first.iter().all(|byte| *byte == 0);
        match result {
            Ok(()) => assert!(!is_blank),
            Err(error) => {
                failures += 1;
                assert!(is_blank, "flush {fails_at}");
                assert!(error.hint_text().unwrap().contains("blank"), "flush {fails_at}");
            }
        }
    }
    assert!(failures >= 4, "only {failures} flushes");
}

#[test]
fn a_target_that_cannot_discard_is_restored_unless_it_was_asked_to() {
    let never = u32::MAX;
    restore_to_stubborn(never, restore::FreeSpace::Auto).0.unwrap();
    let error = restore_to_stubborn(never, restore::FreeSpace::Discard).0.unwrap_err();
    assert!(error.hint_text().unwrap().contains("--free leave"), "{error}");
}

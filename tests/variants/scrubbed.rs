// SPDX-License-Identifier: MIT OR Apache-2.0
//! Save, restore over junk, and everything that has to hold of the result by
//! its bytes alone. The judges of files and structures come afterwards.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Ranges, Variant, read_mapfile};
use crate::support::{TempDir, dacapo, hash_of, requires, temp_dir};

const MIB: u64 = 1 << 20;

/// A disk that was saved and restored over junk.
pub struct Scrubbed {
    /// Holds the images and the targets.
    pub folder: TempDir,
    /// The restored disks: the disk, then its companions.
    pub targets: Vec<String>,
    /// What dacapo calls used on the disk.
    pub used: Ranges,
}

impl Scrubbed {
    /// The restored disk, or the first of a set.
    pub fn target(&self) -> &String {
        &self.targets[0]
    }
}

/// Saves a disk, restores it over junk, and checks every byte of the image and
/// of the target. Of a set, each disk is saved with the others at hand, unless they
/// are to be kept apart.
#[track_caller]
pub fn scrub(disk: &Variant) -> Scrubbed {
    let folder = temp_dir();
    let sources: Vec<&Path> =
        [&disk.image].into_iter().chain(&disk.companions).map(PathBuf::as_path).collect();
    let (mut targets, mut first) = (Vec::new(), None);
    for (number, source) in sources.iter().enumerate() {
        let mut with = Vec::new();
        let others = sources.iter().filter(|other| *other != source && !disk.facts.apart);
        for other in others {
            with.extend(["--with", other.to_str().expect("a plain name")]);
        }
        let length = match number.checked_sub(1) {
            None => disk.facts.length,
            Some(number) => disk.facts.companions[number].length,
        };
        let one = One { name: &disk.name, source, length };
        let target = folder.join(&format!("target-{}.raw", number + 1));
        let used = scrub_one(&one, disk.facts.sector_size, &with, &folder, &target);
        if let Some(number) = number.checked_sub(1) {
            let oracle = Ranges::new(disk.facts.companions[number].used.clone());
            let missing = oracle.without(&used);
            assert!(
                missing.0.is_empty(),
                "{}: {}: not stored, but the oracle calls used: {}",
                disk.name,
                disk.facts.companions[number].image,
                missing.sample()
            );
        }
        targets.push(target);
        first.get_or_insert(used);
    }
    let used = first.expect("there is at least one disk");
    Scrubbed { folder, targets, used }
}

/// One disk of a set, or the only one.
struct One<'a> {
    name: &'a str,
    source: &'a Path,
    length: u64,
}

#[track_caller]
fn scrub_one(
    disk: &One,
    sector_size: Option<u64>,
    with: &[&str],
    folder: &TempDir,
    target: &str,
) -> Ranges {
    let image = folder.join("disk.img.zst");
    let _ = std::fs::remove_file(&image);
    let source = disk.source.to_str().expect("the target folder has a plain name");
    let before = hash_of(disk.source);

    let sector_size = sector_size.unwrap_or(512).to_string();
    let with_options = |args: &[&str]| {
        let mut args: Vec<String> = args.iter().chain(with).map(|&arg| arg.to_owned()).collect();
        if sector_size != "512" {
            args.extend(["--sector-size".to_owned(), sector_size.clone()]);
        }
        dacapo(&args).success()
    };
    with_options(&["save", "--quiet", source, &image]);
    let (used, end) = read_mapfile(with_options(&["map", source]).out());
    assert_eq!(end, disk.length, "the map covers the whole disk");
    assert_eq!(before, hash_of(disk.source), "saving or mapping changed the source");
    let (of_image, _) = read_mapfile(dacapo(&["map", &image]).success().out());
    assert_eq!(used, of_image, "the image's map is not that of its source");

    assert_zstd_gives_disk(disk, &image, &used);

    junk_target(target, disk.length);
    dacapo(&["restore", "--quiet", "--yes", "--free", "leave", &image, target]).success();
    assert_exact(disk, target, &used);
    used
}

/// What the byte at `offset` of a target was before the restore. Never zero,
/// so that a byte that was zeroed shows.
fn junk_at(offset: u64, buffer: &mut [u8]) {
    for (word, index) in buffer.chunks_mut(8).zip(offset / 8..) {
        let mixed = (index ^ 0x5bd1_e995).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bytes = (mixed ^ (mixed >> 29) | 0x0101_0101_0101_0101).to_le_bytes();
        word.copy_from_slice(&bytes[..word.len()]);
    }
}

fn junk_target(path: &str, length: u64) {
    let file = File::create(path).expect("creating the target");
    each_piece(length, |offset, piece| {
        junk_at(offset, piece);
        file.write_all_at(piece, offset).expect("filling the target");
    });
}

/// Walks `0..length` in pieces of a MiB.
fn each_piece(length: u64, mut visit: impl FnMut(u64, &mut [u8])) {
    let mut buffer = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < length {
        let size = usize::try_from(MIB.min(length - offset)).expect("at most a MiB");
        visit(offset, &mut buffer[..size]);
        offset += size as u64;
    }
}

/// Calls `visit` for each stretch of `offset..offset + length` that is all used
/// or all free: its place in the piece, and which of them it is.
fn each_stretch(
    used: &Ranges,
    offset: u64,
    length: usize,
    mut visit: impl FnMut(usize, usize, bool),
) {
    let end = offset + length as u64;
    let place = |byte: u64| usize::try_from(byte - offset).expect("inside the piece");
    let first = used.0.partition_point(|range| range.0 + range.1 <= offset);
    let mut at = offset;
    for &(start, len) in &used.0[first..] {
        if start >= end {
            break;
        }
        if start > at {
            visit(place(at), place(start), false);
        }
        let stop = (start + len).min(end);
        visit(place(start.max(offset)), place(stop), true);
        at = stop;
    }
    if at < end {
        visit(place(at), length, false);
    }
}

/// Stock zstd unpacks the image to exactly the disk, with zeros where nothing
/// is stored, and finds all checksums right.
#[track_caller]
fn assert_zstd_gives_disk(disk: &One, image: &str, used: &Ranges) {
    if !requires(&["zstd"]) {
        return;
    }
    let source = File::open(disk.source).expect("opening the source");
    let mut zstd = Command::new("zstd")
        .args(["-dc", image])
        .stdout(Stdio::piped())
        .spawn()
        .expect("starting zstd");
    let mut unpacked = zstd.stdout.take().expect("zstd writes to a pipe");
    let mut expected = vec![0; 1 << 20];
    each_piece(disk.length, |offset, piece| {
        if let Err(error) = unpacked.read_exact(piece) {
            panic!("{}: zstd -dc ends in the MiB at {offset:#x}: {error}", disk.name);
        }
        let expected = &mut expected[..piece.len()];
        source.read_exact_at(expected, offset).expect("reading the source");
        each_stretch(used, offset, piece.len(), |from, to, is_used| {
            if !is_used {
                expected[from..to].fill(0);
            }
        });
        if let Some(at) = (0..piece.len()).find(|&at| piece[at] != expected[at]) {
            panic!("{}: zstd -dc gives another disk at {:#x}", disk.name, offset + at as u64);
        }
    });
    let mut rest = Vec::new();
    unpacked.read_to_end(&mut rest).expect("reading the end of zstd -dc");
    assert!(rest.is_empty(), "{}: zstd -dc gives {} bytes too many", disk.name, rest.len());
    let status = zstd.wait().expect("waiting for zstd");
    assert!(status.success(), "{}: zstd -dc: {status}", disk.name);
}

/// Every used byte of the target is the source's, and every free one is still
/// the junk that was there. Only the two ends, which a restore wipes before it
/// starts, may hold zeros in free space instead.
#[track_caller]
fn assert_exact(disk: &One, target: &str, used: &Ranges) {
    let length = disk.length;
    let source = File::open(disk.source).expect("opening the source");
    let restored = File::open(target).expect("opening the target");
    let found_length = restored.metadata().expect("size of the target").len();
    assert_eq!(found_length, length, "{}: the target has another length", disk.name);
    let (mut expected, mut junk) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut still_junk = 0;
    each_piece(length, |offset, found| {
        let (expected, junk) = (&mut expected[..found.len()], &mut junk[..found.len()]);
        restored.read_exact_at(found, offset).expect("reading the target");
        source.read_exact_at(expected, offset).expect("reading the source");
        junk_at(offset, junk);
        each_stretch(used, offset, found.len(), |from, to, is_used| {
            for at in from..to {
                let place = offset + at as u64;
                if is_used {
                    assert!(
                        found[at] == expected[at],
                        "{}: the restored disk differs at {place:#x}: {:#04x}, not {:#04x}",
                        disk.name,
                        found[at],
                        expected[at],
                    );
                } else if found[at] == junk[at] {
                    still_junk += 1;
                } else {
                    let at_an_end = place < MIB || place + MIB >= length;
                    assert!(
                        at_an_end && found[at] == 0,
                        "{}: free byte {place:#x} was written to: {:#04x}",
                        disk.name,
                        found[at],
                    );
                }
            }
        });
    });
    // Else the test proves nothing: the files may be there by chance.
    let free = length - used.bytes();
    let ends = (2 * MIB).min(length);
    assert!(
        free == 0 || still_junk + ends >= free,
        "{}: {still_junk} of {free} free bytes are junk",
        disk.name
    );
}

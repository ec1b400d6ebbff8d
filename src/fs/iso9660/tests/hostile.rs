// SPDX-License-Identifier: MIT OR Apache-2.0
//! Discs that are damaged on purpose.

use std::sync::Arc;

use crate::fs::Filesystem as _;
use crate::fs::conformance::{Counted, examine, visit};
use crate::fs::iso9660::{Iso9660, sessions};
use crate::io::{Memory, ReadAt, WriteAt as _};

const DISCS: [&[u8]; 2] = [
    include_bytes!("../../../../images/foreign-tiny-disc.img.zst"),
    include_bytes!("../../../../images/foreign-tiny-iso9660.img.zst"),
];

fn ask(disc: &Arc<Memory>) {
    let _ = Iso9660.probe(&[disc.as_ref()]);
    let _ = sessions(disc.as_ref());
    let readers: [Arc<dyn ReadAt>; 1] = [Arc::clone(disc) as Arc<dyn ReadAt>];
    if let Ok(Some(files)) = Iso9660.files(&readers) {
        let _ = examine(files.as_ref(), disc.len(), 50);
    }
}

#[test]
fn whatever_is_damaged_is_an_error_and_nothing_worse() {
    for packed in DISCS {
        let bytes = zstd::decode_all(packed).unwrap();
        let disc = Arc::new(Memory::new(bytes.clone()));
        // Descriptors and folders; the rest is content.
        let said = bytes.iter().enumerate().skip(0x8000).filter(|(_, byte)| **byte != 0);
        let is_structure = |at: usize| {
            let sector = &bytes[at / 2048 * 2048..][..2048.min(bytes.len() - at / 2048 * 2048)];
            sector[1..6] == *b"CD001" || sector[0] == 34 || sector.windows(2).any(|it| it == b"NM")
        };
        for (at, byte) in said.filter(|(at, _)| is_structure(*at)).step_by(3).take(1200) {
            for value in [byte ^ 0xff, byte ^ 1] {
                disc.write_at(at as u64, &[value]).unwrap();
                ask(&disc);
            }
            disc.write_at(at as u64, &[*byte]).unwrap();
        }
    }
}

#[test]
fn no_length_makes_the_reader_panic() {
    for packed in DISCS {
        let bytes = zstd::decode_all(packed).unwrap();
        for len in (0..bytes.len()).step_by(9001) {
            ask(&Arc::new(Memory::new(bytes[..len].to_vec())));
        }
    }
}

/// A directory record.
fn record(name: &[u8], block: u32, size: u32, is_folder: bool, system_use: &[u8]) -> Vec<u8> {
    let both = |number: u32| [number.to_le_bytes(), number.to_be_bytes()].concat();
    let mut record = [&[0, 0][..], &both(block), &both(size), &[120, 1, 1, 0, 0, 0, 0]].concat();
    record.extend([if is_folder { 2 } else { 0 }, 0, 0, 1, 0, 0, 1]);
    record.push(name.len() as u8);
    record.extend(name);
    if name.len().is_multiple_of(2) {
        record.push(0);
    }
    record.extend(system_use);
    record[0] = record.len() as u8;
    record
}

/// A disc with this root folder in sector 20, and these sectors behind it.
fn disc(root: &[u8], behind: &[u8]) -> Counted<Memory> {
    let mut bytes = vec![0; 20 * 2048];
    let both = |number: u32| [number.to_le_bytes(), number.to_be_bytes()].concat();
    let all = 20 + root.len().div_ceil(2048) + behind.len().div_ceil(2048);
    bytes[16 * 2048..16 * 2048 + 7].copy_from_slice(b"\x01CD001\x01");
    bytes[16 * 2048 + 80..][..8].copy_from_slice(&both(all as u32));
    bytes[16 * 2048 + 128..][..4].copy_from_slice(&[0, 8, 8, 0]);
    let folder = record(&[0], 20, root.len() as u32, true, &[]);
    bytes[16 * 2048 + 156..][..34].copy_from_slice(&folder);
    bytes[17 * 2048..17 * 2048 + 7].copy_from_slice(b"\xffCD001\x01");
    bytes.extend(root);
    bytes.resize(bytes.len().next_multiple_of(2048), 0);
    bytes.extend(behind);
    bytes.resize(all * 2048, 0);
    Counted::new(Memory::new(bytes))
}

/// Records, none of them across the end of a sector.
fn folder(records: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    for record in records {
        if bytes.len() % 2048 + record.len() > 2048 {
            bytes.resize(bytes.len().next_multiple_of(2048), 0);
        }
        bytes.extend(record);
    }
    bytes.resize(bytes.len().next_multiple_of(2048), 0);
    bytes
}

/// Walks through all of a disc; it must end, after no more than so many bytes,
/// and say why.
#[track_caller]
fn assert_ends(disc: Counted<Memory>, most: u64) {
    let disc = Arc::new(disc);
    let readers: [Arc<dyn ReadAt>; 1] = [disc.clone()];
    let files = Iso9660.files(&readers).unwrap().unwrap();
    let (nodes, failed) = visit(files.as_ref());
    assert!(nodes > 5, "{nodes}");
    assert!(disc.bytes() < most, "{} bytes of {}", disc.bytes(), disc.len());
    let failed = failed.unwrap_or_default();
    assert!(failed.contains("share what belongs to one"), "{failed}");
}

#[test]
fn folders_that_share_their_content_end() {
    // Each begins in the one in front of it, and all end with the disc.
    const COUNT: u32 = 1500;
    let name = |number: u32| format!("{number:04}").into_bytes();
    let names = |first: u32| {
        let own =
            |number: u32| record(&name(number), first + number, (COUNT - number) * 2048, true, &[]);
        let own: Vec<_> = (0..COUNT).map(own).collect();
        folder([record(&[0], 20, 40 * 2048, true, &[])].into_iter().chain(own))
    };
    let first = 20 + (names(0).len() / 2048) as u32;
    let behind = (0..COUNT).flat_map(|number| {
        let block = first + number;
        let own = record(&[0], block, (COUNT - number) * 2048, true, &[]);
        folder([own].into_iter().chain((0..40).map(|n| record(&name(n), block, 0, false, &[]))))
    });
    let disc = disc(&names(first), &behind.collect::<Vec<u8>>());
    let most = 10 * disc.len() + (20 << 20);
    assert_ends(disc, most);
}

#[test]
fn names_that_share_their_entries_end() {
    // Every name leads through 60 areas of 32 KiB.
    let going_on = |block: u32| {
        let both = |number: u32| [number.to_le_bytes(), number.to_be_bytes()].concat();
        [&b"CE\x1c\x01"[..], &both(block), &both(0), &both(32768)].concat()
    };
    let is_rock_ridge = b"SP\x07\x01\xbe\xef\0RR\x05\x01\x01";
    let root = |first: u32| {
        let name = |n: u32| record(format!("{n:04}").as_bytes(), 0, 0, false, &going_on(first));
        let own = record(&[0], 20, 60 * 2048, true, is_rock_ridge);
        folder([own].into_iter().chain((0..1500).map(name)))
    };
    let first = 20 + (root(0).len() / 2048) as u32;
    let areas = (0..60_u32).flat_map(|number| {
        let next = if number < 59 { going_on(first + (number + 1) * 16) } else { Vec::new() };
        let mut area = next;
        area.resize(32768, 0);
        area
    });
    let disc = disc(&root(first), &areas.collect::<Vec<u8>>());
    // Each name that is found is looked at by itself once more.
    let most = 20 * disc.len() + (50 << 20);
    assert_ends(disc, most);
}

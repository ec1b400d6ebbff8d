// SPDX-License-Identifier: MIT OR Apache-2.0
//! Physical volumes built byte by byte.

#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "test numbers")]

mod backups;
mod fields;
mod groups;
mod hostile;
mod maps;
mod texts;

use std::fmt::Write as _;

use super::*;
use crate::extent::ExtentSet;
use crate::io::Memory;

const KIB: u64 = 1024;
/// The size of an extent.
const EXTENT: u64 = 64 * KIB;
/// Extents start here, behind the first metadata area.
const START: u64 = 64 * KIB;
const COUNT: u64 = 30;
/// The second metadata area, if there is one, and the end of the volume.
const SECOND: u64 = START + COUNT * EXTENT;
const LEN: u64 = SECOND + 64 * KIB;

/// The identifier of the physical volume of this number.
fn id(number: usize) -> String {
    let letters = format!("PhysicalVolumeNumber000000000{number:03}");
    [(0, 6), (6, 10), (10, 14), (14, 18), (18, 22), (22, 26), (26, 32)]
        .map(|(from, to)| &letters[from..to])
        .join("-")
}

/// A logical volume of linear segments: extents of physical volumes.
fn linear(name: &str, segments: &[(usize, u64, u64)]) -> String {
    let mut start = 0;
    let mut text = String::new();
    for (number, (physical, first, count)) in segments.iter().enumerate() {
        let _ = writeln!(
            text,
            "segment{} {{ start_extent = {start} extent_count = {count} type = \"striped\" \
             stripe_count = 1 stripes = [\"pv{physical}\", {first}] }}",
            number + 1
        );
        start += count;
    }
    logical(name, &text, segments.len())
}

fn logical(name: &str, segments: &str, count: usize) -> String {
    format!(
        "{name} {{ id = \"{}\" status = [\"READ\", \"WRITE\", \"VISIBLE\"] flags = []\n\
         creation_time = 1795745936 # a comment \"\n creation_host = \"a \\\" b\"\n\
         segment_count = {count}\n{segments} }}\n",
        id(900)
    )
}

/// The text of a group of so many physical volumes.
fn text(physical: usize, logical: &str) -> String {
    text_of(7, physical, logical)
}

fn text_of(seqno: u64, physical: usize, logical: &str) -> String {
    let mut volumes = String::new();
    for number in 0..physical {
        let _ = writeln!(
            volumes,
            "pv{number} {{ id = \"{}\" device = \"/dev/x\" status = [\"ALLOCATABLE\"] flags = []\n\
             dev_size = {} pe_start = {} pe_count = {COUNT} }}",
            id(number),
            LEN / 512,
            START / 512
        );
    }
    format!(
        "vg0 {{ id = \"{}\" seqno = {seqno} format = \"lvm2\" # informational\n\
         status = [\"RESIZEABLE\", \"READ\", \"WRITE\"] flags = [] extent_size = {}\n\
         max_lv = 0 max_pv = 0 metadata_copies = 0\n\
         physical_volumes {{ {volumes} }}\nlogical_volumes {{ {logical} }} }}\n\
         contents = \"Text Format Volume Group\"\nversion = 1\ndescription = \"\"\n\
         creation_host = \"here\"\ncreation_time = 1795745937\n",
        id(800),
        EXTENT / 512
    )
}

fn put(bytes: &mut [u8], offset: u64, field: &[u8]) {
    let offset = offset as usize;
    bytes[offset..offset + field.len()].copy_from_slice(field);
}

/// Makes the checksums of the label and the header of a metadata area right.
fn seal(bytes: &mut [u8]) {
    let sum = checksum_of(&bytes[512 + 20..1024]);
    put(bytes, 512 + 16, &sum.to_le_bytes());
    for area in [4096, SECOND] {
        let area = area as usize;
        if bytes.get(area + 4..).is_some_and(|bytes| bytes.starts_with(b" LVM2 x")) {
            let sum = checksum_of(&bytes[area + 4..area + 512]);
            put(bytes, area as u64, &sum.to_le_bytes());
        }
    }
}

/// Writes a metadata area with a text at an offset of it.
fn put_area(bytes: &mut [u8], start: u64, len: u64, offset: u64, text: &str) {
    let mut text = text.as_bytes().to_vec();
    text.push(0);
    put(bytes, start, &[0; 512]);
    put(bytes, start + 4, b" LVM2 x[5A%r0N*>");
    put(bytes, start + 20, &1_u32.to_le_bytes());
    for (at, value) in [(24, start), (32, len), (40, offset), (48, text.len() as u64)] {
        put(bytes, start + at, &value.to_le_bytes());
    }
    put(bytes, start + 56, &checksum_of(&text).to_le_bytes());
    let first = text.len().min((len - offset) as usize);
    put(bytes, start + offset, &text[..first]);
    put(bytes, start + 512, &text[first..]);
    seal(bytes);
}

/// A physical volume of a number, full of what looks like free space.
fn volume(number: usize, text: &str) -> Vec<u8> {
    let mut bytes = bare(number, &[(4096, START - 4096)]);
    put_area(&mut bytes, 4096, START - 4096, 512, text);
    bytes
}

/// A label and a header with these metadata areas, which are not there.
fn bare(number: usize, areas: &[(u64, u64)]) -> Vec<u8> {
    let mut bytes = vec![0; LEN as usize];
    bytes[START as usize..].fill(b'.');
    put(&mut bytes, 512, b"LABELONE");
    put(&mut bytes, 520, &1_u64.to_le_bytes());
    put(&mut bytes, 532, &32_u32.to_le_bytes());
    put(&mut bytes, 536, b"LVM2 001");
    put(&mut bytes, 544, id(number).replace('-', "").as_bytes());
    put(&mut bytes, 576, &LEN.to_le_bytes());
    put(&mut bytes, 584, &START.to_le_bytes());
    let mut at = 616;
    for (start, len) in areas {
        put(&mut bytes, at, &start.to_le_bytes());
        put(&mut bytes, at + 8, &len.to_le_bytes());
        at += 16;
    }
    put(&mut bytes, at + 16, &2_u32.to_le_bytes());
    put(&mut bytes, at + 20, &1_u32.to_le_bytes());
    seal(&mut bytes);
    bytes
}

/// A swap space at a place: the only filesystem of which one page is in use.
fn put_swap(bytes: &mut [u8], start: u64, pages: u32) {
    put(bytes, start, &[0; 4096]);
    put(bytes, start + 1024, &1_u32.to_le_bytes());
    put(bytes, start + 1028, &(pages - 1).to_le_bytes());
    put(bytes, start + 4086, b"SWAPSPACE2");
}

fn extent(first: u64, count: u64) -> Extent {
    Extent::at(START + first * EXTENT, count * EXTENT)
}

/// What is in use on every physical volume.
fn own() -> ExtentSet {
    [Extent::new(0, START), Extent::new(SECOND, LEN)].into_iter().collect()
}

fn map_error(bytes: Vec<u8>) -> String {
    match Lvm2.map(&[&Memory::new(bytes)]) {
        Err(error) => error.to_string(),
        Ok(answer) => panic!("{answer:?}"),
    }
}

/// Why all of the first volume is stored.
fn whole(volumes: Vec<Vec<u8>>) -> String {
    let disks: Vec<Memory> = volumes.into_iter().map(Memory::new).collect();
    let readers: Vec<&dyn ReadAt> = disks.iter().map(|disk| disk as &dyn ReadAt).collect();
    match Lvm2.map(&readers).unwrap() {
        Answer::Whole(used) => {
            assert_eq!(used.extents, ExtentSet::all(LEN));
            used.whole.unwrap()
        }
        Answer::Map(map) => panic!("{map:?}"),
    }
}

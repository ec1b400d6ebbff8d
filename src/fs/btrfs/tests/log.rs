// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filesystems with a log to replay.

use super::image::{BlockOf, DATA, GENERATION, Image, LOG_TREE, METADATA, NODE, root_item, set};
use crate::extent::Extent;

fn file_extent(kind: u8, start: u64, len: u64) -> Vec<u8> {
    let mut item = vec![0; 53];
    item[20] = kind;
    item[21..29].copy_from_slice(&start.to_le_bytes());
    item[29..37].copy_from_slice(&len.to_le_bytes());
    item
}

const LOG_ROOT: u64 = METADATA + 0x1_4000;
const LOG: u64 = METADATA + 0x1_6000;

/// With a log that names data that is nowhere else.
fn logged() -> Image {
    let mut image = Image::new().planted();
    let block = |logical, items| BlockOf {
        logical,
        owner: LOG_TREE,
        generation: GENERATION + 1,
        level: 0,
        items,
        patches: Vec::new(),
    };
    let roots = vec![((LOG_TREE, 132, 5), root_item(LOG, GENERATION + 1, 0))];
    let items = vec![
        ((257, 1, 0), vec![0; 160]),
        ((257, 12, 256), vec![0; 12]),
        ((257, 108, 0), file_extent(1, DATA + 0x4_0000, 0x2000)),
        ((257, 108, 0x2000), file_extent(2, DATA + 0x5_0000, 0x1000)),
        ((257, 108, 0x3000), file_extent(1, 0, 0)),
        ((258, 108, 0), file_extent(0, u64::MAX, u64::MAX)),
    ];
    image.blocks.push(block(LOG_ROOT, roots));
    image.blocks.push(block(LOG, items));
    image.log_root = LOG_ROOT;
    image
}

#[test]
fn the_log_and_what_it_names_are_in_use() {
    let without = Image::new().planted().map();
    let used = logged().used().unwrap();
    assert_eq!(used.whole, None);
    assert!(used.notes[0].starts_with("log not replayed"), "{:?}", used.notes);
    let mut log: Vec<(u64, u64)> = vec![(0x24_0000, 0x2000), (0x25_0000, 0x1000)];
    for copy in [0x12_0000, 0x15_0000] {
        log.extend([(copy + 0x1_4000, NODE), (copy + 0x1_6000, NODE)]);
    }
    assert_eq!(used.extents, without.union(&set(&log)));
    assert!(!without.touches(Extent::at(0x24_0000, 0x2000)));
}

#[test]
fn a_damaged_log_proves_nothing() {
    for (block, offset, bytes, words) in [
        (0, 80, &[GENERATION as u8][..], "generation of a tree block"),
        (0, 88, &[1], "owner of a tree block"),
        (0, 109, &[0xFF], "log root tree"),
        (1, 80, &[GENERATION as u8], "generation of a tree block"),
        (1, 101 + 8, &[2], "unknown type 2"),
    ] {
        let mut image = logged();
        let first = image.blocks.len() - 2;
        image.blocks[first + block].patches.push((offset, bytes.to_vec()));
        let error = image.error();
        assert!(error.contains(words), "{offset}: {error}");
    }
    let mut gone = logged();
    gone.log_root = METADATA + 0x1_8000;
    assert!(gone.error().contains("checksum of a tree block"));
    let mut nowhere = logged();
    nowhere.log_root = DATA;
    assert!(nowhere.error().contains("pointer to a tree block"));
}

#[test]
fn what_a_log_names_lies_in_a_chunk_for_data() {
    for (item, words) in [
        (file_extent(1, METADATA, 0x1000), "in a chunk for data"),
        (file_extent(1, DATA, 0), "in a chunk for data"),
        (file_extent(1, DATA + 0xF_F000, 0x2000), "in a chunk for data"),
        (file_extent(1, 0x90_0000, 0x1000), "in a chunk for data"),
        (file_extent(1, DATA, u64::MAX), "in a chunk for data"),
        (file_extent(3, DATA, 0x1000), "inline, regular or preallocated"),
        (file_extent(1, DATA, 0x1000)[..36].to_vec(), "inline, regular or preallocated"),
        (Vec::new(), "inline, regular or preallocated"),
    ] {
        let mut image = logged();
        image.blocks.last_mut().unwrap().items[2].1 = item;
        let error = image.error();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn an_empty_log_is_read_as_well() {
    let mut image = logged();
    image.blocks.last_mut().unwrap().items.clear();
    image.map();
}

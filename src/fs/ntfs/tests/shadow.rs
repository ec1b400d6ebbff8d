// SPDX-License-Identifier: MIT OR Apache-2.0

use super::image::{Image, corrupt, put};
use crate::extent::ExtentSet;
use crate::ondisk::FormatError;

const IDENTIFIER: [u8; 16] = [
    0x6b, 0x87, 0x08, 0x38, 0x76, 0xc1, 0x48, 0x4e, 0xb7, 0xae, 0x04, 0x04, 0x6e, 0x6c, 0xc7, 0x52,
];
const BLOCK: usize = 0x4000;

// Blocks of four clusters.
const CATALOG: usize = 20;
const LIST: usize = 21;
const HEADER: usize = 22;
const RANGES: usize = 23;
const CURRENT: usize = 24;
const PREVIOUS: usize = 25;

fn block(image: &mut Image, place: usize, kind: u32, next: usize) {
    let at = place * BLOCK;
    put(&mut image.bytes, at, &IDENTIFIER);
    put(&mut image.bytes, at + 0x10, &1_u32.to_le_bytes());
    put(&mut image.bytes, at + 0x14, &kind.to_le_bytes());
    put(&mut image.bytes, at + 0x20, &(at as u64).to_le_bytes());
    put(&mut image.bytes, at + 0x28, &((next * BLOCK) as u64).to_le_bytes());
}

/// A volume with one shadow copy, whose bitmaps release everything.
fn shadowed() -> Image {
    let mut image = Image::new();
    image.write();
    put(&mut image.bytes, 0x1e00, &IDENTIFIER);
    put(&mut image.bytes, 0x1e10, &[1, 0, 0, 0, 1, 0, 0, 0, 0, 0x1e]);
    put(&mut image.bytes, 0x1e30, &((CATALOG * BLOCK) as u64).to_le_bytes());
    for (place, kind) in
        [(CATALOG, 2), (LIST, 3), (HEADER, 4), (RANGES, 5), (CURRENT, 6), (PREVIOUS, 6)]
    {
        block(&mut image, place, kind, 0);
    }
    let entry = CATALOG * BLOCK + 0x80;
    for (at, kind) in [(entry, 2_u64), (entry + 0x80, 3)] {
        put(&mut image.bytes, at, &kind.to_le_bytes());
        put(&mut image.bytes, at + 0x10, &[0xaa; 16]);
    }
    for (at, place) in
        [(0x08, LIST), (0x20, HEADER), (0x28, RANGES), (0x30, CURRENT), (0x48, PREVIOUS)]
    {
        put(&mut image.bytes, entry + 0x80 + at, &((place * BLOCK) as u64).to_le_bytes());
    }
    for bitmap in [CURRENT, PREVIOUS] {
        image.bytes[bitmap * BLOCK + 0x80..(bitmap + 1) * BLOCK].fill(0xff);
    }
    image
}

/// All that is in use beside some blocks of 16 KiB.
fn with_blocks(image: &Image, blocks: &[u64]) -> ExtentSet {
    let own: Vec<(u64, u64)> = (CATALOG as u64..=PREVIOUS as u64)
        .chain(blocks.iter().copied())
        .map(|block| (block * 4, 4))
        .collect();
    image.metadata().union(&image.extents(&[(40, 4)])).union(&image.extents(&own))
}

/// Clears the bit of a block.
fn keep(image: &mut Image, bitmap: usize, block: usize) {
    image.bytes[bitmap * BLOCK + 0x80 + block / 8] &= !(1 << (block % 8));
}

/// Adds a copied block: where it was, relative place, where it is, flags.
fn copied(image: &mut Image, index: usize, places: [usize; 3], flags: u32) {
    let at = LIST * BLOCK + 0x80 + index * 32;
    for (n, place) in places.into_iter().enumerate() {
        put(&mut image.bytes, at + n * 8, &((place * BLOCK) as u64).to_le_bytes());
    }
    put(&mut image.bytes, at + 0x18, &flags.to_le_bytes());
}

#[test]
fn blocks_that_a_shadow_copy_reads_in_place_are_kept() {
    let mut image = shadowed();
    let used = image.used().unwrap();
    assert_eq!(used.extents, with_blocks(&image, &[]));
    assert!(used.notes[0].starts_with("1 restore points"), "{:?}", used.notes);
    keep(&mut image, CURRENT, 60);
    keep(&mut image, PREVIOUS, 70);
    keep(&mut image, CURRENT, 71);
    assert_eq!(image.used().unwrap().extents, with_blocks(&image, &[60, 70, 71]));
}

#[test]
fn copied_and_moved_blocks_are_kept() {
    let mut image = shadowed();
    copied(&mut image, 0, [80, 1, 90], 0);
    copied(&mut image, 1, [81, 91, 0], 1);
    copied(&mut image, 2, [82, 1, 92], 2);
    copied(&mut image, 3, [83, 1, 93], 0x88);
    copied(&mut image, 4, [84, 1, 94], 4);
    let wanted = with_blocks(&image, &[80, 81, 82, 83, 90, 91, 92, 93]);
    assert_eq!(image.used().unwrap().extents, wanted);
}

#[test]
fn stores_of_other_volumes_are_files_like_others() {
    let mut image = shadowed();
    image.bytes[CATALOG * BLOCK + 0x80] = 1;
    keep(&mut image, CURRENT, 60);
    copied(&mut image, 0, [80, 1, 90], 0);
    copied(&mut image, 1, [0xffff_ffff, 1, 91], 0);
    let used = image.used().unwrap();
    assert_eq!(used.extents, with_blocks(&image, &[90, 91]));
    assert_eq!(used.notes, Vec::<String>::new());
}

#[test]
fn without_a_catalog_there_are_none() {
    let mut image = shadowed();
    put(&mut image.bytes, 0x1e30, &[0; 8]);
    let used = image.used().unwrap();
    assert_eq!(used.extents, image.metadata().union(&image.extents(&[(40, 4)])));
    assert_eq!(used.notes, Vec::<String>::new());
}

#[test]
fn anything_unclear_means_that_nothing_is_free() {
    let entry = CATALOG * BLOCK + 0x80;
    for (at, value) in [
        // The header: version, type, its place, the two volumes.
        (0x1e10, &[3][..]),
        (0x1e14, &[2]),
        (0x1e19, &[0]),
        (0x1e40, &[1]),
        // The catalog: not there, behind the end, not one, elsewhere, entries.
        (0x1e33, &[1]),
        (0x1e30, &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        (CATALOG * BLOCK, &[0]),
        (CATALOG * BLOCK + 0x14, &[3]),
        (CATALOG * BLOCK + 0x20, &[1]),
        (entry, &[4]),
        (entry, &[0, 1]),
        // No store, or two; two of one name.
        (entry + 0x80, &[1]),
        (entry + 0x80, &[2]),
        (entry, &[3]),
        // The store's parts.
        (entry + 0x88, &[0; 8]),
        (entry + 0xa0, &[0; 8]),
        (entry + 0xa8, &[0; 8]),
        (entry + 0xb0, &[0; 8]),
        (entry + 0xb3, &[1]),
        (LIST * BLOCK, &[0]),
        (HEADER * BLOCK + 0x14, &[5]),
        (RANGES * BLOCK + 0x10, &[9]),
        (CURRENT * BLOCK + 0x20, &[1]),
        (PREVIOUS * BLOCK + 0x15, &[9]),
    ] {
        let mut image = shadowed();
        put(&mut image.bytes, at, value);
        let used = image.used().unwrap();
        let whole = used.whole.unwrap_or_else(|| panic!("{at:#x} {value:x?}"));
        assert!(whole.starts_with("shadow copies (restore points): "), "{whole}");
        assert_eq!(used.extents, ExtentSet::all(image.bytes.len() as u64));
    }
    for (places, flags) in
        [([80, 1, 500], 0), ([80, 500, 0], 1), ([500, 1, 80], 0), ([80, 1, 90], 0x100)]
    {
        let mut image = shadowed();
        copied(&mut image, 0, places, flags);
        assert!(image.used().unwrap().whole.is_some(), "{places:?}");
    }
}

#[test]
fn a_loop_in_a_list_is_corrupt() {
    for (place, kind) in
        [(CATALOG, 2), (LIST, 3), (HEADER, 4), (RANGES, 5), (CURRENT, 6), (PREVIOUS, 6)]
    {
        let mut image = shadowed();
        block(&mut image, place, kind, place);
        if place == CATALOG {
            // Its entries would be there twice otherwise.
            image.bytes[CATALOG * BLOCK + 0x80..(CATALOG + 1) * BLOCK].fill(0);
        }
        let (what, position) = corrupt(image.used());
        assert_eq!((what, position), ("list of a shadow copy", (place * BLOCK) as u64));
    }
}

#[test]
fn a_header_that_cannot_be_read_is_an_error() {
    use crate::extent::Extent;
    use crate::fs::Filesystem;
    use crate::io::Memory;
    let volume = Memory::new(shadowed().bytes).unreadable(Extent::at(0x1e00, 512));
    let used = crate::fs::ntfs::Ntfs.used(&[&volume]);
    assert!(matches!(used, Err(FormatError::Io(_))), "{used:?}");
}

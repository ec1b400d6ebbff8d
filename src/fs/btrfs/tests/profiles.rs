// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a chunk's bytes are, for every profile.

use crate::extent::Extent;
use crate::fs::btrfs::chunk::{Chunk, STRIPE_LEN};
use crate::fs::btrfs::tree::Key;

const START: u64 = 0x100_0000;

fn chunk(kind: u64, stripes: u64, stripe_bytes: u64, data: u64, sub_stripes: u16) -> Chunk {
    let mut item = Vec::new();
    for value in [stripe_bytes * data, 2, 65536, kind] {
        item.extend(value.to_le_bytes());
    }
    item.extend([0; 12]);
    item.extend((stripes as u16).to_le_bytes());
    item.extend(sub_stripes.to_le_bytes());
    for stripe in 0..stripes {
        item.extend((stripe + 1).to_le_bytes());
        item.extend((stripe << 32).to_le_bytes());
        item.extend([stripe as u8; 16]);
    }
    let key = Key { objectid: 256, kind: 228, offset: START };
    let (chunk, len) = Chunk::parse(key, &item, 4096, 0).unwrap();
    assert_eq!((len, chunk.stripe_bytes), (item.len(), stripe_bytes));
    chunk
}

/// Every 4 KiB of a chunk: the stripes that `copies` names hold it, and
/// `on_stripe` of a range has exactly those of its parts.
fn check(chunk: &Chunk, exact: bool) {
    let len = chunk.logical.len();
    for (from, to) in [
        (0, len),
        (0, 4096),
        (4096, 3 * STRIPE_LEN + 8192),
        (2 * STRIPE_LEN - 4096, 2 * STRIPE_LEN + 4096),
        (len - 4096, len),
        (5 * STRIPE_LEN, 6 * STRIPE_LEN),
    ] {
        let range = Extent::new(START + from, START + to);
        let mut seen = vec![0; chunk.stripes.len()];
        for at in (range.start()..range.end()).step_by(4096) {
            for (stripe, offset) in chunk.copies(at, 4096).unwrap() {
                let held = chunk.on_stripe(stripe, range);
                assert!(held.contains(&Extent::at(offset, 4096)), "{at:#x} of {range}: {held}");
                seen[stripe] += 4096;
            }
        }
        for (stripe, seen) in seen.iter().enumerate() {
            let held = chunk.on_stripe(stripe, range);
            assert!(held.end() <= chunk.stripe_bytes, "{held}");
            assert!(!exact || held.len() == *seen, "{range} on {stripe}: {held}, not {seen}");
        }
    }
    assert_eq!(chunk.copies(START - 4096, 4096), None);
    assert_eq!(chunk.copies(START + len - 2048, 4096), None);
}

#[test]
fn copies_have_all_of_a_chunk() {
    for (kind, stripes) in [(1, 1), (0x21, 2), (0x11, 2), (0x201, 3), (0x401, 4)] {
        let chunk = chunk(kind, stripes, 8 << 16, 1, 1);
        assert_eq!(chunk.copies(START, 4096).unwrap().len(), stripes as usize);
        check(&chunk, true);
    }
}

#[test]
fn raid0_and_raid10_take_turns() {
    for stripes in [1, 2, 3, 5] {
        check(&chunk(0x09, stripes, 8 << 16, stripes, 1), true);
    }
    for stripes in [2, 4, 6] {
        let chunk = chunk(0x41, stripes, 8 << 16, stripes / 2, 2);
        assert_eq!(chunk.copies(START, 4096).unwrap().len(), 2);
        check(&chunk, true);
    }
    // The third piece of two stripes is the second of the first.
    let two = chunk(0x09, 2, 8 << 16, 2, 1);
    assert_eq!(two.copies(START + 2 * STRIPE_LEN, 4096), Some(vec![(0, STRIPE_LEN)]));
    // A block that would be in two pieces is in none.
    assert_eq!(two.copies(START + STRIPE_LEN - 4096, 8192), None);
}

#[test]
fn raid5_and_raid6_store_whole_rows() {
    for (kind, parity, stripes) in [(0x81, 1, 2), (0x81, 1, 3), (0x101, 2, 3), (0x101, 2, 5)] {
        let chunk = chunk(kind, stripes, 8 << 16, stripes - parity, 1);
        check(&chunk, false);
        // One byte of a row needs the row on every device.
        for stripe in 0..stripes as usize {
            let row = chunk.on_stripe(stripe, Extent::at(START, 1));
            assert_eq!(row, Extent::new(0, STRIPE_LEN));
        }
    }
    // The data of the second row begins one stripe further.
    let three = chunk(0x81, 3, 8 << 16, 2, 1);
    assert_eq!(three.copies(START + 2 * STRIPE_LEN, 4096), Some(vec![(1, STRIPE_LEN)]));
    assert_eq!(three.copies(START + 3 * STRIPE_LEN, 4096), Some(vec![(2, STRIPE_LEN)]));
}

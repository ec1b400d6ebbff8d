// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filesystems whose journal has to be replayed.

use super::super::journal::Checksums;
use super::image::{
    BLOCK, EXTENTS, FILE, FILE_LEN, FLEX_BG, GDT_CSUM, GROUPS, HAS_JOURNAL, Image, JOURNAL,
    JOURNAL_LEN, METADATA_CSUM, PER_GROUP, WIDE, blocks,
};
use super::log::{KINDS, Log, changes};
use crate::extent::ExtentSet;

/// Free in a fresh image.
const NEW: u64 = 1600;
/// Free in a fresh image, in the last group, which holds no metadata.
const FAR: u64 = 1 + 2 * PER_GROUP;

/// The same filesystem with blocks taken or freed.
fn after(image: &Image, first: u64, count: u64, used: bool) -> Image {
    let mut image = image.clone();
    let superblock = image.bytes[1024..2048].to_vec();
    image.mark(first, count, used);
    image.count();
    // The superblock's count of free blocks is brought up to date by unmounting only.
    image.put(1024, &superblock);
    image.seal();
    image
}

/// A filesystem to recover, before its log is written.
fn start(image: Image, kind: (Checksums, bool)) -> (Log, Image) {
    let log = Log::new(image, kind, 1);
    let image = log.image.clone();
    (log, image)
}

fn ext4() -> (Log, Image) {
    start(Image::ext4(), (Checksums::V3, true))
}

fn union(a: &Image, b: &Image) -> ExtentSet {
    a.truth().union(&b.truth())
}

#[test]
fn what_a_transaction_took_is_in_use_in_every_kind_of_journal() {
    for kind in KINDS {
        for incompat in [0x2, 0x2 | EXTENTS | FLEX_BG, 0x2 | EXTENTS | FLEX_BG | WIDE] {
            for ro_compat in [0x1, 0x1 | GDT_CSUM, 0x1 | METADATA_CSUM] {
                let (mut log, disk) = start(Image::new(HAS_JOURNAL, incompat, ro_compat), kind);
                let taken = after(&disk, NEW, 9, true);
                let more = after(&taken, FAR + 20, 30, true);
                log.transaction(&disk, &taken);
                log.transaction(&taken, &more);
                let map = log.image.map();
                assert!(map.covers(blocks(NEW, 9)), "{kind:?}");
                assert_eq!(map, more.truth(), "{kind:?} {incompat:#x} {ro_compat:#x}");
                assert!(log.image.used().unwrap().notes[0].contains("(2 transactions)"));
            }
        }
    }
}

#[test]
fn what_is_in_use_in_any_state_is_stored() {
    let (mut log, disk) = ext4();
    let taken = after(&disk, NEW, 9, true);
    let freed = after(&after(&taken, NEW, 9, false), FILE, FILE_LEN, false);
    let elsewhere = after(&freed, 1700, 5, true);
    log.transaction(&disk, &taken);
    log.transaction(&taken, &freed);
    log.transaction(&freed, &elsewhere);
    assert_eq!(log.image.map(), union(&disk, &taken).union(&elsewhere.truth()));

    // Written to its place already, as far as the bitmap goes.
    let bitmap = disk.bitmap_at(0);
    log.image.put(bitmap, &elsewhere.bytes[bitmap..bitmap + BLOCK]);
    assert_eq!(log.image.map(), union(&taken, &elsewhere));
}

#[test]
fn what_only_the_disk_marks_is_stored() {
    for kind in KINDS {
        let (mut log, disk) = start(Image::ext4(), kind);
        let freed = after(&disk, FILE, FILE_LEN, false);
        log.transaction(&disk, &freed);
        assert_eq!(log.image.map(), disk.truth());
        assert_ne!(freed.truth(), disk.truth());
    }
}

#[test]
fn a_transaction_without_commit_did_not_happen_but_counts() {
    for kind in KINDS {
        let (mut log, disk) = start(Image::ext4(), kind);
        let taken = after(&disk, NEW, 9, true);
        log.copies(&changes(&disk, &taken));
        assert_eq!(log.image.map(), taken.truth());
        assert!(log.image.used().unwrap().notes[0].contains("(0 transactions)"));

        // A block that was not written yet is no damage without a commit.
        let at = log.next_at() - BLOCK;
        log.image.bytes[at..at + BLOCK].fill(0);
        assert!(log.image.map().intersect(&disk.truth()) == disk.truth());
    }
}

#[test]
fn the_end_of_the_log_is_found() {
    let (mut log, disk) = ext4();
    let taken = after(&disk, NEW, 9, true);
    let more = after(&taken, FAR, 50, true);
    log.transaction(&disk, &taken);
    let end = log.next_at();
    // What an earlier turn left there, with a number of its own.
    log.sequence = log.sequence.wrapping_sub(40);
    log.transaction(&taken, &more);
    assert_eq!(log.image.map(), taken.truth());
    // Unlike the same transaction with the number that comes next.
    log.position = (end / BLOCK) as u64 - JOURNAL;
    log.sequence = log.sequence.wrapping_add(39);
    log.transaction(&taken, &more);
    assert_eq!(log.image.map(), more.truth());
}

#[test]
fn the_log_wraps_around() {
    for kind in KINDS {
        for start in (JOURNAL_LEN - 7)..JOURNAL_LEN {
            for incompat in [0x2, 0x2 | EXTENTS | FLEX_BG] {
                let image = Image::new(HAS_JOURNAL, incompat, 0x1 | METADATA_CSUM);
                let mut log = Log::new(image, kind, start);
                let disk = log.image.clone();
                let taken = after(&disk, NEW, 9, true);
                let more = after(&taken, FAR, 50, true);
                log.transaction(&disk, &taken);
                log.transaction(&taken, &more);
                assert!(log.position < start);
                assert_eq!(log.image.map(), more.truth());
            }
        }
    }
}

#[test]
fn a_log_without_end_is_damage() {
    for kind in KINDS {
        let (mut log, _) = start(Image::ext4(), kind);
        for _ in 1..JOURNAL_LEN {
            log.revoke(&[]);
        }
        assert_eq!(log.position, 1);
        let why = log.image.refusal();
        assert!(why.starts_with("log of the journal"), "{why}");
    }
}

#[test]
fn an_escaped_copy_gets_its_first_bytes_back() {
    for kind in KINDS {
        let (mut log, disk) = start(Image::ext4(), kind);
        let mut taken = disk.clone();
        let bitmap = disk.bitmap_at(2);
        taken.put(bitmap, &0xC03B_3998_u32.to_be_bytes());
        let taken = after(&taken, FAR + 100, 1, true);
        log.transaction(&disk, &taken);
        let held = log.image.bytes.clone();
        assert_eq!(&held[(JOURNAL as usize + 3) * BLOCK..][..4], [0; 4], "it is escaped");
        assert_eq!(log.image.map(), taken.truth());
    }
}

#[test]
fn revoked_copies_are_not_written() {
    for kind in KINDS {
        let (mut log, disk) = start(Image::ext4(), kind);
        let taken = after(&disk, NEW, 9, true);
        let changed = changes(&disk, &taken);
        let homes: Vec<u64> = changed.iter().map(|(home, _)| *home).collect();
        log.copies(&changed);
        log.commit();
        log.revoke(&homes);
        // The disk's own state is what the replay leaves, and is judged.
        let mut revoked = log.clone();
        revoked.commit();
        assert_eq!(revoked.image.map(), taken.truth());
        let at = disk.descriptor(1) + 0xC;
        revoked.image.bytes[at] ^= 1;
        assert!(revoked.image.used().is_err());
        // A revoke counts for copies of its own transaction, too.
        let mut at_once = Log::new(disk.clone(), kind, 1);
        at_once.copies(&changed);
        at_once.revoke(&homes);
        at_once.commit();
        assert_eq!(at_once.image.map(), taken.truth());
        at_once.image.bytes[at] ^= 1;
        assert!(at_once.image.used().is_err());
        // Without the commit of the revokes, the copies count and cover it.
        let mut unrevoked = log.clone();
        unrevoked.image.bytes[at] ^= 1;
        assert_eq!(unrevoked.image.map(), taken.truth());
        // A copy after the revoke counts again.
        let mut again = log;
        again.commit();
        let more = after(&taken, FAR, 3, true);
        again.transaction(&disk, &more);
        again.image.bytes[at] ^= 1;
        assert_eq!(again.image.map(), more.truth());
    }
}

#[test]
fn damage_in_a_committed_transaction_is_found_by_its_checksums() {
    for kind in KINDS {
        if kind.0 == Checksums::None {
            continue;
        }
        let (mut log, disk) = start(Image::ext4(), kind);
        let taken = after(&disk, NEW, 9, true);
        let first = log.next_at();
        log.copies(&changes(&disk, &taken));
        let revoke = log.next_at();
        log.revoke(&[7000]);
        let commit = log.next_at();
        log.commit();
        assert_eq!(log.image.map(), taken.truth());
        // The descriptor's first block number, a copy, the commit block.
        let mut places = vec![first + 15, first + BLOCK + 200, commit + 17];
        if kind.0 != Checksums::V1 {
            // Sums of version 1 leave out revokes and the rest of the commit block.
            places.extend([revoke + 19, commit + 900]);
        }
        for place in places {
            let mut image = log.image.clone();
            image.bytes[place] ^= 0x10;
            let why = image.refusal();
            assert!(why.contains("the checksum"), "{kind:?} {}: {why}", place - first);
        }
    }
}

#[test]
fn a_replay_that_leaves_a_contradiction_proves_nothing() {
    // The descriptors of the new state without its bitmaps, and the reverse.
    for keep_table in [true, false] {
        let (mut log, disk) = start(Image::new(HAS_JOURNAL, 0x2, 0x1), (Checksums::None, false));
        let taken = after(&disk, NEW, 9, true);
        let mut changed = changes(&disk, &taken);
        changed.retain(|(home, _)| (*home == 2) == keep_table);
        log.copies(&changed);
        log.commit();
        let why = log.image.refusal();
        assert!(why.starts_with("block bitmap"), "{why}");
    }
    // A block number outside of the filesystem.
    let (mut log, disk) = ext4();
    let mut changed = changes(&disk, &after(&disk, NEW, 9, true));
    changed.push((1 << 33, vec![0; BLOCK]));
    log.copies(&changed);
    let why = log.image.map();
    assert!(why.covers(blocks(NEW, 9)), "without a commit it does not matter");
    log.commit();
    let why = log.image.refusal();
    assert!(why.starts_with("home of a block in the journal"), "{why}");
}

#[test]
fn bitmaps_and_descriptors_may_disagree_until_they_are_replayed() {
    let (mut log, disk) = ext4();
    let taken = after(&disk, NEW, 9, true);
    log.transaction(&disk, &taken);
    // The bitmap is at its place already, the descriptor is not, and torn.
    let bitmap = disk.bitmap_at(0);
    log.image.put(bitmap, &taken.bytes[bitmap..bitmap + BLOCK]);
    let at = disk.descriptor(0);
    log.image.bytes[at + 0xC] ^= 0xFF;
    assert_eq!(log.image.map(), taken.truth());
    // A group of which nothing is in the journal is judged as on a clean disk.
    log.image.bytes[disk.bitmap_at(1) + 100] ^= 1;
    let why = log.image.refusal();
    assert!(why.starts_with("checksum of a block bitmap"), "{why}");
}

#[test]
fn a_group_may_get_its_bitmap_in_the_journal() {
    for ro_compat in [0x1 | GDT_CSUM, 0x1 | METADATA_CSUM] {
        let mut image = Image::new(HAS_JOURNAL, 0x2 | EXTENTS | FLEX_BG, ro_compat);
        let initialised = image.clone();
        image.forget_bitmap(GROUPS - 1);
        image.seal();
        let (mut log, disk) = start(image, (Checksums::V3, false));
        let mut with_bitmap = disk.clone();
        let (at, bitmap) = (disk.descriptor(2), disk.bitmap_at(2));
        with_bitmap.bytes[at + 0x12] &= !2;
        with_bitmap.put(bitmap, &initialised.bytes[bitmap..bitmap + BLOCK]);
        let with_bitmap = after(&with_bitmap, FAR, 50, true);
        log.transaction(&disk, &with_bitmap);
        assert_eq!(log.image.map(), with_bitmap.truth());

        // The bitmap reached its place and left the log; the descriptor did not.
        let mut late = Log::new(disk.clone(), (Checksums::V3, false), 1);
        let mut changed = changes(&disk, &with_bitmap);
        changed.retain(|(home, _)| *home == 2);
        late.copies(&changed);
        late.commit();
        let why = late.image.refusal();
        assert!(why.contains("block bitmap"), "junk is no bitmap: {why}");
        late.image.put(bitmap, &with_bitmap.bytes[bitmap..bitmap + BLOCK]);
        assert_eq!(late.image.map(), with_bitmap.truth());
    }
}

#[test]
fn a_log_that_changes_more_than_bitmaps_is_not_followed() {
    let change = |offset: usize, bytes: &[u8]| {
        let (mut log, disk) = ext4();
        let changed = disk.clone().with(offset, bytes);
        log.transaction(&disk, &changed);
        log.image.refusal()
    };
    assert!(change(0xCE, &[3]).contains("changes the size or layout"));
    assert!(change(0x3A, &[3]).contains("errors are recorded"));
    assert!(change(0x62, &[0x80]).contains("unknown feature"));
    let (mut log, disk) = ext4();
    let mut changed = disk.clone();
    let at = disk.descriptor(1) + 4;
    changed.put(at, &1500_u32.to_le_bytes());
    changed.seal();
    log.transaction(&disk, &changed);
    assert!(log.image.refusal().contains("moves bitmaps or inode tables"));
}

#[test]
fn an_empty_log_leaves_the_disk_as_it_is() {
    for kind in KINDS {
        let mut log = Log::new(Image::ext4(), kind, 0);
        assert_eq!(log.image.map(), log.image.truth());
        // The superblock's count is not brought up to date while mounted.
        log.image = log.image.with(0xC, &[7, 0, 0, 0]);
        assert_eq!(log.image.map(), log.image.truth());
    }
}

#[test]
fn a_journal_to_replay_that_is_not_there_is_damage() {
    let image = Image::ext2().with(0x60, &[0x6, 0, 0, 0]);
    assert!(image.refusal().contains("a journal, as it has to be replayed"));
}

#[test]
fn fast_commits_that_may_wait_are_not_followed() {
    let (log, disk) = ext4();
    let mut log = log.with_fast_commits();
    let taken = after(&disk, NEW, 9, true);
    log.transaction(&disk, &taken);
    assert_eq!(log.image.map(), taken.truth());
    let area = (JOURNAL + JOURNAL_LEN - 256) as usize * BLOCK;
    for at in [area, area + BLOCK] {
        for (transaction, waits) in [(log.sequence, true), (log.sequence.wrapping_sub(1), false)] {
            let mut image = log.image.clone();
            image.put(at, &[9, 0, 8, 0, 0, 0, 0, 0]);
            image.put(at + 8, &transaction.to_le_bytes());
            if waits {
                assert!(image.refusal().contains("fast commits may wait"));
            } else {
                assert_eq!(image.map(), taken.truth());
            }
        }
    }
    // Kernels disagree on where a log with such an area wraps around.
    let mut log =
        Log::new(Image::ext4(), (Checksums::V3, true), JOURNAL_LEN - 258).with_fast_commits();
    log.transaction(&disk, &taken);
    assert!(log.image.refusal().contains("wraps around"));
}

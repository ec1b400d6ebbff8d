// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hostile folders, chains and tables.

use super::super::*;
use super::volume::{BITMAP, CHAIN, END, FOLDER, ROOT, RUN, UPCASE, Volume, extension, file_set};

#[track_caller]
fn corrupt(change: impl FnOnce(&mut Volume)) -> (&'static str, u64) {
    let mut volume = Volume::new();
    change(&mut volume);
    volume.corrupt()
}

#[test]
fn loops_and_shared_clusters_end_the_walk() {
    // A chain that bites its tail.
    let (what, at) = corrupt(|volume| {
        volume.chain(&[20, 21, 22]);
        volume.fat(22, 20);
        volume.file(ROOT, 0, CHAIN, 20, 3072);
    });
    assert_eq!((what, at), ("chain of clusters", Volume::new().fat_place(0, 22)));
    // The root's own.
    assert_eq!(corrupt(|volume| volume.fat(ROOT, ROOT as u32)).0, "chain of clusters");
    // A folder in itself, and one in the root that is the root.
    for inside in [30, ROOT] {
        let (what, _) = corrupt(|volume| {
            volume.chain(&[30]);
            volume.file(ROOT, FOLDER, CHAIN, 30, 1024);
            volume.file(30, FOLDER, CHAIN, inside, 1024);
        });
        assert_eq!(what, "chain of clusters");
    }
    // Two files with a cluster in common, by chain and as a run.
    for (first, flags) in [(22, CHAIN), (22, RUN), (21, RUN)] {
        let (what, _) = corrupt(|volume| {
            volume.chain(&[20, 22]);
            volume.file(ROOT, 0, CHAIN, 20, 2048);
            volume.file(ROOT, 0, flags, first, 1025);
        });
        assert_eq!(what, "chain of clusters");
    }
    // A file on the bitmap.
    let (what, _) = corrupt(|volume| {
        volume.file(ROOT, 0, RUN, BITMAP, 100);
    });
    assert_eq!(what, "chain of clusters");
}

#[test]
fn chains_that_lead_nowhere_are_found() {
    // Free, a bad mark, the media entry, a number too large.
    for next in [0, 1, 0xffff_fff7, 0xffff_fff8, 302] {
        let (what, at) = corrupt(|volume| {
            volume.chain(&[20, 21]);
            volume.fat(20, next);
            volume.file(ROOT, 0, CHAIN, 20, 2048);
        });
        assert_eq!((what, at), ("FAT entry", Volume::new().fat_place(0, 20)));
    }
    let (what, _) = corrupt(|volume| {
        volume.chain(&[20, 21]);
        volume.file(ROOT, 0, CHAIN, 20, 2049);
    });
    assert_eq!(what, "chain in the FAT");
    assert_eq!(corrupt(|volume| volume.fat(0, 0xffff_fff0)).0, "first entry of the FAT");
}

#[test]
fn allocations_are_inside_of_the_volume() {
    for (first, flags, len, wanted) in [
        (1, CHAIN, 1, "FirstCluster"),
        (302, CHAIN, 1, "FirstCluster"),
        (302, RUN, 1, "FirstCluster"),
        (0, CHAIN, 1, "FirstCluster"),
        (301, RUN, 1025, "DataLength"),
        (301, RUN, u64::MAX, "DataLength"),
        (301, RUN, 0, "DataLength"),
    ] {
        let (what, _) = corrupt(|volume| {
            volume.file(ROOT, 0, flags, first, len);
        });
        assert_eq!(what, wanted, "{first} {flags} {len}");
    }
    let mut volume = Volume::new();
    let set = volume.file(ROOT, 0, CHAIN, 0, 0);
    volume.change_set(set, 40, &[1]);
    assert_eq!(volume.corrupt(), ("ValidDataLength", set + 40));
}

#[test]
fn sets_of_entries_are_whole_and_have_their_checksum() {
    let empty = file_set(0, CHAIN, 0, 0, &[]);
    let changed = |at: u64, byte: u8| {
        let mut volume = Volume::new();
        let set = volume.add(ROOT, &empty);
        volume.change_set(set, at, &[byte]);
        let (what, position) = volume.corrupt();
        (what, position - set)
    };
    let mut volume = Volume::new();
    let set = volume.add(ROOT, &empty);
    volume.disk.put(set + 66, b"b");
    assert_eq!(volume.corrupt(), ("SetChecksum", set));
    // No stream, something else instead of it, no name, two streams.
    assert_eq!(changed(32, 0xc1), ("set of folder entries", 32));
    assert_eq!(changed(64, 0xc0), ("set of folder entries", 64));
    assert_eq!(changed(35, 16), ("set of folder entries", 0));
    assert_eq!(changed(1, 0), ("set of folder entries", 0));
    // A deleted entry among them, or one that begins another.
    assert_eq!(changed(64, 0x41), ("type of a folder entry", 64));
    assert_eq!(changed(64, 0x85), ("type of a folder entry", 64));
    assert_eq!(changed(1, 3), ("type of a folder entry", 96));
    // An end that is no set's.
    let mut volume = Volume::new();
    let orphan = volume.add(ROOT, &empty[32..]);
    assert_eq!(volume.corrupt(), ("type of a folder entry", orphan));
    // The folder ends before the set does.
    let mut volume = Volume::new();
    let end = volume.place(ROOT) + 1024 - 64;
    for at in (volume.place(ROOT) + 96..end).step_by(32) {
        volume.disk.put(at, &[0x05]);
    }
    volume.disk.put(end, &empty[..64]);
    assert_eq!(volume.corrupt(), ("set of folder entries", end));
}

#[test]
fn deleted_entries_and_the_volume_guid_are_passed_over() {
    let mut volume = Volume::new();
    let mut deleted = file_set(0, RUN, 50, 10_000, &[]);
    for at in [0, 32, 64] {
        deleted[at] &= 0x7f;
    }
    volume.add(ROOT, &deleted);
    let mut guid = vec![0xa0, 0];
    guid.resize(32, 0x11);
    guid[2..4].fill(0);
    let sum = super::super::entry::checksum(&guid);
    guid[2..4].copy_from_slice(&sum.to_le_bytes());
    volume.add(ROOT, &guid);
    volume.add(ROOT, &[0xa1]);
    volume.run(60, 61);
    volume.file(ROOT, 0, RUN, 60, 1);
    assert_eq!(volume.used_clusters(), [2, 3, 4, 60]);
    guid[9] ^= 1;
    volume.add(ROOT, &guid);
    assert_eq!(volume.corrupt().0, "SetChecksum");
}

#[test]
fn entries_that_are_not_known_leave_nothing_proven() {
    for kind in [0x80, 0x84, 0x86, 0xa2, 0xbf] {
        let mut volume = Volume::new();
        volume.add(ROOT, &[kind]);
        let error = Exfat.used(&[&volume.disk]).unwrap_err();
        assert!(matches!(error, FormatError::Unsupported(_)), "{kind:#x}: {error}");
    }
    for kind in [0xc2, 0xe2] {
        let mut other = vec![kind];
        other.resize(32, 0);
        let mut volume = Volume::new();
        volume.add(ROOT, &file_set(0, CHAIN, 0, 0, &other));
        let error = Exfat.used(&[&volume.disk]).unwrap_err();
        assert!(matches!(error, FormatError::Unsupported(_)), "{kind:#x}: {error}");
    }
    // Extensions end what a name may be.
    let mut volume = Volume::new();
    let name = [&[0xc1; 1][..], &[0; 31]].concat();
    volume.add(ROOT, &file_set(0, CHAIN, 0, 0, &[extension(CHAIN, 0, 0), name].concat()));
    assert_eq!(volume.corrupt().0, "set of folder entries");
}

#[test]
fn nothing_is_in_use_behind_the_end_of_a_folder() {
    let mut volume = Volume::new();
    let at = volume.place(ROOT) + 512;
    volume.disk.put(at, &file_set(0, CHAIN, 0, 0, &[]));
    assert_eq!(volume.corrupt(), ("type of a folder entry", at));
    volume.disk.put(at, &[0x05]);
    volume.disk.put(at + 32, &[0x40]);
    volume.disk.put(at + 64, &[0x41]);
    assert_eq!(volume.used_clusters(), [2, 3, 4]);
}

#[test]
fn the_root_folder_has_one_bitmap_for_each_fat_and_one_table() {
    let root = Volume::new().place(ROOT);
    let entry = |n: u64| Volume::new().disk.get(root + n * 32, 32);
    let (bitmap, upcase) = (entry(1), entry(2));
    assert_eq!(corrupt(|volume| volume.disk.put(root + 32, &[1])), ("root folder", root));
    assert_eq!(corrupt(|volume| volume.disk.put(root + 64, &[2])), ("root folder", root));
    for (again, wanted) in [(&bitmap, "allocation bitmap"), (&upcase, "up-case table")] {
        let (what, at) = corrupt(|volume| {
            volume.add(ROOT, again);
        });
        assert_eq!((what, at), (wanted, root + 96));
        // In another folder there is none.
        let (what, _) = corrupt(|volume| {
            volume.chain(&[30]);
            volume.file(ROOT, FOLDER, CHAIN, 30, 1024);
            volume.add(30, again);
        });
        assert_eq!(what, "folder");
    }
    // A second bitmap needs a second FAT, and the other way round.
    let (what, _) = corrupt(|volume| volume.disk.put(root + 33, &[1]));
    assert_eq!(what, "BitmapFlags");
    let mut volume = Volume::of(300, 1, 2);
    volume.disk.put(root + 96, &[1]);
    let root = volume.place(ROOT);
    volume.disk.put(root + 96, &[1]);
    assert_eq!(volume.corrupt(), ("root folder", root));
}

#[test]
fn the_bitmap_and_the_table_are_checked() {
    let root = Volume::new().place(ROOT);
    let (what, at) = corrupt(|volume| volume.disk.put(root + 32 + 24, &[37]));
    assert_eq!((what, at), ("length of the allocation bitmap", root + 56));
    for len in [0_u32, 1, 3, 0x2_0002] {
        let (what, at) = corrupt(|volume| volume.disk.put(root + 88, &len.to_le_bytes()));
        assert_eq!((what, at), ("length of the up-case table", root + 88));
    }
    let table = Volume::new().place(UPCASE);
    let (what, at) = corrupt(|volume| volume.disk.put(table + 9, &[1]));
    assert_eq!((what, at), ("TableChecksum", root + 68));
    // What the filesystem itself has must be in use, also where the bitmap may
    // be behind.
    for cluster in [BITMAP, UPCASE, ROOT] {
        for flags in [0, 2] {
            let (what, _) = corrupt(|volume| {
                volume.mark(cluster, false);
                volume.flags(flags);
            });
            assert_eq!(what, "allocation bitmap");
        }
    }
    // A bitmap in pieces is not what every system would read.
    let mut volume = Volume::new();
    volume.chain(&[BITMAP, 9]);
    let error = Exfat.used(&[&volume.disk]).unwrap_err();
    assert!(matches!(error, FormatError::Unsupported(_)), "{error}");
    // A longer one is.
    let mut volume = Volume::of(300, 1, 1);
    volume.disk.put(root + 56, &[200]);
    assert_eq!(volume.used_clusters(), [2, 3, 4]);
}

#[test]
fn folders_have_a_largest_size() {
    let mut volume = Volume::of(40, 16, 1);
    volume.run(10, 19);
    let set = volume.file(ROOT, FOLDER, RUN, 10, 8 << 25);
    assert_eq!(volume.used_clusters().len(), 12);
    volume.change_set(set, 56, &(9_u64 << 25).to_le_bytes());
    assert_eq!(volume.corrupt().0, "length of a folder");
    // By chain, too.
    volume.chain(&[10, 11, 12, 13, 14, 15, 16, 17, 18]);
    volume.change_set(set, 33, &[CHAIN]);
    assert_eq!(volume.corrupt().0, "length of a folder");
    let label = Volume::new().place(ROOT);
    assert_eq!(corrupt(|volume| volume.disk.put(label + 1, &[12])).0, "CharacterCount");
    assert_eq!(END, u32::MAX);
}

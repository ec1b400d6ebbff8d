// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is in use.

use std::time::{Duration, Instant};

use super::super::*;
use super::volume::{CHAIN, END, FOLDER, ROOT, RUN, Volume, extension, file_set};
use crate::extent::Extent;

/// A volume with a contiguous file, one with a chain, and a folder with a file.
fn filled() -> Volume {
    let mut volume = Volume::new();
    volume.run(10, 13);
    volume.file(ROOT, 0, RUN, 10, 2500);
    volume.chain(&[20, 22, 21]);
    volume.file(ROOT, 0, CHAIN, 20, 3072);
    volume.chain(&[30]);
    volume.file(ROOT, FOLDER, CHAIN, 30, 1024);
    volume.run(40, 41);
    volume.file(30, 0, RUN, 40, 1);
    volume.file(30, 0, CHAIN, 0, 0);
    volume
}

const FILLED: [u64; 11] = [2, 3, 4, 10, 11, 12, 20, 21, 22, 30, 40];

#[test]
fn what_files_and_folders_have_is_in_use() {
    assert_eq!(Volume::new().used_clusters(), [2, 3, 4]);
    let volume = filled();
    assert_eq!(volume.used_clusters(), FILLED);
    assert!(volume.used().notes.is_empty());
}

#[test]
fn what_only_the_bitmap_knows_is_in_use() {
    let mut volume = filled();
    volume.mark(100, true);
    volume.mark(301, true);
    assert_eq!(volume.used_clusters(), [&FILLED[..], &[100, 301]].concat());
}

#[test]
fn chains_of_deleted_files_are_free_but_bad_clusters_are_not() {
    let mut volume = filled();
    volume.fat(200, 201);
    volume.fat(201, END);
    volume.fat(210, 0xffff_fff7);
    assert_eq!(volume.used_clusters(), [&FILLED[..], &[210]].concat());
}

#[test]
fn a_clean_volume_whose_bitmap_lacks_something_is_stored_whole() {
    for cluster in [10, 12, 21, 30, 40] {
        let mut volume = filled();
        volume.mark(cluster, false);
        let why = volume.whole();
        assert!(why.ends_with("calls a cluster free that its files use (1)"), "{why}");
        assert!(volume.used().advice.is_some());
    }
}

#[test]
fn a_volume_that_was_not_unmounted_has_all_that_anything_knows_of() {
    for flags in [2_u16, 4, 6] {
        let mut volume = filled();
        volume.flags(flags);
        for cluster in [10, 12, 21, 30, 40] {
            volume.mark(cluster, false);
        }
        volume.mark(100, true);
        // A chain that no folder knows yet, and what it points at.
        volume.fat(200, 205);
        volume.fat(210, END);
        let wanted = [&FILLED[..], &[100, 200, 205, 210]].concat();
        assert_eq!(volume.used_clusters(), wanted);
        assert!(!volume.used().notes.is_empty());
        assert!(!volume.probe().clean);
    }
    let mut volume = filled();
    volume.flags(2);
    assert_eq!(volume.probe().unclean.as_deref(), Some("not unmounted"));
}

#[test]
fn folders_of_a_volume_that_was_not_unmounted_are_read_to_their_last_byte() {
    // Behind the part that is read at once.
    let late = |flags: u16| {
        let mut volume = Volume::of(300, 6, 1);
        volume.run(10, 11);
        let at = volume.place(ROOT) + 16384;
        volume.disk.put(at, &file_set(0, RUN, 10, 5, &[]));
        volume.mark(10, false);
        volume.flags(flags);
        volume
    };
    // Systems disagree on whether they see it: nothing is proven.
    assert_eq!(late(2).corrupt().0, "type of a folder entry");
    // Where all was written, the end is the end.
    assert_eq!(late(0).used_clusters(), [2, 3, 4]);
}

#[test]
fn both_fats_and_both_bitmaps_count() {
    let mut volume = Volume::of(300, 1, 2);
    assert_eq!(volume.used_clusters(), [2, 3, 4, 5]);
    volume.mark_in(0, 100, true);
    volume.mark_in(1, 110, true);
    volume.disk.put(volume.fat_place(0, 120), &END.to_le_bytes());
    volume.disk.put(volume.fat_place(1, 130), &131_u32.to_le_bytes());
    assert_eq!(volume.used_clusters(), [2, 3, 4, 5, 100, 110, 120, 130, 131]);
    // Files go by the active one.
    volume.run(20, 22);
    volume.disk.put(volume.fat_place(1, 20), &21_u32.to_le_bytes());
    volume.disk.put(volume.fat_place(1, 21), &END.to_le_bytes());
    volume.file(ROOT, 0, CHAIN, 20, 2048);
    assert_eq!(volume.corrupt().0, "FAT entry");
    volume.flags(1);
    let used = volume.used_clusters();
    assert!(used.contains(&20) && used.contains(&21));
}

#[test]
fn extensions_of_vendors_have_clusters_too() {
    let mut volume = Volume::new();
    volume.chain(&[50, 60]);
    let mut others = extension(CHAIN, 50, 2000);
    others.extend(extension(RUN, 70, 1));
    let mut guid = vec![0xe0];
    guid.resize(32, 7);
    others.extend(guid);
    volume.run(70, 71);
    volume.add(ROOT, &file_set(0, CHAIN, 0, 0, &others));
    assert_eq!(volume.used_clusters(), [2, 3, 4, 50, 60, 70]);
}

#[test]
fn folders_of_several_clusters_are_read_along_their_chain() {
    let mut volume = Volume::new();
    volume.chain(&[30, 90, 31]);
    volume.file(ROOT, FOLDER, CHAIN, 30, 3072);
    // 32 entries fill a cluster; sets of three cross the borders.
    let mut entries = Vec::new();
    for n in 0..30 {
        volume.run(100 + n, 101 + n);
        entries.extend(file_set(0, RUN, 100 + n, 10, &[]));
    }
    for (cluster, part) in [30, 90, 31].into_iter().zip(entries.chunks(1024)) {
        volume.disk.put(volume.place(cluster), part);
    }
    let used = volume.used_clusters();
    assert_eq!(used.len(), 3 + 3 + 30);
    assert!(used.contains(&129));
}

#[test]
fn a_volume_of_2_tib_is_read_in_two_seconds() {
    // 128 KiB clusters, as Windows makes them.
    let mut volume = Volume::of(1 << 24, 8, 1);
    // A chain all over the table, and folders with files.
    let far: Vec<u64> = (0..20_000).map(|n| 1000 + n * 7919 % 16_000_000).collect();
    volume.chain(&far);
    volume.file(ROOT, 0, CHAIN, far[0], 20_000 << 17);
    for n in 0..200 {
        let folder = 16_500_000 + n;
        volume.chain(&[folder]);
        volume.file(ROOT, FOLDER, RUN, folder, 1 << 17);
        volume.run(16_600_000 + n * 3, 16_600_003 + n * 3);
        volume.file(folder, 0, RUN, 16_600_000 + n * 3, 3 << 17);
    }
    assert!(volume.disk.len > 2 << 40);
    let began = Instant::now();
    let used = volume.used();
    let took = began.elapsed();
    assert_eq!(used.whole, None);
    let first = volume.place(2);
    let inside = used.extents.within(Extent::new(first, volume.place(volume.clusters + 2)));
    let bytes: u64 = inside.map(|extent| extent.len()).sum();
    let bitmap = (1_u64 << 21).div_ceil(1 << 17);
    assert_eq!(bytes >> 17, bitmap + 2 + 20_000 + 200 + 600);
    assert!(took < Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 2 }), "{took:?}");
}

#[test]
fn more_clusters_than_can_be_kept_in_mind_are_not_supported() {
    let mut volume = Volume::new();
    let clusters = (1_u64 << 28) + 1;
    let heap = 26 * 512 + (clusters + 2) * 4 / 512 * 512 + 1024;
    for (at, value) in [(84, ((clusters + 2) * 4).div_ceil(512)), (88, heap / 512), (92, clusters)]
    {
        volume.boot(at, &(value as u32).to_le_bytes());
    }
    let size = heap + clusters * 1024;
    volume.boot(72, &(size / 512).to_le_bytes());
    volume.disk.len = size;
    let error = Exfat.used(&[&volume.disk]).unwrap_err();
    // The FAT of the small volume is where it was.
    assert!(error.to_string().contains("more than the"), "{error}");
}

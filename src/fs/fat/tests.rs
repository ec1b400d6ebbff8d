// SPDX-License-Identifier: MIT OR Apache-2.0
//! Small volumes in memory, and what one changed field does to them.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::unwrap_used,
    reason = "the numbers are the test's own, not a disk's"
)]

use super::*;
use crate::extent::{Extent, ExtentSet};
use crate::fs::runs::Runs;
use crate::io::{Memory, Window, WriteAt};

const SECTOR: usize = 512;
/// Bytes behind the filesystem.
const BEHIND: usize = 1024;

/// A volume of two-sector clusters with two FATs, one sector that fills no
/// cluster, and something behind it.
fn volume(width: Width) -> Vec<u8> {
    let (clusters, reserved, fat_sectors, root_sectors) = match width {
        Width::Fat12 => (1000, 1, 3, 1),
        Width::Fat16 => (5000, 4, 20, 2),
        Width::Fat32 => (1000, 32, 8, 0),
    };
    let sectors = reserved + 2 * fat_sectors + root_sectors + 2 * clusters + 1;
    let mut bytes = vec![0; sectors * SECTOR + BEHIND];
    put(&mut bytes, 0, &[0xeb, 0x3c, 0x90]);
    put(&mut bytes, 3, b"mkfs.fat");
    put(&mut bytes, 0x0b, &512_u16.to_le_bytes());
    put(&mut bytes, 0x0d, &[2, reserved as u8, 0, 2, (root_sectors * 16) as u8]);
    put(&mut bytes, 0x13, &(sectors as u16).to_le_bytes());
    put(&mut bytes, 0x15, &[0xf8]);
    let extended = if width == Width::Fat32 {
        put(&mut bytes, 0x24, &(fat_sectors as u32).to_le_bytes());
        put(&mut bytes, 0x2c, &2_u32.to_le_bytes());
        0x40
    } else {
        put(&mut bytes, 0x16, &(fat_sectors as u16).to_le_bytes());
        0x24
    };
    put(&mut bytes, extended + 2, &[0x29, 0x78, 0x56, 0x34, 0x12]);
    put(&mut bytes, extended + 7, b"BOOT LABEL ");
    put(&mut bytes, extended + 18, width.name().as_bytes());
    put(&mut bytes, 510, &[0x55, 0xaa]);
    let mut volume = bytes;
    for copy in 0..2 {
        let start = fat_start(&volume, copy);
        put(&mut volume, start, &[0xf8, 0xff, 0xff, 0xff]);
        if width == Width::Fat32 {
            put(&mut volume, start, &[0xf8, 0xff, 0xff, 0x0f, 0xff, 0xff, 0xff, 0x0f]);
            set_entry(&mut volume, copy, 2, 0x0fff_ffff);
        } else if width == Width::Fat12 {
            set_entry(&mut volume, copy, 2, 0);
        }
    }
    volume
}

fn put(bytes: &mut [u8], offset: usize, field: &[u8]) {
    bytes[offset..offset + field.len()].copy_from_slice(field);
}

fn boot(volume: &[u8]) -> BootSector {
    BootSector::parse(&volume[..SECTOR]).unwrap().unwrap()
}

fn fat_start(volume: &[u8], copy: u64) -> usize {
    boot(volume).fat_copy_start(copy) as usize
}

fn set_entry(volume: &mut [u8], copy: u64, cluster: usize, value: u32) {
    let start = fat_start(volume, copy);
    match boot(volume).width {
        Width::Fat12 => {
            let offset = start + cluster * 3 / 2;
            let old = u16::from_le_bytes([volume[offset], volume[offset + 1]]);
            let new = if cluster.is_multiple_of(2) {
                old & 0xf000 | value as u16
            } else {
                old & 0x000f | (value as u16) << 4
            };
            put(volume, offset, &new.to_le_bytes());
        }
        Width::Fat16 => put(volume, start + cluster * 2, &(value as u16).to_le_bytes()),
        Width::Fat32 => put(volume, start + cluster * 4, &value.to_le_bytes()),
    }
}

fn probe(bytes: &[u8]) -> Result<Option<Identity>, FormatError> {
    Fat.probe(&[&Memory::new(bytes.to_vec())])
}

fn used(bytes: &[u8]) -> Result<Used, FormatError> {
    Fat.used(&[&Memory::new(bytes.to_vec())])
}

fn used_error(bytes: &[u8]) -> String {
    used(bytes).unwrap_err().to_string()
}

/// The clusters of a proven map, after the check that all that is not a
/// cluster is in it.
fn used_clusters(bytes: &[u8]) -> Vec<u64> {
    let used = used(bytes).unwrap();
    assert_eq!(used.whole, None);
    let boot = boot(bytes);
    assert!(used.extents.covers(Extent::new(0, boot.data_start)));
    let end = boot.cluster_start(boot.end_cluster());
    assert!(used.extents.covers(Extent::new(end, bytes.len() as u64)));
    assert_eq!(used.extents.end(), bytes.len() as u64);
    (2..boot.end_cluster())
        .filter(|cluster| {
            let cluster = Extent::at(boot.cluster_start(*cluster), boot.cluster_bytes);
            let touched = used.extents.touches(cluster);
            assert_eq!(touched, used.extents.covers(cluster));
            touched
        })
        .collect()
}

const WIDTHS: [Width; 3] = [Width::Fat12, Width::Fat16, Width::Fat32];

/// The end-of-chain mark of a width.
fn end(width: Width) -> u32 {
    match width {
        Width::Fat12 => 0xfff,
        Width::Fat16 => 0xffff,
        Width::Fat32 => 0x0fff_ffff,
    }
}

#[test]
fn the_geometry_is_that_of_the_specification() {
    let fat12 = boot(&volume(Width::Fat12));
    assert_eq!((fat12.width, fat12.clusters, fat12.data_start), (Width::Fat12, 1000, 8 * 512));
    assert_eq!(fat12.root, Root::Area { start: 7 * 512, len: 512 });
    let fat16 = boot(&volume(Width::Fat16));
    assert_eq!((fat16.width, fat16.clusters, fat16.data_start), (Width::Fat16, 5000, 46 * 512));
    let fat32 = boot(&volume(Width::Fat32));
    assert_eq!((fat32.width, fat32.clusters, fat32.data_start), (Width::Fat32, 1000, 48 * 512));
    assert_eq!(fat32.root, Root::Cluster(2));
    assert_eq!(fat32.cluster_start(2), 48 * 512);
    assert_eq!(fat32.cluster_start(1002) + 512, fat32.size);
}

#[test]
fn an_empty_volume_uses_everything_but_its_clusters() {
    assert!(used_clusters(&volume(Width::Fat12)).is_empty());
    assert!(used_clusters(&volume(Width::Fat16)).is_empty());
    assert_eq!(used_clusters(&volume(Width::Fat32)), [2]);
}

#[test]
fn a_cluster_is_used_if_either_fat_says_so() {
    for width in WIDTHS {
        let mut bytes = volume(width);
        set_entry(&mut bytes, 0, 2, end(width));
        set_entry(&mut bytes, 0, 7, end(width));
        set_entry(&mut bytes, 1, 8, end(width));
        set_entry(&mut bytes, 1, 501, end(width) - 1);
        let last = boot(&bytes).clusters as usize + 1;
        set_entry(&mut bytes, 0, last, end(width));
        assert_eq!(used_clusters(&bytes), [2, 7, 8, 501, last as u64], "{width:?}");
    }
}

#[test]
fn every_packed_entry_of_a_fat12_is_told_from_its_neighbours() {
    for cluster in (2..70).chain(990..1002) {
        for entry in [0x001, 0x010, 0x100, 0xff7] {
            let mut bytes = volume(Width::Fat12);
            set_entry(&mut bytes, 1, cluster, entry);
            let mut wanted = vec![cluster as u64];
            wanted.extend(u64::from(entry).checked_sub(2).map(|n| n + 2).filter(|n| *n < 1002));
            wanted.sort_unstable();
            wanted.dedup();
            assert_eq!(used_clusters(&bytes), wanted);
        }
    }
}

#[test]
fn a_cluster_that_is_pointed_at_is_used() {
    for width in WIDTHS {
        let mut bytes = volume(width);
        set_entry(&mut bytes, 0, 2, 900);
        assert_eq!(used_clusters(&bytes), [2, 900], "{width:?}");
    }
}

#[test]
fn bad_clusters_are_used() {
    for (width, bad) in [(Width::Fat12, 0xff7), (Width::Fat16, 0xfff7), (Width::Fat32, 0x0fff_fff7)]
    {
        let mut bytes = volume(width);
        set_entry(&mut bytes, 0, 2, end(width));
        set_entry(&mut bytes, 0, 77, bad);
        assert_eq!(used_clusters(&bytes), [2, 77], "{width:?}");
    }
}

#[test]
fn the_reserved_bits_of_a_fat32_do_not_make_a_link_but_a_used_cluster() {
    let mut bytes = volume(Width::Fat32);
    set_entry(&mut bytes, 0, 20, 0xf000_0000);
    set_entry(&mut bytes, 0, 21, 0xa000_0003);
    assert_eq!(used_clusters(&bytes), [2, 3, 20, 21]);
}

#[test]
fn fsinfo_is_ignored() {
    let mut bytes = volume(Width::Fat32);
    put(&mut bytes, 0x30, &1_u16.to_le_bytes());
    put(&mut bytes, 512, b"RRaA");
    put(&mut bytes, 512 + 484, b"rrAa");
    put(&mut bytes, 512 + 488, &900_u32.to_le_bytes());
    assert_eq!(used_clusters(&bytes), [2]);
}

#[test]
fn fats_larger_than_a_piece_are_read_whole() {
    // 512-byte clusters, more than two pieces of entries, a root at the end.
    let clusters = PIECES * 2 / 4 + 5000;
    let fat_sectors = (clusters + 2) * 4 / SECTOR + 1;
    let sectors = 32 + 2 * fat_sectors + clusters;
    let mut bytes = volume(Width::Fat32);
    bytes.resize(sectors * SECTOR, 0);
    put(&mut bytes, 0x0d, &[1]);
    put(&mut bytes, 0x13, &[0, 0]);
    put(&mut bytes, 0x20, &(sectors as u32).to_le_bytes());
    put(&mut bytes, 0x24, &(fat_sectors as u32).to_le_bytes());
    let second = fat_start(&bytes, 1);
    bytes[32 * SECTOR + 12..].fill(0);
    let head = bytes[32 * SECTOR..32 * SECTOR + 8].to_vec();
    put(&mut bytes, second, &head);
    let last = clusters + 1;
    let marks = [2, PIECES / 4 - 1, PIECES / 4, PIECES / 4 + 1, PIECES / 2, last];
    for cluster in marks {
        set_entry(&mut bytes, 1, cluster, 0x0fff_ffff);
    }
    assert_eq!(used_clusters(&bytes), marks.map(|cluster| cluster as u64));
}

#[test]
fn many_passes_find_the_same_as_one() {
    for width in WIDTHS {
        let mut bytes = volume(width);
        for cluster in (2..1000).step_by(3) {
            // Links to and fro between the passes.
            set_entry(&mut bytes, 1, cluster, 1001 - cluster as u32 / 2);
        }
        let boot = boot(&bytes);
        let disk = Memory::new(bytes);
        let once = used::map(&disk, &boot).unwrap();
        assert!(once.count() > 100);
        for pass in [1, 7, 64, 65, 999, 1000] {
            if pass > 1 || width == Width::Fat12 {
                assert_eq!(used::map_within(&disk, &boot, pass, Runs::new()).unwrap(), once);
            }
        }
    }
}

#[test]
fn a_map_of_too_many_ranges_gives_up_its_smallest_holes() {
    let mut bytes = volume(Width::Fat32);
    for cluster in (2..800).step_by(2) {
        set_entry(&mut bytes, 0, cluster, 0x0fff_ffff);
    }
    let boot = boot(&bytes);
    let disk = Memory::new(bytes);
    let fine = used::map(&disk, &boot).unwrap();
    assert_eq!(fine.count(), 400);
    for ranges in [1, 2, 10, 399] {
        let coarse = used::map_within(&disk, &boot, 1 << 20, Runs::at_most(ranges)).unwrap();
        assert!(coarse.count() <= ranges);
        assert!(fine.subtract(&coarse).is_empty());
        // The one large hole stays as long as there may be two ranges.
        assert_eq!(coarse.covers(Extent::new(0, disk.len())), ranges == 1);
    }
}

/// Bytes in a piece of a FAT, as the reading code has it.
const PIECES: usize = 12 << 16;

#[test]
fn identities_are_those_that_blkid_shows() {
    for width in WIDTHS {
        let bytes = volume(width);
        let identity = probe(&bytes).unwrap().unwrap();
        assert_eq!(identity.name, width.name());
        assert_eq!(identity.label, None);
        assert_eq!(identity.uuid.as_deref(), Some("1234-5678"));
        assert_eq!(identity.size, (bytes.len() - BEHIND) as u64);
        assert!(identity.clean);
    }
}

#[test]
fn the_label_is_the_one_in_the_root_directory() {
    for width in WIDTHS {
        let mut bytes = volume(width);
        let start = match boot(&bytes).root {
            Root::Area { start, .. } => start as usize,
            Root::Cluster(cluster) => boot(&bytes).cluster_start(cluster) as usize,
        };
        put(&mut bytes, start, b"\xe5LD LABEL  \x08");
        put(&mut bytes, start + 32, b"Apart of a \x0f");
        put(&mut bytes, start + 64, b"FILE    TXT\x20");
        put(&mut bytes, start + 96, b"ROOT LABEL \x28");
        let label = |bytes: &[u8]| probe(bytes).unwrap().unwrap().label;
        assert_eq!(label(&bytes).as_deref(), Some("ROOT LABEL"), "{width:?}");
        bytes[start + 64] = 0;
        assert_eq!(label(&bytes), None, "{width:?}");
    }
}

#[test]
fn the_label_is_found_in_a_later_cluster_of_the_root() {
    let mut bytes = volume(Width::Fat32);
    set_entry(&mut bytes, 0, 2, 90);
    set_entry(&mut bytes, 0, 90, 0x0fff_ffff);
    let start = boot(&bytes).cluster_start(2) as usize;
    bytes[start..start + 1024].fill(b'x');
    let start = boot(&bytes).cluster_start(90) as usize;
    put(&mut bytes, start, b"LATER LABEL\x08");
    assert_eq!(probe(&bytes).unwrap().unwrap().label.as_deref(), Some("LATER LABEL"));
    // A loop ends.
    set_entry(&mut bytes, 0, 2, 2);
    assert_eq!(probe(&bytes).unwrap().unwrap().label, None);
}

#[test]
fn a_volume_that_was_not_unmounted_is_stored_whole() {
    let not_unmounted = |bytes: &[u8]| {
        let used = used(bytes).unwrap();
        assert!(used.whole.as_deref().unwrap().contains("was not unmounted cleanly"));
        assert_eq!(used.extents, ExtentSet::all(bytes.len() as u64));
        assert!(!probe(bytes).unwrap().unwrap().clean);
        assert!(notice(bytes).unwrap().contains("not unmounted"));
    };
    assert_eq!(notice(&volume(Width::Fat32)), None);
    for (width, state) in [(Width::Fat12, 0x25), (Width::Fat16, 0x25), (Width::Fat32, 0x41)] {
        let mut bytes = volume(width);
        bytes[state] = 1;
        not_unmounted(&bytes);
    }
    for copy in 0..2 {
        let mut bytes = volume(Width::Fat16);
        set_entry(&mut bytes, copy, 1, 0x7fff);
        not_unmounted(&bytes);
        let mut bytes = volume(Width::Fat32);
        set_entry(&mut bytes, copy, 1, 0x07ff_ffff);
        not_unmounted(&bytes);
    }
}

/// What is told to who reads the files.
fn notice(bytes: &[u8]) -> Option<String> {
    Fat.files(&[Arc::new(Memory::new(bytes.to_vec()))]).unwrap().unwrap().notice()
}

#[test]
fn a_volume_with_disk_errors_is_stored_whole() {
    let had_errors = |bytes: &[u8]| {
        let used = used(bytes).unwrap();
        assert!(used.whole.as_deref().unwrap().contains("has had disk errors"));
        assert_eq!(used.extents, ExtentSet::all(bytes.len() as u64));
    };
    let mut bytes = volume(Width::Fat12);
    bytes[0x25] = 2;
    had_errors(&bytes);
    let mut bytes = volume(Width::Fat16);
    set_entry(&mut bytes, 1, 1, 0xbfff);
    had_errors(&bytes);
    let mut bytes = volume(Width::Fat32);
    set_entry(&mut bytes, 0, 1, 0x0bff_ffff);
    had_errors(&bytes);
}

#[test]
fn other_boot_sectors_are_not_fat() {
    let none = |bytes: &[u8]| assert_eq!(probe(bytes).unwrap(), None);
    for name in [b"NTFS    ", b"EXFAT   ", b"-FVE-FS-"] {
        let mut bytes = volume(Width::Fat32);
        put(&mut bytes, 3, name);
        none(&bytes);
    }
    let mut bytes = volume(Width::Fat32);
    put(&mut bytes, 3, b"MSWIN4.1");
    assert!(probe(&bytes).unwrap().is_some());
    let guid = b"\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01";
    put(&mut bytes, 0x1a8, guid);
    none(&bytes);
    let mut bytes = volume(Width::Fat16);
    put(&mut bytes, 0x36, b"HPFS    ");
    none(&bytes);
    let mut bytes = volume(Width::Fat16);
    bytes[511] = 0;
    none(&bytes);
    // An MBR: its code starts otherwise, or has no parameter block.
    let mut bytes = volume(Width::Fat16);
    bytes[0] = 0x33;
    none(&bytes);
    let mut mbr = vec![0x90; 1 << 20];
    put(&mut mbr, 0, &[0xeb, 0x63, 0x90]);
    put(&mut mbr, 510, &[0x55, 0xaa]);
    none(&mbr);
    none(&[]);
    none(&volume(Width::Fat12)[..511]);
}

#[test]
fn each_wrong_field_of_the_boot_sector_is_named() {
    let wrong = |width: Width, offset: usize, field: &[u8], message: &str| {
        let mut bytes = volume(width);
        put(&mut bytes, offset, field);
        assert_eq!(probe(&bytes).unwrap_err().to_string(), message);
        assert_eq!(used_error(&bytes), message);
    };
    let fat12 = Width::Fat12;
    let fat16 = Width::Fat16;
    let fat32 = Width::Fat32;
    wrong(
        fat12,
        0x0b,
        &[0, 0x20],
        "BPB_BytsPerSec at byte 0xb: expected 512, 1024, 2048 or 4096, found 8192",
    );
    wrong(
        fat12,
        0x0b,
        &[0, 3],
        "BPB_BytsPerSec at byte 0xb: expected 512, 1024, 2048 or 4096, found 768",
    );
    wrong(fat16, 0x0d, &[3], "BPB_SecPerClus at byte 0xd: expected a power of two, found 3");
    wrong(fat16, 0x0d, &[0], "BPB_SecPerClus at byte 0xd: expected a power of two, found 0");
    wrong(fat32, 0x0e, &[0, 0], "BPB_RsvdSecCnt at byte 0xe: expected at least 1, found 0");
    wrong(fat32, 0x10, &[0], "BPB_NumFATs at byte 0x10: expected 1 to 4, found 0");
    wrong(fat32, 0x10, &[5], "BPB_NumFATs at byte 0x10: expected 1 to 4, found 5");
    wrong(
        fat12,
        0x15,
        &[0xf1],
        "BPB_Media at byte 0x15: expected 0xf0 or from 0xf8 to 0xff, found 0xf1",
    );
    wrong(fat16, 0x11, &[0], "BPB_RootEntCnt at byte 0x11: expected not 0 on FAT12/16, found 0");
    wrong(fat32, 0x11, &[16], "BPB_RootEntCnt at byte 0x11: expected 0 on FAT32, found 16");
    wrong(fat32, 0x24, &[0, 0, 0, 0], "BPB_FATSz32 at byte 0x24: expected not 0, found 0");
    wrong(fat32, 0x2a, &[1, 0], "FAT32 of the unknown version 0x1");
    wrong(
        fat32,
        0x13,
        &[0, 0],
        "the FAT boot sector has no sector count; this may be a FAT with a 64-bit count",
    );
    wrong(
        fat12,
        0x20,
        &[1],
        "BPB_TotSec32 at byte 0x20: expected 0 or the 2009 of BPB_TotSec16, found 1",
    );
    wrong(
        fat12,
        0x13,
        &[8, 0],
        "BPB_TotSec at byte 0x13: expected room for the reserved sectors, the FATs, the root \
         directory and a cluster, found 8 sectors",
    );
    wrong(
        fat12,
        0x16,
        &[2],
        "BPB_FATSz at byte 0x16: expected at least 1505 bytes for 1001 clusters, found 1024 bytes",
    );
    wrong(
        fat32,
        0x24,
        &[7],
        "BPB_FATSz at byte 0x24: expected at least 4012 bytes for 1001 clusters, found 3584 bytes",
    );
    for (cluster, found) in [([1, 0], "1"), ([0xea, 3], "1002")] {
        wrong(
            fat32,
            0x2c,
            &cluster,
            &format!("BPB_RootClus at byte 0x2c: expected a cluster from 2 to 1001, found {found}"),
        );
    }
    wrong(
        fat32,
        0x28,
        &[0x82],
        "BPB_ExtFlags at byte 0x28: expected an active FAT below 2, found 2",
    );
}

#[test]
fn a_fat_whose_width_is_in_doubt_is_not_understood() {
    let with_clusters = |clusters: u16, named: &[u8; 8]| {
        let mut bytes = volume(Width::Fat16);
        put(&mut bytes, 0x13, &(46 + 2 * clusters).to_le_bytes());
        put(&mut bytes, 0x36, named);
        BootSector::parse(&bytes[..SECTOR]).map(|boot| boot.unwrap().width)
    };
    let error = |clusters, named| with_clusters(clusters, named).unwrap_err().to_string();
    assert_eq!(with_clusters(4084, b"FAT12   ").unwrap(), Width::Fat12);
    assert_eq!(with_clusters(4087, b"FAT16   ").unwrap(), Width::Fat16);
    assert_eq!(with_clusters(4087, b"FAT     ").unwrap(), Width::Fat16);
    for clusters in [4085, 4086] {
        assert!(error(clusters, b"FAT16   ").starts_with("systems disagree on whether a FAT of "));
    }
    assert!(error(4084, b"FAT16   ").ends_with("but its boot sector names another width"));
    assert!(error(4087, b"FAT12   ").ends_with("but its boot sector names another width"));
    assert!(error(4084, b"\0\0\0\0\0\0\0\0").ends_with("may have entries of 12 or of 16 bits"));
}

#[test]
fn too_many_clusters_for_the_width_are_corrupt() {
    let mut bytes = volume(Width::Fat16);
    put(&mut bytes, 0x13, &[0, 0]);
    put(&mut bytes, 0x20, &(46 + 2 * 65_525_u32).to_le_bytes());
    assert_eq!(
        used_error(&bytes),
        "cluster count of FAT16 at byte 0x20: expected at most 65524, found 65525"
    );
    let mut bytes = volume(Width::Fat32);
    put(&mut bytes, 0x0d, &[1]);
    put(&mut bytes, 0x13, &[0, 0]);
    put(&mut bytes, 0x20, &(48 + 0x0fff_fff5_u32).to_le_bytes());
    assert_eq!(
        used_error(&bytes),
        "cluster count of FAT32 at byte 0x20: expected at most 268435444, found 268435445"
    );
}

#[test]
fn a_filesystem_larger_than_its_volume_is_known_but_has_no_map() {
    let bytes = volume(Width::Fat12);
    let cut = &bytes[..bytes.len() - BEHIND - 1];
    assert_eq!(probe(cut).unwrap().unwrap().name, "FAT12");
    assert_eq!(
        used_error(cut),
        "size of the FAT filesystem at byte 0x13: expected at most the 1028607 bytes of the \
         volume, found 1028608"
    );
}

#[test]
fn contradictions_in_the_fat_are_corrupt() {
    let mut bytes = volume(Width::Fat16);
    let start = fat_start(&bytes, 0);
    bytes[start] = 0xf0;
    assert_eq!(
        used_error(&bytes),
        "first entry of the FAT at byte 0x800: expected the media type 0xf8, found 0xf0"
    );
    let mut bytes = volume(Width::Fat32);
    set_entry(&mut bytes, 0, 2, 0);
    assert_eq!(used_clusters(&bytes), [2]);
    set_entry(&mut bytes, 1, 2, 0);
    assert_eq!(
        used_error(&bytes),
        "BPB_RootClus at byte 0x2c: expected a cluster that is in use, found cluster 2, which is \
         free"
    );
}

#[test]
fn a_link_out_of_the_volume_is_corrupt_where_it_stands() {
    let link = |width: Width, copy: u64, cluster: usize, value: u32| {
        let mut bytes = volume(width);
        set_entry(&mut bytes, copy, cluster, value);
        used_error(&bytes)
    };
    assert_eq!(
        link(Width::Fat12, 1, 101, 1002),
        "FAT entry at byte 0x897: expected cluster 101 to be followed by one below 1002, an end or \
         a bad mark, found 1002"
    );
    assert!(link(Width::Fat16, 0, 100, 5002).starts_with("FAT entry at byte 0x8c8: "));
    assert!(link(Width::Fat32, 0, 100, 0x0fff_ffef).starts_with("FAT entry at byte 0x4190: "));
}

#[test]
fn the_active_fat_is_the_one_whose_head_counts() {
    let mut bytes = volume(Width::Fat32);
    let start = fat_start(&bytes, 0);
    bytes[start] = 0;
    assert!(used_error(&bytes).starts_with("first entry of the FAT at byte 0x4000: "));
    // Mirroring off, the second FAT is active; both still count.
    bytes[0x28] = 0x81;
    set_entry(&mut bytes, 0, 50, 0x0fff_ffff);
    set_entry(&mut bytes, 1, 51, 0x0fff_ffff);
    assert_eq!(used_clusters(&bytes), [2, 50, 51]);
}

#[test]
fn large_sectors_and_clusters_and_one_fat_are_understood() {
    // 4096-byte sectors, 512 KiB clusters, one FAT.
    let clusters = 31;
    let mut bytes = volume(Width::Fat12);
    bytes.resize((3 + clusters * 128) * 4096, 0);
    put(&mut bytes, 0x0b, &4096_u16.to_le_bytes());
    put(&mut bytes, 0x0d, &[128, 1, 0, 1, 128]);
    put(&mut bytes, 0x13, &(3 + clusters as u16 * 128).to_le_bytes());
    put(&mut bytes, 0x16, &[1, 0]);
    put(&mut bytes, 4096, &[0xf8, 0xff, 0xff]);
    set_entry(&mut bytes, 0, 32, 0xfff);
    let boot = boot(&bytes);
    assert_eq!((boot.cluster_bytes, boot.data_start, boot.clusters), (524_288, 3 * 4096, 31));
    assert_eq!(used_clusters(&bytes), [32]);
}

#[test]
fn unreadable_fats_are_an_io_error() {
    let bytes = volume(Width::Fat32);
    let start = fat_start(&bytes, 1) as u64;
    let disk = Memory::new(bytes).unreadable(Extent::at(start + 1024, 512));
    assert!(matches!(Fat.used(&[&disk]), Err(FormatError::Io(error)) if error.is_media_error()));
    // The label is not worth an error.
    let bytes = volume(Width::Fat32);
    let root = boot(&bytes).cluster_start(2);
    let disk = Memory::new(bytes).unreadable(Extent::at(root, 512));
    assert_eq!(Fat.probe(&[&disk]).unwrap().unwrap().label, None);
}

#[test]
fn no_changed_byte_makes_the_driver_panic_or_lose_the_tail() {
    for width in WIDTHS {
        let bytes = volume(width);
        let root = boot(&bytes).data_start as usize - 64;
        let heads = [fat_start(&bytes, 0), fat_start(&bytes, 1), root];
        let offsets = (0..SECTOR).chain(heads.into_iter().flat_map(|head| head..head + 16));
        let disk = Memory::new(bytes.clone());
        for offset in offsets {
            for flip in [0x01, 0x80, 0xff] {
                disk.write_at(offset as u64, &[bytes[offset] ^ flip]).unwrap();
                if let Ok(Some(identity)) = Fat.probe(&[&disk])
                    && let Ok(used) = Fat.used(&[&disk])
                {
                    let tail = Extent::new(identity.size, bytes.len() as u64);
                    assert!(used.extents.covers(tail));
                    assert!(used.extents.covers(Extent::new(0, SECTOR as u64)));
                }
            }
            disk.write_at(offset as u64, &[bytes[offset]]).unwrap();
        }
    }
}

#[test]
fn no_cut_makes_the_driver_panic_or_find_a_map() {
    for width in WIDTHS {
        let bytes = volume(width);
        let size = boot(&bytes).size;
        let disk = Memory::new(bytes);
        for len in (0..disk.len()).step_by(509) {
            let cut = Window::new(&disk, Extent::new(0, len));
            let _ = Fat.probe(&[&cut]);
            assert_eq!(Fat.used(&[&cut]).is_ok(), len >= size);
        }
    }
}

#[test]
fn a_leftover_fat_under_another_filesystem_is_not_trusted() {
    let mut bytes = volume(Width::Fat32);
    put(&mut bytes, 0x1_0040, b"_BHRfS_M");
    let used = used(&bytes).unwrap();
    let why = "the volume has the signatures of both FAT and btrfs";
    assert_eq!(used.whole.as_deref(), Some(why));
    assert_eq!(used.extents, ExtentSet::all(bytes.len() as u64));
}

#[test]
fn files_whose_chains_are_wrong_are_errors_of_their_own() {
    for width in [Width::Fat12, Width::Fat16, Width::Fat32] {
        let mut disk = volume(width);
        let boot = BootSector::parse(&disk[..512]).unwrap().unwrap();
        let root = match boot.root {
            Root::Area { start, .. } => start,
            Root::Cluster(cluster) => boot.cluster_start(cluster),
        } as usize;
        let mut slot = root;
        let mut add = |disk: &mut Vec<u8>, name: &[u8; 11], kind, first: u16, size: u32| {
            put(disk, slot, name);
            disk[slot + 11] = kind;
            put(disk, slot + 26, &first.to_le_bytes());
            put(disk, slot + 28, &size.to_le_bytes());
            slot += 32;
        };
        add(&mut disk, b"SHORT      ", 0, 20, 3000);
        add(&mut disk, b"GOOD       ", 0, 22, 1500);
        add(&mut disk, b"LOOP       ", 0x10, 24, 0);
        add(&mut disk, b"NOWHERE    ", 0, 60_000, 7);
        add(&mut disk, b"EMPTY      ", 0, 0, 0);
        let links = [(20, 21), (21, 0x0fff_ffff), (22, 23), (23, 0x0fff_ffff), (24, 25), (25, 24)];
        for (cluster, next) in links {
            entry(&mut disk, &boot, cluster, next);
        }
        put(&mut disk, boot.cluster_start(22) as usize, &[8; 1500]);
        let files = Fat.files(&[Arc::new(Memory::new(disk))]).unwrap().unwrap();
        let mut buf = [0; 2000];
        let mut read = |name: &[u8]| {
            let found = files.lookup(files.root(), name).unwrap().unwrap();
            files.read_at(found.node, 100, &mut buf).map_err(|error| error.to_string())
        };
        assert_eq!(read(b"good"), Ok(1400));
        assert_eq!(read(b"EMPTY"), Ok(0));
        assert!(read(b"short").is_err_and(|error| error.contains("3 clusters")));
        assert!(read(b"nowhere").is_err());
        let folder = files.lookup(files.root(), b"loop").unwrap().unwrap().node;
        assert!(files.list(folder, &mut |_| std::ops::ControlFlow::Continue(())).is_err());
    }
}

/// Writes an entry of both FATs.
fn entry(disk: &mut [u8], boot: &BootSector, cluster: u64, value: u32) {
    for copy in 0..boot.fat_count {
        let at = (boot.fat_copy_start(copy) + boot.width.offset(cluster)) as usize;
        match boot.width {
            Width::Fat32 => put(disk, at, &value.to_le_bytes()),
            Width::Fat16 => put(disk, at, &(value as u16).to_le_bytes()),
            Width::Fat12 => {
                let old = u16::from_le_bytes([disk[at], disk[at + 1]]);
                let value = value as u16 & 0xfff;
                let new = if cluster.is_multiple_of(2) {
                    old & 0xf000 | value
                } else {
                    old & 0xf | value << 4
                };
                put(disk, at, &new.to_le_bytes());
            }
        }
    }
}

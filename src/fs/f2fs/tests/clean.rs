// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is in use on filesystems that are whole.

use super::image::{
    BLOCKS, CP, Disk, MAIN, MAIN_END, SEGMENTS, SIT, VERSION, VOLUME, WARM, blocks, entry,
};

/// The map of [`Disk::new`].
const USED: &[(u64, u64)] = &[
    (0, MAIN),
    // Node logs: what is written, and what is next; all of the warm one.
    (MAIN, MAIN + 2),
    (MAIN + 512, MAIN + 1025),
    // Data logs.
    (MAIN + 3 * 512, MAIN + 3 * 512 + 2),
    (MAIN + 4 * 512, MAIN + 4 * 512 + 1),
    (MAIN + 5 * 512, MAIN + 5 * 512 + 1),
    (MAIN + 6 * 512 + 5, MAIN + 6 * 512 + 12),
    (MAIN + 6 * 512 + 509, MAIN + 8 * 512),
    (MAIN + 8 * 512 + 100, MAIN + 8 * 512 + 103),
    (MAIN_END, VOLUME),
];

#[test]
fn the_map_is_everything_in_front_of_the_main_area_and_what_is_valid_in_it() {
    let disk = Disk::new();
    assert_eq!(disk.map(), blocks(USED));
    let identity = disk.probe();
    assert_eq!(identity.name, "F2FS");
    assert_eq!(identity.label.as_deref(), Some("Gr\u{fc}n"));
    assert_eq!(identity.uuid.as_deref(), Some("abababab-abab-abab-abab-abababababab"));
    assert_eq!(identity.size, BLOCKS * 4096);
    assert!(identity.clean && identity.unclean.is_none());
}

#[test]
fn summaries_that_are_not_compacted_have_the_journal_in_the_third() {
    let mut disk = Disk::new();
    disk.journal(&[]);
    disk.checkpoint(1, 136, &8_u32.to_le_bytes());
    disk.checkpoint(1, 132, &0x41_u32.to_le_bytes());
    let mut journal = 1_u16.to_le_bytes().to_vec();
    journal.extend(8_u32.to_le_bytes());
    journal.extend(entry(2, &[(100, 103)]));
    disk.put(CP + 512 + 3, 3584, &journal);
    assert_eq!(disk.map(), blocks(USED));
    // Orphans come before the summaries.
    disk.checkpoint(1, 136, &9_u32.to_le_bytes());
    disk.checkpoint(1, 140, &2_u32.to_le_bytes());
    disk.checkpoint(1, 132, &0x43_u32.to_le_bytes());
    disk.put(CP + 512 + 3, 3584, &[0; 80]);
    disk.put(CP + 512 + 4, 3584, &journal);
    assert_eq!(disk.map(), blocks(USED));
    // Entries of a summary of nodes are not those of data.
    disk.put(CP + 512 + 4, 4091, &[1]);
    assert_eq!(disk.corrupt().0, "entry_type of the summary of cold data");
}

#[test]
fn bitmaps_that_do_not_fit_have_blocks_of_their_own() {
    let mut disk = Disk::new();
    disk.superblock(1664, &1_u32.to_le_bytes());
    // A bitmap of the node addresses is where the other one was.
    disk.checkpoint(1, 192, &[0]);
    disk.checkpoint(1, 136, &7_u32.to_le_bytes());
    disk.checkpoint(1, 140, &2_u32.to_le_bytes());
    let summary = disk.block(CP + 512 + 1).clone();
    disk.put(CP + 512 + 2, 0, &summary);
    *disk.block(CP + 512 + 1) = vec![0; 4096];
    disk.put(CP + 512 + 1, 0, &[0x80]);
    assert_eq!(disk.map(), blocks(USED));
}

#[test]
fn large_bitmaps_are_behind_the_checksum_the_one_of_nodes_first() {
    let mut disk = Disk::new();
    disk.checkpoint(1, 192, &[0]);
    disk.put(CP + 512, 196 + 64, &[0x80]);
    disk.put(CP + 512, 4092, &[0; 4]);
    disk.put(CP + 512, 164, &192_u32.to_le_bytes());
    disk.checkpoint(1, 132, &0x445_u32.to_le_bytes());
    assert_eq!(disk.map(), blocks(USED));
    disk.put(CP + 512, 192, &[0; 4]);
    disk.checkpoint(1, 164, &4092_u32.to_le_bytes());
    assert!(disk.used().unwrap_err().to_string().contains("old layout"));
}

#[test]
fn a_mount_takes_the_newer_pack_and_versions_wrap_around() {
    // The first pack has a bitmap of its own: the table's first copy.
    let mut disk = Disk::new();
    disk.checkpoint(0, 192, &[0]);
    let other = |disk: &Disk| disk.used().is_err() || disk.map() != blocks(USED);
    assert_eq!(disk.map(), blocks(USED));
    for version in [VERSION, VERSION + 1, VERSION + (1 << 62)] {
        disk.checkpoint(0, 0, &version.to_le_bytes());
        assert!(other(&disk), "{version:#x}");
    }
    for version in [VERSION - 1, 0, VERSION.wrapping_sub(1 << 62)] {
        disk.checkpoint(0, 0, &version.to_le_bytes());
        assert_eq!(disk.map(), blocks(USED), "{version:#x}");
    }
    disk.checkpoint(0, 0, &u64::MAX.to_le_bytes());
    disk.checkpoint(1, 0, &3_u64.to_le_bytes());
    assert_eq!(disk.map(), blocks(USED));
}

#[test]
fn a_pack_that_was_wiped_is_none() {
    let mut disk = Disk::new();
    *disk.block(CP) = vec![0; 4096];
    assert_eq!(disk.map(), blocks(USED));
    *disk.block(CP + 512) = vec![0; 4096];
    assert_eq!(disk.corrupt(), ("checkpoints", CP * 4096));
    // The state of the only one counts.
    let mut disk = Disk::new();
    *disk.block(CP + 512) = vec![0; 4096];
    disk.checkpoint(0, 132, &0x44_u32.to_le_bytes());
    assert!(disk.whole().contains("not unmounted"));
}

#[test]
fn a_log_that_fills_holes_writes_into_the_middle_of_its_segment() {
    let mut disk = Disk::new();
    // The log of cold data is in segment 5, which has blocks at its end.
    disk.segment(5, &entry(2, &[(0, 3), (9, 20)]));
    disk.checkpoint(1, 16, &600_u64.to_le_bytes());
    disk.checkpoint(1, 120, &3_u16.to_le_bytes());
    assert_eq!(disk.corrupt().0, "next block of a log");
    disk.checkpoint(1, 178, &[1]);
    let first = MAIN + 5 * 512;
    let expected = blocks(USED).union(&blocks(&[(first, first + 4), (first + 9, first + 20)]));
    assert_eq!(disk.map(), expected);
    disk.checkpoint(1, 120, &9_u16.to_le_bytes());
    assert_eq!(disk.corrupt().0, "next block of a log");
}

#[test]
fn harmless_flags_and_features_do_not_cost_the_map() {
    for flag in [0x2_u32, 0x20, 0x80, 0x100, 0x200] {
        let mut disk = Disk::new();
        disk.checkpoint(1, 132, &(0x45 | flag).to_le_bytes());
        assert_eq!(disk.map(), blocks(USED), "{flag:#x}");
    }
    for bit in (0..15).filter(|bit| *bit != 1 && *bit != 14) {
        let mut disk = Disk::new();
        disk.superblock(2180, &(0x800_u32 | 1 << bit).to_le_bytes());
        assert_eq!(disk.map(), blocks(USED), "feature {bit}");
    }
    // Without a checksum of the superblock.
    let mut disk = Disk::new();
    disk.superblock(2180, &0_u32.to_le_bytes());
    disk.superblock(32, &0_u32.to_le_bytes());
    assert_eq!(disk.map(), blocks(USED));
    // A shutdown that was asked for.
    disk.superblock(2762, &[1]);
    assert_eq!(disk.map(), blocks(USED));
}

#[test]
fn logs_of_a_read_only_image_share_a_segment() {
    let mut disk = Disk::new();
    disk.checkpoint(1, 40, &0_u32.to_le_bytes());
    assert_eq!(disk.corrupt().0, "segment of a log");
    let mut disk = Disk::new();
    disk.superblock(2180, &0x4800_u32.to_le_bytes());
    // Warm data where cold data is.
    disk.checkpoint(1, 88, &5_u32.to_le_bytes());
    disk.checkpoint(1, 24, &[0; 8]);
    assert!(disk.map().covers(blocks(&[(MAIN + 5 * 512, MAIN + 5 * 512 + 1)]).as_slice()[0]));
}

#[test]
fn a_state_without_a_clean_unmount_is_stored_whole() {
    for (flags, why, unclean) in [
        (0x44_u32, "not unmounted", "not unmounted"),
        (0x44 | 0x20, "not unmounted", "not unmounted"),
        (0x45 | 0x8, "has errors", "has to be checked"),
        (0x45 | 0x10, "has errors", "has to be checked"),
        (0x45 | 0x800, "quotas", "has to be checked"),
        (0x45 | 0x1000, "switched off", "not unmounted"),
        (0x45 | 0x2000, "switched off", "not unmounted"),
        (0x45 | 0x4000, "being resized", "resized only halfway"),
    ] {
        let mut disk = Disk::new();
        disk.checkpoint(1, 132, &flags.to_le_bytes());
        assert!(disk.whole().contains(why), "{flags:#x}: {}", disk.whole());
        assert!(disk.used().unwrap().advice.is_some());
        assert_eq!(disk.probe().unclean.as_deref(), Some(unclean), "{flags:#x}");
        // The flags of the older checkpoint say nothing.
        let mut disk = Disk::new();
        disk.checkpoint(0, 132, &flags.to_le_bytes());
        assert_eq!(disk.map(), blocks(USED));
    }
    for unknown in [0x8000_u32, 1 << 31] {
        let mut disk = Disk::new();
        disk.checkpoint(1, 132, &(0x45 | unknown).to_le_bytes());
        assert!(disk.whole().contains("flags that are not known"));
        assert!(disk.probe().clean);
    }
}

#[test]
fn nodes_written_after_the_checkpoint_are_found_although_it_says_unmounted() {
    for (version, found) in [
        (VERSION, true),
        // With the checksum of the checkpoint in its upper half.
        (VERSION & 0xFFFF_FFFF | 0xDEAD_BEEF << 32, true),
        (VERSION - 1, false),
        (VERSION + 1, false),
        (0, false),
    ] {
        let mut disk = Disk::new();
        disk.put(WARM, 4084, &version.to_le_bytes());
        if found {
            assert!(disk.whole().contains("which a mount will recover"));
            assert_eq!(disk.probe().unclean.as_deref(), Some("not unmounted"));
        } else {
            assert_eq!(disk.map(), blocks(USED), "{version:#x}");
        }
    }
    // Anywhere else a mount does not look.
    let mut disk = Disk::new();
    for block in [WARM - 1, WARM + 1, MAIN + 1, MAIN + 10 * 512] {
        disk.put(block, 4084, &VERSION.to_le_bytes());
    }
    assert_eq!(disk.map(), blocks(USED));
}

#[test]
fn several_devices_zones_and_recorded_errors_are_stored_whole() {
    let mut disk = Disk::new();
    disk.superblock(2201, b"/dev/sdb");
    // Its size is that of all of them.
    disk.superblock(36, &(2 * VOLUME).to_le_bytes());
    assert!(disk.unsupported().contains("several devices"));
    let mut disk = Disk::new();
    disk.superblock(2201 + 7 * 68, b"/dev/sdh");
    assert!(disk.unsupported().contains("several devices"));
    let mut disk = Disk::new();
    disk.superblock(2180, &0x802_u32.to_le_bytes());
    assert!(disk.unsupported().contains("zoned"));
    for offset in [2764, 2762 + 31, 2794, 2794 + 15] {
        let mut disk = Disk::new();
        disk.superblock(offset, &[1]);
        assert!(disk.whole().contains("errors are recorded"), "{offset}");
        assert_eq!(disk.probe().unclean.as_deref(), Some("has to be checked"));
    }
}

#[test]
fn segments_behind_the_main_area_are_stored() {
    // An old program counted one more segment than it used.
    let mut disk = Disk::new();
    disk.superblock(48, &(7 + SEGMENTS as u32 - 1 + 1).to_le_bytes());
    disk.superblock(68, &(SEGMENTS as u32 - 1).to_le_bytes());
    disk.superblock(44, &(SEGMENTS as u32 - 1).to_le_bytes());
    disk.checkpoint(1, 32, &2_u32.to_le_bytes());
    let expected = blocks(USED).union(&blocks(&[(MAIN_END - 512, VOLUME)]));
    assert_eq!(disk.map(), expected);
    const { assert!(SIT < MAIN) };
}

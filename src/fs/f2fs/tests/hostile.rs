// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filesystems that contradict themselves: one test for each checked field.

use super::image::{BLOCKS, CP, Disk, MAIN, SIT, VOLUME, WARM, entry};
use crate::fs::Filesystem;
use crate::fs::f2fs::F2fs;
use crate::io::{Memory, ReadAt};
use crate::ondisk::FormatError;

#[test]
fn what_is_not_f2fs_is_somebody_elses() {
    let mut disk = Disk::new();
    disk.put(0, 1024, &[0]);
    assert!(F2fs.probe(&[&disk]).unwrap().is_none());
    assert!(matches!(disk.used(), Err(FormatError::Unsupported(_))));
    let mut short = Disk::new();
    short.len = 8191;
    assert!(F2fs.probe(&[&short]).unwrap().is_none());
    assert!(F2fs.probe(&[]).unwrap().is_none());
    let empty = Memory::new(vec![0; 0]);
    let readers: &[&dyn ReadAt] = &[&empty];
    assert!(F2fs.probe(readers).unwrap().is_none());
    assert!(F2fs.used(readers).is_err());
}

#[test]
fn each_field_of_the_superblock_is_checked() {
    for (offset, value, what, at) in [
        (8_usize, 8_u32, "log_sectorsize", 8_u64),
        (8, 13, "log_sectorsize", 8),
        (12, 2, "log_sectors_per_block", 12),
        (16, 11, "log_blocksize", 16),
        (16, 17, "log_blocksize", 16),
        (20, 10, "log_blocks_per_seg", 20),
        (24, 0, "segs_per_sec", 24),
        (24, 20, "segs_per_sec", 24),
        (24, 2, "section_count", 44),
        (28, 0, "secs_per_zone", 28),
        (28, 13, "secs_per_zone", 28),
        (32, 3064, "checksum_offset", 32),
        (36, VOLUME as u32 + 1, "block_count", 36),
        (36, BLOCKS as u32 - 11, "end of the main area", 68),
        (40, 1, "block_count", 36),
        (40, u32::MAX, "block_count", 36),
        (44, 11, "section_count", 44),
        (48, 0, "segment_count", 48),
        (48, (1 << 23) + 1, "segment_count", 48),
        (48, 18, "segment_count_main", 68),
        (52, 3, "segment_count_ckpt", 52),
        (56, 0, "segment_count_sit", 56),
        (56, 3, "segment_count_sit", 56),
        (56, 4, "nat_blkaddr", 84),
        (60, 0, "segment_count_nat", 60),
        (60, 1, "segment_count_nat", 60),
        (60, 4, "ssa_blkaddr", 88),
        (64, 0, "segment_count_ssa", 64),
        (64, 2, "main_blkaddr", 92),
        (68, 0, "segment_count_main", 68),
        (68, u32::MAX, "segment_count_ssa", 64),
        (72, 1, "segment0_blkaddr", 72),
        (72, 513, "cp_blkaddr", 76),
        (76, 513, "cp_blkaddr", 76),
        (80, 0, "sit_blkaddr", 80),
        (84, u32::MAX, "nat_blkaddr", 84),
        (88, 1, "ssa_blkaddr", 88),
        (92, MAIN as u32 + 512, "main_blkaddr", 92),
        (96, 4, "root_ino", 96),
        (100, 3, "node_ino", 100),
        (104, 1, "meta_ino", 104),
        (1664, 511, "cp_payload", 1664),
        (3068, 1, "crc of the superblock", 3068),
    ] {
        let mut disk = Disk::new();
        disk.superblock(offset, &value.to_le_bytes());
        assert_eq!(disk.corrupt(), (what, 1024 + at), "{offset}: {value}");
        let identity = disk.probe();
        assert_eq!(identity.unclean.as_deref(), Some("damaged"), "{offset}: {value}");
    }
    for (offset, value, why) in [
        (2180_usize, 0x8800_u32, "unknown features of F2FS: 0x8000"),
        (2180, 0x8000_0800, "unknown features of F2FS: 0x80000000"),
        (16, 14, "blocks of F2FS that are not of 4096 bytes"),
        (4, 2, "version 2 of F2FS"),
    ] {
        let mut disk = Disk::new();
        disk.superblock(offset, &value.to_le_bytes());
        assert!(disk.unsupported().contains(why), "{}", disk.unsupported());
        assert!(disk.probe().clean, "what is not known is not called damaged");
    }
}

#[test]
fn the_superblocks_have_to_agree() {
    for offset in [0_usize, 1, 100, 2000, 3060, 3071] {
        let mut disk = Disk::new();
        disk.block(1)[1024 + offset] ^= 1;
        assert_eq!(disk.corrupt(), ("second superblock", 5120 + offset as u64));
    }
    // What is around them is not theirs.
    let mut disk = Disk::new();
    disk.block(1)[1023] ^= 1;
    disk.block(0)[0] ^= 1;
    disk.map();
}

#[test]
fn each_field_of_the_checkpoint_is_checked() {
    let position = (CP + 512) * 4096;
    for (offset, bytes, what, at) in [
        (8_usize, vec![0; 8], "user_block_count", 8_u64),
        (8, vec![255; 8], "user_block_count", 8),
        (8, 6144_u64.to_le_bytes().to_vec(), "user_block_count", 8),
        (16, 3001_u64.to_le_bytes().to_vec(), "valid_block_count", 16),
        (16, 566_u64.to_le_bytes().to_vec(), "valid_block_count", 16),
        (24, vec![12, 0, 0, 0], "rsvd_segment_count", 24),
        (24, vec![0; 4], "overprov_segment_count", 28),
        (28, vec![0; 4], "overprov_segment_count", 28),
        (32, vec![13, 0, 0, 0], "free_segment_count", 32),
        (32, vec![4, 0, 0, 0], "free_segment_count", 32),
        (36, vec![12, 0, 0, 0], "segment of a log", 36),
        (44, vec![255; 4], "segment of a log", 44),
        (84, vec![12, 0, 0, 0], "segment of a log", 84),
        (88, vec![3, 0, 0, 0], "segment of a log", 88),
        (40, vec![5, 0, 0, 0], "segment of a log", 40),
        (68, vec![0, 2], "next block of a log", 68),
        (120, vec![255; 2], "next block of a log", 120),
        (176, vec![2], "alloc_type of a log", 176),
        (181, vec![255], "alloc_type of a log", 181),
        (144, vec![255; 4], "valid_node_count", 144),
        (144, vec![40, 0, 0, 0], "valid_node_count", 144),
        (144, vec![42, 0, 0, 0], "valid_node_count", 144),
        (136, vec![5, 0, 0, 0], "cp_pack_total_block_count", 136),
        (136, vec![8, 0, 0, 0], "cp_pack_total_block_count", 136),
        (136, vec![2, 0, 0, 0], "cp_pack_total_block_count", 136),
        (136, vec![1, 2, 0, 0], "cp_pack_total_block_count", 136),
        (140, vec![0; 4], "cp_pack_start_sum", 140),
        (140, vec![255; 4], "cp_pack_total_block_count", 136),
        (156, vec![63, 0, 0, 0], "sit_ver_bitmap_bytesize", 156),
        (156, vec![255; 4], "sit_ver_bitmap_bytesize", 156),
        (160, vec![65, 0, 0, 0], "nat_ver_bitmap_bytesize", 160),
    ] {
        let mut disk = Disk::new();
        disk.checkpoint(1, offset, &bytes);
        assert_eq!(disk.corrupt(), (what, position + at), "{offset}: {bytes:?}");
    }
    for offset in [0_u32, 188, 4093, 4096, u32::MAX, 194] {
        let mut disk = Disk::new();
        disk.checkpoint(1, 164, &offset.to_le_bytes());
        assert_eq!(disk.corrupt(), ("checksum_offset of a checkpoint", position + 164));
    }
}

#[test]
fn both_ends_of_both_packs_have_to_be_whole() {
    for (pack, last) in [(0, 0), (0, 5), (1, 0), (1, 5)] {
        for offset in [0_usize, 132, 1000, 4095] {
            let mut disk = Disk::new();
            let block = CP + pack * 512 + last;
            disk.block(block)[offset] ^= 0x10;
            let expected = ("checksum of a checkpoint", block * 4096 + 4092);
            assert_eq!(disk.corrupt(), expected, "pack {pack}, block {last}, byte {offset}");
        }
    }
    // Another checkpoint, itself whole, at the end of the pack.
    let mut disk = Disk::new();
    let other = disk.block(CP).clone();
    *disk.block(CP + 512 + 5) = other;
    assert_eq!(disk.corrupt(), ("last block of a checkpoint", (CP + 517) * 4096));
}

#[test]
fn segment_information_has_to_agree_with_itself_and_the_checkpoint() {
    let at = |segment: u64| (SIT + 512) * 4096 + segment * 74;
    // A count that is not that of the bitmap.
    let mut disk = Disk::new();
    disk.put(SIT + 512, 6 * 74, &[11]);
    assert_eq!(disk.corrupt(), ("valid blocks of a segment", at(6)));
    let mut disk = Disk::new();
    disk.put(SIT + 512, 9 * 74 + 2, &[1]);
    assert_eq!(disk.corrupt(), ("valid blocks of a segment", at(9)));
    let mut disk = Disk::new();
    disk.segment(9, &entry(6, &[]));
    assert_eq!(disk.corrupt(), ("type of a segment", at(9)));
    // Nodes among data, in the segment of a log and in any other.
    let mut disk = Disk::new();
    disk.segment(3, &entry(3, &[(0, 1)]));
    assert_eq!(disk.corrupt(), ("type of the segment of a log", at(3)));
    let mut disk = Disk::new();
    disk.segment(9, &entry(3, &[(0, 1)]));
    assert_eq!(disk.corrupt().0, "valid_node_count");
    // What a log will write is in use.
    let mut disk = Disk::new();
    disk.segment(0, &entry(3, &[(0, 1), (511, 512)]));
    assert_eq!(disk.corrupt(), ("next block of a log", at(0)));
    // More blocks than the checkpoint knows of.
    let mut disk = Disk::new();
    disk.segment(9, &entry(0, &[(0, 1)]));
    assert_eq!(disk.corrupt().0, "valid_block_count");
    // A place of the table that has no bit.
    let mut disk = Disk::new();
    disk.superblock(68, &3000_u32.to_le_bytes());
    assert!(disk.used().is_err());
}

#[test]
fn the_journal_has_to_make_sense() {
    let position = (CP + 513) * 4096 + 507;
    let mut disk = Disk::new();
    disk.put(CP + 513, 507, &7_u16.to_le_bytes());
    assert_eq!(disk.corrupt(), ("entries of the SIT journal", position));
    let good = entry(2, &[(100, 103)]);
    let mut disk = Disk::new();
    disk.journal(&[(8, good.clone()), (12, good.clone())]);
    assert_eq!(disk.corrupt(), ("segment in the SIT journal", position + 2 + 78));
    let mut disk = Disk::new();
    disk.journal(&[(8, good.clone()), (8, good.clone())]);
    assert_eq!(disk.corrupt(), ("segment in the SIT journal", position + 2 + 78));
    let mut disk = Disk::new();
    let mut wrong = good;
    wrong[0] ^= 1;
    disk.journal(&[(8, wrong)]);
    assert_eq!(disk.corrupt(), ("valid blocks of a segment", position + 6));
    // Without it, a segment is too full for the checkpoint.
    let mut disk = Disk::new();
    disk.journal(&[]);
    assert_eq!(disk.corrupt().0, "valid_block_count");
}

#[test]
fn nothing_is_free_if_anything_needed_cannot_be_read() {
    for block in [0, 1, CP, CP + 5, CP + 512, CP + 517, CP + 513, SIT + 512, WARM] {
        let mut disk = Disk::new();
        disk.bad = Some(block * 4096 + 3000);
        assert!(matches!(disk.used(), Err(FormatError::Io(_))), "block {block}");
    }
    // Neither the other copy of the table nor free blocks are read.
    for block in [SIT, MAIN + 9 * 512, CP + 1] {
        let mut disk = Disk::new();
        disk.bad = Some(block * 4096);
        disk.map();
    }
}

#[test]
fn no_changed_byte_of_the_metadata_makes_the_map_leave_the_volume() {
    let disk = Disk::new();
    for (block, range) in [
        (0, 1024..4096),
        (CP, 0..4096),
        (CP + 512, 0..4096),
        (CP + 513, 500..600),
        (SIT + 512, 0..900),
    ] {
        for offset in range.step_by(13) {
            let mut disk = Disk::new();
            disk.block(block)[offset] ^= 0xFF;
            // With its checksum made right again.
            let byte = disk.block(block)[offset];
            match block {
                0 => disk.superblock(offset - 1024, &[byte]),
                CP => disk.checkpoint(0, offset, &[byte]),
                block if block == CP + 512 => disk.checkpoint(1, offset, &[byte]),
                _ => {}
            }
            let _ = disk.used();
            let _ = F2fs.probe(&[&disk]);
        }
    }
    disk.map();
}

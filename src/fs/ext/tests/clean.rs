// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filesystems that were unmounted, and what one changed field does to them.

use super::image::{
    BEHIND, BLOCK, BLOCKS, EXTENTS, FILE, FILE_LEN, FLEX_BG, GDT_CSUM, GROUPS, HAS_JOURNAL, Image,
    JOURNAL, JOURNAL_LEN, MAP, METADATA_CSUM, PER_GROUP, WIDE, blocks, used,
};
use crate::extent::Extent;
use crate::fs::ext::Ext;
use crate::fs::{Filesystem, Identity};
use crate::io::Memory;
use crate::ondisk::FormatError;

fn all() -> Vec<Image> {
    let mut images = vec![Image::ext2(), Image::ext4()];
    for incompat in [0x2, 0x2 | EXTENTS | FLEX_BG, 0x2 | EXTENTS | FLEX_BG | WIDE] {
        for ro_compat in [0x1, 0x1 | GDT_CSUM, 0x1 | METADATA_CSUM] {
            images.push(Image::new(HAS_JOURNAL, incompat, ro_compat));
        }
    }
    images
}

#[test]
fn the_map_is_what_the_bitmaps_say_and_what_they_do_not_speak_of() {
    for image in all() {
        let map = image.map();
        assert_eq!(map, image.truth());
        assert!(map.covers(blocks(0, 3)), "boot sector, superblock, descriptors");
        assert!(map.covers(blocks(FILE, FILE_LEN)));
        assert!(!map.touches(blocks(FILE + FILE_LEN, 1)));
        assert!(map.covers(Extent::at(BLOCKS * BLOCK as u64, BEHIND as u64)), "the tail");
    }
}

#[test]
fn the_identity_is_told_even_of_what_is_not_understood() {
    let probe = |image: Image| Ext.probe(&[&Memory::new(image.bytes)]).unwrap();
    let identity = Identity {
        name: "ext4".into(),
        label: Some("pristine".into()),
        uuid: Some("64616361-706f-2074-6573-74206469736b".into()),
        size: BLOCKS * BLOCK as u64,
        clean: true,
        unclean: None,
    };
    assert_eq!(probe(Image::ext4()), Some(identity.clone()));
    assert_eq!(probe(Image::ext4().with(0x62, &[0x80])), Some(identity.clone()));
    let errors = Image::ext4().with(0x3A, &[3]);
    let unclean = Some("errors are recorded".into());
    assert_eq!(probe(errors), Some(Identity { clean: false, unclean, ..identity.clone() }));
    let name = |image| probe(image).unwrap().name;
    assert_eq!(name(Image::ext2()), "ext2");
    assert_eq!(name(Image::new(HAS_JOURNAL, 0x2, 0x1)), "ext3");

    let mut other = Image::ext4();
    other.put(1024 + 0x38, &[0; 2]);
    assert_eq!(probe(other), None);
    assert_eq!(probe(Image::ext4().with(0x18, &[7])), None);
    assert_eq!(Ext.probe(&[&Memory::zeros(2047)]).unwrap(), None);
}

/// Asserts that a changed superblock field is refused as corrupt, by name.
#[track_caller]
fn refused(image: Image, field: &str) {
    match image.used() {
        Err(FormatError::Corrupt { what, .. }) => assert_eq!(what, field),
        other => panic!("{field} is not refused: {other:?}"),
    }
}

#[test]
fn every_field_of_the_superblock_is_checked() {
    let ext2 = |offset, bytes: &[u8]| Image::ext2().with(offset, bytes);
    let ext4 = |offset, bytes: &[u8]| Image::ext4().with(offset, bytes);
    refused(ext2(0x38, &[0; 2]), "s_magic");
    refused(ext2(0x0, &[1]), "s_inodes_count");
    refused(ext2(0x4, &(BLOCKS as u32 + 2).to_le_bytes()), "s_blocks_count");
    refused(ext2(0x4, &[2, 0, 0, 0]), "s_blocks_count");
    refused(ext2(0x150, &[1]), "s_blocks_count_hi");
    refused(ext4(0x150, &[1]), "s_blocks_count");
    refused(ext4(0x150, &[0xFF; 4]), "s_blocks_count");
    refused(ext2(0xC, &[0xFF; 4]), "s_free_blocks_count");
    refused(ext2(0xC, &[1]), "s_free_blocks_count");
    refused(ext2(0x14, &[0]), "s_first_data_block");
    refused(ext2(0x18, &[7]), "s_log_block_size");
    refused(ext2(0x18, &[0xFF; 4]), "s_log_block_size");
    refused(ext2(0x1C, &[1]), "s_log_cluster_size");
    refused(ext2(0x1C, &[0xFF; 4]), "s_log_cluster_size");
    refused(ext2(0x20, &[0; 4]), "s_blocks_per_group");
    refused(ext2(0x24, &[0; 4]), "s_clusters_per_group");
    refused(ext2(0x24, &[0xFF; 4]), "s_clusters_per_group");
    refused(ext2(0x24, &[4]), "s_clusters_per_group");
    refused(ext2(0x28, &[0; 4]), "s_inodes_per_group");
    refused(ext2(0x28, &[0xFF; 4]), "s_inodes_per_group");
    refused(ext2(0x4C, &[0]), "s_rev_level");
    refused(ext2(0x58, &[0]), "s_inode_size");
    refused(ext2(0x58, &[0, 0x80]), "s_inode_size");
    refused(ext2(0x58, &[0x82]), "s_inode_size");
    refused(ext2(0xCE, &[0xFF; 2]), "s_reserved_gdt_blocks");
    refused(ext4(0xFE, &[32, 0]), "s_desc_size");
    refused(ext4(0xFE, &[0xFF; 2]), "s_desc_size");
    refused(ext4(0xFE, &[96, 0]), "s_desc_size");
    refused(ext4(0x60, &[0xD2, 2, 0, 0]).with(0x104, &[2]), "s_first_meta_bg");
    refused(ext4(0xE0, &[0]), "s_journal_inum");
    refused(ext4(0xE0, &[0xFF; 4]), "s_journal_inum");

    let mut unsealed = Image::ext4();
    unsealed.put(1024 + 0x78, b"X");
    refused(unsealed, "s_checksum");
}

#[test]
fn what_is_not_known_is_unsupported() {
    let unsupported = |image: Image, text: &str| match image.used() {
        Err(FormatError::Unsupported(what)) => assert!(what.contains(text), "{what}"),
        other => panic!("not unsupported: {other:?}"),
    };
    unsupported(Image::ext4().with(0x62, &[0x80]), "unknown feature (incompat bit 0x800000)");
    unsupported(Image::ext4().with(0x4C, &[2]), "unknown revision 2");
    unsupported(Image::ext4().with(0x175, &[2]), "unknown checksum type 2");
}

#[test]
fn states_that_prove_nothing_are_stored_whole() {
    let reason = |image: Image, text: &str| {
        let used = image.used().unwrap();
        let why = used.whole.unwrap();
        assert!(why.contains(text), "{why}");
        assert_eq!(used.extents.bytes(), image.bytes.len() as u64);
    };
    reason(Image::ext2().with(0x3A, &[0]), "was not unmounted");
    reason(Image::ext4().with(0x3A, &[3]), "errors are recorded");
    reason(Image::ext4().with(0x3A, &[5]), "unusual state 0x5");
    let device = Image::ext4().with(0x60, &[8, 0, 0, 0]);
    reason(device, "journal of a filesystem on another device");

    let external = Image::ext4().with(0xE0, &[0]).with(0xD0, b"journal's uuid");
    reason(external, "journal is on another device");
}

#[test]
fn a_group_without_a_bitmap_is_computed_and_never_read() {
    for ro_compat in [GDT_CSUM, METADATA_CSUM] {
        for incompat in [0x2 | FLEX_BG, 0x2] {
            let mut image = Image::new(0, incompat, 0x1 | ro_compat);
            let before = image.map();
            image.forget_bitmap(GROUPS - 1);
            image.seal();
            assert_eq!(image.map(), before);

            let bitmap = image.bitmap_at(GROUPS - 1) as u64;
            let disk =
                Memory::new(image.bytes.clone()).unreadable(Extent::at(bitmap, BLOCK as u64));
            assert_eq!(used(&disk).unwrap().extents, before);

            // The flag alone proves nothing.
            let at = image.descriptor(GROUPS - 1);
            image.bytes[at + 0x1E] ^= 1;
            refused(image, "checksum of a group descriptor");
        }
    }
    // Without checksums the kernel reads the bitmap in spite of the flag.
    let mut image = Image::ext2();
    let before = image.map();
    let at = image.descriptor(2);
    image.bytes[at + 0x12] |= 2;
    assert_eq!(image.map(), before);
}

#[test]
fn a_group_without_a_bitmap_that_holds_more_than_its_metadata_is_refused() {
    let mut image = Image::new(0, 0x2, 0x1 | METADATA_CSUM);
    image.mark(1 + 2 * PER_GROUP + 100, 1, true);
    image.count();
    image.forget_bitmap(GROUPS - 1);
    image.seal();
    refused(image, "block bitmap");
}

#[test]
fn counts_have_to_agree() {
    for mut image in all() {
        image.mark(FILE + 50, 1, true);
        image.seal();
        refused(image, "block bitmap");
    }
    for mut image in all() {
        image.mark(FILE + 50, 1, true);
        let free = image.u32(1024 + 0xC);
        image.count();
        image.put(1024 + 0xC, &free.to_le_bytes());
        image.seal();
        refused(image, "s_free_blocks_count");
    }
}

#[test]
fn metadata_has_to_be_marked() {
    let table = Image::ext2().u32(Image::ext2().descriptor(1) + 8).into();
    let superblock_copy = 1 + PER_GROUP;
    for block in [1, 2, 3, table, superblock_copy, superblock_copy + 1] {
        let mut image = Image::ext2();
        image.mark(block, 1, false);
        image.count();
        let error = image.used().unwrap_err().to_string();
        assert!(error.contains("marked as in use, found free blocks there"), "{error}");
    }
    for incompat in [0x2, 0x2 | EXTENTS] {
        let mut image = Image::new(HAS_JOURNAL, incompat, 0x1);
        image.mark(if incompat == 0x2 { MAP + 3 } else { JOURNAL + 77 }, 1, false);
        image.count();
        refused(image, "block bitmap");
    }
}

#[test]
fn a_bitmap_with_a_wrong_checksum_is_refused() {
    for wide in [0, WIDE] {
        let mut image = Image::new(0, 0x2 | wide, 0x1 | METADATA_CSUM);
        // As many bits as before, so that the counts agree.
        image.mark(FILE, 1, false);
        image.mark(FILE + 50, 1, true);
        refused(image.clone(), "checksum of a block bitmap");
        image.seal();
        assert_eq!(image.map(), image.truth());
    }
}

#[test]
fn bitmaps_and_tables_have_to_be_where_they_can_be() {
    // Without checksums of bitmaps, so that only places are at stake.
    let flexible = || Image::new(HAS_JOURNAL, 0x2 | EXTENTS | WIDE | FLEX_BG, 0x1 | GDT_CSUM);
    for (offset, what) in [(0x0, "block bitmap"), (0x4, "inode bitmap"), (0x8, "inode table")] {
        for place in [0, BLOCKS as u32, u32::MAX] {
            let mut image = flexible();
            let at = image.descriptor(1) + offset;
            image.put(at, &place.to_le_bytes());
            image.seal();
            refused(image, what);
        }
        let mut image = flexible();
        let at = image.descriptor(1) + offset;
        image.put(at + 0x20, &[1]);
        image.seal();
        refused(image, what);
        // In another group, which only flex_bg allows.
        let mut image = Image::ext2();
        let at = image.descriptor(2) + offset;
        image.put(at, &100_u32.to_le_bytes());
        refused(image, what);
        // On top of each other.
        let mut image = flexible();
        let at = image.descriptor(2) + offset;
        image.put(at, &3_u32.to_le_bytes());
        image.seal();
        refused(image, "metadata");
    }
}

#[test]
fn a_volume_shorter_than_its_filesystem_is_refused() {
    let mut image = Image::ext4();
    image.bytes.truncate(BLOCKS as usize * BLOCK - 1);
    refused(image, "s_blocks_count");
}

#[test]
fn a_bitmap_that_cannot_be_read_proves_nothing() {
    let image = Image::ext2();
    let bitmap = image.bitmap_at(1) as u64;
    let disk = Memory::new(image.bytes).unreadable(Extent::at(bitmap + 512, 1));
    assert!(matches!(used(&disk), Err(FormatError::Io(error)) if error.is_media_error()));
}

#[test]
fn multiple_mount_protection_is_believed() {
    let protected = |sequence: u32| {
        let mut image = Image::new(0, 0x102, 0x1);
        image.mark(50, 1, true);
        image.count();
        image.put(1024 + 0x168, &[50]);
        image.put(50 * BLOCK, &0x004D_4D50_u32.to_le_bytes());
        image.put(50 * BLOCK + 4, &sequence.to_le_bytes());
        image.put(50 * BLOCK + 0x10, b"studio-7");
        image
    };
    let clean = protected(0xFF4D_4D50);
    assert_eq!(clean.map(), clean.truth());
    assert!(protected(0xE24D_4D50).refusal().contains("e2fsck on 'studio-7'"));
    assert!(protected(17).refusal().contains("a mount on 'studio-7'"));

    let mut image = clean.clone();
    image.put(50 * BLOCK, &[0]);
    refused(image, "mmp_magic");
    let mut image = clean.clone();
    image.mark(50, 1, false);
    image.count();
    refused(image, "block bitmap");
    refused(clean.clone().with(0x168, &[1]), "s_mmp_block");
    refused(clean.clone().with(0x168, &[0xFF; 8]), "mmp block");
    // The block of an inode bitmap.
    let mut image = clean;
    image.put(1024 + 0x168, &[4]);
    let block = image.bytes[50 * BLOCK..51 * BLOCK].to_vec();
    image.put(4 * BLOCK, &block);
    refused(image, "mmp block");
}

#[test]
fn the_journal_is_found_and_checked() {
    let at = JOURNAL as usize * BLOCK;
    for (offset, value, what) in [
        (0x0, 0_u32, "h_magic"),
        (0x4, 5, "h_blocktype"),
        (0xC, 4096, "s_blocksize"),
        (0x10, 1023, "s_maxlen"),
        (0x10, 1281, "s_maxlen"),
        (0x14, 0, "s_first"),
        (0x14, 1280, "s_first"),
        (0x1C, 1280, "s_start"),
    ] {
        let mut image = Image::ext4();
        image.put(at + offset, &value.to_be_bytes());
        refused(image, what);
    }
    for (offset, value, text) in [
        (0x24, 2_u32, "unknown feature (compat bits 0x2)"),
        (0x28, 0x40, "unknown feature (incompat bits 0x40)"),
        (0x2C, 1, "unknown feature (ro_compat bits 0x1)"),
        (0x28, 0x18, "several kinds of checksums"),
        (0x28, 0x10, "unknown checksum type 0"),
        (0x20, 5, "errors are recorded in the journal"),
        (0x1C, 7, "the journal says that it is not"),
    ] {
        let mut image = Image::ext4();
        image.put(at + offset, &value.to_be_bytes());
        let why = image.refusal();
        assert!(why.contains(text), "{why}");
    }
    let mut image = Image::ext4();
    image.put(at + 0x28, &0x10_u32.to_be_bytes());
    image.put(at + 0x50, &[4]);
    refused(image, "checksum of the journal superblock");
}

#[test]
fn the_map_of_the_journal_has_to_be_whole() {
    let inode = |offset: usize, bytes: &[u8]| {
        let mut image = Image::ext4();
        let at = image.journal_inode();
        image.put(at + offset, bytes);
        image.seal();
        image
    };
    refused(inode(0x0, &[0, 0x40]), "journal inode");
    refused(inode(0x1A, &[0]), "journal inode");
    refused(inode(0x20, &[0, 0, 8, 0x10]), "journal inode");
    refused(inode(0x4, &[0; 4]), "size of the journal");
    refused(inode(0x6C, &[1]), "size of the journal");
    refused(inode(0x5, &[0, 0x20]), "map of the journal");
    refused(inode(0x28, &[0]), "eh_magic");
    refused(inode(0x2A, &[0]), "eh_entries");
    refused(inode(0x2A, &[5]), "eh_entries");
    refused(inode(0x2C, &[9]), "eh_entries");
    refused(inode(0x2E, &[6]), "eh_depth");
    refused(inode(0x34, &[1]), "map of the journal");
    refused(inode(0x38, &[0; 2]), "ee_len");
    refused(inode(0x38, &[0xFF; 2]), "ee_len");
    refused(inode(0x3A, &[1]), "journal");
    refused(inode(0x3C, &[1, 0]), "map of the journal");
    refused(inode(0x3C, &[2, 0]), "journal");
    let mut image = Image::ext4();
    let at = image.journal_inode();
    image.bytes[at + 0x10] ^= 1;
    refused(image, "checksum of an inode");

    // An index that points to the node itself, one level too many.
    let mut image = Image::new(HAS_JOURNAL, 0x2 | EXTENTS, 0x1);
    let at = image.journal_inode() + 0x28;
    image.put(at + 6, &[1]);
    image.put(at + 12 + 4, &[MAP as u8, (MAP >> 8) as u8, 0, 0, 0, 0]);
    image.put(MAP as usize * BLOCK, &[0x0A, 0xF3, 1, 0, 4, 0, 1, 0]);
    refused(image, "eh_depth");

    // An empty node, which would not end.
    let mut image = Image::new(HAS_JOURNAL, 0x2 | EXTENTS, 0x1);
    let at = image.journal_inode() + 0x28;
    image.put(at + 6, &[1]);
    image.put(at + 12 + 4, &[MAP as u8, (MAP >> 8) as u8, 0, 0, 0, 0]);
    image.put(MAP as usize * BLOCK, &[0x0A, 0xF3, 0, 0, 4, 0, 0, 0]);
    refused(image, "eh_entries");

    // A hole, and a list of blocks that is outside.
    let pointers = |at: usize, block: u32| {
        let mut image = Image::new(HAS_JOURNAL, 0x2, 0x1);
        let at = if at < BLOCK { image.journal_inode() + 0x28 + at } else { at };
        image.put(at, &block.to_le_bytes());
        image
    };
    refused(pointers(52, 0), "map of the journal");
    refused(pointers(52, u32::MAX), "map of the journal");
    refused(pointers(44, 0), "map of the journal");
    refused(pointers(MAP as usize * BLOCK, u32::MAX), "journal");
}

#[test]
fn a_journal_in_pieces_is_found_through_a_tree_of_extents() {
    let mut image = Image::ext4();
    let at = image.journal_inode() + 0x28;
    // The root points to a node of two extents; the second half comes first on the disk.
    image.mark(MAP, 1, true);
    image.count();
    image.put(at + 2, &[1, 0, 4, 0, 1, 0]);
    image.put(at + 12 + 4, &[MAP as u8, (MAP >> 8) as u8, 0, 0, 0, 0]);
    let node = MAP as usize * BLOCK;
    let half = JOURNAL_LEN / 2;
    image.put(node, &[0x0A, 0xF3, 2, 0, 4, 0, 0, 0]);
    for (entry, logical, physical) in [(12, 0, JOURNAL + half), (24, half, JOURNAL)] {
        image.put(node + entry, &(logical as u32).to_le_bytes());
        image.put(node + entry + 4, &(half as u16).to_le_bytes());
        image.put(node + entry + 8, &(physical as u32).to_le_bytes());
    }
    let superblock = image.bytes[JOURNAL as usize * BLOCK..][..BLOCK].to_vec();
    image.put((JOURNAL + half) as usize * BLOCK, &superblock);
    image.put(JOURNAL as usize * BLOCK, &[0; BLOCK]);
    image.seal();
    refused(image.clone(), "eb_checksum");
    image.seal_map(MAP);
    assert_eq!(image.map(), image.truth());
    // The node has to be marked, too.
    image.mark(MAP, 1, false);
    image.count();
    image.seal();
    refused(image, "block bitmap");
}

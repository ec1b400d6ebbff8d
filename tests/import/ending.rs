// SPDX-License-Identifier: MIT OR Apache-2.0
//! Raw images that seem to go on behind their end, and are all there.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use super::{cut, ext4, import, len_of, refused};
use crate::support::{assert_same, dacapo, junk, requires, run, sparse_file, temp_dir};

/// A GPT of a disk of 96 MiB, the first 32 MiB of which are there, with an ext4.
#[test]
fn the_first_disk_of_an_array_is_all_there() {
    if !requires(&["sgdisk", "mkfs.ext4", "blkid", "zstd"]) {
        return;
    }
    let folder = temp_dir();
    let (array, first) = (folder.join("array.raw"), folder.join("first.raw"));
    sparse_file(&array, 96 << 20);
    run("sgdisk", &["-n", "1:2048:+16M", "-n", "2:0:+64M", &array]);
    let file = File::options().write(true).open(&array).unwrap();
    file.write_all_at(&fs::read(ext4(&folder, 16)).unwrap(), 1 << 20).unwrap();
    cut(&array, 32 << 20, &first);
    let _ = refused(&folder, &first, 4).says("partition 2 ends at byte 84934656");
    // What a firmware for RAID of Intel, and Linux, leave at the end of each disk.
    let superblock = [0xa92b_4efc_u32, 0, 90, 0].map(u32::to_le_bytes).concat();
    for (behind, metadata, name) in [
        (1024, &b"Intel Raid ISM Cfg Sig. 1.2.02"[..], "isw_raid_member"),
        (65536, &superblock, "linux_raid_member"),
    ] {
        cut(&array, 32 << 20, &first);
        let file = File::options().write(true).open(&first).unwrap();
        file.write_all_at(metadata, len_of(&first) - behind).unwrap();
        let ran = run("blkid", &["-p", "-s", "TYPE", "-o", "value", &first]);
        assert_eq!(ran.out().trim(), name, "{ran}");
        assert_same(import(&folder, &first, 0).0, &first);
        let info = dacapo(&["info", "--json", &folder.join("out.img.zst")]).success();
        assert!(info.out().contains("a member of an array"), "{info}");
        let short = folder.join("short.raw");
        cut(&first, (32 << 20) - (1 << 20), &short);
        let _ = refused(&folder, &short, 4).says("partition 2 ends at byte 84934656");
    }
    // A dynamic disk of Windows has a table of its own.
    run("sgdisk", &["-t", "1:4200", &array]);
    cut(&array, 32 << 20, &first);
    let _ = refused(&folder, &first, 4).says("partition 2 ends at byte 84934656");
}

/// Changes the length of the partition in the descriptors of UDF by genisoimage, and
/// seals them (ECMA-167, 3/7.2 and 3/10.5); returns how many there are.
fn change_partition(disc: &mut [u8], change: impl Fn(u32) -> u32) -> usize {
    let crc = |bytes: &[u8]| {
        bytes.iter().fold(0_u16, |crc, byte| {
            (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
            })
        })
    };
    let mut changed = 0;
    for sector in 17..300_usize {
        let Some(descriptor) = disc.get_mut(sector * 2048..(sector + 1) * 2048) else { break };
        let here = u32::from_le_bytes(descriptor[12..16].try_into().unwrap());
        if descriptor[..2] != [5, 0] || here as usize != sector {
            continue;
        }
        let len = usize::from(u16::from_le_bytes([descriptor[10], descriptor[11]]));
        assert_eq!(descriptor[8..10], crc(&descriptor[16..16 + len]).to_le_bytes());
        let blocks = u32::from_le_bytes(descriptor[192..196].try_into().unwrap());
        descriptor[192..196].copy_from_slice(&change(blocks).to_le_bytes());
        let sum = crc(&descriptor[16..16 + len]);
        descriptor[8..10].copy_from_slice(&sum.to_le_bytes());
        descriptor[4] = 0;
        descriptor[4] = descriptor[..16].iter().fold(0, |sum, byte| sum.wrapping_add(*byte));
        changed += 1;
    }
    changed
}

#[test]
fn what_a_disc_says_is_believed_as_far_as_a_disc_can_go() {
    if !requires(&["genisoimage", "mkudffs", "zstd"]) {
        return;
    }
    let folder = temp_dir();
    let (tree, disc, short) = (folder.join("tree"), folder.join("disc"), folder.join("short"));
    fs::create_dir(&tree).unwrap();
    fs::write(format!("{tree}/file"), junk(3 << 20, 3)).unwrap();
    run("genisoimage", &["-quiet", "-udf", "-o", &disc, &tree]);
    let bytes = fs::read(&disc).unwrap();
    assert_same(import(&folder, &disc, 0).0, &disc);
    for (more, says) in [
        // 8 TiB.
        (u32::MAX, "more than any disc holds; that is not believed"),
        // Its last anchor is where the disc ends.
        (1000, "a partition of its UDF ends at byte"),
    ] {
        let mut other = bytes.clone();
        let change = |blocks| if more == u32::MAX { more } else { blocks + more };
        assert_eq!(change_partition(&mut other, change), 2);
        fs::write(&disc, &other).unwrap();
        let (out, ran) = import(&folder, &disc, 0);
        assert_same(out, &disc);
        let _ = ran.says(says);
        cut(&disc, 1 << 20, &short);
        let _ = refused(&folder, &short, 4).says("was cut off");
    }
    // UDF alone is on disks and sticks as well, and has no other size.
    let udf = folder.join("udf");
    sparse_file(&udf, 200 << 30);
    run("mkudffs", &["--media-type=hd", "-b", "2048", &udf]);
    cut(&udf, 16 << 20, &short);
    let _ = refused(&folder, &short, 4).says("its UDF has");
}

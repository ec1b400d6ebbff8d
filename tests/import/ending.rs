// SPDX-License-Identifier: MIT OR Apache-2.0
//! Raw images that seem to go on behind their end, and are all there.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use super::{cut, ext4, import, len_of, refused};
use crate::support::{assert_same, dacapo, requires, run, sparse_file, temp_dir};

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

// SPDX-License-Identifier: MIT OR Apache-2.0

use std::path::Path;

use super::image::{Image, corrupt, put};
use crate::fs::Filesystem;
use crate::fs::ntfs::Ntfs;
use crate::fs::ntfs::boot_sector::BootSector;
use crate::fs::ntfs::run_list::{Run, RunList};
use crate::io::Memory;
use crate::ondisk::FormatError;

#[test]
fn every_field_of_the_boot_sector_is_checked() {
    for (what, at, value) in [
        ("bytes per sector", 0x0b, &[0, 1][..]),
        ("bytes per sector", 0x0b, &[0, 32]),
        ("sectors per cluster", 0x0d, &[0]),
        ("sectors per cluster", 0x0d, &[3]),
        ("sectors per cluster", 0x0d, &[0xf3]),
        ("sectors per cluster", 0x0d, &[0x81]),
        ("fields of FAT", 0x0e, &[1]),
        ("fields of FAT", 0x10, &[2]),
        ("fields of FAT", 0x11, &[0, 2]),
        ("fields of FAT", 0x13, &[1]),
        ("fields of FAT", 0x16, &[1]),
        ("fields of FAT", 0x20, &[1]),
        ("total sectors", 0x28, &[0; 8]),
        ("total sectors", 0x28, &[0xff; 8]),
        ("start of $MFT", 0x30, &[0; 8]),
        ("start of $MFT", 0x30, &[0, 2, 0, 0, 0, 0, 0, 0]),
        ("start of $MFTMirr", 0x38, &[0xff; 8]),
        ("clusters per file record", 0x40, &[0]),
        ("clusters per file record", 0x40, &[0x80]),
        ("clusters per file record", 0x40, &[0xf8]),
        ("clusters per file record", 0x40, &[17]),
    ] {
        let mut image = Image::new();
        put(&mut image.write().bytes, at, value);
        assert_eq!(corrupt(image.used()).0, what, "{at:#x} {value:x?}");
        assert!(Ntfs.probe(&[&Memory::new(image.bytes)]).is_err());
    }
}

#[test]
fn other_volumes_are_not_claimed() {
    let mut image = Image::new();
    put(&mut image.write().bytes, 3, b"-FVE-FS-");
    for bytes in [image.bytes, Vec::new(), vec![0; 511], vec![0; 4096]] {
        assert_eq!(Ntfs.probe(&[&Memory::new(bytes)]).unwrap(), None);
    }
}

#[test]
fn a_volume_larger_than_its_partition_is_not_understood() {
    let mut image = Image::new();
    let len = image.write().bytes.len();
    // Without its last sector all clusters are still there.
    image.bytes.truncate(len - 512);
    assert_eq!(image.used().unwrap().whole, None);
    image.bytes.truncate(len - 513);
    assert_eq!(corrupt(image.used()), ("size of the NTFS filesystem", 0x28));
    assert_eq!(image.identity().unclean.as_deref(), Some("larger than its partition"));
}

#[test]
fn boot_sectors_of_windows() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    for (name, sector, cluster, record, clusters) in [
        ("512", 512, 512, 1024, 0x1f_e7ff),
        ("64k", 512, 65536, 1024, 0x03ff_e7ff / 128),
        ("128k", 512, 131_072, 1024, 0x03ff_e7ff / 256),
        ("4kn", 4096, 4096, 4096, 0x37ff),
    ] {
        let Ok(file) = std::fs::File::open(folder.join(format!("dfir_ntfs__{name}.boot.zst")))
        else {
            return;
        };
        let bytes = zstd::decode_all(file).unwrap();
        let boot = BootSector::parse(&bytes).unwrap().unwrap();
        assert_eq!((boot.sector_bytes, boot.cluster_bytes), (sector, cluster), "{name}");
        assert_eq!((boot.record_bytes, boot.clusters), (record, clusters), "{name}");
        // 2 MiB differs from 128 KiB in one byte.
        let mut larger = bytes;
        larger[0x0d] = (256 - ((2_u64 << 20) / sector).trailing_zeros()) as u8;
        // The places are those of small clusters, and few large ones are there.
        put(&mut larger, 0x30, &2_u64.to_le_bytes());
        put(&mut larger, 0x38, &1_u64.to_le_bytes());
        larger[0x40] = 0xf6;
        let boot = BootSector::parse(&larger).unwrap().unwrap();
        assert_eq!(boot.cluster_bytes, 2 << 20, "{name}");
    }
}

fn runs(bytes: &[u8]) -> Result<Vec<Run>, FormatError> {
    let mut list = RunList::new(bytes, 1000, 7);
    let mut runs = Vec::new();
    while let Some(run) = list.next()? {
        runs.push(run);
    }
    Ok(runs)
}

#[test]
fn run_lists_go_forwards_and_backwards_and_have_holes() {
    let bytes =
        [0x11, 3, 100, 0x01, 5, 0x11, 2, 0x9c, 0x12, 0x10, 0x01, 0x20, 0x21, 1, 0xe8, 0x00, 0];
    assert_eq!(
        runs(&bytes).unwrap(),
        [
            Run { cluster: Some(100), count: 3 },
            Run { cluster: None, count: 5 },
            Run { cluster: Some(0), count: 2 },
            Run { cluster: Some(32), count: 0x110 },
            Run { cluster: Some(264), count: 1 },
        ]
    );
}

#[test]
fn run_lists_that_make_no_sense_are_corrupt() {
    for bytes in [
        &[][..],
        &[0x11, 1],
        &[0x10, 5],
        &[0x19, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0],
        &[0x91, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0],
        // No length, a negative one, before the start, behind the end.
        &[0x11, 0, 5, 0],
        &[0x11, 0xff, 5, 0],
        &[0x11, 1, 0xff, 0],
        &[0x21, 1, 0xe8, 3, 0],
        &[0x22, 2, 0, 0xe7, 3, 0],
        // No end mark.
        &[0x11, 1, 5],
        // Sums that do not fit into 64 bits.
        &[0x81, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0],
        &[0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 0, 0, 0, 0, 0, 0, 0, 0],
    ] {
        assert!(
            matches!(runs(bytes), Err(FormatError::Corrupt { what: "run list", position: 7, .. })),
            "{bytes:x?}"
        );
    }
}

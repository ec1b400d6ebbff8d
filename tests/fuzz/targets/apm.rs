// SPDX-License-Identifier: MIT OR Apache-2.0
//! Apple partition maps: a disk with five partitions that the input patches.
#![no_main]

use std::sync::OnceLock;

use dacapo::io::{Memory, ReadAt as _};
use dacapo::layout;
use dacapo::table::{Table as _, apm::Apm};
use dacapo_fuzz::Patched;
use libfuzzer_sys::fuzz_target;

static DISK: OnceLock<Vec<Vec<u8>>> = OnceLock::new();

fn disk() -> Vec<u8> {
    let mut disk = vec![0_u8; 512_000];
    disk[..8].copy_from_slice(b"ER\x02\0\0\0\x03\xe8");
    let entries = [
        ("Apple_partition_map", 1_u32, 63_u32),
        ("Apple_Driver_ATA", 64, 54),
        ("Apple_HFS", 200, 300),
        ("Apple_Free", 500, 100),
        ("Apple_UNIX_SVR2", 600, 200),
    ];
    for (block, (name, start, count)) in disk.chunks_mut(512).skip(1).zip(entries) {
        block[..8].copy_from_slice(b"PM\0\0\0\0\0\x05");
        block[8..12].copy_from_slice(&start.to_be_bytes());
        block[12..16].copy_from_slice(&count.to_be_bytes());
        block[48..48 + name.len()].copy_from_slice(name.as_bytes());
    }
    disk
}

fuzz_target!(|input: &[u8]| {
    let Some(disk) = Patched::new(DISK.get_or_init(|| vec![disk()]), input) else { return };
    let disk = Memory::new(disk.bytes());
    if let Ok(Some(table)) = Apm.read(&disk) {
        assert!(table.partitions.len() <= 1024);
        assert!(table.doubtful || !table.protected.is_empty());
    }
    let scan = layout::scan(&disk).expect("memory can be read");
    assert!(scan.used.end() <= disk.len(), "the map leaves the disk");
});

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Partition tables of the kind MBR on patched disks, and moving them to targets of
//! other sizes.
#![no_main]

use dacapo::extent::ExtentSet;
use dacapo::io::ReadAt;
use dacapo::table::mbr::Mbr;
use dacapo::table::{Table, relocate};
use dacapo_fuzz::{Bases, Patched};
use libfuzzer_sys::fuzz_target;

static BASES: Bases = Bases::new();
const DISKS: &[&[u8]] = &[include_bytes!("../../../images/mbr-tiny.img.zst")];

fuzz_target!(|input: &[u8]| {
    let Some(disk) = Patched::new(BASES.get(DISKS), input) else { return };
    if let Ok(Some(table)) = Mbr.read(&disk) {
        assert!(table.partitions.len() <= 1 << 17, "more partitions than the sectors can hold");
    }
    for len in [disk.len() + (1 << 20), disk.len() / 2] {
        if let Ok(relocation) = relocate(&disk, &ExtentSet::new(), len) {
            for (offset, bytes) in &relocation.writes {
                assert!(offset + bytes.len() as u64 <= len, "a write behind the end");
            }
        }
    }
});

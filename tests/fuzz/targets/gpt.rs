// SPDX-License-Identifier: MIT OR Apache-2.0
//! Partition tables of the kind GPT on patched disks, and moving them to targets of
//! other sizes.
#![no_main]

use dacapo::extent::ExtentSet;
use dacapo::io::ReadAt;
use dacapo::table::gpt::Gpt;
use dacapo::table::{Table, relocate};
use dacapo_fuzz::{Bases, Patched};
use libfuzzer_sys::fuzz_target;

static BASES: Bases = Bases::new();
const DISKS: &[&[u8]] = &[include_bytes!("../../../images/gpt-tiny.img.zst")];

fuzz_target!(|input: &[u8]| {
    let Some(disk) = Patched::new(BASES.get(DISKS), input) else { return };
    if let Ok(Some(table)) = Gpt.read(&disk) {
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

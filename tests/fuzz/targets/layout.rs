// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whole disks: every byte must belong to one region, whatever the table says.
#![no_main]

use dacapo::io::ReadAt;
use dacapo::layout;
use dacapo_fuzz::{Bases, Patched};
use libfuzzer_sys::fuzz_target;

static BASES: Bases = Bases::new();
const DISKS: &[&[u8]] = &[
    include_bytes!("../../../images/gpt-tiny.img.zst"),
    include_bytes!("../../../images/mbr-tiny.img.zst"),
];

fuzz_target!(|input: &[u8]| {
    let Some(disk) = Patched::new(BASES.get(DISKS), input) else { return };
    let Ok(scan) = layout::scan(&disk) else { return };
    let mut position = 0;
    for region in &scan.layout.regions {
        assert_eq!(region.extent.start(), position, "a gap or an overlap");
        position = region.extent.end();
        if region.whole.is_some() {
            assert!(scan.used.covers(region.extent), "whole is less than all");
        }
    }
    assert_eq!(position, disk.len());
    assert!(scan.used.end() <= disk.len());
});

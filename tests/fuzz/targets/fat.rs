// SPDX-License-Identifier: MIT OR Apache-2.0
//! The fat driver on patched disks.
#![no_main]

use dacapo_fuzz::{Bases, Patched, ask};
use libfuzzer_sys::fuzz_target;

static BASES: Bases = Bases::new();
const DISKS: &[&[u8]] = &[
    include_bytes!("../../../images/fat12-tiny.img.zst"),
    include_bytes!("../../../images/fat16-tiny.img.zst"),
    include_bytes!("../../../images/fat32-tiny.img.zst"),
];

fuzz_target!(|input: &[u8]| {
    if let Some(disk) = Patched::new(BASES.get(DISKS), input) {
        ask(&dacapo::fs::fat::Fat, &disk);
    }
});

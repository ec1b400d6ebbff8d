// SPDX-License-Identifier: MIT OR Apache-2.0
//! The HFS+ driver on patched disks. On every second one the copy of the header
//! follows its patches, or none of them would get past it.
#![no_main]

use dacapo::io::{Memory, ReadAt as _};
use dacapo_fuzz::{Bases, Patched, ask};
use libfuzzer_sys::fuzz_target;

static BASES: Bases = Bases::new();
const DISKS: &[&[u8]] = &[
    include_bytes!("../../../images/hfsplus-tiny.img.zst"),
    include_bytes!("../../../images/hfsplus-tiny-attributes.img.zst"),
    include_bytes!("../../../images/hfsplus-tiny-dirty.img.zst"),
    include_bytes!("../../../images/hfsplus-tiny-fragmented.img.zst"),
    include_bytes!("../../../images/hfsplus-tiny-wrapped.img.zst"),
];

fuzz_target!(|input: &[u8]| {
    let Some(disk) = Patched::new(BASES.get(DISKS), input) else { return };
    if input.len() % 2 == 0 || disk.len() < 1 << 20 {
        ask(&dacapo::fs::hfsplus::HfsPlus, &disk);
        return;
    }
    let mut bytes = disk.bytes();
    let copy = bytes.len() - 0x400;
    bytes.copy_within(0x400..0x600, copy);
    ask(&dacapo::fs::hfsplus::HfsPlus, &Memory::new(bytes));
});

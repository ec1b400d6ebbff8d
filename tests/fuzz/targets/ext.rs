// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ext driver on patched disks.
#![no_main]

use dacapo_fuzz::{Bases, Patched, ask};
use libfuzzer_sys::fuzz_target;

static BASES: Bases = Bases::new();
const DISKS: &[&[u8]] = &[
    include_bytes!("../../../images/ext2-tiny.img.zst"),
    include_bytes!("../../../images/ext3-tiny.img.zst"),
    include_bytes!("../../../images/ext4-tiny.img.zst"),
    include_bytes!("../../../images/ext4-tiny-bigalloc.img.zst"),
    include_bytes!("../../../images/ext4-tiny-groups.img.zst"),
    include_bytes!("../../../images/ext4-tiny-dirty.img.zst"),
    include_bytes!("../../../images/ext4-tiny-dirty-revoke.img.zst"),
    include_bytes!("../../../images/ext4-tiny-dirty-fast-commit.img.zst"),
];

fuzz_target!(|input: &[u8]| {
    if let Some(disk) = Patched::new(BASES.get(DISKS), input) {
        ask(&dacapo::fs::ext::Ext, &disk);
    }
});

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ntfs driver on patched disks.
//!
//! Records are protected by numbers at the ends of their sectors, which most
//! patches leave alone, so no patch has to be followed by a repair.
#![no_main]

use dacapo_fuzz::{Bases, Patched, ask};
use libfuzzer_sys::fuzz_target;

static BASES: Bases = Bases::new();
const DISKS: &[&[u8]] = &[
    include_bytes!("../../../images/ntfs-tiny.img.zst"),
    include_bytes!("../../../images/ntfs-tiny-attribute-list.img.zst"),
    include_bytes!("../../../images/ntfs-tiny-fast-startup.img.zst"),
    include_bytes!("../../../images/ntfs-tiny-log.img.zst"),
];

fuzz_target!(|input: &[u8]| {
    if let Some(disk) = Patched::new(BASES.get(DISKS), input) {
        ask(&dacapo::fs::ntfs::Ntfs, &disk);
    }
});

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The drivers that know others by name, and those of arrays, on raw input and
//! on patched disks.
#![no_main]

use dacapo::fs::foreign::Foreign;
use dacapo::fs::member::Member;
use dacapo::fs::whole_disk_member;
use dacapo::io::Memory;
use dacapo_fuzz::{Bases, Patched, ask};
use libfuzzer_sys::fuzz_target;

static BASES: Bases = Bases::new();
const DISKS: &[&[u8]] = &[include_bytes!("../../../images/swap-tiny.img.zst")];

fuzz_target!(|input: &[u8]| {
    let raw = Memory::new(input.to_vec());
    ask(&Member, &raw);
    ask(&Foreign, &raw);
    let _ = whole_disk_member(&raw);
    if let Some(disk) = Patched::new(BASES.get(DISKS), input) {
        ask(&Member, &disk);
        ask(&Foreign, &disk);
        let _ = whole_disk_member(&disk);
    }
});

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boot entries of firmware: raw bytes, and such whose length of the path is
//! right, so that its nodes are reached.
#![no_main]

use dacapo::repair::fuzzing::boot_entry;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    boot_entry(input);
    let name = b"d\0e\0b\0\0\0";
    for behind in [0, 3, 9] {
        let len = input.len().saturating_sub(behind) as u16;
        let head = [&[1, 0, 0, 0][..], &len.to_le_bytes(), name].concat();
        boot_entry(&[&head, input].concat());
    }
});

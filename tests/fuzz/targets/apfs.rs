// SPDX-License-Identifier: MIT OR Apache-2.0
//! The apfs driver on raw input.
#![no_main]

use dacapo::io::Memory;
use dacapo_fuzz::ask;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    ask(&dacapo::fs::apfs::Apfs, &Memory::new(input.to_vec()));
});

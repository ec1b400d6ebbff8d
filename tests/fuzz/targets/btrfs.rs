// SPDX-License-Identifier: MIT OR Apache-2.0
//! The btrfs driver on raw input.
#![no_main]

use dacapo::io::Memory;
use dacapo_fuzz::ask;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    ask(&dacapo::fs::btrfs::Btrfs, &Memory::new(input.to_vec()));
});

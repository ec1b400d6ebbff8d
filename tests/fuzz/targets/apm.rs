// SPDX-License-Identifier: MIT OR Apache-2.0
//! The apm parser on raw input.
#![no_main]

use dacapo::io::Memory;
use dacapo::layout;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = layout::scan(&Memory::new(input.to_vec()));
});

// SPDX-License-Identifier: MIT OR Apache-2.0
//! An image in ntfsclone's special format, patched.
#![no_main]

use std::sync::OnceLock;

use dacapo_fuzz::{Patched, unpack_old};
use libfuzzer_sys::fuzz_target;

fn image() -> Vec<u8> {
    let mut image = b"\0ntfsclone-image\x0a\x01".to_vec();
    image.extend(512_u32.to_le_bytes());
    image.extend((16 * 512_u64).to_le_bytes());
    image.extend(15_u64.to_le_bytes());
    image.extend(4_u64.to_le_bytes());
    image.extend(56_u32.to_le_bytes());
    image.extend([0; 6]);
    for number in 0..4_u8 {
        image.push(1);
        image.extend([number; 512]);
    }
    image.push(0);
    image.extend(11_i64.to_le_bytes());
    image.push(1);
    image.extend([9; 512]);
    image
}

fuzz_target!(|input: &[u8]| {
    static IMAGES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    unpack_old(input);
    if let Some(patched) = Patched::new(IMAGES.get_or_init(|| vec![image()]), input) {
        unpack_old(&patched.bytes());
    }
});

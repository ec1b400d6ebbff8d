// SPDX-License-Identifier: MIT OR Apache-2.0
//! A Partimage image, patched; half of the time with heads whose sums are right
//! again.
#![no_main]

use std::sync::OnceLock;

use dacapo_fuzz::{Patched, unpack_old};
use libfuzzer_sys::fuzz_target;

const HEAD: usize = 16384;
/// Where the main head, that of the filesystem and its facts begin.
const HEADS: [usize; 3] = [512, 17164, 33604];

fn sum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum: u32, byte| sum.wrapping_add_signed(i32::from(*byte as i8)))
}

fn image() -> Vec<u8> {
    let mut image = vec![0; 512];
    image[..16].copy_from_slice(b"PaRtImAgE-VoLuMe");
    image[32..37].copy_from_slice(b"0.6.1");
    let mut main = vec![0; HEAD];
    main[9592..9600].copy_from_slice(&8192_u64.to_le_bytes());
    image.extend(&main);
    image.extend(sum(&main).to_le_bytes());
    image.extend(b"MAGIC-BEGIN-MBRBACKUP");
    for number in 0..10 {
        image.extend(format!("MAGIC-BEGIN-EXT{number:03}\0\0\0\0").as_bytes());
    }
    image.extend(b"MAGIC-BEGIN-LOCALHEADER");
    let mut local = vec![0; HEAD];
    for (index, value) in [512_u64, 8, 16, 18].iter().enumerate() {
        local[index * 8..][..8].copy_from_slice(&value.to_le_bytes());
    }
    image.extend(&local);
    image.extend(sum(&local).to_le_bytes());
    image.extend(b"MAGIC-BEGIN-BITMAP");
    image.extend([0x55, 0x55]);
    image.extend([0; 16]);
    image.extend(b"MAGIC-BEGIN-INFO");
    image.extend([0; HEAD + 4]);
    image.extend(b"MAGIC-BEGIN-DATABLOCKS");
    image.extend([7; 8 * 512]);
    image.extend(b"MAGIC-BEGIN-TAIL");
    let all: u64 = image[512..].iter().map(|byte| u64::from(*byte)).sum();
    image.extend(all.to_le_bytes());
    image.extend([0; HEAD - 8]);
    image
}

fuzz_target!(|input: &[u8]| {
    static IMAGES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    unpack_old(input);
    let Some((mode, input)) = input.split_first() else { return };
    let Some(patched) = Patched::new(IMAGES.get_or_init(|| vec![image()]), input) else { return };
    let mut bytes = patched.bytes();
    if mode & 1 == 1 {
        let len = bytes.len();
        for start in HEADS.into_iter().filter(|start| start + HEAD + 4 <= len) {
            let sum = sum(&bytes[start..start + HEAD]);
            bytes[start + HEAD..][..4].copy_from_slice(&sum.to_le_bytes());
        }
    }
    unpack_old(&bytes);
});

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Partclone images of all modes, patched; half of the time with a head whose
//! checksum is right again.
#![no_main]

use std::sync::OnceLock;

use dacapo_fuzz::{Patched, unpack_old};
use libfuzzer_sys::fuzz_target;

/// Partclone's CRC32, which lacks the last inversion.
fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}

fn version_1() -> Vec<u8> {
    let mut image = vec![0; 4160];
    image[..15].copy_from_slice(b"partclone-image");
    image[30..34].copy_from_slice(b"0001");
    image[36..40].copy_from_slice(&512_u32.to_le_bytes());
    image[48..56].copy_from_slice(&16_u64.to_le_bytes());
    image[56..64].copy_from_slice(&8_u64.to_le_bytes());
    image.extend([1, 0].repeat(8));
    image.extend(b"BiTmAgIc");
    let mut crc = u32::MAX;
    for number in 0..8 {
        let block = [number; 512];
        image.extend(block);
        crc = block.iter().fold(crc, |crc, _| {
            (0..8).fold(crc ^ u32::from(number), |crc, _| {
                crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
            })
        });
        image.extend(crc.to_le_bytes());
    }
    image
}

fn version_2(mode: u16, len: u16, map: u8) -> Vec<u8> {
    let mut image = vec![0; 106];
    image[..15].copy_from_slice(b"partclone-image");
    image[30..34].copy_from_slice(b"0002");
    image[34..36].copy_from_slice(&0xc0de_u16.to_le_bytes());
    image[52..60].copy_from_slice(&8192_u64.to_le_bytes());
    image[60..68].copy_from_slice(&16_u64.to_le_bytes());
    image[76..84].copy_from_slice(&8_u64.to_le_bytes());
    image[84..88].copy_from_slice(&512_u32.to_le_bytes());
    image[96..98].copy_from_slice(&mode.to_le_bytes());
    image[98..100].copy_from_slice(&len.to_le_bytes());
    image[100..104].copy_from_slice(&16_u32.to_le_bytes());
    image[104] = 1;
    image[105] = map;
    image.extend(crc32(&image).to_le_bytes());
    if map == 1 {
        image.extend([0x55, 0x55]);
        image.extend(crc32(&[0x55, 0x55]).to_le_bytes());
    } else {
        image.extend([1, 0].repeat(8));
        image.extend(b"BiTmAgIc");
    }
    let blocks = [7; 8 * 512];
    image.extend(blocks);
    if mode == 0x20 {
        image.extend(crc32(&blocks).to_le_bytes());
    }
    image
}

fuzz_target!(|input: &[u8]| {
    static IMAGES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let images = IMAGES.get_or_init(|| {
        vec![version_1(), version_2(0x20, 4, 1), version_2(0, 0, 8), version_2(0x30, 8, 1)]
    });
    unpack_old(input);
    let Some((mode, input)) = input.split_first() else { return };
    let Some(patched) = Patched::new(images, input) else { return };
    let mut bytes = patched.bytes();
    if mode & 1 == 1 && bytes.len() > 110 && bytes[30..34] == *b"0002" {
        let crc = crc32(&bytes[..106]);
        bytes[106..110].copy_from_slice(&crc.to_le_bytes());
    }
    unpack_old(&bytes);
});

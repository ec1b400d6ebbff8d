// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compressed files of every kind that is unpacked: bounded in memory, and
//! errors at worst.
#![no_main]

use std::io::Read as _;

use dacapo::import::compression::Compression;
use libfuzzer_sys::fuzz_target;

/// What the files begin with, and so how far a fuzzer would hardly get alone.
const HEADS: [&[u8]; 8] = [
    b"",
    b"\x1f\x8b\x08\0\0\0\0\0\0\x03",
    b"BZh1\x31\x41\x59\x26\x53\x59",
    b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46",
    b"LZIP\x01\x0c",
    b"\x04\x22\x4d\x18\x64\x40\xa7",
    b"\x28\xb5\x2f\xfd\x04\x58",
    b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff\0",
];

fuzz_target!(|input: &[u8]| {
    let Some((which, rest)) = input.split_first() else { return };
    let bytes = [HEADS[usize::from(*which) % HEADS.len()], rest].concat();
    let Ok(decoder) = Compression::of(&bytes).decoder(&bytes[..]) else { return };
    let mut out = Vec::new();
    let _ = decoder.take(1 << 22).read_to_end(&mut out);
});

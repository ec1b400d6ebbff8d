// SPDX-License-Identifier: MIT OR Apache-2.0
//! The APFS driver on patched disks: as they are, and with checksums that are
//! right again.
#![no_main]

use dacapo::io::{Memory, ReadAt};
use dacapo_fuzz::{Bases, Patched, ask};
use libfuzzer_sys::fuzz_target;

static BASES: Bases = Bases::new();
const DISKS: &[&[u8]] = &[
    include_bytes!("../../../images/apfs-tiny.img.zst"),
    include_bytes!("../../../images/apfs-tiny-snapshot.img.zst"),
];
const BLOCK: usize = 4096;

fuzz_target!(|input: &[u8]| {
    let Some((mode, input)) = input.split_first() else { return };
    let Some(disk) = Patched::new(BASES.get(DISKS), input) else { return };
    if mode & 1 == 0 {
        return ask(&dacapo::fs::apfs::Apfs, &disk);
    }
    // Only a block that had a right checksum has one afterwards: bitmaps have
    // none. Otherwise no patch would get past the first.
    let base = &BASES.get(DISKS)[usize::from(input[0]) % DISKS.len()];
    let mut bytes = disk.bytes();
    for (block, before) in bytes.chunks_exact_mut(BLOCK).zip(base.chunks_exact(BLOCK)) {
        if block != before && before[..8] == checksum(before) && before[8..] != [0; BLOCK - 8] {
            let sum = checksum(block);
            block[..8].copy_from_slice(&sum);
        }
    }
    let disk = Memory::new(bytes);
    assert!(disk.len() <= base.len() as u64);
    ask(&dacapo::fs::apfs::Apfs, &disk);
});

/// Fletcher's checksum of what is behind the checksum.
fn checksum(block: &[u8]) -> [u8; 8] {
    let (mut low, mut high) = (0_u64, 0_u64);
    for word in block[8..].chunks_exact(4) {
        low = (low + u64::from(u32::from_le_bytes(word.try_into().unwrap()))) % 0xffff_ffff;
        high = (high + low) % 0xffff_ffff;
    }
    let first = 0xffff_ffff - (low + high) % 0xffff_ffff;
    let second = 0xffff_ffff - (low + first) % 0xffff_ffff;
    (second << 32 | first).to_le_bytes()
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The exFAT driver on patched disks, as they are and with the checksums of the
//! boot regions made right again.
#![no_main]

use dacapo::fs::exfat::Exfat;
use dacapo::io::{Memory, ReadAt};
use dacapo_fuzz::{Bases, Patched, ask};
use libfuzzer_sys::fuzz_target;

static BASES: Bases = Bases::new();
const DISKS: &[&[u8]] = &[
    include_bytes!("../../../images/exfat-tiny.img.zst"),
    include_bytes!("../../../images/exfat-tiny-dirty.img.zst"),
    include_bytes!("../../../images/exfat-tiny-texfat.img.zst"),
];

/// The disk with both boot regions sealed, as if a system had written them, and
/// the backup like the main one.
fn sealed(disk: &Patched<'_>) -> Option<Memory> {
    let mut bytes = disk.bytes();
    let shift = u32::from(*bytes.get(108)?);
    let sector = 1_usize.checked_shl(shift).filter(|sector| (512..=4096).contains(sector))?;
    let mut sum = 0_u32;
    for (at, byte) in bytes.get(..11 * sector)?.iter().enumerate() {
        if ![106, 107, 112].contains(&at) {
            sum = sum.rotate_right(1).wrapping_add(u32::from(*byte));
        }
    }
    for word in bytes.get_mut(11 * sector..12 * sector)?.chunks_exact_mut(4) {
        word.copy_from_slice(&sum.to_le_bytes());
    }
    bytes.get(12 * sector..24 * sector)?;
    bytes.copy_within(..12 * sector, 12 * sector);
    Some(Memory::new(bytes))
}

/// The checksums of sets of folder entries are made right, too: every entry
/// that begins a set and is in the first half of the disk.
fn sealed_sets(disk: &Memory) -> Memory {
    let mut bytes = vec![0; disk.len() as usize];
    disk.read_at(0, &mut bytes).expect("all of it is in memory");
    let end = bytes.len() / 2;
    for at in (0x3000..end).step_by(32) {
        if bytes[at] != 0x85 || bytes[at + 32] != 0xc0 {
            continue;
        }
        let count = usize::from(bytes[at + 1]) + 1;
        let Some(set) = bytes.get(at..at + 32 * count) else { continue };
        let mut sum = 0_u16;
        for (n, byte) in set.iter().enumerate() {
            if !(2..4).contains(&n) {
                sum = sum.rotate_right(1).wrapping_add(u16::from(*byte));
            }
        }
        bytes[at + 2..at + 4].copy_from_slice(&sum.to_le_bytes());
    }
    Memory::new(bytes)
}

fuzz_target!(|input: &[u8]| {
    let Some(disk) = Patched::new(BASES.get(DISKS), input) else { return };
    ask(&Exfat, &disk);
    if let Some(disk) = sealed(&disk) {
        ask(&Exfat, &sealed_sets(&disk));
    }
});

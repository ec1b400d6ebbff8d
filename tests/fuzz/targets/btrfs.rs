// SPDX-License-Identifier: MIT OR Apache-2.0
//! The btrfs driver on disks with patched superblocks and tree blocks.
//!
//! In half of the runs the checksums are made right again, so that the fuzzer
//! gets behind them. All copies of a block get the same patch.
#![no_main]

use std::sync::OnceLock;

use dacapo::error::Result;
use dacapo::fs::Filesystem;
use dacapo::fs::btrfs::Btrfs;
use dacapo::io::{ReadAt, check_range};
use dacapo_fuzz::{Bases, ask};
use libfuzzer_sys::fuzz_target;

const BLOCK: usize = 4096;
const SUPERBLOCK: usize = 1 << 16;

static BASES: Bases = Bases::new();
const DISKS: &[&[u8]] = &[
    include_bytes!("../../../images/btrfs-tiny.img.zst"),
    include_bytes!("../../../images/btrfs-tiny-dirty.img.zst"),
    include_bytes!("../../../images/btrfs-tiny-dup.img.zst"),
    // A set: the two disks of one filesystem.
    include_bytes!("../../../images/btrfs-tiny-set.img.zst"),
    include_bytes!("../../../images/btrfs-tiny-set.2.img.zst"),
];
const SET: usize = 3;

/// For each disk, its superblock and its tree blocks.
static BLOCKS: OnceLock<Vec<Vec<usize>>> = OnceLock::new();

fn blocks(disks: &[Vec<u8>]) -> &'static [Vec<usize>] {
    BLOCKS.get_or_init(|| {
        let of = |disk: &Vec<u8>| {
            let fsid = &disk[SUPERBLOCK + 0x20..SUPERBLOCK + 0x30];
            let is_tree_block = |at: &usize| &disk[at + 0x20..at + 0x30] == fsid;
            (0..disk.len()).step_by(BLOCK).filter(is_tree_block).collect()
        };
        disks.iter().map(of).collect()
    })
}

struct Disk<'a> {
    base: &'a [u8],
    blocks: Vec<(usize, Vec<u8>)>,
}

impl ReadAt for Disk<'_> {
    fn len(&self) -> u64 {
        self.base.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len(), offset, buf.len())?;
        let (start, end) = (offset as usize, offset as usize + buf.len());
        buf.copy_from_slice(&self.base[start..end]);
        for (at, bytes) in &self.blocks {
            let (from, to) = (start.max(*at), end.min(at + BLOCK));
            if from < to {
                buf[from - start..to - start].copy_from_slice(&bytes[from - at..to - at]);
            }
        }
        Ok(())
    }
}

fn crc32c(bytes: &[u8]) -> [u8; 4] {
    static TABLE: OnceLock<[u32; 256]> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        std::array::from_fn(|n| {
            (0..8).fold(n as u32, |sum, _| sum >> 1 ^ if sum & 1 == 1 { 0x82F6_3B78 } else { 0 })
        })
    });
    let step = |sum: u32, byte: &u8| sum >> 8 ^ table[(sum as u8 ^ byte) as usize];
    (!bytes.iter().fold(!0, step)).to_le_bytes()
}

/// The patches of `input` - which block, where, how many bytes - on a disk.
fn patched<'a>(base: &'a [u8], places: &[usize], seal: bool, mut input: &[u8]) -> Disk<'a> {
    let mut blocks: Vec<(usize, Vec<u8>)> = Vec::new();
    while let Some((&[which, high, low, count], after)) = input.split_first_chunk::<4>() {
        let bytes = &after[..usize::from(count & 31).min(after.len())];
        input = &after[bytes.len()..];
        // Every fourth patch goes to the superblock.
        let place =
            if which & 3 == 0 { SUPERBLOCK } else { places[usize::from(which) % places.len()] };
        let offset = usize::from(high & 15) << 8 | usize::from(low);
        let logical = &base[place + 48..place + 56];
        for &copy in places.iter().filter(|copy| base[**copy + 48..**copy + 56] == *logical) {
            let number = blocks.iter().position(|(at, _)| *at == copy).unwrap_or_else(|| {
                blocks.push((copy, base[copy..copy + BLOCK].to_vec()));
                blocks.len() - 1
            });
            for (to, from) in blocks[number].1[offset..].iter_mut().zip(bytes) {
                *to = *from;
            }
        }
    }
    if seal {
        for (_, block) in &mut blocks {
            let sum = crc32c(&block[32..]);
            block[..4].copy_from_slice(&sum);
        }
    }
    Disk { base, blocks }
}

fuzz_target!(|input: &[u8]| {
    let Some((&[choice, mode], patches)) = input.split_first_chunk::<2>() else { return };
    let disks = BASES.get(DISKS);
    let places = blocks(disks);
    let number = usize::from(choice) % (SET + 1);
    let seal = mode & 1 == 0;
    let disk = patched(&disks[number], &places[number], seal, patches);
    ask(&Btrfs, &disk);
    if number == SET {
        let second = patched(&disks[SET + 1], &places[SET + 1], seal, patches);
        for readers in [[&disk as &dyn ReadAt, &second], [&second, &disk]] {
            if let Ok(used) = Btrfs.used(&readers) {
                assert!(used.extents.end() <= readers[0].len(), "the map leaves the volume");
            }
        }
    }
});

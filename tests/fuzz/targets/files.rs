// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of patched disks of every filesystem whose files are read. The
//! first byte chooses the disk; each patch names a block that holds anything,
//! a place in it and bytes. Checksums of patched blocks are made right again
//! where that is easy, so that the fuzzer gets behind them.
#![no_main]

use std::sync::{Arc, OnceLock};

use dacapo::error::Result;
use dacapo::fs::FILESYSTEMS;
use dacapo::fs::conformance::examine;
use dacapo::io::{ReadAt, check_range};
use dacapo_fuzz::Bases;
use libfuzzer_sys::fuzz_target;

const BLOCK: usize = 4096;

static BASES: Bases = Bases::new();
const DISKS: &[&[u8]] = &[
    include_bytes!("../../../images/ext2-tiny.img.zst"),
    include_bytes!("../../../images/ext3-tiny.img.zst"),
    include_bytes!("../../../images/ext4-tiny.img.zst"),
    include_bytes!("../../../images/ext4-tiny-dirty-revoke.img.zst"),
    include_bytes!("../../../images/xfs-tiny.img.zst"),
    include_bytes!("../../../images/xfs-tiny-dirty.img.zst"),
    include_bytes!("../../../images/xfs-tiny-v4.img.zst"),
    include_bytes!("../../../images/btrfs-tiny.img.zst"),
    include_bytes!("../../../images/btrfs-tiny-dirty.img.zst"),
    include_bytes!("../../../images/fat12-tiny.img.zst"),
    include_bytes!("../../../images/fat32-tiny.img.zst"),
    include_bytes!("../../../images/exfat-tiny.img.zst"),
    include_bytes!("../../../images/ntfs-tiny.img.zst"),
    include_bytes!("../../../images/ntfs-tiny-attribute-list.img.zst"),
    include_bytes!("../../../images/hfsplus-tiny.img.zst"),
    include_bytes!("../../../images/hfsplus-tiny-fragmented.img.zst"),
    include_bytes!("../../../images/hfsplus-tiny-attributes.img.zst"),
    include_bytes!("../../../images/foreign-tiny-disc.img.zst"),
    include_bytes!("../../../images/foreign-tiny-iso9660.img.zst"),
    include_bytes!("../../../images/foreign-tiny-udf-metadata.img.zst"),
    include_bytes!("../../../images/foreign-tiny-udf-virtual.img.zst"),
    include_bytes!("../../../images/foreign-tiny-udf-sparable.img.zst"),
    include_bytes!("../../../images/apfs-tiny.img.zst"),
    include_bytes!("../../../images/apfs-tiny-snapshot.img.zst"),
    include_bytes!("../../../images/hfs-tiny.img.zst"),
];

/// For each disk, the blocks that are not empty.
static BLOCKS: OnceLock<Vec<Vec<usize>>> = OnceLock::new();

struct Disk {
    base: &'static [u8],
    blocks: Vec<(usize, Vec<u8>)>,
}

impl ReadAt for Disk {
    fn len(&self) -> u64 {
        self.base.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len(), offset, buf.len())?;
        let (start, end) = (offset as usize, offset as usize + buf.len());
        buf.copy_from_slice(&self.base[start..end]);
        for (at, bytes) in &self.blocks {
            let (from, to) = (start.max(*at), end.min(at + bytes.len()));
            if from < to {
                buf[from - start..to - start].copy_from_slice(&bytes[from - at..to - at]);
            }
        }
        Ok(())
    }
}

fn crc32c(bytes: &[u8]) -> [u8; 4] {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 }
        })
    };
    (!bytes.iter().fold(u32::MAX, step)).to_le_bytes()
}

/// Writes the checksum of a structure to its place in it.
fn sum_to(part: &mut [u8], at: usize) {
    part[at..at + 4].fill(0);
    let sum = crc32c(part);
    part[at..at + 4].copy_from_slice(&sum);
}

/// Makes the checksums in a block right, if they are some whose places are
/// known.
fn right(block: &mut [u8], base: &[u8]) {
    let is_btrfs = base.get(0x1_0040..0x1_0048) == Some(b"_BHRfS_M");
    if is_btrfs && block[0x20..0x30] == base[0x1_0020..0x1_0030] {
        let sum = crc32c(&block[32..]);
        block[..4].copy_from_slice(&sum);
        return;
    }
    if !base.starts_with(b"XFSB") {
        return;
    }
    let block_size = u32::from_be_bytes([base[4], base[5], base[6], base[7]]) as usize;
    let inode_size = u16::from_be_bytes([base[104], base[105]]) as usize;
    for part in block.chunks_exact_mut(block_size.min(BLOCK)) {
        match [part[0], part[1], part[2], part[3]] {
            [b'X', b'D', b'B' | b'D', b'3'] => sum_to(part, 4),
            [b'B', b'M', b'A', b'3'] => sum_to(part, 64),
            [b'X', b'S', b'L', b'M'] | [b'X', b'A', b'R', b'M'] => sum_to(part, 12),
            [b'I', b'N', ..] => part.chunks_exact_mut(inode_size).for_each(|it| sum_to(it, 100)),
            _ if part[8..10] == [0x3B, 0xEE] || part[8..10] == [0x3E, 0xBE] => sum_to(part, 12),
            _ => {}
        }
    }
}

/// The disk that `input` describes: a byte for the base, then patches of two
/// bytes for the block, two for the place in it, a length and bytes.
fn disk(input: &[u8]) -> Option<Disk> {
    let disks = BASES.get(DISKS);
    let blocks = BLOCKS.get_or_init(|| {
        let is_used =
            |disk: &Vec<u8>, at: usize| disk[at..at + BLOCK].iter().any(|byte| *byte != 0);
        let of = |disk: &Vec<u8>| {
            (0..disk.len() / BLOCK).map(|n| n * BLOCK).filter(|at| is_used(disk, *at)).collect()
        };
        disks.iter().map(of).collect()
    });
    let (&choice, mut rest) = input.split_first()?;
    let choice = usize::from(choice) % disks.len();
    let (base, blocks) = (&disks[choice], &blocks[choice]);
    let mut patched: Vec<(usize, Vec<u8>)> = Vec::new();
    while let Some((&[a, b, c, d, count], after)) = rest.split_first_chunk::<5>() {
        let at = blocks[usize::from(u16::from_be_bytes([a, b])) % blocks.len()];
        let place = usize::from(u16::from_be_bytes([c, d])) % BLOCK;
        let bytes = &after[..usize::from(count & 15).min(after.len()).min(BLOCK - place)];
        rest = &after[bytes.len()..];
        let index = patched.iter().position(|(start, _)| *start == at).unwrap_or_else(|| {
            patched.push((at, base[at..at + BLOCK].to_vec()));
            patched.len() - 1
        });
        patched[index].1[place..place + bytes.len()].copy_from_slice(bytes);
    }
    for (_, block) in &mut patched {
        right(block, base);
    }
    Some(Disk { base, blocks: patched })
}

fuzz_target!(|input: &[u8]| {
    let Some(disk) = disk(input) else { return };
    let disk: Arc<dyn ReadAt> = Arc::new(disk);
    for driver in FILESYSTEMS {
        if let Ok(Some(files)) = driver.files(&[Arc::clone(&disk)]) {
            let _ = examine(files.as_ref(), disk.len(), 300);
        }
    }
});

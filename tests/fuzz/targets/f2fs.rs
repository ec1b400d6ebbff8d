// SPDX-License-Identifier: MIT OR Apache-2.0
//! The f2fs driver on disks with patched structures: superblock, checkpoints,
//! summaries, segment information. Half of the time the copies are made to
//! agree and the checksums right again, so that what is behind them is
//! reached.
#![no_main]

use std::collections::BTreeMap;

use dacapo::error::Result;
use dacapo::io::{ReadAt, check_range};
use dacapo_fuzz::{Bases, ask};
use libfuzzer_sys::fuzz_target;

static BASES: Bases = Bases::new();
const DISKS: &[&[u8]] = &[
    include_bytes!("../../../images/f2fs-tiny.img.zst"),
    include_bytes!("../../../images/f2fs-tiny-features.img.zst"),
    include_bytes!("../../../images/f2fs-tiny-kernel.img.zst"),
    include_bytes!("../../../images/f2fs-tiny-fsynced.img.zst"),
];
const BLOCK: u64 = 4096;
/// Blocks with structures of the disks: the superblock, both packs of
/// checkpoints with their summaries, the segment information.
const PLACES: [u64; 14] =
    [0, 512, 513, 514, 515, 516, 519, 1024, 1025, 1026, 1027, 1029, 1536, 2048];
const MAGIC: u32 = 0xF2F5_2010;

/// A disk cut short, with some blocks replaced.
struct Disk<'a> {
    base: &'a [u8],
    len: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl ReadAt for Disk<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len, offset, buf.len())?;
        let end = offset + buf.len() as u64;
        buf.copy_from_slice(&self.base[offset as usize..end as usize]);
        for (number, block) in self.blocks.range(offset / BLOCK..end.div_ceil(BLOCK)) {
            let start = number * BLOCK;
            let (from, to) = (start.max(offset), (start + BLOCK).min(end));
            buf[(from - offset) as usize..(to - offset) as usize]
                .copy_from_slice(&block[(from - start) as usize..(to - start) as usize]);
        }
        Ok(())
    }
}

/// The CRC-32 of Ethernet, but it starts at the magic and is never inverted.
fn crc(start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 }
        })
    })
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("four bytes"))
}

impl Disk<'_> {
    fn block(&mut self, number: u64) -> Option<&mut Vec<u8>> {
        let start = usize::try_from(number.checked_mul(BLOCK)?).ok()?;
        let bytes = self.base.get(start..start.checked_add(BLOCK as usize)?)?;
        Some(self.blocks.entry(number).or_insert_with(|| bytes.to_vec()))
    }

    /// Makes copies agree and checksums right.
    fn seal(&mut self) {
        let Some(first) = self.block(0) else { return };
        if u32_at(first, 1024 + 2180) & 0x800 != 0 {
            let sum = crc(MAGIC, &first[1024..1024 + 3068]);
            first[1024 + 3068..].copy_from_slice(&sum.to_le_bytes());
        }
        let (start, first) = (u64::from(u32_at(first, 1024 + 76)), first.clone());
        self.blocks.insert(1, first);
        for pack in [start, start + 512] {
            let Some(block) = self.block(pack) else { continue };
            let (total, place) = (u32_at(block, 136), u32_at(block, 164) as usize);
            if !(192..=4092).contains(&place) || !(3..=512).contains(&total) {
                continue;
            }
            let sum = crc(crc(MAGIC, &block[..place]), &block[place + 4..]);
            block[place..place + 4].copy_from_slice(&sum.to_le_bytes());
            let block = block.clone();
            self.blocks.insert(pack + u64::from(total) - 1, block);
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&[mode, cut], mut rest)) = input.split_first_chunk::<2>() else { return };
    let bases = BASES.get(DISKS);
    let base = &bases[usize::from(mode >> 1) % bases.len()];
    let len = match cut {
        0..=199 => base.len(),
        cut => base.len() * usize::from(cut - 199) / 57,
    };
    let mut disk = Disk { base, len: len as u64, blocks: BTreeMap::new() };
    while let Some((&[place, high, low, count], after)) = rest.split_first_chunk::<4>() {
        let bytes = &after[..usize::from(count & 31).min(after.len())];
        rest = &after[bytes.len()..];
        let number = PLACES[usize::from(place) % PLACES.len()];
        let block = disk.block(number).expect("the disks have these blocks");
        let mut offset = usize::from(high) << 8 | usize::from(low);
        // Fields are in front of the bitmaps.
        offset = if high & 0x80 == 0 { offset % 256 } else { offset % BLOCK as usize };
        if number == 0 && high & 0x40 == 0 {
            offset = 1024 + offset % 3072;
        }
        let end = (offset + bytes.len()).min(BLOCK as usize);
        block[offset..end].copy_from_slice(&bytes[..end - offset]);
    }
    if mode & 1 == 1 {
        disk.seal();
    }
    ask(&dacapo::fs::f2fs::F2fs, &disk);
});

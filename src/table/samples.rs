// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks made byte by byte, so that a test can change one field.
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "numbers of our own")]

use std::collections::BTreeMap;

use crate::error::Result;
use crate::io::{Memory, ReadAt, check_range};
use crate::units::SectorSize;

pub(crate) const LINUX: [u8; 16] = [
    0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4,
];

/// A disk with a GPT.
#[derive(Debug, Clone)]
pub(crate) struct GptDisk {
    pub(crate) bytes: Vec<u8>,
    pub(crate) size: usize,
    /// The last sector.
    pub(crate) last: u64,
    entry_count: u32,
    entry_size: u32,
}

impl GptDisk {
    /// A disk of `sectors`, whose used entries are at the given indices.
    pub(crate) fn new(
        size: SectorSize,
        sectors: u64,
        entry_count: u32,
        entry_size: u32,
        partitions: &[(u32, u64, u64)],
    ) -> Self {
        let size = size.get() as usize;
        let last = sectors - 1;
        let mut disk =
            Self { bytes: vec![0; sectors as usize * size], size, last, entry_count, entry_size };
        disk.bytes[0x1be..0x1ce].copy_from_slice(&mbr_entry(0, 0xee, 1, last as u32));
        disk.bytes[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        let array = disk.array_sectors();
        for (lba, other, entries) in [(1, last, 2), (last, 1, last - array)] {
            let mut header = vec![0; 92];
            header[..8].copy_from_slice(b"EFI PART");
            header[0x08..0x0c].copy_from_slice(&0x0001_0000_u32.to_le_bytes());
            header[0x0c..0x10].copy_from_slice(&92_u32.to_le_bytes());
            header[0x18..0x20].copy_from_slice(&u64::to_le_bytes(lba));
            header[0x20..0x28].copy_from_slice(&other.to_le_bytes());
            header[0x28..0x30].copy_from_slice(&(2 + array).to_le_bytes());
            header[0x30..0x38].copy_from_slice(&(last - array - 1).to_le_bytes());
            header[0x38..0x48].copy_from_slice(&[0x42; 16]);
            header[0x48..0x50].copy_from_slice(&entries.to_le_bytes());
            header[0x50..0x54].copy_from_slice(&entry_count.to_le_bytes());
            header[0x54..0x58].copy_from_slice(&entry_size.to_le_bytes());
            disk.patch(lba, 0, &header);
            for (index, start, end) in partitions {
                let mut entry = [0; 128];
                entry[..16].copy_from_slice(&LINUX);
                entry[16..32].copy_from_slice(&[(*index as u8).wrapping_add(1); 16]);
                entry[32..40].copy_from_slice(&start.to_le_bytes());
                entry[40..48].copy_from_slice(&end.to_le_bytes());
                entry[56..60].copy_from_slice(&[b'p', 0, b'0'.wrapping_add(*index as u8), 0]);
                disk.patch(entries, (index * entry_size) as usize, &entry);
            }
        }
        disk.seal();
        disk
    }

    /// A small disk with partitions 1 and 3.
    pub(crate) fn small() -> Self {
        Self::new(SectorSize::B512, 64, 4, 128, &[(0, 8, 15), (2, 32, 40)])
    }

    /// A disk with the same kind of table and this content.
    pub(crate) fn with_bytes(&self, bytes: Vec<u8>) -> Self {
        Self { last: (bytes.len() / self.size) as u64 - 1, bytes, ..*self }
    }

    pub(crate) fn array_sectors(&self) -> u64 {
        (u64::from(self.entry_count) * u64::from(self.entry_size)).div_ceil(self.size as u64)
    }

    /// Overwrites bytes at an offset from a sector.
    pub(crate) fn patch(&mut self, lba: u64, offset: usize, bytes: &[u8]) {
        let at = lba as usize * self.size + offset;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn patched(mut self, lba: u64, offset: usize, bytes: &[u8]) -> Self {
        self.patch(lba, offset, bytes);
        self
    }

    /// Makes the checksums of both headers right, and those of the arrays.
    pub(crate) fn seal(&mut self) {
        for lba in [1, self.last] {
            let at = lba as usize * self.size;
            let field = |offset: usize| {
                u64::from_le_bytes(self.bytes[at + offset..at + offset + 8].try_into().unwrap())
            };
            let start = field(0x48).saturating_mul(self.size as u64) as usize;
            let len = (field(0x50) as u32 as usize).saturating_mul(field(0x54) as u32 as usize);
            if let Some(array) = self.bytes.get(start..start.saturating_add(len)) {
                let crc = crc32fast::hash(array);
                self.patch(lba, 0x58, &crc.to_le_bytes());
            }
            self.seal_header(lba);
        }
    }

    /// Makes the checksum of one header right.
    pub(crate) fn seal_header(&mut self, lba: u64) {
        let at = lba as usize * self.size;
        let size = u32::from_le_bytes(self.bytes[at + 12..at + 16].try_into().unwrap()) as usize;
        let mut header = self.bytes[at..].iter().copied().take(size).collect::<Vec<u8>>();
        header.iter_mut().skip(16).take(4).for_each(|byte| *byte = 0);
        self.patch(lba, 16, &crc32fast::hash(&header).to_le_bytes());
    }

    pub(crate) fn sealed(mut self) -> Self {
        self.seal();
        self
    }

    pub(crate) fn disk(&self) -> Memory {
        // OK because only sizes that were a SectorSize get here.
        let size = SectorSize::new(self.size as u32).unwrap();
        Memory::new(self.bytes.clone()).with_sector_size(size)
    }
}

/// One entry of a boot record; the CHS fields say "too large".
pub(crate) fn mbr_entry(flag: u8, type_id: u8, start: u32, count: u32) -> [u8; 16] {
    let mut entry = [flag, 0xfe, 0xff, 0xff, type_id, 0xfe, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
    entry[8..12].copy_from_slice(&start.to_le_bytes());
    entry[12..].copy_from_slice(&count.to_le_bytes());
    entry
}

/// A boot record with these entries: flag, type, start, count.
pub(crate) fn boot_record(entries: &[(u8, u8, u32, u32)]) -> Vec<u8> {
    let mut sector = vec![0; 512];
    sector[0x1b8..0x1bc].copy_from_slice(&0x1234_abcd_u32.to_le_bytes());
    for (slot, (flag, type_id, start, count)) in entries.iter().enumerate() {
        let at = 0x1be + 16 * slot;
        sector[at..at + 16].copy_from_slice(&mbr_entry(*flag, *type_id, *start, *count));
    }
    sector[0x1fe..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// A large disk of which only some 512-byte blocks are not zero.
#[derive(Debug)]
pub(crate) struct Sparse {
    len: u64,
    size: SectorSize,
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl Sparse {
    pub(crate) fn new(sectors: u64, size: SectorSize) -> Self {
        Self { len: sectors * size.bytes(), size, blocks: BTreeMap::new() }
    }

    pub(crate) fn with(mut self, lba: u64, block: Vec<u8>) -> Self {
        self.blocks.insert(lba * self.size.bytes(), block);
        self
    }
}

impl ReadAt for Sparse {
    fn len(&self) -> u64 {
        self.len
    }

    fn sector_size(&self) -> SectorSize {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len, offset, buf.len())?;
        buf.fill(0);
        for (at, block) in &self.blocks {
            for (index, byte) in block.iter().enumerate() {
                let position = (at + index as u64).checked_sub(offset);
                if let Some(slot) = position.and_then(|position| buf.get_mut(position as usize)) {
                    *slot = *byte;
                }
            }
        }
        Ok(())
    }
}

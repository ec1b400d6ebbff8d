// SPDX-License-Identifier: MIT OR Apache-2.0
//! A record: what was written to the log at once.
//!
//! The first bytes of each block of a record make room for the number of the
//! round; what was there is kept in the header, and for records of more than
//! 32 KiB in further header blocks.

use super::{BLOCK, Log, cycle_of, place};
use crate::ondisk::{Fields, FormatError};

pub(super) const MAGIC: u32 = 0xFEED_BABE;
/// Little-endian, as all machines of today write the items of the log.
pub(super) const FORMAT_LINUX_LE: u32 = 1;
const HEADER_CYCLES: u64 = 64;
const HEADER_BYTES: u32 = 32 << 10;
const MOST_BYTES: u32 = 256 << 10;
/// The checksum covers the header's structure, which is padded on machines that
/// align 64-bit numbers.
const HEADER_LENS: [usize; 2] = [328, 324];
const EXTENDED_LEN: usize = 260;
const CRC: usize = 32;

/// The header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fs::xfs) struct Header {
    pub(super) cycle: u32,
    version: u32,
    /// Bytes of data.
    len: u32,
    pub(in crate::fs::xfs) lsn: u64,
    pub(super) tail_lsn: u64,
    crc: u32,
    pub(in crate::fs::xfs) ops: u32,
    pub(super) format: u32,
    /// The size of the buffer it was written from.
    pub(in crate::fs::xfs) size: u32,
}

impl Header {
    pub(super) fn parse(log: &Log, at: u64, block: &[u8]) -> Result<Self, FormatError> {
        let field = |offset| block.u32_be(offset).unwrap_or(0);
        let header = Self {
            cycle: field(4),
            version: field(8),
            len: field(12),
            lsn: block.u64_be(16).unwrap_or(0),
            tail_lsn: block.u64_be(24).unwrap_or(0),
            crc: block.u32_le(CRC).unwrap_or(0),
            ops: field(40),
            format: field(300),
            size: field(320),
        };
        let corrupt = |what, offset: u64, expected: String, found: u32| {
            let position = log.position(at).saturating_add(offset);
            Err(FormatError::corrupt(what, position, expected, format!("{found:#x}")))
        };
        if field(0) != MAGIC {
            return corrupt("h_magicno", 0, format!("{MAGIC:#x}"), field(0));
        }
        if header.version != 1 && header.version != 2 {
            return corrupt("h_version", 8, "1 or 2".to_owned(), header.version);
        }
        if header.len > MOST_BYTES {
            return corrupt("h_len", 12, format!("at most {MOST_BYTES}"), header.len);
        }
        if header.size > MOST_BYTES {
            return corrupt("h_size", 320, format!("at most {MOST_BYTES}"), header.size);
        }
        if block.array::<16>(304) != Some(log.geometry.uuid) {
            let position = log.position(at).saturating_add(304);
            return Err(FormatError::corrupt(
                "h_fs_uuid",
                position,
                "the UUID of the superblock",
                "another",
            ));
        }
        Ok(header)
    }

    /// How many blocks the header has.
    pub(super) fn blocks(&self) -> u64 {
        if self.version == 2 && self.size > HEADER_BYTES {
            self.size.div_ceil(HEADER_BYTES).into()
        } else {
            1
        }
    }

    /// How many blocks of data follow.
    pub(super) fn data_blocks(&self) -> u64 {
        u64::from(self.len).div_ceil(BLOCK)
    }
}

/// A record whose checksum is right.
#[derive(Debug)]
pub(in crate::fs::xfs) struct Record {
    pub(in crate::fs::xfs) header: Header,
    /// The data as it was before the rounds were written into it.
    pub(in crate::fs::xfs) data: Vec<u8>,
    /// The block behind it.
    pub(in crate::fs::xfs) next: u64,
    /// How many blocks it takes.
    pub(in crate::fs::xfs) blocks: u64,
}

impl Record {
    /// Reads the record that starts at a block, and checks all of it. Only the
    /// one that mkfs writes may lack a checksum, which a replay insists on.
    pub(in crate::fs::xfs) fn read(
        log: &Log,
        at: u64,
        needs_checksum: bool,
    ) -> Result<Self, FormatError> {
        let first = log.read(at, 1)?;
        let header = Header::parse(log, at, &first)?;
        let corrupt = |expected: String, found: String| {
            FormatError::corrupt("log record", log.position(at), expected, found)
        };
        let expected = place(header.cycle, log.wrap(at));
        if header.lsn != expected {
            return Err(corrupt(format!("h_lsn {expected:#x}"), format!("{:#x}", header.lsn)));
        }
        let blocks = header.blocks().saturating_add(header.data_blocks());
        if blocks > log.blocks() {
            return Err(corrupt(format!("at most {} blocks", log.blocks()), blocks.to_string()));
        }
        let bytes = log.read(at, blocks)?;
        let header = Header::parse(log, at, &bytes)?;
        for (index, block) in (0_u64..).zip(bytes.chunks_exact(512)) {
            let is_behind_end = log.wrap(at).saturating_add(index) >= log.blocks();
            let mut cycle = header.cycle.wrapping_add(u32::from(is_behind_end));
            if is_behind_end && cycle == MAGIC {
                cycle = cycle.wrapping_add(1);
            }
            if cycle_of(block) != cycle {
                let expected = format!("round {cycle} in block {index}");
                return Err(corrupt(expected, cycle_of(block).to_string()));
            }
        }
        let start = usize::try_from(header.blocks().saturating_mul(BLOCK)).unwrap_or(usize::MAX);
        let (heads, data) = bytes.split_at_checked(start).unwrap_or_default();
        let len = usize::try_from(header.len).unwrap_or(usize::MAX);
        let is_right = checksum_is_right(&header, heads, data.get(..len).unwrap_or_default());
        let is_missing = header.crc == 0 && !needs_checksum;
        if log.geometry.features.has_crc && !is_right && !is_missing {
            return Err(corrupt("the checksum of its content".to_owned(), "another".to_owned()));
        }
        let mut data = data.to_vec();
        for (index, block) in (0_u64..).zip(data.chunks_mut(512)) {
            let (sector, slot) = (index / HEADER_CYCLES, index % HEADER_CYCLES);
            let offset =
                if sector == 0 { 44 } else { sector.saturating_mul(BLOCK).saturating_add(4) };
            let offset = offset.saturating_add(slot.saturating_mul(4));
            let kept = usize::try_from(offset).ok().and_then(|offset| heads.array::<4>(offset));
            let place = block.first_chunk_mut::<4>();
            if let (Some(kept), Some(place)) = (kept, place) {
                *place = kept;
            } else {
                return Err(corrupt("room for its rounds".to_owned(), "none".to_owned()));
            }
        }
        data.truncate(len);
        let next = log.wrap(at.saturating_add(blocks));
        Ok(Self { header, data, next, blocks })
    }
}

fn checksum_is_right(header: &Header, heads: &[u8], data: &[u8]) -> bool {
    let extended = usize::try_from(header.len.div_ceil(HEADER_BYTES)).unwrap_or(0);
    HEADER_LENS.into_iter().any(|len| {
        let before = heads.get(..CRC).unwrap_or_default();
        let after = heads.get(CRC.saturating_add(4)..len).unwrap_or_default();
        let mut crc = crc32c::crc32c_append(crc32c::crc32c(before), &[0; 4]);
        crc = crc32c::crc32c_append(crc, after);
        for index in 1..extended {
            let offset = index.saturating_mul(512);
            let block = heads.bytes_at(offset, EXTENDED_LEN).unwrap_or_default();
            crc = crc32c::crc32c_append(crc, block);
        }
        crc32c::crc32c_append(crc, data) == header.crc
    })
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The headers of an allocation group: a copy of the superblock, the AGF (free
//! space), the AGI (inodes) and the AGFL (blocks set aside for the free-space
//! trees), each in a sector of its own.

use super::superblock::{Geometry, Superblock};
use super::volume::{Block, Volume};
use crate::ondisk::FormatError;

const AGF_MAGIC: u32 = 0x5841_4746;
const AGI_MAGIC: u32 = 0x5841_4749;
const AGFL_MAGIC: u32 = 0x5841_464C;
const AGFL_HEADER_LEN: u32 = 36;
/// No tree is higher.
const MAX_LEVELS: u32 = 9;

/// A tree of an allocation group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) block: u32,
    pub(super) levels: u32,
}

/// What the headers of a group say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) number: u64,
    /// Its blocks.
    pub(super) len: u32,
    /// Where the AGF is, for messages.
    pub(super) position: u64,
    pub(super) by_block: Root,
    pub(super) by_size: Root,
    pub(super) free_blocks: u32,
    pub(super) longest: u32,
    pub(super) btree_blocks: u32,
    pub(super) rmap_blocks: u32,
    /// The blocks of the AGFL that wait to be used.
    pub(super) reserve: Vec<u32>,
    /// Other blocks that cannot be free: roots of trees.
    pub(super) roots: Vec<u32>,
}

/// The position of a header sector of a group.
pub(super) fn sector(geometry: &Geometry, group: u64, index: u64) -> u64 {
    let start = geometry.extent(group, 0, 1).start();
    start.saturating_add(geometry.sector_size.saturating_mul(index))
}

/// Reads and checks the headers of a group. `newest` is the end of the log,
/// where nothing may have been written later.
pub(super) fn read(
    volume: &Volume,
    superblock: &Superblock,
    number: u64,
    newest: Option<u64>,
) -> Result<Group, FormatError> {
    let geometry = volume.geometry;
    if number > 0 {
        let position = sector(geometry, number, 0);
        let copy = volume.read("superblock copy", position, geometry.sector_size)?;
        superblock.check_copy(&copy)?;
    }
    let group = read_agf(volume, number, newest)?;
    read_agi(volume, group, newest)
}

/// Reads and checks the AGF and the AGFL only.
pub(super) fn read_agf(
    volume: &Volume,
    number: u64,
    newest: Option<u64>,
) -> Result<Group, FormatError> {
    let geometry = volume.geometry;
    let features = &geometry.features;
    let agf = volume.read("AGF", sector(geometry, number, 1), geometry.sector_size)?;
    let len = geometry.ag_len(number);
    agf.expect("agf_magicnum", 0, AGF_MAGIC)?;
    if features.has_crc {
        agf.expect_checksum("agf_crc", 216)?;
        agf.expect_uuid("agf_uuid", 64, geometry)?;
        agf.expect_not_after("agf_lsn", 208, newest)?;
    }
    agf.expect("agf_versionnum", 4, 1)?;
    agf.expect("agf_seqno", 8, u32::try_from(number).unwrap_or(u32::MAX))?;
    agf.expect("agf_length", 12, len)?;
    let mut group = Group {
        number,
        len,
        position: agf.position,
        by_block: root(&agf, geometry, len, "agf_roots", 16, 28)?,
        by_size: root(&agf, geometry, len, "agf_roots", 20, 32)?,
        free_blocks: agf.u32(52),
        longest: agf.u32(56),
        btree_blocks: agf.u32(60),
        rmap_blocks: 0,
        reserve: Vec::new(),
        roots: Vec::new(),
    };
    if features.has_rmapbt {
        group.roots.push(root(&agf, geometry, len, "agf_roots", 24, 36)?.block);
        group.rmap_blocks = agf.u32(80);
        if group.rmap_blocks == 0 || group.rmap_blocks > len {
            return Err(agf.corrupt("agf_rmap_blocks", 80, format!("1 to {len}"), agf.u32(80)));
        }
    }
    if features.has_reflink {
        group.roots.push(root(&agf, geometry, len, "agf_refcount_root", 88, 92)?.block);
    }
    for (field, offset) in [("agf_freeblks", 52), ("agf_longest", 56), ("agf_btreeblks", 60)] {
        if agf.u32(offset) > len {
            return Err(agf.corrupt(field, offset, format!("at most {len}"), agf.u32(offset)));
        }
    }
    group.reserve = read_agfl(volume, &agf, number, newest)?;
    Ok(group)
}

/// A tree's root, which has to be a block behind the headers.
fn root(
    header: &Block,
    geometry: &Geometry,
    len: u32,
    field: &'static str,
    block_at: usize,
    levels_at: usize,
) -> Result<Root, FormatError> {
    let (block, levels) = (header.u32(block_at), header.u32(levels_at));
    if u64::from(block) < geometry.header_blocks() || block >= len {
        let expected = format!("{} to {len}", geometry.header_blocks());
        return Err(header.corrupt(field, block_at, expected, block));
    }
    if !(1..=MAX_LEVELS).contains(&levels) {
        return Err(header.corrupt(field, levels_at, format!("1 to {MAX_LEVELS} levels"), levels));
    }
    Ok(Root { block, levels })
}

/// The blocks that the AGFL, a ring, holds now.
fn read_agfl(
    volume: &Volume,
    agf: &Block,
    number: u64,
    newest: Option<u64>,
) -> Result<Vec<u32>, FormatError> {
    let geometry = volume.geometry;
    let agfl = volume.read("AGFL", sector(geometry, number, 3), geometry.sector_size)?;
    let header = if geometry.features.has_crc {
        agfl.expect("agfl_magicnum", 0, AGFL_MAGIC)?;
        agfl.expect_checksum("agfl_crc", 32)?;
        agfl.expect("agfl_seqno", 4, u32::try_from(number).unwrap_or(u32::MAX))?;
        agfl.expect_uuid("agfl_uuid", 8, geometry)?;
        agfl.expect_not_after("agfl_lsn", 24, newest)?;
        AGFL_HEADER_LEN
    } else {
        0
    };
    let sector_size = u32::try_from(geometry.sector_size).unwrap_or(0);
    let size = sector_size.saturating_sub(header) >> 2;
    let (first, last, count) = (agf.u32(40), agf.u32(44), agf.u32(48));
    for (field, offset, index) in [("agf_flfirst", 40, first), ("agf_fllast", 44, last)] {
        if index >= size {
            return Err(agf.corrupt(field, offset, format!("less than {size}"), index));
        }
    }
    let active = if first <= last {
        last.saturating_sub(first).saturating_add(1)
    } else {
        size.saturating_sub(first).saturating_add(last).saturating_add(1)
    };
    if count != 0 && count != active {
        return Err(agf.corrupt("agf_flcount", 48, format!("0 or {active}"), count));
    }
    let len = geometry.ag_len(number);
    (0..count)
        .map(|index| {
            let slot = first.saturating_add(index).checked_rem(size.max(1)).unwrap_or(0);
            let offset = slot.saturating_mul(4).saturating_add(header);
            let offset = usize::try_from(offset).unwrap_or(usize::MAX);
            let block = agfl.u32(offset);
            if u64::from(block) >= geometry.header_blocks() && block < len {
                return Ok(block);
            }
            let expected = format!("{} to {len}", geometry.header_blocks());
            Err(agfl.corrupt("agfl_bno", offset, expected, block))
        })
        .collect()
}

fn read_agi(volume: &Volume, mut group: Group, newest: Option<u64>) -> Result<Group, FormatError> {
    let geometry = volume.geometry;
    let agi = volume.read("AGI", sector(geometry, group.number, 2), geometry.sector_size)?;
    agi.expect("agi_magicnum", 0, AGI_MAGIC)?;
    if geometry.features.has_crc {
        agi.expect_checksum("agi_crc", 312)?;
        agi.expect_uuid("agi_uuid", 296, geometry)?;
        agi.expect_not_after("agi_lsn", 320, newest)?;
    }
    agi.expect("agi_versionnum", 4, 1)?;
    agi.expect("agi_seqno", 8, u32::try_from(group.number).unwrap_or(u32::MAX))?;
    agi.expect("agi_length", 12, group.len)?;
    group.roots.push(root(&agi, geometry, group.len, "agi_root", 20, 24)?.block);
    if geometry.features.has_finobt {
        group.roots.push(root(&agi, geometry, group.len, "agi_free_root", 328, 332)?.block);
    }
    Ok(group)
}

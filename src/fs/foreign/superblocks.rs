// SPDX-License-Identifier: MIT OR Apache-2.0
//! Superblocks that take more than a comparison: short signatures that need
//! other fields to make sense, and those with several places.
//!
//! Sources: the on-disk headers of the Linux and FreeBSD kernels, and the fields
//! that libblkid reads.

use crate::fs::Identity;
use crate::fs::member;
use crate::fs::signature::{Label, Uuid, Volume};
use crate::ondisk::{Fields, FormatError, text};

/// bcachefs has its superblock at 4 KiB, and copies of it at 2 MiB and at 1 MiB
/// before the end.
pub(super) fn bcachefs(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    if member::bcache(volume)?.is_some() {
        return Ok(None);
    }
    const MAGIC: [u8; 16] = *b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef";
    let at_end = volume.len().checked_sub(1 << 20);
    for copy in [Some(0x1000), Some(2 << 20), at_end].into_iter().flatten() {
        let magic = volume.bytes(copy.saturating_add(0x18), 16)?;
        if magic.is_some_and(|magic| magic == MAGIC || magic == member::BCACHE_MAGIC) {
            let label = Label::Utf8(copy.saturating_add(0x48), 32);
            let uuid = Uuid::Binary(copy.saturating_add(0x38));
            return volume.identity("bcachefs", Some(label), Some(uuid)).map(Some);
        }
    }
    Ok(None)
}

/// BeFS has its superblock in the first or second sector, in either byte order.
/// Its identifier is an attribute of the root folder, small enough to be in the
/// inode itself.
pub(super) fn befs(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    for start in [0_u64, 0x200] {
        let Some(superblock) = volume.bytes(start, 0x80)? else { continue };
        let is_big = match superblock.bytes_at(0x20, 4) {
            Some(b"1SFB") => false,
            Some(b"BFS1") => true,
            _ => continue,
        };
        let order = Order { bytes: &superblock, is_big };
        let mut identity = volume.identity("BeFS", Some(Label::Utf8(start, 32)), None)?;
        let (block_shift, group_shift) = (order.long(0x2c), order.long(0x4c));
        let block = u64::from(order.long(0x74)).checked_shl(group_shift);
        let block = block.and_then(|block| block.checked_add(u64::from(order.short(0x78))));
        // Blocks are of 1 to 8 KiB.
        let inode = block
            .filter(|_| (10..=13).contains(&block_shift))
            .and_then(|block| block.checked_mul(1_u64.checked_shl(block_shift)?));
        if let Some(inode) = inode
            && let Some(inode) = volume.bytes(inode, 1024)?
        {
            identity.uuid = befs_identifier(&Order { bytes: &inode, is_big });
        }
        return Ok(Some(identity));
    }
    Ok(None)
}

/// The attribute with the identifier, among those that are in an inode.
fn befs_identifier(inode: &Order<'_>) -> Option<String> {
    const MAGIC: u32 = 0x3bbe_0ad9;
    const NAME: &[u8] = b"be:volume_id\0";
    if inode.long(0) != MAGIC {
        return None;
    }
    let mut position = 0xe8_usize;
    loop {
        let field = |offset: usize| position.checked_add(offset);
        let (name, data) = (inode.short(field(4)?), inode.short(field(6)?));
        let (name, data) = (usize::from(name), usize::from(data));
        if name == 0 && data == 0 {
            return None;
        }
        let value = field(11)?.checked_add(name)?;
        if data == 8 && inode.bytes.bytes_at(field(8)?, NAME.len()) == Some(NAME) {
            let value = inode.bytes.array::<8>(value)?;
            let id =
                if inode.is_big { u64::from_be_bytes(value) } else { u64::from_le_bytes(value) };
            return (id != 0).then(|| format!("{id:016x}"));
        }
        position = value.checked_add(data)?.checked_add(1)?;
    }
}

/// Fields in the byte order that a disk has.
struct Order<'a> {
    bytes: &'a [u8],
    is_big: bool,
}

impl Order<'_> {
    fn short(&self, offset: usize) -> u16 {
        let bytes = self.bytes;
        let field = if self.is_big { bytes.u16_be(offset) } else { bytes.u16_le(offset) };
        field.unwrap_or(0)
    }

    fn long(&self, offset: usize) -> u32 {
        let bytes = self.bytes;
        let field = if self.is_big { bytes.u32_be(offset) } else { bytes.u32_le(offset) };
        field.unwrap_or(0)
    }
}

/// NILFS2 has a magic of two bytes, but the length of its superblock follows.
pub(super) fn nilfs2(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    let backup = member::last_sectors(volume, 512, 8);
    for start in [Some(0x400), backup].into_iter().flatten() {
        let Some(header) = volume.bytes(start, 16)? else { continue };
        if header.u32_le(0) == Some(2)
            && header.u16_le(6) == Some(0x3434)
            && header.u16_le(8).is_some_and(|len| (64..=1024).contains(&len))
        {
            let label = Label::Utf8(start.saturating_add(168), 80);
            let uuid = Uuid::Binary(start.saturating_add(152));
            return volume.identity("NILFS2", Some(label), Some(uuid)).map(Some);
        }
    }
    Ok(None)
}

/// UFS has its superblock at one of four places, in either byte order.
pub(super) fn ufs(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    const UFS2: u32 = 0x1954_0119;
    const MAGICS: [u32; 6] =
        [0x0001_1954, UFS2, 0x0019_5612, 0x0009_5014, 0x0061_2195, 0x0523_1994];
    for start in [0_u64, 0x2000, 0x1_0000, 0x4_0000] {
        let Some(superblock) = volume.bytes(start, 0x560)? else { continue };
        for is_big in [false, true] {
            let order = Order { bytes: &superblock, is_big };
            let (magic, block_size) = (order.long(0x55c), order.long(0x30));
            if !MAGICS.contains(&magic) || !block_size.is_power_of_two() || block_size < 512 {
                continue;
            }
            let mut identity = volume.identity("UFS", None, None)?;
            if magic == UFS2 {
                let label = superblock.bytes_at(0x2a8, 32).map(text);
                identity.label = label.filter(|label| !label.is_empty());
            }
            let (first, second) = (order.long(0x90), order.long(0x94));
            if first != 0 || second != 0 {
                identity.uuid = Some(format!("{first:08x}{second:08x}"));
            }
            return Ok(Some(identity));
        }
    }
    Ok(None)
}

/// HPFS has two superblocks, and the label in a boot sector like that of a FAT.
pub(super) fn hpfs(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    if !volume.has(0x2000, b"\x49\xe8\x95\xf9")? {
        return Ok(None);
    }
    let mut identity = volume.identity("HPFS", None, None)?;
    let Some(boot) = volume.bytes(0, 512)? else { return Ok(Some(identity)) };
    if boot.bytes_at(0x36, 4) == Some(b"HPFS")
        && boot.u8_at(0x26) == Some(0x28)
        && boot.u16_le(510) == Some(0xaa55)
    {
        let label = boot.bytes_at(0x2b, 11).map(text);
        identity.label = label.filter(|label| !label.is_empty());
        identity.uuid = boot.u32_le(0x27).map(|serial| {
            let [a, b, c, d] = serial.to_be_bytes();
            format!("{a:02X}{b:02X}-{c:02X}{d:02X}")
        });
    }
    Ok(Some(identity))
}

/// Minix has a magic of two bytes; its counts must make sense, and where other
/// filesystems have their magic there must be none.
pub(super) fn minix(volume: &Volume) -> Result<Option<Identity>, FormatError> {
    let Some(superblock) = volume.bytes(0x400, 0x40)? else { return Ok(None) };
    if superblock.bytes_at(0x38, 2) == Some(b"\x53\xef")
        || superblock.bytes_at(0, 4) == Some(b"\xe2\xe1\xf5\xe0")
    {
        return Ok(None);
    }
    for is_big in [false, true] {
        let order = Order { bytes: &superblock, is_big };
        let short = |offset: usize| u64::from(order.short(offset));
        let long = |offset: usize| u64::from(order.long(offset));
        // Versions 1 and 2, each with names of 14 or 30 letters, and version 3.
        let version = match (short(0x10), short(0x18)) {
            (0x137f | 0x138f, _) => 1,
            (0x2468 | 0x2478, _) => 2,
            (_, 0x4d5a) => 3,
            _ => continue,
        };
        let (inodes, zones, maps, zone_size) = match version {
            3 => (long(0), long(0x14), [short(6), short(8), short(10)], short(12)),
            2 => (short(0), long(0x14), [short(4), short(6), short(8)], short(10)),
            _ => (short(0), short(2), [short(4), short(6), short(8)], short(10)),
        };
        let [inode_maps, zone_maps, first_zone] = maps;
        let bits = |blocks: u64| blocks.saturating_mul(1024 * 8);
        let data = zones.saturating_sub(first_zone);
        if zone_size == 0
            && inodes != 0
            && bits(inode_maps) > inodes
            && first_zone <= zones
            && bits(zone_maps) > data
        {
            return volume.identity("Minix", None, None).map(Some);
        }
    }
    Ok(None)
}

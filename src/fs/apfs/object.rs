// SPDX-License-Identifier: MIT OR Apache-2.0
//! Objects: blocks with a header that has a checksum, an identifier, the
//! transaction that wrote them, and a type.

use super::superblock::Superblock;
use crate::extent::Extent;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError};

/// `OBJ_PHYSICAL`: its identifier is the number of its block.
pub(super) const PHYSICAL: u32 = 0x4000_0000;
/// `OBJ_EPHEMERAL`: it lies in the checkpoint data area.
pub(super) const EPHEMERAL: u32 = 0x8000_0000;
/// `OBJ_VIRTUAL`: an object map knows its block.
pub(super) const VIRTUAL: u32 = 0;

/// The `OBJECT_TYPE_...` that are read.
pub(super) mod kind {
    pub(in super::super) const NX_SUPERBLOCK: u32 = 0x01;
    pub(in super::super) const BTREE: u32 = 0x02;
    pub(in super::super) const BTREE_NODE: u32 = 0x03;
    pub(in super::super) const SPACEMAN: u32 = 0x05;
    pub(in super::super) const SPACEMAN_CAB: u32 = 0x06;
    pub(in super::super) const SPACEMAN_CIB: u32 = 0x07;
    pub(in super::super) const SPACEMAN_FREE_QUEUE: u32 = 0x09;
    pub(in super::super) const OMAP: u32 = 0x0b;
    pub(in super::super) const CHECKPOINT_MAP: u32 = 0x0c;
    pub(in super::super) const FS: u32 = 0x0d;
    pub(in super::super) const FSTREE: u32 = 0x0e;
    pub(in super::super) const BLOCKREFTREE: u32 = 0x0f;
    pub(in super::super) const SNAPMETATREE: u32 = 0x10;
    pub(in super::super) const NX_REAPER: u32 = 0x11;
    pub(in super::super) const EFI_JUMPSTART: u32 = 0x14;
}

/// `obj_phys_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    checksum: u64,
    pub(super) oid: u64,
    pub(super) xid: u64,
    /// `o_type`, its flags included.
    pub(super) kind: u32,
    pub(super) subtype: u32,
}

impl Header {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            checksum: bytes.u64_le(0)?,
            oid: bytes.u64_le(0x08)?,
            xid: bytes.u64_le(0x10)?,
            kind: bytes.u32_le(0x18)?,
            subtype: bytes.u32_le(0x1c)?,
        })
    }
}

/// Fletcher's checksum of all but its own eight bytes.
pub(super) fn checksum(object: &[u8]) -> u64 {
    const MODULUS: u64 = 0xffff_ffff;
    let (mut first, mut second) = (0_u64, 0_u64);
    // The sums of so many words fit into 64 bits without being reduced.
    for part in object.get(8..).unwrap_or_default().chunks(4096) {
        for word in part.chunks_exact(4) {
            first = first.saturating_add(u64::from(word.u32_le(0).unwrap_or(0)));
            second = second.saturating_add(first);
        }
        first %= MODULUS;
        second %= MODULUS;
    }
    let low = MODULUS.saturating_sub(first.saturating_add(second) % MODULUS);
    let high = MODULUS.saturating_sub(first.saturating_add(low) % MODULUS);
    high << 32 | low
}

/// The header of an object whose checksum is right.
pub(super) fn checked(
    what: &'static str,
    position: u64,
    object: &[u8],
) -> Result<Header, FormatError> {
    let header = Header::parse(object)
        .ok_or_else(|| FormatError::corrupt(what, position, "an object", "fewer bytes"))?;
    let computed = checksum(object);
    // A block of zeros has a right checksum only if 0 is taken for one.
    if computed != header.checksum || header.xid == 0 {
        return Err(FormatError::corrupt(
            what,
            position,
            format!("the checksum {computed:#018x}"),
            format!("{:#018x}", header.checksum),
        ));
    }
    Ok(header)
}

/// A container's blocks.
#[derive(Clone, Copy)]
pub(super) struct Blocks<'a> {
    reader: &'a dyn ReadAt,
    pub(super) size: u64,
    pub(super) count: u64,
}

impl<'a> Blocks<'a> {
    /// The container must fit into the volume.
    pub(super) const fn new(reader: &'a dyn ReadAt, superblock: &Superblock) -> Self {
        Self { reader, size: superblock.block_size, count: superblock.block_count }
    }

    /// The block size, as a length.
    pub(super) fn len(&self) -> usize {
        usize::try_from(self.size).unwrap_or(usize::MAX)
    }

    /// Where a block is, in bytes.
    pub(super) const fn position(&self, block: u64) -> u64 {
        block.saturating_mul(self.size)
    }

    /// The bytes of a range of blocks, all of which are the container's.
    pub(super) fn extent(
        &self,
        what: &'static str,
        first: u64,
        count: u64,
    ) -> Result<Extent, FormatError> {
        if first.checked_add(count).is_some_and(|end| end <= self.count) {
            return Ok(Extent::at(self.position(first), self.position(count)));
        }
        Err(FormatError::corrupt(
            what,
            self.position(first),
            format!("blocks below {}", self.count),
            format!("{count} blocks from block {first} on"),
        ))
    }

    /// The bytes of a block.
    pub(super) fn read(&self, what: &'static str, block: u64) -> Result<Vec<u8>, FormatError> {
        let extent = self.extent(what, block, 1)?;
        Ok(read_vec(self.reader, extent.start(), self.len())?)
    }

    /// The first bytes of a block.
    pub(super) fn read_head(
        &self,
        what: &'static str,
        block: u64,
        len: usize,
    ) -> Result<Vec<u8>, FormatError> {
        let extent = self.extent(what, block, 1)?;
        Ok(read_vec(self.reader, extent.start(), len.min(self.len()))?)
    }

    /// A physical object of this type, which knows the block it is in.
    pub(super) fn physical(
        &self,
        what: &'static str,
        block: u64,
        (kind, subtype): (u32, u32),
        newest: u64,
    ) -> Result<(Header, Vec<u8>), FormatError> {
        let bytes = self.read(what, block)?;
        let position = self.position(block);
        let header = checked(what, position, &bytes)?;
        expect(what, position, &header, (PHYSICAL | kind, subtype), block)?;
        if header.xid > newest {
            return Err(FormatError::corrupt(
                what,
                position,
                format!("a transaction up to {newest}"),
                header.xid,
            ));
        }
        Ok((header, bytes))
    }
}

/// Fails if a header has another type or identifier than this.
pub(super) fn expect(
    what: &'static str,
    position: u64,
    header: &Header,
    (kind, subtype): (u32, u32),
    oid: u64,
) -> Result<(), FormatError> {
    if (header.kind, header.subtype, header.oid) == (kind, subtype, oid) {
        return Ok(());
    }
    let told = |kind, subtype, oid| format!("object {oid} of type {kind:#x}, {subtype:#x}");
    Err(FormatError::corrupt(
        what,
        position,
        told(kind, subtype, oid),
        told(header.kind, header.subtype, header.oid),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_specification() {
        // With it in place, both sums over the whole object are zero.
        let mut object: Vec<u8> = (0..=255).cycle().take(65536).collect();
        let computed = checksum(&object);
        object.splice(..8, computed.to_le_bytes());
        let words = object.chunks_exact(4).map(|word| u64::from(word.u32_le(0).unwrap()));
        let rotated: Vec<u64> = words.clone().skip(2).chain(words.take(2)).collect();
        let (mut first, mut second) = (0_u64, 0_u64);
        for word in rotated {
            first = (first + word) % 0xffff_ffff;
            second = (second + first) % 0xffff_ffff;
        }
        assert_eq!((first, second), (0, 0));
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The container's superblock, `nx_superblock_t`.

use super::object::{EPHEMERAL, checked, expect, kind};
use crate::extent::Extent;
use crate::ondisk::{Fields, FormatError};

/// `NX_MAGIC`, and where it is.
pub(super) const MAGIC: (usize, &[u8; 4]) = (0x20, b"NXSB");
/// `OID_NX_SUPERBLOCK`.
const OID: u64 = 1;
/// `NX_MINIMUM_BLOCK_SIZE` and `NX_MAXIMUM_BLOCK_SIZE`.
const BLOCK_SIZES: [u64; 5] = [4096, 8192, 16384, 32768, 65536];
/// `NX_MAX_FILE_SYSTEMS`.
const MAX_FILE_SYSTEMS: usize = 100;

/// `NX_FEATURE_DEFRAG`: defragmentation moves data as any write does.
const FEATURES: u64 = 0x01;
/// `NX_INCOMPAT_VERSION2`: every APFS since macOS 10.13.
const INCOMPATIBLE: u64 = 0x02;
/// `NX_INCOMPAT_FUSION`.
const FUSION: u64 = 0x100;
/// `NX_FEATURE_LCFD`: a small Fusion drive.
const SMALL_FUSION: u64 = 0x02;
/// `NX_RESERVED_1`, `NX_RESERVED_2`, `NX_CRYPTO_SW`.
const FLAGS: u64 = 0x07;

/// `prange_t`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u64,
    pub(super) count: u64,
}

impl Range {
    fn parse(bytes: &[u8], offset: usize) -> Option<Self> {
        Some(Self { first: bytes.u64_le(offset)?, count: bytes.u64_le(offset.checked_add(8)?)? })
    }
}

/// One of the two checkpoint areas, a ring of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) base: u64,
    pub(super) blocks: u64,
    /// Where the next checkpoint begins.
    pub(super) next: u64,
    /// How many blocks this checkpoint has there.
    pub(super) len: u64,
    /// Set if the area is in pieces, and `base` is a tree of them.
    pub(super) is_tree: bool,
}

/// Why a container has no map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Doubt {
    /// What fits after "stored whole: ".
    pub(super) why: String,
    /// What the user can do about it.
    pub(super) advice: Option<&'static str>,
}

impl Doubt {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), advice: None }
    }

    pub(super) fn fusion() -> Self {
        Self {
            why: "it is half of a Fusion drive: its other half is another disk".to_owned(),
            advice: Some("save the other disk, too, because neither is of use alone"),
        }
    }
}

/// What is needed of a superblock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Superblock {
    pub(super) xid: u64,
    pub(super) block_size: u64,
    pub(super) block_count: u64,
    features: u64,
    readonly_compatible: u64,
    incompatible: u64,
    pub(super) uuid: [u8; 16],
    pub(super) descriptors: Area,
    pub(super) data: Area,
    pub(super) spaceman_oid: u64,
    pub(super) omap_oid: u64,
    pub(super) reaper_oid: u64,
    test: (u32, u64),
    pub(super) volumes: Vec<u64>,
    blocked_out: Range,
    evict_mapping_tree: u64,
    flags: u64,
    pub(super) efi_jumpstart: u64,
    fusion: bool,
    pub(super) keylocker: Range,
    pub(super) media_key_locker: Range,
}

impl Superblock {
    /// The block size that a block claims which looks like a superblock.
    pub(super) fn block_size(head: &[u8]) -> Option<u64> {
        if head.bytes_at(MAGIC.0, MAGIC.1.len())? != MAGIC.1 {
            return None;
        }
        head.u32_le(0x24).map(u64::from)
    }

    /// True if there may be filesystems with such blocks.
    pub(super) fn is_block_size(size: u64) -> bool {
        BLOCK_SIZES.contains(&size)
    }

    /// Parses a whole block.
    pub(super) fn parse(block: &[u8], position: u64) -> Result<Self, FormatError> {
        const WHAT: &str = "superblock of the APFS container";
        let header = checked(WHAT, position, block)?;
        expect(WHAT, position, &header, (EPHEMERAL | kind::NX_SUPERBLOCK, 0), OID)?;
        let len = u64::try_from(block.len()).unwrap_or(0);
        if Self::block_size(block) != Some(len) {
            return Err(FormatError::corrupt(
                "nx_block_size",
                position.saturating_add(0x24),
                len,
                format!("{:?}", Self::block_size(block)),
            ));
        }
        let parsed = Self::fields(block, header.xid)
            .ok_or_else(|| FormatError::corrupt(WHAT, position, "4096 bytes", len))?;
        for (area, at) in [(&parsed.descriptors, 0x68), (&parsed.data, 0x6c)] {
            if !area.is_tree && (area.blocks == 0 || area.next >= area.blocks) {
                return Err(FormatError::corrupt(
                    "checkpoint area",
                    position.saturating_add(at),
                    "a ring of blocks, the next one among them",
                    format!("{} blocks, next is {}", area.blocks, area.next),
                ));
            }
        }
        Ok(parsed)
    }

    fn fields(block: &[u8], xid: u64) -> Option<Self> {
        const TREE: u32 = 1 << 31;
        let area = |blocks: u32, base: u64, next: u32, len: u32| Area {
            base,
            blocks: u64::from(blocks & !TREE),
            next: u64::from(next),
            len: u64::from(len),
            is_tree: blocks & TREE != 0 || base >> 63 != 0,
        };
        let volumes = block.bytes_at(0xb8, MAX_FILE_SYSTEMS.checked_mul(8)?)?;
        let volumes = volumes.chunks_exact(8).filter_map(|oid| oid.u64_le(0));
        Some(Self {
            xid,
            block_size: u64::from(block.u32_le(0x24)?),
            block_count: block.u64_le(0x28)?,
            features: block.u64_le(0x30)?,
            readonly_compatible: block.u64_le(0x38)?,
            incompatible: block.u64_le(0x40)?,
            uuid: block.array(0x48)?,
            descriptors: area(
                block.u32_le(0x68)?,
                block.u64_le(0x70)?,
                block.u32_le(0x80)?,
                block.u32_le(0x8c)?,
            ),
            data: area(
                block.u32_le(0x6c)?,
                block.u64_le(0x78)?,
                block.u32_le(0x84)?,
                block.u32_le(0x94)?,
            ),
            spaceman_oid: block.u64_le(0x98)?,
            omap_oid: block.u64_le(0xa0)?,
            reaper_oid: block.u64_le(0xa8)?,
            test: (block.u32_le(0xb0)?, block.u64_le(0x540)?),
            volumes: volumes.filter(|oid| *oid != 0).collect(),
            blocked_out: Range::parse(block, 0x4d8)?,
            evict_mapping_tree: block.u64_le(0x4e8)?,
            flags: block.u64_le(0x4f0)?,
            efi_jumpstart: block.u64_le(0x4f8)?,
            fusion: block.array::<16>(0x500)? != [0; 16]
                // The tree, the object and the range of the write-back cache.
                || block.bytes_at(0x548, 0x20)?.iter().any(|byte| *byte != 0),
            keylocker: Range::parse(block, 0x510)?,
            media_key_locker: Range::parse(block, 0x570)?,
        })
    }

    /// The container's size in bytes.
    pub(super) const fn size(&self) -> u64 {
        self.block_count.saturating_mul(self.block_size)
    }

    /// True if the container spans a disk and a flash drive.
    pub(super) const fn is_fusion(&self) -> bool {
        self.incompatible & FUSION != 0 || self.features & SMALL_FUSION != 0 || self.fusion
    }

    /// Why there is no proof of what is free, by the superblock alone.
    pub(super) fn doubt(&self) -> Option<Doubt> {
        if self.is_fusion() {
            return Some(Doubt::fusion());
        }
        for (what, value, known) in [
            ("optional features", self.features, FEATURES),
            ("read-only compatible features", self.readonly_compatible, 0),
            ("incompatible features", self.incompatible, INCOMPATIBLE),
            ("flags", self.flags, FLAGS),
        ] {
            let unknown = value & !known;
            if unknown != 0 {
                return Some(Doubt::new(format!(
                    "its container has unknown {what} ({unknown:#x})"
                )));
            }
        }
        if self.incompatible & INCOMPATIBLE == 0 {
            return Some(Doubt::new("it is of a version from before macOS 10.13"));
        }
        if self.blocked_out.count != 0 || self.evict_mapping_tree != 0 {
            let advice = "start macOS and let it finish to make the image smaller";
            return Some(Doubt {
                advice: Some(advice),
                ..Doubt::new("the container is being shrunk")
            });
        }
        if self.test != (0, 0) {
            return Some(Doubt::new("the container is marked as a test"));
        }
        if self.descriptors.is_tree || self.data.is_tree {
            return Some(Doubt::new("its checkpoint areas are in pieces"));
        }
        None
    }

    /// The bytes of the checkpoint areas and of the first block. The container
    /// must not be larger than its volume.
    pub(super) fn fixed(&self) -> [(&'static str, Range); 3] {
        let range = |area: &Area| Range { first: area.base, count: area.blocks };
        [
            ("first block", Range { first: 0, count: 1 }),
            ("checkpoint descriptor area", range(&self.descriptors)),
            ("checkpoint data area", range(&self.data)),
        ]
    }

    /// What lies behind the container on a volume of this length.
    pub(super) const fn tail(&self, len: u64) -> Extent {
        Extent::new(self.size(), len)
    }
}

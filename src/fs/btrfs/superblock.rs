// SPDX-License-Identifier: MIT OR Apache-2.0
//! The superblock: who the filesystem is, what it uses, and where its roots are.
//!
//! Layout: "On-disk Format" of the btrfs documentation, `struct
//! btrfs_super_block`. A device has up to three, at 64 KiB, 64 MiB and 256 GiB.
//! A mount reads the first; the others are for programs that repair.

use super::checksum::Checksum;
use super::chunk::is_power_of_two;
use crate::error::Context;
use crate::extent::Extent;
use crate::fs::Identity;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError, text};

/// Where the superblocks are.
pub(super) const POSITIONS: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];
pub(super) const LEN: usize = 4096;
pub(super) const MAGIC: &[u8; 8] = b"_BHRfS_M";

pub(super) const COMPAT_RO_FREE_SPACE_TREE: u64 = 1 << 0;
pub(super) const COMPAT_RO_FREE_SPACE_TREE_VALID: u64 = 1 << 1;
pub(super) const COMPAT_RO_VERITY: u64 = 1 << 2;
pub(super) const COMPAT_RO_BLOCK_GROUP_TREE: u64 = 1 << 3;

pub(super) const INCOMPAT_MIXED_BACKREF: u64 = 1 << 0;
pub(super) const INCOMPAT_METADATA_UUID: u64 = 1 << 10;
/// From mixed backrefs (bit 0) to RAID1C3 and C4 (bit 11), all of which change
/// nothing in how space is accounted for, or are handled.
const INCOMPAT_KNOWN: u64 = (1 << 12) - 1;

/// What is stored whole, by the names that people know.
const INCOMPAT_NAMES: [(u64, &str); 6] = [
    (1 << 12, "zoned"),
    (1 << 13, "extent-tree-v2"),
    (1 << 14, "raid-stripe-tree"),
    (1 << 15, "encryption"),
    (1 << 16, "simple quota"),
    (1 << 17, "remap-tree"),
];

pub(super) const FLAG_WRITTEN: u64 = 1 << 0;
const FLAG_ERROR: u64 = 1 << 2;
/// Flags with a meaning that keeps a map from being proven.
const FLAG_NAMES: [(u64, &str); 9] = [
    (1 << 1, "its superblock is marked as relocated"),
    (1 << 32, "it is a seed for other filesystems"),
    (1 << 33, "it is a dump of metadata only"),
    (1 << 34, "it is a dump of metadata only"),
    (1 << 35, "its UUID is being changed"),
    (1 << 36, "its UUID is being changed"),
    (1 << 38, "its block groups are being moved to another tree"),
    (1 << 39, "its checksums are being changed"),
    (1 << 40, "its checksums are being changed"),
];

/// A pointer to the root of a tree in the superblock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) logical: u64,
    pub(super) generation: u64,
    pub(super) level: u8,
}

/// A device of the filesystem, as its item in the chunk tree and the
/// superblock have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeviceItem {
    pub(super) id: u64,
    pub(super) total_bytes: u64,
    pub(super) bytes_used: u64,
    pub(super) uuid: [u8; 16],
    pub(super) fsid: [u8; 16],
}

impl DeviceItem {
    pub(super) const LEN: usize = 98;

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            id: bytes.u64_le(0)?,
            total_bytes: bytes.u64_le(8)?,
            bytes_used: bytes.u64_le(16)?,
            uuid: bytes.array(66)?,
            fsid: bytes.array(82)?,
        })
    }
}

/// A superblock that is whole and of a kind that is known.
#[derive(Debug, Clone)]
pub(super) struct Superblock {
    pub(super) checksum: Checksum,
    pub(super) fsid: [u8; 16],
    /// What tree blocks have as their filesystem's UUID.
    pub(super) metadata_uuid: [u8; 16],
    pub(super) flags: u64,
    pub(super) compat_ro: u64,
    pub(super) incompat: u64,
    pub(super) generation: u64,
    pub(super) root: Root,
    pub(super) chunk_root: Root,
    /// The root of the log trees; `None` if there is nothing to replay.
    pub(super) log_root: Option<Root>,
    pub(super) total_bytes: u64,
    pub(super) bytes_used: u64,
    pub(super) num_devices: u64,
    pub(super) sector_size: u64,
    pub(super) node_size: u64,
    pub(super) device: DeviceItem,
    pub(super) system_chunks: Vec<u8>,
    bytes: Vec<u8>,
}

/// The bytes of a superblock; `None` if the volume has no magic there.
pub(super) fn read(reader: &dyn ReadAt, position: u64) -> Result<Option<Vec<u8>>, FormatError> {
    let end = u64::try_from(LEN).ok().and_then(|len| position.checked_add(len));
    if end.is_none_or(|end| end > reader.len()) {
        return Ok(None);
    }
    let bytes = read_vec(reader, position, LEN)
        .context(|| format!("reading the superblock at byte {position:#x}"))?;
    Ok((bytes.bytes_at(0x40, 8) == Some(MAGIC)).then_some(bytes))
}

impl Superblock {
    /// Parses what [`read`] found.
    pub(super) fn parse(bytes: Vec<u8>, position: u64) -> Result<Self, FormatError> {
        parse(bytes, position)?.ok_or_else(|| {
            FormatError::corrupt("superblock", position, format!("{LEN} bytes"), "fewer")
        })
    }

    pub(super) const fn has_compat_ro(&self, bit: u64) -> bool {
        self.compat_ro & bit != 0
    }

    /// Why no files are read, if the superblock alone is reason enough: data is
    /// not where the chunks say, or something is half done.
    pub(super) fn distrust_of_files(&self) -> Option<String> {
        const SIMPLE_QUOTA: u64 = 1 << 16;
        const HALF_DONE: u64 = 1 << 1 | 0b11 << 33 | 0b11 << 35 | 0b11 << 39;
        let unread = self.incompat & !INCOMPAT_KNOWN & !SIMPLE_QUOTA;
        if let Some((_, name)) = INCOMPAT_NAMES.iter().find(|(bit, _)| unread & bit != 0) {
            return Some(format!("it uses {name}, with which files are not read"));
        }
        if unread != 0 {
            return Some(format!("it has the unknown incompat features {unread:#x}"));
        }
        let flag = FLAG_NAMES.iter().find(|(bit, _)| self.flags & HALF_DONE & bit != 0);
        flag.map(|(_, why)| (*why).to_owned())
    }

    /// Why nothing is free, if the superblock alone is reason enough.
    pub(super) fn distrust(&self) -> Option<String> {
        if let Some((_, name)) = INCOMPAT_NAMES.iter().find(|(bit, _)| self.incompat & bit != 0) {
            return Some(format!("it uses {name}, where free space is not told as usual"));
        }
        let unknown = self.incompat & !INCOMPAT_KNOWN;
        if unknown != 0 {
            return Some(format!("it has the unknown incompat features {unknown:#x}"));
        }
        if self.incompat & INCOMPAT_MIXED_BACKREF == 0 {
            return Some("its extent tree has the format from before 2009".to_owned());
        }
        let known = COMPAT_RO_FREE_SPACE_TREE
            | COMPAT_RO_FREE_SPACE_TREE_VALID
            | COMPAT_RO_VERITY
            | COMPAT_RO_BLOCK_GROUP_TREE;
        if self.compat_ro & !known != 0 {
            let unknown = self.compat_ro & !known;
            return Some(format!("it has the unknown read-only features {unknown:#x}"));
        }
        let compat = self.bytes.u64_le(0xAC).unwrap_or(u64::MAX);
        if compat != 0 {
            return Some(format!("it has the unknown compatible features {compat:#x}"));
        }
        if self.flags & FLAG_ERROR != 0 {
            return Some("errors are recorded in it: run btrfs check on it".to_owned());
        }
        if let Some((_, why)) = FLAG_NAMES.iter().find(|(bit, _)| self.flags & bit != 0) {
            return Some((*why).to_owned());
        }
        let unknown = self.flags & !FLAG_WRITTEN;
        (unknown != 0).then(|| format!("its superblock has the unknown flags {unknown:#x}"))
    }

    pub(super) fn identity(&self) -> Identity {
        let has_errors = self.flags & FLAG_ERROR != 0;
        let unclean = if has_errors {
            Some("errors recorded")
        } else {
            self.log_root.map(|_| "log not replayed")
        };
        Identity {
            name: "btrfs".to_owned(),
            label: Some(text(self.bytes.bytes_at(0x12B, 256).unwrap_or_default()))
                .filter(|label| !label.is_empty()),
            uuid: Some(uuid::Uuid::from_bytes(self.fsid).to_string()),
            size: self.device.total_bytes,
            clean: unclean.is_none(),
            unclean: unclean.map(str::to_owned),
        }
    }

    /// True if two superblocks of one generation say the same. What differs
    /// on purpose is not compared: each has a place and a checksum, each
    /// device its item; and an fsync writes the log's root into the first
    /// superblock only.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        let differing = |at: usize| {
            at < 0x20
                || (0x30..0x38).contains(&at)
                || (0x60..0x70).contains(&at)
                || at == 0xC8
                || (0xC9..0x12B).contains(&at)
        };
        let pairs = self.bytes.iter().zip(&other.bytes).enumerate();
        self.bytes.len() == other.bytes.len()
            && pairs.filter(|(at, _)| !differing(*at)).all(|(_, (a, b))| a == b)
    }
}

fn parse(bytes: Vec<u8>, position: u64) -> Result<Option<Superblock>, FormatError> {
    let fields = bytes.as_slice();
    let field = |offset: usize| fields.u64_le(offset);
    let corrupt = |what, offset: u64, expected: &str, found: u64| {
        Err(FormatError::corrupt(what, position.saturating_add(offset), expected, found))
    };
    let Some(number) = fields.u16_le(0xC4) else { return Ok(None) };
    let checksum = Checksum::parse(number)?;
    if !checksum.holds(fields) {
        return Err(FormatError::corrupt(
            "checksum of the superblock",
            position,
            "the checksum of its bytes",
            "another one",
        ));
    }
    let fixed = (|| {
        Some(Superblock {
            checksum,
            fsid: fields.array(0x20)?,
            metadata_uuid: fields.array(0x20)?,
            flags: field(0x38)?,
            compat_ro: field(0xB4)?,
            incompat: field(0xBC)?,
            generation: field(0x48)?,
            root: Root {
                logical: field(0x50)?,
                generation: field(0x48)?,
                level: fields.u8_at(0xC6)?,
            },
            chunk_root: Root {
                logical: field(0x58)?,
                generation: field(0xA4)?,
                level: fields.u8_at(0xC7)?,
            },
            log_root: None,
            total_bytes: field(0x70)?,
            bytes_used: field(0x78)?,
            num_devices: field(0x88)?,
            sector_size: u64::from(fields.u32_le(0x90)?),
            node_size: u64::from(fields.u32_le(0x94)?),
            device: DeviceItem::parse(fields.bytes_at(0xC9, DeviceItem::LEN)?)?,
            system_chunks: Vec::new(),
            bytes: Vec::new(),
        })
    })();
    let Some(mut superblock) = fixed else { return Ok(None) };
    if field(0x30) != Some(position) {
        let found = field(0x30).unwrap_or_default();
        return corrupt("bytenr of the superblock", 0x30, "its own position", found);
    }
    let powers = |number: u64| is_power_of_two(number) && (4096..=65536).contains(&number);
    if !powers(superblock.sector_size) {
        return corrupt("sectorsize", 0x90, "4096 to 65536", superblock.sector_size);
    }
    if !powers(superblock.node_size) || superblock.node_size < superblock.sector_size {
        return corrupt("nodesize", 0x94, "sectorsize to 65536", superblock.node_size);
    }
    if superblock.generation == 0 || superblock.generation == u64::MAX {
        return corrupt("generation", 0x48, "a number of a commit", superblock.generation);
    }
    if superblock.num_devices == 0 {
        return corrupt("num_devices", 0x88, "at least 1", 0);
    }
    let log_root = field(0x60).unwrap_or_default();
    if log_root != 0 {
        // The log is written in the transaction after the last that was committed.
        let generation = superblock.generation.saturating_add(1);
        let level = fields.u8_at(0xC8).unwrap_or_default();
        superblock.log_root = Some(Root { logical: log_root, generation, level });
    }
    if superblock.incompat & INCOMPAT_METADATA_UUID != 0 {
        superblock.metadata_uuid = fields.array(0x23B).unwrap_or_default();
    }
    if superblock.device.fsid != superblock.metadata_uuid {
        return Err(FormatError::corrupt(
            "dev_item.fsid",
            position.saturating_add(0x11B),
            uuid::Uuid::from_bytes(superblock.metadata_uuid),
            uuid::Uuid::from_bytes(superblock.device.fsid),
        ));
    }
    let size = fields.u32_le(0xA0).unwrap_or_default();
    let Some(array) = usize::try_from(size)
        .ok()
        .filter(|size| *size <= 2048)
        .and_then(|size| fields.bytes_at(0x32B, size))
    else {
        return corrupt("sys_chunk_array_size", 0xA0, "at most 2048", u64::from(size));
    };
    superblock.system_chunks = array.to_vec();
    superblock.bytes = bytes;
    Ok(Some(superblock))
}

/// What the other superblocks of a device say.
pub(super) enum Mirrors {
    /// Nothing against the first; with a word about those that are damaged.
    Agree(Vec<String>),
    /// Something that makes it doubtful which one is the newest.
    Differ(String),
}

/// Compares the superblocks of a device.
///
/// A power cut in the middle of a commit leaves mirrors that are one commit
/// older than the first: a mount does not look at them, and what the older
/// commit alone needs may have been overwritten before. A newer one is another
/// matter.
pub(super) fn mirrors(reader: &dyn ReadAt, first: &Superblock) -> Mirrors {
    let mut notes = Vec::new();
    for position in POSITIONS.into_iter().skip(1) {
        let place = place(position);
        // The kernel writes no mirror that ends at or behind the device's end.
        if place.end() >= first.device.total_bytes || place.end() > reader.len() {
            continue;
        }
        let mirror = read(reader, position)
            .and_then(|bytes| bytes.map(|bytes| Superblock::parse(bytes, position)).transpose());
        match mirror {
            Ok(Some(mirror)) if mirror.fsid == first.fsid => {
                if mirror.generation > first.generation {
                    return Mirrors::Differ(format!(
                        "the copy of its superblock at byte {position:#x} is newer than the first"
                    ));
                }
                let same_device =
                    mirror.device.id == first.device.id && mirror.device.uuid == first.device.uuid;
                if mirror.generation == first.generation && !(same_device && mirror.agrees(first)) {
                    return Mirrors::Differ(format!(
                        "the copy of its superblock at byte {position:#x} contradicts the first"
                    ));
                }
            }
            Ok(_) | Err(_) => {
                notes.push(format!("the copy of its superblock at byte {position:#x} is damaged"));
            }
        }
    }
    Mirrors::Agree(notes)
}

/// The bytes of the superblock at `position`.
pub(super) fn place(position: u64) -> Extent {
    Extent::at(position, u64::try_from(LEN).unwrap_or(u64::MAX))
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Inodes: what is known of a file, and the root of its map.

use jiff::Timestamp;

use super::super::checksum::crc32c;
use super::super::inode::check_inode;
use super::{ExtFiles, Use, xattr};
use crate::extent::Extent;
use crate::fs::files::{Attributes, FileResult, NodeKind, Times};
use crate::ondisk::{Fields, FormatError};

const INCOMPAT_LARGE_DIR: u32 = 0x4000;

const FLAG_ENCRYPTED: u32 = 0x800;
const FLAG_INDEXED: u32 = 0x1000;
const FLAG_HUGE_FILE: u32 = 0x4_0000;
const FLAG_EXTENTS: u32 = 0x8_0000;
const FLAG_EA_INODE: u32 = 0x20_0000;
const FLAG_INLINE_DATA: u32 = 0x1000_0000;
const FLAG_CASEFOLDED: u32 = 0x4000_0000;

/// Where `i_block` is, and how long.
const MAP: usize = 0x28;
pub(super) const MAP_LEN: usize = 60;
/// Where the part begins that an inode of 128 bytes does not have.
const EXTRA: usize = 0x80;

/// An inode, whose checksum is right.
pub(super) struct Inode {
    pub(super) number: u32,
    /// Where it is on the volume.
    pub(super) position: u64,
    raw: Vec<u8>,
    /// Where the checksums of what belongs to it start.
    pub(super) checksum_seed: u32,
    has_large_folders: bool,
}

impl Inode {
    /// Reads an inode that is in use.
    pub(super) fn read(files: &ExtFiles, number: u32) -> FileResult<Self> {
        let superblock = &files.superblock;
        let geometry = &superblock.geometry;
        let wrong = || FormatError::corrupt("number of an inode", 0, "one that there is", number);
        let index = u64::from(number).checked_sub(1).ok_or_else(wrong)?;
        let group = index.checked_div(geometry.inodes_per_group).ok_or_else(wrong)?;
        if group >= geometry.groups {
            return Err(wrong());
        }
        let index = index.checked_rem(geometry.inodes_per_group).ok_or_else(wrong)?;
        let offset = index.saturating_mul(geometry.inode_size);
        let block = offset.checked_div(geometry.block_size).ok_or_else(wrong)?;
        let offset = offset.checked_rem(geometry.block_size).ok_or_else(wrong)?;
        let block = files.table(group)?.saturating_add(block);
        let bytes = files.block(Use::InodeTable, block, 0, |_, _| Ok(()))?;
        let raw = usize::try_from(offset)
            .ok()
            .zip(usize::try_from(geometry.inode_size).ok())
            .and_then(|(offset, len)| bytes.bytes_at(offset, len))
            .ok_or_else(wrong)?;
        let position = files.volume().extent(block, 1).start().saturating_add(offset);
        let generation: [u8; 4] = raw.array(0x64).unwrap_or_default();
        let seed = crc32c(crc32c(superblock.checksum_seed, &number.to_le_bytes()), &generation);
        let inode = Self {
            number,
            position,
            raw: raw.to_vec(),
            checksum_seed: seed,
            has_large_folders: superblock.features.has_incompat(INCOMPAT_LARGE_DIR),
        };
        if inode.u16(0) == 0 || inode.u16(0x1A) == 0 {
            return Err(FormatError::corrupt("inode", position, "one in use", "a deleted one"));
        }
        if superblock.has_metadata_checksums() {
            check_inode(raw, seed, position).unwrap_or_else(|| Err(wrong()))?;
        }
        Ok(inode)
    }

    fn u16(&self, offset: usize) -> u16 {
        self.raw.u16_le(offset).unwrap_or(0)
    }

    fn u32(&self, offset: usize) -> u32 {
        self.raw.u32_le(offset).unwrap_or(0)
    }

    /// A field of the part behind the first 128 bytes, as far as that reaches.
    fn extra(&self, offset: usize) -> Option<u32> {
        let end = EXTRA.saturating_add(self.extra_len());
        (offset.checked_add(4)? <= end).then(|| self.raw.u32_le(offset)).flatten()
    }

    /// The bytes of fields behind the first 128.
    fn extra_len(&self) -> usize {
        if self.raw.len() > EXTRA { usize::from(self.u16(EXTRA)) } else { 0 }
    }

    /// The bytes behind all fields, where extended attributes are, and where
    /// they are on the volume.
    pub(super) fn attribute_area(&self) -> &[u8] {
        let extra = self.extra_len();
        if extra == 0 {
            return &[];
        }
        self.raw.get(EXTRA.saturating_add(extra)..).unwrap_or_default()
    }

    /// Where it is on the volume.
    pub(super) fn extent(&self) -> Extent {
        Extent::at(self.position, u64::try_from(self.raw.len()).unwrap_or(0))
    }

    /// `i_block`: the root of the map, or what is so short that it needs none.
    pub(super) fn map(&self) -> &[u8] {
        self.raw.bytes_at(MAP, MAP_LEN).unwrap_or_default()
    }

    fn flag(&self, flag: u32) -> bool {
        self.u32(0x20) & flag != 0
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.flag(FLAG_ENCRYPTED)
    }

    pub(super) fn is_indexed(&self) -> bool {
        self.flag(FLAG_INDEXED)
    }

    pub(super) fn is_inline(&self) -> bool {
        self.flag(FLAG_INLINE_DATA)
    }

    pub(super) fn is_casefolded(&self) -> bool {
        self.flag(FLAG_CASEFOLDED)
    }

    pub(super) fn has_extents(&self) -> bool {
        self.flag(FLAG_EXTENTS)
    }

    /// True if it holds the value of an extended attribute.
    pub(super) fn is_ea_inode(&self) -> bool {
        self.flag(FLAG_EA_INODE)
    }

    /// The block of extended attributes, 0 if there is none.
    pub(super) fn attribute_block(&self) -> u64 {
        u64::from(self.u16(0x76)) << 32 | u64::from(self.u32(0x68))
    }

    pub(super) fn size(&self) -> u64 {
        let low = u64::from(self.u32(0x4));
        // For whatever is no file, the upper half had another meaning before
        // there were folders that large.
        let is_wide = match self.u16(0) & 0xF000 {
            0x8000 => true,
            0x4000 => self.has_large_folders,
            _ => false,
        };
        if is_wide { u64::from(self.u32(0x6C)) << 32 | low } else { low }
    }

    /// An error that says what this inode is.
    pub(super) fn unsupported(&self, what: &str) -> FormatError {
        FormatError::unsupported(format!("inode {} {what}", self.number))
    }

    pub(super) fn corrupt(
        &self,
        what: &'static str,
        expected: impl ToString,
        found: impl ToString,
    ) -> FormatError {
        FormatError::corrupt(what, self.position, expected, found)
    }

    /// An error unless it is of this kind.
    pub(super) fn expect(&self, kind: NodeKind) -> FileResult<()> {
        let found = self.kind()?;
        if found == kind {
            return Ok(());
        }
        Err(self.corrupt("inode", format!("{kind:?}"), format!("{found:?}")))
    }

    pub(super) fn kind(&self) -> FileResult<NodeKind> {
        let mode = self.u16(0);
        Ok(match mode & 0xF000 {
            0x1000 => NodeKind::Pipe,
            0x2000 => self.device(false),
            0x4000 => NodeKind::Folder,
            0x6000 => self.device(true),
            0x8000 => NodeKind::File,
            0xA000 => NodeKind::Link,
            0xC000 => NodeKind::Socket,
            _ => return Err(self.corrupt("i_mode", "a known kind", format!("{mode:#o}"))),
        })
    }

    /// The number of a device is in the first slot of the map, or in the second
    /// if it does not fit into 16 bits.
    fn device(&self, is_block: bool) -> NodeKind {
        let (old, new) = (self.u32(MAP), self.u32(MAP.saturating_add(4)));
        let (major, minor) = if old != 0 {
            (old >> 8 & 0xFF, old & 0xFF)
        } else {
            (new >> 8 & 0xFFF, new & 0xFF | new >> 12 & 0xF_FF00)
        };
        NodeKind::Device { is_block, major, minor }
    }

    pub(super) fn attributes(&self, files: &ExtFiles) -> FileResult<Attributes> {
        let blocks = u64::from(self.u16(0x74)) << 32 | u64::from(self.u32(0x1C));
        let unit = if self.flag(FLAG_HUGE_FILE) { files.block_size() } else { 512 };
        let wide = |low, high| u32::from(self.u16(high)) << 16 | u32::from(self.u16(low));
        Attributes {
            kind: self.kind()?,
            size: self.size(),
            allocated: Some(blocks.saturating_mul(unit)),
            times: Times {
                modified: time(self.u32(0x10), self.extra(0x88)),
                accessed: time(self.u32(0x8), self.extra(0x8C)),
                changed: time(self.u32(0xC), self.extra(0x84)),
                created: self.extra(0x90).and_then(|seconds| time(seconds, self.extra(0x94))),
            },
            mode: Some(u32::from(self.u16(0) & 0o7777)),
            owner: Some((wide(0x2, 0x78), wide(0x18, 0x7A))),
            links: self.u16(0x1A).into(),
            dos: None,
        }
        .checked(self.position)
    }

    /// The target of a symbolic link: in place of the map if it is short, else
    /// as the content of a file.
    pub(super) fn link_target(&self, files: &ExtFiles) -> FileResult<Vec<u8>> {
        const MAX_LEN: u64 = 65536;
        if self.is_encrypted() {
            return Err(self.unsupported("is an encrypted link (fscrypt)"));
        }
        let size = self.size();
        let most = MAX_LEN.min(files.block_size());
        let len = usize::try_from(size).ok().filter(|_| size <= most);
        let Some(len) = len else {
            return Err(self.corrupt("length of a link", format!("at most {most}"), size));
        };
        let is_fast = len < MAP_LEN && !self.has_extents() && !self.is_inline();
        if is_fast {
            return Ok(self.map().get(..len).unwrap_or_default().to_vec());
        }
        if self.is_inline() {
            let mut target = xattr::inline_content(files, self)?;
            if target.len() < len {
                return Err(self.corrupt("length of a link", target.len(), len));
            }
            target.truncate(len);
            return Ok(target);
        }
        let mut target = vec![0; len];
        files.read_file(self, 0, &mut target)?;
        Ok(target)
    }
}

/// A time: seconds as a signed number, and in the extra field two more bits of
/// them above and the nanoseconds.
fn time(seconds: u32, extra: Option<u32>) -> Option<Timestamp> {
    let extra = extra.unwrap_or(0);
    let seconds = i64::from(seconds.cast_signed());
    let seconds = seconds.saturating_add(i64::from(extra & 3) << 32);
    Timestamp::new(seconds, i32::try_from(extra >> 2).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_reach_from_1901_to_2446_with_nanoseconds() {
        let shown = |seconds, extra| time(seconds, extra).unwrap().to_string();
        assert_eq!(shown(0x8000_0000, None), "1901-12-13T20:45:52Z");
        assert_eq!(shown(0, None), "1970-01-01T00:00:00Z");
        assert_eq!(shown(0x7FFF_FFFF, Some(0)), "2038-01-19T03:14:07Z");
        assert_eq!(shown(0x8000_0000, Some(1)), "2038-01-19T03:14:08Z");
        assert_eq!(shown(0x7FFF_FFFF, Some(3)), "2446-05-10T22:38:55Z");
        assert_eq!(shown(1, Some(999_999_999 << 2)), "1970-01-01T00:00:01.999999999Z");
        assert_eq!(time(1, Some(u32::MAX)), None);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Inodes (`xfs_dinode`): what is known of a file, and its two forks, one for
//! its content and one for its extended attributes.

use jiff::Timestamp;

use super::super::volume::Block;
use super::{Use, XfsFiles, map};
use crate::fs::files::{Attributes, FileResult, NodeKind, Times};
use crate::ondisk::{Fields, FormatError};

const MAGIC: u16 = 0x494E;
const FLAG_REALTIME: u16 = 0x1;
const FLAG2_BIG_TIME: u64 = 0x8;
const FLAG2_LARGE_COUNTS: u64 = 0x10;
/// The bytes in front of the forks, in version 3 and before.
const CORE_LEN: usize = 176;
const OLD_CORE_LEN: usize = 100;
/// No link is longer.
const MAX_LINK_LEN: u64 = 1024;
const LINK_HEADER_LEN: usize = 56;
const LINK_MAGIC: &[u8; 4] = b"XSLM";

/// How a fork is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Its content is in the inode.
    Local,
    /// Its extents are in the inode.
    Extents(u64),
    /// Its extents are in a tree, whose root is in the inode.
    Tree,
}

/// Where the content or the attributes of an inode are.
#[derive(Debug, Clone)]
pub(super) struct Fork {
    pub(super) format: Format,
    /// Its bytes in the inode.
    pub(super) bytes: Vec<u8>,
}

/// An inode that is in use, and whose checksum is right.
pub(super) struct Inode {
    pub(super) number: u64,
    raw: Block,
}

impl Inode {
    pub(super) fn read(files: &XfsFiles, number: u64) -> FileResult<Self> {
        let geometry = &files.superblock.geometry;
        let block = geometry.block_of_inode(number);
        if !geometry.has_block(block) {
            let expected = "one that there is";
            return Err(FormatError::corrupt("number of an inode", 0, expected, number));
        }
        let (group, first) = geometry.split(block);
        let place = geometry.extent(group, first, 1);
        let bytes = files.block(Use::Inodes, place.start(), place.len(), 0, |_| Ok(()))?;
        let (offset, len) = geometry.inode_in_block(number);
        let raw = Block {
            position: place.start().saturating_add(offset),
            bytes: usize::try_from(offset)
                .ok()
                .and_then(|offset| bytes.bytes.bytes_at(offset, len))
                .unwrap_or_default()
                .to_vec(),
            // A replay that writes an inode writes its checksum, too.
            is_replayed: false,
        };
        let inode = Self { number, raw };
        inode.check(files)?;
        Ok(inode)
    }

    fn check(&self, files: &XfsFiles) -> FileResult<()> {
        let raw = &self.raw;
        if raw.u16(0) != MAGIC {
            return Err(raw.corrupt("di_magic", 0, "IN", format!("{:#x}", raw.u16(0))));
        }
        let version = self.u8(4);
        let expected = if files.has_checksums() { 3..=3 } else { 1..=2 };
        if !expected.contains(&version) {
            return Err(raw.corrupt("di_version", 4, format!("{expected:?}"), version));
        }
        if files.has_checksums() {
            raw.expect_checksum("di_crc", 100)?;
            raw.expect_uuid("di_uuid", 160, &files.superblock.geometry)?;
            if raw.u64(152) != self.number {
                return Err(raw.corrupt("di_ino", 152, self.number, raw.u64(152)));
            }
        }
        if self.mode() == 0 {
            return Err(raw.corrupt("inode", 2, "one in use", "a deleted one"));
        }
        Ok(())
    }

    fn u8(&self, offset: usize) -> u8 {
        self.raw.bytes.u8_at(offset).unwrap_or(0)
    }

    fn mode(&self) -> u16 {
        self.raw.u16(2)
    }

    fn flags2(&self) -> u64 {
        if self.u8(4) == 3 { self.raw.u64(120) } else { 0 }
    }

    pub(super) fn size(&self) -> u64 {
        self.raw.u64(56)
    }

    pub(super) fn unsupported(&self, what: &str) -> FormatError {
        FormatError::unsupported(format!("inode {} {what}", self.number))
    }

    pub(super) fn corrupt(
        &self,
        what: &'static str,
        expected: impl ToString,
        found: impl ToString,
    ) -> FormatError {
        self.raw.corrupt(what, 0, expected, found)
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
        let mode = self.mode();
        Ok(match mode & 0xF000 {
            0x1000 => NodeKind::Pipe,
            0x2000 => self.device(false),
            0x4000 => NodeKind::Folder,
            0x6000 => self.device(true),
            0x8000 => NodeKind::File,
            0xA000 => NodeKind::Link,
            0xC000 => NodeKind::Socket,
            _ => return Err(self.corrupt("di_mode", "a known kind", format!("{mode:#o}"))),
        })
    }

    fn device(&self, is_block: bool) -> NodeKind {
        let number = self.raw.u32(self.core_len());
        NodeKind::Device { is_block, major: number >> 18, minor: number & 0x3_FFFF }
    }

    fn core_len(&self) -> usize {
        if self.u8(4) == 3 { CORE_LEN } else { OLD_CORE_LEN }
    }

    /// Where the fork of attributes starts; `None` if there is none.
    fn attributes_at(&self) -> Option<usize> {
        let offset = usize::from(self.u8(82)).checked_mul(8).filter(|offset| *offset > 0)?;
        self.core_len().checked_add(offset)
    }

    /// The fork of the content.
    pub(super) fn content(&self) -> FileResult<Fork> {
        if self.raw.u16(90) & FLAG_REALTIME != 0 && self.mode() & 0xF000 == 0x8000 {
            return Err(self.unsupported("has its content on the realtime device"));
        }
        let end = self.attributes_at().unwrap_or(self.raw.bytes.len());
        let count = if self.flags2() & FLAG2_LARGE_COUNTS != 0 {
            self.raw.u64(24)
        } else {
            self.raw.u32(76).into()
        };
        self.fork(self.core_len(), end, self.u8(5), count)
    }

    /// The fork of the attributes, if there is one.
    pub(super) fn attribute_fork(&self) -> FileResult<Option<Fork>> {
        let Some(start) = self.attributes_at() else { return Ok(None) };
        let count = if self.flags2() & FLAG2_LARGE_COUNTS != 0 {
            self.raw.u32(76)
        } else {
            self.raw.u16(80).into()
        };
        let fork = self.fork(start, self.raw.bytes.len(), self.u8(83), count.into())?;
        Ok(Some(fork))
    }

    fn fork(&self, start: usize, end: usize, format: u8, count: u64) -> FileResult<Fork> {
        let bytes =
            self.raw.bytes.get(start..end).ok_or_else(|| {
                self.corrupt("di_forkoff", "a fork inside of the inode", self.u8(82))
            })?;
        let format = match format {
            1 => Format::Local,
            2 => Format::Extents(count),
            3 => Format::Tree,
            _ => return Err(self.corrupt("di_format", "1, 2 or 3", format)),
        };
        Ok(Fork { format, bytes: bytes.to_vec() })
    }

    pub(super) fn attributes(&self, files: &XfsFiles) -> FileResult<Attributes> {
        let raw = &self.raw;
        let links = if self.u8(4) == 1 { raw.u16(6).into() } else { raw.u32(16) };
        let is_big = self.flags2() & FLAG2_BIG_TIME != 0;
        let time = |offset| time(raw.u64(offset), is_big);
        Attributes {
            kind: self.kind()?,
            size: self.size(),
            allocated: Some(raw.u64(64).saturating_mul(files.block_size())),
            times: Times {
                modified: time(40),
                accessed: time(32),
                changed: time(48),
                created: if self.u8(4) == 3 { time(144) } else { None },
            },
            mode: Some(u32::from(self.mode() & 0o7777)),
            owner: Some((raw.u32(8), raw.u32(12))),
            links,
            dos: None,
        }
        .checked(self.raw.position)
    }

    /// The target of a link: in the inode, or in blocks of its own.
    pub(super) fn link_target(&self, files: &XfsFiles) -> FileResult<Vec<u8>> {
        let size = self.size();
        let len = usize::try_from(size).ok().filter(|_| size <= MAX_LINK_LEN);
        let Some(len) = len else {
            return Err(self.corrupt("length of a link", format!("at most {MAX_LINK_LEN}"), size));
        };
        let fork = self.content()?;
        if fork.format == Format::Local {
            let target = fork.bytes.get(..len).ok_or_else(|| {
                self.corrupt("length of a link", format!("at most {}", fork.bytes.len()), size)
            })?;
            return Ok(target.to_vec());
        }
        if !files.has_checksums() {
            let mut target = vec![0; len];
            files.read_fork(self, &fork, 0, &mut target, false)?;
            return Ok(target);
        }
        // Each piece on the disk has a header of its own.
        let mut target = Vec::new();
        let mut block = 0;
        while target.len() < len {
            let piece = map::piece(files, self, &fork, block)?;
            let Some(place) = files.place(&piece) else {
                return Err(self.corrupt("content of a link", format!("block {block}"), "a hole"));
            };
            let most = len.saturating_sub(target.len());
            target.extend(self.link_piece(files, place, target.len(), most)?);
            block = piece.end;
        }
        Ok(target)
    }

    fn link_piece(
        &self,
        files: &XfsFiles,
        place: crate::extent::Extent,
        offset: usize,
        most: usize,
    ) -> FileResult<Vec<u8>> {
        let size = usize::try_from(place.len().min(1 << 16)).unwrap_or(0);
        let block = files.volume().read_merged("link", place.start(), size)?;
        if block.bytes.bytes_at(0, 4) != Some(LINK_MAGIC.as_slice()) {
            return Err(block.corrupt("sl_magic", 0, "XSLM", format!("{:#x}", block.u32(0))));
        }
        block.expect_checksum("sl_crc", 12)?;
        if block.u64(32) != self.number {
            return Err(block.corrupt("sl_owner", 32, self.number, block.u64(32)));
        }
        let len = usize::try_from(block.u32(8)).unwrap_or(usize::MAX);
        let is_next = usize::try_from(block.u32(4)).ok() == Some(offset);
        let bytes = block.bytes.bytes_at(LINK_HEADER_LEN, len);
        match bytes.filter(|_| is_next && len > 0 && len <= most) {
            Some(bytes) => Ok(bytes.to_vec()),
            None => Err(block.corrupt("sl_bytes", 8, format!("up to {most} from {offset}"), len)),
        }
    }
}

/// A time: seconds and nanoseconds, or nanoseconds since the end of 1901.
fn time(field: u64, is_big: bool) -> Option<Timestamp> {
    const BIG_START: i64 = -(1 << 31);
    const SECOND: u64 = 1_000_000_000;
    if is_big {
        let seconds = i64::try_from(field.checked_div(SECOND)?).ok()?.checked_add(BIG_START)?;
        let nanoseconds = i32::try_from(field.checked_rem(SECOND)?).ok()?;
        return Timestamp::new(seconds, nanoseconds).ok();
    }
    let bytes = field.to_be_bytes();
    let seconds = bytes.u32_be(0)?.cast_signed();
    Timestamp::new(seconds.into(), i32::try_from(bytes.u32_be(4)?).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_in_two_ways() {
        let shown = |field, is_big| time(field, is_big).unwrap().to_string();
        assert_eq!(shown(0, true), "1901-12-13T20:45:52Z");
        assert_eq!(shown(0x8000_0000_0000_0000, false), "1901-12-13T20:45:52Z");
        assert_eq!(shown(0x0000_0001_3B9A_C9FF, false), "1970-01-01T00:00:01.999999999Z");
        assert_eq!(shown(u64::MAX, true), "2486-07-02T20:20:25.709551615Z");
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! File entries: what is known of a file, and where its content is (ECMA-167,
//! 4/14.9 and 4/14.17).

use super::content::Content;
use crate::extent::Extent;
use crate::fs::budget::Spending;
use crate::fs::files::{NodeKind, Times};
use crate::fs::udf::space::{Address, Space};
use crate::fs::udf::tag::{Tag, id};
use crate::fs::udf::time;
use crate::ondisk::{Fields, FormatError};

/// How many newer entries of a file are followed, as Linux does.
const MOST_INDIRECT: usize = 1024;
/// How many blocks of allocation descriptors a file may have.
const MOST_BLOCKS: usize = 1 << 16;
/// What an entry costs; those that lead to it cost all of their blocks.
const COST: u64 = 256;
/// What it costs to find where a piece of a file is.
const PIECE_COST: u64 = 16;

/// A file entry.
#[derive(Debug, Clone)]
pub(in crate::fs::udf) struct Entry {
    pub(in crate::fs::udf) address: Address,
    /// Where it is, in bytes from the start of the volume.
    pub(in crate::fs::udf) position: u64,
    pub(in crate::fs::udf) file_type: u8,
    /// The size of the content in bytes.
    pub(in crate::fs::udf) size: u64,
    /// How many blocks hold it.
    pub(super) blocks: u64,
    flags: u16,
    pub(super) owner: (u32, u32),
    permissions: u32,
    pub(super) links: u16,
    pub(super) times: Times,
    /// The folder of its streams.
    pub(super) streams: Option<Address>,
    attributes: Vec<u8>,
    /// Allocation descriptors, or the content itself.
    allocation: Vec<u8>,
    /// Where in the entry they are.
    allocation_at: usize,
}

impl Entry {
    /// The entry at an address, or the newest that took its place.
    pub(in crate::fs::udf) fn read(
        space: &Space,
        address: Address,
        spending: &mut Spending,
    ) -> Result<Self, FormatError> {
        let mut address = address;
        for number in 0..MOST_INDIRECT {
            spending.spend(if number == 0 { COST } else { space.bytes().saturating_mul(2) })?;
            let (position, bytes) = space.block(address)?;
            let tag = Tag::parse(&bytes, position, Some(address.block))?;
            // The strategy by which a newer entry may follow.
            if bytes.u16_le(20) == Some(4096)
                && let Some(newer) = newer(space, address)
            {
                address = newer;
                continue;
            }
            return Self::parse(&bytes, position, address, tag.id);
        }
        let (expected, found) = ("a newest entry", "more than 1024, or a loop");
        Err(FormatError::corrupt("entries of a file", 0, expected, found))
    }

    fn parse(
        bytes: &[u8],
        position: u64,
        address: Address,
        kind: u16,
    ) -> Result<Self, FormatError> {
        let time = |offset: usize| bytes.bytes_at(offset, 12).and_then(time::timestamp);
        let long = |offset: usize| bytes.u64_le(offset).unwrap_or(0);
        let is_extended = match kind {
            id::FILE_ENTRY => false,
            id::EXTENDED_FILE_ENTRY => true,
            other => {
                let (expected, found) = ("the entry of a file", format!("number {other}"));
                return Err(FormatError::corrupt(
                    "kind of a descriptor",
                    position,
                    expected,
                    found,
                ));
            }
        };
        let strategy = bytes.u16_le(20).unwrap_or(0);
        if !matches!(strategy, 4 | 4096) {
            return Err(FormatError::unsupported(format!("a file of the strategy {strategy}")));
        }
        let (blocks, lens, times): (_, usize, _) = if is_extended {
            (long(72), 208, [time(92), time(80), time(116), time(104)])
        } else {
            (long(64), 168, [time(84), time(72), time(96), None])
        };
        let streams = is_extended && bytes.u32_le(152).is_some_and(|len| len & 0x3fff_ffff != 0);
        let len = |offset: usize| {
            bytes.u32_le(offset).and_then(|len| usize::try_from(len).ok()).unwrap_or(usize::MAX)
        };
        let start = lens.saturating_add(8);
        let attributes_len = len(lens);
        let allocation_at = start.saturating_add(attributes_len);
        let attributes = bytes.bytes_at(start, attributes_len);
        let allocation = bytes.bytes_at(allocation_at, len(lens.saturating_add(4)));
        let (Some(attributes), Some(allocation)) = (attributes, allocation) else {
            let (expected, found) = ("all of it in a block", "less");
            return Err(FormatError::corrupt("entry of a file", position, expected, found));
        };
        let [modified, accessed, changed, created] = times;
        Ok(Self {
            address,
            position,
            file_type: bytes.u8_at(27).unwrap_or(0),
            size: long(56),
            blocks,
            flags: bytes.u16_le(34).unwrap_or(0),
            owner: (bytes.u32_le(36).unwrap_or(0), bytes.u32_le(40).unwrap_or(0)),
            permissions: bytes.u32_le(44).unwrap_or(0),
            links: bytes.u16_le(48).unwrap_or(0),
            times: Times { modified, accessed, changed, created },
            streams: streams.then(|| Address::of_long_ad(bytes, 152)),
            attributes: attributes.to_vec(),
            allocation: allocation.to_vec(),
            allocation_at,
        })
    }

    pub(super) fn kind(&self) -> NodeKind {
        match self.file_type {
            0 | 5 | 8 | 248 | 249 => NodeKind::File,
            4 => NodeKind::Folder,
            9 => NodeKind::Pipe,
            10 => NodeKind::Socket,
            12 => NodeKind::Link,
            device @ (6 | 7) => {
                let (major, minor) = self.device().unwrap_or_default();
                NodeKind::Device { is_block: device == 6, major, minor }
            }
            13 => NodeKind::Other("a folder of streams"),
            250..=252 => NodeKind::Other("a part of the filesystem"),
            _ => NodeKind::Other("a file of an unknown kind"),
        }
    }

    /// Permissions of everybody, the group and the owner have five bits each,
    /// the first three of which Unix has, too.
    pub(super) fn mode(&self) -> u32 {
        let bits = |shift: u32| self.permissions.wrapping_shr(shift) & 7;
        let flag = |bit: u32, mode: u32| {
            if u32::from(self.flags).wrapping_shr(bit) & 1 == 0 { 0 } else { mode }
        };
        bits(0)
            | bits(5).wrapping_shl(3)
            | bits(10).wrapping_shl(6)
            | flag(6, 0o4000)
            | flag(7, 0o2000)
            | flag(8, 0o1000)
    }

    /// The numbers of a device, which are an extended attribute (4/14.10.7).
    fn device(&self) -> Option<(u32, u32)> {
        const DEVICE: u32 = 12;
        // Behind the header of the attributes.
        let mut rest = self.attributes.get(24..)?;
        loop {
            let len = usize::try_from(rest.u32_le(8)?).ok()?.max(12);
            if rest.u32_le(0) == Some(DEVICE) {
                return Some((rest.u32_le(16)?, rest.u32_le(20)?));
            }
            rest = rest.get(len..)?;
        }
    }

    /// Where the content is.
    pub(in crate::fs::udf) fn content(
        &self,
        space: &Space,
        spending: &mut Spending,
    ) -> Result<Content, FormatError> {
        let mut content = Content::new(self.size);
        let kind = Allocation::of(self.flags & 7);
        let Some(kind) = kind else {
            let start = u64::try_from(self.allocation_at).unwrap_or(u64::MAX);
            let place = self.position.saturating_add(start);
            let len = u64::try_from(self.allocation.len()).unwrap_or(u64::MAX).min(self.size);
            content.push(len, Some(place))?;
            return Ok(content);
        };
        let mut descriptors = self.allocation.clone();
        // No two pieces of a file are the same bytes.
        let mut left = space.volume.len().saturating_add(space.bytes());
        for _ in 0..MOST_BLOCKS {
            let room = (&mut left, &mut *spending);
            let Some(next) = self.descriptors(space, kind, &descriptors, &mut content, room)?
            else {
                content.fill_last_block(space.bytes());
                return Ok(content);
            };
            spending.spend(space.bytes())?;
            let (position, bytes) = space.block(next)?;
            Tag::expect(&bytes, position, Some(next.block), id::ALLOCATION_EXTENT)?;
            let len = usize::try_from(bytes.u32_le(20).unwrap_or(0)).unwrap_or(usize::MAX);
            let found = bytes.bytes_at(24, len).ok_or_else(|| {
                let (expected, found) = ("all of its descriptors", "less");
                FormatError::corrupt("allocation extent", position, expected, found)
            })?;
            descriptors = found.to_vec();
        }
        let (expected, found) = ("65536 blocks of descriptors at most", "more, or a loop");
        Err(FormatError::corrupt("allocation of a file", self.position, expected, found))
    }

    /// Adds what these descriptors say, of so many bytes that are left on the
    /// volume; returns where they go on.
    fn descriptors(
        &self,
        space: &Space,
        kind: Allocation,
        descriptors: &[u8],
        content: &mut Content,
        (left, spending): (&mut u64, &mut Spending),
    ) -> Result<Option<Address>, FormatError> {
        for descriptor in descriptors.chunks_exact(kind.len()) {
            let field = descriptor.u32_le(0).unwrap_or(0);
            let (state, mut len) = (field.wrapping_shr(30), u64::from(field & 0x3fff_ffff));
            if len == 0 {
                return Ok(None);
            }
            let address = match kind {
                Allocation::Short => Address {
                    partition: self.address.partition,
                    block: descriptor.u32_le(4).unwrap_or(0),
                },
                Allocation::Long => Address::of_long_ad(descriptor, 0),
                Allocation::Extended => {
                    let recorded = descriptor.u32_le(4).unwrap_or(0) & 0x3fff_ffff;
                    let information = descriptor.u32_le(8).unwrap_or(0);
                    if state == 0 && recorded != information {
                        return Err(FormatError::unsupported("it is compressed in an unknown way"));
                    }
                    len = information.into();
                    Address::of_long_ad(descriptor, 8)
                }
            };
            // Only the last piece may end within a block, and Linux leaves others
            // that did when they were the last as they were: it counts blocks.
            if state != 3 {
                len = len.checked_next_multiple_of(space.bytes()).unwrap_or(len);
            }
            match state {
                0 => {
                    *left = left.checked_sub(len).ok_or_else(|| {
                        let (expected, found) = ("no more than the volume holds", "more");
                        let position = self.position;
                        FormatError::corrupt("allocation of a file", position, expected, found)
                    })?;
                    space.places(address, len, &mut |extent: Extent| {
                        spending.spend(PIECE_COST)?;
                        content.push(extent.len(), Some(extent.start()))
                    })?;
                }
                3 => return Ok(Some(address)),
                _ => content.push(len, None)?,
            }
            if content.is_whole() {
                return Ok(None);
            }
        }
        Ok(None)
    }
}

/// The entry that took the place of another: the next block says where it is.
fn newer(space: &Space, address: Address) -> Option<Address> {
    let next = Address { block: address.block.checked_add(1)?, ..address };
    let (position, bytes) = space.block(next).ok()?;
    Tag::expect(&bytes, position, Some(next.block), id::INDIRECT_ENTRY).ok()?;
    let is_set = bytes.u32_le(36).is_some_and(|len| len & 0x3fff_ffff != 0);
    is_set.then(|| Address::of_long_ad(&bytes, 36))
}

/// How the places of a content are written.
#[derive(Debug, Clone, Copy)]
enum Allocation {
    Short,
    Long,
    Extended,
}

impl Allocation {
    /// `None` if the content itself is there.
    const fn of(flags: u16) -> Option<Self> {
        match flags {
            0 => Some(Self::Short),
            1 => Some(Self::Long),
            2 => Some(Self::Extended),
            _ => None,
        }
    }

    const fn len(self) -> usize {
        match self {
            Self::Short => 8,
            Self::Long => 16,
            Self::Extended => 20,
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Records of the catalog: files and folders (TN1150, "Catalog File").

use std::ops::Range;

use jiff::Timestamp;

use super::super::fork::{FORK_LEN, Fork};
use super::super::volume_header::VolumeHeader;
use crate::fs::files::{FileResult, NodeKind, Times};
use crate::fs::hfs::tree::Record;
use crate::fs::names;
use crate::ondisk::{Fields, FormatError};

const FOLDER: u16 = 1;
const FILE: u16 = 2;
const FOLDER_LEN: usize = 88;
const FILE_LEN: usize = 248;

/// The flag of a file that macOS has compressed.
const COMPRESSED: u8 = 0x20;

/// Another name of a file or folder that is kept in a folder of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HardLink {
    File(u32),
    Folder(u32),
}

/// What the Finder keeps of a file or folder: of a file its type and creator,
/// flags, and where its icon is.
type FinderInfo = [u8; 32];

/// What macOS keeps there for itself: the number of a document, when it came to
/// its folder, and how often it was written.
const HIDDEN: [Range<usize>; 2] = [16..24, 28..32];
/// The type and creator of a file, which make a link of it.
const TYPE: Range<usize> = 0..8;

/// What a record of the catalog says of a file or folder.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// The number that the other trees know it by.
    pub(super) id: u32,
    pub(super) kind: NodeKind,
    pub(super) times: Times,
    /// The mode with what kind of file it is; 0 if none was set.
    mode: u16,
    owner: (u32, u32),
    flags: u8,
    finder: FinderInfo,
    /// The number of links, or of a device.
    special: u32,
    pub(super) hard_link: Option<HardLink>,
    /// The data and the resource fork of a file.
    pub(super) forks: Option<(Fork, Fork)>,
    pub(super) position: u64,
}

impl Item {
    /// `None` for records that lead from a number to a name.
    pub(super) fn parse(record: &Record, header: &VolumeHeader) -> FileResult<Option<Self>> {
        let what = "record of the catalog";
        let (data, position) = (record.data, record.position);
        let is_folder = match data.u16_be(0) {
            Some(FOLDER) if data.len() >= FOLDER_LEN => true,
            Some(FILE) if data.len() >= FILE_LEN => false,
            Some(3 | 4) => return Ok(None),
            kind => {
                let found = format!("kind {kind:?} of {} bytes", data.len());
                return Err(FormatError::corrupt(what, position, "a folder or file", found));
            }
        };
        let word = |offset| data.u32_be(offset).unwrap_or(0);
        let fork = |offset| {
            let bytes = data.bytes_at(offset, FORK_LEN).unwrap_or_default();
            Fork::parse(bytes, what, position, header)
        };
        let mode = data.u16_be(42).unwrap_or(0);
        let special = word(44);
        let hard_link = match (data.bytes_at(48, 8), is_folder) {
            (Some(b"hlnkhfs+"), false) => Some(HardLink::File(special)),
            (Some(b"fdrpMACS"), false) => Some(HardLink::Folder(special)),
            _ => None,
        };
        Ok(Some(Self {
            id: word(8),
            kind: kind(is_folder, mode, special),
            times: Times {
                created: time(word(12)),
                modified: time(word(16)),
                changed: time(word(20)),
                accessed: time(word(24)),
            },
            mode,
            owner: (word(32), word(36)),
            flags: data.u8_at(41).unwrap_or(0),
            finder: data.array(48).unwrap_or_default(),
            special,
            hard_link,
            forks: if is_folder { None } else { Some((fork(88)?, fork(168)?)) },
            position,
        }))
    }

    /// The permissions, if any were ever set.
    pub(super) fn mode(&self) -> Option<u32> {
        (self.mode != 0).then_some(u32::from(self.mode & 0o7777))
    }

    pub(super) fn owner(&self) -> Option<(u32, u32)> {
        (self.mode != 0).then_some(self.owner)
    }

    /// How many names it has, if it is kept in the folder for those of several.
    pub(super) const fn links(&self) -> u32 {
        self.special
    }

    /// What the Finder keeps, if there is any of it, as macOS shows it (Apple's
    /// `hfs_xattr.c`: `hfs_zero_hidden_fields`, `hfs_vnop_getxattr`).
    pub(super) fn finder(&self) -> Option<FinderInfo> {
        let mut finder = self.finder;
        let own = (self.kind == NodeKind::Link).then_some(TYPE);
        for range in HIDDEN.into_iter().chain(own) {
            finder.get_mut(range).unwrap_or_default().fill(0);
        }
        (finder != FinderInfo::default()).then_some(finder)
    }

    pub(super) const fn is_compressed(&self) -> bool {
        self.flags & COMPRESSED != 0
    }
}

/// The name in a key of the catalog, after the number of its folder. What macOS
/// shows as a colon is a slash there, and what it shows as "␀" a zero.
pub(super) fn name(key: &[u8]) -> Option<Vec<u8>> {
    let units = usize::from(key.u16_be(4)?);
    let bytes = key.bytes_at(6, units.checked_mul(2)?)?;
    let shown = |unit: u16| match unit {
        0x2f => 0x3a,
        0 => 0x2400,
        unit => unit,
    };
    let units = bytes.as_chunks::<2>().0.iter().map(|unit| shown(u16::from_be_bytes(*unit)));
    Some(names::wtf8(units))
}

fn kind(is_folder: bool, mode: u16, special: u32) -> NodeKind {
    let device = |is_block| {
        let [major, a, b, c] = special.to_be_bytes();
        NodeKind::Device { is_block, major: major.into(), minor: u32::from_be_bytes([0, a, b, c]) }
    };
    match mode & 0o170_000 {
        _ if is_folder => NodeKind::Folder,
        0o120_000 => NodeKind::Link,
        0o010_000 => NodeKind::Pipe,
        0o140_000 => NodeKind::Socket,
        0o020_000 => device(false),
        0o060_000 => device(true),
        _ => NodeKind::File,
    }
}

/// Seconds since the beginning of 1904; none if 0.
fn time(seconds: u32) -> Option<Timestamp> {
    const EPOCH: i64 = 2_082_844_800;
    let seconds = i64::from(seconds).checked_sub(EPOCH).filter(|_| seconds != 0)?;
    Timestamp::from_second(seconds).ok()
}

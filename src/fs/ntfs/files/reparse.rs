// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reparse points: files that Windows hands to a filter, and links among them.
//! Also the links and device nodes that Interix and ntfs-3g keep in files.
//!
//! Specification: Microsoft, MS-FSCC, "Reparse Tags" and "Reparse Data Buffer".

use crate::fs::files::{FileResult, NodeKind};
use crate::fs::names::{units_le, wtf8};
use crate::ondisk::{Fields, FormatError};

/// The longest that Windows writes.
pub(super) const MAX: u64 = 16 << 10;

/// What Compact OS has compressed.
pub(super) const WOF: u32 = 0x8000_0017;

const MOUNT_POINT: u32 = 0xa000_0003;
const SYMLINK: u32 = 0xa000_000c;
const WSL_SYMLINK: u32 = 0xa000_001d;
const WSL_SOCKET: u32 = 0x8000_0023;
const WSL_PIPE: u32 = 0x8000_0024;
const WSL_CHARACTER_DEVICE: u32 = 0x8000_0025;
const WSL_BLOCK_DEVICE: u32 = 0x8000_0026;
const DEDUPLICATED: u32 = 0x8000_0013;
const ONEDRIVE: u32 = 0x8000_0021;
const STORAGE_SYNC: u32 = 0x8000_001e;
const APP_EXECUTION_LINK: u32 = 0x8000_001b;
/// Sixteen tags, 0x9000_001A to 0x9000_F01A.
const CLOUD: u32 = 0x9000_001a;
const CLOUD_MASK: u32 = 0xffff_0fff;

/// What a file of Interix begins with, and the longest that is one.
const INTERIX_LINK: &[u8] = b"IntxLNK\x01";
const INTERIX_CHARACTER_DEVICE: &[u8] = b"IntxCHR\0";
const INTERIX_BLOCK_DEVICE: &[u8] = b"IntxBLK\0";
pub(super) const INTERIX_MAX: u64 = 8 + 2 * 4096;

/// What a reparse point says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reparse {
    /// A link to this path.
    Link(Vec<u8>),
    /// The content is compressed in a stream of its own, in this way.
    Compressed(u32),
    /// A cloud may have the content of a file.
    Cloud,
    /// A file that is something else.
    Is(NodeKind),
    /// Something that concerns files only; folders stay what they are.
    Other(&'static str),
}

impl Reparse {
    /// The content of a reparse point at `position`.
    pub(super) fn parse(bytes: &[u8], position: u64) -> FileResult<Self> {
        let corrupt = |expected: &str| {
            FormatError::corrupt("reparse point", position, expected, "less or other")
        };
        let tag = bytes.u32_le(0).ok_or_else(|| corrupt("a tag"))?;
        let len = usize::from(bytes.u16_le(4).unwrap_or(0));
        let data = bytes.bytes_at(8, len).ok_or_else(|| corrupt("data of its length"));
        Ok(match tag {
            MOUNT_POINT => Self::Link(path(data?, 8).ok_or_else(|| corrupt("a path"))?),
            SYMLINK => Self::Link(path(data?, 12).ok_or_else(|| corrupt("a path"))?),
            WSL_SYMLINK => {
                let target = data?.get(4..).filter(|target| !target.is_empty());
                Self::Link(target.ok_or_else(|| corrupt("a path"))?.to_vec())
            }
            WOF => {
                // Version 1 of the provider for files, version 1 of its data;
                // another provider has the content in an archive elsewhere.
                let data = data?;
                match (data.u32_le(0), data.u32_le(4), data.u32_le(8), data.u32_le(12)) {
                    (Some(1), Some(2), Some(1), Some(method)) => Self::Compressed(method),
                    _ => Self::Other("a file whose content is in an archive of Windows (WIMBoot)"),
                }
            }
            WSL_SOCKET => Self::Is(NodeKind::Socket),
            WSL_PIPE => Self::Is(NodeKind::Pipe),
            WSL_CHARACTER_DEVICE | WSL_BLOCK_DEVICE => Self::Other("a device node of WSL"),
            DEDUPLICATED => Self::Other("a file whose content Windows Server has deduplicated"),
            ONEDRIVE | STORAGE_SYNC => Self::Cloud,
            APP_EXECUTION_LINK => Self::Other("an app execution alias of Windows"),
            tag if tag & CLOUD_MASK == CLOUD => Self::Cloud,
            _ => Self::Other("a reparse point of Windows that is not known"),
        })
    }

    /// What a file of Interix stands for; `None` if it is a plain file.
    pub(super) fn interix(bytes: &[u8]) -> Option<Self> {
        let (magic, rest) = bytes.split_at_checked(8)?;
        let number = |offset| rest.u64_le(offset).and_then(|number| u32::try_from(number).ok());
        let device = |is_block| {
            let (major, minor) = (number(0)?, number(8)?);
            Some(Self::Is(NodeKind::Device { is_block, major, minor }))
        };
        match magic {
            INTERIX_LINK if !rest.is_empty() => Some(Self::Link(wtf8(units_le(rest)))),
            INTERIX_CHARACTER_DEVICE => device(false),
            INTERIX_BLOCK_DEVICE => device(true),
            _ => None,
        }
    }

    /// What it makes of a file or folder.
    pub(super) const fn kind(&self, is_folder: bool) -> NodeKind {
        match self {
            Self::Link(_) => NodeKind::Link,
            _ if is_folder => NodeKind::Folder,
            Self::Compressed(_) | Self::Cloud => NodeKind::File,
            Self::Is(kind) => *kind,
            Self::Other(what) => NodeKind::Other(what),
        }
    }
}

/// True if a file with these attributes of DOS and this size may be one of
/// Interix: only what begins like one is.
pub(super) const fn may_be_interix(flags: u32, bytes: u64) -> bool {
    const SYSTEM: u32 = 0x04;
    flags & SYSTEM != 0 && bytes > 8 && bytes <= INTERIX_MAX
}

/// The path that is shown, or else that which Windows goes to. `names` is where
/// the characters of both begin.
fn path(data: &[u8], names: usize) -> Option<Vec<u8>> {
    let name = |at: usize| {
        let offset = usize::from(data.u16_le(at)?).checked_add(names)?;
        data.bytes_at(offset, usize::from(data.u16_le(at.checked_add(2)?)?))
    };
    let (substitute, print) = (name(0)?, name(4)?);
    let chosen = if print.is_empty() { substitute } else { print };
    let path = wtf8(units_le(chosen));
    let path = path.strip_prefix(br"\??\").map(<[u8]>::to_vec).unwrap_or(path);
    (!path.is_empty()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    fn with_paths(tag: u32, flags: &[u8], substitute: &str, print: &str) -> Vec<u8> {
        let (substitute, print) = (utf16(substitute), utf16(print));
        let len = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap().to_le_bytes();
        let mut data = [[0, 0], len(&substitute), len(&substitute), len(&print)].concat();
        data.extend(flags);
        data.extend(substitute);
        data.extend(print);
        [&tag.to_le_bytes(), len(&data).as_slice(), &[0, 0], &data].concat()
    }

    #[test]
    fn links_have_the_path_that_is_shown() {
        let junction = with_paths(MOUNT_POINT, &[], r"\??\C:\Users", r"C:\Users");
        assert_eq!(Reparse::parse(&junction, 0).unwrap(), Reparse::Link(br"C:\Users".to_vec()));
        let link = with_paths(SYMLINK, &[1, 0, 0, 0], r"..\a", "");
        assert_eq!(Reparse::parse(&link, 0).unwrap(), Reparse::Link(br"..\a".to_vec()));
        let volume = with_paths(MOUNT_POINT, &[], r"\??\Volume{1}\", "");
        assert_eq!(Reparse::parse(&volume, 0).unwrap(), Reparse::Link(br"Volume{1}\".to_vec()));
        for end in 0..link.len() {
            let _ = Reparse::parse(&link[..end], 0);
        }
        assert!(Reparse::parse(&link[..20], 0).is_err());
    }

    #[test]
    fn what_is_elsewhere_is_told() {
        let point = |tag: u32| Reparse::parse(&[&tag.to_le_bytes()[..], &[0; 4]].concat(), 0);
        assert_eq!(point(0x9000_701a).unwrap(), Reparse::Cloud);
        let deduplicated = point(DEDUPLICATED).unwrap().kind(false);
        assert!(matches!(deduplicated, NodeKind::Other(why) if why.contains("deduplicated")));
        assert_eq!(point(0x9000_001c).unwrap().kind(true), NodeKind::Folder);
    }
}

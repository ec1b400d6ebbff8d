// SPDX-License-Identifier: MIT OR Apache-2.0
//! The records of a volume's tree: inodes, names, extents and extended
//! attributes (`j_inode_val_t`, `j_drec_hashed_key_t`, `j_file_extent_val_t`,
//! `j_xattr_val_t`).

use std::cmp::Ordering;

use jiff::Timestamp;

use super::tree::Record;
use crate::fs::files::{Attributes, FileResult, NodeKind, Times};
use crate::ondisk::{Fields, FormatError};

/// The kinds of records, `j_obj_types`.
pub(super) const INODE: u8 = 3;
pub(super) const XATTR: u8 = 4;
pub(super) const FILE_EXTENT: u8 = 8;
pub(super) const DIRECTORY_RECORD: u8 = 9;

/// Where identifiers end in a key, and the kind begins.
const ID_BITS: u32 = 60;

/// The file that a record belongs to, and the kind of the record.
pub(super) fn owner(key: &[u8]) -> (u64, u8) {
    let raw = key.u64_le(0).unwrap_or(0);
    let kind = u8::try_from(raw.wrapping_shr(ID_BITS)).unwrap_or(0);
    (raw & 1_u64.wrapping_shl(ID_BITS).wrapping_sub(1), kind)
}

/// Compares a key with all those of a kind that a file has.
pub(super) fn of(id: u64, kind: u8) -> impl Fn(&[u8]) -> Ordering {
    move |key| owner(key).cmp(&(id, kind))
}

fn corrupt(record: Record, what: &'static str) -> FormatError {
    FormatError::corrupt(what, record.position, "all of its fields", "less")
}

/// Text that ends with a zero byte, which is counted.
fn name(bytes: &[u8]) -> Option<&[u8]> {
    bytes.strip_suffix(&[0])
}

/// The length of a content that has extents, and bytes that these take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DataStream {
    pub(super) size: u64,
    allocated: u64,
}

impl DataStream {
    fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self { size: bytes.u64_le(0)?, allocated: bytes.u64_le(8)? })
    }
}

/// An inode.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inode {
    /// Whose extents have the content.
    pub(super) private_id: u64,
    times: Times,
    links: u32,
    flags: u32,
    owner: (u32, u32),
    mode: u16,
    pub(super) stream: Option<DataStream>,
    /// How many of its bytes are holes.
    sparse: u64,
    device: u32,
    /// Where its node is, for messages.
    pub(super) position: u64,
}

impl Inode {
    pub(super) fn parse(record: Record) -> FileResult<Self> {
        const STREAM: u8 = 8;
        const SPARSE_BYTES: u8 = 13;
        const DEVICE: u8 = 14;
        let fields = || {
            let value = record.value;
            let time = |offset: usize| {
                let nanoseconds = value.u64_le(offset)?.cast_signed();
                Timestamp::from_nanosecond(nanoseconds.into()).ok()
            };
            let mut inode = Self {
                private_id: value.u64_le(8)?,
                times: Times {
                    created: time(16),
                    modified: time(24),
                    changed: time(32),
                    accessed: time(40),
                },
                links: value.u32_le(56)?,
                flags: value.u32_le(68)?,
                owner: (value.u32_le(72)?, value.u32_le(76)?),
                mode: value.u16_le(80)?,
                stream: None,
                sparse: 0,
                device: 0,
                position: record.position,
            };
            for (kind, field) in extended_fields(value.get(92..)?)? {
                match kind {
                    STREAM => inode.stream = Some(DataStream::parse(field)?),
                    SPARSE_BYTES => inode.sparse = field.u64_le(0)?,
                    DEVICE => inode.device = field.u32_le(0)?,
                    _ => {}
                }
            }
            Some(inode)
        };
        fields().ok_or_else(|| corrupt(record, "inode"))
    }

    pub(super) fn kind(&self) -> FileResult<NodeKind> {
        let device = |is_block| NodeKind::Device {
            is_block,
            major: self.device >> 24,
            minor: self.device & 0x00ff_ffff,
        };
        Ok(match self.mode & 0o170_000 {
            0o010_000 => NodeKind::Pipe,
            0o020_000 => device(false),
            0o040_000 => NodeKind::Folder,
            0o060_000 => device(true),
            0o100_000 => NodeKind::File,
            0o120_000 => NodeKind::Link,
            0o140_000 => NodeKind::Socket,
            // What a union mount hides.
            0o160_000 => NodeKind::Other("a whiteout"),
            _ => {
                let (expected, found) = ("a known kind", format!("{:#o}", self.mode));
                return Err(FormatError::corrupt(
                    "mode of an inode",
                    self.position,
                    expected,
                    found,
                ));
            }
        })
    }

    /// True if an attribute has the content, or says where it is.
    pub(super) const fn is_compressed(&self) -> bool {
        /// `UF_COMPRESSED`.
        const COMPRESSED: u32 = 0x20;
        self.flags & COMPRESSED != 0
    }

    /// True if the content is in a cloud only.
    pub(super) const fn is_dataless(&self) -> bool {
        /// `SF_DATALESS`.
        const DATALESS: u32 = 0x4000_0000;
        self.flags & DATALESS != 0
    }

    /// What is known of it; how long it is has to be told.
    pub(super) fn attributes(&self, size: u64) -> FileResult<Attributes> {
        let kind = self.kind()?;
        // A folder has the number of what is in it there.
        let links = if kind == NodeKind::Folder { 1 } else { self.links.max(1) };
        let allocated = self.stream.map(|stream| stream.allocated.saturating_sub(self.sparse));
        Attributes {
            kind,
            size,
            allocated: if self.is_compressed() { None } else { allocated.or(Some(0)) },
            times: self.times,
            mode: Some(u32::from(self.mode & 0o7777)),
            owner: Some(self.owner),
            links,
            dos: None,
        }
        .checked(self.position)
    }
}

/// The fields behind the fixed ones, `xf_blob_t`: their kinds and bytes.
fn extended_fields(blob: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    const ENTRY_LEN: usize = 4;
    if blob.is_empty() {
        return Some(Vec::new());
    }
    let count = usize::from(blob.u16_le(0)?);
    let (entries, mut values) = blob.get(4..)?.split_at_checked(count.checked_mul(ENTRY_LEN)?)?;
    let mut found = Vec::new();
    for entry in entries.chunks_exact(ENTRY_LEN) {
        let len = usize::from(entry.u16_le(2)?);
        found.push((entry.u8_at(0)?, values.get(..len)?));
        values = values.get(len.checked_next_multiple_of(8)?..).unwrap_or_default();
    }
    Some(found)
}

/// A name in a folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'a> {
    pub(super) name: &'a [u8],
    pub(super) file: u64,
    /// What it names; `None` of a device, whose inode knows which.
    pub(super) kind: Option<NodeKind>,
}

impl<'a> Name<'a> {
    pub(super) fn parse(record: Record<'a>, has_hash: bool) -> FileResult<Self> {
        let fields = || {
            let len = if has_hash {
                usize::try_from(record.key.u32_le(8)? & 0x3ff).ok()?
            } else {
                usize::from(record.key.u16_le(8)?)
            };
            let at = if has_hash { 12 } else { 10 };
            let kind = match record.value.u16_le(16)? & 0xf {
                1 => Some(NodeKind::Pipe),
                4 => Some(NodeKind::Folder),
                8 => Some(NodeKind::File),
                10 => Some(NodeKind::Link),
                12 => Some(NodeKind::Socket),
                _ => None,
            };
            let name = name(record.key.bytes_at(at, len)?)?;
            Some(Self { name, file: record.value.u64_le(0)?, kind })
        };
        fields().ok_or_else(|| corrupt(record, "name in a folder"))
    }
}

/// An extent of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileExtent {
    /// Where in the content it begins, and its length in bytes.
    pub(super) start: u64,
    pub(super) len: u64,
    /// Its first block; 0 if it is a hole.
    pub(super) block: u64,
}

impl FileExtent {
    pub(super) fn parse(record: Record) -> FileResult<Self> {
        const LEN_BITS: u32 = 56;
        /// `FEXT_CRYPTO_ID_IS_TWEAK`: of no account where nothing is encrypted.
        const TWEAK: u64 = 0x01;
        let fields = || {
            let raw = record.value.u64_le(0)?;
            let extent = Self {
                start: record.key.u64_le(8)?,
                len: raw & 1_u64.wrapping_shl(LEN_BITS).wrapping_sub(1),
                block: record.value.u64_le(8)?,
            };
            Some((extent, raw.wrapping_shr(LEN_BITS)))
        };
        let (extent, flags) = fields().ok_or_else(|| corrupt(record, "extent of a file"))?;
        if flags & !TWEAK != 0 {
            return Err(FormatError::unsupported(format!(
                "the file has extents with unknown flags ({flags:#x})"
            )));
        }
        Ok(extent)
    }
}

/// Where the value of an extended attribute is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// In the tree.
    Embedded(Vec<u8>),
    /// In the extents of this identifier.
    Stream(u64, DataStream),
}

/// An extended attribute.
#[derive(Debug, Clone)]
pub(super) struct Xattr {
    pub(super) name: Vec<u8>,
    pub(super) value: Value,
}

impl Xattr {
    pub(super) fn parse(record: Record) -> FileResult<Self> {
        const STREAM: u16 = 1;
        const EMBEDDED: u16 = 2;
        let fields = || {
            let len = usize::from(record.key.u16_le(8)?);
            let name = name(record.key.bytes_at(10, len)?)?.to_vec();
            let len = usize::from(record.value.u16_le(2)?);
            let data = record.value.bytes_at(4, len)?;
            let value = match record.value.u16_le(0)? & (STREAM | EMBEDDED) {
                EMBEDDED => Value::Embedded(data.to_vec()),
                STREAM => Value::Stream(data.u64_le(0)?, DataStream::parse(data.get(8..)?)?),
                _ => return None,
            };
            Some(Self { name, value })
        };
        fields().ok_or_else(|| corrupt(record, "extended attribute"))
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Recognising what fills a volume by bytes at fixed places.
//!
//! A [`Signature`] is a line in a table: where, which bytes, whose they are, and
//! where the label and the UUID are. What takes more than a comparison is a
//! function beside the table. A signature never proves anything free; it says
//! which name to show, and that no other driver may trust its own reading.

use super::Identity;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError, text};

/// A name for bytes at a place.
#[derive(Debug)]
pub(super) struct Signature {
    /// The place, in bytes from the start of the volume.
    pub(super) offset: u64,
    /// The bytes there.
    pub(super) magic: &'static [u8],
    /// The name people know.
    pub(super) name: &'static str,
    pub(super) label: Option<Label>,
    pub(super) uuid: Option<Uuid>,
}

/// Where a label is, in bytes from the start of the volume.
#[derive(Debug, Clone, Copy)]
pub(super) enum Label {
    /// Position and length of UTF-8 text.
    Utf8(u64, usize),
    /// Position and length of little-endian UTF-16 text.
    Utf16(u64, usize),
}

/// Where a UUID or serial number is, and how people write it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Uuid {
    /// 16 bytes in the order in which they are written.
    Binary(u64),
    /// Position and length of text.
    Text(u64, usize),
    /// A 64-bit serial number, as NTFS has it.
    Serial64(u64),
    /// 16 bytes as VMware writes them.
    Vmfs(u64),
}

impl Signature {
    pub(super) const fn new(offset: u64, magic: &'static [u8], name: &'static str) -> Self {
        Self { offset, magic, name, label: None, uuid: None }
    }

    pub(super) const fn label(mut self, label: Label) -> Self {
        self.label = Some(label);
        self
    }

    pub(super) const fn uuid(mut self, uuid: Uuid) -> Self {
        self.uuid = Some(uuid);
        self
    }
}

/// A volume whose start, where most signatures are, is read once.
pub(super) struct Volume<'a> {
    reader: &'a dyn ReadAt,
    head: Vec<u8>,
}

impl<'a> Volume<'a> {
    const HEAD: u64 = 128 << 10;

    pub(super) fn open(reader: &'a dyn ReadAt) -> Result<Self, FormatError> {
        let len = usize::try_from(reader.len().min(Self::HEAD)).unwrap_or(0);
        Ok(Self { reader, head: read_vec(reader, 0, len)? })
    }

    pub(super) fn len(&self) -> u64 {
        self.reader.len()
    }

    /// Bytes of the volume; `None` if it is too short. A place that cannot be
    /// read is an error: it may have been the signature.
    pub(super) fn bytes(&self, offset: u64, len: usize) -> Result<Option<Vec<u8>>, FormatError> {
        let start = usize::try_from(offset).ok();
        if let Some(bytes) = start.and_then(|start| self.head.bytes_at(start, len)) {
            return Ok(Some(bytes.to_vec()));
        }
        let end = u64::try_from(len).ok().and_then(|len| offset.checked_add(len));
        if end.is_none_or(|end| end > self.len()) {
            return Ok(None);
        }
        Ok(Some(read_vec(self.reader, offset, len)?))
    }

    /// True if these bytes are at this place.
    pub(super) fn has(&self, offset: u64, magic: &[u8]) -> Result<bool, FormatError> {
        Ok(self.bytes(offset, magic.len())?.is_some_and(|bytes| bytes == magic))
    }

    /// The first signature of a table that is there.
    pub(super) fn find(&self, table: &[Signature]) -> Result<Option<Identity>, FormatError> {
        for signature in table {
            if self.has(signature.offset, signature.magic)? {
                return self.identity(signature.name, signature.label, signature.uuid).map(Some);
            }
        }
        Ok(None)
    }

    /// The identity of something that fills the volume.
    pub(super) fn identity(
        &self,
        name: &str,
        label: Option<Label>,
        uuid: Option<Uuid>,
    ) -> Result<Identity, FormatError> {
        Ok(Identity {
            name: name.to_owned(),
            label: label.map_or(Ok(None), |label| self.label(label))?,
            uuid: uuid.map_or(Ok(None), |uuid| self.uuid(uuid))?,
            size: self.len(),
            clean: true,
            unclean: None,
        })
    }

    fn label(&self, label: Label) -> Result<Option<String>, FormatError> {
        let found = match label {
            Label::Utf8(offset, len) => self.bytes(offset, len)?.map(|bytes| text(&bytes)),
            Label::Utf16(offset, len) => self.bytes(offset, len)?.map(|bytes| {
                let units: Vec<u16> = bytes
                    .chunks_exact(2)
                    .map_while(|unit| unit.u16_le(0).filter(|unit| *unit != 0))
                    .collect();
                text(String::from_utf16_lossy(&units).as_bytes())
            }),
        };
        Ok(found.filter(|label| !label.is_empty()))
    }

    fn uuid(&self, uuid: Uuid) -> Result<Option<String>, FormatError> {
        let found = match uuid {
            Uuid::Binary(offset) => self
                .bytes(offset, 16)?
                .and_then(|bytes| uuid::Uuid::from_slice(&bytes).ok())
                .filter(|uuid| !uuid.is_nil())
                .map(|uuid| uuid.to_string()),
            Uuid::Text(offset, len) => self.bytes(offset, len)?.map(|bytes| text(&bytes)),
            Uuid::Serial64(offset) => self
                .bytes(offset, 8)?
                .and_then(|bytes| bytes.u64_le(0))
                .map(|serial| format!("{serial:016X}")),
            Uuid::Vmfs(offset) => self.bytes(offset, 16)?.and_then(|bytes| {
                let (a, b) = (bytes.u32_le(0)?, bytes.u32_le(4)?);
                let (c, rest) = (bytes.u16_le(8)?, bytes.u64_be(8)? & 0xffff_ffff_ffff);
                Some(format!("{a:08x}-{b:08x}-{c:04x}-{rest:012x}"))
            }),
        };
        Ok(found.filter(|uuid| !uuid.is_empty()))
    }
}

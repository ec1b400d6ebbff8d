// SPDX-License-Identifier: MIT OR Apache-2.0
//! File records and their attributes.

use super::run_list::RunList;
use crate::ondisk::{Fields, FormatError};

/// The unit of the update sequence, whatever the sector size.
const STRIDE: usize = 512;

/// Attribute types.
pub(super) mod kind {
    pub(in super::super) const STANDARD_INFORMATION: u32 = 0x10;
    pub(in super::super) const ATTRIBUTE_LIST: u32 = 0x20;
    pub(in super::super) const FILE_NAME: u32 = 0x30;
    pub(in super::super) const VOLUME_NAME: u32 = 0x60;
    pub(in super::super) const VOLUME_INFORMATION: u32 = 0x70;
    pub(in super::super) const DATA: u32 = 0x80;
    pub(in super::super) const INDEX_ROOT: u32 = 0x90;
    pub(in super::super) const INDEX_ALLOCATION: u32 = 0xa0;
    pub(in super::super) const BITMAP: u32 = 0xb0;
    pub(in super::super) const REPARSE_POINT: u32 = 0xc0;
    pub(super) const END: u32 = 0xffff_ffff;
}

/// The name of a record, with the number of times its place has been reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) number: u64,
    pub(super) sequence: u16,
}

impl Reference {
    pub(super) const fn parse(raw: u64) -> Self {
        let [_, _, _, _, _, _, low, high] = raw.to_le_bytes();
        Self { number: raw & 0xffff_ffff_ffff, sequence: u16::from_le_bytes([low, high]) }
    }

    /// As one number, as the disk has it.
    pub(super) fn raw(self) -> u64 {
        self.number & 0xffff_ffff_ffff | u64::from(self.sequence).wrapping_shl(48)
    }
}

/// Puts back the bytes that the update sequence has replaced at the end of each
/// 512 bytes, and so finds a structure of which only a part was written.
pub(super) fn restore_sectors(
    what: &'static str,
    position: u64,
    bytes: &mut [u8],
) -> Result<(), FormatError> {
    let corrupt =
        |expected: &str, found: String| Err(FormatError::corrupt(what, position, expected, found));
    let (Some(offset), Some(count)) = (bytes.u16_le(0x04), bytes.u16_le(0x06)) else {
        return corrupt("a header", "less".into());
    };
    let strides = bytes.len() / STRIDE;
    if strides.checked_add(1) != Some(usize::from(count)) {
        return corrupt("an update sequence for all of it", format!("one of {count} numbers"));
    }
    let len = usize::from(count).saturating_mul(2);
    // The first stride's own last bytes are replaced, so the sequence ends before.
    let end = usize::from(offset).saturating_add(len);
    let sequence = bytes.bytes_at(usize::from(offset), len).map(<[u8]>::to_vec);
    let (Some(sequence), true) = (sequence, offset % 2 == 0 && end <= STRIDE.saturating_sub(2))
    else {
        return corrupt("an update sequence in the first 510 bytes", format!("at {offset:#x}"));
    };
    let mut numbers = sequence.chunks_exact(2);
    let Some(mark) = numbers.next() else { return Ok(()) };
    for (stride, number) in bytes.chunks_exact_mut(STRIDE).zip(numbers) {
        let Some(last) = stride.last_chunk_mut::<2>() else { continue };
        if last != mark {
            return corrupt(
                "every sector to have the same update number",
                format!("{last:02x?} and {mark:02x?}"),
            );
        }
        last.copy_from_slice(number);
    }
    Ok(())
}

/// A file record whose sectors have been put back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) number: u64,
    /// Where it is, for messages.
    pub(super) position: u64,
    pub(super) sequence: u16,
    pub(super) in_use: bool,
    pub(super) is_folder: bool,
    /// The record that this one continues.
    pub(super) base: Option<Reference>,
    used: &'a [u8],
    attributes: usize,
}

impl<'a> Record<'a> {
    /// Checks a record and its header. `bytes` are those of the disk.
    pub(super) fn parse(
        number: u64,
        position: u64,
        bytes: &'a mut [u8],
    ) -> Result<Self, FormatError> {
        const IN_USE: u16 = 0x0001;
        const FOLDER: u16 = 0x0002;
        if bytes.bytes_at(0, 4) != Some(b"FILE") {
            let found = bytes.bytes_at(0, 4).unwrap_or_default().escape_ascii().to_string();
            return Err(FormatError::corrupt("file record", position, "FILE", found));
        }
        restore_sectors("file record", position, bytes)?;
        let bytes = &*bytes;
        let corrupt = |expected: &str, found: u64| {
            FormatError::corrupt("file record", position, expected, found)
        };
        let field = |value: Option<u16>| u64::from(value.unwrap_or(u16::MAX));
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let allocated = u64::from(bytes.u32_le(0x1c).unwrap_or(0));
        if allocated != size {
            return Err(corrupt("an allocated size of a whole record", allocated));
        }
        let in_use_bytes = u64::from(bytes.u32_le(0x18).unwrap_or(0));
        let attributes = field(bytes.u16_le(0x14));
        if in_use_bytes > size || in_use_bytes % 8 != 0 {
            return Err(corrupt("a used size that fits", in_use_bytes));
        }
        if attributes < 0x2a || attributes % 8 != 0 || attributes >= in_use_bytes {
            return Err(corrupt("the first attribute behind the header", attributes));
        }
        // Since version 3.1 a record has its own number, which proves that
        // the run list of the table was read rightly.
        if field(bytes.u16_le(0x04)) >= 0x30 {
            let own = bytes.u32_le(0x2c).unwrap_or(0);
            if u64::from(own) != number & 0xffff_ffff {
                return Err(corrupt("its own number in the record", own.into()));
            }
        }
        let base = bytes.u64_le(0x20).unwrap_or(0);
        Ok(Self {
            number,
            position,
            sequence: bytes.u16_le(0x10).unwrap_or(0),
            in_use: has_flag(bytes, IN_USE),
            is_folder: has_flag(bytes, FOLDER),
            base: (base != 0).then(|| Reference::parse(base)),
            used: usize::try_from(in_use_bytes)
                .ok()
                .and_then(|end| bytes.get(..end))
                .unwrap_or_default(),
            attributes: usize::try_from(attributes).unwrap_or(usize::MAX),
        })
    }

    /// All attributes.
    pub(super) const fn attributes(&self) -> Attributes<'a> {
        Attributes { record: *self, next: self.attributes, ended: false }
    }

    /// The first attribute of this type and name.
    pub(super) fn attribute(
        &self,
        kind: u32,
        name: &str,
    ) -> Result<Option<Attribute<'a>>, FormatError> {
        for attribute in self.attributes() {
            let attribute = attribute?;
            if attribute.kind == kind && attribute.is_named(name) {
                return Ok(Some(attribute));
            }
        }
        Ok(None)
    }

    /// The bytes of all attributes, for comparisons.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.used.get(self.attributes..).unwrap_or_default()
    }
}

fn has_flag(bytes: &[u8], mask: u16) -> bool {
    bytes.u16_le(0x16).is_some_and(|flags| flags & mask != 0)
}

/// True if the flag of a record whose sectors may not be put back yet says that
/// it is in use. The flags are not at the end of a sector.
pub(super) fn claims_to_be_in_use(bytes: &[u8]) -> bool {
    has_flag(bytes, 0x0001)
}

/// The attributes of a record.
#[derive(Debug, Clone)]
pub(super) struct Attributes<'a> {
    record: Record<'a>,
    next: usize,
    ended: bool,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let rest = self.record.used.get(self.next..).unwrap_or_default();
        let position =
            self.record.position.saturating_add(u64::try_from(self.next).unwrap_or(u64::MAX));
        if rest.u32_le(0) == Some(kind::END) {
            self.ended = true;
            return None;
        }
        let attribute = Attribute::parse(rest, position);
        match &attribute {
            Ok(attribute) => self.next = self.next.saturating_add(attribute.bytes.len()),
            Err(_) => self.ended = true,
        }
        Some(attribute)
    }
}

/// An attribute: a value in the record itself, or the clusters of a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attribute<'a> {
    pub(super) kind: u32,
    /// Compressed, encrypted, sparse.
    pub(super) flags: u16,
    pub(super) instance: u16,
    pub(super) position: u64,
    /// UTF-16.
    pub(super) name: &'a [u8],
    pub(super) form: Form<'a>,
    bytes: &'a [u8],
}

/// Where the content of an attribute is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form<'a> {
    /// In the record.
    Resident(&'a [u8]),
    /// In clusters.
    Clusters(Mapping<'a>),
}

/// A part of a stream, or all of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mapping<'a> {
    /// The first cluster of the stream that this part is about.
    pub(super) first: u64,
    /// The cluster behind the last.
    pub(super) end: u64,
    /// The sizes, which only the first part has.
    pub(super) data_bytes: u64,
    pub(super) initialized_bytes: u64,
    /// The logarithm of the clusters that are compressed together.
    pub(super) unit_shift: u8,
    runs: &'a [u8],
}

impl<'a> Attribute<'a> {
    fn parse(rest: &'a [u8], position: u64) -> Result<Self, FormatError> {
        let corrupt = |expected: &str, found: String| {
            FormatError::corrupt("attribute", position, expected, found)
        };
        let len = rest.u32_le(0x04).and_then(|len| usize::try_from(len).ok()).unwrap_or(0);
        let bytes = rest
            .bytes_at(0, len)
            .filter(|bytes| bytes.len() >= 0x18 && len.is_multiple_of(8))
            .ok_or_else(|| corrupt("a length inside the record", len.to_string()))?;
        let fields = || -> Option<(u32, u8, u16, u16, &'a [u8])> {
            let name = bytes.bytes_at(
                usize::from(bytes.u16_le(0x0a)?),
                usize::from(bytes.u8_at(0x09)?).checked_mul(2)?,
            );
            let name = if bytes.u8_at(0x09)? == 0 { Some(&bytes[..0]) } else { name };
            Some((
                bytes.u32_le(0)?,
                bytes.u8_at(0x08)?,
                bytes.u16_le(0x0c)?,
                bytes.u16_le(0x0e)?,
                name?,
            ))
        };
        let (kind, form, flags, instance, name) =
            fields().ok_or_else(|| corrupt("a name inside the attribute", "none".into()))?;
        if kind == 0 || kind % 0x10 != 0 {
            return Err(corrupt("a type", format!("{kind:#x}")));
        }
        let form = match form {
            0 => {
                let value = || {
                    let len = usize::try_from(bytes.u32_le(0x10)?).ok()?;
                    bytes.bytes_at(usize::from(bytes.u16_le(0x14)?), len)
                };
                Form::Resident(
                    value()
                        .ok_or_else(|| corrupt("a value inside the attribute", "none".into()))?,
                )
            }
            1 => Form::Clusters(Mapping::parse(bytes).ok_or_else(|| {
                corrupt("a run list and sizes that fit", format!("{:02x?}", bytes.get(..0x40)))
            })?),
            other => return Err(corrupt("resident or not", other.to_string())),
        };
        Ok(Self { kind, flags, instance, position, name, form, bytes })
    }

    pub(super) fn is_named(&self, name: &str) -> bool {
        name.encode_utf16().flat_map(u16::to_le_bytes).eq(self.name.iter().copied())
    }

    /// The value, if it is in the record.
    pub(super) const fn resident(&self) -> Option<&'a [u8]> {
        match self.form {
            Form::Resident(value) => Some(value),
            Form::Clusters(_) => None,
        }
    }

    /// The runs; the volume has so many clusters.
    pub(super) const fn runs(&self, mapping: &Mapping<'a>, clusters: u64) -> RunList<'a> {
        RunList::new(mapping.runs, clusters, self.position)
    }
}

impl<'a> Mapping<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let first = bytes.u64_le(0x10)?;
        // An empty stream ends at -1.
        let end = bytes.u64_le(0x18)?.wrapping_add(1);
        let runs = bytes.get(usize::from(bytes.u16_le(0x20)?)..)?;
        let (data_bytes, initialized_bytes) = (bytes.u64_le(0x30)?, bytes.u64_le(0x38)?);
        let is_sane = end >= first && i64::try_from(end).is_ok() && bytes.u16_le(0x20)? >= 0x40;
        let unit_shift = bytes.u8_at(0x22)?;
        is_sane.then_some(Self { first, end, data_bytes, initialized_bytes, unit_shift, runs })
    }
}

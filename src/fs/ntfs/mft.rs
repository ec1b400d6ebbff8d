// SPDX-License-Identifier: MIT OR Apache-2.0
//! The master file table: a record of every file, the table itself among them.

use std::borrow::Cow;

use super::boot_sector::BootSector;
use super::record::{Attribute, Record, Reference, kind};
use super::stream::Stream;
use crate::error::Context;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError};

/// Records of the files that every volume has.
pub(super) mod file {
    pub(in super::super) const MFT: u64 = 0;
    pub(in super::super) const LOG_FILE: u64 = 2;
    pub(in super::super) const VOLUME: u64 = 3;
    pub(in super::super) const ROOT: u64 = 5;
    pub(in super::super) const BITMAP: u64 = 6;
    pub(in super::super) const UPCASE: u64 = 10;
    /// The first that is not the filesystem's own.
    pub(in super::super) const FIRST_USER: u64 = 24;
}

/// Windows allows no longer attribute lists.
const MAX_LIST: u64 = 256 << 10;

/// How many records $MFTMirr repeats at least.
const MIRRORED: u64 = 4;

/// The master file table of a volume.
pub(super) struct Mft<'a> {
    pub(super) volume: &'a dyn ReadAt,
    pub(super) boot: &'a BootSector,
    /// The records, one after the other.
    pub(super) data: Cow<'a, Stream>,
}

/// A record that owns its bytes.
pub(super) struct OwnRecord {
    number: u64,
    position: u64,
    /// As they are on the disk.
    bytes: Vec<u8>,
}

impl OwnRecord {
    /// Parses it. Putting sectors back can be done only once, so the bytes are
    /// used up.
    pub(super) fn parse(&mut self) -> Result<Record<'_>, FormatError> {
        Record::parse(self.number, self.position, &mut self.bytes)
    }
}

impl<'a> Mft<'a> {
    /// Finds all of the table, starting at the place that the boot sector names.
    pub(super) fn open(volume: &'a dyn ReadAt, boot: &'a BootSector) -> Result<Self, FormatError> {
        let position = boot.extent(boot.mft_cluster, 0).start();
        let bytes = read_vec(volume, position, boot.record_bytes)
            .context(|| format!("reading the first record of $MFT at byte {position:#x}"))?;
        let mut own = OwnRecord { number: file::MFT, position, bytes };
        let record = own.parse()?;
        check_in_use(&record)?;
        let first = record
            .attribute(kind::DATA, "")?
            .ok_or_else(|| FormatError::corrupt("$MFT", position, "an unnamed $DATA", "none"))?;
        let data = Stream::new("$MFT", boot, &first)?;
        let mut mft = Self { volume, boot, data: Cow::Owned(data) };
        if mft.data.place(boot, 0) != position {
            return Err(mft.data.corrupt("its own start in its run list", "another"));
        }
        // The parts that follow are described by records in the parts before.
        for part in mft.parts(&record, Some((kind::DATA, "")))?.unwrap_or_default() {
            if part.reference.number == file::MFT {
                continue;
            }
            let mut own = mft.read(part.reference.number)?;
            let record = own.parse()?;
            part.check(&record, file::MFT)?;
            let attribute = part.find(&record)?;
            mft.data.to_mut().append(boot, &attribute)?;
        }
        mft.data.check_plain(boot)?;
        Ok(mft)
    }

    /// The number of records that were ever written.
    pub(super) fn records(&self) -> u64 {
        let bytes = self.data.initialized_bytes.min(self.data.bytes);
        u64::try_from(self.boot.record_bytes)
            .ok()
            .and_then(|record| bytes.checked_div(record))
            .unwrap_or(0)
    }

    /// Where a record starts in the table.
    pub(super) fn offset(&self, number: u64) -> u64 {
        number.saturating_mul(u64::try_from(self.boot.record_bytes).unwrap_or(u64::MAX))
    }

    /// Reads a record.
    pub(super) fn read(&self, number: u64) -> Result<OwnRecord, FormatError> {
        if number >= self.records() {
            let wanted = format!("a record before {}", self.records());
            return Err(self.data.corrupt(wanted, number));
        }
        let offset = self.offset(number);
        let mut bytes = vec![0; self.boot.record_bytes];
        self.data.read(self.volume, self.boot, offset, &mut bytes)?;
        Ok(OwnRecord { number, position: self.data.place(self.boot, offset), bytes })
    }

    /// The stream of this type and name of a file.
    pub(super) fn stream(
        &self,
        what: &'static str,
        number: u64,
        kind: u32,
        name: &str,
    ) -> Result<Option<Stream>, FormatError> {
        let mut own = self.read(number)?;
        let record = own.parse()?;
        check_in_use(&record)?;
        let mut stream = None;
        let mut add = |attribute: &Attribute| match &mut stream {
            Some(stream) => Stream::append(stream, self.boot, attribute),
            None => {
                stream = Some(Stream::new(what, self.boot, attribute)?);
                Ok(())
            }
        };
        match self.parts(&record, Some((kind, name)))? {
            None => {
                if let Some(attribute) = record.attribute(kind, name)? {
                    add(&attribute)?;
                }
            }
            Some(parts) => {
                for part in parts {
                    if part.reference.number == number {
                        add(&part.find(&record)?)?;
                        continue;
                    }
                    let mut own = self.read(part.reference.number)?;
                    let record = own.parse()?;
                    part.check(&record, number)?;
                    add(&part.find(&record)?)?;
                }
            }
        }
        if let Some(stream) = &stream {
            stream.check_complete(self.boot)?;
        }
        Ok(stream)
    }

    /// The value of an attribute that is small.
    pub(super) fn value(
        &self,
        what: &'static str,
        number: u64,
        kind: u32,
        most: u64,
    ) -> Result<Option<Vec<u8>>, FormatError> {
        let Some(stream) = self.stream(what, number, kind, "")? else { return Ok(None) };
        stream.read_all(self.volume, self.boot, most).map(Some)
    }

    /// The parts of the stream of this type and name, or of all that a file
    /// has, in order; `None` if the file has only one record.
    pub(super) fn parts(
        &self,
        base: &Record,
        wanted: Option<(u32, &str)>,
    ) -> Result<Option<Vec<Part>>, FormatError> {
        let Some(list) = base.attribute(kind::ATTRIBUTE_LIST, "")? else { return Ok(None) };
        let list = Stream::new("attribute list", self.boot, &list)?;
        list.check_complete(self.boot)?;
        let list = list.read_all(self.volume, self.boot, MAX_LIST)?;
        let mut parts = Vec::new();
        let mut rest = list.as_slice();
        // Entries of zeros may follow: the list is allocated by clusters.
        while rest.u32_le(0).is_some_and(|kind| kind != 0) {
            let (part, len) = Part::parse(rest, wanted).ok_or_else(|| {
                FormatError::corrupt("attribute list", base.position, "whole entries", "less")
            })?;
            parts.extend(part);
            rest = rest.get(len..).unwrap_or_default();
        }
        Ok(Some(parts))
    }

    /// An error unless the copy of the first records is one.
    pub(super) fn check_mirror(&self) -> Result<(), FormatError> {
        let start = self.boot.extent(self.boot.mirror_cluster, 0).start();
        for number in 0..MIRRORED.min(self.records()) {
            let position = start.saturating_add(self.offset(number));
            let bytes = read_vec(self.volume, position, self.boot.record_bytes)
                .context(|| format!("reading $MFTMirr at byte {position:#x}"))?;
            let mut copy = OwnRecord { number, position, bytes };
            let mut own = self.read(number)?;
            if own.parse()?.bytes() != copy.parse()?.bytes() {
                return Err(FormatError::corrupt(
                    "$MFTMirr",
                    position,
                    format!("a copy of record {number}"),
                    "another",
                ));
            }
        }
        Ok(())
    }
}

pub(super) fn check_in_use(record: &Record) -> Result<(), FormatError> {
    if !record.in_use || record.base.is_some() {
        return Err(FormatError::corrupt(
            "file record",
            record.position,
            format!("record {} to be a file's", record.number),
            "another",
        ));
    }
    Ok(())
}

/// An entry of an attribute list.
pub(super) struct Part {
    pub(super) reference: Reference,
    first: u64,
    instance: u16,
    kind: u32,
}

impl Part {
    /// The entry, if it is of the wanted type and name, and its length.
    fn parse(entry: &[u8], wanted: Option<(u32, &str)>) -> Option<(Option<Self>, usize)> {
        let len = usize::from(entry.u16_le(0x04)?);
        let bytes = entry.bytes_at(0, len).filter(|bytes| bytes.len() >= 0x1a)?;
        let name_len = usize::from(bytes.u8_at(0x06)?).checked_mul(2)?;
        let own_name = match name_len {
            0 => &[],
            len => bytes.bytes_at(usize::from(bytes.u8_at(0x07)?), len)?,
        };
        let own_kind = bytes.u32_le(0)?;
        let is_wanted = wanted.is_none_or(|(kind, name)| {
            own_kind == kind
                && name.encode_utf16().flat_map(u16::to_le_bytes).eq(own_name.iter().copied())
        });
        let part = Self {
            reference: Reference::parse(bytes.u64_le(0x10)?),
            first: bytes.u64_le(0x08)?,
            instance: bytes.u16_le(0x18)?,
            kind: own_kind,
        };
        Some((is_wanted.then_some(part), len))
    }

    /// An error unless this is the record that the entry means.
    pub(super) fn check(&self, record: &Record, base: u64) -> Result<(), FormatError> {
        let is_meant = record.in_use
            && record.sequence == self.reference.sequence
            && record.base.is_some_and(|own| own.number == base);
        if is_meant {
            return Ok(());
        }
        Err(FormatError::corrupt(
            "file record",
            record.position,
            format!("record {} to continue {base}", record.number),
            format!("{:?}", record.base),
        ))
    }

    /// The attribute that the entry means.
    pub(super) fn find<'r>(&self, record: &Record<'r>) -> Result<Attribute<'r>, FormatError> {
        for attribute in record.attributes() {
            let attribute = attribute?;
            if attribute.kind == self.kind && attribute.instance == self.instance {
                return Ok(attribute);
            }
        }
        Err(FormatError::corrupt(
            "file record",
            record.position,
            format!("the attribute {:#x} of cluster {}", self.kind, self.first),
            "none",
        ))
    }
}

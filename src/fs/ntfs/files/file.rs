// SPDX-License-Identifier: MIT OR Apache-2.0
//! A file: what its record says, and all records that an attribute list adds.

use std::collections::HashMap;

use super::super::mft::{Mft, check_in_use};
use super::super::record::{Attribute, Record, Reference, kind};
use super::super::stream::Stream;
use super::reparse::{self, Reparse};
use crate::fs::files::{FileResult, NodeKind, Times};
use crate::fs::names::{units_le, windows_time, wtf8};
use crate::ondisk::{Fields, FormatError};

/// What of a file is kept in memory at most: runs of its streams together, and
/// bytes of its records. Windows itself has no room for more in a list.
const MAX_RUNS: usize = 1 << 20;
const MAX_BYTES: usize = 32 << 20;

/// The flag of a file that has a reparse point.
pub(super) const REPARSE_POINT: u32 = 0x400;

/// A file or folder.
pub(super) struct File {
    /// Where its record is, for messages.
    pub(super) position: u64,
    pub(super) kind: NodeKind,
    pub(super) is_folder: bool,
    /// The attributes of DOS and what Windows has added to them.
    pub(super) flags: u32,
    pub(super) times: Times,
    /// How many names it has, short ones not counted.
    pub(super) names: u32,
    /// Its contents by their names; that of the main one is empty.
    pub(super) streams: Vec<(Vec<u8>, Stream)>,
    /// The names in a folder.
    pub(super) index_root: Option<Vec<u8>>,
    pub(super) index_allocation: Option<Stream>,
    pub(super) reparse: Option<Reparse>,
    /// Bytes of memory.
    weight: usize,
}

/// Which stream of a file an attribute is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Own {
    Data(usize),
    IndexAllocation,
    Reparse,
}

impl File {
    /// Reads the file that a reference means.
    pub(super) fn read(mft: &Mft, reference: Reference) -> FileResult<Self> {
        let mut own = mft.read(reference.number)?;
        let base = own.parse()?;
        check_in_use(&base)?;
        if ![0, base.sequence].contains(&reference.sequence) {
            return Err(FormatError::corrupt(
                "file record",
                base.position,
                format!("the file that had it for the {}th time", reference.sequence),
                format!("the {}th", base.sequence),
            ));
        }
        let mut reading = Reading::new(mft, &base);
        match mft.parts(&base, None)? {
            None => {
                for attribute in base.attributes() {
                    reading.add(&attribute?)?;
                }
            }
            Some(parts) => {
                // Each record is read once, however many attributes it holds.
                let mut others = Vec::new();
                let mut known = vec![reference.number];
                for part in &parts {
                    let number = part.reference.number;
                    if known.last() == Some(&number) || known.contains(&number) {
                        continue;
                    }
                    known.push(number);
                    reading.take(mft.boot.record_bytes)?;
                    others.push((number, mft.read(number)?));
                }
                let mut records = HashMap::new();
                for (number, own) in &mut others {
                    records.insert(*number, own.parse()?);
                }
                for part in &parts {
                    let number = part.reference.number;
                    match records.get(&number) {
                        Some(record) if number != reference.number => {
                            part.check(record, reference.number)?;
                            reading.add(&part.find(record)?)?;
                        }
                        _ => reading.add(&part.find(&base)?)?,
                    }
                }
            }
        }
        reading.finish()
    }

    /// Bytes of memory that it takes.
    pub(super) const fn weight(&self) -> usize {
        self.weight
    }

    /// Which of the streams is the main content.
    pub(super) fn data_index(&self) -> Option<usize> {
        self.streams.iter().position(|(name, _)| name.is_empty())
    }

    /// The main content.
    pub(super) fn data(&self) -> Option<&Stream> {
        self.data_index().and_then(|which| self.streams.get(which)).map(|(_, stream)| stream)
    }

    pub(super) fn corrupt(&self, expected: impl ToString, found: impl ToString) -> FormatError {
        FormatError::corrupt("file record", self.position, expected, found)
    }

    /// The target, if it is a link.
    pub(super) fn link_target(&self) -> FileResult<Vec<u8>> {
        match &self.reparse {
            Some(Reparse::Link(target)) => Ok(target.clone()),
            _ => Err(self.corrupt("a link", "none")),
        }
    }

    /// An error if its content is not what the main stream holds.
    pub(super) fn check_readable(&self) -> FileResult<()> {
        // Offline, or to be recalled when it is opened or read.
        const AWAY: u32 = 0x1000 | 0x0004_0000 | 0x0040_0000;
        let away = |where_to: &str| {
            Err(FormatError::unsupported(format!(
                "the content of the file is not on this disk but {where_to}"
            )))
        };
        let has_holes = || {
            self.data().is_some_and(|data| data.runs().iter().any(|(_, it)| it.cluster.is_none()))
        };
        match (&self.kind, &self.reparse) {
            (NodeKind::Folder, _) => Err(self.corrupt("a file", "a folder")),
            (NodeKind::Other(what), _) => {
                Err(FormatError::unsupported(format!("the content cannot be read: {what}")))
            }
            // What a cloud has kept back is a hole.
            (_, Some(Reparse::Cloud)) if self.flags & AWAY != 0 || has_holes() => {
                away("in a cloud (OneDrive or the like): let Windows fetch it first")
            }
            _ => Ok(()),
        }
    }
}

/// A file that is being put together.
struct Reading<'a> {
    mft: &'a Mft<'a>,
    file: File,
    reparse: Option<Stream>,
    last: Option<Own>,
    runs: usize,
    bytes: usize,
}

impl<'a> Reading<'a> {
    fn new(mft: &'a Mft<'a>, base: &Record) -> Self {
        let file = File {
            position: base.position,
            kind: if base.is_folder { NodeKind::Folder } else { NodeKind::File },
            is_folder: base.is_folder,
            flags: 0,
            times: Times::default(),
            names: 0,
            streams: Vec::new(),
            index_root: None,
            index_allocation: None,
            reparse: None,
            weight: 0,
        };
        Self { mft, file, reparse: None, last: None, runs: 0, bytes: 0 }
    }

    /// Counts bytes that are taken.
    fn take(&mut self, bytes: usize) -> FileResult<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > MAX_BYTES {
            let what = format!("the records of the file are larger than {MAX_BYTES} bytes");
            return Err(FormatError::unsupported(what));
        }
        Ok(())
    }

    fn add(&mut self, attribute: &Attribute) -> FileResult<()> {
        self.take(attribute.resident().map_or(0, <[u8]>::len))?;
        match attribute.kind {
            kind::STANDARD_INFORMATION => self.standard(attribute),
            kind::FILE_NAME => {
                let is_short = attribute.resident().and_then(|it| it.u8_at(0x41)) == Some(2);
                self.file.names = self.file.names.saturating_add(u32::from(!is_short));
                Ok(())
            }
            kind::INDEX_ROOT if attribute.is_named("$I30") => {
                self.file.index_root = attribute.resident().map(<[u8]>::to_vec);
                Ok(())
            }
            kind::INDEX_ALLOCATION if attribute.is_named("$I30") => {
                self.stream(attribute, Own::IndexAllocation)
            }
            kind::REPARSE_POINT => self.stream(attribute, Own::Reparse),
            kind::DATA => {
                let name = wtf8(units_le(attribute.name));
                let which = self.file.streams.iter().position(|(own, _)| *own == name);
                let which = which.unwrap_or(self.file.streams.len());
                if which == self.file.streams.len() {
                    self.take(name.len())?;
                }
                self.stream(attribute, Own::Data(which))
            }
            _ => Ok(()),
        }
    }

    fn standard(&mut self, attribute: &Attribute) -> FileResult<()> {
        let value = attribute.resident().unwrap_or_default();
        let time = |offset| value.u64_le(offset).and_then(windows_time);
        self.file.times = Times {
            created: time(0x00),
            modified: time(0x08),
            changed: time(0x10),
            accessed: time(0x18),
        };
        self.file.flags = value.u32_le(0x20).ok_or_else(|| {
            let what = "standard information";
            FormatError::corrupt(what, attribute.position, "times and flags", "less")
        })?;
        Ok(())
    }

    /// Starts a stream, or continues that which came last.
    fn stream(&mut self, attribute: &Attribute, own: Own) -> FileResult<()> {
        let boot = self.mft.boot;
        let place = match own {
            Own::Data(which) => self.file.streams.get_mut(which).map(|(_, stream)| stream),
            Own::IndexAllocation => self.file.index_allocation.as_mut(),
            Own::Reparse => self.reparse.as_mut(),
        };
        let runs = match place {
            Some(stream) => {
                let before = stream.runs().len();
                stream.append(boot, attribute)?;
                stream.runs().len().saturating_sub(before)
            }
            None => {
                let what = match own {
                    Own::Data(_) => "content of the file",
                    Own::IndexAllocation => "index of a folder",
                    Own::Reparse => "reparse point",
                };
                let stream = Stream::new(what, boot, attribute)?;
                let runs = stream.runs().len();
                match own {
                    Own::Data(_) => {
                        let name = wtf8(units_le(attribute.name));
                        self.file.streams.push((name, stream));
                    }
                    Own::IndexAllocation => self.file.index_allocation = Some(stream),
                    Own::Reparse => self.reparse = Some(stream),
                }
                runs
            }
        };
        self.last = Some(own);
        self.runs = self.runs.saturating_add(runs);
        if self.runs > MAX_RUNS {
            let what = format!("the file is in more than {MAX_RUNS} pieces");
            return Err(FormatError::unsupported(what));
        }
        Ok(())
    }

    fn finish(mut self) -> FileResult<File> {
        let (mft, file) = (self.mft, &mut self.file);
        if let Some(stream) = self.reparse.filter(|_| file.flags & REPARSE_POINT != 0) {
            let bytes = stream.read_all(mft.volume, mft.boot, reparse::MAX)?;
            file.reparse = Some(Reparse::parse(&bytes, file.position)?);
        } else if !file.is_folder
            && let Some(data) = file.data()
            && reparse::may_be_interix(file.flags, data.bytes)
            && data.flags == 0
        {
            // A file that cannot be read is one all the same.
            let bytes = data.read_all(mft.volume, mft.boot, reparse::INTERIX_MAX);
            file.reparse = bytes.ok().and_then(|bytes| Reparse::interix(&bytes));
        }
        if let Some(reparse) = &file.reparse {
            file.kind = reparse.kind(file.is_folder);
        }
        let run = size_of::<(u64, super::super::run_list::Run)>();
        file.weight = self.bytes.saturating_add(self.runs.saturating_mul(run)).saturating_add(512);
        Ok(self.file)
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The extents overflow file: where the rest of a file is that has more than
//! eight extents, and the bad blocks (TN1150, "Extents Overflow File").

use std::collections::BTreeMap;

use super::file::{File, Volume};
use super::fork::{ExtentRecord, Fork};
use super::tree::{Record, Tree};
use super::volume_header::Special;
use crate::fs::hfs::balance::Balance;
use crate::ondisk::{Fields, FormatError};

/// The "file" of bad blocks, which has records here and nowhere else.
const BAD_BLOCKS: u32 = 5;

/// Files of users have numbers from here on.
const FIRST_USER_FILE: u32 = 16;

/// The most records of special files: half a million extents.
const MOST_SPECIAL_RECORDS: usize = 1 << 16;

/// Eight extents of a file.
pub(super) struct OverflowRecord {
    file: u32,
    fork: u8,
    /// The block of the file that the first of them starts at.
    start: u64,
    pub(super) extents: ExtentRecord,
}

impl OverflowRecord {
    pub(super) fn parse(record: &Record, file: &File) -> Result<Self, FormatError> {
        let what = "record of the extents overflow file";
        let header = file.header();
        let bad = |expected: &str, found: String| {
            FormatError::corrupt(what, record.position, expected, found)
        };
        let (Some(fork), Some(id), Some(start), 10) =
            (record.key.u8_at(0), record.key.u32_be(2), record.key.u32_be(6), record.key.len())
        else {
            return Err(bad("a key of 10 bytes", record.key.len().to_string()));
        };
        let is_known = match id {
            BAD_BLOCKS => fork == 0,
            FIRST_USER_FILE.. => fork == 0 || fork == 0xff,
            // The overflow file itself has no more than eight extents.
            _ => fork == 0 && id != Special::Extents.id() && special(id).is_some(),
        };
        if !is_known {
            return Err(bad("a file that may have a record", format!("fork {fork} of file {id}")));
        }
        let extents = ExtentRecord::parse(record.data, what, record.position, header)?;
        if extents.blocks() == 0 {
            return Err(bad("extents", "none".to_owned()));
        }
        Ok(Self { file: id, fork, start: start.into(), extents })
    }

    /// The record's part in the [`Balance`] of files of users.
    pub(super) fn settle(&self, balance: &mut Balance) {
        if self.file >= FIRST_USER_FILE {
            balance.found(self.file, self.fork, self.extents.blocks());
        }
    }
}

fn special(id: u32) -> Option<Special> {
    Special::ALL.into_iter().find(|special| special.id() == id)
}

/// The special files with all of their extents.
pub(super) struct SpecialFiles<'a> {
    pub(super) allocation: File<'a>,
    pub(super) extents: File<'a>,
    pub(super) catalog: File<'a>,
    pub(super) attributes: File<'a>,
    pub(super) startup: File<'a>,
}

impl<'a> SpecialFiles<'a> {
    pub(super) fn open(volume: Volume<'a>) -> Result<Self, FormatError> {
        let fork = |special: Special| volume.header.special(special);
        let extents = File::new(volume, Special::Extents.name(), &fork(Special::Extents)?, &[])?;
        let mut records: BTreeMap<u32, Vec<(u64, ExtentRecord)>> = BTreeMap::new();
        let mut count = 0_usize;
        Tree::open(&extents)?.records(&mut |record| {
            let record = OverflowRecord::parse(record, &extents)?;
            if special(record.file).is_none() {
                return Ok(());
            }
            count = count.saturating_add(1);
            if count > MOST_SPECIAL_RECORDS {
                let what = "special files of more than half a million extents";
                return Err(FormatError::unsupported(what));
            }
            records.entry(record.file).or_default().push((record.start, record.extents));
            Ok(())
        })?;
        let mut open = |special: Special, fork: Fork| {
            let mut records = records.remove(&special.id()).unwrap_or_default();
            records.sort_by_key(|(start, _)| *start);
            File::new(volume, special.name(), &fork, &records)
        };
        Ok(Self {
            allocation: open(Special::Allocation, fork(Special::Allocation)?)?,
            catalog: open(Special::Catalog, fork(Special::Catalog)?)?,
            attributes: open(Special::Attributes, fork(Special::Attributes)?)?,
            startup: open(Special::Startup, fork(Special::Startup)?)?,
            extents,
        })
    }

    pub(super) fn all(&self) -> [&File<'a>; 5] {
        [&self.allocation, &self.extents, &self.catalog, &self.attributes, &self.startup]
    }
}

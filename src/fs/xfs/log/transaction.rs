// SPDX-License-Identifier: MIT OR Apache-2.0
//! From records to the transactions in them that were committed.
//!
//! A record is a row of operations, each a header of 12 bytes and data. An
//! operation starts or commits a transaction or holds a region of an item; a
//! region that did not fit into a record goes on in the next. What belongs to
//! a transaction whose start is not in the log was done before the tail, and
//! one whose commit is not in the log did not happen.

use std::collections::BTreeMap;

use super::item::{Item, Region};
use super::record::{FORMAT_LINUX_LE, Record};
use super::{Head, Log};
use crate::ondisk::{Fields, FormatError};

const START: u8 = 0x01;
const COMMIT: u8 = 0x02;
const CONTINUE: u8 = 0x04;
const WAS_CONTINUED: u8 = 0x08;
const END: u8 = 0x10;

const HEADER_LEN: usize = 12;
const CLIENT_TRANSACTION: u8 = 0x69;
const CLIENT_LOG: u8 = 0xAA;
const TRANSACTION_MAGIC: u32 = 0x5452_414E;
const TRANSACTION_HEADER_LEN: usize = 16;
/// Bounds the memory of what waits for a commit.
const MAX_PENDING: usize = 64 << 20;

/// A transaction that was committed.
#[derive(Debug, Default)]
pub(in crate::fs::xfs) struct Transaction {
    /// The place of the record it starts in.
    pub(in crate::fs::xfs) lsn: u64,
    pub(in crate::fs::xfs) items: Vec<Item>,
    header: Vec<u8>,
}

/// Reads all records from the tail to the head, and calls `commit` for each
/// transaction in the order in which they were committed.
pub(in crate::fs::xfs) fn scan(
    log: &Log,
    head: &Head,
    keep: Keep,
    commit: &mut dyn FnMut(Transaction) -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    let mut scan = Scan { commit, keep, open: BTreeMap::new(), pending: 0, last: 0 };
    let tail = head.tail_lsn & u64::from(u32::MAX);
    let round = |lsn: u64| lsn >> 32;
    let is_tail = tail < log.blocks()
        && match round(head.lsn).checked_sub(round(head.tail_lsn)) {
            Some(0) => tail < head.block,
            Some(1) => tail > head.block,
            _ => false,
        };
    if !is_tail {
        return Err(FormatError::corrupt(
            "h_tail_lsn",
            log.position(head.block),
            format!("a place within a round before {:#x}", head.lsn),
            format!("{:#x}", head.tail_lsn),
        ));
    }
    let mut left = head
        .block
        .checked_sub(tail)
        .unwrap_or_else(|| log.blocks().saturating_sub(tail).saturating_add(head.block));
    let (mut at, mut size) = (tail, None);
    let mut lsn = head.tail_lsn;
    while left > 0 {
        let record = Record::read(log, at, true)?;
        if record.header.lsn < lsn {
            return Err(FormatError::corrupt(
                "h_lsn",
                log.position(at),
                format!("at least {lsn:#x}"),
                format!("{:#x}", record.header.lsn),
            ));
        }
        lsn = record.header.lsn;
        left = left.checked_sub(record.blocks).ok_or_else(|| {
            let position = log.position(at);
            FormatError::corrupt("log record", position, "its end within the log's", "behind it")
        })?;
        if record.header.format != FORMAT_LINUX_LE {
            return Err(FormatError::unsupported(
                "its log has to be replayed, and was written by another kind of machine",
            ));
        }
        // A replay takes the size of the first for that of all.
        if *size.get_or_insert(record.header.size) != record.header.size {
            return Err(FormatError::unsupported(
                "its log has to be replayed, and its records differ in their size",
            ));
        }
        scan.record(&record).map_err(|wrong| match wrong {
            Wrong::Error(error) => error,
            Wrong::Operation(what) => {
                FormatError::corrupt("log operation", log.position(at), what, "another")
            }
        })?;
        at = record.next;
    }
    Ok(())
}

enum Wrong {
    Error(FormatError),
    /// What was expected of an operation.
    Operation(&'static str),
}

/// Of which items the parts are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fs::xfs) enum Keep {
    /// Buffers that the free-space trees are found by or may be in.
    Allocation,
    Everything,
}

struct Scan<'a> {
    keep: Keep,
    commit: &'a mut dyn FnMut(Transaction) -> Result<(), FormatError>,
    /// Transactions that wait for their commit, by their numbers.
    open: BTreeMap<u32, Transaction>,
    /// The bytes that are held for them.
    pending: usize,
    /// Where the transaction that was committed last had started.
    last: u64,
}

impl Scan<'_> {
    fn record(&mut self, record: &Record) -> Result<(), Wrong> {
        let mut rest = record.data.as_slice();
        for _ in 0..record.header.ops {
            if rest.is_empty() {
                break;
            }
            let short = Wrong::Operation("a header of 12 bytes");
            let (header, after) = rest.split_at_checked(HEADER_LEN).ok_or(short)?;
            let len = header.u32_be(4).and_then(|len| usize::try_from(len).ok());
            let short = Wrong::Operation("data within its record");
            let (data, after) = len.and_then(|len| after.split_at_checked(len)).ok_or(short)?;
            rest = after;
            let number = header.u32_be(0).unwrap_or(0);
            let client = header.u8_at(8).unwrap_or(0);
            if client != CLIENT_TRANSACTION && client != CLIENT_LOG {
                return Err(Wrong::Operation("a client that is known"));
            }
            self.operation(record, number, header.u8_at(9).unwrap_or(0), data)?;
        }
        Ok(())
    }

    fn operation(
        &mut self,
        record: &Record,
        number: u32,
        flags: u8,
        data: &[u8],
    ) -> Result<(), Wrong> {
        if flags & START != 0 {
            if flags != START || !data.is_empty() || self.open.contains_key(&number) {
                return Err(Wrong::Operation("the start of a transaction"));
            }
            let lsn = record.header.lsn;
            self.open.insert(number, Transaction { lsn, ..Transaction::default() });
            return Ok(());
        }
        if flags & COMMIT != 0 {
            if flags != COMMIT {
                return Err(Wrong::Operation("a commit and nothing else"));
            }
            let Some(transaction) = self.open.remove(&number) else { return Ok(()) };
            return self.committed(transaction);
        }
        let Some(transaction) = self.open.get_mut(&number) else { return Ok(()) };
        let kept = match flags & !END {
            0 | CONTINUE => transaction.begin(data, flags & CONTINUE != 0, self.keep),
            flags if flags & !CONTINUE == WAS_CONTINUED => transaction.go_on(data),
            _ => return Err(Wrong::Operation("flags that are known")),
        };
        let kept = kept.ok_or(Wrong::Operation("regions of an item"))?;
        self.pending = self.pending.saturating_add(kept);
        if self.pending > MAX_PENDING {
            return Err(Wrong::Error(FormatError::unsupported(
                "its log has to be replayed, and holds more than can be kept in memory",
            )));
        }
        Ok(())
    }

    fn committed(&mut self, transaction: Transaction) -> Result<(), Wrong> {
        let is_whole = transaction.items.last().is_none_or(|item| item.regions.len() == item.total);
        if !is_whole {
            return Err(Wrong::Operation("all regions of an item before the commit"));
        }
        // A replay compares places to see what is newer.
        if transaction.lsn < self.last {
            return Err(Wrong::Operation("commits in the order of the starts"));
        }
        self.last = transaction.lsn;
        self.pending = self.pending.saturating_sub(transaction.kept());
        (self.commit)(transaction).map_err(Wrong::Error)
    }
}

impl Transaction {
    /// The bytes that are held.
    fn kept(&self) -> usize {
        self.items
            .iter()
            .flat_map(|item| &item.regions)
            .fold(0, |sum, region| sum.saturating_add(region.bytes.len()).saturating_add(64))
    }

    /// A region, or its first part. Returns the bytes that are held now.
    fn begin(&mut self, data: &[u8], is_continued: bool, keep: Keep) -> Option<usize> {
        if data.is_empty() {
            return (!is_continued).then_some(0);
        }
        if self.header.is_empty() {
            self.header = data.to_vec();
            let is_known = data.u32_le(0) == Some(TRANSACTION_MAGIC)
                && if is_continued {
                    data.len() < TRANSACTION_HEADER_LEN
                } else {
                    data.len() == TRANSACTION_HEADER_LEN
                };
            return is_known.then_some(0);
        }
        if self.header.len() != TRANSACTION_HEADER_LEN {
            return None;
        }
        let is_new = self.items.last().is_none_or(|item| item.regions.len() == item.total);
        if is_new {
            let (_, total) = Item::start(data)?;
            if total == 0 {
                return None;
            }
            self.items.push(Item { regions: Vec::new(), total });
        }
        let item = self.items.last_mut()?;
        let is_kept = is_new || keep == Keep::Everything || item.is_wanted();
        let bytes = if is_kept { data.to_vec() } else { Vec::new() };
        let kept = bytes.len().saturating_add(64);
        item.regions.push(Region { len: data.len(), bytes });
        Some(kept)
    }

    /// A further part of the last region.
    fn go_on(&mut self, data: &[u8]) -> Option<usize> {
        if self.items.is_empty() {
            self.header.extend(data);
            return (self.header.len() <= TRANSACTION_HEADER_LEN).then_some(0);
        }
        let item = self.items.last_mut()?;
        let region = item.regions.last_mut()?;
        // What is not wanted is not kept from its start on.
        let is_kept = region.bytes.len() == region.len;
        region.len = region.len.checked_add(data.len())?;
        if !is_kept {
            return Some(0);
        }
        region.bytes.extend(data);
        Some(data.len())
    }
}

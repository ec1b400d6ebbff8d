// SPDX-License-Identifier: MIT OR Apache-2.0
//! `$LogFile`: whether anything in it is still to be done.
//!
//! Its first two pages say in turn where a restart begins. While Windows 8 and
//! later use a volume, the log has version 2.0; when they let go of it they
//! turn it back to 1.1. So a log of version 2.0 belongs to a Windows that was
//! not shut down, or only half: Fast Startup leaves all volumes as they are.

use super::mft::{Mft, file};
use super::record::{kind, restore_sectors};
use super::stream::Stream;
use crate::ondisk::{Fields, FormatError};

/// What a log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Log {
    /// Nothing is to be done.
    Clean,
    /// A mount would do what it says.
    Open,
    /// It is of Windows 8 or later and was not turned back.
    InUse,
    /// It is of a version or form that is not known.
    Unknown,
}

/// Windows and mkntfs make no longer logs, unless told to.
const MAX_EMPTY: u64 = 256 << 20;

const PIECE: usize = 1 << 20;

/// Reads the log. An empty one is read to its end only if `thorough`.
pub(super) fn read(mft: &Mft, thorough: bool) -> Result<Log, FormatError> {
    let log = mft
        .stream("$LogFile", file::LOG_FILE, kind::DATA, "")?
        .ok_or_else(|| FormatError::corrupt("$LogFile", 0, "an unnamed $DATA", "none"))?;
    log.check_plain(mft.boot)?;
    if log.initialized_bytes < log.bytes || log.bytes < 16384 {
        return Ok(Log::Unknown);
    }
    let mut head = vec![0; 512];
    log.read(mft.volume, mft.boot, 0, &mut head)?;
    if head.iter().all(|byte| *byte == 0xff) {
        return empty(mft, &log, thorough);
    }
    // Both pages have the size that the first says.
    let page = head.u32_le(0x10).filter(|size| size.is_power_of_two());
    let page = page.filter(|size| (512..=65536).contains(size));
    let Some(page) = page.filter(|size| u64::from(*size).saturating_mul(2) <= log.bytes) else {
        return Ok(Log::Unknown);
    };
    let mut latest: Option<Restart> = None;
    for start in [0, u64::from(page)] {
        let mut bytes = vec![0; usize::try_from(page).unwrap_or(0)];
        log.read(mft.volume, mft.boot, start, &mut bytes)?;
        let position = log.place(mft.boot, start);
        let Some(restart) = Restart::parse(&mut bytes, position) else { return Ok(Log::Unknown) };
        if latest.as_ref().is_none_or(|latest| restart.number > latest.number) {
            latest = Some(restart);
        }
    }
    Ok(latest.map_or(Log::Unknown, |latest| latest.log()))
}

/// A log that is all ones was emptied by a program that had done all there was.
fn empty(mft: &Mft, log: &Stream, thorough: bool) -> Result<Log, FormatError> {
    let mut bytes = vec![0; PIECE];
    let mut offset = 0;
    let end = if thorough { log.bytes } else { log.bytes.min(65536) };
    if end > MAX_EMPTY {
        return Ok(Log::Unknown);
    }
    while offset < end {
        let len = usize::try_from(end.saturating_sub(offset)).unwrap_or(PIECE).min(PIECE);
        let part = bytes.get_mut(..len).unwrap_or_default();
        log.read(mft.volume, mft.boot, offset, part)?;
        if part.iter().any(|byte| *byte != 0xff) {
            return Ok(Log::Unknown);
        }
        offset = offset.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
    }
    Ok(Log::Clean)
}

/// A restart page.
#[derive(Debug)]
struct Restart {
    major: u16,
    minor: u16,
    /// The later page has the larger.
    number: u64,
    has_clients: bool,
    is_clean: bool,
}

impl Restart {
    /// `None` if it is not one, or was written by halves.
    fn parse(bytes: &mut [u8], position: u64) -> Option<Self> {
        /// No record of a client.
        const NO_CLIENT: u16 = 0xffff;
        const CLEAN: u16 = 0x0002;
        const KNOWN: u16 = 0x0003;
        // A page that chkdsk has written ("CHKD") is for Windows to look at.
        if bytes.bytes_at(0, 4) != Some(b"RSTR") {
            return None;
        }
        restore_sectors("restart page", position, bytes).ok()?;
        let area = bytes.get(usize::from(bytes.u16_le(0x18)?)..)?;
        let (in_use, flags) = (area.u16_le(0x0c)?, area.u16_le(0x0e)?);
        if flags & !KNOWN != 0 || bytes.u16_le(0x18)? < 0x20 {
            return None;
        }
        // One client, the filesystem, and its list is empty or has just it.
        if area.u16_le(0x08)? > 1 || (in_use != NO_CLIENT && in_use != 0) {
            return None;
        }
        Some(Self {
            minor: bytes.u16_le(0x1a)?,
            major: bytes.u16_le(0x1c)?,
            number: area.u64_le(0)?,
            has_clients: in_use != NO_CLIENT,
            is_clean: flags & CLEAN != 0,
        })
    }

    const fn log(&self) -> Log {
        match (self.major, self.minor) {
            (1, 1) if !self.has_clients || self.is_clean => Log::Clean,
            (1, 1) => Log::Open,
            (2, _) => Log::InUse,
            _ => Log::Unknown,
        }
    }
}

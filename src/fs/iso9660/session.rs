// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sessions of a disc in the file of it, where no table of contents says
//! where they begin.

use super::descriptor::Descriptors;
use crate::extent::Extent;
use crate::io::ReadAt;
use crate::ondisk::FormatError;

/// Sessions of what can be written over begin here: the first sectors then
/// belong to the last session.
const FIRST_OF_MANY: u64 = 32;
/// How far behind the end of a session the next one is looked for: what a CD
/// leaves between two, and something.
const GAP: u64 = 11_400 + 1024;
/// Sessions begin at multiples of so many sectors.
const UNIT: u64 = 16;
/// How many sessions are looked for: as many as a CD has tracks.
const MOST: usize = 99;

/// A session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The sector in which it begins.
    pub start: u64,
    /// Its volume descriptors.
    pub descriptors: Descriptors,
}

/// The sessions of a disc, in their order. They are found by the ends that each
/// gives of itself, as nothing else tells; the table of contents of a drive
/// knows better.
///
/// # Errors
/// If the first one cannot be read.
pub fn sessions(disc: &dyn ReadAt) -> Result<Vec<Session>, FormatError> {
    let Some(first) = Descriptors::read(disc, 0)? else { return Ok(Vec::new()) };
    // What programs write that grow a disc which can be written over: the
    // descriptors of the last session at the start, the first one behind.
    let mut start = 0;
    let mut descriptors = first.clone();
    if let Ok(Some(behind)) = Descriptors::read(disc, FIRST_OF_MANY)
        && behind.primary.space_size <= first.primary.space_size
        && behind.primary.root.start() > FIRST_OF_MANY.saturating_mul(super::SECTOR)
    {
        (start, descriptors) = (FIRST_OF_MANY, behind);
    }
    let mut sessions = Vec::new();
    loop {
        // From the start of the disc, or, as genisoimage counts, from that of the
        // session.
        let size = descriptors.primary.end().div_ceil(super::SECTOR);
        let from_session = Some(start.saturating_add(size)).filter(|_| start > 0);
        let ends = [Some(size), from_session].into_iter().flatten().filter(move |end| *end > start);
        sessions.push(Session { start, descriptors });
        if sessions.len() >= MOST {
            return Ok(sessions);
        }
        let next = ends.flat_map(|end| {
            let gap = Extent::at(end.next_multiple_of(UNIT), GAP).pieces(UNIT);
            let gap = gap.map(|piece| piece.start());
            gap.take_while(|start| start.saturating_mul(super::SECTOR) < disc.len())
        });
        let mut next =
            next.filter_map(|start| Some((start, Descriptors::read(disc, start).ok().flatten()?)));
        match next.next() {
            Some(next) => (start, descriptors) = next,
            None => return Ok(sessions),
        }
    }
}

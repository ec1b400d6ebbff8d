// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of folders that have no order on the disk, kept for those who look for
//! one after the other.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::files::{DirectoryEntry, FileResult, Files, Node};
use super::names;
use super::recent::Recent;

/// Names of a folder that are kept at most; a larger one is read each time.
const MAX_NAMES: usize = 200_000;

/// The names of a folder, in the letters by which they are compared.
#[derive(Debug)]
pub(super) struct Listing {
    names: HashMap<Vec<u16>, DirectoryEntry>,
    /// Every name is in it: none was damaged, and none was one too many.
    is_whole: bool,
}

/// The listings of the folders that were used last.
pub(super) type Listings = Recent<Node, Listing>;

/// Room for those of a few folders.
pub(super) const fn listings() -> Listings {
    Recent::new(32, 32 << 20)
}

impl Listing {
    fn read(
        files: &dyn Files,
        folder: Node,
        fold: &dyn Fn(u16) -> u16,
    ) -> FileResult<(Self, usize)> {
        let mut listing = Self { names: HashMap::new(), is_whole: true };
        let mut bytes = size_of::<Self>();
        files.list(folder, &mut |entry| {
            let Ok(entry) = entry else {
                listing.is_whole = false;
                return ControlFlow::Continue(());
            };
            if listing.names.len() >= MAX_NAMES {
                listing.is_whole = false;
                return ControlFlow::Break(());
            }
            let Some(units) = names::utf16(&entry.name) else { return ControlFlow::Continue(()) };
            let units: Vec<u16> = units.into_iter().map(fold).collect();
            let own = entry.name.len().saturating_add(units.len().saturating_mul(2));
            bytes = bytes.saturating_add(own.saturating_add(150));
            listing.names.entry(units).or_insert(entry);
            ControlFlow::Continue(())
        })?;
        Ok((listing, bytes))
    }
}

/// Looks a name up. `fold` gives the letter that stands for a letter in either
/// case.
pub(super) fn lookup(
    files: &dyn Files,
    listings: &Listings,
    folder: Node,
    name: &[u8],
    fold: &dyn Fn(u16) -> u16,
) -> FileResult<Option<DirectoryEntry>> {
    let Some(units) = names::utf16(name) else { return Ok(None) };
    let wanted: Vec<u16> = units.into_iter().map(fold).collect();
    let listing = listings.get_or_open(folder, || Listing::read(files, folder, fold))?;
    let found = listing.names.get(&wanted);
    if found.is_some() || listing.is_whole {
        return Ok(found.cloned());
    }
    // It may be behind the last that was kept, or one that is damaged.
    let (mut found, mut failed) = (None, None);
    files.list(folder, &mut |entry| match entry {
        Ok(entry) => {
            let units = names::utf16(&entry.name).unwrap_or_default();
            if units.into_iter().map(fold).eq(wanted.iter().copied()) {
                found = Some(entry);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        }
        Err(error) => {
            failed.get_or_insert(error);
            ControlFlow::Continue(())
        }
    })?;
    match (found, failed) {
        (None, Some(error)) => Err(error),
        (found, _) => Ok(found),
    }
}

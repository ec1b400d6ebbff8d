// SPDX-License-Identifier: MIT OR Apache-2.0
//! The names of a folder, in an order that stays, and the folders that were
//! listed last.
//!
//! Programs list a folder and then ask for each of its names. The listing
//! answers that too, so that a folder of a hundred thousand names is read once
//! and not once a name.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use crate::fs::files::{DirectoryEntry, FileResult, Files, Node, NodeKind};
use crate::ondisk::FormatError;

/// What a listing may take in memory: about three million names.
const MAX_BYTES: usize = 256 << 20;
/// What the listings that nobody reads right now may take.
const KEPT_BYTES: usize = 24 << 20;
/// The longest name that every kernel takes from FUSE (FUSE_NAME_MAX).
const MAX_NAME: usize = 1024;
/// How many damaged entries of a folder are described.
const MAX_DESCRIBED: usize = 8;

/// The names of a folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    names: Vec<u8>,
    entries: Vec<Entry>,
    /// The names that could not be read: some of them, described.
    pub(super) damaged: Vec<FormatError>,
}

#[derive(Debug)]
struct Entry {
    start: usize,
    len: usize,
    node: Node,
    kind: NodeKind,
}

/// A name of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Named<'a> {
    pub(super) name: &'a [u8],
    pub(super) node: Node,
    pub(super) kind: NodeKind,
}

impl Listing {
    /// Lists a folder. Where that is not possible to the end, what was found
    /// is there, and the reason among [`Listing::damaged`].
    pub(super) fn read(files: &dyn Files, folder: Node) -> Self {
        let mut listing = Self::default();
        let listed = files.list(folder, &mut |entry| match entry.and_then(check) {
            Ok(entry) if listing.bytes() < MAX_BYTES => {
                listing.push(&entry);
                ControlFlow::Continue(())
            }
            Ok(_) => {
                let count = listing.entries.len();
                let text = format!("the folder has more than {count} names");
                listing.damaged.push(FormatError::unsupported(text));
                ControlFlow::Break(())
            }
            Err(error) => {
                listing.damage(error);
                ControlFlow::Continue(())
            }
        });
        if let Err(error) = listed {
            listing.damage(error);
        }
        listing.entries.shrink_to_fit();
        listing.names.shrink_to_fit();
        let names = &listing.names;
        listing.entries.sort_by_key(|entry| name_of(names, entry));
        listing
    }

    fn push(&mut self, entry: &DirectoryEntry) {
        let (start, len) = (self.names.len(), entry.name.len());
        self.names.extend_from_slice(&entry.name);
        self.entries.push(Entry { start, len, node: entry.node, kind: entry.kind });
    }

    fn damage(&mut self, error: FormatError) {
        if self.damaged.len() < MAX_DESCRIBED {
            self.damaged.push(error);
        }
    }

    fn bytes(&self) -> usize {
        self.names.len() + self.entries.len() * size_of::<Entry>()
    }

    /// The name at a position, from 0.
    pub(super) fn get(&self, position: usize) -> Option<Named<'_>> {
        self.entries.get(position).map(|entry| self.named(entry))
    }

    /// What a name stands for.
    pub(super) fn find(&self, name: &[u8]) -> Option<Named<'_>> {
        let found = self.entries.binary_search_by_key(&name, |it| name_of(&self.names, it)).ok()?;
        self.get(found)
    }

    fn named(&self, entry: &Entry) -> Named<'_> {
        Named { name: name_of(&self.names, entry), node: entry.node, kind: entry.kind }
    }
}

fn name_of<'a>(names: &'a [u8], entry: &Entry) -> &'a [u8] {
    names.get(entry.start..entry.start.saturating_add(entry.len)).unwrap_or_default()
}

/// The kernel ends the whole listing at a name that it does not take.
fn check(entry: DirectoryEntry) -> FileResult<DirectoryEntry> {
    let name = &entry.name;
    let is_bad = name.is_empty() || name == b"." || name == b".." || name.contains(&b'/');
    if is_bad || name.contains(&0) || name.len() > MAX_NAME {
        let shown = String::from_utf8_lossy(name.get(..64).unwrap_or(name));
        let text = format!("no system takes the name '{}'", shown.escape_debug());
        return Err(FormatError::unsupported(text));
    }
    Ok(entry)
}

/// The folders that were listed last.
#[derive(Debug, Default)]
pub(super) struct Recent {
    listings: Mutex<VecDeque<(u64, Arc<Listing>)>>,
}

impl Recent {
    /// The listing of the folder with this number, if it is kept.
    pub(super) fn get(&self, number: u64) -> Option<Arc<Listing>> {
        let mut listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
        let position = listings.iter().position(|(known, _)| *known == number)?;
        let found = listings.remove(position)?;
        let listing = Arc::clone(&found.1);
        listings.push_front(found);
        Some(listing)
    }

    /// Keeps a listing, and gives up the oldest.
    pub(super) fn keep(&self, number: u64, listing: Arc<Listing>) {
        // What could not be read whole is tried anew.
        if !listing.damaged.is_empty() {
            return;
        }
        let mut listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
        listings.retain(|(known, _)| *known != number);
        listings.push_front((number, listing));
        let bytes = |listings: &VecDeque<(u64, Arc<Listing>)>| -> usize {
            listings.iter().map(|(_, listing)| listing.bytes() + 128).sum()
        };
        while listings.len() > 1 && bytes(&listings) > KEPT_BYTES {
            listings.pop_back();
        }
    }
}

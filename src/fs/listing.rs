// SPDX-License-Identifier: MIT OR Apache-2.0
//! The names of folders, kept for whoever looks for one after the other: a
//! folder of 100,000 names is not read 100,000 times, whether or not it has an
//! order on the disk, and whether or not all of it can be read.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::files::{DirectoryEntry, FileResult, Files, Node, NodeKind};
use super::recent::Recent;
use crate::ondisk::FormatError;

/// The folders that are kept at most, and bytes of their names: of each and of
/// all. Of a larger folder the first names are kept.
const MAX_FOLDERS: usize = 64;
const MAX_BYTES: usize = 64 << 20;

/// The letters by which a name is compared where case is left aside; `None` if
/// no other name is the same.
pub(super) type Fold<'a> = &'a dyn Fn(&[u8]) -> Option<Vec<u8>>;

/// The names of the folders that were looked into last.
#[derive(Debug)]
pub(super) struct Listings {
    recent: Recent<Node, Listing>,
    most_bytes: usize,
}

/// The names of a folder.
#[derive(Debug, Default)]
struct Listing {
    exact: HashMap<Arc<[u8]>, (Node, NodeKind)>,
    /// The first name of those that are the same but for their case.
    folded: HashMap<Box<[u8]>, Arc<[u8]>>,
    bytes: usize,
    /// There were more names than there is room for.
    is_cut: bool,
    /// What of the folder could not be read first.
    failed: Option<FormatError>,
}

/// What an entry of a map takes at most: a map doubles when seven eighths of it
/// are in use.
const fn slot(size: usize) -> usize {
    size.saturating_add(1).saturating_mul(16) / 7
}

/// What a name takes beside its letters: entries of the maps, and what the
/// allocator and the counts of owners add.
const EXACT_BYTES: usize = slot(size_of::<(Arc<[u8]>, (Node, NodeKind))>()).saturating_add(32);
const FOLDED_BYTES: usize = slot(size_of::<(Box<[u8]>, Arc<[u8]>)>()).saturating_add(16);

impl Listing {
    fn read(files: &dyn Files, folder: Node, fold: Option<Fold>, most_bytes: usize) -> Self {
        let mut listing = Self { bytes: size_of::<Self>(), ..Self::default() };
        let listed = files.list(folder, &mut |entry| {
            match entry {
                Ok(entry) => listing.add(entry, fold, most_bytes),
                Err(error) => {
                    listing.failed.get_or_insert(error);
                }
            }
            if listing.is_cut { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if let Err(error) = listed {
            listing.failed.get_or_insert(error);
        }
        listing
    }

    fn add(&mut self, entry: DirectoryEntry, fold: Option<Fold>, most_bytes: usize) {
        let folded = fold.and_then(|fold| fold(&entry.name));
        let takes = entry.name.len().saturating_add(EXACT_BYTES);
        let takes = folded.as_ref().map_or(takes, |folded| {
            takes.saturating_add(folded.len()).saturating_add(FOLDED_BYTES)
        });
        if self.bytes.saturating_add(takes) > most_bytes {
            self.is_cut = true;
            return;
        }
        self.bytes = self.bytes.saturating_add(takes);
        let name: Arc<[u8]> = entry.name.into();
        if let Some(folded) = folded {
            self.folded.entry(folded.into()).or_insert_with(|| Arc::clone(&name));
        }
        self.exact.entry(name).or_insert((entry.node, entry.kind));
    }

    fn exactly(&self, name: &[u8]) -> Option<DirectoryEntry> {
        let &(node, kind) = self.exact.get(name)?;
        Some(DirectoryEntry { name: name.into(), node, kind })
    }

    fn in_any_case(&self, name: &[u8], fold: Option<Fold>) -> Option<DirectoryEntry> {
        self.exactly(self.folded.get(fold?(name)?.as_slice())?)
    }

    /// True unless what could not be read may be readable next time.
    const fn is_lasting(&self) -> bool {
        !matches!(self.failed, Some(FormatError::Io(_)))
    }
}

impl Listings {
    pub(super) const fn new() -> Self {
        Self::of(MAX_BYTES)
    }

    const fn of(most_bytes: usize) -> Self {
        Self { recent: Recent::new(MAX_FOLDERS, most_bytes), most_bytes }
    }

    /// As [`Files::lookup`]: the name that is exactly this or, where there is
    /// none, the first that is the same by `fold`.
    pub(super) fn lookup(
        &self,
        files: &dyn Files,
        folder: Node,
        name: &[u8],
        fold: Option<Fold>,
    ) -> FileResult<Option<DirectoryEntry>> {
        let listing = self.recent.get(&folder).unwrap_or_else(|| {
            let listing = Arc::new(Listing::read(files, folder, fold, self.most_bytes));
            if listing.is_lasting() {
                self.recent.put(folder, Arc::clone(&listing), listing.bytes);
            }
            listing
        });
        if let Some(found) = listing.exactly(name) {
            return Ok(Some(found));
        }
        if listing.is_cut {
            return search(files, folder, name, fold);
        }
        match (listing.in_any_case(name, fold), &listing.failed) {
            // It may be the one that is damaged.
            (None, Some(error)) => Err(again(error)),
            (found, _) => Ok(found),
        }
    }
}

/// Looks a name up among all that there are.
fn search(
    files: &dyn Files,
    folder: Node,
    name: &[u8],
    fold: Option<Fold>,
) -> FileResult<Option<DirectoryEntry>> {
    let wanted = fold.and_then(|fold| fold(name));
    let (mut found, mut failed, mut is_exact) = (None, None, false);
    let listed = files.list(folder, &mut |entry| {
        match entry {
            Ok(entry) => {
                is_exact = entry.name == name;
                let is_like = || wanted.is_some() && fold.and_then(|it| it(&entry.name)) == wanted;
                if is_exact || found.is_none() && is_like() {
                    found = Some(entry);
                }
            }
            Err(error) => {
                failed.get_or_insert(error);
            }
        }
        if is_exact { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    match (found, listed.err().or(failed)) {
        (None, Some(error)) => Err(error),
        (found, _) => Ok(found),
    }
}

/// The same error once more; one of input or output is never kept.
fn again(error: &FormatError) -> FormatError {
    match error {
        FormatError::Io(error) => {
            FormatError::Io(crate::error::Error::new(error.kind(), error.to_string()))
        }
        FormatError::Unsupported(what) => FormatError::unsupported(what.as_str()),
        FormatError::Corrupt { what, position, expected, found } => {
            FormatError::corrupt(what, *position, expected, found)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::files::{Attributes, EachEntry};
    use super::*;

    /// One folder, whose names count up from 1; `None` stands for a damaged
    /// entry.
    struct Folder {
        names: Vec<Option<Vec<u8>>>,
        ends_early: bool,
        listed: AtomicUsize,
    }

    impl Folder {
        fn new(names: &[Option<&str>]) -> Self {
            let names = names.iter().map(|name| name.map(|name| name.as_bytes().to_vec()));
            Self { names: names.collect(), ends_early: false, listed: AtomicUsize::new(0) }
        }

        fn many(count: usize) -> Self {
            let names = (0..count).map(|number| Some(format!("Name {number}").into_bytes()));
            Self { names: names.collect(), ends_early: false, listed: AtomicUsize::new(0) }
        }
    }

    impl Files for Folder {
        fn root(&self) -> Node {
            Node::new(0)
        }

        fn attributes(&self, _: Node) -> FileResult<Attributes> {
            Err(damaged())
        }

        fn list(&self, _: Node, each: EachEntry) -> FileResult<()> {
            self.listed.fetch_add(1, Ordering::Relaxed);
            for (number, name) in (1..).zip(&self.names) {
                let entry = name.clone().ok_or_else(damaged).map(|name| DirectoryEntry {
                    name,
                    node: Node::new(number),
                    kind: NodeKind::File,
                });
                if each(entry).is_break() {
                    return Ok(());
                }
            }
            if self.ends_early { Err(damaged()) } else { Ok(()) }
        }

        fn read_at(&self, _: Node, _: u64, _: &mut [u8]) -> FileResult<usize> {
            Err(damaged())
        }

        fn link_target(&self, _: Node) -> FileResult<Vec<u8>> {
            Err(damaged())
        }
    }

    fn damaged() -> FormatError {
        FormatError::corrupt("entry", 5, "a name", "none")
    }

    fn fold(name: &[u8]) -> Option<Vec<u8>> {
        Some(name.to_ascii_uppercase())
    }

    /// The number of the node that a lookup finds; 0 if there is none.
    fn find(listings: &Listings, folder: &Folder, name: &str, fold: Option<Fold>) -> Option<u64> {
        let found = listings.lookup(folder, Node::new(0), name.as_bytes(), fold).ok()?;
        Some(found.map_or(0, |found| found.node.number))
    }

    #[test]
    fn the_exact_name_comes_before_those_of_another_case() {
        let folder = Folder::new(&[Some("README"), Some("Readme"), Some("readme"), Some("other")]);
        for listings in [Listings::new(), Listings::of(1), Listings::of(900)] {
            for (name, exact, any) in [
                ("README", 1, 1),
                ("Readme", 2, 2),
                ("readme", 3, 3),
                ("rEADME", 0, 1),
                ("OTHER", 0, 4),
                ("none", 0, 0),
            ] {
                assert_eq!(find(&listings, &folder, name, Some(&fold)), Some(any), "{name}");
                let listings = Listings::of(listings.most_bytes);
                assert_eq!(find(&listings, &folder, name, None), Some(exact), "{name}");
            }
        }
    }

    #[test]
    fn a_damaged_folder_is_read_once() {
        let mut folder = Folder::new(&[Some("first"), None, Some("last")]);
        for ends_early in [false, true] {
            folder.ends_early = ends_early;
            folder.listed = AtomicUsize::new(0);
            let listings = Listings::new();
            for _ in 0..3 {
                assert_eq!(find(&listings, &folder, "first", None), Some(1));
                assert_eq!(find(&listings, &folder, "last", None), Some(3));
                let missing = listings.lookup(&folder, Node::new(0), b"none", None);
                let error = missing.unwrap_err().to_string();
                assert_eq!(error, damaged().to_string());
            }
            assert_eq!(folder.listed.load(Ordering::Relaxed), 1);
        }
    }

    #[test]
    fn names_take_bounded_memory_and_all_are_found() {
        let folder = Folder::many(5000);
        let listings = Listings::of(200_000);
        for number in (0..5000).step_by(501) {
            for name in [format!("Name {number}"), format!("NAME {number}")] {
                let found = find(&listings, &folder, &name, Some(&fold));
                assert_eq!(found, Some(number + 1), "{name}");
            }
        }
        let kept = listings.recent.get(&Node::new(0)).unwrap();
        assert!(kept.is_cut && kept.bytes <= 200_000, "{}", kept.bytes);
        assert!((200..2000).contains(&kept.exact.len()), "{}", kept.exact.len());
    }
}

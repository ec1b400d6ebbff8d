// SPDX-License-Identifier: MIT OR Apache-2.0
//! Folders in order of their names, and whole trees of them.
//!
//! A hostile filesystem may name a folder in itself or in a thousand places, or
//! nest folders without an end: each folder is entered once, and only so deep.

use std::collections::{HashSet, VecDeque};
use std::ops::ControlFlow;

use super::names::{is_name, join, shown};
use crate::error::Error;
use crate::fs::Files;
use crate::fs::files::{DirectoryEntry, Node, NodeKind};
use crate::ondisk::FormatError;

/// How deep folders may be nested: a folder that is extracted keeps all those
/// that it is in open.
pub const MAX_DEPTH: usize = 512;
/// The most names of one folder that are held in memory.
const MAX_ENTRIES: usize = 4 << 20;
/// The most damaged entries of one folder that are told one by one.
const MAX_TROUBLES: usize = 100;

/// The names of a folder.
#[derive(Debug, Default)]
pub struct Listing {
    /// What can be read, in order of the names.
    pub entries: Vec<DirectoryEntry>,
    /// What cannot.
    pub troubles: Vec<Error>,
}

/// Reads a folder.
#[must_use]
pub fn list(files: &dyn Files, folder: Node) -> Listing {
    let mut listing = Listing::default();
    let mut troubles = Troubles::default();
    let mut is_full = false;
    let listed = files.list(folder, &mut |entry| {
        match entry {
            Ok(entry) if is_name(&entry.name) => listing.entries.push(entry),
            Ok(entry) => troubles.push(Error::damaged(format!(
                "a name in it can be none: '{}'",
                shown(&entry.name)
            ))),
            Err(error) => troubles.push(error.into()),
        }
        is_full = listing.entries.len() >= MAX_ENTRIES;
        if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if let Err(error) = listed {
        troubles.push(error.into());
    }
    if is_full {
        troubles.push(Error::unsupported(format!("it has more than {MAX_ENTRIES} names")));
    }
    listing.troubles = troubles.all();
    listing.entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    listing
}

#[derive(Default)]
struct Troubles {
    first: Vec<Error>,
    more: u64,
}

impl Troubles {
    fn push(&mut self, error: Error) {
        if self.first.len() < MAX_TROUBLES {
            self.first.push(error);
        } else {
            self.more += 1;
        }
    }

    fn all(mut self) -> Vec<Error> {
        if self.more > 0 {
            self.first.push(Error::damaged(format!("{} more entries are damaged", self.more)));
        }
        self.first
    }
}

/// What a walk comes to.
#[derive(Debug)]
pub enum Step {
    /// Something with a name; the next step is in it if it is a folder.
    Entry(DirectoryEntry),
    /// The end of a folder that was entered.
    Leave,
    /// Something of this folder, or all of it, cannot be read.
    Trouble(Error),
}

struct Frame {
    node: Node,
    path: Vec<u8>,
    entries: std::vec::IntoIter<DirectoryEntry>,
}

/// A walk through all that is in a folder: each entry with its path, a folder
/// before what is in it. The folder itself is no entry, but it has an end.
pub struct Walk<'a> {
    files: &'a dyn Files,
    stack: Vec<Frame>,
    entered: HashSet<Node>,
    /// What comes before the next entry.
    queue: VecDeque<(Vec<u8>, Step)>,
    /// The folder that was given last, to be entered next.
    next: Option<(Node, Vec<u8>)>,
}

impl std::fmt::Debug for Walk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Walk").field("depth", &self.stack.len()).finish_non_exhaustive()
    }
}

impl<'a> Walk<'a> {
    /// A walk through `folder`, whose path is `path`.
    #[must_use]
    pub fn new(files: &'a dyn Files, folder: Node, path: &[u8]) -> Self {
        Self {
            files,
            stack: Vec::new(),
            entered: HashSet::new(),
            queue: VecDeque::new(),
            next: Some((folder, path.to_vec())),
        }
    }

    /// The folder that was just given is not entered, and has no end.
    pub fn pass_by(&mut self) {
        self.next = None;
    }

    fn enter(&mut self, node: Node, path: Vec<u8>) {
        let trouble = if self.stack.iter().any(|above| above.node == node) {
            Some("the folder is inside of itself".to_owned())
        } else if self.stack.len() >= MAX_DEPTH {
            Some(format!("folders are nested more than {MAX_DEPTH} deep"))
        } else if !self.entered.insert(node) {
            Some("the folder is in two places; the other one was read".to_owned())
        } else {
            None
        };
        if let Some(trouble) = trouble {
            self.queue.push_back((path.clone(), Step::Trouble(Error::damaged(trouble))));
            // Left at once, so that whoever entered it has an end to it.
            self.queue.push_back((path, Step::Leave));
            return;
        }
        let listing = list(self.files, node);
        let troubles = listing.troubles.into_iter();
        self.queue.extend(troubles.map(|trouble| (path.clone(), Step::Trouble(trouble))));
        self.stack.push(Frame { node, path, entries: listing.entries.into_iter() });
    }
}

impl Iterator for Walk<'_> {
    type Item = (Vec<u8>, Step);

    fn next(&mut self) -> Option<Self::Item> {
        if let Some((node, path)) = self.next.take() {
            self.enter(node, path);
        }
        if let Some(step) = self.queue.pop_front() {
            return Some(step);
        }
        let frame = self.stack.last_mut()?;
        let Some(entry) = frame.entries.next() else {
            return self.stack.pop().map(|frame| (frame.path, Step::Leave));
        };
        let path = join(&frame.path, &entry.name);
        if entry.kind == NodeKind::Folder {
            self.next = Some((entry.node, path.clone()));
        }
        Some((path, Step::Entry(entry)))
    }
}

/// The error of something in a filesystem, with its path.
#[must_use]
pub fn at(path: &str, error: FormatError) -> Error {
    let error = Error::from(error);
    Error::new(error.kind(), format!("{path}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::browse::fake::Fake;

    fn paths(fake: &Fake) -> (Vec<String>, Vec<String>) {
        let (mut paths, mut troubles) = (Vec::new(), Vec::new());
        let root = fake.root();
        let (mut entered, mut left) = (1, 0);
        for (path, step) in Walk::new(fake, root, b"/") {
            match step {
                Step::Entry(entry) => {
                    entered += usize::from(entry.kind == NodeKind::Folder);
                    paths.push(shown(&path));
                }
                Step::Trouble(error) => troubles.push(format!("{}: {error}", shown(&path))),
                Step::Leave => left += 1,
            }
        }
        assert_eq!(entered, left);
        (paths, troubles)
    }

    #[test]
    fn a_tree_is_walked_in_order() {
        let mut fake = Fake::default();
        let b = fake.folder(0, b"b");
        fake.file(b, b"z", b"1");
        fake.file(b, b"y", b"2");
        fake.file(0, b"a", b"3");
        assert_eq!(
            paths(&fake),
            (vec!["/a".into(), "/b".into(), "/b/y".into(), "/b/z".into()], vec![])
        );
    }

    #[test]
    fn folders_that_lead_back_or_to_the_same_place_end() {
        let mut fake = Fake::default();
        let a = fake.folder(0, b"a");
        let b = fake.folder(a, b"b");
        fake.link_folder(b, b"up", a);
        fake.link_folder(b, b"self", b);
        fake.link_folder(0, b"again", b);
        let (paths, troubles) = paths(&fake);
        assert_eq!(paths, ["/a", "/a/b", "/a/b/self", "/a/b/up", "/again"]);
        assert_eq!(troubles.len(), 3, "{troubles:?}");
        assert!(troubles[2].contains("two places"), "{troubles:?}");
        // Each folder has the next one twice: a walk that follows all is endless.
        let mut fake = Fake::default();
        let mut folder = 0;
        for _ in 0..64 {
            let next = fake.folder(folder, b"x");
            fake.link_folder(folder, b"y", next);
            folder = next;
        }
        let (paths, troubles) = self::paths(&fake);
        assert_eq!((paths.len(), troubles.len()), (128, 64));
    }

    #[test]
    fn folders_end_somewhere() {
        let mut fake = Fake::default();
        let mut folder = 0;
        for _ in 0..2000 {
            folder = fake.folder(folder, b"d");
        }
        let (paths, troubles) = paths(&fake);
        assert_eq!(paths.len(), MAX_DEPTH);
        assert!(troubles[0].contains("nested"), "{troubles:?}");
    }

    #[test]
    fn names_that_lead_elsewhere_are_damage() {
        let mut fake = Fake::default();
        for name in [&b".."[..], b"a/b", b"", b"/etc", b"x"] {
            fake.file(0, name, b"");
        }
        let (paths, troubles) = paths(&fake);
        assert_eq!(paths, ["/x"]);
        assert_eq!(troubles.len(), 4);
    }
}

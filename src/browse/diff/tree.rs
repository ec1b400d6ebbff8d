// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two trees of files, side by side.

use std::cmp::Ordering;
use std::collections::HashSet;

use super::super::names::join;
use super::super::volume::OpenVolume;
use super::super::walk::{MAX_DEPTH, Step, Walk, list};
use super::{Change, Diffed, Difference, Unchanged};
use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::fs::Files;
use crate::fs::files::{Attributes, DirectoryEntry, FileResult, Node, NodeKind};
use crate::ondisk::FormatError;
use crate::pipeline::Cancel;
use crate::progress::{Event, Progress};

/// How much is read at once.
const PIECE: u64 = 1 << 20;

/// A volume and its files.
pub(super) struct Side<'a> {
    volume: &'a OpenVolume,
    files: &'a dyn Files,
}

impl<'a> Side<'a> {
    pub(super) const fn new(volume: &'a OpenVolume, files: &'a dyn Files) -> Self {
        Self { volume, files }
    }
}

/// Compares all files of two volumes: what was first, and what is now.
pub(super) fn compare(
    sides: &[Side; 2],
    unchanged: &Unchanged,
    cancel: &Cancel,
    progress: &dyn Progress,
    diffed: &mut Diffed,
) -> Result<()> {
    let mut comparer =
        Comparer { sides, unchanged, cancel, progress, diffed, buffers: [Vec::new(), Vec::new()] };
    let [old, new] = sides;
    let mut entered = HashSet::new();
    let root = |side: &Side| DirectoryEntry {
        name: Vec::new(),
        node: side.files.root(),
        kind: NodeKind::Folder,
    };
    // Folders that are still to be compared, and how deep they are.
    let mut left = vec![(b"/".to_vec(), root(old), root(new), 0)];
    while let Some((path, old, new, depth)) = left.pop() {
        cancel.check()?;
        progress.note(&Event::Position(sides[0].volume.shown(&path)));
        if !entered.insert((old.node, new.node)) || depth >= MAX_DEPTH {
            comparer
                .lost(&path, &Error::damaged("the folder is in two places, or nested too deep"));
            continue;
        }
        let inside = comparer.folder(&path, old.node, new.node)?;
        left.extend(inside.into_iter().rev().map(|(path, a, b)| (path, a, b, depth + 1)));
    }
    Ok(())
}

struct Comparer<'a> {
    sides: &'a [Side<'a>; 2],
    unchanged: &'a Unchanged,
    cancel: &'a Cancel,
    progress: &'a dyn Progress,
    diffed: &'a mut Diffed,
    buffers: [Vec<u8>; 2],
}

/// A folder that both sides have.
type Pair = (Vec<u8>, DirectoryEntry, DirectoryEntry);

impl Comparer<'_> {
    /// Compares what is in a folder; the folders in it are returned.
    fn folder(&mut self, path: &[u8], old: Node, new: Node) -> Result<Vec<Pair>> {
        let [old, new] = [list(self.sides[0].files, old), list(self.sides[1].files, new)];
        let is_whole = [old.troubles.is_empty(), new.troubles.is_empty()];
        for error in old.troubles.into_iter().chain(new.troubles) {
            self.lost(path, &error);
        }
        let mut folders = Vec::new();
        let (mut left, mut right) =
            (old.entries.into_iter().peekable(), new.entries.into_iter().peekable());
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => return Ok(folders),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.name.cmp(&b.name),
            };
            let old = if order.is_le() { left.next() } else { None };
            let new = if order.is_ge() { right.next() } else { None };
            let name = old.as_ref().or(new.as_ref()).map_or_else(Vec::new, |it| it.name.clone());
            let path = join(path, &name);
            match (old, new) {
                (Some(old), Some(new)) if old.kind == NodeKind::Folder && new.kind == old.kind => {
                    self.both(&path, &old, &new)?;
                    folders.push((path, old, new));
                }
                (Some(old), Some(new)) if is_same_kind(old.kind, new.kind) => {
                    self.both(&path, &old, &new)?;
                }
                (old, new) => {
                    // What the other side cannot list may be there.
                    if let Some(old) = old.filter(|_| is_whole[1]) {
                        self.one(&path, &old, 0, &Change::Removed)?;
                    }
                    if let Some(new) = new.filter(|_| is_whole[0]) {
                        self.one(&path, &new, 1, &Change::Added)?;
                    }
                }
            }
        }
    }

    fn lost(&mut self, path: &[u8], error: &Error) {
        self.diffed.lost += 1;
        let path = self.sides[0].volume.shown(path);
        self.progress.note(&Event::Lost { path, cause: error.to_string() });
    }

    fn push(&mut self, path: &[u8], kind: NodeKind, size: Option<u64>, change: Change) {
        let volume = self.sides[0].volume.name.clone();
        self.diffed.differences.push(Difference {
            volume,
            path: path.to_vec(),
            kind,
            size,
            change,
        });
    }

    /// Something that only one side has, with all that is in it.
    fn one(
        &mut self,
        path: &[u8],
        entry: &DirectoryEntry,
        side: usize,
        change: &Change,
    ) -> Result<()> {
        let files = self.sides[side].files;
        let size = |entry: &DirectoryEntry| Some(files.attributes(entry.node).ok()?.size);
        self.push(path, entry.kind, size(entry), change.clone());
        if entry.kind != NodeKind::Folder {
            return Ok(());
        }
        for (path, step) in Walk::new(files, entry.node, path) {
            self.cancel.check()?;
            match step {
                Step::Entry(entry) => self.push(&path, entry.kind, size(&entry), change.clone()),
                Step::Trouble(error) => self.lost(&path, &error),
                Step::Leave => {}
            }
        }
        Ok(())
    }

    /// Something that both sides have.
    fn both(&mut self, path: &[u8], old: &DirectoryEntry, new: &DirectoryEntry) -> Result<()> {
        let nodes = [old.node, new.node];
        match self.changes(nodes) {
            Ok((changes, size)) => {
                if !changes.is_empty() {
                    self.push(path, new.kind, size, Change::Changed(changes));
                }
                Ok(())
            }
            Err(Trouble::Stopped(error)) => Err(error),
            Err(Trouble::Unread(error)) => {
                self.lost(path, &error);
                Ok(())
            }
        }
    }

    fn changes(&mut self, nodes: [Node; 2]) -> Result<(Vec<&'static str>, Option<u64>), Trouble> {
        let [a, b] = self.on_both(nodes, |files, node| files.attributes(node))?;
        let mut changes = Vec::new();
        let mut note = |is_different: bool, what| {
            if is_different {
                changes.push(what);
            }
        };
        let is_file = b.kind == NodeKind::File;
        let content = match b.kind {
            NodeKind::File => !self.is_same_content(nodes, &a, &b)?,
            NodeKind::Link => {
                let [a, b] = self.on_both(nodes, |files, node| files.link_target(node))?;
                a != b
            }
            _ => a.kind != b.kind,
        };
        note(content, if is_file { "content" } else { "target" });
        note(a.mode != b.mode, "permissions");
        note(a.owner != b.owner, "owner");
        // The time of a folder says that something in it was added or removed,
        // which is told by itself.
        let is_folder = b.kind == NodeKind::Folder;
        note(!is_folder && a.times.modified != b.times.modified, "time");
        note(
            a.dos.map(|dos| (dos.read_only, dos.hidden, dos.system))
                != b.dos.map(|dos| (dos.read_only, dos.hidden, dos.system)),
            "attributes",
        );
        let [old, new] = self.on_both(nodes, |files, node| {
            let mut all = files.extended_attributes(node)?;
            all.sort();
            Ok(all)
        })?;
        note(old != new, "extended attributes");
        let [old, new] = self.on_both(nodes, |files, node| {
            let mut all = files.streams(node)?;
            all.sort();
            Ok(all)
        })?;
        let mut streams = old != new;
        if !streams {
            for (name, size) in old {
                streams |=
                    !self.reads_same(size, &ExtentSet::all(size), |side, files, offset, buf| {
                        files.read_stream_at(nodes[side], &name, offset, buf)
                    })?;
            }
        }
        note(streams, "streams");
        Ok((changes, Some(b.size)))
    }

    /// What both sides answer.
    fn on_both<T>(
        &self,
        nodes: [Node; 2],
        ask: impl Fn(&dyn Files, Node) -> FileResult<T>,
    ) -> Result<[T; 2], Trouble> {
        let [old, new] = self.sides;
        Ok([ask(old.files, nodes[0])?, ask(new.files, nodes[1])?])
    }

    fn is_same_content(
        &mut self,
        nodes: [Node; 2],
        a: &Attributes,
        b: &Attributes,
    ) -> Result<bool, Trouble> {
        if a.size != b.size {
            return Ok(false);
        }
        // Whoever changes the content, if only the order of its pieces,
        // changes a time.
        let times = |it: &Attributes| (it.times.modified, it.times.changed);
        if times(a) == times(b) {
            let [old, new] = self.on_both(nodes, |files, node| files.places(node))?;
            if let (Some(old), Some(new)) = (old, new) {
                let places =
                    [self.sides[0].volume.on_disk(&old), self.sides[1].volume.on_disk(&new)];
                if old == new && self.unchanged.holds(&places[0], &places[1]) {
                    self.diffed.known += 1;
                    return Ok(true);
                }
            }
        }
        self.diffed.read += 1;
        let all = || ExtentSet::all(a.size);
        let [old, new] = self.on_both(nodes, |files, node| files.data_ranges(node))?;
        let stored = old.unwrap_or_else(all).union(&new.unwrap_or_else(all));
        self.reads_same(a.size, &stored, |side, files, offset, buf| {
            files.read_at(nodes[side], offset, buf)
        })
    }

    /// Reads what is stored of a content on both sides, and compares it.
    fn reads_same(
        &mut self,
        size: u64,
        stored: &ExtentSet,
        read: impl Fn(usize, &dyn Files, u64, &mut [u8]) -> FileResult<usize>,
    ) -> Result<bool, Trouble> {
        let pieces = stored.within(Extent::new(0, size)).flat_map(|extent| extent.pieces(PIECE));
        for piece in pieces {
            self.cancel.check().map_err(Trouble::Stopped)?;
            for (side, buffer) in self.buffers.iter_mut().enumerate() {
                // At most PIECE.
                buffer.resize(piece.len() as usize, 0);
                let mut done = 0;
                while done < buffer.len() {
                    let rest = buffer.get_mut(done..).unwrap_or_default();
                    match read(side, self.sides[side].files, piece.start() + done as u64, rest)? {
                        0 => {
                            let error = format!("it ends before byte {} of {size}", piece.end());
                            return Err(Trouble::Unread(Error::damaged(error)));
                        }
                        read => done += read,
                    }
                }
            }
            if self.buffers[0] != self.buffers[1] {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Why something was not compared.
enum Trouble {
    /// One side of it cannot be read.
    Unread(Error),
    /// The user has stopped it.
    Stopped(Error),
}

impl From<FormatError> for Trouble {
    fn from(error: FormatError) -> Self {
        Self::Unread(error.into())
    }
}

fn is_same_kind(a: NodeKind, b: NodeKind) -> bool {
    std::mem::discriminant(&a) == std::mem::discriminant(&b)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every open filesystem has to keep to, however damaged it is; for tests
//! and fuzz targets.

use std::collections::{BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use super::files::{Files, Node, NodeKind};
use crate::error::Result;
use crate::io::ReadAt;

/// How many names of a folder are looked at.
const MOST_NAMES: usize = 2000;

/// A volume that counts what is read of it.
#[derive(Debug)]
pub struct Counted<R> {
    inner: R,
    bytes: AtomicU64,
}

impl<R> Counted<R> {
    /// Counts from now on.
    pub const fn new(inner: R) -> Self {
        Self { inner, bytes: AtomicU64::new(0) }
    }

    /// How many bytes were read.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl<R: ReadAt> ReadAt for Counted<R> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.bytes.fetch_add(u64::try_from(buf.len()).unwrap_or(0), Ordering::Relaxed);
        self.inner.read_at(offset, buf)
    }
}

/// Looks at every node that can be reached, and into every folder once, as
/// programs do that walk through all of a volume. Returns how many there were,
/// and the last error.
pub fn visit(files: &dyn Files) -> (usize, Option<String>) {
    let mut seen = BTreeSet::from([files.root()]);
    let mut queue = VecDeque::from([files.root()]);
    let mut failed = None;
    while let Some(node) = queue.pop_front() {
        match files.attributes(node) {
            Ok(known) if known.kind == NodeKind::Folder => {}
            Ok(_) => continue,
            Err(error) => {
                failed = Some(error.to_string());
                continue;
            }
        }
        let listed = files.list(node, &mut |entry| {
            match entry {
                Ok(entry) if seen.insert(entry.node) => queue.push_back(entry.node),
                Ok(_) => {}
                Err(error) => failed = Some(error.to_string()),
            }
            ControlFlow::Continue(())
        });
        failed = listed.err().map(|error| error.to_string()).or(failed);
    }
    (seen.len(), failed)
}

/// Asks a filesystem on a volume of `len` bytes everything about at most `most`
/// nodes. Errors are answers; returns how many nodes had none.
///
/// # Panics
/// If an answer breaks the rules of [`Files`].
#[must_use]
pub fn examine(files: &dyn Files, len: u64, most: usize) -> usize {
    let mut seen = BTreeSet::from([files.root()]);
    let mut queue = VecDeque::from([files.root()]);
    let mut whole = 0_usize;
    while let Some(node) = queue.pop_front() {
        let mut is_whole = examine_node(files, node, len);
        let mut entries = Vec::new();
        let mut count = 0_usize;
        let listed = files.list(node, &mut |entry| {
            count = count.saturating_add(1);
            let Ok(entry) = entry else {
                is_whole = false;
                return if count < MOST_NAMES {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                };
            };
            let name = entry.name.as_slice();
            let is_name = !name.is_empty()
                && !matches!(name, b"." | b"..")
                && !name.iter().any(|byte| matches!(byte, 0 | b'/'));
            assert!(is_name, "no name: {name:?}");
            if seen.len() < most && seen.insert(entry.node) {
                queue.push_back(entry.node);
            }
            entries.push(entry);
            if count < MOST_NAMES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        if listed.is_ok() && is_whole && count < MOST_NAMES {
            for wanted in entries.first().into_iter().chain(entries.last()) {
                let found = files.lookup(node, &wanted.name).ok().flatten();
                // In a damaged folder several things may have the name.
                let is_it = found.is_some_and(|it| it.name == wanted.name && entries.contains(&it));
                assert!(is_it, "listed, but not found: {wanted:?}");
            }
        }
        let is_folder = files.attributes(node).is_ok_and(|it| it.kind == NodeKind::Folder);
        assert!(listed.is_err() || is_folder, "names in what is no folder");
        whole = whole.saturating_add(usize::from(is_whole));
    }
    whole
}

/// True if there was no error.
fn examine_node(files: &dyn Files, node: Node, len: u64) -> bool {
    let Ok(attributes) = files.attributes(node) else { return false };
    let mut is_whole = files.extended_attributes(node).is_ok();
    match files.streams(node) {
        Ok(streams) => {
            let mut buf = vec![0; 5000];
            for (name, size) in streams.iter().take(10) {
                let left = usize::try_from(*size).unwrap_or(usize::MAX);
                match files.read_stream_at(node, name, 0, &mut buf) {
                    Ok(count) => assert_eq!(count, left.min(buf.len()), "stream of {size}"),
                    Err(_) => is_whole = false,
                }
            }
        }
        Err(_) => is_whole = false,
    }
    match attributes.kind {
        NodeKind::Link => match files.link_target(node) {
            Ok(target) => assert!(target.len() <= 1 << 16, "a link of {} bytes", target.len()),
            Err(_) => is_whole = false,
        },
        NodeKind::File => is_whole &= examine_file(files, node, attributes.size, len),
        _ => {}
    }
    is_whole
}

fn examine_file(files: &dyn Files, node: Node, size: u64, len: u64) -> bool {
    let (ranges, places) = (files.data_ranges(node), files.places(node));
    let mut is_whole = ranges.is_ok() && places.is_ok();
    if let Ok(Some(ranges)) = ranges {
        assert!(ranges.end() <= size, "content behind the end");
    }
    if let Ok(Some(places)) = places {
        assert!(places.end() <= len, "content outside of the volume");
    }
    let mut buf = vec![0; 70_000];
    for offset in [0, 5000, size / 2, size.saturating_sub(10), size, u64::MAX] {
        let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
        match files.read_at(node, offset, &mut buf) {
            Ok(count) => assert_eq!(count, left.min(buf.len()), "read at {offset} of {size}"),
            Err(_) => is_whole = false,
        }
    }
    is_whole
}

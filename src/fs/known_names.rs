// SPDX-License-Identifier: MIT OR Apache-2.0
//! The names of large folders, kept for whoever asks for many of them one by
//! one: a folder of 100,000 names is not read 100,000 times.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::cache::Cache;
use super::files::{DirectoryEntry, FileResult, Files, Node, NodeKind};

/// Folders of fewer names are read again.
const MIN_NAMES: usize = 500;
/// The bytes of all that is kept, per open filesystem. A folder of more than
/// half of them is read again, too.
const MAX_BYTES: usize = 64 << 20;
/// What a name takes beside its letters.
const NAME_BYTES: usize = 80;

type Known = HashMap<Box<[u8]>, (Node, NodeKind)>;

/// The names of the large folders that were looked into last.
#[derive(Debug)]
pub(super) struct Names(Cache<Node, Arc<Known>>);

impl Names {
    pub(super) fn new() -> Self {
        Self(Cache::of_few(MAX_BYTES))
    }

    /// As [`Files::lookup`], by exactly this name.
    pub(super) fn lookup(
        &self,
        files: &dyn Files,
        folder: Node,
        name: &[u8],
    ) -> FileResult<Option<DirectoryEntry>> {
        if let Some(known) = self.0.find(folder) {
            let entry = known.get(name);
            return Ok(entry.map(|&(node, kind)| DirectoryEntry { name: name.into(), node, kind }));
        }
        let (mut found, mut failed) = (None, None);
        let (mut known, mut size, mut count) = (Known::new(), 0_usize, 0_usize);
        files.list(folder, &mut |entry| {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    failed.get_or_insert(error);
                    return ControlFlow::Continue(());
                }
            };
            count = count.saturating_add(1);
            if entry.name == name {
                found = Some(entry.clone());
            }
            size = size.saturating_add(entry.name.len()).saturating_add(NAME_BYTES);
            if size <= MAX_BYTES >> 1 {
                known.insert(entry.name.into(), (entry.node, entry.kind));
            } else {
                known.clear();
            }
            let goes_on = count >= MIN_NAMES && size <= MAX_BYTES >> 1;
            if found.is_some() && !goes_on {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        if failed.is_none() && count >= MIN_NAMES && !known.is_empty() {
            self.0.keep(folder, Arc::new(known), size);
        }
        // It may be the one that is damaged.
        match (found, failed) {
            (None, Some(error)) => Err(error),
            (found, _) => Ok(found),
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The walk through what is extracted: makes the folders, and a job of
//! everything else.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::Arc;

use super::super::path::Place;
use super::super::walk::{Step, Walk};
use super::Options;
use super::folder::{Existing, Folder};
use super::job::{Job, Task, is_fatal, renamed, write_error};
use super::safe::{other_name, refusal};
use crate::error::{Error, Result};
use crate::fs::files::{DirectoryEntry, Node, NodeKind};

/// So many steps at most are done by one thread at one go, so that threads do
/// not wait for each other after every small file;
const MOST_STEPS: usize = 64;
/// or until these are so many bytes.
const ENOUGH_BYTES: u64 = 256 << 10;

/// A folder that is being filled.
struct Frame {
    folder: Arc<Folder>,
    node: Node,
    path: Vec<u8>,
    /// Whether it is one of the image, and not the user's.
    is_ours: bool,
    /// The names in it, in small letters; only where what is there is replaced,
    /// which must not be what was put there just before.
    names: HashSet<String>,
}

/// The walk through one source.
pub(super) struct Walker<'a> {
    source: &'a Place<'a>,
    options: &'a Options,
    walk: Option<Walk<'a>>,
    stack: Vec<Frame>,
    queue: VecDeque<Job>,
    /// Files with several names, whose first name was met.
    several: HashSet<Node>,
}

impl<'a> Walker<'a> {
    /// `name`: under what name in `root`; `None` puts what is in the source
    /// right there. `is_ours`: `root` is then the source's folder itself, and
    /// gets its attributes.
    pub(super) fn new(
        source: &'a Place<'a>,
        name: Option<&[u8]>,
        root: &Arc<Folder>,
        is_ours: bool,
        options: &'a Options,
    ) -> Self {
        let frame = Frame {
            folder: Arc::clone(root),
            node: source.node,
            path: source.path.clone(),
            is_ours: is_ours && name.is_none(),
            names: HashSet::new(),
        };
        let mut walker = Self {
            source,
            options,
            walk: None,
            stack: vec![frame],
            queue: VecDeque::new(),
            several: HashSet::new(),
        };
        let walk = || Walk::new(&*source.files, source.node, &source.path);
        match name {
            None => walker.walk = Some(walk()),
            Some(name) => {
                let entry =
                    DirectoryEntry { name: name.to_vec(), node: source.node, kind: source.kind };
                walker.walk = (source.kind == NodeKind::Folder).then(walk);
                let path = source.path.clone();
                match walker.entry(path, entry) {
                    Ok(true) => {}
                    // Nothing of it can be extracted; the queue says why.
                    Ok(false) => walker.walk = None,
                    Err(error) => walker.queue.push_back(Job::Fatal(error)),
                }
            }
        }
        walker
    }

    /// The next jobs, for one thread; `None` at the end.
    pub(super) fn next_jobs(&mut self) -> Result<Option<Vec<Job>>> {
        let (mut jobs, mut bytes) = (Vec::new(), 0_u64);
        while jobs.len() < MOST_STEPS && bytes < ENOUGH_BYTES {
            let Some(job) = self.next_job()? else { break };
            bytes = bytes.saturating_add(job.bytes());
            jobs.push(job);
        }
        Ok((!jobs.is_empty()).then_some(jobs))
    }

    /// The next job; `None` at the end.
    fn next_job(&mut self) -> Result<Option<Job>> {
        loop {
            match self.queue.pop_front() {
                Some(Job::Fatal(error)) => return Err(error),
                Some(job) => return Ok(Some(job)),
                None => {}
            }
            let Some((path, step)) = self.walk.as_mut().and_then(Iterator::next) else {
                return Ok(None);
            };
            match step {
                Step::Entry(entry) => {
                    let is_folder = entry.kind == NodeKind::Folder;
                    let entered = self.entry(path, entry)?;
                    if is_folder
                        && !entered
                        && let Some(walk) = &mut self.walk
                    {
                        walk.pass_by();
                    }
                }
                Step::Trouble(error) => self.lost(&path, error, None),
                Step::Leave => {
                    if let Some(frame) = self.stack.pop().filter(|frame| frame.is_ours) {
                        self.queue.push_back(Job::Folder {
                            folder: frame.folder,
                            node: frame.node,
                            path: self.source.shown(&frame.path),
                        });
                    }
                }
            }
        }
    }

    fn lost(&mut self, path: &[u8], error: Error, node: Option<Node>) {
        self.queue.push_back(Job::Lost { path: self.source.shown(path), error, node });
    }

    /// Puts what has to be done for an entry into the queue; true if it is a
    /// folder, which is entered.
    fn entry(&mut self, path: Vec<u8>, entry: DirectoryEntry) -> Result<bool> {
        let Some(frame) = self.stack.last_mut() else { return Ok(false) };
        let folder = Arc::clone(&frame.folder);
        let replace = self.options.overwrite && !folder.is_new;
        let is_free =
            !replace || frame.names.insert(String::from_utf8_lossy(&entry.name).to_lowercase());
        let existing = if replace && is_free { Existing::Replace } else { Existing::Keep };
        let text = self.source.shown(&path);
        let task = |kind| Task {
            kind,
            folder: Arc::clone(&folder),
            existing,
            // What is in the way was put there now.
            may_rename: folder.is_new || !is_free,
            node: entry.node,
            name: entry.name.clone(),
            path: text.clone(),
            is_first: false,
            attributes: None,
        };
        match entry.kind {
            NodeKind::Folder => return self.folder(path, task(entry.kind)),
            NodeKind::Device { .. } | NodeKind::Pipe | NodeKind::Socket
                if !self.options.special =>
            {
                let what = match entry.kind {
                    NodeKind::Pipe => "pipe%s left out; --special makes them",
                    NodeKind::Socket => "socket%s left out; --special makes them",
                    _ => "device node%s left out; --special makes them",
                };
                self.queue.push_back(Job::LeftOut(what));
            }
            NodeKind::Other(what) => {
                let error = Error::unsupported(format!("it is {what}, which has no content here"));
                self.lost(&path, error, None);
            }
            NodeKind::File => {
                let mut task = task(entry.kind);
                // Most files have one name; damage shows when they are copied.
                task.attributes = self.source.files.attributes(entry.node).ok();
                let has_several = task.attributes.as_ref().is_some_and(|it| it.links > 1);
                if has_several && !self.several.insert(entry.node) {
                    self.queue.push_back(Job::HardLink(task));
                } else {
                    task.is_first = has_several;
                    self.queue.push_back(Job::Make(task));
                }
            }
            _ => self.queue.push_back(Job::Make(task(entry.kind))),
        }
        Ok(false)
    }

    /// Makes a folder.
    fn folder(&mut self, path: Vec<u8>, task: Task) -> Result<bool> {
        let mut made = task.folder.make(&task.name, task.existing);
        let mut name = None;
        if let Err(error) = &made
            && let Some(why) = refusal(error).filter(|_| task.may_rename(error))
        {
            let other = other_name(&task.name);
            made = task.folder.make(&other, Existing::Keep);
            name = Some((other, why));
        }
        match made {
            Ok(folder) => {
                if let Some((name, why)) = name {
                    self.queue.push_back(Job::Renamed(renamed(&task.path, &name, why)));
                }
                let node = task.node;
                self.queue.push_back(Job::Streams(task));
                let folder = Arc::new(folder);
                let names = HashSet::new();
                self.stack.push(Frame { folder, node, path, is_ours: true, names });
                Ok(true)
            }
            Err(error) if is_fatal(&error) => Err(write_error(&task.path, error)),
            Err(error) => {
                let error = match error.kind() {
                    // A link there counts as no folder, too.
                    io::ErrorKind::NotADirectory => {
                        Error::failed("something that is no folder is in its place")
                    }
                    _ => Error::io("making the folder", error),
                };
                let text = format!("{error}; nothing in it was extracted");
                self.lost(&path, Error::new(error.kind(), text), None);
                Ok(false)
            }
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files and whole trees of a volume, copied to a folder.
//!
//! One thread walks through the tree and makes the folders, several copy the
//! files, and one finishes in order what needs others before it: a further name
//! of a file, and the times of a folder. What cannot be read is told by its
//! path, and all else goes on; a full or broken destination ends it.

mod attributes;
mod content;
mod destination;
mod folder;
mod job;
mod ntfs;
mod safe;
mod walker;

pub use destination::Destination;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use self::attributes::{Kept, Setter, Told};
use self::content::{Content, Failure};
use self::folder::Folder;
use self::job::{Copier, Done, Job, Made};
use self::walker::Walker;
use super::path::Place;
use super::walk::{Step, Walk};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::files::{Node, NodeKind};
use crate::pipeline::{self, Cancel};
use crate::progress::{Event, Progress};

/// How files are extracted.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub struct Options {
    /// Files that are there are replaced.
    pub overwrite: bool,
    /// Devices, pipes and sockets are made, too.
    pub special: bool,
    /// Bits and attributes that run a program as somebody else are kept.
    pub setuid: bool,
    /// Further streams of a file become files named NAME:STREAM.
    pub streams: bool,
}

/// What was extracted.
#[derive(Debug, Default)]
pub struct Extracted {
    /// How many files, further names of files not counted.
    pub files: u64,
    /// How many folders.
    pub folders: u64,
    /// How many symbolic links, devices, pipes and sockets.
    pub others: u64,
    /// How many further names of files.
    pub hard_links: u64,
    /// How many bytes of content.
    pub bytes: u64,
    /// How many files, folders and others are missing, or something of them is;
    /// each was told.
    pub lost: u64,
    /// How many have another name than in the image; each was told.
    pub renamed: u64,
    /// What was left out or could not be kept, how often and why.
    pub notes: Vec<String>,
}

impl Extracted {
    /// Counts and tells what could not be read or written.
    fn lose(&mut self, path: String, error: &Error, progress: &dyn Progress) {
        self.lost += 1;
        progress.note(&Event::Lost { path, cause: error.to_string() });
    }

    /// Takes what came of setting the attributes of a folder.
    fn take_kept(&mut self, path: &str, kept: Kept, told: &mut Told, progress: &dyn Progress) {
        told.add(kept.told);
        for (what, error) in kept.lost {
            self.lose(format!("{path}, {what}"), &error, progress);
        }
    }

    /// The error with which it ends although it was finished.
    ///
    /// # Errors
    /// Losses if something is missing or has another name.
    pub fn finding(&self) -> Result<()> {
        let text = match (self.lost, self.renamed) {
            (0, 0) => return Ok(()),
            (0, renamed) => format!("{renamed} of them have other names, as told above"),
            (lost, 0) => format!("{lost} could not be extracted in full, as told above"),
            (lost, renamed) => {
                format!(
                    "{lost} could not be extracted in full and {renamed} have other names, as told above"
                )
            }
        };
        Err(Error::new(ErrorKind::Losses, text))
    }
}

/// How much there is to extract: bytes of content. A file of several names
/// counts once, and what cannot be read not at all.
///
/// # Errors
/// Interruption.
pub fn size_of(sources: &[Place], cancel: &Cancel) -> Result<u64> {
    let mut bytes = 0_u64;
    for source in sources {
        let mut several = std::collections::HashSet::new();
        let mut count = |node: Node| {
            let Ok(attributes) = source.files.attributes(node) else { return };
            if attributes.links < 2 || several.insert(node) {
                bytes = bytes.saturating_add(attributes.size);
            }
        };
        match source.kind {
            NodeKind::File => count(source.node),
            NodeKind::Folder => {
                for (_, step) in Walk::new(&*source.files, source.node, &source.path) {
                    cancel.check()?;
                    match step {
                        Step::Entry(entry) if entry.kind == NodeKind::File => count(entry.node),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(bytes)
}

/// Extracts `sources` to where [`Destination::plan`] has put them.
///
/// # Errors
/// If the destination is full or cannot be written, and interruption; what
/// cannot be read, and attributes that the destination should take and does
/// not, are told to `progress` and counted.
pub fn run(
    sources: &[Place],
    destination: &Destination,
    options: &Options,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<Extracted> {
    progress.stage("counting", 0);
    let total = size_of(sources, cancel)?;
    let root = Arc::new(destination.open()?);
    progress.stage("extracting", total);
    let mut extracted = Extracted::default();
    let mut told = Told::default();
    for (source, name) in sources.iter().zip(destination.names()) {
        let copier = Copier::new(source, options, cancel, progress);
        let mut links = HashMap::new();
        let is_root = destination.is_a_root();
        let mut walker = Walker::new(source, name.as_deref(), &root, is_root, options);
        let jobs = || walker.next_jobs();
        let worker = || {
            let (copier, mut buffer) = (&copier, Vec::new());
            Ok(move |jobs: Vec<Job>| {
                let done = jobs.into_iter().map(|job| copier.work(job, &mut buffer));
                done.collect::<Result<Vec<Done>>>()
            })
        };
        let mut consumer = Consumer {
            copier: &copier,
            root: &root,
            links: &mut links,
            extracted: &mut extracted,
            told: &mut told,
        };
        pipeline::run(pipeline::default_threads(), cancel, jobs, worker, |done| {
            done.into_iter().try_for_each(|done| consumer.take(done, progress))
        })?;
    }
    if destination.is_new() && !destination.is_a_root() {
        let mut kept = Kept::default();
        Setter::new(options).set_new_folder(&*root, &mut kept);
        extracted.take_kept(&destination.folder().display().to_string(), kept, &mut told, progress);
    }
    progress.stage("flushing", 0);
    root.flush().map_err(|error| Error::io("writing the destination", error))?;
    extracted.notes = told.lines();
    Ok(extracted)
}

/// Reads the content of a file, in order, for standard output.
///
/// # Errors
/// Usage if it is no file; what keeps it from being read or written.
pub fn read_out(
    source: &Place,
    cancel: &Cancel,
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let path = source.shown(&source.path);
    if source.kind != NodeKind::File {
        return Err(Error::usage(format!("{path} is no file, but --stdout writes one file")));
    }
    let lost = |error: Error| Error::new(error.kind(), format!("{path}: {error}"));
    let attributes = source.files.attributes(source.node).map_err(|error| lost(error.into()))?;
    let size = attributes.size;
    let (mut position, mut failure) = (0, None);
    let zeros_until = |position: &mut u64, end: u64, write: &mut dyn FnMut(&[u8]) -> Result<()>| {
        static ZEROS: [u8; 65536] = [0; 65536];
        while *position < end {
            cancel.check()?;
            let len = (end - *position).min(ZEROS.len() as u64);
            write(ZEROS.get(..len as usize).unwrap_or_default())?;
            *position += len;
        }
        Ok(())
    };
    let read = content::read(
        &*source.files,
        source.node,
        Content::Main,
        size,
        &mut Vec::new(),
        cancel,
        &mut |offset, bytes| {
            let written = zeros_until(&mut position, offset, write).and_then(|()| write(bytes));
            position = offset + bytes.len() as u64;
            written.map_err(|error| {
                failure = Some(error);
                io::Error::from(io::ErrorKind::Other)
            })
        },
    );
    match read {
        Ok(()) => zeros_until(&mut position, size, write),
        Err(Failure::Read(error)) => Err(lost(error)),
        Err(Failure::Stopped(error)) => Err(error),
        Err(Failure::Write(error)) => {
            Err(failure.unwrap_or_else(|| Error::io("writing standard output", error)))
        }
    }
}

/// Where something is at the destination.
#[derive(Debug)]
struct Spot {
    /// The names that lead to its folder.
    folder: Vec<Vec<u8>>,
    /// Its own.
    name: Vec<u8>,
}

/// Takes what was done in order.
struct Consumer<'a, 'b> {
    copier: &'a Copier<'b>,
    root: &'a Folder,
    /// Where the first name of a file with several is; `None` if it is missing.
    links: &'a mut HashMap<Node, Option<Spot>>,
    extracted: &'a mut Extracted,
    told: &'a mut Told,
}

impl Consumer<'_, '_> {
    fn take(&mut self, done: Done, progress: &dyn Progress) -> Result<()> {
        match done {
            Done::Made(made) => self.made(made, progress),
            Done::Lost { path, error, node } => {
                if let Some(node) = node {
                    self.links.insert(node, None);
                }
                self.lost(path, &error, progress);
            }
            Done::LeftOut(what) => self.told.count(what),
            Done::Folder { folder, node, path } => {
                self.extracted.folders += 1;
                match self.copier.finish_folder(&folder, node) {
                    Ok(kept) => self.extracted.take_kept(&path, kept, self.told, progress),
                    Err(error) => self.lost(path, &error, progress),
                }
            }
            Done::HardLink(link) => {
                let first = match self.links.get(&link.node) {
                    Some(Some(first)) => Some(first),
                    Some(None) => {
                        let error = Error::failed("its other name could not be extracted");
                        self.lost(link.path, &error, progress);
                        return Ok(());
                    }
                    None => None,
                };
                match self.copier.hard_link(link, first, self.root)? {
                    Done::Made(made) => self.made(made, progress),
                    Done::Lost { path, error, .. } => self.lost(path, &error, progress),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn made(&mut self, made: Made, progress: &dyn Progress) {
        match made.kind {
            NodeKind::File if made.is_hard_link => self.extracted.hard_links += 1,
            NodeKind::File => self.extracted.files += 1,
            // Counted when it is filled.
            NodeKind::Folder => {}
            _ => self.extracted.others += 1,
        }
        self.extracted.bytes += made.bytes;
        for why in made.renamed {
            self.extracted.renamed += 1;
            progress.note(&Event::Notice(why));
        }
        if let Some((node, folder, name)) = made.first {
            let folder = folder.names.clone();
            self.links.insert(node, Some(Spot { folder, name }));
        }
        for (path, error) in made.lost {
            self.lost(path, &error, progress);
        }
        self.told.add(made.told);
    }

    fn lost(&mut self, path: String, error: &Error, progress: &dyn Progress) {
        self.extracted.lose(path, error, progress);
    }
}

#[cfg(test)]
mod tests;

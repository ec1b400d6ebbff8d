// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the threads that copy do with one file, link or device.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::{FileType, makedev};
use rustix::io::Errno;

use super::super::names::shown;
use super::super::path::Place;
use super::attributes::{Kept, On, Setter, Told, on_file};
use super::content::{self, Content, Failure};
use super::folder::{Existing, Folder, Partial};
use super::safe::{other_name, refusal};
use super::{Options, Spot};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::files::{Attributes, FileResult, Node, NodeKind};
use crate::ondisk::FormatError;
use crate::pipeline::Cancel;
use crate::progress::Progress;

/// Something to be made in a folder.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) kind: NodeKind,
    pub(super) folder: Arc<Folder>,
    /// What happens to what has the name.
    pub(super) existing: Existing,
    /// True if what is in its way can only have been put there now.
    pub(super) may_rename: bool,
    pub(super) node: Node,
    pub(super) name: Vec<u8>,
    /// For people.
    pub(super) path: String,
    /// True if others will be further names of it.
    pub(super) is_first: bool,
    /// What is known of it already.
    pub(super) attributes: Option<Attributes>,
}

impl Task {
    /// True if another name is the way out of this error.
    pub(super) fn may_rename(&self, error: &io::Error) -> bool {
        self.may_rename || error.kind() != io::ErrorKind::AlreadyExists
    }
}

/// What is said of another name.
pub(super) fn renamed(path: &str, name: &[u8], why: &str) -> String {
    format!("{path} was extracted as {}: {why}", shown(name))
}

/// A step of an extraction.
#[derive(Debug)]
pub(super) enum Job {
    Make(Task),
    /// A further name of a file.
    HardLink(Task),
    /// A folder was filled.
    Folder {
        folder: Arc<Folder>,
        node: Node,
        path: String,
    },
    /// The streams of a folder.
    Streams(Task),
    /// A folder got another name, which is told.
    Renamed(String),
    LeftOut(&'static str),
    Lost {
        path: String,
        error: Error,
        node: Option<Node>,
    },
    /// It ends.
    Fatal(Error),
}

impl Job {
    /// How many bytes are copied by it.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Make(task) if task.kind == NodeKind::File => {
                task.attributes.as_ref().map_or(0, |attributes| attributes.size)
            }
            _ => 0,
        }
    }
}

/// What became of a step.
#[derive(Debug)]
pub(super) enum Done {
    Made(Made),
    HardLink(Task),
    Folder { folder: Arc<Folder>, node: Node, path: String },
    LeftOut(&'static str),
    Lost { path: String, error: Error, node: Option<Node> },
}

/// Something that is there now.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) kind: NodeKind,
    pub(super) is_hard_link: bool,
    pub(super) bytes: u64,
    /// What is said of other names.
    pub(super) renamed: Vec<String>,
    /// Where it is, if others will be further names of it.
    pub(super) first: Option<(Node, Arc<Folder>, Vec<u8>)>,
    /// Its streams and attributes that could not be read or set.
    pub(super) lost: Vec<(String, Error)>,
    pub(super) told: Told,
}

/// Copies what a source has.
pub(super) struct Copier<'a> {
    source: &'a Place<'a>,
    options: &'a Options,
    setter: Setter<'a>,
    cancel: &'a Cancel,
    progress: &'a dyn Progress,
}

/// Why something was not made.
enum Trouble {
    /// It alone.
    Lost(Error),
    /// Nothing else can be, either.
    Fatal(Error),
}

impl From<FormatError> for Trouble {
    fn from(error: FormatError) -> Self {
        Self::Lost(error.into())
    }
}

impl<'a> Copier<'a> {
    pub(super) fn new(
        source: &'a Place<'a>,
        options: &'a Options,
        cancel: &'a Cancel,
        progress: &'a dyn Progress,
    ) -> Self {
        Self { source, options, setter: Setter::new(options), cancel, progress }
    }

    /// Does what can be done in any order.
    pub(super) fn work(&self, job: Job, buffer: &mut Vec<u8>) -> Result<Done> {
        Ok(match job {
            Job::Make(task) => return self.make(&task, buffer),
            Job::HardLink(task) => Done::HardLink(task),
            Job::Folder { folder, node, path } => Done::Folder { folder, node, path },
            Job::LeftOut(what) => Done::LeftOut(what),
            Job::Lost { path, error, node } => Done::Lost { path, error, node },
            Job::Fatal(error) => return Err(error),
            Job::Renamed(why) => {
                let mut made = Made::new(NodeKind::Folder);
                made.renamed.push(why);
                Done::Made(made)
            }
            Job::Streams(task) => {
                let mut made = Made::new(NodeKind::Folder);
                match self.streams(&task, &task.name, buffer, &mut made) {
                    Ok(()) => Done::Made(made),
                    Err(trouble) => return lost(&task, trouble),
                }
            }
        })
    }

    fn make(&self, task: &Task, buffer: &mut Vec<u8>) -> Result<Done> {
        let mut made = Made::new(task.kind);
        let done = match task.kind {
            NodeKind::File => self.file(task, buffer, &mut made),
            NodeKind::Link => self.link(task, &mut made),
            _ => self.special(task, &mut made),
        };
        match done {
            Ok(()) => Ok(Done::Made(made)),
            Err(trouble) => lost(task, trouble),
        }
    }

    fn attributes(&self, task: &Task) -> FileResult<Attributes> {
        match &task.attributes {
            Some(attributes) => Ok(attributes.clone()),
            None => self.source.files.attributes(task.node),
        }
    }

    /// Sets what is known of something.
    fn set(
        &self,
        path: &str,
        on: &On,
        attributes: &Attributes,
        extended: &[(Vec<u8>, Vec<u8>)],
        made: &mut Made,
    ) {
        let mut kept = Kept::default();
        self.setter.set(on, attributes, extended, &mut kept);
        made.told.add(kept.told);
        made.lost.extend(kept.lost.into_iter().map(|(what, why)| (format!("{path}, {what}"), why)));
    }

    fn file(&self, task: &Task, buffer: &mut Vec<u8>, made: &mut Made) -> Result<(), Trouble> {
        let attributes = self.attributes(task)?;
        let (file, mut partial) = task.folder.new_file().map_err(|error| creating(task, error))?;
        self.fill(task, Content::Main, attributes.size, &file, buffer)?;
        made.bytes = attributes.size;
        let extended = self.extended(task, made);
        self.set(&task.path, &on_file(&file), &attributes, &extended, made);
        let name = finish(task, &task.path, &mut partial, &task.name, made)?;
        if task.is_first {
            made.first = Some((task.node, Arc::clone(&task.folder), name.clone()));
        }
        self.streams(task, &name, buffer, made)
    }

    /// Copies a content to a file.
    fn fill(
        &self,
        task: &Task,
        content: Content,
        size: u64,
        file: &std::fs::File,
        buffer: &mut Vec<u8>,
    ) -> Result<(), Trouble> {
        let files = &*self.source.files;
        let mut done = 0;
        let copied = content::read(
            files,
            task.node,
            content,
            size,
            buffer,
            self.cancel,
            &mut |offset, bytes| {
                content::write_sparse(file, offset, bytes)?;
                // Holes count as done.
                let end = offset + bytes.len() as u64;
                self.progress.advance(end - done);
                done = end;
                Ok(())
            },
        );
        let copied = copied.and_then(|()| file.set_len(size).map_err(Failure::Write));
        self.progress.advance(size - done);
        match copied {
            Ok(()) => Ok(()),
            Err(Failure::Read(error)) => Err(Trouble::Lost(error)),
            Err(Failure::Stopped(error)) => Err(Trouble::Fatal(error)),
            // No file can be so long, there or anywhere.
            Err(Failure::Write(error))
                if [io::ErrorKind::FileTooLarge, io::ErrorKind::InvalidInput]
                    .contains(&error.kind()) =>
            {
                let error = Error::io("writing it", error);
                Err(Trouble::Lost(Error::new(ErrorKind::Losses, error.to_string())))
            }
            Err(Failure::Write(error)) => Err(Trouble::Fatal(write_error(&task.path, error))),
        }
    }

    fn extended(&self, task: &Task, made: &mut Made) -> Vec<(Vec<u8>, Vec<u8>)> {
        match self.source.files.extended_attributes(task.node) {
            Ok(extended) => extended,
            Err(error) => {
                made.lost.push((format!("{}, its extended attributes", task.path), error.into()));
                Vec::new()
            }
        }
    }

    /// Counts the further streams of a file, or copies them.
    fn streams(
        &self,
        task: &Task,
        name: &[u8],
        buffer: &mut Vec<u8>,
        made: &mut Made,
    ) -> Result<(), Trouble> {
        let streams = match self.source.files.streams(task.node) {
            Ok(streams) => streams,
            Err(error) => {
                made.lost.push((format!("{}, its streams", task.path), error.into()));
                return Ok(());
            }
        };
        if streams.is_empty() {
            return Ok(());
        }
        if !self.options.streams {
            made.told
                .count("file%s with further streams, which were left out; --streams extracts them");
            return Ok(());
        }
        let attributes = self.attributes(task)?;
        for (stream, size) in streams {
            let path = format!("{}:{}", task.path, shown(&stream));
            let (file, mut partial) =
                task.folder.new_file().map_err(|error| creating(task, error))?;
            match self.fill(task, Content::Stream(&stream), size, &file, buffer) {
                Err(Trouble::Lost(error)) => {
                    made.lost.push((path, error));
                    continue;
                }
                done => done?,
            }
            let attributes = Attributes { kind: NodeKind::File, ..attributes.clone() };
            self.set(&path, &on_file(&file), &attributes, &[], made);
            let own = [name, b":", stream.as_slice()].concat();
            match finish(task, &path, &mut partial, &own, made) {
                Err(Trouble::Lost(error)) => made.lost.push((path, error)),
                done => drop(done?),
            }
        }
        Ok(())
    }

    fn link(&self, task: &Task, made: &mut Made) -> Result<(), Trouble> {
        let files = &self.source.files;
        let attributes = self.attributes(task)?;
        let target = files.link_target(task.node)?;
        if target.is_empty() || target.contains(&0) {
            let error = Error::damaged(format!("the link leads to '{}'", shown(&target)));
            return Err(Trouble::Lost(error));
        }
        let mut partial = task.folder.new_link(&target).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported => {
                Trouble::Lost(Error::unsupported("the destination has no symbolic links"))
            }
            _ => creating(task, error),
        })?;
        let extended = self.extended(task, made);
        let on = On::Name(task.folder.as_fd(), partial.name());
        self.set(&task.path, &on, &attributes, &extended, made);
        finish(task, &task.path, &mut partial, &task.name, made).map(drop)
    }

    fn special(&self, task: &Task, made: &mut Made) -> Result<(), Trouble> {
        let attributes = self.attributes(task)?;
        let (kind, device) = match attributes.kind {
            NodeKind::Device { is_block: true, major, minor } => {
                (FileType::BlockDevice, makedev(major, minor))
            }
            NodeKind::Device { is_block: false, major, minor } => {
                (FileType::CharacterDevice, makedev(major, minor))
            }
            NodeKind::Pipe => (FileType::Fifo, 0),
            NodeKind::Socket => (FileType::Socket, 0),
            _ => {
                let error = Error::damaged("its folder and its own record differ in what it is");
                return Err(Trouble::Lost(error));
            }
        };
        let mut partial =
            task.folder.new_node(kind, device).map_err(|error| creating(task, error))?;
        let on = On::Name(task.folder.as_fd(), partial.name());
        self.set(&task.path, &on, &attributes, &[], made);
        finish(task, &task.path, &mut partial, &task.name, made).map(drop)
    }

    /// Makes a further name of a file, whose first one is `first`.
    pub(super) fn hard_link(
        &self,
        task: Task,
        first: Option<&Spot>,
        root: &Folder,
    ) -> Result<Done> {
        let mut made = Made::new(task.kind);
        made.is_hard_link = true;
        let linked = first.map_or(Err(Errno::NOENT.into()), |first| {
            let folder = root.descend(&first.folder)?;
            task.folder.new_hard_link(folder.as_ref().unwrap_or(root), &first.name)
        });
        match linked {
            Ok(mut partial) => match finish(&task, &task.path, &mut partial, &task.name, &mut made)
            {
                Ok(_) => Ok(Done::Made(made)),
                Err(trouble) => lost(&task, trouble),
            },
            // FAT has no such thing, and nobody has it without a limit.
            Err(_) => {
                let mut done = self.make(&task, &mut Vec::new())?;
                if let Done::Made(made) = &mut done {
                    made.told.count("further name%s of files became copies: no hard links there");
                }
                Ok(done)
            }
        }
    }

    /// Gives a filled folder its attributes.
    pub(super) fn finish_folder(&self, folder: &Folder, node: Node) -> Result<Kept> {
        let mut kept = Kept::default();
        let files = &self.source.files;
        let attributes = files.attributes(node)?;
        let extended = files.extended_attributes(node).unwrap_or_else(|error| {
            kept.lost.push(("its extended attributes".into(), error.into()));
            Vec::new()
        });
        self.setter.set(&on_file(folder), &attributes, &extended, &mut kept);
        Ok(kept)
    }
}

impl Made {
    fn new(kind: NodeKind) -> Self {
        Self {
            kind,
            is_hard_link: false,
            bytes: 0,
            renamed: Vec::new(),
            first: None,
            lost: Vec::new(),
            told: Told::default(),
        }
    }
}

/// Gives something its name, or another one; returns that. `path` is it, for
/// people: the file of the task, or a stream of that.
fn finish(
    task: &Task,
    path: &str,
    partial: &mut Partial,
    name: &[u8],
    made: &mut Made,
) -> Result<Vec<u8>, Trouble> {
    let error = match partial.rename(name, task.existing) {
        Ok(()) => return Ok(name.to_vec()),
        Err(error) => error,
    };
    let Some(why) = refusal(&error).filter(|_| task.may_rename(&error)) else {
        return Err(match error.kind() {
            io::ErrorKind::AlreadyExists => {
                Trouble::Lost(Error::refused("something of that name is there already"))
            }
            io::ErrorKind::IsADirectory | io::ErrorKind::DirectoryNotEmpty => {
                Trouble::Lost(Error::refused("a folder of that name is there already"))
            }
            _ => creating(task, error),
        });
    };
    let other = other_name(name);
    partial.rename(&other, Existing::Keep).map_err(|error| creating(task, error))?;
    made.renamed.push(renamed(path, &other, why));
    Ok(other)
}

fn lost(task: &Task, trouble: Trouble) -> Result<Done> {
    match trouble {
        Trouble::Fatal(error) => Err(error),
        Trouble::Lost(error) => {
            let node = task.is_first.then_some(task.node);
            Ok(Done::Lost { path: task.path.clone(), error, node })
        }
    }
}

/// What an error in making something means.
fn creating(task: &Task, error: io::Error) -> Trouble {
    if is_fatal(&error) {
        Trouble::Fatal(write_error(&task.path, error))
    } else {
        Trouble::Lost(Error::io("making it", error))
    }
}

/// True if nothing else can be written, either.
pub(super) fn is_fatal(error: &io::Error) -> bool {
    let fatal = [Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::IO, Errno::NODEV, Errno::MFILE];
    Errno::from_io_error(error).is_some_and(|error| fatal.contains(&error))
}

/// An error that ends the extraction.
pub(super) fn write_error(path: &str, error: io::Error) -> Error {
    let error = Error::io(format!("extracting {path}: writing to the destination"), error);
    match error.kind() {
        ErrorKind::NoSpace => {
            error.hint("what is complete stays there; make room, or choose another destination")
        }
        _ => error,
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of a filesystem, read without mounting it.
//!
//! A driver that can read files answers [`Filesystem::files`] with a
//! [`Files`]: one object that many threads ask at the same time. It never
//! shows content that it is not sure of: what it cannot read is an error of
//! that file or folder alone, and all others stay readable.
//!
//! [`Filesystem::files`]: super::Filesystem::files

use std::ops::ControlFlow;
use std::sync::Arc;

use jiff::Timestamp;

use crate::extent::ExtentSet;
use crate::io::ReadAt;
use crate::ondisk::FormatError;

/// Readers that a [`Files`] keeps; the first is the volume, the others are all
/// that the filesystem may span.
pub type SharedReaders<'a> = &'a [Arc<dyn ReadAt>];

/// What a read of files gives.
pub type FileResult<T> = Result<T, FormatError>;

/// A file, folder or anything else that has a name, as its driver numbers
/// them. The same thing has the same number for as long as it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// The tree that the number belongs to, where a filesystem has several:
    /// the subvolume of a btrfs. Otherwise 0.
    pub tree: u64,
    /// The number: of an inode, a file record, a directory entry.
    pub number: u64,
}

impl Node {
    /// A node of a filesystem that has one tree only.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self { tree: 0, number }
    }
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link, or what Windows has for one.
    Link,
    /// A device node.
    Device {
        /// True for block devices, false for character devices.
        is_block: bool,
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// A named pipe.
    Pipe,
    /// A socket.
    Socket,
    /// Something else that has a name and no content; which, in a few words:
    /// "a reparse point of a cloud".
    Other(&'static str),
}

/// When things happened to a node, as far as its filesystem keeps it. A time
/// that has no zone on the disk (FAT, HFS) is taken as UTC; one outside of the
/// years -9999 to 9999 is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// When its content last changed.
    pub modified: Option<Timestamp>,
    /// When it was last read.
    pub accessed: Option<Timestamp>,
    /// When anything of it last changed.
    pub changed: Option<Timestamp>,
    /// When it was made.
    pub created: Option<Timestamp>,
}

/// What FAT and NTFS call attributes; HFS has the first two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DosAttributes {
    /// It must not be changed.
    pub read_only: bool,
    /// It is not shown.
    pub hidden: bool,
    /// It belongs to the system.
    pub system: bool,
    /// It was changed since the last backup.
    pub archive: bool,
}

/// What is known of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// What it is.
    pub kind: NodeKind,
    /// The length of its content in bytes; of a link, that of its target.
    pub size: u64,
    /// How many bytes of the volume hold its content, if that is known.
    pub allocated: Option<u64>,
    /// Its times.
    pub times: Times,
    /// Permissions and the setuid, setgid and sticky bits (octal 7777), where
    /// the filesystem has such.
    pub mode: Option<u32>,
    /// The numbers of the user and the group that own it.
    pub owner: Option<(u32, u32)>,
    /// How many names it has.
    pub links: u32,
    /// What FAT and NTFS keep instead of a mode.
    pub dos: Option<DosAttributes>,
}

impl Attributes {
    /// As they are, if a file can be this long: no system counts further than
    /// 2^63 bytes. `position` is where the volume says so.
    ///
    /// # Errors
    /// If it cannot.
    pub fn checked(self, position: u64) -> FileResult<Self> {
        const MOST: u64 = i64::MAX.cast_unsigned();
        if self.size > MOST {
            let most = format!("at most {MOST}");
            return Err(FormatError::corrupt("length of a file", position, most, self.size));
        }
        Ok(self)
    }
}

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The name as bytes: UTF-8 where the filesystem has characters (an
    /// unpaired surrogate as WTF-8), whatever is there where it has bytes.
    /// Never empty, `.` or `..`, and never with a `/` or a zero byte.
    pub name: Vec<u8>,
    /// What it names.
    pub node: Node,
    /// What that is.
    pub kind: NodeKind,
}

/// Takes the entries of a folder one by one, and says whether to go on.
pub type EachEntry<'a> = &'a mut dyn FnMut(FileResult<DirectoryEntry>) -> ControlFlow<()>;

/// A notice for [`Files::notice`]: what became of the volume, and what that
/// means.
pub(super) fn may_be_old(what: impl std::fmt::Display) -> String {
    format!("{what}: what was being changed then may be old, incomplete or missing")
}

/// The files of a filesystem, open.
///
/// Every method may be called from several threads, with nodes that came from
/// this object. A damaged structure is an error, never a panic, an endless
/// loop or memory without a bound.
pub trait Files: Send + Sync {
    /// The folder that holds all others.
    fn root(&self) -> Node;

    /// Why files may not be as their system would show them, in a sentence, where
    /// the filesystem was left in a state that only its system can mend.
    fn notice(&self) -> Option<String> {
        None
    }

    /// What is known of a node.
    ///
    /// # Errors
    /// If its structures cannot be read or contradict each other.
    fn attributes(&self, node: Node) -> FileResult<Attributes>;

    /// Gives each name of a folder, in no order, without `.` and `..`. An
    /// entry that is damaged is given as an error, and the others follow.
    ///
    /// # Errors
    /// If the folder cannot be read at all, or not to its end.
    fn list(&self, folder: Node, each: EachEntry) -> FileResult<()>;

    /// What a name of a folder stands for. Where the filesystem says that letters
    /// of another case are the same, a name that is exactly this comes before
    /// those that are only like it.
    ///
    /// # Errors
    /// As [`Files::list`].
    fn lookup(&self, folder: Node, name: &[u8]) -> FileResult<Option<DirectoryEntry>> {
        let (mut found, mut failed) = (None, None);
        self.list(folder, &mut |entry| match entry {
            Ok(entry) if entry.name == name => {
                found = Some(entry);
                ControlFlow::Break(())
            }
            Ok(_) => ControlFlow::Continue(()),
            Err(error) => {
                failed.get_or_insert(error);
                ControlFlow::Continue(())
            }
        })?;
        // It may be the one that is damaged.
        match (found, failed) {
            (None, Some(error)) => Err(error),
            (found, _) => Ok(found),
        }
    }

    /// Reads the content of a file at `offset` into `buf`, and returns how many
    /// bytes that were: fewer than asked for only at its end.
    ///
    /// # Errors
    /// If a byte of it cannot be read: never other bytes instead.
    fn read_at(&self, file: Node, offset: u64, buf: &mut [u8]) -> FileResult<usize>;

    /// The target of a link, as it is written there.
    ///
    /// # Errors
    /// If it cannot be read.
    fn link_target(&self, link: Node) -> FileResult<Vec<u8>>;

    /// Which bytes of a file are stored; those between read as zeros. `None` if
    /// the driver cannot tell, and all of them have to be read.
    ///
    /// # Errors
    /// If the structures that say it cannot be read.
    fn data_ranges(&self, file: Node) -> FileResult<Option<ExtentSet>> {
        let _ = file;
        Ok(None)
    }

    /// Where the content of a file lies on the volume, in bytes; `None` if the
    /// driver cannot tell. What lies inside of the filesystem's own structures
    /// (a resident or inline file) is the place of those.
    ///
    /// # Errors
    /// As [`Files::data_ranges`].
    fn places(&self, file: Node) -> FileResult<Option<ExtentSet>> {
        let _ = file;
        Ok(None)
    }

    /// As [`Files::places`], of all of its further contents.
    ///
    /// # Errors
    /// As [`Files::data_ranges`].
    fn stream_places(&self, file: Node) -> FileResult<Option<ExtentSet>> {
        let _ = file;
        Ok(None)
    }

    /// The extended attributes of a node: name and value.
    ///
    /// # Errors
    /// If they cannot be read.
    fn extended_attributes(&self, node: Node) -> FileResult<Vec<(Vec<u8>, Vec<u8>)>> {
        let _ = node;
        Ok(Vec::new())
    }

    /// The further contents that a file has beside its own: the named streams
    /// of NTFS, the resource fork of HFS+; their names and sizes. A stream is
    /// read by [`Files::read_stream_at`]. Its name is never empty, but may hold
    /// what no name of a file does: a `/`, which NTFS takes, or a zero.
    ///
    /// # Errors
    /// If they cannot be read.
    fn streams(&self, file: Node) -> FileResult<Vec<(Vec<u8>, u64)>> {
        let _ = file;
        Ok(Vec::new())
    }

    /// As [`Files::read_at`], for a further content.
    ///
    /// # Errors
    /// As [`Files::read_at`], and if there is no such stream.
    fn read_stream_at(
        &self,
        file: Node,
        stream: &[u8],
        offset: u64,
        buf: &mut [u8],
    ) -> FileResult<usize> {
        let _ = (file, offset, buf);
        Err(no_stream(stream))
    }
}

/// A file has no further content of this name.
pub(super) fn no_stream(name: &[u8]) -> FormatError {
    let name = String::from_utf8_lossy(name);
    FormatError::unsupported(format!("there is no stream named {name}"))
}

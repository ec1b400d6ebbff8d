// SPDX-License-Identifier: MIT OR Apache-2.0
//! A folder that is written to. All is done through its descriptor and never
//! by a path of several parts, and no link is followed: nothing that stands in
//! an image, or was put in the way, leads out of it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::super::names::is_name;

/// Opens a folder, and nothing else.
const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A folder that is written to.
#[derive(Debug)]
pub(super) struct Folder {
    fd: OwnedFd,
    /// True if nothing is in it that was not put there now.
    pub(super) is_new: bool,
    /// The names that lead to it from the destination.
    pub(super) names: Vec<Vec<u8>>,
}

/// What happens to what has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    /// It stays, and there is an error.
    Keep,
    /// It is replaced, if it is no folder.
    Replace,
}

impl Folder {
    /// The destination that the user named, which may be a link.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { fd, is_new: false, names: Vec::new() })
    }

    /// The folder of this name, made if it is not there. `keep`: what is there
    /// is no such folder.
    pub(super) fn make(&self, name: &[u8], existing: Existing) -> io::Result<Self> {
        let is_new = match rustix::fs::mkdirat(&self.fd, single(name)?, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) if existing == Existing::Replace => false,
            Err(error) => return Err(error.into()),
        };
        self.enter(name, is_new)
    }

    fn enter(&self, name: &[u8], is_new: bool) -> io::Result<Self> {
        let fd = rustix::fs::openat(&self.fd, single(name)?, FOLDER, Mode::empty())?;
        let names = self.names.iter().cloned().chain([name.to_vec()]).collect();
        Ok(Self { fd, is_new, names })
    }

    /// The folder to which these names lead from here.
    pub(super) fn descend(&self, names: &[Vec<u8>]) -> io::Result<Option<Self>> {
        let mut folder: Option<Self> = None;
        for name in names {
            folder = Some(folder.as_ref().unwrap_or(self).enter(name, false)?);
        }
        Ok(folder)
    }

    /// A new file under a name of its own, to be written.
    pub(super) fn new_file(&self) -> io::Result<(File, Partial<'_>)> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (file, name) = partial_name(|name| {
            rustix::fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)
        })?;
        Ok((file.into(), Partial { folder: self, name: Some(name) }))
    }

    /// A new symbolic link under a name of its own.
    pub(super) fn new_link(&self, target: &[u8]) -> io::Result<Partial<'_>> {
        let ((), name) = partial_name(|name| rustix::fs::symlinkat(target, &self.fd, name))?;
        Ok(Partial { folder: self, name: Some(name) })
    }

    /// A new device, pipe or socket under a name of its own.
    pub(super) fn new_node(&self, kind: FileType, device: u64) -> io::Result<Partial<'_>> {
        let mode = Mode::RUSR | Mode::WUSR;
        let make = |name: &str| rustix::fs::mknodat(&self.fd, name, kind, mode, device);
        let ((), name) = partial_name(make)?;
        Ok(Partial { folder: self, name: Some(name) })
    }

    /// A further name of a file.
    pub(super) fn new_hard_link(&self, from: &Self, name: &[u8]) -> io::Result<Partial<'_>> {
        let name = single(name)?;
        let make = |new: &str| rustix::fs::linkat(&from.fd, name, &self.fd, new, AtFlags::empty());
        let ((), name) = partial_name(make)?;
        Ok(Partial { folder: self, name: Some(name) })
    }

    /// True if something has this name.
    pub(super) fn has(&self, name: &[u8]) -> bool {
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Writes all of its filesystem to the medium.
    pub(super) fn flush(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.fd)?)
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The same, if it is one name and no path: the kernel would follow the parts
/// of that, and links in them, to wherever they lead.
fn single(name: &[u8]) -> rustix::io::Result<&[u8]> {
    if is_name(name) { Ok(name) } else { Err(Errno::INVAL) }
}

/// Calls `make` with names that nobody else uses.
fn partial_name<T>(make: impl Fn(&str) -> rustix::io::Result<T>) -> io::Result<(T, String)> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // Left over by one that was killed, of the same process number.
    for _ in 0..1000 {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!(".dacapo-{}-{count}.partial", std::process::id());
        match make(&name) {
            Err(Errno::EXIST) => {}
            made => return Ok((made?, name)),
        }
    }
    Err(Errno::EXIST.into())
}

/// Something that has not got its name yet, and is removed without it.
#[derive(Debug)]
pub(super) struct Partial<'a> {
    folder: &'a Folder,
    name: Option<String>,
}

impl Partial<'_> {
    /// The name it has for now.
    pub(super) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// Gives it its name.
    pub(super) fn rename(&mut self, name: &[u8], existing: Existing) -> io::Result<()> {
        let name = single(name)?;
        let (Some(old), fd) = (&self.name, &self.folder.fd) else { return Ok(()) };
        let keep = || match rustix::fs::renameat_with(fd, old, fd, name, RenameFlags::NOREPLACE) {
            // Some filesystems in user space cannot do it at one go.
            Err(Errno::INVAL | Errno::NOSYS) if !self.folder.has(name) => {
                rustix::fs::renameat(fd, old, fd, name)
            }
            Err(Errno::INVAL | Errno::NOSYS) => Err(Errno::EXIST),
            renamed => renamed,
        };
        match existing {
            Existing::Keep => keep()?,
            Existing::Replace => rustix::fs::renameat(fd, old, fd, name)?,
        }
        // Two names of one file: a rename does nothing, and leaves both.
        let _ = rustix::fs::unlinkat(fd, old, AtFlags::empty());
        self.name = None;
        Ok(())
    }
}

impl Drop for Partial<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // There is nobody to tell; the name says what it is.
            let _ = rustix::fs::unlinkat(&self.folder.fd, name, AtFlags::empty());
        }
    }
}

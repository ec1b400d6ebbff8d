// SPDX-License-Identifier: MIT OR Apache-2.0
//! The requests of the kernel, each handed to the [`View`].

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use super::view::{Answer, View};
use crate::extent::Extent;
use crate::image::cached::Piece;
use crate::units::MIB;

/// How long the kernel may keep what it was told: nothing ever changes.
const KEEP: Duration = Duration::from_secs(24 * 3600);
/// What has to be asked again.
const ONCE: Duration = Duration::ZERO;
/// The block in which the size of the disk is told.
const BLOCK: u32 = 4096;
/// The largest request.
const MAX_REQUEST: u64 = MIB;
/// How many requests the kernel has under way that nobody waits for.
const MAX_BACKGROUND: u16 = 64;

/// What a range of zeros is answered with.
static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A mounted folder, for the kernel.
pub(super) struct Folder {
    pub(super) view: View,
}

/// Answers with what was found, or with the number of the error.
macro_rules! answer {
    ($reply:expr, $answer:expr, $found:ident => $send:expr) => {
        match $answer {
            Ok($found) => $send,
            Err(error) => $reply.error(error),
        }
    };
}

/// What would change files, of which none can be changed.
macro_rules! refuse {
    ($($name:ident($($argument:ty),*) -> $reply:ty;)*) => {$(
        fn $name(&self, _: &Request, $(_: $argument,)* reply: $reply) {
            reply.error(Errno::EROFS);
        }
    )*};
}

impl Filesystem for Folder {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for wanted in [
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_ASYNC_DIO,
        ] {
            // An older kernel goes without.
            let _ = config.add_capabilities(wanted);
        }
        // The mode of a file with an access control list says less than that:
        // what stands for its group is the most that anybody in the list has.
        if self.view.is_shared() && config.add_capabilities(InitFlags::FUSE_POSIX_ACL).is_err() {
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
        let _ = config.set_max_write(u32::try_from(MAX_REQUEST).unwrap_or(BLOCK));
        let _ = config.set_max_background(MAX_BACKGROUND);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.view.lookup(parent.0, name.as_bytes());
        let found = found.and_then(|number| match number {
            Some(number) => self.view.attributes(number),
            // Number 0: there is nothing, and that stays so.
            None => {
                self.view.attributes(parent.0).map(|it| fuser::FileAttr { ino: INodeNo(0), ..it })
            }
        });
        answer!(reply, found, attr => reply.entry(&KEEP, &attr, Generation(0)));
    }

    fn forget(&self, _: &Request, ino: INodeNo, _: u64) {
        self.view.tree.forget(ino.0);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        answer!(reply, self.view.attributes(ino.0), attr => reply.attr(&KEEP, &attr));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = self.view.writer(ino.0).and_then(|image| {
            // An image is as long as its disk; times are not kept.
            let is_same = size.is_none_or(|size| size == image.len());
            if mode.or(uid).or(gid).is_some() || !is_same {
                return Err(Errno::EPERM);
            }
            self.view.attributes(ino.0)
        });
        answer!(reply, set, attr => reply.attr(&KEEP, &attr));
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        answer!(reply, self.view.target(ino.0), target => reply.data(&target));
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let writes = flags.acc_mode() != OpenAccMode::O_RDONLY;
        let keep = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH;
        answer!(reply, self.view.open_file(ino.0, writes), size => {
            reply.opened(FileHandle(size), keep);
        });
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        size: FileHandle,
        offset: u64,
        len: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let len = usize::try_from(len).unwrap_or(0);
        match self.view.piece(ino.0, offset, len) {
            Some(Piece::Bytes(bytes)) => return reply.data(bytes.as_ref()),
            Some(Piece::Zeros(_)) if len <= ZEROS.len() => {
                return reply.data(ZEROS.get(..len).unwrap_or_default());
            }
            _ => {}
        }
        BUFFER.with_borrow_mut(|buffer| {
            if buffer.len() < len {
                buffer.resize(len, 0);
            }
            let buf = buffer.get_mut(..len).unwrap_or_default();
            let read = self.view.read(ino.0, size.0, offset, buf);
            answer!(reply, read, len => reply.data(buf.get(..len).unwrap_or_default()));
        });
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.view.write(ino.0, offset, data);
        answer!(reply, written, _done => {
            reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX));
        });
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    /// What is thrown away at the end need not be safe before.
    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let zeroed = self.view.writer(ino.0).and_then(|image| {
            let extent = Extent::at(offset, length);
            if extent.end() > image.len() {
                return Err(Errno::EFBIG);
            }
            match mode & !libc::FALLOC_FL_KEEP_SIZE {
                // There is room for all of it.
                0 => Ok(()),
                libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE => {
                    self.view.zero(ino.0, extent)
                }
                _ => Err(Errno::EOPNOTSUPP),
            }
        });
        answer!(reply, zeroed, _done => reply.ok());
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        answer!(reply, self.view.open_folder(ino.0), opened => {
            let (handle, is_whole) = opened;
            let keep = FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE;
            reply.opened(FileHandle(handle), if is_whole { keep } else { FopenFlags::empty() });
        });
    }

    fn readdir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let filled = self.fill(handle.0, offset, |_, next, entry| {
            let name = OsStr::from_bytes(entry.name);
            reply.add(INodeNo(entry.number), next, entry.kind, name)
        });
        answer!(reply, filled, _done => reply.ok());
    }

    fn readdirplus(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let filled = self.fill(handle.0, offset, |folder, next, entry| {
            let name = OsStr::from_bytes(entry.name);
            let (attr, is_known) = match entry.name {
                // The kernel leaves these as they are.
                b"." | b".." => (self.view.own_folder(entry.number), true),
                _ => self.view.entry_attributes(folder, entry),
            };
            let keep = if is_known { KEEP } else { ONCE };
            reply.add(INodeNo(entry.number), next, name, &keep, &attr, Generation(0))
        });
        answer!(reply, filled, _done => reply.ok());
    }

    fn releasedir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.view.close_folder(handle.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let blocks = self.view.tree.len().div_ceil(BLOCK.into());
        reply.statfs(blocks, 0, 0, 0, 0, BLOCK, 255, BLOCK);
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        give(self.view.attribute(ino.0, name.as_bytes()), size, reply);
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        give(self.view.attribute_names(ino.0), size, reply);
    }

    fn lseek(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let found = match (u64::try_from(offset), whence) {
            (Err(_), _) => Err(Errno::ENXIO),
            (Ok(offset), libc::SEEK_DATA) => self.view.seek(ino.0, offset, true),
            (Ok(offset), libc::SEEK_HOLE) => self.view.seek(ino.0, offset, false),
            _ => Err(Errno::EINVAL),
        };
        let found = found.and_then(|at| i64::try_from(at).map_err(|_| Errno::EOVERFLOW));
        answer!(reply, found, at => reply.offset(at));
    }

    fn create(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        reply.error(Errno::EROFS);
    }

    refuse! {
        mknod(INodeNo, &OsStr, u32, u32, u32) -> ReplyEntry;
        mkdir(INodeNo, &OsStr, u32, u32) -> ReplyEntry;
        unlink(INodeNo, &OsStr) -> ReplyEmpty;
        rmdir(INodeNo, &OsStr) -> ReplyEmpty;
        symlink(INodeNo, &OsStr, &Path) -> ReplyEntry;
        rename(INodeNo, &OsStr, INodeNo, &OsStr, RenameFlags) -> ReplyEmpty;
        link(INodeNo, INodeNo, &OsStr) -> ReplyEntry;
        setxattr(INodeNo, &OsStr, &[u8], i32, u32) -> ReplyEmpty;
        removexattr(INodeNo, &OsStr) -> ReplyEmpty;
    }
}

impl Folder {
    /// Adds the entries of a folder from a position on until `add` says that
    /// there is no more room. `add` is given the position behind the entry.
    fn fill(
        &self,
        handle: u64,
        offset: u64,
        mut add: impl FnMut(&super::view::Folder, u64, &super::view::Entry) -> bool,
    ) -> Answer<()> {
        let folder = self.view.folder(handle)?;
        for position in offset.. {
            match self.view.entry(&folder, position) {
                Ok(Some(entry)) => {
                    if add(&folder, position.saturating_add(1), &entry) {
                        break;
                    }
                }
                Ok(None) => break,
                // What is in front of the error is given first.
                Err(error) if position == offset => return Err(error),
                Err(_) => break,
            }
        }
        Ok(())
    }
}

/// Gives a value, or says how long it is if no room for it is offered.
fn give(value: Answer<Vec<u8>>, room: u32, reply: ReplyXattr) {
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    match value {
        Err(error) => reply.error(error),
        Ok(value) if room == 0 => reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX)),
        Ok(value) if value.len() > room => reply.error(Errno::ERANGE),
        Ok(value) => reply.data(&value),
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The life of a mounted folder: from the check of an empty one to the last
//! answer.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fuser::{Config, MountOption, Session, SessionACL};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

use super::filesystem::Folder;
use super::trouble::{Event, Troubles};
use super::view::View;
use super::{Tree, users};
use crate::error::{Context, Error, Result};
use crate::pipeline::cores;

const DEVICE: &str = "/dev/fuse";
/// Programs that mount for those who are not root.
const HELPERS: [&str; 2] = ["fusermount3", "fusermount"];
/// How far ahead the kernel reads, in KiB: the largest request.
const READ_AHEAD: &str = "1024";

/// How a folder is mounted.
#[derive(Debug, Clone)]
pub struct Options {
    /// What `mount` and `df` show as its source.
    pub source: String,
    /// The images may be written to.
    pub is_writable: bool,
    /// Other users are let in, as far as the permissions of the files go.
    pub allows_others: bool,
}

/// A mounted folder. What is dropped unmounts itself at the end of its thread.
#[derive(Debug)]
pub struct Mounted {
    point: PathBuf,
    thread: JoinHandle<io::Result<()>>,
    events: Receiver<Event>,
}

/// How an unmount ended.
#[derive(Debug)]
pub enum Unmounted {
    /// Nobody is in the folder any more.
    Done,
    /// It is no longer at its place, but these still use what is in it, and get
    /// their answers until they end.
    Busy(Vec<String>),
}

/// Checks that a folder can be mounted on: it has to be there, and empty.
/// Returns its path from the root.
///
/// # Errors
/// Refused, or why it cannot be looked at.
pub fn check_folder(folder: &Path) -> Result<PathBuf> {
    let shown = folder.display();
    let what = || format!("looking at {shown}");
    let named = |error: io::Error| match error.raw_os_error() {
        Some(libc::ENOENT) => Error::refused(format!("there is no folder {shown}"))
            .hint(format!("make it first: mkdir {shown}")),
        Some(libc::ENOTCONN) => {
            Error::refused(format!("{shown} is still mounted by a program that has ended"))
                .hint(format!("first: umount {shown}"))
        }
        Some(libc::ENOTDIR) => Error::refused(format!("{shown} is not a folder")),
        _ => Error::io(what(), error),
    };
    let mut entries = fs::read_dir(folder).map_err(named)?;
    if entries.next().is_some() {
        return Err(Error::refused(format!("{shown} is not empty"))
            .hint("what is in a folder cannot be seen while it is mounted on: take an empty one"));
    }
    folder.canonicalize().context(what)
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The program that mounts for those who are not root.
fn helper() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> =
        std::env::split_paths(&path).chain(["/bin".into(), "/sbin".into()]).collect();
    HELPERS.iter().find_map(|name| {
        folders.iter().map(|folder| folder.join(name)).find(|program| program.is_file())
    })
}

fn check_kernel() -> Result<()> {
    match fs::metadata(DEVICE) {
        Ok(_) if is_root() || helper().is_some() => Ok(()),
        Ok(_) => Err(Error::unsupported(
            "fusermount3, which mounts for those who are not root, is missing",
        )
        .hint("install fuse3, or run dacapo as root")),
        Err(_) => Err(Error::unsupported(format!("this system has no FUSE: {DEVICE} is missing"))
            .hint("as root: modprobe fuse; 'dacapo extract' needs none of it")),
    }
}

impl Mounted {
    /// Mounts a tree on a folder that [`check_folder`] has found good. What
    /// happens is sent to `sender`, and `events` gives it back.
    ///
    /// # Errors
    /// Unsupported if the system has no FUSE; or what the kernel says.
    pub fn start(
        tree: Tree,
        point: &Path,
        options: &Options,
        (sender, events): (Sender<Event>, Receiver<Event>),
    ) -> Result<Self> {
        check_kernel()?;
        let view = View::new(tree, Troubles::new(sender), options.allows_others);
        // The program that mounts for others splits its options at commas.
        let source = options.source.replace([',', '\\', '\n'], "_");
        let mut config = Config::default();
        config.mount_options =
            vec![MountOption::FSName(source), MountOption::NoAtime, MountOption::NoSuid];
        if !options.is_writable {
            config.mount_options.push(MountOption::RO);
        }
        if options.allows_others {
            config.acl = SessionACL::All;
            config.mount_options.push(MountOption::DefaultPermissions);
        }
        // A reader that waits for a chunk keeps nobody else waiting.
        config.n_threads = Some(cores().saturating_mul(2).clamp(12, 64));
        config.clone_fd = true;
        let session = Session::new(Folder { view }, point, &config).map_err(|error| {
            let error = Error::io(format!("mounting on {}", point.display()), error);
            match options.allows_others && !is_root() {
                true => error.hint(
                    "letting others in takes root, or the line user_allow_other in /etc/fuse.conf",
                ),
                false => error,
            }
        })?;
        let thread = thread::Builder::new()
            .name("mount".into())
            .spawn(move || session.run())
            .context(|| "starting a thread".into())?;
        let mounted = Self { point: point.to_owned(), thread, events };
        mounted.read_further_ahead();
        Ok(mounted)
    }

    /// Lets the kernel ask for more at once than 128 KiB; only a hint, and for
    /// root only.
    fn read_further_ahead(&self) {
        if let Ok(metadata) = fs::metadata(&self.point)
            && is_root()
        {
            let number = metadata.dev();
            let (major, minor) = (nix::sys::stat::major(number), nix::sys::stat::minor(number));
            let setting = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
            let _ = fs::write(setting, READ_AHEAD);
        }
    }

    /// What happens next, if it does so within `patience`.
    #[must_use]
    pub fn event(&self, patience: Duration) -> Option<Event> {
        match self.events.recv_timeout(patience) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                thread::sleep(patience);
                None
            }
        }
    }

    /// True if it is unmounted and nobody uses anything in it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Takes the folder from its place.
    ///
    /// # Errors
    /// If it cannot be unmounted for another reason than that it is used.
    pub fn unmount(&self) -> Result<Unmounted> {
        match self.try_unmount(false) {
            Err(Errno::EBUSY) => {
                let users = users::of(&self.point);
                self.try_unmount(true)
                    .map_err(|error| self.not_unmounted(error))
                    .map(|()| Unmounted::Busy(users))
            }
            Ok(()) => Ok(Unmounted::Done),
            Err(error) => Err(self.not_unmounted(error)),
        }
    }

    fn not_unmounted(&self, error: Errno) -> Error {
        Error::io(format!("unmounting {}", self.point.display()), error.into())
            .hint(format!("umount {}", self.point.display()))
    }

    /// Unmounts, `lazily` even from under those who use it.
    fn try_unmount(&self, lazily: bool) -> nix::Result<()> {
        let flags = if lazily { MntFlags::MNT_DETACH } else { MntFlags::UMOUNT_NOFOLLOW };
        match umount2(&self.point, flags) {
            // Somebody else was first.
            Ok(()) | Err(Errno::EINVAL) => return Ok(()),
            Err(Errno::EPERM) if !is_root() => {}
            Err(error) => return Err(error),
        }
        let program = helper().ok_or(Errno::EPERM)?;
        let mut command = Command::new(program);
        command.arg("-u");
        if lazily {
            command.arg("-z");
        }
        let ran = command.arg("--").arg(&self.point).output();
        match ran.is_ok_and(|ran| ran.status.success()) {
            true => Ok(()),
            // It says why in words only, and this is why in practice.
            false => Err(if lazily { Errno::EPERM } else { Errno::EBUSY }),
        }
    }

    /// Waits for the end, and returns what happened and was not yet told.
    ///
    /// # Errors
    /// If the kernel ended it in another way than by unmounting.
    pub fn finish(self) -> Result<Vec<Event>> {
        let ended = self.thread.join();
        let events = self.events.try_iter().collect();
        match ended {
            Ok(ended) => ended.context(|| format!("answering for {}", self.point.display()))?,
            Err(_) => return Err(Error::failed("a thread that answered has panicked")),
        }
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn only_an_empty_folder_is_mounted_on() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check_folder(folder.path()).is_ok());
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        for wrong in [folder.path(), &file, Path::new("/nowhere/at/all")] {
            let error = check_folder(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        }
    }
}

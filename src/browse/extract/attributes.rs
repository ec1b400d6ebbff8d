// SPDX-License-Identifier: MIT OR Apache-2.0
//! Owner, permissions, extended attributes and times of what was extracted, as
//! far as the destination has such.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use jiff::Timestamp;
use nix::unistd::geteuid;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::super::names::{self, shown};
use super::{Options, ntfs};
use crate::error::Error;
use crate::fs::files::{Attributes, Times};

/// The bits that run a program as somebody else.
const SETUID: u32 = 0o6000;
/// An attribute that gives a program powers, as setuid does.
const CAPABILITIES: &[u8] = b"security.capability";

/// What is said of a destination that has no permissions.
const PERMISSIONS: &str = "time%s permissions could not be kept";

/// What could not be kept, or was left out, by what it is; how often.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeMap<String, u64>);

impl Told {
    /// Counts one; `%s` in `what` is the s of several.
    pub(super) fn count(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    /// Adds all of another.
    pub(super) fn add(&mut self, other: Self) {
        for (what, count) in other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    /// "3 pipes left out", one line for each.
    pub(super) fn lines(&self) -> Vec<String> {
        let line = |(what, count): (&String, &u64)| {
            format!("{count} {}", what.replace("%s", if *count == 1 { "" } else { "s" }))
        };
        self.0.iter().map(line).collect()
    }
}

/// What came of setting attributes.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// What the destination has no room for at all, or was left out.
    pub(super) told: Told,
    /// What it should have taken, and has not: of what, and why.
    pub(super) lost: Vec<(String, Error)>,
}

impl Kept {
    /// Notes what came of setting something; `what` it is, and `without` is said
    /// of a destination that has no such thing.
    fn note(&mut self, done: rustix::io::Result<()>, what: &str, without: &str) {
        match done {
            Ok(()) => {}
            Err(error) if is_never_kept(error) => {
                self.told.count(format!("{without}: {}", io::Error::from(error)));
            }
            Err(error) => {
                let error = Error::io("setting it at the destination", error.into());
                self.lost.push((what.to_owned(), error));
            }
        }
    }
}

/// True if an error means that the destination, or this user, can set no such
/// thing on any file; others mean that this one was lost.
fn is_never_kept(error: Errno) -> bool {
    [Errno::OPNOTSUPP, Errno::NOSYS, Errno::PERM].contains(&error)
}

/// Sets attributes.
#[derive(Debug)]
pub(super) struct Setter<'a> {
    options: &'a Options,
    is_root: bool,
    /// What a new file is not given.
    umask: u32,
}

/// What is set.
pub(super) enum On<'a> {
    /// An open file or folder.
    File(BorrowedFd<'a>),
    /// What has this name in a folder, itself even if it is a link.
    Name(BorrowedFd<'a>, &'a str),
}

impl<'a> Setter<'a> {
    pub(super) fn new(options: &'a Options) -> Self {
        // It can only be asked for by setting it.
        let mask = nix::sys::stat::umask(nix::sys::stat::Mode::empty());
        nix::sys::stat::umask(mask);
        Self { options, is_root: geteuid().is_root(), umask: mask.bits() }
    }

    /// Sets all that is known. Extended attributes come before the permissions,
    /// which may forbid to write them, and behind the owner, whose change takes
    /// capabilities away.
    pub(super) fn set(
        &self,
        on: &On,
        attributes: &Attributes,
        extended: &[(Vec<u8>, Vec<u8>)],
        kept: &mut Kept,
    ) {
        let is_link = attributes.kind == crate::fs::files::NodeKind::Link;
        if attributes.owner.is_some() && !self.is_root {
            kept.told.count("file%s and folders belong to you; root can give them their owners");
        }
        let mut has_owner = false;
        if let Some((user, group)) = attributes.owner.filter(|_| self.is_root) {
            let (user, group) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
            let done = match on {
                On::File(file) => rustix::fs::fchown(file, user, group),
                On::Name(folder, name) => {
                    rustix::fs::chownat(folder, *name, user, group, AtFlags::SYMLINK_NOFOLLOW)
                }
            };
            // A container has no number for some owners.
            let done = done.map_err(|it| if it == Errno::INVAL { Errno::PERM } else { it });
            has_owner = done.is_ok();
            kept.note(done, "its owner", "owner%s not kept");
        }
        for (name, value) in extended {
            self.set_extended(on, name, value, kept);
        }
        if !is_link {
            let mode = Mode::from_bits_retain(self.mode(attributes, has_owner, &mut kept.told));
            let done = match on {
                On::File(file) => rustix::fs::fchmod(file, mode),
                On::Name(folder, name) => chmod_special(*folder, name, mode),
            };
            kept.note(done, "its permissions", PERMISSIONS);
        }
        if let On::File(file) = on {
            kept.note(
                ntfs::set(file, attributes),
                "its attributes of NTFS",
                "attribute%s of NTFS not kept",
            );
        }
        let done = match on {
            On::File(file) => rustix::fs::futimens(file, &timestamps(&attributes.times)),
            On::Name(folder, name) => rustix::fs::utimensat(
                folder,
                *name,
                &timestamps(&attributes.times),
                AtFlags::SYMLINK_NOFOLLOW,
            ),
        };
        kept.note(done, "its dates", "time%s dates could not be kept");
    }

    /// Gives a folder that is none of the image the permissions of any new one.
    pub(super) fn set_new_folder(&self, folder: &impl AsFd, kept: &mut Kept) {
        let done = rustix::fs::fchmod(folder, Mode::from_bits_retain(0o777 & !self.umask));
        kept.note(done, "its permissions", PERMISSIONS);
    }

    /// The permissions; `has_owner` if it belongs to whom it belonged to.
    fn mode(&self, attributes: &Attributes, has_owner: bool, told: &mut Told) -> u32 {
        let is_folder = attributes.kind == crate::fs::files::NodeKind::Folder;
        let Some(mode) = attributes.mode else {
            let read_only = attributes.dos.is_some_and(|dos| dos.read_only) && !is_folder;
            let mode = if is_folder { 0o777 } else { 0o666 } & !self.umask;
            return if read_only { mode & !0o222 } else { mode };
        };
        // On a folder they mean something else, and nobody is made anybody.
        if mode & SETUID != 0 && !is_folder && !self.options.setuid {
            told.count("setuid or setgid bit%s left out; --setuid keeps them");
            return mode & 0o1777;
        }
        // It would run as whoever has it now.
        if mode & SETUID != 0 && !is_folder && !has_owner {
            told.count("setuid or setgid bit%s left out: the owner could not be kept");
            return mode & 0o1777;
        }
        mode & 0o7777
    }

    fn set_extended(&self, on: &On, name: &[u8], value: &[u8], kept: &mut Kept) {
        if name == CAPABILITIES && !self.options.setuid {
            return kept.told.count("program%s without their capabilities; --setuid keeps them");
        }
        let name = names::attribute(name);
        let done = match on {
            On::File(file) => rustix::fs::fsetxattr(file, &*name, value, XattrFlags::empty()),
            On::Name(folder, node) => {
                let path = format!("/proc/self/fd/{}/{node}", folder.as_raw_fd());
                rustix::fs::lsetxattr(path, &*name, value, XattrFlags::empty())
            }
        };
        let kind = name.split(|byte| *byte == b'.').next().unwrap_or_default();
        let kind = match name.as_slice() {
            b"system.posix_acl_access" | b"system.posix_acl_default" => {
                "access control list%s".into()
            }
            _ => format!("extended attribute%s '{}.*'", shown(kind)),
        };
        let what = format!("its extended attribute {}", shown(&name));
        kept.note(done, &what, &format!("{kind} not kept"));
    }
}

/// Sets the permissions of a pipe, socket or device, and of nothing that
/// somebody else who may write to the folder has put in its place.
fn chmod_special(folder: BorrowedFd, name: &str, mode: Mode) -> rustix::io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let node = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&node)?.st_mode);
    if matches!(kind, FileType::Symlink | FileType::RegularFile | FileType::Directory) {
        return Err(Errno::STALE);
    }
    // The kernel changes no node by an open path, but by the name of that.
    rustix::fs::chmod(format!("/proc/self/fd/{}", node.as_raw_fd()), mode)
}

fn timestamps(times: &Times) -> Timestamps {
    let time = |time: Option<Timestamp>| match time {
        Some(time) => {
            let (mut seconds, mut nanoseconds) = (time.as_second(), time.subsec_nanosecond());
            // Before 1970 it counts from the other end.
            if nanoseconds < 0 {
                seconds -= 1;
                nanoseconds += 1_000_000_000;
            }
            Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() }
        }
        None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
    };
    Timestamps { last_access: time(times.accessed), last_modification: time(times.modified) }
}

/// What is open.
pub(super) fn on_file(file: &impl AsFd) -> On<'_> {
    On::File(file.as_fd())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn permissions_are_not_those_of_what_a_link_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        std::fs::write(&victim, "private").unwrap();
        std::fs::set_permissions(&victim, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&victim, folder.path().join("pipe")).unwrap();
        let opened = std::fs::File::open(folder.path()).unwrap();
        for name in ["pipe", "victim"] {
            chmod_special(opened.as_fd(), name, Mode::from_bits_retain(0o666)).unwrap_err();
        }
        let mode = |name: &str| folder.path().join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode("victim") & 0o7777, 0o600);
        let rights = Mode::from_bits_retain(0o600);
        rustix::fs::mknodat(&opened, "fifo", FileType::Fifo, rights, 0).unwrap();
        chmod_special(opened.as_fd(), "fifo", Mode::from_bits_retain(0o640)).unwrap();
        assert_eq!(mode("fifo") & 0o7777, 0o640);
    }
}

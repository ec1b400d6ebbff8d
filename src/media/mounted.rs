// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mounts of the rescue system: made for a moment, strictly read-only or to be
//! written, and undone by whoever holds them.
//!
//! Several programs may hold the same device, each by a folder of its own:
//! `NAME-PROCESS-NUMBER`. A device that is read is write-protected meanwhile;
//! the last holder takes that back, which a marker file tells it to. One that
//! is written, or restored to, is left alone. What a program that was killed
//! left behind is cleared away by the next one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount, umount2};

use super::kinds::Kind;
use crate::device::{Claim, MountPoint, VolumeNode, mount_points, set_read_only};
use crate::error::{Context, Error, Result};

/// Where the rescue system mounts media.
const FOLDER: &str = "/run/dacapo/media";

/// How often unmounting is tried, and how long to wait in between.
const ATTEMPTS: u32 = 40;
const PAUSE: Duration = Duration::from_millis(50);
/// How long a program may take to mount.
const FOR_PROGRAM: Duration = Duration::from_secs(20);

/// The folder in which everything is mounted.
#[derive(Debug, Clone)]
pub(super) struct MountFolder {
    path: PathBuf,
}

impl MountFolder {
    /// That of the rescue system.
    pub(super) fn of_rescue() -> Self {
        Self { path: FOLDER.into() }
    }

    /// Another one.
    #[cfg(test)]
    pub(super) fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// False on an installed system, where mounting is not our business.
    pub(super) fn may_mount(&self) -> bool {
        self.path != Path::new(FOLDER) || super::in_rescue()
    }

    /// True if a mount point is one of these.
    pub(super) fn contains(&self, point: &Path) -> bool {
        point.parent() == Some(&self.path)
    }

    /// Mounts a volume so that not a byte of it changes.
    ///
    /// # Errors
    /// If it is written to by somebody at the moment, or the kernel refuses.
    pub(super) fn mount_untouched(&self, node: &VolumeNode, kind: Kind) -> Result<Mounted> {
        let _lock = self.lock(&node.name)?;
        let holders = self.holders(&node.name)?;
        if holders.iter().any(|mount| !mount.read_only) {
            return Err(Error::refused(format!("{} is being written", node.path.display()))
                .hint("another screen saves to it; wait until that has ended"));
        }
        // Else nobody may use it: its protection would make their writes fail.
        let claim = holders.is_empty().then(|| Claim::take(&node.path)).transpose()?;
        let mut mounted = self.new_folder(&node.name, &node.path)?;
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOATIME;
        let protected = self.protect(&node.name, &node.path);
        // The filesystem has to claim it.
        drop(claim);
        let result = protected.and_then(|()| mounted.mount(kind, flags, kind.untouched));
        mounted.or_give_up(result)
    }

    /// Mounts a volume to write to it.
    ///
    /// # Errors
    /// If it is read by somebody at the moment, or the kernel refuses.
    pub(super) fn mount_to_write(&self, node: &VolumeNode, kind: Kind) -> Result<Mounted> {
        let _lock = self.lock(&node.name)?;
        if !self.holders(&node.name)?.is_empty() {
            return Err(Error::refused(format!("{} is being read", node.path.display()))
                .hint("another screen is searching it; wait a moment and try again"));
        }
        let mut mounted = self.new_folder(&node.name, &node.path)?;
        let result = mounted.mount(kind, MsFlags::MS_NOATIME, kind.written.unwrap_or_default());
        mounted.or_give_up(result)
    }

    /// Undoes what programs that were killed left behind.
    pub(super) fn clear(&self) {
        for name in names_in(&self.path) {
            let Some((node, process)) = parse_name(&name) else { continue };
            if !Path::new("/proc").join(process.to_string()).exists() {
                // Who holds it uses the device, which may not answer any more.
                let Ok(Some(_lock)) = self.try_lock(node) else { continue };
                let folder = self.path.join(&name);
                // Nobody is left whom a busy one could belong to.
                let _ = umount2(&folder, MntFlags::MNT_DETACH);
                let _ = fs::remove_dir(&folder);
                let _ = self.unprotect(node);
            }
        }
    }

    /// Held while the protection and the mounts of a device are changed, so
    /// that no two programs each believe that the other does it. For each
    /// device alone: one that is dying may keep its lock for long.
    fn lock(&self, name: &str) -> Result<File> {
        let file = self.lock_file(name)?;
        file.lock().context(|| format!("locking {name}"))?;
        Ok(file)
    }

    /// The same, unless somebody else has it.
    fn try_lock(&self, name: &str) -> Result<Option<File>> {
        let file = self.lock_file(name)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(Error::io(format!("locking {name}"), error)),
        }
    }

    fn lock_file(&self, name: &str) -> Result<File> {
        let path = self.path.join(format!(".lock-{name}"));
        let doing = || format!("opening {}", path.display());
        fs::create_dir_all(&self.path).context(doing)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        options.open(&path).context(doing)
    }

    fn new_folder(&self, name: &str, device: &Path) -> Result<Mounted> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = self.path.join(format!("{name}-{}-{number}", std::process::id()));
        fs::create_dir(&folder).context(|| format!("making {}", folder.display()))?;
        Ok(Mounted {
            within: self.clone(),
            name: name.to_owned(),
            device: device.to_owned(),
            folder,
            is_mounted: false,
            program: None,
        })
    }

    /// Where a device is mounted by this or another of our programs.
    fn holders(&self, name: &str) -> Result<Vec<MountPoint>> {
        let points = mount_points().context(|| "asking what is mounted".into())?;
        let is_holder = |point: &PathBuf| {
            self.contains(point)
                && point.file_name().and_then(|it| parse_name(it.to_str()?)).map(|it| it.0)
                    == Some(name)
        };
        Ok(points.into_iter().filter(|mount| is_holder(&mount.point)).collect())
    }

    fn marker(&self, name: &str) -> PathBuf {
        self.path.join(format!(".writable-{name}"))
    }

    fn protect(&self, name: &str, device: &Path) -> Result<()> {
        // The marker first: if this program is killed in between, the device
        // is set to what it was.
        let marker = self.marker(name);
        let is_first = !marker.exists();
        if is_first {
            fs::write(&marker, device.as_os_str().as_encoded_bytes())
                .context(|| format!("writing {}", marker.display()))?;
        }
        let was_protected = set_read_only(device, true)?;
        if is_first && was_protected {
            let _ = fs::remove_file(marker);
        }
        Ok(())
    }

    /// Takes the protection back, if this was the last holder.
    fn unprotect(&self, name: &str) -> Result<()> {
        let marker = self.marker(name);
        if !self.holders(name)?.is_empty() || !marker.exists() {
            return Ok(());
        }
        let device =
            fs::read_to_string(&marker).context(|| format!("reading {}", marker.display()))?;
        // A drive that was pulled out has nothing to be taken back.
        let result = set_read_only(Path::new(&device), false).map(drop);
        let _ = fs::remove_file(marker);
        if Path::new(&device).exists() { result } else { Ok(()) }
    }
}

/// The node and the process of "sda1-1234-0".
fn parse_name(name: &str) -> Option<(&str, u32)> {
    // A lock or a marker.
    if name.starts_with('.') {
        return None;
    }
    let mut parts = name.rsplitn(3, '-');
    let (number, process, node) = (parts.next()?, parts.next()?, parts.next()?);
    number.parse::<u64>().ok()?;
    Some((node, process.parse().ok()?))
}

/// A volume that is mounted until this is dropped.
#[derive(Debug)]
pub struct Mounted {
    within: MountFolder,
    name: String,
    device: PathBuf,
    folder: PathBuf,
    is_mounted: bool,
    /// The program that serves it, if it is not the kernel.
    program: Option<Child>,
}

impl Mounted {
    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder
    }

    fn mount(&mut self, kind: Kind, flags: MsFlags, options: &str) -> Result<()> {
        let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let fstype = Some(kind.fstype);
        let mounted = mount(Some(&self.device), &self.folder, fstype, flags | safe, Some(options));
        let result = match (mounted, kind.program) {
            (Ok(()), _) => Ok(()),
            (Err(Errno::ENODEV), Some(program)) => {
                self.mount_by_program(program, flags.contains(MsFlags::MS_RDONLY))
            }
            (Err(error), _) => Err(cannot_mount(&self.device, kind.fstype, error)),
        };
        self.is_mounted = result.is_ok();
        result
    }

    /// This, if it could be mounted; else nothing is left of it. The caller
    /// holds the lock, which drop would wait for.
    fn or_give_up(self, result: Result<()>) -> Result<Self> {
        let Err(error) = result else { return Ok(self) };
        let _ = fs::remove_dir(&self.folder);
        let _ = self.within.unprotect(&self.name);
        Err(error)
    }

    /// Mounts by a program that serves the filesystem until it is unmounted.
    fn mount_by_program(&mut self, program: &str, is_read_only: bool) -> Result<()> {
        let doing = || format!("mounting {} with {program}", self.device.display());
        let access = if is_read_only { "ro" } else { "rw" };
        let options = format!("no_detach,norecover,noatime,nosuid,nodev,noexec,{access}");
        let mut child = Command::new(program)
            .args([self.device.as_os_str(), self.folder.as_os_str()])
            .args(["-o", &options])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context(doing)?;
        let started = Instant::now();
        while !is_mounted(&self.folder) {
            let has_ended = child.try_wait().context(doing)?.is_some();
            if has_ended || started.elapsed() > FOR_PROGRAM {
                let _ = child.kill();
                let said = child.wait_with_output().context(doing)?;
                let said = String::from_utf8_lossy(&said.stderr);
                let why = said.lines().next().unwrap_or("it ended without a word").to_owned();
                return Err(Error::failed(format!("{}: {why}", doing())));
            }
            thread::sleep(PAUSE);
        }
        self.program = Some(child);
        Ok(())
    }

    /// Unmounts it, so that all that was written is on the drive.
    ///
    /// # Errors
    /// If that fails; it is tried again when the machine is powered off.
    pub fn finish(mut self) -> Result<()> {
        self.undo()
    }

    fn undo(&mut self) -> Result<()> {
        if !self.is_mounted {
            return Ok(());
        }
        let doing = || format!("unmounting {}", self.device.display());
        let _lock = self.within.lock(&self.name)?;
        let mut result = umount(&self.folder);
        for _ in 0..ATTEMPTS {
            match result {
                Err(Errno::EBUSY | Errno::EINTR) => thread::sleep(PAUSE),
                _ => break,
            }
            result = umount(&self.folder);
        }
        result.map_err(io::Error::from).context(doing)?;
        self.is_mounted = false;
        // As long as it runs, it has the device for itself.
        if let Some(mut program) = self.program.take() {
            program.wait().context(doing)?;
        }
        let _ = fs::remove_dir(&self.folder);
        self.within.unprotect(&self.name)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // What cannot be undone now is undone at power-off.
        let _ = self.undo();
    }
}

fn cannot_mount(device: &Path, fstype: &str, error: Errno) -> Error {
    let what = format!("mounting {}", device.display());
    match error {
        Errno::ENODEV => {
            Error::unsupported(format!("{what}: this system has no driver for {fstype}"))
        }
        Errno::EBUSY => Error::refused(format!("{what}: it is in use"))
            .hint("wait until the program that uses it has ended"),
        error => Error::io(what, error.into()),
    }
}

fn is_mounted(folder: &Path) -> bool {
    mount_points().is_ok_and(|points| points.iter().any(|mount| mount.point == folder))
}

fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_tells_its_device_and_its_process() {
        assert_eq!(parse_name("nvme0n1p1-1234-0"), Some(("nvme0n1p1", 1234)));
        assert_eq!(parse_name("a-b-1-2"), Some(("a-b", 1)));
        for name in [".lock-a-1-2", "sda1", "sda1-x-0", "sda1-1-x", ".writable-sda1"] {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }

    #[test]
    fn a_drive_that_does_not_answer_keeps_no_other_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let media = MountFolder::at(folder.path().join("media"));
        let _sda1 = media.lock("sda1").unwrap();
        let (other, (sender, receiver)) = (media.clone(), std::sync::mpsc::channel());
        thread::spawn(move || {
            let _ = sender.send(other.lock("sdb1").is_ok());
        });
        assert_eq!(receiver.recv_timeout(Duration::from_secs(20)), Ok(true));
    }

    #[test]
    fn what_was_left_behind_on_a_drive_that_does_not_answer_is_left_for_later() {
        let folder = tempfile::tempdir().unwrap();
        let media = MountFolder::at(folder.path().join("media"));
        let lock = media.lock("sda1").unwrap();
        // No process has so large a number.
        let left = media.path.join(format!("sda1-{}-0", u32::MAX));
        fs::create_dir(&left).unwrap();
        let (other, (sender, receiver)) = (media.clone(), std::sync::mpsc::channel());
        thread::spawn(move || {
            other.clear();
            let _ = sender.send(());
        });
        assert_eq!(receiver.recv_timeout(Duration::from_secs(20)), Ok(()));
        assert!(left.exists());
        drop(lock);
        media.clear();
        assert!(!left.exists());
    }

    #[test]
    fn what_cannot_be_protected_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let media = MountFolder::at(folder.path().join("media"));
        let path = folder.path().join("no-device");
        fs::write(&path, "").unwrap();
        let node = VolumeNode {
            name: "sdx1".into(),
            path,
            number: crate::device::DeviceNumber::from_raw(0),
            size: 0,
            partition: None,
            disk: crate::device::DiskIdentity::default(),
            removable: false,
            is_disc: false,
            read_only: false,
            users: Vec::new(),
        };
        let kind = super::super::kinds::of("ext4").unwrap();
        let error = media.mount_untouched(&node, kind).unwrap_err();
        assert!(error.to_string().contains("write protection"), "{error}");
        assert_eq!(names_in(&media.path), [".lock-sdx1"]);
    }
}

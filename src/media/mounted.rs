// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mounts of the rescue system: made for a moment, strictly read-only or to be
//! written, and undone by whoever holds them.
//!
//! Several programs may hold the same device, each by a folder of its own:
//! `NAME-PROCESS-NUMBER`. A device that is read is write-protected meanwhile;
//! the last holder takes that back, which a marker file tells it to. What a
//! program that was killed left behind is cleared away by the next one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount, umount2};

use super::kinds::Kind;
use crate::device::{VolumeNode, mount_points, set_read_only};
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
    /// If the kernel refuses.
    pub(super) fn mount_untouched(&self, node: &VolumeNode, kind: Kind) -> Result<Mounted> {
        let _lock = self.lock()?;
        let mut mounted = self.new_folder(&node.name, &node.path)?;
        self.protect(&node.name, &node.path)?;
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOATIME;
        mounted.mount(kind, flags, kind.untouched)?;
        Ok(mounted)
    }

    /// Mounts a volume to write to it.
    ///
    /// # Errors
    /// If it is read by somebody at the moment, or the kernel refuses.
    pub(super) fn mount_to_write(&self, node: &VolumeNode, kind: Kind) -> Result<Mounted> {
        let _lock = self.lock()?;
        if self.holders(&node.name)? > 0 {
            return Err(Error::refused(format!("{} is being read", node.path.display()))
                .hint("another screen is searching it; wait a moment and try again"));
        }
        let mut mounted = self.new_folder(&node.name, &node.path)?;
        mounted.mount(kind, MsFlags::MS_NOATIME, kind.written.unwrap_or_default())?;
        Ok(mounted)
    }

    /// Undoes what programs that were killed left behind.
    pub(super) fn clear(&self) {
        let Ok(_lock) = self.lock() else { return };
        for name in names_in(&self.path) {
            let Some((node, process)) = parse_name(&name) else { continue };
            if !Path::new("/proc").join(process.to_string()).exists() {
                let folder = self.path.join(&name);
                // Nobody is left whom a busy one could belong to.
                let _ = umount2(&folder, MntFlags::MNT_DETACH);
                let _ = fs::remove_dir(&folder);
                let _ = self.unprotect(node);
            }
        }
    }

    /// Held while the protection and the mounts are changed, so that no two
    /// programs each believe that the other does it.
    fn lock(&self) -> Result<File> {
        let doing = || format!("locking {}", self.path.display());
        fs::create_dir_all(&self.path).context(doing)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(self.path.join(".lock")).context(doing)?;
        file.lock().context(doing)?;
        Ok(file)
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

    /// How many folders there are for a device.
    fn holders(&self, name: &str) -> Result<usize> {
        let points = mount_points().context(|| "asking what is mounted".into())?;
        let is_holder = |point: &PathBuf| {
            self.contains(point)
                && point.file_name().and_then(|it| parse_name(it.to_str()?)).map(|it| it.0)
                    == Some(name)
        };
        Ok(points.iter().filter(|mount| is_holder(&mount.point)).count())
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
        if self.holders(name)? > 0 || !marker.exists() {
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
        if result.is_err() {
            // The caller holds the lock, which drop would wait for.
            let _ = fs::remove_dir(&self.folder);
            let _ = self.within.unprotect(&self.name);
        }
        result
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
        if !std::mem::take(&mut self.is_mounted) {
            return Ok(());
        }
        let doing = || format!("unmounting {}", self.device.display());
        let _lock = self.within.lock()?;
        let mut result = umount(&self.folder);
        for _ in 0..ATTEMPTS {
            match result {
                Err(Errno::EBUSY | Errno::EINTR) => thread::sleep(PAUSE),
                _ => break,
            }
            result = umount(&self.folder);
        }
        result.map_err(io::Error::from).context(doing)?;
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
        for name in [".lock", "sda1", "sda1-x-0", "sda1-1-x", ".writable-sda1"] {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }
}

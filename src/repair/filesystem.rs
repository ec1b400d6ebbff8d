// SPDX-License-Identifier: MIT OR Apache-2.0
//! How each filesystem is checked and made as large as its device, by its own
//! programs.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::mkdtemp;

use super::tool::{arg, run};
use crate::error::{Context, Error, Result};
use crate::fs::Identity;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::Fields;
use crate::units::MIB;

/// How a filesystem grows.
pub(super) trait Grower: Sync {
    /// The programs that are needed.
    fn tools(&self) -> &'static [&'static str];

    /// What checks it, for people.
    fn check_by(&self) -> &'static str;

    /// What grows it, for people.
    fn grow_by(&self) -> &'static str;

    /// What a person should know before.
    fn remark(&self) -> Option<&'static str> {
        None
    }

    /// What a person should know afterwards.
    fn afterwards(&self) -> Option<&'static str> {
        None
    }

    /// Why this one cannot become `len` bytes long, from what is on it.
    fn refuses(&self, before: &Identity, volume: &dyn ReadAt, len: u64) -> Option<String> {
        let _ = (before, volume, len);
        None
    }

    /// Checks it, and says what came of it.
    fn check(&self, tools: &[PathBuf], device: &Path, before: &Identity) -> Result<Vec<String>>;

    /// Makes it as large as the device.
    fn grow(&self, tools: &[PathBuf], device: &Path, before: &Identity) -> Result<()>;
}

/// What grows the filesystem of this name.
pub(super) fn grower(name: &str) -> Option<&'static dyn Grower> {
    match name {
        "ext2" | "ext3" | "ext4" => Some(&Ext),
        "XFS" => Some(&Xfs),
        "btrfs" => Some(&Btrfs),
        "NTFS" => Some(&Ntfs),
        _ => None,
    }
}

struct Ext;

impl Grower for Ext {
    fn tools(&self) -> &'static [&'static str] {
        &["resize2fs", "e2fsck"]
    }

    fn check_by(&self) -> &'static str {
        "e2fsck, which corrects small errors by itself"
    }

    fn grow_by(&self) -> &'static str {
        "resize2fs"
    }

    fn check(&self, tools: &[PathBuf], device: &Path, _: &Identity) -> Result<Vec<String>> {
        // It corrects only what needs no answer of a person, and ends with 1
        // if there was something.
        let args = [OsStr::new("-f"), OsStr::new("-p"), arg(device)];
        let ran = run(tools, "e2fsck", &args, "")?.ended_with(&[0, 1])?;
        let found = if ran.has_ended_with(1) { "corrected small errors" } else { "found it good" };
        Ok(vec![format!("e2fsck {found}: {}", without_path(&ran.last_words(), device))])
    }

    fn grow(&self, tools: &[PathBuf], device: &Path, _: &Identity) -> Result<()> {
        run(tools, "resize2fs", &[arg(device)], "")?.ended_with(&[0]).map(drop)
    }
}

/// XFS grows while it is mounted, which also replays its log and so is the
/// check: a damaged one is not mounted.
struct Xfs;

impl Grower for Xfs {
    fn tools(&self) -> &'static [&'static str] {
        &["xfs_growfs"]
    }

    fn check_by(&self) -> &'static str {
        "by mounting it, which completes what its log has begun"
    }

    fn grow_by(&self) -> &'static str {
        "xfs_growfs"
    }

    fn check(&self, _: &[PathBuf], device: &Path, _: &Identity) -> Result<Vec<String>> {
        Mounted::new(device, "xfs", "nouuid")?.finish()?;
        Ok(vec!["the system could mount it".into()])
    }

    fn grow(&self, tools: &[PathBuf], device: &Path, _: &Identity) -> Result<()> {
        let mounted = Mounted::new(device, "xfs", "nouuid")?;
        let ran = run(tools, "xfs_growfs", &[arg(mounted.point())], "");
        let ended = ran.and_then(|ran| ran.ended_with(&[0]));
        mounted.finish()?;
        ended.map(drop)
    }
}

/// btrfs grows while it is mounted.
struct Btrfs;

/// Fields of the superblock, which is at this byte.
const BTRFS_SUPERBLOCK: u64 = 0x10000;
const BTRFS_DEVICES: usize = 0x88;
/// The kernel refuses to make a device of btrfs smaller than this, even larger.
const BTRFS_LEAST: u64 = 256 * MIB;

impl Grower for Btrfs {
    fn tools(&self) -> &'static [&'static str] {
        &["btrfs"]
    }

    fn check_by(&self) -> &'static str {
        "btrfs check"
    }

    fn grow_by(&self) -> &'static str {
        "btrfs filesystem resize"
    }

    fn refuses(&self, _: &Identity, volume: &dyn ReadAt, len: u64) -> Option<String> {
        if len < BTRFS_LEAST {
            return Some("btrfs changes its size from 256 MiB on only".into());
        }
        let superblock = read_vec(volume, BTRFS_SUPERBLOCK, 4096).ok()?;
        let devices = superblock.u64_le(BTRFS_DEVICES)?;
        (devices != 1).then(|| {
            format!(
                "its btrfs filesystem is spread over {devices} devices, which is not grown here"
            )
        })
    }

    fn check(&self, tools: &[PathBuf], device: &Path, _: &Identity) -> Result<Vec<String>> {
        let args = [OsStr::new("check"), OsStr::new("--readonly"), arg(device)];
        run(tools, "btrfs", &args, "")?.ended_with(&[0])?;
        Ok(vec!["btrfs check found it good".into()])
    }

    fn grow(&self, tools: &[PathBuf], device: &Path, _: &Identity) -> Result<()> {
        // The number of the device is not 1 where others were removed.
        let superblock = fs::File::open(device)
            .and_then(|file| {
                let mut bytes = vec![0; 4096];
                std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, BTRFS_SUPERBLOCK)?;
                Ok(bytes)
            })
            .context(|| "reading the superblock of btrfs".into())?;
        let number = superblock.u64_le(0xc9).unwrap_or(1);
        let mounted = Mounted::new(device, "btrfs", "")?;
        let size = format!("{number}:max");
        let args = ["filesystem", "resize", &size].map(OsStr::new);
        let ran = run(tools, "btrfs", &[&args[..], &[arg(mounted.point())]].concat(), "");
        let ended = ran.and_then(|ran| ran.ended_with(&[0]));
        mounted.finish()?;
        ended.map(drop)
    }
}

struct Ntfs;

impl Grower for Ntfs {
    fn tools(&self) -> &'static [&'static str] {
        &["ntfsresize"]
    }

    fn check_by(&self) -> &'static str {
        "ntfsresize, first without writing"
    }

    fn grow_by(&self) -> &'static str {
        "ntfsresize"
    }

    fn remark(&self) -> Option<&'static str> {
        Some("Windows checks the disk once when it starts the next time; let it finish")
    }

    fn afterwards(&self) -> Option<&'static str> {
        Some("Windows will check the disk once when it starts the next time; let it finish")
    }

    fn refuses(&self, before: &Identity, _: &dyn ReadAt, _: u64) -> Option<String> {
        let why = before.unclean.as_ref()?;
        Some(format!(
            "its NTFS filesystem is not clean ({why}): start Windows, shut it down with Shift \
             held, and grow it then, which Windows can do by itself in its disk management"
        ))
    }

    fn check(&self, tools: &[PathBuf], device: &Path, _: &Identity) -> Result<Vec<String>> {
        for option in ["--info", "--no-action"] {
            run(tools, "ntfsresize", &[OsStr::new(option), arg(device)], "y\n")?
                .ended_with(&[0])?;
        }
        Ok(vec!["ntfsresize found it good in a trial without writing".into()])
    }

    fn grow(&self, tools: &[PathBuf], device: &Path, _: &Identity) -> Result<()> {
        // It asks once whether it may.
        run(tools, "ntfsresize", &[arg(device)], "y\n")?.ended_with(&[0]).map(drop)
    }
}

/// What a program said, without the name of a device that is gone by then.
fn without_path(text: &str, device: &Path) -> String {
    text.replace(&format!("{}: ", device.display()), "")
}

/// A filesystem mounted in a folder of its own, which nobody else may look
/// into; all goes away with it.
struct Mounted {
    folder: PathBuf,
    point: PathBuf,
    is_mounted: bool,
}

/// How often unmounting is tried while somebody has a look at the filesystem,
/// as desktops do, and how long is waited in between.
const UNMOUNT_TRIES: u32 = 50;
const UNMOUNT_PAUSE: Duration = Duration::from_millis(100);

impl Mounted {
    fn new(device: &Path, kind: &str, options: &str) -> Result<Self> {
        let what = || format!("mounting the {kind} filesystem");
        // Of a name that nobody can have taken before.
        let folder = mkdtemp(&std::env::temp_dir().join("dacapo-grow-XXXXXX"))
            .map_err(std::io::Error::from)
            .context(what)?;
        let mut mounted = Self { point: folder.join("filesystem"), folder, is_mounted: false };
        fs::create_dir(&mounted.point).context(what)?;
        let flags =
            MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOSUID | MsFlags::MS_NOATIME;
        mount(Some(device), &mounted.point, Some(kind), flags, Some(options))
            .map_err(std::io::Error::from)
            .context(what)?;
        mounted.is_mounted = true;
        // btrfs mounts by identity: with a second disk of the same one
        // attached it may be the other.
        let mounts = fs::read_to_string("/proc/self/mounts").context(what)?;
        let device = device.to_string_lossy();
        let place = mounted.point.to_string_lossy();
        let is_ours = mounts.lines().any(|line| {
            let mut fields = line.split(' ');
            fields.next() == Some(&*device) && fields.next() == Some(&*place)
        });
        if !is_ours {
            return Err(Error::refused(format!(
                "another disk with the same {kind} filesystem is attached"
            ))
            .hint("disconnect the disk that this one was copied from, and start again"));
        }
        Ok(mounted)
    }

    fn point(&self) -> &Path {
        &self.point
    }

    fn finish(mut self) -> Result<()> {
        let mut tries = 0;
        let ended = loop {
            tries += 1;
            match umount2(&self.point, MntFlags::empty()) {
                Err(nix::Error::EBUSY) if tries < UNMOUNT_TRIES => thread::sleep(UNMOUNT_PAUSE),
                ended => break ended,
            }
        };
        self.is_mounted = ended.is_err();
        ended.map_err(std::io::Error::from).context(|| "unmounting the filesystem".into())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.is_mounted {
            let _ = umount2(&self.point, MntFlags::MNT_DETACH);
        }
        let _ = fs::remove_dir(&self.point);
        let _ = fs::remove_dir(&self.folder);
    }
}

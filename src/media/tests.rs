// SPDX-License-Identifier: MIT OR Apache-2.0
//! Searching real filesystems on loop devices: nothing on them may change.
//! Needs root and says so where it is missing.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use uuid::Uuid;

use super::destinations::{Destination, Needs, destination_of, mount_writable_in};
use super::found::{FoundImage, Search, open_in, search_volumes};
use super::mounted::MountFolder;
use crate::device::{VolumeNode, check_target, mount_points, volumes};
use crate::error::ErrorKind;
use crate::extent::ExtentSet;
use crate::image::format::About;
use crate::image::{Head, Report, Writer};

/// An image of a disk of zeros.
pub(super) fn image() -> Vec<u8> {
    let about = About { label: Some("Studio".into()), ..About::default() };
    let (chunk_size, disk_len) = (1 << 16, 4 << 16);
    let used = ExtentSet::all(disk_len);
    let head = Head { image_id: Uuid::from_u128(7), disk_len, chunk_size, about, used };
    let mut writer = Writer::create(Vec::new(), head).unwrap();
    writer.zeros(4);
    writer.finish(Report::default()).unwrap().0
}

/// What a file of so many bytes without holes needs.
const fn needs(len: u64) -> Needs {
    Needs { room: len, len }
}

/// False, and said, where the test cannot run.
fn can_mount(program: &str) -> bool {
    let folders = ["/usr/sbin", "/sbin", "/usr/bin"];
    let has_program = folders.iter().any(|folder| Path::new(folder).join(program).exists());
    let is_able = nix::unistd::geteuid().is_root() && Path::new("/dev/loop-control").exists();
    if is_able && has_program {
        return true;
    }
    let may_not_skip = std::env::var_os("DACAPO_NO_SKIP").is_some_and(|value| value == "1");
    assert!(!may_not_skip, "this test needs root, loop devices and {program}");
    eprintln!("skipped: needs root, loop devices and {program}");
    false
}

#[track_caller]
fn run(program: &str, arguments: &[&str]) -> String {
    let path = "/usr/sbin:/sbin:/usr/bin:/bin";
    let ran = Command::new(program).args(arguments).env("PATH", path).output().unwrap();
    assert!(ran.status.success(), "{program} {arguments:?}: {ran:?}");
    String::from_utf8_lossy(&ran.stdout).trim().to_owned()
}

fn hash(path: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut File::open(path).unwrap(), &mut hasher).unwrap();
    hasher.finalize().to_hex().to_string()
}

/// A file that is a drive with a filesystem.
struct Drive {
    device: String,
    file: PathBuf,
}

impl Drive {
    fn attach(file: &Path) -> Self {
        let device = run("losetup", &["--find", "--show", file.to_str().unwrap()]);
        Self { device, file: file.to_owned() }
    }

    fn node(&self) -> VolumeNode {
        let volumes = volumes().unwrap();
        volumes.into_iter().find(|node| node.path == Path::new(&self.device)).unwrap()
    }

    /// The hash of what is in the file, after all that was written.
    fn hash(&self) -> String {
        run("sync", &["-f", self.file.to_str().unwrap()]);
        run("blockdev", &["--flushbufs", &self.device]);
        hash(&self.file)
    }

    fn is_read_only(&self) -> bool {
        run("blockdev", &["--getro", &self.device]) == "1"
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        run("losetup", &["--detach", &self.device]);
    }
}

/// A drive on which an image was saved long ago, and on which the power was
/// cut while something else was written: its journal has to be replayed.
fn unclean(folder: &Path, mkfs: &[&str], fstype: &str, len: u64) -> PathBuf {
    let (raw, point) = (folder.join("raw"), folder.join("point"));
    File::create(&raw).unwrap().set_len(len).unwrap();
    fs::create_dir(&point).unwrap();
    let (program, arguments) = mkfs.split_first().unwrap();
    run(program, &[arguments, &[raw.to_str().unwrap()]].concat());
    let drive = Drive::attach(&raw);
    let mount = || run("mount", &["-t", fstype, &drive.device, point.to_str().unwrap()]);
    let umount = || run("umount", &[point.to_str().unwrap()]);
    mount();
    fs::create_dir(point.join("images")).unwrap();
    fs::write(point.join("images/studio.img.zst"), image()).unwrap();
    umount();
    mount();
    let late = point.join("late");
    fs::write(&late, [7; 100_000]).unwrap();
    File::open(&late).unwrap().sync_all().unwrap();
    // What is on the drive at this moment is what a power cut would leave.
    let cut = folder.join("cut");
    fs::copy(&raw, &cut).unwrap();
    umount();
    cut
}

fn search(drives: &[&Drive], folder: &MountFolder) -> Search {
    let nodes = drives.iter().map(|drive| drive.node()).collect();
    search_volumes(nodes, &mount_points_of(drives), folder, &|_| ())
}

/// Only what concerns the drives of a test: others are of other tests.
fn mount_points_of(drives: &[&Drive]) -> Vec<crate::device::MountPoint> {
    let is_ours = |source: &Path| drives.iter().any(|it| source == Path::new(&it.device));
    mount_points().unwrap().into_iter().filter(|mount| is_ours(&mount.source)).collect()
}

fn only_image(found: &Search) -> &FoundImage {
    assert_eq!(found.skipped, []);
    let [image] = &found.images[..] else { panic!("{found:?}") };
    assert_eq!(image.error, None);
    image
}

/// Searches, opens, and closes; not a byte may have changed, and the drive
/// must be as free to be overwritten as before.
fn leaves_unchanged(mkfs: &[&str], fstype: &str, len: u64) {
    if !can_mount(mkfs[0]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let media = MountFolder::at(folder.path().join("media"));
    let drive = Drive::attach(&unclean(folder.path(), mkfs, fstype, len));
    let before = drive.hash();
    let found = search(&[&drive], &media);
    let image = only_image(&found);
    assert_eq!(image.path_on_medium, Path::new("images/studio.img.zst"));
    assert!(mount_points_of(&[&drive]).is_empty());
    assert!(!drive.is_read_only());
    let device = Path::new(&drive.device);
    check_target(device, None).unwrap();

    let opened = open_in(image, &media).unwrap();
    assert_eq!(fs::read(opened.path()).unwrap(), self::image());
    assert!(drive.is_read_only());
    let refused = check_target(device, Some(opened.path())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    assert!(refused.to_string().contains("holds the image"), "{refused}");
    // A second screen searches meanwhile, and takes nothing away.
    only_image(&search(&[&drive], &media));
    assert!(drive.is_read_only());
    assert!(opened.path().exists());
    drop(opened);
    assert!(!drive.is_read_only());
    check_target(device, None).unwrap();
    assert_eq!(drive.hash(), before, "{fstype} was changed by being searched");

    // The test would notice: mounted in the usual way, it does change.
    let point = folder.path().join("point");
    run("mount", &["-t", fstype, &drive.device, point.to_str().unwrap()]);
    run("umount", &[point.to_str().unwrap()]);
    assert_ne!(drive.hash(), before, "the journal of {fstype} was not to be replayed at all");
}

#[test]
fn an_ext4_with_a_journal_to_replay_is_searched_and_left_alone() {
    leaves_unchanged(&["mkfs.ext4", "-q"], "ext4", 32 << 20);
}

#[test]
fn an_xfs_with_a_log_to_replay_is_searched_and_left_alone() {
    leaves_unchanged(&["mkfs.xfs", "-q"], "xfs", 320 << 20);
}

#[test]
fn a_btrfs_with_a_log_to_replay_is_searched_and_left_alone() {
    leaves_unchanged(&["mkfs.btrfs", "-q"], "btrfs", 128 << 20);
}

/// The kernel of Debian has no driver for it; a program serves it.
#[test]
fn an_ntfs_is_searched_and_left_alone() {
    if !can_mount("mkfs.ntfs") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let media = MountFolder::at(folder.path().join("media"));
    let (raw, point) = (folder.path().join("raw"), folder.path().join("point"));
    File::create(&raw).unwrap().set_len(32 << 20).unwrap();
    fs::create_dir(&point).unwrap();
    run("mkfs.ntfs", &["-q", "-F", "-Q", "-L", "WINDISK", raw.to_str().unwrap()]);
    run("ntfs-3g", &[raw.to_str().unwrap(), point.to_str().unwrap()]);
    for name in ["Backup", "Windows"] {
        fs::create_dir(point.join(name)).unwrap();
        fs::write(point.join(name).join("a.img.zst"), image()).unwrap();
    }
    run("umount", &[point.to_str().unwrap()]);
    let drive = Drive::attach(&raw);
    let before = drive.hash();
    let found = search(&[&drive], &media);
    let image = only_image(&found);
    assert_eq!(image.path_on_medium, Path::new("Backup/a.img.zst"));
    let opened = open_in(image, &media).unwrap();
    assert_eq!(fs::read(opened.path()).unwrap(), self::image());
    let refused = check_target(Path::new(&drive.device), Some(opened.path())).unwrap_err();
    assert!(refused.to_string().contains("holds the image"), "{refused}");
    drop(opened);
    check_target(Path::new(&drive.device), None).unwrap();
    assert_eq!(drive.hash(), before);
    let destination = destination_of(&drive.node(), false, needs(1 << 20), &media).unwrap();
    assert_eq!((&destination.why_not, &destination.note), (&None, &None));
    let writable = mount_writable_in(&destination, &media).unwrap();
    fs::write(writable.path().join("new.img.zst"), self::image()).unwrap();
    writable.finish().unwrap();
    let found = search(&[&drive], &media);
    assert_eq!(found.images.len(), 2, "{found:?}");
}

#[test]
fn a_program_that_was_killed_leaves_nothing_for_long() {
    if !can_mount("mkfs.ext4") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let media_path = folder.path().join("media");
    let media = MountFolder::at(&media_path);
    let drive = Drive::attach(&unclean(folder.path(), &["mkfs.ext4", "-q"], "ext4", 32 << 20));
    let found = search(&[&drive], &media);
    let opened = open_in(only_image(&found), &media).unwrap();
    // As if the process had another number and were gone.
    let name = drive.device.trim_start_matches("/dev/");
    let old = opened.path().ancestors().find(|it| it.parent() == Some(&media_path)).unwrap();
    let dead = media_path.join(format!("{name}-4194304-0"));
    fs::create_dir(&dead).unwrap();
    run("mount", &["--move", old.to_str().unwrap(), dead.to_str().unwrap()]);
    std::mem::forget(opened);
    assert!(drive.is_read_only());
    media.clear();
    assert!(mount_points_of(&[&drive]).is_empty());
    assert!(!drive.is_read_only() && !dead.exists());
}

#[test]
fn a_destination_says_what_is_free_and_can_be_written() {
    if !can_mount("mkfs.ext4") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let media = MountFolder::at(folder.path().join("media"));
    let raw = folder.path().join("raw");
    File::create(&raw).unwrap().set_len(32 << 20).unwrap();
    run("mkfs.ext4", &["-q", "-L", "STUDIO", raw.to_str().unwrap()]);
    let drive = Drive::attach(&raw);
    let look = |is_source: bool, needed: u64| -> Destination {
        destination_of(&drive.node(), is_source, needs(needed), &media).unwrap()
    };
    let before = drive.hash();
    let destination = look(false, 1 << 20);
    assert_eq!(destination.label.as_deref(), Some("STUDIO"));
    assert_eq!((&destination.why_not, &destination.note), (&None, &None));
    let free = destination.free.unwrap();
    assert!((20 << 20..32 << 20).contains(&free), "{free}");
    assert_eq!(drive.hash(), before);
    // Holes take no room.
    let holes = Needs { room: 1 << 20, len: 40 << 20 };
    let holes = destination_of(&drive.node(), false, holes, &media).unwrap();
    assert_eq!((holes.why_not, holes.note), (None, None));
    // A part of it may be there already.
    let large = look(false, 40 << 20);
    assert!(large.why_not.is_none() && large.note.unwrap().contains("40.0 MiB are needed"));
    let source = look(true, 1 << 20);
    assert!(source.why_not.as_ref().unwrap().contains("disk that is saved"));
    assert!(mount_writable_in(&source, &media).is_err());

    let writable = mount_writable_in(&destination, &media).unwrap();
    fs::write(writable.path().join("new.img.zst"), self::image()).unwrap();
    writable.finish().unwrap();
    assert!(mount_points_of(&[&drive]).is_empty());
    let found = search(&[&drive], &media);
    assert_eq!(only_image(&found).path_on_medium, Path::new("new.img.zst"));
    run("e2fsck", &["-fn", &drive.device]);
}

#[test]
fn a_full_drive_and_a_small_file_limit_are_said() {
    if !can_mount("mkfs.vfat") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let media = MountFolder::at(folder.path().join("media"));
    let raw = folder.path().join("raw");
    File::create(&raw).unwrap().set_len(64 << 20).unwrap();
    run("mkfs.vfat", &["-F", "32", raw.to_str().unwrap()]);
    let drive = Drive::attach(&raw);
    // Also if most of the file is a hole.
    let needs = Needs { room: 1 << 20, len: 5 << 30 };
    let destination = destination_of(&drive.node(), false, needs, &media).unwrap();
    // A kernel without the driver cannot say more than that.
    let why_not = destination.why_not.unwrap();
    assert!(why_not.contains("4 GiB") || why_not.contains("no driver for vfat"), "{why_not}");
    assert!(!drive.is_read_only());
}

/// An ext4 that is not in use.
fn small_ext4(folder: &Path) -> Drive {
    let raw = folder.join("raw");
    File::create(&raw).unwrap().set_len(16 << 20).unwrap();
    run("mkfs.ext4", &["-q", raw.to_str().unwrap()]);
    Drive::attach(&raw)
}

/// Searches with a list of mounts from before another screen made its own.
#[track_caller]
fn assert_left_alone(drive: &Drive, media: &MountFolder, why: &str) {
    let found = search_volumes(vec![drive.node()], &[], media, &|_| ());
    assert_eq!(found.images, []);
    let [skipped] = &found.skipped[..] else { panic!("{found:?}") };
    assert!(skipped.why.contains(why), "{skipped:?}");
    assert!(!drive.is_read_only());
}

#[test]
fn a_drive_that_is_written_to_is_left_alone_by_a_search() {
    if !can_mount("mkfs.ext4") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let media = MountFolder::at(folder.path().join("media"));
    let drive = small_ext4(folder.path());
    let destination = destination_of(&drive.node(), false, needs(1 << 20), &media).unwrap();
    let writable = mount_writable_in(&destination, &media).unwrap();
    assert_left_alone(&drive, &media, "being written");
    fs::write(writable.path().join("new.img.zst"), self::image()).unwrap();
    writable.finish().unwrap();
    assert_eq!(only_image(&search(&[&drive], &media)).path_on_medium, Path::new("new.img.zst"));

    // As a restore has it: claimed, and written again and again.
    let ended = AtomicBool::new(false);
    let mut options = File::options();
    let target = options.read(true).write(true).custom_flags(libc::O_EXCL).open(&drive.device);
    let target = target.unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut block = [0; 4096];
            target.read_exact_at(&mut block, 0)?;
            while !ended.load(Ordering::Relaxed) {
                target.write_all_at(&block, 0)?;
            }
            std::io::Result::Ok(())
        });
        for _ in 0..10 {
            assert_left_alone(&drive, &media, "in use");
        }
        ended.store(true, Ordering::Relaxed);
        writer.join().unwrap().unwrap();
    });
    drop(target);
    only_image(&search(&[&drive], &media));
}

#[test]
fn a_drive_that_is_still_in_use_is_unmounted_later() {
    if !can_mount("mkfs.ext4") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let media = MountFolder::at(folder.path().join("media"));
    let drive = small_ext4(folder.path());
    let destination = destination_of(&drive.node(), false, needs(1 << 20), &media).unwrap();
    let writable = mount_writable_in(&destination, &media).unwrap();
    let used = File::create(writable.path().join("used")).unwrap();
    // After the first tries, and before the last ones.
    let user = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(3));
        drop(used);
    });
    let error = writable.finish().unwrap_err();
    assert!(error.to_string().contains("unmounting"), "{error}");
    user.join().unwrap();
    assert!(mount_points_of(&[&drive]).is_empty());
    check_target(Path::new(&drive.device), None).unwrap();
}

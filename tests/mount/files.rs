// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files in a mounted folder against those of the kernel's own mount.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::{MIB, Mounted, disk, fill, save};
use crate::support::{Loop, Mount, hash_of, junk, requires, run, sparse_file, temp_dir, tree_of};

const NEEDS: &[&str] = &[
    "root",
    "loop",
    "kernel:ext4",
    "kernel:xfs",
    "kernel:btrfs",
    "kernel:fuse",
    "mkfs.ext4",
    "mkfs.xfs",
    "mkfs.btrfs",
    "sgdisk",
    "getfattr",
    "setfattr",
    "mknod",
];

/// All that can be asked of what is in a folder, by its path.
fn known_of(folder: &Path) -> BTreeMap<String, String> {
    let mut known = BTreeMap::new();
    walk(folder, folder, &mut known);
    known
}

fn walk(root: &Path, folder: &Path, known: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let data = fs::symlink_metadata(&path).unwrap();
        let kind = data.file_type();
        let content = if kind.is_file() {
            format!("{} bytes, {}", data.len(), hash_of(&path))
        } else if kind.is_symlink() {
            format!("to {:?}", fs::read_link(&path).unwrap())
        } else if kind.is_block_device() || kind.is_char_device() {
            format!("device {:x}", data.rdev())
        } else {
            String::new()
        };
        let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        // A program for each of thousands of names would take too long.
        let xattrs = if name.starts_with("many/") { String::new() } else { xattrs_of(&path) };
        let text = format!(
            "{:o} {}:{} {} links, {}.{} {}.{} {content} {}",
            data.mode(),
            data.uid(),
            data.gid(),
            data.nlink(),
            data.mtime(),
            data.mtime_nsec(),
            data.ctime(),
            data.ctime_nsec(),
            xattrs,
        );
        known.insert(name, text);
        if kind.is_dir() {
            walk(root, &path, known);
        }
    }
}

fn xattrs_of(path: &Path) -> String {
    let args = ["--absolute-names", "-h", "-d", "-m", "-", "-e", "hex", path.to_str().unwrap()];
    let ran = run("getfattr", &args);
    let mut lines: Vec<&str> = ran.out().lines().filter(|it| !it.starts_with('#')).collect();
    lines.sort_unstable();
    lines.concat()
}

/// What few files have.
fn add_rarities(folder: &Path) {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let _ = run("mknod", &[&path("device"), "b", "8", "300"]);
    let _ = run("mknod", &[&path("pipe"), "p"]);
    fs::write(path("setuid"), "x").unwrap();
    fs::set_permissions(path("setuid"), fs::Permissions::from_mode(0o6751)).unwrap();
    let _ = run("setfattr", &["-n", "user.mood", "-v", "quiet", &path("setuid")]);
    let _ = run("setfattr", &["-n", "trusted.t", "-v", "0x00ff", &path("projects")]);
    let _ = run("chown", &["1234:4321", &path("empty")]);
    let _ = run("touch", &["-d", "1999-12-31 23:59:59.987654321 UTC", &path("empty")]);
    let holes = fs::File::create(path("holes")).unwrap();
    holes.set_len(3 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&holes, &junk(5000, 3), (1 << 20) + 77).unwrap();
    let many = folder.join("many");
    fs::create_dir(&many).unwrap();
    for number in 0..2000 {
        fs::write(many.join(format!("a name that is not short {number}")), "").unwrap();
    }
    std::os::unix::fs::symlink("/etc/passwd", path("absolute")).unwrap();
    std::os::unix::fs::symlink("x".repeat(300), path("long link")).unwrap();
}

#[test]
fn files_are_those_that_the_kernel_shows() {
    if !requires(NEEDS) {
        return;
    }
    let folder = temp_dir();
    let (raw, image) = (folder.join("disk.raw"), folder.join("disk.img.zst"));
    disk(&raw);
    let parts = [(1, 1, 64, "ext4"), (2, 65, 310, "xfs"), (3, 375, 184, "btrfs")];
    let part = |offset: u64, size: u64, more: &[&str]| {
        let (offset, size) = ((offset * MIB).to_string(), (size * MIB).to_string());
        Loop::new(&raw, &[&["--offset", &offset, "--sizelimit", &size], more].concat())
    };
    for (_, offset, size, kind) in parts {
        let device = part(offset, size, &[]);
        add_rarities(Mount::new(device.device(), kind, "rw").path());
    }
    save(&raw, &image);
    let mounted = Mounted::new(&image, &[]);
    for (number, offset, size, kind) in parts {
        let device = part(offset, size, &["--read-only"]);
        let wanted = known_of(Mount::new(device.device(), kind, "ro").path());
        let found = known_of(&mounted.path().join(format!("files/{number}-part{number}")));
        assert!(wanted.len() > 2000);
        for (name, text) in &wanted {
            assert_eq!(found.get(name), Some(text), "{kind} {name}");
        }
        assert_eq!(found.len(), wanted.len(), "{kind}");
    }
    let ended = mounted.unmount();
    assert_eq!(ended.code, 0, "{}", ended.output);
}

#[test]
fn files_of_windows_are_those_that_ntfs_3g_shows() {
    if !requires(&["root", "loop", "kernel:fuse", "mkntfs", "ntfs-3g", "sgdisk", "getfattr"]) {
        return;
    }
    let folder = temp_dir();
    let (raw, image) = (folder.join("disk.raw"), folder.join("disk.img.zst"));
    sparse_file(&raw, 66 * MIB);
    run("sgdisk", &["-n1:1M:+64M", "-t1:0700", "-c1:Basic data partition", &raw]);
    let part = |more: &[&str]| {
        let size = (64 * MIB).to_string();
        Loop::new(&raw, &[&["--offset", "1048576", "--sizelimit", &size], more].concat())
    };
    {
        let device = part(&[]);
        run("mkntfs", &["-q", "-f", "-F", "-L", "Windows", device.device()]);
        let mount = Mount::new(device.device(), "ntfs-3g", "streams_interface=xattr");
        fill(mount.path(), 7);
        let song = mount.path().join("projects/song.wav");
        let song = song.to_str().unwrap();
        run("setfattr", &["-n", "user.Zone.Identifier", "-v", "ZoneId=3", song]);
    }
    save(&raw, &image);
    let mounted = Mounted::new(&image, &[]);
    let files = mounted.path().join("files/1-Windows");
    {
        // The kernel mounts what is in the folder by another program.
        let device = Loop::new(mounted.join("1-Windows.img"), &["--read-only"]);
        let options = "ro,streams_interface=xattr";
        let wanted = Mount::new(device.device(), "ntfs-3g", options);
        let shown = tree_of(wanted.path());
        let found = tree_of(&files);
        for (name, text) in &shown {
            assert_eq!(found.get(name), Some(text), "{name}");
        }
        assert!(shown.len() > 100);
        for name in ["projects/song.wav", "projects/50.bin", "empty"] {
            let [found, wanted] =
                [&files, wanted.path()].map(|root| fs::metadata(root.join(name)).unwrap());
            assert_eq!(found.modified().unwrap(), wanted.modified().unwrap(), "{name}");
            assert_eq!(found.nlink(), wanted.nlink(), "{name}");
            assert_eq!((found.mode(), found.uid()), (0o100_444, 0), "{name}");
        }
        let stream = |root: &Path| {
            let path = root.join("projects/song.wav");
            let args = ["-n", "user.Zone.Identifier", "--only-values", "--absolute-names"];
            run("getfattr", &[&args[..], &[path.to_str().unwrap()]].concat()).stdout
        };
        assert_eq!(stream(&files), b"ZoneId=3");
        assert_eq!(stream(wanted.path()), b"ZoneId=3");
    }
    let ended = mounted.unmount();
    assert_eq!(ended.code, 0, "{}", ended.output);
}

/// Names in capitals of either kind, forks and what the Finder keeps.
#[test]
fn files_of_an_old_mac_are_those_that_hfsutils_copied() {
    const MAKE: &str = r#"
cd "$1"; export HOME=$1
truncate -s 2M mac.raw
hformat -l 'Old Songs' mac.raw >/dev/null
head -c 60000 /dev/urandom >song; head -c 3000 /dev/urandom >resource
python3 "$2" 'A Song' song resource >song.bin
hmkdir :Songs
hcopy -m song.bin :Songs:
hcopy -r song ':Songs:b/c'
humount
"#;
    let needs = ["kernel:fuse", "hformat", "hmkdir", "hcopy", "humount", "getfattr", "python3"];
    if !requires(&needs) {
        return;
    }
    let folder = temp_dir();
    let at = folder.path().to_str().unwrap();
    run("bash", &["-euc", MAKE, "bash", at, crate::files::hfs::MACBINARY]);
    let mounted = Mounted::new(&folder.join("mac.raw"), &[]);
    let songs = mounted.path().join("files/disk/Songs");
    let song = songs.join("A Song");
    let wanted = fs::read(folder.join("song")).unwrap();
    assert!(fs::read(&song).unwrap() == wanted && fs::read(songs.join("b:c")).unwrap() == wanted);
    let data = fs::metadata(&song).unwrap();
    assert_eq!(data.mode(), 0o100_444);
    // On the clock of a wall, which here is that of this machine.
    let shown = run("date", &["+%s", "-r", song.to_str().unwrap()]);
    let local = run("date", &["+%s", "-d", "1999-01-24 05:20:00"]);
    assert_eq!(shown.out(), local.out());
    let attribute = |name: &str| {
        let args = ["-n", name, "--only-values", "--absolute-names", song.to_str().unwrap()];
        run("getfattr", &args).stdout
    };
    assert!(attribute("user.rsrc") == fs::read(folder.join("resource")).unwrap());
    assert_eq!(attribute("user.com.apple.FinderInfo")[..8], *b"APPLDaCa");
    let ended = mounted.unmount();
    assert_eq!(ended.code, 0, "{}", ended.output);
}

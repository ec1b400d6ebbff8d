// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files of Windows, judged by ntfs-3g; and destinations that are less than
//! Linux's own.

use std::fs;
use std::path::Path;

use crate::support::{Loop, Mount, dacapo, junk, requires, run, sparse_file, temp_dir};

use super::scene::{NEEDS, Scene};

/// Paths, sizes, dates and contents; what ntfs-3g shows beside is its own.
fn facts(folder: &Path) -> String {
    let script = "find . -mindepth 1 -printf '%P %y %T@\\n' | sort && \
                  find . -type f -printf '%P %s\\n' | sort && \
                  find . -type f -print0 | sort -z | xargs -0 sha256sum";
    let script = format!("cd '{}' && {script}", folder.display());
    run("sh", &["-c", &script]).out().to_owned()
}

#[test]
fn a_volume_of_windows_comes_out_as_ntfs_3g_shows_it() {
    if !requires(&["root", "loop", "mkfs.ntfs", "ntfs-3g", "setfattr"]) {
        return;
    }
    let folder = temp_dir();
    let (disk, image) = (folder.join("disk"), folder.join("image"));
    sparse_file(&disk, 64 << 20);
    run("mkfs.ntfs", &["-q", "-F", "-Q", "-L", "Windows", &disk]);
    let mounted = |options: &str| {
        let device = Loop::new(&disk, &[]);
        let mount = Mount::new(device.device(), "ntfs-3g", options);
        (mount, device)
    };
    {
        let (mount, _device) = mounted("rw");
        let at = |name: &str| mount.path().join(name);
        fs::create_dir_all(at("Users/Me/Deep")).unwrap();
        for n in 0..300 {
            fs::write(at(&format!("Users/File {n}.txt")), junk(n * 31, n as u64)).unwrap();
        }
        fs::write(at("Users/Me/\u{e4}\u{4e2d}.wav"), junk(5 << 20, 1)).unwrap();
        fs::File::create(at("Users/Me/sparse")).unwrap().set_len(8 << 20).unwrap();
        fs::write(at("Users/Me/download.exe"), "x").unwrap();
        let path = at("Users/Me/download.exe");
        run("setfattr", &["-n", "user.Zone", "-v", "3", path.to_str().unwrap()]);
    }
    dacapo(&["save", &disk, &image]).success();
    let to = folder.join("to");
    let ran = dacapo(&["extract", &image, "windows:/", &to]).success();
    assert!(ran.err().contains("1 file with further streams"), "{ran}");
    let (mount, _device) = mounted("ro");
    assert_eq!(facts(Path::new(&to)), facts(mount.path()));
    let one = folder.join("one.exe");
    dacapo(&["extract", &image, "\\users\\me\\DOWNLOAD.EXE", &one, "--streams"]).success();
    assert_eq!(fs::read(folder.join("one.exe:Zone")).unwrap(), b"3");
}

/// What only NTFS has is kept where NTFS takes it.
#[test]
fn attributes_of_windows_are_kept_on_another_ntfs() {
    if !requires(&["root", "loop", "mkfs.ntfs", "ntfs-3g", "setfattr", "getfattr"]) {
        return;
    }
    let folder = temp_dir();
    let disks = ["from", "to"].map(|name| folder.join(name));
    let [(from, from_device), (to, to_device)] = disks.each_ref().map(|disk| {
        sparse_file(disk, 16 << 20);
        run("mkfs.ntfs", &["-q", "-F", "-Q", disk]);
        let device = Loop::new(disk, &[]);
        (Mount::new(device.device(), "ntfs-3g", "rw"), device)
    });
    let files = ["plain", "hidden", "system", "read-only", "folder"];
    let attributes = ["20", "22", "26", "21", "2"];
    for (name, bits) in files.iter().zip(attributes) {
        let path = from.path().join(name);
        if *name == "folder" {
            fs::create_dir(&path).unwrap();
        } else {
            fs::write(&path, name).unwrap();
        }
        let path = path.to_str().unwrap();
        // 2001-02-03, and some hundreds of nanoseconds.
        run("setfattr", &["-n", "system.ntfs_crtime_be", "-v", "0x01c08d6c1b5a4123", path]);
        let value = format!("0x000000{bits:0>2}");
        run("setfattr", &["-n", "system.ntfs_attrib_be", "-v", &value, path]);
    }
    let all = |mount: &Mount| {
        let names = "system.ntfs_attrib_be|system.ntfs_crtime_be";
        let list = files.map(|name| format!("'{name}'")).join(" ");
        let script = format!(
            "cd '{}' && for name in {}; do getfattr -h -e hex -n {} {list}; done",
            mount.path().display(),
            names.replace('|', " "),
            "\"$name\""
        );
        run("sh", &["-c", &script]).out().to_owned()
    };
    let wanted = all(&from);
    assert!(wanted.contains("0x01c08d6c1b5a4123") && wanted.contains("26"), "{wanted}");
    drop((from, from_device));
    let into = to.path().to_str().unwrap();
    dacapo(&["extract", &disks[0], "/", into, "--overwrite"]).success();
    assert_eq!(all(&to), wanted);
    drop((to, to_device));
}

/// A stream's name is that of no file, and may lead anywhere.
#[test]
fn a_stream_of_windows_is_not_written_outside_of_the_destination() {
    const NAME: &str = "../../../escaped";
    if !requires(&["root", "loop", "mkfs.ntfs", "ntfs-3g", "setfattr"]) {
        return;
    }
    let folder = temp_dir();
    let disk = folder.join("disk");
    sparse_file(&disk, 8 << 20);
    run("mkfs.ntfs", &["-q", "-F", "-Q", &disk]);
    let stand_in = "S".repeat(NAME.len());
    {
        let device = Loop::new(&disk, &[]);
        let mount = Mount::new(device.device(), "ntfs-3g", "rw");
        let file = mount.path().join("z");
        fs::write(&file, "content").unwrap();
        let name = format!("user.{stand_in}");
        run("setfattr", &["-n", &name, "-v", "stream", file.to_str().unwrap()]);
        // The first part of the path that the stream then seems to have.
        fs::create_dir(mount.path().join("z:..")).unwrap();
    }
    let units = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let (from, to) = (units(&stand_in), units(NAME));
    let mut bytes = fs::read(&disk).unwrap();
    let mut patched = 0;
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(&from) {
            bytes[at..at + to.len()].copy_from_slice(&to);
            patched += 1;
        }
    }
    assert!(patched > 0, "the stream is not there");
    fs::write(&disk, bytes).unwrap();
    let out = folder.join("out");
    let into = folder.join("out/into");
    fs::create_dir_all(&into).unwrap();
    let ran = dacapo(&["extract", &disk, "/", &into, "--streams"]).exits(3);
    assert!(ran.err().contains(&format!(":/z:{NAME} was extracted as ")), "{ran}");
    let names = |folder: &str| {
        let names = fs::read_dir(folder).unwrap();
        names.map(|it| it.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(names(&out), ["into"], "{ran}");
    assert!(!names(folder.path().to_str().unwrap()).contains(&"escaped".into()), "{ran}");
    assert_eq!(fs::read_to_string(format!("{into}/z")).unwrap(), "content");
    let kept = names(&into).into_iter().find(|name| name.contains("escaped")).unwrap();
    assert_eq!(fs::read_to_string(format!("{into}/{kept}")).unwrap(), "stream");
}

#[test]
fn what_a_poorer_destination_cannot_hold_is_told() {
    if !requires(NEEDS) || !requires(&["mkfs.exfat", "mount.exfat-fuse"]) {
        return;
    }
    let scene = Scene::new(|root| {
        let tree = root.join("tree");
        fs::create_dir_all(tree.join("Sub")).unwrap();
        fs::create_dir_all(tree.join("sub")).unwrap();
        for (name, text) in [
            ("plain.txt", "1"),
            ("same", "2"),
            ("SAME", "3"),
            ("what?.txt", "4"),
            ("Sub/in", "5"),
            ("sub/in", "6"),
        ] {
            fs::write(tree.join(name), text).unwrap();
        }
        fs::hard_link(tree.join("plain.txt"), tree.join("second.txt")).unwrap();
        std::os::unix::fs::symlink("plain.txt", tree.join("link")).unwrap();
    });
    let image = scene.image("image");
    let drive = scene.folder.join("drive");
    sparse_file(&drive, 32 << 20);
    run("mkfs.exfat", &[&drive]);
    let device = Loop::new(&drive, &[]);
    let mount = Mount::new(device.device(), "exfat-fuse", "rw");
    let to = mount.path().join("to");
    let (text, options) = (to.to_str().unwrap(), ["--json"]);
    let ran = dacapo(&["extract", &image, "ROOT:/tree", text, options[0]]).exits(3);
    let summary = &ran.messages("summary")[0];
    assert_eq!((&summary["lost"], &summary["renamed"]), (&1.into(), &3.into()), "{ran}");
    assert!(ran.messages("error")[0]["path"] == "2:/tree/link", "{ran}");
    // Everything else is there, whatever it is called.
    let mut contents = Vec::new();
    for folder in [Some(to.clone())]
        .into_iter()
        .flatten()
        .chain(fs::read_dir(&to).unwrap().map(|it| it.unwrap().path()).filter(|path| path.is_dir()))
    {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                contents.push(fs::read_to_string(path).unwrap());
            }
        }
    }
    contents.sort();
    assert_eq!(contents, ["1", "1", "2", "3", "4", "5", "6"], "{ran}");
    drop(mount);
    drop(device);
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a mounted folder begins and ends.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{MIB, Mounted, save};
use crate::support::{dacapo, json_lines, junk_file, requires, temp_dir, try_run};

fn image(folder: &crate::support::TempDir, len: u64) -> String {
    let (raw, image) = (folder.join("disk.raw"), folder.join("disk.img.zst"));
    junk_file(&raw, len);
    save(&raw, &image);
    image
}

#[test]
fn it_ends_by_signals_and_tells_who_is_still_there() {
    if !requires(&["root", "kernel:fuse"]) {
        return;
    }
    let folder = temp_dir();
    let image = image(&folder, 4 * MIB);
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mounted = Mounted::new(&image, &[]);
        mounted.signal(signal);
        let ended = mounted.end();
        assert_eq!(ended.code, 0, "{signal}: {}", ended.output);
    }

    // Somebody has a file open: they go on reading, and it ends with them.
    let mounted = Mounted::new(&image, &[]);
    let mut open = fs::File::open(mounted.join("disk.img")).unwrap();
    mounted.signal(Signal::SIGTERM);
    let start = Instant::now();
    while fs::read_dir(mounted.path()).unwrap().count() > 0 {
        assert!(start.elapsed() < Duration::from_secs(10), "still there");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut bytes = Vec::new();
    open.read_to_end(&mut bytes).unwrap();
    assert!(bytes == fs::read(folder.join("disk.raw")).unwrap());
    drop(open);
    let ended = mounted.end();
    assert_eq!(ended.code, 0, "{}", ended.output);
    let note = json_lines(&ended.output).into_iter().find(|line| line["message_type"] == "note");
    let note = note.unwrap()["message"].as_str().unwrap().to_owned();
    assert!(note.contains(&format!("(process {})", std::process::id())), "{note}");

    // A second signal ends it at once, and whoever reads gets an error.
    let mounted = Mounted::new(&image, &[]);
    let mut open = fs::File::open(mounted.join("disk.img")).unwrap();
    mounted.signal(Signal::SIGINT);
    while fs::read_dir(mounted.path()).unwrap().count() > 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    mounted.signal(Signal::SIGINT);
    assert_eq!(mounted.end().code, 130);
    open.seek(SeekFrom::Start(3 * MIB)).unwrap();
    assert!(open.read(&mut [0; 4096]).is_err());
}

#[test]
fn a_reader_keeps_the_folder_from_being_unmounted() {
    if !requires(&["root", "kernel:fuse"]) {
        return;
    }
    let folder = temp_dir();
    let image = image(&folder, 8 * MIB);
    let mounted = Mounted::new(&image, &[]);
    let open = fs::File::open(mounted.join("disk.img")).unwrap();
    let _ = try_run("umount", &[mounted.path()]).exits(32).says("busy");
    drop(open);
    assert_eq!(mounted.unmount().code, 0);
}

#[test]
fn an_image_that_is_cut_off_gives_errors_and_no_hang() {
    if !requires(&["root", "kernel:fuse"]) {
        return;
    }
    let folder = temp_dir();
    let image = image(&folder, 48 * MIB);
    let mounted = Mounted::new(&image, &[]);
    let disk = mounted.join("disk.img");
    // As if its drive were pulled out.
    fs::File::options().write(true).open(&image).unwrap().set_len(5 * MIB).unwrap();
    let mut bytes = Vec::new();
    let error = fs::File::open(&disk).unwrap().read_to_end(&mut bytes).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(nix::libc::EIO));
    assert!(bytes == fs::read(folder.join("disk.raw")).unwrap()[..bytes.len()]);
    let reader = Command::new("cat").arg(&disk).stdout(Stdio::null()).spawn();
    mounted.signal(Signal::SIGTERM);
    let _ = reader.unwrap().wait();
    let ended = mounted.end();
    assert_eq!(ended.code, 3, "{}", ended.output);
    let errors = json_lines(&ended.output);
    let errors = errors.iter().filter(|line| line["message_type"] == "error");
    let texts: Vec<_> = errors.map(|line| line["message"].as_str().unwrap()).collect();
    let count = |part: &str| texts.iter().filter(|text| text.contains(part)).count();
    assert_eq!(
        (count("cannot be read any more"), count("disk.img cannot be")),
        (1, 1),
        "{texts:?}"
    );
}

#[test]
fn only_an_image_and_an_empty_folder_will_do() {
    if !requires(&["root", "kernel:fuse", "unshare"]) {
        return;
    }
    let folder = temp_dir();
    let image = image(&folder, 2 * MIB);
    let point = temp_dir();
    let empty = point.path().to_str().unwrap();
    let _ =
        dacapo(&["mount", &image, folder.path().to_str().unwrap()]).exits(5).says("is not empty");
    let _ = dacapo(&["mount", &image, &point.join("none")]).exits(5).says("mkdir");
    let _ = dacapo(&["mount", &folder.join("none"), empty]).exits(1);
    let _ = dacapo(&["mount", &image, empty, "--scratch", empty]).exits(2).says("--writable");
    // A system without FUSE.
    let hidden = format!(
        "mount -t tmpfs none /dev && exec {} mount {image} {empty}",
        env!("CARGO_BIN_EXE_dacapo")
    );
    let _ = try_run("unshare", &["-m", "sh", "-c", &hidden]).exits(6).says("modprobe fuse");
    // A damaged image is not taken for a disk.
    let file = fs::File::options().write(true).open(&image).unwrap();
    file.set_len(40).unwrap();
    let _ = dacapo(&["mount", &image, empty]).exits(4);
    // One whose program was killed is named as what it is.
    let raw = folder.join("disk.raw");
    let mut mounted = Mounted::new(&raw, &[]);
    mounted.child.kill().unwrap();
    mounted.child.wait().unwrap();
    let path = mounted.path().to_str().unwrap().to_owned();
    let _ = dacapo(&["mount", &raw, &path]).exits(5).says("umount");
    assert_eq!(try_run("umount", &[&path]).code, 0);
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo export`: what it writes is judged by QEMU.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use dacapo::extent::Extent;

use super::{EXT4, LEN, MAKERS, MIB, damaged, saved};
use crate::support::{
    HttpServer, Mount, assert_same, dacapo, dacapo_command, finish, junk, lossy, requires, run,
    temp_dir,
};

fn ready() -> bool {
    requires(&[&MAKERS[..], &["qemu-img", "e2fsck"]].concat())
}

/// Nothing but `names` is in the folder.
#[track_caller]
fn assert_only(folder: &Path, names: &[&str]) {
    let mut found: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, names);
}

#[test]
fn every_format_is_the_disk() {
    if !ready() {
        return;
    }
    let (saved, folder) = (saved(), temp_dir());
    for format in ["raw", "qcow2", "vhdx", "vmdk", "vdi"] {
        let out = folder.join(&format!("disk.{format}"));
        let ran = dacapo(&["export", &saved.image(), &out, "--json"]).success();
        let summary = ran.messages("summary").pop().unwrap();
        assert_eq!(summary["format"], format);
        assert_eq!(summary["bytes"], LEN);
        let done: Vec<f64> =
            ran.messages("status").iter().map(|it| it["percent_done"].as_f64().unwrap()).collect();
        assert!(done.is_sorted() && done.last() == Some(&1.0), "{done:?}");
        let compare = ["compare", "-f", format, "-F", "raw", &out, &saved.content()];
        run("qemu-img", &compare);
        if !["raw", "vhdx"].contains(&format) {
            run("qemu-img", &["check", "-f", format, &out]);
        }
        // 15 MiB are in use.
        let taken = fs::metadata(&out).unwrap().blocks() * 512;
        assert!(taken < LEN / 2, "{format} takes {taken}");
    }
    run("qemu-img", &["check", "-f", "vhdx", &folder.join("disk.vhdx")]);
    assert_same(folder.join("disk.raw"), saved.content());
    let names = ["disk.qcow2", "disk.raw", "disk.vdi", "disk.vhdx", "disk.vmdk"];
    assert_only(folder.path(), &names);
}

#[test]
fn a_partition_alone_in_both_ways() {
    if !ready() {
        return;
    }
    let (saved, folder) = (saved(), temp_dir());
    let bytes = fs::read(saved.content()).unwrap();
    let expected = &bytes[EXT4.0 as usize..][..EXT4.1 as usize];
    for out in [folder.join("root.img"), folder.join("root.qcow2")] {
        dacapo(&["export", &saved.image(), &out, "--partition", "2"]).success();
    }
    assert!(fs::read(folder.join("root.img")).unwrap() == expected);
    run("e2fsck", &["-fn", &folder.join("root.img")]);
    let (raw, qcow2) = (folder.join("root.img"), folder.join("root.qcow2"));
    run("qemu-img", &["compare", "-f", "raw", "-F", "qcow2", &raw, &qcow2]);
    dacapo(&["export", &saved.image(), &folder.join("x.raw"), "-p", "9"]).exits(2).says("1, 2");
}

/// From a pipe, and from a server that gives the whole alone.
#[test]
fn front_to_back_gives_raw_and_nothing_else() {
    if !ready() {
        return;
    }
    let (saved, folder) = (saved(), temp_dir());
    let out = folder.join("disk.raw");
    let image = fs::read(saved.image()).unwrap();
    let _ = finish(dacapo_command(&["export", "-", &out]), &image).success();
    assert_same(&out, saved.content());
    let server = HttpServer::start(Path::new(&saved.image()).parent().unwrap());
    server.manners().ranges.store(false, std::sync::atomic::Ordering::SeqCst);
    let url = server.url("disk.img.zst");
    dacapo(&["export", &url, &out, "--overwrite", "-p", "2"]).success();
    assert_eq!(fs::metadata(&out).unwrap().len(), EXT4.1);
    let qcow2 = folder.join("disk.qcow2");
    dacapo(&["export", &url, &qcow2]).exits(6).says("front to back");
    assert_only(folder.path(), &["disk.raw"]);
}

#[test]
fn what_is_there_stays_unless_it_may_be_replaced() {
    if !ready() {
        return;
    }
    let (saved, folder) = (saved(), temp_dir());
    let out = folder.join("disk.raw");
    fs::write(&out, "precious").unwrap();
    dacapo(&["export", &saved.image(), &out]).exits(5).says("--overwrite");
    assert_eq!(fs::read(&out).unwrap(), b"precious");
    dacapo(&["export", &saved.image(), &out, "--overwrite"]).success();
    assert_same(&out, saved.content());

    let other = folder.join("other.raw");
    fs::write(format!("{other}.partial"), "somebody's").unwrap();
    dacapo(&["export", &saved.image(), &other]).exits(5).says("other.raw.partial exists already");
    fs::remove_file(format!("{other}.partial")).unwrap();
    let image = folder.join("image.img");
    fs::copy(saved.image(), &image).unwrap();
    dacapo(&["export", &image, &image, "--overwrite"]).exits(5).says("the image itself");
    assert_same(&image, saved.image());
    dacapo(&["export", &image, "/dev/null", "--format", "raw", "--overwrite"]).exits(5);
    dacapo(&["export", &image, "/dev/sdz9.raw"]).exits(5).says("no place for files");
    dacapo(&["export", &image, &folder.join("disk")]).exits(2).says("--format");
    dacapo(&["export", &image, &folder.join("no/disk.raw")]).exits(1);
    assert_only(folder.path(), &["disk.raw", "image.img"]);
}

#[test]
fn what_fails_leaves_nothing_and_says_why() {
    if !ready() || !requires(&["root"]) {
        return;
    }
    let (saved, folder) = (saved(), temp_dir());
    let image = folder.join("damaged.img.zst");
    damaged(&saved.image(), &image);
    let small = Mount::new("none", "tmpfs", "size=4m");
    for format in ["raw", "qcow2"] {
        let out = folder.join(&format!("disk.{format}"));
        dacapo(&["export", &image, &out]).exits(4).says("the image is damaged at");
        let out = small.path().join(format!("disk.{format}"));
        let ran = dacapo(&["export".as_ref(), saved.image().as_ref(), out.as_os_str()]);
        let _ = ran.exits(8).says("No space left on device");
    }
    assert_only(folder.path(), &["damaged.img.zst"]);
    assert_only(small.path(), &[]);
    // Without qemu-img, which raw does not need.
    let without = |out: &str| {
        let mut command = dacapo_command(&["export", &saved.image(), out]);
        command.env("PATH", folder.path());
        finish(command, &[])
    };
    let _ = without(&folder.join("disk.vdi")).exits(6).says("qemu-utils");
    let _ = without(&folder.join("disk.raw")).success();
    assert_only(folder.path(), &["damaged.img.zst", "disk.raw"]);
}

#[test]
fn a_stop_leaves_nothing() {
    if !ready() {
        return;
    }
    use nix::sys::signal::{Signal, kill};
    let folder = temp_dir();
    let (disk, image) = (folder.join("disk.bin"), folder.join("disk.img.zst"));
    fs::write(&disk, junk(200 << 20, 3)).unwrap();
    dacapo(&["save", &disk, &image, "--quiet"]).success();
    fs::remove_file(&disk).unwrap();
    for format in ["raw", "qcow2"] {
        let out = folder.join(&format!("disk.{format}"));
        let mut command = dacapo_command(&["export", &image, &out]);
        let mut child = command.env("TMPDIR", folder.path()).spawn().unwrap();
        let partial = format!("{out}.partial");
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !fs::metadata(&partial).is_ok_and(|it| it.blocks() > 0) {
            assert!(std::time::Instant::now() < end);
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        kill(nix::unistd::Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert_only(folder.path(), &["disk.img.zst"]);
    }
}

/// What could not be read when it was saved is zero, and told.
#[test]
fn losses_are_told() {
    if !ready() {
        return;
    }
    let folder = temp_dir();
    let image = folder.join("disk.img.zst");
    let wanted = lossy(&image, Extent::at(MIB, 4096));
    for format in ["raw", "qcow2"] {
        let out = folder.join(&format!("disk.{format}"));
        let ran = dacapo(&["export", &image, &out]).exits(3);
        let ran = ran.says("4096 bytes in 1 places").says("bytes 0x100000-0x101000 of the disk");
        assert_eq!(ran.err().matches("zero in the file").count(), 1, "{ran}");
        let ran = dacapo(&["export", &image, &out, "--overwrite", "--json"]).exits(3);
        let summary = ran.messages("summary").pop().unwrap();
        assert_eq!(summary["losses"], serde_json::json!([{ "start": MIB, "end": MIB + 4096 }]));
    }
    let (raw, qcow2) = (folder.join("disk.raw"), folder.join("disk.qcow2"));
    assert!(fs::read(&raw).unwrap() == wanted);
    run("qemu-img", &["compare", "-f", "raw", "-F", "qcow2", &raw, &qcow2]);
}

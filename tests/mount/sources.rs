// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images on another machine, and people who are not root.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{MIB, Mounted, save};
use crate::support::{
    HttpServer, Loop, Mount, assert_same, junk_file, requires, run, sparse_file, temp_dir, try_run,
    wait,
};

/// The user `nobody` of Debian.
const NOBODY: u32 = 65534;

#[test]
fn an_image_on_another_machine_is_mounted() {
    if !requires(&["root", "kernel:fuse"]) {
        return;
    }
    let folder = temp_dir();
    let (raw, image) = (folder.join("disk.raw"), folder.join("disk.img.zst"));
    junk_file(&raw, 6 * MIB);
    save(&raw, &image);
    let server = HttpServer::start(folder.path());
    let mounted = Mounted::new(&server.url("disk.img.zst"), &[]);
    assert_same(mounted.join("disk.img"), &raw);
    assert_eq!(mounted.unmount().code, 0);
}

#[test]
fn who_is_not_root_mounts_for_himself_only() {
    if !requires(&["root", "kernel:fuse", "fusermount3"]) {
        return;
    }
    let folder = temp_dir();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (raw, image, point) =
        (folder.join("disk.raw"), folder.join("disk.img.zst"), folder.join("point"));
    junk_file(&raw, 6 * MIB);
    save(&raw, &image);
    for path in [&raw, &image] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    }
    // The program, too, may lie where others cannot get at it. Another program
    // copies it: what this one has open for writing while another test starts
    // something is a "text file busy".
    let program = folder.join("dacapo");
    run("cp", &[env!("CARGO_BIN_EXE_dacapo"), program.as_str()]);
    fs::create_dir(&point).unwrap();
    chown(&point, Some(NOBODY), Some(NOBODY)).unwrap();
    for by_signal in [true, false] {
        let mut command = Command::new(&program);
        command.args(["mount", &image, &point]).uid(NOBODY).gid(NOBODY);
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let is_mounted = || {
            let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
            mounts.split_whitespace().any(|word| word == point)
        };
        let start = Instant::now();
        while !is_mounted() {
            assert!(start.elapsed() < Duration::from_secs(20), "not mounted");
            std::thread::sleep(Duration::from_millis(20));
        }
        let denied = fs::read_dir(&point).unwrap_err();
        assert_eq!(denied.raw_os_error(), Some(nix::libc::EACCES), "not even root");
        let disk = format!("{point}/disk.img");
        let compared =
            Command::new("cmp").args([&disk, &raw]).uid(NOBODY).gid(NOBODY).status().unwrap();
        if by_signal {
            kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
        } else {
            let _ = run("umount", &[&point]);
        }
        assert_eq!(wait(&mut child, Duration::from_secs(20)), Some(0));
        assert!(!is_mounted());
        assert!(compared.success());
    }
}

/// Others see what they would see if the kernel had mounted the filesystem.
#[test]
fn others_are_let_in_as_far_as_modes_and_access_lists_go() {
    let needs = ["root", "loop", "kernel:ext4", "kernel:fuse", "mkfs.ext4", "setpriv", "setfacl"];
    if !requires(&[&needs[..], &["sgdisk", "mkfs.vfat", "mcopy"]].concat()) {
        return;
    }
    let folder = temp_dir();
    let (raw, image) = (folder.join("disk.raw"), folder.join("disk.img.zst"));
    sparse_file(&raw, 66 * MIB);
    run("sgdisk", &["-n1:1M:+32M", "-c1:root", "-n2:0:+32M", "-c2:stick", &raw]);
    run("mkfs.vfat", &["--offset", "67584", "-n", "STICK", &raw, "32768"]);
    let file = folder.join("file");
    fs::write(&file, "on a stick").unwrap();
    let at = format!("{raw}@@{}", 33 * MIB);
    run("mcopy", &["-i", &at, &file, "::any.txt"]);
    let root = Loop::new(&raw, &["--offset", "1048576", "--sizelimit", "33554432"]);
    run("mkfs.ext4", &["-q", root.device()]);
    {
        let mount = Mount::new(root.device(), "ext4", "rw,acl");
        let path = |name: &str| mount.path().join(name).to_str().unwrap().to_owned();
        let make = |name: &str, mode: &str| {
            fs::write(mount.path().join(name), name).unwrap();
            run("chmod", &[mode, &path(name)]);
        };
        for (name, mode) in [("private", "0600"), ("public", "0644"), ("listed", "0600")] {
            make(name, mode);
        }
        run("setfacl", &["-m", "u:nobody:r", &path("listed")]);
        // The mode shows rw for the group, which has nothing by the list.
        make("masked", "0600");
        run("chgrp", &["nogroup", &path("masked")]);
        run("setfacl", &["-m", "u:daemon:rw", &path("masked")]);
        fs::create_dir(mount.path().join("closed")).unwrap();
        run("chmod", &["0700", &path("closed")]);
        make("closed/public", "0644");
    }
    save(&raw, &image);
    let as_nobody = |path: &str| {
        let user = ["--reuid=65534", "--regid=65534", "--clear-groups", "cat"];
        try_run("setpriv", &[&user[..], &[path]].concat())
    };
    let names = ["private", "public", "listed", "masked", "closed/public"];
    // What the kernel says of each, of its own mount.
    let kernel: Vec<bool> = {
        let mount = Mount::new(root.device(), "ext4", "ro,acl");
        fs::set_permissions(mount.path().parent().unwrap(), fs::Permissions::from_mode(0o755))
            .unwrap();
        names.map(|name| as_nobody(mount.path().join(name).to_str().unwrap()).code == 0).into()
    };
    assert_eq!(kernel, [false, true, true, false, false]);

    let mounted = Mounted::new(&image, &["--allow-other"]);
    for (name, can_read) in names.iter().zip(kernel) {
        let ran = as_nobody(&mounted.join(&format!("files/1-root/{name}")));
        assert_eq!(ran.code == 0, can_read, "{name}: {ran}");
        let denied = ran.err().contains("Permission denied");
        assert!(can_read || denied, "{name}: {ran}");
        let own = fs::read(mounted.path().join("files/1-root").join(name)).unwrap();
        assert!(!can_read || ran.out().as_bytes() == own, "{ran}");
    }
    assert_eq!(as_nobody(&mounted.join("files/2-STICK/any.txt")).success().out(), "on a stick");
    for name in ["disk.img", "1-root.img", "2-STICK.img"] {
        assert_ne!(as_nobody(&mounted.join(name)).code, 0, "{name}");
    }
    assert_eq!(mounted.unmount().code, 0);

    let mounted = Mounted::new(&image, &[]);
    for name in ["files/1-root/public", "files/2-STICK/any.txt", "disk.img"] {
        assert_ne!(as_nobody(&mounted.join(name)).code, 0, "{name}");
    }
    assert_eq!(mounted.unmount().code, 0);
}

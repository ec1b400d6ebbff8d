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
use crate::support::{HttpServer, assert_same, junk_file, requires, run, temp_dir, wait};

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

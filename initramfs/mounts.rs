// SPDX-License-Identifier: MIT OR Apache-2.0
//! The filesystems of the kernel itself, and the folders that live in memory.
//! Nothing of any disk is mounted here.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::mount::{MsFlags, mount};

use crate::log;

const NO_PROGRAMS: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);
const NO_DEVICES: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);

/// Folder, type, flags, options; in this order.
const MOUNTS: [(&str, &str, MsFlags, &str); 6] = [
    ("/proc", "proc", NO_PROGRAMS, ""),
    ("/sys", "sysfs", NO_PROGRAMS, ""),
    ("/dev", "devtmpfs", MsFlags::MS_NOSUID, "mode=0755"),
    ("/dev/pts", "devpts", MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC), "mode=0620,ptmxmode=0666"),
    ("/run", "tmpfs", NO_DEVICES, "mode=0755"),
    ("/tmp", "tmpfs", NO_DEVICES, "mode=1777"),
];

/// Where a machine with UEFI keeps its boot entries.
const EFI_VARIABLES: &str = "/sys/firmware/efi/efivars";

/// Mounts all of them. What fails is logged: a machine without one of them
/// may still show its screen, which is worth more than to stop here.
pub(crate) fn mount_all() {
    let mut failures = Vec::new();
    for (folder, kind, flags, options) in MOUNTS {
        let _ = fs::create_dir_all(folder);
        // The kernel may have mounted /dev before it started this program.
        if is_mounted(folder) {
            continue;
        }
        if let Err(error) = mount(Some(kind), folder, Some(kind), flags, Some(options)) {
            failures.push(format!("mounting {folder}: {error}"));
        }
    }
    for (target, link) in [
        ("/proc/self/fd", "/dev/fd"),
        ("fd/0", "/dev/stdin"),
        ("fd/1", "/dev/stdout"),
        ("fd/2", "/dev/stderr"),
        ("/proc/self/mounts", "/etc/mtab"),
    ] {
        // Present if the kernel or the archive brought them.
        let _ = symlink(target, link);
    }
    for folder in [log::FOLDER, "/root", "/dev/shm"] {
        let _ = fs::create_dir_all(folder);
    }
    for failure in failures {
        log::event(&failure);
    }
}

/// Mounts the boot entries of UEFI; the module comes with the drivers.
pub(crate) fn mount_efi_variables() {
    if !Path::new("/sys/firmware/efi").is_dir() || is_mounted(EFI_VARIABLES) {
        return;
    }
    let mounted =
        mount(Some("efivarfs"), EFI_VARIABLES, Some("efivarfs"), NO_PROGRAMS, None::<&str>);
    if let Err(error) = mounted {
        log::event(&format!("mounting {EFI_VARIABLES}: {error}"));
    }
}

/// True if a filesystem is mounted exactly there.
fn is_mounted(folder: &str) -> bool {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    points(&text).any(|point| point == folder)
}

/// The mount points in `mountinfo`, in the order of mounting, as they are
/// written there.
pub(crate) fn points(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    text.lines().filter_map(|line| line.split(' ').nth(4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_in_their_order() {
        let text = "22 1 0:2 / / rw - rootfs rootfs rw\n\
                    23 22 0:21 / /proc rw,nosuid shared:12 - proc proc rw\n\
                    24 22 8:1 / /run/dacapo/media/My\\040Stick ro - vfat /dev/sda1 ro\nbroken\n";
        let found: Vec<&str> = points(text).collect();
        assert_eq!(found, ["/", "/proc", "/run/dacapo/media/My\\040Stick"]);
    }
}

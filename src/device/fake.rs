// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine made of files, for tests of what reads /sys and /proc.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::System;

/// A folder that looks like the /sys, /proc and /dev of a machine.
pub(super) struct Machine {
    root: TempDir,
    mounts: Vec<String>,
}

impl Machine {
    /// A machine without disks, started from nothing.
    pub(super) fn new() -> Self {
        let mut machine = Self { root: tempfile::tempdir().unwrap(), mounts: Vec::new() };
        for folder in ["sys/block", "sys/dev/block", "dev/mapper"] {
            fs::create_dir_all(machine.path(folder)).unwrap();
        }
        machine.swaps(&[]);
        machine.mount_any("0:22 / /sys rw - sysfs sysfs rw");
        machine
    }

    pub(super) fn system(&self) -> System {
        System::at(self.root.path())
    }

    pub(super) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.path().join(path.strip_prefix("/").unwrap_or(path))
    }

    pub(super) fn file(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// A disk of `sectors` 512-byte units at `bus`, a folder of /sys/devices.
    pub(super) fn disk(&self, bus: &str, name: &str, number: &str, sectors: u64) {
        let folder = PathBuf::from("sys/devices").join(bus).join("block").join(name);
        self.block(&folder, name, number, sectors);
        for (attribute, value) in [
            ("removable", "0"),
            ("queue/logical_block_size", "512"),
            ("queue/physical_block_size", "4096"),
            ("queue/rotational", "0"),
            ("queue/discard_max_bytes", "2147450880"),
            ("queue/zoned", "none"),
        ] {
            self.file(folder.join(attribute), format!("{value}\n"));
        }
        symlink(self.path(&folder), self.path("sys/block").join(name)).unwrap();
        if !bus.starts_with("virtual") {
            symlink("../..", self.path(folder.join("device"))).unwrap();
        }
    }

    pub(super) fn partition(&self, disk: &str, name: &str, number: &str, start: u64, len: u64) {
        let folder = fs::canonicalize(self.path("sys/block").join(disk)).unwrap().join(name);
        let folder = folder.strip_prefix(fs::canonicalize(self.root.path()).unwrap()).unwrap();
        self.block(folder, name, number, len);
        let digits = name.trim_start_matches(disk).trim_start_matches('p');
        self.file(folder.join("partition"), format!("{digits}\n"));
        self.file(folder.join("start"), format!("{start}\n"));
    }

    fn block(&self, folder: &Path, name: &str, number: &str, sectors: u64) {
        self.file(folder.join("dev"), format!("{number}\n"));
        self.file(folder.join("size"), format!("{sectors}\n"));
        self.file(folder.join("ro"), "0\n");
        for list in ["holders", "slaves"] {
            fs::create_dir_all(self.path(folder.join(list))).unwrap();
        }
        symlink(self.path(folder), self.path("sys/dev/block").join(number)).unwrap();
        self.file(Path::new("dev").join(name), "");
    }

    /// Sets an attribute of a disk or of what its `device` link leads to.
    pub(super) fn attribute(&self, disk: &str, name: &str, value: impl AsRef<[u8]>) {
        self.file(Path::new("sys/block").join(disk).join(name), value);
    }

    /// Says that `upper` is made from `lower`, a disk or a partition.
    pub(super) fn hold(&self, lower: &str, upper: &str) {
        let find = |name: &str| {
            let block = self.system().all().into_iter().find(|block| block.name == name);
            block.unwrap_or_else(|| panic!("{name}")).folder().to_owned()
        };
        let (lower_folder, upper_folder) = (find(lower), find(upper));
        symlink(&upper_folder, lower_folder.join("holders").join(upper)).unwrap();
        symlink(&lower_folder, upper_folder.join("slaves").join(lower)).unwrap();
    }

    /// A device-mapper device over `lower`, with its link in /dev/mapper.
    pub(super) fn mapping(&self, name: &str, number: &str, lower: &str, label: &str, uuid: &str) {
        self.disk("virtual", name, number, 1 << 20);
        self.attribute(name, "dm/name", format!("{label}\n"));
        self.attribute(name, "dm/uuid", format!("{uuid}\n"));
        symlink(format!("../{name}"), self.path("dev/mapper").join(label)).unwrap();
        self.hold(lower, name);
    }

    /// A loop device over a file of the machine.
    pub(super) fn looped(&self, name: &str, number: &str, file: &str) {
        self.disk("virtual", name, number, 1 << 20);
        self.attribute(name, "loop/backing_file", format!("{file}\n"));
    }

    /// A btrfs on several devices.
    pub(super) fn btrfs(&self, uuid: &str, members: &[&str]) {
        let folder = self.path("sys/fs/btrfs").join(uuid).join("devices");
        fs::create_dir_all(&folder).unwrap();
        for member in members {
            let block =
                self.system().all().into_iter().find(|block| block.name == *member).unwrap();
            symlink(block.folder(), folder.join(member)).unwrap();
        }
    }

    /// A mount, read-write or not, as most filesystems show it.
    pub(super) fn mount(&mut self, number: &str, source: &str, point: &str, options: &str) {
        self.mount_any(&format!("{number} / {point} rw - ext4 {source} {options}"));
    }

    /// A mount, from the field of the device number on.
    pub(super) fn mount_any(&mut self, fields: &str) {
        self.mounts.push(format!("{} 1 {fields}\n", 30 + self.mounts.len()));
        self.file("proc/self/mountinfo", self.mounts.concat());
    }

    pub(super) fn swaps(&mut self, paths: &[&str]) {
        let lines: String =
            paths.iter().map(|path| format!("{path}   partition\t100\t\t0\t\t-2\n")).collect();
        self.file("proc/swaps", format!("Filename\tType\tSize\tUsed\tPriority\n{lines}"));
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tools of LVM2, which know of a few devices only, and nothing of this
//! machine: no configuration, no backups, no device mapper.

use std::process::Command;

use super::{Ran, TempDir, finish, search_path, temp_dir};

/// The tools, for some devices.
pub struct Lvm {
    folder: TempDir,
    filter: String,
}

impl Lvm {
    pub fn new(devices: &[&str]) -> Self {
        let accept: Vec<String> = devices.iter().map(|it| format!("\"a|^{it}$|\"")).collect();
        Self { folder: temp_dir(), filter: accept.join(",") }
    }

    /// Runs one of them.
    #[track_caller]
    pub fn run(&self, program: &str, args: &[&str]) -> Ran {
        let folder = self.folder.path().display();
        let config = format!(
            "devices {{ filter=[{},\"r|.*|\"] use_devicesfile=0 }} \
             global {{ use_lvmpolld=0 locking_dir=\"{folder}\" }} \
             backup {{ backup=0 archive=0 }} activation {{ udev_sync=0 udev_rules=0 }}",
            self.filter
        );
        let mut command = Command::new(program);
        command.env("PATH", search_path()).env("LC_ALL", "C");
        command.env("LVM_SYSTEM_DIR", self.folder.path()).env("LVM_SUPPRESS_FD_WARNINGS", "1");
        command.args(["--config", &config]).args(args);
        finish(command, &[])
    }

    /// Where the bytes of a logical volume lie, in order: on which of its devices,
    /// from which byte on, and how many. Linear pieces only.
    #[track_caller]
    pub fn pieces(&self, volume: &str) -> Vec<(String, u64, u64)> {
        let fields = "seg_start_pe,seg_size,seg_pe_ranges,vg_extent_size,stripes";
        let args = ["--noheadings", "--nosuffix", "--units", "b", "-o", fields, volume];
        let ran = self.run("lvs", &args).success();
        let mut pieces: Vec<(u64, String, u64, u64)> = Vec::new();
        for line in ran.out().lines().filter(|line| !line.trim().is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [start, size, range, extent, "1"] = words[..] else { panic!("{line}") };
            let number = |text: &str| text.parse::<u64>().unwrap();
            // "/dev/loop0:0-9"
            let (device, range) = range.rsplit_once(':').unwrap();
            let first = number(range.split_once('-').unwrap().0);
            let args = ["--noheadings", "--nosuffix", "--units", "b", "-o", "pe_start", device];
            let data = number(self.run("pvs", &args).success().out().trim());
            let at = data + first * number(extent);
            pieces.push((number(start), device.to_owned(), at, number(size)));
        }
        pieces.sort();
        assert!(!pieces.is_empty(), "{volume}: {ran}");
        pieces.into_iter().map(|(_, device, at, len)| (device, at, len)).collect()
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who keeps a mounted folder busy.

use std::fs;
use std::path::Path;

/// The programs and loop devices that use something in a folder, as text:
/// `mc (process 123)`, `/dev/loop0`. Only links are read, so that nothing waits
/// for the folder itself. Of other people's programs only root is told.
pub(super) fn of(folder: &Path) -> Vec<String> {
    let mut users = loop_devices(folder);
    users.extend(programs(folder));
    users
}

fn programs(folder: &Path) -> Vec<String> {
    let own = std::process::id().to_string();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let number = entry.file_name().into_string().ok()?;
            let is_other = number.bytes().all(|byte| byte.is_ascii_digit()) && number != own;
            if !is_other || !uses(&entry.path(), folder) {
                return None;
            }
            let name = fs::read_to_string(entry.path().join("comm")).ok()?;
            Some(format!("{} (process {number})", name.trim_end()))
        })
        .collect()
}

fn uses(process: &Path, folder: &Path) -> bool {
    let is_inside = |link: &Path| fs::read_link(link).is_ok_and(|to| to.starts_with(folder));
    ["cwd", "root", "exe"].iter().any(|name| is_inside(&process.join(name)))
        || fs::read_dir(process.join("fd"))
            .is_ok_and(|open| open.flatten().any(|file| is_inside(&file.path())))
}

fn loop_devices(folder: &Path) -> Vec<String> {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    devices
        .filter_map(|device| {
            let file = fs::read_to_string(device.path().join("loop/backing_file")).ok()?;
            let is_inside = Path::new(file.trim_end()).starts_with(folder);
            is_inside.then(|| format!("/dev/{}", device.file_name().to_string_lossy()))
        })
        .collect()
}

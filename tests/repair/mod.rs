// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo repair`: each step is judged by a program of somebody else, and all
//! that it does not name must be as before.

mod backup_gpt;
mod boot_entry;
mod efi_disk;
mod fallback_loader;
pub(crate) mod grow;

use std::fs;
use std::path::Path;

use crate::support::{Ran, dacapo};

/// 1 MiB.
const MIB: u64 = 1 << 20;

/// Runs steps on the file of a disk.
#[track_caller]
fn repair(disk: &str, steps: &[&str], more: &[&str]) -> Ran {
    let mut args = vec!["repair", disk, "--yes"];
    for step in steps {
        args.extend(["--step", step]);
    }
    args.extend(more);
    dacapo(&args)
}

/// The step of this name among those listed.
#[track_caller]
fn listed(disk: &str, name: &str, more: &[&str]) -> serde_json::Value {
    let ran = dacapo(&[&["repair", disk, "--json"], more].concat()).success();
    let summary = ran.messages("summary").remove(0);
    let steps = summary["steps"].as_array().unwrap();
    steps.iter().find(|step| step["name"] == name).unwrap().clone()
}

/// The ranges in which two files of the same length differ, in whole sectors
/// of 512 bytes.
fn differences(a: impl AsRef<Path>, b: impl AsRef<Path>) -> Vec<(u64, u64)> {
    let (a, b) = (fs::read(a).unwrap(), fs::read(b).unwrap());
    assert_eq!(a.len(), b.len());
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for (sector, (a, b)) in (0..).zip(a.chunks(512).zip(b.chunks(512))) {
        if a == b {
            continue;
        }
        match ranges.last_mut() {
            Some(last) if last.1 == sector => last.1 += 1,
            _ => ranges.push((sector, sector + 1)),
        }
    }
    ranges
}

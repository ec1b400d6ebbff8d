// SPDX-License-Identifier: MIT OR Apache-2.0
//! ext2/3/4, XFS and btrfs, against the kernel's own drivers.

use std::path::Path;

use super::compare_with_mount;
use crate::support::{Loop, Mount, run, temp_dir};

/// Compares the files of an image with what the kernel shows of a copy, in
/// which it replays what there is to replay.
#[track_caller]
fn compare_with_kernel(image: &Path, filesystem: &str) -> usize {
    let folder = temp_dir();
    let copy = folder.join("copy.img");
    run("cp", &["--sparse=always", image.to_str().expect("a plain name"), &copy]);
    let device = Loop::new(&copy, &[]);
    let mount = Mount::new(device.device(), filesystem, "ro");
    compare_with_mount(image, mount.path())
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disks of `scripts/make-images/f2fs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::{Kind, assert_partclone_agrees};
use crate::support::{all, requires, run, temp_dir, try_run};
use crate::variants::{Scrubbed, Variant, assert_hashes};

pub(crate) static KIND: Kind = Kind {
    maker: "f2fs",
    needs: &[
        "mkfs.f2fs",
        "sload.f2fs",
        "fsck.f2fs",
        "dump.f2fs",
        "resize.f2fs",
        "defrag.f2fs",
        "partclone.f2fs",
        "openssl",
        "python3",
    ],
    disks: &[NAMES, KERNEL],
    judge,
};

scrub_tests!(
    f2fs f2fs_compression f2fs_cut_short f2fs_empty f2fs_not_unmounted f2fs_old_node
    f2fs_read_only f2fs_tail f2fs_tiny f2fs_tiny_features f2fs_two_devices f2fs_unknown_feature
    ;
    f2fs_1g f2fs_casefold f2fs_defragmented f2fs_features f2fs_grown f2fs_large_nat
    f2fs_sections
);

/// Made by a kernel in an emulated machine, and read by it after the restore.
const KERNEL: &[&str] = &["f2fs_kernel", "f2fs_fsynced", "f2fs_tiny_kernel", "f2fs_tiny_fsynced"];

/// Takes a minute or two for each disk, and 70 MB of packages the first time;
/// two of them are in images/.
#[test]
fn disks_of_a_kernel() {
    if !all() || !requires(&["network", "qemu-system-x86_64"]) {
        return;
    }
    for name in KERNEL {
        super::scrub_test(&KIND, name);
    }
}

#[track_caller]
fn judge(disk: &Variant, scrubbed: &Scrubbed) {
    if !requires(&["fsck.f2fs", "dump.f2fs", "python3"]) {
        return;
    }
    let facts = &disk.facts;
    let target = scrubbed.target();
    // It knows none below 100 MiB, and none with bitmaps behind the checksum.
    let unknown = facts.length < 100 << 20 || disk.name == "f2fs-large-nat";
    if facts.understood == Some(true) && !unknown {
        assert_partclone_agrees(disk, &scrubbed.used, "partclone.f2fs");
    }
    assert_eq!(checked(disk.path()), checked(target), "{}: fsck.f2fs", disk.name);
    if facts.fsck == "clean" {
        let answer = run("fsck.f2fs", &["--dry-run", target]);
        assert!(!answer.out().contains("[Fail]"), "{}: {answer}", disk.name);
    }
    if facts.read_files && !facts.files.is_empty() {
        let folder = temp_dir();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/make-images/f2fs_read.py");
        let script = script.to_str().expect("the project has a plain name");
        run("python3", &[script, target, &folder.join("")]);
        assert_hashes(folder.path(), &facts.files);
    }
    if all() && KERNEL.contains(&disk.name.replace('-', "_").as_str()) {
        let found = read_by_kernel(target);
        for (path, digest) in &facts.files {
            assert_eq!(found.get(path), Some(digest), "{}: {path}", disk.name);
        }
    }
}

/// The hashes of all files, by a kernel that mounts the disk and recovers what
/// was fsynced.
#[track_caller]
fn read_by_kernel(image: &str) -> BTreeMap<String, String> {
    const SCRIPT: &str = "mount -t f2fs /dev/vda /mnt
        cd /mnt
        find . -type f | sort | xargs sha256sum
        cd /
        umount /mnt";
    let folder = temp_dir();
    let script = folder.join("script");
    fs::write(&script, SCRIPT).expect("writing the script");
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/make-images/guest");
    let ran = run(guest.to_str().expect("the project has a plain name"), &[&script, image]);
    let found: BTreeMap<String, String> = ran
        .out()
        .lines()
        .filter_map(|line| line.split_once("  ./"))
        .map(|(digest, path)| (path.to_owned(), digest.to_owned()))
        .collect();
    assert!(found.len() > 10, "{ran}");
    found
}

/// What fsck.f2fs says, without how long it took.
fn checked(image: &str) -> String {
    let ran = try_run("fsck.f2fs", &["--dry-run", image]);
    let text = format!("{}\n{}\n{}", ran.code, ran.out(), ran.err()).replace(image, "DISK");
    text.lines().filter(|line| !line.starts_with("Done: ")).collect::<Vec<_>>().join("\n")
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disks of `scripts/make-images/lvm2`.
//!
//! No logical volume can be activated without the device mapper. So each is put
//! together from the restored disks by the places that lvs named, and judged as
//! a filesystem alone; what is around it is judged by pvck.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use serde::Deserialize;

use super::Kind;
use crate::support::{requires, run, try_run};
use crate::variants::{Reader, Scrubbed, Variant, assert_files};

pub(crate) static KIND: Kind = Kind {
    maker: "lvm2",
    needs: &[
        "root", "loop", "pvs", "pvck", "mke2fs", "e2fsck", "debugfs", "dumpe2fs", "mkswap",
        "sgdisk", "sfdisk", "openssl", "python3",
    ],
    disks: &[NAMES],
    judge,
};

scrub_tests!(
    lvm2_cache lvm2_cut_short lvm2_damaged_text lvm2_fragmented lvm2_gpt lvm2_grown lvm2_linear
    lvm2_many lvm2_missing lvm2_pvmove lvm2_raid1 lvm2_snapshot lvm2_spanned lvm2_striped
    lvm2_thin lvm2_tiny lvm2_tiny_striped lvm2_vm
    ;
    lvm2_1g lvm2_bootloader_area lvm2_exported lvm2_ignored lvm2_label_sector lvm2_mirror
    lvm2_no_group lvm2_odd_start lvm2_striped_three lvm2_two_areas lvm2_wrapped
);

/// A logical volume with something that can be judged.
#[derive(Debug, Deserialize)]
struct Logical {
    /// "ext" or "swap".
    kind: String,
    /// Where that is on the logical volume.
    offset: u64,
    length: u64,
    /// Disk, first byte and length, by lvs.
    pieces: Vec<(usize, u64, u64)>,
    files: BTreeMap<String, String>,
}

#[track_caller]
fn judge(disk: &Variant, scrubbed: &Scrubbed) {
    let sources = [&disk.image].into_iter().chain(&disk.companions);
    for (source, target) in sources.zip(&scrubbed.targets) {
        // The same answer, damaged metadata included.
        let answer = |path: &str| {
            let ran = try_run("pvck", &["--dump", "headers", path]);
            format!("{}\n{}\n{}", ran.code, ran.out(), ran.err()).replace(path, "DISK")
        };
        if requires(&["pvck"]) {
            let source = source.to_str().expect("a plain name");
            assert_eq!(answer(source), answer(target), "{}: pvck", disk.name);
        }
    }
    let volumes = disk.facts.more.get("volumes").cloned().unwrap_or_default();
    let volumes: BTreeMap<String, Logical> = serde_json::from_value(volumes).unwrap_or_default();
    let is_judged = disk.facts.understood == Some(true);
    assert_eq!(is_judged, !volumes.is_empty(), "{}: volumes to judge", disk.name);
    for (name, logical) in &volumes {
        let path = scrubbed.folder.join(&format!("{name}.img"));
        put_together(logical, &scrubbed.targets, &path);
        if logical.kind == "ext" {
            run("e2fsck", &["-fn", &path]);
            assert_files(&path, Reader::Debugfs, &logical.files);
        } else {
            let ran = try_run("blkid", &["-p", "-o", "value", "-s", "TYPE", &path]);
            assert_eq!(ran.out().trim(), logical.kind, "{}: {name}", disk.name);
        }
    }
}

/// Writes a part of a logical volume to a file of its own.
fn put_together(logical: &Logical, disks: &[String], path: &str) {
    let disks: Vec<File> =
        disks.iter().map(|path| File::open(path).expect("opening a target")).collect();
    let file = File::create(path).expect("creating a volume's file");
    file.set_len(logical.length).expect("sizing a volume's file");
    let mut position = 0;
    for (disk, start, length) in &logical.pieces {
        let from = logical.offset.max(position);
        let to = (logical.offset + logical.length).min(position + length);
        if from < to {
            let mut bytes = vec![0; usize::try_from(to - from).expect("a small piece")];
            disks[*disk].read_exact_at(&mut bytes, start + from - position).expect("reading");
            file.write_all_at(&bytes, from - logical.offset).expect("writing a volume's file");
        }
        position += length;
    }
}

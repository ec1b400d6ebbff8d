// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the images come from whose files are compared, and ways in them.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use dacapo::browse::OpenVolume;
use dacapo::extent::Extent;
use dacapo::fs::Files;
use dacapo::fs::files::{DirectoryEntry, Node};

use super::volumes_of;
use crate::corpus;
use crate::support::{Loop, temp_dir};

/// A part of an image as a loop device.
pub(super) fn loop_of(image: &Path, extent: Option<Extent>) -> Loop {
    let (offset, len);
    let options: &[&str] = match extent {
        None => &["--read-only"],
        Some(extent) => {
            offset = format!("--offset={}", extent.start());
            len = format!("--sizelimit={}", extent.len());
            &["--read-only", &offset, &len]
        }
    };
    Loop::new(image, options)
}

/// What a path leads to.
#[track_caller]
pub(super) fn walk(files: &dyn Files, path: &str) -> DirectoryEntry {
    let mut node = files.root();
    let mut found = None;
    for name in path.split('/') {
        let entry = files.lookup(node, name.as_bytes()).expect("the folder is readable");
        let entry = entry.unwrap_or_else(|| panic!("{name} of {path}"));
        node = entry.node;
        found = Some(entry);
    }
    found.expect("a path has a name")
}

/// The committed images of these kinds, unpacked.
pub(super) fn committed(kinds: &[&str], each: &mut dyn FnMut(&str, &Path)) -> usize {
    let folder = temp_dir();
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("images");
    let mut names: Vec<String> = fs::read_dir(images.as_path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| {
            name.ends_with(".img.zst") && kinds.iter().any(|kind| name.starts_with(kind))
        })
        .collect();
    names.sort();
    for name in &names {
        let plain = folder.path().join(name.trim_end_matches(".zst"));
        let packed = fs::read(images.join(name)).unwrap();
        fs::write(&plain, zstd::decode_all(packed.as_slice()).unwrap()).unwrap();
        each(name, &plain);
        fs::remove_file(&plain).unwrap();
    }
    names.len()
}

/// Calls `each` with every volume of the collection that such a filesystem fills.
pub(super) fn each_of_corpus(
    archives: &[&str],
    starts: &str,
    each: &mut dyn FnMut(&str, &Path, &OpenVolume),
) -> usize {
    let mut count = 0;
    for archive in corpus::archives() {
        let name = archive.file_name().unwrap().to_str().unwrap();
        if !archives.iter().any(|part| name.contains(part)) {
            continue;
        }
        let folder = temp_dir();
        for (name, image) in corpus::unpack(&archive, folder.path()) {
            for volume in volumes_of(&image) {
                let is_wanted = volume
                    .identity
                    .as_ref()
                    .is_some_and(|identity| identity.name.starts_with(starts));
                if is_wanted {
                    count += 1;
                    each(&format!("{name}, volume {}", volume.name), &image, &volume);
                }
            }
        }
    }
    count
}

#[track_caller]
pub(super) fn same_times(files: &dyn Files, node: Node, path: &Path) {
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().as_bytes();
        let node = files.lookup(node, name).unwrap().unwrap().node;
        if path.is_dir() {
            same_times(files, node, &path);
            continue;
        }
        // None stands for the beginning of 1980 there.
        if let Some(ours) = files.attributes(node).unwrap().times.modified {
            let theirs = fs::metadata(&path).unwrap().mtime();
            assert_eq!(ours.as_second(), theirs, "{}", path.display());
        }
    }
}

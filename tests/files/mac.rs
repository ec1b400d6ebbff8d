// SPDX-License-Identifier: MIT OR Apache-2.0
//! HFS+, against the Sleuth Kit.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use dacapo::fs::Files;
use dacapo::fs::files::{DirectoryEntry, NodeKind};

use super::images::{committed, each_of_corpus};
use super::{files_of, volumes_of};
use crate::support::{requires, try_run};

const TOOLS: &[&str] = &["fls", "icat"];

/// What the Sleuth Kit lists at this sector: the paths of files, folders and
/// links, and their numbers.
fn listed(image: &Path, sector: &str) -> BTreeMap<String, (char, String)> {
    let args = ["-f", "hfs", "-r", "-p", "-u", "-o", sector, image.to_str().unwrap()];
    let ran = try_run("fls", &args).success();
    let mut found = BTreeMap::new();
    for line in ran.out().lines() {
        // "r/r 21:\ta/path"
        let (head, path) = line.split_once(":\t").unwrap();
        let (kind, number) = head.split_once(' ').unwrap();
        // Its own names for the volume's own files, and what is not shown.
        let path = path.strip_prefix('/').unwrap_or(path);
        let is_own = path.starts_with('$')
            || path.starts_with("^^^^HFS+ Private Data")
            || path.contains(".HFS+ Private Directory Data")
            || path.contains("HFS+ Private Data");
        if !is_own {
            let kind = kind.chars().next().unwrap();
            found.insert(path.to_owned(), (kind, number.to_owned()));
        }
    }
    found
}

fn below(
    files: &dyn Files,
    folder: &DirectoryEntry,
    path: &str,
    all: &mut BTreeMap<String, DirectoryEntry>,
) {
    let mut entries = Vec::new();
    let each = &mut |entry: Result<DirectoryEntry, dacapo::ondisk::FormatError>| {
        entries.push(entry.unwrap());
        ControlFlow::Continue(())
    };
    files.list(folder.node, each).unwrap();
    for entry in entries {
        let name = String::from_utf8(entry.name.clone()).unwrap();
        let path = if path.is_empty() { name } else { format!("{path}/{name}") };
        if entry.kind == NodeKind::Folder {
            below(files, &entry, &path, all);
        }
        all.insert(path, entry);
    }
}

/// The same names, and the same content of every file and link; returns how
/// many there are.
#[track_caller]
fn compare_with_sleuth_kit(files: &dyn Files, image: &Path, offset: u64) -> usize {
    let sector = (offset / 512).to_string();
    let theirs = listed(image, &sector);
    let mut ours = BTreeMap::new();
    let root = DirectoryEntry { name: Vec::new(), node: files.root(), kind: NodeKind::Folder };
    below(files, &root, "", &mut ours);
    let names = |keys: Vec<&String>| keys.into_iter().cloned().collect::<Vec<_>>();
    assert_eq!(names(ours.keys().collect()), names(theirs.keys().collect()));
    for (path, entry) in &ours {
        let (kind, number) = &theirs[path];
        let size = files.attributes(entry.node).unwrap().size;
        let content = match entry.kind {
            NodeKind::Folder => {
                assert_eq!(*kind, 'd', "{path}");
                continue;
            }
            NodeKind::Link => files.link_target(entry.node).unwrap(),
            NodeKind::File => {
                let mut content = vec![0; usize::try_from(size).unwrap()];
                match files.read_at(entry.node, 0, &mut content) {
                    Ok(count) => assert_eq!(count, content.len()),
                    Err(error) => panic!("{path}: {error}"),
                }
                content
            }
            _ => continue,
        };
        let args = ["-f", "hfs", "-o", &sector, image.to_str().unwrap(), number];
        let ran = try_run("icat", &args);
        // It gives files up whose attributes are in forks of their own.
        if ran.err().contains("Unsupported record type") {
            println!("{path}: not read by the Sleuth Kit");
            continue;
        }
        let ran = ran.success();
        assert!(ran.stdout.as_slice() == content, "{path}: {} bytes", content.len());
    }
    ours.len()
}

#[test]
fn committed_hfs_plus_images_are_as_the_sleuth_kit_reads_them() {
    if !requires(TOOLS) {
        return;
    }
    let count = committed(&["hfsplus-"], &mut |name, image| {
        if name.contains("dirty") {
            let volumes = volumes_of(image);
            let error = volumes[0].files().err().expect("its journal has to be replayed");
            assert!(error.to_string().contains("journal has to be replayed"), "{error}");
            return;
        }
        let files = files_of(image);
        // It does not look into a wrapper.
        if !name.contains("wrapped") {
            let compared = compare_with_sleuth_kit(files.as_ref(), image, 0);
            println!("{name}: {compared}");
            assert!(compared > 1, "{name}");
        }
    });
    assert!(count >= 4);
}

#[test]
fn hfs_plus_of_macos_is_as_the_sleuth_kit_reads_it() {
    if !requires(TOOLS) {
        return;
    }
    let archives = ["hfsplus", "hfs-plus.", "udif", "hfs-apm", "hfs-basic"];
    let count = each_of_corpus(&archives, "HFS", &mut |name, image, volume| {
        let files = volume.files().unwrap();
        let offset = volume.extent.map_or(0, |extent| extent.start());
        println!("{name}: {}", compare_with_sleuth_kit(files.as_ref(), image, offset));
    });
    assert!(count == 0 || count >= 5, "{count}");
}

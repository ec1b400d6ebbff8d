// SPDX-License-Identifier: MIT OR Apache-2.0
//! HFS+ and APFS, against the Sleuth Kit.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use dacapo::fs::Files;
use dacapo::fs::files::{DirectoryEntry, Node, NodeKind};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::images::{committed, each_of_corpus};
use super::{files_of, find, list_all, read_all, volumes_of};
use crate::support::{all, requires, run, sparse_file, temp_dir, try_run};
use crate::variants::{names_of, variant};

const TOOLS: &[&str] = &["fls", "icat"];

/// What the Sleuth Kit lists: the paths of files, folders and links, and their
/// numbers. The options say which filesystem it is, and where.
fn listed(image: &Path, options: &[&str]) -> BTreeMap<String, (char, String)> {
    let args = [options, &["-r", "-p", "-u", image.to_str().unwrap()]].concat();
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
    compare(files, files.root(), image, &["-f", "hfs", "-o", &sector])
}

/// The same of what is below a folder.
#[track_caller]
fn compare(files: &dyn Files, folder: Node, image: &Path, options: &[&str]) -> usize {
    let theirs = listed(image, options);
    let mut ours = BTreeMap::new();
    let root = DirectoryEntry { name: Vec::new(), node: folder, kind: NodeKind::Folder };
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
        let args = [options, &[image.to_str().unwrap(), number]].concat();
        let ran = try_run("icat", &args);
        // It gives files up whose attributes are in forks of their own, and does
        // not look for the targets of links where APFS has them. What is empty
        // may have no content at all.
        let may_have_none = entry.kind == NodeKind::Link || content.is_empty();
        if may_have_none && ran.err().contains("Attribute not found")
            || ran.err().contains("Unsupported record type")
        {
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

/// Compares the volumes of a container that begins at a byte: names, contents,
/// times and owners; returns how many nodes there are.
#[track_caller]
fn compare_volumes(files: &dyn Files, image: &Path, offset: u64) -> usize {
    let (image_name, sector) = (image.to_str().unwrap(), (offset / 512).to_string());
    let pool = run("pstat", &["-o", &sector, image_name]);
    let blocks = pool.out().lines().filter_map(|line| line.split_once("APSB Block Number:"));
    let blocks: Vec<String> = blocks.map(|(_, block)| block.trim().to_owned()).collect();
    let volumes = list_all(files, files.root());
    assert_eq!(volumes.len(), blocks.len(), "{}", pool.out());
    let mut count = 0;
    for (volume, block) in volumes.iter().zip(&blocks) {
        let options = ["-o", &sector, "-P", "apfs", "-B", block];
        count += compare(files, volume.node, image, &options);
        let args = [&options[..], &["-r", "-p", "-u", "-l", image_name]].concat();
        for line in run("fls", &args).out().lines() {
            // Kind and number, then path and the four times, the size, and the owners.
            let fields: Vec<&str> = line.split_once(":\t").unwrap().1.split('\t').collect();
            let [path, modified, accessed, changed, created, _, user, group] = fields[..] else {
                panic!("{line}");
            };
            let node = path.split('/').fold(volume.node, |folder, name| {
                files.lookup(folder, name.as_bytes()).unwrap().unwrap().node
            });
            let attributes = files.attributes(node).unwrap();
            let times = attributes.times;
            let shown = |time: Option<Timestamp>| {
                time.unwrap().strftime("%Y-%m-%d %H:%M:%S (UTC)").to_string()
            };
            let ours = [times.modified, times.accessed, times.changed, times.created].map(shown);
            assert_eq!(ours, [modified, accessed, changed, created], "{path}");
            let owner = (user.parse().unwrap(), group.parse().unwrap());
            assert_eq!(attributes.owner, Some(owner), "{path}");
        }
    }
    count
}

const APFS: &[&str] = &["pstat", "fls", "icat"];

#[test]
fn committed_apfs_images_are_as_the_sleuth_kit_reads_them() {
    if !requires(APFS) {
        return;
    }
    let count = committed(&["apfs-"], &mut |name, image| {
        let compared = compare_volumes(files_of(image).as_ref(), image, 0);
        println!("{name}: {compared}");
        assert!(compared > 2, "{name}");
    });
    assert!(count >= 2);
}

#[test]
fn apfs_with_files_is_as_its_maker_says() {
    for name in
        if all() { names_of("apfs") } else { vec!["apfs-files".into(), "apfs-volumes".into()] }
    {
        let Some(disk) = variant("apfs", &name) else { return };
        let volumes = volumes_of(&disk.image);
        let files = match volumes[0].files() {
            Ok(files) => files,
            Err(error) => {
                println!("{name}: {error}");
                assert!(
                    disk.facts.files.is_empty() || disk.facts.understood == Some(false),
                    "{name}: {error}"
                );
                continue;
            }
        };
        for (path, hash) in &disk.facts.files {
            let node = find(files.as_ref(), path).unwrap_or_else(|| panic!("{name}: no {path}"));
            let found: String = Sha256::digest(read_all(files.as_ref(), node))
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert_eq!(&found, hash, "{name}: {path}");
        }
        println!("{name}: {} files", disk.facts.files.len());
    }
}

#[test]
fn apfs_of_macos_is_as_the_sleuth_kit_reads_it() {
    if !requires(APFS) {
        return;
    }
    let count = each_of_corpus(&["apfs"], "APFS", &mut |name, image, volume| {
        let files = match volume.files() {
            Ok(files) => files,
            Err(error) => {
                assert!(name.contains("encrypted"), "{name}: {error}");
                assert!(error.to_string().contains("it is encrypted"), "{error}");
                return;
            }
        };
        let offset = volume.extent.map_or(0, |extent| extent.start());
        println!("{name}: {}", compare_volumes(files.as_ref(), image, offset));
    });
    assert!(count == 0 || count >= 4, "{count}");
}

/// The same files were put on an HFS+ and an APFS by the same program of macOS.
#[test]
fn files_of_apfs_are_those_of_the_hfs_plus_beside_it() {
    let told = |archive: &str, kind: &str| {
        let mut found = BTreeMap::new();
        each_of_corpus(&[archive], kind, &mut |_, _, volume| {
            let files = volume.files().unwrap();
            let mut root =
                DirectoryEntry { name: Vec::new(), node: files.root(), kind: NodeKind::Folder };
            if kind == "APFS" {
                root = list_all(files.as_ref(), root.node).remove(0);
            }
            let mut all = BTreeMap::new();
            below(files.as_ref(), &root, "", &mut all);
            for (path, entry) in all {
                let attributes = files.extended_attributes(entry.node).unwrap();
                let attributes: BTreeMap<_, _> = attributes.into_iter().collect();
                let streams = files.streams(entry.node).unwrap();
                let content = match entry.kind {
                    NodeKind::File => read_all(files.as_ref(), entry.node),
                    NodeKind::Link => files.link_target(entry.node).unwrap(),
                    _ => Vec::new(),
                };
                found.insert(path, (entry.kind, attributes, streams, content));
            }
        });
        found
    };
    let (ours, theirs) = (told("go-apfs-v2__basic", "APFS"), told("go-apfs-v2__hfs-basic", "HFS"));
    println!("{} and {} files", ours.len(), theirs.len());
    let shared: Vec<&String> = ours.keys().filter(|path| theirs.contains_key(*path)).collect();
    for path in &shared {
        assert_eq!(ours[*path], theirs[*path], "{path}");
    }
    assert!(ours.is_empty() || shared.len() > 5, "{shared:?}");
}

/// Types and creators as the Sleuth Kit reads them; of the rest, what macOS keeps
/// for itself is not shown, nor what makes a link of a file.
#[test]
fn what_the_finder_keeps_on_an_hfs_plus_is_shown_as_macos_shows_it() {
    const MAKER: &str =
        concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/make-images/hfsplus_build.py");
    if !requires(&["fls", "istat", "python3"]) {
        return;
    }
    let folder = temp_dir();
    let image = folder.path().join("mac.raw");
    std::fs::create_dir(folder.path().join("tree")).unwrap();
    for more in [&["finder=1"][..], &["finder=1", "hfsx=1", "binary=1"]] {
        let _ = std::fs::remove_file(&image);
        sparse_file(&image, 8 << 20);
        let paths = [MAKER, image.to_str().unwrap(), &folder.join("tree")];
        let _ = run("python3", &[&paths[..], more].concat());
        let files = files_of(&image);
        compare_with_sleuth_kit(files.as_ref(), &image, 0);
        let numbers = listed(&image, &["-f", "hfs"]);
        // The type and creator, or the edges of a window, flags, and the place of
        // the icon; behind that more flags and a reserved number.
        let typed = "54455854446143614100000cffde0000";
        let window = "0028003200f0015e0400000000000000";
        let (own, none) = ("00000000000000008004050600000000", "0".repeat(32));
        for (path, wanted) in [
            ("typed.txt", Some(format!("{typed}{own}"))),
            ("compressed.txt", Some(format!("{typed}{none}"))),
            ("one name.txt", Some(format!("{typed}{none}"))),
            ("other name.txt", Some(format!("{typed}{none}"))),
            ("window", Some(format!("{window}{own}"))),
            ("added.txt", None),
            ("link to typed", None),
            ("resource.bin", None),
        ] {
            let node = find(files.as_ref(), path).unwrap_or_else(|| panic!("no {path}"));
            let shown = files.extended_attributes(node).unwrap();
            let name = b"com.apple.FinderInfo".to_vec();
            let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let shown: Vec<(Vec<u8>, String)> =
                shown.into_iter().map(|(name, value)| (name, hex(value))).collect();
            let wanted: Vec<_> = wanted.into_iter().map(|value| (name.clone(), value)).collect();
            assert_eq!(shown, wanted, "{path}");
            let args = ["-f", "hfs", image.to_str().unwrap(), &numbers[path].1];
            let said = run("istat", &args);
            let kept = |what: &str| said.out().lines().find_map(|line| line.strip_prefix(what));
            let theirs = kept("File type:\t").zip(kept("File creator:\t"));
            if let Some((kind, creator)) = theirs.filter(|_| !path.contains("link")) {
                let zeros = "0".repeat(16);
                let ours = shown.first().map_or(zeros.as_str(), |(_, value)| &value[..16]);
                let words = [kind, creator].map(|it| it.split_whitespace().next().unwrap());
                let padded = words.map(|word| format!("{word:0>8}")).concat();
                assert_eq!(padded, ours, "{path}");
            } else {
                assert!(path.contains("link") || path == "window", "{said}");
            }
        }
    }
}

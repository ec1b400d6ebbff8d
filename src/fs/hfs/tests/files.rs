// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files of a small disk in `images/`, and of what is left of it after damage.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use proptest::prelude::{ProptestConfig, any, prop, proptest};

use super::nodes;
use crate::fs::conformance::examine;
use crate::fs::files::{DirectoryEntry, FileResult, Files, Node};
use crate::fs::hfs::{Hfs, MasterDirectoryBlock};
use crate::fs::{Filesystem as _, files};
use crate::io::Memory;
use crate::ondisk::Fields as _;

const NODE: usize = 512;

/// The disk.
#[derive(Clone)]
pub(super) struct Disk(pub(super) Vec<u8>);

impl Disk {
    pub(super) fn new() -> Self {
        static DISK: OnceLock<Vec<u8>> = OnceLock::new();
        let bytes = DISK.get_or_init(|| {
            let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("images");
            zstd::decode_all(File::open(images.join("hfs-tiny.img.zst")).unwrap()).unwrap()
        });
        Self(bytes.clone())
    }

    fn files(&self) -> FileResult<Box<dyn Files>> {
        Hfs.files(&[Arc::new(Memory::new(self.0.clone()))]).map(Option::unwrap)
    }

    pub(super) fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..][..bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Where the first nodes of the catalog and of the overflow file are.
    pub(super) fn trees(&self) -> (usize, usize) {
        let block = MasterDirectoryBlock::read(&Memory::new(self.0.clone())).unwrap().unwrap();
        let [catalog, overflow] = [block.catalog, block.overflow]
            .map(|fork| block.blocks(fork.extents[0].0, fork.extents[0].1).start() as usize);
        (catalog, overflow)
    }

    /// Where the record of a file is, behind its key; an index has its key, too.
    pub(super) fn record(&self, name: &[u8]) -> usize {
        let key = [&[name.len() as u8], name].concat();
        let keys = self.0.windows(key.len()).enumerate().filter(|(_, bytes)| *bytes == key);
        let mut records = keys.map(|(at, _)| (at + key.len()).next_multiple_of(2));
        records.find(|at| self.0[*at] == 2).unwrap()
    }
}

fn lookup(files: &dyn Files, path: &[&str]) -> Node {
    path.iter().fold(files.root(), |folder, name| {
        files.lookup(folder, name.as_bytes()).unwrap().unwrap().node
    })
}

fn read(files: &dyn Files, path: &[&str]) -> FileResult<Vec<u8>> {
    let node = lookup(files, path);
    let mut content = vec![0; files.attributes(node)?.size as usize];
    let len = files.read_at(node, 0, &mut content)?;
    assert_eq!(len, content.len());
    Ok(content)
}

/// The lines that `seq` prints.
fn lines(numbers: std::ops::RangeInclusive<u32>) -> String {
    numbers.map(|number| format!("{number}\n")).collect()
}

#[test]
fn files_in_many_places_are_read() {
    let disk = Disk::new();
    let files = disk.files().unwrap();
    assert_eq!(files.notice(), None);
    assert_eq!(read(files.as_ref(), &["Both Forks"]).unwrap(), lines(1..=15000).into_bytes());
    // Letters of either case are the same.
    let song = read(files.as_ref(), &["fOLDER", "BELOW", "Song101"]).unwrap();
    assert_eq!(song, lines(101..=460).into_bytes());
    let node = lookup(files.as_ref(), &["Both Forks"]);
    let attributes = files.attributes(node).unwrap();
    assert!(attributes.dos.unwrap().read_only && !attributes.dos.unwrap().hidden);
    assert_eq!(attributes.times.created, "1992-09-22T09:46:40Z".parse().ok());
    let streams = files.streams(node).unwrap();
    let wanted = lines(5..=8000).into_bytes();
    assert_eq!(streams, [(b"rsrc".to_vec(), wanted.len() as u64)]);
    let mut resource = vec![0; wanted.len()];
    assert_eq!(files.read_stream_at(node, b"rsrc", 0, &mut resource).unwrap(), wanted.len());
    assert_eq!(resource, wanted);
    assert!(files.read_stream_at(node, b"other", 0, &mut resource).is_err());
    assert!(files.places(node).unwrap().unwrap().count() > 20);
    assert!(examine(files.as_ref(), disk.0.len() as u64, 1000) > 100);
}

/// The files cannot be opened, and this is why.
#[track_caller]
fn refused(disk: &Disk, why: &str) {
    let error = disk.files().err().expect("damage").to_string();
    assert!(error.contains(why), "{error}");
}

#[test]
fn trees_have_to_make_sense() {
    let disk = Disk::new();
    let (catalog, overflow) = disk.trees();
    for tree in [catalog, overflow] {
        refused(&disk.clone().put(tree + 8, &[0]), "a header node");
        refused(&disk.clone().put(tree + 32, &[0, 7]), "a node size");
        refused(&disk.clone().put(tree + 36, &[0xff; 4]), "as many nodes as fit");
        // A root that is none; the tree of places is needed for the catalog.
        for root in [[0xff; 4], [0, 0, 0, 0]] {
            assert!(disk.clone().put(tree + 16, &root).files().is_err());
        }
    }
    let root = disk.0.u32_be(catalog + 16).unwrap();
    assert_eq!(disk.0.u8_at(catalog + 8 + NODE), Some(0xff), "node 1 is a leaf");
    // The whole tree is in the first places: an index that leads to itself.
    let place = catalog + root as usize * NODE;
    if disk.0.u8_at(place + 8) == Some(0) && root < 12 {
        let first = usize::from(disk.0.u16_be(place + NODE - 2).unwrap());
        refused(&disk.clone().put(place + first + 38, &root.to_be_bytes()), "floors");
    }
    // Places of the catalog that are none.
    refused(&disk.clone().put(1024 + 150, &[0xff; 2]), "places within");
    refused(&disk.clone().put(1024 + 146, &[0xff; 4]), "within the");
}

#[test]
fn a_chain_of_leaves_that_does_not_end_is_an_error() {
    let disk = Disk::new();
    let (catalog, _) = disk.trees();
    let looped = disk.put(catalog + NODE, &1_u32.to_be_bytes());
    let files = looped.files().unwrap();
    let mut count = 0;
    let listed = files.list(files.root(), &mut |_| {
        count += 1;
        ControlFlow::Continue(())
    });
    assert!(listed.unwrap_err().to_string().contains("keys that grow"));
    assert!(count < 10_000, "{count}");
    // All of them are wanted.
    let used = Hfs.used(&[&Memory::new(looped.0)]);
    assert!(used.unwrap_err().to_string().contains("a chain that ends"));
}

/// A record of the catalog: of a folder with this number, or of a file with as
/// many bytes.
fn record(parent: u32, name: &str, id: u32, file: Option<u32>) -> Vec<u8> {
    let key = [&[0], &parent.to_be_bytes()[..], &[name.len() as u8], name.as_bytes()].concat();
    let mut record = [&[key.len() as u8], key.as_slice()].concat();
    record.resize(record.len().next_multiple_of(2), 0);
    let (kind, len, at) = if file.is_some() { (2, 102, 20) } else { (1, 70, 6) };
    let mut data = vec![0; len];
    data[0] = kind;
    data[at..at + 4].copy_from_slice(&id.to_be_bytes());
    if let Some(bytes) = file {
        for at in [26, 30] {
            data[at..at + 4].copy_from_slice(&bytes.to_be_bytes());
        }
        data[74..78].copy_from_slice(&[0, 1, 0, 1]);
    }
    record.extend(data);
    record
}

/// A disk with another tree, from a block on; `fork` is where the directory block
/// has its length and places.
fn with_tree(disk: Disk, fork: usize, first: u16, records: &[Vec<u8>]) -> Disk {
    let tree = nodes::tree(NODE, false, records);
    let block = MasterDirectoryBlock::read(&Memory::new(disk.0.clone())).unwrap().unwrap();
    let count = u16::try_from(tree.len() / block.block_size as usize).unwrap();
    let (place, count) = (block.blocks(first, count).start() as usize, count.to_be_bytes());
    disk.put(1024 + fork, &(tree.len() as u32).to_be_bytes())
        .put(1024 + fork + 4, &first.to_be_bytes())
        .put(1024 + fork + 6, &count)
        .put(1024 + fork + 8, &[0; 8])
        .put(place, &tree)
}

/// The nodes of all that is in the root folder.
fn in_root(files: &dyn Files) -> Vec<Node> {
    let mut found = Vec::new();
    let mut each = |entry: FileResult<DirectoryEntry>| {
        found.push(entry.unwrap().node);
        ControlFlow::Continue(())
    };
    files.list(files.root(), &mut each).unwrap();
    found
}

#[test]
fn folders_that_share_what_is_in_them_are_not_all_listed() {
    let mut records = vec![record(1, "disk", 2, None)];
    records.extend((0..600).map(|n| record(2, &format!("f{n:04}"), 2, None)));
    let disk = with_tree(Disk::new(), 146, 300, &records);
    let files = disk.files().unwrap();
    let folders = in_root(files.as_ref());
    assert_eq!(folders.len(), 600);
    let failed = folders
        .iter()
        .find_map(|folder| files.list(*folder, &mut |_| ControlFlow::Continue(())).err());
    let failed = failed.expect("all of them were listed").to_string();
    assert!(failed.contains("share what belongs to one"), "{failed}");
}

#[test]
fn files_that_share_their_places_are_not_all_read() {
    // Each has a block of its own, and 500 times three.
    let mut records = vec![record(1, "disk", 2, None)];
    records.extend((0..2000).map(|n| record(2, &format!("f{n:04}"), 16, Some(1501 * 512))));
    let places = (0..500_u16).map(|n| {
        let start = (1 + 3 * n).to_be_bytes();
        let key = [&[7, 0, 0, 0, 0, 16], &start[..]].concat();
        [key, [0, 1].repeat(6)].concat()
    });
    let disk = with_tree(Disk::new(), 146, 300, &records);
    let disk = with_tree(disk, 130, 1000, &places.collect::<Vec<_>>());
    let files = disk.files().unwrap();
    let nodes = in_root(files.as_ref());
    assert_eq!(files.places(nodes[0]).unwrap().unwrap().bytes(), 512);
    let failed = nodes.iter().find_map(|node| files.places(*node).err());
    let failed = failed.expect("all of them were read").to_string();
    assert!(failed.contains("share what belongs to one"), "{failed}");
}

#[test]
fn of_a_damaged_file_all_others_are_read() {
    let disk = Disk::new();
    let record = disk.record(b"Both Forks");
    assert_eq!(disk.0.u32_be(record + 26), Some(lines(1..=15000).len() as u32));
    let (_, overflow) = disk.trees();
    let id = disk.0[record + 20..][..4].to_vec();
    let key = [&[7, 0], id.as_slice()].concat();
    let leaf = overflow + NODE;
    let places = leaf + disk.0[leaf..].windows(6).position(|bytes| bytes == key).unwrap();
    for (at, bytes, why) in [
        (record + 26, &[0x7f, 0xff, 0xff, 0xff][..], "a file within the"),
        (record + 26, &[0, 2, 0, 0], "places of"),
        (record + 74, &[0xff, 0xff], "places within"),
        (record + 76, &[0, 0], "places from block"),
        (record + 20, &[0, 0, 0x7f], "places of"),
        (places + 6, &[0x7f, 0xff], "places from block"),
        (places + 8, &[0xff, 0xff], "places within"),
    ] {
        let files = disk.clone().put(at, bytes).files().unwrap();
        let error = read(files.as_ref(), &["Both Forks"]).unwrap_err().to_string();
        assert!(error.contains(why), "{at}: {error}");
        let song = read(files.as_ref(), &["Folder", "Below", "song349"]).unwrap();
        assert_eq!(song, lines(349..=460).into_bytes());
    }
    // What is no file, folder or thread is named, and all else is listed.
    let files = disk.put(record, &[9]).files().unwrap();
    let (mut good, mut bad) = (0, 0);
    let listed = files.list(files.root(), &mut |entry| {
        *(if entry.is_ok() { &mut good } else { &mut bad }) += 1;
        ControlFlow::Continue(())
    });
    listed.unwrap();
    assert!(good > 5 && bad == 1, "{good}, {bad}");
}

#[test]
fn what_was_not_unmounted_is_told() {
    let disk = Disk::new().put(1024 + 10, &[0, 0]);
    let identity = Hfs.probe(&[&Memory::new(disk.0.clone())]).unwrap().unwrap();
    assert_eq!(identity.unclean.as_deref(), Some("not unmounted"));
    let notice = disk.files().unwrap().notice().unwrap();
    assert_eq!(notice, files::may_be_old("it was not ejected"));
    let disk = Disk::new().put(1024 + 10, &[9, 0]);
    let identity = Hfs.probe(&[&Memory::new(disk.0)]).unwrap().unwrap();
    assert_eq!(identity.unclean.as_deref(), Some("has errors"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn no_damage_is_more_than_an_error(
        patches in prop::collection::vec((any::<prop::sample::Index>(), any::<[u8; 2]>()), 1..30),
    ) {
        let mut disk = Disk::new();
        let (catalog, overflow) = disk.trees();
        for (at, bytes) in patches {
            // The block, the first places of both trees, or anything.
            let (start, len) = [
                (1024, 162), (catalog, 12 * NODE), (overflow, 12 * NODE), (0, disk.0.len() - 2),
            ][usize::from(bytes[0]) % 4];
            disk = disk.put(start + at.index(len), &bytes);
        }
        let len = disk.0.len() as u64;
        if let Ok(Some(files)) = Hfs.files(&[Arc::new(Memory::new(disk.0))]) {
            let _ = examine(files.as_ref(), len, 60);
        }
    }
}

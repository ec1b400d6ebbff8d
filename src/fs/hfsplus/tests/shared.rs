// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trees that are made of their records: what lies in several leaves, and what
//! no honest volume has.

use std::ops::ControlFlow;

use super::disk::{ATTRIBUTES, BLOCK, CATALOG, Disk};
use crate::fs::files::{DirectoryEntry, FileResult, Files, Node};
use crate::fs::hfs::tests::nodes;

const NODE: usize = 4096;

fn units(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// A record with its key.
fn record(key: &[u8], data: &[u8]) -> Vec<u8> {
    [&(key.len() as u16).to_be_bytes(), key, data].concat()
}

/// One of the catalog: of a folder, or of a file without content.
fn item(parent: u32, name: &str, id: u32, is_folder: bool) -> Vec<u8> {
    let count = (name.len() as u16).to_be_bytes();
    let key = [&parent.to_be_bytes(), &count[..], &units(name)].concat();
    let (kind, len) = if is_folder { (1, 88) } else { (2, 248) };
    let mut data = vec![0; len];
    data[1] = kind;
    data[8..12].copy_from_slice(&id.to_be_bytes());
    record(&key, &data)
}

/// One of the attributes.
fn attribute(id: u32, name: &str, value: &[u8]) -> Vec<u8> {
    let count = (name.len() as u16).to_be_bytes();
    let key = [&[0, 0], &id.to_be_bytes()[..], &[0; 4], &count, &units(name)].concat();
    let len = (value.len() as u32).to_be_bytes();
    let value = [&[0, 0, 0, 0x10], &[0; 8][..], &len, value].concat();
    record(&key, &value)
}

/// A disk with another tree, from a block on.
fn with_tree(disk: Disk, fork: usize, first: u32, tree: &[u8]) -> Disk {
    let blocks = (tree.len() / BLOCK) as u32;
    let [first_bytes, blocks] = [first, blocks].map(u32::to_be_bytes);
    let len = (tree.len() as u64).to_be_bytes();
    let fork_data = [&len, &[0; 4][..], &blocks, &first_bytes, &blocks, &[0; 56]].concat();
    disk.header(fork, &fork_data).put(first as usize * BLOCK, tree)
}

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
fn attributes_of_a_file_are_found_in_all_leaves() {
    let catalog = [item(1, "disk", 2, true), item(2, "file", 17, false)];
    let disk = with_tree(Disk::tiny(), CATALOG, 600, &nodes::tree(NODE, false, &catalog));
    // Two of them fill a leaf, the first of which is of another file.
    let value = [7; 1800];
    let attributes: Vec<Vec<u8>> = [(16, "a"), (17, "a"), (17, "b"), (17, "c"), (17, "d")]
        .map(|(id, name)| attribute(id, name, &value))
        .into();
    let tree = nodes::tree(NODE, true, &attributes);
    assert_eq!(tree.len() / NODE, 1 + 3 + 1);
    let files = with_tree(disk, ATTRIBUTES, 800, &tree).files().unwrap();
    let [file] = in_root(files.as_ref())[..] else { panic!() };
    let found = files.extended_attributes(file).unwrap();
    let names: Vec<&[u8]> = found.iter().map(|(name, _)| name.as_slice()).collect();
    assert_eq!(names, [b"a", b"b", b"c", b"d"]);
}

#[test]
fn a_way_that_leads_to_other_leaves_is_damage() {
    let names: Vec<String> = (0..99).map(|n| format!("f{n:02}")).collect();
    let mut catalog = vec![item(1, "disk", 2, true)];
    catalog.extend(names.iter().map(|name| item(2, name, 17, true)));
    catalog.push(item(17, "file", 18, false));
    // The root is the first leaf, and what is wanted in the last.
    let tree = nodes::tree(NODE, false, &catalog);
    let files = with_tree(Disk::tiny(), CATALOG, 600, &tree).files().unwrap();
    let folders = in_root(files.as_ref());
    assert_eq!(folders.len(), 99);
    let error = files.list(folders[0], &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(error.to_string().contains("keys that grow"), "{error}");
}

#[test]
fn what_shares_all_it_has_is_not_all_read() {
    let name = |n: u32| format!("f{n:04}");
    let mut catalog = vec![item(1, "disk", 2, true)];
    catalog.extend((0..500).map(|n| item(2, &name(n), 2, true)));
    let tree = nodes::tree(NODE, false, &catalog);
    let files = with_tree(Disk::tiny(), CATALOG, 600, &tree).files().unwrap();
    let folders = in_root(files.as_ref());
    assert_eq!(folders.len(), 500);
    let list = |node| files.list(node, &mut |_| ControlFlow::Continue(()));
    let failed = folders.into_iter().find_map(|node| list(node).err());
    let failed = failed.expect("all of them were listed").to_string();
    assert!(failed.contains("share what belongs to one"), "{failed}");

    let mut catalog = vec![item(1, "disk", 2, true)];
    catalog.extend((0..800).map(|n| item(2, &name(n), 17, false)));
    let tree = nodes::tree(NODE, false, &catalog);
    let disk = with_tree(Disk::tiny(), CATALOG, 600, &tree);
    let attributes: Vec<Vec<u8>> = (0..600).map(|n| attribute(17, &name(n), b"value0")).collect();
    let tree = nodes::tree(NODE, false, &attributes);
    let files = with_tree(disk, ATTRIBUTES, 1400, &tree).files().unwrap();
    let nodes = in_root(files.as_ref());
    assert_eq!(files.extended_attributes(nodes[0]).unwrap().len(), 600);
    let failed = nodes.into_iter().find_map(|node| files.extended_attributes(node).err());
    let failed = failed.expect("all of them were read").to_string();
    assert!(failed.contains("share what belongs to one"), "{failed}");
}

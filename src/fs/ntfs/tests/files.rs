// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of volumes that are not in order.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::image::{FILE, Image, file_name, index_root, mapped, resident};
use crate::fs::files::NodeKind;
use crate::fs::ntfs::Ntfs;
use crate::fs::{Files, Filesystem};
use crate::io::Memory;

/// A volume with one file in its root folder.
fn image(names: &[(u64, &str)], attributes: Vec<Vec<u8>>) -> Image {
    let mut image = Image::new();
    let root = image.record(5);
    root.flags = 3;
    root.attributes = vec![resident(0x90, "$I30", &index_root(names), 1)];
    let standard = resident(0x10, "", &[0; 0x30], 0);
    let name = resident(0x30, "", &file_name(5, "file"), 1);
    image.record(FILE + 8).attributes = [vec![standard, name], attributes].concat();
    image.write();
    image
}

fn open(image: &Image) -> Box<dyn Files> {
    Ntfs.files(&[Arc::new(Memory::new(image.bytes.clone()))]).unwrap().unwrap()
}

fn names(files: &dyn Files) -> Vec<Result<String, String>> {
    let mut names = Vec::new();
    let each = &mut |entry: Result<crate::fs::files::DirectoryEntry, _>| {
        let name = entry.map(|entry| String::from_utf8_lossy(&entry.name).into_owned());
        names.push(name.map_err(|error: crate::ondisk::FormatError| error.to_string()));
        ControlFlow::Continue(())
    };
    files.list(files.root(), each).unwrap();
    names
}

#[test]
fn the_filesystems_own_files_and_names_that_are_none_are_not_shown() {
    let listed = [(0, "$MFT"), (5, "."), (28, "file"), (28, "a/b"), (28, "..")];
    let files = open(&image(&listed, vec![resident(0x80, "", b"content", 2)]));
    let names = names(files.as_ref());
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!(names[0].as_deref(), Ok("file"));
    assert!(names[1].is_err() && names[2].is_err());
    let file = files.lookup(files.root(), b"file").unwrap().unwrap();
    let mut buf = [0; 9];
    assert_eq!(files.read_at(file.node, 3, &mut buf).unwrap(), 4);
    assert_eq!(&buf[..4], b"tent");
}

#[test]
fn a_name_that_outlived_its_file_is_found_out() {
    let mut image = image(&[(28, "file")], vec![resident(0x80, "", b"another file", 2)]);
    image.record(28).sequence = 2;
    image.write();
    let files = open(&image);
    let entry = files.lookup(files.root(), b"file").unwrap().unwrap();
    let error = files.attributes(entry.node).unwrap_err().to_string();
    assert!(error.contains("the file that had it"), "{error}");
}

#[test]
fn what_only_windows_can_read_is_told() {
    let mut encrypted = mapped(0x80, "", 0, &[(Some(40), 1)], 100, 2);
    encrypted[0x0d] = 0x40;
    let files = open(&image(&[(28, "file")], vec![encrypted]));
    let file = files.lookup(files.root(), b"file").unwrap().unwrap();
    assert_eq!(file.kind, NodeKind::File);
    let error = files.read_at(file.node, 0, &mut [0; 9]).unwrap_err().to_string();
    assert!(error.contains("EFS"), "{error}");

    // A placeholder of OneDrive.
    let mut standard = vec![0; 0x30];
    standard[0x20..0x24].copy_from_slice(&0x0040_0600_u32.to_le_bytes());
    let point = [&0x9000_601a_u32.to_le_bytes()[..], &[0; 4]].concat();
    let mut image = image(
        &[(28, "file")],
        vec![mapped(0x80, "", 0, &[(None, 1)], 100, 2), resident(0xc0, "", &point, 3)],
    );
    image.record(28).attributes[0] = resident(0x10, "", &standard, 0);
    image.write();
    let files = open(&image);
    let file = files.lookup(files.root(), b"file").unwrap().unwrap();
    assert_eq!(files.attributes(file.node).unwrap().size, 100);
    let error = files.read_at(file.node, 0, &mut [0; 9]).unwrap_err().to_string();
    assert!(error.contains("cloud"), "{error}");
}

#[test]
fn further_streams_have_places_of_their_own() {
    let image = image(
        &[(28, "file")],
        vec![
            mapped(0x80, "", 0, &[(Some(40), 1)], 100, 2),
            mapped(0x80, "one", 0, &[(Some(50), 2)], 8000, 3),
            mapped(0x80, "two", 0, &[(Some(60), 1)], 100, 4),
        ],
    );
    let files = open(&image);
    let file = files.lookup(files.root(), b"file").unwrap().unwrap().node;
    assert_eq!(files.places(file).unwrap().unwrap(), image.extents(&[(40, 1)]));
    let streams = image.extents(&[(50, 2), (60, 1)]);
    assert_eq!(files.stream_places(file).unwrap().unwrap(), streams);
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of volumes, as they are and not in order.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::volume::{CHAIN, END, FOLDER, ROOT, RUN, Volume};
use crate::fs::exfat::Exfat;
use crate::fs::files::{DirectoryEntry, NodeKind};
use crate::fs::{Files, Filesystem};

fn open(volume: &mut Volume) -> Box<dyn Files> {
    volume.seal();
    Exfat.files(&[Arc::new(volume.disk.clone())]).unwrap().unwrap()
}

fn list(files: &dyn Files) -> Vec<Result<DirectoryEntry, String>> {
    let mut found = Vec::new();
    let each = &mut |entry: Result<DirectoryEntry, crate::ondisk::FormatError>| {
        found.push(entry.map_err(|error| error.to_string()));
        ControlFlow::Continue(())
    };
    files.list(files.root(), each).unwrap();
    found
}

#[test]
fn what_was_not_written_reads_as_zeros() {
    let mut volume = Volume::new();
    let set = volume.file(ROOT, 0x21, RUN, 10, 2000);
    volume.change_set(set, 40, &5_u64.to_le_bytes());
    let place = volume.place(10);
    volume.disk.put(place, &[7; 2000]);
    // 2026-11-27, 14:00:02.5, two hours east of UTC.
    volume.change_set(set, 12, &[1, 0x70, 0x7b, 0x5d]);
    volume.change_set(set, 21, &[50]);
    volume.change_set(set, 23, &[0x88]);
    let files = open(&mut volume);
    let file = files.lookup(files.root(), b"a").unwrap().unwrap();
    assert_eq!((file.name.as_slice(), file.kind), (&b"a"[..], NodeKind::File));
    let mut buf = [1; 20];
    assert_eq!(files.read_at(file.node, 2, &mut buf).unwrap(), 20);
    assert_eq!(buf[..5], [7, 7, 7, 0, 0]);
    assert_eq!(files.read_at(file.node, 1995, &mut buf).unwrap(), 5);
    assert_eq!(buf[..5], [0; 5]);
    assert_eq!(files.places(file.node).unwrap().unwrap().bytes(), 5);
    let attributes = files.attributes(file.node).unwrap();
    assert_eq!(attributes.times.modified, "2026-11-27T12:00:02.5Z".parse().ok());
    let dos = attributes.dos.unwrap();
    assert!(dos.read_only && dos.archive && !dos.hidden && !dos.system);
}

#[test]
fn a_damaged_set_is_one_name_less() {
    let mut volume = Volume::new();
    let damaged = volume.file(ROOT, 0, RUN, 10, 20);
    let cut = volume.file(ROOT, 0, RUN, 11, 20);
    volume.file(ROOT, 0, RUN, 12, 20);
    volume.disk.put(damaged + 66, b"b");
    volume.disk.put(cut + 64, &[0x41]);
    let files = open(&mut volume);
    let found = list(files.as_ref());
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].is_err() && found[1].is_err());
    assert_eq!(found[2].as_ref().unwrap().name, b"a");
    // What is looked for may be the one that is damaged.
    assert!(files.lookup(files.root(), b"b").is_err());
    assert!(files.lookup(files.root(), b"a").unwrap().is_some());
}

#[test]
fn chains_that_end_too_early_or_never() {
    let mut volume = Volume::new();
    volume.file(ROOT, 0, CHAIN, 10, 3000);
    volume.fat(10, 11);
    volume.fat(11, END);
    let files = open(&mut volume);
    let file = files.lookup(files.root(), b"a").unwrap().unwrap().node;
    let error = files.read_at(file, 0, &mut [0; 9]).unwrap_err().to_string();
    assert!(error.contains("3 clusters"), "{error}");
    assert_eq!(files.attributes(file).unwrap().size, 3000);

    // A folder that goes round in circles.
    let mut volume = Volume::new();
    volume.file(ROOT, FOLDER, CHAIN, 10, 1 << 40);
    volume.fat(10, 11);
    volume.fat(11, 10);
    let files = open(&mut volume);
    let folder = files.lookup(files.root(), b"a").unwrap().unwrap();
    assert_eq!(folder.kind, NodeKind::Folder);
    assert!(files.list(folder.node, &mut |_| ControlFlow::Continue(())).is_err());
}

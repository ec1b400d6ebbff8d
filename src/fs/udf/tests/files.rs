// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files on partitions of every kind, and discs that are damaged on purpose.

use std::sync::Arc;

use crate::fs::conformance::examine;
use crate::fs::udf::{Udf, tag};
use crate::fs::{Files, Filesystem as _};
use crate::io::{Memory, ReadAt, WriteAt as _};

const BLOCK: usize = 2048;
const DISCS: [&[u8]; 4] = [
    include_bytes!("../../../../images/foreign-tiny-udf-metadata.img.zst"),
    include_bytes!("../../../../images/foreign-tiny-udf-virtual.img.zst"),
    include_bytes!("../../../../images/foreign-tiny-udf-sparable.img.zst"),
    include_bytes!("../../../../images/foreign-tiny-disc.img.zst"),
];

fn open(disc: Vec<u8>) -> Box<dyn Files> {
    Udf.files(&[Arc::new(Memory::new(disc))]).unwrap().unwrap()
}

fn read(files: &dyn Files, path: &str) -> Vec<u8> {
    let mut node = files.root();
    for name in path.split('/') {
        node = files.lookup(node, name.as_bytes()).unwrap().unwrap().node;
    }
    let size = files.attributes(node).unwrap().size;
    let mut content = vec![1; size as usize];
    assert_eq!(files.read_at(node, 0, &mut content).unwrap(), content.len());
    content
}

#[test]
fn files_are_read_through_every_kind_of_partition() {
    for disc in &DISCS[..3] {
        let files = open(zstd::decode_all(*disc).unwrap());
        let files = files.as_ref();
        let pieces = [b"first ".repeat(1024), b"second ".repeat(500)].concat();
        assert!(read(files, "folder/pieces") == pieces);
        let hole = [vec![b'x'; BLOCK], vec![0; 5 * BLOCK], vec![b'x'; 100]].concat();
        assert!(read(files, "folder/hole") == hole);
        assert_eq!(read(files, "inside"), b"session notes\n");
        let root = files.root();
        assert_eq!(files.lookup(root, b"gone").unwrap(), None);
        let link = files.lookup(root, b"link").unwrap().unwrap().node;
        assert_eq!(files.link_target(link).unwrap(), b"folder/pieces");
        let hole = files.lookup(root, b"folder").unwrap().unwrap().node;
        let hole = files.lookup(hole, b"hole").unwrap().unwrap().node;
        let stored = files.data_ranges(hole).unwrap().unwrap();
        assert_eq!(stored.bytes(), BLOCK as u64 + 100);
    }
}

#[test]
fn a_copy_of_the_metadata_is_read_if_the_first_is_damaged() {
    let mut disc = zstd::decode_all(DISCS[0]).unwrap();
    disc[272 * BLOCK + 100] ^= 1;
    assert_eq!(read(open(disc).as_ref(), "inside"), b"session notes\n");
}

#[test]
fn a_disc_without_its_end_has_no_virtual_partition() {
    let mut disc = zstd::decode_all(DISCS[1]).unwrap();
    let end = disc.len() - BLOCK;
    disc[end..].fill(0);
    let disc: Arc<dyn ReadAt> = Arc::new(Memory::new(disc));
    let error = Udf.files(&[disc]).err().unwrap().to_string();
    assert!(error.contains("not read to its end"), "{error}");
}

#[test]
fn whatever_is_damaged_is_an_error_and_nothing_worse() {
    for packed in DISCS {
        let bytes = zstd::decode_all(packed).unwrap();
        let disc = Arc::new(Memory::new(bytes.clone()));
        let readers: [Arc<dyn ReadAt>; 1] = [disc.clone()];
        let ask = || {
            let _ = Udf.probe(&[disc.as_ref()]);
            if let Ok(Some(files)) = Udf.files(&readers) {
                let _ = examine(files.as_ref(), disc.len(), 50);
            }
        };
        for (number, block) in
            bytes.chunks(BLOCK).enumerate().filter(|(_, it)| it[10] | it[11] != 0)
        {
            if tag::Tag::parse(block, 0, None).is_err() {
                continue;
            }
            // Every byte that says something, with checksums that are right.
            for at in (16..500).filter(|at| block[*at] != 0 || at % 32 == 0).step_by(2) {
                for flip in [0xff, 1] {
                    let mut damaged = block.to_vec();
                    damaged[at] ^= flip;
                    tag::reseal(&mut damaged);
                    disc.write_at((number * BLOCK) as u64, &damaged).unwrap();
                    ask();
                }
            }
            disc.write_at((number * BLOCK) as u64, block).unwrap();
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Anchors and volume descriptors, on the committed disk of mkudffs.

use crate::extent::Extent;
use crate::fs::Filesystem as _;
use crate::fs::udf::partition::PartitionMap;
use crate::fs::udf::{Descriptors, Recognition, Udf, anchors, tag};
use crate::io::{Memory, ReadAt as _, WriteAt as _};

const TINY: &[u8] = include_bytes!("../../../../images/foreign-tiny-udf.img.zst");
const BLOCK: u64 = 512;

fn tiny() -> Memory {
    Memory::new(zstd::decode_all(TINY).unwrap())
}

fn wipe(disk: &Memory, block: u64) {
    disk.write_at(block * BLOCK, &[0; 512]).unwrap();
}

#[test]
fn descriptors_are_those_of_mkudffs() {
    let disk = tiny();
    let recognition = Recognition::read(&disk).unwrap();
    assert_eq!((recognition.version(), recognition.is_bridge()), (Some(3), false));
    let last = disk.len() / BLOCK - 1;
    let found: Vec<u64> = anchors(&disk).unwrap().iter().map(|it| it.block.into()).collect();
    assert_eq!(found, [256, last]);
    let found = Descriptors::read(&disk).unwrap().unwrap();
    assert!(!found.is_reserve);
    let logical = &found.logical;
    assert_eq!((logical.identifier.as_str(), logical.revision), ("Demo", 0x0201));
    assert_eq!(logical.block_size, 512);
    let [PartitionMap::Physical { partition: 0 }] = logical.maps[..] else { panic!("{logical:?}") };
    let primary = found.primary.as_ref().unwrap();
    assert!(primary.volume_set_id.starts_with("0123456789abcdef"), "{primary:?}");
    assert_eq!(found.partitions.len(), 1);
    let integrity = found.integrity.as_ref().unwrap();
    assert!(integrity.is_closed);
    assert_eq!((integrity.min_read, integrity.files), (0x0201, 0));
    assert_eq!(found.end(), disk.len());
}

#[test]
fn any_anchor_and_either_sequence_is_enough() {
    let whole = tiny();
    let last = whole.len() / BLOCK - 1;
    let expected = Descriptors::read(&whole).unwrap().unwrap();
    let anchor = {
        let mut bytes = [0; 512];
        whole.read_at(256 * BLOCK, &mut bytes).unwrap();
        bytes
    };
    for kept in [256, last, last - 256, 512] {
        let disk = tiny();
        [256, last].into_iter().for_each(|it| wipe(&disk, it));
        let mut anchor = anchor;
        tag::seal(&mut anchor, tag::id::ANCHOR, kept.try_into().unwrap());
        disk.write_at(kept * BLOCK, &anchor).unwrap();
        let found = Descriptors::read(&disk).unwrap().unwrap();
        assert_eq!((&found.logical, found.anchors.len()), (&expected.logical, 1));
    }
    let disk = tiny();
    let main = expected.anchors[0].main;
    // The terminator is none that has to be there.
    for block in main.pieces(BLOCK) {
        let mut bytes = [0; 1];
        disk.read_at(block.start() + 100, &mut bytes).unwrap();
        bytes[0] ^= 1;
        disk.write_at(block.start() + 100, &bytes).unwrap();
    }
    let found = Descriptors::read(&disk).unwrap().unwrap();
    assert!(found.is_reserve);
    assert_eq!(found.logical, expected.logical);
    expected.anchors.iter().for_each(|anchor| wipe(&disk, anchor.block.into()));
    assert_eq!(Descriptors::read(&disk).unwrap(), None);
}

#[test]
fn a_place_that_cannot_be_read_is_passed_by_if_there_is_another() {
    let last = tiny().len() / BLOCK - 1;
    let disk = tiny().unreadable(Extent::at(last * BLOCK, 512));
    assert_eq!(anchors(&disk).unwrap().len(), 1);
    let identity = Udf.probe(&[&disk]).unwrap().unwrap();
    assert_eq!(identity.label.as_deref(), Some("Demo"));
}

#[test]
fn no_length_makes_the_parsers_panic() {
    let bytes = zstd::decode_all(TINY).unwrap();
    for len in (0..bytes.len()).step_by(4999) {
        let disk = Memory::new(bytes[..len].to_vec());
        let _ = (Recognition::read(&disk), Descriptors::read(&disk), Udf.probe(&[&disk]));
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Discs on which many files share what belongs to one of them, so that to read
//! them would take for ever.

use std::sync::Arc;

use crate::fs::Filesystem as _;
use crate::fs::conformance::{Counted, visit};
use crate::fs::udf::{Descriptors, Udf, tag};
use crate::io::{Memory, ReadAt};

const BLOCK: usize = 2048;

/// A disc whose partition has been made longer, by blocks that follow it.
struct Disc {
    bytes: Vec<u8>,
    /// The first byte of the partition.
    start: usize,
}

impl Disc {
    /// That of genisoimage, with room behind it.
    fn new(blocks: usize) -> Self {
        let packed = include_bytes!("../../../../images/foreign-tiny-disc.img.zst");
        let mut bytes = zstd::decode_all(&packed[..]).unwrap();
        let found = Descriptors::read(&Memory::new(bytes.clone())).unwrap().unwrap();
        let start = usize::try_from(found.partitions[0].extent.start()).unwrap();
        bytes.resize(bytes.len() + blocks * BLOCK, 0);
        let count = u32::try_from((bytes.len() - start) / BLOCK).unwrap();
        for block in bytes.chunks_mut(BLOCK) {
            if tag::Tag::expect(block, 0, None, tag::id::PARTITION).is_ok() {
                block[192..196].copy_from_slice(&count.to_le_bytes());
                tag::reseal(block);
            }
        }
        Self { bytes, start }
    }

    /// The first block behind what was there, of so many that were added.
    fn first(&self, added: usize) -> u32 {
        u32::try_from((self.bytes.len() - self.start) / BLOCK - added).unwrap()
    }

    fn put(&mut self, block: u32, content: &[u8]) {
        let at = self.start + block as usize * BLOCK;
        self.bytes[at..at + content.len()].copy_from_slice(content);
    }

    /// The block of the root folder.
    fn root(&self) -> u32 {
        let found = Descriptors::read(&Memory::new(self.bytes.clone())).unwrap().unwrap();
        let at = self.start + found.logical.file_set.1 as usize * BLOCK + 404;
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap())
    }

    /// Walks through all of it, which must end and say why.
    #[track_caller]
    fn assert_ends(self) {
        // Each entry that is counted as 256 bytes is read as a block.
        let most = (8 * self.bytes.len() as u64).max(16 << 20) * 8 * 2;
        let disc = Arc::new(Counted::new(Memory::new(self.bytes)));
        let readers: [Arc<dyn ReadAt>; 1] = [disc.clone()];
        let files = Udf.files(&readers).unwrap().unwrap();
        let (nodes, failed) = visit(files.as_ref());
        assert!(nodes > 10, "{nodes}: {failed:?}");
        assert!(disc.bytes() < most, "{} bytes of {}, {most}", disc.bytes(), disc.len());
        let failed = failed.unwrap_or_default();
        assert!(failed.contains("share what belongs to one"), "{failed}");
    }
}

/// A short allocation descriptor.
fn place(kind: u32, len: usize, block: u32) -> Vec<u8> {
    let len = u32::try_from(len).unwrap() | kind << 30;
    [len.to_le_bytes(), block.to_le_bytes()].concat()
}

/// A file entry.
fn entry(block: u32, kind: u8, strategy: u16, size: usize, places: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK];
    bytes[20..22].copy_from_slice(&strategy.to_le_bytes());
    bytes[27] = kind;
    bytes[48] = 1;
    bytes[56..64].copy_from_slice(&(size as u64).to_le_bytes());
    bytes[172..176].copy_from_slice(&u32::try_from(places.len()).unwrap().to_le_bytes());
    bytes[176..176 + places.len()].copy_from_slice(places);
    tag::seal(&mut bytes, tag::id::FILE_ENTRY, block);
    // As little is covered by the checksum as there is, which is quicker.
    bytes[10..12].copy_from_slice(&u16::try_from(160 + places.len()).unwrap().to_le_bytes());
    tag::reseal(&mut bytes);
    bytes
}

/// The name of what is in a block.
fn name(number: u32, block: u32) -> Vec<u8> {
    let name = format!("\x08{number:05}").into_bytes();
    let mut bytes = vec![0; 38];
    bytes[16] = 1;
    bytes[19] = u8::try_from(name.len()).unwrap();
    bytes[20..24].copy_from_slice(&2048_u32.to_le_bytes());
    bytes[24..28].copy_from_slice(&block.to_le_bytes());
    bytes.extend(name);
    tag::seal(&mut bytes, tag::id::FILE_IDENTIFIER, 0);
    bytes
}

/// The names of blocks that follow each other, each `apart` behind the one in
/// front of it.
fn names(count: u32, first: u32, apart: u32) -> Vec<u8> {
    (0..count).flat_map(|number| name(number, first + number * apart)).collect()
}

#[test]
fn folders_that_share_their_names_end() {
    const COUNT: u32 = 1000;
    let mut disc = Disc::new(1200);
    let (root, first) = (disc.root(), disc.first(1200));
    let content = names(COUNT, first + 100, 1);
    let places = place(0, content.len(), first);
    disc.put(first, &content);
    disc.put(root, &entry(root, 4, 4, content.len(), &places));
    for block in first + 100..first + 100 + COUNT {
        disc.put(block, &entry(block, 4, 4, content.len(), &places));
    }
    disc.assert_ends();
}

/// A root folder of files, each of which takes two blocks; then the first of the
/// blocks behind them.
fn files(count: u32, added: usize) -> (Disc, u32, u32) {
    let mut disc = Disc::new(added);
    let (root, first) = (disc.root(), disc.first(added));
    let content = names(count, first + 100, 2);
    disc.put(first, &content);
    disc.put(root, &entry(root, 4, 4, content.len(), &place(0, content.len(), first)));
    (disc, first + 100, first + 100 + count * 2)
}

/// An entry that leads to another.
fn indirect(block: u32, to: u32) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK];
    bytes[36..40].copy_from_slice(&2048_u32.to_le_bytes());
    bytes[40..44].copy_from_slice(&to.to_le_bytes());
    tag::seal(&mut bytes, tag::id::INDIRECT_ENTRY, block);
    bytes
}

#[test]
fn files_that_share_a_chain_of_entries_end() {
    let (mut disc, own, chain) = files(400, 3000);
    for step in 0..1000 {
        let block = chain + step * 2;
        disc.put(block, &entry(block, 5, 4096, 0, &[]));
        if step < 999 {
            disc.put(block + 1, &indirect(block + 1, block + 2));
        }
    }
    for block in (own..chain).step_by(2) {
        disc.put(block, &entry(block, 5, 4096, 0, &[]));
        disc.put(block + 1, &indirect(block + 1, chain));
    }
    disc.assert_ends();
}

#[test]
fn files_that_share_a_list_of_places_end() {
    const LISTS: u32 = 1000;
    let (mut disc, own, lists) = files(400, 2000);
    for number in 0..LISTS {
        let block = lists + number;
        let last = number + 1 == LISTS;
        let next = if last { place(0, BLOCK, 0) } else { place(3, BLOCK, block + 1) };
        let places = [place(1, BLOCK, 0), next].concat();
        let mut bytes = vec![0; BLOCK];
        bytes[20..24].copy_from_slice(&u32::try_from(places.len()).unwrap().to_le_bytes());
        bytes[24..24 + places.len()].copy_from_slice(&places);
        tag::seal(&mut bytes, tag::id::ALLOCATION_EXTENT, block);
        disc.put(block, &bytes);
    }
    for block in (own..lists).step_by(2) {
        let size = (LISTS as usize + 1) * BLOCK;
        disc.put(block, &entry(block, 5, 4, size, &place(3, BLOCK, lists)));
    }
    disc.assert_ends();
}

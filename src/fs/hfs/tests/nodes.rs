// SPDX-License-Identifier: MIT OR Apache-2.0
//! B-trees made of their records ("Inside Macintosh: Files", 2-64).

const DESCRIPTOR: usize = 14;

/// A node: its records, and where they begin, from its end on.
pub(super) fn node(size: usize, kind: u8, next: u32, records: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![0; DESCRIPTOR];
    bytes[..4].copy_from_slice(&next.to_be_bytes());
    bytes[8] = kind;
    bytes[10..12].copy_from_slice(&(records.len() as u16).to_be_bytes());
    let mut places = vec![DESCRIPTOR as u16];
    for record in records {
        bytes.extend_from_slice(record);
        places.push(bytes.len() as u16);
    }
    assert!(bytes.len() + 2 * places.len() <= size);
    bytes.resize(size - 2 * places.len(), 0);
    places.iter().rev().for_each(|place| bytes.extend_from_slice(&place.to_be_bytes()));
    bytes
}

/// A tree whose root is the first of its leaves, or with `is_indexed` an index of
/// them, whose keys have lengths of 16 bits.
pub(in crate::fs) fn tree(size: usize, is_indexed: bool, records: &[Vec<u8>]) -> Vec<u8> {
    let mut leaves: Vec<Vec<&[u8]>> = vec![Vec::new()];
    let mut left = size - DESCRIPTOR - 2;
    for record in records {
        if record.len() + 2 > left {
            leaves.push(Vec::new());
            left = size - DESCRIPTOR - 2;
        }
        left -= record.len() + 2;
        leaves.last_mut().unwrap().push(record);
    }
    let count = leaves.len() as u32;
    let mut header = vec![0; size];
    let nodes = count + 1 + u32::from(is_indexed);
    let root = if is_indexed { count + 1 } else { 1 };
    header[8] = 1;
    for (at, number) in [(16, root), (20, records.len() as u32), (36, nodes)] {
        header[at..at + 4].copy_from_slice(&number.to_be_bytes());
    }
    header[32..34].copy_from_slice(&(size as u16).to_be_bytes());
    let mut tree = header;
    for (number, leaf) in (1..).zip(&leaves) {
        let next = if number == count { 0 } else { number + 1 };
        tree.extend(node(size, 0xff, next, leaf));
    }
    if is_indexed {
        let entry = |(number, leaf): (u32, &Vec<&[u8]>)| {
            let key = 2 + usize::from(u16::from_be_bytes([leaf[0][0], leaf[0][1]]));
            [&leaf[0][..key], &number.to_be_bytes()].concat()
        };
        let entries: Vec<Vec<u8>> = (1..).zip(&leaves).map(entry).collect();
        let entries: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
        tree.extend(node(size, 0, 0, &entries));
    }
    tree
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! For tests: whatever a disk holds, reading its files ends, with errors at
//! worst.

#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "test numbers")]

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::files::NodeKind;
use super::{Files, Filesystem};
use crate::io::Memory;

/// No walk looks at more than so many nodes.
const MAX_NODES: usize = 3000;

/// Does everything that can be done with the files; returns how many there are
/// and the errors.
pub(super) fn use_all(files: &dyn Files) -> (usize, Vec<String>) {
    let (mut seen, mut waiting) = (HashSet::from([files.root()]), vec![files.root()]);
    let mut errors = Vec::new();
    let mut fail = |error: crate::ondisk::FormatError| errors.push(error.to_string());
    let mut buf = vec![0; 20_000];
    while let Some(node) = waiting.pop().filter(|_| seen.len() < MAX_NODES) {
        let attributes = match files.attributes(node) {
            Ok(attributes) => attributes,
            Err(error) => {
                fail(error);
                continue;
            }
        };
        if attributes.kind == NodeKind::Folder {
            let mut names = Vec::new();
            let listed = files.list(node, &mut |entry| {
                match entry {
                    Ok(entry) => {
                        assert!(!entry.name.is_empty() && !entry.name.contains(&b'/'));
                        if seen.insert(entry.node) {
                            waiting.push(entry.node);
                        }
                        names.push(entry.name);
                    }
                    Err(error) => fail(error),
                }
                match seen.len() < MAX_NODES {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                }
            });
            listed.unwrap_or_else(&mut fail);
            for name in names.iter().take(5) {
                files.lookup(node, name).map(drop).unwrap_or_else(&mut fail);
            }
        }
        if attributes.kind == NodeKind::Link {
            files.link_target(node).map(drop).unwrap_or_else(&mut fail);
        }
        if attributes.kind == NodeKind::File {
            for offset in [0, attributes.size / 2, attributes.size.saturating_sub(5), u64::MAX] {
                match files.read_at(node, offset, &mut buf) {
                    Ok(count) => {
                        let left = attributes.size.saturating_sub(offset);
                        assert_eq!(count as u64, left.min(buf.len() as u64));
                    }
                    Err(error) => fail(error),
                }
            }
        }
        files.data_ranges(node).map(drop).unwrap_or_else(&mut fail);
        files.places(node).map(drop).unwrap_or_else(&mut fail);
        files.extended_attributes(node).map(drop).unwrap_or_else(&mut fail);
        match files.streams(node) {
            Ok(streams) => {
                for (name, _) in streams.iter().take(10) {
                    let read = files.read_stream_at(node, name, 0, &mut buf);
                    read.map(drop).unwrap_or_else(&mut fail);
                }
            }
            Err(error) => fail(error),
        }
    }
    (seen.len(), errors)
}

/// Opens the files of a disk in memory; none if it cannot be.
pub(super) fn open(driver: &dyn Filesystem, bytes: Vec<u8>) -> Option<Box<dyn Files>> {
    driver.files(&[Arc::new(Memory::new(bytes))]).ok().flatten()
}

/// Changes the disk in so many ways, a few bytes at a time or cut short, and
/// reads all files each time.
pub(super) fn survive(driver: &dyn Filesystem, disk: &[u8], rounds: u64) {
    // Structures have zeros among other things; what has none is the content
    // of a file.
    let is_structure =
        |bytes: &[u8]| (3..bytes.len()).contains(&bytes.iter().filter(|b| **b == 0).count());
    let interesting: Vec<usize> = disk
        .chunks(32)
        .enumerate()
        .filter(|(_, bytes)| is_structure(bytes))
        .map(|it| it.0)
        .collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 20) as usize % below.max(1)
    };
    let mut bytes = disk.to_vec();
    let mut failed = 0;
    for round in 0..rounds {
        let mut changed = Vec::new();
        for _ in 0..=random(3) {
            let at = interesting[random(interesting.len())] * 32 + random(32);
            if at < bytes.len() {
                changed.push(at);
                bytes[at] = match random(4) {
                    0 => 0,
                    1 => 0xff,
                    2 => bytes[at] ^ 1 << random(8),
                    _ => random(256) as u8,
                };
            }
        }
        let len = if round % 50 == 0 { random(bytes.len()) } else { bytes.len() };
        let started = Instant::now();
        match open(driver, bytes[..len].to_vec()) {
            Some(files) => failed += u64::from(!use_all(files.as_ref()).1.is_empty()),
            None => failed += 1,
        }
        assert!(started.elapsed() < Duration::from_secs(20), "round {round} changed {changed:?}");
        for at in changed {
            bytes[at] = disk[at];
        }
    }
    // Else no change has met a structure.
    assert!(failed > rounds / 100, "{failed} of {rounds}");
}

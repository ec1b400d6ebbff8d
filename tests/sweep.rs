// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every disk in images/ with changed bytes and cut short: nothing panics,
//! every byte belongs to one region, and what is stored whole is whole.

use std::fs;
use std::path::Path;

use dacapo::error::Result;
use dacapo::io::{ReadAt, check_range};
use dacapo::layout;

use crate::support::all;
use crate::variants::{Variant, committed};

/// A disk cut short, with one changed byte.
struct Changed<'a> {
    disk: &'a [u8],
    len: usize,
    at: usize,
    flip: u8,
}

impl ReadAt for Changed<'_> {
    fn len(&self) -> u64 {
        self.len as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len(), offset, buf.len())?;
        let start = offset as usize;
        buf.copy_from_slice(&self.disk[start..start + buf.len()]);
        if let Some(byte) = self.at.checked_sub(start).and_then(|at| buf.get_mut(at)) {
            *byte ^= self.flip;
        }
        Ok(())
    }
}

/// How many places of each disk are changed.
fn places() -> usize {
    if all() { 4000 } else { 250 }
}

#[track_caller]
fn check(name: &str, disk: &Changed<'_>) {
    let what = || format!("{name} of {} bytes, byte {:#x} ^ {:#x}", disk.len, disk.at, disk.flip);
    // An error is as good as an answer; a panic ends the test.
    let Ok(scan) = layout::scan(disk) else { return };
    let mut position = 0;
    for region in &scan.layout.regions {
        assert_eq!(region.extent.start(), position, "{}: a gap or an overlap", what());
        position = region.extent.end();
        if region.whole.is_some() {
            assert!(scan.used.covers(region.extent), "{}: whole is less than all", what());
        }
    }
    assert_eq!(position, disk.len(), "{}: the regions are not the disk", what());
    assert!(scan.used.end() <= disk.len(), "{}: the map leaves the disk", what());
}

/// Places where structures are: those that are not zero, as many from each
/// part of the disk.
pub(crate) fn interesting(disk: &[u8], count: usize) -> Vec<usize> {
    let sectors: Vec<usize> = (0..disk.len() / 512)
        .filter(|sector| {
            let bytes = &disk[sector * 512..][..512];
            bytes.iter().any(|byte| *byte != 0) && !bytes.starts_with(b"free space holds junk")
        })
        .collect();
    // The same places on every run: a step that meets every offset in a sector.
    (0..count)
        .filter_map(|n| {
            let sector = sectors.get(n * sectors.len() / count)?;
            Some(sector * 512 + n * 37 % 512)
        })
        .collect()
}

fn sweep(disk: &Variant) {
    let bytes = fs::read(&disk.image).expect("reading an unpacked image");
    let count = places();
    for (n, at) in interesting(&bytes, count).into_iter().enumerate() {
        let flip = [0x01, 0x80, 0xff, 0x10][n % 4];
        check(&disk.name, &Changed { disk: &bytes, len: bytes.len(), at, flip });
    }
    // Most of what decides is in front: cut there, too.
    for n in 0..count / 5 {
        for len in [bytes.len() * n / (count / 5), n * 1499] {
            let len = len.min(bytes.len());
            check(&disk.name, &Changed { disk: &bytes, len, at: usize::MAX, flip: 0 });
        }
    }
}

#[test]
fn no_changed_byte_and_no_cut_makes_a_disk_panic() {
    let folder = crate::support::temp_dir();
    let disks = committed(Path::new(folder.path()));
    // Two at a time: that is what a small machine has.
    let (left, right) = disks.split_at(disks.len() / 2);
    std::thread::scope(|scope| {
        scope.spawn(|| left.iter().for_each(sweep));
        right.iter().for_each(sweep);
    });
}

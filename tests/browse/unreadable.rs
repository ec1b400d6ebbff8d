// SPDX-License-Identifier: MIT OR Apache-2.0
//! What cannot be read where the probes of filesystems look. The head of an image
//! says what was there; files of another filesystem are never shown.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use dacapo::browse::{OpenVolume, volumes};
use dacapo::error::{Error, Result};
use dacapo::extent::Extent;
use dacapo::io::{Memory, ReadAt, WriteAt as _};
use dacapo::layout::{Layout, scan};

use crate::support::{requires, run};

const PLACE: u64 = 4096;
/// Where btrfs has its superblock.
const BTRFS: Extent = Extent::new(64 << 10, 68 << 10);

/// A disk with a place that cannot be read.
struct Bad(Arc<Memory>, Extent);

impl ReadAt for Bad {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        if Extent::at(offset, buf.len() as u64).overlaps(&self.1) {
            return Err(Error::failed("it cannot be read"));
        }
        self.0.read_at(offset, buf)
    }
}

/// One of `images/`.
fn kept(name: &str) -> Arc<Memory> {
    let path = format!("{}/images/{name}.img.zst", env!("CARGO_MANIFEST_DIR"));
    Arc::new(Memory::new(run("zstd", &["-dqc", &path]).stdout))
}

/// What fills the only volume of a disk, and the names in its root if its files can
/// be read. What is only known to be damaged has no name.
type Seen = (Option<String>, Option<BTreeSet<Vec<u8>>>);

fn seen(disk: &Arc<Memory>, bad: Extent, saved: Option<&Layout>) -> Seen {
    let disk: Arc<dyn ReadAt> = Arc::new(Bad(Arc::clone(disk), bad));
    let volumes = volumes(&disk, &[], saved);
    let [volume] = volumes.as_slice() else { panic!("{volumes:?}") };
    (volume.identity.as_ref().map(|it| it.name.clone()), root(volume))
}

fn root(volume: &OpenVolume) -> Option<BTreeSet<Vec<u8>>> {
    let files = volume.files().ok()?;
    let mut names = BTreeSet::new();
    let mut is_whole = true;
    let listed = files.list(files.root(), &mut |entry| {
        match entry {
            Ok(entry) => _ = names.insert(entry.name),
            Err(_) => is_whole = false,
        }
        ControlFlow::Continue(())
    });
    (listed.is_ok() && is_whole).then_some(names)
}

#[test]
fn what_the_head_says_is_believed_where_a_probe_cannot_look() {
    if !requires(&["zstd"]) {
        return;
    }
    for name in ["ext4-tiny", "fat12-tiny", "fat16-tiny", "fat32-tiny", "ntfs-tiny", "btrfs-tiny"] {
        let disk = kept(name);
        let layout = scan(disk.as_ref()).unwrap().layout;
        let nowhere = Extent::new(0, 0);
        let all = seen(&disk, nowhere, None);
        assert!(all.1.as_ref().is_some_and(|names| !names.is_empty()), "{name}");
        let (mut with, mut without) = (BTreeSet::new(), BTreeSet::new());
        let last = disk.len() / PLACE;
        for place in (0..40).chain(last - 40..last).map(|place| Extent::at(place * PLACE, PLACE)) {
            for (saved, readable) in [(Some(&layout), &mut with), (None, &mut without)] {
                let found = seen(&disk, place, saved);
                assert!(found.0.is_none() || found.0 == all.0, "{name} {place}: {found:?}");
                if let Some(names) = &found.1 {
                    assert!(names.is_subset(all.1.as_ref().unwrap()), "{name} {place}");
                    readable.insert(place.start());
                }
            }
        }
        assert!(with.is_superset(&without), "{name}: {without:?} {with:?}");
        // Where only others have their marks.
        assert!(with.len() > without.len(), "{name}: {without:?}");
        if name.starts_with("fat") {
            assert!(!without.contains(&BTRFS.start()), "{name}");
            assert_eq!(seen(&disk, BTRFS, Some(&layout)), all, "{name}");
        }
    }
}

#[test]
fn what_is_left_over_of_another_filesystem_is_not_shown() {
    if !requires(&["zstd"]) {
        return;
    }
    // The start of a FAT, and in front of 64 KiB a btrfs has nothing.
    let (disk, fat) = (kept("btrfs-tiny"), kept("fat12-tiny"));
    let mut start = vec![0; 48 << 10];
    fat.read_at(0, &mut start).unwrap();
    disk.write_at(0, &start).unwrap();
    let layout = scan(disk.as_ref()).unwrap().layout;
    let nowhere = Extent::new(0, 0);
    assert_eq!(seen(&disk, nowhere, None).0.as_deref(), Some("btrfs"));
    // It is good enough to be taken for one where there is no btrfs.
    let mut wiped = vec![0; disk.len() as usize];
    disk.read_at(0, &mut wiped).unwrap();
    wiped[BTRFS.start() as usize..BTRFS.end() as usize].fill(0);
    assert_eq!(seen(&Arc::new(Memory::new(wiped)), nowhere, None).0.as_deref(), Some("FAT12"));
    for saved in [Some(&layout), None] {
        assert_eq!(seen(&disk, BTRFS, saved), (None, None));
    }
}

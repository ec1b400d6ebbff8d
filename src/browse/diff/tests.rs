// SPDX-License-Identifier: MIT OR Apache-2.0
//! Comparing filesystems in memory. Real disks are in `tests/browse`.

use std::sync::Arc;

use std::sync::Mutex;

use super::*;
use crate::browse::fake::Fake;
use crate::browse::names::shown;
use crate::fs::Identity;
use crate::io::{Memory, WriteAt};
use crate::progress::Silent;
use crate::table::samples::GptDisk;
use crate::units::SectorSize;

fn volume(fake: Fake) -> OpenVolume {
    let identity = Identity { name: "ext4".into(), ..Identity::default() };
    OpenVolume::of_files("1", identity, Arc::new(fake))
}

fn differences(old: Fake, new: Fake, different: ExtentSet) -> (Vec<String>, Diffed) {
    let (old, new) = (volume(old), volume(new));
    let (a, b) = (old.files().unwrap(), new.files().unwrap());
    let sides = [tree::Side::new(&old, &*a), tree::Side::new(&new, &*b)];
    let unchanged = Unchanged::except(different);
    let mut diffed = Diffed::default();
    tree::compare(&sides, &unchanged, &Cancel::default(), &Silent, &mut diffed).unwrap();
    let text = |it: &Difference| match &it.change {
        Change::Added => format!("+{}", shown(&it.path)),
        Change::Removed => format!("-{}", shown(&it.path)),
        Change::Changed(what) => format!("{} {}", shown(&it.path), what.join(",")),
    };
    (diffed.differences.iter().map(text).collect(), diffed)
}

fn tree() -> (Fake, u64, u64) {
    let mut fake = Fake::default();
    let a = fake.folder(0, b"a");
    let x = fake.file(a, b"x", b"one");
    fake.link(0, b"link", b"there");
    (fake, a, x)
}

#[test]
fn the_same_tree_does_not_differ() {
    let (found, diffed) = differences(tree().0, tree().0, ExtentSet::new());
    assert!(found.is_empty(), "{found:?}");
    assert_eq!((diffed.read, diffed.known, diffed.lost), (1, 0, 0));
}

#[test]
fn everything_that_can_differ_is_found() {
    let (old, ..) = tree();
    let (mut new, a, x) = tree();
    new.get_mut(x).content = b"two".to_vec();
    new.get_mut(x).attributes.mode = Some(0o600);
    new.get_mut(a).attributes.owner = Some((1, 2));
    let b = new.folder(0, b"b");
    new.file(b, b"y", b"");
    let (found, _) = differences(old, new, ExtentSet::new());
    assert_eq!(found, ["/a owner", "+/b", "+/b/y", "/a/x content,permissions"]);

    let (mut old, _, x) = tree();
    old.get_mut(x).extended = vec![(b"user.a".to_vec(), b"1".to_vec())];
    old.get_mut(x).streams = vec![(b"s".to_vec(), b"1".to_vec())];
    let (mut new, _, x) = tree();
    new.get_mut(x).streams = vec![(b"s".to_vec(), b"2".to_vec())];
    new.get_mut(x).attributes.times.modified = None;
    let link = 3;
    new.get_mut(link).content = b"hence".to_vec();
    let (found, _) = differences(old, new, ExtentSet::new());
    assert_eq!(found, ["/link target", "/a/x time,extended attributes,streams"]);

    let (mut old, ..) = tree();
    old.file(0, b"k", b"1");
    let (mut new, ..) = tree();
    let k = new.folder(0, b"k");
    new.file(k, b"in", b"");
    let (found, _) = differences(old, new, ExtentSet::new());
    assert_eq!(found, ["-/k", "+/k", "+/k/in"]);
}

#[test]
fn only_what_lies_where_nothing_differs_is_not_read() {
    let with = |place: u64| {
        let (mut fake, _, x) = tree();
        fake.get_mut(x).places = Some(ExtentSet::from(Extent::at(place, 512)));
        fake
    };
    let read = |old, new, different| differences(old, new, different).1.read;
    assert_eq!(read(with(0), with(0), ExtentSet::new()), 0);
    assert_eq!(read(with(0), with(512), ExtentSet::new()), 1);
    assert_eq!(read(with(0), with(0), ExtentSet::from(Extent::at(511, 1))), 1);
    assert_eq!(read(with(0), with(0), ExtentSet::from(Extent::at(512, 1))), 0);
    let mut later = with(0);
    later.get_mut(2).attributes.times.changed = Some(jiff::Timestamp::UNIX_EPOCH);
    assert_eq!(read(with(0), later, ExtentSet::new()), 1);
}

#[test]
fn what_cannot_be_read_is_neither_the_same_nor_gone() {
    let (mut old, a, _) = tree();
    old.get_mut(a).is_damaged = true;
    let (found, diffed) = differences(old, tree().0, ExtentSet::new());
    assert_eq!((found.len(), diffed.lost), (0, 1), "{found:?}");
    let (mut new, _, x) = tree();
    new.get_mut(x).is_damaged = true;
    let (found, diffed) = differences(tree().0, new, ExtentSet::new());
    assert_eq!((found.len(), diffed.lost), (0, 1), "{found:?}");
}

/// Keeps what it is told of volumes that were not compared.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Progress for Heard {
    fn note(&self, event: &Event) {
        if let Event::Lost { path, cause } = event {
            self.0.lock().unwrap().push(format!("{path}: {cause}"));
        }
    }
}

/// Where the partitions of the disk start: behind the 128 KiB that are looked at
/// to tell what all of the disk is.
const STARTS: [u64; 2] = [300 * 512, 460 * 512];

/// A disk with two partitions: one of nothing that is known, and swap.
fn two_partitions() -> Memory {
    let partitions = [(0, 300, 459), (1, 460, 619)];
    let disk = GptDisk::new(SectorSize::B512, 8192, 4, 128, &partitions).disk();
    let swap = STARTS[1];
    disk.write_at(swap + 1024, &1_u32.to_le_bytes()).unwrap();
    disk.write_at(swap + 1028, &19_u32.to_le_bytes()).unwrap();
    disk.write_at(swap + 4086, b"SWAPSPACE2").unwrap();
    disk
}

fn compared(old: Memory, new: Memory) -> (Diffed, Vec<String>) {
    let disk = |name: &str, memory| OpenDisk::of_reader(name.into(), Arc::new(memory));
    let heard = Heard::default();
    let (old, new) = (disk("old", old), disk("new", new));
    assert!(old.volumes()[1].is_without_files(), "that is no swap");
    let diffed = run(&old, &new, &Cancel::default(), &heard).unwrap();
    let heard = heard.0.into_inner().unwrap();
    assert_eq!(heard.len() as u64, diffed.lost);
    (diffed, heard)
}

#[test]
fn volumes_that_cannot_be_looked_into_are_compared_by_their_bytes() {
    let (diffed, _) = compared(two_partitions(), two_partitions());
    assert_eq!((diffed.lost, diffed.counts()), (0, [0; 3]));
    assert_eq!(diffed.same_volumes, ["1"]);
    // Only the last byte.
    let other = two_partitions();
    other.write_at(STARTS[1] - 1, &[1]).unwrap();
    let (diffed, heard) = compared(two_partitions(), other);
    assert_eq!((diffed.lost, diffed.same_volumes.len()), (1, 0), "{heard:?}");
    let wanted = "1:/: its bytes differ; its files cannot be listed because no known filesystem";
    assert!(heard[0].starts_with(wanted), "{heard:?}");
    // Nobody keeps files in swap.
    let other = two_partitions();
    other.write_at(STARTS[1] + 60_000, &[1]).unwrap();
    let (diffed, heard) = compared(two_partitions(), other);
    assert_eq!(diffed.lost, 0, "{heard:?}");
}

#[test]
fn volumes_that_cannot_be_read_are_not_the_same() {
    // Its start, by which it is known; its middle; on either side or both.
    for place in [STARTS[0], STARTS[0] + 60 * 512] {
        let bad = || two_partitions().unreadable(Extent::at(place, 512));
        for (old, new) in [(bad(), two_partitions()), (two_partitions(), bad()), (bad(), bad())] {
            let (diffed, heard) = compared(old, new);
            assert_eq!((diffed.lost, diffed.same_volumes.len()), (1, 0), "{heard:?}");
            assert!(heard[0].starts_with("1:/: ") && heard[0].contains("reading"), "{heard:?}");
        }
    }
}

#[test]
fn a_volume_that_was_formatted_differs() {
    let other = two_partitions();
    other.write_at(STARTS[1] + 4086, &[0; 10]).unwrap();
    let (diffed, heard) = compared(two_partitions(), other);
    assert_eq!((diffed.lost, diffed.counts()), (0, [0, 0, 1]), "{heard:?}");
}

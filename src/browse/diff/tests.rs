// SPDX-License-Identifier: MIT OR Apache-2.0
//! Comparing filesystems in memory. Real disks are in `tests/browse`.

use std::sync::Arc;

use super::*;
use crate::browse::fake::Fake;
use crate::browse::names::shown;
use crate::fs::Identity;
use crate::progress::Silent;

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

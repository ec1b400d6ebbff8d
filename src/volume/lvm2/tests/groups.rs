// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copies of the metadata, on one volume and on several, that agree or not.

use super::*;

const AREA: u64 = START - 4096;

/// A volume with two metadata areas.
fn two_areas(first: &str, second: &str) -> Vec<u8> {
    let mut bytes = bare(0, &[(4096, AREA), (SECOND, LEN - SECOND)]);
    put_area(&mut bytes, 4096, AREA, 512, first);
    put_area(&mut bytes, SECOND, LEN - SECOND, 1024, second);
    bytes
}

fn root() -> String {
    linear("root", &[(0, 0, 4)])
}

fn is_map(volumes: Vec<Vec<u8>>) -> bool {
    let disks: Vec<Memory> = volumes.into_iter().map(Memory::new).collect();
    let readers: Vec<&dyn ReadAt> = disks.iter().map(|disk| disk as &dyn ReadAt).collect();
    matches!(Lvm2.map(&readers).unwrap(), Answer::Map(_))
}

#[test]
fn two_areas_have_to_say_the_same() {
    let text = text(1, &root());
    assert!(is_map(vec![two_areas(&text, &text)]));
    // They may have been written at different times.
    let later = text.replace("creation_time = 1795745937", "creation_time = 1795745938");
    assert_ne!(text, later);
    assert!(is_map(vec![two_areas(&text, &later)]));
    for other in [text_of(6, 1, &root()), text_of(8, 1, &root()), super::text(1, "")] {
        let error = map_error(two_areas(&text, &other));
        assert!(error.contains("expected what the other area says"), "{error}");
    }
    // A damaged copy may have been the newer one.
    let mut bytes = two_areas(&text, &text);
    bytes[SECOND as usize + 1024] ^= 1;
    assert!(map_error(bytes).contains("checksum of the LVM2 metadata"));
    let mut bytes = two_areas(&text, &text);
    put(&mut bytes, SECOND + 40, &[0; 16]);
    seal(&mut bytes);
    assert!(map_error(bytes).contains("one of two LVM2 metadata areas is empty"));
}

#[test]
fn ignored_areas_do_not_count() {
    let text = text(1, &root());
    let ignore = |bytes: &mut Vec<u8>, area: u64| {
        put(bytes, area + 60, &1_u32.to_le_bytes());
        seal(bytes);
    };
    let mut bytes = two_areas(&text, &text_of(3, 1, ""));
    ignore(&mut bytes, SECOND);
    assert!(is_map(vec![bytes.clone()]));
    ignore(&mut bytes, 4096);
    assert!(whole(vec![bytes]).contains("keeps no metadata of its group"));
}

#[test]
fn a_volume_without_metadata_is_whole_even_with_the_others_at_hand() {
    let none = bare(0, &[]);
    let other = volume(1, &text(2, &root()));
    assert!(whole(vec![none.clone()]).contains("keeps no metadata of its group"));
    assert!(whole(vec![none, other]).contains("keeps no metadata of its group"));
}

#[test]
fn a_volume_of_no_group_is_whole() {
    let mut bytes = two_areas(&text(1, ""), &text(1, ""));
    for area in [4096, SECOND] {
        put(&mut bytes, area + 40, &[0; 24]);
    }
    put(&mut bytes, 668, &0_u32.to_le_bytes());
    seal(&mut bytes);
    assert!(whole(vec![bytes]).contains("is in no group"));
}

#[test]
fn metadata_of_another_group_is_no_map() {
    let why = whole(vec![volume(5, &text(1, &root()))]);
    assert!(why.contains("a group to which it does not belong"), "{why}");
}

#[test]
fn a_volume_that_its_own_metadata_calls_missing_is_whole() {
    let text = text(1, &root()).replacen("flags = []\ndev", "flags = [\"MISSING\"]\ndev", 1);
    assert_eq!(whole(vec![volume(0, &text)]), "its group has marked it as missing");
}

#[test]
fn more_recent_metadata_on_another_disk_means_that_this_is_old() {
    let (old, new) = (text_of(7, 2, &root()), text_of(8, 2, &root()));
    assert!(is_map(vec![volume(0, &old), volume(1, &old)]));
    let why = whole(vec![volume(0, &old), volume(1, &new)]);
    assert_eq!(why, "another disk has more recent metadata of its group");
    // Even where it no longer lists this volume, or has another group's name.
    let left = text_of(8, 2, &root()).replace(&id(0), &id(77));
    assert_eq!(whole(vec![volume(0, &old), volume(1, &left)]), why);
    // An older one is not believed.
    assert!(is_map(vec![volume(0, &new), volume(1, &old)]));
    let other = text_of(7, 2, &linear("root", &[(0, 0, 5)]));
    let why = whole(vec![volume(0, &old), volume(1, &other)]);
    assert_eq!(why, "another disk has other metadata of its group");
}

#[test]
fn a_second_volume_of_the_same_identity_makes_both_doubtful() {
    let bytes = volume(0, &text(1, &root()));
    let why = whole(vec![bytes.clone(), bytes]);
    assert!(why.contains(&format!("a second physical volume {}", id(0))), "{why}");
}

/// Whether a volume over two disks can be read.
fn spanning(volumes: Vec<Vec<u8>>) -> bool {
    let disks: Vec<Memory> = volumes.into_iter().map(Memory::new).collect();
    let readers: Vec<&dyn ReadAt> = disks.iter().map(|disk| disk as &dyn ReadAt).collect();
    let Ok(Answer::Map(map)) = Lvm2.map(&readers) else { panic!("no map") };
    assert_eq!(map.inside.len(), 1);
    match &map.inside[0].content {
        Content::Readable(mapped) => {
            assert_eq!(mapped.len(), 6 * EXTENT);
            true
        }
        Content::Whole { why, advice } => {
            assert_eq!(why, "a part of it is on another disk");
            assert!(advice.as_ref().unwrap().contains("--with"));
            false
        }
    }
}

#[test]
fn a_volume_over_two_disks_needs_both() {
    let text = text(2, &linear("home", &[(0, 0, 4), (1, 3, 2)]));
    let (first, second) = (volume(0, &text), volume(1, &text));
    assert!(spanning(vec![first.clone(), second.clone()]));
    // One of another group does not disturb.
    let other = super::text(8, "").replace(&id(800), &id(801)).replace(&id(0), &id(50));
    assert!(spanning(vec![first.clone(), volume(7, &other), second.clone()]));
    assert!(!spanning(vec![first.clone()]));
    assert!(!spanning(vec![first.clone(), second.clone(), second.clone()]), "which of them?");
    // Not as long as its extents, of a damaged label, with an old text.
    let mut short = second.clone();
    short.truncate(SECOND as usize - 512);
    assert!(!spanning(vec![first.clone(), short]));
    let mut damaged = second.clone();
    damaged[600] ^= 1;
    assert!(!spanning(vec![first.clone(), damaged]));
    let old = volume(1, &text_of(3, 2, ""));
    assert!(!spanning(vec![first.clone(), old]));
    let mut moved = second.clone();
    put(&mut moved, 584, &(START + 512).to_le_bytes());
    seal(&mut moved);
    assert!(!spanning(vec![first, moved]));
    // Marked as missing, it may be out of date.
    let [before, after] = [text.clone(), text].map(|text| {
        let at = text.find("pv1 {").unwrap();
        let (before, after) = text.split_at(at);
        format!("{before}{}", after.replacen("flags = []", "flags = [\"MISSING\"]", 1))
    });
    assert!(!spanning(vec![volume(0, &before), volume(1, &after)]));
}

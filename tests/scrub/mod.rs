// SPDX-License-Identifier: MIT OR Apache-2.0
//! The scrub test: a disk is saved and restored over junk, so that everything
//! called free is junk afterwards. Then fsck finds nothing, and every file has
//! its hash. The used map holds all that an oracle calls used.
//!
//! A file for each maker of disks: the list of its disks, each of which is a
//! test, what the maker needs, and the judge of a restored disk beyond its
//! bytes and its map. A line in [`KINDS`] makes it known.

use std::fs;

use crate::support::{requires, run, temp_dir, try_run};
use crate::variants::{
    Ranges, Scrubbed, Variant, committed, names_of, read_mapfile, scrub, variant,
};

/// A maker of disks, and how its disks are judged.
pub(crate) struct Kind {
    /// `scripts/make-images/MAKER`
    pub(crate) maker: &'static str,
    /// What the maker needs of the machine.
    pub(crate) needs: &'static [&'static str],
    /// The disks that have a test, by the names of the tests.
    pub(crate) disks: &'static [&'static [&'static str]],
    /// Everything that has to hold of a restored disk beyond its bytes.
    pub(crate) judge: fn(&Variant, &Scrubbed),
}

/// One test for each disk that a maker makes; the name of the test is that of
/// the disk with underscores. `NAMES` lists them. Behind the semicolon are those
/// that only combine or vary what others have, or are large: they are part of
/// the slower matrices.
macro_rules! scrub_tests {
    ($($name:ident)* $(; $($slower:ident)*)?) => {
        $(#[test]
        fn $name() {
            crate::scrub::scrub_test(&KIND, stringify!($name));
        })*
        $($(#[test]
        fn $slower() {
            if crate::support::all() {
                crate::scrub::scrub_test(&KIND, stringify!($slower));
            }
        })*)?
        const NAMES: &[&str] = &[$(stringify!($name)),* $(, $(stringify!($slower)),*)?];
    };
}
mod apfs;
mod btrfs;
mod exfat;
mod ext;
mod f2fs;
mod fat;
pub(crate) mod foreign;
mod hfs;
mod hfsplus;
mod lvm2;
mod ntfs;
mod swap;
mod table;
mod xfs;

/// All makers.
pub(crate) static KINDS: &[&Kind] = &[
    &ext::KIND,
    &fat::KIND,
    &swap::KIND,
    &table::KIND,
    &ntfs::KIND,
    &exfat::KIND,
    &xfs::KIND,
    &btrfs::KIND,
    &f2fs::KIND,
    &hfs::KIND,
    &hfsplus::KIND,
    &apfs::KIND,
    &lvm2::KIND,
    &foreign::KIND,
];

/// The maker of this name.
pub(crate) fn kind(maker: &str) -> &'static Kind {
    KINDS
        .iter()
        .find(|kind| kind.maker == maker)
        .unwrap_or_else(|| panic!("no such maker: {maker}"))
}

#[test]
fn every_disk_of_every_maker_has_a_test() {
    for kind in KINDS.iter().filter(|kind| !kind.disks.concat().is_empty()) {
        // Its list needs what the maker needs.
        if !requires(kind.needs) {
            continue;
        }
        let mut tested: Vec<String> =
            kind.disks.concat().iter().map(|name| name.replace('_', "-")).collect();
        let mut made = names_of(kind.maker);
        tested.sort();
        made.sort();
        assert_eq!(tested, made, "disks of scripts/make-images/{}", kind.maker);
    }
}

/// The disks of images/, which need neither root nor loop devices.
#[test]
fn committed_disks() {
    if !requires(&["e2fsck", "debugfs", "fsck.fat", "mcopy"]) {
        return;
    }
    let folder = temp_dir();
    for disk in committed(folder.path()) {
        eprintln!("{}", disk.name);
        judge(&disk, &scrub(&disk));
    }
}

#[track_caller]
pub(crate) fn scrub_test(kind: &Kind, name: &str) {
    let name = name.replace('_', "-");
    let Some(disk) = variant(kind.maker, &name) else { return };
    judge(&disk, &scrub(&disk));
}

/// Everything that has to hold of a restored disk beyond its bytes.
#[track_caller]
pub(crate) fn judge(disk: &Variant, scrubbed: &Scrubbed) {
    assert_map(disk, &scrubbed.used);
    (kind(&disk.facts.kind).judge)(disk, scrubbed);
}

/// The map holds what the oracle calls used, and what lies behind the
/// filesystem, and (where that was to be understood) not much more.
#[track_caller]
fn assert_map(disk: &Variant, used: &Ranges) {
    let facts = &disk.facts;
    for (oracle, whose) in [
        (&facts.used, "the oracle calls used"),
        (&facts.used_after_replay, "is used after the replay"),
    ] {
        let inside = Ranges::new(oracle.clone());
        let inside = inside.without(&Ranges::new(vec![(facts.length, u64::MAX / 2)]));
        let missing = inside.without(used);
        assert!(
            missing.0.is_empty(),
            "{}: not stored, but {whose}: {}",
            disk.name,
            missing.sample()
        );
    }
    if let Some(end) = facts.filesystem_length.filter(|&end| end < facts.length) {
        let missing = Ranges::new(vec![(end, facts.length - end)]).without(used);
        assert!(missing.0.is_empty(), "{}: tail not stored: {}", disk.name, missing.sample());
    }
    match facts.understood {
        Some(false) => assert_eq!(
            used.bytes(),
            facts.length,
            "{}: something was called free, although {}",
            disk.name,
            facts.because
        ),
        Some(true) => assert_not_much_more(disk, used),
        None => {}
    }
}

/// At most one per cent above the oracle. Small disks may have 64 KiB more,
/// and a dirty one all that the journal has copies of.
#[track_caller]
fn assert_not_much_more(disk: &Variant, used: &Ranges) {
    let facts = &disk.facts;
    let mut oracle = facts.used.clone();
    oracle.extend(&facts.used_after_replay);
    if let Some(end) = facts.filesystem_length.filter(|&end| end < facts.length) {
        oracle.push((end, facts.length - end));
    }
    let oracle = Ranges::new(oracle).bytes().min(facts.length);
    let free = facts.length - oracle;
    let slack = if !facts.used_after_replay.is_empty() {
        free / 2
    } else if facts.length >= 1 << 30 {
        oracle / 100
    } else {
        oracle / 100 + 65536
    };
    assert!(
        used.bytes() <= oracle + slack,
        "{}: {} bytes are stored, the oracle calls only {oracle} used",
        disk.name,
        used.bytes()
    );
}

/// partclone's domain map is inside ours. Only for disks of which partclone is
/// right at all.
#[track_caller]
pub(crate) fn assert_partclone_agrees(disk: &Variant, used: &Ranges, program: &str) {
    if !requires(&[program]) {
        return;
    }
    let folder = temp_dir();
    let (map, log) = (folder.join("domain.map"), folder.join("log"));
    run(program, &["-D", "-q", "-s", disk.path(), "-o", &map, "-L", &log]);
    let text = fs::read_to_string(&map).expect("reading partclone's map");
    let (oracle, _) = read_mapfile(&text);
    let oracle = oracle.without(&Ranges::new(vec![(disk.facts.length, u64::MAX / 2)]));
    assert!(oracle.bytes() > 0, "{}: partclone's map is empty", disk.name);
    let missing = oracle.without(used);
    assert!(missing.0.is_empty(), "{}: partclone stores more: {}", disk.name, missing.sample());
}

/// A program says the same of the restored disk as of the source.
#[track_caller]
pub(crate) fn assert_same_answer(
    disk: &Variant,
    scrubbed: &Scrubbed,
    program: &str,
    options: &[&str],
) {
    if !requires(&[program]) {
        return;
    }
    let answer = |path: &str| {
        let ran = try_run(program, &[options, &[path]].concat());
        let text = format!("{}\n{}\n{}", ran.code, ran.out(), ran.err());
        text.replace(path, "DISK")
    };
    assert_eq!(answer(disk.path()), answer(scrubbed.target()), "{}: {program}", disk.name);
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drives as Linux' device-mapper lets them fail: with holes, errors that come
//! and go, an outage, and a slow area. The kernel of this machine need not have
//! it: all this is in a guest.

use std::fs;

use dacapo::extent::{Extent, ExtentSet};
use dacapo::image::Reader;
use dacapo::io::Memory;

use super::ddrescue::{finished, read_map};
use crate::support::{
    GUEST_NEEDS, Guest, TempDir, all, assert_same, dacapo, junk, requires, run, sparse_file,
    temp_dir,
};

const MIB: u64 = 1 << 20;
/// Of the disk with files.
const FILES_LEN: u64 = 48 * MIB;
/// Of that without.
const LEN: u64 = 24 * MIB;
const NEEDS: &[&str] = &["ddrescue", "dmsetup", "mke2fs", "debugfs", "sgdisk"];

/// The disk that has places that come and go, and those.
const FLAKY: Extent = Extent::new(5 * MIB, 5 * MIB + (96 << 10));
/// The slow area of another one.
const SLOW: Extent = Extent::new(22 * MIB, 23 * MIB);

/// A table of device-mapper for /dev/vdX: linear but for these ranges, whose
/// targets are made of the place.
fn table(disk: &str, len: u64, parts: &[(Extent, &dyn Fn(u64) -> String)]) -> String {
    let (mut text, mut at) = (String::new(), 0);
    let linear = |from: u64, to: u64| match to - from {
        0 => String::new(),
        len => format!("{} {} linear {disk} {}\n", from / 512, len / 512, from / 512),
    };
    for (extent, target) in parts {
        text += &linear(at, extent.start());
        let start = extent.start() / 512;
        text += &format!("{start} {} {}\n", extent.len() / 512, target(start));
        at = extent.end();
    }
    text + &linear(at, len)
}

/// /dev/vda has files and is read with holes; /dev/vdb has none; what is saved
/// goes to /dev/vdc.
const SCRIPT: &str = r#"
# Nobody else makes the nodes.
export DM_DISABLE_UDEV=1
mount -t ext4 /dev/vdc /mnt
make() { dmsetup create "$1" "/in/$1.table"; }
become() { dmsetup reload "$1" "/in/$2.table"; dmsetup resume "$1"; }
# save NAME OPTION...: says and keeps the exit code.
save() {
    name=$1 code=0
    shift
    dacapo save "/dev/mapper/$name" "/mnt/$name.img.zst" "$@" \
        >"/mnt/$name.out" 2>"/mnt/$name.err" || code=$?
    say "$name: $code"
    echo $code >"/tmp/$name.code"
}

# Holes: this program, and ddrescue as the judge.
make holes
save holes
ddrescue -q -d /dev/mapper/holes /tmp/raw /mnt/ddrescue.map || true
rm -f /tmp/raw

# A place that can be read in one second of nine. It begins with an error.
make flaky
until_so '! dd if=/dev/mapper/flaky of=/dev/null bs=64k skip=80 count=1 iflag=direct 2>/dev/null'
save flaky --retries 1000000

# All of it is away for some seconds, in the middle of a save, and then for one
# second of three.
make lazy
save lazy &
until_so '[ "$(stat -c %s /mnt/lazy.img.zst.partial 2>/dev/null || echo 0)" -gt 1000000 ]'
become lazy away
until_so 'grep -q "does not answer" /mnt/lazy.err'
sleep 2
become lazy blinking
until_so '[ -s /tmp/lazy.code ]'

# A slow area is left for later: when all else was tried, it is not there yet.
make slow
save slow --json &
until_so 'grep -q "copying, pass 2" /mnt/slow.out'
kill -INT $(pidof dacapo)
until_so '[ -s /tmp/slow.code ]'
cp /mnt/slow.img.zst.rescue.map /mnt/slow.map
become slow healed
save slow
umount /mnt
"#;

/// The disk with files: which of its places are to be holes.
struct Files {
    holes: ExtentSet,
}

fn make_files(folder: &TempDir, disk: &str) -> Files {
    let tree = folder.path().join("tree/songs");
    fs::create_dir_all(&tree).unwrap();
    for (n, name) in ["kept.wav", "first.wav", "second.wav"].iter().enumerate() {
        fs::write(tree.join(name), junk(900_000, n as u64)).unwrap();
    }
    sparse_file(disk, FILES_LEN);
    let _ = run("sgdisk", &["-o", "-n1:2048:+40M", disk]);
    let tree = folder.join("tree");
    let args = ["-q", "-F", "-t", "ext4", "-b", "1024", "-E", "offset=1048576", "-d", &tree];
    let _ = run("mke2fs", &[&args[..], &[disk, "40M"]].concat());
    let partition = format!("{disk}?offset=1048576");
    let ask = |request: &str| -> u64 {
        let ran = run("debugfs", &["-R", request, &partition]);
        ran.out().split_whitespace().find_map(|word| word.parse().ok()).unwrap()
    };
    let block = |name: &str| ask(&format!("bmap /songs/{name} 100"));
    let [first, second, free] = [block("first.wav"), block("second.wav"), ask("ffb 1 30000")];
    let place = |block: u64| MIB + block * 1024;
    let holes = [
        // A sector that is half of a block; a scratch; and what nobody misses.
        Extent::at(place(first) + 512, 512),
        Extent::at(place(second), 41 << 10),
        Extent::at(place(free), 4096),
    ];
    Files { holes: holes.into_iter().collect() }
}

pub(super) struct Back {
    folder: TempDir,
}

impl Back {
    /// What the guest has left on its last disk.
    pub(super) fn new(disk: &str) -> Self {
        let folder = temp_dir();
        let to = folder.path().to_str().unwrap();
        let _ = run("debugfs", &["-R", &format!("rdump / {to}"), disk]);
        Self { folder }
    }

    pub(super) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap()
    }

    /// An image has what is in this file, but for its losses, which it gives back.
    #[track_caller]
    pub(super) fn check_image(&self, name: &str, wanted: &str) -> ExtentSet {
        let image = self.folder.join(name);
        let reader = Reader::open(Memory::new(fs::read(&image).unwrap())).unwrap();
        let losses: ExtentSet = reader.report().losses.iter().copied().collect();
        let code = if losses.is_empty() { 0 } else { 3 };
        let _ = dacapo(&["verify", &image]).exits(code);
        let target = self.folder.join("restored");
        let _ = fs::remove_file(&target);
        let _ = dacapo(&["restore", &image, &target]).exits(code);
        let mut bytes = fs::read(wanted).unwrap();
        losses.iter().for_each(|it| bytes[it.start() as usize..it.end() as usize].fill(0));
        let expected = self.folder.join("expected");
        fs::write(&expected, bytes).unwrap();
        assert_same(&target, &expected);
        losses
    }
}

#[test]
fn drives_that_fail_as_linux_lets_them_are_saved() {
    // Some minutes: among other things, nothing is slow before half of one is over.
    if !all() || !requires(NEEDS) || !requires(GUEST_NEEDS) {
        return;
    }
    let folder = temp_dir();
    let path = |name: &str| folder.join(name);
    let (files, plain, backup) = (path("files.raw"), path("plain.raw"), path("backup.raw"));
    let holes = make_files(&folder, &files).holes;
    fs::write(&plain, junk(LEN as usize, 7)).unwrap();
    sparse_file(&backup, 512 * MIB);
    let _ = run("mke2fs", &["-q", "-F", "-t", "ext4", &backup]);

    let guest = Guest::new(&["ddrescue", "dmsetup"]);
    let hole: &dyn Fn(u64) -> String = &|_| "error".into();
    let parts: Vec<(Extent, &dyn Fn(u64) -> String)> =
        holes.iter().map(|extent| (extent, hole)).collect();
    let whole = Extent::new(0, LEN);
    let delayed = |ms: u64| move |at: u64| format!("delay /dev/vdb {at} {ms}");
    let flakey = |up: u64, down: u64| move |at: u64| format!("flakey /dev/vdb {at} {up} {down}");
    let bad = Extent::at(MIB + 512, 512);
    let (before, between) = (Extent::new(0, bad.start()), Extent::new(bad.end(), SLOW.start()));
    let behind = Extent::new(SLOW.end(), LEN);
    let quick = delayed(100);
    for (name, text) in [
        ("holes", table("/dev/vda", FILES_LEN, &parts)),
        ("flaky", table("/dev/vdb", LEN, &[(FLAKY, &flakey(1, 8))])),
        ("lazy", table("/dev/vdb", LEN, &[(whole, &delayed(100))])),
        ("away", table("/dev/vdb", LEN, &[(whole, hole)])),
        ("blinking", table("/dev/vdb", LEN, &[(whole, &flakey(2, 1))])),
        (
            "slow",
            table(
                "/dev/vdb",
                LEN,
                &[
                    (before, &quick),
                    (bad, hole),
                    (between, &quick),
                    (SLOW, &delayed(5000)),
                    (behind, &quick),
                ],
            ),
        ),
        ("healed", table("/dev/vdb", LEN, &[])),
    ] {
        fs::write(guest.file(&format!("{name}.table")), text).unwrap();
    }
    let ran = guest.run(SCRIPT, &[&files, &plain, &backup]);
    let back = Back::new(&backup);
    for said in ["holes: 3", "flaky: 0", "lazy: 0", "slow: 130", "slow: 0"] {
        assert!(ran.out().lines().any(|line| line == said), "no '{said}'\n{ran}");
    }

    // Exactly the holes in what is in use are lost, and named; ddrescue can read
    // no more.
    let domain = path("domain");
    let _ = dacapo(&["map", &files, "--output", &domain]).success();
    let used = finished(&read_map(&domain));
    let theirs = finished(&read_map(back.folder.join("ddrescue.map")));
    assert_eq!(theirs, holes.complement(FILES_LEN));
    let ours = finished(&read_map(back.folder.join("holes.img.zst.rescue.map")));
    // What filesystems keep of themselves is read with what lies around it.
    assert_eq!(ours.intersect(&used), theirs.intersect(&used));
    assert!(ours.subtract(&theirs).is_empty());
    let lost = back.check_image("holes.img.zst", &files);
    assert_eq!(lost, used.subtract(&theirs));
    assert_eq!(lost.iter().count(), 2);
    for text in [
        back.text("holes.out"),
        dacapo(&["info", &back.folder.join("holes.img.zst")]).out().to_owned(),
    ] {
        assert!(text.contains("/songs/first.wav") && text.contains("/songs/second.wav"), "{text}");
        assert!(!text.contains("kept.wav"), "{text}");
    }

    for name in ["flaky", "lazy", "slow"] {
        assert!(back.check_image(&format!("{name}.img.zst"), &plain).is_empty(), "{name}");
        let rescue = back.folder.join(&format!("{name}.img.zst.rescue"));
        assert!(!fs::exists(&rescue).unwrap(), "{name}");
    }
    for name in ["flaky", "lazy"] {
        let said = back.text(&format!("{name}.err"));
        assert!(said.contains("has places that cannot be read"), "{name}: {said}");
    }
    assert!(back.text("lazy.err").contains("the drive is back"));
    // When all was tried once, all but the bad and slow places was there; behind
    // the bad one as much again is skipped.
    let there = finished(&read_map(back.folder.join("slow.map")));
    let missing = there.complement(LEN);
    assert!(missing.touches(bad) && missing.intersect(&SLOW.into()).bytes() >= 128 << 10);
    let skipped = Extent::at(MIB, 128 << 10);
    assert!(missing.iter().all(|it| SLOW.contains(&it) || skipped.contains(&it)), "{missing:?}");
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filesystems and groups of volumes that lie over two disks, each of which has an
//! image of its own. The judges are the LVM tools, which say where the bytes of a
//! volume belong, and sha256sum.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use serde_json::json;

use crate::nbd::Serving;
use crate::support::{
    Loop, Lvm, TempDir, assert_same, dacapo, junk, requires, run, sparse_file, temp_dir,
};
use crate::variants::assert_hashes;

const MIB: u64 = 1 << 20;

/// Two disks and an image of each.
struct Pair {
    folder: TempDir,
    disks: [String; 2],
    images: [String; 2],
}

impl Pair {
    fn new() -> Self {
        let folder = temp_dir();
        let named = |ending: &str| [1, 2].map(|number| folder.join(&format!("{number}.{ending}")));
        Self { disks: named("raw"), images: named("img.zst"), folder }
    }

    /// One of `images/`.
    fn kept(name: &str) -> Self {
        let pair = Self::new();
        for (disk, ending) in pair.disks.iter().zip(["img.zst", "2.img.zst"]) {
            let from = format!("{}/images/{name}.{ending}", env!("CARGO_MANIFEST_DIR"));
            run("zstd", &["-dq", &from, "-o", disk]);
        }
        pair.save();
        pair
    }

    fn save(&self) {
        let [first, second] = &self.disks;
        dacapo(&["save", first, &self.images[0], "--with", second]).success();
        dacapo(&["save", second, &self.images[1], "--with", first]).success();
    }

    /// Extracts all of a volume, which must have these files.
    #[track_caller]
    fn assert_extracted(&self, first: &str, second: &str, volume: &str, files: &Files) {
        let to = temp_dir();
        let out = to.join("out");
        dacapo(&["extract", first, "--with", second, &format!("{volume}:/"), &out, "--setuid"])
            .success();
        assert_hashes(Path::new(&out), files);
    }
}

/// The SHA-256 of files.
type Files = BTreeMap<String, String>;

/// What the facts of a kept image say at a place.
fn facts(name: &str, pointer: &str) -> Files {
    let path = format!("{}/images/{name}.facts.json", env!("CARGO_MANIFEST_DIR"));
    let facts: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    serde_json::from_value(facts.pointer(pointer).unwrap().clone()).unwrap()
}

#[test]
fn a_striped_volume_is_read_from_two_images_or_disks() {
    if !requires(&["zstd"]) {
        return;
    }
    let pair = Pair::kept("lvm2-tiny-striped");
    let files = facts("lvm2-tiny-striped", "/volumes/root/files");
    let [first, second] = &pair.images;
    let ran = dacapo(&["ls", first]).success();
    assert!(ran.out().contains("vg0/root"), "{ran}");
    let told = ran.out().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("a part of it is on another disk: name that one, too, with --with"));
    let _ = dacapo(&["ls", first, "vg0/root:/"]).exits(6);

    pair.assert_extracted(first, second, "vg0/root", &files);
    pair.assert_extracted(second, first, "vg0/root", &files);
    pair.assert_extracted(first, &pair.disks[1], "vg0/root", &files);
    let some = files.keys().next().unwrap();
    let name = some.rsplit('/').next().unwrap();
    let ran = dacapo(&["find", second, name, "--with", first]).success();
    assert!(ran.out().contains(&format!("vg0/root:/{some}")), "{ran}");
    let _ = dacapo(&["ls", first, "--with", first]).exits(2).says("given twice");
    // Another disk that has nothing to do with it is no help, and no harm.
    let other = pair.folder.join("other");
    sparse_file(&other, MIB);
    let _ = dacapo(&["ls", first, "--with", &other, "vg0/root:/"]).exits(6);
}

#[test]
fn a_btrfs_of_two_devices_is_read_from_two_images() {
    if !requires(&["zstd"]) {
        return;
    }
    let pair = Pair::kept("btrfs-tiny-set");
    let files = facts("btrfs-tiny-set", "/files");
    let [first, second] = &pair.images;
    pair.assert_extracted(first, second, "disk", &files);
    pair.assert_extracted(second, first, "disk", &files);
}

/// What lies on a disk that is not given was not compared, however much the first
/// disks are the same.
#[test]
fn a_volume_of_which_a_part_is_not_at_hand_is_not_the_same() {
    if !requires(&["zstd"]) {
        return;
    }
    for (name, volume, why) in [
        ("lvm2-tiny-striped", "vg0/root", "a part of it is on another disk"),
        ("btrfs-tiny-set", "disk", "only 1 of its 2 devices is at hand"),
    ] {
        let pair = Pair::kept(name);
        let [image, with] = &pair.images;
        let copy = pair.folder.join("copy");
        fs::copy(image, &copy).unwrap();
        for other in [&copy, &pair.disks[0]] {
            let ran = dacapo(&["diff", image, other, "--json"]).exits(3);
            let summary = &ran.messages("summary")[0];
            assert_eq!((&summary["same_volumes"], &summary["losses"]), (&json!([]), &json!(1)));
            let ran = dacapo(&["diff", image, other]).exits(3);
            let told = format!("compared: {why}");
            let _ = ran.says(&format!("{volume}:/: ")).says(&told).says("--other-with");
            // The others of one side alone are no help.
            let _ = dacapo(&["diff", image, other, "--with", with]).exits(3).says(&told);
            let ran = dacapo(&["diff", other, image, "--other-with", with, "--json"]).exits(3);
            assert!(ran.messages("difference").is_empty(), "{ran}");
            let both = ["diff", image, other, "--with", with, "--other-with", &pair.disks[1]];
            let _ = dacapo(&both).success();
        }
    }
    // All of these are on one disk, and known to be.
    for name in ["lvm2-tiny", "btrfs-tiny-dup"] {
        let folder = temp_dir();
        let (disk, image) = (folder.join("disk"), folder.join("image"));
        let kept = format!("{}/images/{name}.img.zst", env!("CARGO_MANIFEST_DIR"));
        run("zstd", &["-dq", &kept, "-o", &disk]);
        dacapo(&["save", &disk, &image]).success();
        let _ = dacapo(&["diff", &image, &image]).success();
    }
}

/// By NBD the volumes of a group are what was put into them, in files of these names.
#[track_caller]
fn assert_served(pair: &Pair, volumes: &[&str]) {
    let names = |serving: &Serving| -> Vec<String> {
        let exports = serving.ready["exports"].as_array().unwrap();
        exports.iter().map(|export| export["name"].as_str().unwrap().to_owned()).collect()
    };
    for [first, second] in [&pair.images, &pair.disks] {
        let serving = Serving::start(first, &["--with", second]);
        let listed = run("nbdinfo", &["--list", &serving.uri("")]);
        for volume in volumes {
            let name = format!("pair/{volume}");
            assert!(listed.out().contains(&format!("export=\"{name}\"")), "{listed}");
            let export = serving.ready["exports"].as_array().unwrap();
            let export = export.iter().find(|export| export["name"] == name).unwrap();
            let copy = pair.folder.join("copy");
            run("nbdcopy", &[export["uri"].as_str().unwrap(), &copy]);
            assert_same(&copy, pair.folder.join(volume));
            fs::remove_file(&copy).unwrap();
        }
        let code = serving.end().0;
        assert_eq!(code, 0);
        // Alone, what is all there.
        assert_eq!(names(&Serving::start(first, &[])), ["disk", "1"]);
        assert_eq!(names(&Serving::start(second, &[])), ["disk", "1", "pair/far"]);
        assert_eq!(names(&Serving::start(second, &["--overlay"])), ["disk", "1"]);
        let _ = dacapo(&["serve", first, "--with", second, "--overlay", "--port", "0"]).exits(2);
    }
}

/// Linear volumes over partitions, and one that is only on the other disk.
#[test]
fn volumes_of_a_group_over_two_partitions_are_all_there() {
    let nbd = ["nbdinfo", "nbdcopy"];
    if !requires(&[&nbd[..], &["root", "loop", "pvcreate", "lvs", "sfdisk", "mkfs.ext4"]].concat())
    {
        return;
    }
    let pair = Pair::new();
    let (start, len) = (MIB, 30 * MIB);
    let window = [format!("--offset={start}"), format!("--sizelimit={len}")];
    for disk in &pair.disks {
        sparse_file(disk, 32 * MIB);
        let mut sfdisk = std::process::Command::new("/usr/sbin/sfdisk");
        sfdisk.args(["-q", disk]);
        crate::support::finish(sfdisk, b"label: gpt\nstart=2048, size=61440, type=V\n").success();
    }
    let loops = pair.disks.each_ref().map(|disk| Loop::new(disk, &[&window[0], &window[1]]));
    let devices = loops.each_ref().map(|it| it.device().to_owned());
    let lvm = Lvm::new(&[&devices[0], &devices[1]]);
    let create = ["-y", "--driverloaded", "n", "-an", "-Zn", "-Wn"];
    lvm.run("pvcreate", &["-q", "-y", &devices[0], &devices[1]]).success();
    lvm.run("vgcreate", &["-q", "-s", "1m", "pair", &devices[0], &devices[1]]).success();
    lvm.run("lvcreate", &[&create[..], &["-n", "wide", "-l", "40", "pair"]].concat()).success();
    let far = [&create[..], &["-n", "far", "-l", "8", "pair", &devices[1]]].concat();
    lvm.run("lvcreate", &far).success();
    let mut wanted = BTreeMap::new();
    for (name, size) in [("wide", 40), ("far", 8)] {
        let tree = temp_dir();
        for number in 0..20 {
            let path = tree.join(&format!("{name}-{number}"));
            fs::write(&path, junk(50_000 + number, number as u64)).unwrap();
        }
        let files: Files = fs::read_dir(tree.path())
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                (name, crate::support::sha256_of(entry.path()))
            })
            .collect();
        wanted.insert(name, files);
        let volume = pair.folder.join(name);
        sparse_file(&volume, size * MIB);
        let root = tree.path().to_str().unwrap();
        run("mkfs.ext4", &["-q", "-O", "^has_journal", "-d", root, &volume]);
        let volume = File::open(&volume).unwrap();
        let mut position = 0;
        for (device, at, len) in lvm.pieces(&format!("pair/{name}")) {
            let mut bytes = vec![0; usize::try_from(len).unwrap()];
            volume.read_exact_at(&mut bytes, position).unwrap();
            File::options().write(true).open(&device).unwrap().write_all_at(&bytes, at).unwrap();
            position += len;
        }
        assert_eq!(position, size * MIB);
    }
    let far_at = start + lvm.pieces("pair/far")[0].1;
    drop(loops);
    pair.save();
    let [first, second] = &pair.images;
    for (name, files) in &wanted {
        let volume = format!("pair/{name}");
        pair.assert_extracted(first, second, &volume, files);
        pair.assert_extracted(second, first, &volume, files);
    }
    // Once each, whichever disk comes first.
    for (one, other) in [(first, second), (second, first)] {
        let ran = dacapo(&["ls", one, "--with", other]).success();
        let count = |name: &str| ran.out().lines().filter(|it| it.starts_with(name)).count();
        assert_eq!((count("pair/wide"), count("pair/far"), count("1 ")), (1, 1, 1), "{ran}");
    }
    let ran = dacapo(&["ls", first]).success();
    assert!(!ran.out().contains("pair/far"), "{ran}");
    assert_served(&pair, &["far", "wide"]);
    // A byte of a file that lies on the second disk alone.
    let old = pair.images.each_ref().map(|image| format!("{image}.old"));
    for (image, old) in pair.images.iter().zip(&old) {
        fs::rename(image, old).unwrap();
    }
    let bytes = fs::read(&pair.disks[1]).unwrap();
    let content = junk(50_003, 3);
    let position = bytes[far_at as usize..].windows(512).position(|it| *it == content[..512]);
    let position = far_at + position.unwrap() as u64;
    let disk = File::options().write(true).open(&pair.disks[1]).unwrap();
    disk.write_all_at(&[content[0] ^ 1], position).unwrap();
    pair.save();
    // Of the first disk nothing has changed.
    let ran = dacapo(&["diff", &old[0], &pair.images[0]]).exits(3);
    let _ = ran.says("pair/wide:/: it was not compared: a part of it is on another disk");
    // Nor was anything removed or added because the others of one side alone are given.
    for (given, with) in [("--with", &old[1]), ("--other-with", &pair.images[1])] {
        let ran = dacapo(&["diff", &old[0], &pair.images[0], given, with]).exits(3);
        let _ = ran.says(
            "pair/far:/: it was not compared: it lies on a disk that is given for one side alone",
        );
    }
    let diff = |[first, second]: &[String; 2], [other, with]: &[String; 2]| {
        dacapo(&["diff", "--json", first, other, "--with", second, "--other-with", with])
    };
    let _ = diff(&pair.images, &pair.disks).success();
    for after in [&pair.images, &pair.disks] {
        let ran = diff(&old, after).exits(4);
        let found = ran.messages("difference");
        assert_eq!(found.len(), 1, "{ran}");
        assert_eq!(
            (&found[0]["volume"], &found[0]["path"]),
            (&"pair/far".into(), &"/far-3".into())
        );
        assert_eq!(found[0]["differs_in"][0], "content", "{ran}");
    }
}

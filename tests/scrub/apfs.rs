// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disks of `scripts/make-images/apfs`, and containers that macOS made.
//!
//! Files are read by The Sleuth Kit; nothing here mounts APFS.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Kind, assert_partclone_agrees, assert_same_answer};
use crate::support::{dacapo, requires, run, temp_dir, try_run};
use crate::variants::{Ranges, Scrubbed, Variant, read_mapfile, scrub};

pub(crate) static KIND: Kind = Kind {
    maker: "apfs",
    needs: &[
        "mkapfs",
        "apfsck",
        "pstat",
        "fls",
        "icat",
        "fsapfsinfo",
        "partclone.apfs",
        "openssl",
        "python3",
    ],
    disks: &[NAMES],
    judge,
};

scrub_tests!(
    apfs_64k apfs_crash apfs_cut_short apfs_files apfs_fusion apfs_shrinking apfs_snapshot
    apfs_tail apfs_tier_2 apfs_tiny apfs_tiny_snapshot apfs_unknown_incompat apfs_volumes
    ;
    apfs_16k apfs_1g apfs_case_sensitive apfs_chunks apfs_maps apfs_torn apfs_wrapped
);

#[track_caller]
fn judge(disk: &Variant, scrubbed: &Scrubbed) {
    if !requires(KIND.needs) {
        return;
    }
    let facts = &disk.facts;
    // It gives up at two checkpoint maps and at an old first block, and takes
    // that block for the bitmap of a short last chunk that has none.
    let wrong = ["maps", "tiny-snapshot", "crash", "tail"];
    if facts.understood == Some(true) && !wrong.iter().any(|name| disk.name.ends_with(name)) {
        assert_partclone_agrees(disk, &scrubbed.used, "partclone.apfs");
    }
    if facts.fsck == "clean" {
        run("apfsck", &["-cuw", scrubbed.target()]);
    }
    // A fault that was there has to be there again, and no other.
    assert_same_answer(disk, scrubbed, "apfsck", &["-cuw"]);
    assert_same_answer(disk, scrubbed, "fsapfsinfo", &["-H"]);
    if !facts.files.is_empty() {
        assert_eq!(files(scrubbed.target(), 0), facts.files, "{}", disk.name);
    }
}

/// The SHA-256 of every file of all volumes, by The Sleuth Kit. The container
/// begins at this sector.
fn files(image: &str, sector: u64) -> BTreeMap<String, String> {
    let sector = sector.to_string();
    let pool = run("pstat", &["-o", &sector, image]);
    let field = |name: &str| {
        let lines = pool.out().lines().filter_map(|line| line.split_once(name));
        lines.map(|(_, value)| value.trim().to_owned()).collect::<Vec<_>>()
    };
    let mut hashes = BTreeMap::new();
    for (block, name) in field("APSB Block Number:").iter().zip(field("Name (Role):")) {
        let name = name.split(" (").next().expect("a role behind the name");
        let options = ["-o", &sector, "-P", "apfs", "-B", block];
        let list = run("fls", &[&options[..], &["-r", "-p", "-F", image]].concat());
        for line in list.out().lines() {
            // "r/r 18:\tpieces.bin"
            let (inode, path) = line.split_once(":\t").expect("an inode and a path");
            let inode = inode.rsplit(' ').next().expect("an inode");
            // A link, or a file compressed in a way it does not know, has no
            // content to it.
            let file = try_run("icat", &[&options[..], &[image, inode]].concat());
            let hash = if file.code == 0 { sha256(&file.stdout) } else { file.err().to_owned() };
            hashes.insert(format!("{name}/{path}"), hash);
        }
    }
    hashes
}

/// The free ranges that pstat lists, in bytes.
fn free(pool: &str) -> Vec<(u64, u64)> {
    let block = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    let range = |line: &str| {
        let (first, last) = line.trim_start_matches(['|', ' ']).split_once('-')?;
        let (first, last) = (block(first)?, block(last.trim())?);
        Some((first * 4096, (last + 1 - first) * 4096))
    };
    pool.lines().filter_map(range).collect()
}

fn sha256(bytes: &[u8]) -> String {
    let ran = crate::support::finish(Command::new("sha256sum"), bytes).success();
    ran.out().split(' ').next().expect("a hash").to_owned()
}

/// Containers that macOS made, from a collection that is not part of the
/// project: restored over junk, they are what they were to every reader.
#[test]
fn containers_of_macos() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    if !folder.is_dir() || !requires(KIND.needs) || !requires(&["zstd"]) {
        return;
    }
    for (name, sector, has_files) in [
        ("dfvfs__apfs.raw", 0, true),
        ("dfvfs__apfs-2020-07.raw", 0, true),
        ("go-apfs-v2__basic.img", 40, true),
        ("go-apfs-v2__encrypted.img", 0, false),
    ] {
        let unpacked = temp_dir();
        let image = unpacked.join(name);
        let archive = folder.join(format!("{name}.zst"));
        let status = Command::new("zstd")
            .args(["-dq", "--sparse", "-o", &image])
            .arg(archive)
            .stdin(Stdio::null())
            .status()
            .expect("running zstd");
        assert!(status.success(), "unpacking {name}");
        let length = std::fs::metadata(&image).expect("the unpacked image").len();
        let facts = serde_json::json!({"kind": "apfs", "length": length, "understood": null});
        let disk = Variant {
            name: name.to_owned(),
            image: image.into(),
            companions: Vec::new(),
            facts: serde_json::from_value(facts).expect("facts"),
        };
        let scrubbed = scrub(&disk);
        assert!(scrubbed.used.bytes() < length / 4, "{name}: free space was not found");
        assert_same_answer(&disk, &scrubbed, "pstat", &["-o", &sector.to_string()]);
        assert_same_answer(
            &disk,
            &scrubbed,
            "fsapfsinfo",
            &["-H", "-o", &(sector * 512).to_string()],
        );
        if has_files {
            let before = files(disk.path(), sector);
            assert!(!before.is_empty(), "{name}: no files to look for");
            assert_eq!(files(scrubbed.target(), sector), before, "{name}");
        }
    }
}

/// Containers that are too large to be restored here have the map that The
/// Sleuth Kit has: several chunk-info blocks, blocks of addresses of those,
/// several bitmaps of the internal pool, free queues of several nodes.
#[test]
fn large_containers() {
    if !requires(KIND.needs) {
        return;
    }
    let folder = temp_dir();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/make-images/apfs_build.py");
    for (tib, spread) in [(2, true), (10, false)] {
        let image = folder.join(&format!("{tib}.img"));
        let length: u64 = tib << 40;
        let file = std::fs::File::create(&image).expect("creating a large image");
        if file.set_len(length).is_err() {
            eprintln!("not tested: no files of {tib} TiB here");
            continue;
        }
        let mut build = Command::new("python3");
        build.arg(&script).arg(&image).arg((length / 4096).to_string()).arg("large");
        if spread {
            build.arg("--spread");
        }
        crate::support::finish(build, &[]).success();
        let pool = run("pstat", &[&image]);
        let oracle = Ranges::new(vec![(0, length)]).without(&Ranges::new(free(pool.out())));
        let (used, end) = read_mapfile(dacapo(&["map", &image]).success().out());
        assert_eq!(end, length);
        let missing = oracle.without(&used);
        assert!(missing.0.is_empty(), "{tib} TiB: not stored: {}", missing.sample());
        assert!(used.bytes() <= oracle.bytes() + oracle.bytes() / 100, "{tib} TiB: too much");
        std::fs::remove_file(&image).expect("removing a large image");
    }
}

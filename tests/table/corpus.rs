// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tables of disks that other systems made, and of the committed images.

use std::path::PathBuf;

use serde_json::Value;

use super::super::support::requires;
use super::*;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// An image of the corpus, unpacked; `None`, and a word about it, without one.
pub(super) fn unpacked(name: &str) -> Option<DiskFile> {
    let archive = folder("../shared/corpus").join(format!("{name}.zst"));
    if !exists(&archive) {
        let _ = writeln!(std::io::stderr(), "skipped: the corpus is not there for {name}");
        return None;
    }
    let disk = DiskFile::new(0);
    let archive = archive.to_str().unwrap();
    run("zstd", &["-dqf", "--sparse", archive, "-o", &disk.path]);
    Some(disk)
}

#[test]
fn committed_images_are_read_as_their_facts_say() {
    if !requires(&["zstd"]) {
        return;
    }
    for name in ["gpt-tiny", "mbr-tiny"] {
        let facts = std::fs::read(folder("images").join(format!("{name}.facts.json"))).unwrap();
        let facts: Value = serde_json::from_slice(&facts).unwrap();
        let disk = DiskFile::new(0);
        let archive = folder("images").join(format!("{name}.img.zst"));
        run("zstd", &["-dqf", archive.to_str().unwrap(), "-o", &disk.path]);
        let table = disk.table();
        assert_eq!(table.notes, [""; 0]);
        let size = facts["sector_size"].as_u64().unwrap();
        let expected: Vec<Row> = facts["partitions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| {
                let text = |key: &str| p[key].as_str().unwrap().to_owned();
                let sectors = |key: &str| p[key].as_u64().unwrap() / size;
                let number = u32::try_from(p["number"].as_u64().unwrap()).unwrap();
                let id = if table.kind == "MBR" { String::new() } else { text("uuid") };
                let type_id = format!("{:0>2}", text("type"));
                (number, sectors("first_byte"), sectors("length"), type_id, id, text("name"))
            })
            .collect();
        assert_eq!(rows(&table), expected, "{name}");
    }
}

#[test]
fn disks_of_windows_and_freebsd_are_read_as_sfdisk_reads_them() {
    if !requires(&["zstd", "sfdisk"]) {
        return;
    }
    for name in [
        "dfir_ntfs__mbr-win-512.raw",
        "disktype__freebsd-disk.image",
        "coreos-installer__gpt-512-duplicate-partition-guids.img",
        "cryptsetup__tcrypt-sys_vc_1_gpt_part-sha512-xts-aes.img",
        "cryptsetup__tcrypt-sys_vc_1_mbr_full-sha256-xts-aes.img",
        "go-apfs-v2__basic.img",
        "go-apfs-v2__hfs-basic.raw",
    ] {
        let Some(disk) = unpacked(name) else { continue };
        let table = disk.table();
        assert_eq!(rows(&table), by_sfdisk(&disk.path).0, "{name}");
        assert!(!table.doubtful, "{name}");
        assert!(!table.partitions.is_empty());
    }
}

#[test]
fn disks_of_4096_byte_sectors_are_found_in_files() {
    if !requires(&["zstd"]) {
        return;
    }
    let Some(mut disk) = unpacked("coreos-installer__gpt-4096.img") else { return };
    let found = disk.table();
    assert_eq!(found.sector_size, SectorSize::B4096);
    disk.size = SectorSize::B4096;
    assert_eq!(rows(&found), by_gptman(&disk));
    let Some(mut disk) = unpacked("dfir_ntfs__mbr-4096-p1e1.bin") else { return };
    let found = disk.table();
    disk.size = SectorSize::B4096;
    assert_eq!(rows(&found), by_mbrman(&disk));
    assert_eq!(found.partitions.len(), 3);
}

#[test]
fn dynamic_disks_of_windows_are_doubtful() {
    if !requires(&["zstd", "tar"]) {
        return;
    }
    let archive = folder("../shared/corpus/ldm-set.tar.zst");
    if !exists(&archive) {
        let _ = writeln!(std::io::stderr(), "skipped: the corpus is not there for ldm-set");
        return;
    }
    let target = temp_dir();
    let (archive, path) = (archive.to_str().unwrap(), target.path().to_str().unwrap());
    run("tar", &["--zstd", "-xSf", archive, "-C", path]);
    let mut seen = 0;
    for entry in std::fs::read_dir(target.path().join("libldm")).unwrap() {
        let source = Source::open(entry.unwrap().path()).unwrap();
        let table = table::read(&source).unwrap().unwrap();
        assert!(table.doubtful, "{}", source.path());
        assert!(table.notes.iter().any(|note| note.starts_with("dynamic disk")));
        seen += 1;
    }
    assert_eq!(seen, 19);
}

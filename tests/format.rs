// SPDX-License-Identifier: MIT OR Apache-2.0
//! The recipes of docs/format.md, run as they stand there.

use std::fs;
use std::process::Command;

use dacapo::image::{Reader, format};
use dacapo::io::Memory;

use crate::support::{Ran, TempDir, assert_same, dacapo, finish, junk, requires, run, temp_dir};

const LEN: usize = (9 << 20) + 8192;

/// The commands behind `<!-- run: name -->`.
fn recipe(name: &str) -> String {
    let page = fs::read_to_string("docs/format.md").unwrap();
    let (_, rest) = page.split_once(&format!("<!-- run: {name} -->")).unwrap();
    let (_, rest) = rest.split_once("```sh\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

/// Runs a recipe by the shell that every system has.
fn follow(name: &str, folder: &TempDir, image: &str, at: Option<u64>) -> Ran {
    let mut command = Command::new("sh");
    command.args(["-eu", "-c", &recipe(name)]).current_dir(folder.path()).env("IMAGE", image);
    if let Some(at) = at {
        command.env("AT", at.to_string());
    }
    finish(command, &[]).success()
}

/// A disk with data, zeros, and more data; and its image.
fn saved(folder: &TempDir) -> (Vec<u8>, String) {
    let mut bytes = junk(LEN, 7);
    bytes[2 << 20..5 << 20].fill(0);
    let (disk, image) = (folder.join("source.raw"), folder.join("a.img.zst"));
    fs::write(&disk, &bytes).unwrap();
    dacapo(&["save", &disk, &image, "--label", "by hand"]).success();
    (bytes, image)
}

fn needed() -> bool {
    requires(&["sh", "zstd", "od", "dd", "grep", "tail", "truncate"])
}

#[test]
fn the_description_is_found_by_hand() {
    if !needed() {
        return;
    }
    let folder = temp_dir();
    let (_, image) = saved(&folder);
    let ran = follow("description", &folder, &image, None);
    let json: serde_json::Value = serde_json::from_str(ran.out()).unwrap();
    assert_eq!(json["label"], "by hand");
    assert_eq!(json["disk"]["size"], LEN);
}

#[test]
fn all_but_the_damaged_chunk_is_recovered_by_hand() {
    if !needed() {
        return;
    }
    let folder = temp_dir();
    let (mut disk, image) = saved(&folder);
    let mut bytes = fs::read(&image).unwrap();
    let reader = Reader::open(Memory::new(bytes.clone())).unwrap();
    let entry = reader.entry_of(6).unwrap().clone();
    let chunk = entry.extent(reader.head());
    let within = (entry.end() - u64::from(entry.stored_len) / 2) as usize;
    bytes[within] ^= 0xff;
    fs::write(&image, &bytes).unwrap();
    // Stock zstd gives up there, the recipe does not.
    assert!(!Command::new("zstd").args(["-tq", &image]).status().unwrap().success());
    follow("recovery", &folder, &image, None).says("stopped at ");
    let recovered = folder.join("disk.raw");
    let mut found = fs::read(&recovered).unwrap();
    assert_eq!(found.len(), LEN);
    let range = chunk.start() as usize..chunk.end() as usize;
    assert!(found[range.clone()] != disk[range.clone()], "nothing was damaged");
    for bytes in [&mut found, &mut disk] {
        bytes[range.clone()].fill(0);
    }
    assert!(found == disk);
}

#[test]
fn behind_a_damaged_description_the_next_is_found_by_hand() {
    if !needed() {
        return;
    }
    let folder = temp_dir();
    let (disk, image) = saved(&folder);
    let mut bytes = fs::read(&image).unwrap();
    let reader = Reader::open(Memory::new(bytes.clone())).unwrap();
    let entry = reader.entry_of(6).unwrap().clone();
    let lost = entry.extent(reader.head());
    let start = entry.position as usize;
    assert_eq!(bytes[start + 8..start + 16], format::TAG_CHUNK);
    bytes[start + 8..start + 16].fill(0);
    fs::write(&image, &bytes).unwrap();
    let ran = follow("recovery", &folder, &image, None);
    assert_eq!(ran.out().trim(), format!("stopped at {start}"));
    let ran = follow("next", &folder, &image, Some(start as u64));
    assert_eq!(ran.out().trim(), format!("AT={}", entry.end()));
    follow("recovery", &folder, &image, Some(entry.end()));
    let mut wanted = disk;
    wanted[lost.start() as usize..lost.end() as usize].fill(0);
    let expected = folder.join("expected.raw");
    fs::write(&expected, wanted).unwrap();
    assert_same(folder.join("disk.raw"), expected);
}

#[test]
fn a_whole_image_is_unpacked_by_the_recovery_as_by_zstd() {
    if !needed() {
        return;
    }
    let folder = temp_dir();
    let (disk, image) = saved(&folder);
    follow("recovery", &folder, &image, None);
    assert!(fs::read(folder.join("disk.raw")).unwrap() == disk);
    let unpacked = run("zstd", &["-dcq", &image]);
    assert!(unpacked.stdout == disk);
}

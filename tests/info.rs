// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo info` on whole, cut, flipped and hostile images.

use std::fs::{self, File};
use std::path::Path;
use std::sync::OnceLock;

use dacapo::extent::Extent;
use dacapo::image::Writer;
use dacapo::image::format::{About, Head, MIN_CHUNK_SIZE, Report};
use dacapo::image::frame::Compressor;
use dacapo::layout::{Layout, Region, RegionKind};

use crate::support::{Ran, TempDir, dacapo, dacapo_command, finish, requires, temp_dir, try_run};

/// The image of the disk that comes with the program.
fn image() -> &'static str {
    static MADE: OnceLock<(TempDir, String)> = OnceLock::new();
    let (_, path) = MADE.get_or_init(|| {
        let folder = temp_dir();
        let (disk, image) = (folder.join("disk.raw"), folder.join("studio.img.zst"));
        let packed = fs::read("images/demo.img.zst").unwrap();
        let mut out = File::create(&disk).unwrap();
        zstd::stream::copy_decode(packed.as_slice(), &mut out).unwrap();
        let label = "before\u{1b}[2J the update";
        dacapo(&["save", &disk, &image, "--label", label, "--note", "a\u{7}b"]).success();
        (folder, image)
    });
    path
}

/// A copy of the image, changed.
fn changed(folder: &TempDir, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut bytes = fs::read(image()).unwrap();
    change(&mut bytes);
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn shows_the_head(ran: &Ran) {
    for part in
        ["before?[2J the update", "a?b", "GPT ", "FAT16", "ext4", "SquashFS", "stored whole", "###"]
    {
        assert!(ran.out().contains(part), "'{part}' is missing\n{ran}");
    }
    assert!(!ran.out().contains(['\u{1b}', '\u{7}']), "{ran}");
    for line in ran.out().lines().skip(1) {
        // Only a path may be longer: it is never cut.
        assert!(line.chars().count() <= 80 || line.contains('/'), "{line}\n{ran}");
    }
}

#[test]
fn a_whole_image_is_shown_whole() {
    let ran = dacapo(&["info", image()]).success();
    shows_the_head(&ran);
    let id = dacapo(&["info", image(), "--json"]).success().messages("summary")[0].clone();
    for part in [
        "64.0 MiB (67108864 bytes), sectors of 512 bytes",
        "64 chunks of 1.00 MiB",
        "level 1",
        "losses        none",
        id["image_id"].as_str().unwrap(),
        id["content_hash"].as_str().unwrap(),
    ] {
        assert!(ran.out().contains(part), "'{part}' is missing\n{ran}");
    }
    assert_eq!(id["size"], 64 << 20);
    assert_eq!(id["image_size"], fs::metadata(image()).unwrap().len());
    assert_eq!(id["label"], "before\u{1b}[2J the update");
    assert_eq!(id["layout"]["table"]["kind"], "GPT");
    assert_eq!(id["losses"], serde_json::json!([]));
    assert_eq!(id["damage"], serde_json::json!([]));
    assert_eq!(id["chunks_there"], id["chunks"]);
}

#[test]
fn a_cut_image_is_shown_as_far_as_it_goes() {
    let folder = temp_dir();
    let len = fs::metadata(image()).unwrap().len() as usize;
    for keep in [len - 1, len - 200, len / 2, len / 3] {
        let path = changed(&folder, "cut.img.zst", |bytes| bytes.truncate(keep));
        let ran = dacapo(&["info", &path]).exits(4).says("error: ");
        shows_the_head(&ran);
        let ran = dacapo(&["info", &path, "--json"]).exits(4);
        let there = ran.messages("summary")[0]["chunks_there"].as_u64().unwrap();
        assert!((1..=64).contains(&there), "{ran}");
        assert_eq!(there == 64, keep > len - 1000, "{ran}");
    }
    let path = changed(&folder, "a.img.zst.partial", |bytes| bytes.truncate(len / 2));
    let ran = dacapo(&["info", &path]).exits(4).says("--resume").says("none so far");
    assert!(ran.out().contains("missing "), "{ran}");
    // Not even the head: nothing can be shown, and nothing is made up.
    for keep in [0, 1, 7, 8, 40, 300] {
        let path = changed(&folder, "cut.img.zst", |bytes| bytes.truncate(keep));
        let ran = dacapo(&["info", &path]).exits(4).says("not a dacapo image");
        assert!(ran.stdout.is_empty(), "{ran}");
    }
}

#[test]
fn a_damaged_index_or_head_is_told_and_the_other_one_is_shown() {
    let folder = temp_dir();
    let len = fs::metadata(image()).unwrap().len() as usize;
    let path = changed(&folder, "index.img.zst", |bytes| bytes[len - 2000] ^= 1);
    let ran = dacapo(&["info", &path]).exits(4).says("the index was rebuilt");
    shows_the_head(&ran);
    let path = changed(&folder, "head.img.zst", |bytes| bytes[100] ^= 1);
    let ran = dacapo(&["info", &path]).exits(4).says("the head at the start is damaged");
    shows_the_head(&ran);
}

#[test]
fn the_head_can_come_through_a_pipe() {
    let whole = fs::read(image()).unwrap();
    let ran = finish(dacapo_command(&["info", "-"]), &whole).success().says("only the head");
    shows_the_head(&ran);
    finish(dacapo_command(&["info", "-"]), &whole[..100]).exits(4);
}

#[test]
fn losses_are_listed_with_their_partition() {
    let folder = temp_dir();
    let path = folder.join("losses.img.zst");
    let size = u64::from(MIN_CHUNK_SIZE);
    let region = Region {
        extent: Extent::new(0, 20 * size),
        kind: RegionKind::Volume,
        partition: None,
        filesystem: None,
        used: 20 * size,
        whole: Some("\u{1b}[1mno reason".into()),
        notes: Vec::new(),
        advice: None,
        volumes: Vec::new(),
    };
    let head = Head {
        image_id: uuid::Uuid::nil(),
        disk_len: 20 * size,
        chunk_size: MIN_CHUNK_SIZE,
        about: About { layout: Layout { table: None, regions: vec![region] }, ..About::default() },
        used: Extent::new(0, 20 * size).into(),
    };
    let mut writer = Writer::create(File::create(&path).unwrap(), head).unwrap();
    let content = vec![7; MIN_CHUNK_SIZE as usize];
    let frame = Compressor::new(1).unwrap().compress(&content).unwrap();
    for chunk in 0..20 {
        let losses = if chunk < 12 { vec![Extent::at(chunk * size + 4096, 512)] } else { vec![] };
        writer.data(&frame, blake3::hash(&content).into(), &losses).unwrap();
    }
    writer.finish(Report { resumed: true, ..Report::default() }).unwrap();
    let ran = dacapo(&["info", &path]).success();
    for part in [
        "6.00 KiB in 12 places",
        "0x1000-0x1200 (512 B) in whole disk",
        "and 2 more",
        "resumed",
        "stored whole: ?[1mno reason",
        "table         none",
    ] {
        assert!(ran.out().contains(part), "'{part}' is missing\n{ran}");
    }
    let ran = dacapo(&["info", &path, "--json"]).success();
    let losses = ran.messages("summary")[0]["losses"].as_array().unwrap().clone();
    assert_eq!(losses.len(), 12);
    assert_eq!(losses[1]["offset"], size + 4096);
    assert_eq!(losses[1]["length"], 512);
}

#[test]
fn only_a_terminal_gets_blocks_and_colours() {
    if !requires(&["script"]) {
        return;
    }
    let program = env!("CARGO_BIN_EXE_dacapo");
    let on_terminal = |locale: &str, columns: u32| {
        let ask =
            format!("stty rows 24 cols {columns}; LC_ALL={locale} {program} info {}", image());
        try_run("script", &["-qec", &ask, "/dev/null"]).success()
    };
    let ran = on_terminal("C.UTF-8", 60);
    assert!(ran.out().contains(['\u{2588}', '\u{2591}']), "{ran}");
    assert!(ran.out().contains("\u{1b}[32m"), "{ran}");
    assert!(!ran.out().contains("\u{1b}[2J"), "{ran}");
    for line in ran.out().lines().filter(|line| line.contains('\u{2591}')) {
        let shown = anstream::adapter::strip_str(line).to_string();
        assert!(shown.trim_end().chars().count() <= 60, "{shown}");
    }
    let ran = on_terminal("C", 100);
    assert!(ran.out().contains("\u{1b}[32m#"), "{ran}");
    assert!(!ran.out().contains('\u{2588}'), "{ran}");
}

#[test]
fn what_is_no_image_is_no_image() {
    let folder = temp_dir();
    let path = folder.join("song.txt");
    fs::write(&path, "Verse, chorus, verse").unwrap();
    dacapo(&["info", &path]).exits(4).says("not a dacapo image").says("song.txt");
    dacapo(&["info", &folder.join("missing")]).exits(1).says("missing");
    assert!(Path::new(&path).exists());
}

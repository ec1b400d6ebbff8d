// SPDX-License-Identifier: MIT OR Apache-2.0
//! Partimage's images, judged by what Partimage restores of them.

use std::fs;

use super::{cut, import, len_of, refused, with_damage};
use crate::support::{Loop, Mount, TempDir, assert_same, requires, run, sparse_file, temp_dir};

/// Saves an ext2 by Partimage; the first volume.
fn save(folder: &TempDir, raw: &str, name: &str, options: &[&str]) -> String {
    let device = Loop::new(raw, &["--read-only"]);
    let image = folder.join(name);
    // Batch, no question, nothing but text.
    let args = [options, &["-o", "-d", "-b", "-B", "gui=no", "save", device.device(), &image]];
    run("partimage", &args.concat());
    format!("{image}.000")
}

#[test]
fn a_partimage_image_is_what_partimage_restores() {
    if !requires(&["root", "loop", "kernel:ext2", "mkfs.ext2", "partimage"]) {
        return;
    }
    let folder = temp_dir();
    let (raw, restored) = (folder.join("ext2.raw"), folder.join("restored.raw"));
    sparse_file(&raw, 24 << 20);
    run("mkfs.ext2", &["-q", "-F", "-b", "1024", &raw]);
    {
        let mounted = Mount::new(&raw, "ext2", "loop");
        super::some_files(mounted.path());
        fs::remove_file(mounted.path().join("gone")).unwrap();
    }
    let image = save(&folder, &raw, "plain", &["-z0", "-M"]);
    sparse_file(&restored, 24 << 20);
    {
        let device = Loop::new(&restored, &[]);
        run("partimage", &["-b", "-B", "gui=no", "restore", device.device(), &image]);
    }
    let (out, ran) = import(&folder, &image, 0);
    assert_same(&out, &restored);
    let imported = &ran.messages("summary")[0]["imported"];
    assert_eq!(
        (&imported["format"], &imported["version"]),
        (&"Partimage image".into(), &"0.6.1".into())
    );
    for (name, option) in [("gz", "-z1"), ("bz2", "-z2")] {
        let image = save(&folder, &raw, name, &[option]);
        assert_same(import(&folder, &image, 0).0, &restored);
    }

    let (len, bad) = (len_of(&image), folder.join("bad.000"));
    for (position, says) in [
        (700, "the sum of the main head is wrong"),
        (17_200, "the sum of the head of the filesystem is wrong"),
        (33_572, "blocks by the map"),
        (len / 2, "the checksum of the blocks there is wrong"),
        (len - 16_500, "the sum over all bytes is wrong"),
    ] {
        with_damage(&image, position, &bad);
        let _ = refused(&folder, &bad, 4).says("bad.000 is damaged").says(says);
    }
    for end in [100, 20_000, len / 2, len - 1] {
        cut(&image, end, &bad);
        let _ = refused(&folder, &bad, 4).says(&format!("ends at byte {end}"));
    }
}

#[test]
fn volumes_are_joined_and_must_be_those_of_one_image() {
    if !requires(&["root", "loop", "mkfs.ext2", "partimage"]) {
        return;
    }
    let folder = temp_dir();
    let (raw, files) = (folder.join("ext2.raw"), folder.join("files"));
    sparse_file(&raw, 24 << 20);
    fs::create_dir(&files).unwrap();
    fs::write(format!("{files}/junk"), crate::support::junk(3 << 20, 4)).unwrap();
    run("mkfs.ext2", &["-q", "-F", "-d", &files, &raw]);
    let image = save(&folder, &raw, "volumes", &["-z1", "-V1", "-M"]);
    let volume = |number: u32| folder.join(&format!("volumes.{number:03}"));
    assert!(fs::metadata(volume(2)).is_ok(), "there are not enough volumes");
    assert_same(import(&folder, &image, 0).0, &raw);
    let _ = refused(&folder, &volume(1), 2).says("in front of it is volumes.000");
    let alone = folder.join("alone");
    fs::copy(volume(1), &alone).unwrap();
    let _ = refused(&folder, &alone, 2).says("not the first volume");
    let _ = save(&folder, &raw, "other", &["-z1", "-V1", "-M"]);
    fs::copy(folder.join("other.001"), volume(1)).unwrap();
    let _ = refused(&folder, &image, 4).says("volume 1 is of another image");
    fs::copy(volume(2), volume(1)).unwrap();
    let _ = refused(&folder, &image, 4).says("volume 1 is not the next one");
    fs::remove_file(volume(1)).unwrap();
    let _ = refused(&folder, &image, 4).says("volumes.001 is missing");
    (2..).map(volume).take_while(|it| fs::remove_file(it).is_ok()).for_each(drop);
    let _ = refused(&folder, &image, 4).says("ends at byte");
}

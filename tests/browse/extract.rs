// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is extracted is what the kernel shows of the same filesystem.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::support::{dacapo, requires, temp_dir};

use super::scene::{NEEDS, Scene, assert_same_facts, everything, facts};

#[test]
fn a_whole_volume_comes_out_as_the_kernel_shows_it() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new(everything);
    let image = scene.image("disk.img.zst");
    let wanted = facts(scene.root("ro").1.path());
    assert!(wanted.len() > 1000, "{}", wanted.len());
    for source in [&image, &scene.disk] {
        let out = temp_dir();
        let to = out.join("new");
        let ran = dacapo(&["extract", source, "ROOT:/", &to, "--special", "--setuid"]).success();
        assert!(!ran.err().contains("warning"), "{ran}");
        assert_same_facts(&wanted, &facts(Path::new(&to)));
        let sparse = fs::metadata(out.join("new/home/sparse")).unwrap();
        assert!(sparse.blocks() * 512 < 1 << 20, "{} bytes", sparse.blocks() * 512);
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1);
    }
}

#[test]
fn what_is_left_out_is_told() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new(everything);
    let image = scene.image("disk.img.zst");
    let out = temp_dir();
    let to = out.join("x");
    let ran = dacapo(&["extract", &image, "2:/", &to, "--json"]).success();
    let notes: Vec<String> =
        ran.messages("note").iter().map(|note| note["message"].as_str().unwrap().into()).collect();
    for part in ["2 device nodes", "1 pipe left", "1 setuid"] {
        assert!(notes.iter().any(|note| note.contains(part)), "{part}: {notes:?}");
    }
    let summary = &ran.messages("summary")[0];
    assert_eq!((&summary["lost"], &summary["renamed"]), (&0.into(), &0.into()), "{summary}");
    assert_eq!(summary["hard_links"], 2);
    assert_eq!(fs::metadata(out.join("x/setuid")).unwrap().mode() & 0o7777, 0o755);
    // Some of it by the rules of cp.
    dacapo(&["extract", &image, "2:relative/note.txt", &out.join("note")]).success();
    assert_eq!(fs::read(out.join("note")).unwrap(), b"hello\n");
    let ran = dacapo(&["extract", &image, "2:/home/me/note.txt", "--stdout"]).success();
    assert_eq!(ran.stdout, b"hello\n");
    let ran = dacapo(&["extract", &image, "2:/home/sparse", "--stdout"]).success();
    assert_eq!(ran.stdout, fs::read(out.join("x/home/sparse")).unwrap());
    dacapo(&["extract", &image, "2:/home", "1:\\efi\\boot me.TXT", out.path().to_str().unwrap()])
        .success();
    assert_eq!(fs::read(out.join("Boot Me.txt")).unwrap(), b"boots");
    let ran = dacapo(&["extract", &image, "2:/home", out.path().to_str().unwrap()]).exits(5);
    assert!(ran.err().contains("is there already") && ran.err().contains("--overwrite"), "{ran}");
    dacapo(&["extract", &image, "2:/home", &out.join("note")]).exits(2).says("is no folder");
    dacapo(&["extract", &image, "2:/home"]).exits(2).says("where it goes");
    dacapo(&["extract", &image, "2:/home", "--stdout"]).exits(2).says("is no file");
}

#[test]
fn a_disk_that_somebody_writes_to_gives_no_files_that_may_be_old() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new(everything);
    let (_device, mounted) = scene.root("rw");
    let out = temp_dir();
    let new = out.join("new");
    let ran = dacapo(&["extract", &scene.disk, "2:/home/me/note.txt", &new]).exits(5);
    ran.says(mounted.path().to_str().unwrap());
    assert!(!Path::new(&new).exists());
    // To look at it is no harm, if one knows.
    dacapo(&["ls", &scene.disk, "2:/home/me"]).success().says("may be older");
    dacapo(&["find", &scene.disk, "note.txt"]).success().says("may be older");
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! An archived disc back onto a disc; a file stands for the drive, to which
//! xorriso writes as to one.

use std::fs;
use std::path::Path;

use super::scene::{NEEDS, Scene, flip, sum};
use crate::support::{dacapo, dacapo_command, find_program, finish, requires, run};

/// A folder with one program only, as PATH.
fn only(scene: &Scene, name: &str) -> String {
    let folder = scene.at(&format!("only-{name}"));
    fs::create_dir(&folder).unwrap();
    if let Some(program) = find_program(name) {
        std::os::unix::fs::symlink(program, format!("{folder}/{name}")).unwrap();
    }
    folder
}

#[test]
fn a_disc_is_burnt_and_read_back() {
    if !requires(NEEDS) || !requires(&["cdrskin"]) {
        return;
    }
    let scene = Scene::new();
    let disc = scene.xorriso("disc.iso", &[]);
    let image = disc.to_str().unwrap();
    let len = fs::metadata(&disc).unwrap().len() as usize;
    let blank = scene.at("xorriso.disc");
    fs::write(&blank, b"").unwrap();
    let mut command = dacapo_command(&["disc", "write", image, &blank]);
    command.env("PATH", only(&scene, "xorriso"));
    let ran = finish(command, &[]).success();
    assert!(ran.out().contains("xorriso") && ran.out().contains("read back"), "{ran}");
    assert_eq!(fs::read(&blank).unwrap()[..len], fs::read(&disc).unwrap());
    // What cdrskin says is told: it writes to no file.
    let other = scene.at("cdrskin.disc");
    fs::write(&other, b"").unwrap();
    let mut command = dacapo_command(&["disc", "write", image, &other]);
    command.env("PATH", only(&scene, "cdrskin"));
    finish(command, &[]).exits(1).says("cdrskin has failed").says("emulated_drives");
    // A disc with something on it is not written to without a yes.
    let full = scene.at("xorriso.disc");
    let before = sum("sha256sum", &full);
    dacapo(&["disc", "write", image, &full]).exits(5).says("--yes");
    assert_eq!(sum("sha256sum", &full), before);
    let _ = dacapo(&["disc", "write", image, &full, "--yes"]).success();
    // Without a program it is said what to install.
    let mut command = dacapo_command(&["disc", "write", image, &scene.at("new.disc")]);
    command.env("PATH", only(&scene, "nothing"));
    finish(command, &[]).exits(6).says("xorriso nor cdrskin is installed");
}

#[test]
fn what_cannot_be_burnt_is_said_before() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new();
    let blank = scene.at("blank.disc");
    dacapo(&["disc", "write", &scene.at("tree/setup.exe"), &blank]).exits(5);
    let disc = scene.xorriso("disc.iso", &[]);
    let image = disc.to_str().unwrap();
    dacapo(&["disc", "write", image, "/dev/nowhere"]).exits(5);
    let ran = dacapo(&["disc", "write", image, &blank, "--dry-run"]).success();
    assert!(ran.out().contains("by "), "{ran}");
    assert!(!Path::new(&blank).exists());
}

#[test]
fn an_archived_disc_is_never_burnt_over() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new();
    let disc = scene.xorriso("disc.iso", &[]);
    let (one, two) = (scene.at("one.iso"), scene.at("two.iso"));
    for out in [&one, &two] {
        let _ = dacapo(&["disc", "read", disc.to_str().unwrap(), out]).success();
    }
    let (hard, soft) = (scene.at("hard.iso"), scene.at("soft.iso"));
    fs::hard_link(&one, &hard).unwrap();
    std::os::unix::fs::symlink(&one, &soft).unwrap();
    let before = sum("sha256sum", &one);
    let record = fs::read(scene.at("one.json")).unwrap();
    // Neither over itself, by any name, nor over another one.
    for target in [&one, &hard, &soft, &scene.at("one.json")] {
        dacapo(&["disc", "write", &one, target, "--yes"]).exits(5).says("itself");
        dacapo(&["disc", "write", &soft, target, "--yes"]).exits(5).says("itself");
    }
    dacapo(&["disc", "write", &one, &two, "--yes"]).exits(5).says("is an archived disc");
    for file in [&one, &two] {
        assert_eq!(sum("sha256sum", file), before);
    }
    assert_eq!(fs::read(scene.at("one.json")).unwrap(), record);
}

#[test]
fn an_image_that_has_rotted_is_not_burnt() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new();
    let disc = scene.xorriso("disc.iso", &[]);
    let (image, blank) = (scene.at("image.iso"), scene.at("blank.disc"));
    let _ = dacapo(&["disc", "read", disc.to_str().unwrap(), &image]).success();
    fs::write(&blank, b"").unwrap();
    flip(&image, 1_000_000);
    dacapo(&["disc", "write", &image, &blank]).exits(4).says("is not what was read");
    flip(&image, 1_000_000);
    let file = fs::File::options().write(true).open(&image).unwrap();
    file.set_len(fs::metadata(&image).unwrap().len() - 2048).unwrap();
    dacapo(&["disc", "write", &image, &blank]).exits(4).says("when the disc was read");
    assert_eq!(fs::read(&blank).unwrap(), b"");
}

#[test]
fn what_a_burner_did_wrong_is_found_by_reading_back() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new();
    let disc = scene.xorriso("disc.iso", &[]);
    // Programs that call themselves xorriso; all but the last one call it a success.
    for (number, (how, code, said)) in [
        ("head -c 1000000 \"$image\" >\"$disc\"", 4, "the disc has 1000000 bytes, and the image"),
        (
            "cp \"$image\" \"$disc\"; printf xyxy | dd of=\"$disc\" bs=1 seek=1000000 conv=notrunc",
            4,
            "differs from the image in sector 488",
        ),
        ("echo 'libburn : FATAL : no laser' >&2; exit 5", 1, "libburn : FATAL : no laser"),
    ]
    .iter()
    .enumerate()
    {
        let folder = scene.at(&format!("burner-{number}"));
        fs::create_dir(&folder).unwrap();
        let program = format!("{folder}/xorriso");
        let find = "PATH=/usr/bin:/bin; for image; do \
                    case $image in dev=stdio:*) disc=${image#dev=stdio:};; esac; done";
        fs::write(&program, format!("#!/bin/sh\n{find}\n{how}\n")).unwrap();
        let _ = run("chmod", &["755", &program]);
        let blank = scene.at(&format!("blank-{number}"));
        fs::write(&blank, b"").unwrap();
        let mut command = dacapo_command(&["disc", "write", disc.to_str().unwrap(), &blank]);
        command.env("PATH", folder);
        finish(command, &[]).exits(*code).says(said);
    }
}

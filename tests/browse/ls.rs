// SPDX-License-Identifier: MIT OR Apache-2.0
//! Listing and finding, as somebody without root does it.

use std::collections::BTreeSet;
use std::process::Command;

use crate::support::{dacapo, dacapo_command, finish, requires, run};

use super::scene::{NEEDS, Scene, everything};

#[test]
fn volumes_and_files_are_listed() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new(everything);
    let image = scene.image("disk.img.zst");
    let ran = dacapo(&["ls", &image]).success();
    for part in ["FAT32", "ESP", "ext4", "ROOT", "no files: swap", "dacapo ls"] {
        assert!(ran.out().contains(part), "'{part}' is missing\n{ran}");
    }
    let volumes = &dacapo(&["ls", &image, "--json"]).success().messages("summary")[0]["volumes"];
    assert_eq!(volumes.as_array().unwrap().len(), 3);
    assert_eq!((&volumes[1]["volume"], &volumes[1]["has_files"]), (&"2".into(), &true.into()));
    assert_eq!(volumes[2]["has_files"], false);

    let ran = dacapo(&["ls", &image, "2:home"]).success();
    for line in ["me/", "esc\\x1b[2J", "new\\nline", "not\\xfftext", "sparse"] {
        assert!(ran.out().lines().any(|it| it == line), "'{line}' is missing\n{ran}");
    }
    let ran = dacapo(&["ls", &image, "root:/", "-l"]).success();
    for part in ["-rwsr-xr-x", "drwxrwxrwt", "relative -> home/me", "1, 3", "7:8"] {
        assert!(ran.out().contains(part), "'{part}' is missing\n{ran}");
    }
    dacapo(&["ls", &image, "/"]).exits(2).says("several volumes").says("2 (ROOT, ext4)");
    dacapo(&["ls", &image, "5:/"]).exits(2).says("no volume '5'");
    dacapo(&["ls", &image, "2:/no"]).exits(2).says("there is no 'no' in 2:/");

    // As the kernel lists it, by paths and sizes.
    let (_device, mount) = scene.root("ro");
    let script =
        format!("cd '{}' && find . -mindepth 1 -printf '/%P %y %s\\0'", mount.path().display());
    let found = run("sh", &["-c", &script]);
    let wanted: BTreeSet<Vec<u8>> = found
        .stdout
        .split(|byte| *byte == 0)
        .filter(|it| !it.is_empty())
        .map(<[u8]>::to_vec)
        .collect();
    let ran = dacapo(&["ls", &image, "2:/", "-R", "--json"]).success();
    let listed: BTreeSet<Vec<u8>> = ran
        .messages("file")
        .iter()
        .map(|file| {
            let kind = match file["kind"].as_str().unwrap() {
                "file" => "f",
                "folder" => "d",
                "link" => "l",
                "pipe" => "p",
                "block-device" => "b",
                "character-device" => "c",
                other => panic!("{other}"),
            };
            let path = match file["path_hex"].as_str() {
                Some(hex) => (0..hex.len() / 2)
                    .map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap())
                    .collect(),
                None => file["path"].as_str().unwrap().as_bytes().to_vec(),
            };
            [path, format!(" {kind} {}", file["size"]).into_bytes()].concat()
        })
        .collect();
    assert_eq!(listed, wanted);
}

#[test]
fn names_are_found_on_all_volumes_without_root() {
    if !requires(NEEDS) || !requires(&["setpriv"]) {
        return;
    }
    let scene = Scene::new(everything);
    let image = scene.image("disk.img.zst");
    let ran = dacapo(&["find", &image, "*.{txt,wav}"]).success();
    for part in ["1:/EFI/Boot Me.txt", "2:/home/me/note.txt", "2:/home/me/song.wav", "3.00 MiB"] {
        assert!(ran.out().contains(part), "'{part}' is missing\n{ran}");
    }
    assert_eq!(ran.out().lines().count(), 3, "{ran}");
    let ran = dacapo(&["find", &image, "*.TXT"]).success();
    assert_eq!(ran.out().lines().count(), 1, "only FAT ignores the case\n{ran}");
    let ran = dacapo(&["find", &image, "2:/many/file 49?", "--json"]).success();
    assert_eq!(ran.messages("file").len(), 10, "{ran}");
    dacapo(&["find", &image, "no such thing"]).success().says("nothing found");
    dacapo(&["find", &image, "[a"]).exits(2).says("is no pattern");
    // Nobody needs root for an image; everybody may read this one.
    let copy = scene.folder.join("copy");
    std::fs::copy(dacapo_command(&["x"]).get_program(), &copy).unwrap();
    run("chmod", &["-R", "a+rX", scene.folder.path().to_str().unwrap()]);
    run("chmod", &["a+x", &copy]);
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        &copy,
        "ls",
        &image,
        "2:/home",
    ]);
    assert!(finish(command, &[]).success().out().contains("sparse"));
}

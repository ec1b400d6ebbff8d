// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drives that are used by others while their save waits: what is put together of
//! two states of a drive restores neither.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::save::Scene;
use crate::support::{dacapo, dacapo_command, junk, requires, run};

const MIB: usize = 1 << 20;
/// Of the partition with a filesystem.
const FILES: std::ops::Range<usize> = 16 * MIB..23 * MIB;

/// A disk whose first partition is full of what nobody knows; what the ext4 in the
/// second one keeps of itself lies behind that.
fn scene_with_files() -> Scene {
    let mut scene = Scene::new();
    let (part, tree) = (scene.image("part"), scene.image("tree"));
    fs::create_dir(&tree).unwrap();
    fs::write(format!("{tree}/song"), junk(2 * MIB, 7)).unwrap();
    fs::write(&part, vec![0; FILES.len()]).unwrap();
    let _ = run("mkfs.ext4", &["-q", "-F", "-d", &tree, &part]);
    scene.content[23 * MIB..].fill(0);
    scene.content[FILES].copy_from_slice(&fs::read(&part).unwrap());
    scene.content[..MIB].fill(0);
    fs::write(&scene.raw, &scene.content).unwrap();
    let _ = run("sgdisk", &["-o", "-n1:2048:+14M", "-n2:32768:+7M", &scene.raw]);
    scene.content = fs::read(&scene.raw).unwrap();
    scene
}

fn until(child: &mut Child, what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "the save ended before {what}: {ended:?}");
        assert!(began.elapsed() < Duration::from_secs(60), "no sign of {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_drive_that_was_used_while_it_was_away_is_refused() {
    let needs = ["root", "nbdkit", "nbdfuse", "mkfs.ext4", "sgdisk", "debugfs"];
    if !requires(&needs) {
        return;
    }
    let scene = scene_with_files();
    // While this file is there nothing can be read: it was pulled out.
    let away = scene.image("away");
    let away_if = format!("error-file={away}");
    let more =
        ["--filter=error", "--filter=delay", "rdelay=20ms", "error=EIO", "error-rate=1", &away_if];
    let drive = scene.drive(&[], &more);
    let (image, said) = (scene.image("a.img.zst"), scene.image("said"));
    let mut child = dacapo_command(&["save", &drive.path(), &image])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&said).unwrap())
        .spawn()
        .unwrap();
    let partial = format!("{image}.partial");
    let saved = || fs::metadata(&partial).map_or(0, |found| found.len());
    until(&mut child, "what is saved", || saved() > 3 * MIB as u64);
    fs::write(&away, "").unwrap();
    let _ = fs::File::open(drive.path());
    let told = || fs::read_to_string(&said).unwrap();
    until(&mut child, "that it has gone", || {
        // FUSE forgets what it has in memory when somebody opens the file.
        let _ = fs::File::open(drive.path());
        told().contains("does not answer")
    });
    // Nothing of the filesystem was saved before.
    assert!(saved() < FILES.start as u64, "it went too late");

    let (part, song) = (scene.image("part"), scene.image("song"));
    fs::write(&song, junk(MIB, 8)).unwrap();
    let _ = run("debugfs", &["-w", "-R", &format!("write {song} new"), &part]);
    let mut used = scene.content.clone();
    used[FILES].copy_from_slice(&fs::read(&part).unwrap());
    assert!(used != scene.content);
    fs::write(&scene.raw, &used).unwrap();
    fs::remove_file(&away).unwrap();
    let code = child.wait().unwrap().code();
    assert_eq!(code, Some(5), "{}", told());
    assert!(told().contains("used since"), "{}", told());

    // The same command another day.
    let _ = dacapo(&["save", &drive.path(), &image]).exits(5).says("used since");
    // It is that drive in that state.
    fs::write(&scene.raw, &scene.content).unwrap();
    let _ = dacapo(&["save", &drive.path(), &image]).success().says("going on with the rescue");
    scene.assert_image(&image, &[]);
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Killed, interrupted, out of space, cut off: whatever stops a save or a
//! restore, nothing incomplete looks whole, and the next try ends right.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{
    Mount, TempDir, assert_same, dacapo, dacapo_command, hash_of, junk, junk_file, requires, run,
    sparse_file, temp_dir, wait,
};

const MIB: u64 = 1 << 20;

/// How many points in time a job is killed at.
const POINTS: u32 = 12;

/// A disk of 96 MiB: junk that compresses a little, and zeros.
fn source(folder: &TempDir) -> String {
    let path = folder.join("disk.raw");
    let mut bytes = vec![0; 96 << 20];
    let half = junk(48 << 20, 7);
    for (to, from) in bytes[(8 << 20)..].iter_mut().zip(&half) {
        *to = from & 0x3f;
    }
    fs::write(&path, bytes).unwrap();
    path
}

/// How long a job takes when nothing stops it.
fn duration_of(args: &[&str]) -> Duration {
    let start = Instant::now();
    let _ = dacapo(args).success();
    start.elapsed()
}

/// Starts a job and kills it after `delay`; true if it had ended by then.
fn kill_after(args: &[&str], delay: Duration) -> bool {
    let mut child = dacapo_command(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(delay);
    let ended = child.try_wait().unwrap().is_some();
    let _ = child.kill();
    child.wait().unwrap();
    ended
}

#[test]
fn a_save_that_is_killed_leaves_no_image_and_goes_on() {
    let folder = temp_dir();
    let disk = source(&folder);
    let before = hash_of(&disk);
    let reference = folder.join("reference.img.zst");
    let full = duration_of(&["save", &disk, &reference, "--level", "3"]);
    let mut resumed = 0;
    for point in 0..POINTS {
        let image = folder.join(&format!("{point}.img.zst"));
        let partial = format!("{image}.partial");
        let args = ["save", &disk, &image, "--level", "3"];
        let ended = kill_after(&args, full * point / POINTS);
        if !ended && Path::new(&image).exists() {
            // Killed between the rename and the end.
            let _ = dacapo(&["verify", &image]).success();
        } else if !ended {
            let had_one = Path::new(&partial).exists();
            if had_one {
                // What is there is not taken for an image, unless only its
                // name was missing.
                if dacapo(&["verify", &partial]).code == 0 {
                    let _ = dacapo(&["compare", &partial, &disk]).success();
                }
            }
            let ran = dacapo(&["save", &disk, &image, "--level", "3", "--resume"]).success();
            resumed += u32::from(ran.out().contains("going on"));
        }
        assert!(!Path::new(&partial).exists());
        let _ = dacapo(&["verify", &image]).success();
        let _ = dacapo(&["compare", &image, &disk]).success();
        fs::remove_file(&image).unwrap();
    }
    assert!(resumed > 0, "no point in time left anything to go on with");
    assert_eq!(hash_of(&disk), before, "the source was written to");
}

#[test]
fn a_restore_that_is_killed_leaves_no_disk_and_the_same_command_ends_right() {
    let folder = temp_dir();
    let disk = source(&folder);
    // The first MiB decides whether anything can boot.
    let mut bytes = fs::read(&disk).unwrap();
    bytes[..MIB as usize].copy_from_slice(&junk(MIB as usize, 3));
    fs::write(&disk, &bytes).unwrap();
    let image = folder.join("a.img.zst");
    let _ = dacapo(&["save", &disk, &image]).success();
    let target = folder.join("target.raw");
    let args = ["restore", &image, &target, "--yes"];
    junk_file(&target, 96 * MIB);
    let full = duration_of(&args);
    let mut halfway = 0;
    for point in 0..POINTS {
        junk_file(&target, 96 * MIB);
        let old = fs::read(&target).unwrap();
        let ended = kill_after(&args, full * point / POINTS);
        let new = fs::read(&target).unwrap();
        let first = &new[..MIB as usize];
        let untouched = new == old;
        let whole = new == bytes;
        let blank = first.iter().all(|byte| *byte == 0);
        assert!(untouched || whole || blank, "point {point}: half a disk has a beginning");
        assert!(!ended || whole);
        halfway += u32::from(blank);
        let _ = dacapo(&args).success();
        assert_same(&disk, &target);
    }
    assert!(halfway > 0, "no point in time was in the middle");
}

#[test]
fn ctrl_c_stops_within_a_second_and_says_how_to_go_on() {
    let folder = temp_dir();
    let disk = folder.join("large.raw");
    junk_file(&disk, 512 * MIB);
    let image = folder.join("a.img.zst");
    // Slow enough to be caught in the middle.
    let mut child = dacapo_command(&["save", &disk, &image, "--level", "19"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    let pid = i32::try_from(child.id()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGINT)
        .unwrap();
    let code = wait(&mut child, Duration::from_secs(60));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("--resume"), "{said}");
    assert!(Path::new(&format!("{image}.partial")).exists());
}

#[test]
fn a_full_destination_ends_with_8_and_goes_on_when_there_is_room() {
    if !requires(&["root", "kernel:tmpfs", "mount"]) {
        return;
    }
    let folder = temp_dir();
    let disk = folder.join("disk.raw");
    // Samples see zeros: the estimate has to be wrong for this test.
    let mut bytes = vec![0; 64 << 20];
    for (n, chunk) in bytes.chunks_mut(1 << 20).enumerate() {
        if n % 3 == 1 {
            chunk.copy_from_slice(&junk(chunk.len(), n as u64));
        }
    }
    fs::write(&disk, &bytes).unwrap();
    let small = Mount::new("none", "tmpfs", "size=12m");
    let image = small.path().join("a.img.zst").display().to_string();
    let ran = dacapo(&["save", &disk, &image]).exits(8);
    assert!(!Path::new(&image).exists());
    let partial = format!("{image}.partial");
    if Path::new(&partial).exists() {
        assert!(ran.err().contains("--resume"), "{ran}");
        let _ = run("mount", &["-o", "remount,size=64m", &small.path().display().to_string()]);
        let _ = dacapo(&["save", &disk, &image, "--resume"]).success().says("going on");
    } else {
        // It was seen to be impossible before the start.
        let _ = ran.says("room");
        let _ = run("mount", &["-o", "remount,size=64m", &small.path().display().to_string()]);
        let _ = dacapo(&["save", &disk, &image]).success();
    }
    let _ = dacapo(&["compare", &image, &disk]).success();
}

#[test]
fn a_reader_that_goes_away_is_an_error_and_no_panic() {
    let folder = temp_dir();
    let disk = folder.join("disk.raw");
    junk_file(&disk, 32 * MIB);
    let mut child = dacapo_command(&["save", &disk, "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let code = wait(&mut child, Duration::from_secs(60));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("pipe") && !said.contains("panicked"), "{said}");
}

#[test]
fn an_image_goes_through_pipes_both_ways() {
    let folder = temp_dir();
    let disk = source(&folder);
    let saved = dacapo(&["save", &disk, "-"]).success();
    assert!(saved.stdout.starts_with(&0x184D_2A5D_u32.to_le_bytes()));
    let target = folder.join("target.raw");
    let restored =
        crate::support::finish(dacapo_command(&["restore", "-", &target]), &saved.stdout).success();
    drop(restored);
    assert_same(&disk, &target);
    let _ = crate::support::finish(dacapo_command(&["verify", "-"]), &saved.stdout).success();
    let cut = &saved.stdout[..saved.stdout.len() / 2];
    let again = folder.join("cut.raw");
    let ran = crate::support::finish(dacapo_command(&["restore", "-", &again]), cut).exits(4);
    assert!(ran.err().contains("ends early"), "{ran}");
    assert!(!Path::new(&again).exists(), "half a restore is left behind");
}

#[test]
fn an_existing_image_is_never_overwritten() {
    let folder = temp_dir();
    let disk = folder.join("disk.raw");
    sparse_file(&disk, 4 * MIB);
    let image = folder.join("a.img.zst");
    fs::write(&image, b"precious").unwrap();
    let _ = dacapo(&["save", &disk, &image]).exits(5).says("exists already");
    assert_eq!(fs::read(&image).unwrap(), b"precious");
    // In a folder a free name is found.
    let images = folder.join("images");
    fs::create_dir(&images).unwrap();
    for _ in 0..2 {
        let _ = dacapo(&["save", &disk, &images, "--label", "Studio PC"]).success();
    }
    assert_eq!(fs::read_dir(&images).unwrap().count(), 2);
}

#[test]
fn nothing_that_is_there_is_taken_for_an_interrupted_image() {
    let folder = temp_dir();
    // The source itself, by the name that its image would have while it grows.
    let disk = folder.join("disk.partial");
    junk_file(&disk, 4 * MIB);
    let before = hash_of(&disk);
    let _ =
        dacapo(&["save", &disk, &folder.join("disk")]).exits(5).says("not an interrupted image");
    assert_eq!(hash_of(&disk), before, "the source was written to");
    // The interrupted image of another disk.
    let other = folder.join("other.raw");
    junk_file(&other, 8 * MIB);
    let image = folder.join("a.img.zst");
    let whole = dacapo(&["save", &other, "-"]).success().stdout;
    fs::write(format!("{image}.partial"), &whole[..whole.len() / 2]).unwrap();
    let _ = dacapo(&["save", &disk, &image]).exits(5).says("another disk");
    assert_eq!(fs::metadata(format!("{image}.partial")).unwrap().len(), whole.len() as u64 / 2);
    let _ = dacapo(&["save", &other, &image]).success();
}

#[test]
fn a_map_is_never_written_over_something() {
    let folder = temp_dir();
    let disk = folder.join("disk.raw");
    junk_file(&disk, 4 * MIB);
    let before = hash_of(&disk);
    let _ = dacapo(&["map", &disk, "-o", &disk]).exits(5).says("exists already");
    assert_eq!(hash_of(&disk), before, "the source was written to");
    let _ = dacapo(&["map", &disk, "-o", &folder.join("used.map")]).success();
}

#[test]
fn ctrl_c_ends_a_job_that_hangs_in_a_pipe() {
    let mut child = dacapo_command(&["verify", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert_eq!(wait(&mut child, Duration::from_secs(30)), Some(130));
}

#[test]
fn a_restore_that_fails_leaves_no_file_in_the_way() {
    let folder = temp_dir();
    let disk = folder.join("disk.raw");
    junk_file(&disk, 8 * MIB);
    let image = folder.join("a.img.zst");
    let _ = dacapo(&["save", &disk, &image]).success();
    let mut bytes = fs::read(&image).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let broken = folder.join("broken.img.zst");
    fs::write(&broken, &bytes).unwrap();
    let target = folder.join("target.raw");
    let _ = dacapo(&["restore", &broken, &target]).exits(4);
    let _ = dacapo(&["restore", &image, &target]).success();
    assert_same(&disk, &target);
    // Damage at the ends is found before an old disk is touched.
    let before = hash_of(&target);
    let mut bytes = fs::read(&image).unwrap();
    bytes[5000] ^= 1;
    fs::write(&broken, &bytes).unwrap();
    let _ =
        dacapo(&["restore", &broken, &target, "--yes"]).exits(4).says("before anything is written");
    assert_eq!(hash_of(&target), before);
}

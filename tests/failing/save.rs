// SPDX-License-Identifier: MIT OR Apache-2.0
//! Saves of drives with bad places: nbdkit's `ddrescue` filter makes them, and
//! serves the drive as a file by FUSE.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dacapo::extent::{Extent, ExtentSet};
use dacapo::image::Reader;
use dacapo::image::rescan::rescan;
use dacapo::io::Memory;
use dacapo::io::rescue::{Mapfile, Status};

use crate::support::{
    Mount, TempDir, dacapo, dacapo_command, hash_of, junk, requires, run, search_path, temp_dir,
    try_run, wait,
};

pub(super) const LEN: u64 = 24 << 20;
const NEEDS: &[&str] = &["root", "nbdkit", "nbdfuse", "ddrescuelog"];

/// A drive that is served as a file; it is gone when this is dropped.
pub(crate) struct Drive {
    server: Child,
    folder: String,
}

impl Drive {
    /// Serves `raw` with these bad places in `folder`.
    pub(crate) fn new(folder: &str, raw: &str, bad: &[Extent], more: &[&str]) -> Self {
        let len = fs::metadata(raw).unwrap().len();
        let map = format!("{raw}.faults");
        let bad: ExtentSet = bad.iter().copied().collect();
        let mut text = "0x0 ? 1\n".to_owned();
        let mut blocks: Vec<(Extent, char)> = bad.iter().map(|it| (it, '-')).collect();
        blocks.extend(bad.complement(len).iter().map(|it| (it, '+')));
        blocks.sort_unstable();
        for (extent, status) in blocks {
            text += &format!("{:#x} {:#x} {status}\n", extent.start(), extent.len());
        }
        fs::write(&map, text).unwrap();
        let map = format!("ddrescue-mapfile={map}");
        let mut args = vec!["--filter=ddrescue"];
        args.extend(more.iter().filter(|it| it.starts_with("--")));
        args.extend(["file", raw, &map]);
        args.extend(more.iter().filter(|it| !it.starts_with("--")));
        Self::serve(folder, len, &args)
    }

    /// Serves `raw`; whoever reads the byte at `hangs` waits until the file `let_go` is
    /// there.
    pub(crate) fn hanging(folder: &str, raw: &str, hangs: u64, let_go: &str) -> Self {
        let len = fs::metadata(raw).unwrap().len();
        let read = format!(
            "pread=if [ $4 -le {hangs} ] && [ {hangs} -lt $(($4 + $3)) ]; then \
             while [ ! -e {let_go} ]; do sleep 0.05; done; fi; \
             dd if={raw} iflag=skip_bytes,count_bytes skip=$4 count=$3 status=none"
        );
        Self::serve(folder, len, &["eval", &format!("get_size=echo {len}"), &read])
    }

    fn serve(folder: &str, len: u64, args: &[&str]) -> Self {
        fs::create_dir_all(folder).unwrap();
        let served = format!("{folder}/disk");
        let server = Command::new("nbdfuse")
            .args([&served, "--command", "nbdkit", "-s"])
            .args(args)
            .env("PATH", search_path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let drive = Self { server, folder: folder.to_owned() };
        let began = Instant::now();
        while fs::metadata(&served).map_or(0, |found| found.len()) != len {
            assert!(began.elapsed() < Duration::from_secs(60), "the drive is not served");
            std::thread::sleep(Duration::from_millis(20));
        }
        drive
    }

    pub(crate) fn path(&self) -> String {
        format!("{}/disk", self.folder)
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        // Lazily, as a drive is pulled: somebody may be reading.
        let _ = try_run("umount", &["--lazy", &self.folder]);
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn bad_places() -> Vec<Extent> {
    vec![
        Extent::at(1 << 20, 4096),
        Extent::at((5 << 20) + 8192, 200 << 10),
        Extent::at(17 << 20, 4096),
        Extent::at(LEN - 4096, 4096),
    ]
}

pub(super) struct Scene {
    pub(super) folder: TempDir,
    pub(super) raw: String,
    pub(super) content: Vec<u8>,
}

impl Scene {
    pub(super) fn new() -> Self {
        let folder = temp_dir();
        let raw = folder.join("raw");
        // Zeros and what does not compress.
        let mut content = junk(LEN as usize, 5);
        content[(8 << 20)..(12 << 20)].fill(0);
        fs::write(&raw, &content).unwrap();
        Self { folder, raw, content }
    }

    pub(super) fn drive(&self, bad: &[Extent], more: &[&str]) -> Drive {
        Drive::new(&self.folder.join("drive"), &self.raw, bad, more)
    }

    pub(super) fn image(&self, name: &str) -> String {
        self.folder.join(name)
    }

    /// Somebody uses the drive.
    pub(super) fn change(&mut self, place: Extent) {
        let range = place.start() as usize..place.end() as usize;
        self.content[range].iter_mut().for_each(|byte| *byte ^= 0x55);
        fs::write(&self.raw, &self.content).unwrap();
    }

    /// The image has all of the drive but `bad`, and says so.
    #[track_caller]
    pub(super) fn assert_image(&self, image: &str, bad: &[Extent]) {
        let file = Memory::new(fs::read(image).unwrap());
        let reader = Reader::open(file).unwrap();
        assert_eq!(reader.report().losses, bad);
        let target = self.folder.join("restored");
        let _ = fs::remove_file(&target);
        let _ = dacapo(&["restore", image, &target]).exits(if bad.is_empty() { 0 } else { 3 });
        let mut wanted = self.content.clone();
        for bad in bad {
            wanted[bad.start() as usize..bad.end() as usize].fill(0);
        }
        assert!(fs::read(&target).unwrap() == wanted, "the restored disk is another one");
        let _ = run("zstd", &["-tq", image]);
    }
}

/// Runs `args` until a read that hangs is told, writing what is said to `log`, and
/// presses Ctrl-C then; returns what was said.
pub(crate) fn interrupt_in_a_hang(args: &[&str], log: &str) -> String {
    let said = fs::File::create(log).unwrap();
    let mut child = dacapo_command(args).stdout(Stdio::null()).stderr(said).spawn().unwrap();
    let began = Instant::now();
    while !fs::read_to_string(log).unwrap().contains("waiting for the drive: one read has lasted") {
        let said = fs::read_to_string(log).unwrap();
        assert_eq!(child.try_wait().unwrap(), None, "it has ended: {said}");
        if began.elapsed() > Duration::from_secs(300) {
            let _ = child.kill();
            panic!("that a read hangs is not told: {said}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let code = wait(&mut child, Duration::from_secs(300));
    let said = fs::read_to_string(log).unwrap();
    assert_eq!(code, Some(130), "{said}");
    said
}

fn finished(map: &str) -> ExtentSet {
    let map = Mapfile::read(fs::read(map).unwrap().as_slice()).unwrap();
    let blocks = map.blocks.iter().filter(|block| block.status == Status::Finished);
    blocks.map(|block| block.extent).collect()
}

#[test]
fn what_can_be_read_is_saved_and_the_rest_is_told() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new();
    let before = hash_of(&scene.raw);
    let drive = scene.drive(&bad_places(), &[]);
    let image = scene.image("a.img.zst");
    let ran = dacapo(&["save", &drive.path(), &image]).exits(3);
    let _ = ran.says("could not be read").says("a.img.zst.rescue");
    scene.assert_image(&image, &bad_places());
    assert!(!Path::new(&format!("{image}.partial")).exists());
    // What it was made of is a rescue as ddrescue makes them.
    let (raw, map) = (format!("{image}.rescue"), format!("{image}.rescue.map"));
    let lost: ExtentSet = bad_places().into_iter().collect();
    assert_eq!(finished(&map), lost.complement(LEN));
    let _ = run("ddrescuelog", &["--show-status", &map]);
    // On a better day, with the same file, all of it can be read.
    drop(drive);
    let drive = scene.drive(&[], &[]);
    let again = scene.image("b.img.zst");
    let args = ["save", &drive.path(), &again, "--rescue", &raw, "--retries", "1"];
    let _ = dacapo(&args).success();
    scene.assert_image(&again, &[]);
    assert!(!Path::new(&raw).exists() && !Path::new(&map).exists());
    // A healthy drive leaves nothing beside its image.
    let healthy = scene.image("c.img.zst");
    let _ = dacapo(&["save", &drive.path(), &healthy]).success();
    scene.assert_image(&healthy, &[]);
    let names = fs::read_dir(scene.folder.path()).unwrap().flatten();
    let names: Vec<String> = names.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.contains("rescue")), "{names:?}");
    assert_eq!(hash_of(&scene.raw), before, "the source was written to");
}

#[test]
fn a_file_that_is_no_interrupted_image_stays() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new();
    let drive = scene.drive(&bad_places(), &[]);
    let image = scene.image("a.img.zst");
    let partial = format!("{image}.partial");
    fs::write(&partial, b"the only copy of a song").unwrap();
    let raw = scene.image("r");
    for more in [&[][..], &["--rescue", raw.as_str()]] {
        let path = drive.path();
        let args: Vec<&str> =
            ["save", &path, &image].into_iter().chain(more.iter().copied()).collect();
        let _ = dacapo(&args).exits(5).says("not an interrupted image");
        assert_eq!(fs::read(&partial).unwrap(), b"the only copy of a song");
    }
}

#[test]
fn front_to_back_the_same_is_lost() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new();
    let drive = scene.drive(&bad_places(), &[]);
    let image = scene.image("a.img.zst");
    let _ = dacapo(&["save", &drive.path(), &image, "--in-place"]).exits(3);
    scene.assert_image(&image, &bad_places());
    assert!(!Path::new(&format!("{image}.rescue")).exists());
    let out = dacapo(&["save", &drive.path(), "-"]).exits(3).stdout;
    let piped = scene.image("b.img.zst");
    fs::write(&piped, out).unwrap();
    scene.assert_image(&piped, &bad_places());
}

#[test]
fn a_rescue_that_is_killed_goes_on_with_the_same_command() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new();
    let more = ["--filter=delay", "rdelay=1ms"];
    let drive = scene.drive(&bad_places(), &more);
    let path = drive.path();
    let began = Instant::now();
    let reference = scene.image("reference.img.zst");
    let _ = dacapo(&["save", &path, &reference]).exits(3);
    let full = began.elapsed();
    let points = if crate::support::all() { 12 } else { 4 };
    let mut gone_on = 0;
    for point in 1..=points {
        let image = scene.image(&format!("{point}.img.zst"));
        let mut child = dacapo_command(&["save", &path, &image])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(full * point / (points + 1));
        let has_ended = child.try_wait().unwrap().is_some();
        let _ = child.kill();
        child.wait().unwrap();
        if has_ended || Path::new(&image).exists() {
            continue;
        }
        let ran = dacapo(&["save", &path, &image]).exits(3);
        gone_on += u32::from(ran.err().contains("going on with the rescue"));
        scene.assert_image(&image, &bad_places());
    }
    assert!(gone_on > 0, "no point in time left a rescue to go on with");
}

#[test]
fn ctrl_c_keeps_what_was_read_and_says_how_to_go_on() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new();
    let drive = scene.drive(&bad_places(), &["--filter=delay", "rdelay=10ms"]);
    let image = scene.image("a.img.zst");
    let mut child = dacapo_command(&["save", &drive.path(), &image])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let code = wait(&mut child, Duration::from_secs(60));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("same command"), "{said}");
    let map = format!("{image}.rescue.map");
    assert!(!finished(&map).is_empty());
    // Another drive is not mixed with this one.
    drop(drive);
    fs::write(&scene.raw, junk(LEN as usize, 6)).unwrap();
    let other = scene.drive(&[], &[]);
    let _ = dacapo(&["save", &other.path(), &image]).exits(5).says("another drive");
    drop(other);
    fs::write(&scene.raw, &scene.content).unwrap();
    let drive = scene.drive(&bad_places(), &[]);
    let _ = dacapo(&["save", &drive.path(), &image]).exits(3).says("going on with the rescue");
    scene.assert_image(&image, &bad_places());
}

#[test]
fn a_drive_that_vanishes_and_returns_has_lost_nothing_more() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new();
    let drive = scene.drive(&bad_places(), &["--filter=delay", "rdelay=20ms"]);
    let image = scene.image("a.img.zst");
    let args = ["save", &drive.path(), &image, "--rescue", &scene.image("r")];
    let child = dacapo_command(&args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    drop(drive);
    std::thread::sleep(Duration::from_millis(1500));
    let drive = scene.drive(&bad_places(), &[]);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("the drive is back"), "{said}");
    scene.assert_image(&image, &bad_places());
    drop(drive);
}

#[test]
fn a_rescue_that_ddrescue_has_begun_goes_on() {
    if !requires(&["root", "nbdkit", "nbdfuse", "ddrescue"]) {
        return;
    }
    let scene = Scene::new();
    let drive = scene.drive(&bad_places(), &[]);
    let raw = scene.image("r");
    let map = format!("{raw}.map");
    let _ = run("ddrescue", &["-q", "--no-scrape", "-s", "10Mi", &drive.path(), &raw, &map]);
    let image = scene.image("a.img.zst");
    let ran = dacapo(&["save", &drive.path(), &image, "--rescue", &raw]).exits(3);
    let _ = ran.says("going on with the rescue");
    scene.assert_image(&image, &bad_places());
}

#[test]
fn time_and_room_are_limited() {
    if !requires(&["root", "nbdkit", "nbdfuse", "kernel:tmpfs"]) {
        return;
    }
    let scene = Scene::new();
    let drive = scene.drive(&bad_places(), &["--filter=delay", "rdelay=20ms"]);
    let image = scene.image("a.img.zst");
    let raw = scene.image("r");
    let args = ["save", &drive.path(), &image, "--rescue", &raw, "--max-time", "2s"];
    let _ = dacapo(&args).exits(3).says("the time is over");
    let reader = Reader::open(Memory::new(fs::read(&image).unwrap())).unwrap();
    let lost: ExtentSet = reader.report().losses.iter().copied().collect();
    assert!(lost.bytes() > LEN / 4, "all was read in time");
    assert_eq!(lost, finished(&format!("{raw}.map")).complement(LEN));
    let small = Mount::new("none", "tmpfs", "size=8m");
    let image = small.path().join("a.img.zst").display().to_string();
    let _ = dacapo(&["save", &drive.path(), &image]).exits(8).says("--in-place");
    let args = ["save", &drive.path(), "-", "--retries", "1"];
    let _ = dacapo(&args).exits(2);
    // Half of a rescue is none.
    fs::write(scene.image("half"), b"precious").unwrap();
    let image = scene.image("b.img.zst");
    let args = ["save", &drive.path(), &image, "--rescue", &scene.image("half")];
    let _ = dacapo(&args).exits(5);
    assert_eq!(fs::read(scene.image("half")).unwrap(), b"precious");
}

#[test]
fn a_read_that_hangs_does_not_outlast_the_time() {
    if !requires(&["root", "nbdkit", "nbdfuse"]) {
        return;
    }
    let scene = Scene::new();
    let let_go = scene.image("let-go");
    let hangs = 14 << 20;
    let drive = Drive::hanging(&scene.folder.join("drive"), &scene.raw, hangs, &let_go);
    let (image, raw) = (scene.image("a.img.zst"), scene.image("r"));
    let args = ["save", &drive.path(), &image, "--rescue", &raw, "--max-time", "3s"];
    // Nobody lets it go.
    let _ = dacapo(&args).exits(3).says("the time is over");
    let reader = Reader::open(Memory::new(fs::read(&image).unwrap())).unwrap();
    let lost: ExtentSet = reader.report().losses.iter().copied().collect();
    assert!(lost.touches(Extent::at(hangs, 1)) && lost.complement(LEN).bytes() > 0, "{lost:?}");
    fs::write(&let_go, "").unwrap();
    let _ = dacapo(&args[..5]).exits(5).says("exists");
    fs::remove_file(&image).unwrap();
    let _ = dacapo(&args[..5]).success();
    scene.assert_image(&image, &[]);
}

#[test]
fn a_read_that_hangs_before_any_bad_place_is_told_and_ctrl_c_ends_it() {
    if !requires(&["root", "nbdkit", "nbdfuse"]) {
        return;
    }
    let scene = Scene::new();
    let let_go = scene.image("let-go");
    let drive = Drive::hanging(&scene.folder.join("drive"), &scene.raw, 14 << 20, &let_go);
    let (path, image) = (drive.path(), scene.image("a.img.zst"));
    let args = ["save", &path, &image, "--resume"];
    let said = interrupt_in_a_hang(&args[..3], &scene.image("log"));
    assert!(said.contains("--resume"), "{said}");
    assert!(Path::new(&format!("{image}.partial")).exists() && !Path::new(&image).exists());
    // To standard output, too; that one is asked for nothing else any more.
    let other = Drive::hanging(&scene.folder.join("other"), &scene.raw, 14 << 20, &let_go);
    let said = interrupt_in_a_hang(&["save", &other.path(), "-"], &scene.image("log"));
    assert!(!said.contains("--resume"), "{said}");
    fs::write(&let_go, "").unwrap();
    let ran = dacapo(&args).success().says("going on after");
    assert!(!ran.err().contains("one read has lasted"), "{ran}");
    scene.assert_image(&image, &[]);
}

#[test]
fn an_interrupted_image_of_an_earlier_state_is_not_mixed_in() {
    if !requires(NEEDS) {
        return;
    }
    let mut scene = Scene::new();
    let drive = scene.drive(&[], &[]);
    let whole = dacapo(&["save", &drive.path(), "-"]).success().stdout;
    drop(drive);
    scene.change(Extent::at(3 << 20, 4096));
    let bad = [Extent::at((5 << 20) + 8192, 4096)];
    let drive = scene.drive(&bad, &[]);
    let raw = scene.image("r");
    for (name, more) in [("a", &["--rescue", raw.as_str()][..]), ("b", &["--resume"])] {
        let image = scene.image(name);
        fs::write(format!("{image}.partial"), &whole[..whole.len() / 4 * 3]).unwrap();
        let path = drive.path();
        let args: Vec<&str> =
            ["save", &path, &image].into_iter().chain(more.iter().copied()).collect();
        let _ = dacapo(&args).exits(3).says("nothing of it is used");
        scene.assert_image(&image, &bad);
        assert!(!Path::new(&format!("{image}.partial")).exists());
        // It may have what is missing now.
        let aside = fs::read(format!("{image}.partial.1")).unwrap();
        assert!(aside == whole[..whole.len() / 4 * 3]);
    }
    // Front to back, it stays until nothing is missing.
    let image = scene.image("c");
    fs::write(format!("{image}.partial"), &whole[..whole.len() / 4 * 3]).unwrap();
    let _ = dacapo(&["save", &drive.path(), &image, "--in-place"]).exits(3).says("until the new");
    assert!(Path::new(&format!("{image}.partial.1")).exists());
    drop(drive);
    let drive = scene.drive(&[], &[]);
    let image = scene.image("d");
    fs::write(format!("{image}.partial"), &whole[..whole.len() / 4 * 3]).unwrap();
    // Those of earlier days are only told.
    fs::write(format!("{image}.partial.1"), &whole[..1 << 20]).unwrap();
    let ran = dacapo(&["save", &drive.path(), &image]).success();
    let ran = ran.says("until the new").says(&format!("still there: {image}.partial.1; nothing"));
    assert!(!ran.err().contains("delete"), "{}", ran.err());
    assert!(!Path::new(&format!("{image}.partial.2")).exists());
    assert!(Path::new(&format!("{image}.partial.1")).exists());
}

#[test]
fn what_was_saved_before_the_room_was_too_small_is_not_read_again() {
    if !requires(&["root", "nbdkit", "nbdfuse", "kernel:tmpfs"]) {
        return;
    }
    let scene = Scene::new();
    let bad = [Extent::at(17 << 20, 4096)];
    let drive = scene.drive(&bad, &[]);
    let small = Mount::new("none", "tmpfs", "size=24m");
    let image = small.path().join("a.img.zst").display().to_string();
    let _ = dacapo(&["save", &drive.path(), &image]).exits(8).says("--in-place --resume");
    let partial = Memory::new(fs::read(format!("{image}.partial")).unwrap());
    let kept = rescan(&partial).unwrap();
    let kept = kept.entries.last().map_or(0, |last| last.extent(&kept.head).end());
    let mount = small.path().display().to_string();
    let _ = run("mount", &["-o", "remount,size=100m", &mount]);
    // Until then nearly all of what was kept has gone bad.
    drop(drive);
    let drive = scene.drive(&[Extent::new(kept.min(1 << 20), kept), bad[0]], &[]);
    let ran = dacapo(&["save", &drive.path(), &image]).exits(3).says("going on with the rescue");
    assert!(!ran.err().contains("nothing of it is used"), "{}", ran.err());
    scene.assert_image(&image, &bad);
    assert!(!Path::new(&format!("{image}.partial")).exists());
}

#[test]
fn a_drive_that_dies_before_there_is_room_leaves_what_was_read_as_an_image() {
    if !requires(&["root", "nbdkit", "nbdfuse", "kernel:tmpfs"]) {
        return;
    }
    let scene = Scene::new();
    let drive = scene.drive(&[Extent::at(17 << 20, 4096)], &[]);
    let small = Mount::new("none", "tmpfs", "size=24m");
    let image = small.path().join("a.img.zst").display().to_string();
    let (raw, map) = (format!("{image}.rescue"), format!("{image}.rescue.map"));
    let _ = dacapo(&["save", &drive.path(), &image]).exits(8);
    drop(drive);
    let partial = format!("{image}.partial");
    let kept = rescan(&Memory::new(fs::read(&partial).unwrap())).unwrap();
    let kept = kept.entries.last().map_or(0, |last| last.extent(&kept.head).end());
    assert!(kept > 12 << 20, "{kept}");
    // Another day the drive is spared: its first bad place is in no map.
    assert!(fs::read_to_string(&map).unwrap().contains("\n# Began at a bad place\n"));
    // It is all that is left of that drive, and no obstacle to be removed.
    let other = scene.image("other");
    fs::write(&other, junk(1 << 20, 6)).unwrap();
    let ran = dacapo(&["import", &other, &image]).exits(5).says("keep it");
    assert!(!ran.says(&format!("--mapfile {map}")).err().contains("delete"));
    let import = ["import", &raw, &image, "--mapfile", &map];
    let _ = dacapo(&import).exits(8).says("must stay");
    // Trying it changes nothing.
    let dry_run = [&import[..], &["--dry-run"]].concat();
    let _ = dacapo(&dry_run).exits(0).says(&partial);
    // Without a part of what was read no image is made: on a disk with more room.
    let (big, name) = (scene.image("big.rescue"), scene.image("big"));
    let big_map = format!("{big}.map");
    let _ = run("cp", &["--sparse=always", &raw, &big]);
    fs::copy(&map, &big_map).unwrap();
    let there = ["import", &big, &name, "--mapfile", &big_map];
    for more in [&[][..], &["--dry-run"]] {
        let ran = dacapo(&[&there[..], more].concat()).exits(5);
        // Where to bring it, and where it is.
        let _ = ran.says(&format!("{name}.partial")).says(&image);
    }
    let ran = dacapo(&["import", &other, &name, "--mapfile", &big_map]).exits(5);
    let _ = ran.says("FILE.map");
    assert!(!Path::new(&name).exists() && Path::new(&partial).exists());
    // By another path they are the same files.
    let link = scene.image("link.map");
    std::os::unix::fs::symlink(&big_map, &link).unwrap();
    fs::copy(&partial, format!("{name}.partial")).unwrap();
    let _ = dacapo(&["import", &big, &name, "--mapfile", &link]).exits(3);
    scene.assert_image(&name, &[Extent::new(kept, LEN)]);
    assert!(!Path::new(&format!("{name}.partial")).exists());
    let mount = small.path().display().to_string();
    let _ = run("mount", &["-o", "remount,size=100m", &mount]);
    let _ = dacapo(&import).exits(3);
    scene.assert_image(&image, &[Extent::new(kept, LEN)]);
    assert!(!Path::new(&partial).exists());
    fs::remove_file(&image).unwrap();
    // That of a rescue that nobody knows may be all there is of another drive, too.
    fs::write(&partial, dacapo(&["save", &other, "-"]).success().stdout).unwrap();
    let ran = dacapo(&["import", &scene.raw, &image]).exits(5);
    assert!(!ran.err().contains("delete"), "{}", ran.err());
}

#[test]
fn a_rescue_of_what_was_cut_off_or_used_since_is_refused() {
    if !requires(NEEDS) {
        return;
    }
    let mut scene = Scene::new();
    let drive = scene.drive(&bad_places(), &[]);
    let image = scene.image("a.img.zst");
    let _ = dacapo(&["save", &drive.path(), &image]).exits(3);
    let raw = format!("{image}.rescue");
    let again = scene.image("b.img.zst");
    // In a folder the image has a name of its own.
    let images = scene.image("images");
    fs::create_dir(&images).unwrap();
    let _ = dacapo(&["save", &drive.path(), &images, "--rescue", &raw]).exits(3);
    let made = fs::read_dir(&images).unwrap().next().unwrap().unwrap().path();
    scene.assert_image(made.to_str().unwrap(), &bad_places());
    drop(drive);
    // Used in one place only, far behind the first that are compared.
    let before = scene.content.clone();
    scene.change(Extent::at(20 << 20, 200 << 10));
    let drive = scene.drive(&bad_places(), &[]);
    let _ = dacapo(&["save", &drive.path(), &again, "--rescue", &raw]).exits(5).says("used since");
    drop(drive);
    scene.content = before;
    fs::write(&scene.raw, &scene.content).unwrap();
    let drive = scene.drive(&bad_places(), &[]);
    fs::File::options().write(true).open(&raw).unwrap().set_len(10 << 20).unwrap();
    let _ = dacapo(&["save", &drive.path(), &again, "--rescue", &raw]).exits(4).says("cut off");
    assert_eq!(fs::metadata(&raw).unwrap().len(), 10 << 20);
    assert!(!Path::new(&again).exists());
}

#[test]
fn a_drive_whose_filesystem_was_mounted_in_between_is_refused() {
    if !requires(&["root", "nbdkit", "nbdfuse", "mkfs.ext4", "sgdisk"]) {
        return;
    }
    let mut scene = Scene::new();
    let (part, tree) = (scene.image("part"), scene.image("tree"));
    fs::create_dir(&tree).unwrap();
    fs::write(format!("{tree}/song"), junk(14 << 20, 7)).unwrap();
    fs::write(&part, vec![0; 22 << 20]).unwrap();
    let _ = run("mkfs.ext4", &["-q", "-F", "-d", &tree, &part]);
    scene.content.fill(0);
    scene.content[1 << 20..23 << 20].copy_from_slice(&fs::read(&part).unwrap());
    fs::write(&scene.raw, &scene.content).unwrap();
    let _ = run("sgdisk", &["-o", "-n1:2048:+22M", &scene.raw]);
    scene.content = fs::read(&scene.raw).unwrap();
    // A rescue that has read all of it; the superblock is in none of the places
    // that are spread over the drive.
    let raw = scene.image("r");
    let identity = format!(
        "{{\"path\":\"{}/drive/disk\",\"size\":{LEN},\"bus\":\"file\"}}",
        scene.folder.path().display()
    );
    fs::write(&raw, &scene.content).unwrap();
    let map = format!("# Drive: {identity}\n0x0 + 1\n0x0 {LEN:#x} +\n");
    fs::write(format!("{raw}.map"), map).unwrap();
    // The time of the last write in the superblock.
    scene.change(Extent::at((1 << 20) + 1024 + 0x30, 4));
    let drive = scene.drive(&[], &[]);
    let image = scene.image("a.img.zst");
    let _ = dacapo(&["save", &drive.path(), &image, "--rescue", &raw]).exits(5).says("used since");
}

#[test]
fn what_ddrescue_has_begun_is_proven_to_be_of_this_drive_and_is_kept() {
    if !requires(&["root", "nbdkit", "nbdfuse"]) {
        return;
    }
    let scene = Scene::new();
    let drive = scene.drive(&[], &[]);
    let (raw, image) = (scene.image("r"), scene.image("a.img.zst"));
    let map = format!("{raw}.map");
    // Only zeros were read until now, which any drive may have.
    fs::write(&raw, vec![0; 12 << 20]).unwrap();
    let text = "# Mapfile. Created by GNU ddrescue version 1.27\n0x800000 ? 1\n\
                0x0 0x800000 ?\n0x800000 0x400000 +\n0xC00000 0xC00000 ?\n";
    fs::write(&map, text).unwrap();
    let args = ["save", &drive.path(), &image, "--rescue", &raw];
    let _ = dacapo(&args).exits(5).says("may be of another drive");
    assert_eq!(fs::metadata(&raw).unwrap().len(), 12 << 20);
    assert_eq!(fs::read_to_string(&map).unwrap(), text);
    // Now there is something to compare.
    fs::write(&raw, &scene.content[..1 << 20]).unwrap();
    fs::write(&map, "0x100000 ? 1\n0x0 0x100000 +\n0x100000 0x1700000 ?\n").unwrap();
    let _ = dacapo(&args).success().says("were not begun by dacapo and are kept");
    scene.assert_image(&image, &[]);
    assert!(fs::read(&raw).unwrap() == scene.content);
    assert_eq!(finished(&map), ExtentSet::all(LEN));
}

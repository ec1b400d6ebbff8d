// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program with a person before it: the question before a target is
//! overwritten, the bar, Ctrl-C. script(1) makes the terminal.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{
    Loop, Ran, TempDir, assert_same, dacapo, dacapo_command, finish, hash_of, json_lines, junk,
    junk_file, requires, temp_dir, try_run, wait,
};

const MIB: u64 = 1 << 20;

/// Runs dacapo on a terminal on which somebody types `typed`.
fn on_terminal(args: &[&str], typed: &str, environment: &[(&str, &str)]) -> Ran {
    let mut line = env!("CARGO_BIN_EXE_dacapo").to_owned();
    for arg in args {
        line.push_str(&format!(" '{arg}'"));
    }
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    command.env_remove("NO_COLOR").env("TERM", "xterm").envs(environment.iter().copied());
    finish(command, typed.as_bytes())
}

#[test]
fn a_person_is_asked_while_the_image_comes_through_a_pipe() {
    if !requires(&["script"]) {
        return;
    }
    let (folder, disk, image) = saved();
    let target = folder.join("target.raw");
    fs::write(&target, junk(3 << 20, 9)).unwrap();
    let before = hash_of(&target);
    let on_terminal = |line: &str, typed: &str| {
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", line, "/dev/null"]);
        finish(command, typed.as_bytes())
    };
    let program = env!("CARGO_BIN_EXE_dacapo");
    let line = format!("cat '{image}' | {program} restore - '{target}'");
    let ran = on_terminal(&line, "n\n").exits(5).says("Overwrite it? [y/N]");
    assert_eq!(before, hash_of(&target), "{ran}");
    on_terminal(&line, "y\n").success();
    assert_same(&disk, &target);
    // Nobody sees a question that goes to a file, or stands behind a program
    // that has nothing to say.
    fs::write(&target, junk(3 << 20, 9)).unwrap();
    let errors = folder.join("errors");
    let ran = on_terminal(&format!("{line} 2>'{errors}'"), "y\n").exits(5);
    assert_eq!(before, hash_of(&target), "{ran}");
    let line = format!("{program} restore '{image}' '{target}' </dev/null");
    on_terminal(&line, "y\n").exits(5).says("no terminal to ask on");
}

/// A folder with an image and the small disk it was made of.
fn saved() -> (TempDir, String, String) {
    let folder = temp_dir();
    let (disk, image) = (folder.join("disk.raw"), folder.join("disk.img.zst"));
    junk_file(&disk, 3 * MIB);
    dacapo(&["save", &disk, &image]).success();
    (folder, disk, image)
}

/// A file that takes seconds to compress at level 15.
fn slow_disk(folder: &TempDir) -> String {
    let disk = folder.join("slow.raw");
    let nibbles: Vec<u8> = junk(160 << 20, 7).iter().map(|byte| byte & 15).collect();
    fs::write(&disk, nibbles).unwrap();
    disk
}

#[test]
fn a_file_with_data_is_overwritten_after_a_yes_only() {
    if !requires(&["script"]) {
        return;
    }
    let (folder, disk, image) = saved();
    let target = folder.join("target.raw");
    junk_file(&target, 3 * MIB);
    fs::write(&target, junk(3 << 20, 9)).unwrap();
    let before = hash_of(&target);
    for no in ["n\n", "\n", "", "target.raw\n"] {
        let ran = on_terminal(&["restore", &image, &target], no, &[]).exits(5);
        let ran = ran.says("Overwrite it? [y/N]").says("not confirmed; nothing was written");
        assert_eq!(before, hash_of(&target), "{ran}");
    }
    on_terminal(&["restore", &image, &target], "y\n", &[]).success();
    assert_same(&disk, &target);
}

#[test]
fn without_a_terminal_a_file_with_data_needs_yes() {
    let (folder, disk, image) = saved();
    let target = folder.join("target.raw");
    fs::write(&target, junk(3 << 20, 9)).unwrap();
    let before = hash_of(&target);
    dacapo(&["restore", &image, &target]).exits(5).says("add --yes");
    dacapo(&["restore", &image, &target, "--yes", "--confirm", "S5Y1"]).exits(5).says("no disk");
    let ran = dacapo(&["restore", &image, &target, "--json"]).exits(5);
    assert_eq!(ran.messages("exit_error")[0]["kind"], "refused", "{ran}");
    assert_eq!(before, hash_of(&target));
    dacapo(&["restore", &image, &target, "--yes"]).success();
    assert_same(&disk, &target);
    // A new file holds nothing that could be lost.
    let new = folder.join("new.raw");
    dacapo(&["restore", &image, &new]).success();
    assert_same(&disk, &new);
}

#[test]
fn a_disk_that_is_not_there_does_not_become_a_file() {
    let (_folder, _, image) = saved();
    let target = "/dev/dacapo-no-such-disk";
    dacapo(&["restore", &image, target, "--yes"]).exits(5).says("does not exist");
    assert!(!Path::new(target).exists());
}

#[test]
fn a_disk_is_overwritten_after_its_name_was_typed_only() {
    if !requires(&["root", "loop", "losetup", "script"]) {
        return;
    }
    let (folder, disk, image) = saved();
    let file = folder.join("target.raw");
    fs::write(&file, junk(3 << 20, 9)).unwrap();
    let before = hash_of(&file);
    let device = Loop::new(&file, &[]);
    let restore = ["restore", &image, device.device()];
    // A loop device has no serial number, so its size stands for it.
    let refused = |ran: Ran| {
        let ran = ran.exits(5);
        assert_eq!(before, hash_of(&file), "{ran}");
    };
    let with = |options: &[&'static str]| dacapo(&[&restore[..], options].concat());
    refused(with(&[]).says("3.00 MiB (3145728 bytes)").says("--yes --confirm '3145728'"));
    refused(with(&["--yes"]).says("--yes is not enough for a disk"));
    refused(with(&["--confirm", "3145728"]));
    refused(with(&["--yes", "--confirm", "3145729"]).says("3145729"));
    refused(with(&["--yes", "--confirm", ""]));
    for no in ["y\n", "yes\nyes\nyes\n3145728\n", "", "\n3145728\n"] {
        refused(on_terminal(&restore, no, &[]).says("ALL DATA on this target will be lost"));
    }
    on_terminal(&restore, "oops\n3145728\n", &[]).success().says("'oops' is not it.");
    assert_same(&disk, &file);

    // Through the device: its file must not be cut under it.
    fs::write(device.device(), junk(3 << 20, 9)).unwrap();
    with(&["--yes", "--confirm", "3145728"]).success();
    assert_same(&disk, &file);
}

#[test]
fn the_bar_shows_how_far_it_is_and_honours_no_color() {
    if !requires(&["script"]) {
        return;
    }
    let folder = temp_dir();
    let disk = slow_disk(&folder);
    let run = |name: &str, environment: &[(&str, &str)]| {
        let image = folder.join(name);
        on_terminal(&["save", &disk, &image, "--level", "15"], "", environment).success()
    };
    let coloured = run("a.img.zst", &[]);
    for part in [" % ", " MiB of 160 MiB", "iB/s", " left", "\u{1b}[36m"] {
        assert!(coloured.out().contains(part), "'{part}' is missing\n{coloured}");
    }
    let plain = run("b.img.zst", &[("NO_COLOR", "1")]);
    assert!(plain.out().contains(" MiB of 160 MiB"), "{plain}");
    // ESC [ ... m sets colours; the others move the cursor.
    for sequence in plain.out().split("\u{1b}[").skip(1) {
        let end = sequence.find(|c: char| c.is_ascii_alphabetic()).unwrap();
        assert_ne!(&sequence[end..=end], "m", "{plain}");
    }
    // A terminal that cannot move its cursor gets lines, one every 5 seconds.
    // CI=1 makes others give it colours all the same.
    let dumb = run("c.img.zst", &[("TERM", "dumb"), ("CI", "1")]);
    assert!(!dumb.out().contains('\u{1b}') || dumb.out().contains("error"), "{dumb}");
}

/// Starts a save and waits until its image grows.
fn start_slow_save(disk: &str, image: &str, options: &[&str]) -> Child {
    let args = [&["save", disk, image, "--level", "15"], options].concat();
    let mut command = dacapo_command(&args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let partial = format!("{image}.partial");
    let start = Instant::now();
    while fs::metadata(&partial).map_or(0, |it| it.len()) < MIB / 4 {
        assert!(start.elapsed() < Duration::from_secs(60), "{partial} does not grow");
        assert!(child.try_wait().unwrap().is_none(), "the save has ended too early");
        thread::sleep(Duration::from_millis(10));
    }
    child
}

fn interrupt(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

#[test]
fn ctrl_c_stops_a_save_within_a_second_and_says_how_to_go_on() {
    let folder = temp_dir();
    let disk = slow_disk(&folder);
    for (signal, json) in [(Signal::SIGINT, false), (Signal::SIGTERM, true)] {
        let image = folder.join(&format!("{signal}.img.zst"));
        let options: &[&str] = if json { &["--json"] } else { &[] };
        let mut child = start_slow_save(&disk, &image, options);
        let start = Instant::now();
        interrupt(&child, signal);
        let code = wait(&mut child, Duration::from_secs(30));
        let took = start.elapsed();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(if json { &output.stdout } else { &output.stderr });
        assert_eq!(code, Some(130), "{text}");
        // One second was promised; twice that for a machine that is busy.
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert!(text.contains("--resume"), "{text}");
        assert!(!Path::new(&image).exists());
        assert!(Path::new(&format!("{image}.partial")).exists());
        if json {
            let last = json_lines(&text).pop().unwrap();
            assert_eq!(last["message_type"], "exit_error");
            assert_eq!(last["code"], 130);
        }
        dacapo(&["save", &disk, &image, "--level", "15", "--resume"]).success();
        dacapo(&["verify", &image]).success();
        dacapo(&["compare", &image, &disk]).success();
    }
}

#[test]
fn a_second_ctrl_c_ends_a_save_that_is_stuck() {
    let folder = temp_dir();
    let disk = folder.join("disk.raw");
    junk_file(&disk, 16 * MIB);
    // Nobody reads the pipe, so the save waits in a write that no flag ends.
    let mut command = dacapo_command(&["save", &disk, "-"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    thread::sleep(Duration::from_millis(700));
    interrupt(&child, Signal::SIGINT);
    thread::sleep(Duration::from_millis(300));
    if child.try_wait().unwrap().is_none() {
        interrupt(&child, Signal::SIGINT);
    }
    assert_eq!(wait(&mut child, Duration::from_secs(5)), Some(130));
}

#[test]
fn ctrl_c_at_the_question_ends_the_program() {
    if !requires(&["script"]) {
        return;
    }
    let (folder, _, image) = saved();
    let target = folder.join("target.raw");
    fs::write(&target, junk(3 << 20, 9)).unwrap();
    let before = hash_of(&target);
    // Byte 3 is what Ctrl-C sends to a terminal; typed when the question is
    // there, and the terminal stays open behind it.
    let line = format!(
        "(sleep 2; printf '\\003'; sleep 2) | script --quiet --return --command \
         \"{} restore '{image}' '{target}'\" /dev/null",
        env!("CARGO_BIN_EXE_dacapo")
    );
    try_run("bash", &["-o", "pipefail", "-c", &line]).exits(130).says("Overwrite it?");
    assert_eq!(before, hash_of(&target));
}

#[test]
fn an_image_on_standard_output_is_nothing_but_the_image() {
    let folder = temp_dir();
    let disk = folder.join("disk.raw");
    junk_file(&disk, 3 * MIB);
    for options in [&[][..], &["--json"], &["--quiet"]] {
        let ran = dacapo(&[&["save", &disk, "-"], options].concat()).success();
        let image = folder.join("image");
        fs::write(&image, &ran.stdout).unwrap();
        dacapo(&["verify", &image]).success();
        dacapo(&["compare", &image, &disk]).success();
        match options {
            ["--json"] => {
                let summaries = json_lines(ran.err())
                    .into_iter()
                    .filter(|line| line["message_type"] == "summary")
                    .count();
                assert_eq!(summaries, 1, "{}", ran.err());
            }
            ["--quiet"] => assert_eq!(ran.err(), ""),
            _ => assert!(ran.err().contains("saved"), "{}", ran.err()),
        }
        if requires(&["zstd"]) {
            try_run("zstd", &["-q", "-t", &image]).success();
        }
    }
}

#[test]
fn an_image_into_a_closed_pipe_is_a_failure_and_no_panic() {
    let folder = temp_dir();
    let disk = folder.join("disk.raw");
    junk_file(&disk, 8 * MIB);
    let program = env!("CARGO_BIN_EXE_dacapo");
    let line = format!("{program} save {disk} - | head --bytes=100000");
    let ran = try_run("bash", &["-o", "pipefail", "-c", &line]).exits(1);
    assert!(ran.err().contains("error: ") && !ran.err().contains("panicked"), "{ran}");
}

#[test]
fn a_name_that_is_no_text_is_a_name_like_any_other() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let folder = temp_dir();
    let disk = folder.join("disk.raw");
    junk_file(&disk, MIB);
    let image = folder.path().join(OsStr::from_bytes(b"\xff.img.zst"));
    dacapo(&["save".as_ref(), disk.as_ref(), image.as_os_str()]).success();
    let (image, disk) = (image.as_os_str(), OsStr::new(&disk));
    let target = folder.path().join(OsStr::from_bytes(b"\xff.raw"));
    let map = folder.path().join(OsStr::from_bytes(b"\xff.map"));
    for args in [
        &["verify".as_ref(), image][..],
        &["compare".as_ref(), image, disk],
        &["info".as_ref(), image],
        &["map".as_ref(), image, "--output".as_ref(), map.as_ref()],
        &["restore".as_ref(), image, target.as_ref()],
        &["clone".as_ref(), disk, target.as_ref(), "--yes".as_ref()],
    ] {
        for json in [&[][..], &["--json".as_ref()]] {
            // The second restore finds a file with data, and is refused.
            let ran = dacapo(&[args, json].concat());
            assert!([0, 5].contains(&ran.code), "{ran}");
        }
    }
}

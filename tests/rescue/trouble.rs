// SPDX-License-Identifier: MIT OR Apache-2.0
//! What goes wrong on the day it must not: each leads to a clear sentence, and
//! nothing but the target is touched.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::kernel;
use super::scene::{
    BACKUP, END, SEARCH, SOON, START, SYSTEM, WORK, backup_drive, choose, power_off, ready,
};
use crate::debian::{MIB, open, run, text};
use crate::support::machine::{Boot, Bus, Drive, Firmware, Guest, Machine};
use crate::support::screen::key;
use crate::support::{TempDir, all, dacapo, temp_dir};

/// The disk whose images these are.
const LEN: u64 = 64 * MIB;

/// A folder with a small disk, its image, and what is wrong with others.
struct Things {
    folder: TempDir,
}

impl Things {
    fn new() -> Self {
        let folder = temp_dir();
        let disk = folder.path().join("disk.raw");
        let mut content = vec![0; LEN as usize];
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for word in content[(2 * MIB) as usize..(40 * MIB) as usize].chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        fs::write(&disk, content).unwrap();
        let things = Self { folder };
        let _ = dacapo(&["save", text(&disk), text(&things.at("good.img.zst")), "--label", "good"])
            .success();
        let _ = dacapo(&["save", text(&disk), text(&things.at("bad.img.zst")), "--label", "bad"])
            .success();
        let image = fs::OpenOptions::new().write(true).read(true).open(things.at("bad.img.zst"));
        let (image, mut byte) = (image.unwrap(), [0]);
        let place = image.metadata().unwrap().len() / 10 * 6;
        image.read_exact_at(&mut byte, place).unwrap();
        image.write_all_at(&[byte[0] ^ 0x10], place).unwrap();
        fs::write(things.at("notes.img.zst"), "not an image at all").unwrap();
        things
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A disk full of nothing but sevens.
    fn target(&self, name: &str, len: u64) -> PathBuf {
        let path = self.at(name);
        fs::write(&path, vec![7; len as usize]).unwrap();
        path
    }

    fn backup(&self, names: &[&str]) -> PathBuf {
        let files: Vec<PathBuf> = names.iter().map(|name| self.at(name)).collect();
        let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        let drive = self.at("backup.raw");
        backup_drive(&drive, 256 * MIB, &files);
        drive
    }
}

/// A computer that is told what to do on the command line of the kernel.
fn machine(words: &str) -> Machine {
    let line = format!("console=ttyS0,115200 quiet {words}");
    Machine::new(Firmware::Bios, Boot::Kernel { folder: kernel().to_owned(), line })
}

/// An unattended restore that must fail with this exit code, in words.
#[track_caller]
fn assert_fails(guest: &mut Guest, code: u8, why: &[&str]) {
    let failed = format!("dacapo: unattended restore failed (exit {code}): ");
    guest.screen.wait_for_output(&failed, WORK);
    guest.wait_off(END);
    let said = guest.screen.output();
    for words in why {
        assert!(said.contains(words), "'{words}' was not said:\n{said}");
    }
}

/// Neither the old beginning and end nor a new one: nothing can start from it.
#[track_caller]
fn assert_blank_at_both_ends(disk: &Path) {
    let (file, len) = (open(disk), fs::metadata(disk).unwrap().len());
    let mut end = vec![1; MIB as usize];
    for place in [0, len - MIB] {
        file.read_exact_at(&mut end, place).unwrap();
        assert!(end.iter().all(|byte| *byte == 0), "{} at {place}", disk.display());
    }
}

#[track_caller]
fn assert_untouched(disk: &Path) {
    assert!(fs::read(disk).unwrap().iter().all(|byte| *byte == 7), "{}", disk.display());
}

#[test]
fn what_cannot_be_restored_is_told_and_leaves_no_half_disk() {
    if !ready() {
        return;
    }
    let things = Things::new();
    let backup = things.backup(&["good.img.zst", "bad.img.zst", "notes.img.zst"]);
    let target = things.target("target.raw", LEN + 8 * MIB);
    let small = things.target("small.raw", LEN - 8 * MIB);
    let sectors = things.target("4096.raw", LEN + 8 * MIB);
    let mut drive = Drive::new(&sectors, Bus::Virtio, "FOURK-1");
    drive.sector = 4096;
    let mut machine = machine("")
        .with(Drive::new(&target, Bus::Virtio, SYSTEM))
        .with(Drive::new(&small, Bus::Ahci, "SMALL-1"))
        .with(drive)
        .with(Drive::new(&backup, Bus::Usb, BACKUP));
    machine.memory_mib = 512;
    let mut guest = machine.start();
    let screen = &guest.screen;
    screen.wait_for("What do you want to do?", START);
    screen.type_keys("r");
    for name in ["good", "bad", "notes.img.zst"] {
        screen.wait_for(name, SEARCH);
    }

    choose(&guest, " good ");
    let screen = &guest.screen;
    screen.wait_for("SMALL-1", SEARCH);
    screen.wait_until_gone("Looking", SEARCH);
    let mut shown = screen.contents();
    for _ in 0..4 {
        screen.type_keys(key::DOWN);
        std::thread::sleep(Duration::from_secs(1));
        shown += &screen.contents();
    }
    for why in ["is too small", "sectors of 4096 bytes", "holds the image"] {
        assert!(shown.contains(why), "'{why}' is not shown:\n{shown}");
    }
    screen.type_keys(key::ESC);

    screen.wait_for("choose the image", SOON);
    choose(&guest, " bad ");
    choose(&guest, SYSTEM);
    let screen = &guest.screen;
    screen.wait_for("Enter goes on to the last question", SOON);
    screen.type_keys(key::ENTER);
    screen.wait_for("type its serial number", SOON);
    screen.type_keys("SMALL-1\r");
    screen.wait_for("is not it", SOON);
    screen.type_keys(key::CTRL_U);
    screen.type_keys(SYSTEM);
    screen.type_keys(key::ENTER);
    let result = screen.wait_for("Back to the menu", WORK);
    assert!(!result.contains("Done."), "{result}");
    assert!(result.contains("damaged") || result.contains("corrupt"), "{result}");
    screen.type_keys(key::ESC);
    screen.wait_for("What do you want to do?", SOON);
    screen.type_keys("d");
    choose(&guest, "SMALL-1");
    // As this drive says itself, which is asked by smartctl.
    guest.screen.wait_for("healthy", SEARCH);
    guest.screen.type_keys(key::ESC);
    guest.screen.type_keys(key::ESC);
    power_off(&mut guest);
    assert_blank_at_both_ends(&target);
    assert_untouched(&small);
    assert_untouched(&sectors);
}

#[test]
fn a_disk_that_cannot_be_written_is_told_and_blank_at_both_ends() {
    if !ready() {
        return;
    }
    let things = Things::new();
    let backup = things.backup(&["good.img.zst"]);
    let target = things.target("target.raw", LEN);
    let faults = things.at("faults.conf");
    // Sector 40000 is in the middle of the data.
    fs::write(&faults, "[inject-error]\nevent = \"pwritev\"\nerrno = \"5\"\nsector = \"40000\"\n")
        .unwrap();
    let mut drive = Drive::new(&target, Bus::Virtio, SYSTEM);
    drive.faults = Some(faults);
    let words = format!("dacapo.restore=good dacapo.target={SYSTEM} dacapo.after-failure=poweroff");
    let mut guest = machine(&words).with(drive).with(Drive::new(&backup, Bus::Usb, BACKUP)).start();
    assert_fails(&mut guest, 1, &["writing", "blank at both ends"]);
    assert_blank_at_both_ends(&target);
}

#[test]
fn a_drive_that_is_pulled_out_in_the_middle_is_told() {
    if !ready() {
        return;
    }
    let debian = crate::debian::gpt();
    let things = Things::new();
    let backup = things.at("large.raw");
    backup_drive(&backup, 512 * MIB, &[&debian.image]);
    let target = things.target("target.raw", debian.len);
    let words =
        format!("dacapo.restore=debian-disk dacapo.target={SYSTEM} dacapo.after-failure=poweroff");
    let mut guest = machine(&words)
        .with(Drive::new(&target, Bus::Virtio, SYSTEM))
        .with(Drive::new(&backup, Bus::Usb, BACKUP))
        .start();
    guest.screen.wait_for_output("restoring", START);
    guest.unplug("d1");
    assert_fails(&mut guest, 1, &["blank at both ends"]);
    assert_blank_at_both_ends(&target);
}

#[test]
fn nothing_is_written_unless_image_and_disk_are_the_only_ones() {
    // Five starts; another test has two disks that are alike.
    if !all() || !ready() {
        return;
    }
    let things = Things::new();
    // Not a copy, which would be the same image: another one by the same name.
    let (disk, again) = (things.at("disk.raw"), things.at("again.img.zst"));
    let _ = dacapo(&["save", text(&disk), text(&again), "--label", "good"]).success();
    let backup = things.backup(&["good.img.zst", "again.img.zst", "bad.img.zst"]);
    let one = things.target("one.raw", LEN + MIB);
    let two = things.target("two.raw", LEN + MIB);
    for (words, why) in [
        // Two images have the label; two disks have the size.
        (format!("dacapo.restore=good dacapo.target={SYSTEM}"), "again.img.zst"),
        (format!("dacapo.restore=again.img.zst dacapo.target={}", LEN + MIB), "SYS-0003"),
        // It holds the image.
        (format!("dacapo.restore=again.img.zst dacapo.target={BACKUP}"), "holds the image"),
        ("dacapo.restore=again.img.zst dacapo.target=NONE".into(), SYSTEM),
        (format!("dacapo.restore=nowhere dacapo.wait=1 dacapo.target={SYSTEM}"), "nowhere"),
    ] {
        let words = format!("{words} dacapo.after-failure=poweroff");
        let before = run(Command::new("sha256sum").arg(&backup));
        let mut guest = machine(&words)
            .with(Drive::new(&one, Bus::Virtio, SYSTEM))
            .with(Drive::new(&two, Bus::Virtio, "SYS-0003"))
            .with(Drive::new(&backup, Bus::Usb, BACKUP))
            .start();
        assert_fails(&mut guest, 5, &[why]);
        assert_untouched(&one);
        assert_untouched(&two);
        assert_eq!(before, run(Command::new("sha256sum").arg(&backup)));
    }
}

#[test]
fn without_a_disk_and_without_an_image_the_next_step_is_said() {
    if !ready() {
        return;
    }
    let mut guest = machine("").start();
    let screen = &guest.screen;
    screen.wait_for("What do you want to do?", START);
    screen.type_keys("r");
    screen.wait_for("No image", SEARCH);
    screen.type_keys(key::ESC);
    screen.wait_for("What do you want to do?", SOON);
    screen.type_keys("d");
    screen.wait_for("No disk", SEARCH);
    screen.type_keys(key::ESC);
    power_off(&mut guest);
}

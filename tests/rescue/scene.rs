// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the stories have in common: drives with images on them, and a restored
//! machine that has to start.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::debian::{self, Debian, run, text};
use crate::support::machine::{Boot, Bus, Drive, Firmware, Guest, Machine};
use crate::support::requires;
use crate::support::screen::key;

/// True if this machine can play all this.
pub(crate) fn ready() -> bool {
    requires(&debian::NEEDS) && requires(&super::NEEDS) && requires(&["qemu-system-x86_64"])
}

/// From switching on to the prompt of a Debian, on a busy machine.
pub(crate) const START: Duration = Duration::from_secs(300);
/// Until a screen answers, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// Until all drives were looked at.
pub(crate) const SEARCH: Duration = Duration::from_secs(120);
/// A save or restore of a small disk.
pub(crate) const WORK: Duration = Duration::from_secs(900);
/// To switch off in order.
pub(crate) const END: Duration = Duration::from_secs(120);

/// The serial number of the disk that is saved, lost and restored.
pub(crate) const SYSTEM: &str = "SYS-0001";
/// That of the drive with the images.
pub(crate) const BACKUP: &str = "BAK-0002";

/// An external drive: an MBR and one ext4 named BACKUP that holds these files.
pub(crate) fn backup_drive(path: &Path, len: u64, files: &[&Path]) {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        let to = folder.path().join(file.file_name().unwrap());
        // A link is as good, and quicker.
        fs::hard_link(file, &to).or_else(|_| fs::copy(file, &to).map(|_| ())).unwrap();
    }
    fs::File::create(path).unwrap().set_len(len).unwrap();
    let table = format!("printf 'label: dos\\n2048,,83\\n' | sfdisk --quiet {}", text(path));
    run(Command::new("sh").args(["-c", &table]));
    run(Command::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-L", "BACKUP", "-E", "offset=1048576,lazy_itable_init=1"])
        .arg("-d")
        .arg(folder.path())
        .arg(path)
        .arg(format!("{}k", (len - (1 << 20)) / 1024)));
}

/// The restored machine starts from its disk to its prompt, says of itself what
/// it did before, and switches off.
#[track_caller]
pub(crate) fn assert_starts(debian: &Debian, disk: &Path, firmware: Firmware, bus: Bus) {
    let machine = Machine::new(firmware, Boot::Disk).with(Drive::new(disk, bus, SYSTEM));
    let mut guest = machine.start();
    let name = if firmware == Firmware::Bios { "bios" } else { "uefi" };
    let state = format!("dacapo-state: firmware={name} {}", debian.state);
    guest.screen.wait_for_output(&state, START);
    guest.screen.wait_for_output("dacapo-test login:", START);
    guest.screen.type_keys("root\r");
    guest.screen.wait_for_output("root@dacapo-test", END);
    if firmware == Firmware::SecureBoot {
        guest.screen.type_keys("od -An -tx1 /sys/firmware/efi/efivars/SecureBoot-*\r");
        // Four bytes of attributes, and a one.
        guest.screen.wait_for_output("06 00 00 00 01", END);
    }
    guest.screen.type_keys("poweroff\r");
    guest.wait_off(END);
}

/// Restores by hand: the image with this label, onto the disk with this serial
/// number, from the menu to the result.
#[track_caller]
pub(crate) fn restore_by_hand(guest: &Guest, label: &str, serial: &str) {
    let screen = &guest.screen;
    screen.wait_for("What do you want to do?", START);
    screen.type_keys("r");
    // Once all drives were searched: it may be the only one, and chosen.
    screen.wait_for("choose the image", SOON);
    choose(guest, label);
    screen.wait_for("choose the disk", SOON);
    choose(guest, serial);
    let plan = screen.wait_for("Enter goes on to the last question", SOON);
    assert!(plan.contains("ALL DATA on this disk will be lost"), "{plan}");
    assert!(plan.contains(serial), "{plan}");
    screen.type_keys(key::ENTER);
    screen.wait_for("type its serial number", SOON);
    screen.type_keys(serial);
    screen.type_keys(key::ENTER);
    screen.wait_for("Done. The disk is as it was on the day it was saved.", WORK);
    screen.type_keys(key::ESC);
    screen.wait_for("What do you want to do?", SOON);
}

/// Saves by hand, and verifies: the disk with this serial number, to the drive
/// with this label.
#[track_caller]
pub(crate) fn save_by_hand(guest: &Guest, serial: &str, drive: &str, label: &str) {
    let screen = &guest.screen;
    screen.wait_for("What do you want to do?", START);
    screen.type_keys("s");
    screen.wait_for("choose the disk", SOON);
    choose(guest, serial);
    screen.wait_for("choose where to", SOON);
    // What is left of the screen before names drives, too.
    screen.wait_until_gone("On it:", SOON);
    screen.wait_until_gone("Looking", SEARCH);
    screen.wait_for(drive, SEARCH);
    // What the stick starts from is no place for images.
    assert!(!screen.contents().contains("DACAPO_BOOT"), "{}", screen.dump());
    choose(guest, drive);
    screen.wait_for("give it a name", SOON);
    screen.type_keys(label);
    screen.type_keys(key::ENTER);
    screen.wait_for("what will be done", SOON);
    choose(guest, "Save it");
    screen.wait_for("Done. The disk is saved.", WORK);
    choose(guest, "Verify the image now");
    screen.wait_for("The image is good.", WORK);
    screen.type_keys(key::ESC);
    screen.wait_for("What do you want to do?", SOON);
}

/// Moves to the entry of a list that has this text, and takes it.
#[track_caller]
pub(crate) fn choose(guest: &Guest, text: &str) {
    let screen = &guest.screen;
    screen.wait_for(text, SEARCH);
    screen.wait_until_gone("Looking", SEARCH);
    // A list that is drawn in part is not read.
    let mut before = String::new();
    while before != screen.contents() {
        before = screen.contents();
        std::thread::sleep(Duration::from_millis(500));
    }
    for _ in 0..50 {
        let shown = screen.contents();
        let mut lines = shown.lines().skip_while(|line| !line.starts_with(" >"));
        // An entry has several lines; the next one begins further left.
        let chosen = lines.next().unwrap_or_default();
        if chosen.contains(text) {
            screen.type_keys(key::ENTER);
            return;
        }
        screen.type_keys(key::DOWN);
        std::thread::sleep(Duration::from_millis(300));
    }
    panic!("no entry with '{text}'\n{}", screen.dump());
}

/// Opens a shell from the screen.
#[track_caller]
pub(crate) fn open_shell(guest: &Guest) {
    guest.screen.wait_for("What do you want to do?", START);
    choose(guest, "Shell");
    // The last line of its greeting, and its prompt.
    guest.screen.wait_until("a shell", SOON, |shown| {
        !shown.contains("What do you want to do?") && shown.trim_end().ends_with("~#")
    });
}

/// Types a command, and waits for the end of what it prints.
#[track_caller]
pub(crate) fn type_command(guest: &Guest, command: &str) -> String {
    // The command itself, on the screen, must not look like its end.
    guest.screen.type_keys(&format!("{command}; echo en''d\r"));
    let shown = guest.screen.wait_for("\nend", SOON);
    guest.screen.type_keys("clear\r");
    guest.screen.wait_until_gone("\nend", SOON);
    shown
}

/// Switches off from the shell.
#[track_caller]
pub(crate) fn power_off_by_shell(guest: &mut Guest) {
    guest.screen.type_keys("poweroff\r");
    guest.wait_off(END);
}

/// Switches off by the menu.
#[track_caller]
pub(crate) fn power_off(guest: &mut Guest) {
    guest.screen.wait_for("What do you want to do?", SOON);
    guest.screen.type_keys("p");
    guest.screen.wait_for("switch this computer off", SOON);
    choose(guest, "Power off");
    guest.wait_off(END);
}

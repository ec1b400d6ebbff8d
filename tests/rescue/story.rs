// SPDX-License-Identifier: MIT OR Apache-2.0
//! The whole story: a system disk is saved, lost, restored, and starts again.

use std::fs;
use std::process::Command;
use std::time::Instant;

use super::scene::{
    BACKUP, END, SOON, START, SYSTEM, WORK, assert_starts, backup_drive, choose, power_off, ready,
    restore_by_hand, save_by_hand,
};
use super::{iso, kernel, program};
use crate::debian::{
    self, Debian, JunkDisk, MIB, assert_table_is_sound, root_of_project, run, scratch, sha256, text,
};
use crate::support::machine::{Boot, Bus, Drive, Firmware, Machine};
use crate::support::{all, requires, temp_dir};

#[test]
fn the_medium_starts_to_its_screen() {
    if !ready() {
        return;
    }
    // A stick can be written to, so that no other computer gets the same file as a
    // disc at the same time.
    let folder = temp_dir();
    let own = folder.join("stick.iso");
    fs::copy(iso(), &own).unwrap();
    let (cd, stick) = (|| Boot::Cd(iso().into()), || Boot::Stick(own.clone().into()));
    // The stories below start it by BIOS as a disc, with Secure Boot as a stick.
    let mut starts = vec![(Firmware::Uefi, stick())];
    if all() {
        starts.extend([(Firmware::Bios, cd()), (Firmware::SecureBoot, cd())]);
        starts.extend([(Firmware::Bios, stick()), (Firmware::SecureBoot, stick())]);
        starts.push((Firmware::Uefi, cd()));
    }
    for (firmware, boot) in starts {
        let machine = Machine::new(firmware, boot);
        let started = Instant::now();
        let mut guest = machine.start();
        guest.screen.wait_for("What do you want to do?", START);
        let took = started.elapsed();
        choose(&guest, "Shell");
        guest.screen.wait_for("#", SOON);
        // When it was started, in hundredths of a second since the kernel was.
        let ask =
            "awk '{print \"screen-at=\" $22 \".\"}' /proc/$(pidof dacapo | sed 's/.* //')/stat\r";
        guest.screen.type_keys(ask);
        let shown = guest.screen.wait_until("the time of the screen", END, |shown| {
            shown.lines().any(|line| line.starts_with("screen-at=") && line.ends_with('.'))
        });
        let at = shown.lines().find(|line| line.starts_with("screen-at=")).unwrap_or_default();
        eprintln!("{firmware:?}, {:?}: {took:?} after switching on, {at}", machine.boot);
        if firmware == Firmware::SecureBoot {
            guest.screen.type_keys("od -An -tx1 /sys/firmware/efi/efivars/SecureBoot-*\r");
            // Four bytes of attributes, and a one.
            guest.screen.wait_for("06 00 00 00 01", END);
        }
        guest.screen.type_keys("exit\r");
        power_off(&mut guest);
    }
}

/// One stick holds the rescue system and the image. The disk is saved by hand,
/// lost, and restored by hand to one that is `larger`.
fn saved_lost_and_restored(debian: &Debian, firmware: Firmware, bus: Bus, larger: u64) {
    let folder = temp_dir();
    let stick = folder.path().join("stick.raw");
    fs::File::create(&stick).unwrap().set_len(1024 * MIB).unwrap();
    run(Command::new(program()).args(["rescue", "write", text(iso()), text(&stick), "--yes"]));

    let before = sha256(&debian.source);
    let mut guest = Machine::new(firmware, Boot::Stick(stick.clone()))
        .with(Drive::new(&debian.source, bus, SYSTEM))
        .start();
    save_by_hand(&guest, SYSTEM, "DACAPO", "studio before the update");
    power_off(&mut guest);
    drop(guest);
    assert_eq!(before, sha256(&debian.source), "saving changed the disk");

    let name = format!("rescue-{firmware:?}-{bus:?}-{larger}.raw");
    let target = JunkDisk::new(&name, debian.len + larger);
    let mut guest = Machine::new(firmware, Boot::Stick(stick))
        .with(Drive::new(&target.path, bus, SYSTEM))
        .start();
    restore_by_hand(&guest, "studio before the update", SYSTEM);
    power_off(&mut guest);
    if !debian.has_mbr() {
        assert_table_is_sound(&target.path);
    }
    debian.assert_filesystems_are_clean(&target.path);
    debian.assert_same_files(&target.path);
    assert_starts(debian, &target.path, firmware, bus);
}

#[test]
fn a_machine_with_secure_boot_is_saved_lost_restored_and_starts() {
    if ready() {
        saved_lost_and_restored(debian::gpt(), Firmware::SecureBoot, Bus::Virtio, 0);
    }
}

#[test]
fn a_machine_with_bios_is_saved_lost_restored_to_a_larger_disk_and_starts() {
    if all() && ready() {
        saved_lost_and_restored(debian::gpt(), Firmware::Bios, Bus::Ahci, 777 * MIB);
    }
}

#[test]
fn a_machine_with_uefi_is_saved_lost_restored_and_starts() {
    if all() && ready() {
        saved_lost_and_restored(debian::gpt(), Firmware::Uefi, Bus::Nvme, 0);
    }
}

#[test]
fn a_disk_with_lvm_and_ntfs_is_saved_lost_restored_and_starts() {
    if all() && ready() && requires(&["vgcreate", "ntfscat"]) {
        saved_lost_and_restored(debian::lvm(), Firmware::Bios, Bus::Usb, 0);
    }
}

#[test]
fn a_disk_is_restored_by_hand_from_cd_to_a_larger_one_and_starts() {
    if !ready() {
        return;
    }
    let debian = debian::gpt();
    let target = JunkDisk::new("rescue-larger.raw", debian.len + 777 * MIB);
    let folder = temp_dir();
    let backup = folder.path().join("backup.raw");
    backup_drive(&backup, 1024 * MIB, &[&debian.image]);
    let mut guest = Machine::new(Firmware::Bios, Boot::Cd(iso().into()))
        .with(Drive::new(&target.path, Bus::Ahci, SYSTEM))
        .with(Drive::new(&backup, Bus::Usb, BACKUP))
        .start();
    restore_by_hand(&guest, "debian-disk", SYSTEM);
    power_off(&mut guest);
    assert_table_is_sound(&target.path);
    debian.assert_filesystems_are_clean(&target.path);
    debian.assert_same_files(&target.path);
    assert_starts(debian, &target.path, Firmware::Bios, Bus::Ahci);
}

#[test]
fn a_disk_with_lvm_and_ntfs_is_restored_without_a_question_and_starts() {
    // Minutes; of the other two stories one is by hand, one with Secure Boot.
    if !all() || !ready() || !requires(&["vgcreate", "ntfscat"]) {
        return;
    }
    let debian = debian::lvm();
    let target = JunkDisk::new("rescue-lvm.raw", debian.len);
    let folder = temp_dir();
    let backup = folder.path().join("backup.raw");
    backup_drive(&backup, 1024 * MIB, &[&debian.image]);
    let line = format!(
        "console=ttyS0,115200 quiet dacapo.restore=debian-lvm dacapo.target={SYSTEM} \
         dacapo.after=poweroff dacapo.after-failure=poweroff"
    );
    let boot = Boot::Kernel { folder: kernel().to_owned(), line };
    let mut guest = Machine::new(Firmware::Bios, boot)
        .with(Drive::new(&target.path, Bus::Nvme, SYSTEM))
        .with(Drive::new(&backup, Bus::Usb, BACKUP))
        .start();
    guest.screen.wait_for_output("dacapo: unattended restore done", WORK);
    guest.wait_off(END);
    debian.assert_filesystems_are_clean(&target.path);
    debian.assert_same_files(&target.path);
    assert_starts(debian, &target.path, Firmware::Bios, Bus::Usb);
}

/// The screens as the monitor of a computer shows them, for the README.
/// `DACAPO_GENERATE=1` keeps the pictures in docs/.
#[test]
fn pictures_of_the_screens() {
    let keep = std::env::var_os("DACAPO_GENERATE").is_some_and(|value| value == "1");
    if !(keep || all()) || !ready() {
        return;
    }
    let debian = debian::gpt();
    let target = JunkDisk::new("rescue-pictures.raw", debian.len);
    let folder = temp_dir();
    let backup = folder.path().join("backup.raw");
    backup_drive(&backup, 1024 * MIB, &[&debian.image]);
    let machine = Machine::new(Firmware::Bios, Boot::Cd(iso().into()))
        .with(Drive::new(&target.path, Bus::Ahci, SYSTEM))
        .with(Drive::new(&backup, Bus::Usb, BACKUP));
    let mut guest = machine.start();
    // The serial port has a screen of its own; this one has a keyboard.
    guest.screen.wait_for("What do you want to do?", START);
    let pictures = if keep { root_of_project().join("docs/screens") } else { scratch("screens") };
    fs::create_dir_all(&pictures).unwrap();
    let pause = |seconds| std::thread::sleep(std::time::Duration::from_secs(seconds));
    let steps: [(&str, &str, u64); 12] = [
        ("", "menu", 5),
        ("r", "image", 25),
        ("ret", "target", 25),
        ("ret", "plan", 15),
        ("ret", "question", 5),
        ("s y s minus 0 0 0 1 ret", "running", 8),
        ("", "result", 90),
        ("esc d", "disks", 20),
        ("esc n", "network", 8),
        ("esc l", "log", 5),
        ("esc s ret", "save", 25),
        ("esc esc esc p", "power", 5),
    ];
    for (number, (keys, name, seconds)) in (1..).zip(steps) {
        guest.press(keys);
        pause(seconds);
        guest.picture(&pictures.join(format!("{number:02}-{name}.png")));
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The medium starts by every way there is, with a shell as its first program
//! that tells what was started and how.

use std::fs;
use std::time::Duration;

use super::build::partitions;
use super::{NEEDS, SHELL, iso, shell_iso};
use crate::support::machine::{Boot, Firmware, Machine};
use crate::support::{all, dacapo, requires, run, sparse_file, temp_dir};

/// From switching on to the shell, on a busy machine.
const START: Duration = Duration::from_secs(300);
const SOON: Duration = Duration::from_secs(60);

/// Starts the medium as a disc or stick, and asks it.
fn starts(firmware: Firmware, as_stick: bool) {
    // The stories start the medium, too, to its screen.
    if !all() || !requires(&NEEDS) || !requires(&["qemu-system-x86_64", "sfdisk"]) {
        return;
    }
    let folder = temp_dir();
    let stick = folder.join("stick.raw");
    if as_stick {
        sparse_file(&stick, 256 << 20);
        dacapo(&["rescue", "write", iso().to_str().unwrap(), &stick, "--yes"]).success();
        // As a person would who has thirty machines: a line in a file of the
        // small partition.
        let options = folder.join("options.txt");
        fs::write(&options, format!("# GRUB Environment Block\nappend={SHELL}\n")).unwrap();
        let volume = format!("{stick}@@{}", partitions(&stick)[1].1);
        run("mcopy", &["-o", "-i", &volume, &options, "::/dacapo/options.txt"]);
    }
    let boot = if as_stick { Boot::Stick(stick.into()) } else { Boot::Cd(shell_iso().to_owned()) };
    // Its folder has to be there as long as it runs.
    let machine = Machine::new(firmware, boot);
    let mut guest = machine.start();
    let screen = &guest.screen;
    screen.wait_for_output("job control turned off", START);
    screen.type_keys("mount -t proc p /proc; mount -t sysfs s /sys; cat /proc/cmdline\r");
    // Neither GRUB nor what it reads the line from makes something else of it.
    screen.wait_for_output(" thirty=Studio%201%25", SOON);
    let ask = "insmod /lib/modules/*/kernel/fs/efivarfs/efivarfs.ko; \
               mount -t efivarfs e /sys/firmware/efi/efivars; \
               echo secure-boot $(od -An -tx1 /sys/firmware/efi/efivars/SecureBoot-*) .\r";
    match firmware {
        Firmware::Bios => {
            screen.type_keys("ls -d /sys/firmware/efi || echo no firmware of today\r");
            screen.wait_for_output("\nno firmware of today", SOON);
        }
        // Four bytes of attributes, and a byte that says if it is on.
        Firmware::Uefi => {
            screen.type_keys(ask);
            screen.wait_for_output("secure-boot 06 00 00 00 00 .", SOON);
        }
        Firmware::SecureBoot => {
            screen.type_keys(ask);
            screen.wait_for_output("secure-boot 06 00 00 00 01 .", SOON);
        }
    }
    screen.type_keys("poweroff -f\r");
    guest.wait_off(SOON);
}

#[test]
fn from_a_disc_by_bios() {
    starts(Firmware::Bios, false);
}

#[test]
fn from_a_stick_by_bios() {
    starts(Firmware::Bios, true);
}

#[test]
fn from_a_disc_by_uefi() {
    starts(Firmware::Uefi, false);
}

#[test]
fn from_a_disc_with_secure_boot_on() {
    starts(Firmware::SecureBoot, false);
}

#[test]
fn from_a_stick_with_secure_boot_on() {
    starts(Firmware::SecureBoot, true);
}

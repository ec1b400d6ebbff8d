// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boot entries, as efibootmgr reads and writes them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use super::efi_disk::{EfiDisk, NEEDS, program, utf16};
use super::{MIB, listed, repair};
use crate::support::{hash_of, requires};

const CSV: &str = "shimx64.efi,Studio Linux,,This is the boot entry\r\n";

fn guid_of(disk: &EfiDisk, number: u32) -> String {
    let ran = crate::support::run("sgdisk", &[format!("-i{number}"), disk.path.clone()]);
    let line = ran.out().lines().find(|line| line.contains("unique GUID")).unwrap();
    line.rsplit(' ').next().unwrap().to_lowercase()
}

#[test]
fn the_loader_of_the_disk_becomes_the_first_entry() {
    if !requires(NEEDS) {
        return;
    }
    let disk = EfiDisk::new(32);
    disk.put("EFI/debian/shimx64.efi", &program(3000, 1));
    disk.put("EFI/debian/grubx64.efi", &program(3000, 2));
    let firmware = disk.firmware();
    let before = hash_of(&disk.path);
    let option = ["--firmware", &firmware.folder];
    let step = listed(&disk.path, "boot-entry", &option);
    assert_eq!(step["state"], "possible", "{step}");
    repair(&disk.path, &["boot-entry"], &[&option[..], &["--dry-run"]].concat()).success();
    assert_eq!(fs::read_dir(&firmware.variables).unwrap().count(), 1);

    let ran = repair(&disk.path, &["boot-entry"], &option).success();
    assert!(ran.out().contains("the firmware now has Boot0000 'debian'"), "{ran}");
    let ran = firmware.efibootmgr(&["-v"]).success();
    let wanted = format!(
        "Boot0000* debian\tHD(1,GPT,{},0x800,0x14000)/File(\\EFI\\debian\\shimx64.efi)",
        guid_of(&disk, 1)
    );
    assert!(ran.out().contains(&wanted), "{wanted}\n{ran}");
    assert!(ran.out().contains("BootOrder: 0000"), "{ran}");
    // The disk is as it was, and a second run finds nothing to do.
    assert_eq!(hash_of(&disk.path), before);
    let ran = repair(&disk.path, &["boot-entry"], &option).success();
    assert!(ran.out().contains("nothing to do: the firmware has it: Boot0000"), "{ran}");
}

#[test]
fn an_entry_is_byte_for_byte_that_of_efibootmgr() {
    if !requires(NEEDS) || !requires(&["root", "loop"]) {
        return;
    }
    let disk = EfiDisk::new(16);
    disk.put("EFI/debian/shimx64.efi", &program(3000, 1));
    let firmware = disk.firmware();
    let option = ["--firmware", &firmware.folder];
    repair(&disk.path, &["boot-entry"], &option).success();
    let ours = fs::read(firmware.path("Boot0000")).unwrap();
    fs::remove_file(firmware.path("Boot0000")).unwrap();
    fs::remove_file(firmware.path("BootOrder")).unwrap();
    let device = crate::support::Loop::new(&disk.path, &[]);
    let args = ["-c", "-d", device.device(), "-p", "1", "-L", "debian"];
    let loader = ["-l", "\\EFI\\debian\\shimx64.efi"];
    firmware.efibootmgr(&[&args[..], &loader].concat()).success();
    let theirs = fs::read(firmware.path("Boot0000")).unwrap();
    assert_eq!(ours, theirs);
}

#[test]
fn several_loaders_get_an_entry_each_and_old_ones_stay_behind() {
    if !requires(NEEDS) {
        return;
    }
    let disk = EfiDisk::new(32);
    for path in [
        "EFI/debian/shimx64.efi",
        "EFI/systemd/systemd-bootx64.efi",
        "EFI/Microsoft/Boot/bootmgfw.efi",
        "EFI/BOOT/BOOTX64.EFI",
        "EFI/tools/shellx64.efi",
    ] {
        disk.put(path, &program(3000, 1));
    }
    disk.put("EFI/debian/BOOTX64.CSV", &utf16(CSV));
    // Not a program.
    disk.put("EFI/ubuntu/shimx64.efi", &[0; 3000]);
    let firmware = disk.firmware();
    // Something else of this machine, in the order of old.
    firmware.set("Boot0000", b"\x07\0\0\0\x01\0\0\0\x04\0P\0X\0E\0\0\0\x7f\xff\x04\0");
    firmware.set("BootOrder", &[7, 0, 0, 0, 0, 0]);
    let ran = repair(&disk.path, &["boot-entry"], &["--firmware", &firmware.folder]).success();
    let shown = firmware.efibootmgr(&["-v"]).success();
    let order = shown.out().lines().find(|line| line.starts_with("BootOrder")).unwrap();
    assert_eq!(order, "BootOrder: 0001,0002,0003,0000", "{shown}");
    for (number, label, file) in [
        (1, "Studio Linux", "\\EFI\\debian\\shimx64.efi"),
        (2, "Linux Boot Manager", "\\EFI\\systemd\\systemd-bootx64.efi"),
        (3, "Windows Boot Manager", "\\EFI\\Microsoft\\Boot\\bootmgfw.efi"),
    ] {
        let start = format!("Boot000{number}* {label}\t");
        let line = shown.out().lines().find(|line| line.starts_with(&start));
        let line = line.unwrap_or_else(|| panic!("{start}\n{shown}"));
        assert!(line.to_lowercase().contains(&format!("file({file})").to_lowercase()), "{line}");
    }
    assert!(!shown.out().contains("ubuntu"), "{shown}\n{ran}");
}

#[test]
fn entries_that_are_there_are_found_switched_on_and_put_in_order() {
    if !requires(NEEDS) {
        return;
    }
    let disk = EfiDisk::new(32);
    disk.put("EFI/debian/shimx64.efi", &program(3000, 1));
    let firmware = disk.firmware();
    let option = ["--firmware", firmware.folder.as_str()];
    repair(&disk.path, &["boot-entry"], &option).success();
    let order = firmware.path("BootOrder");
    // Out of the order: back in, without a second entry.
    fs::write(&order, [7, 0, 0, 0, 9, 0]).unwrap();
    repair(&disk.path, &["boot-entry"], &option).success();
    assert_eq!(fs::read(&order).unwrap(), [7, 0, 0, 0, 0, 0, 9, 0]);
    // Switched off by efibootmgr: on again, and nothing else of it is written,
    // nor is the order, in which it is already.
    firmware.efibootmgr(&["-b", "0000", "-A"]).success();
    assert!(firmware.efibootmgr(&[]).success().out().contains("Boot0000  debian"));
    let mut entry = fs::read(firmware.path("Boot0000")).unwrap();
    let odd = [7, 0, 0, 0, 0, 0, 9, 0, 1];
    fs::write(&order, odd).unwrap();
    repair(&disk.path, &["boot-entry"], &option).success();
    entry[4] |= 1;
    assert_eq!(fs::read(firmware.path("Boot0000")).unwrap(), entry);
    assert_eq!(fs::read(&order).unwrap(), odd);
    fs::write(&order, &odd[..8]).unwrap();
    assert!(firmware.efibootmgr(&[]).success().out().contains("Boot0000* debian"));
    assert!(!firmware.efibootmgr(&[]).success().out().contains("Boot0001"));
    // The partition has another GUID now: the old entry is told, and stays.
    let old = fs::read(firmware.path("Boot0000")).unwrap();
    crate::support::run("sgdisk", &["-u1:R", &disk.path]);
    let ran = repair(&disk.path, &["boot-entry"], &option).success();
    assert!(ran.out().contains("points to a partition that is on no disk here"), "{ran}");
    assert_eq!(fs::read(firmware.path("Boot0000")).unwrap(), old);
    let shown = firmware.efibootmgr(&["-v"]).success();
    assert!(shown.out().contains("BootOrder: 0001,0000,0009"), "{shown}");
    assert!(shown.out().contains(&guid_of(&disk, 1)), "{shown}");
}

#[test]
fn the_memory_of_the_firmware_is_not_filled() {
    if !requires(NEEDS) {
        return;
    }
    let disk = EfiDisk::new(32);
    for n in 0..11 {
        disk.put(&format!("EFI/system {n}/grubx64.efi"), &program(100, n));
    }
    let firmware = disk.firmware();
    let ran = repair(&disk.path, &["boot-entry"], &["--firmware", &firmware.folder]).success();
    assert!(ran.out().contains("3 more boot loaders get no entry"), "{ran}");
    let shown = firmware.efibootmgr(&[]).success();
    assert_eq!(shown.out().matches("* system ").count(), 8, "{shown}");
}

#[test]
fn where_it_cannot_be_done_it_says_why() {
    if !requires(NEEDS) {
        return;
    }
    let disk = EfiDisk::new(32);
    let copy = disk.folder.join("copy.raw");
    fs::copy(&disk.path, &copy).unwrap();
    let nowhere = disk.folder.join("nowhere");
    let reason = |firmware: &str| {
        let step = listed(&disk.path, "boot-entry", &["--firmware", firmware]);
        (step["state"].as_str().unwrap().to_owned(), step["reason"].to_string())
    };
    let (state, why) = reason(&nowhere);
    assert!(state == "not-possible" && why.contains("BIOS mode"), "{why}");
    let firmware = disk.firmware();
    let (state, why) = reason(&firmware.folder);
    assert!(state == "not-possible" && why.contains("no boot loader"), "{why}");
    disk.put("EFI/debian/grubx64.efi", &program(3000, 1));
    let (state, _) = reason(&firmware.folder);
    assert_eq!(state, "possible");
    fs::remove_file(firmware.path("SecureBoot")).unwrap();
    let (state, why) = reason(&firmware.folder);
    assert!(state == "not-possible" && why.contains("nothing is mounted"), "{why}");
    let ran = repair(&disk.path, &["boot-entry"], &["--firmware", &firmware.folder]);
    assert_eq!(ran.code, 5, "{ran}");
    // A disk without such a partition starts by BIOS.
    crate::support::run("sgdisk", &["-t1:8300", &disk.path]);
    let (state, why) = reason(&nowhere);
    assert!(state == "not-needed" && why.contains("starts by BIOS"), "{why}");
    fs::remove_file(&copy).unwrap();
}

#[test]
fn a_damaged_volume_is_an_answer_and_no_crash() {
    if !requires(NEEDS) {
        return;
    }
    let disk = EfiDisk::new(32);
    disk.put("EFI/debian/shimx64.efi", &program(3000, 1));
    let firmware = disk.firmware();
    let option = ["--firmware", firmware.folder.as_str()];
    let before = hash_of(&disk.path);
    let file = File::options().read(true).write(true).open(&disk.path).unwrap();
    // Both look at the same list, which has to be there.
    let try_with = |at: u64, bad: &[u8], expected: &[&str]| {
        let mut good = vec![0; bad.len()];
        file.read_exact_at(&mut good, at).unwrap();
        file.write_all_at(bad, at).unwrap();
        let step = listed(&disk.path, "fallback-loader", &option);
        assert!(expected.contains(&step["state"].as_str().unwrap()), "{at}: {step}");
        file.write_all_at(&good, at).unwrap();
    };
    let (yes, no) = (&["possible"], &["not-possible"]);
    // Folders that name themselves as their own next cluster, and any byte of
    // the first sectors.
    let fat = MIB + 32 * 512;
    for cluster in 2..6_u32 {
        try_with(fat + u64::from(cluster) * 4, &cluster.to_le_bytes(), &[yes[0], no[0]]);
    }
    for at in (0..90).chain(510..512) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, MIB + at).unwrap();
        try_with(
            MIB + at,
            &[!byte[0]],
            match at {
                // Who made it, its serial number and its name.
                3..11 | 0x43..0x52 => yes,
                // The sizes of sectors and clusters, and the signature.
                11..14 | 510.. => no,
                _ => &["possible", "not-possible"],
            },
        );
    }
    assert_eq!(hash_of(&disk.path), before);
}

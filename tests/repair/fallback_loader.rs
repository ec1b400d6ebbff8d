// SPDX-License-Identifier: MIT OR Apache-2.0
//! The loader that is found without an entry, as mtools and fsck.vfat see it.

use std::fs;

use super::efi_disk::{EfiDisk, NEEDS, program, utf16};
use super::{differences, listed, repair};
use crate::support::{Loop, dacapo, requires};

#[test]
fn shim_is_copied_with_what_it_starts() {
    if !requires(NEEDS) {
        return;
    }
    for (width, len) in [(32, 900_000), (16, 900_000), (12, 70_000)] {
        let disk = EfiDisk::new(width);
        let names = ["shimx64.efi", "grubx64.efi", "mmx64.efi", "fbx64.efi"];
        for (n, name) in (1..).zip(names) {
            disk.put(&format!("EFI/debian/{name}"), &program(len + n, n as u64));
        }
        disk.put("EFI/debian/BOOTX64.CSV", &utf16("shimx64.efi,debian,,x\r\n"));
        disk.put("hello.txt", b"hello");
        let before = disk.folder.join("before.raw");
        fs::copy(&disk.path, &before).unwrap();
        let step = listed(&disk.path, "fallback-loader", &[]);
        assert_eq!(step["state"], "possible", "{step}");
        repair(&disk.path, &["fallback-loader"], &["--dry-run"]).success();
        assert!(differences(&disk.path, &before).is_empty());

        let ran = repair(&disk.path, &["fallback-loader"], &[]).success();
        assert!(ran.out().contains("read back: \\EFI\\BOOT\\BOOTX64.EFI"), "{ran}");
        disk.assert_clean();
        for (n, name) in (1..).zip(["BOOTX64.EFI", "grubx64.efi", "mmx64.efi", "fbx64.efi"]) {
            let found = disk.get(&format!("EFI/BOOT/{name}"));
            assert!(found == program(len + n, n as u64), "{name} differs");
        }
        for (n, name) in (1..).zip(names) {
            let found = disk.get(&format!("EFI/debian/{name}"));
            assert!(found == program(len + n, n as u64), "{name} differs");
        }
        assert_eq!(disk.get("hello.txt"), b"hello");
        // All that changed is in that partition.
        for (start, end) in differences(&disk.path, &before) {
            assert!(start >= 2048 && end <= 2048 + 40 * 2048, "{start} {end}");
        }
        let step = listed(&disk.path, "fallback-loader", &[]);
        assert_eq!(step["state"], "not-needed", "{step}");
    }
}

#[test]
fn the_loader_of_windows_is_copied_alone() {
    if !requires(NEEDS) {
        return;
    }
    let disk = EfiDisk::new(32);
    disk.put("EFI/Microsoft/Boot/bootmgfw.efi", &program(1_500_000, 1));
    disk.make_folder("EFI/Boot");
    repair(&disk.path, &["fallback-loader"], &[]).success();
    disk.assert_clean();
    assert!(disk.get("EFI/Boot/bootx64.efi") == program(1_500_000, 1));
}

#[test]
fn what_is_there_already_stays() {
    if !requires(NEEDS) {
        return;
    }
    let disk = EfiDisk::new(32);
    disk.put("EFI/debian/shimx64.efi", &program(5000, 1));
    disk.put("EFI/debian/grubx64.efi", &program(5000, 2));
    disk.put("EFI/BOOT/grubx64.efi", &program(4000, 3));
    // Empty: nothing that could be started.
    disk.put("EFI/BOOT/BOOTX64.EFI", b"");
    let ran = repair(&disk.path, &["fallback-loader"], &[]).success();
    let said = "\\EFI\\BOOT\\BOOTX64.EFI is there, but is no program: it is replaced";
    assert!(ran.out().contains(said), "{ran}");
    assert!(ran.out().contains("\\EFI\\BOOT\\grubx64.efi is there and stays"), "{ran}");
    disk.assert_clean();
    assert!(disk.get("EFI/BOOT/grubx64.efi") == program(4000, 3));
    assert!(disk.get("EFI/BOOT/BOOTX64.EFI") == program(5000, 1));
}

#[test]
fn a_full_volume_is_left_as_it_is() {
    if !requires(NEEDS) {
        return;
    }
    let disk = EfiDisk::new(32);
    disk.put("EFI/debian/shimx64.efi", &program(3_000_000, 1));
    disk.put("big.bin", &crate::support::junk(35 << 20, 5));
    let before = disk.folder.join("before.raw");
    fs::copy(&disk.path, &before).unwrap();
    let step = listed(&disk.path, "fallback-loader", &[]);
    assert_eq!(step["state"], "not-possible", "{step}");
    assert!(step["reason"].as_str().unwrap().contains("No space"), "{step}");
    let ran = repair(&disk.path, &["fallback-loader"], &[]);
    assert_eq!(ran.code, 5, "{ran}");
    assert!(differences(&disk.path, &before).is_empty());
}

#[test]
fn a_volume_that_was_not_unmounted_is_not_written_to() {
    if !requires(NEEDS) {
        return;
    }
    let disk = EfiDisk::new(32);
    disk.put("EFI/debian/shimx64.efi", &program(5000, 1));
    let mut bytes = fs::read(&disk.path).unwrap();
    bytes[(1 << 20) + 0x41] |= 1;
    fs::write(&disk.path, &bytes).unwrap();
    let step = listed(&disk.path, "fallback-loader", &[]);
    assert_eq!(step["state"], "not-possible", "{step}");
    // The entry needs no writing there.
    let firmware = disk.firmware();
    let step = listed(&disk.path, "boot-entry", &["--firmware", &firmware.folder]);
    assert_eq!(step["state"], "possible", "{step}");
}

#[test]
fn a_device_is_written_past_its_cache() {
    if !requires(NEEDS) || !requires(&["root", "loop"]) {
        return;
    }
    let disk = EfiDisk::new(32);
    disk.put("EFI/debian/shimx64.efi", &program(500_000, 1));
    let device = Loop::new(&disk.path, &[]);
    let size = (64_u64 << 20).to_string();
    let args = ["repair", device.device(), "--step", "fallback-loader", "--yes"];
    dacapo(&[&args[..], &["--confirm", &size]].concat()).success();
    drop(device);
    disk.assert_clean();
    assert!(disk.get("EFI/BOOT/BOOTX64.EFI") == program(500_000, 1));
}

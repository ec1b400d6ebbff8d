// SPDX-License-Identifier: MIT OR Apache-2.0
//! A real system, saved, wiped, restored, and booted: the proof that counts.
//!
//! The disk comes from `scripts/make-images/debian-disk` (GPT; BIOS boot, ESP,
//! ext4, swap), the boots are done by `scripts/boot-check` in QEMU. Targets are
//! full of junk and of a stranger's partition table before the restore, and
//! unused ranges are left alone, so whatever the image lacks shows.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use crate::debian::{
    ESP, JunkDisk, MIB, NEEDS, SWAP, assert_same_bytes, assert_table_is_sound, gpt, open,
    root_of_project, run, sha256, text,
};
use crate::support::{all, dacapo, requires};

#[test]
fn restored_debian_is_the_same_disk_and_boots_by_bios_and_uefi() {
    if !requires(&NEEDS) {
        return;
    }
    let saved = gpt();
    let target = JunkDisk::new("boot-same-size.raw", saved.len);
    restore(&saved.image, &target.path);

    assert_table_is_sound(&target.path);
    saved.assert_filesystems_are_clean(&target.path);
    // Everything outside the filesystems is stored whole, so it is the same
    // byte for byte: boot code, both tables, GRUB's core.img, gaps, tail.
    let (source, restored) = (open(&saved.source), open(&target.path));
    assert_same_bytes(&source, &restored, 0, ESP.0 * MIB);
    assert_same_bytes(&source, &restored, SWAP.0 * MIB, 4096);
    let tail = (SWAP.0 + SWAP.1) * MIB;
    assert_same_bytes(&source, &restored, tail, saved.len - tail);
    saved.assert_same_files(&target.path);

    let before = sha256(&target.path);
    assert_boots(&target.path, "bios");
    assert_boots(&target.path, "uefi");
    assert_eq!(before, sha256(&target.path), "booting changed the restored disk");
}

#[test]
fn debian_restored_to_a_larger_disk_has_its_backup_table_at_the_new_end() {
    if !requires(&NEEDS) {
        return;
    }
    let saved = gpt();
    let target = JunkDisk::new("boot-larger.raw", saved.len + 777 * MIB);
    restore(&saved.image, &target.path);

    // sgdisk calls a backup table that is not in the last sectors a problem.
    assert_table_is_sound(&target.path);
    let (source, restored) = (open(&saved.source), open(&target.path));
    let mut signature = [0; 8];
    restored.read_exact_at(&mut signature, saved.len + 777 * MIB - 512).expect("reading the end");
    assert_eq!(&signature, b"EFI PART", "backup header in the last sector");
    assert_eq!(identities(&saved.source), identities(&target.path));
    // The boot code and the BIOS boot partition know nothing of the size.
    assert_same_bytes(&source, &restored, 0, 446);
    assert_same_bytes(&source, &restored, MIB, MIB);
    saved.assert_filesystems_are_clean(&target.path);
    saved.assert_same_files(&target.path);

    if all() {
        assert_boots(&target.path, "bios");
        assert_boots(&target.path, "uefi");
    }
}

fn restore(image: &Path, target: &Path) {
    // Left alone, so that the junk stays wherever the image has nothing.
    let _ = dacapo(&["restore", text(image), text(target), "--yes", "--free", "leave"]).success();
}

/// The GUIDs and bounds of the disk and its partitions, as sgdisk reads them.
fn identities(disk: &Path) -> String {
    let mut all = run(Command::new("sgdisk").arg("--print").arg(disk))
        .lines()
        .filter(|line| line.starts_with("Disk identifier"))
        .collect::<String>();
    for number in 1..=4 {
        all += &run(Command::new("sgdisk").arg(format!("--info={number}")).arg(disk));
    }
    assert!(all.contains("DACA90000000") && all.contains("DACA90000004"), "{all}");
    all
}

fn assert_boots(disk: &Path, firmware: &str) {
    let script = root_of_project().join("scripts/boot-check");
    let said = run(Command::new(script).arg(disk).args([firmware, "300"]));
    let state = format!("dacapo-state: firmware={firmware} {}", gpt().state);
    assert!(said.contains(&state), "the system booted, but said: {said}");
}

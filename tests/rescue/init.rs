// SPDX-License-Identifier: MIT OR Apache-2.0
//! The init program: what happens around the screen, and without one.

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::kernel;
use super::scene::{END, SOON, START, WORK, open_shell, ready, type_command};
use crate::support::machine::{Boot, Bus, Drive, Firmware, Machine};
use crate::support::screen::key;
use crate::support::{
    Loop, TempDir, dacapo, hash_of, junk_file, requires, run, sparse_file, temp_dir,
};

const MIB: u64 = 1 << 20;
const SERIAL: &str = "TARGET-1";

/// A computer that starts the rescue system with these words.
fn machine(words: &str) -> Machine {
    let line = format!("console=ttyS0,115200 quiet {words}");
    Machine::new(Firmware::Bios, Boot::Kernel { folder: kernel().to_owned(), line })
}

/// The words for a restore onto [`SERIAL`] after which the computer is off.
fn unattended(image: &str) -> String {
    format!(
        "dacapo.restore=\"{image}\" dacapo.target={SERIAL} dacapo.after=poweroff \
         dacapo.after-failure=poweroff"
    )
}

/// A small disk full of data, and its image with the label "Studio 1".
fn studio(folder: &TempDir) -> (PathBuf, PathBuf) {
    let (raw, image) = (folder.join("studio.raw"), folder.join("studio.img.zst"));
    junk_file(&raw, 24 * MIB);
    dacapo(&["save", &raw, &image, "--label", "Studio 1", "--level", "1"]).success();
    (raw.into(), image.into())
}

/// A drive that is one ext4 with these files in the folder "images".
fn medium(folder: &TempDir, name: &str, files: &[&Path]) -> PathBuf {
    let (drive, inside) = (folder.join(name), temp_dir());
    let images = inside.path().join("images");
    fs::create_dir(&images).unwrap();
    for file in files {
        fs::copy(file, images.join(file.file_name().unwrap())).unwrap();
    }
    sparse_file(&drive, 128 * MIB);
    let inside = inside.path().to_str().unwrap().to_owned();
    run("mke2fs", &["-q", "-F", "-t", "ext4", "-L", "IMAGES", "-d", &inside, &drive]);
    drive.into()
}

fn enough() -> bool {
    ready() && requires(&["mke2fs", "mkfs.vfat", "mcopy"])
}

#[test]
fn a_crashed_screen_says_so_and_the_power_button_loses_nothing() {
    if !enough() {
        return;
    }
    let folder = temp_dir();
    let drive = medium(&folder, "drive.raw", &[]);
    let mut guest = machine("").with(Drive::new(&drive, Bus::Nvme, SERIAL)).start();
    open_shell(&guest);
    // What has lost its parent is buried by process 1.
    let bury = "(true & true &); for i in 1 2 3 4 5 6 7 8 9; do sleep 1; \
                ps -o stat,comm | grep ^Z || { echo bur''ied; break; }; done";
    let shown = type_command(&guest, bury);
    assert!(shown.contains("\nburied"), "{shown}");
    let shown = type_command(&guest, "stty size; echo $TERM-$DACAPO_RESCUE; ls /dev/fuse");
    assert!(shown.contains("25 80") && shown.contains("vt220-1"), "{shown}");
    assert!(shown.contains("\n/dev/fuse"), "{shown}");
    let shown = type_command(&guest, "swapon; cat /proc/swaps /proc/mdstat; mount | grep /dev/nv");
    assert!(!shown.contains("/dev/nvme0n1"), "{shown}");
    // The screen on this console dies soon after it is shown again; until then
    // there is only that on the monitor.
    let kill = "(until P=$(ps -o pid,tty,args | awk '$2 == \"4,64\" && /dacapo tui/ && !/awk/ \
                {print $1}'); [ \"$P\" ] && stty -a -F /dev/ttyS0 | grep -q -e -icanon; do \
                sleep 1; done; sleep 2; kill -ABRT $P) & exit\r";
    guest.screen.type_keys(kill);
    let shown = guest.screen.wait_for("Press 1, 2 or 3", SOON);
    assert!(shown.contains("ended unexpectedly (signal 6)"), "{shown}");
    assert!(shown.contains("1  the screen again"), "{shown}");
    guest.screen.type_keys("1");
    open_shell(&guest);
    // Data that is still on its way when the button is pressed.
    let write = "mount -t ext4 /dev/nvme0n1 /mnt && seq 1000000 > /mnt/numbers && cat /proc/mounts";
    let shown = type_command(&guest, write);
    assert!(shown.contains("/dev/nvme0n1 /mnt ext4 rw"), "{shown}");
    guest.monitor("system_powerdown");
    guest.screen.wait_for_output("dacapo: powering off", SOON);
    guest.screen.wait_for_output("dacapo: everything is written", END);
    guest.wait_off(END);
    run("e2fsck", &["-fn", drive.to_str().unwrap()]);
    let numbers = folder.join("numbers");
    let dump = format!("dump numbers \"{numbers}\"");
    run("debugfs", &["-R", &dump, drive.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(&numbers).unwrap().lines().count(), 1_000_000);
}

#[test]
fn two_disks_alike_are_not_touched_and_ctrl_alt_delete_starts_again() {
    if !enough() {
        return;
    }
    let folder = temp_dir();
    let (_, image) = studio(&folder);
    let drive = medium(&folder, "drive.raw", &[&image]);
    let disks = ["one.raw", "two.raw"].map(|name| PathBuf::from(folder.join(name)));
    for disk in &disks {
        junk_file(disk, 24 * MIB);
    }
    let before = disks.each_ref().map(hash_of);
    // Of two NVMe disks with one serial number, the kernel takes one only.
    let words = format!("dacapo.restore=studio.img.zst dacapo.target={SERIAL}");
    let mut machine = machine(&words).with(Drive::new(&drive, Bus::Usb, "MEDIUM"));
    for disk in &disks {
        machine = machine.with(Drive::new(disk, Bus::Virtio, SERIAL));
    }
    let mut guest = machine.start();
    let failed = "dacapo: unattended restore failed (exit 5)";
    guest.screen.wait_for_output(failed, START);
    let shown = guest.screen.wait_for("Press Enter for the screen", SOON);
    assert!(shown.contains("stands for more than one disk"), "{shown}");
    assert_eq!(shown.matches(&format!("serial {SERIAL}")).count(), 2, "{shown}");
    guest.screen.type_keys(key::ENTER);
    guest.screen.wait_for("What do you want to do?", SOON);
    guest.monitor("sendkey ctrl-alt-delete");
    guest.screen.wait_for_output("dacapo: restarting", SOON);
    guest.screen.wait_for_output("dacapo: everything is written", END);
    guest.wait_off(END);
    assert_eq!(disks.each_ref().map(hash_of), before);
}

#[test]
fn with_512_mib_and_a_stick_that_comes_late_a_disk_is_restored() {
    if !enough() {
        return;
    }
    let folder = temp_dir();
    let (raw, image) = studio(&folder);
    let drive = medium(&folder, "drive.raw", &[&image]);
    let target = folder.join("target.raw");
    junk_file(&target, 24 * MIB);
    let before = hash_of(&drive);
    let mut machine = machine(&format!("{} dacapo.wait=300", unattended("Studio 1")))
        .with(Drive::new(Path::new(&target), Bus::Virtio, SERIAL));
    machine.memory_mib = 512;
    let late = format!("if=none,id=late,format=raw,file={}", drive.display());
    machine.more = vec!["-drive".into(), late];
    let mut guest = machine.start();
    guest.screen.wait_for_output("waiting for the image and the disk to appear", START);
    guest.monitor("device_add usb-storage,id=latestick,drive=late,serial=LATE");
    guest.screen.wait_for_output("dacapo: unattended restore done", WORK);
    guest.wait_off(END);
    crate::support::assert_same(&raw, &target);
    assert_eq!(hash_of(&drive), before, "the drive with the image was changed");
}

/// Each drive has an image, or a journal that is to be replayed; all are
/// searched, and not a byte of any changes.
#[test]
fn every_kind_of_drive_is_searched_and_left_alone() {
    if !enough() || !requires(&["mkfs.exfat", "mkfs.ntfs", "mount.exfat-fuse", "ntfs-3g"]) {
        return;
    }
    let folder = temp_dir();
    let (_, image) = studio(&folder);
    let drives = drives_of_all_kinds(&folder, &image);
    let disc = folder.join("disc.iso");
    let discs = temp_dir();
    fs::copy(&image, discs.path().join("disc.img.zst")).unwrap();
    let inside = discs.path().to_str().unwrap();
    run("xorriso", &["-as", "mkisofs", "-quiet", "-J", "-R", "-o", &disc, inside]);
    let before: Vec<String> = drives.iter().map(hash_of).collect();
    let mut machine = machine(&format!("{} dacapo.wait=5", unattended("nothing")));
    for (number, drive) in drives.iter().enumerate() {
        let serial = if number == 0 { SERIAL.into() } else { format!("DRIVE{number}") };
        machine = machine.with(Drive::new(drive, Bus::Nvme, &serial));
    }
    machine.more = vec!["-cdrom".into(), disc];
    let mut guest = machine.start();
    guest.screen.wait_for_output("dacapo: unattended restore failed (exit 5)", WORK);
    guest.wait_off(END);
    let said = guest.screen.output();
    for name in ["fat", "exfat", "ntfs", "ext4", "disc"] {
        assert!(said.contains(&format!("{name}.img.zst")), "no image of {name} in:\n{said}");
    }
    assert!(!said.contains("not searched"), "{said}");
    let after: Vec<String> = drives.iter().map(hash_of).collect();
    assert_eq!(after, before);
}

fn drives_of_all_kinds(folder: &TempDir, image: &Path) -> Vec<PathBuf> {
    let image_of = |name: &str| {
        let path = folder.join(&format!("{name}.img.zst"));
        fs::copy(image, &path).unwrap();
        path
    };
    let new = |name: &str| {
        let path = folder.join(&format!("{name}.raw"));
        sparse_file(&path, 64 * MIB);
        path
    };
    let fat = new("fat");
    run("mkfs.vfat", &["-F", "32", &fat]);
    run("mcopy", &["-i", &fat, &image_of("fat"), "::/"]);
    // Not unmounted: a driver that writes would say so there.
    let mut file = File::options().read(true).write(true).open(&fat).unwrap();
    file.seek(SeekFrom::Start(65)).unwrap();
    file.write_all(&[1]).unwrap();
    let point = temp_dir();
    let at = point.path().to_str().unwrap().to_owned();
    let exfat = new("exfat");
    run("mkfs.exfat", &["-L", "DACAPO", &exfat]);
    let exfat_drive = Loop::new(&exfat, &[]);
    run("mount.exfat-fuse", &[exfat_drive.device(), &at]);
    fs::copy(image, point.path().join("exfat.img.zst")).unwrap();
    run("umount", &[&at]);
    drop(exfat_drive);
    let ntfs = new("ntfs");
    run("mkfs.ntfs", &["-q", "-F", "-Q", &ntfs]);
    run("ntfs-3g", &[&ntfs, &at]);
    fs::copy(image, point.path().join("ntfs.img.zst")).unwrap();
    run("umount", &[&at]);
    let ext4 = medium(folder, "ext4.raw", &[Path::new(&image_of("ext4"))]);
    let mut drives = vec![fat.into(), exfat.into(), ntfs.into(), ext4];
    for name in ["ext4-tiny-dirty", "xfs-tiny-dirty", "btrfs-tiny-dirty", "exfat-tiny-dirty"] {
        let path = folder.join(&format!("{name}.raw"));
        let packed = format!("images/{name}.img.zst");
        run("zstd", &["-q", "-d", &packed, "-o", &path]);
        drives.push(path.into());
    }
    drives
}

#[test]
fn hardware_without_a_driver_is_named() {
    if !enough() {
        return;
    }
    let folder = temp_dir();
    let disk = folder.join("disk.raw");
    sparse_file(&disk, 8 * MIB);
    let words = format!("{} dacapo.wait=3 modprobe.blacklist=nvme", unattended("a"));
    let mut guest = machine(&words).with(Drive::new(Path::new(&disk), Bus::Nvme, SERIAL)).start();
    let failed = "unattended restore failed (exit 5)";
    guest.screen.wait_for_output(failed, START);
    guest.wait_off(END);
    let said = guest.screen.output();
    assert!(said.contains("no driver (PCI 1b36:0010"), "{said}");
    assert!(said.contains("is the serial number of no disk"), "{said}");
}

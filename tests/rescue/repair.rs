// SPDX-License-Identifier: MIT OR Apache-2.0
//! A restored disk in a machine whose firmware knows nothing of it: it does not
//! start, is repaired from the rescue system, and starts. What the firmware was
//! told is read by efibootmgr, on the system of that disk.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use super::iso;
use super::scene::{END, START, SYSTEM, ready};
use crate::debian::{gpt, text};
use crate::repair::grow::Larger;
use crate::support::machine::{Boot, Bus, Drive, Firmware, Guest, Machine};
use crate::support::screen::key;
use crate::support::{TempDir, all, requires, run, temp_dir};

const NEEDS: [&str; 3] = ["efibootmgr", "mdeltree", "debugfs"];

/// Puts efibootmgr and its libraries on the disk, and takes the loader off it
/// that is found without an entry.
fn prepare(source: &str, disk: &str) {
    run("cp", &["--sparse=always", source, disk]);
    run("mdeltree", &["-i", &format!("{disk}@@2M"), "::/EFI/BOOT"]);
    let root = format!("{disk}?offset={}", 66 << 20);
    let libraries = "/usr/lib/x86_64-linux-gnu";
    let mut commands = String::new();
    for (folder, name) in
        [("/usr/bin", "efibootmgr"), (libraries, "libefiboot.so.1"), (libraries, "libefivar.so.1")]
    {
        // debugfs takes what a link leads to, and names in its own folder only.
        commands +=
            &format!("cd {folder}\nwrite {folder}/{name} {name}\nsif {name} mode 0100755\n");
    }
    let script = format!("{disk}.commands");
    std::fs::write(&script, commands).unwrap();
    run("debugfs", &["-w", "-f", &script, &root]);
}

/// From the menu of the rescue system to its shell.
fn shell(guest: &Guest) {
    guest.screen.wait_for("Power off", START);
    for _ in 0..12 {
        if guest.screen.shows("A command line", Duration::from_secs(2)) {
            break;
        }
        guest.screen.type_keys(key::DOWN);
    }
    guest.screen.type_keys(key::ENTER);
    guest.screen.wait_for("#", END);
}

/// Runs a command in that shell, until this text is shown.
#[track_caller]
fn shell_command(guest: &Guest, command: &str, until: &str) {
    guest.screen.type_keys(&format!("{command}\r"));
    guest.screen.wait_for_output(until, END);
}

/// The disk does not start in this machine, one step is run from the rescue
/// system, and it starts. Returns the machine, off.
fn repaired(firmware: Firmware, bus: Bus, device: &str, step: &str, said: &str) -> Repaired {
    let folder = temp_dir();
    let disk = folder.join("disk.raw");
    prepare(text(&gpt().source), &disk);
    let mut machine =
        Machine::new(firmware, Boot::Disk).with(Drive::new(Path::new(&disk), bus, SYSTEM));
    // The firmware finds nothing that it could start.
    let mut guest = machine.start();
    guest.screen.wait_for_output("failed to load Boot", END);
    guest.kill();

    machine.boot = Boot::Cd(iso().to_owned());
    let mut guest = machine.start();
    shell(&guest);
    shell_command(&guest, &format!("dacapo repair {device}"), &format!("{step}: "));
    let command = format!("clear; dacapo repair {device} --step {step} --yes --confirm {SYSTEM}");
    shell_command(&guest, &command, said);
    guest.screen.type_keys("poweroff\r");
    guest.wait_off(END);
    drop(guest);

    machine.boot = Boot::Disk;
    let guest = machine.start();
    guest.screen.wait_for_output("dacapo-state: firmware=uefi root=", START);
    guest.screen.wait_for_output("dacapo-test login:", START);
    guest.screen.type_keys("root\r");
    guest.screen.wait_for_output("root@dacapo-test", END);
    Repaired { guest, commands: Cell::new(0), _folder: folder }
}

/// A machine that has started, and where its disk is.
struct Repaired {
    guest: Guest,
    commands: Cell<u32>,
    _folder: TempDir,
}

impl Repaired {
    /// What a command of its system says, without the blanks.
    fn says(&self, command: &str) -> String {
        let number = self.commands.get() + 1;
        self.commands.set(number);
        // What is typed is shown, too, so the end is not typed as it is shown.
        let command = format!("clear; {command}; echo end-of-$((10+{number}))\r");
        self.guest.screen.type_keys(&command);
        self.guest.screen.wait_for(&format!("end-of-{}", 10 + number), END);
        self.guest.screen.contents().split_whitespace().collect()
    }

    fn power_off(mut self) {
        self.guest.screen.type_keys("poweroff\r");
        self.guest.wait_off(END);
    }
}

#[test]
fn a_machine_that_knows_no_entry_gets_one_and_starts() {
    if !ready() || !requires(&NEEDS) {
        return;
    }
    let said = "the firmware now has Boot";
    let repaired = repaired(Firmware::Uefi, Bus::Nvme, "/dev/nvme0n1", "boot-entry", said);
    let shown = repaired.says("efibootmgr -v | grep -i -e debian -e current");
    let entry = "*debianHD(2,GPT,8a1b6c5e-0d4f-4e52-9c1b-daca90000002,0x1000,0x20000)/\
                 File(\\EFI\\debian\\shimx64.efi)";
    let (number, _) = shown.split_once(entry).unwrap_or_else(|| panic!("{entry}\n{shown}"));
    // It is the one that this start took.
    let number = &number[number.len() - 4..];
    assert!(shown.contains(&format!("BootCurrent:{number}")), "{shown}");
    repaired.power_off();
}

#[test]
fn a_loader_is_put_where_firmware_looks_and_starts_with_secure_boot() {
    if !all() || !ready() || !requires(&NEEDS) {
        return;
    }
    let said = "read back: \\EFI\\BOOT\\grubx64.efi";
    let repaired = repaired(Firmware::SecureBoot, Bus::Virtio, "/dev/vda", "fallback-loader", said);
    let shown = repaired.says("od -An -tx1 /sys/firmware/efi/efivars/SecureBoot-*");
    assert!(shown.contains("0600000001"), "{shown}");
    let shown = repaired.says("efibootmgr | grep -c -i debian");
    assert!(shown.starts_with("0end-of"), "{shown}");
    repaired.power_off();
}

#[test]
fn the_rescue_system_can_grow_every_filesystem_that_it_says_it_can() {
    if !ready()
        || !requires(&NEEDS)
        || !requires(&["mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "mkntfs"])
    {
        return;
    }
    let kinds = [
        ("ext4", "8300", 64 << 20),
        ("xfs", "8300", 320 << 20),
        ("btrfs", "8300", 240 << 20),
        ("ntfs", "0700", 64 << 20),
    ];
    let disks = kinds.map(|(kind, type_id, len)| Larger::new("gpt", kind, type_id, len));
    let mut machine = Machine::new(Firmware::Bios, Boot::Cd(iso().to_owned()));
    for (number, disk) in disks.iter().enumerate() {
        let serial = format!("GROW-{number}");
        machine = machine.with(Drive::new(Path::new(&disk.disk), Bus::Virtio, &serial));
    }
    let mut guest = machine.start();
    shell(&guest);
    for (number, name) in ["vda", "vdb", "vdc", "vdd"].into_iter().enumerate() {
        let command = format!(
            "clear; dacapo repair /dev/{name} --step grow --yes --confirm GROW-{number}; \
             echo ended-$((20+{number}))=$?"
        );
        shell_command(&guest, &command, &format!("ended-{}=0", 20 + number));
    }
    guest.screen.type_keys("poweroff\r");
    guest.wait_off(END);
    drop(guest);
    for disk in &disks {
        disk.assert_grown();
    }
}

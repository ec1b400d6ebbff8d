// SPDX-License-Identifier: MIT OR Apache-2.0
//! Computers with drives for discs, as QEMU has them, that start the rescue
//! system.

use std::fs;
use std::path::{Path, PathBuf};

use super::scene::Scene;
use crate::debian::{MIB, text};
use crate::rescue::kernel;
use crate::rescue::scene::{BACKUP, backup_drive};
use crate::support::junk;
use crate::support::machine::{Boot, Bus, Drive, Firmware, Machine};

/// What a drive cannot read of a damaged disc: in the middle of its largest
/// file, in units of 512 bytes.
pub(super) const BAD: u64 = 2000;

/// A disc of which a sector cannot be read, as a file of QEMU's.
pub(super) fn damaged(scene: &Scene, disc: &Path) -> String {
    let faults = scene.at("faults.conf");
    let settings = "[inject-error]\nevent = \"read_aio\"\nerrno = \"5\"\n";
    fs::write(&faults, format!("{settings}sector = \"{BAD}\"\nonce = \"off\"\n")).unwrap();
    format!("blkdebug:{faults}:{}", text(disc))
}

/// One with a drive for backups, whose file is returned, and drives with these
/// discs; one without a name is empty.
pub(super) fn with_drives(scene: &Scene, discs: &[String]) -> (Machine, PathBuf) {
    let (note, backup) = (scene.at("note.bin"), scene.folder.path().join("backup.raw"));
    fs::write(&note, junk(4096, 9)).unwrap();
    backup_drive(&backup, 128 * MIB, &[note.as_ref()]);
    let line = "console=ttyS0,115200 quiet".into();
    let boot = Boot::Kernel { folder: kernel().to_owned(), line };
    let mut machine =
        Machine::new(Firmware::Bios, boot).with(Drive::new(&backup, Bus::Virtio, BACKUP));
    for (number, disc) in discs.iter().enumerate() {
        let file = if disc.is_empty() { String::new() } else { format!(",format=raw,file={disc}") };
        let drive = format!("if=none,id=cd{number},readonly=on{file}");
        let device = format!("ide-cd,drive=cd{number},bus=ide.{}", 3 + number);
        machine.more.extend(["-drive".into(), drive, "-device".into(), device]);
    }
    (machine, backup)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks with an EFI system partition, and firmware in a folder.

use std::fs;
use std::process::Command;

use super::MIB;
use crate::support::{Ran, TempDir, find_program, finish, junk, junk_file, run, temp_dir};

/// What these tests need of the machine.
pub(super) const NEEDS: &[&str] =
    &["sgdisk", "mkfs.vfat", "fsck.vfat", "mmd", "mcopy", "mtype", "efibootmgr"];

/// A program for UEFI, as far as anybody looks.
pub(super) fn program(len: usize, seed: u64) -> Vec<u8> {
    [b"MZ".to_vec(), junk(len, seed)].concat()
}

/// Text in UTF-16 with its mark.
pub(super) fn utf16(text: &str) -> Vec<u8> {
    [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

/// A disk of 64 MiB with an EFI system partition of 40 MiB and one of 10 MiB,
/// full of junk where nothing else is.
pub(super) struct EfiDisk {
    pub(super) folder: TempDir,
    pub(super) path: String,
    sector: u64,
}

impl EfiDisk {
    /// The width is 12, 16 or 32.
    pub(super) fn new(width: u32) -> Self {
        let folder = temp_dir();
        let path = folder.join("disk.raw");
        junk_file(&path, 64 * MIB);
        run("sgdisk", &["--zap-all", &path]);
        run("sgdisk", &["-n1:2048:+40M", "-t1:ef00", "-n2:0:+10M", &path]);
        let disk = Self { folder, path, sector: 512 };
        disk.format(width);
        disk
    }

    fn format(&self, width: u32) {
        let esp = self.folder.join("esp.raw");
        crate::support::sparse_file(&esp, 40 * MIB);
        let mut args = vec!["-F".to_owned(), width.to_string(), "-n".into(), "ESP".into()];
        if width == 12 {
            args.extend(["-s".into(), "64".into()]);
        }
        run("mkfs.vfat", &[args, vec![esp.clone()]].concat());
        let place = format!("of={}", self.path);
        let seek = format!("seek={}", 2048 * 512 / self.sector);
        let input = format!("if={esp}");
        run("dd", &[&input, &place, &seek, "bs=512", "conv=notrunc", "status=none"]);
    }

    fn mtools(&self) -> String {
        format!("{}@@1M", self.path)
    }

    /// Makes a folder: "EFI/debian".
    pub(super) fn make_folder(&self, name: &str) {
        run("mmd", &["-i", &self.mtools(), &format!("::/{name}")]);
    }

    /// Makes a file, and the folders it is in.
    pub(super) fn put(&self, path: &str, content: &[u8]) {
        let mut at = String::new();
        for part in path.split('/').rev().skip(1).collect::<Vec<_>>().into_iter().rev() {
            at = if at.is_empty() { part.to_owned() } else { format!("{at}/{part}") };
            let _ = crate::support::try_run(
                "mmd",
                &["-D", "s", "-i", &self.mtools(), &format!("::/{at}")],
            );
        }
        let file = self.folder.join("put");
        fs::write(&file, content).unwrap();
        run("mcopy", &["-o", "-i", &self.mtools(), &file, &format!("::/{path}")]);
    }

    /// The content of a file, as mtools finds it.
    pub(super) fn get(&self, path: &str) -> Vec<u8> {
        run("mtype", &["-i", &self.mtools(), &format!("::/{path}")]).stdout
    }

    /// What fsck.vfat says of the partition; it must be clean.
    #[track_caller]
    pub(super) fn assert_clean(&self) {
        let esp = self.folder.join("check.raw");
        let disk = fs::read(&self.path).unwrap();
        fs::write(&esp, &disk[1 << 20..41 << 20]).unwrap();
        let ran = run("fsck.vfat", &["-n", "-v", &esp]);
        for wrong in ["Bad", "Expected", "differ", "reclaim", "wrong", "Dirty", "dirty", "Orphan"] {
            assert!(!ran.out().contains(wrong), "{ran}");
        }
    }

    /// Firmware with a variable, but without entries.
    pub(super) fn firmware(&self) -> Firmware {
        let folder = self.folder.join("firmware");
        let variables = format!("{folder}/efivars");
        fs::create_dir_all(&variables).unwrap();
        let firmware = Firmware { folder, variables };
        firmware.set("SecureBoot", &[6, 0, 0, 0, 1]);
        firmware
    }
}

/// Firmware in a folder, as /sys/firmware/efi.
pub(super) struct Firmware {
    pub(super) folder: String,
    pub(super) variables: String,
}

impl Firmware {
    pub(super) fn path(&self, name: &str) -> String {
        format!("{}/{name}-8be4df61-93ca-11d2-aa0d-00e098032b8c", self.variables)
    }

    pub(super) fn set(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// What efibootmgr, whose library takes another folder, makes of it.
    pub(super) fn efibootmgr(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(find_program("efibootmgr").unwrap());
        command.args(args).env("EFIVARFS_PATH", format!("{}/", self.variables));
        finish(command, &[])
    }
}

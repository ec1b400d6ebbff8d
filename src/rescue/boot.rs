// SPDX-License-Identifier: MIT OR Apache-2.0
//! What starts the rescue system: a boot menu for each kind of firmware.
//!
//! - UEFI starts `\EFI\BOOT\BOOTX64.EFI` of a small FAT volume: shim, which
//!   Microsoft has signed; it starts Debian's GRUB, and that Debian's kernel,
//!   each after checking the signature. None of the three is changed here.
//!   GRUB's own settings are looked for where Debian has built it to look:
//!   `/EFI/debian/grub.cfg` of the volume it was read from.
//! - BIOS starts GRUB from the boot record of a disc (El Torito), or of a stick
//!   from the first sector, which loads the same file.
//!
//! Either finds the medium by a file that no other medium has, and goes on with
//! `/boot/grub/grub.cfg` there.

use std::path::{Path, PathBuf};

use super::libraries::read_inside;
use super::tool::{GRUB_MKIMAGE, MCOPY, MFORMAT, MMD, args};
use crate::error::{Context, Error, Result};
use crate::media::STARTING_VOLUME;
use crate::units::{KIB, MIB};

const MENU: &str = include_str!("../../initramfs/grub.cfg");
const FIND: &str = include_str!("../../initramfs/find.cfg");
const OPTIONS: &str = include_str!("../../initramfs/options.txt");

/// What GRUB needs under BIOS; there are no modules on the medium.
const BIOS_MODULES: [&str; 18] = [
    "biosdisk",
    "configfile",
    "echo",
    "fat",
    "halt",
    "iso9660",
    "linux",
    "loadenv",
    "ls",
    "minicmd",
    "normal",
    "part_msdos",
    "reboot",
    "search",
    "serial",
    "sleep",
    "terminal",
    "test",
];

/// Everything that is read of the packages for the boot menus.
#[derive(Debug)]
pub(super) struct Firmware {
    shim: Vec<u8>,
    shim_helper: Vec<u8>,
    grub: Vec<u8>,
    /// The folder of GRUB's modules for BIOS.
    bios_modules: PathBuf,
    /// The first sector of a stick, as far as it is program.
    pub(super) first_sector: PathBuf,
}

impl Firmware {
    /// Reads them from the unpacked packages.
    ///
    /// # Errors
    /// If a package has changed where it keeps them.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let read = |path: &str| read_inside(root, &root.join(path));
        let bios_modules = root.join("usr/lib/grub/i386-pc");
        Ok(Self {
            shim: read("usr/lib/shim/shimx64.efi.signed")?,
            shim_helper: read("usr/lib/shim/mmx64.efi.signed")?,
            grub: read("usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed")?,
            first_sector: bios_modules.join("boot_hybrid.img"),
            bios_modules,
        })
    }

    /// Adds what decides about the bytes of the medium to its fingerprint.
    pub(super) fn add_to(&self, hasher: &mut blake3::Hasher) {
        for bytes in [&self.shim, &self.shim_helper, &self.grub] {
            hasher.update(blake3::hash(bytes).as_bytes());
        }
        for text in [MENU, FIND, OPTIONS] {
            hasher.update(blake3::hash(text.as_bytes()).as_bytes());
        }
    }

    /// Makes the FAT volume that UEFI starts from, in a file of `folder`.
    ///
    /// # Errors
    /// If mtools fail.
    pub(super) fn efi_volume(&self, folder: &Path, id: &str, date: u64) -> Result<PathBuf> {
        let image = folder.join("efi.img");
        let files: [(&str, &[u8]); 5] = [
            ("EFI/BOOT/BOOTX64.EFI", &self.shim),
            ("EFI/BOOT/mmx64.efi", &self.shim_helper),
            ("EFI/BOOT/grubx64.efi", &self.grub),
            ("EFI/debian/grub.cfg", &find_config(id).into_bytes()),
            ("dacapo/options.txt", OPTIONS.as_bytes()),
        ];
        let needed: u64 = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        // Room for the tables, and for somebody's own settings.
        let sectors = (needed + 512 * KIB).next_multiple_of(MIB) / 512;
        std::fs::File::create(&image)
            .and_then(|file| file.set_len(sectors * 512))
            .context(|| format!("making {}", image.display()))?;
        // With clusters of one sector it has so many that it is a FAT16.
        let serial = id.get(..8).unwrap_or("00000000");
        let format =
            args!["-i", &image, "-T", sectors.to_string(), "-h", "64", "-s", "32", "-c", "1"];
        let names = args!["-N", serial, "-v", STARTING_VOLUME, "::"];
        MFORMAT.run(&[format, names].concat(), folder, date)?;
        let folders = args!["::/EFI", "::/EFI/BOOT", "::/EFI/debian", "::/dacapo"];
        MMD.run(&[args!["-i", &image], folders].concat(), folder, date)?;
        for (path, bytes) in files {
            let file = folder.join("file");
            write_dated(&file, bytes, date)?;
            let to = format!("::/{path}");
            // -m: the time of the file, which is the one of all files.
            MCOPY.run(&args!["-i", &image, "-m", &file, to], folder, date)?;
        }
        Ok(image)
    }

    /// Makes the file that BIOS loads from a disc, and the first sector of a
    /// stick loads, too.
    ///
    /// # Errors
    /// If grub-mkimage fails.
    pub(super) fn bios_image(&self, folder: &Path, id: &str, date: u64) -> Result<Vec<u8>> {
        let (config, image) = (folder.join("find.cfg"), folder.join("eltorito.img"));
        write_dated(&config, find_config(id).as_bytes(), date)?;
        let mut args = args!["-O", "i386-pc-eltorito", "-d", &self.bios_modules];
        args.extend(args!["-p", "/boot/grub", "-c", &config, "-o", &image]);
        args.extend(BIOS_MODULES.map(Into::into));
        GRUB_MKIMAGE.run(&args, folder, date)?;
        std::fs::read(&image).context(|| format!("reading {}", image.display()))
    }
}

/// The settings with which GRUB finds the medium.
pub(super) fn find_config(id: &str) -> String {
    FIND.replace("@ID@", id)
}

/// The boot menu. `append` are arguments for the kernel.
///
/// # Errors
/// If they could mean something to GRUB.
pub(super) fn menu(append: &str) -> Result<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " _-.,:=/+@%".contains(c);
    if let Some(wrong) = append.chars().find(|c| !is_plain(*c)) {
        return Err(Error::usage(format!("'{wrong}' cannot stand in arguments of the boot menu"))
            .hint("letters, digits, blanks and _ - . , : = / + @ % can"));
    }
    Ok(MENU.replace("@APPEND@", append.trim()))
}

/// Writes a file with the one time that all files have.
pub(super) fn write_dated(path: &Path, bytes: &[u8], date: u64) -> Result<()> {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(date);
    let write = || -> std::io::Result<()> {
        std::fs::write(path, bytes)?;
        let times = std::fs::FileTimes::new().set_accessed(time).set_modified(time);
        std::fs::File::options().write(true).open(path)?.set_times(times)
    };
    write().context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_in_every_entry_of_the_menu() {
        let menu = menu(" dacapo.restore=studio dacapo.target=S4-1 ").unwrap();
        let lines: Vec<&str> =
            menu.lines().filter(|line| line.trim().starts_with("linux ")).collect();
        assert_eq!(lines.len(), 4);
        for line in lines {
            assert!(line.ends_with("dacapo.restore=studio dacapo.target=S4-1 $append"), "{line}");
        }
        assert!(!menu.lines().any(|line| !line.starts_with('#') && line.contains('@')));
    }

    #[test]
    fn arguments_cannot_become_commands() {
        for wrong in ["a;b", "a\nreboot", "$x", "a'b", "a\"b", "a{", "a|b", "a#", "a\\"] {
            assert!(menu(wrong).is_err(), "{wrong}");
        }
        menu("").unwrap();
    }

    #[test]
    fn the_settings_on_the_medium_are_what_grub_reads_as_such() {
        assert!(OPTIONS.starts_with("# GRUB Environment Block\n"));
        assert!(find_config("0123").contains("/dacapo/0123;"));
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The medium as one file: an ISO 9660 for discs that is a disk with an MBR
//! for sticks.
//!
//! Partition 1 is the ISO 9660 itself, partition 2 the FAT volume that UEFI
//! starts from, of type EF; the boot record of the disc points to the same
//! bytes. There is no GPT: it would end where the ISO ends, in the middle of a
//! stick, and an MBR has room for a partition with the rest of it.

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::boot::{self, Firmware, find_config, write_dated};
use super::tool::{XORRISO, args};
use super::{Plan, packages};
use crate::error::{Context, Error, Result};
use crate::store::Partial;

/// The name of the volume.
pub(super) const LABEL: &str = "DACAPO_RESCUE";

/// Where the signature of a disk is in its MBR.
const SIGNATURE: u64 = 440;

const README: &str = include_str!("../../initramfs/README.txt");

/// The parts of a medium, before they are put together.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) plan: &'a Plan,
    pub(super) firmware: &'a Firmware,
    pub(super) initramfs: &'a [u8],
    pub(super) append: &'a str,
}

impl Parts<'_> {
    /// Puts the medium together and gives it its name, as an image gets its
    /// own.
    ///
    /// # Errors
    /// Refused, if something of that name exists or is being written; if xorriso
    /// fails or there is no space.
    pub(super) fn write(&self, out: &Path, workshop: &Path) -> Result<()> {
        let date = self.plan.date;
        let menu = boot::menu(self.append)?;
        let id = self.fingerprint();
        let efi = self.firmware.efi_volume(workshop, &id, date)?;
        let bios = self.firmware.bios_image(workshop, &id, date)?;
        let root = workshop.join("medium");
        let list = packages::list(&self.plan.kernel, &self.plan.packages);
        let files: [(&str, &[u8]); 8] = [
            ("boot/vmlinuz", &self.plan.vmlinuz),
            ("boot/initramfs", self.initramfs),
            ("boot/grub/grub.cfg", menu.as_bytes()),
            ("boot/grub/eltorito.img", &bios),
            // Where GRUB looks when UEFI has started it from a disc.
            ("EFI/debian/grub.cfg", &find_config(&id).into_bytes()),
            (&format!("dacapo/{id}"), b""),
            ("dacapo/packages.txt", list.as_bytes()),
            ("README.txt", README.as_bytes()),
        ];
        for (path, bytes) in files {
            let path = root.join(path);
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)
                    .context(|| format!("making the folder {}", folder.display()))?;
            }
            write_dated(&path, bytes, date)?;
        }
        let medium = workshop.join("medium.iso");
        self.assemble(&medium, &root, &efi, workshop)?;
        let mut medium = open_signed(&medium, &id).context(|| "signing the medium".into())?;
        let mut partial = Partial::create(out)?;
        let name = partial.partial().to_owned();
        let copied = std::io::copy(&mut medium, &mut partial)
            .context(|| format!("writing {}", name.display()))
            .and_then(|_| partial.commit());
        copied.inspect_err(|_| {
            let _ = std::fs::remove_file(&name);
        })
    }

    fn assemble(&self, out: &Path, root: &Path, efi: &Path, workshop: &Path) -> Result<()> {
        let mut args = args!["-as", "mkisofs", "-quiet", "-o", out, "-V", LABEL];
        // Names as they are, owned by root, with the one date.
        args.extend(args!["-r", "-iso-level", "3"]);
        args.extend(args!["--set_all_file_dates", iso_date(self.plan.date)?]);
        // BIOS: from a disc, and from the first sector of a stick.
        args.extend(args!["-b", "boot/grub/eltorito.img", "-no-emul-boot"]);
        args.extend(args!["-boot-load-size", "4", "-boot-info-table", "--grub2-boot-info"]);
        args.extend(args!["--boot-catalog-hide", "--grub2-mbr", &self.firmware.first_sector]);
        // Some BIOSes start only a stick with an active partition. The first
        // begins behind the first sector, so that it can be mounted as well.
        args.extend(args!["--mbr-force-bootable", "-partition_offset", "16"]);
        // UEFI: the same bytes from a disc and as a partition of a stick.
        args.extend(args!["-append_partition", "2", "0xef", efi, "-eltorito-alt-boot"]);
        args.extend(args!["-e", "--interval:appended_partition_2:all::", "-no-emul-boot"]);
        args.push(root.into());
        XORRISO.run(&args, workshop, self.plan.date).map(drop)
    }

    /// What makes this medium another one than those of other inputs.
    fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(blake3::hash(&self.plan.vmlinuz).as_bytes());
        hasher.update(blake3::hash(self.initramfs).as_bytes());
        self.firmware.add_to(&mut hasher);
        hasher.update(self.append.as_bytes());
        hasher.finalize().to_hex().chars().take(16).collect()
    }
}

/// A time as xorriso takes it: year to hundredth of a second.
fn iso_date(date: u64) -> Result<String> {
    let seconds = i64::try_from(date).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_second(seconds)
        .map_err(|_| Error::usage(format!("SOURCE_DATE_EPOCH is {date}, no time")))?;
    Ok(time.strftime("%Y%m%d%H%M%S00").to_string())
}

/// Gives the disk that a stick becomes its signature, which xorriso leaves
/// zero: Windows would write one of its own.
fn open_signed(path: &Path, id: &str) -> std::io::Result<std::fs::File> {
    let file = std::fs::File::options().read(true).write(true).open(path)?;
    let signature = id.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    file.write_all_at(&signature.unwrap_or(1).max(1).to_le_bytes(), SIGNATURE)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_xorriso_reads_them() {
        assert_eq!(iso_date(0).unwrap(), "1970010100000000");
        assert_eq!(iso_date(1_767_225_661).unwrap(), "2026010100010100");
        assert!(iso_date(u64::MAX).is_err());
    }
}

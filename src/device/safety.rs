// SPDX-License-Identifier: MIT OR Apache-2.0
//! May this be read as a source, may that be overwritten as a target? Every
//! refusal says why and what to do.

use std::path::Path;

use super::foundation::Foundation;
use super::inuse::{Usage, Use, User, absolute, device_at};
use super::sysfs::{Block, System};
use super::{Source, Target};
use crate::error::{Error, Result};
use crate::units::SectorSize;

/// How many users a message names.
const NAMED_USERS: usize = 3;

/// Refuses a source that somebody may write to while it is read; mounted
/// read-only is fine.
///
/// # Errors
/// Refused, or that the kernel cannot be asked.
pub fn check_source(path: &Path) -> Result<()> {
    check_source_on(&System::running(), &absolute(path)?, Claims::Count)
}

/// As [`check_source`], for a source that this program has open; one it has
/// claimed for itself is claimed by nobody else.
///
/// # Errors
/// As [`check_source`].
pub fn check_opened_source(source: &Source) -> Result<()> {
    let claims = if source.is_claimed() { Claims::AreOurs } else { Claims::Count };
    check_source_on(&System::running(), &absolute(Path::new(source.path()))?, claims)
}

/// Opens a disk, partition or file that is to stay as it is while it is read.
///
/// # Errors
/// Refused if something may write to it.
pub fn open_source(path: &Path, sector: Option<SectorSize>) -> Result<Source> {
    check_source(path)?;
    let source = Source::claim(path, sector)?;
    // Somebody may have come in between.
    check_opened_source(&source)?;
    Ok(source)
}

/// Refuses a target that is in use in any way, is read-only, holds the image,
/// or is what the system was started from.
///
/// # Errors
/// Refused, or that the kernel cannot be asked.
pub fn check_target(path: &Path, image: Option<&Path>) -> Result<()> {
    let image = image.map(absolute).transpose()?;
    check_target_on(&System::running(), &absolute(path)?, image.as_deref(), Claims::Count)
}

/// As [`check_target`], for a target that this program has opened and so
/// claimed.
///
/// # Errors
/// As [`check_target`].
pub fn check_opened_target(target: &Target, image: Option<&Path>) -> Result<()> {
    let image = image.map(absolute).transpose()?;
    let path = absolute(Path::new(target.path()))?;
    check_target_on(&System::running(), &path, image.as_deref(), Claims::AreOurs)
}

/// Who is behind a claim of the device by a program that cannot be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claims {
    /// Some program.
    Count,
    /// This one.
    AreOurs,
}

fn users_of(system: &System, path: &Path, claims: Claims) -> Result<Vec<User>> {
    let usage = Usage::read(system)?;
    match device_at(system, path)? {
        Some(block) if claims == Claims::AreOurs => Ok(usage.of_device(&block)),
        _ => usage.of_path(path),
    }
}

fn check_source_on(system: &System, path: &Path, claims: Claims) -> Result<()> {
    let users = users_of(system, path, claims)?;
    let writers: Vec<&User> = users.iter().filter(|user| user.writes).collect();
    let Some(first) = writers.first() else { return Ok(()) };
    let hint = match first.kind {
        Use::Mount => {
            format!("{}, or keep it readable: mount -o remount,ro {}", first.hint, first.place)
        }
        _ => first.hint.clone(),
    };
    Err(Error::refused(format!(
        "{} may change while it is read: {}",
        path.display(),
        listed(&writers)
    ))
    .hint(hint))
}

fn check_target_on(
    system: &System,
    path: &Path,
    image: Option<&Path>,
    claims: Claims,
) -> Result<()> {
    let shown = path.display();
    let device = device_at(system, path)?;
    if let Some(block) = &device {
        check_boot(system, path, block)?;
    }
    if let Some(image) = image {
        check_overlap(system, path, device.as_ref(), image)?;
    }
    let users = users_of(system, path, claims)?;
    if let Some(first) = users.last() {
        let all: Vec<&User> = users.iter().collect();
        // What stands on top has to go first.
        return Err(
            Error::refused(format!("{shown} is in use: {}", listed(&all))).hint(first.hint.clone())
        );
    }
    if let Some(block) = device
        && (block.flag("ro") || block.disk().flag("ro"))
    {
        return Err(Error::refused(format!("{shown} is read-only")).hint(format!(
            "look for a write protection switch, or: blockdev --setrw {}",
            block.device_path()
        )));
    }
    Ok(())
}

fn check_boot(system: &System, path: &Path, block: &Block) -> Result<()> {
    let mut boot = Foundation::new(system)?;
    boot.add_boot();
    if boot.contains(block) {
        return Err(Error::refused(format!("this system runs from {}", path.display()))
            .hint("start the machine from a rescue stick to restore this disk"));
    }
    Ok(())
}

/// Refuses a target that is below what is read, or above it: either way,
/// writing the one changes the other.
fn check_overlap(system: &System, path: &Path, device: Option<&Block>, image: &Path) -> Result<()> {
    let (shown, read) = (path.display(), image.display());
    if device.is_none() && system.is_same_file(path, image) {
        return Err(
            Error::refused(format!("{shown} is the image itself")).hint("choose another target")
        );
    }
    let source = device_at(system, image)?;
    let mut below_source = Foundation::new(system)?;
    below_source.add_path(image);
    let is_below = match device {
        Some(block) => below_source.contains(block),
        None => below_source.contains_file(path),
    };
    if is_below && source.is_none() {
        return Err(Error::refused(format!("{shown} holds the image {read}"))
            .hint("copy the image to another disk, or choose another target"));
    }
    let mut below_target = Foundation::new(system)?;
    below_target.add_path(path);
    let is_above = match &source {
        Some(block) => below_target.contains(block),
        None => below_target.contains_file(image),
    };
    if is_below || is_above {
        return Err(Error::refused(format!("{shown}: writing to it would overwrite {read}"))
            .hint("the one is part of the other or made from it; choose another target"));
    }
    Ok(())
}

fn listed(users: &[&User]) -> String {
    let mut text: Vec<String> =
        users.iter().take(NAMED_USERS).map(|user| user.to_string()).collect();
    if users.len() > NAMED_USERS {
        text.push(format!("and {} more", users.len() - NAMED_USERS));
    }
    text.join("; ")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::device::fake::Machine;
    use crate::error::ErrorKind;

    const NVME: &str = "pci0000:00/0000:00:1d.0/0000:02:00.0/nvme/nvme0";
    const ATA: &str = "pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0";
    const USB: &str = "pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host4/target4:0:0/4:0:0:0";

    /// A laptop that runs from its NVMe disk, with a SATA disk of Windows and
    /// a USB disk of images.
    fn laptop() -> Machine {
        let mut machine = Machine::new();
        machine.disk(NVME, "nvme0n1", "259:0", 1 << 21);
        machine.partition("nvme0n1", "nvme0n1p1", "259:1", 2048, 1 << 16);
        machine.partition("nvme0n1", "nvme0n1p2", "259:2", 1 << 17, 1 << 16);
        machine.partition("nvme0n1", "nvme0n1p3", "259:3", 1 << 18, 1 << 16);
        machine.mapping("dm-0", "252:0", "nvme0n1p2", "root", "CRYPT-LUKS2-1-root");
        machine.disk(ATA, "sda", "8:0", 1 << 21);
        machine.partition("sda", "sda1", "8:1", 2048, 1 << 16);
        machine.disk(USB, "sdb", "8:16", 1 << 21);
        machine.partition("sdb", "sdb1", "8:17", 2048, 1 << 16);
        machine.partition("sdb", "sdb2", "8:18", 1 << 17, 1 << 16);
        machine.mount("252:0", "/dev/mapper/root", "/", "rw");
        machine.mount("259:1", "/dev/nvme0n1p1", "/boot", "rw");
        machine.mount("8:17", "/dev/sdb1", "/media/images", "rw");
        machine.file("media/images/win.img.zst", "x");
        machine
    }

    const IMAGE: &str = "/media/images/win.img.zst";

    fn target(machine: &Machine, path: &str) -> Result<()> {
        check_target_on(&machine.system(), Path::new(path), Some(Path::new(IMAGE)), Claims::Count)
    }

    fn source(machine: &Machine, path: &str) -> Result<()> {
        check_source_on(&machine.system(), Path::new(path), Claims::Count)
    }

    fn refused(result: Result<()>) -> (String, String) {
        let error = result.expect_err("must be refused");
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        (error.to_string(), error.hint_text().unwrap_or_default().to_owned())
    }

    #[test]
    fn a_free_disk_is_both_source_and_target() {
        let machine = laptop();
        for path in ["/dev/sda", "/dev/sda1"] {
            source(&machine, path).unwrap();
            target(&machine, path).unwrap();
        }
        // A file that is yet to be made.
        target(&machine, "/media/images/new.raw").unwrap();
    }

    #[test]
    fn the_disk_that_was_booted_is_no_target() {
        let machine = laptop();
        for path in ["/dev/nvme0n1", "/dev/nvme0n1p1", "/dev/nvme0n1p2", "/dev/dm-0"] {
            let (said, hint) = refused(target(&machine, path));
            assert_eq!(said, format!("this system runs from {path}"));
            assert!(hint.contains("rescue"));
        }
        // A partition beside it that nobody uses may be restored.
        target(&machine, "/dev/nvme0n1p3").unwrap();
    }

    #[test]
    fn the_disk_that_holds_the_image_is_no_target() {
        let machine = laptop();
        for path in ["/dev/sdb", "/dev/sdb1"] {
            let (said, _) = refused(target(&machine, path));
            assert_eq!(said, format!("{path} holds the image {IMAGE}"));
        }
        target(&machine, "/dev/sdb2").unwrap();
        let (said, _) = refused(target(&machine, IMAGE));
        assert_eq!(said, format!("{IMAGE} is the image itself"));
    }

    #[test]
    fn a_device_is_no_target_for_itself_or_what_it_is_part_of() {
        let machine = laptop();
        machine.mapping("dm-1", "252:1", "sda1", "vg-data", "LVM-1");
        machine.mapping("dm-2", "252:2", "sda1", "vg-more", "LVM-2");
        machine.disk("virtual", "sdc", "8:32", 1 << 21);
        let from = |from: &str, to: &str| {
            check_target_on(&machine.system(), Path::new(to), Some(Path::new(from)), Claims::Count)
        };
        for (source, target) in [
            ("/dev/sdc", "/dev/sdc"),
            ("/dev/sda1", "/dev/sda"),
            ("/dev/sda", "/dev/sda1"),
            // Up and down a stack.
            ("/dev/sda1", "/dev/mapper/vg-data"),
            ("/dev/sda", "/dev/dm-1"),
            ("/dev/mapper/vg-data", "/dev/sda1"),
            ("/dev/dm-1", "/dev/sda"),
            ("/dev/dm-1", "/dev/mapper/vg-data"),
        ] {
            let (said, hint) = refused(from(source, target));
            assert!(said.starts_with(target) && said.contains(source), "{said}");
            assert!(!said.contains("in use"), "{source} to {target}: {said}");
            assert!(!hint.is_empty());
        }
        // Beside it is not on it.
        from("/dev/dm-1", "/dev/dm-2").unwrap();
        from("/dev/sda", "/dev/sdc").unwrap();
        from("/dev/sdb1", "/dev/sdb2").unwrap();
    }

    #[test]
    fn a_loop_device_is_no_target_for_what_its_file_is_or_holds() {
        let mut machine = laptop();
        machine.file("srv/a.raw", "x");
        machine.looped("loop0", "7:0", "/srv/a.raw");
        // A file on the disk in the file.
        machine.mount("7:0", "/dev/loop0", "/mnt/a", "ro");
        machine.file("mnt/a/b.raw", "x");
        machine.looped("loop1", "7:1", "/mnt/a/b.raw");
        let from = |from: &str, to: &str| {
            check_target_on(&machine.system(), Path::new(to), Some(Path::new(from)), Claims::Count)
        };
        for source in ["/srv/a.raw", "/dev/loop0", "/mnt/a/b.raw"] {
            let (said, _) = refused(from(source, "/dev/loop1"));
            assert_eq!(said, format!("/dev/loop1: writing to it would overwrite {source}"));
        }
        refused(from("/srv/a.raw", "/mnt/a/new.raw"));
        from("/srv/other.raw", "/dev/loop1").unwrap();
    }

    #[test]
    fn even_a_read_only_mount_stops_a_target_but_not_a_source() {
        let mut machine = laptop();
        machine.mount("8:1", "/dev/sda1", "/mnt/win", "ro");
        source(&machine, "/dev/sda").unwrap();
        let (said, hint) = refused(target(&machine, "/dev/sda"));
        assert_eq!(said, "/dev/sda is in use: /dev/sda1 is mounted read-only at /mnt/win");
        assert_eq!(hint, "umount /mnt/win");
    }

    #[test]
    fn a_mounted_source_is_refused_and_told_how_to_go_on() {
        let mut machine = laptop();
        machine.mount("8:1", "/dev/sda1", "/mnt/win", "rw,noatime");
        for path in ["/dev/sda", "/dev/sda1"] {
            let (said, hint) = refused(source(&machine, path));
            assert_eq!(
                said,
                format!("{path} may change while it is read: /dev/sda1 is mounted at /mnt/win")
            );
            assert!(hint.contains("umount /mnt/win") && hint.contains("remount,ro"), "{hint}");
        }
    }

    #[test]
    fn an_idle_mapping_stops_a_target_but_not_a_source() {
        let mut machine = laptop();
        machine.mapping("dm-1", "252:1", "sda1", "vg-data", "LVM-1");
        source(&machine, "/dev/sda").unwrap();
        let (said, hint) = refused(target(&machine, "/dev/sda"));
        assert!(said.contains("/dev/sda1 is held by /dev/dm-1 (vg-data)"), "{said}");
        assert_eq!(hint, "lvchange --activate n /dev/mapper/vg-data");
        machine.mount("252:1", "/dev/mapper/vg-data", "/data", "rw");
        let (said, _) = refused(source(&machine, "/dev/sda"));
        assert!(said.contains("/dev/dm-1 is mounted at /data"), "{said}");
        // Whoever is on top has to go first.
        assert_eq!(refused(target(&machine, "/dev/sda")).1, "umount /data");
    }

    #[test]
    fn swap_stops_both() {
        let mut machine = laptop();
        machine.swaps(&["/dev/sda1"]);
        assert_eq!(refused(source(&machine, "/dev/sda")).1, "swapoff /dev/sda1");
        assert_eq!(refused(target(&machine, "/dev/sda")).1, "swapoff /dev/sda1");
    }

    #[test]
    fn a_loop_device_mounted_read_write_stops_its_file() {
        let mut machine = laptop();
        machine.file("srv/a.raw", "x");
        machine.looped("loop0", "7:0", "/srv/a.raw");
        source(&machine, "/srv/a.raw").unwrap();
        refused(target(&machine, "/srv/a.raw"));
        machine.mount("7:0", "/dev/loop0", "/mnt/a", "rw");
        refused(source(&machine, "/srv/a.raw"));
    }

    #[test]
    fn a_read_only_device_is_no_target() {
        let machine = laptop();
        machine.attribute("sda", "ro", "1\n");
        source(&machine, "/dev/sda").unwrap();
        for path in ["/dev/sda", "/dev/sda1"] {
            assert!(refused(target(&machine, path)).0.ends_with("is read-only"));
        }
    }

    #[test]
    fn nothing_is_allowed_where_nothing_is_known() {
        let machine = laptop();
        fs::remove_file(machine.path("proc/self/mountinfo")).unwrap();
        assert!(source(&machine, "/dev/sda").is_err());
        assert!(target(&machine, "/dev/sda").is_err());
        assert!(target(&machine, "/media/images/new.raw").is_err());
    }

    #[test]
    fn many_users_are_counted() {
        let mut machine = laptop();
        for number in 0..5 {
            machine.mount("8:1", "/dev/sda1", &format!("/mnt/{number}"), "rw");
        }
        let (said, _) = refused(source(&machine, "/dev/sda"));
        assert!(said.ends_with("; and 2 more"), "{said}");
    }
}

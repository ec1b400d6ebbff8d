// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why no disk can be seen: mostly a setting of the firmware that hides them
//! behind a RAID controller.

use std::fs;
use std::path::{Path, PathBuf};

/// A controller that may hide disks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Controller {
    vendor: u32,
    device: u32,
    class: u32,
    has_driver: bool,
    modalias: String,
}

const INTEL: u32 = 0x8086;
const AMD: u32 = 0x1022;
/// Volume Management Devices: the NVMe disks are behind them.
const VMD: [u32; 8] = [0x201d, 0x28c0, 0x467f, 0x4c3d, 0xa77f, 0x7d0b, 0xad0b, 0x9a0b];
/// What a PCI device of each class is.
const SATA_RAID: u32 = 0x0104;
const ANY_STORAGE: u32 = 0x01;

/// Sentences for somebody who sees no disk, or not the one that is there:
/// which setting of the firmware hides it, or which driver is missing. The
/// last one always applies.
#[must_use]
pub fn no_disks() -> Vec<String> {
    sentences(&controllers(Path::new("/sys/bus/pci/devices")))
}

fn controllers(folder: &Path) -> Vec<Controller> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    folders.iter().filter_map(|folder| controller(folder)).collect()
}

fn controller(folder: &Path) -> Option<Controller> {
    let text = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let number =
        |name: &str| u32::from_str_radix(text(name)?.trim().trim_start_matches("0x"), 16).ok();
    let class = number("class")?;
    (class >> 16 == ANY_STORAGE).then_some(Controller {
        vendor: number("vendor")?,
        device: number("device")?,
        class: class >> 8,
        has_driver: folder.join("driver").exists(),
        modalias: text("modalias").unwrap_or_default().trim().to_owned(),
    })
}

fn sentences(controllers: &[Controller]) -> Vec<String> {
    let mut said = Vec::new();
    for it in controllers {
        let sentence = match (it.vendor, it.class) {
            (INTEL, SATA_RAID) if VMD.contains(&it.device) => {
                "This machine hides its NVMe disks behind Intel VMD. In the firmware setup \
                 (BIOS), look for 'VMD controller' or 'Intel RST' and switch it off for as long \
                 as this stick is used; switch it on again before Windows is started."
                    .to_owned()
            }
            (INTEL, SATA_RAID) => {
                "The disk controller of this machine is set to RAID (Intel RST). In the firmware \
                 setup (BIOS), set 'SATA mode' or 'Storage mode' to AHCI for as long as this \
                 stick is used; set it back before Windows is started."
                    .to_owned()
            }
            (AMD, SATA_RAID) => {
                "The disk controller of this machine is set to RAID (AMD). In the firmware setup \
                 (BIOS), set 'SATA mode' and 'NVMe RAID mode' to AHCI or off for as long as this \
                 stick is used; set it back before Windows is started."
                    .to_owned()
            }
            _ if !it.has_driver => format!(
                "There is a disk controller for which this stick has no driver \
                 (PCI {:04x}:{:04x}, {}).",
                it.vendor, it.device, it.modalias
            ),
            _ => continue,
        };
        if !said.contains(&sentence) {
            said.push(sentence);
        }
    }
    said.push(
        "Check that the disk is plugged in and gets power, and whether the firmware setup (BIOS) \
         shows it."
            .into(),
    );
    said
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn machine(devices: &[(&str, &str, &str, bool)]) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        for (number, (vendor, device, class, has_driver)) in devices.iter().enumerate() {
            let folder = root.path().join(format!("0000:00:{number:02x}.0"));
            fs::create_dir(&folder).unwrap();
            for (name, value) in [("vendor", vendor), ("device", device), ("class", class)] {
                fs::write(folder.join(name), format!("{value}\n")).unwrap();
            }
            fs::write(folder.join("modalias"), "pci:v0000\n").unwrap();
            if *has_driver {
                symlink("..", folder.join("driver")).unwrap();
            }
        }
        sentences(&controllers(root.path()))
    }

    #[test]
    fn the_setting_that_hides_the_disks_is_named() {
        let vmd = machine(&[("0x8086", "0x9a0b", "0x010400", true)]);
        assert!(vmd[0].contains("Intel VMD") && vmd.len() == 2, "{vmd:?}");
        let rst = machine(&[("0x8086", "0x282a", "0x010400", true)]);
        assert!(rst[0].contains("'SATA mode'") && rst[0].contains("AHCI"), "{rst:?}");
        let amd = machine(&[("0x1022", "0x7905", "0x010400", false)]);
        assert!(amd[0].contains("AMD"), "{amd:?}");
        let other = machine(&[("0x1000", "0x0097", "0x010700", false)]);
        assert!(other[0].contains("no driver (PCI 1000:0097, pci:v0000)"), "{other:?}");
    }

    #[test]
    fn a_machine_without_a_reason_gets_the_plain_advice() {
        // An AHCI controller with its driver, a network card without.
        let plain = machine(&[
            ("0x8086", "0x2922", "0x010601", true),
            ("0x8086", "0x100e", "0x020000", false),
        ]);
        assert_eq!(plain.len(), 1, "{plain:?}");
        assert!(plain[0].contains("plugged in"));
        assert_eq!(machine(&[]).len(), 1);
        assert!(controllers(Path::new("/nonexistent")).is_empty());
    }
}

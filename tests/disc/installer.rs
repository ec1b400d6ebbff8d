// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disc of an installer, made of what Debian installs from the network with. A
//! computer starts from its archived file as from the disc.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::scene::{SECTOR, assert_same, isoinfo_size, record};
use crate::support::machine::{Boot, Firmware, Machine};
use crate::support::{all, dacapo, requires, run, temp_dir};

/// Of Debian's package debian-installer-12-netboot-amd64, which has the parts of the
/// disc, and no disc.
const PARTS: &str = "/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64";

const MENU: &str = "set timeout=0
menuentry 'Install' {
    linux /linux console=ttyS0 --- quiet
    initrd /initrd.gz
}
";

#[test]
fn an_installer_starts_from_its_archived_disc() {
    const NEEDS: &[&str] =
        &["grub-mkrescue", "xorriso", "mformat", "isoinfo", "implantisomd5", "checkisomd5"];
    if !all() || !requires(&[NEEDS, &["qemu-system-x86_64"]].concat()) {
        return;
    }
    let folder = temp_dir();
    let (tree, disc, copy) =
        (folder.join("tree"), folder.join("disc.iso"), folder.join("copy.iso"));
    fs::create_dir_all(Path::new(&tree).join("boot/grub")).unwrap();
    fs::write(Path::new(&tree).join("boot/grub/grub.cfg"), MENU).unwrap();
    for name in ["linux", "initrd.gz"] {
        fs::copy(Path::new(PARTS).join(name), Path::new(&tree).join(name)).unwrap();
    }
    let _ = run("grub-mkrescue", &["-o", &disc, &tree, "--", "-volid", "INSTALL"]);
    let _ = run("implantisomd5", &[&disc]);

    let _ = dacapo(&["disc", "read", &disc, &copy]).success();
    assert_same(&disc, &copy);
    let told = record(&copy);
    assert_eq!(told["volume"]["label"], "INSTALL");
    let filesystem = told["sizes"]["primary"].as_u64();
    assert_eq!(filesystem, Some(isoinfo_size(&disc) * SECTOR));
    let _ = run("checkisomd5", &[&copy]);
    dacapo(&["disc", "verify", &copy]).success().says("good");

    for firmware in [Firmware::Bios, Firmware::Uefi] {
        let mut machine = Machine::new(firmware, Boot::Cd((&copy).into()));
        // With less it asks something else first.
        machine.memory_mib = 1536;
        let mut guest = machine.start();
        guest.screen.wait_for("Select a language", Duration::from_secs(300));
        guest.kill();
    }
}

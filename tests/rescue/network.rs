// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images that come over the network: a restore without a question from a web
//! server.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use super::kernel;
use super::scene::{END, SOON, START, WORK, ready};
use crate::support::machine::{Boot, Bus, Drive, Firmware, Machine};
use crate::support::{HttpServer, TempDir, assert_same, dacapo, junk, junk_file, temp_dir};

const MIB: usize = 1 << 20;

/// A disk of 64 MiB and its image, in a folder of their own.
fn saved() -> (TempDir, String) {
    let folder = temp_dir();
    let disk = folder.join("disk.raw");
    let mut bytes = junk(64 * MIB, 11);
    bytes[8 * MIB..40 * MIB].fill(0);
    fs::write(&disk, bytes).unwrap();
    fs::create_dir(folder.path().join("images")).unwrap();
    let image = folder.join("images/studio.img.zst");
    dacapo(&["save", &disk, &image, "--quiet", "--label", "studio"]).success();
    (folder, disk)
}

/// A computer that starts the rescue system with these words for its kernel,
/// and has a disk to restore to.
fn machine(folder: &TempDir, words: &str, network: &str) -> Machine {
    let target = folder.join("target.raw");
    junk_file(&target, 64 * MIB as u64);
    let drive = Drive::new(Path::new(&target), Bus::Virtio, "TARGET-1");
    let mut machine = Machine::new(Firmware::Bios, Boot::Disk).with(drive);
    let file = |name: &str| kernel().join(name).to_str().unwrap().to_owned();
    let append = format!("console=ttyS0 quiet {words}");
    machine.more = ["-kernel", &file("vmlinuz"), "-initrd", &file("initramfs"), "-append", &append]
        .map(str::to_owned)
        .into();
    machine.more.extend(["-netdev".into(), format!("user,id=net{network}")]);
    machine.more.extend(["-device".into(), "virtio-net-pci,netdev=net,romfile=".into()]);
    machine
}

#[test]
fn an_unattended_restore_over_http_survives_lost_connections() {
    if !ready() {
        return;
    }
    let (folder, disk) = saved();
    let server = HttpServer::start(folder.path().join("images"));
    server.manners().cut_after.store(300_000, Ordering::SeqCst);
    server.manners().cuts.store(3, Ordering::SeqCst);
    let port = server.address().port();
    let words = format!(
        "dacapo.restore=http://10.0.2.2:{port}/studio.img.zst dacapo.target=TARGET-1 \
         dacapo.ip=dhcp dacapo.after=poweroff dacapo.after-failure=poweroff"
    );
    let machine = machine(&folder, &words, "");
    let mut guest = machine.start();
    guest.screen.wait_for_output("dacapo: unattended restore", START + WORK);
    guest.wait_off(END);
    assert_eq!(server.manners().cuts.load(Ordering::SeqCst), 0, "no connection was lost");
    assert_same(&disk, folder.join("target.raw"));
}

#[test]
fn an_unattended_restore_from_nowhere_writes_nothing() {
    if !ready() {
        return;
    }
    let (folder, _) = saved();
    let server = HttpServer::start(folder.path().join("images"));
    let port = server.address().port();
    let words = format!(
        "dacapo.restore=http://10.0.2.2:{port}/other.img.zst dacapo.target=TARGET-1 dacapo.wait=20 \
         dacapo.ip=:10.0.2.50/24:10.0.2.2:10.0.2.3 dacapo.after-failure=poweroff"
    );
    let machine = machine(&folder, &words, "");
    let before = crate::support::hash_of(folder.join("target.raw"));
    let mut guest = machine.start();
    guest.screen.wait_for_output("does not exist", START);
    guest.screen.wait_for_output("dacapo: unattended restore failed (exit 1)", SOON);
    guest.wait_off(END);
    assert_eq!(before, crate::support::hash_of(folder.join("target.raw")));
}

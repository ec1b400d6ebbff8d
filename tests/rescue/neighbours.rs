// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images on another machine: in a folder that it shares by NFS or SMB, and
//! behind its SSH.

use std::fs;
use std::path::Path;

use super::kernel;
use super::scene::{SOON, WORK, open_shell, power_off_by_shell, ready, type_command};
use crate::support::machine::{Boot, Bus, Drive, Firmware, Guest, Machine};
use crate::support::neighbour::Neighbour;
use crate::support::{TempDir, all, assert_same, dacapo, junk, junk_file, requires, temp_dir};

const MIB: usize = 1 << 20;
const IMAGE: &str = "studio.img.zst";
/// Where a folder of the neighbour is in the rescue system.
const PLACE: &str = "/run/dacapo/network/10.0.2.2";

/// A neighbour with the image of a disk, and the rescue system beside it, with
/// a shell on its screen and disks that hold something else.
struct Scene {
    folder: TempDir,
    disk: String,
    /// Switched off before the network is taken away.
    guest: Guest,
    _machine: Machine,
    _neighbour: Neighbour,
}

impl Scene {
    #[track_caller]
    fn start(nfs: &str, targets: usize) -> Self {
        let folder = temp_dir();
        let (disk, images) = (folder.join("disk.raw"), folder.join("images"));
        let mut bytes = junk(24 * MIB, 11);
        bytes[4 * MIB..10 * MIB].fill(0);
        fs::write(&disk, bytes).unwrap();
        fs::create_dir(&images).unwrap();
        dacapo(&["save", &disk, &format!("{images}/{IMAGE}"), "--level", "1"]).success();
        let line = "console=ttyS0,115200 quiet".to_owned();
        let boot = Boot::Kernel { folder: kernel().to_owned(), line };
        let neighbour = Neighbour::start(Path::new(&images), nfs);
        let mut machine = Machine::new(Firmware::Bios, boot);
        machine.network = true;
        machine.namespace = Some(neighbour.network());
        for number in 0..targets {
            let target = folder.join(&format!("target-{number}.raw"));
            junk_file(&target, 24 * MIB as u64);
            let serial = format!("TARGET-{number}");
            machine = machine.with(Drive::new(Path::new(&target), Bus::Virtio, &serial));
        }
        let guest = machine.start();
        open_shell(&guest);
        let this = Self { folder, disk, guest, _machine: machine, _neighbour: neighbour };
        // The card may not be there at once on a busy machine.
        this.work("until dacapo network set dhcp; do sleep 1; done");
        this
    }

    /// Connects a folder; returns what is said of it in the list of mounts.
    /// `password`: what is typed when it is asked for.
    #[track_caller]
    fn connect(&self, share: &str, password: Option<&str>) -> String {
        let screen = &self.guest.screen;
        screen.type_keys(&format!("clear; dacapo network connect {share} && echo conn''ected\r"));
        if let Some(password) = password {
            let shown = screen.wait_for("Password of anna on 10.0.2.2:", SOON);
            screen.type_keys(&format!("{password}\r"));
            assert!(!shown.contains(password));
        }
        let shown = screen.wait_for("\nconnected", SOON);
        assert!(shown.contains(PLACE), "{shown}");
        assert!(!shown.contains(Neighbour::PASSWORD), "{shown}");
        // Two lines at least, on a screen with 80 columns.
        type_command(&self.guest, &format!("grep {PLACE} /proc/mounts")).replace('\n', "")
    }

    /// Runs a command that works for a while, and has to succeed.
    #[track_caller]
    fn work(&self, command: &str) {
        self.guest
            .screen
            .type_keys(&format!("clear; {command}; printf '\\nexited %d, do''ne\\n' $?\r"));
        self.has_worked();
    }

    #[track_caller]
    fn has_worked(&self) {
        let shown = self.guest.screen.wait_for(", done", WORK);
        assert!(shown.contains("\nexited 0, done"), "{shown}");
    }

    /// Restores an image in a folder of the neighbour to a target.
    #[track_caller]
    fn restore(&self, folder: &str, target: usize) {
        self.work(&restore(&format!("{PLACE}-{folder}/{IMAGE}"), target));
    }

    #[track_caller]
    fn disconnect(&self) {
        let left = format!("dacapo network disconnect; grep -c {PLACE} /proc/mounts");
        let shown = type_command(&self.guest, &left);
        assert!(shown.contains("\n0\n"), "{shown}");
    }

    /// Switches off; every target is the disk that was saved.
    #[track_caller]
    fn finish(mut self, targets: usize) {
        power_off_by_shell(&mut self.guest);
        for number in 0..targets {
            assert_same(&self.disk, self.folder.join(&format!("target-{number}.raw")));
        }
    }
}

/// The command that restores an image to a target.
fn restore(image: &str, target: usize) -> String {
    let device = ["/dev/vda", "/dev/vdb", "/dev/vdc"][target];
    format!("dacapo restore {image} {device} --yes --confirm TARGET-{target} --quiet")
}

fn enough() -> bool {
    ready() && requires(&Neighbour::NEEDS)
}

#[test]
fn an_image_on_another_machine_restores_by_nfs_by_smb_and_by_ssh() {
    if !enough() {
        return;
    }
    let scene = Scene::start("4", 3);
    let mount = scene.connect("nfs://10.0.2.2/srv/images", None);
    assert!(mount.contains(" nfs4 ro,") && mount.contains("vers=4.2"), "{mount}");
    scene.restore("srv-images", 0);
    scene.disconnect();

    // The newest version, and sealed, because the neighbour wants that.
    let share = "smb://anna@10.0.2.2/private/images";
    let mount = scene.connect(share, Some(Neighbour::PASSWORD));
    assert!(mount.contains(" cifs ro,") && mount.contains("vers=3.1.1"), "{mount}");
    assert!(mount.contains("username=anna"), "{mount}");
    scene.restore("private/images", 1);
    scene.disconnect();

    // Without a file in between: the server's key is shown and taken, the
    // password typed, and what comes is restored as it comes.
    let screen = &scene.guest.screen;
    screen.type_keys(&format!(
        "clear; ssh anna@10.0.2.2 cat /srv/images/{IMAGE} </dev/null | {}; printf '\\nexited %d, do''ne\\n' $?\r",
        restore("-", 2)
    ));
    screen.wait_for("Do you want to continue connecting?", SOON);
    screen.type_keys("y\r");
    screen.wait_for("password:", SOON);
    screen.type_keys(&format!("{}\r", Neighbour::PASSWORD));
    scene.has_worked();
    scene.finish(3);
}

#[test]
fn older_servers_and_servers_for_everybody_do_as_well() {
    if !all() || !enough() {
        return;
    }
    let scene = Scene::start("3", 2);
    let mount = scene.connect("10.0.2.2:/srv/images", None);
    assert!(mount.contains(" nfs ro,") && mount.contains("vers=3,"), "{mount}");
    scene.restore("srv-images", 0);
    scene.disconnect();
    // As a guest, without a question.
    let mount = scene.connect("//10.0.2.2/open", None);
    assert!(mount.contains(" cifs ro,") && mount.contains("vers="), "{mount}");
    scene.restore("open", 1);
    scene.disconnect();
    scene.finish(2);
}

#[test]
fn what_a_server_refuses_is_said_and_a_save_to_it_is_whole() {
    if !all() || !enough() {
        return;
    }
    let scene = Scene::start("4", 1);
    let guest = &scene.guest;
    for (share, words) in [
        ("smb://10.0.2.2/private", "does not let a guest in"),
        ("smb://anna:wrong@10.0.2.2/private", "does not let the user anna in"),
        ("smb://10.0.2.2/nothing", "no such folder"),
        ("smb://10.0.2.2/open/nothing", "there is no folder"),
        ("nfs://10.0.2.2/nothing", "no such folder"),
    ] {
        let shown = type_command(guest, &format!("dacapo network connect {share}"));
        assert!(shown.contains(words), "{share}: {shown}");
        assert!(!shown.contains("anna:wrong@10.0.2.2/private:"), "{shown}");
    }
    // To read only, unless asked for.
    scene.connect("nfs://10.0.2.2/srv/images", None);
    let shown = type_command(guest, &format!("touch {PLACE}-srv-images/x"));
    assert!(shown.contains("Read-only"), "{shown}");
    scene.disconnect();
    for (share, place) in
        [("nfs://10.0.2.2/srv/images", "srv-images"), ("smb://anna@10.0.2.2/private", "private")]
    {
        let password = share.contains("anna").then_some(Neighbour::PASSWORD);
        scene.connect(&format!("--write {share}"), password);
        let image = format!("{PLACE}-{place}/new.img.zst");
        scene.work(&format!(
            "dacapo save /dev/vda {image} --quiet --level 1 && dacapo verify {image} && \
             dacapo compare {image} /dev/vda"
        ));
        scene.disconnect();
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real drives, as QEMU has them: /dev/sr0 in the rescue system.

use std::fs;
use std::time::Duration;

use super::machine::{BAD, damaged, with_drives};
use super::scene::{Scene, assert_same};
use crate::debian::text;
use crate::rescue::scene::{open_shell, power_off_by_shell, ready, type_command};
use crate::support::{all, run};

#[test]
fn two_real_drives_read_one_disc_and_name_what_one_of_them_cannot() {
    // A start of an emulated computer.
    if !all() || !ready() {
        return;
    }
    let scene = Scene::new();
    let disc = scene.xorriso("disc.iso", &[]);
    let copy = scene.at("copy.iso");
    fs::copy(&disc, &copy).unwrap();
    let (machine, backup) = with_drives(&scene, &[damaged(&scene, &disc), copy]);
    let mut guest = machine.start();
    open_shell(&guest);
    let shown =
        type_command(&guest, "dacapo disc info /dev/sr0 | grep -E 'drive|medium|data|state'");
    assert!(shown.contains("QEMU DVD-ROM") && shown.contains("CD-ROM"), "{shown}");
    // The answer to READ DISC INFORMATION.
    let is_state = |line: &str| line.split_whitespace().eq(["state", "closed"]);
    assert!(shown.lines().any(is_state), "{shown}");
    let wait = Duration::from_secs(180);
    let ask = |command: &str, wanted: &str| {
        // The typed line is on the screen, too, and must not be taken for the answer;
        // nor must half of the answer.
        guest.screen.type_keys(&format!("{command}; echo co''de=$?=do''ne\r"));
        let shown = guest.screen.wait_for("=done", wait);
        assert!(shown.contains(wanted), "{shown}");
        guest.screen.type_keys("clear\r");
        guest.screen.wait_until_gone("=done", wait);
    };
    ask("mkdir -p /x; mount -t ext4 /dev/vda1 /x && cd /x && mkdir a b", "code=0");
    ask("dacapo disc read /dev/sr0 a -q", "code=3");
    ask("dacapo disc read /dev/sr1 b -q", "code=0");
    // What is missing comes from the other drive.
    ask("cp -r a c; dacapo disc read /dev/sr1 c --resume -q", "code=0");
    ask("dacapo disc read /dev/sr0 d.iso --merge /dev/sr1 -q", "code=0");
    ask("dacapo disc verify d.iso c/SYNTH_2.iso -q", "code=0");
    ask("cd /; umount /x", "code=0");
    power_off_by_shell(&mut guest);

    let out = |name: &str| {
        let to = scene.at(&name.replace('/', "-"));
        let from = format!("{}?offset=1048576", text(&backup));
        let _ = run("debugfs", &["-R", &format!("dump /{name} {to}"), &from]);
        to
    };
    for name in ["b/SYNTH_2.iso", "c/SYNTH_2.iso", "d.iso"] {
        assert_same(&disc, out(name));
    }
    // One sector of 2048 bytes, and nothing else, is missing of the first.
    let (bad, good) = (fs::read(out("a/SYNTH_2.iso")).unwrap(), fs::read(&disc).unwrap());
    let place = (BAD / 4 * 2048) as usize;
    assert!(bad[place..place + 2048].iter().all(|byte| *byte == 0));
    assert_eq!(bad[..place], good[..place]);
    assert_eq!(bad[place + 2048..], good[place + 2048..]);
    let record: serde_json::Value =
        serde_json::from_slice(&fs::read(out("a/SYNTH_2.json")).unwrap()).unwrap();
    assert_eq!(record["unreadable"][0]["first"], BAD / 4);
    assert_eq!(
        (&record["medium"], record["toc"]["tracks"].as_array().unwrap().len()),
        (&"CD-ROM".into(), 1)
    );
}

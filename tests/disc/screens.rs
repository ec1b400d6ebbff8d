// SPDX-License-Identifier: MIT OR Apache-2.0
//! The screens of the rescue system for discs, in a computer with two drives,
//! by a person who reads what is on them.

use std::fs;
use std::path::{Path, PathBuf};

use super::machine::{damaged, with_drives};
use super::scene::{Scene, assert_same};
use crate::debian::{root_of_project, scratch, text};
use crate::rescue::scene::{SEARCH, SOON, START, WORK, choose, power_off, ready};
use crate::support::machine::{Guest, Machine};
use crate::support::screen::key;
use crate::support::{all, run};

/// A computer with a drive for backups and two for discs: the first is empty, the
/// second has the disc, and cannot read a sector of it.
fn machine(scene: &Scene, disc: &Path) -> (Machine, PathBuf) {
    with_drives(scene, &[String::new(), damaged(scene, disc)])
}

/// Puts a disc into the first drive.
fn put_in(guest: &mut Guest, disc: &Path) {
    let answer = guest.monitor(&format!("change cd0 {} raw", text(disc)));
    assert!(!answer.contains("Error"), "{answer}");
}

/// From the list of drives to the plan: the disc in a drive, to the only drive
/// for backups.
#[track_caller]
fn plan(guest: &Guest, drive: &str, about: &str) -> String {
    let screen = &guest.screen;
    screen.wait_for("Which disc? It is only read.", SOON);
    // The list goes on changing until the disc was looked at.
    screen.wait_until("the disc", SEARCH, |shown| {
        let mut lines = shown.lines().skip_while(|line| !line.contains(drive));
        lines.nth(1).is_some_and(|line| line.contains("'SYNTH_2'"))
    });
    choose(guest, drive);
    choose(guest, "Read it to a file");
    screen.wait_for("Where is the disc to be kept?", SOON);
    choose(guest, "BACKUP");
    screen.wait_for("what do you know about it?", SOON);
    screen.type_keys(about);
    // What can be done is drawn last.
    screen.wait_until("the plan", SEARCH, |shown| {
        shown.contains("> Read it") || shown.contains("> Go on with")
    })
}

/// Waits until all of this is shown: a screen comes in pieces.
#[track_caller]
fn wait_for_all(guest: &Guest, parts: &[&str]) {
    for part in parts {
        guest.screen.wait_for(part, WORK);
    }
}

#[test]
fn a_disc_is_read_in_two_drives_and_checked_by_hand() {
    // A start of an emulated computer.
    if !all() || !ready() {
        return;
    }
    let scene = Scene::new();
    let disc = scene.xorriso("disc.iso", &[]);
    let (machine, backup) = machine(&scene, &disc);
    let mut guest = machine.start();
    guest.screen.wait_for("What do you want to do?", START);
    choose(&guest, "Disc");
    guest.screen.wait_for("There is no disc in the drive: put one in.", SEARCH);
    // The drive that cannot read all of it.
    let shown = plan(&guest, "/dev/sr1", "Synth 2\r12-34\r\r");
    assert!(shown.contains("Title: Synth 2") && shown.contains("> Read it"), "{shown}");
    guest.screen.type_keys(key::ENTER);
    wait_for_all(
        &guest,
        &[
            "1 sector of the disc could not be read: 500",
            "large.bin",
            "soft cloth",
            "The drive with the file can be pulled now.",
        ],
    );
    // The disc comes into the other drive while the list is shown.
    choose(&guest, "Put in the next disc, or this one again");
    guest.screen.wait_for("There is no disc in the drive: put one in.", SEARCH);
    put_in(&mut guest, &disc);
    plan(&guest, "/dev/sr0", "\r\r\r");
    // The screen may be drawn in part only when its first lines are there.
    guest.screen.wait_for("> Go on with SYNTH_2.iso: read what is missing", SOON);
    guest.screen.type_keys(key::ENTER);
    guest.screen.wait_for("Done. The disc is stored whole.", WORK);
    guest.screen.type_keys(key::ESC);
    // A disc that is taken out is seen, too.
    choose(&guest, "Disc");
    guest.screen.wait_for("Which disc? It is only read.", SOON);
    let answer = guest.monitor("eject cd0");
    assert!(!answer.contains("Error"), "{answer}");
    guest.screen.wait_until("a drive without a disc", SEARCH, |shown| {
        shown.contains("The tray is open") || shown.contains("There is no disc")
    });
    choose(&guest, "Check archived discs");
    guest.screen.wait_for("Where are the archived discs?", SOON);
    choose(&guest, "BACKUP");
    choose(&guest, "Synth 2");
    wait_for_all(&guest, &["Synth 2 is good: it is what it was.", "by the hashes of its record"]);
    guest.screen.type_keys(key::ESC);
    power_off(&mut guest);

    let out = scene.at("out.iso");
    let from = format!("{}?offset=1048576", text(&backup));
    let _ = run("debugfs", &["-R", &format!("dump /SYNTH_2.iso {out}"), &from]);
    assert_same(&disc, &out);
}

/// The screens as the monitor of a computer shows them, for the pages about
/// discs. `DACAPO_GENERATE=1` keeps the pictures in docs/.
#[test]
fn pictures_of_the_screens_for_discs() {
    let keep = std::env::var_os("DACAPO_GENERATE").is_some_and(|value| value == "1");
    if !(keep || all()) || !ready() {
        return;
    }
    let scene = Scene::new();
    let disc = scene.xorriso("disc.iso", &[]);
    let (machine, _) = machine(&scene, &disc);
    let mut guest = machine.start();
    // The serial port has a screen of its own; this one has a keyboard.
    guest.screen.wait_for("What do you want to do?", START);
    let pictures = if keep { root_of_project().join("docs/screens") } else { scratch("screens") };
    fs::create_dir_all(&pictures).unwrap();
    // The keys, what is shown then, and of what that is a picture.
    let steps: [(&str, &[&str], Option<&str>); 10] = [
        (
            "i",
            &["Which disc? It is only read.", "There is no disc in the drive", "'SYNTH_2'"],
            Some("14-disc-drives"),
        ),
        ("down ret", &["It becomes one file", "> Read it to a file"], Some("15-disc-contents")),
        ("ret", &["Where is the disc to be kept?", "> BACKUP"], Some("16-disc-place")),
        ("ret", &["what do you know about it?"], None),
        (
            "s y n t h spc 2 ret 1 2 minus 3 4 ret ret",
            &["Title: synth 2", "Serial: 12-34", "is called SYNTH_2.iso", "> Read it"],
            Some("17-disc-plan"),
        ),
        (
            "ret",
            &["1 sector of the disc could not be read: 500", "large.bin", "can be pulled now"],
            Some("18-disc-result"),
        ),
        ("esc", &["What do you want to do?"], None),
        ("i", &["Which disc? It is only read.", "Check archived discs"], None),
        ("up ret", &["Where are the archived discs?", "> BACKUP"], None),
        (
            "ret",
            &["Which disc is to be checked?", "> synth 2", "Serial number: 12-34"],
            Some("19-disc-archive"),
        ),
    ];
    for (keys, parts, picture) in steps {
        guest.press(keys);
        guest.wait_until_shown(parts, WORK);
        if let Some(name) = picture {
            guest.picture(&pictures.join(format!("{name}.png")));
        }
    }
}

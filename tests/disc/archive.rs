// SPDX-License-Identifier: MIT OR Apache-2.0
//! Archived discs in later years: verified, scanned, listed.

use std::fs;
use std::path::Path;

use super::scene::{NEEDS, Scene, flip};
use crate::support::{dacapo, requires, run, try_run};

#[test]
fn one_changed_byte_is_found_and_so_is_a_cut_file() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new();
    let disc = scene.xorriso("disc.iso", &[]);
    let out = scene.at("out.iso");
    let _ = dacapo(&["disc", "read", disc.to_str().unwrap(), &out]).success();
    dacapo(&["disc", "verify", &out]).success().says("good");
    let len = fs::metadata(&out).unwrap().len();
    for place in [0, 900_000, len - 1] {
        flip(&out, place);
        dacapo(&["disc", "verify", &out]).exits(4).says("its hashes differ");
        flip(&out, place);
    }
    dacapo(&["disc", "verify", &out]).success();
    fs::File::options().write(true).open(&out).unwrap().set_len(len - 2048).unwrap();
    dacapo(&["disc", "verify", &out]).exits(4).says("bytes, and had");
    // A file without a record is not called good.
    dacapo(&["disc", "verify", disc.to_str().unwrap()]).success().says("nothing to compare");
    // What is cut off is missed without one, too.
    fs::File::options().write(true).open(&disc).unwrap().set_len(len / 2 / 2048 * 2048).unwrap();
    dacapo(&["disc", "verify", disc.to_str().unwrap()]).exits(4).says("its end is missing");
}

#[test]
fn the_md5_that_linux_discs_have_in_them_is_checked() {
    if !requires(NEEDS) || !requires(&["implantisomd5", "checkisomd5"]) {
        return;
    }
    let scene = Scene::new();
    let disc = scene.xorriso("disc.iso", &[]);
    let disc = disc.to_str().unwrap();
    let _ = run("implantisomd5", &[disc]);
    let _ = run("checkisomd5", &[disc]);
    dacapo(&["disc", "verify", disc]).success().says("the MD5 implanted by its maker");
    flip(disc, 1_000_000);
    assert_ne!(try_run("checkisomd5", &[disc]).code, 0);
    dacapo(&["disc", "verify", disc]).exits(4).says("implanted does not fit");
}

#[test]
fn a_folder_is_scanned_and_every_disc_that_has_rotted_is_named() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new();
    let disc = scene.xorriso("disc.iso", &[]);
    let shelf = scene.at("shelf");
    fs::create_dir_all(format!("{shelf}/old macs")).unwrap();
    let read = |name: &str| {
        let out = format!("{shelf}/{name}");
        dacapo(&["disc", "read", disc.to_str().unwrap(), &out]).success()
    };
    for name in ["good.iso", "rotten.iso", "old macs/gone.iso", "old macs/bad record.iso"] {
        let _ = read(name);
    }
    fs::copy(&disc, format!("{shelf}/plain.iso")).unwrap();
    let ran = dacapo(&["disc", "scan", &shelf]).success();
    assert!(ran.out().contains("5 discs: 4 good, 1 with nothing to compare"), "{ran}");

    flip(format!("{shelf}/rotten.iso"), 500_000);
    fs::remove_file(format!("{shelf}/old macs/gone.iso")).unwrap();
    let bad = format!("{shelf}/old macs/bad record.json");
    let text = fs::read(&bad).unwrap();
    fs::write(&bad, &text[..text.len() / 2]).unwrap();
    let ran = dacapo(&["disc", "scan", &shelf]).exits(4);
    let said = format!("{}{}", ran.out(), ran.err());
    for part in ["rotten.iso", "gone.iso is missing", "cut or damaged", "1 good", "1 damaged"] {
        assert!(said.contains(part), "'{part}' is not said\n{ran}");
    }
    let ran = dacapo(&["disc", "scan", &shelf, "--json"]).exits(4);
    let summary = &ran.messages("summary")[0];
    assert_eq!(summary["discs"], 5);
    assert_eq!(summary["counts"]["damaged"], 1);
    let states: Vec<_> = ran.messages("disc").iter().map(|it| it["state"].clone()).collect();
    assert_eq!(states.len(), 3, "{ran}");
    dacapo(&["disc", "scan", &scene.at("tree")]).exits(1).says("no discs are in");
}

#[test]
fn a_catalogue_lists_what_records_say() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new();
    let disc = scene.xorriso("disc.iso", &[]);
    let shelf = scene.at("shelf");
    fs::create_dir(&shelf).unwrap();
    let out = format!("{shelf}/a.iso");
    let title = "<script>alert(1)</script> & \"Synth\"";
    let args = ["disc", "read", disc.to_str().unwrap(), &out, "--title", title];
    let _ = dacapo(&args).success();
    let ran = dacapo(&["disc", "list", &shelf]).success();
    assert!(ran.out().contains(title) && ran.out().contains("a.iso"), "{ran}");
    let ran = dacapo(&["disc", "list", &shelf, "--json"]).success();
    assert_eq!(ran.messages("disc")[0]["record"]["title"], title);
    let page = format!("{shelf}/discs.html");
    let _ = dacapo(&["disc", "list", &shelf, "--html", &page]).success();
    let html = fs::read_to_string(&page).unwrap();
    assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;Synth"), "{html}");
    assert_eq!(html.matches("<script>").count(), 1);
    // A newer page replaces it; no other file is replaced.
    let _ = dacapo(&["disc", "list", &shelf, "--html", &page]).success();
    dacapo(&["disc", "list", &shelf, "--html", &out]).exits(5).says("no catalogue");
    assert!(Path::new(&out).exists());
}

#[test]
fn a_disc_is_described_without_being_read() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new();
    let disc = scene.xorriso("disc.iso", &[]);
    let ran = dacapo(&["disc", "info", disc.to_str().unwrap()]).success();
    for part in ["SYNTH_2", "Joliet", "El Torito", "primary volume", "capacity"] {
        assert!(ran.out().contains(part), "'{part}' is missing\n{ran}");
    }
    let ran = dacapo(&["disc", "info", disc.to_str().unwrap(), "--json"]).success();
    assert_eq!(ran.messages("summary")[0]["contents"]["volume"]["label"], "SYNTH_2");
}

#[test]
fn a_record_that_was_emptied_or_has_another_name_is_told() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new();
    let disc = scene.xorriso("disc.iso", &[]);
    let shelf = scene.at("shelf");
    fs::create_dir(&shelf).unwrap();
    let at = |name: &str| format!("{shelf}/{name}");
    let _ = dacapo(&["disc", "read", disc.to_str().unwrap(), &at("old.iso")]).success();
    fs::rename(at("old.iso"), at("new.iso")).unwrap();
    fs::rename(at("old.json"), at("new.json")).unwrap();
    let ran = dacapo(&["disc", "verify", &at("new.iso")]).success();
    assert!(ran.out().contains("in which it is called old.iso"), "{ran}");
    let _ = dacapo(&["disc", "scan", &shelf]).success();
    flip(at("new.iso"), 500_000);
    dacapo(&["disc", "scan", &shelf]).exits(4).says("its hashes differ");
    flip(at("new.iso"), 500_000);
    fs::write(at("new.json"), b"").unwrap();
    dacapo(&["disc", "verify", &at("new.iso")]).exits(4).says("cut or damaged");
    dacapo(&["disc", "scan", &shelf]).exits(4).says("cut or damaged");
}

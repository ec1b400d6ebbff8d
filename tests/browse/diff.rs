// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was done to a disk between two images is what differs, and no more.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::{dacapo, junk, requires, run};

use super::scene::{NEEDS, Scene, everything};

fn found(ran: &crate::support::Ran) -> BTreeSet<String> {
    ran.messages("difference")
        .iter()
        .map(|it| {
            let what = it["differs_in"].as_array().map(|what| {
                what.iter().map(|it| it.as_str().unwrap()).collect::<Vec<_>>().join(",")
            });
            let volume = it["volume"].as_str().unwrap();
            let [change, path] = [&it["change"], &it["path"]].map(|it| it.as_str().unwrap());
            format!("{change} {volume}:{path} {}", what.unwrap_or_default()).trim_end().to_owned()
        })
        .collect()
}

#[test]
fn what_was_changed_is_what_differs() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new(|root| {
        everything(root);
        fs::write(root.join("large"), junk(20 << 20, 9)).unwrap();
    });
    let before = scene.image("before.img.zst");
    let copy = scene.image("copy.img.zst");
    let ran = dacapo(&["diff", &before, &copy, "--json"]).success();
    assert_eq!(ran.messages("summary")[0]["files_read"], 0, "{ran}");
    let ran = dacapo(&["diff", &before, &scene.disk, "--json"]).success();
    assert_eq!(ran.messages("summary")[0]["files_read"], 0, "{ran}");
    {
        let (_device, mount) = scene.root("noatime");
        let at = |name: &str| mount.path().join(name);
        // In place, and with the old time: only the content says it.
        let old = fs::metadata(at("home/me/song.wav")).unwrap().modified().unwrap();
        let song = fs::File::options().write(true).open(at("home/me/song.wav")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&song, b"changed", 1 << 20).unwrap();
        song.set_modified(old).unwrap();
        fs::write(at("home/new"), "new").unwrap();
        fs::remove_dir_all(at("home/me/deep")).unwrap();
        fs::remove_file(at("many/file 7")).unwrap();
        fs::create_dir(at("many/file 7")).unwrap();
        let path = |name: &str| at(name).to_str().unwrap().to_owned();
        run("chmod", &["600", &path("many/file 8")]);
        run("chown", &["5:5", &path("many/file 9")]);
        run("setfattr", &["-n", "user.x", "-v", "y", &path("many/file 10")]);
        run("ln", &["-sfn", "elsewhere", &path("absolute")]);
        run("touch", &[&path("many/file 11")]);
        fs::rename(at("many/file 12"), at("many/file 12b")).unwrap();
    }
    let after = scene.image("after.img.zst");
    let wanted: BTreeSet<String> = [
        "changed 2:/home/me/song.wav content",
        "changed 2:/home/hard content",
        "changed 2:/many/again content",
        "added 2:/home/new",
        "removed 2:/home/me/deep",
        "removed 2:/home/me/deep/er",
        "removed 2:/home/me/deep/er/a:b",
        "removed 2:/many/file 7",
        "added 2:/many/file 7",
        "changed 2:/many/file 8 permissions",
        "changed 2:/many/file 9 owner",
        "changed 2:/many/file 10 extended attributes",
        "changed 2:/absolute target,time",
        "changed 2:/many/file 11 time",
        "removed 2:/many/file 12",
        "added 2:/many/file 12b",
    ]
    .map(str::to_owned)
    .into();
    for other in [&after, &scene.disk] {
        let ran = dacapo(&["diff", &before, other, "--json"]).exits(4);
        assert_eq!(found(&ran), wanted, "{ran}");
        let summary = &ran.messages("summary")[0];
        assert_eq!(summary["same_volumes"], serde_json::json!(["1"]), "{summary}");
        assert!(summary["files_known"].as_u64().unwrap() > 1, "{summary}");
        assert_eq!(summary["losses"], 0, "{summary}");
    }
    // The other way round, and other pieces: what was added was removed.
    let small = scene.folder.join("small.img.zst");
    dacapo(&["save", &scene.disk, &small, "--chunk-size", "256K"]).success();
    let ran = dacapo(&["diff", &small, &before, "--json"]).exits(4);
    let swapped: BTreeSet<String> = wanted
        .iter()
        .map(|line| match line.split_once(' ').unwrap() {
            ("added", rest) => format!("removed {rest}"),
            ("removed", rest) => format!("added {rest}"),
            _ => line.clone(),
        })
        .collect();
    assert_eq!(found(&ran), swapped, "{ran}");
    let ran = dacapo(&["diff", &before, &after]).exits(4);
    for part in ["changed  2:/many/file 8  (permissions)", "removed  2:/home/me/deep/", "3 B"] {
        assert!(ran.out().contains(part), "'{part}' is missing\n{ran}");
    }
    assert!(Path::new(&after).exists());
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dacapo disks` with a loop device that holds a known disk.

use std::fs::File;

use crate::support::{
    Loop, Mount, TempDir, dacapo, dacapo_command, finish, requires, run, temp_dir,
};

/// The disk that comes with the program, in a file.
fn disk_file(folder: &TempDir) -> String {
    let disk = folder.join("disk.raw");
    let packed = std::fs::read("images/demo.img.zst").unwrap();
    zstd::stream::copy_decode(packed.as_slice(), File::create(&disk).unwrap()).unwrap();
    disk
}

/// The paragraph of one disk.
fn paragraph<'a>(text: &'a str, device: &str) -> &'a str {
    let start = text.find(&format!("{device}  ")).unwrap_or_else(|| panic!("{device}\n{text}"));
    text[start..].split("\n\n").next().unwrap()
}

#[test]
fn a_disk_is_listed_with_its_partitions_and_users() {
    if !requires(&["root", "loop", "kernel:ext4", "addpart", "setpriv"]) {
        return;
    }
    let folder = temp_dir();
    let device = Loop::new(disk_file(&folder), &["--read-only"]);
    let name = device.device().trim_start_matches("/dev/").to_owned();
    // Not every kernel looks for partitions on loop devices by itself.
    run("addpart", &[device.device(), "2", "18432", "81920"]);
    let part = format!("{}p2", device.device());
    for _ in 0..100 {
        if std::path::Path::new(&part).exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    if !std::path::Path::new(&part).exists() {
        let sys = format!("/sys/class/block/{name}p2/dev");
        let numbers = std::fs::read_to_string(sys).unwrap();
        let (major, minor) = numbers.trim().split_once(':').unwrap();
        run("mknod", &[part.as_str(), "b", major, minor]);
    }
    let mount = Mount::new(&part, "ext4", "ro,noload");

    let ran = dacapo(&["disks"]).success();
    assert!(ran.out().lines().all(|line| line.chars().count() <= 80), "{ran}");
    let shown = paragraph(ran.out(), device.device());
    for wanted in [
        "64.0 MiB",
        "loop, sectors of 512, 67108864 bytes, GPT, read-only",
        "partition 1  FAT16     ESP     83.0 KiB of 8.00 MiB  not seen by the system",
        "UUID DACA-90E5, clean; only what is in use is stored",
        "SquashFS  sounds  4.00 MiB of 4.00 MiB",
        "stored whole: ",
        "ext4      system  4.37 MiB of 40.0 MiB  mounted read-only at",
    ] {
        assert!(shown.contains(wanted), "'{wanted}' is missing\n{shown}");
    }
    let ran = dacapo(&["disks", "--json"]).success();
    let summary = &ran.messages("summary")[0];
    let disks = summary["disks"].as_array().unwrap();
    let disk = disks.iter().find(|disk| disk["path"] == device.device()).unwrap();
    assert_eq!(disk["size"], 64 << 20);
    assert_eq!(disk["read_only"], true);
    assert_eq!(disk["table"]["kind"], "GPT");
    let part = &disk["partitions"][1];
    assert_eq!(part["name"], format!("{name}p2"));
    assert_eq!(part["start"], 9 << 20);
    assert_eq!(part["filesystem"]["label"], "system");
    assert!(part["region"]["used"].as_u64().unwrap() < 40 << 20, "{part}");
    assert!(part["region"]["whole"].is_null(), "{part}");
    assert_eq!(part["users"][0]["kind"], "mount");
    assert_eq!(part["users"][0]["place"], mount.path().to_str().unwrap());

    // Without root the same disk is listed, and what is missing is said once.
    let program = env!("CARGO_BIN_EXE_dacapo");
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", program, "disks"]);
    let ran = finish(command, &[]).success();
    let shown = paragraph(ran.out(), device.device());
    assert!(shown.contains(&format!("{name}p2  ?")), "{shown}");
    assert!(shown.contains("mounted read-only at"), "{shown}");
    assert_eq!(ran.err().matches("needs root").count(), 1, "{ran}");
    drop(mount);
    run("delpart", &[device.device(), "2"]);
}

#[test]
fn quiet_lists_the_disks_and_no_note() {
    let ran = finish(dacapo_command(&["disks", "--quiet"]), &[]).success();
    assert!(!ran.out().is_empty(), "{ran}");
    assert!(ran.stderr.is_empty(), "{ran}");
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a drive says of its health is asked of smartctl, kept in the image, and
//! shown.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Loop, dacapo, dacapo_command, finish, junk, requires, temp_dir};

#[test]
fn how_the_drive_says_it_is_is_kept_before_and_after() {
    if !requires(&["root", "loop"]) {
        return;
    }
    let folder = temp_dir();
    let disk = folder.join("disk.raw");
    fs::write(&disk, junk(4 << 20, 3)).unwrap();
    let drive = Loop::new(&disk, &["--read-only"]);
    let programs = folder.join("programs");
    fs::create_dir(&programs).unwrap();
    let script = format!("{programs}/smartctl");
    // The second time it has found bad sectors.
    let text = "#!/bin/sh\nPATH=/bin:/usr/bin\nn=0\n[ -e \"$0.asked\" ] && n=5\ntouch \"$0.asked\"\n\
                echo \"{\\\"smart_status\\\":{\\\"passed\\\":true},\\\"temperature\\\":{\\\"current\\\":35},\
                \\\"ata_smart_attributes\\\":{\\\"table\\\":[{\\\"id\\\":197,\\\"raw\\\":{\\\"value\\\":$n}}]}}\"\n";
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let image = folder.join("a.img.zst");
    let mut command = dacapo_command(&["save", drive.device(), &image]);
    command.env("PATH", &programs);
    let _ = finish(command, &[]).success();
    let ran = dacapo(&["info", &image]).success();
    let shown = ran.out();
    assert!(shown.contains("healthy, 35 C"), "{shown}");
    assert!(shown.contains("afterwards: failing, 35 C, 5 pending"), "{shown}");
    let summary = dacapo(&["info", &image, "--json"]).success().messages("summary")[0].clone();
    assert_eq!(summary["health"]["pending"], 0);
    assert_eq!(summary["health_after"]["pending"], 5);
    // Where there is no smartctl, or it knows nothing, nothing is said.
    for path in ["/nowhere", ""] {
        let other = folder.join(&format!("b{}.img.zst", path.len()));
        let mut command = dacapo_command(&["save", drive.device(), &other]);
        command.env("PATH", path);
        let _ = finish(command, &[]).success();
        let ran = dacapo(&["info", &other]).success();
        let shown = ran.out();
        assert!(!shown.contains("health"), "{shown}");
    }
}

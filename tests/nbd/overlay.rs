// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes to an image that is served: seen by all clients, and gone in the end.

use std::fs;
use std::time::Duration;

use super::{EXT4, LEN, MAKERS, Serving, qemu_io, saved};
use crate::debian;
use crate::support::machine::{Boot, Bus, Drive, Firmware, Machine};
use crate::support::{all, assert_same, junk_file, requires, run, sha256_of, temp_dir};

#[test]
fn what_is_written_is_seen_and_thrown_away() {
    if !requires(&[&MAKERS[..], &["qemu-io", "qemu-img", "nbdinfo", "nbdcopy"]].concat()) {
        return;
    }
    let (saved, folder) = (saved(), temp_dir());
    let before = sha256_of(saved.image());
    let serving = Serving::start(&saved.image(), &["--overlay"]);
    assert_eq!(serving.ready["writable"], true);
    let uri = serving.uri("disk");
    for can in ["write", "flush", "fua", "trim", "zero", "fast-zero", "multi-conn"] {
        run("nbdinfo", &["--can", can, &uri]);
    }
    let at = EXT4.0 + 5 * 4096;
    let (odd, near_end) = (at + 1000, LEN - 700);
    let commands = [
        format!("write -P 0xab {at} 1M"),
        format!("write -f -P 0xcd {odd} 5000"),
        format!("write -P 0xef {near_end} 512"),
        format!("write -z {} 8192", at + 65_536),
        format!("write -z -u {} 8192", at + 131_072),
        format!("discard {} 65536", at + 262_144),
        "flush".to_owned(),
    ];
    let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
    let _ = qemu_io(&uri, &[], &commands).success();
    // Another client, through the partition's own export.
    let reads = [
        format!("read -P 0xab {} 1000", at - EXT4.0),
        format!("read -P 0xcd {} 5000", odd - EXT4.0),
        format!("read -P 0xab {} 50000", odd + 5000 - EXT4.0),
        format!("read -P 0 {} 8192", at + 65_536 - EXT4.0),
        format!("read -P 0 {} 8192", at + 131_072 - EXT4.0),
    ];
    let reads: Vec<&str> = reads.iter().map(String::as_str).collect();
    let read = qemu_io(&serving.uri("2"), &[], &reads).success();
    assert!(!read.out().contains("Pattern verification failed"), "{read}");
    let map = run("nbdinfo", &["--map", &uri]);
    for (offset, len) in [(at + 131_072, 8192), (at + 262_144, 65_536)] {
        assert!(map.out().contains(&format!("{offset}{len:>12}    3  hole,zero")), "{map}");
    }
    let image = qemu_io(&serving.uri(""), &[], &[&format!("write 0 {}", LEN + 512)]);
    assert_ne!(image.code, 0, "beyond the end");

    // A whole disk of something else.
    let other = folder.join("other.raw");
    junk_file(&other, LEN);
    run("nbdcopy", &[&other, &uri]);
    run("qemu-img", &["compare", "-f", "raw", "-F", "raw", &uri, &other]);
    // Nothing with a name was left while it ran, and nothing is left.
    let names = |folder: &str| fs::read_dir(folder).unwrap().count();
    let own_folder = std::path::Path::new(&serving.socket()).parent().unwrap().to_owned();
    assert_eq!(names(own_folder.to_str().unwrap()), 1, "the socket alone");
    assert_eq!(serving.end().0, 0);
    assert_eq!(before, sha256_of(saved.image()), "the image was changed");

    // The next time it is what it was.
    let serving = Serving::start(&saved.image(), &["--overlay"]);
    let copy = folder.join("copy.raw");
    run("nbdcopy", &[&serving.uri(""), &copy]);
    assert_same(copy, saved.content());
}

#[test]
fn an_overlay_without_room_fails_the_write_and_nothing_else() {
    if !requires(&[&MAKERS[..], &["root", "qemu-io"]].concat()) {
        return;
    }
    let (saved, small) = (saved(), crate::support::Mount::new("none", "tmpfs", "size=1m"));
    let folder = temp_dir();
    let mut command = crate::support::dacapo_command(&["serve", &saved.image(), "--overlay"]);
    let socket = folder.join("socket");
    command.args(["--socket", &socket, "--quiet", "--scratch"]).arg(small.path());
    let mut child = command.spawn().unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        assert!(std::time::Instant::now() < end);
        std::thread::sleep(Duration::from_millis(20));
    }
    let uri = format!("nbd+unix:///?socket={socket}");
    let ran = qemu_io(&uri, &[], &["write -P 1 0 512k"]).success();
    drop(ran);
    let ran = qemu_io(&uri, &[], &["write -P 1 1M 8M"]);
    assert_ne!(ran.code, 0, "{ran}");
    assert!(ran.says("No space left on device").code != 0);
    let ran = qemu_io(&uri, &[], &["read -P 1 0 512k", "read 16M 1M"]).success();
    assert!(!ran.out().contains("Pattern verification failed"), "{ran}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_debian_boots_from_its_image_and_the_image_stays() {
    if !all() || !requires(&[&debian::NEEDS[..], &["qemu-system-x86_64"]].concat()) {
        return;
    }
    let saved = debian::gpt();
    let before = sha256_of(&saved.image);
    let serving = Serving::start(debian::text(&saved.image), &["--overlay"]);
    let disk = Drive::new(serving.uri("disk").as_ref(), Bus::Virtio, "NBD1");
    let mut guest = Machine::new(Firmware::Bios, Boot::Disk).with(disk).start();
    guest.screen.wait_for("dacapo-test login:", Duration::from_secs(300));
    guest.kill();
    let most = serving.most_memory();
    assert!(most < 200_000_000, "{most} bytes of memory");
    assert_eq!(serving.end().0, 0);
    assert_eq!(before, sha256_of(&saved.image), "the image was changed");
}

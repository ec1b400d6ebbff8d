// SPDX-License-Identifier: MIT OR Apache-2.0
//! Other people's clients see the disk that is in the image.

use std::fs;
use std::thread;

use dacapo::extent::Extent;

use super::{EXT4, LEN, MAKERS, MIB, Serving, damaged, qemu_io, saved};
use crate::support::{
    HttpServer, assert_same, dacapo, dacapo_command, finish, lossy, requires, run, temp_dir,
    try_run,
};

fn ready() -> bool {
    requires(&[&MAKERS[..], &["nbdinfo", "nbdcopy", "qemu-img", "qemu-io"]].concat())
}

#[test]
fn libnbd_and_qemu_see_the_disk_and_its_partitions() {
    if !ready() {
        return;
    }
    let (saved, folder) = (saved(), temp_dir());
    let serving = Serving::start(&saved.image(), &[]);
    let exports: Vec<&str> = serving.ready["exports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|export| export["name"].as_str().unwrap())
        .collect();
    assert_eq!(exports, ["disk", "1", "2"]);
    assert_eq!(serving.ready["uri"], serving.uri(""));

    let list = run("nbdinfo", &["--list", &serving.uri("")]);
    for part in ["export=\"disk\"", "studio, 48.0 MiB", "partition 1, FAT", "partition 2, ext4"] {
        assert!(list.out().contains(part), "{part}: {list}");
    }
    let size = |export: &str| run("nbdinfo", &["--size", &serving.uri(export)]);
    assert_eq!(size("").out().trim(), LEN.to_string());
    assert_eq!(size("2").out().trim(), EXT4.1.to_string());
    assert_ne!(try_run("nbdinfo", &[serving.uri("3")]).code, 0);
    run("nbdinfo", &["--is", "read-only", &serving.uri("")]);
    run("nbdinfo", &["--can", "multi-conn", &serving.uri("")]);

    let copy = folder.join("copy.raw");
    run("nbdcopy", &[&serving.uri(""), &copy]);
    assert_same(&copy, saved.content());
    let partition = folder.join("partition.raw");
    run("nbdcopy", &[&serving.uri("2"), &partition]);
    run("e2fsck", &["-fn", &partition]);
    let bytes = fs::read(saved.content()).unwrap();
    let expected = &bytes[EXT4.0 as usize..][..EXT4.1 as usize];
    assert!(fs::read(&partition).unwrap() == expected);

    // Without structured replies, in one connection, and in odd pieces.
    let simple = folder.join("simple.raw");
    run("nbdcopy", &["--connections=1", "--request-size=33554432", &serving.uri(""), &simple]);
    assert_same(&simple, saved.content());
    let compare = ["compare", "-f", "raw", "-F", "raw"];
    run("qemu-img", &[&compare[..], &[&serving.uri(""), &saved.content()]].concat());
    let qcow2 = folder.join("disk.qcow2");
    run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", &serving.uri("disk"), &qcow2]);
    let compare = ["compare", "-f", "qcow2", "-F", "raw", &qcow2, &saved.content()];
    run("qemu-img", &compare);
    assert_eq!(serving.end().0, 0);
}

/// What the server calls a hole is zero, and all that is free is a hole.
#[test]
fn the_map_shows_what_is_free_and_nothing_else() {
    if !ready() {
        return;
    }
    let saved = saved();
    let serving = Serving::start(&saved.image(), &[]);
    let bytes = fs::read(saved.content()).unwrap();
    for (export, start, len) in [("", 0, LEN), ("2", EXT4.0, EXT4.1)] {
        let map = run("nbdinfo", &["--map", "--json", &serving.uri(export)]);
        let map: Vec<serde_json::Value> = serde_json::from_str(map.out()).unwrap();
        let (mut position, mut holes) = (0, 0);
        for range in map {
            let number = |name: &str| range[name].as_u64().unwrap();
            assert_eq!(number("offset"), position);
            position += number("length");
            if number("type") == 3 {
                holes += number("length");
                let on_disk = (start + number("offset")) as usize;
                let zeros = &bytes[on_disk..][..number("length") as usize];
                assert!(zeros.iter().all(|byte| *byte == 0), "{range}");
            } else {
                assert_eq!(number("type"), 0, "{range}");
            }
        }
        assert_eq!(position, len);
        // dacapo map knows what is used, and dumpe2fs agrees with that.
        let free = dacapo(&["map", &saved.image()]).success();
        let used: u64 = free
            .out()
            .lines()
            .filter(|line| line.ends_with('+'))
            .map(|line| {
                let len = line.split_whitespace().nth(1).unwrap().trim_start_matches("0x");
                u64::from_str_radix(len, 16).unwrap()
            })
            .sum();
        assert!(holes >= len.saturating_sub(used) && holes > 10 * MIB, "{holes} of {len}");
    }
}

#[test]
fn ten_clients_at_once_all_see_the_disk() {
    if !ready() {
        return;
    }
    let saved = saved();
    let serving = Serving::start(&saved.image(), &[]);
    thread::scope(|scope| {
        for number in 0..10 {
            let uri = serving.uri("disk");
            scope.spawn(move || {
                if number % 2 == 0 {
                    let args = ["compare", "-f", "raw", "-F", "raw", &uri, &saved.content()];
                    run("qemu-img", &args);
                } else {
                    let folder = temp_dir();
                    let copy = folder.join("copy.raw");
                    run("nbdcopy", &["--connections=2", &uri, &copy]);
                    assert_same(copy, saved.content());
                }
            });
        }
    });
    let most = serving.most_memory();
    assert!(most < 200_000_000, "{most} bytes of memory");
    let (code, said) = serving.end();
    assert_eq!(code, 0);
    let summary = said.last().unwrap();
    assert!(summary["clients"].as_u64().unwrap() >= 15, "{summary}");
}

#[test]
fn a_damaged_chunk_fails_where_it_is_and_the_server_says_so() {
    if !ready() {
        return;
    }
    let (saved, folder) = (saved(), temp_dir());
    let image = folder.join("damaged.img.zst");
    let (start, end) = damaged(&saved.image(), &image);
    let serving = Serving::start(&image, &[]);
    let read = |offset: u64, len: u64| {
        qemu_io(&serving.uri(""), &["-r"], &[&format!("read {offset} {len}")]).code
    };
    assert_eq!(read(start - 4096, 4096), 0);
    assert_eq!(read(end, 4096), 0);
    for (offset, len) in [(start, 512), (end - 512, 512), (start - 512, 1024), (start, 512)] {
        assert_ne!(read(offset, len), 0, "{len} bytes at {offset}");
    }
    assert_eq!(read(0, 4096), 0);
    let (code, said) = serving.end();
    assert_eq!(code, 4);
    let errors: Vec<_> = said.iter().filter(|line| line["message_type"] == "error").collect();
    assert_eq!(errors.len(), 1, "told once: {errors:?}");
    assert_eq!(errors[0]["kind"], "damaged");
}

#[test]
fn an_image_at_an_address_is_served_too() {
    if !ready() {
        return;
    }
    let (saved, folder) = (saved(), temp_dir());
    fs::copy(saved.image(), folder.join("disk.img.zst")).unwrap();
    let server = HttpServer::start(folder.path());
    let serving = Serving::start(&server.url("disk.img.zst"), &[]);
    let compare = ["compare", "-f", "raw", "-F", "raw"];
    run("qemu-img", &[&compare[..], &[&serving.uri(""), &saved.content()]].concat());
}

#[test]
fn a_raw_disk_is_served_and_a_broken_image_is_not() {
    if !ready() {
        return;
    }
    let (saved, folder) = (saved(), temp_dir());
    let serving = Serving::start(&saved.content(), &["--overlay"]);
    let compare = ["compare", "-f", "raw", "-F", "raw"];
    run("qemu-img", &[&compare[..], &[&serving.uri(""), &saved.content()]].concat());
    let half = folder.join("half.img.zst");
    let bytes = fs::read(saved.image()).unwrap();
    fs::write(&half, &bytes[..bytes.len() / 2]).unwrap();
    dacapo(&["serve", &half, "--port", "0"]).exits(4).says("truncated or damaged");
}

#[test]
fn a_place_that_is_taken_is_refused() {
    if !ready() {
        return;
    }
    let (saved, folder) = (saved(), temp_dir());
    let serving = Serving::start(&saved.image(), &[]);
    dacapo(&["serve", &saved.image(), "--socket", &serving.socket()]).exits(5).says("runs");
    let file = folder.join("file");
    fs::write(&file, "precious").unwrap();
    dacapo(&["serve", &saved.image(), "--socket", &file]).exits(5).says("no socket");
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    dacapo(&["serve", &saved.image(), "--port", &port]).exits(1).says("--port");
    dacapo(&["serve", &saved.image(), "--socket", &file, "--port", "1"]).exits(2);

    // One that nobody listens at is left from a server that was killed.
    let stale = folder.join("stale");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    let mut command = dacapo_command(&["serve", &saved.image(), "--socket", &stale]);
    command.arg("--json");
    let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while std::os::unix::net::UnixStream::connect(&stale).is_err() {
        assert!(std::time::Instant::now() < end);
        thread::sleep(std::time::Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A person reads how to connect; and only this machine can.
#[test]
fn without_options_it_is_this_machine_alone() {
    if !ready() {
        return;
    }
    let saved = saved();
    let port = crate::support::free_port().to_string();
    let run_for_a_moment = |more: &[&str]| {
        let args = ["2", env!("CARGO_BIN_EXE_dacapo"), "serve", &saved.image(), "--port", &port];
        let mut command = std::process::Command::new("timeout");
        command.args([&args[..], more].concat());
        finish(command, &[])
    };
    let ran = run_for_a_moment(&[]);
    // What timeout says when it has ended a program.
    assert_eq!(ran.code, 124, "{ran}");
    let ran = ran.says(&format!("at nbd://localhost:{port} (read-only)"));
    let ran = ran.says(&format!("qemu-img info nbd://localhost:{port}")).says("partition 2, ext4");
    assert!(!ran.err().contains("whoever"), "{ran}");
    let ran = run_for_a_moment(&["--bind", "0.0.0.0"]);
    let _ = ran.says("whoever reaches that address can read the whole disk");
}

/// Zeros would be taken for what was on the disk.
#[test]
fn what_was_lost_at_the_save_is_an_error_and_the_end_says_so() {
    if !ready() {
        return;
    }
    let folder = temp_dir();
    let image = folder.join("disk.img.zst");
    let (start, end) = (MIB + 8192, MIB + 20_480);
    let wanted = lossy(&image, Extent::new(start, end));
    let read = |serving: &Serving, offset: u64, len: u64| {
        qemu_io(&serving.uri(""), &["-r"], &[&format!("read {offset} {len}")]).code
    };
    let serving = Serving::start(&image, &[]);
    assert_eq!(serving.ready["losses"], serde_json::json!([{ "start": start, "end": end }]));
    assert_eq!(read(&serving, start - 4096, 4096), 0);
    assert_eq!(read(&serving, end, 4096), 0);
    assert_eq!(serving.end().0, 0, "nobody met one");

    let serving = Serving::start(&image, &[]);
    for (offset, len) in [(start, 512), (end - 512, 512), (start - 512, 1024), (0, 2 * MIB)] {
        assert_ne!(read(&serving, offset, len), 0, "{len} bytes at {offset}");
    }
    // Nor is it called a hole.
    let map = run("nbdinfo", &["--map", "--totals", &serving.uri("")]);
    assert!(!map.out().contains("hole"), "{map}");
    // A rescue from the server is what a rescue from the disk would be.
    let copy = folder.join("copy.raw");
    let nbdcopy = try_run("nbdcopy", &[serving.uri(""), copy.clone()]);
    assert_ne!(nbdcopy.code, 0, "{nbdcopy}");
    let salvage = ["convert", "--salvage", "-f", "raw", "-O", "raw"];
    run("qemu-img", &[&salvage[..], &[&serving.uri(""), &copy]].concat());
    assert!(fs::read(&copy).unwrap() == wanted);
    let (code, said) = serving.end();
    assert_eq!(code, 3, "{said:?}");
    let errors: Vec<_> = said.iter().filter(|line| line["message_type"] == "error").collect();
    assert_eq!(errors.len(), 1, "told once: {errors:?}");
    assert_eq!(errors[0]["kind"], "losses");

    // What is written over it is there, and what is beside it stays lost.
    let serving = Serving::start(&image, &["--overlay"]);
    let written = format!("write -P 7 {start} 4096");
    let read_back = format!("read -P 7 {start} 4096");
    let ran = qemu_io(&serving.uri(""), &[], &[&written, &read_back]).success();
    assert!(!ran.out().contains("Pattern verification failed"), "{ran}");
    assert_ne!(read(&serving, start + 4096, 512), 0);
    assert_eq!(serving.end().0, 3);
}

/// Whoever takes its bytes for those of the disk would be wrong without a word.
#[test]
fn a_file_of_another_format_is_not_served_as_a_disk() {
    if !ready() || !requires(&["xz"]) {
        return;
    }
    let (saved, folder) = (saved(), temp_dir());
    let (qcow2, raw) = (folder.join("disk.qcow2"), folder.join("small.raw"));
    run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", &saved.content(), &qcow2]);
    fs::write(&raw, "a disk".repeat(1000)).unwrap();
    run("xz", &["-q", &raw]);
    let port = ["--port", "0"];
    for (file, kind) in [(qcow2, "a qcow2 file"), (format!("{raw}.xz"), "compressed by xz")] {
        let ran = dacapo(&[&["serve", &file][..], &port].concat()).exits(6);
        let _ = ran.says(kind).says(&format!("dacapo import {file} IMAGE"));
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Raw images, as they are and compressed.

use std::fs;
use std::time::{Duration, Instant};

use super::{cut, ext4, import, len_of, refused, with_damage};
use crate::support::{
    Mount, assert_same, dacapo, dacapo_command, finish, junk, requires, run, sparse_file, temp_dir,
    wait,
};

/// Programs that compress, with the ending of what they make; true if damage
/// in it is always noticed.
const COMPRESSORS: [(&[&str], &str, bool); 7] = [
    (&["gzip", "-1"], "gz", true),
    (&["bzip2", "-1"], "bz2", true),
    (&["xz", "-0"], "xz", true),
    (&["lzma", "-0"], "lzma", false),
    (&["lzip", "-0"], "lz", true),
    (&["lz4", "-q", "-1", "-BX"], "lz4", true),
    (&["zstd", "-q", "--long=27"], "zst", true),
];

fn compress(command: &[&str], bytes: &[u8]) -> Vec<u8> {
    let mut program = std::process::Command::new(command[0]);
    program.args(&command[1..]).arg("-c").env("PATH", crate::support::search_path());
    finish(program, bytes).success().stdout
}

#[test]
fn every_compression_is_unpacked_and_what_is_damaged_is_refused() {
    if !requires(&["mkfs.ext4", "gzip", "bzip2", "xz", "lzma", "lzip", "lz4", "zstd"]) {
        return;
    }
    let folder = temp_dir();
    let raw = ext4(&folder, 3);
    let bytes = fs::read(&raw).unwrap();
    let (first, second) = bytes.split_at(1_000_000);
    for (command, ending, is_checked) in COMPRESSORS {
        let packed = folder.join(&format!("disk.raw.{ending}"));
        // One stream; then two, one behind the other.
        fs::write(&packed, compress(command, &bytes)).unwrap();
        let (out, ran) = import(&folder, &packed, 0);
        assert_same(&out, &raw);
        let summary = &ran.messages("summary")[0];
        assert_eq!(summary["imported"]["compression"], command[0], "{ran}");
        // LZMA alone has no end that another could follow.
        if ending != "lzma" {
            let two = [compress(command, first), compress(command, second)].concat();
            fs::write(&packed, two).unwrap();
            assert_same(import(&folder, &packed, 0).0, &raw);
        }
        let (len, bad) = (len_of(&packed), folder.join("bad"));
        for end in [len - 1, len / 2, 40] {
            cut(&packed, end, &bad);
            let _ = refused(&folder, &bad, 4).says("bad is damaged").says("of its content");
        }
        if is_checked {
            with_damage(&packed, len / 2, &bad);
            let _ = refused(&folder, &bad, 4).says("bad is damaged");
        }
    }
}

#[test]
fn a_raw_image_is_read_where_it_is_and_pieces_one_behind_the_other() {
    if !requires(&["mkfs.ext4", "split"]) {
        return;
    }
    let folder = temp_dir();
    let raw = ext4(&folder, 8);
    let (out, ran) = import(&folder, &raw, 0);
    assert_same(&out, &raw);
    assert!(ran.messages("note").is_empty(), "there is nothing to unpack\n{ran}");
    let prefix = folder.join("disk.raw.");
    run("split", &["-b", "100K", &raw, &prefix]);
    assert_same(import(&folder, &format!("{prefix}aa"), 0).0, &raw);
    // Files that stand beside each other by chance are no pieces.
    let alone = folder.join("one.raw");
    fs::copy(&raw, &alone).unwrap();
    fs::write(folder.join("one.rax"), junk(512, 1)).unwrap();
    assert_same(import(&folder, &alone, 0).0, &raw);
}

#[test]
fn what_is_no_image_is_refused() {
    let folder = temp_dir();
    let path = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let _ = refused(&folder, &path("empty", b""), 4).says("is empty");
    let _ = refused(&folder, &path("text", b"no disk"), 4).says("no known kind of image");
    let lzop = b"\x89LZO\0\r\n\x1a\nxxxxxxxxxxxx";
    let _ = refused(&folder, &path("disk.lzo", lzop), 6).says("lzop").says("unpack it with");
    let _ = refused(&folder, &folder.join("missing"), 1);
    let disk = path("disk", &junk(1 << 20, 1));
    let image = folder.join("a.img.zst");
    let _ = dacapo(&["save", &disk, &image]).success();
    let _ = refused(&folder, &image, 2).says("is an image of dacapo already");
    // The name is taken: refused before anything is read.
    let missing = folder.join("missing");
    let _ = dacapo(&["import", &missing, &image]).exits(5).says("exists already");
    let _ = dacapo(&["import", &disk, &folder.join("b"), "--scratch", &missing]).success();
    let packed = path("disk.gz", &compress(&["gzip"], &junk(1 << 20, 1)));
    let ran = dacapo(&["import", &packed, &folder.join("c"), "--scratch", &missing]);
    let _ = ran.exits(1).says("missing");
}

#[test]
fn what_does_not_fit_into_the_temporary_file_ends_in_order() {
    if !requires(&["root", "mkfs.ext4", "gzip", "partclone.extfs"]) {
        return;
    }
    let folder = temp_dir();
    let small = Mount::new("none", "tmpfs", "size=2m");
    let scratch = small.path().to_str().unwrap();
    let image = folder.join("image.img.zst");
    // How much it takes is not known before.
    let packed = folder.join("disk.gz");
    fs::write(&packed, compress(&["gzip", "-1"], &junk(8 << 20, 1))).unwrap();
    let ran = dacapo(&["import", &packed, &image, "--scratch", scratch]).exits(8);
    let _ = ran.says("--scratch names a folder with more room");
    // It is known.
    let (raw, saved, log) = (ext4(&folder, 64), folder.join("image.pc"), folder.join("log"));
    run("partclone.extfs", &["-c", "-q", "-s", &raw, "-O", &saved, "-L", &log]);
    let ran = dacapo(&["import", &saved, &image, "--scratch", scratch]).exits(8);
    let _ = ran.says("unpacking takes up to").says("2.00 MiB are free");
    assert_eq!(fs::read_dir(small.path()).unwrap().count(), 0);
    assert!(!fs::exists(&image).unwrap() && !fs::exists(format!("{image}.partial")).unwrap());
}

#[test]
fn an_import_that_is_interrupted_leaves_nothing() {
    if !requires(&["xz"]) {
        return;
    }
    let folder = temp_dir();
    let (raw, out) = (folder.join("disk.raw"), folder.join("out"));
    fs::create_dir(&out).unwrap();
    sparse_file(&raw, 1 << 30);
    run("xz", &["-0", &raw]);
    let image = format!("{out}/image.img.zst");
    let mut child = dacapo_command(&["import", "--quiet", &format!("{raw}.xz"), &image])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let process = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGINT).unwrap();
    let start = Instant::now();
    assert_eq!(wait(&mut child, Duration::from_secs(60)), Some(130));
    assert!(start.elapsed() < Duration::from_secs(5), "it takes long to stop");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Raw images, as they are and compressed.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use super::{cut, ext4, import, len_of, ntfs, refused, with_damage};
use dacapo::import::compression::Compression;

use crate::support::{
    DamagedFile, Loop, Mount, assert_same, dacapo, dacapo_command, finish, junk, requires, run,
    sparse_file, temp_dir, wait,
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
        // Behind the last block of LZ4, and behind the mark of its end, too.
        for end in [len - 1, len - 4, len - 8, len / 2, 40] {
            cut(&packed, end, &bad);
            let _ = refused(&folder, &bad, 4).says("bad is damaged").says("of its content");
        }
        if is_checked {
            with_damage(&packed, len / 2, &bad);
            let _ = refused(&folder, &bad, 4).says("bad is damaged");
        }
    }
}

/// More ways to write the same formats: with other checksums, blocks and facts.
const VARIANTS: [&[&str]; 9] = [
    &["lz4", "-q", "-1"],
    &["lz4", "-q", "-B4", "-BD", "--no-frame-crc"],
    &["lz4", "-q", "-B4", "-BX", "--no-frame-crc"],
    &["lz4", "-q", "-B5", "--content-size"],
    &["zstd", "-q", "--no-check"],
    &["zstd", "-q", "--no-content-size", "-B50000"],
    &["xz", "-0", "--check=none", "--block-size=50000"],
    &["xz", "-0", "--check=sha256"],
    &["gzip", "-9", "-n"],
];

#[test]
fn whatever_is_cut_off_anywhere_is_damaged() {
    if !requires(&["gzip", "bzip2", "xz", "lzma", "lzip", "lz4", "zstd"]) {
        return;
    }
    let first: Vec<u8> = (0..200).flat_map(|seed| junk(16, seed).repeat(70)).collect();
    let second = junk(2000, 7);
    let commands = COMPRESSORS.iter().map(|it| it.0).chain(VARIANTS);
    for command in commands {
        let [one, other] = [&first, &second].map(|bytes| compress(command, bytes));
        let (boundary, packed) = (one.len(), [one, other].concat());
        let is_alone = command[0] == "lzma";
        let unpack = |len: usize| {
            let mut bytes = Vec::new();
            Compression::of(&packed)
                .decoder(&packed[..len])
                .map_err(|error| error.to_string())?
                .read_to_end(&mut bytes)
                .map_err(|error| error.to_string())?;
            Ok::<_, String>(bytes)
        };
        assert!(unpack(boundary).unwrap() == first, "{command:?}");
        match unpack(packed.len()) {
            Ok(bytes) => assert!(!is_alone && bytes == [&first[..], &second].concat()),
            // It has no end that another could follow.
            Err(error) => assert!(is_alone && error.contains("more behind"), "{error}"),
        }
        let step = packed.len() / 200;
        for len in 1..packed.len() {
            let is_close = |place: usize| place.abs_diff(len) < 40;
            let is_tried = len % step == 0 || is_close(0) || is_close(boundary);
            if len != boundary && (is_tried || is_close(packed.len())) {
                let unpacked = unpack(len).map(|bytes| bytes.len());
                assert!(unpacked.is_err(), "{command:?} cut at {len}: {unpacked:?}");
            }
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
    let (out, ran) = import(&folder, &format!("{prefix}aa"), 0);
    assert_same(out, &raw);
    let _ = ran.says("82 files were joined to 8388608 bytes").says("disk.raw.dd");
    // One in the middle is missing; or it is one in the middle that was given.
    let _ = refused(&folder, &format!("{prefix}ab"), 2).says("in front of it is disk.raw.aa");
    fs::remove_file(format!("{prefix}ac")).unwrap();
    let ran = refused(&folder, &format!("{prefix}aa"), 4);
    let _ = ran.says("disk.raw.ac is missing: there is disk.raw.ad behind it");
    // As those count who begin with one.
    run("split", &["-b", "100K", "--numeric-suffixes=1", "-a", "3", &raw, &prefix]);
    assert_same(import(&folder, &format!("{prefix}001"), 0).0, &raw);
    fs::remove_file(format!("{prefix}002")).unwrap();
    let ran = refused(&folder, &format!("{prefix}001"), 4);
    let _ = ran.says("disk.raw.002 is missing: there is disk.raw.003 behind it");
    // Files that stand beside each other by chance are no pieces.
    let alone = folder.join("one.raw");
    fs::copy(&raw, &alone).unwrap();
    fs::write(folder.join("one.rax"), junk(512, 1)).unwrap();
    assert_same(import(&folder, &alone, 0).0, &raw);
}

#[test]
fn sectors_that_cannot_be_read_are_lost_and_named() {
    if !requires(&["root", "loop", "kernel:btrfs", "mkfs.btrfs", "zstd"]) {
        return;
    }
    let folder = temp_dir();
    let content = junk(4 << 20, 5);
    let damaged = DamagedFile::new(&content, 300);
    let (raw, ran) = import(&folder, damaged.path().to_str().unwrap(), 3);
    let ran = ran.says("4096 bytes in 1 places of what was imported could not be read");
    let told = &ran.messages("error")[0];
    assert_eq!(told["message"], "the medium cannot be read", "{ran}");
    assert_eq!((&told["offset"], &told["length"]), (&(300 * 4096).into(), &4096.into()));
    let got = fs::read(&raw).unwrap();
    let (start, end) = (300 * 4096, 301 * 4096);
    assert!(got[..start] == content[..start] && got[end..] == content[end..]);
    assert!(got[start..end].iter().all(|byte| *byte == 0));
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
    let mut cowd = junk(1 << 20, 1);
    cowd[..4].copy_from_slice(b"COWD");
    let _ = refused(&folder, &path("delta.vmdk", &cowd), 6).says("a part of a VMware disk");
    let packed = compress(&["gzip"], &cowd);
    let _ = refused(&folder, &path("delta.gz", &packed), 6).says("a part of a VMware disk");
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
fn where_holes_take_room_the_whole_disk_has_to_fit() {
    let needs = ["root", "loop", "mkfs.ext4", "partclone.extfs", "mkfs.exfat", "mount.exfat-fuse"];
    if !requires(&needs) {
        return;
    }
    let folder = temp_dir();
    let (raw, saved, log) = (ext4(&folder, 96), folder.join("image.pc"), folder.join("log"));
    run("partclone.extfs", &["-c", "-q", "-s", &raw, "-O", &saved, "-L", &log]);
    let (file, at) = (folder.join("exfat.raw"), folder.join("exfat"));
    sparse_file(&file, 64 << 20);
    run("mkfs.exfat", &[&file]);
    let drive = Loop::new(&file, &[]);
    fs::create_dir(&at).unwrap();
    run("mount.exfat-fuse", &[drive.device(), &at]);
    let image = folder.join("image.img.zst");
    let ran = dacapo(&["import", &saved, &image, "--scratch", &at]);
    run("umount", &[&at]);
    let _ = ran.exits(8).says("unpacking takes up to 96.0 MiB");
}

/// An interrupted image may be gone on with, unless an import has made it.
#[test]
fn an_interrupted_image_of_something_else_stays() {
    let folder = temp_dir();
    let (disk, other) = (folder.join("disk.raw"), folder.join("other.raw"));
    fs::write(&disk, junk(1 << 20, 1)).unwrap();
    fs::write(&other, junk(1 << 20, 2)).unwrap();
    let (made, image) = (folder.join("made.img.zst"), folder.join("image.img.zst"));
    let partial = format!("{image}.partial");
    for args in [["save", &other, &made], ["import", &other, &made]] {
        let _ = dacapo(&args).success();
        fs::rename(&made, &partial).unwrap();
        let before = fs::read(&partial).unwrap();
        let ran = dacapo(&["import", &disk, &image]).exits(5);
        let _ = ran.says("is the interrupted image of something else");
        assert!(fs::read(&partial).unwrap() == before, "it was changed");
    }
    let ran = dacapo(&["import", &other, &image]).success();
    let _ = ran.says("was interrupted; it is replaced");
    assert!(!fs::exists(&partial).unwrap());
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

/// Nothing in a raw image says how long it has to be; what is in it does.
#[test]
fn a_raw_image_that_was_cut_off_is_refused() {
    if !requires(&[
        "sgdisk",
        "sfdisk",
        "mkfs.ext4",
        "mkntfs",
        "ntfscp",
        "split",
        "gzip",
        "zstd",
        "xorriso",
    ]) {
        return;
    }
    let folder = temp_dir();
    let short = folder.join("short.raw");
    let fs_raw = ext4(&folder, 16);
    cut(&fs_raw, 8 << 20, &short);
    let _ = refused(&folder, &short, 4).says("its ext4 has 16777216 bytes").says("dacapo save");
    let packed = folder.join("short.gz");
    fs::write(&packed, compress(&["gzip", "-1"], &fs::read(&short).unwrap())).unwrap();
    let _ = refused(&folder, &packed, 4).says("its ext4 has 16777216 bytes");
    // Without its last piece.
    let prefix = folder.join("ext4.raw.");
    run("split", &["-b", "1M", "-a", "3", "-d", &fs_raw, &prefix]);
    assert_same(import(&folder, &format!("{prefix}000"), 0).0, &fs_raw);
    fs::remove_file(format!("{prefix}015")).unwrap();
    let _ = refused(&folder, &format!("{prefix}000"), 4).says("its ext4 has 16777216 bytes");
    let windows = ntfs(&folder, 16);
    cut(&windows, (16 << 20) - 8192, &short);
    let _ = refused(&folder, &short, 4).says("its NTFS has 16777216 bytes");
    // Tools that restore to a file leave its last sector out.
    cut(&windows, (16 << 20) - 512, &short);
    assert_same(import(&folder, &short, 0).0, &short);

    let disk = folder.join("disk.raw");
    sparse_file(&disk, 96 << 20);
    run("sgdisk", &["-n", "1:2048:+16M", "-n", "2:0:+64M", &disk]);
    let file = fs::File::options().write(true).open(&disk).unwrap();
    file.write_all_at(&fs::read(&fs_raw).unwrap(), 1 << 20).unwrap();
    assert_same(import(&folder, &disk, 0).0, &disk);
    cut(&disk, 60 << 20, &short);
    let ran = refused(&folder, &short, 4).says("partition 2 ends at byte 84934656");
    let _ = ran.says("the backup of its partition table ends at byte 100663296");
    // All partitions are there; this program saves it if it is asked to.
    cut(&disk, 90 << 20, &short);
    let _ = refused(&folder, &short, 4).says("and the backup of its partition table ends at");
    let saved = folder.join("saved.img.zst");
    let _ = dacapo(&["save", &short, &saved]).success().says("behind the end of the disk");
    super::unpack(&saved, &folder.join("saved.raw"));
    assert_same(folder.join("saved.raw"), &short);
    // Larger than its disk was.
    fs::copy(&disk, &short).unwrap();
    fs::File::options().write(true).open(&short).unwrap().set_len(128 << 20).unwrap();
    assert_same(import(&folder, &short, 0).0, &short);

    // A partition may be longer than its disk, and what is in it not.
    let sfdisk = |disk: &str, script: &str| {
        let mut sfdisk = std::process::Command::new("sfdisk");
        sfdisk.args(["-q", disk]).env("PATH", crate::support::search_path());
        let _ = finish(sfdisk, script.as_bytes()).success();
    };
    sparse_file(&disk, 32 << 20);
    sfdisk(&disk, "label: dos\nstart=2048, size=40960, type=83\n");
    let file = fs::File::options().write(true).open(&disk).unwrap();
    file.write_all_at(&fs::read(&fs_raw).unwrap(), 1 << 20).unwrap();
    cut(&disk, 18 << 20, &short);
    let (out, ran) = import(&folder, &short, 0);
    assert_same(out, &short);
    let _ = ran.says("partition 1 ends behind the end of the disk");
    cut(&disk, 10 << 20, &short);
    let _ = refused(&folder, &short, 4).says("partition 1 ends at byte 22020096");

    // A disc that is a disk as well, with a partition that is rounded up.
    let (tree, disc) = (folder.join("tree"), folder.join("hybrid.iso"));
    fs::create_dir(&tree).unwrap();
    fs::write(format!("{tree}/file"), junk(3 << 20, 3)).unwrap();
    run("xorriso", &["-as", "mkisofs", "-quiet", "-R", "-V", "HYBRID", "-o", &disc, &tree]);
    let len = len_of(&disc);
    let resize = |len| fs::File::options().write(true).open(&disc).unwrap().set_len(len).unwrap();
    resize(len + (1 << 20));
    sfdisk(&disc, "label: dos\nstart=64, type=17\n");
    resize(len);
    assert_same(import(&folder, &disc, 0).0, &disc);
    cut(&disc, len / 2 / 2048 * 2048, &short);
    let _ = refused(&folder, &short, 4).says(&format!("its ISO 9660 has {len} bytes"));
}

/// What is loop-mounted changes while it is read.
#[test]
fn a_raw_image_that_is_mounted_is_refused() {
    if !requires(&["root", "loop", "kernel:ext4", "mkfs.ext4", "zstd"]) {
        return;
    }
    let folder = temp_dir();
    let raw = ext4(&folder, 16);
    let mount = Mount::new(&raw, "ext4", "loop");
    let _ = refused(&folder, &raw, 5).says("may change while it is").says("umount");
    drop(mount);
    let mount = Mount::new(&raw, "ext4", "loop,ro");
    assert_same(import(&folder, &raw, 0).0, &raw);
    drop(mount);
}

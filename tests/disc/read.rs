// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disc to a file; a regular file stands for the drive.

use std::fs::{self, OpenOptions};
use std::path::Path;

use dacapo::extent::Extent;

use super::scene::{NEEDS, SECTOR, Scene, VENDORS, assert_same, isoinfo_size, record, sum};
use crate::failing::save::{Drive, interrupt_in_a_hang};
use crate::support::{dacapo, junk, requires, run};

#[test]
fn a_disc_becomes_the_file_that_every_program_expects() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new();
    let disc = scene.xorriso("disc.iso", &["-appid", "Studio"]);
    let out = scene.at("out");
    fs::create_dir(&out).unwrap();
    let args = ["disc", "read", disc.to_str().unwrap(), &out, "--title", "Synth 2"];
    let ran = dacapo(&[&args[..], &["--note", "from the attic", "--serial", "12-34"]].concat());
    let ran = ran.success();
    // Named after the label; bit for bit; nothing else is left.
    let iso = Path::new(&out).join("SYNTH_2.iso");
    assert_same(&disc, &iso);
    // Whoever may read the record may read the disc.
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions();
    assert_eq!(mode(&iso), mode(&iso.with_extension("json")));
    let mut left: Vec<_> = fs::read_dir(&out).unwrap().map(|it| it.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["SYNTH_2.iso", "SYNTH_2.json"]);

    let record = record(&iso);
    assert_eq!(record["sha256"], sum("sha256sum", &iso));
    assert_eq!(record["md5"], sum("md5sum", &iso));
    assert!(ran.out().contains(&sum("sha256sum", &iso)), "{ran}");
    assert_eq!((&record["title"], &record["serial"]), (&"Synth 2".into(), &"12-34".into()));
    assert_eq!(record["note"], "from the attic");
    let volume = &record["volume"];
    assert_eq!(volume["label"], "SYNTH_2");
    assert_eq!(volume["publisher"].as_str().unwrap().to_uppercase(), "SOME COMPANY");
    assert_eq!(volume["application"].as_str().unwrap().to_uppercase(), "STUDIO");
    let formats = volume["formats"].to_string();
    for format in ["ISO 9660", "Joliet", "Rock Ridge", "El Torito"] {
        assert!(formats.contains(format), "{format} is missing: {formats}");
    }
    assert!(!formats.contains("UDF") && !formats.contains("HFS"), "{formats}");
    assert_eq!(record["sizes"]["primary"], isoinfo_size(&disc) * SECTOR);
    assert!(record["unreadable"].as_array().unwrap().is_empty());
    assert!(record["read_at"].as_str().unwrap().starts_with("20"));

    // A second time nothing is overwritten.
    let before = fs::read(&iso).unwrap();
    dacapo(&["disc", "read", disc.to_str().unwrap(), &out]).exits(5).says("exists already");
    assert_eq!(fs::read(&iso).unwrap(), before);
    // Nor is a record that has lost its disc.
    fs::remove_file(&iso).unwrap();
    dacapo(&["disc", "read", disc.to_str().unwrap(), &out]).exits(5).says("SYNTH_2.json exists");
}

#[test]
fn discs_for_macs_and_dvds_are_read_whole_and_known() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new();
    let (hybrid, udf) = (scene.hfs("mac.iso"), scene.udf("dvd.iso", 5000, "2.01"));
    for (disc, format, size) in [(&hybrid, "HFS", "hfs"), (&udf, "UDF 2.01", "udf_partition")] {
        let out = scene.at(&format!("{size}.iso"));
        let _ = dacapo(&["disc", "read", disc.to_str().unwrap(), &out]).success();
        assert_same(disc, &out);
        let (record, len) = (record(&out), fs::metadata(disc).unwrap().len());
        let formats = record["volume"]["formats"].to_string();
        assert!(formats.contains(&format!("\"{format}\"")), "{formats}");
        let end = record["sizes"][size].as_u64().unwrap();
        assert!(end <= len && end > len / 2, "{end} of {len}");
    }
    assert_eq!(record(scene.at("hfs.iso"))["volume"]["label"], "SYNTH_MAC");
    assert_eq!(record(scene.at("udf_partition.iso"))["volume"]["label"], "Samples Vol. 1");
}

#[test]
fn discs_of_others_are_read_bit_for_bit() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new();
    for disc in VENDORS {
        assert!(Path::new(disc).exists(), "{disc} is not installed");
        let out = scene.at("vendor.iso");
        let _ = dacapo(&["disc", "read", disc, &out]).success();
        assert_same(disc, &out);
        let record = record(&out);
        let filesystem = record["sizes"]["primary"].as_u64().unwrap();
        assert_eq!(filesystem, isoinfo_size(disc) * SECTOR, "{disc}");
        dacapo(&["disc", "verify", &out]).success().says("good");
        fs::remove_file(&out).unwrap();
        fs::remove_file(scene.at("vendor.json")).unwrap();
    }
}

#[test]
fn what_lies_behind_the_filesystem_is_kept_and_told() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new();
    let plain = scene.xorriso("plain.iso", &["-no-pad"]);
    let len = fs::metadata(&plain).unwrap().len();
    for (name, tail, told) in [
        ("padded", vec![0; 150 * 2048], "all zero"),
        ("hidden", junk(99 * 2048, 4), "not all zero"),
    ] {
        let disc = scene.at(&format!("{name}.iso"));
        fs::write(&disc, [fs::read(&plain).unwrap(), tail].concat()).unwrap();
        let out = scene.at(&format!("{name}-out.iso"));
        let ran = dacapo(&["disc", "read", &disc, &out]).success();
        assert!(ran.err().contains(told), "{ran}");
        assert_same(&disc, &out);
        let record = record(&out);
        let end = record["sizes"]["primary"].as_u64().unwrap();
        let whole = fs::metadata(&disc).unwrap().len();
        assert!(end <= len && record["behind"]["bytes"] == whole - end, "{record}");
    }
}

#[test]
fn a_disc_that_stops_short_is_a_loss_with_its_sectors_named() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new();
    let disc = scene.xorriso("disc.iso", &[]);
    let len = isoinfo_size(&disc) * SECTOR;
    let cut = 300 * SECTOR + 100;
    OpenOptions::new().write(true).open(&disc).unwrap().set_len(cut).unwrap();
    let out = scene.at("out.iso");
    let ran = dacapo(&["disc", "read", disc.to_str().unwrap(), &out]).exits(3);
    assert!(ran.err().contains(&format!("300-{}", len / SECTOR - 1)), "{ran}");
    // As long as it should be; what is there is there, all else is zero.
    let (read, whole) = (fs::read(&out).unwrap(), fs::read(&disc).unwrap());
    assert_eq!(read.len() as u64, len);
    assert!(read.starts_with(&whole[..300 * 2048]));
    assert!(read[cut as usize..].iter().all(|byte| *byte == 0));
    let record = record(&out);
    assert_eq!(record["unreadable"][0]["first"], 300);
    assert_eq!(record["sizes"]["capacity"], cut);
    // The files in them are named, and only those.
    let files = record["damaged_files"].to_string();
    assert!(files.contains("large.bin") || files.contains("LARGE.BIN"), "{files}");
    assert!(!files.contains("boot.img"), "{files}");
    // It stays as incomplete as it is.
    dacapo(&["disc", "verify", &out]).exits(3).says("could not be read then");
}

#[test]
fn the_files_of_partitions_are_named_although_the_end_of_the_disc_is_bad() {
    if !requires(NEEDS) || !requires(&["root", "nbdkit", "nbdfuse", "mformat", "mcopy"]) {
        return;
    }
    let scene = Scene::new();
    let efi = scene.at("efi.img");
    crate::support::sparse_file(&efi, 4 << 20);
    let _ = run("mformat", &["-i", &efi, "::"]);
    let inside = scene.at("tree/Documentation/large.bin");
    let _ = run("mcopy", &["-i", &efi, &inside, "::/INSIDE.BIN"]);
    let part = junk(1_500_000, 2)[700_000..700_064].to_vec();
    for (name, how) in [("mbr", "-partition_offset"), ("gpt", "-appended_part_as_gpt")] {
        let mut options = vec!["-append_partition", "2", "0xef", &efi, how];
        options.extend((name == "mbr").then_some("16"));
        let disc = scene.xorriso(&format!("{name}.iso"), &options);
        // One place in the file in the partition, which is behind the other one.
        let bytes = fs::read(&disc).unwrap();
        let place = bytes.windows(part.len()).rposition(|it| it == part).unwrap() as u64;
        let end = bytes.len() as u64;
        let bad = [Extent::at(place / SECTOR * SECTOR, SECTOR), Extent::new(end - 8192, end)];
        let drive = Drive::new(&scene.at("drive"), disc.to_str().unwrap(), &bad, &[]);
        let out = scene.at(&format!("{name}-out.iso"));
        dacapo(&["disc", "read", &drive.path(), &out]).exits(3).says("/INSIDE.BIN");
        assert_eq!(record(&out)["damaged_files"].to_string(), "[\"/INSIDE.BIN\"]");
    }
}

#[test]
fn a_read_that_hangs_is_told_and_ctrl_c_ends_it() {
    if !requires(&[NEEDS, &["root", "nbdkit", "nbdfuse"]].concat()) {
        return;
    }
    let scene = Scene::new();
    let disc = scene.xorriso("disc.iso", &[]);
    let (middle, let_go) = (fs::metadata(&disc).unwrap().len() / 2, scene.at("let-go"));
    let shown = disc.to_str().unwrap();
    let hanging = |name: &str| Drive::hanging(&scene.at(name), shown, middle, &let_go);
    let (drive, other) = (hanging("drive"), hanging("other"));
    let (one, two, out) = (drive.path(), other.path(), scene.at("out.iso"));
    // It is not only said that this can be gone on with.
    let said = interrupt_in_a_hang(&["disc", "read", &one, &out], &scene.at("log"));
    assert!(said.contains("--resume"), "{said}");
    // What is missing is read in another way, on a drive that nobody has asked yet.
    let args = ["disc", "read", &two, &out, "--resume"];
    let said = interrupt_in_a_hang(&args, &scene.at("log"));
    assert!(said.contains("--resume"), "{said}");
    assert!(!Path::new(&out).exists());
    fs::write(&let_go, "").unwrap();
    let _ = dacapo(&args).success();
    assert_same(&disc, &out);
}

#[test]
fn what_is_no_disc_is_not_taken_for_one() {
    if !requires(&["root", "loop"]) {
        return;
    }
    let scene = Scene::new();
    let out = scene.at("out.iso");
    let disk = scene.at("disk.raw");
    fs::write(&disk, junk(4 << 20, 5)).unwrap();
    dacapo(&["disc", "read", &disk, &out]).exits(5).says("dacapo save");
    let ran = run("losetup", &["--find", "--show", &disk]);
    let device = ran.out().trim();
    let refused = dacapo(&["disc", "read", device, &out]);
    let _ = run("losetup", &["-d", device]);
    refused.exits(5).says("is a disk, not a drive for discs").says("dacapo save");
    dacapo(&["disc", "read", &scene.at("tree"), &out]).exits(2).says("is a folder");
    dacapo(&["disc", "read", &scene.at("nothing"), &out]).exits(1);
    assert!(!Path::new(&out).exists());
    // Neither a device, nor the source itself, is written to.
    dacapo(&["disc", "read", &disk, "/dev/nowhere.iso"]).exits(5);
}

#[test]
fn the_source_is_never_the_destination() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new();
    let disc = scene.xorriso("disc.iso", &[]);
    let disc = disc.to_str().unwrap();
    let before = sum("sha256sum", disc);
    dacapo(&["disc", "read", disc, disc]).exits(5);
    assert_eq!(sum("sha256sum", disc), before);
}

#[test]
fn a_copy_fills_the_gaps_of_another_and_ddrescue_reads_the_map() {
    if !requires(NEEDS) || !requires(&["ddrescuelog"]) {
        return;
    }
    let scene = Scene::new();
    let disc = scene.xorriso("disc.iso", &[]);
    let (cut, out) = (scene.at("cut.iso"), scene.at("out.iso"));
    fs::copy(&disc, &cut).unwrap();
    OpenOptions::new().write(true).open(&cut).unwrap().set_len(400 * SECTOR).unwrap();
    dacapo(&["disc", "read", &cut, &out]).exits(3).says("sectors of the disc");
    // What ddrescue makes of the map: as much is there as can be.
    let map = scene.at("out.map");
    let ran = run("ddrescuelog", &["--list-blocks=+", "-b2048", &map]);
    assert_eq!(ran.out().lines().count(), 400);
    // The zeros in the gaps are no data for another merge.
    let (merged, disc) = (scene.at("merged.iso"), disc.to_str().unwrap());
    dacapo(&["disc", "read", &out, &merged]).exits(3);
    fs::remove_file(&merged).unwrap();
    for name in ["merged.json", "merged.map"] {
        fs::remove_file(scene.at(name)).unwrap();
    }
    let _ = dacapo(&["disc", "read", &out, &merged, "--merge", disc]).success();
    assert_same(disc, &merged);
    assert!(!Path::new(&scene.at("merged.map")).exists());
    // The same with a second run.
    let _ = dacapo(&["disc", "read", disc, &out, "--resume"]).success();
    assert_same(disc, &out);
    dacapo(&["disc", "read", disc, &out, "--resume"]).exits(5).says("is complete");
    // Another disc fills nothing.
    let other = scene.xorriso("other.iso", &["-V", "OTHER"]);
    let args = ["disc", "read", &cut, &scene.at("x.iso"), "--merge", other.to_str().unwrap()];
    dacapo(&args).exits(5).says("is not the same disc");
    dacapo(&["disc", "read", disc, &scene.at("y.bin"), "--raw"]).exits(6).says("only CDs");
}

#[test]
fn encrypted_films_are_kept_bit_for_bit_and_told() {
    if !requires(NEEDS) {
        return;
    }
    let scene = Scene::new();
    let film = scene.at("tree/BDMV/STREAM/00001.m2ts");
    let put = |path: &str, bytes: &[u8]| {
        let path = scene.at(&format!("tree/{path}"));
        fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let disc = |name: &str| {
        let (image, tree) = (scene.at(name), scene.at("tree"));
        let args = ["-quiet", "-udf", "-D", "-V", "FILM", "-o", &image, &tree];
        let _ = run("genisoimage", &args);
        image
    };
    // Packets in the clear, and all but the first 16 bytes of a unit encrypted.
    let clear: Vec<u8> = (0..64 * 6144).map(|at| if at % 192 == 4 { 0x47 } else { 7 }).collect();
    let mut encrypted = junk(64 * 6144, 5);
    for (unit, plain) in encrypted.chunks_mut(6144).zip(clear.chunks(6144)) {
        unit[..16].copy_from_slice(&plain[..16]);
    }
    put("BDMV/STREAM/00000.m2ts", &clear[..6144 * 3]);
    put("BDMV/STREAM/00001.m2ts", &encrypted);
    let told = |disc: &str, protection: Option<&str>| {
        let out = format!("{disc}.copy.iso");
        let code = if protection.is_some() { 3 } else { 0 };
        let ran = dacapo(&["disc", "read", disc, &out]).exits(code);
        assert_same(disc, &out);
        let (record, info) = (record(&out), dacapo(&["disc", "info", &out]).success());
        assert_eq!(record["protection"].as_str(), protection, "{disc}");
        assert!(record["unreadable"].as_array().unwrap().is_empty());
        let said = info.out().lines().find(|line| line.contains("protection"));
        assert_eq!(said.is_some(), protection.is_some(), "{info}");
        let verified = dacapo(&["disc", "verify", &out]).exits(code);
        if let Some(protection) = protection {
            assert!(said.unwrap().contains(protection), "{info}");
            let read = ran.says(&format!("copy-protected ({protection})"));
            let _ = read.says("all of the disc was read").says("keep the disc itself");
            let _ = verified.says("cannot be played without the disc");
        }
    };
    told(&disc("nothing.iso"), None);
    // Of HD DVDs; and no keys.
    put("AACS/MKBROM.AACS", &junk(2048, 6));
    told(&disc("hd-dvd.iso"), Some("AACS"));
    fs::rename(scene.at("tree/AACS/MKBROM.AACS"), scene.at("tree/AACS/read.me")).unwrap();
    told(&disc("no-keys.iso"), None);
    put("AACS/Unit_Key_RO.inf", &junk(2048, 6));
    told(&disc("blu-ray.iso"), Some("AACS"));
    put("BDSVM/00000.svm", &junk(2048, 7));
    told(&disc("bd-plus.iso"), Some("AACS, BD+"));
    // Decrypted, with the folders left in place.
    fs::write(&film, &clear).unwrap();
    told(&disc("decrypted.iso"), None);
}

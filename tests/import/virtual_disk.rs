// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks of virtual machines that qemu-img has made.

use std::fs;

use super::{cut, ext4, import, len_of, refused};
use crate::support::{assert_same, dacapo_command, finish, requires, run, sparse_file, temp_dir};

#[test]
fn disks_of_virtual_machines_are_what_they_were_made_of() {
    if !requires(&["mkfs.ext4", "qemu-img"]) {
        return;
    }
    let folder = temp_dir();
    let raw = ext4(&folder, 16);
    for (format, options, name) in [
        ("qcow2", &["-c"][..], "qcow2"),
        ("vhdx", &[], "VHDX"),
        ("vmdk", &[], "VMDK"),
        ("vmdk", &["-o", "subformat=monolithicFlat"], "VMDK"),
        ("vdi", &[], "VDI"),
        ("vpc", &["-o", "force_size=on"], "VHD"),
        ("vpc", &["-o", "subformat=fixed,force_size=on"], "VHD"),
    ] {
        let disk = folder.join("disk");
        let args = [&["convert", "-f", "raw", "-O", format][..], options, &[&raw, &disk]];
        run("qemu-img", &args.concat());
        let (out, ran) = import(&folder, &disk, 0);
        assert_same(&out, &raw);
        let says = format!("{name} disk of a virtual machine");
        assert_eq!(ran.messages("summary")[0]["imported"]["format"], says.as_str());
    }
}

#[test]
fn what_qemu_img_finds_wrong_is_refused() {
    if !requires(&["mkfs.ext4", "qemu-img", "gzip"]) {
        return;
    }
    let folder = temp_dir();
    let raw = ext4(&folder, 16);
    let (disk, bad) = (folder.join("disk.qcow2"), folder.join("bad.qcow2"));
    run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", &raw, &disk]);
    cut(&disk, len_of(&disk) / 2, &bad);
    let _ = refused(&folder, &bad, 4).says("bad.qcow2 is damaged");
    // An entry of the first table that leads nowhere.
    let mut bytes = fs::read(&disk).unwrap();
    let table = usize::try_from(u64::from_be_bytes(bytes[40..48].try_into().unwrap())).unwrap();
    bytes[table + 2] ^= 0x40;
    fs::write(&bad, bytes).unwrap();
    let _ = refused(&folder, &bad, 4).says("bad.qcow2 is damaged");
    cut(&disk, 50, &bad);
    let _ = refused(&folder, &bad, 4);
    let overlay = folder.join("overlay.qcow2");
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-b", &disk, "-F", "qcow2", &overlay]);
    let _ = refused(&folder, &overlay, 6).says("holds the changes to another disk only");
    run("gzip", &["-k", &disk]);
    let _ = refused(&folder, &format!("{disk}.gz"), 6).says("unpack it first");
    let mut command = dacapo_command(&["import", &disk, &folder.join("image.img.zst")]);
    command.env("PATH", "/nonexistent");
    let _ = finish(command, &[]).exits(6).says("qemu-img is not installed");
}

/// A disk whose content is not all in its file is refused before qemu-img
/// opens what it names, and what qemu-img would take for whole.
#[test]
fn what_is_only_a_part_of_a_disk_is_refused() {
    if !requires(&["mkfs.ext4", "qemu-img"]) {
        return;
    }
    let folder = temp_dir();
    let raw = ext4(&folder, 16);
    let disk = folder.join("disk");
    let convert = |format: &str, options: &[&str]| {
        let args = [&["convert", "-f", "raw", "-O", format][..], options, &[&raw, &disk]];
        run("qemu-img", &args.concat());
        fs::read(&disk).unwrap()
    };
    let vhd = convert("vpc", &["-o", "force_size=on"]);
    // The type in both copies of the footer, and in the last one alone.
    for footers in [&[0, vhd.len() - 512][..], &[vhd.len() - 512]] {
        let mut bytes = vhd.clone();
        for at in footers {
            bytes[at + 63] = 4;
            bytes[at + 64..at + 68].fill(0);
            let sum = bytes[*at..at + 512].iter().map(|byte| u32::from(*byte)).sum::<u32>();
            bytes[at + 64..at + 68].copy_from_slice(&(!sum).to_be_bytes());
        }
        fs::write(&disk, bytes).unwrap();
        run("qemu-img", &["info", "-f", "vpc", &disk]);
        let ran = refused(&folder, &disk, 6).says("holds the changes to another disk only");
        let _ = ran.says("merge it with the other disk first");
    }
    let mut vdi = convert("vdi", &[]);
    vdi[0x4c] = 4;
    fs::write(&disk, vdi).unwrap();
    let _ = refused(&folder, &disk, 6).says("holds the changes to another disk only");
    let other = folder.join("content");
    let option = format!("data_file={other}");
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", &option, &disk, "16M"]);
    let _ = refused(&folder, &disk, 6).says("has its content in another file");
    let disk = folder.join("disk.vmdk");
    let flat = ["convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=monolithicFlat"];
    run("qemu-img", &[&flat[..], &[&raw, &disk]].concat());
    let text = fs::read_to_string(&disk).unwrap();
    let flat = folder.join("disk-flat.vmdk");
    let away = folder.join("away");
    fs::rename(&flat, &away).unwrap();
    let _ = refused(&folder, &disk, 4).says("disk-flat.vmdk, which is no file beside it");
    // A pipe would keep qemu-img waiting for ever.
    run("mkfifo", &[&flat]);
    let _ = refused(&folder, &disk, 4).says("disk-flat.vmdk, which is no file beside it");
    fs::remove_file(&flat).unwrap();
    fs::write(&disk, text.replace("disk-flat.vmdk", &away)).unwrap();
    let _ = refused(&folder, &disk, 6).says("has its content in another folder");
    // A name is no message of qemu-img.
    let (disk, named) = (folder.join("disk"), folder.join("block.qcow2"));
    run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", &raw, &disk]);
    cut(&disk, 50, &named);
    let _ = refused(&folder, &named, 4).says("cannot be read");
}

/// VirtualBox gives a VHD the size it was asked for, and the cylinders, heads and
/// sectors next below it, which qemu-img takes for the size. What is behind them
/// is the backup of the partition table, too.
#[test]
fn a_vhd_of_virtualbox_is_not_cut_short() {
    if !requires(&["sgdisk", "qemu-img", "gzip"]) {
        return;
    }
    let folder = temp_dir();
    let raw = folder.join("disk.raw");
    sparse_file(&raw, 100 << 20);
    run("sgdisk", &["-n", "1:2048:+50M", &raw]);
    // What is doubled in the options of qemu-img.
    let disk = folder.join("disk,1.vhd");
    for (options, is_fixed) in [("force_size=on", false), ("subformat=fixed,force_size=on", true)] {
        run("qemu-img", &["convert", "-f", "raw", "-O", "vpc", "-o", options, &raw, &disk]);
        let made = fs::read(&disk).unwrap();
        let footers = if is_fixed { 1 } else { 2 };
        let changed = |size: u64| {
            let mut bytes = made.clone();
            for at in [made.len() - 512, 0].into_iter().take(footers) {
                let footer = &mut bytes[at..at + 512];
                assert_eq!(&footer[..8], b"conectix");
                footer[28..32].copy_from_slice(b"vbox");
                footer[48..56].copy_from_slice(&size.to_be_bytes());
                footer[56..60].copy_from_slice(&[3, 235, 12, 17]);
                footer[64..68].fill(0);
                let sum = footer.iter().map(|byte| u32::from(*byte)).sum::<u32>();
                footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
            }
            bytes
        };
        fs::write(&disk, changed(100 << 20)).unwrap();
        let info = run("qemu-img", &["info", "-f", "vpc", &disk]);
        let _ = info.says("104761344 bytes");
        let (out, _) = import(&folder, &disk, 0);
        assert_same(&out, &raw);
        let _ = run("sgdisk", &["-v", &out]).says("No problems found");
        // No whole number of sectors, of which the last would be left out.
        fs::write(&disk, changed((100 << 20) - 1)).unwrap();
        let _ = refused(&folder, &disk, 4).says("says that its disk has 104857599 bytes");
        // Behind the disk is the footer.
        if is_fixed {
            fs::write(&disk, changed(100 << 20)).unwrap();
            let packed = run("gzip", &["-1", "-c", &disk]).stdout;
            let gz = folder.join("disk.gz");
            fs::write(&gz, packed).unwrap();
            let _ = refused(&folder, &gz, 6).says("is a VHD disk").says("unpack it first");
            fs::write(&disk, &changed(100 << 20)[1 << 20..]).unwrap();
            let _ =
                refused(&folder, &disk, 4).says("takes 104858112 bytes, and 103809536 are there");
        }
    }
}

/// What qemu-img reads as zeros, and says nothing.
#[test]
fn a_disk_that_was_cut_off_is_refused() {
    if !requires(&["mkfs.ext4", "qemu-img"]) {
        return;
    }
    let folder = temp_dir();
    let raw = ext4(&folder, 16);
    let (disk, short) = (folder.join("disk.vmdk"), folder.join("short.vmdk"));
    for (format, options) in [
        ("qcow2", &[][..]),
        ("vhdx", &[]),
        ("vmdk", &[]),
        ("vmdk", &["-o", "subformat=streamOptimized"]),
        ("vdi", &[]),
        ("vdi", &["-o", "static=on"]),
        ("vpc", &["-o", "force_size=on"]),
    ] {
        let args = [&["convert", "-f", "raw", "-O", format][..], options, &[&raw, &disk]];
        run("qemu-img", &args.concat());
        cut(&disk, len_of(&disk) / 2, &short);
        let _ = refused(&folder, &short, 4);
    }
    let flat = ["convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=monolithicFlat"];
    run("qemu-img", &[&flat[..], &[&raw, &disk]].concat());
    let content = folder.join("disk-flat.vmdk");
    fs::File::options().write(true).open(&content).unwrap().set_len(8 << 20).unwrap();
    let _ = refused(&folder, &disk, 4).says("disk-flat.vmdk was cut off: 16777216 bytes of it");
}

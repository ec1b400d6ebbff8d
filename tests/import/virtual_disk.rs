// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks of virtual machines that qemu-img has made.

use std::fs;

use super::{cut, ext4, import, len_of, refused};
use crate::support::{assert_same, dacapo_command, finish, requires, run, temp_dir};

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

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The medium as other programs see it: xorriso, sfdisk, mtools, cpio, depmod,
//! sbverify, and Debian's packages themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::{NEEDS, SHELL, build, iso, shell_iso};
use crate::support::{
    TempDir, all, assert_same, dacapo, dacapo_command, finish, hash_of, requires, run, temp_dir,
};

/// So large it may be, without firmware.
const LIMIT: u64 = 64 << 20;

/// The partitions of a disk: type, start and length in bytes.
pub(super) fn partitions(disk: &str) -> Vec<(String, u64, u64)> {
    let said = run("sfdisk", &["--json", disk]);
    let table: serde_json::Value = serde_json::from_str(said.out()).unwrap();
    let table = &table["partitiontable"];
    assert_eq!(table["label"], "dos");
    assert_ne!(table["id"], "0x00000000", "Windows would write a signature of its own");
    let bytes = |value: &serde_json::Value| value.as_u64().unwrap() * 512;
    table["partitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["type"].as_str().unwrap().into(), bytes(&it["start"]), bytes(&it["size"])))
        .collect()
}

/// The files of the volume that UEFI starts from.
fn efi_files(medium: &str, to: &str) {
    let (kind, start, _) = partitions(medium)[1].clone();
    assert_eq!(kind, "ef");
    let volume = format!("{medium}@@{start}");
    run("mcopy", &["-s", "-m", "-i", &volume, "::/EFI", "::/dacapo", to]);
}

/// The files of the ISO 9660.
fn iso_files(medium: &str, to: &str) {
    run("xorriso", &["-osirrox", "on", "-indev", medium, "-extract", "/", to]);
}

/// Packages, fetched and unpacked by Debian's own programs.
fn unpacked(names: &[&str]) -> TempDir {
    let folder = temp_dir();
    let mut fetch = std::process::Command::new("apt-get");
    fetch.arg("download").args(names).current_dir(folder.path());
    finish(fetch, &[]).success();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let file = entry.unwrap().path();
        run("dpkg-deb", &["-x", file.to_str().unwrap(), &folder.join("root")]);
    }
    folder
}

fn kernel_package() -> String {
    let said = run("apt-cache", &["depends", "linux-image-amd64"]);
    let line = said.out().lines().find(|line| line.contains("Depends: linux-image-"));
    line.unwrap().trim().trim_start_matches("Depends: ").to_owned()
}

#[test]
fn the_medium_is_small_and_has_a_way_to_start_for_every_firmware() {
    if !requires(&NEEDS) || !requires(&["sfdisk"]) {
        return;
    }
    let medium = iso().to_str().unwrap();
    let size = fs::metadata(medium).unwrap().len();
    assert!(size < LIMIT, "{size}");
    let said = run(
        "xorriso",
        &["-indev", medium, "-report_el_torito", "plain", "-report_system_area", "plain"],
    );
    for part in [
        "El Torito boot img :   1  BIOS  y   none",
        "El Torito boot img :   2  UEFI  y   none",
        "El Torito img path :   1  /boot/grub/eltorito.img",
        "El Torito img opts :   1  boot-info-table grub2-boot-info",
        "System area summary: MBR grub2-mbr",
        "Partition offset   : 16",
    ] {
        assert!(said.out().contains(part), "{part}\n{said}");
    }
    let found = partitions(medium);
    let kinds: Vec<&str> = found.iter().map(|(kind, ..)| kind.as_str()).collect();
    assert_eq!(kinds, ["cd", "ef"]);
    // Disc and stick start from the same bytes.
    let line = said.out().lines().find(|line| line.contains("boot img :   2  UEFI")).unwrap();
    let block: u64 = line.split_whitespace().last().unwrap().parse().unwrap();
    assert_eq!(block * 2048, found[1].1, "{said}");
    // Behind it is what drives read ahead at the end of a disc.
    assert_eq!(found[1].1 + found[1].2 + (300 << 10), size);
}

#[test]
fn what_is_signed_is_on_the_medium_as_debian_signed_it() {
    if !requires(&NEEDS) || !requires(&["sbverify", "openssl"]) {
        return;
    }
    let medium = iso().to_str().unwrap();
    let folder = temp_dir();
    let (efi, disc) = (folder.join("efi"), folder.join("disc"));
    fs::create_dir(&efi).unwrap();
    efi_files(medium, &efi);
    iso_files(medium, &disc);
    let kernel = kernel_package();
    let packages = unpacked(&[
        &kernel,
        "shim-signed",
        "shim-unsigned",
        "shim-helpers-amd64-signed",
        "grub-efi-amd64-signed",
    ]);
    let package = |path: &str| packages.join(&format!("root/{path}"));
    let version = kernel.trim_start_matches("linux-image-");
    let (shim, grub) =
        (format!("{efi}/EFI/BOOT/BOOTX64.EFI"), format!("{efi}/EFI/BOOT/grubx64.efi"));
    let helper = format!("{efi}/EFI/BOOT/mmx64.efi");
    let vmlinuz = format!("{disc}/boot/vmlinuz");
    assert_same(&shim, package("usr/lib/shim/shimx64.efi.signed"));
    assert_same(&helper, package("usr/lib/shim/mmx64.efi.signed"));
    assert_same(&grub, package("usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"));
    assert_same(&vmlinuz, package(&format!("boot/vmlinuz-{version}")));
    // Shim trusts what this certificate has signed.
    let (der, pem) = (package("usr/share/shim/debian-uefi-ca.der"), folder.join("ca.pem"));
    run("openssl", &["x509", "-inform", "der", "-in", &der, "-out", &pem]);
    for signed in [&helper, &grub, &vmlinuz] {
        run("sbverify", &["--cert", &pem, signed]);
    }
    assert!(run("sbverify", &["--list", &shim]).out().contains("Microsoft"));
}

#[test]
fn two_builds_are_the_same_file_and_other_arguments_another_medium() {
    // Each build packs all of it anew.
    if !all() || !requires(&NEEDS) {
        return;
    }
    let folder = temp_dir();
    let again = folder.join("again.iso");
    build(Path::new(&again), &[]);
    assert_eq!(hash_of(iso()), hash_of(&again));
    let (files, others) = (folder.join("files"), folder.join("others"));
    iso_files(&again, &files);
    iso_files(shell_iso().to_str().unwrap(), &others);
    let menu = fs::read_to_string(format!("{others}/boot/grub/grub.cfg")).unwrap();
    assert_eq!(menu.matches(SHELL).count(), 4, "{menu}");
    // The loader of one does not start the other, if both are plugged in.
    let id = |files: &str| -> String {
        let names = fs::read_dir(format!("{files}/dacapo")).unwrap();
        let names = names.map(|it| it.unwrap().file_name().into_string().unwrap());
        names.into_iter().find(|name| name.len() == 16).unwrap()
    };
    let (id, other_id) = (id(&files), id(&others));
    assert_ne!(id, other_id);
    for (files, id) in [(&files, &id), (&others, &other_id)] {
        let find = fs::read_to_string(format!("{files}/EFI/debian/grub.cfg")).unwrap();
        assert!(find.contains(&format!("/dacapo/{id};")), "{find}");
    }
}

/// The unpacked rescue system of the medium.
fn system() -> TempDir {
    let folder = temp_dir();
    iso_files(iso().to_str().unwrap(), &folder.join("disc"));
    let root = folder.join("root");
    fs::create_dir(&root).unwrap();
    let archive = run("zstd", &["-dc", &folder.join("disc/boot/initramfs")]).stdout;
    let mut unpack = std::process::Command::new("cpio");
    unpack.args(["--extract", "--quiet", "--no-absolute-filenames"]).current_dir(&root);
    finish(unpack, &archive).success();
    folder
}

/// The one folder of modules.
fn modules(root: &str) -> (String, PathBuf) {
    let mut found = fs::read_dir(format!("{root}/lib/modules")).unwrap();
    let folder = found.next().unwrap().unwrap().path();
    assert!(found.next().is_none());
    (folder.file_name().unwrap().to_str().unwrap().to_owned(), folder)
}

#[test]
fn the_tables_of_modules_are_those_that_depmod_makes() {
    if !requires(&NEEDS) || !requires(&["depmod", "cpio", "zstd"]) {
        return;
    }
    let system = system();
    let root = system.join("root");
    let (version, folder) = modules(&root);
    let dependencies = |text: &str| -> BTreeMap<String, BTreeSet<String>> {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.map(|(module, needs)| (module.to_owned(), words(needs))).collect()
    };
    let lines = |text: &str| -> BTreeSet<String> {
        // depmod writes a remark first.
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let ours = (read("modules.dep"), read("modules.alias"), read("modules.softdep"));
    fs::write(folder.join("modules.order"), "").unwrap();
    run("depmod", &["--errsyms", "--all", "--basedir", &root, &version]);
    let theirs = (read("modules.dep"), read("modules.alias"), read("modules.softdep"));
    assert!(dependencies(&ours.0).len() > 250);
    assert_eq!(dependencies(&ours.0), dependencies(&theirs.0));
    assert_eq!(lines(&ours.1), lines(&theirs.1));
    assert_eq!(lines(&ours.2), lines(&theirs.2));
    // What comes last is loaded first: of no module before what it needs.
    let all = dependencies(&ours.0);
    for line in ours.0.lines() {
        let (module, needs) = line.split_once(':').unwrap();
        let order: Vec<&str> = needs.split_whitespace().collect();
        for (number, need) in order.iter().enumerate() {
            let missing = all[*need].iter().find(|it| !order[number..].contains(&it.as_str()));
            assert!(missing.is_none(), "{module}: {need} before {missing:?}");
        }
    }
}

#[test]
fn every_tool_of_the_rescue_system_runs_where_there_is_nothing_else() {
    if !requires(&NEEDS) || !requires(&["cpio", "zstd", "chroot"]) {
        return;
    }
    let system = system();
    let root = system.join("root");
    for (tool, says) in [
        (&["/bin/dacapo", "--version"][..], "dacapo"),
        (&["/bin/sh", "-c", "echo it runs"], "it runs"),
        (&["/bin/ssh", "-V"], "Dropbear"),
        (&["/sbin/resize2fs"], "Usage"),
        (&["/sbin/e2fsck", "-V"], "e2fsck"),
        (&["/sbin/xfs_growfs", "-V"], "xfs_growfs version"),
        (&["/sbin/btrfs", "--version"], "btrfs-progs"),
        (&["/sbin/ntfsresize", "-V"], "ntfsresize v"),
        (&["/sbin/ntfs-3g", "--help"], "ntfs-3g"),
        (&["/sbin/smartctl", "--version"], "smartctl 7"),
    ] {
        let mut command = std::process::Command::new("chroot");
        command.arg(&root).args(tool).env("PATH", crate::support::search_path());
        finish(command, &[]).says(says);
    }
    // Links that lead to something inside.
    for (link, to) in [("sbin/modprobe", "/init"), ("bin/mount", "/bin/busybox")] {
        assert_eq!(fs::read_link(Path::new(&root).join(link)).unwrap(), Path::new(to));
    }
    for absent in ["bin/login", "sbin/init", "sbin/mke2fs", "sbin/getty"] {
        assert!(!Path::new(&root).join(absent).is_symlink(), "{absent}");
    }
    let roots = fs::read_to_string(format!("{root}/etc/ssl/certs/ca-certificates.crt")).unwrap();
    assert!(roots.matches("BEGIN CERTIFICATE").count() > 100);
    let list = fs::read_to_string(format!("{root}/etc/dacapo/packages.txt")).unwrap();
    assert!(list.contains("busybox-static ") && list.contains("linux-image-"), "{list}");
}

#[test]
fn what_cannot_be_built_is_said_before_minutes_of_work() {
    let folder = temp_dir();
    let out = folder.join("x.iso");
    fs::write(&out, b"somebody's").unwrap();
    dacapo(&["rescue", "build", &out]).exits(5).says("exists already");
    assert_eq!(fs::read(&out).unwrap(), b"somebody's");
    let fresh = folder.join("fresh.iso");
    for device in ["/dev/sdx", "/dev/null"] {
        dacapo(&["rescue", "build", device]).exits(5).says("dacapo rescue write");
    }
    dacapo(&["rescue", "build", &folder.join("no/x.iso")]).exits(1).says("no folder");
    dacapo(&["rescue", "build", &fresh, "--append", "a; reboot"]).exits(2).says("';'");
    dacapo(&["rescue", "build", &fresh, "--program", "/bin/no"]).exits(1).says("scripts/static");
    dacapo(&["rescue", "build", &fresh, "--kernel", "vmlinuz"]).exits(2).says("--modules");
    // A program with libraries would not start there.
    dacapo(&["rescue", "build", &fresh, "--program", "/bin/true"]).exits(1).says("needs libraries");
    assert!(!Path::new(&fresh).exists());
}

#[test]
fn packages_that_are_missing_are_named() {
    // Static on every Debian; nothing gets so far as to start it.
    let program = crate::support::find_program("ldconfig").unwrap();
    let program = program.to_str().unwrap();
    let folder = temp_dir();
    let args = ["--program", program, "--init", program, "--packages"];
    let mut command = dacapo_command(&["rescue", "build", &folder.join("x.iso")]);
    command.args(args).arg(folder.path());
    let ran = finish(command, &[]).exits(1).says("apt-get download");
    for name in ["linux-image-amd64", "shim-signed", "grub-pc-bin", "libc6"] {
        assert!(ran.err().contains(name), "{name}\n{ran}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Discs, each with a property that makers of discs gave them.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{TempDir, junk, run, temp_dir};

/// What it takes to make and judge discs.
pub(super) const NEEDS: &[&str] = &["xorriso", "genisoimage", "isoinfo", "mkudffs"];

/// The sector of a disc.
pub(super) const SECTOR: u64 = 2048;

/// The ISO files of Debian's packages grub-rescue-pc, ipxe and memtest86+:
/// discs that others have made and people burn.
pub(super) const VENDORS: &[&str] = &[
    "/usr/lib/grub-rescue/grub-rescue-cdrom.iso",
    "/usr/lib/ipxe/ipxe.iso",
    "/usr/lib/memtest86+/memtest86+x64.iso",
    "/usr/lib/memtest86+/memtest86+ia32.iso",
];

/// A folder with discs.
pub(super) struct Scene {
    pub(super) folder: TempDir,
}

impl Scene {
    pub(super) fn new() -> Self {
        let folder = temp_dir();
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("Documentation/a folder")).unwrap();
        fs::write(tree.join("setup.exe"), junk(700_000, 1)).unwrap();
        fs::write(tree.join("Documentation/a folder/Read me first.txt"), "Hello\n").unwrap();
        fs::write(tree.join("Documentation/large.bin"), junk(1_500_000, 2)).unwrap();
        fs::write(tree.join("boot.img"), junk(2048, 3)).unwrap();
        Self { folder }
    }

    pub(super) fn at(&self, name: &str) -> String {
        self.folder.join(name)
    }

    /// ISO 9660 with Rock Ridge, Joliet and El Torito, by xorriso.
    pub(super) fn xorriso(&self, name: &str, more: &[&str]) -> PathBuf {
        let (image, tree) = (self.at(name), self.at("tree"));
        let mut args = vec!["-as", "mkisofs", "-quiet", "-R", "-J", "-V", "SYNTH_2"];
        args.extend(["-publisher", "Some Company", "-p", "Somebody", "-b", "boot.img"]);
        args.extend(["-no-emul-boot", "-boot-load-size", "4"]);
        args.extend(more);
        args.extend(["-o", &image, &tree]);
        let _ = run("xorriso", &args);
        image.into()
    }

    /// As old Macs and PCs both read it, by genisoimage.
    pub(super) fn hfs(&self, name: &str) -> PathBuf {
        let (image, tree) = (self.at(name), self.at("tree"));
        let args = ["-quiet", "-hfs", "-part", "-hfs-volid", "Synth for Mac", "-V", "SYNTH_MAC"];
        let _ = run("genisoimage", &[&args[..], &["-r", "-J", "-o", &image, &tree]].concat());
        image.into()
    }

    /// UDF, as DVDs and BDs have it.
    pub(super) fn udf(&self, name: &str, sectors: u64, revision: &str) -> PathBuf {
        let image = self.at(name);
        crate::support::sparse_file(&image, sectors * SECTOR);
        let args = ["--media-type=hd", "-b", "2048", "-l", "Samples Vol. 1", "-r", revision];
        let _ = run("mkudffs", &[&args[..], &[image.as_str()]].concat());
        image.into()
    }
}

/// The record beside an image.
#[track_caller]
pub(super) fn record(image: impl AsRef<Path>) -> Value {
    let path = image.as_ref().with_extension("json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Two files are the same, byte for byte.
#[track_caller]
pub(super) fn assert_same(one: impl AsRef<Path>, other: impl AsRef<Path>) {
    let _ = run("cmp", &[one.as_ref(), other.as_ref()]);
}

/// What another program says of a file: the first word it prints.
pub(super) fn sum(program: &str, path: impl AsRef<Path>) -> String {
    let ran = run(program, &[path.as_ref()]);
    ran.out().split_whitespace().next().unwrap().to_owned()
}

/// Changes a byte.
pub(super) fn flip(path: impl AsRef<Path>, offset: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 4], offset).unwrap();
}

/// The size of the volume in sectors, as isoinfo reads it.
pub(super) fn isoinfo_size(path: impl AsRef<Path>) -> u64 {
    let ran = run("isoinfo", &["-d", "-i", path.as_ref().to_str().unwrap()]);
    let line = ran.out().lines().find_map(|line| line.strip_prefix("Volume size is: "));
    line.unwrap().trim().parse().unwrap()
}

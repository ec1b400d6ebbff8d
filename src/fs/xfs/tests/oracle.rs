// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver against `xfs_db`, on filesystems that `mkfs.xfs` makes here.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::super::Xfs;
use crate::extent::{Extent, ExtentSet};
use crate::fs::{Filesystem as _, Used};
use crate::io::Memory;
use crate::ondisk::FormatError;

pub(super) fn used(disk: &Memory) -> Result<Used, FormatError> {
    Xfs.used(&[disk])
}

fn xfs_db(image: &Path, commands: &[&str]) -> String {
    let mut program = Command::new("xfs_db");
    program.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").env("LC_ALL", "C").arg("-r");
    for command in commands {
        program.args(["-c", command]);
    }
    let output = program.arg(image).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The number behind `name = ` in what `xfs_db` prints.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().parse().unwrap()
}

/// The used bytes of an image of `len` bytes by `xfs_db`, which counts the
/// blocks of the AGFL among the free ones; and how many bytes those are.
fn dumped(image: &Path, len: u64) -> (ExtentSet, u64) {
    let sb = xfs_db(image, &["sb 0", "p blocksize agblocks agcount"]);
    let (block, ag_blocks) = (field(&sb, "blocksize"), field(&sb, "agblocks"));
    let mut reserve = 0;
    for group in 0..field(&sb, "agcount") {
        let agf = xfs_db(image, &[&format!("agf {group}"), "p flcount"]);
        reserve += field(&agf, "flcount") * block;
    }
    let mut free = ExtentSet::new();
    for line in xfs_db(image, &["freesp -d"]).lines().skip(1) {
        let numbers: Vec<u64> = line.split_whitespace().map_while(|n| n.parse().ok()).collect();
        let [group, first, count] = numbers[..] else { break };
        free.insert(Extent::at((group * ag_blocks + first) * block, count * block));
    }
    assert!(!free.is_empty(), "xfs_db lists nothing free");
    (free.complement(len), reserve)
}

#[test]
fn filesystems_that_mkfs_makes_are_read_as_xfs_db_reads_them() {
    if Command::new("/sbin/mkfs.xfs").arg("-V").output().is_err() {
        println!("skipped: mkfs.xfs is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let proto = folder.path().join("proto");
    let data = folder.path().join("data");
    fs::write(&data, vec![7; 70_000]).unwrap();
    let mut text = "/nothing\n0 0\nd--755 0 0\n".to_owned();
    for number in 0..60 {
        text += &format!("file-{number} ---644 0 0 {}\n", data.display());
    }
    fs::write(&proto, text + "$\n").unwrap();
    for arguments in [
        "",
        "-d agcount=1",
        "-d agcount=5",
        "-m crc=0",
        "-m crc=0 -b size=512",
        "-m crc=0 -b size=1024",
        "-m crc=0 -l lazy-count=0",
        "-m crc=0 -l version=1",
        "-m crc=0 -i attr=1",
        "-m crc=0 -n version=ci",
        "-m finobt=0",
        "-m rmapbt=1",
        "-m reflink=0,bigtime=0,inobtcount=0",
        "-m rmapbt=1 -i nrext64=1",
        "-i sparse=0",
        "-i size=2048",
        "-b size=1024",
        "-b size=2048",
        "-b size=16384",
        "-b size=65536",
        "-s size=4096",
        "-s size=1024",
        "-s size=32768 -b size=65536",
        "-d su=64k,sw=2",
        "-l su=256k",
        "-l su=32k",
        "-l version=2,size=8m",
        "-n size=65536",
        "-L a-label",
    ] {
        let image = folder.path().join("image");
        let file = fs::File::create(&image).unwrap();
        file.set_len(if arguments.contains("65536") { 400 << 20 } else { 100 << 20 }).unwrap();
        let made = Command::new("/sbin/mkfs.xfs")
            .envs([("TEST_DIR", "1"), ("TEST_DEV", "1"), ("QA_CHECK_FS", "1")])
            .args(["-q", "-f", "-p"])
            .arg(&proto)
            .args(arguments.split_whitespace())
            .arg(&image)
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(made.status.success(), "mkfs.xfs {arguments}: {words}");
        let bytes = fs::read(&image).unwrap();
        let (expected, reserve) = dumped(&image, bytes.len() as u64);
        let disk = Memory::new(bytes);
        let map = used(&disk).unwrap_or_else(|error| panic!("mkfs.xfs {arguments}: {error}"));
        assert_eq!(map.whole, None, "mkfs.xfs {arguments}");
        let missing = expected.subtract(&map.extents);
        assert_eq!(missing, ExtentSet::new(), "mkfs.xfs {arguments}");
        assert_eq!(map.extents.bytes(), expected.bytes() + reserve, "mkfs.xfs {arguments}");
        let identity = Xfs.probe(&[&disk]).unwrap().unwrap();
        assert!(identity.clean, "mkfs.xfs {arguments}: {identity:?}");
        fs::remove_file(&image).unwrap();
    }
}

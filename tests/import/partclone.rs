// SPDX-License-Identifier: MIT OR Apache-2.0
//! Partclone's images, judged by what partclone itself restores from them.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::process::Command;

use super::{
    assert_same_content, cut, ext4_with_traces, import, len_of, ntfs, refused, with_damage,
};
use crate::support::{
    Loop, Mount, TempDir, all, dacapo, finish, junk, requires, run, search_path, sparse_file,
    temp_dir,
};

const HEAD: u64 = 110;

/// Saves a filesystem by partclone.
#[track_caller]
fn save(folder: &TempDir, raw: &str, tool: &str, options: &[&str]) -> String {
    let image = folder.join("image.pc");
    let log = folder.join("log");
    let args = [&["-c", "-q", "-s", raw, "-O", &image, "-L", &log], options].concat();
    run(&format!("partclone.{tool}"), &args);
    image
}

/// What partclone restores of an image, onto zeros.
#[track_caller]
fn restored(folder: &TempDir, image: &str, len: u64) -> String {
    let raw = folder.join("restored.raw");
    let _ = fs::remove_file(&raw);
    sparse_file(&raw, len);
    run("partclone.restore", &["-q", "-s", image, "-O", &raw, "-L", &folder.join("log")]);
    raw
}

/// Every byte that partclone's own map calls used is that of the source.
#[track_caller]
fn assert_used_blocks(folder: &TempDir, raw: &str, tool: &str, out: &str) {
    let (map, log) = (folder.join("map"), folder.join("log"));
    run(&format!("partclone.{tool}"), &["-D", "-q", "-s", raw, "-O", &map, "-L", &log]);
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
    let (source, out) = (fs::File::open(raw).unwrap(), fs::File::open(out).unwrap());
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let mut count = 0;
    for line in fs::read_to_string(map).unwrap().lines().filter(|line| line.ends_with('+')) {
        let mut words = line.split_whitespace();
        let (start, len) = (number(words.next().unwrap()), number(words.next().unwrap()));
        for (file, bytes) in [(&source, &mut left), (&out, &mut right)] {
            bytes.resize(usize::try_from(len).unwrap(), 0);
            file.read_exact_at(bytes, start).unwrap();
        }
        assert!(left == right, "the range at {start:#x} differs");
        count += len;
    }
    assert!(count > 0, "partclone's map is empty");
}

#[test]
fn ext4_and_ntfs_are_what_partclone_restores() {
    if !requires(&["mkfs.ext4", "mkntfs", "ntfscp", "partclone.extfs", "partclone.ntfs"]) {
        return;
    }
    let folder = temp_dir();
    for (raw, tool, name) in
        [(ext4_with_traces(&folder, 16), "extfs", "EXTFS"), (ntfs(&folder, 16), "ntfs", "NTFS")]
    {
        let image = save(&folder, &raw, tool, &[]);
        let (out, ran) = import(&folder, &image, 0);
        assert_same_content(&out, &restored(&folder, &image, len_of(&raw)));
        assert_used_blocks(&folder, &raw, tool, &out);
        let imported = &ran.messages("summary")[0]["imported"];
        assert_eq!(imported["format"], "partclone image");
        assert_eq!(imported["version"], "0002");
        assert!(imported["tool"].as_str().unwrap().starts_with("partclone 0."), "{ran}");
        assert!(imported["content"].as_str().unwrap().contains(name), "{ran}");
        let info = dacapo(&["info", &folder.join("out.img.zst")]).success();
        let _ = info.says("partclone image 0002, by partclone").says("image.pc");
    }
}

#[test]
fn a_damaged_partclone_image_is_refused_with_the_place() {
    if !requires(&["mkfs.ext4", "partclone.extfs", "gzip"]) {
        return;
    }
    let folder = temp_dir();
    let raw = ext4_with_traces(&folder, 16);
    let image = save(&folder, &raw, "extfs", &[]);
    let (len, bad) = (len_of(&image), folder.join("bad.pc"));
    let map = (len_of(&raw) / 1024).div_ceil(8);
    for (position, says) in [
        (60, "the checksum of the head is wrong"),
        (HEAD + 3, "the map of blocks is wrong"),
        (HEAD + map + 20_000, "a checksum is wrong"),
        (len - 5000, "a checksum is wrong"),
    ] {
        with_damage(&image, position, &bad);
        let _ = refused(&folder, &bad, 4).says("bad.pc is damaged").says(says);
    }
    for end in [50, HEAD + 10, len / 2, len - 1] {
        cut(&image, end, &bad);
        let _ = refused(&folder, &bad, 4).says(&format!("ends at byte {end}"));
    }
    let mut longer = fs::read(&image).unwrap();
    longer.push(0);
    fs::write(&bad, longer).unwrap();
    let _ = refused(&folder, &bad, 4).says("more behind what should be its end");
    let mut head = fs::read(&image).unwrap();
    head[33] = b'3';
    fs::write(&bad, head).unwrap();
    let _ = refused(&folder, &bad, 6).says("version '0003'");
}

/// A partition of 4096-byte blocks some of which are used, and images of it,
/// as `IMAGE_FORMATS.md` of Partclone has them.
struct Crafted {
    bytes: Vec<u8>,
    used: Vec<bool>,
}

const BLOCK: usize = 4096;

impl Crafted {
    fn new() -> Self {
        let used = (0..200).map(|n| n % 7 < 4 && n % 50 != 1 || n == 199).collect();
        Self { bytes: junk(200 * BLOCK, 3), used }
    }

    fn count(&self) -> u64 {
        self.used.len() as u64
    }

    fn blocks(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks(BLOCK).zip(&self.used).filter(|(_, used)| **used).map(|(block, _)| block)
    }

    /// Version 0001: a byte for each block, and behind each block a CRC32 that
    /// is only of its first byte, over and over; `wide` as 64-bit versions
    /// wrote it, with four bytes more.
    fn version_1(&self, wide: bool) -> Vec<u8> {
        let mut image = vec![0; 4160];
        image[..15].copy_from_slice(b"partclone-image");
        image[15..20].copy_from_slice(b"EXTFS");
        image[30..34].copy_from_slice(b"0001");
        image[36..40].copy_from_slice(&4096_u32.to_le_bytes());
        image[40..48].copy_from_slice(&(200_u64 * 4096).to_le_bytes());
        image[48..56].copy_from_slice(&200_u64.to_le_bytes());
        image[56..64].copy_from_slice(&(self.blocks().count() as u64).to_le_bytes());
        image.extend(self.used.iter().map(|used| u8::from(*used)));
        image.extend(b"BiTmAgIc");
        let mut crc = u32::MAX;
        for block in self.blocks() {
            image.extend(block);
            for _ in block {
                crc ^= u32::from(block[0]);
                for _ in 0..8 {
                    crc = crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
                }
            }
            image.extend(crc.to_le_bytes());
            image.extend(&[0xaa; 4][..if wide { 4 } else { 0 }]);
        }
        image
    }

    /// Version 0002 with XXH64, which Debian 12's partclone does not write.
    fn version_2_with_xxh64(&self, per: u32, reseed: bool) -> Vec<u8> {
        let mut image = vec![0; 106];
        image[..15].copy_from_slice(b"partclone-image");
        image[16..22].copy_from_slice(b"0.3.33");
        image[30..34].copy_from_slice(b"0002");
        image[34..36].copy_from_slice(&0xc0de_u16.to_le_bytes());
        image[36..41].copy_from_slice(b"EXTFS");
        image[52..60].copy_from_slice(&(self.count() * 4096).to_le_bytes());
        image[60..68].copy_from_slice(&self.count().to_le_bytes());
        image[68..76].copy_from_slice(&(self.blocks().count() as u64).to_le_bytes());
        image[76..84].copy_from_slice(&(self.blocks().count() as u64).to_le_bytes());
        image[84..88].copy_from_slice(&4096_u32.to_le_bytes());
        image[88..92].copy_from_slice(&18_u32.to_le_bytes());
        image[92..94].copy_from_slice(&2_u16.to_le_bytes());
        image[94..96].copy_from_slice(&64_u16.to_le_bytes());
        image[96..98].copy_from_slice(&0x30_u16.to_le_bytes());
        image[98..100].copy_from_slice(&8_u16.to_le_bytes());
        image[100..104].copy_from_slice(&per.to_le_bytes());
        image[104] = u8::from(reseed);
        image[105] = 1;
        let crc = !crc32fast::hash(&image);
        image.extend(crc.to_le_bytes());
        let map: Vec<u8> = self
            .used
            .chunks(8)
            .map(|bits| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit)))
            .collect();
        image.extend(&map);
        image.extend((!crc32fast::hash(&map)).to_le_bytes());
        let blocks: Vec<&[u8]> = self.blocks().collect();
        let all = blocks.concat();
        let mut from = 0;
        for (number, strip) in blocks.chunks(per as usize).enumerate() {
            let strip = strip.concat();
            image.extend(&strip);
            let until = number * per as usize * BLOCK + strip.len();
            image.extend(xxhash_rust::xxh64::xxh64(&all[from..until], 0).to_le_bytes());
            if reseed {
                from = until;
            }
        }
        image
    }

    #[track_caller]
    fn assert_is(&self, out: &str) {
        let out = fs::read(out).unwrap();
        assert_eq!(out.len(), self.bytes.len());
        let pairs = out.chunks(BLOCK).zip(self.bytes.chunks(BLOCK)).zip(&self.used);
        for (number, ((found, wanted), used)) in pairs.enumerate() {
            let zeros = [0; BLOCK];
            assert!(found == if *used { wanted } else { &zeros }, "block {number}");
        }
    }
}

#[test]
fn version_1_and_xxh64_are_read() {
    if !requires(&["partclone.restore", "partclone.chkimg"]) {
        return;
    }
    let folder = temp_dir();
    let crafted = Crafted::new();
    let (path, bad) = (folder.join("image.pc"), folder.join("bad.pc"));
    for wide in [false, true] {
        fs::write(&path, crafted.version_1(wide)).unwrap();
        let (out, ran) = import(&folder, &path, 0);
        crafted.assert_is(&out);
        let _ = ran.says("the first byte of each block only");
        // Partclone must take what is crafted here for its own; what its newer
        // versions do about the wide form ends in an error.
        if !wide {
            let log = folder.join("log");
            run("partclone.chkimg", &["-s", &path, "-L", &log]);
            assert_same_content(&out, &restored(&folder, &path, 200 * 4096));
        }
        // A block's first byte.
        with_damage(&path, 4160 + 208 + 20 * (4100 + 4 * u64::from(wide)), &bad);
        let _ = refused(&folder, &bad, 4).says("a checksum is wrong");
        cut(&path, len_of(&path) - 1, &bad);
        let _ = refused(&folder, &bad, 4);
    }
    for (per, reseed) in [(1, true), (3, true), (3, false), (1000, true)] {
        fs::write(&path, crafted.version_2_with_xxh64(per, reseed)).unwrap();
        crafted.assert_is(&import(&folder, &path, 0).0);
        with_damage(&path, len_of(&path) - 100, &bad);
        let _ = refused(&folder, &bad, 4).says("a checksum is wrong");
    }
}

#[test]
fn sectors_that_could_not_be_read_then_are_told() {
    let folder = temp_dir();
    let mut crafted = Crafted::new();
    // As `partclone --rescue` leaves them.
    let mark = [b"BADSECTOR\0\0".as_slice(), &[b'?'; 501]].concat();
    crafted.bytes[3 * BLOCK + 512..][..512].copy_from_slice(&mark);
    let path = folder.join("image.pc");
    fs::write(&path, crafted.version_2_with_xxh64(16, true)).unwrap();
    let (out, ran) = import(&folder, &path, 3);
    // They are kept as they are: a restore gives what partclone gives.
    crafted.assert_is(&out);
    let _ = ran.says("512 bytes in 1 places could not be read when they were saved");
    let info = dacapo(&["info", &folder.join("out.img.zst")]).success();
    let _ = info.says("marks of the tool that saved them: at 12800");
}

#[test]
fn what_the_filesystem_uses_and_the_image_has_not_counts_as_lost() {
    if !requires(&["mkfs.ext4"]) {
        return;
    }
    let folder = temp_dir();
    let bytes = fs::read(ext4_with_traces(&folder, 16)).unwrap();
    // A block of a file, by its content.
    let wanted = junk(200_000, 200_000);
    let pieces = || (0..wanted.len() - BLOCK).step_by(1024).map(|at| &wanted[at..at + BLOCK]);
    let lost = bytes.chunks(BLOCK).position(|block| pieces().any(|piece| piece == block));
    let mut used = vec![true; bytes.len() / BLOCK];
    used[lost.unwrap()] = false;
    let crafted = Crafted { bytes, used };
    let path = folder.join("image.pc");
    fs::write(&path, crafted.version_2_with_xxh64(64, true)).unwrap();
    let (out, ran) = import(&folder, &path, 3);
    crafted.assert_is(&out);
    let start = lost.unwrap() * BLOCK;
    let losses = serde_json::json!([{ "start": start, "end": start + BLOCK }]);
    assert_eq!(ran.messages("summary")[0]["losses"], losses, "{ran}");
    let _ = ran.says("4096 bytes in 1 places that a filesystem uses are not in what was imported");
    let info = dacapo(&["info", &folder.join("out.img.zst")]);
    let _ = info.says("4096 bytes that this filesystem uses are not in what was imported");
}

/// Filesystems with files, by the tool that saves them; the exit code is 3
/// where partclone leaves out what the filesystem uses.
fn filesystems(folder: &TempDir) -> Vec<(String, &'static str, i32)> {
    let mut made = vec![(ext4_with_traces(folder, 64), "extfs", 0), (ntfs(folder, 64), "ntfs", 0)];
    let mut make = |name: &str, maker: &[&str], tool, code, mount: Option<&str>| {
        // No XFS is smaller.
        let mib = if name == "xfs" { 304 } else { 128 };
        let raw = folder.join(&format!("{name}.raw"));
        sparse_file(&raw, mib << 20);
        run(maker[0], &[&maker[1..], &[&raw]].concat());
        if let Some(kind) = mount {
            let device = Loop::new(&raw, &[]);
            let mounted = Mount::new(device.device(), kind, "rw");
            super::some_files(mounted.path());
            fs::remove_file(mounted.path().join("gone")).unwrap();
        }
        made.push((raw, tool, code));
    };
    make("ext2", &["mkfs.ext2", "-q", "-b", "1024"], "extfs", 0, Some("ext2"));
    make("xfs", &["mkfs.xfs", "-q"], "xfs", 0, Some("xfs"));
    // Of metadata that is there twice, partclone takes one.
    make("btrfs-dup", &["mkfs.btrfs", "-q", "-m", "dup"], "btrfs", 3, Some("btrfs"));
    make("btrfs", &["mkfs.btrfs", "-q", "-m", "single"], "btrfs", 0, Some("btrfs"));
    make("fat32", &["mkfs.vfat", "-F", "32"], "vfat", 0, None);
    make("fat16", &["mkfs.vfat", "-F", "16"], "vfat", 0, None);
    make("exfat", &["mkfs.exfat"], "exfat", 0, None);
    make("f2fs", &["mkfs.f2fs", "-q"], "f2fs", 0, None);
    made
}

#[test]
fn all_filesystems_checksums_and_compressions() {
    if !all()
        || !requires(&[
            "root",
            "loop",
            "mkfs.xfs",
            "mkfs.btrfs",
            "mkfs.vfat",
            "mkfs.exfat",
            "mkfs.f2fs",
            "mkntfs",
            "ntfscp",
            "partclone.xfs",
            "partclone.btrfs",
            "gzip",
            "xz",
            "zstd",
            "bzip2",
        ])
    {
        return;
    }
    let folder = temp_dir();
    for (raw, tool, code) in filesystems(&folder) {
        // Partclone 0.3.23 cannot restore all of the images that it makes: with
        // a checksum for each block it writes past its buffer. Which blocks an
        // image has does not depend on its checksums.
        let image = save(&folder, &raw, tool, &[]);
        let wanted = restored(&folder, &image, len_of(&raw));
        for options in
            [&["-a0"][..], &["-a1", "-k1"], &["-a1", "-k3"], &["-a1", "-k100", "-K"], &[]]
        {
            let image = save(&folder, &raw, tool, options);
            let (out, _) = import(&folder, &image, code);
            assert_same_content(&out, &wanted);
            assert_used_blocks(&folder, &raw, tool, &out);
        }
        for (program, option) in [("gzip", "-1"), ("xz", "-0"), ("zstd", "-1"), ("bzip2", "-1")] {
            let mut command = Command::new(program);
            command.args([option, "-c", &image]).env("PATH", search_path());
            let packed = folder.join(&format!("image.pc.{program}"));
            fs::write(&packed, finish(command, &[]).success().stdout).unwrap();
            assert_same_content(&import(&folder, &packed, code).0, &wanted);
        }
    }
}

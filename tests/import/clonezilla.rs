// SPDX-License-Identifier: MIT OR Apache-2.0
//! Folders as Clonezilla makes them: by the same programs, with the same
//! options and names as in its `ocs-functions`, and judged by restoring them
//! as it does.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::process::Command;

use super::{ext4, import, ntfs, refused, with_damage};
use crate::support::{
    TempDir, assert_same, dacapo, finish, junk, requires, run, search_path, sparse_file, temp_dir,
};

pub(super) const SECTOR: u64 = 512;

/// A disk, the folder that was made of it, and the disk that comes out when its
/// parts are restored one by one.
pub(super) struct Saved {
    pub(super) folder: TempDir,
    pub(super) disk: String,
    pub(super) saved: String,
}

/// A partition: number, first sector, sectors.
pub(super) type Part = (u32, u64, u64);

pub(super) fn pipe(program: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    command.args(args).env("PATH", search_path()).env("LC_ALL", "C");
    finish(command, input).success().stdout
}

impl Saved {
    /// A disk of 96 MiB with a table by a script of sfdisk.
    pub(super) fn new(script: &str) -> Self {
        let folder = temp_dir();
        let (disk, saved) = (folder.join("disk.raw"), folder.join("saved"));
        sparse_file(&disk, 96 << 20);
        pipe("sfdisk", &["-q", &disk], script.as_bytes());
        fs::create_dir(&saved).unwrap();
        Self { folder, disk, saved }
    }

    pub(super) fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.saved)
    }

    pub(super) fn put(&self, part: Part, from: &str) {
        let bytes = fs::read(from).unwrap();
        assert!(bytes.len() as u64 <= part.2 * SECTOR);
        let disk = File::options().write(true).open(&self.disk).unwrap();
        disk.write_all_at(&bytes, part.1 * SECTOR).unwrap();
    }

    /// A partition of a disk as a file of its own.
    pub(super) fn part(&self, disk: &str, part: Part, name: &str) -> String {
        let mut bytes = vec![0; usize::try_from(part.2 * SECTOR).unwrap()];
        File::open(disk).unwrap().read_exact_at(&mut bytes, part.1 * SECTOR).unwrap();
        let path = self.folder.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// What Clonezilla keeps of the table.
    pub(super) fn save_table(&self, parts: &str, is_gpt: bool) {
        let as_sda =
            |text: Vec<u8>| String::from_utf8(text).unwrap().replace(&self.disk, "/dev/sda");
        let dump = as_sda(pipe("sfdisk", &["-d", &self.disk], b""));
        fs::write(self.name("sda-pt.sf"), dump).unwrap();
        let parted = as_sda(pipe("parted", &["-s", &self.disk, "unit", "s", "print"], b""));
        fs::write(self.name("sda-pt.parted"), parted).unwrap();
        fs::write(self.name("disk"), "sda\n").unwrap();
        fs::write(self.name("parts"), parts).unwrap();
        let dd = |name: &str, skip: u64, count: u64| {
            let path = self.name(name);
            let [skip, count] = [format!("skip={skip}"), format!("count={count}")];
            let (from, to) = (format!("if={}", self.disk), format!("of={path}"));
            run("dd", &[&from, &to, "bs=512", &skip, &count]);
        };
        if is_gpt {
            dd("sda-gpt-1st", 0, 34);
            // One more than the place where the backup begins, as it is there.
            dd("sda-gpt-2nd", (96 << 20) / SECTOR - 33 + 1, 33);
        } else {
            dd("sda-hidden-data-after-mbr", 1, 2047);
        }
        dd("sda-mbr", 0, 1);
    }

    /// Saves a partition by partclone, compressed, in pieces.
    pub(super) fn partclone(
        &self,
        part: Part,
        tool: &str,
        kind: &str,
        compressor: &str,
        ending: &str,
    ) {
        let raw = self.part(&self.disk, part, "part.raw");
        let (image, log) = (self.folder.join("part.pc"), self.folder.join("log"));
        run(&format!("partclone.{tool}"), &["-c", "-q", "-s", &raw, "-O", &image, "-L", &log]);
        let packed = pipe(compressor, &["-c"], &fs::read(&image).unwrap());
        let name = self.name(&format!("sda{}.{kind}-ptcl-img.{ending}", part.0));
        for (piece, letter) in packed.chunks(50_000).zip('a'..='z') {
            fs::write(format!("{name}.a{letter}"), piece).unwrap();
        }
    }

    /// What partclone restores of a partition, onto zeros.
    pub(super) fn restored(&self, part: Part) -> String {
        let image = self.folder.join("part.pc");
        let (raw, log) = (self.folder.join("restored.raw"), self.folder.join("log"));
        let _ = fs::remove_file(&raw);
        sparse_file(&raw, part.2 * SECTOR);
        run("partclone.restore", &["-q", "-s", &image, "-O", &raw, "-L", &log]);
        raw
    }

    /// The partitions of a disk as sfdisk lists them.
    pub(super) fn dump_of(&self, disk: &str) -> String {
        let text = String::from_utf8(pipe("sfdisk", &["-d", disk], b"")).unwrap();
        text.replace(disk, "/dev/sda")
    }
}

#[test]
fn a_folder_of_an_mbr_disk_becomes_the_disk_that_clonezilla_restores() {
    if !requires(&[
        "mkfs.ext4",
        "mkntfs",
        "ntfscp",
        "ntfsclone",
        "sfdisk",
        "parted",
        "mkswap",
        "partclone.extfs",
        "partclone.restore",
        "gzip",
        "zstd",
    ]) {
        return;
    }
    let [root, windows, swap, junk_part] =
        [(1, 2048, 32768), (2, 34816, 65536), (5, 104_448, 16384), (6, 122_880, 4096)];
    let saved = Saved::new(
        "label: dos\nlabel-id: 0x12345678\nstart=2048, size=32768, type=83, bootable\n\
         start=34816, size=65536, type=7\nstart=102400, size=94208, type=5\n\
         start=104448, size=16384, type=82\nstart=122880, size=4096, type=da\n",
    );
    let boot = File::options().write(true).open(&saved.disk).unwrap();
    boot.write_all_at(&junk(440, 1), 0).unwrap();
    boot.write_all_at(&junk(30_000, 2), 512).unwrap();
    saved.put(root, &ext4(&saved.folder, 16));
    saved.put(windows, &ntfs(&saved.folder, 32));
    let other = saved.folder.join("junk");
    fs::write(&other, junk(4096 * 512, 3)).unwrap();
    saved.put(junk_part, &other);
    saved.save_table("sda1 sda2 sda6\n", false);

    saved.partclone(root, "extfs", "ext4", "gzip", "gz");
    let wanted_root = saved.restored(root);
    let raw = saved.part(&saved.disk, windows, "windows.raw");
    let ntfs_image = saved.folder.join("ntfs-img");
    run("ntfsclone", &["-q", "--save-image", "-o", &ntfs_image, &raw]);
    let packed = pipe("zstd", &["-c"], &fs::read(&ntfs_image).unwrap());
    fs::write(saved.name("sda2.ntfs-img.aa"), packed).unwrap();
    let wanted_windows = saved.folder.join("wanted-windows.raw");
    run("ntfsclone", &["-q", "--restore-image", "-o", &wanted_windows, &ntfs_image]);
    fs::write(saved.name("sda6.dd-img.aa"), pipe("gzip", &["-c"], &fs::read(&other).unwrap()))
        .unwrap();
    fs::write(saved.name("sda6.dd-img.info"), "x").unwrap();
    let uuid = "6dca8e32-2b27-4dd1-a8a3-f1a2c4a0a2f5";
    fs::write(saved.name("swappt-sda5.info"), format!("UUID=\"{uuid}\"\nLABEL=\"pages\"\n"))
        .unwrap();
    let wanted_swap = saved.folder.join("wanted-swap.raw");
    sparse_file(&wanted_swap, swap.2 * SECTOR);
    run("mkswap", &["-L", "pages", "-U", uuid, &wanted_swap]);

    let (out, ran) = import(&saved.folder, &saved.saved, 0);
    for (part, wanted) in [
        (root, &wanted_root),
        (windows, &wanted_windows),
        (swap, &wanted_swap),
        (junk_part, &other),
    ] {
        assert_same(saved.part(&out, part, "found.raw"), wanted);
    }
    assert_eq!(saved.dump_of(&out), fs::read_to_string(saved.name("sda-pt.sf")).unwrap());
    let start = |disk: &str| saved.part(disk, (0, 0, 2048), "start.raw");
    let wanted = fs::read(start(&saved.disk)).unwrap();
    assert!(fs::read(start(&out)).unwrap() == wanted, "the start of the disk differs");
    let imported = &ran.messages("summary")[0]["imported"];
    assert_eq!(imported["format"], "Clonezilla folder");
    let content = imported["content"].as_str().unwrap();
    for part in
        ["sda1: partclone image 0002, gzip", "sda2: ntfsclone image 10.1, zstd", "sda5: swap"]
    {
        assert!(content.contains(part), "{content}");
    }

    let _ = ran.says("sda5: of a swap space nothing is saved; the header is made anew");
    let names = saved.name("swappt-sda5.info");
    fs::write(&names, "LABEL=\"pages\"\n").unwrap();
    let ran = dacapo(&["import", "--dry-run", &saved.saved, &saved.folder.join("dry")]).success();
    let _ = ran.says("without a UUID: swappt-sda5.info has none");

    // Everything of it is needed.
    let gone = |name: &str, says: &str, code: i32| {
        let (path, away) = (saved.name(name), saved.folder.join("away"));
        fs::rename(&path, &away).unwrap();
        let _ = refused(&saved.folder, &saved.saved, code).says(says);
        fs::rename(&away, &path).unwrap();
    };
    gone("sda1.ext4-ptcl-img.gz.aa", "there is no image of sda1", 4);
    gone("sda1.ext4-ptcl-img.gz.ab", "sda1.ext4-ptcl-img.gz.ab is missing", 4);
    gone("sda-pt.parted", "sda-pt.parted is missing", 4);
    gone("sda-mbr", "sda-mbr is missing", 4);
    // What was saved has to be in the table, whether it is named or there.
    let lines = fs::read_to_string(saved.name("sda-pt.sf")).unwrap();
    for (parts, missing) in [("sda1 sda2 sda6", "sda6"), ("sda2 sda6", "sda1"), ("sda7", "sda7")] {
        let kept = lines.lines().filter(|line| !line.starts_with(&format!("/dev/{missing}")));
        fs::write(saved.name("sda-pt.sf"), kept.collect::<Vec<_>>().join("\n")).unwrap();
        fs::write(saved.name("parts"), parts).unwrap();
        let says = format!("{missing} was saved, and is not in the partition table");
        let _ = refused(&saved.folder, &saved.saved, 4).says(&says);
    }
    fs::write(saved.name("parts"), "sda1 sda2 sda6\n").unwrap();
    assert!(lines.contains("34816"));
    fs::write(saved.name("sda-pt.sf"), lines.replace("34816", "36864")).unwrap();
    let ran = refused(&saved.folder, &saved.saved, 4);
    let _ = ran.says("contradict each other: partition 2 of sda").says("by sda-mbr");
    fs::write(saved.name("sda-pt.sf"), &lines).unwrap();
    fs::write(saved.name("lvm_vg_dev.list"), "vg0 /dev/sda2 xyz\n").unwrap();
    fs::write(saved.name("lvm_logv.list"), "/dev/vg0/root  ext4\n").unwrap();
    let _ = refused(&saved.folder, &saved.saved, 4).says("lvm_vg0.conf is missing");
    fs::write(saved.name("lvm_vg_dev.list"), "vg0 /dev/sda xyz\n").unwrap();
    let _ = refused(&saved.folder, &saved.saved, 6).says("LVM without a partition table");
    fs::remove_file(saved.name("lvm_vg_dev.list")).unwrap();
    fs::write(saved.name("dmraid.table"), "# dmraid: dm\ndm-0: dm-1 dm-2\n").unwrap();
    let _ = refused(&saved.folder, &saved.saved, 6).says("an array of the firmware");
}

#[test]
fn a_folder_of_a_gpt_disk_has_both_copies_of_its_table() {
    if !requires(&[
        "mkfs.vfat",
        "mkfs.ext4",
        "sfdisk",
        "parted",
        "sgdisk",
        "partclone.vfat",
        "partclone.extfs",
        "partclone.restore",
        "xz",
        "lzip",
    ]) {
        return;
    }
    let (esp, root) = ((1, 2048, 65536), (2, 67584, 65536));
    let saved = Saved::new(
        "label: gpt\nstart=2048, size=65536, type=U, name=ESP\nstart=67584, size=65536, type=L\n",
    );
    let fat = saved.folder.join("fat.raw");
    sparse_file(&fat, 32 << 20);
    run("mkfs.vfat", &["-F", "32", &fat]);
    saved.put(esp, &fat);
    saved.put(root, &ext4(&saved.folder, 32));
    saved.save_table("sda1 sda2\n", true);
    saved.partclone(esp, "vfat", "vfat", "xz", "xz");
    let wanted_esp = saved.restored(esp);
    let wanted_esp = fs::read(wanted_esp).unwrap();
    saved.partclone(root, "extfs", "ext4", "lzip", "lzip");
    let wanted_root = saved.restored(root);

    let (out, _) = import(&saved.folder, &saved.saved, 0);
    assert_same(saved.part(&out, root, "found.raw"), &wanted_root);
    assert!(fs::read(saved.part(&out, esp, "found.raw")).unwrap() == wanted_esp);
    assert_eq!(saved.dump_of(&out), fs::read_to_string(saved.name("sda-pt.sf")).unwrap());
    let _ = run("sgdisk", &["-v", &out]).says("No problems found");
    // The table and the places of the partitions have to be of one disk.
    let lines = fs::read_to_string(saved.name("sda-pt.sf")).unwrap();
    assert!(lines.contains("67584"));
    fs::write(saved.name("sda-pt.sf"), lines.replace("67584", "69632")).unwrap();
    let ran = refused(&saved.folder, &saved.saved, 4).says("contradict each other: partition 2");
    let _ = ran.says("is at byte 35651584 to").says("is at byte 34603008 to");
    fs::write(saved.name("sda-pt.sf"), &lines).unwrap();
    // A backup that is missing, or is zeros, or has another GUID than its checksum
    // tells, is made anew: the same bytes.
    let backup = saved.name("sda-gpt-2nd");
    let bytes = fs::read(&backup).unwrap();
    let mut damaged = bytes.clone();
    let header = damaged.len() - 512;
    damaged[header + 0x38] ^= 0x10;
    let end_of = |disk: &str| fs::read(disk).unwrap().split_off((96 << 20) - 33 * 512);
    for instead in [None, Some(vec![0; bytes.len()]), Some(damaged)] {
        match instead {
            None => fs::remove_file(&backup).unwrap(),
            Some(other) => fs::write(&backup, other).unwrap(),
        }
        let (out, ran) = import(&saved.folder, &saved.saved, 0);
        assert!(end_of(&out) == end_of(&saved.disk), "the backup of the table differs");
        let _ = run("sgdisk", &["-v", &out]).says("No problems found");
        let _ = ran.says("sda-gpt-2nd is missing or damaged");
    }
    fs::remove_file(&backup).unwrap();
    // What is damaged is not passed on with new checksums: the GUID of the disk, or a
    // name of a partition.
    let (first, whole_first) = (saved.name("sda-gpt-1st"), saved.folder.join("gpt-1st"));
    fs::rename(&first, &whole_first).unwrap();
    for position in [512 + 0x38, 1024 + 0x38] {
        with_damage(&whole_first, position, &first);
        let _ = refused(&saved.folder, &saved.saved, 4).says("sda-gpt-1st is damaged");
    }
    // Entries that are kept in the backup alone are those of the backup.
    let end = end_of(&saved.disk);
    fs::write(&backup, &end).unwrap();
    let (out, _) = import(&saved.folder, &saved.saved, 0);
    assert!(end_of(&out) == end, "the backup of the table differs");
    fs::rename(&whole_first, &first).unwrap();
    fs::write(&backup, bytes).unwrap();
    // Another disk beside it: which one is meant has to be said.
    fs::write(saved.name("disk"), "sda sdb\n").unwrap();
    let _ = refused(&saved.folder, &saved.saved, 2).says("several disks: sda, sdb");
}

/// The endings of its pieces go through those of all compressors.
#[test]
fn an_image_in_very_many_pieces_is_one() {
    if !requires(&[
        "mkfs.ext4",
        "sfdisk",
        "parted",
        "split",
        "partclone.extfs",
        "partclone.restore",
    ]) {
        return;
    }
    let root = (1, 2048, 32768);
    let saved = Saved::new("label: dos\nstart=2048, size=32768, type=83\n");
    saved.put(root, &ext4(&saved.folder, 16));
    saved.save_table("sda1\n", false);
    let raw = saved.part(&saved.disk, root, "part.raw");
    let (image, log) = (saved.folder.join("part.pc"), saved.folder.join("log"));
    run("partclone.extfs", &["-c", "-q", "-s", &raw, "-O", &image, "-L", &log]);
    let piece = fs::metadata(&image).unwrap().len() / 660;
    let prefix = saved.name("sda1.ext4-ptcl-img.uncomp.");
    run("split", &["-a", "2", "-b", &piece.to_string(), &image, &prefix]);
    for ending in ["gz", "lz", "xz"] {
        assert!(fs::exists(format!("{prefix}{ending}")).unwrap());
    }
    let (out, _) = import(&saved.folder, &saved.saved, 0);
    assert_same(saved.part(&out, root, "found.raw"), saved.restored(root));
    // Another image is another one still.
    fs::write(saved.name("sda1.dd-img.aa"), "x").unwrap();
    let _ = refused(&saved.folder, &saved.saved, 4).says("has two images of sda1");
}

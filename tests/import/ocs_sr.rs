// SPDX-License-Identifier: MIT OR Apache-2.0
//! Folders that Clonezilla itself has made, by `scripts/make-images/clonezilla`; they are kept in
//! `images/clonezilla`. Judged by the LVM tools, sfdisk, fsck, partclone's own restore, and the SHA-256 that
//! each file had when Clonezilla saved it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::lvm::{assert_group, physical, put_together, told};
use super::{import, refused, unpack};
use crate::support::{
    Loop, Lvm, TempDir, dacapo, finish, requires, run, search_path, temp_dir, try_run,
};
use crate::variants::{Reader, assert_files, assert_hashes, cut_out};

const SECTOR: u64 = 512;
/// The first sector and the sectors of the partition that is a physical volume of
/// the disk vdc, and of vde and vdf.
const LVM: (u64, u64) = (51200, 90000);
const PAIR: (u64, u64) = (2048, 60000);

/// The folders that were made.
struct Folders(PathBuf);

impl Folders {
    /// Unpacks one.
    fn folder(&self, name: &str, to: &TempDir) -> String {
        let packed = self.0.join(format!("{name}.tar.zst"));
        let (packed, to_path) = (packed.to_str().unwrap(), to.path().to_str().unwrap());
        run("tar", &["--zstd", "-xf", packed, "-C", to_path]);
        to.join(name)
    }

    /// The hashes of the files that were on a filesystem.
    fn files(&self, name: &str) -> BTreeMap<String, String> {
        let text = fs::read_to_string(self.0.join("facts").join(name)).unwrap();
        let files = text.lines().map(|line| line.split_once("  ").unwrap());
        files.map(|(hash, name)| (name.to_owned(), hash.to_owned())).collect()
    }

    /// A partition of a disk has the files of a filesystem that was saved.
    #[track_caller]
    fn assert_partition(&self, disk: &str, (start, len): (u64, u64), name: &str, reader: Reader) {
        let folder = temp_dir();
        let part = folder.join("part");
        cut_out(Path::new(disk), start * SECTOR, len * SECTOR, &part);
        if reader == Reader::Debugfs {
            run("e2fsck", &["-fn", &part]);
        }
        assert_files(&part, reader, &self.files(name));
    }

    /// The FAT12 has what partclone's own restore makes of its image: of two of four
    /// files another content than was saved.
    #[track_caller]
    fn assert_as_partclone_restores(&self, folder: &str, disk: &str) {
        let to = temp_dir();
        let (part, restored, image) = (to.join("part"), to.join("restored"), to.join("image"));
        cut_out(Path::new(disk), 2048 * SECTOR, 16384 * SECTOR, &part);
        let script = format!("gzip -dc {folder}/vdc1.fat12-ptcl-img.gz >{image}");
        run("sh", &["-c", &script]);
        crate::support::sparse_file(&restored, 16384 * SECTOR);
        let log = to.join("log");
        run("partclone.restore", &["-C", "-s", &image, "-O", &restored, "-L", &log]);
        let saved = self.files("vdc1");
        let hash = |raw: &str, name: &str| {
            let out = to.join("out");
            run("mcopy", &["-n", "-o", "-i", raw, &format!("::{name}"), &out]);
            crate::support::sha256_of(&out)
        };
        let mut lost = Vec::new();
        for (name, wanted) in &saved {
            let found = hash(&part, name);
            assert_eq!(found, hash(&restored, name), "{name}");
            if found != *wanted {
                lost.push(name.as_str());
            }
        }
        assert_eq!(lost, ["file-2", "file-5"]);
    }

    /// A logical volume whose pieces the LVM tools name has the files.
    #[track_caller]
    fn assert_logical(&self, lvm: &Lvm, volume: &str) {
        let folder = temp_dir();
        let path = folder.join("volume");
        put_together(lvm, volume, &path);
        run("e2fsck", &["-fn", &path]);
        assert_files(&path, Reader::Debugfs, &self.files(&volume.replace('/', "-")));
    }

    /// What is extracted of a volume of an image are the files.
    #[track_caller]
    fn assert_extracted(&self, image: &str, options: &[&str], volume: &str, name: &str) {
        let to = temp_dir();
        let out = to.join("out");
        let path = format!("{volume}:/");
        let args = [&["extract", image, &path, &out], options].concat();
        dacapo(&args).success();
        assert_hashes(Path::new(&out), &self.files(name));
    }
}

/// The partitions as sfdisk lists them are those of the folder.
#[track_caller]
fn assert_table(raw: &str, folder: &str, disk: &str) {
    let mut sfdisk = std::process::Command::new("sfdisk");
    sfdisk.args(["-d", raw]).env("PATH", search_path()).env("LC_ALL", "C");
    let found = finish(sfdisk, &[]).success().out().replace(raw, &format!("/dev/{disk}"));
    let wanted = fs::read_to_string(format!("{folder}/{disk}-pt.sf")).unwrap();
    assert_eq!(found, wanted);
}

const NEEDS: &[&str] = &[
    "root",
    "loop",
    "tar",
    "zstd",
    "vgck",
    "pvck",
    "lvs",
    "sfdisk",
    "sgdisk",
    "e2fsck",
    "debugfs",
    "mcopy",
    "ntfscat",
    "gzip",
    "partclone.restore",
];

fn gpt_with_lvm(folders: &Folders) {
    let to = temp_dir();
    let folder = folders.folder("gpt-lvm", &to);
    // Clonezilla itself has lost a part of the FAT12.
    let (raw, ran) = import(&to, &folder, 3);
    assert_table(&raw, &folder, "vdc");
    let _ = run("sgdisk", &["-v", &raw]).says("No problems found");
    let told = told(&ran);
    for part in ["vdc3: LVM2 group studio-x", "studio-x/root: partclone", "studio-x/swap_1: swap"] {
        assert!(told.contains(part), "{told}");
    }
    let ran =
        ran.says("139264 bytes in 2 places that a filesystem uses are not in what was imported");
    folders.assert_as_partclone_restores(&folder, &raw);
    // The probe of a btrfs would look into what was lost.
    let lost = &ran.messages("summary")[0]["lost_files"][0];
    assert_eq!(lost["files"], serde_json::json!(["1:/file-2", "1:/file-5"]), "{lost}");
    folders.assert_partition(&raw, (18432, 32768), "vdc2", Reader::Debugfs);
    let image = to.join("out.img.zst");
    folders.assert_extracted(&image, &[], "2", "vdc2");
    folders.assert_extracted(&image, &[], "studio-x/root", "studio-x-root");
    let device = physical(&raw, LVM);
    let lvm = Lvm::new(&[device.device()]);
    folders.assert_logical(&lvm, "studio-x/root");
    let swap = lvm.pieces("studio-x/swap_1");
    let part = to.join("swap");
    cut_out(Path::new(device.device()), swap[0].1, swap[0].2, &part);
    let ran = run("blkid", &["-p", "-o", "export", &part]);
    let names = fs::read_to_string(format!("{folder}/swappt-studio-x-swap_1.info")).unwrap();
    for value in names.lines().map(|line| line.replace('"', "")) {
        assert!(ran.out().contains(&value), "{value}: {ran}");
    }
    assert_group(&lvm, "studio-x", &[device.device()]);
    drop(device);

    // The same without the first partition, packed in another way.
    let folder = folders.folder("parts-lvm", &to);
    let (raw, ran) = import(&to, &folder, 0);
    let _ = ran.says("vdc1 was not saved");
    folders.assert_partition(&raw, (18432, 32768), "vdc2", Reader::Debugfs);
    let device = physical(&raw, LVM);
    let lvm = Lvm::new(&[device.device()]);
    folders.assert_logical(&lvm, "studio-x/root");
    assert_group(&lvm, "studio-x", &[device.device()]);
    drop(device);
    damaged(folders, &to, &folder);
}

/// What cannot be put back is told, and all else is imported.
fn damaged(folders: &Folders, to: &TempDir, folder: &str) {
    let conf = format!("{folder}/lvm_studio-x.conf");
    let text = fs::read_to_string(&conf).unwrap();
    for (from, into, says) in [
        ("flags = []\n\textent_size", "flags = [\"NEW\"]\n\textent_size", "is not understood"),
        ("pe_start = 2048", "pe_start = 8", "no room for"),
        ("dev_size = 90000", "dev_size = 90001", "its partition has"),
    ] {
        assert!(text.contains(from), "{from}");
        fs::write(&conf, text.replace(from, into)).unwrap();
        let (raw, ran) = import(to, folder, 3);
        let told = told(&ran);
        assert!(told.contains("cannot be made anew") && told.contains(says), "{told}");
        folders.assert_partition(&raw, (18432, 32768), "vdc2", Reader::Debugfs);
    }
    // A volume of a kind that is not read, where the other one is.
    let thin = text.replacen("type = \"striped\"\n\t\t\t\tstripe_count = 1", "type = \"zero\"", 1);
    assert!(thin != text);
    fs::write(&conf, thin).unwrap();
    let (_, ran) = import(to, folder, 3);
    assert!(told(&ran).contains("studio-x/root cannot be put back"), "{}", told(&ran));
    fs::remove_file(&conf).unwrap();
    let _ = refused(to, folder, 4).says("lvm_studio-x.conf is missing");
    fs::write(&conf, &text).unwrap();
    let image = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path());
    let image =
        image.into_iter().find(|it| it.to_str().unwrap().contains("studio-x-root.")).unwrap();
    fs::remove_file(image).unwrap();
    let _ = refused(to, folder, 4).says("there is no image of studio-x/root");
}

fn mbr(folders: &Folders) {
    let to = temp_dir();
    for name in ["mbr", "parts"] {
        let folder = folders.folder(name, &to);
        let (raw, _) = import(&to, &folder, 0);
        assert_table(&raw, &folder, "vdd");
        folders.assert_partition(&raw, (40960, 32768), "vdd6", Reader::Debugfs);
        let ntfs = to.join("ntfs");
        cut_out(Path::new(&raw), 2048 * SECTOR, 16384 * SECTOR, &ntfs);
        let content = try_run("ntfscat", &[&ntfs, "file-1"]).success();
        let content_path = to.join("content");
        fs::write(&content_path, &content.stdout).unwrap();
        let hash = crate::support::sha256_of(&content_path);
        assert_eq!(Some(&hash), folders.files("vdd1").get("file-1"));
        folders.assert_extracted(&to.join("out.img.zst"), &[], "1", "vdd1");
        if name == "mbr" {
            // What seq and yes have put there, before and inside of partitions.
            for (start, len, last) in [(1, 30000, 500), (75776, 1 << 20, 700)] {
                let part = to.join("text");
                cut_out(Path::new(&raw), start * SECTOR, len, &part);
                let script = format!("yes \"$(seq {last})\" | head -c {len} | cmp - {part}");
                run("sh", &["-c", &script]);
            }
            let swap = to.join("swap");
            cut_out(Path::new(&raw), 22528 * SECTOR, 16384 * SECTOR, &swap);
            let _ = run("blkid", &["-p", "-o", "export", &swap]).says("LABEL=swap2");
        }
    }
}

fn pair(folders: &Folders) {
    let to = temp_dir();
    let folder = folders.folder("pair", &to);
    let _ = refused(&to, &folder, 2).says("several disks: vde, vdf");
    let disks = ["vde", "vdf"].map(|disk| {
        let (image, raw) = (to.join(&format!("{disk}.img.zst")), to.join(&format!("{disk}.raw")));
        let ran = dacapo(&["import", "--disk", disk, &folder, &image, "--json"]).success();
        assert!(told(&ran).contains("pair/wide: what of it lies on this disk"), "{ran}");
        unpack(&image, &raw);
        assert_table(&raw, &folder, disk);
        (image, raw)
    });
    let [(first, first_raw), (second, second_raw)] = &disks;
    for volume in ["wide", "stripes"] {
        let (volume, name) = (format!("pair/{volume}"), format!("pair-{volume}"));
        folders.assert_extracted(first, &["--with", second], &volume, &name);
        folders.assert_extracted(second, &["--with", first], &volume, &name);
    }
    let devices = [physical(first_raw, PAIR), physical(second_raw, PAIR)];
    let [one, other] = devices.each_ref().map(Loop::device);
    let lvm = Lvm::new(&[one, other]);
    folders.assert_logical(&lvm, "pair/wide");
    assert_group(&lvm, "pair", &[one, other]);
}

#[test]
fn folders_that_ocs_sr_made_become_the_disks_that_were_saved() {
    if !requires(NEEDS) {
        return;
    }
    let folders = Folders(Path::new(env!("CARGO_MANIFEST_DIR")).join("images/clonezilla"));
    gpt_with_lvm(&folders);
    mbr(&folders);
    pair(&folders);
}

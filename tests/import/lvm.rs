// SPDX-License-Identifier: MIT OR Apache-2.0
//! Folders of Clonezilla with LVM in them, made by the same programs and with the
//! same names as in its `ocs-functions`, but without the device mapper. Judged by
//! the LVM tools and by partclone.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::clonezilla::{Part, SECTOR, Saved, pipe};
use super::{import, refused};
use crate::support::{
    Loop, Lvm, Ran, assert_same, dacapo, junk, requires, run, sparse_file, temp_dir,
};
use crate::variants::cut_out;

/// The part of a disk that is a physical volume, as a device.
pub(super) fn physical(raw: &str, (start, len): (u64, u64)) -> Loop {
    let window = [format!("--offset={}", start * SECTOR), format!("--sizelimit={}", len * SECTOR)];
    Loop::new(raw, &[&window[0], &window[1]])
}

/// LVM finds nothing wrong with a group and the headers of its devices.
#[track_caller]
pub(super) fn assert_group(lvm: &Lvm, group: &str, devices: &[&str]) {
    lvm.run("vgck", &[group]).success();
    let args = ["--noheadings", "-o", "vg_name,vg_missing_pv_count,pv_count", group];
    let ran = lvm.run("vgs", &args).success();
    let words: Vec<&str> = ran.out().split_whitespace().collect();
    assert_eq!(words, [group, "0", &devices.len().to_string()], "{ran}");
    for device in devices {
        let ran = lvm.run("pvck", &["--dump", "headers", device]).success();
        assert!(!format!("{}{}", ran.out(), ran.err()).contains("CHECK:"), "{ran}");
        // It can be changed, which reads and writes all of the metadata.
        lvm.run("pvs", &[device]).success();
    }
    lvm.run("vgchange", &["--addtag", "changed", group]).success();
    lvm.run("vgck", &[group]).success();
}

/// Writes a logical volume of linear pieces to a file of its own.
pub(super) fn put_together(lvm: &Lvm, volume: &str, path: &str) {
    let (to, mut position) = (File::create(path).unwrap(), 0);
    for (device, at, len) in lvm.pieces(volume) {
        let mut bytes = vec![0; usize::try_from(len).unwrap()];
        File::open(device).unwrap().read_exact_at(&mut bytes, at).unwrap();
        to.write_all_at(&bytes, position).unwrap();
        position += len;
    }
}

const UUID: &str = "6dca8e32-2b27-4dd1-a8a3-f1a2c4a0a2f5";
const ROOT: Part = (1, 2048, 32768);
const PHYSICAL: Part = (2, 34816, 120_000);

/// A folder of a disk with ext4 and a group of LVM: a root in two pieces, swap, a
/// volume that is not saved, and room that is free. Returns what partclone restores of both filesystems.
fn save() -> (Saved, [String; 2]) {
    let saved = Saved::new(
        "label: gpt\nstart=2048, size=32768, type=L\nstart=34816, size=120000, type=V\n",
    );
    let ext4 = |name: &str, seed: u64| {
        let (volume, tree) = (saved.folder.join(name), temp_dir());
        for number in 0..20_u64 {
            let content = junk(usize::try_from(number * 6000).unwrap(), seed + number);
            fs::write(tree.join(&format!("file-{number}")), content).unwrap();
        }
        sparse_file(&volume, 16 << 20);
        run("mkfs.ext4", &["-q", "-b", "1024", "-d", &tree.join(""), &volume]);
        volume
    };
    saved.put(ROOT, &ext4("one", 1));
    saved.save_table("sda1 sda2\n", true);
    saved.partclone(ROOT, "extfs", "ext4", "gzip", "gz");
    let wanted = saved.folder.join("wanted-one");
    fs::rename(saved.restored(ROOT), &wanted).unwrap();

    let device = physical(&saved.disk, (PHYSICAL.1, PHYSICAL.2));
    let device = device.device();
    let lvm = Lvm::new(&[device]);
    lvm.run("pvcreate", &["-q", "-y", device]).success();
    lvm.run("vgcreate", &["-q", "-s", "4m", "studio-x", device]).success();
    for (name, size) in [("root", "8m"), ("swap_1", "4m"), ("plain", "8m")] {
        let args = ["--driverloaded", "n", "-y", "-an", "-Zn", "-Wn", "-n", name, "-L", size];
        lvm.run("lvcreate", &[&args[..], &["studio-x"]].concat()).success();
    }
    lvm.run("lvextend", &["--driverloaded", "n", "-L", "+8m", "studio-x/root"]).success();
    assert_eq!(lvm.pieces("studio-x/root").len(), 2);
    lvm.run("vgcfgbackup", &["-f", &saved.name("lvm_studio-x.conf"), "studio-x"]).success();
    let ran = lvm.run("pvs", &["--noheadings", "-o", "pv_uuid", device]).success();
    let list = format!("studio-x /dev/sda2 {}\n", ran.out().trim());
    fs::write(saved.name("lvm_vg_dev.list"), list).unwrap();
    let list = "/dev/studio-x/root  Linux rev 1.0 ext4 filesystem data\n\
                /dev/studio-x/swap_1  Linux swap file, 4k page size\n";
    fs::write(saved.name("lvm_logv.list"), list).unwrap();
    let names = format!("UUID=\"{UUID}\"\nLABEL=\"pages\"\n");
    fs::write(saved.name("swappt-studio-x-swap_1.info"), names).unwrap();
    // What ocs-sr writes as soon as there is any device that is made of others.
    fs::write(saved.name("dmraid.table"), "# dmraid: dm\n").unwrap();

    let (root, image) = (ext4("two", 100), saved.folder.join("part.pc"));
    let log = saved.folder.join("log");
    run("partclone.extfs", &["-c", "-q", "-s", &root, "-O", &image, "-L", &log]);
    let packed = pipe("zstd", &["-c"], &fs::read(&image).unwrap());
    for (piece, letter) in packed.chunks(300_000).zip('a'..='z') {
        let name = format!("studio-x-root.ext4-ptcl-img.zst.a{letter}");
        fs::write(saved.name(&name), piece).unwrap();
    }
    let wanted_root = saved.folder.join("wanted-two");
    sparse_file(&wanted_root, 16 << 20);
    run("partclone.restore", &["-q", "-s", &image, "-O", &wanted_root, "-L", &log]);
    (saved, [wanted, wanted_root])
}

/// Saves the volume "plain", too: a Minix, of which nobody here knows what is free.
/// Returns what partclone restores of it.
fn save_plain(saved: &Saved) -> String {
    let [raw, image, log, wanted] =
        ["plain.raw", "plain.pc", "log", "wanted-plain"].map(|name| saved.folder.join(name));
    for path in [&raw, &wanted] {
        sparse_file(path, 8 << 20);
    }
    run("mkfs.minix", &[&raw]);
    run("partclone.minix", &["-c", "-q", "-s", &raw, "-O", &image, "-L", &log]);
    run("partclone.restore", &["-q", "-s", &image, "-O", &wanted, "-L", &log]);
    fs::rename(&image, saved.name("studio-x-plain.minix-ptcl-img.uncomp.aa")).unwrap();
    let list = saved.name("lvm_logv.list");
    let lines = fs::read_to_string(&list).unwrap();
    fs::write(&list, format!("{lines}/dev/studio-x/plain  Minix filesystem, V1\n")).unwrap();
    wanted
}

/// A backup with a volume of 2^53 stripes, all of them on other disks.
fn with_far(text: &str) -> String {
    let physical = |number: u32| {
        format!(
            "pv{number} {{\nid = \"AAAAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAAA{number}\"\n\
             status = [\"ALLOCATABLE\"]\nflags = []\npe_start = 2048\npe_count = {}\n}}\n",
            1_u64 << 39
        )
    };
    let far = format!(
        "far {{\nid = \"AAAAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAAA3\"\n\
         status = [\"READ\", \"WRITE\", \"VISIBLE\"]\nflags = []\nsegment_count = 1\n\
         segment1 {{\nstart_extent = 0\nextent_count = {}\ntype = \"striped\"\n\
         stripe_count = 2\nstripe_size = 1\nstripes = [\"pv1\", 0, \"pv2\", 0]\n}}\n}}\n",
        1_u64 << 40
    );
    let others = format!("physical_volumes {{\n{}{}", physical(1), physical(2));
    let text = text.replace("physical_volumes {\n", &others);
    text.replace("logical_volumes {\n", &format!("logical_volumes {{\n{far}"))
}

const NEEDS: &[&str] = &[
    "root",
    "loop",
    "sfdisk",
    "parted",
    "sgdisk",
    "mkfs.ext4",
    "mkfs.minix",
    "partclone.extfs",
    "partclone.minix",
    "partclone.restore",
    "gzip",
    "zstd",
    "pvcreate",
    "vgck",
    "pvck",
    "vgcfgbackup",
    "blkid",
];

pub(super) fn told(ran: &Ran) -> String {
    ran.messages("summary")[0]["imported"].to_string()
}

#[test]
fn a_folder_with_lvm_becomes_the_disk_with_its_logical_volumes() {
    if !requires(NEEDS) {
        return;
    }
    let (saved, [wanted, wanted_root]) = save();
    let wanted_plain = save_plain(&saved);
    let (raw, ran) = import(&saved.folder, &saved.saved, 0);
    let told = told(&ran);
    for part in ["sda2: LVM2 group studio-x", "studio-x/root: partclone", "studio-x/swap_1: swap"] {
        assert!(told.contains(part), "{told}");
    }
    assert_same(saved.part(&raw, ROOT, "found.raw"), &wanted);
    let device = physical(&raw, (PHYSICAL.1, PHYSICAL.2));
    let lvm = Lvm::new(&[device.device()]);
    let found = saved.folder.join("found-root");
    put_together(&lvm, "studio-x/root", &found);
    assert_same(&found, &wanted_root);
    put_together(&lvm, "studio-x/plain", &found);
    assert_same(&found, &wanted_plain);
    let info = dacapo(&["info", "--json", &saved.folder.join("out.img.zst")]).success();
    assert!(info.out().contains("nothing tells whether that is all"), "{info}");
    let swap = lvm.pieces("studio-x/swap_1");
    let part = saved.folder.join("swap");
    cut_out(Path::new(device.device()), swap[0].1, swap[0].2, &part);
    let ran = run("blkid", &["-p", "-o", "export", &part]);
    assert!(ran.out().contains(UUID) && ran.out().contains("LABEL=pages"), "{ran}");
    // The group is the one it was: its identifiers, and the number of its change.
    let names = |disk: &str| {
        let device = physical(disk, (PHYSICAL.1, PHYSICAL.2));
        let lvm = Lvm::new(&[device.device()]);
        let fields = [
            ("vgs", "vg_uuid,vg_seqno,vg_extent_size,vg_free_count"),
            ("pvs", "pv_uuid,pe_start,dev_size,pv_pe_count,pv_mda_count"),
            ("lvs", "lv_uuid,lv_name,lv_size"),
        ];
        let rows = fields.map(|(program, fields)| {
            lvm.run(program, &["--noheadings", "-o", fields]).success().out().to_owned()
        });
        rows.concat()
    };
    assert_eq!(names(&raw), names(&saved.disk));
    assert_group(&lvm, "studio-x", &[device.device()]);
}

#[test]
fn of_a_folder_with_lvm_what_cannot_be_put_back_is_told() {
    if !requires(NEEDS) {
        return;
    }
    let (saved, [wanted, _]) = save();
    // A volume that was never saved is no loss.
    let (_, ran) = import(&saved.folder, &saved.saved, 0);
    let says = told(&ran);
    assert!(says.contains("studio-x/plain was not saved"), "{says}");
    let conf = saved.name("lvm_studio-x.conf");
    let text = fs::read_to_string(&conf).unwrap();
    for (from, into, says) in [
        ("extent_size = 8192", "extent_size = 8192\n\tstrange = 1", "is not understood"),
        ("pe_start = 2048", "pe_start = 8", "no room for"),
        ("dev_size = 120000", "dev_size = 120001", "its partition has"),
    ] {
        assert!(text.contains(from), "{from}");
        fs::write(&conf, text.replace(from, into)).unwrap();
        let (raw, ran) = import(&saved.folder, &saved.saved, 3);
        let told = told(&ran);
        assert!(told.contains("cannot be made anew") && told.contains(says), "{told}");
        assert_same(saved.part(&raw, ROOT, "found.raw"), &wanted);
    }
    // A volume of a kind that is not read, beside one that is.
    let from = text.find("type = \"striped\"").unwrap();
    let to = from + text[from..].find('}').unwrap();
    let zero = format!("{}type = \"zero\"\n{}", &text[..from], &text[to..]);
    fs::write(&conf, zero).unwrap();
    let (_, ran) = import(&saved.folder, &saved.saved, 3);
    let says = told(&ran);
    assert!(says.contains("studio-x/root cannot be put back"), "{says}");
    // A backup that is older than the volume: what was saved is told or refused, by
    // the list of what was saved and by the images there are.
    let from = text.find("\troot {").unwrap() - 1;
    let to = text.find("\tswap_1 {").unwrap() - 1;
    assert!(from < to);
    fs::write(&conf, format!("{}{}", &text[..from], &text[to..])).unwrap();
    let says = "studio-x/root was saved, and is not in lvm_studio-x.conf";
    let _ = refused(&saved.folder, &saved.saved, 4).says(says);
    let list = saved.name("lvm_logv.list");
    let lines = fs::read_to_string(&list).unwrap();
    let others = lines.lines().filter(|line| !line.contains("/root "));
    fs::write(&list, others.collect::<Vec<_>>().join("\n")).unwrap();
    let says = "studio-x-root was saved, and is not in lvm_studio-x.conf";
    let _ = refused(&saved.folder, &saved.saved, 4).says(says);
    fs::write(&list, lines).unwrap();
    fs::write(&conf, with_far(&text)).unwrap();
    let out = saved.folder.join("dry");
    let _ = dacapo(&["import", "--dry-run", &saved.saved, &out]).success();
    fs::write(&conf, &text).unwrap();

    // Nothing of it may be missing, and no name may mean two.
    let gone = |name: &str, says: &str| {
        let (path, away) = (saved.name(name), saved.folder.join("away"));
        fs::rename(&path, &away).unwrap();
        let _ = refused(&saved.folder, &saved.saved, 4).says(says);
        fs::rename(&away, &path).unwrap();
    };
    gone("lvm_studio-x.conf", "lvm_studio-x.conf is missing");
    gone("studio-x-root.ext4-ptcl-img.zst.aa", "there is no image of studio-x/root");
    gone("swappt-studio-x-swap_1.info", "there is no image of studio-x/swap_1");
    let list = saved.name("lvm_vg_dev.list");
    let other = fs::read_to_string(&list).unwrap().replace("studio-x ", "/NOT_FOUND ");
    fs::write(&list, other).unwrap();
    let (_, ran) = import(&saved.folder, &saved.saved, 3);
    assert!(told(&ran).contains("it is in no group"), "{}", told(&ran));
}

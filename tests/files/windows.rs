// SPDX-License-Identifier: MIT OR Apache-2.0
//! NTFS against ntfs-3g, exFAT against exfat-fuse, FAT against mtools.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use dacapo::extent::Extent;
use dacapo::fs::Files;
use dacapo::fs::files::NodeKind;

use super::images::{committed, each_of_corpus, loop_of, same_times, walk};
use super::{Judge, compare_files, files_of};
use crate::support::{Loop, Mount, all, junk, requires, run, sparse_file, temp_dir};

/// A file that is in pieces, because the volume was full before.
fn in_pieces(folder: &Path) {
    let count = 1500;
    let piece = |number| folder.join(format!("piece {number}"));
    for number in 0..count {
        fs::write(piece(number), junk(1536, number)).unwrap();
    }
    let mut filler = fs::File::create(folder.join("filler")).unwrap();
    let mut len = 0;
    while len < 8 << 20 && filler.write_all(&junk(65536, 1)).is_ok() {
        len += 65536;
    }
    drop(filler);
    for number in (0..count).step_by(2) {
        fs::remove_file(piece(number)).unwrap();
    }
    fs::write(folder.join("in pieces"), junk(500_000, 1)).unwrap();
    fs::remove_file(folder.join("filler")).unwrap();
}

/// All that ntfs-3g can make.
fn populate(folder: &Path) {
    let at = |name: &str| folder.join(name);
    fs::write(at("small"), b"in the record").unwrap();
    fs::write(at("empty"), b"").unwrap();
    fs::write(at("large"), junk(3_000_001, 2)).unwrap();
    fs::create_dir_all(at("many/Ünïcödé 名前 🦀")).unwrap();
    for number in 0..1500 {
        fs::write(at(&format!("many/a file with a long name {number}")), number.to_string())
            .unwrap();
    }
    fs::hard_link(at("large"), at("many/another name of it")).unwrap();
    let broken = OsStr::from_bytes(b"half a pair \xed\xa0\xbd");
    fs::write(folder.join(broken), b"1").unwrap();
    fs::write(at("con|aux:?*<>\"\\"), b"names of POSIX").unwrap();
    fs::write(at("Case"), b"1").unwrap();
    let sparse = fs::File::create(at("sparse")).unwrap();
    sparse.set_len(80 << 20).unwrap();
    for at in [5 << 20, 33 << 20, (80 << 20) - 1] {
        sparse
            .write_all_at(&junk(70_000, at)[..((80 << 20) - at).min(70_000) as usize], at)
            .unwrap();
    }
    std::os::unix::fs::symlink("many/empty", at("link")).unwrap();
    run("mknod", &[at("device").to_str().unwrap(), "c", "4", "70"]);
    // Files in a folder with this attribute are compressed.
    let compressed = at("compressed");
    fs::create_dir(&compressed).unwrap();
    let set = |name: &str, value: &str, path: &Path| {
        run("setfattr", &["-n", name, "-v", value, path.to_str().unwrap()]);
    };
    set("system.ntfs_attrib_be", "0x00000800", &compressed);
    let text: String =
        (0..40_000).map(|n| format!("line {} of a text\n", n * 7919 % 1000)).collect();
    fs::write(compressed.join("text"), &text).unwrap();
    fs::write(compressed.join("noise"), junk(300_000, 3)).unwrap();
    let mixed = [&text.as_bytes()[..100_000], &junk(200_000, 4), &[0; 400_000], b"end"].concat();
    fs::write(compressed.join("mixed"), mixed).unwrap();
    fs::write(compressed.join("zeros"), vec![0; 500_000]).unwrap();
    fs::write(compressed.join("tiny"), b"tiny").unwrap();
    set("user.comment", "a stream of the file", &at("large"));
}

/// Makes a junction as Windows has them.
fn make_junction(path: &Path) {
    fs::create_dir(path).unwrap();
    let units = |text: &str| -> Vec<u8> {
        text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
    };
    let (paths, shown) = (units(r"\??\C:\Users"), units(r"C:\Users"));
    let half = |n: usize| u16::try_from(n).unwrap().to_le_bytes();
    let data = [&[0; 2], &half(24)[..], &half(26), &half(16), &paths, &shown].concat();
    let point = [&0xa000_0003_u32.to_le_bytes()[..], &half(data.len()), &[0; 2], &data].concat();
    let hex: String = point.iter().map(|byte| format!("{byte:02x}")).collect();
    let value = format!("0x{hex}");
    let path = path.to_str().unwrap();
    run("setfattr", &["-n", "system.ntfs_reparse_data", "-v", &value, path]);
}

fn mkntfs(image: &str, len: u64, options: &[&str]) {
    sparse_file(image, len);
    let args = [options, &["-F", "-q", "-L", "test", image]].concat();
    run("mkntfs", &args);
}

const NTFS: &[&str] = &["root", "loop", "mkntfs", "ntfs-3g", "setfattr"];

#[test]
fn ntfs_files_are_as_ntfs_3g_shows_them() {
    if !requires(NTFS) {
        return;
    }
    let folder = temp_dir();
    let image = folder.join("ntfs.img");
    mkntfs(&image, 64 << 20, &[]);
    {
        let device = Loop::new(&image, &[]);
        let mount = Mount::new(device.device(), "ntfs-3g", "compression");
        populate(mount.path());
    }
    let files = files_of(Path::new(&image));
    let device = loop_of(Path::new(&image), None);
    let judge = Judge { links: true, ..Judge::FOREIGN };
    let compared = {
        let mount = Mount::new(device.device(), "ntfs-3g", "ro");
        compare_files(files.as_ref(), mount.path(), judge)
    };
    assert!(compared > 1515, "{compared}");

    // Letters of either case, and short names.
    let small = walk(files.as_ref(), "small");
    assert_eq!(walk(files.as_ref(), "SMALL"), small);
    assert_eq!(walk(files.as_ref(), "MANY/ÜNÏCÖDÉ 名前 🦀").name, "Ünïcödé 名前 🦀".as_bytes());

    let large = walk(files.as_ref(), "large").node;
    assert_eq!(files.streams(large).unwrap(), [(b"comment".to_vec(), 20)]);
    let mut buf = [0; 30];
    assert_eq!(files.read_stream_at(large, b"comment", 2, &mut buf).unwrap(), 18);
    assert_eq!(&buf[..18], b"stream of the file");
    assert!(files.read_stream_at(large, b"no such", 0, &mut buf).is_err());

    // What is not there is neither data nor in any place.
    let sparse = walk(files.as_ref(), "sparse").node;
    let stored = files.data_ranges(sparse).unwrap().unwrap();
    assert!(stored.bytes() < 400_000 && stored.count() == 3, "{stored:?}");
    let packed = walk(files.as_ref(), "compressed/text").node;
    let attributes = files.attributes(packed).unwrap();
    assert!(attributes.allocated.unwrap() < attributes.size / 2, "{attributes:?}");
    assert_eq!(attributes.allocated, Some(files.places(packed).unwrap().unwrap().bytes()));

    // Where a junction leads in Windows is not what it leads to here.
    {
        let device = Loop::new(&image, &[]);
        let mount = Mount::new(device.device(), "ntfs-3g", "");
        make_junction(&mount.path().join("junction"));
        let small = mount.path().join("small");
        let name = ["-n", "system.ntfs_dos_name", "-v", "SHORT~1.TXT", small.to_str().unwrap()];
        run("setfattr", &name);
    }
    let files = files_of(Path::new(&image));
    let short = walk(files.as_ref(), "short~1.txt").node;
    assert_eq!(short, walk(files.as_ref(), "small").node);
    assert_eq!(files.attributes(short).unwrap().links, 1);
    let junction = walk(files.as_ref(), "junction");
    assert_eq!(junction.kind, NodeKind::Link);
    assert_eq!(files.link_target(junction.node).unwrap(), br"C:\Users");
}

#[test]
fn a_fragmented_ntfs_reads_like_any_other() {
    if !requires(NTFS) {
        return;
    }
    let folder = temp_dir();
    for (len, cluster, sector) in [(9 << 20, "512", "512"), (40 << 20, "65536", "4096")] {
        let image = folder.join("ntfs.img");
        mkntfs(&image, len, &["-c", cluster, "-s", sector]);
        {
            let device = Loop::new(&image, &["--sector-size", sector]);
            let mount = Mount::new(device.device(), "ntfs-3g", "");
            in_pieces(mount.path());
            // Names enough for many records.
            for number in 0..20 {
                let name = format!("{number}{}", "name".repeat(60));
                fs::hard_link(mount.path().join("in pieces"), mount.path().join(name)).unwrap();
            }
        }
        let files = files_of(Path::new(&image));
        let device = loop_of(Path::new(&image), None);
        let mount = Mount::new(device.device(), "ntfs-3g", "ro");
        let judge = Judge { links: true, ..Judge::FOREIGN };
        assert_eq!(compare_files(files.as_ref(), mount.path(), judge), 772);
        let pieces = walk(files.as_ref(), "in pieces").node;
        let pieces = files.places(pieces).unwrap().unwrap().count();
        assert!(pieces > 40 || cluster != "512", "{pieces}");
        drop(mount);
        fs::remove_file(&image).unwrap();
    }
}

#[test]
fn committed_ntfs_images_are_as_ntfs_3g_shows_them() {
    if !requires(NTFS) {
        return;
    }
    let count = committed(&["ntfs-"], &mut |name, image| {
        let files = files_of(image);
        let device = loop_of(image, None);
        let mount = Mount::new(device.device(), "ntfs-3g", "ro,norecover");
        let compared = compare_files(files.as_ref(), mount.path(), Judge::FOREIGN);
        assert!(compared > 1, "{name}");
    });
    assert!(count >= 4);
}

#[test]
fn ntfs_of_windows_is_as_ntfs_3g_shows_it() {
    if !requires(NTFS) {
        return;
    }
    let count = each_of_corpus(
        &["file_4k", "ntfs3", "ntfs_index", "vss", "windows"],
        "NTFS",
        &mut |name, image, volume| {
            println!("{name}");
            let files = volume.files().unwrap();
            let device = loop_of(image, volume.extent);
            let mount = Mount::new(device.device(), "ntfs-3g", "ro,norecover");
            println!("  {}", compare_files(files.as_ref(), mount.path(), Judge::FOREIGN));
        },
    );
    assert!(count == 0 || count >= 8, "{count}");
}

#[test]
fn fifty_thousand_files_of_ntfs() {
    if !all() || !requires(NTFS) {
        return;
    }
    let folder = temp_dir();
    let image = folder.join("ntfs.img");
    mkntfs(&image, 1 << 30, &[]);
    {
        let device = Loop::new(&image, &[]);
        let mount = Mount::new(device.device(), "ntfs-3g", "");
        tree_of_files(mount.path(), 50_000);
    }
    let files = files_of(Path::new(&image));
    let device = loop_of(Path::new(&image), None);
    let mount = Mount::new(device.device(), "ntfs-3g", "ro");
    assert!(compare_files(files.as_ref(), mount.path(), Judge::FOREIGN) > 50_000);
}

const EXFAT: &[&str] = &["root", "loop", "mkfs.exfat", "mount.exfat-fuse"];

/// What exfat-fuse shows. It takes the times for local ones, of which here
/// there is but UTC.
#[track_caller]
fn compare_with_exfat_fuse(files: &dyn Files, image: &Path, extent: Option<Extent>) -> usize {
    let device = loop_of(image, extent);
    let mount = Mount::new(device.device(), "exfat-fuse", "ro");
    compare_files(files, mount.path(), Judge::FOREIGN)
}

fn mkfs_exfat(image: &str, len: u64, options: &[&str], populate: &dyn Fn(&Path)) {
    sparse_file(image, len);
    run("mkfs.exfat", &[options, &[image]].concat());
    let device = Loop::new(image, &[]);
    let mount = Mount::new(device.device(), "exfat-fuse", "");
    populate(mount.path());
}

#[test]
fn exfat_files_are_as_exfat_fuse_shows_them() {
    if !requires(EXFAT) {
        return;
    }
    let folder = temp_dir();
    for options in [&["-c", "512"][..], &["-c", "32K", "-L", "test"]] {
        let image = folder.join("exfat.img");
        mkfs_exfat(&image, 64 << 20, options, &|mount| {
            let at = |name: &str| mount.join(name);
            fs::write(at("empty"), b"").unwrap();
            fs::write(at("large"), junk(3_000_001, 2)).unwrap();
            fs::create_dir_all(at("many/Ünïcödé 名前 🦀")).unwrap();
            for number in 0..700 {
                let name = format!("many/{}{number}", "a long name ".repeat(number % 20));
                fs::write(at(&name), number.to_string()).unwrap();
            }
            // Two files that grow by turns, so that both are in pieces.
            let open = |name: &str| fs::File::create(at(name)).unwrap();
            let (one, other) = (open("one"), open("other"));
            for number in 0..60_u64 {
                one.write_all_at(&junk(3000, number), number * 3000).unwrap();
                other.write_all_at(&junk(900, number), number * 900).unwrap();
                one.sync_all().unwrap();
                other.sync_all().unwrap();
            }
            fs::remove_file(at("empty")).unwrap();
            fs::write(at("empty too"), b"").unwrap();
        });
        let files = files_of(Path::new(&image));
        let compared = compare_with_exfat_fuse(files.as_ref(), Path::new(&image), None);
        assert_eq!(compared, 707);
        let large = walk(files.as_ref(), "large");
        assert_eq!(walk(files.as_ref(), "LARGE"), large);
        walk(files.as_ref(), "MANY/ÜNÏCÖDÉ 名前 🦀");
        if options.contains(&"512") {
            let pieces = files.places(walk(files.as_ref(), "one").node).unwrap().unwrap();
            assert!(pieces.count() > 10, "{pieces:?}");
        }
        fs::remove_file(&image).unwrap();
    }
}

#[test]
fn committed_exfat_images_are_as_exfat_fuse_shows_them() {
    if !requires(EXFAT) {
        return;
    }
    let count = committed(&["exfat-"], &mut |name, image| {
        // Volumes with two FATs are not mounted by it.
        if !name.contains("texfat") {
            assert!(compare_with_exfat_fuse(files_of(image).as_ref(), image, None) > 1, "{name}");
        }
    });
    assert!(count >= 3);
}

#[test]
fn exfat_of_windows_is_as_exfat_fuse_shows_it() {
    if !requires(EXFAT) {
        return;
    }
    let count = each_of_corpus(&["exfat"], "exFAT", &mut |name, image, volume| {
        let files = volume.files().unwrap();
        // Its boot region is damaged, and exfat-fuse does not take the other.
        if name.contains("win_exfat_7") {
            return;
        }
        if name.contains("encrypted") {
            // Windows has written nothing into it yet, which exfat-fuse does
            // not look at.
            let file = walk(files.as_ref(), "usual_dir/0.bin.PFILE").node;
            let mut buf = [1; 5000];
            assert_eq!(files.read_at(file, 0, &mut buf).unwrap(), 4096);
            assert_eq!(buf[..4096], [0; 4096]);
            return;
        }
        let device = loop_of(image, volume.extent);
        let mount = Mount::new(device.device(), "exfat-fuse", "ro");
        let judge = Judge { modified: false, ..Judge::FOREIGN };
        println!("{name}: {}", compare_files(files.as_ref(), mount.path(), judge));
        same_times(files.as_ref(), files.root(), mount.path());
    });
    assert!(count == 0 || count >= 3, "{count}");
}

#[test]
fn fifty_thousand_files_of_exfat() {
    if !all() || !requires(EXFAT) {
        return;
    }
    let folder = temp_dir();
    let image = folder.join("exfat.img");
    mkfs_exfat(&image, 1 << 30, &["-c", "4K"], &|mount| tree_of_files(mount, 50_000));
    let files = files_of(Path::new(&image));
    assert!(compare_with_exfat_fuse(files.as_ref(), Path::new(&image), None) > 50_000);
}

const FAT: &[&str] = &["mkfs.fat", "mcopy"];

/// A program of mtools, in UTC, with the code page of our names.
#[track_caller]
fn mtools(program: &str, args: &[&str]) {
    let settings =
        ["TZ=UTC", "LC_ALL=C.UTF-8", "MTOOLS_DEFAULT_CODEPAGE=437", "MTOOLS_SKIP_CHECK=1", program];
    run("env", &[&settings, args].concat());
}

/// What mtools takes out. It keeps no times of folders.
#[track_caller]
fn compare_with_mtools(files: &dyn Files, image: &Path, offset: u64) -> usize {
    let folder = temp_dir();
    let volume = format!("{}@@{offset}", image.display());
    mtools("mcopy", &["-s", "-n", "-m", "-i", &volume, "::*", folder.path().to_str().unwrap()]);
    let compared = compare_files(files, folder.path(), Judge { modified: false, ..Judge::FOREIGN });
    same_times(files, files.root(), folder.path());
    compared
}

#[test]
fn fat_files_are_as_mtools_takes_them_out() {
    if !requires(FAT) {
        return;
    }
    let folder = temp_dir();
    let source = folder.path().join("source");
    fs::create_dir_all(source.join("Folder/with/more")).unwrap();
    fs::create_dir_all(source.join("many")).unwrap();
    let at = |name: &str| source.join(name);
    for name in ["UPPER.TXT", "lower.txt", "Mixed.Txt", "lower.TXT2", "no", "a.b.c", "Ünïcödé 名前"]
    {
        fs::write(at(&format!("Folder/{name}")), junk(5000, name.len() as u64)).unwrap();
    }
    fs::write(at("large"), junk(400_001, 2)).unwrap();
    fs::write(at("empty"), b"").unwrap();
    fs::write(at(&format!("{}.txt", "a long name".repeat(20))), b"1").unwrap();
    for number in 0..150 {
        fs::write(at(&format!("many/a file with the number {number}")), number.to_string())
            .unwrap();
    }
    for (bits, len, cluster) in [("12", 2 << 20, "1"), ("16", 16 << 20, "4"), ("32", 40 << 20, "1")]
    {
        let image = folder.join("fat.img");
        sparse_file(&image, len);
        run("mkfs.fat", &["-F", bits, "-s", cluster, "-n", "LABEL", &image]);
        for name in ["Folder", "large", "many", "empty"] {
            mtools("mcopy", &["-s", "-m", "-i", &image, at(name).to_str().unwrap(), "::"]);
        }
        // What is deleted makes room for files in pieces.
        for number in (0..150).step_by(2) {
            mtools("mdel", &["-i", &image, &format!("::many/a file with the number {number}")]);
        }
        fs::write(at("in pieces"), junk(60_000, 5)).unwrap();
        let long = format!("{}.txt", "a long name".repeat(20));
        for name in ["in pieces", &long] {
            mtools("mcopy", &["-m", "-i", &image, at(name).to_str().unwrap(), "::"]);
        }
        let files = files_of(Path::new(&image));
        assert_eq!(compare_with_mtools(files.as_ref(), Path::new(&image), 0), 91, "FAT{bits}");
        let entry = walk(files.as_ref(), "FOLDER/lower.txt");
        assert_eq!(entry.name, b"lower.txt");
        walk(files.as_ref(), "folder/ÜNÏCÖDÉ 名前");
    }
}

#[test]
fn committed_fat_images_are_as_mtools_takes_them_out() {
    if !requires(FAT) {
        return;
    }
    let count = committed(&["fat"], &mut |name, image| {
        assert!(compare_with_mtools(files_of(image).as_ref(), image, 0) > 1, "{name}");
    });
    assert!(count >= 3);
}

#[test]
fn fat_of_others_is_as_mtools_takes_it_out() {
    if !requires(FAT) {
        return;
    }
    let archives = ["fat", "vfat", "floppy", "dosfstools"];
    let count = each_of_corpus(&archives, "FAT", &mut |name, image, volume| {
        let files = volume.files().unwrap();
        let mut is_empty = true;
        let each = &mut |_| {
            is_empty = false;
            ControlFlow::Break(())
        };
        files.list(files.root(), each).unwrap();
        // mtools never comes back from a folder that holds itself, does not
        // know so small a FAT32, and calls it an error that there is nothing.
        if ["loop", "fat32_small"].iter().any(|it| name.contains(it)) || is_empty {
            return;
        }
        let offset = volume.extent.map_or(0, |extent| extent.start());
        println!("{name}: {}", compare_with_mtools(files.as_ref(), image, offset));
    });
    assert!(count == 0 || count >= 3, "{count}");
}

/// So many files, a third of them in one folder.
fn tree_of_files(folder: &Path, count: u64) {
    fs::create_dir(folder.join("one")).unwrap();
    for number in 0..count {
        let below = if number % 3 == 0 { "one".into() } else { format!("{}", number % 200) };
        let below = folder.join(below);
        fs::create_dir_all(&below).unwrap();
        let len = (number * 7919 % 9000) as usize;
        fs::write(below.join(format!("a file with the number {number}")), junk(len, number))
            .unwrap();
    }
}

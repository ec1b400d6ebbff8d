// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks made by other systems, and hostile ones, from a collection that is not
//! part of the project: read from `../shared/corpus` if it is there.
//!
//! Beside the images the collection has `IMAGE[@OFFSET].USED.map` files: what
//! other programs say is in use on the volume at that offset. Whatever a driver
//! calls proven must contain that.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dacapo::device::Source;
use dacapo::extent::{Extent, ExtentSet};
use dacapo::fs::{FILESYSTEMS, Identity, Used, whole_disk_member};
use dacapo::io::{ReadAt, Window};
use dacapo::layout;

use crate::scrub::foreign;
use crate::support::{requires, temp_dir};

/// What other programs say of a volume.
struct Oracle {
    volume: Extent,
    used: ExtentSet,
}

/// The archives of the collection; none, and a word about it, if it is absent.
pub(crate) fn archives() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let Ok(entries) = fs::read_dir(&folder) else {
        let text = format!("not tested: the collection {} is absent\n", folder.display());
        let _ = std::io::stderr().write_all(text.as_bytes());
        return Vec::new();
    };
    let mut archives: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    archives.retain(|path| path.extension().is_some_and(|extension| extension == "zst"));
    archives.sort();
    archives
}

/// Unpacks an archive and returns the files in it, by the name that their maps
/// go by.
pub(crate) fn unpack(archive: &Path, into: &Path) -> BTreeMap<String, PathBuf> {
    let name = archive.file_name().unwrap().to_str().unwrap();
    let mut plain = zstd::Decoder::new(fs::File::open(archive).unwrap()).unwrap();
    if name.ends_with(".tar.zst") {
        let mut tar = Command::new("tar")
            .args(["-xSf", "-", "-C"])
            .arg(into)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::copy(&mut plain, &mut tar.stdin.take().unwrap()).unwrap();
        assert!(tar.wait().unwrap().success(), "unpacking {name}");
    } else {
        let (folder, file) = name.strip_suffix(".zst").unwrap().split_once("__").unwrap();
        fs::create_dir_all(into.join(folder)).unwrap();
        write_sparse(&mut plain, &into.join(folder).join(file));
    }
    let mut files = BTreeMap::new();
    let mut folders = vec![into.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.strip_prefix(into).unwrap().to_str().unwrap().to_owned(), path);
            }
        }
    }
    files
}

fn write_sparse(plain: &mut impl std::io::Read, path: &Path) {
    let file = fs::File::create(path).unwrap();
    let (mut position, mut block) = (0, vec![0; 1 << 16]);
    loop {
        let len = plain.read(&mut block).unwrap();
        if len == 0 {
            return file.set_len(position).unwrap();
        }
        if block[..len].iter().any(|byte| *byte != 0) {
            file.write_all_at(&block[..len], position).unwrap();
        }
        position += len as u64;
    }
}

/// All oracles, by the name of their image.
fn oracles(archive: &Path) -> BTreeMap<String, Vec<Oracle>> {
    let folder = temp_dir();
    let mut oracles: BTreeMap<String, Vec<Oracle>> = BTreeMap::new();
    for (name, path) in unpack(archive, folder.path()) {
        let Some(image) = name.strip_suffix(".USED.map") else { continue };
        let text = fs::read_to_string(path).unwrap();
        // "... (volume at byte 0 of NAME, 4194304 bytes, vfat)"
        let head = text.lines().next().unwrap().split_once("(volume at byte ").unwrap().1;
        let number_before = |word: &str| {
            let before = head.split(word).next().unwrap();
            before.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
        };
        let start = number_before(" of ");
        let used = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (start, len) = line.split_once(' ').unwrap();
            Extent::at(start.parse().unwrap(), len.parse().unwrap())
        });
        let oracle =
            Oracle { volume: Extent::at(start, number_before(" bytes, ")), used: used.collect() };
        let image = image.split_once('@').map_or(image, |(image, _)| image);
        oracles.entry(image.to_owned()).or_default().push(oracle);
    }
    oracles
}

/// What each driver that knows this volume says of it.
fn claims(volume: &dyn ReadAt) -> Vec<(Identity, Option<Used>)> {
    let readers = &[volume];
    FILESYSTEMS
        .iter()
        .filter_map(|driver| {
            let identity = driver.probe(readers).ok().flatten()?;
            Some((identity, driver.used(readers).ok()))
        })
        .collect()
}

#[test]
fn maps_of_disks_of_other_systems_contain_what_other_programs_call_used() {
    let archives = archives();
    let Some(maps) = archives.iter().find(|path| path.ends_with("maps-and-facts.tar.zst")) else {
        return;
    };
    let oracles = oracles(maps);
    let (mut images, mut judged, mut proven) = (0, 0, Vec::new());
    for archive in &archives {
        let folder = temp_dir();
        for (name, path) in unpack(archive, folder.path()) {
            if name.ends_with(".txt") || name.ends_with(".USED.map") {
                continue;
            }
            images += 1;
            let source = Source::open(&path).unwrap();
            let all = Extent::new(0, source.len());
            // Must not panic, whatever the image.
            let scan = layout::scan(&source).unwrap();
            assert!(scan.used.end() <= source.len(), "{name}");
            let whole = [Oracle { volume: all, used: ExtentSet::new() }];
            for oracle in oracles.get(&name).map_or(&whole[..], |oracles| oracles) {
                let wanted = oracle.used.intersect(&ExtentSet::all(oracle.volume.len()));
                judged += usize::from(!wanted.is_empty());
                let on_disk = wanted.shift(oracle.volume.start()).intersect(&all.into());
                let missing = on_disk.subtract(&scan.used);
                assert!(missing.is_empty(), "{name}: the plan leaves out {missing:?}");
                let volume = Window::new(&source, oracle.volume);
                let wanted = wanted.intersect(&ExtentSet::all(volume.len()));
                for (identity, used) in claims(&volume) {
                    let Some(used) = used else { continue };
                    let missing = wanted.subtract(&used.extents);
                    let kind = &identity.name;
                    assert!(missing.is_empty(), "{name}: {kind} leaves out {missing:?}");
                    if used.whole.is_none() {
                        proven.push(format!("{name}: {kind}"));
                    }
                }
            }
        }
    }
    assert!(images >= 200, "only {images} images in the collection");
    assert!(judged >= 90, "only {judged} of them have a map of other programs");
    // Without these the test would also pass if nothing was ever proven.
    for known in [
        "btrfs-progs/fsck-tests__028-unaligned-super-dev-sizes__dev_and_super_mismatch_unaligned.raw: btrfs",
        "dfir_ntfs/exfat_encrypted.raw: exFAT",
        "dfir_ntfs/exfat_orphan.raw: exFAT",
        "dfir_ntfs/exfat_win.raw: exFAT",
        "dfvfs/hfsplus-2020.raw: HFS+",
        "dfvfs/hfsplus.raw: HFS+",
        "disktype/hfs-plus-wrapped.image: HFS+ in HFS",
        "disktype/hfs-plus.image: HFS+",
        "disktype/udif-udrw.image: HFS+",
        "go-apfs-v2/hfs-apm.img: HFS+",
        "go-apfs-v2/hfs-basic.raw: HFS+",
        "dfir_ntfs/fat12.raw: FAT12",
        "dfir_ntfs/fat32_loop.raw: FAT32",
        "dfir_ntfs/fat32_small.raw: FAT32",
        "dfir_ntfs/fat_unusual_cluster.raw: FAT12",
        "cryptsetup/img_fs_vfat.img: FAT12",
        "cryptsetup/xfs_512_block_size.img: XFS",
        "disktype/fat12-floppy.image: FAT12",
        "disktype/linux-swap-v2-sparc-8k.image: swap",
        "dosfstools/check-bad_boot_sector.img: FAT32",
        "dfvfs/apfs.raw: APFS",
        "dfvfs/apfs-2020-07.raw: APFS",
        "go-apfs-v2/basic.img: APFS",
        "go-apfs-v2/encrypted.img: APFS",
        "dosfstools/mkfs-fat32_1_bad_block.img: FAT32",
        "dfir_ntfs/file_4k.bin: NTFS",
        "dfir_ntfs/ntfs3.raw: NTFS",
        "dfir_ntfs/ntfs3_attrlist.raw: NTFS",
        "dfir_ntfs/ntfs_index.raw: NTFS",
        "dfir_ntfs/vss_2003.raw: NTFS",
        "dfir_ntfs/vss_2_stor.raw: NTFS",
        "dfir_ntfs/vss_3_volstor.raw: NTFS",
        "dfvfs/vsstest.raw: NTFS",
        "dfvfs/windows_volume.raw: NTFS",
    ] {
        assert!(proven.iter().any(|it| it == known), "{known} has no proven map");
    }
}

#[test]
fn volumes_that_look_like_something_else_have_no_map() {
    for archive in archives() {
        let name = archive.file_name().unwrap().to_str().unwrap();
        let wanted = match name {
            "dfvfs__bdetogo.raw.zst" => "BitLocker To Go",
            "bitlocker-set.tar.zst" => "BitLocker",
            "cryptsetup__blkid-luks2-pv.img.zst" => "LUKS2",
            "cryptsetup__fvault2-small.img.zst" => "Core Storage volume",
            "ldm-set.tar.zst" => "Windows dynamic disk",
            _ => continue,
        };
        let folder = temp_dir();
        for (name, path) in unpack(&archive, folder.path()) {
            let source = Source::open(&path).unwrap();
            if source.len() < 1 << 16 {
                // Keys and lists that belong to the images.
                continue;
            }
            let claims = claims(&source);
            // A dynamic disk with a GPT is one as a whole, but not as a volume.
            if let Some((identity, _)) = claims.first() {
                assert!(identity.name.starts_with(wanted), "{name}: {identity:?}");
            } else {
                assert_eq!(whole_disk_member(&source).as_deref(), Some(wanted), "{name}");
            }
            for (identity, used) in &claims {
                assert!(
                    used.as_ref().is_none_or(|used| used.whole.is_some()),
                    "{name}: {} has a map",
                    identity.name
                );
            }
            assert_eq!(layout::scan(&source).unwrap().used, ExtentSet::all(source.len()), "{name}");
        }
    }
}

#[test]
fn what_is_known_by_name_only_has_the_name_of_blkid() {
    if !requires(&["blkid"]) {
        return;
    }
    let mut compared = 0;
    for archive in archives().iter().filter(|path| !path.ends_with("maps-and-facts.tar.zst")) {
        let folder = temp_dir();
        for (name, path) in unpack(archive, folder.path()) {
            let by_blkid = foreign::by_blkid(&path);
            if foreign::name(&by_blkid).is_some()
                && let Some(identity) = foreign::identity(&path)
            {
                foreign::assert_identity(&name, &identity, &by_blkid);
                compared += 1;
            }
        }
    }
    assert!(compared >= 30 || archives().is_empty(), "only {compared} were compared");
}

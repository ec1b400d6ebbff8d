// SPDX-License-Identifier: MIT OR Apache-2.0
//! Apple partition maps that parted, macOS and xorriso made, as parted and The
//! Sleuth Kit read them.

use dacapo::extent::ExtentSet;
use dacapo::layout;

use super::super::support::requires;
use super::corpus::unpacked;
use super::*;

/// First sector, sectors and type of each partition by The Sleuth Kit; what is
/// free or the map's is left out.
fn by_mmls(path: &str) -> Vec<(u64, u64, String)> {
    let ran = run("mmls", &["-t", "mac", path]);
    let rows = ran.out().lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, slot, start, _, length, type_id] = fields[..] else { return None };
        let is_partition =
            slot.parse::<u32>().is_ok() && !matches!(type_id, "Apple_partition_map" | "Apple_Free");
        is_partition.then(|| (start.parse().unwrap(), length.parse().unwrap(), type_id.to_owned()))
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort();
    rows
}

/// Number, first sector, sectors and name by parted, without the map itself.
fn by_parted(path: &str) -> Vec<(u32, u64, u64, String)> {
    let ran = run("parted", &["-sm", path, "unit", "s", "print"]);
    assert!(ran.out().contains(":mac:"), "{ran}");
    let sectors = |field: &str| field.trim_end_matches('s').parse::<u64>().unwrap();
    let rows = ran.out().lines().skip(2).filter_map(|line| {
        let fields: Vec<&str> = line.trim_end_matches(';').split(':').collect();
        let number: u32 = fields.first()?.parse().ok()?;
        let name = (*fields.get(5)?).to_owned();
        (sectors(fields[1]) != 1).then(|| (number, sectors(fields[1]), sectors(fields[3]), name))
    });
    rows.collect()
}

#[track_caller]
fn assert_read_as_others_do(disk: &DiskFile) -> PartitionTable {
    let table = disk.table();
    assert_eq!((table.kind, table.doubtful), ("APM", false), "{:?}", table.notes);
    assert_eq!(table.notes, [""; 0]);
    let rows = rows(&table);
    let mut own: Vec<_> = rows.iter().map(|row| (row.1, row.2, row.3.clone())).collect();
    own.sort();
    assert_eq!(own, by_mmls(&disk.path));
    let own: Vec<_> = rows.iter().map(|row| (row.0, row.1, row.2, row.5.clone())).collect();
    assert_eq!(own, by_parted(&disk.path));
    table
}

#[test]
fn maps_of_parted_are_read_as_others_read_them() {
    if !requires(&["parted", "mmls"]) {
        return;
    }
    let disk = DiskFile::new(64);
    let make = "mklabel mac mkpart one hfs+ 1MiB 20MiB mkpart two linux-swap 20MiB 30MiB \
                mkpart three ext2 40MiB 60MiB";
    let make: Vec<&str> = make.split_whitespace().collect();
    run("parted", &[&["-s", &disk.path][..], &make].concat());
    let table = assert_read_as_others_do(&disk);
    assert_eq!(table.partitions.len(), 3);
    // Out of order, and a hole where one was.
    run("parted", &["-s", &disk.path, "rm", "3", "mkpart", "four", "hfs+", "30MiB", "35MiB"]);
    assert_eq!(assert_read_as_others_do(&disk).partitions.len(), 3);
}

#[test]
fn maps_of_macos_are_read_as_others_read_them() {
    if !requires(&["zstd", "parted", "mmls"]) {
        return;
    }
    for name in ["disktype__udif-udrw.image", "go-apfs-v2__hfs-apm.img"] {
        let Some(disk) = unpacked(name) else { continue };
        let table = assert_read_as_others_do(&disk);
        assert_eq!(table.partitions.len(), 1);
        let scan = layout::scan(&disk.source()).unwrap();
        let (_, region) = scan.layout.partitions().next().unwrap();
        assert_eq!((region.content(), &region.whole), ("HFS+", &None), "{name}");
        // All around the volume is stored, and little of it.
        let around = ExtentSet::from(region.extent).complement(disk.len());
        assert_eq!(around.subtract(&scan.used), ExtentSet::new());
        assert!(scan.used.bytes() < disk.len() / 4, "{name}");
    }
}

#[test]
fn discs_that_start_on_every_computer_are_stored_whole() {
    if !requires(&["xorriso"]) {
        return;
    }
    let folder = temp_dir();
    let files = folder.join("files");
    std::fs::create_dir(&files).unwrap();
    std::fs::write(Path::new(&files).join("boot.img"), vec![0x5a; 200_000]).unwrap();
    for options in ["-hfsplus", "-hfsplus -apm-block-size 512", "-hfsplus -apm-block-size 2048"] {
        let disc = folder.join("disc.iso");
        let options: Vec<&str> = options.split(' ').collect();
        run("xorriso", &[&["-as", "mkisofs"][..], &options, &["-o", &disc, &files]].concat());
        let source = Source::open(&disc).unwrap();
        assert_eq!(table::read(&source).unwrap().map(|table| table.kind), Some("APM"));
        let scan = layout::scan(&source).unwrap();
        assert_eq!(scan.used, ExtentSet::all(std::fs::metadata(&disc).unwrap().len()));
    }
}

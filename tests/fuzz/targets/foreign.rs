// SPDX-License-Identifier: MIT OR Apache-2.0
//! The drivers that know others by name, and those of arrays, on raw input, on
//! patched disks, and on lists of names of ZFS.
#![no_main]

use dacapo::fs::foreign::Foreign;
use dacapo::fs::hfs::Hfs;
use dacapo::fs::iso9660::{self, BootCatalog, Descriptors, Iso9660};
use dacapo::fs::member::Member;
use dacapo::fs::udf::{self, Udf};
use dacapo::fs::whole_disk_member;
use dacapo::io::{Memory, ReadAt};
use dacapo_fuzz::{Bases, Patched, ask};
use libfuzzer_sys::fuzz_target;

static BASES: Bases = Bases::new();
const DISKS: &[&[u8]] = &[
    include_bytes!("../../../images/swap-tiny.img.zst"),
    include_bytes!("../../../images/foreign-tiny-bitlocker.img.zst"),
    include_bytes!("../../../images/foreign-tiny-iso9660.img.zst"),
    include_bytes!("../../../images/foreign-tiny-md.img.zst"),
    include_bytes!("../../../images/foreign-tiny-md-0-90.img.zst"),
    include_bytes!("../../../images/foreign-tiny-udf.img.zst"),
    include_bytes!("../../../images/hfs-tiny.img.zst"),
];

fn ask_all(disk: &dyn ReadAt) {
    ask(&Member, disk);
    ask(&Udf, disk);
    ask(&Iso9660, disk);
    ask(&Hfs, disk);
    ask(&Foreign, disk);
    let _ = udf::Descriptors::read(disk);
    let _ = iso9660::sessions(disk);
    if let Ok(Some(found)) = Descriptors::read(disk, 0) {
        let _ = iso9660::path_table::read(disk, &found.primary);
        for position in found.boot_records.iter().filter_map(|record| record.catalog) {
            let _ = BootCatalog::read(disk, position);
        }
    }
    let _ = whole_disk_member(disk);
}

/// A device of a pool with this list behind the first bytes, which have to be
/// as they are.
fn pool(list: &[u8]) -> Memory {
    const LIST: usize = 16 << 10;
    let mut bytes = vec![0; 256 << 10];
    bytes[LIST..LIST + 16].copy_from_slice(&[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 36]);
    for (to, from) in bytes[LIST + 16..].iter_mut().zip(list) {
        *to = *from;
    }
    Memory::new(bytes)
}

fuzz_target!(|input: &[u8]| {
    ask_all(&Memory::new(input.to_vec()));
    ask_all(&pool(input));
    if let Some(disk) = Patched::new(BASES.get(DISKS), input) {
        ask_all(&disk);
    }
});

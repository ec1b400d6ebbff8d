// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a disc says of itself, on patched discs; records of discs, tables of
//! contents and raw sectors, on raw input.
#![no_main]

use dacapo::device::Toc;
use dacapo::disc::record::Record;
use dacapo::disc::volume::{self, SECTOR};
use dacapo::disc::{implanted::Implanted, sector};
use dacapo::io::ReadAt;
use dacapo_fuzz::{Bases, Patched};
use libfuzzer_sys::fuzz_target;

static BASES: Bases = Bases::new();
const DISKS: &[&[u8]] = &[
    include_bytes!("../../../images/foreign-tiny-iso9660.img.zst"),
    include_bytes!("../../../images/foreign-tiny-udf.img.zst"),
    include_bytes!("../../../images/hfsplus-tiny-wrapped.img.zst"),
];

fuzz_target!(|input: &[u8]| {
    let _ = Record::parse(input);
    if let Some(toc) = Toc::of_full(input) {
        for track in &toc.tracks {
            assert!(toc.end_of(track) > track.start);
        }
        let _ = (toc.gaps(), toc.data_end(), toc.last_session());
    }
    let mut raw = input.to_vec();
    raw.resize(2352, 0);
    let _ = (sector::check(&raw), sector::data(&raw));
    let Some((session, input)) = input.split_first() else { return };
    let Some(disc) = Patched::new(BASES.get(DISKS), input) else { return };
    let (_, sizes) = volume::read(&disc, u32::from(*session / 64) * 32);
    assert!(sizes.filesystems() % SECTOR == 0 || sizes.filesystems() > u64::MAX - SECTOR);
    assert_eq!(sizes.capacity, disc.len());
    let _ = Implanted::of(&disc);
});

// SPDX-License-Identifier: MIT OR Apache-2.0
//! LVM2 on patched disks: as they are, and with all checksums made right again,
//! so that the patches reach the text; and the parser of the text on raw input.
#![no_main]

use dacapo::io::{Memory, ReadAt};
use dacapo::layout;
use dacapo::volume::lvm2::{check_text, checksum_of};
use dacapo_fuzz::{Bases, Patched};
use libfuzzer_sys::fuzz_target;

static BASES: Bases = Bases::new();
const DISKS: &[&[u8]] = &[
    include_bytes!("../../../images/lvm2-tiny.img.zst"),
    include_bytes!("../../../images/lvm2-tiny-striped.img.zst"),
    include_bytes!("../../../images/lvm2-tiny-striped.2.img.zst"),
];

/// Where the label and the first metadata area of these disks are.
const LABEL: usize = 512;
const AREA: usize = 4096;

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let field: [u8; 8] = bytes.get(at..at + 8)?.try_into().ok()?;
    usize::try_from(u64::from_le_bytes(field)).ok()
}

/// Makes the checksums of the text, of the area's header and of the label
/// right, as far as they are where they should be.
fn seal(bytes: &mut [u8]) -> Option<()> {
    let label = checksum_of(bytes.get(LABEL + 20..LABEL + 512)?);
    bytes[LABEL + 16..LABEL + 20].copy_from_slice(&label.to_le_bytes());
    let (room, offset) = (number(bytes, AREA + 32)?, number(bytes, AREA + 40)?);
    let size = number(bytes, AREA + 48)?;
    let first = size.min(room.checked_sub(offset)?);
    let start = AREA.checked_add(offset)?;
    let mut text = bytes.get(start..start.checked_add(first)?)?.to_vec();
    text.extend_from_slice(bytes.get(AREA + 512..AREA.checked_add(512 + size - first)?)?);
    bytes[AREA + 56..AREA + 60].copy_from_slice(&checksum_of(&text).to_le_bytes());
    let header = checksum_of(bytes.get(AREA + 4..AREA + 512)?);
    bytes[AREA..AREA + 4].copy_from_slice(&header.to_le_bytes());
    Some(())
}

fn check(disk: &dyn ReadAt, other: &dyn ReadAt) {
    for others in [&[][..], &[other]] {
        let Ok(scan) = layout::scan_with(disk, others) else { return };
        for region in &scan.layout.regions {
            if region.whole.is_some() {
                assert!(scan.used.covers(region.extent), "whole is less than all");
            }
            let inside: u64 = region.volumes.iter().map(|inner| inner.used).sum();
            assert!(inside <= region.used, "more inside than there is");
            assert!(region.volumes.iter().all(|inner| inner.used <= inner.size));
        }
        assert!(scan.used.end() <= disk.len(), "the map leaves the disk");
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&mode, rest)) = input.split_first() else { return };
    if mode % 4 == 3 {
        let _ = check_text(rest);
        return;
    }
    let bases = BASES.get(DISKS);
    let Some(disk) = Patched::new(bases, rest) else { return };
    let other = Memory::new(bases[2].clone());
    if mode % 4 == 0 {
        check(&disk, &other);
    } else {
        let mut bytes = disk.bytes();
        let _ = seal(&mut bytes);
        check(&Memory::new(bytes), &other);
    }
});

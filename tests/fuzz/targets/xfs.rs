// SPDX-License-Identifier: MIT OR Apache-2.0
//! The XFS driver on patched disks; in every second run with checksums that
//! were made right again, so that the fuzzer gets behind them.
#![no_main]

use dacapo::io::ReadAt;
use dacapo_fuzz::{Bases, Patched, ask};
use libfuzzer_sys::fuzz_target;

static BASES: Bases = Bases::new();
const DISKS: &[&[u8]] = &[
    include_bytes!("../../../images/xfs-tiny.img.zst"),
    include_bytes!("../../../images/xfs-tiny-dirty.img.zst"),
    include_bytes!("../../../images/xfs-tiny-rmapbt.img.zst"),
    include_bytes!("../../../images/xfs-tiny-dirty-rmapbt.img.zst"),
    include_bytes!("../../../images/xfs-tiny-v4.img.zst"),
];

fuzz_target!(|input: &[u8]| {
    let Some((&mode, input)) = input.split_first() else { return };
    let Some(disk) = Patched::new(BASES.get(DISKS), input) else { return };
    if mode & 1 == 0 {
        ask(&dacapo::fs::xfs::Xfs, &disk);
    } else {
        ask(&dacapo::fs::xfs::Xfs, &Righted(&disk));
    }
});

/// A disk whose checksums are made right as it is read: every structure is read
/// whole, and at its own start.
struct Righted<'a>(&'a Patched<'a>);

impl ReadAt for Righted<'_> {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> dacapo::error::Result<()> {
        self.0.read_at(offset, buf)?;
        match buf.get(..4) {
            Some(b"XFSB") => right(buf, 224),
            Some(b"XAGF") => right(buf, 216),
            Some(b"XAGI") => right(buf, 312),
            Some(b"XAFL") => right(buf, 32),
            Some(b"AB3B" | b"AB3C") => right(buf, 52),
            Some([0xFE, 0xED, 0xBA, 0xBE]) if buf.len() > 512 => right_record(buf),
            _ => {}
        }
        Ok(())
    }
}

/// Writes the CRC-32C of a structure to its place.
fn right(buf: &mut [u8], at: usize) {
    if buf.len() < at + 4 {
        return;
    }
    buf[at..at + 4].fill(0);
    let crc = crc32c(u32::MAX, buf);
    buf[at..at + 4].copy_from_slice(&(!crc).to_le_bytes());
}

/// The same for a record of the log with a header of one block.
fn right_record(buf: &mut [u8]) {
    let len = u32::from_be_bytes([buf[12], buf[13], buf[14], buf[15]]) as usize;
    let end = (512 + len).min(buf.len());
    buf[32..36].fill(0);
    let crc = crc32c(crc32c(u32::MAX, &buf[..328]), &buf[512..end]);
    buf[32..36].copy_from_slice(&(!crc).to_le_bytes());
}

fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 }
        })
    })
}
